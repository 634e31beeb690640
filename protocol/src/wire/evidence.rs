//! Evidence of double signatures and its messages, field by field.

use super::fields::{Enumeration, Fault, fixed, optional, required};
use super::{Wire, proto, schema};
use crate::block::VoteStep;
use crate::crypto::{Kind, Signature};
use crate::ids::{Account, BlockId, Hash32};
use crate::objects::{DoubleSign, Evidence, Offence, SaidProposal, SaidVote};

impl Wire for Evidence {
    type Message = proto::Evidence;
    const NAME: &'static str = Kind::Evidence.as_str();
    const SCHEMA: &'static schema::Message = &schema::EVIDENCE;

    fn to_wire(&self) -> proto::Evidence {
        let Self { reporter, offence: Offence { validator, height, round, signed } } = self;
        proto::Evidence {
            reporter: reporter.0.to_vec(),
            validator: validator.0.to_vec(),
            height: *height,
            round: *round,
            signed: Some(from_signed(signed)),
        }
    }

    fn from_wire(message: proto::Evidence) -> Result<Self, Fault> {
        Ok(Self {
            reporter: Account(fixed("reporter", &message.reporter)?),
            offence: Offence {
                validator: Account(fixed("validator", &message.validator)?),
                height: message.height,
                round: message.round,
                signed: to_signed(required("signed", message.signed)?)?,
            },
        })
    }
}

fn from_signed(signed: &DoubleSign) -> proto::evidence::Signed {
    match signed {
        DoubleSign::Votes { step, first, second } => proto::evidence::Signed::Votes(proto::DoubleVote {
            step: step.number(),
            first: Some(from_vote(first)),
            second: Some(from_vote(second)),
        }),
        DoubleSign::Proposals { first, second } => proto::evidence::Signed::Proposals(proto::DoubleProposal {
            first: Some(from_proposal(first)),
            second: Some(from_proposal(second)),
        }),
    }
}

fn to_signed(message: proto::evidence::Signed) -> Result<DoubleSign, Fault> {
    Ok(match message {
        proto::evidence::Signed::Votes(votes) => DoubleSign::Votes {
            step: VoteStep::of_number("step", votes.step)?,
            first: to_vote(required("first", votes.first)?)?,
            second: to_vote(required("second", votes.second)?)?,
        },
        proto::evidence::Signed::Proposals(proposals) => DoubleSign::Proposals {
            first: to_proposal(required("first", proposals.first)?)?,
            second: to_proposal(required("second", proposals.second)?)?,
        },
    })
}

fn from_vote(vote: &SaidVote) -> proto::SaidVote {
    proto::SaidVote {
        block: vote.block.map(|id| id.0.to_vec()).unwrap_or_default(),
        validators: vote.validators.0.to_vec(),
        signature: vote.signature.0.to_vec(),
    }
}

fn to_vote(message: proto::SaidVote) -> Result<SaidVote, Fault> {
    Ok(SaidVote {
        block: optional("block", &message.block)?.map(BlockId),
        validators: Hash32(fixed("validators", &message.validators)?),
        signature: Signature(fixed("signature", &message.signature)?),
    })
}

fn from_proposal(proposal: &SaidProposal) -> proto::SaidProposal {
    proto::SaidProposal {
        block: proposal.block.0.to_vec(),
        pol_round: proposal.pol_round,
        validators: proposal.validators.0.to_vec(),
        signature: proposal.signature.0.to_vec(),
    }
}

fn to_proposal(message: proto::SaidProposal) -> Result<SaidProposal, Fault> {
    Ok(SaidProposal {
        block: BlockId(fixed("block", &message.block)?),
        pol_round: message.pol_round,
        validators: Hash32(fixed("validators", &message.validators)?),
        signature: Signature(fixed("signature", &message.signature)?),
    })
}
