//! The sizes that a publication must keep to: what the broker says, what the settings allow, and what is
//! learned from batches that were not taken.
//!
//! What is learned may be wrong: a broker that was only ill leaves large batches unanswered too. So it is
//! forgotten after [`HELD_MIN`], and the next batch is a whole one. Where that does not pass either the size is
//! held for twice as long, up to [`HELD_MAX`]: a limit that is real costs a few attempts an hour.
//!
//! Pure: the time comes as an argument.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::pipeline::split::Fit;
use crate::plan::Plan;
use crate::sink::Measure;

/// How long the first size is held.
const HELD_MIN: Duration = Duration::from_mins(1);

/// How long a size is held at most.
const HELD_MAX: Duration = Duration::from_hours(1);

/// All that bounds a publication.
#[derive(Debug)]
pub(super) struct Sizes {
    pub(super) measure: Arc<dyn Measure>,
    /// Bytes of the records of a batch: `batch.bytes_max`.
    records_bytes_max: usize,
    /// Bytes of a batch beside its records, at most.
    overhead_bytes: usize,
    /// Bytes of the largest batch that the current connection's broker takes, if it says.
    pub(super) bytes_max: Option<usize>,
    pub(super) learned: Learned,
}

impl Sizes {
    /// Of these settings, and a broker that has said nothing.
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            measure: plan.measure(),
            records_bytes_max: plan.batch.bytes_max.get(),
            overhead_bytes: plan.batch_overhead_bytes(),
            bytes_max: None,
            learned: Learned::default(),
        }
    }

    /// Of other settings, and the same connection. What was learned may hold no more.
    pub(super) fn become_plan(&mut self, plan: &Plan) {
        *self = Self { bytes_max: self.bytes_max, ..Self::new(plan) };
    }

    /// What a publication must keep to now.
    pub(super) fn fit(&self) -> Fit<'_> {
        let learned = self.learned.bytes_max.unwrap_or(usize::MAX);
        let records_bytes_max = self.records_bytes_max.min(learned);
        Fit { measure: &*self.measure, bytes_max: self.bytes_max, records_bytes_max }
    }

    /// A batch of so many bytes was too large: those to come have half of them.
    pub(super) fn too_large(&mut self, now: Instant, bytes: usize) {
        self.learned.learn(now, (bytes / 2).saturating_sub(self.overhead_bytes));
    }
}

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
    fn learn(&mut self, now: Instant, bytes_max: usize) {
        if self.bytes_max.is_none() {
            let is_recent = self.until.is_some_and(|until| now < until + HELD_MAX);
            self.held = if is_recent { (self.held * 2).min(HELD_MAX) } else { HELD_MIN };
        }
        self.bytes_max = Some(self.bytes_max.map_or(bytes_max, |it| it.min(bytes_max)));
        self.until = Some(now + self.held);
    }

    /// Forgets what was learned long ago.
    pub(super) fn forget(&mut self, now: Instant) {
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
            it.forget(now + held.saturating_sub(Duration::from_millis(1)));
            assert_eq!(it.bytes_max, Some(50), "{minutes}");
            now += held;
            it.forget(now);
            assert_eq!(it.bytes_max, None, "{minutes}");
            now += Duration::from_secs(5);
        }
        it.learn(now + HELD_MAX * 2, 100);
        it.forget(now + HELD_MAX * 2 + HELD_MIN);
        assert_eq!(it.bytes_max, None, "whole ones have passed for long: it begins anew");
    }
}
