//! Bytes of a sensor ⇄ reading, records ⇄ bytes of a batch. Pure.
//!
//! - A *payload* codec makes a [`Decoder`] for each entry. It is total: any bytes give documents and
//!   [`Malformed`] parts, never a panic. A part that is none does not stop those beside it.
//! - A [`mapping`] says what a document means, and writes its readings into the chunk that carries the records. A
//!   value that was JSON is passed on byte for byte, but for white space between its tokens where that breaks a line
//!   (`one_line`).
//! - What only wraps a text is no part of it: a byte order mark before it, zero bytes behind it. A payload in binary
//!   is read as it is.
//! - What a decoder writes to read a payload is bounded by the payload's own bound: a small payload does not become a
//!   large document.
//! - A *format* makes an [`Encoder`] for a gateway, which writes each record once, or refuses it: a record that a
//!   format cannot write becomes a dead letter, and those beside it go on. A format gives the same bytes for the
//!   same batch, so a batch that is sent again is the same.
//!
//! A new payload codec or format is one file here and one line in a list below.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::mapping::plan::Defaults;
use self::mapping::time_told::TimesTold;
use self::mapping::{Document, Mapping};
use self::turn::{Note, Turn};
use crate::clock::Timestamp;
use crate::record::{Arrival, Reason, Span};

pub mod cbor;
pub mod cbor_batch;
pub mod compression;
#[cfg(test)]
mod fuzz;
pub mod influx;
pub mod json;
pub mod json_array;
pub mod json_envelope;
pub mod json_lines;
pub mod json_record;
mod json_writer;
pub mod mapping;
mod members;
pub mod messagepack;
pub mod ndjson;
#[cfg(test)]
pub mod numbers;
mod one_line;
pub mod pattern;
mod places;
pub mod pointer;
pub mod raw;
#[cfg(test)]
pub mod samples;
pub mod senml;
pub mod sparkplug;
pub mod strict;
pub mod text;
pub mod text_json;
pub mod transform;
pub mod turn;

/// What a document says.
#[derive(Debug)]
pub struct Reading<'a> {
    /// JSON text of the value.
    pub value: Span,
    /// The sensor's time in RFC 3339, a JSON string; empty where it sent none that can be used.
    pub timestamp: Span,
    /// The other members, `"name":value` joined by commas.
    pub extra: Span,
    /// `"tags":{…},"quantity":…,"unit":…`, those that there are.
    pub labels: Span,
    /// The sensor's id, if the document names it, and nothing else does.
    pub sensor: Option<&'a str>,
    /// The sensor's own number of it, where one is looked for.
    pub number: Option<u64>,
    /// It had a time of its own that could not be read, or was not plausible.
    pub time_unused: bool,
}

/// Why a payload, or a part of it, is no reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// The kind of problem.
    pub reason: Reason,
    /// Where and what.
    pub detail: String,
}

impl Malformed {
    /// What is none for this reason.
    pub(crate) const fn because(detail: String) -> Self {
        Self { reason: Reason::Malformed, detail }
    }

    /// A payload without a byte.
    fn empty() -> Self {
        Self { reason: Reason::Empty, detail: "the payload is empty".to_owned() }
    }
}

/// Takes the documents of a payload, each with the part of it that a dead letter shows. It may end the decoding.
pub trait Take<'a>: FnMut(&'a [u8], Result<Document<'_>, Malformed>) -> ControlFlow<()> {}

impl<'a, F> Take<'a> for F where
    F: FnMut(&'a [u8], Result<Document<'_>, Malformed>) -> ControlFlow<()>
{
}

/// A payload that is read, and what a decoder may have to know beside it.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// Its bytes.
    pub payload: &'a [u8],
    /// The topic it came on; empty where it came on none.
    pub topic: &'a [u8],
    /// When it was received.
    pub received: Timestamp,
    /// Bytes of JSON text that may be made of it, at most (`queue.record_bytes_max`).
    pub bytes_max: usize,
}

impl Input<'_> {
    /// A payload without the byte order mark before it (U+FEFF in UTF-8), and without the zero bytes that senders in C
    /// leave behind it. Where other control characters stand before those, it is no text, but a number or a message in
    /// binary that happens to be UTF-8, and they are a part of it.
    fn unwrapped(self) -> Self {
        let payload = self.payload.strip_prefix(b"\xef\xbb\xbf").unwrap_or(self.payload);
        let mut text = payload;
        while let [rest @ .., 0] = text {
            text = rest;
        }
        let is_binary = |byte: &u8| byte.is_ascii_control() && !byte.is_ascii_whitespace();
        let is_kept = text.len() < payload.len() && text.iter().any(is_binary);
        Self { payload: if is_kept { payload } else { text }, ..self }
    }
}

/// The options of a payload codec that has none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoOptions {}

/// Options make decoders.
trait Makes<Decoder> {
    fn decoder(&self) -> Decoder;
}

impl<Decoder: Default> Makes<Decoder> for NoOptions {
    fn decoder(&self) -> Decoder {
        Decoder::default()
    }
}

macro_rules! payloads {
    ($($(#[$doc:meta])+ $module:ident => $kind:ident($options:ty),)+) => {
        /// A payload codec, with its options.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case", rename = "payload codec")]
        pub enum Codec { $($(#[$doc])+ $kind($options),)+ }

        /// The words of the codecs, for the schema.
        #[derive(JsonSchema)]
        #[schemars(rename_all = "snake_case", rename = "payload codec's word")]
        #[expect(dead_code, reason = "only its schema is used")]
        enum Word { $($(#[$doc])+ $kind,)+ }

        /// Reads the payloads of one entry, one after the other.
        #[derive(Debug)]
        pub enum Decoder { $($(#[$doc])+ $kind($module::Decoder),)+ }

        impl Payload {
            /// A decoder for an entry.
            pub fn decoder(&self) -> Decoder {
                match &self.0 { $(Codec::$kind(options) => Decoder::$kind(options.decoder()),)+ }
            }

            /// Whether a payload may hold several readings.
            pub const fn is_many(&self) -> bool {
                match &self.0 { $(Codec::$kind(_) => $module::IS_MANY,)+ }
            }

            /// Whether a payload is text, so that it can be a line.
            pub const fn is_text(&self) -> bool {
                match &self.0 { $(Codec::$kind(_) => $module::IS_TEXT,)+ }
            }
        }

        impl Decoder {
            /// Reads a payload, and hands over its documents, in their order, until `take` breaks.
            pub fn decode<'a>(&mut self, input: Input<'a>, take: &mut impl Take<'a>) -> ControlFlow<()> {
                match self {
                    $(Self::$kind(decoder) => {
                        let input = if $module::IS_TEXT { input.unwrapped() } else { input };
                        decoder.decode(input, take)
                    })+
                }
            }
        }
    };
}

payloads! {
    /// JSON, or a plain number or word.
    json => Json(NoOptions),
    /// Lines of JSON, each as `json` reads it: a reading, or a dead letter. Lines without a word are none.
    json_lines => Ndjson(NoOptions),
    /// The whole payload as text, whatever it looks like; an empty one too.
    text => Text(NoOptions),
    /// The whole payload, whatever it is, as text in base64 (RFC 4648 §4).
    raw => Raw(NoOptions),
    /// One item of CBOR (RFC 8949), read as the JSON that it stands for.
    cbor => Cbor(NoOptions),
    /// One object of `MessagePack`, read as the JSON that it stands for.
    messagepack => Messagepack(NoOptions),
    /// A pack of `SenML` (RFC 8428), in JSON or CBOR: each of its records, resolved.
    senml => Senml(NoOptions),
    /// A message of an edge node of Sparkplug B: each of its metrics.
    sparkplug => SparkplugB(sparkplug::Options),
}

/// How payloads are read: the word of a codec, `"json"`, or a table where it has options.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Value", into = "Value")]
#[schemars(with = "PayloadShape")]
pub struct Payload(pub Codec);

/// The shapes of a [`Payload`], for the schema.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum PayloadShape {
    Word(Word),
    Table(Codec),
}

impl Payload {
    /// A mapping of its documents with these settings. `levels` names the topic levels that templates may use.
    pub fn mapping(&self, settings: &mapping::settings::Settings, levels: &[String]) -> Mapping {
        let mut settings = settings.clone();
        let member = |name: &str| {
            let member = mapping::template::Template::try_from(name.to_owned());
            member.expect("a pointer in braces is a template")
        };
        match self.0 {
            // A record of SenML has its unit, wherever it came from, as a member.
            Codec::Senml(_) => _ = settings.unit.get_or_insert_with(|| member("{/unit}")),
            Codec::SparkplugB(_) => {
                settings.unit.get_or_insert_with(|| member("{/unit}"));
                settings.quantity.get_or_insert_with(|| member("{/name}"));
                if settings.extra == mapping::settings::Extra::Keep {
                    settings.extra = sparkplug::extra();
                }
            }
            _ => {}
        }
        Mapping::new(&settings, levels, &self.defaults())
    }

    /// Whether messages may wait for others.
    pub const fn is_in_turns(&self) -> bool {
        matches!(self.0, Codec::SparkplugB(_))
    }

    /// Bytes of messages that the next run reads again, if there are such.
    pub const fn kept_bytes_max(&self) -> Option<usize> {
        match &self.0 {
            Codec::SparkplugB(options) => Some(options.kept_bytes_max()),
            _ => None,
        }
    }

    /// How long messages may wait for others, and how many bytes of them.
    pub fn waiting(&self) -> (Duration, usize) {
        match &self.0 {
            Codec::SparkplugB(options) => (options.birth_wait.0, options.waiting_bytes_max.get()),
            _ => (Duration::ZERO, 0),
        }
    }

    /// Tells of the readings of its documents which times they have, with these settings.
    pub fn times_told(&self, settings: &mapping::settings::Settings) -> TimesTold {
        TimesTold::new(settings, &self.defaults())
    }

    /// Bytes that its decoder holds, at most, where a payload and the text that is made of it have so many.
    pub const fn decoder_bytes(&self, record_bytes_max: usize) -> u64 {
        // The text, and the pieces of a string in it. A buffer that grows holds twice its content, and its old self
        // while it moves.
        let text = if self.is_text() { 0 } else { 2 * 3 * record_bytes_max as u64 };
        match &self.0 {
            Codec::SparkplugB(options) => text + options.bytes_max(),
            _ => text,
        }
    }

    /// The members that are read of its documents unless others are set.
    #[expect(clippy::unused_self, reason = "a codec of another form has others")]
    const fn defaults(&self) -> Defaults {
        Defaults { value: "value", timestamp: "timestamp", sensor: "sensorId" }
    }
}

impl Decoder {
    /// Whether a message may be read now. Called once for each, before it is read.
    pub fn turn(&mut self, input: &Input<'_>) -> Turn {
        if let Self::SparkplugB(decoder) = self { decoder.turn(input) } else { Turn::Now }
    }

    /// What a message says that holds on, after its turn.
    pub fn note(&mut self, input: &Input<'_>) -> Option<Note> {
        if let Self::SparkplugB(decoder) = self { decoder.note(input) } else { None }
    }

    /// Messages that were lost before they came here, as far as those that came say so; since this was asked last.
    pub fn missing(&mut self) -> u64 {
        if let Self::SparkplugB(decoder) = self { decoder.missing() } else { 0 }
    }

    /// What is to be published, so that messages can be read that come later.
    pub fn request(&mut self) -> Option<sparkplug::Request> {
        if let Self::SparkplugB(decoder) = self { decoder.request() } else { None }
    }
}

impl Codec {
    /// The words of all codecs, as they are written in a message.
    const CHOICE: &'static str = "write \"json\", \"ndjson\", \"text\", \"raw\", \"cbor\", \"messagepack\", \"senml\" or \"sparkplug_b\"";
}

impl Default for Payload {
    fn default() -> Self {
        Self(Codec::Json(NoOptions {}))
    }
}

impl TryFrom<Value> for Payload {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let choice = Codec::CHOICE;
        let map = match value {
            Value::String(word) => serde_json::Map::from_iter([(word, serde_json::json!({}))]),
            Value::Object(map) if map.is_empty() => return Err(format!("is empty: {choice}")),
            Value::Object(map) if map.len() > 1 => {
                return Err(format!("holds {} at once: {choice}", map.len()));
            }
            Value::Object(map) => map,
            _ => return Err(format!("is no codec: {choice}")),
        };
        let (word, options) = map.iter().next().expect("it holds one");
        let (word, is_table) = (word.clone(), options.is_object());
        serde_json::from_value(Value::Object(map)).map(Self).map_err(|error| {
            let said = error.to_string();
            let option = said.strip_prefix("unknown field `").and_then(|it| it.split('`').next());
            match option {
                Some(option) => format!("{option} is no option of {word}"),
                None if said.starts_with("unknown variant") => format!("is no codec: {choice}"),
                None if !is_table => format!("the options of {word} are a table: write \"{word}\""),
                None => said,
            }
        })
    }
}

impl From<Payload> for Value {
    fn from(payload: Payload) -> Self {
        let value = serde_json::to_value(&payload.0).expect("settings are texts");
        let word = value.as_object().and_then(|map| map.keys().next()).cloned();
        // With all options as they are without a word of them, its word is enough.
        let is_plain =
            |word: &String| Payload::try_from(Self::String(word.clone())).as_ref() == Ok(&payload);
        word.filter(is_plain).map_or(value, Self::String)
    }
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
            pub fn encoder(self, options: &Options<'_>) -> Encoder {
                match self { $($(#[cfg($cfg)])? Self::$kind => Encoder::$kind($module::Encoder::new(options)),)+ }
            }

            /// Bytes that an encoder remembers.
            pub const fn encoder_bytes(self) -> u64 {
                match self { $($(#[cfg($cfg)])? Self::$kind => $module::ENCODER_BYTES,)+ }
            }

            /// A record that was written so as a record of JSON; empty where it cannot be read.
            pub fn json(self, record: &[u8]) -> Cow<'_, [u8]> {
                match self { $($(#[cfg($cfg)])? Self::$kind => $module::json(record),)+ }
            }

            /// Whether records are JSON: text of which half is told from the whole.
            pub const fn is_json(self) -> bool {
                match self { $($(#[cfg($cfg)])? Self::$kind => $module::IS_JSON,)+ }
            }

            /// A batch of these records, written into `out`, which is empty; and where in it they begin.
            pub fn batch(self, head: &Head<'_>, records: &[u8], out: Vec<u8>) -> (usize, Vec<u8>) {
                match self { $($(#[cfg($cfg)])? Self::$kind => $module::batch(head, records, out),)+ }
            }

            /// The records of a batch, as they were written: for one who has no more than its text.
            pub fn records(self, payload: &[u8]) -> Vec<&[u8]> {
                match self { $($(#[cfg($cfg)])? Self::$kind => $module::records(payload),)+ }
            }

            /// What stands between two records: nothing, or the same bytes everywhere.
            pub const fn separator(self) -> &'static [u8] {
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
    /// Each record a line of the line protocol of Influx databases, made as `[output.influx]` says.
    influx => Influx "influx",
    /// The members of `json` as one item of CBOR (RFC 8949).
    cbor_batch => Cbor "cbor",
    /// Numbers only: a format that refuses records.
    #[cfg(test)]
    numbers => Numbers "numbers",
}

/// What formats have to set.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// `[output.influx]`.
    pub influx: &'a influx::Settings,
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
    /// The sensor's time, a JSON string, or empty.
    pub timestamp: &'a [u8],
    /// Stands in for an empty `timestamp`, and beside one.
    pub received: Timestamp,
    /// `"tags":{…},"quantity":…,"unit":…`, those that there are, or empty.
    pub labels: &'a [u8],
    /// UTF-8, or empty.
    pub topic: &'a [u8],
    /// `"name":value` joined by commas, or empty.
    pub extra: &'a [u8],
    /// How it came.
    pub arrival: Arrival,
    /// When it is of no use any more, and whether it was when it was written.
    pub expires: Option<(Timestamp, bool)>,
}

#[cfg(test)]
mod tests {
    use super::mapping::Read;
    use super::*;
    use crate::record::Chunk;

    /// The values of a payload's readings, and why its other parts are none.
    fn read(payload: &Payload, text: &[u8]) -> Vec<Result<String, Reason>> {
        let mut mapping = payload.mapping(&mapping::settings::Settings::default(), &[]);
        let received = Timestamp::from_millis(0);
        let origin =
            mapping::Origin { levels: &[], named: None, entry: "entry", properties: &[], received };
        let (mut chunk, mut parts) = (Chunk::default(), Vec::new());
        let mut take = |chunk: &mut Chunk, _: Option<&str>, read: Read<'_>| {
            let value = |it: Reading<'_>| String::from_utf8(chunk.text(it.value).to_vec()).unwrap();
            parts.push(read.map(value).map_err(|it| it.reason));
            ControlFlow::Continue(())
        };
        let input = Input { payload: text, topic: b"", received, bytes_max: 1024 };
        let ended = payload.decoder().decode(input, &mut |_, document| match document {
            Ok(document) => mapping.read(document, &origin, &mut chunk, &mut take),
            Err(malformed) => take(&mut chunk, None, Err(malformed)),
        });
        assert_eq!(ended, ControlFlow::Continue(()));
        parts
    }

    #[test]
    fn what_wraps_a_payload_is_no_part_of_it() {
        let (bom, text) = ("\u{feff}", Payload(Codec::Text(NoOptions {})));
        for (codec, payload, expected) in [
            (Payload::default(), format!("{bom}21.5\0\0"), "21.5"),
            (Payload::default(), format!("{bom}{{\"value\":1}}\n\0"), "1"),
            (Payload::default(), "open\0".to_owned(), "\"open\""),
            (text.clone(), format!("{bom}open\0"), "\"open\""),
        ] {
            assert_eq!(read(&codec, payload.as_bytes()), [Ok(expected.to_owned())]);
        }
        // Bytes in binary that happen to be UTF-8: UTF-16, MessagePack, Sparkplug B.
        for binary in ["2\x001\0", "\x02\x05\0", "\x08d\x12\x07\n\x01t \x03P", "\x15"] {
            for codec in [Payload::default(), text.clone()] {
                assert_eq!(read(&codec, binary.as_bytes()), [Err(Reason::Malformed)], "{binary:?}");
            }
        }
        assert_eq!(read(&Payload::default(), b"\xef\xbb\xbf\0"), [Err(Reason::Empty)]);
    }

    #[test]
    fn the_envelope_is_the_contract() {
        let mut records = Vec::new();
        let influx = influx::Settings::default();
        let mut encoder = Format::Json.encoder(&Options { influx: &influx });
        let view = View {
            sensor: Whose::Counted("\"TEMP_00\"", 7),
            entry: "",
            value: b"50.12",
            timestamp: b"",
            received: Timestamp::from_millis(1_763_796_650_601),
            labels: b"",
            topic: b"",
            extra: b"",
            arrival: Arrival::default(),
            expires: None,
        };
        encoder.record(&mut records, &view).unwrap();
        let value = br#"{"temperature":71.5,"unit":"C"}"#;
        let topic = b"plant/\"boiler\"/temperature";
        let (timestamp, extra) = (&b"\"2024-11-22T09:50:00Z\""[..], &b"\"n\":1"[..]);
        let labels = br#""tags":{"site":"north"},"unit":"C""#;
        records.extend_from_slice(Format::Json.separator());
        let view_of_all = View {
            value,
            topic,
            timestamp,
            labels,
            extra,
            entry: "\"boiler\"",
            arrival: Arrival { retained: true, waited: true, ..Arrival::default() },
            expires: Some((Timestamp::from_millis(1_763_796_650_601), true)),
            ..view
        };
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
            r#""value":{"temperature":71.5,"unit":"C"},"timestamp":"2024-11-22T09:50:00Z","#,
            r#""receivedAt":"2025-11-22T07:30:50.601Z","entry":"boiler","#,
            r#""tags":{"site":"north"},"unit":"C","topic":"plant/\"boiler\"/temperature","retained":true,"waited":true,"expiresAt":"2025-11-22T07:30:50.601Z","expired":true,"extra":{"n":1}}]}"#
        );
        let records_text = records.clone();
        let (_, batch) = Format::Json.batch(&head, &records, Vec::new());
        assert_eq!(String::from_utf8(batch.clone()).unwrap(), expected);
        let (_, array) = Format::JsonArray.batch(&head, &records, Vec::new());
        assert!(serde_json::from_slice::<Vec<Value>>(&array).unwrap().len() == 2);
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
