//! `/api/dead-letters` and `/api/warnings`: the last ones of the run, the newest first.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::View;
use super::words::Why;
use crate::limits::HTTP_LIST_BYTES_MAX;
use crate::state::letters::Letter;
use crate::state::registry::Registry;
use crate::state::said;

/// A dead letter. Members are named as in the message on the dead-letter topic.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeadLetter {
    /// The first one of the run has 1.
    number: u64,
    /// When it was taken.
    #[schema(format = DateTime)]
    at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    entry: Option<String>,
    sensor_id: String,
    /// Empty: it came by no topic.
    topic: String,
    #[schema(value_type = Why)]
    reason: &'static str,
    detail: String,
    /// The payload, or its first 1024 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
    /// The same, where it is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
    /// Bytes of the payload, as far as the dead letter has it. If it was cut before, `detail` says so.
    payload_bytes: usize,
}

impl DeadLetter {
    pub(super) fn new(number: u64, letter: &Letter, registry: &Registry) -> Self {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let payload = as_text(&letter.payload).map(str::to_owned);
        Self {
            number,
            at: letter.at.to_string(),
            entry: letter.entry.and_then(|place| registry.entry_name(place)),
            sensor_id: letter.sensor.to_string(),
            topic: text(&letter.topic),
            reason: letter.reason,
            detail: text(&letter.detail),
            payload_base64: payload.is_none().then(|| STANDARD.encode(&letter.payload)),
            payload,
            payload_bytes: letter.payload_bytes,
        }
    }
}

/// A payload as text, if it is text; its last character may have been cut.
fn as_text(payload: &[u8]) -> Option<&str> {
    match std::str::from_utf8(payload) {
        Ok(text) => Some(text),
        Err(error) if error.error_len().is_none() => {
            let whole = payload.get(..error.valid_up_to()).filter(|it| !it.is_empty())?;
            std::str::from_utf8(whole).ok()
        }
        Err(_) => None,
    }
}

/// A line of the log.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Warning {
    /// The first one of the run has 1.
    number: u64,
    #[schema(format = DateTime)]
    at: String,
    /// `WARN` or `ERROR`.
    level: &'static str,
    message: String,
    #[schema(value_type = Object)]
    fields: Map<String, Value>,
}

impl Warning {
    pub(super) fn new(number: u64, said: &said::Warning) -> Self {
        let said::Warning { at, level, message, fields } = said;
        let (message, fields) = (message.clone(), fields.clone());
        Self { number, at: at.to_string(), level, message, fields }
    }
}

/// The body of `/api/dead-letters`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeadLetters {
    /// Dead letters of the run. Those that are not here have left the list.
    total: u64,
    #[schema(value_type = Vec<DeadLetter>)]
    dead_letters: Vec<Box<RawValue>>,
}

/// The body of `/api/warnings`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Warnings {
    /// Warnings and errors of the run. Those that are not here have left the list.
    total: u64,
    #[schema(value_type = Vec<Warning>)]
    warnings: Vec<Box<RawValue>>,
}

/// The body of `/api/dead-letters`.
pub(super) fn dead_letters(view: &View) -> String {
    let letters = view.books.letters.since(0);
    let total = letters.last().map_or(0, |(number, _)| *number);
    let newest = letters.iter().rev();
    let dead_letters =
        listed(newest.map(|(number, it)| DeadLetter::new(*number, it, &view.books.registry)));
    super::json::written(&DeadLetters { total, dead_letters })
}

/// The body of `/api/warnings`.
pub(super) fn warnings(view: &View) -> String {
    let warnings = view.warnings.since(0);
    let total = warnings.last().map_or(0, |(number, _)| *number);
    let newest = warnings.iter().rev();
    let warnings = listed(newest.map(|(number, it)| Warning::new(*number, it)));
    super::json::written(&Warnings { total, warnings })
}

/// As many as have room: JSON makes what is no plain text longer.
fn listed(items: impl Iterator<Item = impl Serialize>) -> Vec<Box<RawValue>> {
    let (mut texts, mut left) = (Vec::new(), HTTP_LIST_BYTES_MAX);
    for item in items {
        let text = to_raw_value(&item).expect("texts and numbers can be written");
        let Some(rest) = left.checked_sub(text.get().len() + 1) else { break };
        left = rest;
        texts.push(text);
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::ops::tests::view;
    use crate::state::letters::head;

    fn put(view: &View, payload: &[u8]) {
        view.books.letters.put(Letter {
            at: Timestamp::from_millis(7),
            entry: Some(0),
            sensor: "s1".into(),
            reason: "malformed",
            detail: head(b"no JSON"),
            topic: head(b"a"),
            payload: head(payload),
            payload_bytes: payload.len(),
        });
    }

    fn told(view: &View) -> Value {
        serde_json::from_str(&dead_letters(view)).unwrap()
    }

    #[test]
    fn dead_letters_come_newest_first_with_the_head_of_their_payload() {
        let view = view();
        assert_eq!(told(&view), serde_json::json!({"total": 0, "deadLetters": []}));
        put(&view, b"{");
        put(&view, &[0xff, 0]);
        put(&view, format!("x{}", "é".repeat(1024)).as_bytes());
        let told = told(&view);
        let [cut, binary, first] = told["deadLetters"].as_array().unwrap().as_slice() else {
            panic!("{told}");
        };
        let expected = serde_json::json!({
            "number": 1, "at": "1970-01-01T00:00:00.007Z", "entry": "fleet", "sensorId": "s1", "topic": "a",
            "reason": "malformed", "detail": "no JSON", "payload": "{", "payloadBytes": 1
        });
        assert_eq!(*first, expected);
        assert_eq!((&binary["payloadBase64"], binary.get("payload")), (&"/wA=".into(), None));
        let text = format!("x{}", "é".repeat(511));
        assert_eq!((&cut["payload"], &cut["payloadBytes"]), (&text.into(), &2049.into()));
    }

    #[test]
    fn a_list_has_a_bound_of_bytes_and_loses_its_oldest() {
        let view = view();
        (0..150).for_each(|_| put(&view, &[0; 1024]));
        let text = dead_letters(&view);
        assert!(text.len() < HTTP_LIST_BYTES_MAX + 1024, "{}", text.len());
        let told = told(&view);
        let letters = told["deadLetters"].as_array().unwrap();
        assert!((30..100).contains(&letters.len()), "{}", letters.len());
        assert_eq!((&told["total"], &letters[0]["number"]), (&150.into(), &150.into()));
    }

    #[test]
    fn a_hundred_dead_letters_of_plain_text_are_all_told() {
        let view = view();
        (0..150).for_each(|_| put(&view, &[b'x'; 1024]));
        assert_eq!(told(&view)["deadLetters"].as_array().unwrap().len(), 100);
    }
}
