//! Reads dead letters: the reason, the sensor and its entry, and the number of the reading. Pure.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::batch::{members, number};
use crate::sink::dead_letter;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter<'a> {
    pub reason: Cow<'a, str>,
    /// The sensor, if the dead letter names it.
    pub sensor: Option<Cow<'a, str>>,
    /// The sensor's entry, if the dead letter names it: those of older gateways do not.
    pub entry: Option<Cow<'a, str>>,
    /// The sensor's own number, if the payload shows it.
    pub number: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireLetter<'a> {
    #[serde(borrow)]
    reason: Cow<'a, str>,
    #[serde(borrow)]
    sensor_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    entry: Option<Cow<'a, str>>,
    #[serde(borrow)]
    payload: Option<Cow<'a, str>>,
    #[serde(borrow)]
    payload_base64: Option<Cow<'a, str>>,
}

/// Reads the dead letters of a message: one, or several in an array; `None` for one that cannot be read.
pub fn letters<'a>(message: &'a [u8], member: &str) -> Vec<Option<Letter<'a>>> {
    match dead_letter::letters(message) {
        Some(letters) => letters.iter().map(|it| letter(it, member)).collect(),
        None => vec![letter(message, member)],
    }
}

/// Reads a dead letter. The sensor's own number is `member` of its payload, or of the payload's `value`.
fn letter<'a>(message: &'a [u8], member: &str) -> Option<Letter<'a>> {
    let wire: WireLetter<'a> = serde_json::from_slice(message).ok()?;
    let decoded = wire.payload_base64.and_then(|it| STANDARD.decode(&*it).ok());
    let decoded = decoded.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let payload = wire.payload.or(decoded.map(Cow::Owned)).unwrap_or_default();
    Some(Letter {
        reason: wire.reason,
        sensor: wire.sensor_id,
        entry: wire.entry,
        number: of_object(&payload, member).or_else(|| of_rubbish(&payload, member)),
    })
}

fn of_object(payload: &str, member: &str) -> Option<u64> {
    let members = members(payload)?;
    let own = members.get(member).and_then(|it| it.get().parse().ok());
    own.or_else(|| number(members.get("value")?.get(), member))
}

/// In a payload that is not JSON or is cut: the digits behind `"member":`, if their end is visible.
fn of_rubbish(payload: &str, member: &str) -> Option<u64> {
    let (_, after) = payload.split_once(&format!("\"{member}\""))?;
    let digits = after.trim_start().strip_prefix(':')?.trim_start();
    let end = digits.find(|it: char| !it.is_ascii_digit())?;
    let is_whole = digits.get(end..)?.starts_with([',', '}', ' ', '\r', '\n', '\t']);
    digits.get(..end).filter(|_| is_whole)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_in_a_payload_whole_spoilt_or_cut() {
        for (payload, expected) in [
            (r#"{"value":1,"number":7}"#, Some(7)),
            (r#"{"value":{"number":8}}"#, Some(8)),
            (r#"{"value":1e999999,"number":9}"#, Some(9)),
            (r#"{"value":,"number" : 10 }"#, Some(10)),
            (r#"{"number":11,"value":"..."#, Some(11)),
            (r#"{"value":1,"number":12"#, None),
            (r#"{"value":,"number":1.5}"#, None),
            (r#"{"value":1,"number":"7"}"#, None),
            (r#"{"value":1,"numbers":7}"#, None),
            ("", None),
        ] {
            let text = serde_json::to_string(payload).unwrap();
            let plain = format!(r#"{{"reason":"malformed","sensorId":"a","payload":{text}}}"#);
            let coded = STANDARD.encode([payload.as_bytes(), b" \xff"].concat());
            let coded =
                format!(r#"{{"reason":"malformed","sensorId":"a","payloadBase64":"{coded}"}}"#);
            let read = letter(plain.as_bytes(), "number").unwrap();
            assert_eq!((read.number, read.sensor.as_deref()), (expected, Some("a")), "{payload}");
            let expected = if payload.ends_with(|it: char| it.is_ascii_digit()) {
                // A space follows here, where the payload was cut there.
                Some(12)
            } else {
                expected
            };
            let read = letter(coded.as_bytes(), "number").unwrap();
            assert_eq!(read.number, expected, "{payload} in base64");
        }
        let of_entry = letter(br#"{"reason":"empty","sensorId":"a","entry":"fleet"}"#, "number");
        assert_eq!(of_entry.unwrap().entry.as_deref(), Some("fleet"));
        let bare = letter(br#"{"reason":"empty"}"#, "number").unwrap();
        let Letter { reason, sensor, entry, number } = bare;
        assert_eq!((&*reason, sensor, entry, number), ("empty", None, None, None));
        assert_eq!(letter(b"?", "number"), None);
    }

    #[test]
    fn letters_are_read_alone_and_in_an_array() {
        let one = r#"{"reason":"empty","sensorId":"a","payload":"{\"n\":7}"}"#;
        let several = format!("[{one},{{}},{one}]");
        let read = letters(several.as_bytes(), "n");
        let numbers = read.iter().map(|it| it.as_ref().and_then(|it| it.number));
        assert_eq!(numbers.collect::<Vec<_>>(), [Some(7), None, Some(7)]);
        assert_eq!(letters(one.as_bytes(), "n"), read[..1]);
        assert_eq!(letters(b"[", "n"), [None]);
    }
}
