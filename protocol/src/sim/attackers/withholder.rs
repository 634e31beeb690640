//! Proposes blocks and gives them to nobody, or too late to some; answers nobody who catches up; votes when it likes.

use super::{Act, Crime, Tools};
use crate::block::{Block, Certificate};
use crate::ids::BlockId;
use crate::node::Effect;

/// Keeps back what others need.
pub struct Withholder;

impl Withholder {
    /// One that has not begun.
    pub fn create() -> Box<dyn Crime> {
        Box::new(Self)
    }
}

impl Crime for Withholder {
    fn name(&self) -> &'static str {
        "withholder"
    }

    fn asked(&mut self, tools: &mut Tools<'_>, effect: Effect, acts: &mut Vec<Act>) {
        let keeps_back = match &effect {
            Effect::PublishConsensus(_) => tools.dice.chance(200),
            Effect::PublishObject(_) => tools.dice.chance(500),
            _ => false,
        };
        if !keeps_back {
            acts.push(Act::Do(effect));
        }
    }

    fn serves(&mut self, tools: &mut Tools<'_>, _: &BlockId, block: Option<Block>) -> Option<Block> {
        block.filter(|_| tools.dice.chance(100))
    }

    fn serves_decided(&mut self, tools: &mut Tools<'_>, blocks: &mut Vec<(Block, Certificate)>) {
        if tools.dice.chance(800) {
            blocks.clear();
        }
    }
}
