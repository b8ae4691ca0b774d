//! When what failed is tried again: the disk, a publication that was refused.

use std::time::{Duration, Instant};

use crate::backoff::Backoff;
use crate::clock::Now;
use crate::limits::RECONNECT_PAUSE;

/// Growing pauses between attempts, after failures.
#[derive(Debug)]
pub struct RetryTimer {
    at: Option<Instant>,
    backoff: Backoff,
}

impl Default for RetryTimer {
    fn default() -> Self {
        let (first, longest) = RECONNECT_PAUSE;
        Self { at: None, backoff: Backoff::new(first, longest) }
    }
}

impl RetryTimer {
    /// Whether no failure is waited out.
    pub fn is_well(&self) -> bool {
        self.at.is_none()
    }

    /// Whether to try now.
    pub fn allows(&self, now: Instant) -> bool {
        self.at.is_none_or(|at| at <= now)
    }

    /// When to try again, after a failure.
    pub fn deadline(&self) -> Option<Instant> {
        self.at
    }

    /// Whether it is time to try again; it is asked once for each failure.
    pub fn take_due(&mut self, now: Instant) -> bool {
        self.at.take_if(|at| *at <= now).is_some()
    }

    /// Tries again then.
    pub fn at(&mut self, at: Instant) {
        self.at = Some(at);
    }

    pub fn failed(&mut self, now: Now) {
        let seed = now.wall.millis();
        let mut rng = <rand::rngs::SmallRng as rand::SeedableRng>::seed_from_u64(seed);
        self.at = Some(now.instant + self.backoff.pause(&mut rng));
    }

    pub fn succeeded(&mut self) {
        self.at = None;
        self.backoff.reset();
    }

    /// There is nothing to try.
    pub fn rest(&mut self) {
        self.at = None;
    }

    /// It will not succeed any more.
    pub fn give_up(&mut self, now: Instant) {
        self.at = Some(now + NEVER);
    }
}

/// As good as never.
const NEVER: Duration = Duration::from_hours(365 * 24);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn pauses_grow_and_begin_anew_after_a_success() {
        let now = clock::now();
        let mut timer = RetryTimer::default();
        assert!(timer.is_well() && timer.allows(now.instant));
        let mut pause = || {
            timer.failed(now);
            assert!(!timer.is_well() && !timer.allows(now.instant));
            timer.deadline().unwrap() - now.instant
        };
        let pauses: Vec<Duration> = (0..12).map(|_| pause()).collect();
        let (first, longest) = RECONNECT_PAUSE;
        assert!(pauses[0] <= first * 2 && pauses[11] > first * 2, "{pauses:?}");
        assert!(pauses.iter().all(|it| *it <= longest * 2), "{pauses:?}");
        assert!(timer.allows(timer.deadline().unwrap()));
        timer.succeeded();
        assert!(timer.is_well());
        timer.failed(now);
        assert!(timer.deadline().unwrap() - now.instant <= first * 2);
        timer.give_up(now.instant);
        assert!(!timer.allows(now.instant + Duration::from_hours(24 * 30)));
        timer.rest();
        assert!(timer.is_well());
    }
}
