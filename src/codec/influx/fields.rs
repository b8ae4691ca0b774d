//! The fields of a value: its members, by name and type.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::codec::Unwritable;

/// The type of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Number,
    Text,
    Boolean,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Number => "a number",
            Self::Text => "text",
            Self::Boolean => "true or false",
        })
    }
}

/// Takes a field: its name, its type, its JSON.
type Take<'t> = dyn FnMut(&str, Kind, &str) -> Result<(), Unwritable> + 't;

/// Hands over the fields of a JSON value: its members, or itself under this name.
pub(super) fn each_field(name: &str, json: &str, take: &mut Take<'_>) -> Result<(), Unwritable> {
    match json.as_bytes().first() {
        Some(b'{') => members("", json, take),
        _ => one(name, json, take),
    }
}

/// A value that is no object.
fn one(name: &str, json: &str, take: &mut Take<'_>) -> Result<(), Unwritable> {
    match json.as_bytes().first() {
        Some(b'"') => take(name, Kind::Text, json),
        Some(b't' | b'f') => take(name, Kind::Boolean, json),
        Some(b'-' | b'0'..=b'9') => take(name, Kind::Number, json),
        // Null, or an array.
        _ => Ok(()),
    }
}

/// The members of an object, their names behind this one.
fn members(prefix: &str, json: &str, take: &mut Take<'_>) -> Result<(), Unwritable> {
    let visitor = Members { prefix, take, result: Ok(()) };
    let read = serde_json::Deserializer::from_str(json).deserialize_map(visitor);
    read.map_err(|error| Unwritable(format!("the value is no JSON: {error}")))?
}

struct Members<'p, 't, 'u> {
    prefix: &'p str,
    take: &'t mut Take<'u>,
    result: Result<(), Unwritable>,
}

/// A name, which is borrowed where it has no escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Visitor<'de> for Members<'_, '_, '_> {
    type Value = Result<(), Unwritable>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self::Value, A::Error> {
        while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
            if self.result.is_err() {
                continue;
            }
            let path = match self.prefix {
                "" => name,
                prefix => format!("{prefix}_{name}").into(),
            };
            self.result = match value.get() {
                object if object.starts_with('{') => members(&path, object, self.take),
                value => one(&path, value, self.take),
            };
        }
        Ok(self.result)
    }
}

/// Writes the value of a field.
pub(super) fn write(out: &mut Vec<u8>, kind: Kind, json: &str) -> Result<(), Unwritable> {
    match kind {
        Kind::Boolean => out.extend_from_slice(json.as_bytes()),
        Kind::Number => {
            // A float, as it was sent.
            if !json.parse::<f64>().is_ok_and(f64::is_finite) {
                return Err(Unwritable(format!("the number {json} is no float")));
            }
            out.extend_from_slice(json.as_bytes());
        }
        Kind::Text => {
            let Name(text) = serde_json::from_str(json)
                .map_err(|error| Unwritable(format!("the text is no JSON: {error}")))?;
            quoted(out, &text);
        }
    }
    Ok(())
}

/// Appends a text in quotes. Line protocol has no line breaks: they are shown as escapes.
fn quoted(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\\\n"),
            b'\r' => out.extend_from_slice(b"\\\\r"),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}
