//! Catching up: decided blocks that this node missed, from a peer that is ahead, each checked by its certificate.

use super::{Effect, Node, Notice, Peer, Timer};
use crate::block::{Block, Certificate};
use crate::limits::MAX_SYNC_BLOCKS;

/// Milliseconds that agreement has for finishing a height by itself before the block is asked for.
const PATIENCE_MS: u64 = 400;
/// Milliseconds after which a request for blocks counts as failed.
const REQUEST_MS: u64 = 5_000;

/// Who is ahead, and whom we asked.
#[derive(Debug, Default)]
pub(super) struct Sync {
    /// The peer that reported the greatest height, and that height.
    best: Option<(Peer, u64)>,
    /// Asked, and not answered yet.
    asked: Option<Peer>,
    /// Agreement has a moment to finish a height by itself before its block is asked for.
    patient: bool,
}

impl Node {
    /// Does it know of a peer that is more than one height ahead?
    pub fn is_behind(&self) -> bool {
        self.sync.best.as_ref().is_some_and(|(_, best)| *best > self.head.height + 1)
    }

    /// A peer is known to have committed `height`.
    pub(super) fn on_peer_height(&mut self, now_ms: u64, peer: Peer, height: u64) {
        if height <= self.head.height {
            return;
        }
        if self.sync.best.as_ref().is_none_or(|(_, best)| height > *best) {
            self.sync.best = Some((peer, height));
        }
        if self.sync.asked.is_some() {
            return;
        }
        if height > self.head.height + 1 {
            self.ask_for_blocks(now_ms);
        } else if !self.sync.patient {
            // Set once: messages that keep coming must not put it off for ever.
            self.sync.patient = true;
            self.effect(Effect::SetTimer(Timer::Sync, now_ms.saturating_add(PATIENCE_MS)));
        }
    }

    /// Patience has ended, or a request was not answered.
    pub(super) fn on_sync_timer(&mut self, now_ms: u64) {
        self.sync.patient = false;
        if self.sync.asked.take().is_some() {
            // That peer did not answer; the next one to report a height is asked instead.
            self.sync.best = None;
            return self.resume(now_ms);
        }
        self.ask_for_blocks(now_ms);
    }

    fn ask_for_blocks(&mut self, now_ms: u64) {
        let Some((peer, best)) = self.sync.best.clone() else { return };
        if best <= self.head.height {
            self.sync.best = None;
            return;
        }
        let from = self.head.height + 1;
        let count = (best - self.head.height).min(MAX_SYNC_BLOCKS);
        self.sync.asked = Some(peer.clone());
        self.sync.patient = false;
        self.effect(Effect::SetTimer(Timer::Sync, now_ms.saturating_add(REQUEST_MS)));
        self.effect(Effect::RequestBlocks { peer, from, count: u32::try_from(count).unwrap_or(1) });
    }

    /// A peer's answer.
    pub(super) fn on_blocks(&mut self, now_ms: u64, peer: Peer, blocks: Vec<(Block, Certificate)>) {
        if self.sync.asked.as_ref() == Some(&peer) {
            self.sync.asked = None;
            self.effect(Effect::CancelTimer(Timer::Sync));
        }
        let before = self.head.height;
        for (block, certificate) in blocks {
            if block.header.height <= self.head.height {
                continue;
            }
            if let Err(reason) = self.commit_fetched(block, certificate) {
                self.effect(Effect::Tell(Notice::BadSync { peer, reason }));
                self.sync.best = None;
                break;
            }
        }
        if self.head.height == before {
            self.sync.best = None;
        } else {
            self.resting = false;
            self.ask_for_blocks(now_ms);
        }
        self.resume(now_ms);
    }

    /// Whatever became of a request: unless this node rests or waits for blocks, it agrees on the height after the head.
    fn resume(&mut self, now_ms: u64) {
        if !self.resting && self.sync.asked.is_none() && self.host.height() <= self.head.height {
            self.start_height(now_ms, &[]);
        }
    }
}
