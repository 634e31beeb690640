//! Proposed blocks on their way: asked for by id, told in short, completed from what waits here, fetched in full at last.
//!
//! A block in short names its objects and attribution bodies by hash. Nearly all of them are here already: objects came
//! by gossip, bodies were computed by this node itself. What is missing is asked for by its place in the block. When
//! parts do not fit together (an object of the same id carries other signatures here than there), the whole is asked for.

use super::{Effect, Node, Notice, Peer};
use crate::block::{Block, Body, CompactBlock, MissingParts, Parts};
use crate::crypto;
use crate::ids::{Account, BlockId, Hash32, ObjectId};
use crate::limits::{MAX_BLOCK_ENVELOPES, MAX_BLOCK_SETTLEMENTS, MAX_PROPOSED_BLOCKS};
use crate::objects::Envelope;
use crate::wire::SignedProposal;
use std::collections::BTreeMap;

/// Heights ahead of the open one for which a proposal's block is already fetched.
const FETCH_AHEAD: u64 = 1;

/// Blocks of one round that are fetched: a second one is already a crime of its proposer.
const MAX_PER_ROUND: usize = 2;

/// A proposed block that is not here yet.
#[derive(Clone, Debug)]
struct Wanted {
    height: u64,
    /// The first round that proposed it, and whose turn that was.
    round: u32,
    proposer: Account,
    /// Somebody was asked and may answer still.
    asked: bool,
    /// What came of it.
    compact: Option<CompactBlock>,
}

/// Proposed blocks on their way.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    wanted: BTreeMap<BlockId, Wanted>,
    /// Here before their height began.
    early: BTreeMap<BlockId, Block>,
}

impl Blocks {
    /// A height begins: blocks of lower ones are of no use, those of its own that came early are handed out.
    pub(super) fn begin(&mut self, height: u64) -> Vec<Block> {
        self.wanted.retain(|_, wanted| wanted.height >= height);
        self.early.retain(|_, block| block.header.height >= height);
        let (now, later) = std::mem::take(&mut self.early).into_iter().partition(|(_, b)| b.header.height == height);
        self.early = later;
        let now: BTreeMap<BlockId, Block> = now;
        now.into_values().collect()
    }
}

impl Node {
    /// A proposal names a block.
    pub(super) fn want_block(&mut self, now_ms: u64, proposal: &SignedProposal, peer: Peer) {
        let SignedProposal { block: id, height, round, validator, .. } = *proposal;
        let near = height <= self.head.height + 1 + FETCH_AHEAD;
        let of_round = |wanted: &&Wanted| (wanted.height, wanted.round) == (height, round);
        let crowded = self.blocks.wanted.values().filter(of_round).count() >= MAX_PER_ROUND
            || self.blocks.wanted.len() >= MAX_PROPOSED_BLOCKS;
        if !near || self.blocks.early.contains_key(&id) {
            return;
        }
        if self.host.block(&id).is_some() {
            return self.judge_again(now_ms, proposal);
        }
        if self.blocks.wanted.contains_key(&id) {
            return self.ask_again(&id, peer);
        }
        if !crowded {
            let wanted = Wanted { height, round, proposer: validator, asked: true, compact: None };
            self.blocks.wanted.insert(id, wanted);
            self.effect(Effect::FetchBlock { id, height, peer, whole: false });
        }
    }

    /// A block is proposed that is here and was not found valid. If its time lay ahead of this node's clock, it need not do
    /// so any more. Others, whose clocks were ahead of this one, may be locked on it and never vote for another block: a node
    /// that held on to its first verdict could keep them all from deciding for ever.
    fn judge_again(&mut self, now_ms: u64, proposal: &SignedProposal) {
        let SignedProposal { block: id, height, round, validator, .. } = *proposal;
        if height != self.host.height() || self.resting || self.executed.contains_key(&id) {
            return;
        }
        let Some(block) = self.host.block(&id).cloned() else { return };
        if self.check_block(now_ms, &id, &block) {
            self.effect(Effect::OfferBlock(Box::new(block.clone())));
            self.host.value(round, validator, block, true);
        }
    }

    /// A peer votes for a block that nobody had when it was asked for: the peer may have it now.
    pub(super) fn ask_again(&mut self, id: &BlockId, peer: Peer) {
        let Some(wanted) = self.blocks.wanted.get_mut(id).filter(|wanted| !wanted.asked) else { return };
        wanted.asked = true;
        let (id, height) = (*id, wanted.height);
        self.effect(Effect::FetchBlock { id, height, peer, whole: false });
    }

    /// Nobody has what was asked for. When it is proposed or voted for again, it is asked for again.
    pub(super) fn on_block_missing(&mut self, id: &BlockId) {
        if let Some(wanted) = self.blocks.wanted.get_mut(id) {
            (wanted.asked, wanted.compact) = (false, None);
        }
    }

    /// A block came in short.
    pub(super) fn on_compact(&mut self, now_ms: u64, block: CompactBlock, peer: Peer) {
        let id = block.header.id();
        let Some(wanted) = self.blocks.wanted.get(&id).filter(|wanted| wanted.compact.is_none()) else { return };
        let height = wanted.height;
        let fits = block.objects.len() <= MAX_BLOCK_ENVELOPES && block.settlements.len() <= MAX_BLOCK_SETTLEMENTS;
        let missing = self.missing_of(&block);
        if !fits {
            return self.fetch_whole(id, height, peer);
        }
        if missing == MissingParts::default() {
            match self.assemble(&block, Parts::default()) {
                Some(block) => self.on_block(now_ms, block),
                None => self.fetch_whole(id, height, peer),
            }
            return;
        }
        if let Some(wanted) = self.blocks.wanted.get_mut(&id) {
            wanted.compact = Some(block);
        }
        self.effect(Effect::FetchParts { id, height, peer, missing });
    }

    /// Parts of a block came.
    pub(super) fn on_parts(&mut self, now_ms: u64, id: &BlockId, parts: Parts) {
        let Some(wanted) = self.blocks.wanted.get_mut(id) else { return };
        let height = wanted.height;
        let Some(compact) = wanted.compact.take() else { return };
        match self.assemble(&compact, parts) {
            Some(block) => self.on_block(now_ms, block),
            None => self.fetch_whole(*id, height, Peer(Vec::new())),
        }
    }

    fn fetch_whole(&mut self, id: BlockId, height: u64, peer: Peer) {
        self.effect(Effect::FetchBlock { id, height, peer, whole: true });
    }

    /// The places of what is not here.
    fn missing_of(&self, block: &CompactBlock) -> MissingParts {
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let objects = block.objects.iter().enumerate().filter(|(_, id)| self.pool.get(id).is_none());
        let bodies = block.settlements.iter().enumerate().filter(|(_, root)| self.duties.body(root).is_none());
        MissingParts {
            objects: objects.map(|(at, _)| place(at)).collect(),
            settlements: bodies.map(|(at, _)| place(at)).collect(),
        }
    }

    /// The block that these parts and what is here make; none when they do not make the one that the header names.
    fn assemble(&self, compact: &CompactBlock, parts: Parts) -> Option<Block> {
        let mut objects: BTreeMap<ObjectId, Envelope> =
            parts.envelopes.into_iter().map(|envelope| (envelope.id(), envelope)).collect();
        let mut bodies: BTreeMap<Hash32, Vec<u8>> =
            parts.settlements.into_iter().map(|bytes| (crypto::attribution_root(&bytes), bytes)).collect();
        let object =
            |id: &ObjectId| objects.remove(id).or_else(|| self.pool.get(id).map(|known| known.envelope().clone()));
        let body = |root: &Hash32| bodies.remove(root).or_else(|| self.duties.body(root).cloned());
        let body = Body {
            last_commit: compact.last_commit.clone(),
            envelopes: compact.objects.iter().map(object).collect::<Option<_>>()?,
            settlements: compact.settlements.iter().map(body).collect::<Option<_>>()?,
        };
        (body.hash() == compact.header.body).then(|| Block { header: compact.header.clone(), body })
    }

    /// A whole block that was asked for.
    pub(super) fn on_block(&mut self, now_ms: u64, block: Block) {
        let id = block.id();
        let Some(wanted) = self.blocks.wanted.get(&id) else { return };
        let (height, round, proposer) = (wanted.height, wanted.round, wanted.proposer);
        if block.header.body != block.body.hash() {
            // Somebody's false body under the right header: the right one is still wanted.
            return;
        }
        if height != block.header.height {
            return self.effect(Effect::Tell(Notice::InvalidBlock {
                block: id,
                reason: format!("it was proposed for height {height} and says {}", block.header.height),
            }));
        }
        // While decided blocks are being fetched, agreement on the height after the head has not begun either: what the
        // host got now, it would have forgotten when it starts that height, and could then decide a block that is gone.
        if height > self.host.height() || self.resting {
            self.blocks.early.insert(id, block);
            return;
        }
        self.blocks.wanted.remove(&id);
        let valid = self.check_block(now_ms, &id, &block);
        if valid {
            self.effect(Effect::OfferBlock(Box::new(block.clone())));
        }
        self.host.value(round, proposer, block, valid);
    }
}
