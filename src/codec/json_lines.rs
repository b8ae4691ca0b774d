//! `payload = { ndjson = {} }`: each line is a JSON text and a reading of its own, read as [`super::json`] reads
//! a payload (<https://github.com/ndjson/ndjson-spec>).
//!
//! A line that is no reading is a dead letter by itself. Lines without a word are left out, so lines may end
//! with `\r\n`; a payload that has no others is a dead letter, `empty`.

use std::ops::ControlFlow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Malformed, Take, json};
use crate::record::{Chunk, Reason};

/// A payload may hold many readings.
pub(super) const IS_MANY: bool = true;

/// Which members of each line are read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(transparent)]
pub struct Settings(pub json::Settings);

impl Settings {
    pub(super) fn decoder(&self) -> Decoder {
        Decoder { line: self.0.clone() }
    }
}

/// Reads payloads.
#[derive(Debug)]
pub struct Decoder {
    line: json::Settings,
}

impl Decoder {
    pub(super) fn decode<'a>(
        &mut self,
        payload: &'a [u8],
        named: Option<&str>,
        chunk: &mut Chunk,
        take: &mut impl Take<'a>,
    ) -> ControlFlow<()> {
        let lines = payload.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let mut is_empty = true;
        for line in lines.filter(|line| !line.is_empty()) {
            is_empty = false;
            let read = self.line.decode(line, named, chunk);
            take(chunk, line, read)?;
        }
        if is_empty {
            let detail = "the payload has no line with a word".to_owned();
            return take(chunk, payload, Err(Malformed { reason: Reason::Empty, detail }));
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Reading;

    /// A part of a payload: its text, and its value and sensor or why it is no reading.
    type Part = (String, Result<(String, String), Reason>);

    /// The first `max` parts of a payload.
    fn parts(payload: &[u8], max: usize) -> Vec<Part> {
        let (mut chunk, mut parts) = (Chunk::default(), Vec::new());
        let mut take = |chunk: &mut Chunk, part: &[u8], read: Result<Reading<'_>, Malformed>| {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let read =
                read.map(|it| (text(chunk.text(it.value)), it.sensor.unwrap_or_default().into()));
            parts.push((text(part), read.map_err(|it| it.reason)));
            if parts.len() == max { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let ended = Settings::default().decoder().decode(payload, None, &mut chunk, &mut take);
        assert_eq!(ended.is_break(), parts.len() == max);
        parts
    }

    #[test]
    fn each_line_is_a_reading_or_a_dead_letter_by_itself() {
        let payload = "{\"sensorId\":\"a\",\"value\":1}\r\n\n  \n{\"value\":\nopen\n[1,2]";
        let found = parts(payload.as_bytes(), 9);
        let reading = |text: &str, value: &str, sensor: &str| {
            (text.to_owned(), Ok((value.to_owned(), sensor.to_owned())))
        };
        let expected = [
            reading("{\"sensorId\":\"a\",\"value\":1}", "1", "a"),
            ("{\"value\":".to_owned(), Err(Reason::Malformed)),
            reading("open", "\"open\"", ""),
            reading("[1,2]", "[1,2]", ""),
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
