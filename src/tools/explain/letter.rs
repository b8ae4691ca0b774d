//! Dead letters: those that come of a message, and one that is to be explained.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::{Asked, Error};
use crate::codec::compression::Compression;
use crate::codec::{Codec, sparkplug};
use crate::mqtt::topic::TOPIC_BYTES_MAX;
use crate::plan::Plan;
use crate::record::{Chunk, Reason, Record};
use crate::sink::dead_letter::DeadLetter;
use crate::source::Kind;
use crate::state::registry::Row;
use crate::text::json_error;

/// A dead letter that comes of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Letter {
    /// The number of its line, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) line: Option<u64>,
    pub(super) reason: &'static str,
    pub(super) detail: String,
    /// As it is published.
    pub(super) published: String,
    /// What would make a reading of it.
    pub(super) remedy: &'static str,
}

impl Asked {
    /// The message, or the line, of a dead letter that a gateway published, or of a line of a recording.
    pub fn of_dead_letter(plan: &Plan, text: &[u8]) -> Result<Self, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire {
            topic: String,
            #[serde(default)]
            detail: String,
            #[serde(default)]
            retained: bool,
            #[serde(default)]
            user_properties: Vec<(String, String)>,
            entry: Option<String>,
            payload: Option<String>,
            payload_base64: Option<String>,
        }
        let wrong = |error: &dyn fmt::Display| Error::NoLetter(error.to_string());
        let text = text.trim_ascii();
        let all: OneOrSeveral<Wire> =
            serde_json::from_slice(text).map_err(|error| wrong(&json_error(text.len(), &error)))?;
        let it = match all {
            OneOrSeveral::One(it) => *it,
            OneOrSeveral::Several(mut all) if all.len() == 1 => all.remove(0),
            OneOrSeveral::Several(all) => return Err(Error::Several(all.len())),
        };
        if it.detail.contains("cut here") {
            return Err(Error::Cut(it.detail));
        }
        let kind = it.entry.as_ref().and_then(|it| plan.sensors.get(it));
        let payload = match (it.payload, it.payload_base64) {
            (Some(text), None) => text.into_bytes(),
            (None, Some(text)) => STANDARD.decode(text).map_err(|error| wrong(&error))?,
            _ => return Err(wrong(&"it has neither `payload` nor `payloadBase64`, or both")),
        };
        if let Some(part) = part(kind, &it.detail, &payload) {
            return Err(Error::Part { part, detail: it.detail });
        }
        let (retained, mut properties) = (it.retained, it.user_properties);
        properties.retain(|(name, value)| name.len().max(value.len()) <= TOPIC_BYTES_MAX);
        // A line came on no topic.
        let is_line = it.topic.is_empty();
        Ok(Self {
            entry: it.entry.filter(|_| is_line),
            topic: Some(it.topic).filter(|_| !is_line),
            payload,
            before: Vec::new(),
            retained,
            properties,
        })
    }
}

/// A dead letter, or all of a message with several.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "it is no JSON object with topic, reason and payload; of several lines give one"
)]
enum OneOrSeveral<T> {
    One(Box<T>),
    Several(Vec<T>),
}

/// Of what the payload of a dead letter is only a part, that cannot be read again without the rest.
fn part(kind: Option<&Kind>, detail: &str, shown: &[u8]) -> Option<String> {
    // As `each` tells the place of a reading.
    let place = detail.rsplit_once(" (number ").and_then(|it| it.1.strip_suffix(')'));
    if let Some((number, each)) = place.and_then(|it| it.split_once(" of each = ")) {
        return Some(format!("number {number} of each = {each}"));
    }
    let kind = kind?;
    let payload = kind.payload()?;
    let is_record = matches!(payload.0, Codec::Senml(_)) && !shown.trim_ascii().starts_with(b"[");
    if is_record && !detail.starts_with("no SenML") {
        return Some("one record of a pack of SenML".to_owned());
    }
    if matches!(payload.0, Codec::SparkplugB(_)) && sparkplug::is_metric(shown) {
        return Some("one metric of a message of Sparkplug B".to_owned());
    }
    let Kind::Mqtt(settings) = kind else { return None };
    let compression = settings.compression.filter(|it| *it != Compression::Auto)?;
    let word = format!("{compression:?}").to_lowercase();
    (payload.is_many() && !detail.contains(&word))
        .then(|| format!("a part of what was unpacked (compression = \"{word}\")"))
}

/// A record's dead letter: the reason, its detail, and what of the payload is shown.
pub(super) fn letter(
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
        sensor: row.id(),
        entry: row.entry_name(),
        topic: chunk.text(record.topic),
        received: record.received,
        payload,
    };
    Letter {
        line: None,
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
            "let `value`, `values` or `sensor`, or the objects of `transform`, say where it is, or set missing = \"skip\" or \"whole\" if messages \
             without it are to be"
        }
        Reason::Loop => "take the output topics out of the entry's topic",
        Reason::Expired => "set expiry = \"keep\", or let the device allow more time",
        Reason::Alias => {
            "let the node send its birth again (payload.sparkplug_b.rebirth = true asks for it); here give its birth, \
             with --before"
        }
        Reason::Transform => {
            "mend `transform` at that place, or let it leave such messages out: []"
        }
        Reason::Quota => "raise the entry's quota, or set its over = \"keep_latest\"",
        Reason::Format => "choose another output.format, or make another value of it",
    }
}
