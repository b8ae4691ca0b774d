//! `sluicegate explain`: what the gateway would make of a message, or of lines, with no broker and nothing running.
//!
//! They go through the entry's own reader: what is printed is what would be published, but for the count of the
//! sensor, which begins with 1. Beside it stands what a gateway keeps no note of: which time a record has, and why.

use serde::Serialize;

use self::letter::{Letter, letter};
use crate::clock::{self, Now};
use crate::codec::mapping::settings::Settings;
use crate::codec::mapping::time_told::TimeTold;
use crate::codec::{Encoder, Format, Options, Payload};
use crate::mqtt::publish::with_user_properties;
use crate::mqtt::topic::{Filter, Topic};
use crate::pipeline::content;
use crate::plan::Plan;
use crate::record::{Body, Chunk, Reason, Record};
use crate::source::mqtt::trial::trial;
use crate::source::trial::{Limits, LineNumbers, Trial, lines};
use crate::source::{Kind, mqtt, simulated};
use crate::state::metrics::Skipped;
use crate::state::registry::Row;

mod letter;
mod show;

/// Entries that are named where none takes a message.
const NEAREST_MAX: usize = 3;

/// What is to be explained.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Asked {
    /// The only entry that is asked.
    pub entry: Option<String>,
    /// The message's topic; lines have none.
    pub topic: Option<String>,
    /// The message's payload, or the lines.
    pub payload: Vec<u8>,
    /// Messages that came before it and say what it means, each with its topic.
    pub before: Vec<(String, Vec<u8>)>,
    /// The broker had retained it.
    pub retained: bool,
    /// Its user properties, by name (MQTT 5).
    pub properties: Vec<(String, String)>,
}

/// Why something cannot be explained.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("this is no dead letter of a gateway, and no line of a recording: {0}")]
    NoLetter(String),
    #[error(
        "the dead letter shows a part of its message only ({0}): give the message itself, with --payload or --file"
    )]
    Cut(String),
    #[error(
        "the dead letter shows {part}, which cannot be read without the rest; it is one because of this: {detail}. Give \
         the whole message, with --topic and --payload or --file"
    )]
    Part { part: String, detail: String },
    #[error("these are {0} dead letters: give one of them, such as jq -c '.[0]' makes of it")]
    Several(usize),
    #[error("the topic {0}")]
    Topic(String),
    #[error("no entry is called {asked}: the configuration has {known}")]
    Unknown { asked: String, known: String },
    #[error("sensors.{0} takes messages: say on which topic this one comes, with --topic")]
    NoTopic(String),
    #[error(
        "sensors.{0} reads lines, which have neither topic nor properties: leave --topic, --retained and --property \
         out"
    )]
    Lines(String),
    #[error("sensors.{0} is simulated and reads nothing: leave --payload and --file out")]
    Simulated(String),
    #[error(
        "neither a topic nor an entry is given: write --topic, or --entry for one that reads lines"
    )]
    Nothing,
}

/// What becomes of a message, or of lines.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<String>,
    /// What a simulated entry publishes, where that is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
    /// Each entry that takes it: more than one, where their topics overlap.
    entries: Vec<Explained>,
    /// Where none does: those whose topics are most like its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    nearest: Vec<Nearest>,
}

/// What one entry makes of it.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Explained {
    entry: String,
    /// The filter that takes it; lines have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    filter: Option<String>,
    /// The records, as they are published.
    records: Vec<String>,
    /// Of each record, which time it has, and why.
    times: Vec<TimeTold>,
    /// Of each record of lines, the number of its line.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    record_lines: Vec<u64>,
    dead_letters: Vec<Letter>,
    /// Lines that are no reading, and no dead letter either.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    skipped_lines: Vec<u64>,
    /// Times of sensors that were not used.
    times_unused: u64,
    /// Why it is no reading, and no dead letter either.
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<&'static str>,
    /// The entry's settings in effect, as TOML.
    settings: String,
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

/// Whether there is anything to read: a simulated entry makes its payload itself.
pub fn reads(plan: &Plan, entry: Option<&str>) -> Result<bool, Error> {
    let Some(asked) = entry else { return Ok(true) };
    Ok(!matches!(kind(plan, asked)?, Kind::Simulated(_)))
}

fn kind<'p>(plan: &'p Plan, asked: &str) -> Result<&'p Kind, Error> {
    plan.sensors.get(asked).ok_or_else(|| {
        let names: Vec<&str> = plan.sensors.keys().map(String::as_str).collect();
        let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        Error::Unknown { asked: asked.to_owned(), known }
    })
}

/// Explains what a gateway of this plan makes of it, in the format of its output or in another one.
pub fn explain(plan: &Plan, asked: &Asked, format: Option<Format>) -> Result<Explanation, Error> {
    let format = format.unwrap_or(plan.output.format);
    let explainer = Explainer { plan, format, now: clock::now() };
    let Some(name) = &asked.entry else { return explainer.message(asked, &asked.payload) };
    match kind(plan, name)? {
        Kind::Mqtt(_) if asked.topic.is_none() => Err(Error::NoTopic(name.clone())),
        Kind::Mqtt(_) => explainer.message(asked, &asked.payload),
        Kind::Simulated(_) if !asked.payload.is_empty() => Err(Error::Simulated(name.clone())),
        Kind::Simulated(it) => explainer.simulated(name, it, asked),
        Kind::Exec(_) | Kind::Stdin(_)
            if asked.topic.is_some() || asked.retained || !asked.properties.is_empty() =>
        {
            Err(Error::Lines(name.clone()))
        }
        Kind::Exec(it) => Ok(explainer.lines(name, (&it.payload, it.mapping(), toml(it)), asked)),
        Kind::Stdin(it) => Ok(explainer.lines(name, (&it.payload, it.mapping(), toml(it)), asked)),
    }
}

/// A payload as it is shown: its text, or its bytes in base16.
fn shown(payload: &[u8]) -> String {
    let is_text = |it: &&str| !it.contains(|it: char| it.is_control() && !it.is_whitespace());
    let digits = |it: &u8| [it >> 4, it & 15].map(|it| char::from_digit(it.into(), 16));
    let of_bytes = || payload.iter().flat_map(digits).flatten().collect();
    std::str::from_utf8(payload).ok().filter(is_text).map_or_else(of_bytes, str::to_owned)
}

/// An entry's settings as TOML.
fn toml(settings: &impl Serialize) -> String {
    toml::to_string(settings).expect("settings that were read are texts")
}

/// Explains one thing after the other.
struct Explainer<'p> {
    plan: &'p Plan,
    format: Format,
    now: Now,
}

impl Explainer<'_> {
    fn limits(&self) -> Limits {
        Limits {
            record_bytes_max: self.plan.queue.record_bytes_max.get(),
            readings_max: self.plan.queue.readings_max.get() as usize,
            sensors_max: self.plan.gateway.sensors_max.get() as usize,
        }
    }

    /// What the entries make of a message, or the only one that is asked.
    fn message(&self, asked: &Asked, payload: &[u8]) -> Result<Explanation, Error> {
        let topic = asked.topic.clone().ok_or(Error::Nothing)?;
        Topic::try_from(topic.clone()).map_err(|error| Error::Topic(error.to_string()))?;
        // A simulated entry takes no message: all others are asked what they make of its own.
        let only = asked.entry.as_deref().filter(|it| self.plan.intakes().any(|of| of.0 == *it));
        let intakes = self.plan.intakes().filter(|(name, _)| only.is_none_or(|it| it == *name));
        let (takes, others): (Vec<_>, Vec<_>) =
            intakes.partition(|(_, it)| it.filters().any(|it| it.matches(&topic)));
        let properties = with_user_properties(&asked.properties);
        let entries = takes.into_iter().map(|(name, settings)| {
            let of = (&*topic, payload, asked.retained);
            let trial =
                trial((name, settings), self.limits(), of, &properties, &asked.before, self.now);
            let filter = settings.filters().find(|it| it.matches(&topic));
            let filter = filter.expect("one of them takes it").to_string();
            let told = Explained {
                entry: name.to_owned(),
                filter: Some(filter),
                settings: toml(settings),
                ..Explained::default()
            };
            self.explained(told, &trial, &LineNumbers::default())
        });
        let entries: Vec<_> = entries.collect();
        let nearest = if entries.is_empty() { nearest(&topic, others) } else { Vec::new() };
        Ok(Explanation { topic: Some(topic), payload: None, entries, nearest })
    }

    /// What an entry makes of lines.
    fn lines(
        &self,
        name: &str,
        (payload, settings, toml): (&Payload, Option<Settings>, String),
        asked: &Asked,
    ) -> Explanation {
        let settings = settings.expect("an entry that reads lines has a mapping");
        let read = (payload, &settings);
        let (trial, numbers) = lines(name, read, self.limits(), &asked.payload, self.now);
        let told = Explained { entry: name.to_owned(), settings: toml, ..Explained::default() };
        let mut told = self.explained(told, &trial, &numbers);
        if trial.metrics.messages.get() == 0 {
            told.skipped = Some("there is no line with a word");
        }
        Explanation { topic: None, payload: None, entries: vec![told], nearest: Vec::new() }
    }

    /// What a simulated entry publishes; where a topic is given, what becomes of it there.
    fn simulated(
        &self,
        name: &str,
        settings: &simulated::Settings,
        asked: &Asked,
    ) -> Result<Explanation, Error> {
        let payload = settings.example(name, self.now.wall);
        let shown = payload.as_deref().map(shown);
        if let (Some(_), Some(payload)) = (&asked.topic, &payload) {
            let told = self.message(asked, payload)?;
            return Ok(Explanation { payload: shown, ..told });
        }
        let told = Explained {
            entry: name.to_owned(),
            skipped: Some(
                "it is simulated: its readings are made in this process, and no payload is read",
            ),
            settings: toml(settings),
            ..Explained::default()
        };
        Ok(Explanation { topic: None, payload: shown, entries: vec![told], nearest: Vec::new() })
    }

    /// What comes of a trial.
    fn explained(&self, mut told: Explained, trial: &Trial, numbers: &LineNumbers) -> Explained {
        let Trial { chunk, times, registry, metrics } = trial;
        let mut encoder = self.format.encoder(&Options { influx: &self.plan.output.influx });
        registry.with_rows(|rows| {
            for (at, record) in chunk.records.iter().enumerate() {
                let row = rows.get(record.sensor.0 as usize).expect("each record has its row");
                let line = numbers.records.get(at).copied();
                let record = self.written(record, row, chunk, &mut encoder);
                told.add(record, times.get(at).cloned().flatten(), line);
            }
        });
        told.skipped = metrics.messages_skipped.counted().next().map(|it| match it {
            Skipped::Retained => "it was retained, and the entry has retained = \"skip\"",
            Skipped::Loop => "it is the gateway's own output",
            Skipped::Online => "it says whether the sensor is there (`online`)",
            Skipped::Ignored => "its topic is one of the entry's `ignore`",
            Skipped::Missing => "it has nothing that is asked for, and the entry skips such messages (`missing`, `mismatch`, `transform`)",
        });
        told.skipped_lines.clone_from(&numbers.skipped);
        told.times_unused = metrics.times_unused.get();
        told
    }

    /// A record as it is published, or its dead letter.
    fn written(
        &self,
        record: &Record,
        row: &Row,
        chunk: &Chunk,
        encoder: &mut Encoder,
    ) -> Result<String, Letter> {
        let letter = |told| letter(self.plan, row, chunk, record, told);
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
                Ok(String::from_utf8_lossy(&self.format.json(&out)).into_owned())
            }
            Ok(()) => Ok(String::from_utf8_lossy(&out).into_owned()),
            Err(refused) => Err(letter((Reason::Format, refused.0.as_bytes(), view.value))),
        }
    }
}

impl Explained {
    /// Adds a record, of this line, with its time; or its dead letter.
    fn add(&mut self, record: Result<String, Letter>, time: Option<TimeTold>, line: Option<u64>) {
        match record {
            Ok(record) => {
                self.records.push(record);
                self.record_lines.extend(line);
                self.times.push(time.expect("a reading is made of a document"));
            }
            Err(letter) => self.dead_letters.push(Letter { line, ..letter }),
        }
    }
}

/// The filters that are most like a topic.
fn nearest(topic: &str, others: Vec<(&str, &mqtt::Settings)>) -> Vec<Nearest> {
    let mut nearest = Vec::new();
    for (name, settings) in others {
        nearest.extend(settings.filters().map(|it| (name, it)));
    }
    let likeness = |filter: &Filter| strsim::jaro_winkler(&filter.filled(topic), topic);
    nearest.sort_by(|one, other| likeness(other.1).total_cmp(&likeness(one.1)));
    nearest.truncate(NEAREST_MAX);
    let told = |(entry, filter): (&str, &Filter)| Nearest {
        entry: entry.to_owned(),
        filter: filter.to_string(),
    };
    nearest.into_iter().map(told).collect()
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
