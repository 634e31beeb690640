//! Criminals: nodes that run the real core and alter what goes in and comes out, or send what they made themselves with
//! the keys they really hold. One file each, named by the crime.

mod amnesiac;
mod copycat;
mod eclipse;
mod equivocator;
mod forger;
mod liar;
mod replayer;
mod spammer;
mod withholder;

pub use amnesiac::Amnesiac;
pub use copycat::Copycat;
pub use eclipse::Eclipse;
pub use equivocator::Equivocator;
pub use forger::Forger;
pub use liar::Liar;
pub use replayer::Replayer;
pub use spammer::Spammer;
pub use withholder::Withholder;

use super::dice::Dice;
use super::world::{NodeIndex, Packet, World};
use crate::block::{Block, Certificate, ProposalPayload, VotePayload, VoteStep};
use crate::crypto::{Purpose, SecretKey};
use crate::envelope::seal;
use crate::evidence::Evidence;
use crate::genesis::canonical;
use crate::ids::{BlockId, DataNetId, ReceiptId};
use crate::node::{Effect, Input};
use crate::objects::{Envelope, Object};
use crate::wire::{ConsensusMessage, SignedProposal, SignedVote};
use std::rc::Rc;

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

    /// What it answers to whoever asks for a proposed block, and what it would answer if it were honest.
    fn serves(&mut self, _tools: &mut Tools<'_>, _id: &BlockId, block: Option<Block>) -> Option<Block> {
        block
    }

    /// What it answers to whoever asks for decided blocks.
    fn serves_decided(&mut self, _tools: &mut Tools<'_>, _blocks: &mut Vec<(Block, Certificate)>) {}

    /// Without a commit phase, it learns what honest validators found.
    fn leaked(&mut self, _epoch: u64, _datanet: DataNetId, _evidence: &[(ReceiptId, Evidence)]) {}
}

impl Tools<'_> {
    /// A vote of its own.
    fn vote(&self, step: VoteStep, height: u64, round: u32, block: Option<BlockId>) -> ConsensusMessage {
        let (validator, validators) = (self.key.account(), self.world.validators_at(self.index).hash());
        let payload = canonical(&VotePayload { step, height, round, block, validators, validator });
        let signature = self.key.sign(Purpose::Vote, &self.world.genesis_hash, &payload);
        ConsensusMessage::Vote(SignedVote { step, height, round, block, validator, signature })
    }

    /// A proposal of its own.
    fn proposal(&self, height: u64, round: u32, block: BlockId) -> ConsensusMessage {
        let (validator, validators) = (self.key.account(), self.world.validators_at(self.index).hash());
        let payload = canonical(&ProposalPayload { height, round, block, pol_round: None, validators, validator });
        let signature = self.key.sign(Purpose::Proposal, &self.world.genesis_hash, &payload);
        ConsensusMessage::Proposal(SignedProposal { height, round, block, pol_round: None, validator, signature })
    }

    /// An object signed by keys that it holds; none when they are not the right ones.
    fn seal(&self, object: &Object, keys: &[&SecretKey]) -> Option<Envelope> {
        seal(object, keys, &self.world.genesis_hash).ok()
    }

    /// All nodes but itself, in two halves.
    fn halves(&mut self) -> (Vec<NodeIndex>, Vec<NodeIndex>) {
        let mut others: Vec<NodeIndex> = (0..self.world.members.len()).filter(|other| *other != self.index).collect();
        self.dice.shuffle(&mut others);
        let half = others.split_off(others.len() / 2);
        (others, half)
    }
}

/// A packet of what its sender did not check.
fn unchecked(envelope: Envelope) -> Packet {
    Packet::Unchecked(Rc::new(envelope))
}

/// A packet of a consensus message.
fn said(message: ConsensusMessage) -> Packet {
    Packet::Consensus(Rc::new(message))
}

/// A block with another body, under a header that names it.
fn with_body(mut block: Block, alter: impl FnOnce(&mut crate::block::Body)) -> Block {
    alter(&mut block.body);
    block.header.body = block.body.hash();
    block
}

/// Blocks that a criminal proposed beside or in place of its core's.
#[derive(Debug, Default)]
struct OwnBlocks {
    /// The last one that its core offered.
    latest: Option<Block>,
    altered: Vec<Block>,
}

impl OwnBlocks {
    /// Remembers what the core offers.
    fn sees(&mut self, effect: &Effect) {
        if let Effect::OfferBlock(block) = effect {
            self.latest = Some(block.as_ref().clone());
        }
    }

    /// The block of its core with this id, altered and kept to be served; none when the core did not make it.
    fn alter(&mut self, id: &BlockId, alter: impl FnOnce(Block) -> Block) -> Option<BlockId> {
        let block = self.latest.clone().filter(|block| block.id() == *id)?;
        let altered = alter(block);
        let id = altered.id();
        self.altered.retain(|block| block.header.height + 2 > altered.header.height);
        self.altered.push(altered);
        Some(id)
    }

    fn get(&self, id: &BlockId) -> Option<Block> {
        self.altered.iter().find(|block| block.id() == *id).cloned()
    }
}
