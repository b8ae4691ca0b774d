//! Whether an entry hears its sensors, and since when: only then does one of which nothing comes keep silent.
//!
//! A connection that is lost, a queue without room, a command that is not running silence nobody. What is shorter than
//! a second does not count: else a gateway that works at its limit would never hear that a sensor is silent.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Timestamp;

/// An entry that did not listen for this time begins to listen anew.
const DEAF_MAX: Duration = Duration::from_secs(1);

/// Whether an entry listens. Milliseconds of the wall clock, as rows have them.
#[derive(Debug)]
pub struct Listening {
    /// Since when; 0 before it has begun.
    since: AtomicU64,
    /// Since when it does not listen; 0 while it does.
    deaf: AtomicU64,
}

impl Default for Listening {
    /// It has not begun.
    fn default() -> Self {
        Self { since: AtomicU64::new(0), deaf: AtomicU64::new(1) }
    }
}

impl Listening {
    /// It listens from now on.
    pub fn begin(&self, now: Timestamp) {
        let deaf = self.deaf.swap(0, Ordering::Relaxed);
        if deaf > 0 && is_long(deaf, now) {
            self.restart(now);
        }
    }

    /// It does not listen from now on.
    pub fn end(&self, now: Timestamp) {
        if self.deaf.load(Ordering::Relaxed) == 0 {
            self.deaf.store(now.millis().max(1), Ordering::Relaxed);
        }
    }

    /// Nothing can be said of the time before.
    pub fn restart(&self, now: Timestamp) {
        self.since.store(now.millis().max(1), Ordering::Relaxed);
    }

    /// Since when it has listened; `None` while it does not.
    pub fn since(&self, now: Timestamp) -> Option<Timestamp> {
        let [since, deaf] = [&self.since, &self.deaf].map(|it| it.load(Ordering::Relaxed));
        let listens = since > 0 && (deaf == 0 || !is_long(deaf, now));
        listens.then_some(Timestamp::from_millis(since))
    }
}

/// Whether it has been deaf for so long that it counts. A clock that was set back counts, too.
fn is_long(deaf: u64, now: Timestamp) -> bool {
    u128::from(now.millis().abs_diff(deaf)) > DEAF_MAX.as_millis()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_time_in_which_an_entry_does_not_listen_does_not_count() {
        let (at, it) = (Timestamp::from_millis, Listening::default());
        assert_eq!(it.since(at(5000)), None);
        it.begin(at(5000));
        assert_eq!(it.since(at(9000)), Some(at(5000)));
        it.end(at(9000));
        it.end(at(9500));
        assert_eq!(it.since(at(10_000)), Some(at(5000)));
        it.begin(at(10_000));
        assert_eq!(it.since(at(10_000)), Some(at(5000)));
        it.end(at(11_000));
        assert_eq!(it.since(at(12_001)), None);
        it.begin(at(12_001));
        it.begin(at(13_000));
        assert_eq!(it.since(at(20_000)), Some(at(12_001)));
        it.end(at(20_000));
        it.begin(at(11_000));
        assert_eq!(it.since(at(11_000)), Some(at(11_000)), "the clock was set back");
    }
}
