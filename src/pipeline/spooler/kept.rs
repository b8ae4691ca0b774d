//! Batches on disk that this run cannot publish: of a version, a format or a route that it does not know.
//!
//! They stay on disk for a run that can, and are never thrown away. What is behind them is published as far as
//! each sensor's order allows: a batch of readings that has a sensor in common with a kept one is kept behind it.
//! Else an older reading would arrive after a newer one, once somebody publishes it. So other sensors go on; those
//! of the kept batches are safe on disk until it is full, and then wait at their sources. Of a version that is not
//! known it is not known whose the records are: then everything is kept behind it. Dead letters are in no order
//! with readings, and pass.
//!
//! Memory: a byte for each sensor's row.

use std::fmt;

use crate::pipeline::entry_head::Unknown;
use crate::pipeline::in_flight::InFlight;
use crate::settlement::SensorIndex;

/// Batches, and the readings in them.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Count {
    batches: u64,
    readings: u64,
}

impl Count {
    fn add(&mut self, readings: u32) {
        self.batches += 1;
        self.readings += u64::from(readings);
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} batches with {} readings", self.batches, self.readings)
    }
}

/// Why nothing may pass.
#[derive(Debug, Default)]
enum Behind {
    /// Nothing has been kept yet.
    #[default]
    Nothing,
    /// These sensors' readings are kept, by row.
    Sensors(Vec<bool>),
    /// Nobody knows whose.
    Everything,
}

/// What is kept.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// What an earlier run has left that this one does not know, and the first reason.
    unknown: Count,
    why: Option<Unknown>,
    /// What was kept behind it.
    waiting: Count,
    /// Readings that were read and kept, known or not.
    readings: u64,
    behind: Behind,
}

impl Kept {
    /// A batch was found on disk that is not known.
    pub(super) fn found(&mut self, why: Unknown, readings: u32) {
        self.unknown.add(readings);
        self.why.get_or_insert(why);
    }

    /// Whether anything was kept.
    pub(super) fn is_active(&self) -> bool {
        !matches!(self.behind, Behind::Nothing)
    }

    /// Whether a batch must be kept because it is behind a kept one.
    pub(super) fn holds(&self, flight: &InFlight) -> bool {
        match &self.behind {
            Behind::Nothing => false,
            Behind::Sensors(rows) => {
                let is_kept = |it: &SensorIndex| rows.get(it.0 as usize).copied().unwrap_or(false);
                !flight.is_dead_letter() && flight.sensors().iter().any(is_kept)
            }
            Behind::Everything => true,
        }
    }

    /// Readings that were read, and kept.
    pub(super) fn readings(&self) -> u64 {
        self.readings
    }

    /// Keeps a batch that is not known; of these sensors, if that is known.
    pub(super) fn keep(&mut self, sensors: Option<&[SensorIndex]>, readings: u32) {
        self.readings += u64::from(readings);
        match sensors {
            Some(sensors) => self.mark(sensors),
            None => self.behind = Behind::Everything,
        }
    }

    /// Keeps one behind it.
    pub(super) fn keep_behind(&mut self, flight: &InFlight) {
        let readings = u32::try_from(flight.sensors().len()).unwrap_or(u32::MAX);
        self.waiting.add(readings);
        self.readings += u64::from(readings);
        self.mark(flight.sensors());
    }

    fn mark(&mut self, sensors: &[SensorIndex]) {
        if let Behind::Nothing = self.behind {
            self.behind = Behind::Sensors(Vec::new());
        }
        let Behind::Sensors(rows) = &mut self.behind else { return };
        for sensor in sensors {
            let row = sensor.0 as usize;
            if row >= rows.len() {
                rows.resize(row + 1, false);
            }
            if let Some(row) = rows.get_mut(row) {
                *row = true;
            }
        }
    }

    /// What is kept, why, and what helps; nothing, if nothing is.
    pub(super) fn told(&self) -> Option<String> {
        let (why, unknown) = (self.why.as_ref()?, self.unknown);
        let waiting = match self.waiting {
            Count { batches: 0, .. } => String::new(),
            waiting => format!("; {waiting} of the same sensors wait behind them on disk"),
        };
        Some(format!(
            "the spool holds {unknown} that this run cannot publish, and keeps them{waiting}: {why}"
        ))
    }
}
