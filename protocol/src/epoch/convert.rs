//! Between what travels ([`ConsensusMessage`]), what is logged ([`WalEntry`]) and what the core takes ([`Input`]).

use super::context::{Height, Proposal, Tributary, Value, Vote, block_of, value_of, vote_step, vote_type};
use super::sign_record::Slot;
use crate::block::{Block, VoteStep};
use crate::ids::{Account, BlockId, Hash32};
use crate::offence::{Offence, SaidProposal, SaidVote};
use crate::wire::{ConsensusMessage, PolkaCert, RoundCert, RoundCertKind, RoundSignature, SignedProposal, SignedVote};
use borsh::{BorshDeserialize, BorshSerialize};
use malachite::{Input, ProposedValue};
use malachite_types::{
    PolkaCertificate, PolkaSignature, Round, RoundCertificate, RoundCertificateType, SignedMessage, Timeout,
    TimeoutKind, Validity, ValueOrigin,
};

pub(super) type CoreInput = Input<Tributary>;

/// What the core asked to have logged before it goes on.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) enum WalEntry {
    Vote(SignedVote),
    Proposal(SignedProposal),
    Polka(PolkaCert),
    /// A value and its validity, with the block: a decision after a restart needs it.
    Value {
        height: u64,
        round: Option<u32>,
        valid_round: Option<u32>,
        proposer: Account,
        id: BlockId,
        valid: bool,
        block: Option<Box<Block>>,
    },
    Timeout {
        kind: LoggedTimeout,
        round: Option<u32>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) enum LoggedTimeout {
    Propose,
    Prevote,
    Precommit,
    Rebroadcast,
}

impl WalEntry {
    /// The entry of an input; none for inputs that are never logged.
    pub(super) fn of(input: &CoreInput, block: impl Fn(&BlockId) -> Option<Block>) -> Option<Self> {
        Some(match input {
            Input::Vote(vote) => Self::Vote(vote_out(vote)),
            Input::Proposal(proposal) => Self::Proposal(proposal_out(proposal)),
            Input::PolkaCertificate(polka) => Self::Polka(polka_out(polka)),
            Input::ProposedValue(value, _) => Self::Value {
                height: value.height.0,
                round: value.round.as_u32(),
                valid_round: value.valid_round.as_u32(),
                proposer: value.proposer,
                id: value.value.0,
                valid: value.validity.is_valid(),
                block: block(&value.value.0).map(Box::new),
            },
            Input::TimeoutElapsed(timeout) => {
                let kind = match timeout.kind {
                    TimeoutKind::Propose => LoggedTimeout::Propose,
                    TimeoutKind::Prevote => LoggedTimeout::Prevote,
                    TimeoutKind::Precommit => LoggedTimeout::Precommit,
                    TimeoutKind::Rebroadcast => LoggedTimeout::Rebroadcast,
                    TimeoutKind::FinalizeHeight(_) => return None,
                };
                Self::Timeout { kind, round: timeout.round.as_u32() }
            }
            _ => return None,
        })
    }

    /// The place that this validator signed for by it, if it is its vote or proposal.
    pub(super) fn signed_place(&self, validator: &Account) -> Option<Slot> {
        match self {
            Self::Vote(vote) if vote.validator == *validator => {
                let step = match vote.step {
                    VoteStep::Prevote => Slot::PREVOTE,
                    VoteStep::Precommit => Slot::PRECOMMIT,
                };
                Some(Slot::new(vote.height, Round::new(vote.round), step))
            }
            Self::Proposal(proposal) if proposal.validator == *validator => {
                Some(Slot::new(proposal.height, Round::new(proposal.round), Slot::PROPOSAL))
            }
            _ => None,
        }
    }

    /// The input that was logged.
    pub(super) fn input(&self) -> CoreInput {
        match self {
            Self::Vote(vote) => Input::Vote(vote_in(vote)),
            Self::Proposal(proposal) => Input::Proposal(proposal_in(proposal)),
            Self::Polka(polka) => Input::PolkaCertificate(polka_in(polka)),
            Self::Value { height, round, valid_round, proposer, id, valid, block: _ } => {
                let value = ProposedValue {
                    height: Height(*height),
                    round: Round::from(*round),
                    valid_round: Round::from(*valid_round),
                    proposer: *proposer,
                    value: Value(*id),
                    validity: Validity::from_bool(*valid),
                };
                Input::ProposedValue(value, ValueOrigin::Consensus)
            }
            Self::Timeout { kind, round } => {
                let kind = match kind {
                    LoggedTimeout::Propose => TimeoutKind::Propose,
                    LoggedTimeout::Prevote => TimeoutKind::Prevote,
                    LoggedTimeout::Precommit => TimeoutKind::Precommit,
                    LoggedTimeout::Rebroadcast => TimeoutKind::Rebroadcast,
                };
                Input::TimeoutElapsed(Timeout::new(Round::from(*round), kind))
            }
        }
    }
}

/// What a peer said, as the core takes it.
pub(super) fn input_of(message: &ConsensusMessage) -> CoreInput {
    match message {
        ConsensusMessage::Vote(vote) => Input::Vote(vote_in(vote)),
        ConsensusMessage::Proposal(proposal) => Input::Proposal(proposal_in(proposal)),
        ConsensusMessage::Polka(polka) => Input::PolkaCertificate(polka_in(polka)),
        ConsensusMessage::Round(round) => Input::RoundCertificate(round_in(round)),
    }
}

fn vote_in(vote: &SignedVote) -> malachite_types::SignedVote<Tributary> {
    let message =
        Vote::new(vote.step, Height(vote.height), Round::new(vote.round), value_of(vote.block), vote.validator);
    SignedMessage::new(message, vote.signature)
}

pub(super) fn vote_out(vote: &malachite_types::SignedVote<Tributary>) -> SignedVote {
    SignedVote {
        step: vote.message.step,
        height: vote.message.height.0,
        round: vote.message.round.as_u32().unwrap_or(u32::MAX),
        block: block_of(vote.message.value),
        validator: vote.message.voter,
        signature: vote.signature,
    }
}

fn proposal_in(proposal: &SignedProposal) -> malachite_types::SignedProposal<Tributary> {
    let message = Proposal {
        height: Height(proposal.height),
        round: Round::new(proposal.round),
        value: Value(proposal.block),
        pol_round: Round::from(proposal.pol_round),
        proposer: proposal.validator,
    };
    SignedMessage::new(message, proposal.signature)
}

pub(super) fn proposal_out(proposal: &malachite_types::SignedProposal<Tributary>) -> SignedProposal {
    SignedProposal {
        height: proposal.message.height.0,
        round: proposal.message.round.as_u32().unwrap_or(u32::MAX),
        block: proposal.message.value.0,
        pol_round: proposal.message.pol_round.as_u32(),
        validator: proposal.message.proposer,
        signature: proposal.signature,
    }
}

/// Two votes that the core holds against their voter.
pub(super) fn double_vote(
    first: &malachite_types::SignedVote<Tributary>,
    second: &malachite_types::SignedVote<Tributary>,
    validators: Hash32,
) -> Option<Offence> {
    let (first, second) = (vote_out(first), vote_out(second));
    let place = |vote: &SignedVote| (vote.validator, vote.height, vote.round);
    let said = |vote: &SignedVote| SaidVote { block: vote.block, validators, signature: vote.signature };
    let same = place(&first) == place(&second) && first.step == second.step;
    same.then(|| Offence::of_votes(place(&first), first.step, [said(&first), said(&second)])).flatten()
}

/// Two proposals that the core holds against their proposer.
pub(super) fn double_proposal(
    first: &malachite_types::SignedProposal<Tributary>,
    second: &malachite_types::SignedProposal<Tributary>,
    validators: Hash32,
) -> Option<Offence> {
    let (first, second) = (proposal_out(first), proposal_out(second));
    let place = |proposal: &SignedProposal| (proposal.validator, proposal.height, proposal.round);
    let said = |proposal: &SignedProposal| SaidProposal {
        block: proposal.block,
        pol_round: proposal.pol_round,
        validators,
        signature: proposal.signature,
    };
    let same = place(&first) == place(&second);
    same.then(|| Offence::of_proposals(place(&first), [said(&first), said(&second)])).flatten()
}

fn polka_in(polka: &PolkaCert) -> PolkaCertificate<Tributary> {
    let signature = |(key, signature): &(Account, _)| PolkaSignature::new(*key, *signature);
    PolkaCertificate {
        height: Height(polka.height),
        round: Round::new(polka.round),
        value_id: polka.block,
        polka_signatures: polka.signatures.iter().map(signature).collect(),
    }
}

pub(super) fn polka_out(polka: &PolkaCertificate<Tributary>) -> PolkaCert {
    PolkaCert {
        height: polka.height.0,
        round: polka.round.as_u32().unwrap_or(u32::MAX),
        block: polka.value_id,
        signatures: polka.polka_signatures.iter().map(|vote| (vote.address, vote.signature)).collect(),
    }
}

fn round_in(round: &RoundCert) -> RoundCertificate<Tributary> {
    let signature = |vote: &RoundSignature| {
        malachite_types::RoundSignature::new(vote_type(vote.step), value_of(vote.block), vote.validator, vote.signature)
    };
    RoundCertificate {
        height: Height(round.height),
        round: Round::new(round.round),
        cert_type: match round.kind {
            RoundCertKind::Precommit => RoundCertificateType::Precommit,
            RoundCertKind::Skip => RoundCertificateType::Skip,
        },
        round_signatures: round.signatures.iter().map(signature).collect(),
    }
}

pub(super) fn round_out(round: &RoundCertificate<Tributary>) -> RoundCert {
    let signature = |vote: &malachite_types::RoundSignature<Tributary>| RoundSignature {
        step: vote_step(vote.vote_type),
        block: block_of(vote.value_id),
        validator: vote.address,
        signature: vote.signature,
    };
    RoundCert {
        height: round.height.0,
        round: round.round.as_u32().unwrap_or(u32::MAX),
        kind: match round.cert_type {
            RoundCertificateType::Precommit => RoundCertKind::Precommit,
            RoundCertificateType::Skip => RoundCertKind::Skip,
        },
        signatures: round.round_signatures.iter().map(signature).collect(),
    }
}
