//! Bytes of a sensor ⇄ reading, records ⇄ bytes of a batch. Pure.
//!
//! - A *payload* codec makes a [`Decoder`] for each entry. It is total: any bytes give readings and
//!   [`Malformed`] parts, never a panic, and it writes into the chunk that carries the records. A part that is
//!   no reading does not stop those beside it. A value that was JSON is passed on byte for byte, but for white
//!   space between its tokens where that breaks a line (`one_line`).
//! - What only wraps a payload is no part of it: a byte order mark before it, zero bytes behind it.
//! - A *format* makes an [`Encoder`] for a gateway, which writes each record once, or refuses it: a record that a
//!   format cannot write becomes a dead letter, and those beside it go on. A format gives the same bytes for the
//!   same batch, so a batch that is sent again is the same.
//!
//! A new payload codec or format is one file here and one line in a list below.

use std::borrow::Cow;
use std::ops::ControlFlow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::record::{Chunk, Reason, Span};

#[cfg(test)]
mod fuzz;
pub mod json;
pub mod json_array;
pub mod json_envelope;
pub mod json_lines;
pub mod json_record;
pub mod ndjson;
#[cfg(test)]
pub mod numbers;
mod one_line;
pub mod pointer;
pub mod strict;
pub mod text;
pub mod text_json;

/// What a payload, or a part of it, says.
#[derive(Debug)]
pub struct Reading<'a> {
    /// JSON text of the value.
    pub value: Span,
    /// The sensor's time, a JSON string or number; empty when it sent none.
    pub timestamp: Span,
    /// The other members, `"name":value` joined by commas.
    pub extra: Span,
    /// The sensor's id, if the payload names it, and nothing else does.
    pub sensor: Option<Cow<'a, str>>,
    /// The sensor's own number of it, where one is looked for.
    pub number: Option<u64>,
}

/// Why a payload, or a part of it, is no reading.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The kind of problem.
    pub reason: Reason,
    /// Where and what.
    pub detail: String,
}

/// Takes what a decoder reads: the texts are in the chunk, and the part of the payload is what a dead letter
/// shows. It may end the decoding.
pub trait Take<'a>:
    FnMut(&mut Chunk, &'a [u8], Result<Reading<'a>, Malformed>) -> ControlFlow<()>
{
}

impl<'a, F> Take<'a> for F where
    F: FnMut(&mut Chunk, &'a [u8], Result<Reading<'a>, Malformed>) -> ControlFlow<()>
{
}

macro_rules! payloads {
    ($($(#[$doc:meta])+ $module:ident => $kind:ident,)+) => {
        /// How a payload is read.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case", rename = "payload codec")]
        pub enum Payload { $($(#[$doc])+ $kind($module::Settings),)+ }

        /// Reads the payloads of one entry, one after the other.
        #[derive(Debug)]
        pub enum Decoder { $($(#[$doc])+ $kind($module::Decoder),)+ }

        impl Payload {
            /// A decoder for an entry.
            pub fn decoder(&self) -> Decoder {
                match self { $(Self::$kind(settings) => Decoder::$kind(settings.decoder()),)+ }
            }

            /// Whether a payload may hold several readings.
            pub const fn is_many(&self) -> bool {
                match self { $(Self::$kind(_) => $module::IS_MANY,)+ }
            }
        }

        impl Decoder {
            /// Reads a payload, and hands over what it says part by part, in its order, until `take` breaks. The
            /// texts are written into `chunk`. Where something else has `named` the sensor, the payload's own id
            /// is no more than another member.
            pub fn decode<'a>(
                &mut self,
                payload: &'a [u8],
                named: Option<&str>,
                chunk: &mut Chunk,
                take: &mut impl Take<'a>,
            ) -> ControlFlow<()> {
                let payload = unwrapped(payload);
                match self { $(Self::$kind(decoder) => decoder.decode(payload, named, chunk, take),)+ }
            }
        }
    };
}

payloads! {
    /// JSON, or a plain number or word; the members that are read, as JSON pointers to members of objects.
    json => Json,
    /// Lines of JSON, each as `json` reads it: a reading, or a dead letter. Lines without a word are none.
    json_lines => Ndjson,
    /// The whole payload as text, whatever it looks like; an empty one too.
    text => Text,
}

impl Payload {
    /// The name of the codec, where it is to look for the sensors' own numbers.
    pub const fn counts_numbers(&self) -> Option<&'static str> {
        match self {
            Self::Json(json) if json.number.is_some() => Some("json"),
            Self::Ndjson(json_lines::Settings(json)) if json.number.is_some() => Some("ndjson"),
            Self::Json(_) | Self::Ndjson(_) | Self::Text(_) => None,
        }
    }
}

impl Default for Payload {
    fn default() -> Self {
        Self::Json(json::Settings::default())
    }
}

/// A payload without the byte order mark before it (U+FEFF in UTF-8), and without the zero bytes that
/// senders in C leave behind it. Where other control characters stand before those, it is no text, but a
/// number or a message in binary that happens to be UTF-8, and they are a part of it.
fn unwrapped(payload: &[u8]) -> &[u8] {
    let payload = payload.strip_prefix(b"\xef\xbb\xbf").unwrap_or(payload);
    let mut text = payload;
    while let [rest @ .., 0] = text {
        text = rest;
    }
    let is_binary = |byte: &u8| byte.is_ascii_control() && !byte.is_ascii_whitespace();
    if text.len() < payload.len() && text.iter().any(is_binary) { payload } else { text }
}

macro_rules! formats {
    ($($(#[doc = $doc:literal])+ $(#[cfg($cfg:meta)])? $module:ident => $kind:ident $word:literal,)+) => {
        /// How a batch is written.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename = "format")]
        pub enum Format { $($(#[cfg($cfg)])? $(#[doc = $doc])+ #[serde(rename = $word)] $kind,)+ }

        /// Writes the records of one gateway, one after the other.
        #[derive(Debug)]
        pub enum Encoder { $($(#[cfg($cfg)])? $(#[doc = $doc])+ $kind($module::Encoder),)+ }

        impl Format {
            /// All formats.
            pub const ALL: &'static [Self] = &[$($(#[cfg($cfg)])? Self::$kind,)+];

            /// Its word in the settings.
            pub const fn as_str(self) -> &'static str {
                match self { $($(#[cfg($cfg)])? Self::$kind => $word,)+ }
            }

            /// An encoder for a gateway.
            pub fn encoder(self) -> Encoder {
                match self { $($(#[cfg($cfg)])? Self::$kind => Encoder::$kind($module::Encoder::default()),)+ }
            }

            /// A batch of these records, written into `out`, which is empty; and where in it they begin.
            pub fn batch(self, head: &Head<'_>, records: &[u8], out: Vec<u8>) -> (usize, Vec<u8>) {
                match self { $($(#[cfg($cfg)])? Self::$kind => $module::batch(head, records, out),)+ }
            }

            /// The records of a batch, as they were written: for one who has no more than its text.
            pub fn records(self, payload: &[u8]) -> Vec<&[u8]> {
                match self { $($(#[cfg($cfg)])? Self::$kind => $module::records(payload),)+ }
            }

            /// What stands between two records: one byte.
            pub const fn separator(self) -> u8 {
                match self { $($(#[cfg($cfg)])? Self::$kind => $module::SEPARATOR,)+ }
            }

            /// Bytes that a batch has beside its records, at most.
            pub fn overhead_bytes(self, head: &Head<'_>) -> usize {
                self.batch(head, &[], Vec::new()).1.len()
            }

            /// The MIME type of a batch.
            pub const fn content_type(self) -> &'static str {
                match self { $($(#[cfg($cfg)])? Self::$kind => $module::CONTENT_TYPE,)+ }
            }
        }

        impl Encoder {
            /// Appends a record, or says why it cannot be written: then what was appended is of no use.
            pub fn record(&mut self, out: &mut Vec<u8>, view: &View<'_>) -> Result<(), Unwritable> {
                match self { $($(#[cfg($cfg)])? Self::$kind(encoder) => encoder.record(out, view),)+ }
            }
        }
    };
}

formats! {
    /// One object with the batch's id, time, count and records.
    json_envelope => Json "json",
    /// The bare array of records; a batch that comes again is known only by its MQTT 5 user property `batch`, and
    /// not at all with 3.1.1.
    json_array => JsonArray "json_array",
    /// Each record a line.
    ndjson => Ndjson "ndjson",
    /// Numbers only: a format that refuses records.
    #[cfg(test)]
    numbers => Numbers "numbers",
}

/// Why a format cannot write a record: where and what.
#[derive(Debug, PartialEq, Eq)]
pub struct Unwritable(pub String);

/// What a batch says of itself.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// The gateway's id.
    pub gateway: &'a str,
    /// The batch's id.
    pub batch: &'a str,
    /// When it was sealed.
    pub sealed_at: Timestamp,
    /// Records in it.
    pub count: usize,
}

/// Whose a record is.
#[derive(Debug, Clone, Copy)]
pub enum Whose<'a> {
    /// A sensor's with books of its own: its id as a JSON string, and its count.
    Counted(&'a str, u64),
    /// That of a sensor without: its id, in UTF-8. It has no `sequence`.
    Uncounted(&'a [u8]),
}

/// A record as it is written.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// Whose it is.
    pub sensor: Whose<'a>,
    /// The name of its entry, a JSON string; empty where it is of none.
    pub entry: &'a str,
    /// JSON text.
    pub value: &'a [u8],
    /// JSON text, or empty.
    pub timestamp: &'a [u8],
    /// Stands in for an empty `timestamp`.
    pub received: Timestamp,
    /// UTF-8, or empty.
    pub topic: &'a [u8],
    /// `"name":value` joined by commas, or empty.
    pub extra: &'a [u8],
    /// The broker had retained it.
    pub retained: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of a payload's readings, and why its other parts are none.
    fn read(payload: &Payload, text: &[u8]) -> Vec<Result<String, Reason>> {
        let mut parts = Vec::new();
        let mut take = |chunk: &mut Chunk, _: &[u8], read: Result<Reading<'_>, Malformed>| {
            let value = |it: Reading<'_>| String::from_utf8(chunk.text(it.value).to_vec()).unwrap();
            parts.push(read.map(value).map_err(|it| it.reason));
            ControlFlow::Continue(())
        };
        let ended = payload.decoder().decode(text, None, &mut Chunk::default(), &mut take);
        assert_eq!(ended, ControlFlow::Continue(()));
        parts
    }

    #[test]
    fn what_wraps_a_payload_is_no_part_of_it() {
        let (bom, text) = ("\u{feff}", Payload::Text(text::Settings::default()));
        for (codec, payload, expected) in [
            (Payload::default(), format!("{bom}21.5\0\0"), "21.5"),
            (Payload::default(), format!("{bom}{{\"value\":1}}\n\0"), "1"),
            (Payload::default(), "open\0".to_owned(), "\"open\""),
            (text.clone(), format!("{bom}open\0"), "\"open\""),
            (text, format!("a\0{bom}b"), "\"a\\u0000\u{feff}b\""),
            // UTF-16: its last zero byte is half of a character.
            (Payload::default(), "2\x001\0".to_owned(), "\"2\\u00001\\u0000\""),
            // MessagePack: [5, 0].
            (Payload::default(), "\x02\x05\0".to_owned(), "\"\\u0002\\u0005\\u0000\""),
        ] {
            assert_eq!(read(&codec, payload.as_bytes()), [Ok(expected.to_owned())]);
        }
        assert_eq!(read(&Payload::default(), b"\xef\xbb\xbf\0"), [Err(Reason::Empty)]);
    }

    #[test]
    fn the_envelope_is_the_contract() {
        let mut records = Vec::new();
        let mut encoder = Format::Json.encoder();
        let view = View {
            sensor: Whose::Counted("\"TEMP_00\"", 7),
            entry: "",
            value: b"50.12",
            timestamp: b"",
            received: Timestamp::from_millis(1_763_796_650_601),
            topic: b"",
            extra: b"",
            retained: false,
        };
        encoder.record(&mut records, &view).unwrap();
        let value = br#"{"temperature":71.5,"unit":"C"}"#;
        let topic = b"plant/\"boiler\"/temperature";
        let (timestamp, extra) = (&b"1732250000123"[..], &b"\"n\":1"[..]);
        records.push(Format::Json.separator());
        let view_of_all =
            View { value, topic, timestamp, extra, entry: "\"boiler\"", retained: true, ..view };
        encoder.record(&mut records, &view_of_all).unwrap();
        let mut uncounted = Vec::new();
        let uncounted_view = View { sensor: Whose::Uncounted(b"a\"b"), ..view };
        encoder.record(&mut uncounted, &uncounted_view).unwrap();
        let expected =
            r#"{"sensorId":"a\"b","value":50.12,"timestamp":"2025-11-22T07:30:50.601Z"}"#;
        assert_eq!(String::from_utf8(uncounted).unwrap(), expected, "no sequence");
        let sealed_at = Timestamp::from_millis(1_763_796_650_692);
        let head = Head { gateway: "gw-1", batch: "gw-1-18f3c2a7-42", sealed_at, count: 2 };
        let expected = concat!(
            r#"{"gateway":"gw-1","batch":"gw-1-18f3c2a7-42","sealedAt":"2025-11-22T07:30:50.692Z","#,
            r#""count":2,"records":[{"sensorId":"TEMP_00","sequence":7,"value":50.12,"#,
            r#""timestamp":"2025-11-22T07:30:50.601Z"},{"sensorId":"TEMP_00","sequence":7,"#,
            r#""value":{"temperature":71.5,"unit":"C"},"timestamp":1732250000123,"#,
            r#""entry":"boiler","topic":"plant/\"boiler\"/temperature","retained":true,"extra":{"n":1}}]}"#
        );
        let records_text = records.clone();
        let (_, batch) = Format::Json.batch(&head, &records, Vec::new());
        assert_eq!(String::from_utf8(batch.clone()).unwrap(), expected);
        let (_, array) = Format::JsonArray.batch(&head, &records, Vec::new());
        assert!(serde_json::from_slice::<Vec<serde_json::Value>>(&array).unwrap().len() == 2);
        assert_eq!(Format::JsonArray.overhead_bytes(&head), 2);
        for (format, payload) in [(Format::Json, batch), (Format::JsonArray, array.clone())] {
            assert_eq!(format.records(&payload).join(&b','), records_text);
        }
        let lines = Format::Ndjson
            .batch(&head, &Format::JsonArray.records(&array).join(&b'\n'), Vec::new())
            .1;
        assert_eq!(Format::Ndjson.records(&lines).join(&b','), records_text);
        assert!(lines.ends_with(b"}\n") && lines.split(|it| *it == b'\n').count() == 3);
        assert!(Format::Ndjson.records(expected.as_bytes()).is_empty(), "an envelope is no record");
    }
}
