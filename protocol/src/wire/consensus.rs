//! What validators say to one another to agree, as it travels.
//!
//! What is signed is [`crate::block::VotePayload`] and [`crate::block::ProposalPayload`]: they name the validator set
//! too, which a receiver knows by itself and so is not sent.

use super::fields::{Enumeration, Fault, fixed, from_signatures, optional, required, to_signatures};
use super::{Wire, proto, schema};
use crate::block::VoteStep;
use crate::crypto::Signature;
use crate::ids::{Account, BlockId};
use borsh::{BorshDeserialize, BorshSerialize};

/// Any message of agreement.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum ConsensusMessage {
    /// One vote.
    Vote(SignedVote),
    /// The block that a round should decide.
    Proposal(SignedProposal),
    /// Prevotes of a quorum for one block.
    Polka(PolkaCert),
    /// Why a validator entered a round.
    Round(RoundCert),
}

/// A vote.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignedVote {
    /// Prevote or precommit.
    pub step: VoteStep,
    /// The height.
    pub height: u64,
    /// The round.
    pub round: u32,
    /// The block, or none.
    pub block: Option<BlockId>,
    /// Who votes.
    pub validator: Account,
    /// Over [`crate::block::VotePayload`].
    pub signature: Signature,
}

/// A proposal. The block itself is fetched by its id.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignedProposal {
    /// The height.
    pub height: u64,
    /// The round.
    pub round: u32,
    /// The block.
    pub block: BlockId,
    /// The round whose prevotes justify proposing it again.
    pub pol_round: Option<u32>,
    /// Who proposes.
    pub validator: Account,
    /// Over [`crate::block::ProposalPayload`].
    pub signature: Signature,
}

/// Prevotes for one block in one round.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PolkaCert {
    /// The height.
    pub height: u64,
    /// The round.
    pub round: u32,
    /// The block.
    pub block: BlockId,
    /// The prevotes' signers and signatures.
    pub signatures: Vec<(Account, Signature)>,
}

/// What a round certificate lets a validator do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum RoundCertKind {
    /// Precommits of more than two thirds, for whatever: the round may end.
    Precommit,
    /// Votes of more than one third in a later round: skip to it.
    Skip,
}

/// Votes that let a validator enter a round.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RoundCert {
    /// The height.
    pub height: u64,
    /// The round of the votes.
    pub round: u32,
    /// What it lets a validator do.
    pub kind: RoundCertKind,
    /// The votes.
    pub signatures: Vec<RoundSignature>,
}

/// One vote of a round certificate.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RoundSignature {
    /// Prevote or precommit.
    pub step: VoteStep,
    /// The block, or none.
    pub block: Option<BlockId>,
    /// Who votes.
    pub validator: Account,
    /// Over [`crate::block::VotePayload`].
    pub signature: Signature,
}

impl ConsensusMessage {
    /// The height that it is about.
    pub fn height(&self) -> u64 {
        match self {
            Self::Vote(vote) => vote.height,
            Self::Proposal(proposal) => proposal.height,
            Self::Polka(polka) => polka.height,
            Self::Round(round) => round.height,
        }
    }
}

impl Wire for ConsensusMessage {
    type Message = proto::ConsensusMessage;
    const NAME: &'static str = "consensus message";
    const SCHEMA: &'static schema::Message = &schema::CONSENSUS_MESSAGE;

    fn to_wire(&self) -> proto::ConsensusMessage {
        use proto::consensus_message::Message;
        let message = match self {
            Self::Vote(vote) => Message::Vote(from_vote(vote)),
            Self::Proposal(proposal) => Message::Proposal(from_proposal(proposal)),
            Self::Polka(polka) => Message::Polka(proto::PolkaCertificate {
                height: polka.height,
                round: polka.round,
                block: polka.block.0.to_vec(),
                signatures: from_signatures(&polka.signatures),
            }),
            Self::Round(round) => Message::Round(proto::RoundCertificate {
                height: round.height,
                round: round.round,
                kind: round.kind.number(),
                signatures: round.signatures.iter().map(from_round_signature).collect(),
            }),
        };
        proto::ConsensusMessage { message: Some(message) }
    }

    fn from_wire(message: proto::ConsensusMessage) -> Result<Self, Fault> {
        use proto::consensus_message::Message;
        Ok(match required("message", message.message)? {
            Message::Vote(vote) => Self::Vote(to_vote(vote)?),
            Message::Proposal(proposal) => Self::Proposal(to_proposal(proposal)?),
            Message::Polka(polka) => Self::Polka(PolkaCert {
                height: polka.height,
                round: polka.round,
                block: BlockId(fixed("block", &polka.block)?),
                signatures: to_signatures(polka.signatures)?,
            }),
            Message::Round(round) => Self::Round(RoundCert {
                height: round.height,
                round: round.round,
                kind: RoundCertKind::of_number("kind", round.kind)?,
                signatures: round.signatures.into_iter().map(to_round_signature).collect::<Result<_, Fault>>()?,
            }),
        })
    }
}

fn from_block(block: Option<BlockId>) -> Vec<u8> {
    block.map(|id| id.0.to_vec()).unwrap_or_default()
}

fn to_block(bytes: &[u8]) -> Result<Option<BlockId>, Fault> {
    Ok(optional("block", bytes)?.map(BlockId))
}

fn from_vote(vote: &SignedVote) -> proto::Vote {
    proto::Vote {
        step: vote.step.number(),
        height: vote.height,
        round: vote.round,
        block: from_block(vote.block),
        validator: vote.validator.0.to_vec(),
        signature: vote.signature.0.to_vec(),
    }
}

fn to_vote(message: proto::Vote) -> Result<SignedVote, Fault> {
    Ok(SignedVote {
        step: VoteStep::of_number("step", message.step)?,
        height: message.height,
        round: message.round,
        block: to_block(&message.block)?,
        validator: Account(fixed("validator", &message.validator)?),
        signature: Signature(fixed("signature", &message.signature)?),
    })
}

fn from_proposal(proposal: &SignedProposal) -> proto::Proposal {
    proto::Proposal {
        height: proposal.height,
        round: proposal.round,
        block: proposal.block.0.to_vec(),
        pol_round: proposal.pol_round,
        validator: proposal.validator.0.to_vec(),
        signature: proposal.signature.0.to_vec(),
    }
}

fn to_proposal(message: proto::Proposal) -> Result<SignedProposal, Fault> {
    Ok(SignedProposal {
        height: message.height,
        round: message.round,
        block: BlockId(fixed("block", &message.block)?),
        pol_round: message.pol_round,
        validator: Account(fixed("validator", &message.validator)?),
        signature: Signature(fixed("signature", &message.signature)?),
    })
}

fn from_round_signature(vote: &RoundSignature) -> proto::RoundSignature {
    proto::RoundSignature {
        step: vote.step.number(),
        block: from_block(vote.block),
        validator: vote.validator.0.to_vec(),
        signature: vote.signature.0.to_vec(),
    }
}

fn to_round_signature(message: proto::RoundSignature) -> Result<RoundSignature, Fault> {
    Ok(RoundSignature {
        step: VoteStep::of_number("step", message.step)?,
        block: to_block(&message.block)?,
        validator: Account(fixed("validator", &message.validator)?),
        signature: Signature(fixed("signature", &message.signature)?),
    })
}
