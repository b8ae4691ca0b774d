//! How long to wait before trying again: exponential, capped, jittered.
//!
//! The randomness is passed in, so a run can be repeated from its printed seed. Jitter takes the
//! upper half of the interval: two gateways that lost the same broker do not return in step.

use std::time::Duration;

use rand::{Rng, RngExt};

/// A growing pause between attempts.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Starts at `first`, doubles, stays at `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest: longest.max(first), next: first }
    }

    /// The next pause: between half and all of the current interval, which doubles.
    pub fn pause(&mut self, rng: &mut impl Rng) -> Duration {
        self.pause_within(self.longest, rng)
    }

    /// The same, with this interval and the next no longer than `longest`.
    pub fn pause_within(&mut self, longest: Duration, rng: &mut impl Rng) -> Duration {
        let longest = longest.min(self.longest);
        let interval = self.next.min(longest);
        self.next = (interval * 2).min(longest);
        interval.mul_f64(rng.random_range(0.5..=1.0))
    }

    /// Lets the next pause be no longer than `pause`: something went well, but not for long.
    pub fn at_most(&mut self, pause: Duration) {
        self.next = self.next.min(pause);
    }

    /// Begins anew: something went well.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew() {
        let mut rng = rand::rngs::SmallRng::seed_from_u64(1);
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(35));
        for most in [10, 20, 35, 35] {
            let pause = backoff.pause(&mut rng);
            assert!(
                pause <= Duration::from_millis(most) && pause >= Duration::from_millis(most) / 2
            );
        }
        let millis = Duration::from_millis;
        let within = backoff.pause_within(millis(12), &mut rng);
        assert!(within >= millis(6) && within <= millis(12), "{within:?}");
        assert!(backoff.pause(&mut rng) <= millis(12), "nor is the next");
        assert!(backoff.pause(&mut rng) >= millis(12), "then it doubles again");
        assert!(backoff.pause_within(millis(99), &mut rng) <= millis(35));
        backoff.reset();
        assert!(backoff.pause(&mut rng) <= Duration::from_millis(10));
    }
}
