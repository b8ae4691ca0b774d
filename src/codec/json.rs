//! `payload = "json"`, the default: JSON, or a plain number or word.
//!
//! | payload | document |
//! | --- | --- |
//! | `{"value":21.5,…}`, `21.5`, `true`, `[1,2]`, `"open"` | JSON, as it is |
//! | `open`, `21,5` | text: it does not begin like JSON |
//! | `{"value":`, `"open` | JSON that is found to be none: dead letter, `malformed` |
//! | bytes that are not UTF-8, or with control characters | dead letter, `malformed` |

use std::ops::ControlFlow;

use serde_json::value::RawValue;

use super::decode::Decode;
use super::mapping::Document;
use super::{Input, Malformed, Take, text};

/// Reads payloads.
#[derive(Debug, Default)]
pub struct Decoder;

impl Decode for Decoder {
    /// A payload is one document.
    const IS_MANY: bool = false;

    /// A payload is text.
    const IS_TEXT: bool = true;

    fn decode<'a>(&mut self, input: Input<'a>, take: &mut impl Take<'a>) -> ControlFlow<()> {
        take(input.payload, document(input.payload))
    }
}

/// What a JSON text, a number or a word is.
pub(super) fn document(payload: &[u8]) -> Result<Document<'_>, Malformed> {
    let trimmed = payload.trim_ascii();
    let Some(first) = trimmed.first() else {
        return Err(Malformed::empty());
    };
    let Ok(json) = std::str::from_utf8(trimmed) else { return text::document(payload) };
    if matches!(first, b'{' | b'[' | b'"') || serde_json::from_str::<&RawValue>(json).is_ok() {
        return Ok(Document::Json(json));
    }
    text::document(trimmed)
}
