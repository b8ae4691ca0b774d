//! Where records come from.
//!
//! The contract of a source: it offers records until it is told to drain; it waits where
//! `Inlet::offer` waits (and where it must not wait, it stops reading); it never drops a record it
//! has taken, but for QoS 0 by policy, counted; it acknowledges upstream only what has settled
//! safely.
//!
//! A new kind of source is one file here, with its `Settings` and a function `start`, and one line in the
//! list below; in the configuration it is `[sensors.<name>.<kind>]`.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::codec::{Malformed, Payload, Reading};
use crate::limits::{
    DEAD_LETTER_HEAD_BYTES_MAX, READING_OVERHEAD_BYTES, RECORD_OVERHEAD_BYTES, SENSOR_ID_BYTES_MAX,
    TOPIC_SHOWN_BYTES_MAX,
};
use crate::pace::Pace;
use crate::phase::PhaseReceiver;
use crate::queue::{OnFull, Queue};
use crate::record::{Body, Chunk, Reason, Record, Span};
use crate::state::listening::Listening;
use crate::state::metrics::Metrics;
use crate::state::registry::{Registry, Row};
use crate::tasks::Tasks;
use crate::units::ExpectedInterval;
use crate::unusable::Unusable;

macro_rules! kinds {
    ($($(#[$doc:meta])+ $module:ident => $kind:ident,)+) => {
        /// A configured sensor, by kind.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case", rename = "kind of sensor")]
        pub enum Kind { $($(#[$doc])+ $kind($module::Settings),)+ }

        impl Kind {
            /// The words for all kinds in the configuration.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($module),)+];

            /// How many sensors an entry of this kind has, where that is known before they speak.
            pub fn known_sensors(&self) -> Option<usize> {
                match self { $(Self::$kind(settings) => settings.known_sensors(),)+ }
            }

            /// How often each of its sensors reports, where that is set; else it is learned.
            pub fn expected_interval(&self) -> Option<ExpectedInterval> {
                let set = match self { $(Self::$kind(settings) => settings.expected_interval(),)+ };
                set.or_else(|| self.says_itself().then_some(ExpectedInterval::None))
            }

            /// Which readings of an entry of this kind are left out.
            pub fn policies(&self) -> crate::policies::Settings {
                match self { $(Self::$kind(settings) => settings.policies(),)+ }
            }

            /// The word for its kind.
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$kind(_) => stringify!($module),)+ }
            }

            /// What the messages of an entry of this kind mean, if it has any.
            pub fn mapping(&self) -> Option<crate::codec::mapping::settings::Settings> {
                match self { $(Self::$kind(settings) => settings.mapping(),)+ }
            }

            /// How the payloads of an entry of this kind are read, if it has any.
            pub fn payload(&self) -> Option<&Payload> {
                match self { $(Self::$kind(settings) => settings.payload(),)+ }
            }

            /// Starts the tasks of an entry of this kind. Their inlets exist when it returns.
            pub fn start(&self, entry: &Entry<'_>, tasks: &mut Tasks<Ended>) {
                match self { $(Self::$kind(settings) => $module::start(settings, entry, tasks),)+ }
            }
        }
    };
}

mod births;
pub mod exec;
mod lines;
mod made;
mod message;
pub mod mqtt;
mod numbers;
mod policed;
mod records;
mod remembered;
pub mod simulated;
pub mod stdin;
pub mod trial;

impl Kind {
    /// The sections that an entry may have: one for each kind.
    pub fn sections(entry: &str) -> String {
        let section = |kind: &&str| format!("[{entry}.{kind}]");
        Self::NAMES.iter().map(section).collect::<Vec<_>>().join(" or ")
    }

    /// Whether its sensors say whether they are there.
    fn says_itself(&self) -> bool {
        matches!(self, Self::Mqtt(settings) if settings.online.is_some())
    }

    /// Whether a message of this entry may hold several readings.
    pub fn is_many(&self) -> bool {
        let is_split = |it: crate::codec::mapping::settings::Settings| it.is_many();
        self.payload().is_some_and(Payload::is_many) || self.mapping().is_some_and(is_split)
    }

    /// Bytes that an entry needs for the message around several readings, if its messages are such.
    pub fn around_bytes(&self, record_bytes_max: usize) -> u64 {
        let has_each = self.mapping().is_some_and(|it| it.each.is_some());
        // A buffer that grows holds twice its content, and its old self while it moves.
        if has_each { 3 * record_bytes_max as u64 } else { 0 }
    }

    /// Bytes that an entry needs for the objects of its `transform`, if it has one.
    pub fn transform_bytes(&self) -> u64 {
        let has_any = self.mapping().is_some_and(|it| it.transform.is_some());
        if has_any { crate::codec::mapping::objects::TRANSFORM_BYTES } else { 0 }
    }

    /// Bytes that an entry of which messages hold up to `readings_max` readings needs beyond one whose messages
    /// hold one: the records of a message more in its chunk, with what each reading has beside its text. All MQTT
    /// entries share theirs (`mqtt::desk`).
    pub const fn readings_bytes(&self, readings_max: usize) -> u64 {
        let record = size_of::<Record>() + READING_OVERHEAD_BYTES;
        let records = match self {
            Self::Mqtt(_) => 0,
            // A buffer that grows holds twice its content, and its old self while it moves.
            _ => 3 * (readings_max * record + RECORD_OVERHEAD_BYTES + TOPIC_SHOWN_BYTES_MAX),
        };
        (records + made::PARTS_BYTES) as u64
    }

    /// Bytes of a message of so many readings before its records are made, which is one at a time.
    pub const fn message_bytes(readings_max: usize) -> u64 {
        made::bytes_max(readings_max) as u64
    }
}

kinds! {
    /// Readings made up by this process.
    simulated => Simulated,
    /// A subscription at an MQTT broker.
    mqtt => Mqtt,
    /// The lines that a command writes.
    exec => Exec,
    /// The lines of standard input.
    stdin => Stdin,
}

/// How a source's task ended. A source that nothing may end but the end of the gateway ended for a reason.
pub type Ended = Result<(), Failure>;

/// Why a source ended before the gateway did.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {error}")]
pub struct Failure {
    /// The entry, as it is written in the configuration.
    pub place: String,
    /// Why.
    pub error: Unusable,
}

/// A configured entry that starts.
#[derive(Debug)]
pub struct Entry<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where its records go.
    pub queue: &'a Queue,
    /// How far the gateway is on its way to the end.
    pub phase: &'a PhaseReceiver,
    /// What its tasks know.
    pub context: Context,
    /// When all entries start.
    pub start: Instant,
    /// How long it may be refused before anything of it has worked; `None`: for ever.
    pub start_grace: Option<Duration>,
    /// Of its randomness.
    pub seed: u64,
    /// The readings' broker.
    pub broker: &'a mqtt::Broker<'a>,
}

/// What every source is given.
#[derive(Debug, Clone)]
pub struct Context {
    /// The place of the configured entry: whose the sensors are.
    pub entry: u32,
    /// What the ids of all batches of this run begin with.
    pub run: Arc<str>,
    /// The sensors' rows.
    pub registry: Arc<Registry>,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// The pace of the runtime's thread.
    pub pace: Arc<Pace>,
    /// What happens to QoS 0 when the queue is full.
    pub on_full: OnFull,
    /// A payload above this is dead-lettered with its head.
    pub record_bytes_max: usize,
    /// A message of more readings is dead-lettered.
    pub readings_max: usize,
    /// Where a source keeps what the next run needs, if there is such a place: the spool's folder.
    pub folder: Option<Arc<Path>>,
    /// Whether the entry listens: who starts it says so, and who cannot hear its sensors for a while.
    pub listening: Arc<Listening>,
}

impl Context {
    /// The row of a sensor of this entry.
    fn row(&self, id: &str) -> Arc<Row> {
        self.registry.row_of(id, self.entry)
    }

    /// Why a payload is too large: its bytes, and their SHA-256.
    fn oversize(&self, bytes: u64, sha256: &[u8]) -> Malformed {
        let (hex, max) = (hex(sha256), self.record_bytes_max);
        let detail =
            format!("{bytes} bytes; queue.record_bytes_max is {max}; cut here; sha256 {hex}");
        Malformed { reason: Reason::Oversize, detail }
    }

    /// Why a payload holds too many readings, or too much text of so many readings together.
    fn too_many(&self, payload: &[u8], readings: usize) -> Malformed {
        let (bytes, hex) = (payload.len(), hex(&Sha256::digest(payload)));
        let max = self.readings_max;
        let what = if readings > max {
            format!("more than {max} readings (queue.readings_max)")
        } else {
            let max = self.record_bytes_max;
            format!(
                "{readings} readings have more text together than queue.record_bytes_max = {max} allows a \
                 message, each with what they share: extra = \"drop\" leaves that out"
            )
        };
        let cut = if bytes > DEAD_LETTER_HEAD_BYTES_MAX { "; cut here" } else { "" };
        let detail = format!("{what}; {bytes} bytes{cut}; sha256 {hex}");
        Malformed { reason: Reason::Oversize, detail }
    }

    /// The body of a reading, unless it became too large: JSON may be longer than what it was made of.
    fn body(&self, reading: &Reading<'_>) -> Result<Body, Malformed> {
        let Reading { value, timestamp, labels, extra, .. } = *reading;
        let text = value.bytes() + timestamp.bytes() + labels.bytes() + extra.bytes();
        let text_max = self.record_bytes_max + RECORD_OVERHEAD_BYTES;
        if text > text_max {
            let detail = format!("{text} bytes as JSON; at most {text_max}");
            return Err(Malformed { reason: Reason::Oversize, detail });
        }
        Ok(Body::Reading { value, timestamp, labels, extra })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

/// An id that can stand in logs and envelopes.
fn usable_id(id: &[u8]) -> Result<&str, Malformed> {
    let wrong = |detail: String| Malformed { reason: Reason::SensorId, detail };
    let text = std::str::from_utf8(id).map_err(|_| wrong("the sensor's id is not UTF-8".into()))?;
    if text.is_empty() {
        return Err(wrong("the sensor's id is empty".into()));
    }
    if text.len() > SENSOR_ID_BYTES_MAX {
        let bytes = text.len();
        return Err(wrong(format!(
            "the sensor's id has {bytes} bytes, more than {SENSOR_ID_BYTES_MAX}"
        )));
    }
    if text.chars().any(char::is_control) {
        return Err(wrong("the sensor's id holds a control character".into()));
    }
    Ok(text)
}

/// The body of a dead letter: why, and the payload or its head.
fn unreadable(payload: &[u8], malformed: &Malformed, chunk: &mut Chunk) -> Body {
    let shown = payload.len().min(DEAD_LETTER_HEAD_BYTES_MAX);
    let mut detail = malformed.detail.clone();
    if shown < payload.len() && !detail.contains("cut here") {
        detail.extend(["; ", &payload.len().to_string(), " bytes, cut here"]);
    }
    let head = chunk.put(payload.get(..shown).unwrap_or_default());
    let detail: Span = chunk.put(detail.as_bytes());
    Body::Unreadable { reason: malformed.reason, detail, payload: head }
}
