//! The output formats: their list, and what they write.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::influx;
use crate::clock::Timestamp;
use crate::record::Arrival;

macro_rules! formats {
    ($($(#[doc = $doc:literal])+ $(#[cfg($cfg:meta)])? $module:ident => $kind:ident $word:literal,)+) => {
        /// How a batch is written.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename = "format")]
        pub enum Format { $($(#[cfg($cfg)])? $(#[doc = $doc])+ #[serde(rename = $word)] $kind,)+ }

        /// Writes the records of one gateway, one after the other.
        #[derive(Debug)]
        pub enum Encoder { $($(#[cfg($cfg)])? $(#[doc = $doc])+ $kind(super::$module::Encoder),)+ }

        impl Format {
            /// All formats.
            pub const ALL: &'static [Self] = &[$($(#[cfg($cfg)])? Self::$kind,)+];

            /// Its word in the settings.
            pub const fn as_str(self) -> &'static str {
                match self { $($(#[cfg($cfg)])? Self::$kind => $word,)+ }
            }

            /// An encoder for a gateway.
            pub fn encoder(self, options: &Options<'_>) -> Encoder {
                match self { $($(#[cfg($cfg)])? Self::$kind => Encoder::$kind(super::$module::Encoder::new(options)),)+ }
            }

            /// Bytes that an encoder remembers.
            pub const fn encoder_bytes(self) -> u64 {
                match self { $($(#[cfg($cfg)])? Self::$kind => super::$module::ENCODER_BYTES,)+ }
            }

            /// A record that was written so as a record of JSON; empty where it cannot be read.
            pub fn json(self, record: &[u8]) -> Cow<'_, [u8]> {
                match self { $($(#[cfg($cfg)])? Self::$kind => super::$module::json(record),)+ }
            }

            /// Whether records are JSON: text of which half is told from the whole.
            pub const fn is_json(self) -> bool {
                match self { $($(#[cfg($cfg)])? Self::$kind => super::$module::IS_JSON,)+ }
            }

            /// A batch of these records, written into `out`, which is empty; and where in it they begin.
            pub fn batch(self, head: &Head<'_>, records: &[u8], out: Vec<u8>) -> (usize, Vec<u8>) {
                match self { $($(#[cfg($cfg)])? Self::$kind => super::$module::batch(head, records, out),)+ }
            }

            /// The records of a batch, as they were written: for one who has no more than its text.
            pub fn records(self, payload: &[u8]) -> Vec<&[u8]> {
                match self { $($(#[cfg($cfg)])? Self::$kind => super::$module::records(payload),)+ }
            }

            /// What stands between two records: nothing, or the same bytes everywhere.
            pub const fn separator(self) -> &'static [u8] {
                match self { $($(#[cfg($cfg)])? Self::$kind => super::$module::SEPARATOR,)+ }
            }

            /// Bytes that a batch has beside its records, at most.
            pub fn overhead_bytes(self, head: &Head<'_>) -> usize {
                self.batch(head, &[], Vec::new()).1.len()
            }

            /// The MIME type of a batch.
            pub const fn content_type(self) -> &'static str {
                match self { $($(#[cfg($cfg)])? Self::$kind => super::$module::CONTENT_TYPE,)+ }
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
    use serde_json::Value;

    use super::*;

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
