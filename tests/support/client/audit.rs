//! Judges what came out: which readings of which sensor are lost, repeated or out of order.
//!
//! Readings are numbered from 1 for each sensor. A batch that came before (same batch id) is set
//! aside first, as a consumer is told to; what is repeated then is repeated in truth.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Write;

use serde_json::Value;

/// Where a record carries the number of its reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counter {
    /// A member of the sensor's payload: in `extra`, or in `value` if that is an object.
    Member(&'static str),
    /// The value itself.
    Value,
    /// The gateway's own `sequence`.
    Sequence,
}

impl Counter {
    fn read(self, record: &Value) -> Option<u64> {
        match self {
            Self::Member(name) => {
                let member = |of: &str| record.get(of)?.get(name)?.as_u64();
                member("extra").or_else(|| member("value"))
            }
            Self::Value => record.get("value")?.as_u64(),
            Self::Sequence => record.get("sequence")?.as_u64(),
        }
    }
}

/// The readings of one sensor.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sensor {
    /// Records, without repeated batches.
    pub(crate) records: u64,
    /// Records of repeated batches too.
    pub(crate) records_before: u64,
    /// Readings whose first record came after one with a higher number.
    pub(crate) reordered: u64,
    seen: BTreeSet<u64>,
    highest: u64,
}

impl Sensor {
    pub(crate) fn distinct(&self) -> u64 {
        self.seen.len() as u64
    }

    /// Records too many, repeated batches not counted.
    pub(crate) fn duplicated(&self) -> u64 {
        self.records - self.distinct()
    }

    /// Records too many, repeated batches counted.
    pub(crate) fn duplicated_before(&self) -> u64 {
        self.records_before - self.distinct()
    }

    /// Which numbers of 1 to `readings` never came.
    pub(crate) fn lost(&self, readings: u64) -> Vec<u64> {
        (1..=readings).filter(|n| !self.seen.contains(n)).collect()
    }

    fn take(&mut self, n: u64) {
        self.records += 1;
        if self.seen.insert(n) {
            self.reordered += u64::from(n < self.highest);
            self.highest = self.highest.max(n);
        }
    }
}

/// The sums over all sensors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) lost: u64,
    /// After repeated batches were set aside.
    pub(crate) duplicated: u64,
    /// Repeated batches counted.
    pub(crate) duplicated_before: u64,
    pub(crate) reordered: u64,
    /// Sensors that should not be there, and records with no number.
    pub(crate) strange: u64,
}

impl Verdict {
    /// Nothing lost, repeated, out of order or strange; repeated batches do not count.
    pub(crate) fn is_clean(&self) -> bool {
        *self == Self { duplicated_before: self.duplicated_before, ..Self::default() }
    }
}

/// What came out.
#[derive(Clone, Debug)]
pub(crate) struct Audit {
    counter: Counter,
    pub(crate) sensors: BTreeMap<String, Sensor>,
    /// Batches, repeated ones too.
    pub(crate) batches: u64,
    pub(crate) repeated_batches: u64,
    /// Envelopes whose `count` is not the number of their records.
    pub(crate) miscounted: u64,
    /// Payloads that are no batch.
    pub(crate) unreadable: u64,
    /// Records without a sensor or a number.
    pub(crate) unnumbered: u64,
    /// Records in each batch, in order.
    pub(crate) sizes: Vec<usize>,
    ids: HashSet<String>,
}

impl Audit {
    pub(crate) fn new(counter: Counter) -> Self {
        Self {
            counter,
            sensors: BTreeMap::new(),
            batches: 0,
            repeated_batches: 0,
            miscounted: 0,
            unreadable: 0,
            unnumbered: 0,
            sizes: Vec::new(),
            ids: HashSet::new(),
        }
    }

    /// An audit of payloads in the order in which they came.
    pub(crate) fn of<P: AsRef<[u8]>>(
        counter: Counter,
        payloads: impl IntoIterator<Item = P>,
    ) -> Self {
        let mut audit = Self::new(counter);
        payloads.into_iter().for_each(|payload| audit.add(payload.as_ref()));
        audit
    }

    /// Takes one payload: an envelope or a bare array of records.
    pub(crate) fn add(&mut self, payload: &[u8]) {
        let batch: Value = serde_json::from_slice(payload).unwrap_or(Value::Null);
        let records = batch.get("records").unwrap_or(&batch);
        let Some(records) = records.as_array() else {
            self.unreadable += 1;
            return;
        };
        self.batches += 1;
        self.sizes.push(records.len());
        if let Some(count) = batch.get("count").and_then(Value::as_u64) {
            self.miscounted += u64::from(count != records.len() as u64);
        }
        let id = batch.get("batch").and_then(Value::as_str);
        let repeated = id.is_some_and(|id| !self.ids.insert(id.to_owned()));
        self.repeated_batches += u64::from(repeated);
        for record in records {
            let sensor = record.get("sensorId").and_then(Value::as_str);
            let (Some(sensor), Some(n)) = (sensor, self.counter.read(record)) else {
                self.unnumbered += 1;
                continue;
            };
            let sensor = self.sensors.entry(sensor.to_owned()).or_default();
            sensor.records_before += 1;
            if !repeated {
                sensor.take(n);
            }
        }
    }

    /// Different readings of all sensors.
    pub(crate) fn distinct(&self) -> u64 {
        self.sensors.values().map(Sensor::distinct).sum()
    }

    /// Records, without those of repeated batches.
    pub(crate) fn records(&self) -> u64 {
        self.sensors.values().map(|sensor| sensor.records).sum()
    }

    /// Judges against the sensors that there should be and the readings that each must have; more
    /// readings than that are no fault (they may have been sent and not acknowledged).
    pub(crate) fn judge<S: AsRef<str>>(
        &self,
        expected: impl IntoIterator<Item = (S, u64)>,
    ) -> Verdict {
        let strange = self.unnumbered + self.unreadable + self.miscounted;
        let mut verdict = Verdict { strange, ..Verdict::default() };
        let mut known = HashSet::new();
        for (name, readings) in expected {
            known.insert(name.as_ref().to_owned());
            let Some(sensor) = self.sensors.get(name.as_ref()) else {
                verdict.lost += readings;
                continue;
            };
            verdict.lost += sensor.lost(readings).len() as u64;
            verdict.duplicated += sensor.duplicated();
            verdict.duplicated_before += sensor.duplicated_before();
            verdict.reordered += sensor.reordered;
        }
        let unknown = self.sensors.iter().filter(|(name, _)| !known.contains(*name));
        verdict.strange += unknown.map(|(_, sensor)| sensor.records_before).sum::<u64>();
        verdict
    }

    /// Judges the output of a publisher with so many sensors and readings of each.
    pub(crate) fn judge_load(&self, sensors: usize, readings: u64) -> Verdict {
        self.judge((0..sensors).map(|index| (super::sensor_id(index), readings)))
    }

    /// Judges against what a publisher saw acknowledged.
    pub(crate) fn judge_report(&self, report: &super::Report) -> Verdict {
        let sensors = report.acknowledged.iter().enumerate();
        self.judge(sensors.map(|(index, readings)| (super::sensor_id(index), *readings)))
    }

    /// Fails the test unless each reading came once and in order (repeated batches set aside).
    #[track_caller]
    pub(crate) fn assert_exactly(&self, sensors: usize, readings: u64) {
        let verdict = self.judge_load(sensors, readings);
        let total = sensors as u64 * readings;
        let clean = verdict.is_clean() && self.records() == total;
        assert!(
            clean,
            "{} of {total} records, {verdict:?}: {}",
            self.records(),
            self.faults(readings)
        );
    }

    /// The first faults, sensor by sensor.
    pub(crate) fn faults(&self, readings: u64) -> String {
        let mut text = String::new();
        for (name, sensor) in &self.sensors {
            let lost = sensor.lost(readings);
            let (duplicated, reordered) = (sensor.duplicated(), sensor.reordered);
            if text.len() < 2000 && (!lost.is_empty() || duplicated + reordered > 0) {
                let first = &lost[..lost.len().min(5)];
                write!(
                    text,
                    "\n  {name}: lost {} {first:?}, duplicated {duplicated}, reordered {reordered}",
                    lost.len(),
                )
                .unwrap();
            }
        }
        text
    }
}
