//! Catching up: decided blocks that this node missed, in ranges from several peers at once, each block checked in full.
//!
//! - A range is asked of one peer at a time, up to [`MAX_ASKED`] ranges of as many peers, within a window above the head.
//! - Blocks may arrive in any order and are committed in theirs. A certificate whose validators are known already is
//!   checked when it arrives, ahead of its turn, so that what does not hold takes no room.
//! - What a peer says of its height is a hint and nothing more: one that does not deliver is left alone for a while,
//!   each time for longer, and what it claims counts for nothing meanwhile. One that delivers what does not hold is
//!   reported besides.
//! - Waiting for a peer never keeps a node from agreeing: after a moment without progress it takes part again.

use super::{Effect, Node, Notice, Peer, Timer};
use crate::block::{Block, Certificate};
use crate::limits::MAX_SYNC_BLOCKS;
use std::collections::BTreeMap;

/// Milliseconds that agreement has for finishing a height by itself before the block is asked for.
const PATIENCE_MS: u64 = 400;
/// Milliseconds after which a request for blocks counts as failed.
const REQUEST_MS: u64 = 5_000;
/// Milliseconds without progress after which a node that waits for blocks takes part in agreement again.
const GRACE_MS: u64 = 1_000;
/// Milliseconds for which a peer that failed is not asked; doubled with each failure, up to [`MAX_FAILURES`].
const PAUSE_MS: u64 = 2_000;
/// Failures that count.
const MAX_FAILURES: u32 = 6;
/// Requests under way at once.
const MAX_ASKED: usize = 4;
/// Heights above the head that are asked for: what arrives early waits in memory.
const WINDOW: u64 = MAX_SYNC_BLOCKS * MAX_ASKED as u64;
/// Bytes of blocks that wait in memory for those before them.
const MAX_WAITING_BYTES: usize = 64 * 1024 * 1024;
/// Peers that are remembered.
const MAX_PEERS: usize = 256;

/// What is known of a peer.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// The last height that it says it committed.
    height: u64,
    /// The lowest height whose block it says it has.
    lowest: u64,
    failures: u32,
    /// It is not asked before.
    not_before_ms: u64,
}

/// A request under way.
#[derive(Clone, Debug)]
struct Asked {
    from: u64,
    count: u64,
    deadline_ms: u64,
}

/// A block that waits for those before it.
#[derive(Debug)]
struct Arrived {
    peer: Peer,
    block: Block,
    certificate: Certificate,
    /// Its certificate was checked, against the set that its header names.
    certified: bool,
    bytes: usize,
}

/// Who is ahead, whom we asked, what came.
#[derive(Debug, Default)]
pub(super) struct Sync {
    peers: BTreeMap<Peer, Known>,
    asked: BTreeMap<Peer, Asked>,
    arrived: BTreeMap<u64, Arrived>,
    arrived_bytes: usize,
    /// Agreement has a moment to finish a height by itself before its block is asked for.
    patient: bool,
    /// When the last block was committed or the first of the open requests was made.
    progress_ms: u64,
}

impl Sync {
    /// The known peer after this one, in a circle.
    pub(super) fn peer_after(&self, last: Option<&Peer>) -> Option<Peer> {
        let after = last.and_then(|last| self.peers.keys().find(|peer| *peer > last));
        after.or_else(|| self.peers.keys().next()).cloned()
    }

    /// The greatest height that a peer in good standing says it committed; none when no such peer said anything.
    pub(super) fn best(&self, now_ms: u64) -> Option<u64> {
        let trusted = self.peers.values().filter(|known| known.not_before_ms <= now_ms);
        trusted.map(|known| known.height).max()
    }

    fn remember(&mut self, now_ms: u64, peer: &Peer, height: u64, lowest: Option<u64>) {
        if !self.peers.contains_key(peer) && self.peers.len() >= MAX_PEERS {
            let worst = self.peers.iter().max_by_key(|(_, known)| (known.failures, u64::MAX - known.height));
            let Some(worst) = worst.map(|(peer, _)| peer.clone()) else { return };
            self.peers.remove(&worst);
        }
        let known = self.peers.entry(peer.clone()).or_default();
        // While it is left alone, what it claims counts for nothing.
        if known.not_before_ms <= now_ms {
            known.height = known.height.max(height);
        }
        known.lowest = lowest.unwrap_or(known.lowest);
    }

    /// A peer did not deliver what it said it had.
    fn fail(&mut self, now_ms: u64, peer: &Peer) {
        if let Some(known) = self.peers.get_mut(peer) {
            known.failures = (known.failures + 1).min(MAX_FAILURES);
            known.not_before_ms = now_ms.saturating_add(PAUSE_MS << known.failures);
            known.height = 0;
        }
    }

    fn drop_blocks_of(&mut self, peer: &Peer) {
        self.arrived.retain(|_, arrived| arrived.peer != *peer);
        self.arrived_bytes = self.arrived.values().map(|arrived| arrived.bytes).sum();
    }

    /// The first heights from `from` to `to` that are neither here nor asked for, at most one request's worth.
    fn gap(&self, from: u64, to: u64) -> Option<(u64, u64)> {
        let asked =
            |height: u64| self.asked.values().find(|asked| (asked.from..asked.from + asked.count).contains(&height));
        let mut start = from;
        while start <= to {
            if let Some(asked) = asked(start) {
                start = asked.from + asked.count;
            } else if self.arrived.contains_key(&start) {
                start += 1;
            } else {
                let is_gap = |height: &u64| asked(*height).is_none() && !self.arrived.contains_key(height);
                let last = to.min(start.saturating_add(MAX_SYNC_BLOCKS - 1));
                let count = (start..=last).take_while(is_gap).count();
                return Some((start, count as u64));
            }
        }
        None
    }

    /// Who is asked for a height: of those that say they have it and are not busy, the one that failed least.
    fn free_peer(&self, now_ms: u64, height: u64) -> Option<(Peer, u64)> {
        let has = |known: &Known| known.lowest <= height && height <= known.height && known.not_before_ms <= now_ms;
        let free = self.peers.iter().filter(|(peer, known)| has(known) && !self.asked.contains_key(*peer));
        free.min_by_key(|(_, known)| known.failures).map(|(peer, known)| (peer.clone(), known.height))
    }
}

impl Node {
    /// Does it know of a peer that is more than one height ahead?
    pub fn is_behind(&self) -> bool {
        self.sync.peers.values().any(|known| known.height > self.head.height + 1)
    }

    /// What a peer says of itself.
    pub(super) fn on_peer_status(&mut self, now_ms: u64, peer: Peer, height: u64, lowest: u64) {
        self.sync.remember(now_ms, &peer, 0, Some(lowest));
        self.on_peer_height(now_ms, peer, height);
    }

    /// A peer says that it has committed `height`.
    pub(super) fn on_peer_height(&mut self, now_ms: u64, peer: Peer, height: u64) {
        self.sync.remember(now_ms, &peer, height, None);
        if height > self.head.height + 1 {
            self.ask_for_blocks(now_ms);
        } else if height > self.head.height && !self.sync.patient && self.sync.asked.is_empty() {
            // Set once: messages that keep coming must not put it off for ever.
            self.sync.patient = true;
            self.effect(Effect::SetTimer(Timer::Sync, now_ms.saturating_add(PATIENCE_MS)));
        }
    }

    /// Patience has ended, or a request was not answered, or nothing moved for a moment.
    pub(super) fn on_sync_timer(&mut self, now_ms: u64) {
        self.sync.patient = false;
        let late = |asked: &&Asked| asked.deadline_ms <= now_ms;
        let late: Vec<Peer> =
            self.sync.asked.iter().filter(|(_, asked)| late(asked)).map(|(peer, _)| peer.clone()).collect();
        for peer in late {
            self.sync.asked.remove(&peer);
            self.sync.fail(now_ms, &peer);
        }
        self.ask_for_blocks(now_ms);
        self.take_part(now_ms);
    }

    /// Asks for whatever is missing between the head and what peers have.
    fn ask_for_blocks(&mut self, now_ms: u64) {
        let top = self.sync.best(now_ms).unwrap_or(0).min(self.head.height.saturating_add(WINDOW));
        if self.sync.asked.is_empty() {
            self.sync.progress_ms = now_ms;
        }
        while self.sync.asked.len() < MAX_ASKED && self.sync.arrived_bytes < MAX_WAITING_BYTES {
            let Some((from, count)) = self.sync.gap(self.head.height + 1, top) else { break };
            let Some((peer, height)) = self.sync.free_peer(now_ms, from) else { break };
            let count = count.min(height.saturating_sub(from).saturating_add(1));
            let asked = Asked { from, count, deadline_ms: now_ms.saturating_add(REQUEST_MS) };
            self.sync.asked.insert(peer.clone(), asked);
            self.effect(Effect::RequestBlocks { peer, from, count: u32::try_from(count).unwrap_or(1) });
        }
        let first = self.sync.asked.values().map(|asked| asked.deadline_ms).min();
        if let Some(first) = first {
            let grace = self.sync.progress_ms.saturating_add(GRACE_MS);
            let at = if grace > now_ms { grace.min(first) } else { first };
            self.effect(Effect::SetTimer(Timer::Sync, at));
        } else if !self.sync.patient {
            self.effect(Effect::CancelTimer(Timer::Sync));
        }
    }

    /// A peer's answer.
    pub(super) fn on_blocks(&mut self, now_ms: u64, peer: Peer, blocks: Vec<(Block, Certificate)>) {
        // An answer that comes too late is of no use: what it holds was asked of somebody else.
        let Some(asked) = self.sync.asked.remove(&peer) else { return };
        if blocks.is_empty() {
            self.sync.fail(now_ms, &peer);
        }
        for (expected, (block, certificate)) in (asked.from..asked.from + asked.count).zip(blocks) {
            if let Err(reason) = self.keep_fetched(&peer, expected, block, certificate) {
                self.blame(now_ms, &peer, reason);
                break;
            }
        }
        self.commit_arrived(now_ms);
        self.ask_for_blocks(now_ms);
        self.take_part(now_ms);
    }

    /// Keeps a block until its turn, if nothing speaks against it now.
    fn keep_fetched(&mut self, peer: &Peer, height: u64, block: Block, certificate: Certificate) -> Result<(), String> {
        if height <= self.head.height {
            return Ok(());
        }
        if block.header.height != height || certificate.height != height {
            return Err(format!("height {height} was asked for, {} came", block.header.height));
        }
        if certificate.block != block.id() {
            return Err("the certificate is of another block".to_owned());
        }
        // The id is the header's; the body is only as good as the header's word for it.
        if block.header.body != block.body.hash() {
            return Err("its body is not the one that its header names".to_owned());
        }
        let certified = block.header.validators == self.host.set_hash(self.head.height + 1);
        if certified {
            certificate.verify(&self.set, &self.genesis_hash).map_err(|error| error.to_string())?;
        }
        let bytes = crate::genesis::canonical(&block.body).len();
        self.sync.arrived_bytes += bytes;
        let arrived = Arrived { peer: peer.clone(), block, certificate, certified, bytes };
        if let Some(old) = self.sync.arrived.insert(height, arrived) {
            self.sync.arrived_bytes -= old.bytes;
        }
        Ok(())
    }

    fn commit_arrived(&mut self, now_ms: u64) {
        while let Some(arrived) = self.sync.arrived.remove(&(self.head.height + 1)) {
            self.sync.arrived_bytes -= arrived.bytes;
            match self.commit_fetched(arrived.block, arrived.certificate, arrived.certified) {
                Ok(()) => {
                    self.resting = false;
                    self.sync.progress_ms = now_ms;
                    if let Some(known) = self.sync.peers.get_mut(&arrived.peer) {
                        known.failures = 0;
                    }
                }
                Err(reason) => self.blame(now_ms, &arrived.peer, reason),
            }
        }
        let head = self.head.height;
        self.sync.arrived.retain(|height, _| *height > head);
        self.sync.arrived_bytes = self.sync.arrived.values().map(|arrived| arrived.bytes).sum();
    }

    /// A peer sent what does not hold: nothing of what it sent is kept, and whoever judges peers hears of it.
    fn blame(&mut self, now_ms: u64, peer: &Peer, reason: String) {
        self.sync.drop_blocks_of(peer);
        if let Some(known) = self.sync.peers.get_mut(peer) {
            known.failures = MAX_FAILURES - 1;
        }
        self.sync.fail(now_ms, peer);
        self.effect(Effect::Tell(Notice::BadSync { peer: peer.clone(), reason }));
    }

    /// Unless it rests or blocks keep coming, this node agrees on the height after the head.
    fn take_part(&mut self, now_ms: u64) {
        let waits = !self.sync.asked.is_empty() && now_ms < self.sync.progress_ms.saturating_add(GRACE_MS);
        if !self.resting && !waits && self.host.height() <= self.head.height {
            self.start_height(now_ms, &[]);
        }
    }
}
