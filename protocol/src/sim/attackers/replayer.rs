//! Says again what was said before, by anybody: old votes, old objects, and blocks that hold an object a second time.

use super::{Act, Crime, OwnBlocks, Tools, said, unchecked, with_body};
use crate::block::Block;
use crate::ids::BlockId;
use crate::node::{Effect, Input};
use crate::objects::Envelope;
use crate::wire::ConsensusMessage;

/// Messages it remembers.
const MEMORY: usize = 256;

/// Repeats.
#[derive(Default)]
pub struct Replayer {
    blocks: OwnBlocks,
    messages: Vec<ConsensusMessage>,
    objects: Vec<Envelope>,
}

impl Replayer {
    /// One that has not begun.
    pub fn create() -> Box<dyn Crime> {
        Box::new(Self::default())
    }

    fn repeat(&self, tools: &mut Tools<'_>, acts: &mut Vec<Act>) {
        if tools.dice.chance(100) {
            acts.extend(tools.dice.pick(&self.messages).map(|message| Act::Gossip(said(message.clone()))));
        }
        if tools.dice.chance(50) {
            acts.extend(tools.dice.pick(&self.objects).map(|object| Act::Gossip(unchecked(object.clone()))));
        }
    }
}

impl Crime for Replayer {
    fn name(&self) -> &'static str {
        "replayer"
    }

    fn hears(&mut self, tools: &mut Tools<'_>, input: &mut Input, acts: &mut Vec<Act>) -> bool {
        match input {
            Input::Consensus { message, .. } if self.messages.len() < MEMORY => self.messages.push(message.clone()),
            Input::Object(object, _) if self.objects.len() < MEMORY => self.objects.push(object.envelope().clone()),
            _ => {}
        }
        self.repeat(tools, acts);
        true
    }

    fn asked(&mut self, tools: &mut Tools<'_>, effect: Effect, acts: &mut Vec<Act>) {
        self.blocks.sees(&effect);
        if let Effect::PublishConsensus(ConsensusMessage::Proposal(proposal)) = &effect
            && tools.dice.chance(500)
            && let Some(old) = tools.dice.pick(&self.objects).cloned()
            && let Some(block) =
                self.blocks.alter(&proposal.block, |block| with_body(block, |body| body.envelopes.push(old)))
        {
            return acts.push(Act::Gossip(said(tools.proposal(proposal.height, proposal.round, block))));
        }
        acts.push(Act::Do(effect));
    }

    fn serves(&mut self, _: &mut Tools<'_>, id: &BlockId, block: Option<Block>) -> Option<Block> {
        block.or_else(|| self.blocks.get(id))
    }
}
