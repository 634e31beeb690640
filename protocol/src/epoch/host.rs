//! Runs Malachite's core without any I/O: inputs in, [`Out`] in order.
//!
//! Rules that hold here, with the trap each one avoids:
//!
//! - What the core logs comes out before what depends on it, and after a failure nothing comes out at all: the core
//!   itself goes on after a handler's error, so the host is poisoned instead ([`Host::fatal`]).
//! - Nothing is signed twice in one place: the last-sign record is checked and comes out before any signature leaves.
//!   Where it refuses, the log of this height is lost, and with it what this validator is locked on: it stays silent
//!   until the others have decided the height.
//! - Logged values carry their block, so that a decision reached again after a restart has its block at hand.
//! - Every signature is checked once ([`Signatures`]), against the set of its height.
//! - No target time is given to the core, which is its only use of a wall clock.

use super::context::{Height, Members, Proposal, Tributary, Value, Vote};
use super::convert::{
    CoreInput, WalEntry, double_proposal, double_vote, input_of, polka_out, proposal_out, round_out, vote_out,
};
use super::sign_record::{SignRecord, Slot};
use super::signatures::{Said, Signatures};
use crate::block::{Block, Certificate, ValidatorSet, VotePayload, VoteStep};
use crate::crypto::{Purpose, SecretKey, Signature};
use crate::genesis::canonical;
use crate::ids::{Account, BlockId, Hash32};
use crate::offence::Offence;
use crate::wire::{ConsensusMessage, SignedProposal, SignedVote};
use malachite::{
    ConsensusMsg, Effect, Error, Input, LivenessMsg, LocallyProposedValue, Params, ProposedValue, Resumable, Resume,
    SignedConsensusMsg, State,
};
use malachite_types::{
    CertificateError, Context as _, LinearTimeouts, NilOrVal, PolkaCertificate, Round, RoundCertificate,
    RoundCertificateType, SignedMessage, ThresholdParam, ThresholdParams, Timeout, Validity, ValueOrigin, ValuePayload,
    VoteExtensionPolicy,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Heights ahead of the current one whose messages are kept: while the node rests, the open one is the next of the last
/// decided, and its next is the one whose set is known as well.
const FUTURE_HEIGHTS: usize = 2;
/// Messages kept for each of them.
const FUTURE_MESSAGES: usize = 2048;
/// Rounds ahead of the current one whose messages are taken; the core keeps them as far ahead.
const ROUNDS_AHEAD: u32 = 10;

/// What the host asks of the node, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Out {
    /// Log this entry of this height.
    Wal {
        /// The height.
        height: u64,
        /// The entry.
        entry: Vec<u8>,
    },
    /// Keep this last-sign record.
    Sign(Vec<u8>),
    /// Gossip a message.
    Publish(ConsensusMessage),
    /// Wake the core after so many milliseconds.
    SetTimer(u64, u64),
    /// Do not.
    CancelTimer(u64),
    /// Build a block for this round and give it to [`Host::propose`].
    GetValue {
        /// The height.
        height: u64,
        /// The round.
        round: u32,
    },
    /// Offer a block again that is proposed again.
    Offer(BlockId),
    /// A block is decided.
    Decided(Certificate),
    /// This validator takes no part in a height any more, because it would contradict itself or might.
    Silent {
        /// The height.
        height: u64,
        /// What it would have signed, and what it had signed.
        reason: String,
    },
    /// Somebody signed two messages in one place.
    Equivocation(Offence),
}

/// Everything that the effect handler touches; apart from the core's state, which the core borrows meanwhile.
struct Io {
    key: SecretKey,
    address: Account,
    signatures: Signatures,
    timeouts: LinearTimeouts,
    record: SignRecord,
    height: u64,
    /// While a log is fed back: what this validator signed in it.
    replaying: Option<BTreeSet<Vec<u8>>>,
    timers: BTreeMap<u64, Timeout>,
    next_timer: u64,
    blocks: BTreeMap<BlockId, Block>,
    /// Those of them that this validator built itself.
    own: BTreeSet<BlockId>,
    /// Proposals of before a restart whose blocks are not here.
    bare: Vec<SignedProposal>,
    out: Vec<Out>,
    /// A signature was refused: how much had come out before, and why.
    refused: Option<(usize, String)>,
    /// Nothing is said at this height any more.
    silent: Option<u64>,
    fatal: Option<String>,
    /// How often the core asked for what.
    #[cfg(test)]
    asked: BTreeMap<&'static str, u64>,
}

/// The core and what surrounds it.
pub(crate) struct Host {
    core: State<Tributary>,
    io: Io,
}

fn new_core(address: Account, set: Arc<ValidatorSet>) -> State<Tributary> {
    let params = Params {
        address,
        threshold_params: ThresholdParams::default(),
        value_payload: ValuePayload::ProposalAndParts,
        enabled: true,
    };
    State::new(Tributary, Height(0), Members(set), params, FUTURE_HEIGHTS, FUTURE_MESSAGES)
}

/// How long each step of agreement may take in its first round, and how much longer in each later one. The first rounds
/// are short, because every turn of a proposer that is down costs one; the later ones suit any network.
fn timeouts() -> LinearTimeouts {
    LinearTimeouts {
        propose: Duration::from_millis(1_500),
        propose_delta: Duration::from_millis(500),
        prevote: Duration::from_millis(400),
        prevote_delta: Duration::from_millis(400),
        precommit: Duration::from_millis(400),
        precommit_delta: Duration::from_millis(400),
        rebroadcast: Duration::from_millis(2_500),
        max_timeout: Duration::from_millis(30_000),
    }
}

impl Host {
    /// A host that has not started any height. `record` is the last-sign record on disk, if there is one.
    pub(crate) fn new(key: SecretKey, genesis: Hash32, set: Arc<ValidatorSet>, record: SignRecord) -> Self {
        let address = key.account();
        let core = new_core(address, set);
        let io = Io {
            key,
            address,
            signatures: Signatures::new(genesis),
            timeouts: timeouts(),
            record,
            height: 0,
            replaying: None,
            timers: BTreeMap::new(),
            next_timer: 0,
            blocks: BTreeMap::new(),
            own: BTreeSet::new(),
            bare: Vec::new(),
            out: Vec::new(),
            refused: None,
            silent: None,
            fatal: None,
            #[cfg(test)]
            asked: BTreeMap::new(),
        };
        Self { core, io }
    }

    /// The validator sets of the heights that can be judged from now on: the last decided, the open and the next.
    pub(crate) fn know(&mut self, sets: impl IntoIterator<Item = (u64, Arc<ValidatorSet>)>) {
        self.io.signatures.know(sets);
    }

    /// The hash of the set of a height that can be judged; of another, one that no set has.
    pub(crate) fn set_hash(&self, height: u64) -> Hash32 {
        self.io.signatures.set_hash(height)
    }

    /// The height that is being agreed on.
    pub(crate) fn height(&self) -> u64 {
        self.io.height
    }

    /// The round that is being agreed on.
    pub(crate) fn round(&self) -> Option<u32> {
        self.core.round().as_u32()
    }

    /// Why nothing may go on, if so.
    pub(crate) fn fatal(&self) -> Option<&str> {
        self.io.fatal.as_deref()
    }

    /// How often the core asked for what, by [`super::kinds::kind`].
    #[cfg(test)]
    pub(crate) fn asked(&self) -> &BTreeMap<&'static str, u64> {
        &self.io.asked
    }

    /// A block of the open height that was given to the core or logged.
    pub(crate) fn block(&self, id: &BlockId) -> Option<&Block> {
        self.io.blocks.get(id)
    }

    /// A block of our own for the open height, if there is one already.
    pub(crate) fn own_block(&self) -> Option<&Block> {
        self.io.own.iter().find_map(|id| self.io.blocks.get(id))
    }

    /// May a proposal be signed for this round, by the last-sign record?
    pub(crate) fn may_propose(&self, height: u64, round: u32) -> bool {
        self.io.record.is_before(Slot::new(height, Round::new(round), Slot::PROPOSAL))
    }

    /// What came out since the last call.
    pub(crate) fn take_out(&mut self) -> Vec<Out> {
        std::mem::take(&mut self.io.out)
    }

    /// Starts a height; after a restart with the entries that were logged for it. Its set must be known.
    ///
    /// # Errors
    /// A sentence when the log cannot be read.
    pub(crate) fn start(&mut self, height: u64, log: &[Vec<u8>]) -> Result<(), String> {
        let Some(set) = self.io.signatures.set(height).cloned() else {
            return Err(format!("the validators of height {height} are not known"));
        };
        (self.io.height, self.io.silent) = (height, None);
        self.io.blocks.clear();
        self.io.own.clear();
        let mut entries = Vec::with_capacity(log.len());
        for (index, bytes) in log.iter().enumerate() {
            let entry: WalEntry = borsh::from_slice(bytes).map_err(|error| {
                format!("entry {index} of height {height} in the agreement log is damaged: {error}")
            })?;
            if let WalEntry::Value { id, proposer, block: Some(block), .. } = &entry {
                self.io.keep(*id, block.as_ref().clone(), *proposer);
            }
            entries.push(entry);
        }
        let place = |entry: &WalEntry| entry.signed_place(&self.io.address);
        let last = entries.iter().filter_map(place).max();
        if !self.io.record.may_continue(height, last) {
            let reason = format!(
                "the log of epoch {height} has lost what this validator signed there, and with it what it is bound to; \
                 the database was damaged or restored from a backup"
            );
            self.fall_silent(self.io.out.len(), reason);
            return Ok(());
        }
        let own = |entry: &&WalEntry| place(entry).is_some();
        self.io.replaying = (!entries.is_empty()).then(|| entries.iter().filter(own).map(canonical).collect());
        self.feed(Input::StartHeight(Height(height), Members(set), false, None, VoteExtensionPolicy::Disabled));
        if self.io.replaying.is_some() {
            let inputs: Vec<CoreInput> = entries.iter().map(WalEntry::input).collect();
            self.core.index_wal_entries(inputs.iter());
            for input in inputs {
                self.feed(input);
            }
            self.core.reset_entries_index();
            self.io.replaying = None;
        }
        let blocks = &self.io.blocks;
        let lacks_block = |entry: WalEntry| match entry {
            WalEntry::Proposal(proposal) if !blocks.contains_key(&proposal.block) => Some(proposal),
            _ => None,
        };
        self.io.bare = entries.into_iter().filter_map(lacks_block).collect();
        Ok(())
    }

    /// Proposals of before a restart whose blocks are not here.
    pub(crate) fn take_bare_proposals(&mut self) -> Vec<SignedProposal> {
        std::mem::take(&mut self.io.bare)
    }

    /// A peer's message. It must have passed [`Host::check_message`].
    pub(crate) fn message(&mut self, message: &ConsensusMessage) {
        self.feed(input_of(message));
    }

    /// A timer that was asked for. One that was cancelled meanwhile does nothing.
    pub(crate) fn timer(&mut self, id: u64) {
        if let Some(timeout) = self.io.timers.remove(&id) {
            self.feed(Input::TimeoutElapsed(timeout));
        }
    }

    /// Our own block for a round that [`Out::GetValue`] named.
    pub(crate) fn propose(&mut self, round: u32, block: Block) {
        let value = Value(block.id());
        let height = Height(block.header.height);
        self.io.keep(value.0, block, self.io.address);
        self.feed(Input::Propose(LocallyProposedValue::new(height, Round::new(round), value)));
    }

    /// Somebody's block, and whether the ledger takes it. `proposer` is whose turn it was in that round.
    pub(crate) fn value(&mut self, round: u32, proposer: Account, block: Block, valid: bool) {
        let id = block.id();
        let value = ProposedValue {
            height: Height(block.header.height),
            round: Round::new(round),
            valid_round: Round::Nil,
            proposer,
            value: Value(id),
            validity: Validity::from_bool(valid),
        };
        self.io.keep(id, block, proposer);
        self.feed(Input::ProposedValue(value, ValueOrigin::Consensus));
    }

    /// Are all signatures of a message those of validators, and right? In one word why not.
    pub(crate) fn check_message(&mut self, message: &ConsensusMessage) -> Result<(), &'static str> {
        match message {
            ConsensusMessage::Vote(vote) => {
                let said = self.io.said_in_vote(vote);
                self.io.signatures.check(vote.height, [said])
            }
            ConsensusMessage::Proposal(said) => {
                let CoreInput::Proposal(proposal) = input_of(message) else { return Err("malformed") };
                if self.proposer(said.height, said.round) != Some(said.validator) {
                    return Err("proposer");
                }
                let said = self.io.said_in_proposal(&proposal.message, proposal.signature);
                self.io.signatures.check(proposal.message.height.0, [said])
            }
            // Checked here already, or anybody could have others forward what the core then drops.
            ConsensusMessage::Polka(_) => {
                let CoreInput::PolkaCertificate(polka) = input_of(message) else { return Err("malformed") };
                self.io.polka(&polka, ThresholdParams::default()).map_err(|_| "certificate")
            }
            ConsensusMessage::Round(_) => {
                let CoreInput::RoundCertificate(round) = input_of(message) else { return Err("malformed") };
                self.io.round(&round, ThresholdParams::default()).map_err(|_| "certificate")
            }
        }
    }

    /// Does a certificate prove a decision of a height whose set is known?
    pub(crate) fn check_certificate(&mut self, certificate: &Certificate) -> Result<(), String> {
        self.io.signatures.check_certificate(certificate)
    }

    /// Whose turn it is; none where the set is not known.
    pub(crate) fn proposer(&self, height: u64, round: u32) -> Option<Account> {
        let set = self.io.signatures.set(height)?.clone();
        Some(Tributary.select_proposer(&Members(set), Height(height), Round::new(round)).key)
    }

    /// Is a message near enough to the round that is agreed on to be of use? The core keeps votes and proposals of no
    /// later rounds; certificates, which nobody makes alone, lead out of any.
    pub(crate) fn is_near(&self, message: &ConsensusMessage) -> bool {
        let round = match message {
            ConsensusMessage::Vote(vote) => vote.round,
            ConsensusMessage::Proposal(proposal) => proposal.round,
            ConsensusMessage::Polka(_) | ConsensusMessage::Round(_) => return true,
        };
        let current = if message.height() == self.io.height { self.round().unwrap_or(0) } else { 0 };
        round <= current.saturating_add(ROUNDS_AHEAD)
    }

    /// The blocks of the open height.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.io.blocks.values()
    }

    fn feed(&mut self, input: CoreInput) {
        if self.io.fatal.is_some() || self.io.silent.is_some() {
            return;
        }
        let (core, io) = (&mut self.core, &mut self.io);
        let result: Result<(), Error<Tributary>> =
            malachite::process!(input: input, state: core, metrics: &(), with: effect => io.handle(effect));
        if let Some((before, reason)) = self.io.refused.take() {
            self.fall_silent(before, reason);
        } else if let Err(error) = result {
            self.io.fatal.get_or_insert_with(|| format!("agreement stopped: {error}"));
        }
    }

    /// Ends this validator's part in the open height. What came out before the refusal counts, and nothing after it: the
    /// core has moved on as if the signature were there, so it is not asked again.
    fn fall_silent(&mut self, before: usize, reason: String) {
        self.io.out.truncate(before);
        let timers = std::mem::take(&mut self.io.timers);
        self.io.out.extend(timers.into_keys().map(Out::CancelTimer));
        self.io.silent = Some(self.io.height);
        self.io.out.push(Out::Silent { height: self.io.height, reason });
        if let Some(set) = self.io.signatures.set(self.io.height).cloned() {
            self.core = new_core(self.io.address, set);
        }
    }
}

impl Io {
    fn handle(&mut self, effect: Effect<Tributary>) -> Result<Resume<Tributary>, String> {
        #[cfg(test)]
        self.asked.entry(super::kinds::kind(&effect)).and_modify(|times| *times += 1).or_insert(1);
        Ok(match effect {
            Effect::CancelAllTimeouts(r) => {
                let timers = std::mem::take(&mut self.timers);
                self.out.extend(timers.into_keys().map(Out::CancelTimer));
                r.resume_with(())
            }
            Effect::CancelTimeout(timeout, r) => {
                let ids: Vec<u64> = self.timers.iter().filter(|(_, t)| **t == timeout).map(|(id, _)| *id).collect();
                for id in ids {
                    self.timers.remove(&id);
                    self.out.push(Out::CancelTimer(id));
                }
                r.resume_with(())
            }
            Effect::ScheduleTimeout(timeout, r) => {
                self.next_timer += 1;
                let wait = self.timeouts.duration_for(timeout).as_millis();
                self.timers.insert(self.next_timer, timeout);
                self.out.push(Out::SetTimer(self.next_timer, u64::try_from(wait).unwrap_or(u64::MAX)));
                r.resume_with(())
            }
            Effect::StartRound(_, _, _, _, r) => r.resume_with(()),
            Effect::PublishConsensusMsg(message, r) => {
                self.publish(match message {
                    SignedConsensusMsg::Vote(vote) => ConsensusMessage::Vote(vote_out(&vote)),
                    SignedConsensusMsg::Proposal(proposal) => ConsensusMessage::Proposal(proposal_out(&proposal)),
                });
                r.resume_with(())
            }
            Effect::PublishLivenessMsg(message, r) => {
                self.publish(match message {
                    LivenessMsg::Vote(vote) => ConsensusMessage::Vote(vote_out(&vote)),
                    LivenessMsg::PolkaCertificate(polka) => ConsensusMessage::Polka(polka_out(&polka)),
                    LivenessMsg::SkipRoundCertificate(round) => ConsensusMessage::Round(round_out(&round)),
                });
                r.resume_with(())
            }
            Effect::RepublishVote(vote, r) => {
                self.publish(ConsensusMessage::Vote(vote_out(&vote)));
                r.resume_with(())
            }
            Effect::RepublishRoundCertificate(round, r) => {
                self.publish(ConsensusMessage::Round(round_out(&round)));
                r.resume_with(())
            }
            Effect::GetValue(height, round, _, r) => {
                if let Some(round) = round.as_u32() {
                    self.out.push(Out::GetValue { height: height.0, round });
                }
                r.resume_with(())
            }
            Effect::RestreamProposal(_, _, _, _, id, r) => {
                self.out.push(Out::Offer(id));
                r.resume_with(())
            }
            // Decided blocks are fetched and checked by the node itself, never through the core's sync.
            Effect::CertVerifiedSyncValue(_, _, r) => r.resume_with(()),
            Effect::CertRejectedSyncValue(_, _, _, r) => r.resume_with(()),
            Effect::Decide(_, _, r) => r.resume_with(()),
            Effect::Finalize(certificate, _, evidence, r) => {
                let signatures: BTreeMap<Account, Signature> =
                    certificate.commit_signatures.iter().map(|vote| (vote.address, vote.signature)).collect();
                let set = self.signatures.set_hash(certificate.height.0);
                let votes = evidence.votes.iter().flat_map(|(_, pairs)| pairs);
                let votes = votes.filter_map(|(first, second)| double_vote(first, second, set));
                let proposals = evidence.proposals.iter().flat_map(|(_, pairs)| pairs);
                let proposals = proposals.filter_map(|(first, second)| double_proposal(first, second, set));
                // One offence of each is enough.
                let accused: BTreeMap<Account, Offence> =
                    votes.chain(proposals).map(|offence| (offence.validator, offence)).collect();
                self.out.extend(accused.into_values().map(Out::Equivocation));
                self.out.push(Out::Decided(Certificate {
                    height: certificate.height.0,
                    round: certificate.round.as_u32().unwrap_or(0),
                    block: certificate.value_id,
                    signatures: signatures.into_iter().collect(),
                }));
                r.resume_with(())
            }
            Effect::SignVote(vote, r) => {
                let payload = vote.payload(self.signatures.set_hash(vote.height.0));
                let step = match vote.step {
                    VoteStep::Prevote => Slot::PREVOTE,
                    VoteStep::Precommit => Slot::PRECOMMIT,
                };
                let signature = self.sign(Slot::new(vote.height.0, vote.round, step), Purpose::Vote, &payload)?;
                r.resume_with(SignedMessage::new(vote, signature))
            }
            Effect::SignProposal(proposal, r) => {
                let payload = proposal.payload(self.signatures.set_hash(proposal.height.0));
                let slot = Slot::new(proposal.height.0, proposal.round, Slot::PROPOSAL);
                let signature = self.sign(slot, Purpose::Proposal, &payload)?;
                r.resume_with(SignedMessage::new(proposal, signature))
            }
            Effect::VerifySignature(message, signer, r) => {
                let (height, said) = match &message.message {
                    ConsensusMsg::Vote(vote) => (vote.height.0, self.said(vote, message.signature)),
                    ConsensusMsg::Proposal(proposal) => {
                        (proposal.height.0, self.said_in_proposal(proposal, message.signature))
                    }
                };
                r.resume_with(said.signer == signer && self.signatures.check(height, [said]).is_ok())
            }
            Effect::VerifyCommitCertificate(certificate, _, thresholds, r) => {
                let value = NilOrVal::Val(certificate.value_id);
                let votes = certificate.commit_signatures.iter().map(|vote| {
                    let step = VoteStep::Precommit;
                    (Vote::new(step, certificate.height, certificate.round, value, vote.address), vote.signature)
                });
                r.resume_with(self.certificate(certificate.height.0, thresholds.quorum, votes.collect()))
            }
            Effect::VerifyExtendedCommitCertificate(certificate, _, thresholds, _, r) => {
                let value = NilOrVal::Val(certificate.value_id);
                let votes = certificate.commit_signatures.iter().map(|vote| {
                    let step = VoteStep::Precommit;
                    (Vote::new(step, certificate.height, certificate.round, value, vote.address), vote.signature)
                });
                r.resume_with(self.certificate(certificate.height.0, thresholds.quorum, votes.collect()))
            }
            Effect::VerifyPolkaCertificate(polka, _, thresholds, r) => r.resume_with(self.polka(&polka, thresholds)),
            Effect::VerifyRoundCertificate(round, _, thresholds, r) => r.resume_with(self.round(&round, thresholds)),
            Effect::WalAppend(height, input, r) => {
                if height.0 == self.height {
                    let entry = WalEntry::of(&input, |id| self.blocks.get(id).cloned());
                    // What is signed while a log is fed back is what a power cut took from its end, after the last-sign
                    // record was written. Not logged again, it would be missing when this place is passed once more,
                    // and could not be signed then.
                    let is_new = |entry: &WalEntry| match &self.replaying {
                        None => true,
                        Some(own) => entry.signed_place(&self.address).is_some() && !own.contains(&canonical(entry)),
                    };
                    let logged = |entry| Out::Wal { height: height.0, entry: canonical(&entry) };
                    self.out.extend(entry.filter(is_new).map(logged));
                }
                r.resume_with(())
            }
            // Vote extensions are disabled.
            Effect::ExtendVote(_, _, _, _, r) => r.resume_with(None),
            Effect::VerifyVoteExtension(_, _, _, _, _, _, r) => r.resume_with(Ok(())),
        })
    }

    fn publish(&mut self, message: ConsensusMessage) {
        if self.fatal.is_none() && self.refused.is_none() {
            self.out.push(Out::Publish(message));
        }
    }

    /// Signs, unless something else was signed in this place or a later one.
    fn sign(&mut self, slot: Slot, purpose: Purpose, payload: &[u8]) -> Result<Signature, String> {
        match self.record.sign(slot, payload, || self.key.sign(purpose, self.signatures.genesis(), payload)) {
            Ok(signature) => {
                self.out.push(Out::Sign(canonical(&self.record)));
                Ok(signature)
            }
            Err(error) => {
                let before = self.out.len();
                self.refused.get_or_insert_with(|| (before, error.to_string()));
                Err(error.to_string())
            }
        }
    }

    /// Keeps a block of the open height. The header's word for its proposer is not signed, so it is not asked.
    fn keep(&mut self, id: BlockId, block: Block, proposer: Account) {
        if proposer == self.address {
            self.own.insert(id);
        }
        self.blocks.insert(id, block);
    }

    fn said(&self, vote: &Vote, signature: Signature) -> Said {
        let payload = vote.payload(self.signatures.set_hash(vote.height.0));
        Said { signer: vote.voter, purpose: Purpose::Vote, payload, signature }
    }

    fn said_in_vote(&self, vote: &SignedVote) -> Said {
        let payload = canonical(&VotePayload {
            step: vote.step,
            height: vote.height,
            round: vote.round,
            block: vote.block,
            validators: self.signatures.set_hash(vote.height),
            validator: vote.validator,
        });
        Said { signer: vote.validator, purpose: Purpose::Vote, payload, signature: vote.signature }
    }

    fn said_in_proposal(&self, proposal: &Proposal, signature: Signature) -> Said {
        let payload = proposal.payload(self.signatures.set_hash(proposal.height.0));
        Said { signer: proposal.proposer, purpose: Purpose::Proposal, payload, signature }
    }

    #[expect(clippy::result_large_err, reason = "the error's type and size are the core's")]
    fn polka(
        &mut self,
        polka: &PolkaCertificate<Tributary>,
        thresholds: ThresholdParams,
    ) -> Result<(), CertificateError<Tributary>> {
        let value = NilOrVal::Val(polka.value_id);
        let votes = polka
            .polka_signatures
            .iter()
            .map(|vote| (Vote::new(VoteStep::Prevote, polka.height, polka.round, value, vote.address), vote.signature));
        self.certificate(polka.height.0, thresholds.quorum, votes.collect())
    }

    #[expect(clippy::result_large_err, reason = "the error's type and size are the core's")]
    fn round(
        &mut self,
        round: &RoundCertificate<Tributary>,
        thresholds: ThresholdParams,
    ) -> Result<(), CertificateError<Tributary>> {
        let threshold = match round.cert_type {
            RoundCertificateType::Precommit => thresholds.quorum,
            RoundCertificateType::Skip => thresholds.honest,
        };
        let votes = round.round_signatures.iter().map(|vote| {
            let step = super::context::vote_step(vote.vote_type);
            (Vote::new(step, round.height, round.round, vote.value_id, vote.address), vote.signature)
        });
        self.certificate(round.height.0, threshold, votes.collect())
    }

    /// Sums the power of a certificate's signers, each once, each with a signature that holds.
    #[expect(clippy::result_large_err, reason = "the error's type and size are the core's")]
    fn certificate(
        &mut self,
        height: u64,
        threshold: ThresholdParam,
        votes: Vec<(Vote, Signature)>,
    ) -> Result<(), CertificateError<Tributary>> {
        let Some(set) = self.signatures.set(height).cloned() else {
            return Err(CertificateError::VerificationError(None));
        };
        let (mut seen, mut signed) = (BTreeSet::new(), 0_u64);
        for (vote, _) in &votes {
            if !seen.insert(vote.voter) {
                return Err(CertificateError::DuplicateVote(vote.voter));
            }
            let member = set.get(&vote.voter).ok_or(CertificateError::UnknownValidator(vote.voter))?;
            signed = signed.saturating_add(member.power);
        }
        let total = set.total_power();
        if !threshold.is_met(signed, total) {
            let expected = threshold.min_expected(total);
            return Err(CertificateError::NotEnoughVotingPower { signed, total, expected });
        }
        let said: Vec<Said> = votes.iter().map(|(vote, signature)| self.said(vote, *signature)).collect();
        self.signatures.check(height, said).map_err(|_| CertificateError::VerificationError(None))
    }
}
