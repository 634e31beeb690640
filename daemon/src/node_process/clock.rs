//! Milliseconds since 1970 that never run backwards: the system's clock at the start, carried on by a monotonic one.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A hook for tests: how many milliseconds this process takes the system's clock to be ahead of what it shows.
static OFFSET_MS: AtomicI64 = AtomicI64::new(0);

/// Makes every clock that starts from now on wrong by so much. Nothing but `start --clock-offset-ms` calls it.
pub(crate) fn set_offset_ms(offset_ms: i64) {
    OFFSET_MS.store(offset_ms, Ordering::Relaxed);
}

/// A clock for the driver.
pub(super) struct Clock {
    start_ms: u64,
    started: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let start_ms = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
        let start_ms = start_ms.saturating_add_signed(OFFSET_MS.load(Ordering::Relaxed));
        Self { start_ms, started: Instant::now() }
    }

    pub(super) fn now_ms(&self) -> u64 {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.start_ms.saturating_add(elapsed)
    }
}
