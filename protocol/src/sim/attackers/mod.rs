//! Criminals: nodes that run the real core and alter what goes in and comes out, or send what they made themselves with
//! the keys they really hold. One file each, named by the crime.

use super::dice::Dice;
use super::world::{NodeIndex, Packet, World};
use crate::block::{Block, Certificate};
use crate::crypto::SecretKey;
use crate::evidence::Evidence;
use crate::ids::{DataNetId, ReceiptId};
use crate::node::{Effect, Input};

/// What a node does.
pub enum Act {
    /// What its core asked for, as any driver carries it out.
    Do(Effect),
    /// It sends this to everybody.
    Gossip(Packet),
    /// It sends this to one.
    Send(NodeIndex, Packet),
}

/// What a criminal has at hand.
pub struct Tools<'a> {
    /// Its place.
    pub index: NodeIndex,
    /// The world around it: criminals know everything that is no secret.
    pub world: &'a World,
    /// Its own key, and no other.
    pub key: &'a SecretKey,
    /// Its choices.
    pub dice: &'a mut Dice,
}

/// A way of breaking the rules. Whatever is not overridden is done as an honest node would.
pub trait Crime {
    /// Its name.
    fn name(&self) -> &'static str;

    /// Something reaches it. False keeps it from the core.
    fn hears(&mut self, _tools: &mut Tools<'_>, _input: &mut Input, _acts: &mut Vec<Act>) -> bool {
        true
    }

    /// Its core asks for something.
    fn asked(&mut self, _tools: &mut Tools<'_>, effect: Effect, acts: &mut Vec<Act>) {
        acts.push(Act::Do(effect));
    }

    /// What it answers to whoever asks for a proposed block.
    fn serves(&mut self, _tools: &mut Tools<'_>, block: Option<Block>) -> Option<Block> {
        block
    }

    /// What it answers to whoever asks for decided blocks.
    fn serves_decided(&mut self, _tools: &mut Tools<'_>, _blocks: &mut Vec<(Block, Certificate)>) {}

    /// Without a commit phase, it learns what honest validators found.
    fn leaked(&mut self, _epoch: u64, _datanet: DataNetId, _evidence: &[(ReceiptId, Evidence)]) {}
}
