//! `sluicegate explain`: what the gateway would make of a message, with no broker and nothing running.
//!
//! The message goes through the entry's own reader: what is printed is what would be published, but for the count of
//! the sensor, which begins with 1.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::codec::{Encoder, Format, Options};
use crate::mqtt::publish::with_user_properties;
use crate::mqtt::topic::{Filter, Topic};
use crate::pipeline::content;
use crate::plan::Plan;
use crate::record::{Body, Chunk, Reason, Record};
use crate::sink::dead_letter::DeadLetter;
use crate::source::mqtt::trial::{Limits, Trial, trial};
use crate::state::metrics::Skipped;
use crate::state::registry::Row;
use crate::text;

/// Entries that are named where none takes a message.
const NEAREST_MAX: usize = 3;

/// A message to be explained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its topic.
    pub topic: String,
    pub payload: Vec<u8>,
    /// The broker had retained it.
    pub retained: bool,
    /// Its user properties, by name (MQTT 5).
    pub properties: Vec<(String, String)>,
}

/// Why a dead letter cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("this is no dead letter of a gateway: {0}")]
    NoLetter(String),
    #[error(
        "the dead letter shows a part of its message only ({0}): give the message itself, with --payload or --file"
    )]
    Cut(String),
    #[error("the topic {0}")]
    Topic(String),
}

/// What becomes of a message.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    topic: String,
    /// Each entry that takes it: more than one, where their topics overlap.
    entries: Vec<Explained>,
    /// Where none does: those whose topics are most like its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    nearest: Vec<Nearest>,
}

/// What one entry makes of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Explained {
    entry: String,
    filter: String,
    /// The records, as they are published.
    records: Vec<String>,
    dead_letters: Vec<Letter>,
    /// Times of sensors that were not used.
    times_unused: u64,
    /// Why it is no reading, and no dead letter either.
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<&'static str>,
    /// The entry's settings in effect, as TOML.
    settings: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Letter {
    reason: &'static str,
    detail: String,
    /// As it is published.
    published: String,
    /// What would make a reading of it.
    remedy: &'static str,
}

#[derive(Debug, Serialize)]
struct Nearest {
    entry: String,
    filter: String,
}

/// The outcome in one word, for an exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Every part of it is a reading.
    Readings,
    /// A part of it, or all, is a dead letter.
    DeadLetters,
    /// No reading comes of it: no entry takes it, or it is skipped.
    Nothing,
}

impl Message {
    /// The message of a dead letter that a gateway published.
    pub fn of_dead_letter(text: &[u8]) -> Result<Self, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire {
            topic: String,
            detail: String,
            payload: Option<String>,
            payload_base64: Option<String>,
        }
        let wrong = |error: &dyn fmt::Display| Error::NoLetter(error.to_string());
        let it: Wire = serde_json::from_slice(text.trim_ascii()).map_err(|error| wrong(&error))?;
        if it.detail.contains("cut here") {
            return Err(Error::Cut(it.detail));
        }
        let payload = match (it.payload, it.payload_base64) {
            (Some(text), None) => text.into_bytes(),
            (None, Some(text)) => STANDARD.decode(text).map_err(|error| wrong(&error))?,
            _ => return Err(wrong(&"it has neither `payload` nor `payloadBase64`, or both")),
        };
        Ok(Self { topic: it.topic, payload, retained: false, properties: Vec::new() })
    }
}

/// Explains what a gateway of this plan makes of a message, in the format of its output or in another one.
pub fn explain(
    plan: &Plan,
    message: &Message,
    format: Option<Format>,
) -> Result<Explanation, Error> {
    let topic = Topic::try_from(message.topic.clone());
    topic.map_err(|error| Error::Topic(error.to_string()))?;
    let format = format.unwrap_or(plan.output.format);
    let now = clock::now();
    let (takes, others): (Vec<_>, Vec<_>) =
        plan.intakes().partition(|(_, it)| it.filters().any(|it| it.matches(&message.topic)));
    let limits = Limits {
        record_bytes_max: plan.queue.record_bytes_max.get(),
        readings_max: plan.queue.readings_max.get() as usize,
    };
    let properties = with_user_properties(&message.properties);
    let entries = takes.into_iter().map(|(name, settings)| {
        let of = (&*message.topic, &*message.payload, message.retained);
        let trial = trial(name, settings, limits, of, &properties, now);
        let mut filters = settings.filters();
        let filter = filters.find(|it| it.matches(&message.topic));
        let filter = filter.expect("one of them takes it").to_string();
        let settings = toml::to_string(settings).expect("settings that were read are texts");
        explained(plan, (name, filter, settings), &trial, format)
    });
    let entries: Vec<_> = entries.collect();
    let mut nearest = Vec::new();
    if entries.is_empty() {
        for (name, settings) in others {
            nearest.extend(settings.filters().map(|it| (name, it)));
        }
        let likeness =
            |filter: &Filter| strsim::jaro_winkler(&filter.filled(&message.topic), &message.topic);
        nearest.sort_by(|one, other| likeness(other.1).total_cmp(&likeness(one.1)));
        nearest.truncate(NEAREST_MAX);
    }
    let told = |(entry, filter): (&str, &Filter)| Nearest {
        entry: entry.to_owned(),
        filter: filter.to_string(),
    };
    let nearest = nearest.into_iter().map(told).collect();
    Ok(Explanation { topic: message.topic.clone(), entries, nearest })
}

fn explained(
    plan: &Plan,
    (entry, filter, settings): (&str, String, String),
    trial: &Trial,
    format: Format,
) -> Explained {
    let Trial { chunk, registry, metrics } = trial;
    let (mut records, mut dead_letters) = (Vec::new(), Vec::new());
    let mut encoder = format.encoder(&Options { influx: &plan.output.influx });
    registry.with_rows(|rows| {
        for record in &chunk.records {
            let row = rows.get(record.sensor.0 as usize).expect("each record has its row");
            match written(plan, record, row, chunk, (format, &mut encoder)) {
                Ok(record) => records.push(record),
                Err(letter) => dead_letters.push(letter),
            }
        }
    });
    let skipped = metrics.messages_skipped.counted().next().map(|it| match it {
        Skipped::Retained => "it was retained, and the entry has retained = \"skip\"",
        Skipped::Loop => "it is the gateway's own output",
        Skipped::Ignored => "its topic is one of the entry's `ignore`",
        Skipped::Missing => "it has nothing that is asked for, and the entry skips such messages (`missing`, `mismatch`)",
    });
    let times_unused = metrics.times_unused.get();
    let entry = entry.to_owned();
    Explained { entry, filter, records, dead_letters, times_unused, skipped, settings }
}

/// A record as it is published, or its dead letter.
fn written(
    plan: &Plan,
    record: &Record,
    row: &Row,
    chunk: &Chunk,
    (format, encoder): (Format, &mut Encoder),
) -> Result<String, Letter> {
    let letter = |told| letter(plan, row, chunk, record, told);
    let view = match record.body {
        Body::Reading { .. } => {
            content::view(record, row, chunk, record.received).expect("it is a reading")
        }
        Body::Unreadable { reason, detail, payload } => {
            return Err(letter((reason, chunk.text(detail), chunk.text(payload))));
        }
    };
    let mut out = Vec::new();
    match encoder.record(&mut out, &view) {
        Ok(()) if std::str::from_utf8(&out).is_err() => {
            Ok(String::from_utf8_lossy(&format.json(&out)).into_owned())
        }
        Ok(()) => Ok(String::from_utf8_lossy(&out).into_owned()),
        Err(refused) => Err(letter((Reason::Format, refused.0.as_bytes(), view.value))),
    }
}

fn letter(
    plan: &Plan,
    row: &Row,
    chunk: &Chunk,
    record: &Record,
    (reason, detail, payload): (Reason, &[u8], &[u8]),
) -> Letter {
    let letter = DeadLetter {
        gateway: &plan.gateway.id,
        reason,
        detail,
        sensor: &row.id,
        entry: row.entry_name(),
        topic: chunk.text(record.topic),
        received: record.received,
        payload,
    };
    Letter {
        reason: reason.as_str(),
        detail: String::from_utf8_lossy(detail).into_owned(),
        published: String::from_utf8_lossy(&letter.encode()).into_owned(),
        remedy: remedy(reason),
    }
}

/// What would make a reading of such a message.
const fn remedy(reason: Reason) -> &'static str {
    match reason {
        Reason::Malformed => {
            "set the payload codec that the device sends, or `type = \"any\"`; else mend the device"
        }
        Reason::Empty => "set payload = \"text\" if an empty message means something",
        Reason::Oversize => "raise queue.record_bytes_max or queue.readings_max",
        Reason::SensorId => "let `sensor` name another member or topic level",
        Reason::Topic => "delete the session's old subscription, or widen the entry's topic",
        Reason::Missing => {
            "let `value`, `values` or `sensor` say where it is, or set missing = \"skip\" or \"whole\" if messages \
             without it are to be"
        }
        Reason::Loop => "take the output topics out of the entry's topic",
        Reason::Expired => "set expiry = \"keep\", or let the device allow more time",
        Reason::Alias => {
            "let the node send its birth again (payload.sparkplug_b.rebirth = true asks for it)"
        }
        Reason::Format => "choose another output.format, or make another value of it",
    }
}

impl Explanation {
    /// In one word.
    pub fn outcome(&self) -> Outcome {
        let any = |of: fn(&Explained) -> bool| self.entries.iter().any(of);
        match (any(|it| !it.dead_letters.is_empty()), any(|it| !it.records.is_empty())) {
            (true, _) => Outcome::DeadLetters,
            (false, true) => Outcome::Readings,
            (false, false) => Outcome::Nothing,
        }
    }

    /// As one JSON object.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("an explanation is plain data")
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.entries.is_empty() {
            write!(f, "no entry takes a message on {}", text::shown(&self.topic))?;
            for Nearest { entry, filter } in &self.nearest {
                write!(f, "\n  the nearest: sensors.{entry} takes {filter}")?;
            }
            return Ok(());
        }
        for (at, it) in self.entries.iter().enumerate() {
            if at > 0 {
                f.write_str("\n\n")?;
            }
            it.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { entry, filter, records, dead_letters, times_unused, skipped, settings } = self;
        write!(f, "sensors.{entry} takes it ({filter})")?;
        for record in records {
            write!(f, "\nrecord\n  {}", text::json(record))?;
        }
        for Letter { reason, detail, published, remedy } in dead_letters {
            let (detail, letter) = (text::escaped(detail), text::json(published));
            write!(
                f,
                "\ndead letter, {reason}: {detail}\n  {letter}\n  to make a reading of it: {remedy}"
            )?;
        }
        if let Some(skipped) = skipped {
            write!(f, "\nno reading: {skipped}")?;
        }
        if *times_unused > 0 {
            write!(
                f,
                "\n{times_unused} times were not used: they cannot be read, or are not plausible (`timestamp`); the \
                 time of receipt stands"
            )?;
        }
        write!(f, "\nits settings\n")?;
        let lines: Vec<String> = settings.lines().map(|line| format!("  {line}")).collect();
        f.write_str(&lines.join("\n"))
    }
}
