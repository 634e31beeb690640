//! A node that does not know what its key has signed keeps silent until that cannot matter.
//!
//! A validator whose disk was replaced would vote again at heights where it has voted before, and lose its stake for it.
//! Without a last-sign record a node therefore only follows, until
//!
//! - it has committed a block that was made after it started, by more than clocks may differ: every height that was open
//!   when it started is decided then, and what it signed before was for none above; or
//! - the network has not begun: it is young by its genesis, or nobody shows more than its first heights. That peers tell
//!   of more is not enough, or one that lies could silence all validators of a network at its birth.
//!
//! The clock need not be right for anything else, and here only by [`MAX_CLOCK_DRIFT_MS`].

use super::{Effect, Node, Timer, Write};
use crate::epoch::SignRecord;
use crate::genesis::canonical;
use crate::limits::MAX_CLOCK_DRIFT_MS;

/// Milliseconds after its genesis in which a network's nodes start for the first time.
const YOUNG_MS: u64 = 20_000;
/// Milliseconds that peers have to tell that the network has begun.
const LISTEN_MS: u64 = 1_000;
/// How often that is waited for those to show it who tell of it. Counted, because clocks jump.
const LISTEN_TIMES: u32 = 30;
/// Heights of a network that has only begun: nobody has lost memory of more than these.
const FIRST_HEIGHTS: u64 = 2;

/// What a node knows of its own past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Memory {
    /// All that it signed, or that nothing was signed.
    Sound,
    /// Nothing; it follows since it started, and has yet to hear from peers.
    Listening {
        /// When it started.
        since_ms: u64,
        /// How often it has looked what peers tell.
        times: u32,
    },
    /// Nothing; the network was there before.
    Lost {
        /// When it started.
        since_ms: u64,
    },
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
        if self.head.height == 0 && now_ms < self.genesis.time_ms.saturating_add(YOUNG_MS) {
            return self.remember();
        }
        self.memory = Memory::Listening { since_ms: now_ms, times: 0 };
        self.effect(Effect::SetTimer(Timer::Listen, now_ms.saturating_add(LISTEN_MS)));
    }

    /// Peers had time to tell how far the network is.
    pub(super) fn on_listen_timer(&mut self, now_ms: u64) {
        let Memory::Listening { since_ms, times } = self.memory else { return };
        let alone = self.set.members().len() == 1;
        // Nobody was heard yet, or somebody tells of more and was not given the time to show it.
        let waits = match self.sync.best(now_ms) {
            None => !alone,
            Some(height) => height > FIRST_HEIGHTS && times < LISTEN_TIMES,
        };
        if self.head.height > FIRST_HEIGHTS {
            self.memory = Memory::Lost { since_ms };
        } else if waits {
            self.memory = Memory::Listening { since_ms, times: times.saturating_add(1) };
            self.effect(Effect::SetTimer(Timer::Listen, now_ms.saturating_add(LISTEN_MS)));
        } else {
            self.remember();
            self.start_height(now_ms, &[]);
        }
    }

    /// A block was committed.
    pub(super) fn recall_by(&mut self, time_ms: u64) {
        if let Memory::Listening { since_ms, .. } | Memory::Lost { since_ms } = self.memory
            && time_ms > since_ms.saturating_add(MAX_CLOCK_DRIFT_MS)
        {
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
