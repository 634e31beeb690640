//! Says one thing to some and another to others: votes for a block and for none, proposes two blocks for one round.

use super::{Act, Crime, OwnBlocks, Tools, said};
use crate::block::Block;
use crate::ids::BlockId;
use crate::node::Effect;
use crate::wire::ConsensusMessage;

/// Signs two messages in one place.
#[derive(Default)]
pub struct Equivocator {
    blocks: OwnBlocks,
}

impl Equivocator {
    /// One that has not begun.
    pub fn create() -> Box<dyn Crime> {
        Box::new(Self::default())
    }

    /// What it says to the others, in place of `message`.
    fn contradict(&mut self, tools: &mut Tools<'_>, message: &ConsensusMessage) -> Option<ConsensusMessage> {
        match message {
            ConsensusMessage::Vote(vote) => {
                let own = self.blocks.latest.as_ref().map(Block::id);
                let other = if vote.block.is_some() { None } else { own };
                Some(tools.vote(vote.step, vote.height, vote.round, other))
            }
            ConsensusMessage::Proposal(proposal) => {
                let later = |mut block: Block| {
                    block.header.time_ms += 1;
                    block
                };
                let other = self.blocks.alter(&proposal.block, later)?;
                Some(tools.proposal(proposal.height, proposal.round, other))
            }
            ConsensusMessage::Polka(_) | ConsensusMessage::Round(_) => None,
        }
    }
}

impl Crime for Equivocator {
    fn name(&self) -> &'static str {
        "equivocator"
    }

    fn asked(&mut self, tools: &mut Tools<'_>, effect: Effect, acts: &mut Vec<Act>) {
        self.blocks.sees(&effect);
        let Effect::PublishConsensus(message) = &effect else { return acts.push(Act::Do(effect)) };
        let Some(other) = self.contradict(tools, message) else { return acts.push(Act::Do(effect)) };
        let (some, rest) = tools.halves();
        acts.extend(some.into_iter().map(|to| Act::Send(to, said(message.clone()))));
        acts.extend(rest.iter().map(|to| Act::Send(*to, said(other.clone()))));
        // Sometimes both halves hear both, which proves the crime.
        if tools.dice.chance(300) {
            acts.push(Act::Gossip(said(message.clone())));
            acts.push(Act::Gossip(said(other)));
        }
    }

    fn serves(&mut self, _: &mut Tools<'_>, id: &BlockId, block: Option<Block>) -> Option<Block> {
        block.or_else(|| self.blocks.get(id))
    }
}
