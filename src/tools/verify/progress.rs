//! Logs how far a verification is.

use std::time::{Duration, Instant};

use super::audit::{Audit, Sensor};
use crate::tools::simulate::report::rate;

/// How often progress is logged.
const PAUSE: Duration = Duration::from_secs(5);

/// When progress is logged again, and what was there the last time.
#[derive(Debug)]
pub(super) struct Progress {
    pub(super) due: Instant,
    records: u64,
}

impl Progress {
    pub(super) fn new(now: Instant) -> Self {
        Self { due: now + PAUSE, records: 0 }
    }

    /// Logs it, if it is time.
    pub(super) fn tell(&mut self, now: Instant, audit: &Audit) {
        if now < self.due {
            return;
        }
        let gaps =
            |it: &Sensor| it.numbers.missing(it.numbers.lowest().max(1), it.numbers.highest());
        let sum = |of: &dyn Fn(&Sensor) -> u64| {
            let heard = audit.sensors.values().filter(|it| it.records > 0);
            heard.map(of).fold(0, u64::saturating_add)
        };
        tracing::info!(
            records = audit.records,
            per_second = rate(audit.records - self.records, PAUSE),
            sensors = audit.sensors.len(),
            repeated_batches = audit.repeated_batches,
            gaps = sum(&gaps),
            duplicated = sum(&|it| it.duplicated),
            reordered = sum(&|it| it.reordered),
            dead_letters = audit.dead_letters.values().sum::<u64>(),
            "progress"
        );
        self.records = audit.records;
        self.due = now + PAUSE;
    }
}
