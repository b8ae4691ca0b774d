//! Sensors made up by this process: `count` of them, each its own task.
//!
//! Schedules are absolute: reading `k` of sensor `i` is due at `start + (i / count + k) × interval`.
//! A late reading does not push the next one later; ticks that have passed altogether are missed
//! and counted. Phases are spread over the interval, so a hundred thousand sensors are a steady
//! stream and not one burst a second. With `interval = 0` a sensor makes readings as fast as the
//! queue takes them.
//!
//! Values come from a model and a seed; the same seed gives the same values.

use std::sync::Arc;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::model::{Model, Values};
use super::{Context, Ended, Entry};
use crate::clock;
use crate::codec::Payload;
use crate::phase::{Phase, PhaseReceiver};
use crate::queue::Inlet;
use crate::record::{Arrival, Body, Record, Span};
use crate::settlement::Token;
use crate::state::registry::Row;
use crate::tasks::Tasks;
use crate::units;

mod model;

/// Sensors that one simulated entry may count. More are refused by `check`.
const SIMULATED_COUNT_MAX: u32 = 1_000_000;

/// Readings that a simulated sensor without an interval makes for one turn at the queue.
const SIMULATED_RUN_RECORDS: u32 = 64;

/// `[sensors.<name>.simulated]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How many sensors: `<name>_00` and so on; with 1, it has the entry's own name.
    pub count: Count,
    /// Time between two readings of one sensor; absolute, so a late one does not delay the next. 0: as fast
    /// as the queue takes them.
    pub interval: units::Period,
    /// Readings of each sensor, after which it ends; when every sensor of the file has ended, the gateway
    /// drains and exits 0. Absent: it never ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maximum" = i64::MAX))]
    pub readings: Option<u64>,
    /// Seed of the values: the same one gives the same values. Absent: a new one at each start, which is
    /// logged.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maximum" = i64::MAX))]
    pub seed: Option<u64>,
    /// How values are made.
    pub model: Model,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            count: Count(1),
            interval: units::Period::millis(1000),
            readings: None,
            seed: None,
            model: Model::default(),
        }
    }
}

/// A number of sensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "u32", into = "u32")]
#[schemars(extend("minimum" = 1, "maximum" = SIMULATED_COUNT_MAX))]
pub struct Count(u32);

impl TryFrom<u32> for Count {
    type Error = String;

    fn try_from(count: u32) -> Result<Self, String> {
        match count {
            0 => Err("no sensor at all: write 1 or more, or remove the entry".into()),
            n if n > SIMULATED_COUNT_MAX => {
                Err(format!("{n} is too large: write {SIMULATED_COUNT_MAX} at most"))
            }
            n => Ok(Self(n)),
        }
    }
}

impl From<Count> for u32 {
    fn from(count: Count) -> Self {
        count.0
    }
}

impl Settings {
    /// How many sensors.
    pub fn sensors(&self) -> u32 {
        self.count.0
    }

    /// The id of sensor `index` of an entry: `TEMP_00` …; the entry's name alone if there is one.
    pub fn sensor_id(&self, name: &str, index: u32) -> String {
        if self.count.0 == 1 {
            return name.to_owned();
        }
        let digits = (self.count.0 - 1).to_string().len().max(2);
        format!("{name}_{index:0digits$}")
    }

    /// When sensor `index` of an entry begins, after the entry: spread over the interval.
    pub fn phase(&self, index: u32) -> Duration {
        self.interval.0.mul_f64(f64::from(index) / f64::from(self.count.0))
    }

    /// All of them.
    #[expect(clippy::unnecessary_wraps, reason = "the shape of every kind")]
    pub(super) fn known_sensors(&self) -> Option<usize> {
        Some(self.sensors() as usize)
    }

    /// None: there are no payloads.
    #[expect(clippy::unused_self, reason = "the shape of every kind")]
    pub(super) fn payload(&self) -> Option<&Payload> {
        None
    }

    /// None: the same.
    #[expect(clippy::unused_self, reason = "the shape of every kind")]
    pub(super) fn mapping(&self) -> Option<crate::codec::mapping::settings::Settings> {
        None
    }

    /// The values of sensor `index`; `seed` counts if the entry has none.
    pub fn values(&self, index: u32, seed: u64) -> Values {
        let seed = self.seed.unwrap_or(seed).wrapping_add(u64::from(index));
        Values::new(self.model, seed)
    }
}

/// Starts a task for each sensor of an entry.
pub(super) fn start(settings: &Settings, entry: &Entry<'_>, tasks: &mut Tasks<Ended>) {
    for index in 0..settings.sensors() {
        let sensor = Sensor::new(settings, index, entry.start, entry.seed);
        let id = settings.sensor_id(entry.name, index);
        let ends = (entry.queue.inlet(), entry.phase.clone());
        tasks.start(sensor.run(&id, ends, &entry.context));
    }
}

/// One simulated sensor.
#[derive(Debug)]
pub struct Sensor {
    interval: Duration,
    left: Option<u64>,
    values: Values,
    due: Instant,
}

impl Sensor {
    /// Sensor `index` of an entry that begins at `start`; `seed` counts if the entry has none.
    pub fn new(settings: &Settings, index: u32, start: Instant, seed: u64) -> Self {
        Self {
            interval: settings.interval.0,
            left: settings.readings,
            values: settings.values(index, seed),
            due: start + settings.phase(index),
        }
    }

    /// Makes readings until there are enough or the gateway drains. There may be a hundred thousand
    /// of these, so the task keeps nothing that it needs only once.
    #[expect(clippy::excessive_nesting, reason = "an async fn would hold its arguments twice")]
    pub fn run(
        mut self,
        id: &str,
        (inlet, mut phase): (Inlet, PhaseReceiver),
        context: &Context,
    ) -> impl Future<Output = Ended> + use<> {
        // There is a row for each: the entry's share of `gateway.sensors_max` is what it counts.
        let row = context.registry.row_of(id, context.entry);
        let metrics = Arc::clone(&context.metrics);
        let run = if self.interval.is_zero() { SIMULATED_RUN_RECORDS } else { 1 };
        async move {
            while self.left != Some(0) {
                tokio::select! {
                    biased;
                    () = phase.reached(Phase::Draining) => break,
                    () = self.tick() => {}
                }
                for _ in 0..run {
                    if self.left == Some(0) {
                        break;
                    }
                    let mut text = ryu::Buffer::new();
                    let value = text.format_finite(self.values.value()).as_bytes();
                    tokio::select! {
                        biased;
                        () = inlet.place(value.len()) => {}
                        () = phase.reached(Phase::Draining) => return Ok(()),
                    }
                    metrics.received.one();
                    inlet.put_value(record(&row), value);
                    self.left = self.left.map(|left| left - 1);
                }
                let missed = self.schedule(clock::now().instant);
                metrics.ticks_missed.add(missed);
            }
            Ok(())
        }
    }

    async fn tick(&self) {
        if self.interval.is_zero() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep_until(self.due.into()).await;
        }
    }

    /// Sets the next due time; returns how many ticks have passed altogether.
    fn schedule(&mut self, now: Instant) -> u64 {
        if self.interval.is_zero() {
            return 0;
        }
        self.due += self.interval;
        let late = now.saturating_duration_since(self.due);
        let missed = u64::try_from(late.as_nanos() / self.interval.as_nanos()).unwrap_or(0);
        self.due += self.interval.saturating_mul(u32::try_from(missed).unwrap_or(u32::MAX));
        missed
    }
}

/// A record of the sensor, taken now; its value is still to come.
fn record(row: &Row) -> Record {
    let received = clock::now().wall;
    let none = Span::default();
    Record {
        sensor: row.index,
        id: Span::default(),
        sequence: row.receive(received),
        received,
        token: Token::NONE,
        topic: Span::default(),
        arrival: Arrival::default(),
        body: Body::Reading { value: none, timestamp: none, labels: none, extra: none },
    }
}

#[cfg(test)]
mod tests;
