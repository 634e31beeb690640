//! What an epoch's agreement decides: blocks, the votes for them, and the certificates that prove a decision.
//!
//! - A block's id is the hash of its header; the header names its body, its parent and the Merkle state after its
//!   parent. So the state after height h is proved against header h + 1 and that header's certificate.
//! - A certificate is the precommits of more than two thirds of the power. The next block carries one, which is where
//!   the beacon is drawn from.

use crate::crypto::{self, Claim, Purpose, Signature};
use crate::genesis::{Genesis, canonical};
use crate::ids::{Account, BlockId, Hash32, ObjectId};
use crate::objects::Envelope;
use borsh::{BorshDeserialize, BorshSerialize};

/// The part of a block that is signed for.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Header {
    /// The epoch.
    pub height: u64,
    /// The block before; zero at height 1.
    pub parent: BlockId,
    /// The proposer's clock in milliseconds since 1970; later than the parent's.
    pub time_ms: u64,
    /// Who made the block.
    pub proposer: Account,
    /// The root of the Merkle state after the parent.
    pub state_root: Hash32,
    /// [`ValidatorSet::hash`] of the set that decides this block.
    pub validators: Hash32,
    /// [`ValidatorSet::hash`] of the set that decides the next block: a change takes effect two heights after the block
    /// that made it, so it is known here already.
    pub next_validators: Hash32,
    /// [`crypto::beacon`] of the certificate in the body; of nothing at height 1.
    pub beacon: Hash32,
    /// [`Body::hash`].
    pub body: Hash32,
}

impl Header {
    /// The block's id.
    pub fn id(&self) -> BlockId {
        crypto::block_id(&canonical(self))
    }
}

/// The rest of a block.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Body {
    /// Proof that the parent was decided; none at height 1.
    pub last_commit: Option<Certificate>,
    /// Objects that enter the ledger, in order.
    pub envelopes: Vec<Envelope>,
    /// Attribution bodies (canonical bytes) whose root a quorum revealed, in order of (epoch, DataNet).
    pub settlements: Vec<Vec<u8>>,
}

impl Body {
    /// The hash that the header names.
    pub fn hash(&self) -> Hash32 {
        crypto::body_hash(&canonical(self))
    }
}

/// A block.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Block {
    /// What is signed for.
    pub header: Header,
    /// What the header names by hash.
    pub body: Body,
}

impl Block {
    /// The block's id.
    pub fn id(&self) -> BlockId {
        self.header.id()
    }
}

/// A block without what its receiver most likely has: objects by id, attribution bodies by root.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct CompactBlock {
    /// The block's header.
    pub header: Header,
    /// [`Body::last_commit`].
    pub last_commit: Option<Certificate>,
    /// The ids of [`Body::envelopes`], in their order.
    pub objects: Vec<ObjectId>,
    /// [`crypto::attribution_root`] of each of [`Body::settlements`], in their order.
    pub settlements: Vec<Hash32>,
}

impl CompactBlock {
    /// A block in short.
    pub fn of(block: &Block) -> Self {
        let body = &block.body;
        Self {
            header: block.header.clone(),
            last_commit: body.last_commit.clone(),
            objects: body.envelopes.iter().map(Envelope::id).collect(),
            settlements: body.settlements.iter().map(|bytes| crypto::attribution_root(bytes)).collect(),
        }
    }
}

/// The parts of a compact block that its receiver lacks: their places in it, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct MissingParts {
    /// Places in [`CompactBlock::objects`].
    pub objects: Vec<u32>,
    /// Places in [`CompactBlock::settlements`].
    pub settlements: Vec<u32>,
}

/// Parts of a block that were asked for, in the order asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Parts {
    /// Envelopes.
    pub envelopes: Vec<Envelope>,
    /// Attribution bodies.
    pub settlements: Vec<Vec<u8>>,
}

impl Parts {
    /// These parts of a block; those that it has not are left out.
    pub fn of(block: &Block, missing: &MissingParts) -> Self {
        let place = |place: &u32| usize::try_from(*place).ok();
        let envelopes = missing.objects.iter().filter_map(place).filter_map(|at| block.body.envelopes.get(at)).cloned();
        let bodies =
            missing.settlements.iter().filter_map(place).filter_map(|at| block.body.settlements.get(at)).cloned();
        Self { envelopes: envelopes.collect(), settlements: bodies.collect() }
    }
}

/// One member of a validator set.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Validator {
    /// The key that votes.
    pub key: Account,
    /// The account that is paid.
    pub payout: Account,
    /// Its weight.
    pub power: u64,
}

/// The validators of a height, by key in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ValidatorSet(Vec<Validator>);

impl ValidatorSet {
    /// The set a network starts with.
    pub fn of_genesis(genesis: &Genesis) -> Self {
        let member = |validator: &crate::genesis::GenesisValidator| Validator {
            key: validator.key,
            payout: validator.payout,
            power: validator.power,
        };
        Self(genesis.validators.iter().map(member).collect())
    }

    /// The set of these members, whatever their order.
    pub fn new(mut members: Vec<Validator>) -> Self {
        members.sort_by_key(|member| member.key);
        members.dedup_by_key(|member| member.key);
        Self(members)
    }

    /// The members, by key in ascending order.
    pub fn members(&self) -> &[Validator] {
        &self.0
    }

    /// The member with this key.
    pub fn get(&self, key: &Account) -> Option<&Validator> {
        self.0.binary_search_by(|member| member.key.cmp(key)).ok().map(|at| &self.0[at])
    }

    /// All power together; a genesis bounds it to 2^60.
    pub fn total_power(&self) -> u64 {
        self.0.iter().map(|member| member.power).sum()
    }

    /// Is `power` more than two thirds of the whole?
    pub fn is_quorum(&self, power: u64) -> bool {
        u128::from(power) * 3 > u128::from(self.total_power()) * 2
    }

    /// The set's name in votes and headers.
    pub fn hash(&self) -> Hash32 {
        crypto::validators_hash(&canonical(self))
    }
}

/// The step of a vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum VoteStep {
    /// First vote of a round.
    Prevote,
    /// Second vote; more than two thirds of these decide.
    Precommit,
}

/// What a vote signs. The validator set's hash keeps a vote from counting in another set.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize)]
pub struct VotePayload {
    /// Prevote or precommit.
    pub step: VoteStep,
    /// The height.
    pub height: u64,
    /// The round.
    pub round: u32,
    /// The block, or none.
    pub block: Option<BlockId>,
    /// [`ValidatorSet::hash`].
    pub validators: Hash32,
    /// Who votes.
    pub validator: Account,
}

/// What a proposal signs.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize)]
pub struct ProposalPayload {
    /// The height.
    pub height: u64,
    /// The round.
    pub round: u32,
    /// The block.
    pub block: BlockId,
    /// The round whose prevotes justify proposing it again.
    pub pol_round: Option<u32>,
    /// [`ValidatorSet::hash`].
    pub validators: Hash32,
    /// Who proposes.
    pub validator: Account,
}

/// Proof that a block was decided.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Certificate {
    /// The height.
    pub height: u64,
    /// The round that decided.
    pub round: u32,
    /// The block.
    pub block: BlockId,
    /// Precommits, by validator key in ascending order.
    pub signatures: Vec<(Account, Signature)>,
}

/// Why a certificate proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Signers must ascend without repetition, so that nobody counts twice.
    #[error("the certificate's signers are not in ascending order without repetition")]
    Order,
    /// A signer from outside the set.
    #[error("signer {0} is not a validator of this height")]
    Stranger(Account),
    /// A signature that does not hold.
    #[error("the signature of {0} does not hold")]
    Signature(Account),
    /// Not more than two thirds.
    #[error("signers have power {signed} of {total}; more than two thirds is needed")]
    Power {
        /// The signers' power.
        signed: u64,
        /// All power.
        total: u64,
    },
}

impl Certificate {
    /// Checks that those who are said to have signed are validators with more than two thirds of the power, each named
    /// once. It says nothing of their signatures.
    pub fn check_power(&self, validators: &ValidatorSet) -> Result<(), CertificateError> {
        if !self.signatures.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(CertificateError::Order);
        }
        let mut signed = 0;
        for (key, _) in &self.signatures {
            signed += validators.get(key).ok_or(CertificateError::Stranger(*key))?.power;
        }
        if !validators.is_quorum(signed) {
            return Err(CertificateError::Power { signed, total: validators.total_power() });
        }
        Ok(())
    }

    /// Checks that validators with more than two thirds of the power precommitted this block.
    pub fn verify(&self, validators: &ValidatorSet, genesis: &Hash32) -> Result<(), CertificateError> {
        self.check_power(validators)?;
        let set = validators.hash();
        let payloads: Vec<Vec<u8>> = (self.signatures.iter())
            .map(|(validator, _)| {
                canonical(&VotePayload {
                    step: VoteStep::Precommit,
                    height: self.height,
                    round: self.round,
                    block: Some(self.block),
                    validators: set,
                    validator: *validator,
                })
            })
            .collect();
        let claims: Vec<Claim<'_>> = (self.signatures.iter().zip(&payloads))
            .map(|((signer, signature), payload)| Claim {
                signer: *signer,
                purpose: Purpose::Vote,
                payload,
                signature: *signature,
            })
            .collect();
        let verdicts = crypto::verify_all(&claims, genesis);
        match claims.iter().zip(verdicts).find(|(_, holds)| !holds) {
            Some((claim, _)) => Err(CertificateError::Signature(claim.signer)),
            None => Ok(()),
        }
    }
}
