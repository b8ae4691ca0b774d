//! The size of a batch that the output broker is likely to take, learned from those that it did not take.
//!
//! It may be wrong: a broker that was only ill leaves large batches unanswered too. So it is forgotten after
//! [`HELD_MIN`], and the next batch is a whole one. Where that does not pass either the size is held for
//! twice as long, up to [`HELD_MAX`]: a limit that is real costs a few attempts an hour.
//!
//! Pure: the time comes as an argument.

use std::time::{Duration, Instant};

/// How long the first size is held.
const HELD_MIN: Duration = Duration::from_mins(1);

/// How long a size is held at most.
pub(super) const HELD_MAX: Duration = Duration::from_hours(1);

/// The size that was learned, if any.
#[derive(Debug, Default)]
pub(super) struct Learned {
    bytes_max: Option<usize>,
    held: Duration,
    until: Option<Instant>,
}

impl Learned {
    /// Bytes of a batch that are likely to pass.
    pub(super) fn bytes_max(&self) -> Option<usize> {
        self.bytes_max
    }

    /// No more than so many bytes are likely to pass.
    pub(super) fn learn(&mut self, now: Instant, bytes_max: usize) {
        if self.bytes_max.is_none() {
            let is_recent = self.until.is_some_and(|until| now < until + HELD_MAX);
            self.held = if is_recent { (self.held * 2).min(HELD_MAX) } else { HELD_MIN };
        }
        self.bytes_max = Some(self.bytes_max.map_or(bytes_max, |it| it.min(bytes_max)));
        self.until = Some(now + self.held);
    }

    /// Forgets what was learned long ago.
    pub(super) fn look(&mut self, now: Instant) {
        if self.until.is_some_and(|until| until <= now) {
            self.bytes_max = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn a_size_is_held_for_longer_each_time_that_it_proves_true() {
        let (mut it, mut now) = (Learned::default(), clock::now().instant);
        for minutes in [1, 2, 4, 8, 16, 32, 60, 60] {
            it.learn(now, 100);
            it.learn(now, 50);
            it.learn(now, 70);
            let held = Duration::from_mins(minutes);
            it.look(now + held.saturating_sub(Duration::from_millis(1)));
            assert_eq!(it.bytes_max(), Some(50), "{minutes}");
            now += held;
            it.look(now);
            assert_eq!(it.bytes_max(), None, "{minutes}");
            now += Duration::from_secs(5);
        }
        it.learn(now + HELD_MAX * 2, 100);
        it.look(now + HELD_MAX * 2 + HELD_MIN);
        assert_eq!(it.bytes_max(), None, "whole ones have passed for long: it begins anew");
    }
}
