//! A node that does not know what its key has signed keeps silent until that cannot matter.
//!
//! A validator whose disk was replaced would vote again at heights where it has voted before, and lose its stake for it.
//! Without a last-sign record a node therefore only follows, until
//!
//! - it has committed a block that was made after it started, by more than clocks may differ: every height that was open
//!   when it started is decided then, and what it signed before was for none above; or
//! - the network has not begun: peers are there, and nobody shows more than its first heights. That they tell of more is
//!   not enough, or one that lies could silence all validators of a network at its birth.
//!
//! The clock need not be right for anything else, and here only by [`MAX_CLOCK_DRIFT_MS`]; one that is further behind is
//! found out by blocks that seem to come too soon.

use super::{Effect, Node, Timer, Write};
use crate::epoch::SignRecord;
use crate::genesis::canonical;
use crate::limits::MAX_CLOCK_DRIFT_MS;

/// Milliseconds between two looks at what peers tell and show. Looks are counted, because clocks jump.
const LOOK_MS: u64 = 1_000;
/// Looks that those have to show it who tell that the network has begun.
const LOOKS_FOR_PROOF: u32 = 30;
/// Looks before which no block can have been made [`MAX_CLOCK_DRIFT_MS`] after the start.
const LOOKS_OF_DRIFT: u32 = 10;
/// Heights of a network that has only begun: nobody has lost memory of more than these.
const FIRST_HEIGHTS: u64 = 2;

/// What a node knows of its own past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Memory {
    /// All that it signed, or that nothing was signed.
    Sound,
    /// Nothing.
    Lost {
        /// When it started, as far as is known.
        since_ms: u64,
        /// How often it has looked around since.
        looks: u32,
        /// The network was there before.
        begun: bool,
    },
}

impl Memory {
    /// Of a node that finds no record.
    pub(super) fn lost(since_ms: u64) -> Self {
        Self::Lost { since_ms, looks: 0, begun: false }
    }
}

impl Node {
    /// Does it take no part in agreement?
    pub fn is_silent(&self) -> bool {
        self.memory != Memory::Sound
    }

    /// The node starts.
    pub(super) fn recall(&mut self, now_ms: u64) {
        if !self.is_silent() {
            return;
        }
        self.memory = Memory::lost(now_ms);
        self.effect(Effect::SetTimer(Timer::Listen, now_ms.saturating_add(LOOK_MS)));
    }

    /// Peers had time to tell how far the network is.
    pub(super) fn on_listen_timer(&mut self, now_ms: u64) {
        let Memory::Lost { since_ms, looks, begun } = self.memory else { return };
        let alone = self.set.members().len() == 1;
        let begun = begun || self.head.height > FIRST_HEIGHTS;
        // Nobody was heard yet, or somebody tells of more and was not given the time to show it.
        let waits = match self.sync.best(now_ms) {
            None => !alone,
            Some(height) => height > FIRST_HEIGHTS && looks < LOOKS_FOR_PROOF,
        };
        if begun || waits {
            self.memory = Memory::Lost { since_ms, looks: looks.saturating_add(1), begun };
            self.effect(Effect::SetTimer(Timer::Listen, now_ms.saturating_add(LOOK_MS)));
        } else {
            self.remember();
            self.start_height(now_ms, &[]);
        }
    }

    /// A block was committed.
    pub(super) fn recall_by(&mut self, time_ms: u64) {
        let Memory::Lost { since_ms, looks, begun } = self.memory else { return };
        if time_ms <= since_ms.saturating_add(MAX_CLOCK_DRIFT_MS) {
            return;
        }
        if looks < LOOKS_OF_DRIFT {
            // So soon no such block can be: this node's clock was behind when it started.
            self.memory = Memory::Lost { since_ms: time_ms, looks, begun };
        } else {
            self.remember();
        }
    }

    /// From here on it knows what it signs. It notes so, or a node that has not signed yet would keep silent again after
    /// its next start.
    fn remember(&mut self) {
        self.memory = Memory::Sound;
        self.persist(Write::SignRecord(canonical(&SignRecord::default())));
    }
}
