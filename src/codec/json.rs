//! `payload = { json = {} }`, the default: JSON, or a plain number or word.
//!
//! | payload | value | |
//! | --- | --- | --- |
//! | `{"value":21.5,"timestamp":…,"sensorId":…,"unit":"C"}` | `21.5` | `unit` is kept as `extra` |
//! | `{"temperature":71.5}` (no `value`) | the whole object | its timestamp and id still count |
//! | `21.5`, `true`, `[1,2]`, `"open"` | as it is | |
//! | `open` | `"open"` | text that does not begin like JSON |
//! | `{"value":`, `"open`, bytes that are not UTF-8 | dead letter, `malformed` | |
//!
//! With `number`, the sensor's own count of its readings is read too; it stays part of `extra` as it
//! was. A whole number from 0 is one; anything else there is none.
//!
//! Which members are read can be set as JSON pointers (RFC 6901), also into nested objects.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::{Malformed, Reading, strict, text, text_json};
use crate::record::{Chunk, Reason, Span};

/// Which members are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The value.
    pub value: Pointer,
    /// The sensor's own time.
    pub timestamp: Pointer,
    /// The sensor's id; a `{sensor}` level of the topic goes before it.
    pub sensor: Pointer,
    /// The sensor's own number of the reading. It is only looked at, and stays where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<Pointer>,
}

impl Default for Settings {
    fn default() -> Self {
        let pointer = |name: &str| Pointer { path: vec![name.to_owned()] };
        Self {
            value: pointer("value"),
            timestamp: pointer("timestamp"),
            sensor: pointer("sensorId"),
            number: None,
        }
    }
}

/// A JSON pointer to a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pointer {
    path: Vec<String>,
}

impl TryFrom<String> for Pointer {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let rest = text.strip_prefix('/').filter(|rest| !rest.is_empty());
        let rest = rest.ok_or_else(|| format!("{text:?} is no JSON pointer: write \"/value\""))?;
        Ok(Self {
            path: rest.split('/').map(|it| it.replace("~1", "/").replace("~0", "~")).collect(),
        })
    }
}

impl From<Pointer> for String {
    fn from(pointer: Pointer) -> Self {
        let escaped = pointer.path.iter().map(|it| it.replace('~', "~0").replace('/', "~1"));
        escaped.fold(Self::new(), |text, level| text + "/" + &level)
    }
}

impl Settings {
    /// Reads a payload.
    pub(super) fn decode<'a>(
        &self,
        payload: &'a [u8],
        chunk: &mut Chunk,
    ) -> Result<Reading<'a>, Malformed> {
        let trimmed = payload.trim_ascii();
        let Some(first) = trimmed.first() else {
            let detail = "the payload is empty".to_owned();
            return Err(Malformed { reason: Reason::Empty, detail });
        };
        let Ok(json) = std::str::from_utf8(trimmed) else { return text::value(payload, chunk) };
        if *first == b'{' {
            return self.object(json, chunk);
        }
        match serde_json::from_str::<&RawValue>(json) {
            Ok(value) => {
                strict::check(json)?;
                Ok(Reading {
                    value: chunk.put(value.get().as_bytes()),
                    timestamp: Span::default(),
                    extra: Span::default(),
                    sensor: None,
                    number: None,
                })
            }
            Err(error) if matches!(first, b'[' | b'"') => Err(malformed(&error)),
            Err(_) => text::value(trimmed, chunk),
        }
    }

    fn object<'a>(&self, json: &'a str, chunk: &mut Chunk) -> Result<Reading<'a>, Malformed> {
        let mut parts = Parts::default();
        let before = chunk.bytes();
        let (extra, sorted) = chunk.put_with(|extra| {
            let mut deserializer = serde_json::Deserializer::from_str(json);
            let members = Members { settings: self, parts: &mut parts, extra };
            deserializer.deserialize_map(members).and_then(|()| deserializer.end())
        });
        sorted.map_err(|error| malformed(&error))?;
        strict::check(json)?;
        let (value, extra) = if let Some(raw) = parts.value {
            (chunk.put(raw.get().as_bytes()), extra)
        } else {
            chunk.take_back(before);
            (chunk.put(json.as_bytes()), Span::default())
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
    parts: &'p mut Parts<'a>,
    extra: &'p mut Vec<u8>,
}

impl<'a> Members<'_, '_, 'a> {
    /// Whether the member is one of the parts, and so not kept as extra.
    fn sort(&mut self, name: &str, raw: &'a RawValue) -> serde_json::Result<bool> {
        let settings = self.settings;
        if let Some((first, rest)) = settings.number.as_ref().and_then(|it| it.path.split_first())
            && first == name
        {
            self.parts.number = find(raw, rest)?.and_then(|raw| raw.get().parse().ok());
        }
        let mut whole = false;
        for (pointer, part, scalar) in [
            (&settings.value, &mut self.parts.value, false),
            (&settings.timestamp, &mut self.parts.timestamp, true),
            (&settings.sensor, &mut self.parts.sensor, true),
        ] {
            let Some((first, rest)) = pointer.path.split_first() else { continue };
            if first != name {
                continue;
            }
            if let Some(found) = find(raw, rest)?.filter(|raw| !scalar || is_scalar(raw)) {
                *part = Some(found);
                whole |= rest.is_empty();
            }
        }
        Ok(whole)
    }
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
            text_json::write_bytes(self.extra, name.as_bytes());
            self.extra.push(b':');
            self.extra.extend_from_slice(raw.get().as_bytes());
        }
        Ok(())
    }
}

/// A member's name, borrowed where it holds no escape.
#[derive(Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// The value at `path` below `raw`.
fn find<'a>(raw: &'a RawValue, path: &[String]) -> serde_json::Result<Option<&'a RawValue>> {
    let Some((first, rest)) = path.split_first() else { return Ok(Some(raw)) };
    if !raw.get().starts_with('{') {
        return Ok(None);
    }
    let mut deserializer = serde_json::Deserializer::from_str(raw.get());
    match Member(first).deserialize(&mut deserializer)? {
        Some(inner) => find(inner, rest),
        None => Ok(None),
    }
}

/// Looks one member of an object up.
struct Member<'n>(&'n str);

impl<'a> DeserializeSeed<'a> for Member<'_> {
    type Value = Option<&'a RawValue>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for Member<'_> {
    type Value = Option<&'a RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(Name(name)) = map.next_key()? {
            if name == self.0 {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
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
    serde_json::from_str::<Name<'_>>(raw.get()).map(|name| name.0).map_err(|e| malformed(&e))
}

fn malformed(error: &serde_json::Error) -> Malformed {
    Malformed { reason: Reason::Malformed, detail: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// (value, timestamp, extra, sensor)
    fn decode(payload: &[u8]) -> Result<[String; 4], Malformed> {
        decode_with(&Settings::default(), payload)
    }

    fn decode_with(settings: &Settings, payload: &[u8]) -> Result<[String; 4], Malformed> {
        let mut chunk = Chunk::default();
        let reading = settings.decode(payload, &mut chunk)?;
        let text = |span| String::from_utf8(chunk.text(span).to_vec()).unwrap();
        let sensor = reading.sensor.map(Cow::into_owned).unwrap_or_default();
        Ok([text(reading.value), text(reading.timestamp), text(reading.extra), sensor])
    }

    #[test]
    fn objects_give_their_parts_and_the_rest() {
        for (payload, expected) in [
            (
                r#"{"value":21.50,"timestamp":"2026-01-01T00:00:00Z","sensorId":"S","unit":"C","x":[1, 2]}"#,
                ["21.50", "\"2026-01-01T00:00:00Z\"", r#""unit":"C","x":[1, 2]"#, "S"],
            ),
            (r#" {"value":{"a": 1},"timestamp":5} "#, [r#"{"a": 1}"#, "5", "", ""]),
            (r#"{"t":71.5,"timestamp":7}"#, [r#"{"t":71.5,"timestamp":7}"#, "7", "", ""]),
            (r#"{"value":null,"sensorId":12}"#, ["null", "", "", "12"]),
            (r#"{"value":1,"timestamp":{}}"#, ["1", "", r#""timestamp":{}"#, ""]),
            (r#"{"v\u0061lue":1,"a\"b":2}"#, ["1", "", r#""a\"b":2"#, ""]),
            ("{}", ["{}", "", "", ""]),
        ] {
            assert_eq!(decode(payload.as_bytes()).unwrap(), expected, "{payload}");
        }
    }

    #[test]
    fn plain_values_pass_as_they_are_and_words_become_text() {
        for (payload, value) in [
            ("21.50", "21.50"),
            ("-1e-7\n", "-1e-7"),
            ("[1, 2]", "[1, 2]"),
            ("true", "true"),
            ("\"open\"", "\"open\""),
            ("open", "\"open\""),
            ("21,5", "\"21,5\""),
            ("NaN", "\"NaN\""),
            ("12345678901234567890.123456789", "12345678901234567890.123456789"),
        ] {
            assert_eq!(decode(payload.as_bytes()).unwrap()[0], value, "{payload}");
        }
    }

    #[test]
    fn what_is_no_reading_says_why() {
        for (payload, reason, detail) in [
            (&b""[..], Reason::Empty, "empty"),
            (b" \n", Reason::Empty, "empty"),
            (br#"{"value":"#, Reason::Malformed, "line 1 column"),
            (br#"{"value":1}x"#, Reason::Malformed, "trailing"),
            (b"\"open", Reason::Malformed, "EOF"),
            (b"[1,", Reason::Malformed, "line 1"),
            (b"\xff\xfe", Reason::Malformed, "byte 1"),
            (br#"{"value":"\ud800"}"#, Reason::Malformed, "refused by most readers"),
            (b"1e999999", Reason::Malformed, "refused by most readers"),
            (br#"{"a":x}"#, Reason::Malformed, "expected value at line 1 column 6"),
        ] {
            let malformed = decode(payload).unwrap_err();
            assert_eq!(malformed.reason, reason, "{payload:?}");
            assert!(malformed.detail.contains(detail), "{payload:?}: {}", malformed.detail);
        }
    }

    #[test]
    fn pointers_reach_into_nested_objects() {
        let pointer = |text: &str| Pointer::try_from(text.to_owned()).unwrap();
        let settings = Settings {
            value: pointer("/data/temp"),
            timestamp: pointer("/at"),
            sensor: pointer("/device/id"),
            number: None,
        };
        let payload = br#"{"data":{"temp":3,"hum":4},"at":9,"device":{"id":"D"}}"#;
        let [value, timestamp, extra, sensor] = decode_with(&settings, payload).unwrap();
        assert_eq!((value.as_str(), timestamp.as_str(), sensor.as_str()), ("3", "9", "D"));
        assert_eq!(extra, r#""data":{"temp":3,"hum":4},"device":{"id":"D"}"#);
        assert!(Pointer::try_from("value".to_owned()).is_err());
    }

    #[test]
    fn a_number_is_read_and_stays_where_it_is() {
        let number = |path: &str, payload: &str| {
            let number = Some(Pointer::try_from(path.to_owned()).unwrap());
            let settings = Settings { number, ..Settings::default() };
            let without = decode(payload.as_bytes()).unwrap();
            assert_eq!(decode_with(&settings, payload.as_bytes()).unwrap(), without, "{payload}");
            let mut chunk = Chunk::default();
            settings.decode(payload.as_bytes(), &mut chunk).unwrap().number
        };
        for (path, payload, expected) in [
            ("/n", r#"{"value":1,"n":7}"#, Some(7)),
            ("/n", r#"{"value":1,"n": 18446744073709551615 ,"u":"C"}"#, Some(u64::MAX)),
            ("/meta/n", r#"{"value":1,"meta":{"n":0}}"#, Some(0)),
            ("/value", r#"{"value":12}"#, Some(12)),
            ("/n", r#"{"t":71.5,"n":3}"#, Some(3)),
            ("/n", r#"{"value":1,"n":-1}"#, None),
            ("/n", r#"{"value":1,"n":7.0}"#, None),
            ("/n", r#"{"value":1,"n":"7"}"#, None),
            ("/n", r#"{"value":1}"#, None),
            ("/n", "7", None),
        ] {
            assert_eq!(number(path, payload), expected, "{payload}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_reading_of_valid_json_or_an_error(
            payload in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            if let Ok([value, timestamp, extra, _]) = decode(&payload) {
                prop_assert!(serde_json::from_str::<serde_json::Value>(&value).is_ok());
                prop_assert!(timestamp.is_empty() || serde_json::from_str::<&RawValue>(&timestamp).is_ok());
                let extra = ["{", &extra, "}"].concat();
                prop_assert!(serde_json::from_str::<&RawValue>(&extra).is_ok());
            }
        }

        #[test]
        fn any_json_value_passes_byte_for_byte(value in "[0-9]{1,9}(\\.[0-9]{1,9})?|\"[a-z ]{0,9}\"") {
            if let Ok([read, ..]) = decode(value.as_bytes()) {
                let json = serde_json::from_str::<&RawValue>(&value).is_ok();
                prop_assert!(!json || read == value);
            }
        }
    }
}
