//! `payload = { text = {} }`: the payload is one text value, whatever it looks like.

use std::ops::ControlFlow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Malformed, Reading, Take, text_json};
use crate::record::{Chunk, Reason, Span};

/// A payload is one reading.
pub(super) const IS_MANY: bool = false;

/// Nothing to set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {}

impl Settings {
    #[expect(clippy::unused_self, reason = "the shape of every payload codec")]
    pub(super) fn decoder(&self) -> Decoder {
        Decoder
    }
}

/// Reads payloads.
#[derive(Debug)]
pub struct Decoder;

impl Decoder {
    #[expect(clippy::unused_self, reason = "the shape of every payload codec")]
    pub(super) fn decode<'a>(
        &mut self,
        payload: &'a [u8],
        _named: Option<&str>,
        chunk: &mut Chunk,
        take: &mut impl Take<'a>,
    ) -> ControlFlow<()> {
        let read = value(payload, chunk);
        take(chunk, payload, read)
    }
}

/// The payload as a JSON string.
pub(super) fn value<'a>(payload: &'a [u8], chunk: &mut Chunk) -> Result<Reading<'a>, Malformed> {
    let text = std::str::from_utf8(payload).map_err(|error| Malformed {
        reason: Reason::Malformed,
        detail: format!("neither JSON nor UTF-8 text: byte {} is wrong", error.valid_up_to() + 1),
    })?;
    let (value, ()) = chunk.put_with(|out| text_json::write(out, text));
    let absent = Span::default();
    Ok(Reading { value, timestamp: absent, extra: absent, sensor: None, number: None })
}
