//! Milliseconds since 1970 that never run backwards: the system's clock at the start, carried on by a monotonic one.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A clock for the driver.
pub(super) struct Clock {
    start_ms: u64,
    started: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let start_ms = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
        Self { start_ms, started: Instant::now() }
    }

    pub(super) fn now_ms(&self) -> u64 {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.start_ms.saturating_add(elapsed)
    }
}
