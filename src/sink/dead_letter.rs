//! What can never be a reading, as a message for people: the reason, and the payload or its head.
//!
//! ```json
//! {"gateway":"gw-1","reason":"malformed","detail":"expected value at line 1 column 5",
//!  "sensorId":"boiler","entry":"fleet","topic":"plant/boiler",
//!  "receivedAt":"2026-11-22T07:30:50.655Z","payload":"{\"a\":"}
//! ```
//! A payload that is not UTF-8 stands as `payloadBase64`. One that was cut says so in `detail`,
//! with its length and SHA-256. One that is too large for the output broker is made smaller
//! ([`super::shortened`]).
//!
//! Letters travel in batches, as readings do. One alone is the object above. Several are a JSON array of
//! such objects, each with one more member at its end, its `id`. With MQTT 5 a message has the user
//! properties `batch`, `count` and `gateway`. The id of a letter that travels alone is its `batch`. An
//! id is the same however often the letter is sent again, from the spool too, and after its batch was
//! split.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::clock::Timestamp;
use crate::record::Reason;

/// The MIME type of a dead letter.
pub const CONTENT_TYPE: &str = "application/json";

/// A record that is no reading.
#[derive(Debug, Clone, Copy)]
pub struct DeadLetter<'a> {
    /// The gateway's id.
    pub gateway: &'a str,
    /// Why.
    pub reason: Reason,
    /// Where and what.
    pub detail: &'a [u8],
    /// Whose.
    pub sensor: &'a str,
    /// The name of the sensor's entry, if it has one.
    pub entry: Option<&'a str>,
    /// The MQTT topic.
    pub topic: &'a [u8],
    /// When it was taken.
    pub received: Timestamp,
    /// The payload or its head.
    pub payload: &'a [u8],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    gateway: &'a str,
    reason: &'a str,
    detail: &'a str,
    sensor_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    entry: Option<&'a str>,
    topic: &'a str,
    received_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
}

impl DeadLetter<'_> {
    /// The message.
    pub fn encode(&self) -> Vec<u8> {
        let payload = std::str::from_utf8(self.payload).ok();
        let wire = Wire {
            gateway: self.gateway,
            reason: self.reason.as_str(),
            detail: &String::from_utf8_lossy(self.detail),
            sensor_id: self.sensor,
            entry: self.entry,
            topic: &String::from_utf8_lossy(self.topic),
            received_at: self.received.to_string(),
            payload,
            payload_base64: payload.is_none().then(|| STANDARD.encode(self.payload)),
        };
        serde_json::to_vec(&wire).expect("strings can be written to memory")
    }
}

/// What stands before a letter's id in an array.
const ID: &str = ",\"id\":";

/// Adds a letter to those of an array that is not yet closed.
pub fn push(array: &mut Vec<u8>, letter: &[u8], id: &str) {
    array.push(if array.is_empty() { b'[' } else { b',' });
    array.extend_from_slice(letter.strip_suffix(b"}").expect("an object ends with a brace"));
    array.extend_from_slice(ID.as_bytes());
    array.extend_from_slice(Value::from(id).to_string().as_bytes());
    array.push(b'}');
}

/// The letters of an array; `None` for a letter that travels alone.
pub fn letters(text: &[u8]) -> Option<Vec<&[u8]>> {
    let letters: Vec<&RawValue> =
        text.starts_with(b"[").then(|| serde_json::from_slice(text).ok())??;
    Some(letters.into_iter().map(|it| it.get().as_bytes()).collect())
}

/// A letter of an array as it travels alone, and its id.
pub fn alone(letter: &[u8]) -> Option<(String, String)> {
    // Inside of a string the quotes would have backslashes.
    let (object, id) = std::str::from_utf8(letter).ok()?.rsplit_once(ID)?;
    let id = serde_json::from_str(id.strip_suffix('}')?).ok()?;
    Some((format!("{object}}}"), id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_letter_is_the_contract() {
        let letter = DeadLetter {
            gateway: "gw-1",
            reason: Reason::Malformed,
            detail: b"expected value at line 1 column 5",
            sensor: "boiler",
            entry: Some("fleet"),
            topic: b"plant/boiler",
            received: Timestamp::from_millis(1_763_796_650_655),
            payload: b"{\"a\":",
        };
        let expected = concat!(
            r#"{"gateway":"gw-1","reason":"malformed","detail":"expected value at line 1 column 5","#,
            r#""sensorId":"boiler","entry":"fleet","topic":"plant/boiler","#,
            r#""receivedAt":"2025-11-22T07:30:50.655Z","payload":"{\"a\":"}"#
        );
        assert_eq!(String::from_utf8(letter.encode()).unwrap(), expected);
        let nobodys = DeadLetter { payload: &[0xff, 0], entry: None, ..letter }.encode();
        let text = String::from_utf8(nobodys).unwrap();
        assert!(text.contains(r#""sensorId":"boiler","topic":"#), "of no entry: {text}");
        assert!(text.ends_with(r#""payloadBase64":"/wA="}"#), "{text}");
    }
}
