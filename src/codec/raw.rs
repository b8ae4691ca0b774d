//! `payload = "raw"`: the whole payload, whatever it is, as one JSON string in base64 with padding (RFC 4648 §4).
//!
//! Nothing is left out of it: a byte order mark and zero bytes are bytes like others. An empty payload is `""`. Base64 is
//! a third longer than the payload: one above three quarters of `queue.record_bytes_max` is a dead letter, `oversize`.

use std::ops::ControlFlow;

use base64::engine::general_purpose::STANDARD;

use super::decode::Decode;
use super::json_writer::JsonWriter;
use super::mapping::Document;
use super::{Input, Take};

/// Reads payloads.
#[derive(Debug, Default)]
pub struct Decoder {
    json: JsonWriter,
}

impl Decode for Decoder {
    /// A payload is one document.
    const IS_MANY: bool = false;

    /// A payload is bytes.
    const IS_TEXT: bool = false;

    fn decode<'a>(&mut self, input: Input<'a>, take: &mut impl Take<'a>) -> ControlFlow<()> {
        self.json.begin(&input);
        let written = self.json.base64(input.payload, &STANDARD);
        take(input.payload, written.map(|()| Document::Json(self.json.json())))
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;

    use super::*;
    use crate::clock::Timestamp;
    use crate::codec::{Codec, NoOptions, Payload};

    /// Through the door that takes a wrap off a text.
    #[test]
    fn every_byte_of_a_payload_comes_back_out_of_its_text() {
        let mut decoder = Payload(Codec::Raw(NoOptions {})).decoder();
        let all: Vec<u8> = (0..=255).collect();
        for payload in [&b""[..], b"21.5", b"\xef\xbb\xbf21.5\0\0", b"\0", b" \n", &all] {
            let mut texts = Vec::new();
            let input =
                Input { payload, topic: b"", received: Timestamp::from_millis(0), bytes_max: 1024 };
            let text = |document: Result<Document<'_>, _>| match document.unwrap() {
                Document::Json(json) => serde_json::from_str::<String>(json).unwrap(),
                Document::Text(text) => text.to_owned(),
            };
            let ended = decoder.decode(input, &mut |part, document| {
                assert_eq!(part, payload);
                texts.push(text(document));
                ControlFlow::Continue(())
            });
            assert!(ended.is_continue() && texts.len() == 1);
            assert_eq!(STANDARD.decode(&texts[0]).unwrap(), payload);
        }
    }
}
