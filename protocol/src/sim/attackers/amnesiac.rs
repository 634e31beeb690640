//! Forgets what it is locked on: from the second round of a height on, it votes for whatever is proposed.

use super::{Act, Crime, Tools, said};
use crate::block::VoteStep;
use crate::node::{Effect, Input};
use crate::wire::ConsensusMessage;

/// Forgets its locks.
pub struct Amnesiac;

impl Amnesiac {
    /// One that has not begun.
    pub fn create() -> Box<dyn Crime> {
        Box::new(Self)
    }
}

impl Crime for Amnesiac {
    fn name(&self) -> &'static str {
        "amnesiac"
    }

    fn hears(&mut self, tools: &mut Tools<'_>, input: &mut Input, acts: &mut Vec<Act>) -> bool {
        if let Input::Consensus { message: ConsensusMessage::Proposal(proposal), .. } = input
            && proposal.round > 0
        {
            for step in [VoteStep::Prevote, VoteStep::Precommit] {
                let vote = tools.vote(step, proposal.height, proposal.round, Some(proposal.block));
                acts.push(Act::Gossip(said(vote)));
            }
        }
        true
    }

    fn asked(&mut self, _: &mut Tools<'_>, effect: Effect, acts: &mut Vec<Act>) {
        let remembers = matches!(&effect, Effect::PublishConsensus(ConsensusMessage::Vote(vote)) if vote.round > 0);
        if !remembers {
            acts.push(Act::Do(effect));
        }
    }
}
