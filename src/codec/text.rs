//! `payload = "text"`: the payload is one text value, whatever it looks like.
//!
//! Text has no control characters but white space: bytes in binary that happen to be UTF-8 are none.

use std::ops::ControlFlow;

use super::decode::Decode;
use super::mapping::Document;
use super::{Input, Malformed, Take};
use crate::record::Reason;

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

/// The payload as text.
pub(super) fn document(payload: &[u8]) -> Result<Document<'_>, Malformed> {
    let wrong = |detail: String| Malformed { reason: Reason::Malformed, detail };
    let text = std::str::from_utf8(payload).map_err(|error| {
        wrong(format!("neither JSON nor UTF-8 text: byte {} is wrong", error.valid_up_to() + 1))
    })?;
    let is_binary = |byte: &u8| byte.is_ascii_control() && !byte.is_ascii_whitespace();
    match payload.iter().position(is_binary) {
        Some(at) => {
            Err(wrong(format!("neither JSON nor text: byte {} is a control character", at + 1)))
        }
        None => Ok(Document::Text(text)),
    }
}
