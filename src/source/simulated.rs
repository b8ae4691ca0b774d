//! Sensors made up by this process: `count` of them, each its own task.
//!
//! Schedules are absolute: reading `k` of sensor `i` is due at `start + (i / count + k) × interval`.
//! A late reading does not push the next one later; ticks that have passed altogether are missed
//! and counted. Phases are spread over the interval, so a hundred thousand sensors are a steady
//! stream and not one burst a second. With `interval = 0` a sensor makes readings as fast as the
//! queue takes them.
//!
//! Values come from a model and a seed; the same seed gives the same values.

use std::f64::consts::TAU;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Normal};
use serde::{Deserialize, Serialize};

use super::Context;
use crate::clock;
use crate::limits::{SIMULATED_COUNT_MAX, SIMULATED_RUN_RECORDS};
use crate::phase::{Phase, Watch};
use crate::queue::Inlet;
use crate::record::{Body, Record, Span};
use crate::registry::Row;
use crate::settlement::Token;
use crate::units;

/// `[sensors.<name>.simulated]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How many sensors.
    pub count: Count,
    /// Time between two readings of one sensor; 0: as fast as the queue takes them.
    pub interval: units::Span,
    /// Readings of one sensor, after which it ends; absent: for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readings: Option<u64>,
    /// Seed of the values; absent: the run's own, which is printed at start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// How values are made.
    pub model: Model,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            count: Count(1),
            interval: units::Span::millis(1000),
            readings: None,
            seed: None,
            model: Model::default(),
        }
    }
}

/// A number of sensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
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

/// How values are made. All in the unit of the reading.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", rename = "model", deny_unknown_fields)]
pub enum Model {
    /// Independent values around a mean.
    Gaussian {
        /// The mean.
        #[serde(default = "fifty")]
        mean: f64,
        /// The standard deviation.
        #[serde(default = "ten")]
        std_dev: StdDev,
    },
    /// A sine wave.
    Sine {
        /// The middle.
        #[serde(default = "fifty")]
        mean: f64,
        /// From the middle to the peak.
        #[serde(default = "ten_plain")]
        amplitude: NotNegative,
        /// Readings a period.
        #[serde(default = "hundred")]
        period: Period,
    },
    /// Each value is the one before, plus or minus up to a step.
    RandomWalk {
        /// The first value.
        #[serde(default = "fifty")]
        start: f64,
        /// The largest step.
        #[serde(default = "one")]
        step: NotNegative,
    },
    /// Always the same.
    Constant {
        /// The value.
        value: f64,
    },
}

/// A standard deviation: finite and not negative.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct StdDev(Normal<f64>);

impl TryFrom<f64> for StdDev {
    type Error = String;

    fn try_from(std_dev: f64) -> Result<Self, String> {
        let usable = std_dev.is_finite() && std_dev >= 0.0;
        match Normal::new(0.0, std_dev) {
            Ok(normal) if usable => Ok(Self(normal)),
            _ => Err(format!("{std_dev} is no standard deviation: write 0 or more")),
        }
    }
}

impl From<StdDev> for f64 {
    fn from(std_dev: StdDev) -> Self {
        std_dev.0.std_dev()
    }
}

/// A distance: finite and not negative.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct NotNegative(f64);

impl TryFrom<f64> for NotNegative {
    type Error = String;

    fn try_from(number: f64) -> Result<Self, String> {
        let usable = number.is_finite() && number >= 0.0;
        usable
            .then_some(Self(number))
            .ok_or_else(|| format!("{number} is negative: write 0 or more"))
    }
}

impl From<NotNegative> for f64 {
    fn from(number: NotNegative) -> Self {
        number.0
    }
}

/// Readings a period: finite and above 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Period(f64);

impl TryFrom<f64> for Period {
    type Error = String;

    fn try_from(readings: f64) -> Result<Self, String> {
        let usable = readings.is_finite() && readings > 0.0;
        usable.then_some(Self(readings)).ok_or_else(|| {
            format!("{readings} is no period: write how many readings one has, such as 100.0")
        })
    }
}

impl From<Period> for f64 {
    fn from(period: Period) -> Self {
        period.0
    }
}

fn fifty() -> f64 {
    50.0
}
fn ten() -> StdDev {
    StdDev(Normal::new(0.0, 10.0).expect("10 is a standard deviation"))
}
fn ten_plain() -> NotNegative {
    NotNegative(10.0)
}
fn hundred() -> Period {
    Period(100.0)
}
fn one() -> NotNegative {
    NotNegative(1.0)
}

impl Default for Model {
    fn default() -> Self {
        Self::Gaussian { mean: fifty(), std_dev: ten() }
    }
}

/// A model at work: the values of one sensor.
#[derive(Debug)]
pub struct Values {
    model: Model,
    rng: SmallRng,
    last: f64,
    made: u64,
}

impl Values {
    /// Begins; the same seed gives the same values.
    pub fn new(model: Model, seed: u64) -> Self {
        let last = if let Model::RandomWalk { start, .. } = model { start } else { 0.0 };
        Self { model, rng: SmallRng::seed_from_u64(seed), last, made: 0 }
    }

    /// The next value, with two digits after the point; always finite.
    #[expect(clippy::cast_precision_loss, reason = "a phase past 2^53 readings may be rough")]
    pub fn value(&mut self) -> f64 {
        let value = match self.model {
            Model::Gaussian { mean, std_dev } => mean + std_dev.0.sample(&mut self.rng),
            Model::Sine { mean, amplitude, period } => {
                mean + amplitude.0 * (TAU * self.made as f64 / period.0).sin()
            }
            Model::RandomWalk { step, .. } => {
                if self.made > 0 {
                    self.last += step.0 * self.rng.random_range(-1.0..=1.0);
                }
                self.last
            }
            Model::Constant { value } => value,
        };
        self.made += 1;
        // Two digits, as a sensor has: 50.12. What has no decimal text becomes 0.
        let rounded = (value * 100.0).round() / 100.0;
        if rounded.is_finite() { rounded } else { 0.0 }
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

    /// The values of sensor `index`; `seed` counts if the entry has none.
    pub fn values(&self, index: u32, seed: u64) -> Values {
        let seed = self.seed.unwrap_or(seed).wrapping_add(u64::from(index));
        Values::new(self.model, seed)
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
    pub fn run<E, X>(
        mut self,
        id: &str,
        (inlet, mut phase): (Inlet<E>, Watch),
        context: &Context,
    ) -> impl Future<Output = Result<(), X>> + use<E, X> {
        let (row, overflowed) = context.registry.row(id);
        let metrics = Arc::clone(&context.metrics);
        if overflowed {
            metrics.sensors_overflowed.one();
        }
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
    let (value, timestamp, extra) = (Span::default(), Span::default(), Span::default());
    Record {
        sensor: row.index,
        sequence: row.receive(received),
        received,
        token: Token::NONE,
        topic: Span::default(),
        retained: false,
        sheddable: false,
        body: Body::Reading { value, timestamp, extra },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Settings {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_late_reading_does_not_push_the_next_one_later() {
        let start = clock::now().instant;
        let settings = settings(r#"{"count":4,"interval":"100ms"}"#);
        let mut sensor = Sensor::new(&settings, 1, start, 0);
        let ms = Duration::from_millis;
        assert_eq!(sensor.due, start + ms(25));
        assert_eq!((sensor.schedule(start + ms(110)), sensor.due), (0, start + ms(125)));
        assert_eq!((sensor.schedule(start + ms(460)), sensor.due), (2, start + ms(425)));
    }

    #[test]
    fn the_same_seed_gives_the_same_values_and_every_model_works() {
        for model in [
            r#"{"gaussian":{}}"#,
            r#"{"sine":{"period":4}}"#,
            r#"{"random_walk":{"start":1,"step":0.5}}"#,
            r#"{"constant":{"value":3.25}}"#,
        ] {
            let model: Model = serde_json::from_str(model).unwrap();
            let values = |seed| {
                let mut values = Values::new(model, seed);
                std::iter::repeat_with(|| values.value()).take(20).collect::<Vec<_>>()
            };
            assert_eq!(values(7), values(7), "{model:?}");
        }
        let gaussian = Model::default();
        let mut values = Values::new(gaussian, 1);
        let mean = std::iter::repeat_with(|| values.value()).take(10_000).sum::<f64>() / 10_000.0;
        assert!((mean - 50.0).abs() < 1.0, "{mean}");
    }

    #[test]
    fn ids_have_as_many_digits_as_are_needed() {
        let ten = settings(r#"{"count":10}"#);
        assert_eq!((ten.sensor_id("T", 0), ten.sensor_id("T", 9)), ("T_00".into(), "T_09".into()));
        assert_eq!(settings(r#"{"count":1001}"#).sensor_id("T", 7), "T_0007");
        assert_eq!(settings("{}").sensor_id("T", 0), "T");
        assert!(serde_json::from_str::<Settings>(r#"{"count":0}"#).is_err());
    }

    #[test]
    fn a_model_that_makes_no_values_is_refused_with_its_remedy() {
        for model in [
            r#"{"gaussian":{"std_dev":-1}}"#,
            r#"{"sine":{"period":0}}"#,
            r#"{"sine":{"period":-100}}"#,
            r#"{"sine":{"amplitude":-0.5}}"#,
            r#"{"random_walk":{"step":-1}}"#,
        ] {
            let error = serde_json::from_str::<Model>(model).unwrap_err().to_string();
            assert!(error.contains(": write "), "{model}: {error}");
        }
        assert!(Period::try_from(f64::INFINITY).is_err() && Period::try_from(f64::NAN).is_err());
        assert!(NotNegative::try_from(f64::NAN).is_err());
    }
}
