//! `payload = "ndjson"`: each line is a JSON text and a document of its own, read as [`super::json`] reads
//! a payload (<https://github.com/ndjson/ndjson-spec>).
//!
//! A line that is no reading is a dead letter by itself. Lines without a word are left out, so lines may end
//! with `\r\n`; a payload that has no others is a dead letter, `empty`.

use std::ops::ControlFlow;

use super::decode::Decode;
use super::{Input, Malformed, Take, json};
use crate::record::Reason;

/// Reads payloads.
#[derive(Debug, Default)]
pub struct Decoder;

impl Decode for Decoder {
    /// A payload may hold many documents.
    const IS_MANY: bool = true;

    /// A payload is text.
    const IS_TEXT: bool = true;

    fn decode<'a>(&mut self, input: Input<'a>, take: &mut impl Take<'a>) -> ControlFlow<()> {
        let payload = input.payload;
        let lines = payload.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let mut is_empty = true;
        for line in lines.filter(|line| !line.is_empty()) {
            is_empty = false;
            take(line, json::document(line))?;
        }
        if is_empty {
            let detail = "the payload has no line with a word".to_owned();
            return take(payload, Err(Malformed { reason: Reason::Empty, detail }));
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::codec::mapping::Document;

    /// A part of a payload: its text, and its document or why it is none.
    type Part = (String, Result<String, Reason>);

    /// The first `max` parts of a payload.
    fn parts(payload: &[u8], max: usize) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut take = |part: &[u8], document: Result<Document<'_>, Malformed>| {
            let text = String::from_utf8(part.to_vec()).unwrap();
            let document = document.map(|it| match it {
                Document::Json(text) => text.to_owned(),
                Document::Text(text) => format!("text {text}"),
            });
            parts.push((text, document.map_err(|it| it.reason)));
            if parts.len() == max { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let input =
            Input { payload, topic: b"", received: Timestamp::from_millis(0), bytes_max: 1024 };
        let ended = Decoder.decode(input, &mut take);
        assert_eq!(ended.is_break(), parts.len() == max);
        parts
    }

    #[test]
    fn each_line_is_a_reading_or_a_dead_letter_by_itself() {
        let payload = "{\"sensorId\":\"a\",\"value\":1}\r\n\n  \n{\"value\":\nopen\n[1,2]";
        let found = parts(payload.as_bytes(), 9);
        let json = |text: &str| (text.to_owned(), Ok(text.to_owned()));
        let expected = [
            json("{\"sensorId\":\"a\",\"value\":1}"),
            json("{\"value\":"),
            ("open".to_owned(), Ok("text open".to_owned())),
            json("[1,2]"),
        ];
        assert_eq!(found, expected);
        assert_eq!(
            parts(payload.as_bytes(), 2),
            expected[..2],
            "nothing is read that nobody takes"
        );
    }

    #[test]
    fn a_payload_without_a_word_is_one_dead_letter() {
        for payload in ["", "\n", " \r\n\t\n"] {
            assert_eq!(parts(payload.as_bytes(), 9), [(payload.to_owned(), Err(Reason::Empty))]);
        }
    }
}
