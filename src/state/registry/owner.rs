//! A configured entry, as the rows of its sensors know it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::settlement::SensorIndex;
use crate::state::listening::Listening;
use crate::state::waiting::Waiting;
use crate::units::{ExpectedInterval, Period};

/// A configured entry.
#[derive(Debug)]
pub(super) struct Owner {
    pub(super) place: u32,
    pub(super) name: Box<str>,
    /// Its name as a JSON string.
    pub(super) json: Box<str>,
    pub(super) listening: Arc<Listening>,
    pub(super) waiting: Arc<Waiting>,
    /// Milliseconds between two reports of a sensor; [`LEARNED`] and [`NONE`] are none.
    expected: AtomicU64,
    /// It was removed.
    ended: AtomicBool,
    /// Sensors of it that were forgotten.
    forgotten: AtomicU64,
    /// Sensors whose state has changed by what has come. Each is here once, so these are no more than it has.
    changed: Mutex<Vec<SensorIndex>>,
}

/// How often its sensors report is learned of each.
const LEARNED: u64 = 0;

/// Nobody can say how often its sensors report.
const NONE: u64 = u64::MAX;

impl Owner {
    pub(super) fn new(place: u32, name: &str) -> Self {
        let json = serde_json::Value::from(name).to_string().into();
        Self {
            place,
            name: name.into(),
            json,
            listening: Arc::default(),
            waiting: Arc::default(),
            expected: AtomicU64::new(LEARNED),
            ended: AtomicBool::new(false),
            forgotten: AtomicU64::new(0),
            changed: Mutex::default(),
        }
    }

    /// Sets how often its sensors report; `None`: that is learned.
    pub(super) fn expect(&self, interval: Option<ExpectedInterval>) {
        let millis = match interval {
            None => LEARNED,
            Some(ExpectedInterval::None) => NONE,
            Some(ExpectedInterval::Every(period)) => {
                u64::try_from(period.0.as_millis()).unwrap_or(NONE - 1).clamp(1, NONE - 1)
            }
        };
        self.expected.store(millis, Ordering::Relaxed);
    }

    /// How often its sensors report, where that is set; `None`: it is learned.
    pub(super) fn expected(&self) -> Option<ExpectedInterval> {
        match self.expected.load(Ordering::Relaxed) {
            LEARNED => None,
            NONE => Some(ExpectedInterval::None),
            millis => Some(ExpectedInterval::Every(Period(Duration::from_millis(millis)))),
        }
    }

    /// Whether it was removed.
    pub(super) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Sets whether it was removed; what it was before.
    pub(super) fn set_ended(&self, ended: bool) -> bool {
        self.ended.swap(ended, Ordering::Relaxed)
    }

    /// The state of this sensor has changed by what has come.
    pub(super) fn has_changed(&self, sensor: SensorIndex) {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner).push(sensor);
    }

    /// One of its sensors is forgotten.
    pub(super) fn forgets_one(&self) {
        self.forgotten.fetch_add(1, Ordering::Relaxed);
    }

    /// Sensors of it that were forgotten.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::Relaxed)
    }

    /// Sensors whose state has changed by what has come since this was asked last.
    pub(super) fn changed(&self) -> Vec<SensorIndex> {
        std::mem::take(&mut *self.changed.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
