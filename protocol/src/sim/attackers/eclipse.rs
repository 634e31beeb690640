//! Stands between a node and the world: tells it of heights that do not exist, answers with nothing or with old blocks,
//! and lets it see votes of its own alone. The scenario cuts the victim's other links.

use super::{Act, Crime, Tools, said};
use crate::block::{Block, Certificate, VoteStep};
use crate::ids::BlockId;
use crate::node::{Effect, Notice};
use crate::sim::world::Packet;

/// Misleads whoever hears only it.
pub struct Eclipse;

impl Eclipse {
    /// One that has not begun.
    pub fn create() -> Box<dyn Crime> {
        Box::new(Self)
    }
}

impl Crime for Eclipse {
    fn name(&self) -> &'static str {
        "eclipse"
    }

    fn asked(&mut self, tools: &mut Tools<'_>, effect: Effect, acts: &mut Vec<Act>) {
        if let Effect::Tell(Notice::Committed { height, .. }) = &effect {
            let height = *height;
            let claimed = if tools.dice.chance(300) { u64::MAX } else { height + tools.dice.between(1, 500) };
            acts.push(Act::Gossip(Packet::Status(claimed)));
            let round = u32::try_from(tools.dice.roll(20)).unwrap_or(0);
            for step in [VoteStep::Prevote, VoteStep::Precommit] {
                let ahead = tools.dice.between(1, 12);
                acts.push(Act::Gossip(said(tools.vote(step, height + ahead, round, Some(BlockId([8; 32]))))));
            }
        }
        acts.push(Act::Do(effect));
    }

    fn serves(&mut self, tools: &mut Tools<'_>, _: &BlockId, block: Option<Block>) -> Option<Block> {
        block.filter(|_| tools.dice.chance(300))
    }

    fn serves_decided(&mut self, tools: &mut Tools<'_>, blocks: &mut Vec<(Block, Certificate)>) {
        match tools.dice.roll(4) {
            0 => blocks.clear(),
            1 => blocks.reverse(),
            2 => blocks.truncate(1),
            _ => {}
        }
    }
}
