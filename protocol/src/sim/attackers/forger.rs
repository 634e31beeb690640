//! Speaks in others' names: votes and objects with signatures that are not theirs, blocks that hold such objects, bodies
//! under headers that name others, certificates with signatures that nobody made.

use super::{Act, Crime, OwnBlocks, Tools, said, unchecked, with_body};
use crate::block::{Block, Certificate};
use crate::crypto::Signature;
use crate::ids::BlockId;
use crate::node::Effect;
use crate::objects::{Action, Drops, Envelope, Object, Operation};
use crate::sim::world::person;
use crate::wire::ConsensusMessage;

/// Signs for others.
#[derive(Default)]
pub struct Forger {
    blocks: OwnBlocks,
}

impl Forger {
    /// One that has not begun.
    pub fn create() -> Box<dyn Crime> {
        Box::new(Self::default())
    }

    /// Money of somebody else for itself, with its own signature in the other's place.
    fn theft(tools: &mut Tools<'_>) -> Option<Envelope> {
        let victim = person(tools.dice.roll(10)).account();
        let nonce = tools.world.members[tools.index].node.as_ref()?.next_nonce(&victim);
        let own = tools.key.account();
        let transfer = |account| {
            let action = Action::Transfer { to: own, amount: Drops(1_000_000) };
            Object::Operation(Operation { account, nonce, fee: Drops(1_000_000), action })
        };
        let mut envelope = tools.seal(&transfer(own), &[tools.key])?;
        envelope.payload = crate::wire::encode_object(&transfer(victim));
        envelope.signatures[0].0 = victim;
        Some(envelope)
    }

    /// A vote of its own in another validator's name.
    fn false_vote(tools: &mut Tools<'_>, message: &ConsensusMessage) -> Option<ConsensusMessage> {
        let ConsensusMessage::Vote(vote) = message else { return None };
        let victims = tools.world.validators_at(tools.index);
        let victim = tools.dice.pick(victims.members())?.key;
        let mut vote = vote.clone();
        (victim != vote.validator).then(|| {
            vote.validator = victim;
            ConsensusMessage::Vote(vote)
        })
    }
}

impl Crime for Forger {
    fn name(&self) -> &'static str {
        "forger"
    }

    fn asked(&mut self, tools: &mut Tools<'_>, effect: Effect, acts: &mut Vec<Act>) {
        self.blocks.sees(&effect);
        if let Effect::PublishConsensus(message) = &effect {
            acts.extend(Self::false_vote(tools, message).map(|vote| Act::Gossip(said(vote))));
            if tools.dice.chance(200) {
                acts.extend(Self::theft(tools).map(|envelope| Act::Gossip(unchecked(envelope))));
            }
            if let ConsensusMessage::Proposal(proposal) = message
                && tools.dice.chance(500)
                && let Some(theft) = Self::theft(tools)
                && let Some(block) =
                    self.blocks.alter(&proposal.block, |block| with_body(block, |body| body.envelopes.push(theft)))
            {
                acts.push(Act::Gossip(said(tools.proposal(proposal.height, proposal.round, block))));
                return;
            }
        }
        acts.push(Act::Do(effect));
    }

    fn serves(&mut self, tools: &mut Tools<'_>, id: &BlockId, block: Option<Block>) -> Option<Block> {
        let mut block = block.or_else(|| self.blocks.get(id))?;
        if tools.dice.chance(300) {
            block.body.settlements.push(vec![1, 2, 3]);
        }
        Some(block)
    }

    fn serves_decided(&mut self, tools: &mut Tools<'_>, blocks: &mut Vec<(Block, Certificate)>) {
        let Some((block, certificate)) = blocks.first_mut() else { return };
        match tools.dice.roll(5) {
            0 => block.body.settlements.push(vec![1, 2, 3]),
            1 => certificate.signatures.truncate(1),
            2 => certificate.signatures.iter_mut().for_each(|(_, signature)| *signature = Signature([7; 64])),
            3 => {
                // Two thirds are reached only if one signer counts several times.
                let first = certificate.signatures.first().copied();
                certificate.signatures = first.into_iter().cycle().take(3).collect();
            }
            _ => {}
        }
    }
}
