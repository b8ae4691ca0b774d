//! The only reader of time.
//!
//! Everything that decides (batcher, worker, publisher, back-off) takes the time as an argument,
//! so tests step it by hand; only the shell, the tasks and the worker's one waiting place call
//! [`now`].

use std::time::{Duration, Instant, SystemTime};

use crate::record::Timestamp;

/// One reading of both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// The monotonic clock: for deadlines and ages.
    pub instant: Instant,
    /// The wall clock: for what is written into records. May step backwards.
    pub wall: Timestamp,
}

impl Now {
    /// The same moment, later by `by` on both clocks (tests step time with it).
    #[must_use]
    pub fn later(self, by: Duration) -> Self {
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        Self {
            instant: self.instant + by,
            wall: Timestamp::from_millis(self.wall.millis().saturating_add(millis)),
        }
    }
}

/// Reads both clocks.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub fn now() -> Now {
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Now {
        instant: Instant::now(),
        wall: Timestamp::from_millis(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)),
    }
}
