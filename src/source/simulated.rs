//! Sensors made up by this process: `count` of them, each its own task. They wait for their next reading and for nothing
//! else: one more task of the entry ends them all when the gateway drains.
//!
//! Schedules are absolute: reading `k` of sensor `i` is due at `start + (i / count + k) × interval`.
//! A late reading does not push the next one later; ticks that have passed altogether are missed
//! and counted. Phases are spread over the interval, so a hundred thousand sensors are a steady
//! stream and not one burst a second. With `interval = 0` a sensor makes readings as fast as the
//! queue takes them.
//!
//! A reading that is not made, or a second one of the same ([`Faults`]), is a tick as any other.
//!
//! Values come from a model ([`Values`]) and a seed. Each sensor has its own, of the seed, the name of its entry and
//! its place there.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::amounts::{Decimals, Unit};
pub use self::faults::{Fault, Faults, Planted, Turn};
pub use self::model::Model;
pub use self::payload::{Fill, Published, Template};
use self::sparkplug::EdgeNode;
pub use self::values::Values;
use super::{Context, Ended, Entry};
use crate::clock::{self, Timestamp};
use crate::codec::{Payload, text_json};
use crate::phase::Phase;
use crate::queue::Inlet;
use crate::record::{Arrival, Body, Record, Span};
use crate::settlement::Token;
use crate::state::metrics::Metrics;
use crate::state::registry::Row;
use crate::tasks::Tasks;
use crate::units;
use crate::units::ExpectedInterval;

mod amounts;
mod example;
mod faults;
mod model;
mod payload;
mod replay;
pub mod sparkplug;
mod values;

/// Sensors that one simulated entry may count. More are refused by `check`.
const SIMULATED_COUNT_MAX: u32 = 1_000_000;

/// Readings that a simulated sensor without an interval makes for one turn at the queue.
const SIMULATED_RUN_RECORDS: u32 = 64;

/// Sensors of an entry that replays a file, at most. Each opens it. More are refused by `check`.
const REPLAYS_MAX: u64 = 256;

/// Bytes of a sensor that replays a file: a line and its buffer.
const REPLAY_BYTES: u64 = 256 * 1024;

/// The first byte of a planted payload that is no reading: UTF-8 has no such byte.
const NO_TEXT: u8 = 0xff;

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
    /// Seed of the values: the same one, in an entry of the same name and settings, gives the same values. Absent:
    /// a new one at each start, which is logged.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maximum" = i64::MAX))]
    pub seed: Option<u64>,
    /// How values are made.
    pub model: Model,
    /// Digits after the point of each value, 0 to 9.
    pub decimals: Decimals,
    /// The unit of the values, 1 to 64 bytes: `unit` of each record. Absent: records have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
    /// Faults that are planted into the readings, by the seed.
    #[serde(skip_serializing_if = "Faults::is_none")]
    pub faults: Faults,
    /// What `sluicegate simulate` publishes: a text in which `{value}` is filled, and `{time}` (RFC 3339), `{epoch}`
    /// (milliseconds since 1970), `{number}` (the sensor's own, from 1), `{sensor}`, `{unit}`; all other braces stay.
    /// Or `"sparkplug_b"`, with options in a table: the entry is an edge node of Sparkplug B, its sensors are the
    /// node's devices. Absent: `{"value":{value},"timestamp":"{time}","number":{number}}`, and the unit if there is
    /// one. In the gateway's own process there are no payloads, and it has no effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<Published>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            count: Count(1),
            interval: units::Period::millis(1000),
            readings: None,
            seed: None,
            model: Model::default(),
            decimals: Decimals::default(),
            unit: None,
            faults: Faults::default(),
            payload: None,
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

    /// The node that the entry of this name is for `sluicegate simulate`, if it is one.
    pub fn edge_node(&self, name: &str) -> Option<EdgeNode> {
        let Some(Published::SparkplugB(options)) = &self.payload else { return None };
        Some(EdgeNode::new(options, name))
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

    /// None can be said of sensors that end.
    pub(super) fn expected_interval(&self) -> Option<ExpectedInterval> {
        self.readings.map(|_| ExpectedInterval::None)
    }

    /// None: there are no payloads.
    #[expect(clippy::unused_self, reason = "the shape of every kind")]
    pub(super) fn payload(&self) -> Option<&Payload> {
        None
    }

    /// None: what is made up is taken.
    #[expect(clippy::unused_self, reason = "the shape of every kind")]
    pub(super) fn policies(&self) -> crate::policies::Settings {
        crate::policies::Settings::default()
    }

    /// None: the same.
    #[expect(clippy::unused_self, reason = "the shape of every kind")]
    pub(super) fn mapping(&self) -> Option<crate::codec::mapping::settings::Settings> {
        None
    }

    /// Whether readings have times of a file, which go before the interval.
    fn has_times(&self) -> bool {
        matches!(&self.model, Model::Replay(replay) if replay.time.is_some())
    }

    /// Bytes that its sensors need beyond their tasks.
    pub fn replay_bytes(&self) -> u64 {
        let is_replay = matches!(self.model, Model::Replay(_));
        if is_replay { u64::from(self.sensors()) * REPLAY_BYTES } else { 0 }
    }

    /// The keys that are set and concern payloads.
    pub fn of_payloads(&self) -> Vec<&'static str> {
        let malformed = f64::from(self.faults.malformed) > 0.0;
        let all = [("payload", self.payload.is_some()), ("faults.malformed", malformed)];
        all.into_iter().filter(|it| it.1).map(|it| it.0).collect()
    }

    /// By how much times are too early, at most.
    pub fn delay_max(&self) -> Duration {
        let Faults { delayed, delayed_by, .. } = self.faults;
        if f64::from(delayed) > 0.0 { delayed_by.0 } else { Duration::ZERO }
    }

    /// What is wrong with keys taken together: the key below the entry's section, and the remedy.
    pub fn problems(&self) -> Vec<(String, String)> {
        let of_model = self.model.problems().into_iter();
        let of_model = of_model.map(|(key, text)| (format!("model.{key}"), text));
        let too_many = self.replay_bytes() > REPLAYS_MAX * REPLAY_BYTES;
        let text = format!(
            "is above {REPLAYS_MAX}, and each sensor of a replay reads the file: write less"
        );
        let of_model = of_model.chain(too_many.then(|| ("count".to_owned(), text)));
        let numbers = [("seed", self.seed), ("readings", self.readings)];
        // A number must be one that TOML can write.
        let too_large = |it: u64| i64::try_from(it).is_err();
        let numbers = numbers.into_iter().filter(|it| it.1.is_some_and(too_large));
        let text = || format!("is too large: write {} at most", i64::MAX);
        of_model.chain(numbers.map(|(key, _)| (key.to_owned(), text()))).collect()
    }
}

/// What the sensors of one entry share.
#[derive(Debug)]
pub struct Shared {
    settings: Settings,
    seed: u64,
    name: Box<str>,
    /// `"unit":"C"`, or nothing.
    labels: Box<str>,
    /// What stands in a JSON string of the unit.
    unit: Box<str>,
    payload: Template,
}

impl Shared {
    /// Of the entry with this name; `seed` counts if it has none.
    pub fn new(settings: &Settings, name: &str, seed: u64) -> Arc<Self> {
        let quoted = settings.unit.as_ref().map(|it| text_json::quoted(it.as_str()));
        let unit = quoted.as_deref();
        let unit = unit.and_then(|it| it.strip_prefix('"')?.strip_suffix('"'));
        let usual = || Template::usual(unit);
        Arc::new(Self {
            settings: settings.clone(),
            seed: settings.seed.unwrap_or(seed),
            name: name.into(),
            unit: unit.unwrap_or_default().into(),
            payload: match &settings.payload {
                Some(Published::Template(template)) => template.clone(),
                Some(Published::SparkplugB(_)) | None => usual(),
            },
            labels: quoted.map_or_else(String::new, |it| format!("\"unit\":{it}")).into(),
        })
    }

    /// By how much the time of a reading with these faults is too early.
    pub fn delay(&self, planted: Planted) -> Duration {
        let by = self.settings.faults.delayed_by.0;
        if planted.has(Fault::Delayed) { by } else { Duration::ZERO }
    }

    /// Writes the payload of a reading with these faults.
    pub fn write(&self, out: &mut Vec<u8>, fill: &Fill<'_>, planted: Planted) {
        self.payload.write(out, fill, &self.unit);
        Self::spoil(out, planted);
    }

    /// Makes none of the payload of a reading, where that is planted.
    pub fn spoil(payload: &mut [u8], planted: Planted) {
        if planted.has(Fault::Malformed)
            && let Some(first) = payload.first_mut()
        {
            *first = NO_TEXT;
        }
    }

    /// The unit of the values, if there is one.
    pub fn unit(&self) -> Option<&str> {
        self.settings.unit.as_ref().map(Unit::as_str)
    }

    /// Digits after the point.
    pub fn decimals(&self) -> Decimals {
        self.settings.decimals
    }

    /// The seed of sensor `index`: FNV-1a of the entry's seed and name, and of the index.
    fn seed_of(&self, index: u32) -> u64 {
        let (seed, index) = (self.seed.to_le_bytes(), index.to_le_bytes());
        // The name has no 0, so no two sensors have the same bytes.
        let bytes = seed.iter().chain(self.name.as_bytes()).chain(&[0]).chain(&index);
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }
}

/// Starts a task for each sensor of an entry.
pub(super) fn start(settings: &Settings, entry: &Entry<'_>, tasks: &mut Tasks<Ended>) {
    let shared = Shared::new(settings, entry.name, entry.seed);
    entry.context.listening.begin(clock::now().wall);
    let mut sensors = Tasks::default();
    for index in 0..settings.sensors() {
        let sensor = Sensor::new(&shared, index, entry.start);
        let id = settings.sensor_id(entry.name, index);
        sensors.start(sensor.run(&id, entry.queue.inlet(), &entry.context));
    }
    let mut phase = entry.phase.clone();
    tasks.start(async move {
        sensors.run_until(phase.reached(Phase::Draining)).await;
        Ok(())
    });
}

/// Readings of a sensor that never ends.
const ENDLESS: u64 = u64::MAX;

/// One simulated sensor.
#[derive(Debug)]
pub struct Sensor {
    /// Readings that are left; [`ENDLESS`] do not get fewer.
    left: u64,
    values: Values,
    due: Instant,
}

impl Sensor {
    /// Sensor `index` of an entry that begins at `start`.
    pub fn new(shared: &Arc<Shared>, index: u32, start: Instant) -> Self {
        let settings = &shared.settings;
        Self {
            left: settings.readings.unwrap_or(ENDLESS),
            values: Values::new(shared, index),
            due: start + settings.phase(index),
        }
    }

    /// Makes readings until there are enough. It may be ended wherever it waits: then it has made what it counted. There
    /// may be a hundred thousand of these, so the task keeps nothing that it needs only once, or seldom.
    #[expect(clippy::excessive_nesting, reason = "an async fn would hold its arguments twice")]
    pub fn run(
        mut self,
        id: &str,
        inlet: Inlet,
        context: &Context,
    ) -> impl Future<Output = ()> + use<> {
        // There is a row for each: the entry's share of `gateway.sensors_max` is what it counts.
        let row = context.registry.row_of(id, context.entry);
        let ends = Ends { inlet, row, metrics: Arc::clone(&context.metrics) };
        let run = if self.is_unpaced() { SIMULATED_RUN_RECORDS } else { 1 };
        async move {
            while self.left > 0 {
                self.tick().await;
                for _ in 0..run {
                    let (value, planted) = match self.turn() {
                        Some(Turn::Made(value, planted)) => (value, planted),
                        Some(Turn::Absent(_)) => continue,
                        Some(Turn::Over) => return,
                        None => break,
                    };
                    for _ in 0..=u8::from(planted.has(Fault::Duplicate)) {
                        if let Err(bytes) = self.make(value, planted, &ends, false) {
                            Box::pin(ends.place(bytes)).await;
                            // It fits into the place that it asked for.
                            _ = self.make(value, planted, &ends, true);
                        }
                    }
                }
                let missed = self.schedule(clock::now().instant);
                ends.metrics.ticks_missed.add(missed);
            }
        }
    }

    /// What comes next; `None` where there are enough.
    fn turn(&mut self) -> Option<Turn> {
        if self.left == 0 {
            return None;
        }
        self.left -= u64::from(self.left < ENDLESS);
        Some(self.values.turn())
    }

    /// Makes a reading, if it has a place or there is one; else says for how many bytes.
    fn make(
        &self,
        value: f64,
        planted: Planted,
        Ends { inlet, row, metrics }: &Ends,
        has_place: bool,
    ) -> Result<(), usize> {
        let (shared, mut text) = (self.values.shared(), ryu::Buffer::new());
        let value = shared.decimals().text(value, &mut text).as_bytes();
        let delay = shared.delay(planted);
        let time_bytes = if delay.is_zero() { 0 } else { TIME_BYTES };
        let bytes = value.len() + time_bytes + shared.labels.len();
        if !has_place && !inlet.try_place(bytes) {
            return Err(bytes);
        }
        metrics.received.one();
        let record = record(row);
        row.has_value(value);
        let time = earlier(record.received, delay);
        let time = time.get(..time_bytes).unwrap_or_default();
        inlet.put_value(record, [value, time, shared.labels.as_bytes()]);
        Ok(())
    }

    fn interval(&self) -> Duration {
        self.values.shared().settings.interval.0
    }

    /// As fast as the queue takes them.
    fn is_unpaced(&self) -> bool {
        self.interval().is_zero() && !self.values.shared().settings.has_times()
    }

    async fn tick(&self) {
        if self.is_unpaced() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep_until(self.due.into()).await;
        }
    }

    /// Sets the next due time; returns how many ticks have passed altogether.
    fn schedule(&mut self, now: Instant) -> u64 {
        if let Some(pause) = self.values.pause() {
            self.due += pause;
            return 0;
        }
        let interval = self.interval();
        if interval.is_zero() {
            return 0;
        }
        self.due += interval;
        let late = now.saturating_duration_since(self.due);
        let missed = u64::try_from(late.as_nanos() / interval.as_nanos()).unwrap_or(0);
        self.due += interval.saturating_mul(u32::try_from(missed).unwrap_or(u32::MAX));
        missed
    }
}

/// Bytes of a time in RFC 3339 with milliseconds, as a JSON string.
const TIME_BYTES: usize = 26;

/// An earlier time, as a JSON string.
fn earlier(time: Timestamp, by: Duration) -> [u8; TIME_BYTES] {
    let mut text = [b' '; TIME_BYTES];
    if !by.is_zero() {
        let mut rest = text.as_mut_slice();
        write!(rest, "\"{}\"", time.earlier(by)).expect("RFC 3339 has 24 bytes");
    }
    text
}

/// Where a sensor's readings go, and where they are counted.
#[derive(Debug)]
struct Ends {
    inlet: Inlet,
    row: Arc<Row>,
    metrics: Arc<Metrics>,
}

impl Ends {
    /// Waits for a place in the queue. While there is none, nothing can come of the entry's sensors.
    async fn place(&self, bytes: usize) {
        let _deaf = Deaf::begin(&self.row);
        self.inlet.place(bytes).await;
    }
}

/// While this is there, nothing can come of the sensor.
struct Deaf<'a>(&'a Row);

impl<'a> Deaf<'a> {
    fn begin(row: &'a Row) -> Self {
        row.listens(false, clock::now().wall);
        Self(row)
    }
}

impl Drop for Deaf<'_> {
    fn drop(&mut self) {
        self.0.listens(true, clock::now().wall);
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
