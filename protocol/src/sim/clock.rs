//! A node's own clock: it drifts, and it may jump.

/// Parts in a million.
const MILLION: i64 = 1_000_000;

/// A clock that differs from the world's time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    ahead_ms: i64,
    drift_ppm: i64,
}

impl Clock {
    /// A clock that is ahead (or behind) from the start and drifts.
    pub fn new(ahead_ms: i64, drift_ppm: i64) -> Self {
        Self { ahead_ms, drift_ppm }
    }

    /// What it shows at a time of the world.
    pub fn read(&self, now_ms: u64) -> u64 {
        let drift = i64::try_from(now_ms).unwrap_or(0).saturating_mul(self.drift_ppm) / MILLION;
        now_ms.saturating_add_signed(self.ahead_ms.saturating_add(drift))
    }

    /// Milliseconds until it shows `at_ms`, nearly: whoever waits looks again then.
    pub fn until(&self, now_ms: u64, at_ms: u64) -> u64 {
        at_ms.saturating_sub(self.read(now_ms))
    }

    /// Somebody sets it.
    pub fn jump(&mut self, by_ms: i64) {
        self.ahead_ms = self.ahead_ms.saturating_add(by_ms);
    }
}
