//! A message as a line of a recording, and back.
//!
//! ```json
//! {"receivedAt":"2026-11-22T07:30:50.655Z","topic":"plant/boiler","qos":1,"retained":true,
//!  "userProperties":[["room","north"]],"payload":"{\"t\":71.5}"}
//! ```
//! A payload that is not UTF-8 stands as `payloadBase64`. `retained` stands where it is true, `userProperties` where
//! there are any (MQTT 5). The names are those of a dead letter, so `explain` reads both.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::mqtt::publish::{Publish, user_properties, with_user_properties};
use crate::mqtt::topic::{TOPIC_BYTES_MAX, Topic};

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    received_at: String,
    topic: Cow<'a, str>,
    #[serde(default)]
    qos: u8,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    retained: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    user_properties: Vec<(String, String)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
}

/// Appends a message as a line, with its line break.
pub(super) fn write(out: &mut Vec<u8>, publish: &Publish<'_>, received: Timestamp) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let payload = std::str::from_utf8(publish.payload).ok();
    let properties = user_properties(publish.properties);
    let wire = Wire {
        received_at: received.to_string(),
        topic: String::from_utf8_lossy(publish.topic),
        qos: publish.qos,
        retained: publish.retain,
        user_properties: properties.map(|(name, value)| (text(name), text(value))).collect(),
        payload: payload.map(Cow::Borrowed),
        payload_base64: payload.is_none().then(|| STANDARD.encode(publish.payload)),
    };
    serde_json::to_writer(&mut *out, &wire).expect("texts can be written to memory");
    out.push(b'\n');
}

/// A message that was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// When it was received.
    pub received: Timestamp,
    pub topic: Topic,
    /// The broker had retained it.
    pub retained: bool,
    /// Its user properties as they stand in a PUBLISH.
    pub properties: Vec<u8>,
    pub payload: Vec<u8>,
}

impl Message {
    /// The message of a line; `None` if it is none.
    pub fn read(line: &[u8]) -> Option<Self> {
        let wire: Wire<'_> = serde_json::from_slice(line).ok()?;
        let is_short = |it: &(String, String)| it.0.len().max(it.1.len()) <= TOPIC_BYTES_MAX;
        let payload = match (wire.payload, wire.payload_base64) {
            (Some(text), None) => text.into_owned().into_bytes(),
            (None, Some(text)) => STANDARD.decode(text).ok()?,
            _ => return None,
        };
        wire.user_properties.iter().all(is_short).then_some(())?;
        Some(Self {
            received: Timestamp::parse(&wire.received_at)?,
            topic: Topic::made(&wire.topic)?,
            retained: wire.retained,
            properties: with_user_properties(&wire.user_properties),
            payload,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish<'a>(payload: &'a [u8], properties: &'a [u8]) -> Publish<'a> {
        Publish {
            dup: false,
            qos: 1,
            retain: !properties.is_empty(),
            topic: "plant/{é}/\"a\"".as_bytes(),
            packet_id: 7,
            properties,
            payload,
            cut: None,
        }
    }

    #[test]
    fn a_message_is_the_same_after_it_was_a_line() {
        let received = Timestamp::from_millis(1_763_796_650_601);
        let none = with_user_properties(&[]);
        let two =
            with_user_properties(&[("a".into(), "\"é\n".into()), ("a".into(), String::new())]);
        for payload in [
            &b""[..],
            b"21.5",
            b"{\"a\":\"\\n\"}\r\n",
            b"\0\x1b",
            b"\xff\0\xfe",
            "é\u{2028}".as_bytes(),
        ] {
            for properties in [&none, &two] {
                let (publish, mut line) = (publish(payload, properties), Vec::new());
                write(&mut line, &publish, received);
                assert_eq!(line.iter().position(|byte| *byte == b'\n'), Some(line.len() - 1));
                let topic = Topic::made("plant/{é}/\"a\"").unwrap();
                let (payload, properties) = (payload.to_vec(), properties.clone());
                let retained = publish.retain;
                let message = Message { received, topic, retained, properties, payload };
                assert_eq!(Message::read(&line), Some(message));
            }
        }
    }

    #[test]
    fn a_line_is_the_contract() {
        let received = Timestamp::from_millis(1_763_796_650_601);
        let one = with_user_properties(&[("room".into(), "north".into())]);
        let mut lines = Vec::new();
        write(&mut lines, &publish(b"\"on\"", &one), received);
        write(&mut lines, &publish(b"\xff", &[]), received);
        let expected = concat!(
            r#"{"receivedAt":"2025-11-22T07:30:50.601Z","topic":"plant/{é}/\"a\"","qos":1,"retained":true,"#,
            r#""userProperties":[["room","north"]],"payload":"\"on\""}"#,
            "\n",
            r#"{"receivedAt":"2025-11-22T07:30:50.601Z","topic":"plant/{é}/\"a\"","qos":1,"payloadBase64":"/w=="}"#,
            "\n"
        );
        assert_eq!(String::from_utf8(lines).unwrap(), expected);
    }

    #[test]
    fn what_is_no_message_is_none() {
        let long = "x".repeat(TOPIC_BYTES_MAX + 1);
        let properties = format!(
            r#"{{"receivedAt":"2025-11-22T07:30:50Z","topic":"a","payload":"","userProperties":[["a","{long}"]]}}"#
        );
        for line in [
            "",
            "{}",
            "21.5",
            r#"{"receivedAt":"2025-11-22T07:30:50Z","topic":"a"}"#,
            r#"{"receivedAt":"2025-11-22T07:30:50Z","topic":"a","payload":"","payloadBase64":""}"#,
            r#"{"receivedAt":"2025-11-22T07:30:50Z","topic":"a","payloadBase64":"%"}"#,
            r#"{"receivedAt":"2025-11-22T07:30:50Z","topic":"a/#","payload":""}"#,
            r#"{"receivedAt":"yesterday","topic":"a","payload":""}"#,
            &properties,
        ] {
            assert_eq!(Message::read(line.as_bytes()), None, "{line}");
        }
    }
}
