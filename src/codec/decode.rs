//! What a payload codec is: it reads payloads, and hands over documents. Some need more than that: messages that wait
//! for others ([`turn`]), and what they remember of them.
//!
//! [`turn`]: super::turn

use std::ops::ControlFlow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::mapping::Document;
use super::mapping::settings::Settings;
use super::turn::{Note, Request, Turn, Waits};
use crate::clock::Timestamp;
use crate::record::Reason;

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
    pub(super) fn empty() -> Self {
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
    pub(super) fn unwrapped(self) -> Self {
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

/// A decoder: it reads the payloads of one entry, one after the other.
pub(super) trait Decode {
    /// Whether a payload may hold several documents.
    const IS_MANY: bool;

    /// Whether a payload is text, so that it can be a line.
    const IS_TEXT: bool;

    /// Hands over the documents of a payload, in their order, until `take` breaks.
    fn decode<'a>(&mut self, input: Input<'a>, take: &mut impl Take<'a>) -> ControlFlow<()>;

    /// Sets what its documents mean where an entry does not say otherwise.
    fn complete(_: &mut Settings) {}

    /// Whether a message may be read now. Called once for each, before it is read; `again` of one that has perhaps come
    /// before.
    fn turn(&mut self, _: &Input<'_>, _again: bool) -> Turn {
        Turn::Now
    }

    /// What a message says that holds on, after its turn.
    fn note(&mut self, _: &Input<'_>) -> Option<Note> {
        None
    }

    /// Lets it know a message that came before this run, of which no record is made. What it says that holds on.
    fn learn(&mut self, _: &Input<'_>) -> Option<Note> {
        None
    }

    /// Lets it know that a message came which is not read. Its payload may be cut, or not be there.
    fn pass(&mut self, _: &Input<'_>) {}

    /// Messages that were lost before they came here, as far as those that came say so; since this was asked last.
    fn missing(&mut self) -> u64 {
        0
    }

    /// Whether the message that was read last says that its sensors are there (`true`), or are gone.
    fn says(&self) -> Option<bool> {
        None
    }

    /// What is to be published, so that messages can be read that come later.
    fn request(&mut self) -> Option<Request> {
        None
    }
}

/// The options of a codec: they make its decoders.
pub(super) trait Makes<Decoder> {
    fn decoder(&self) -> Decoder;

    /// How messages may wait for others, if they do.
    fn waits(&self) -> Option<Waits> {
        None
    }

    /// Bytes that a decoder remembers between two payloads, and what is kept for it.
    fn state_bytes(&self) -> u64 {
        0
    }
}

/// The options of a codec that has none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoOptions {}

impl<Decoder: Default> Makes<Decoder> for NoOptions {
    fn decoder(&self) -> Decoder {
        Decoder::default()
    }
}
