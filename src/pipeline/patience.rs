//! When a disk that failed is tried again.

use std::time::{Duration, Instant};

use crate::backoff::Backoff;
use crate::clock::Now;
use crate::limits::RECONNECT_PAUSE;

/// Growing pauses between attempts, after failures.
#[derive(Debug)]
pub struct Patience {
    at: Option<Instant>,
    backoff: Backoff,
}

impl Default for Patience {
    fn default() -> Self {
        let (first, longest) = RECONNECT_PAUSE;
        Self { at: None, backoff: Backoff::new(first, longest) }
    }
}

impl Patience {
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

    /// It failed.
    pub fn failed(&mut self, now: Now) {
        let seed = now.wall.millis();
        let mut rng = <rand::rngs::SmallRng as rand::SeedableRng>::seed_from_u64(seed);
        self.at = Some(now.instant + self.backoff.pause(&mut rng));
    }

    /// It succeeded.
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
        let mut patience = Patience::default();
        assert!(patience.is_well() && patience.allows(now.instant));
        let mut pause = || {
            patience.failed(now);
            assert!(!patience.is_well() && !patience.allows(now.instant));
            patience.deadline().unwrap() - now.instant
        };
        let pauses: Vec<Duration> = (0..12).map(|_| pause()).collect();
        let (first, longest) = RECONNECT_PAUSE;
        assert!(pauses[0] <= first * 2 && pauses[11] > first * 2, "{pauses:?}");
        assert!(pauses.iter().all(|it| *it <= longest * 2), "{pauses:?}");
        assert!(patience.allows(patience.deadline().unwrap()));
        patience.succeeded();
        assert!(patience.is_well());
        patience.failed(now);
        assert!(patience.deadline().unwrap() - now.instant <= first * 2);
        patience.give_up(now.instant);
        assert!(!patience.allows(now.instant + Duration::from_hours(24 * 30)));
        patience.rest();
        assert!(patience.is_well());
    }
}
