//! Our types in the words of Malachite's core: what a height, a vote, a proposal and a value are.
//!
//! The value that agreement decides is a block's id; the block itself travels beside it and is checked by the ledger
//! before it counts (the core's `ProposalAndParts`).

use crate::block::{ProposalPayload, Validator, ValidatorSet, VotePayload, VoteStep};
use crate::crypto::{SecretKey, Signature};
use crate::genesis::canonical;
use crate::ids::{Account, BlockId, Hash32};
use malachite_types as core;
use malachite_types::{NilOrVal, Round, SignedExtension, VoteType};
use std::fmt;
use std::sync::Arc;

/// 2^64 divided by the golden ratio, to the nearest odd number.
const GOLDEN_STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Ties the types together for the core.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tributary;

/// An epoch's number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Height(pub(crate) u64);

impl fmt::Display for Height {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl core::Height for Height {
    const ZERO: Self = Self(0);
    const INITIAL: Self = Self(1);

    fn increment_by(&self, n: u64) -> Self {
        Self(self.0.saturating_add(n))
    }

    fn decrement_by(&self, n: u64) -> Option<Self> {
        self.0.checked_sub(n).map(Self)
    }

    fn as_u64(&self) -> u64 {
        self.0
    }
}

impl core::Address for Account {}

/// What is agreed on: the id of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Value(pub(crate) BlockId);

impl core::Value for Value {
    type Id = BlockId;

    fn id(&self) -> BlockId {
        self.0
    }
}

impl core::Validator<Tributary> for Validator {
    fn address(&self) -> &Account {
        &self.key
    }

    fn public_key(&self) -> &Account {
        &self.key
    }

    fn voting_power(&self) -> u64 {
        self.power
    }
}

/// A validator set that clones cheaply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Members(pub(crate) Arc<ValidatorSet>);

impl core::ValidatorSet<Tributary> for Members {
    fn count(&self) -> usize {
        self.0.members().len()
    }

    fn total_voting_power(&self) -> u64 {
        self.0.total_power()
    }

    fn get_by_address(&self, address: &Account) -> Option<&Validator> {
        self.0.get(address)
    }

    fn get_by_index(&self, index: usize) -> Option<&Validator> {
        self.0.members().get(index)
    }
}

/// A proposal of a block id for a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proposal {
    pub(crate) height: Height,
    pub(crate) round: Round,
    pub(crate) value: Value,
    pub(crate) pol_round: Round,
    pub(crate) proposer: Account,
}

impl Proposal {
    /// The bytes a proposal signs.
    pub(crate) fn payload(&self, validators: Hash32) -> Vec<u8> {
        canonical(&ProposalPayload {
            height: self.height.0,
            round: self.round.as_u32().unwrap_or(u32::MAX),
            block: self.value.0,
            pol_round: self.pol_round.as_u32(),
            validators,
            validator: self.proposer,
        })
    }
}

impl core::Proposal<Tributary> for Proposal {
    fn height(&self) -> Height {
        self.height
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &Value {
        &self.value
    }

    fn take_value(self) -> Value {
        self.value
    }

    fn pol_round(&self) -> Round {
        self.pol_round
    }

    fn validator_address(&self) -> &Account {
        &self.proposer
    }
}

/// A vote for a block id, or for none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Vote {
    pub(crate) step: VoteStep,
    pub(crate) height: Height,
    pub(crate) round: Round,
    pub(crate) value: NilOrVal<BlockId>,
    pub(crate) voter: Account,
    /// Never used: vote extensions are disabled. The core wants a place for one, and here it is small.
    extension: Option<Box<SignedExtension<Tributary>>>,
}

impl Vote {
    pub(crate) fn new(step: VoteStep, height: Height, round: Round, value: NilOrVal<BlockId>, voter: Account) -> Self {
        Self { step, height, round, value, voter, extension: None }
    }

    /// The bytes a vote signs.
    pub(crate) fn payload(&self, validators: Hash32) -> Vec<u8> {
        canonical(&VotePayload {
            step: self.step,
            height: self.height.0,
            round: self.round.as_u32().unwrap_or(u32::MAX),
            block: block_of(self.value),
            validators,
            validator: self.voter,
        })
    }
}

impl core::Vote<Tributary> for Vote {
    fn height(&self) -> Height {
        self.height
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &NilOrVal<BlockId> {
        &self.value
    }

    fn take_value(self) -> NilOrVal<BlockId> {
        self.value
    }

    fn vote_type(&self) -> VoteType {
        vote_type(self.step)
    }

    fn validator_address(&self) -> &Account {
        &self.voter
    }

    fn extension(&self) -> Option<&SignedExtension<Tributary>> {
        self.extension.as_deref()
    }

    fn take_extension(&mut self) -> Option<SignedExtension<Tributary>> {
        self.extension.take().map(|extension| *extension)
    }

    fn extend(mut self, extension: SignedExtension<Tributary>) -> Self {
        self.extension = Some(Box::new(extension));
        self
    }
}

/// The core's word for a step.
pub(crate) fn vote_type(step: VoteStep) -> VoteType {
    match step {
        VoteStep::Prevote => VoteType::Prevote,
        VoteStep::Precommit => VoteType::Precommit,
    }
}

/// Our word for a step.
pub(crate) fn vote_step(vote_type: VoteType) -> VoteStep {
    match vote_type {
        VoteType::Prevote => VoteStep::Prevote,
        VoteType::Precommit => VoteStep::Precommit,
    }
}

/// The block voted for, or none.
pub(crate) fn block_of(value: NilOrVal<BlockId>) -> Option<BlockId> {
    match value {
        NilOrVal::Nil => None,
        NilOrVal::Val(block) => Some(block),
    }
}

/// The block voted for, in the core's words.
pub(crate) fn value_of(block: Option<BlockId>) -> NilOrVal<BlockId> {
    block.map_or(NilOrVal::Nil, NilOrVal::Val)
}

/// Blocks travel by request, not in parts through the core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NoPart;

impl core::ProposalPart<Tributary> for NoPart {
    fn is_first(&self) -> bool {
        true
    }

    fn is_last(&self) -> bool {
        true
    }
}

/// Keys and signatures as the core names them. Signing and checking happen in the host, never through this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ed25519;

impl core::SigningScheme for Ed25519 {
    type DecodingError = String;
    type Signature = Signature;
    type PublicKey = Account;
    type PrivateKey = SecretKey;

    fn decode_signature(bytes: &[u8]) -> Result<Signature, String> {
        bytes.try_into().map(Signature).map_err(|_| format!("a signature has 64 bytes, not {}", bytes.len()))
    }

    fn encode_signature(signature: &Signature) -> Vec<u8> {
        signature.0.to_vec()
    }

    fn decode_public_key(bytes: &[u8]) -> Result<Account, String> {
        bytes.try_into().map(Account).map_err(|_| format!("a key has 32 bytes, not {}", bytes.len()))
    }

    fn encode_public_key(key: &Account) -> Vec<u8> {
        key.0.to_vec()
    }
}

impl core::Context for Tributary {
    type Address = Account;
    type Height = Height;
    type ProposalPart = NoPart;
    type Proposal = Proposal;
    type Validator = Validator;
    type ValidatorSet = Members;
    type Timeouts = core::LinearTimeouts;
    type Value = Value;
    type Vote = Vote;
    type Extension = ();
    type SigningScheme = Ed25519;

    /// Validators take turns, each as often as its power is a part of the whole.
    ///
    /// The power of all, laid end to end, is walked in steps of the golden ratio (a Weyl sequence): of all step lengths
    /// this one spreads the turns most evenly, whatever the powers, and one turn never needs another's result.
    fn select_proposer<'a>(&self, set: &'a Members, height: Height, round: Round) -> &'a Validator {
        let members = set.0.members();
        let turn = height.0.wrapping_add(u64::from(round.as_u32().unwrap_or(0)));
        let fraction = turn.wrapping_mul(GOLDEN_STEP);
        // Below the total power, as the fraction is below 2^64.
        let place = (u128::from(fraction) * u128::from(set.0.total_power())) >> 64;
        let mut end = 0_u128;
        let holds = |member: &&Validator| {
            end += u128::from(member.power);
            place < end
        };
        // A genesis without validators is refused, and no change leaves a set without any.
        members.iter().find(holds).unwrap_or(&members[0])
    }

    fn new_proposal(
        &self,
        height: Height,
        round: Round,
        value: Value,
        pol_round: Round,
        proposer: Account,
    ) -> Proposal {
        Proposal { height, round, value, pol_round, proposer }
    }

    fn new_prevote(&self, height: Height, round: Round, value: NilOrVal<BlockId>, voter: Account) -> Vote {
        Vote::new(VoteStep::Prevote, height, round, value, voter)
    }

    fn new_precommit(&self, height: Height, round: Round, value: NilOrVal<BlockId>, voter: Account) -> Vote {
        Vote::new(VoteStep::Precommit, height, round, value, voter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use malachite_types::Context as _;

    fn set(powers: &[u64]) -> Members {
        let member = |(index, power): (usize, &u64)| Validator {
            key: Account([u8::try_from(index).unwrap(); 32]),
            payout: Account([9; 32]),
            power: *power,
        };
        Members(Arc::new(ValidatorSet::new(powers.iter().enumerate().map(member).collect())))
    }

    #[test]
    fn turns_follow_power_and_never_let_anyone_wait_long() {
        let powers = [1, 10, 10, 20, 40, 2, 7, 10];
        let (set, total) = (set(&powers), 100);
        let turns: Vec<usize> = (1..=10_000)
            .map(|height| usize::from(Tributary.select_proposer(&set, Height(height), Round::new(0)).key.0[0]))
            .collect();
        for (index, power) in powers.iter().enumerate() {
            let got = turns.iter().filter(|turn| **turn == index).count() as u64;
            assert!(got.abs_diff(power * 100) <= 4, "{index} with {power} of {total} proposed {got} of 10000");
            let places: Vec<usize> = (0..turns.len()).filter(|at| turns[*at] == index).collect();
            let longest = places.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap() as u64;
            assert!(longest <= 3 * total / power, "{index} waited {longest} turns");
        }
    }

    #[test]
    fn equals_never_propose_twice_in_a_row() {
        let set = set(&[5, 5, 5, 5]);
        let turn = |height, round| Tributary.select_proposer(&set, Height(height), Round::new(round)).key;
        assert!((1..1_000).all(|height| turn(height, 0) != turn(height, 1)));
        assert!((1..1_000).all(|height| turn(height, 0) == turn(height - 1, 1)), "a round moves on like a height");
    }
}
