//! Double signatures: two messages of agreement that one validator may never both sign.
//!
//! A validator votes once in each step of a round and proposes once in a round. Two votes for different blocks (or a
//! block and none), or two proposals that differ, are an offence, whatever validator sets they name: nobody needs to know
//! the sets of that height to prove it.

use crate::block::{ProposalPayload, VotePayload, VoteStep};
use crate::crypto::{Purpose, Signature};
use crate::genesis::canonical;
use crate::ids::{Account, BlockId, Hash32};

/// A double signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offence {
    /// Whose.
    pub validator: Account,
    /// The height of both messages.
    pub height: u64,
    /// Their round.
    pub round: u32,
    /// What was signed twice.
    pub signed: DoubleSign,
}

/// Two messages that exclude each other, in ascending order, so that one pair has one form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoubleSign {
    /// Votes of one step for different blocks.
    Votes {
        /// The step.
        step: VoteStep,
        /// The vote for the lesser block; none is least.
        first: SaidVote,
        /// The other.
        second: SaidVote,
    },
    /// Proposals of different blocks, or of one with different justifications.
    Proposals {
        /// The one with the lesser block and justification.
        first: SaidProposal,
        /// The other.
        second: SaidProposal,
    },
}

/// What is a vote's own beside its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SaidVote {
    /// The block, or none.
    pub block: Option<BlockId>,
    /// The hash of the validator set that it names.
    pub validators: Hash32,
    /// Over [`VotePayload`].
    pub signature: Signature,
}

/// What is a proposal's own beside its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SaidProposal {
    /// The block.
    pub block: BlockId,
    /// The round whose prevotes justify proposing it again.
    pub pol_round: Option<u32>,
    /// The hash of the validator set that it names.
    pub validators: Hash32,
    /// Over [`ProposalPayload`].
    pub signature: Signature,
}

impl Offence {
    /// Two votes of one validator in one step; none when they do not exclude each other.
    pub fn of_votes(place: (Account, u64, u32), step: VoteStep, votes: [SaidVote; 2]) -> Option<Self> {
        let [mut first, mut second] = votes;
        if first.block > second.block {
            std::mem::swap(&mut first, &mut second);
        }
        let (validator, height, round) = place;
        let offence = Self { validator, height, round, signed: DoubleSign::Votes { step, first, second } };
        offence.is_ordered().then_some(offence)
    }

    /// Two proposals of one validator in one round; none when they do not exclude each other.
    pub fn of_proposals(place: (Account, u64, u32), proposals: [SaidProposal; 2]) -> Option<Self> {
        let [mut first, mut second] = proposals;
        if (first.block, first.pol_round) > (second.block, second.pol_round) {
            std::mem::swap(&mut first, &mut second);
        }
        let (validator, height, round) = place;
        let offence = Self { validator, height, round, signed: DoubleSign::Proposals { first, second } };
        offence.is_ordered().then_some(offence)
    }

    /// Do the messages differ, and stand in their order?
    pub fn is_ordered(&self) -> bool {
        match &self.signed {
            DoubleSign::Votes { first, second, .. } => first.block < second.block,
            DoubleSign::Proposals { first, second } => {
                (first.block, first.pol_round) < (second.block, second.pol_round)
            }
        }
    }

    /// What the offender must have signed, with the signatures that prove it.
    pub fn claims(&self) -> [(Purpose, Vec<u8>, Signature); 2] {
        let Self { validator, height, round, signed } = *self;
        match signed {
            DoubleSign::Votes { step, first, second } => [first, second].map(|said| {
                let SaidVote { block, validators, signature } = said;
                let payload = VotePayload { step, height, round, block, validators, validator };
                (Purpose::Vote, canonical(&payload), signature)
            }),
            DoubleSign::Proposals { first, second } => [first, second].map(|said| {
                let SaidProposal { block, pol_round, validators, signature } = said;
                let payload = ProposalPayload { height, round, block, pol_round, validators, validator };
                (Purpose::Proposal, canonical(&payload), signature)
            }),
        }
    }
}
