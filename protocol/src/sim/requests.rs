//! What nodes ask of one another: proposed blocks, decided blocks, what waits in pools.

use super::attackers::Crime;
use super::member::index_of;
use super::world::{Event, NodeIndex, World};
use crate::block::{Block, CompactBlock, MissingParts, Parts};
use crate::envelope::Verified;
use crate::ids::BlockId;
use crate::node::{Input, Peer, PoolAnswer, PoolQuestion, Source, Token};

/// Milliseconds after which whoever asked a peer for a block asks the next one.
const FETCH_PATIENCE_MS: u64 = 2_000;
/// Milliseconds between two rounds of asking all peers.
const FETCH_RETRY_MS: u64 = 40;
/// How often a peer is asked for one block before it is given up.
const FETCH_ROUNDS: usize = 20;
/// Milliseconds after which any other request has failed.
const ASK_PATIENCE_MS: u64 = 4_000;

/// What of a block is wanted.
#[derive(Clone, Debug)]
pub(super) enum Want {
    Whole,
    Short,
    Parts(MissingParts),
}

/// A block that somebody asks one peer after the other for.
#[derive(Clone, Debug)]
pub(super) struct Fetch {
    id: BlockId,
    height: u64,
    want: Want,
    first: NodeIndex,
    tries: usize,
}

impl Fetch {
    /// Begins with the peer that is likely to have it, if one is.
    pub(super) fn of(id: BlockId, height: u64, peer: &Peer, want: Want, nodes: usize) -> Self {
        Self { id, height, want, first: index_of(peer, nodes).unwrap_or(0), tries: 0 }
    }
}

impl World {
    /// Sends a request for a block to the next peer.
    pub(super) fn ask_for_block(&mut self, node: NodeIndex, fetch: Fetch, after_ms: u64) {
        if fetch.tries >= FETCH_ROUNDS * self.members.len() {
            return self.input_after(node, after_ms, Input::BlockMissing(fetch.id));
        }
        let peer = (fetch.first + fetch.tries) % self.members.len();
        let way = if peer == node { 0 } else { self.network.latency(node, peer) };
        let life = self.members[node].life;
        self.push(after_ms + way, Event::Fetch { node, life, fetch: Box::new(fetch) });
    }

    /// A request for a block reaches a peer.
    pub(super) fn asked_for_block(&mut self, node: NodeIndex, life: u32, mut fetch: Fetch) {
        if self.members[node].life != life || self.members[node].height() >= fetch.height {
            return;
        }
        let count = self.members.len();
        let peer = (fetch.first + fetch.tries) % count;
        fetch.tries += 1;
        let pause = if fetch.tries.is_multiple_of(count) { FETCH_RETRY_MS } else { 0 };
        if peer == node {
            return self.ask_for_block(node, fetch, pause);
        }
        if self.network.loses(node, peer) || self.network.loses(peer, node) || self.members[peer].node.is_none() {
            return self.ask_for_block(node, fetch, FETCH_PATIENCE_MS);
        }
        let back = self.network.latency(peer, node);
        // What has not the id that was asked for, nor the body of its header, the driver takes from nobody.
        let block = self.served(peer, &fetch.id, fetch.height).filter(|block| block.id() == fetch.id);
        if let Some(block) = block.as_ref().filter(|_| self.false_bodies) {
            let mut altered = block.clone();
            altered.body.settlements.push(vec![1]);
            self.input_after(node, 1, Input::Block(Box::new(altered)));
        }
        let input = block.and_then(|block| self.block_input(peer, &fetch, block));
        match input {
            Some(input) => self.input_after(node, back + 1, input),
            None => self.ask_for_block(node, fetch, back + pause),
        }
    }

    fn block_input(&self, peer: NodeIndex, fetch: &Fetch, block: Block) -> Option<Input> {
        match &fetch.want {
            Want::Short => {
                let (block, peer) = (Box::new(CompactBlock::of(&block)), self.peer(peer));
                Some(Input::Compact { block, peer })
            }
            Want::Parts(missing) => Some(Input::Parts { id: fetch.id, parts: Box::new(Parts::of(&block, missing)) }),
            Want::Whole => (block.header.body == block.body.hash()).then(|| Input::Block(Box::new(block))),
        }
    }

    /// A criminal answers as it likes.
    fn crime_answers<T>(
        &mut self,
        peer: NodeIndex,
        answer: T,
        alter: impl FnOnce(&mut dyn Crime, &mut super::attackers::Tools<'_>, T) -> T,
    ) -> T {
        let Some(mut crime) = self.members[peer].crime.take() else { return answer };
        let mut dice = self.dice.clone();
        let answer = alter(crime.as_mut(), &mut self.tools(peer, &mut dice), answer);
        self.dice = dice;
        self.members[peer].crime = Some(crime);
        answer
    }

    fn served(&mut self, peer: NodeIndex, id: &BlockId, height: u64) -> Option<Block> {
        let block = self.block_of(peer, id, height);
        self.crime_answers(peer, block, |crime, tools, block| crime.serves(tools, id, block))
    }

    /// Asks a peer for decided blocks.
    pub(super) fn ask_for_blocks(&mut self, node: NodeIndex, peer: &Peer, from: u64, count: u32) {
        match self.reached(node, peer) {
            Some(to) => {
                let (way, life) = (self.network.latency(node, to), self.members[node].life);
                self.push(way, Event::Ask { node, life, peer: to, from, count });
            }
            None => {
                let peer = peer.clone();
                self.input_after(node, ASK_PATIENCE_MS, Input::Blocks { peer, blocks: Vec::new() });
            }
        }
    }

    /// The running node that a request reaches, if one does.
    fn reached(&mut self, node: NodeIndex, peer: &Peer) -> Option<NodeIndex> {
        let to = index_of(peer, self.members.len())?;
        (!self.network.loses(node, to) && self.members[to].node.is_some()).then_some(to)
    }

    /// A request for decided blocks reaches a peer.
    pub(super) fn asked_for_blocks(&mut self, node: NodeIndex, life: u32, peer: NodeIndex, from: u64, count: u32) {
        if self.members[node].life != life {
            return;
        }
        let range = from..from.saturating_add(u64::from(count));
        let blocks = self.members[peer].disk.blocks().range(range);
        let blocks: Vec<_> = blocks.map(|(_, decided)| (decided.0.clone(), decided.1.clone())).collect();
        let blocks = self.crime_answers(peer, blocks, |crime, tools, mut blocks| {
            crime.serves_decided(tools, &mut blocks);
            blocks
        });
        let way = self.network.latency(peer, node);
        let lost = self.network.loses(peer, node);
        let (after, blocks) = if lost { (ASK_PATIENCE_MS, Vec::new()) } else { (way, blocks) };
        self.input_after(node, after, Input::Blocks { peer: self.peer(peer), blocks });
    }

    /// Asks a peer about its pool.
    pub(super) fn ask(&mut self, node: NodeIndex, peer: Peer, question: PoolQuestion) {
        match self.reached(node, &peer) {
            Some(to) => {
                let (way, life) = (self.network.latency(node, to), self.members[node].life);
                let token = self.token(node);
                self.asking.insert(token, (node, life));
                self.input_after(to, way, Input::Asked { token, question });
            }
            None => self.input_after(node, ASK_PATIENCE_MS, Input::Answered { peer, answer: None }),
        }
    }

    /// Answers a peer that asked; its border looks at every object.
    pub(super) fn answer(&mut self, index: NodeIndex, token: Token, answer: PoolAnswer) {
        let Some((asker, life)) = self.asking.remove(&token) else { return };
        if self.members[asker].life != life || self.network.loses(index, asker) {
            return;
        }
        let (way, genesis) = (self.network.latency(index, asker), self.genesis_hash);
        let answer = match answer {
            PoolAnswer::Objects(envelopes) => {
                for object in envelopes.into_iter().filter_map(|envelope| Verified::check(envelope, &genesis).ok()) {
                    self.input_after(asker, way, Input::Object(object, Source::Fetched));
                }
                PoolAnswer::Objects(Vec::new())
            }
            answer => answer,
        };
        self.input_after(asker, way, Input::Answered { peer: self.peer(index), answer: Some(answer) });
    }
}
