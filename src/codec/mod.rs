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
//! A new payload codec or format is one file here and one line in a list: of `payload` or of `format`.

pub use self::decode::{Input, Malformed, NoOptions, Take};
pub use self::format::{Encoder, Format, Head, Options, Unwritable, View, Whose};
pub use self::payload::{Codec, Decoder, Payload};
use crate::record::Span;

pub mod cbor;
pub mod cbor_batch;
pub mod compression;
mod decode;
mod format;
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
mod payload;
mod places;
mod plain;
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
    /// JSON text of what is measured, within the labels; empty where nothing says it.
    pub quantity: Span,
    /// The sensor's id, if the document names it, and nothing else does.
    pub sensor: Option<&'a str>,
    /// The sensor's own number of it, where one is looked for.
    pub number: Option<u64>,
    /// It had a time of its own that could not be read, or was not plausible.
    pub time_unused: bool,
}
