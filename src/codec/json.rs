//! `payload = { json = {} }`, the default: JSON, or a plain number or word.
//!
//! | payload | value | |
//! | --- | --- | --- |
//! | `{"value":21.5,"timestamp":…,"sensorId":…,"unit":"C"}` | `21.5` | `unit` is kept as `extra` |
//! | `{"temperature":71.5}` (no `value`) | the whole object | its timestamp and id still count |
//! | the same, or `21.5`, with a pointer to the value in the settings | dead letter, `missing` | |
//! | `21.5`, `true`, `[1,2]`, `"open"` | as it is | |
//! | `open` | `"open"` | text that does not begin like JSON |
//! | `{"value":`, `"open`, bytes that are not UTF-8 | dead letter, `malformed` | |
//!
//! Where the topic names the sensor, the payload's own id stays in `extra`, unless it is the same.
//!
//! With `number`, the sensor's own count of its readings is read too; it stays part of `extra` as it
//! was. A whole number from 0 is one; anything else there is none.
//!
//! Which members are read can be set as JSON pointers (RFC 6901), also into nested objects.

use std::borrow::Cow;
use std::fmt;
use std::ops::ControlFlow;

use schemars::JsonSchema;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::pointer::{Below, Name, Pointer};
use super::strict::{self, Marks};
use super::{Malformed, Reading, Take, one_line, text, text_json};
use crate::record::{Chunk, Reason, Span};

/// Which members are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// JSON pointer to the value; a payload that has nothing there becomes a dead letter (`missing`). Absent:
    /// the value is the member `value` or, without one, the whole payload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Pointer>,
    /// JSON pointer to the sensor's own time, which is passed on as it was sent, text or number. Without one
    /// there, the time of receipt stands.
    pub timestamp: Pointer,
    /// JSON pointer to the sensor's id; a `{sensor}` level of the topic goes before it. Without one there,
    /// the entry's name stands.
    pub sensor: Pointer,
    /// JSON pointer to the sensor's own number of the reading, a whole number that is one more each time:
    /// numbers that do not come are counted for each sensor and warned of. The member stays in the record.
    /// Absent: nothing is counted. Not beside `group`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<Pointer>,
}

/// A payload is one reading.
pub(super) const IS_MANY: bool = false;

/// Reads payloads.
#[derive(Debug)]
pub struct Decoder(Settings);

impl Decoder {
    pub(super) fn decode<'a>(
        &mut self,
        payload: &'a [u8],
        named: Option<&str>,
        chunk: &mut Chunk,
        take: &mut impl Take<'a>,
    ) -> ControlFlow<()> {
        let read = self.0.decode(payload, named, chunk);
        take(chunk, payload, read)
    }
}

/// The member that is the value, unless another one is set.
const VALUE: &str = "value";

impl Default for Settings {
    fn default() -> Self {
        let pointer = Pointer::to_member;
        Self {
            value: None,
            timestamp: pointer("timestamp"),
            sensor: pointer("sensorId"),
            number: None,
        }
    }
}

impl Settings {
    pub(super) fn decoder(&self) -> Decoder {
        Decoder(self.clone())
    }

    /// Reads one JSON text.
    pub(super) fn decode<'a>(
        &self,
        payload: &'a [u8],
        named: Option<&str>,
        chunk: &mut Chunk,
    ) -> Result<Reading<'a>, Malformed> {
        let trimmed = payload.trim_ascii();
        let Some(first) = trimmed.first() else {
            let detail = "the payload is empty".to_owned();
            return Err(Malformed { reason: Reason::Empty, detail });
        };
        let Ok(json) = std::str::from_utf8(trimmed) else { return text::value(payload, chunk) };
        if *first == b'{' {
            return self.object(json, named, chunk);
        }
        match serde_json::from_str::<&RawValue>(json) {
            Ok(value) => {
                let marks = Marks::of(json);
                strict::check(json, marks)?;
                self.may_be_whole("is no object")?;
                Ok(Reading {
                    value: one_line::put(chunk, value.get(), marks),
                    timestamp: Span::default(),
                    extra: Span::default(),
                    sensor: None,
                    number: None,
                })
            }
            Err(error) if matches!(first, b'[' | b'"') => Err(malformed(json, &error)),
            Err(_) => {
                self.may_be_whole("is no object")?;
                text::value(trimmed, chunk)
            }
        }
    }

    /// A payload in which the value was not found is the value itself, unless somebody has said where the
    /// value is.
    fn may_be_whole(&self, but: &str) -> Result<(), Malformed> {
        let Some(pointer) = &self.value else { return Ok(()) };
        let detail = format!("no value at {pointer} (the payload's setting `value`): it {but}");
        Err(Malformed { reason: Reason::Missing, detail })
    }

    fn object<'a>(
        &self,
        json: &'a str,
        named: Option<&str>,
        chunk: &mut Chunk,
    ) -> Result<Reading<'a>, Malformed> {
        let mut parts = Parts::default();
        let marks = Marks::of(json);
        let before = chunk.bytes();
        let (extra, sorted) = chunk.put_with(|extra| {
            let mut deserializer = serde_json::Deserializer::from_str(json);
            let members = Members { settings: self, named, marks, parts: &mut parts, extra };
            deserializer.deserialize_map(members).and_then(|()| deserializer.end())
        });
        sorted.map_err(|error| malformed(json, &error))?;
        strict::check(json, marks)?;
        let (value, extra) = if let Some(raw) = parts.value {
            (one_line::put(chunk, raw.get(), marks), extra)
        } else {
            self.may_be_whole("has nothing there")?;
            chunk.take_back(before);
            (one_line::put(chunk, json, marks), Span::default())
        };
        let timestamp =
            parts.timestamp.map_or(Span::default(), |raw| chunk.put(raw.get().as_bytes()));
        let sensor = parts.sensor.map(id).transpose()?;
        Ok(Reading { value, timestamp, extra, sensor, number: parts.number })
    }
}

#[derive(Default)]
struct Parts<'a> {
    value: Option<&'a RawValue>,
    timestamp: Option<&'a RawValue>,
    sensor: Option<&'a RawValue>,
    number: Option<u64>,
}

/// Sorts the members of an object into parts and the rest.
struct Members<'s, 'p, 'a> {
    settings: &'s Settings,
    named: Option<&'s str>,
    marks: Marks,
    parts: &'p mut Parts<'a>,
    extra: &'p mut Vec<u8>,
}

impl<'a> Members<'_, '_, 'a> {
    /// Whether the member is one of the parts, and so not kept as extra.
    fn sort(&mut self, name: &str, raw: &'a RawValue) -> serde_json::Result<bool> {
        let Self { settings, named, ref mut parts, .. } = *self;
        if let Some(below) = settings.number.as_ref().and_then(|it| it.below(name)) {
            parts.number = below.find(raw)?.and_then(|raw| raw.get().parse().ok());
        }
        let mut whole = false;
        let value = match &settings.value {
            Some(pointer) => pointer.below(name),
            None => (name == VALUE).then_some(Below::WHOLE),
        };
        if let Some(below) = value
            && let Some(found) = below.find(raw)?
        {
            parts.value = Some(found);
            whole |= below.is_whole();
        }
        if let Some(below) = settings.timestamp.below(name)
            && let Some(found) = below.find(raw)?.filter(|raw| is_scalar(raw))
        {
            parts.timestamp = Some(found);
            whole |= below.is_whole();
        }
        if let Some(below) = settings.sensor.below(name) {
            let found = if let Some(named) = named {
                // An id that is the same says nothing more.
                says(raw, named)
            } else {
                let found = below.find(raw)?.filter(|raw| is_scalar(raw));
                parts.sensor = found.or(parts.sensor);
                found.is_some()
            };
            whole |= found && below.is_whole();
        }
        Ok(whole)
    }
}

/// Whether a string or a number is this id.
fn says(raw: &RawValue, id: &str) -> bool {
    let text = raw.get();
    let content = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    content.map_or_else(|| is_scalar(raw) && text == id, |content| content == id)
}

impl<'a> Visitor<'a> for Members<'_, '_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(mut self, mut map: A) -> Result<(), A::Error> {
        let begin = self.extra.len();
        while let Some(Name(name)) = map.next_key()? {
            let raw: &RawValue = map.next_value()?;
            if self.sort(&name, raw).map_err(serde::de::Error::custom)? {
                continue;
            }
            if self.extra.len() > begin {
                self.extra.push(b',');
            }
            text_json::write(self.extra, &name);
            self.extra.push(b':');
            one_line::write(self.extra, raw.get(), self.marks);
        }
        Ok(())
    }
}

fn is_scalar(raw: &RawValue) -> bool {
    raw.get().starts_with(|c: char| c == '"' || c == '-' || c.is_ascii_digit())
}

/// A sensor's id: a string's content, or a number's text.
fn id(raw: &RawValue) -> Result<Cow<'_, str>, Malformed> {
    if !raw.get().starts_with('"') {
        return Ok(Cow::Borrowed(raw.get()));
    }
    serde_json::from_str::<Name<'_>>(raw.get())
        .map(|name| name.0)
        .map_err(|e| malformed(raw.get(), &e))
}

fn malformed(json: &str, error: &serde_json::Error) -> Malformed {
    let detail = match strict::not_finite(json) {
        Some(word) => format!("{word} is no number in JSON (null is what says so): {error}"),
        None => error.to_string(),
    };
    Malformed { reason: Reason::Malformed, detail }
}

#[cfg(test)]
mod tests;
