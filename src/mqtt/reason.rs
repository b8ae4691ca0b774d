//! Reason codes: their words, whether they may pass, what to do. One table (MQTT 5 §2.4).

use super::Error;
use super::properties::{Properties, REASON_STRING, SERVER_REFERENCE, Value};
use crate::text;

/// The meaning of a reason code of 0x80 and above.
struct Reason {
    code: u8,
    words: &'static str,
    /// It may pass without a change: the broker is busy, one of its limits is reached, or it gives no other
    /// reason.
    passes: bool,
    /// What to do if a connection is refused with it.
    remedy: Option<&'static str>,
}

const LOAD: Option<&str> = Some("check the broker's load and its limits on connections");
const MOVED: Option<&str> =
    Some("set url to the broker that it names, if it does not come back by itself");

const fn reason(
    code: u8,
    words: &'static str,
    passes: bool,
    remedy: Option<&'static str>,
) -> Reason {
    Reason { code, words, passes, remedy }
}

const REASONS: &[Reason] = &[
    reason(0x00, "normal disconnection", true, None),
    reason(0x80, "unspecified error", true, None),
    reason(0x81, "malformed packet", false, None),
    reason(0x82, "protocol error", false, None),
    reason(0x83, "implementation specific error", true, None),
    reason(0x84, "unsupported protocol version", false, Some("set version to the other one")),
    reason(
        0x85,
        "client identifier not valid",
        false,
        Some(
            "the client id begins with broker.client_id (gateway.id if unset): set another, or allow \
             this one at the broker",
        ),
    ),
    reason(
        0x86,
        "bad user name or password",
        false,
        Some("check username, and what is in password_file"),
    ),
    reason(
        0x87,
        "not authorized",
        false,
        Some(
            "check username and password_file, and that the broker lets this user in with this \
             client id",
        ),
    ),
    reason(0x88, "server unavailable", true, LOAD),
    reason(0x89, "server busy", true, LOAD),
    reason(0x8a, "banned", false, Some("lift the ban at the broker, or find out what it was for")),
    reason(0x8b, "server shutting down", true, None),
    reason(0x8c, "bad authentication method", false, None),
    reason(0x8d, "keep alive timeout", true, None),
    reason(0x8e, "session taken over: another client uses our client id", false, None),
    reason(0x8f, "topic filter invalid", false, None),
    reason(0x90, "topic name invalid", false, None),
    reason(0x91, "packet identifier in use", true, None),
    reason(0x92, "packet identifier not found", true, None),
    reason(0x93, "receive maximum exceeded", true, None),
    reason(0x94, "topic alias invalid", false, None),
    reason(0x95, "packet too large", false, None),
    reason(0x96, "message rate too high", true, None),
    reason(0x97, "quota exceeded", true, LOAD),
    reason(0x98, "administrative action", true, None),
    reason(0x99, "payload format invalid", false, None),
    reason(0x9a, "retain not supported", false, None),
    reason(0x9b, "QoS not supported", false, None),
    reason(0x9c, "use another server", true, MOVED),
    reason(0x9d, "server moved", true, MOVED),
    reason(0x9e, "shared subscriptions not supported", false, None),
    reason(0x9f, "connection rate exceeded", true, LOAD),
    reason(0xa0, "maximum connect time", true, None),
    reason(0xa1, "subscription identifiers not supported", false, None),
    reason(0xa2, "wildcard subscriptions not supported", false, None),
];

fn find(code: u8) -> Option<&'static Reason> {
    REASONS.iter().find(|it| it.code == code)
}

/// Whether a refusal with this code may pass by itself.
pub(super) fn is_passing(code: u8) -> bool {
    find(code).is_some_and(|it| it.passes)
}

/// What to do about a connection that is refused with this code.
pub(super) fn remedy(code: u8) -> Option<&'static str> {
    find(code)?.remedy
}

/// The code of MQTT 5 with the meaning of a CONNACK code of 3.1.1 (3.1.1 §3.2.2.3).
pub(super) const fn of_version_3(code: u8) -> u8 {
    match code {
        1 => 0x84,
        2 => 0x85,
        3 => 0x88,
        4 => 0x86,
        5 => 0x87,
        _ => 0x80,
    }
}

/// A reason code in words.
pub(super) fn code_in_words(code: u8) -> String {
    find(code).map_or_else(|| format!("reason code {code:#04x}"), |it| it.words.to_owned())
}

/// What a broker writes beside a reason code.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Said<'a> {
    text: Option<&'a [u8]>,
    server: Option<&'a [u8]>,
}

impl<'a> Said<'a> {
    /// Reads it from the properties of a packet, which may have `allowed`.
    pub(super) fn among(properties: &'a [u8], allowed: &[u8]) -> Result<Self, Error> {
        let mut said = Self::default();
        Properties::of(properties).each(allowed, |id, value| {
            said.note(id, value);
            Ok(())
        })?;
        Ok(said)
    }

    /// Keeps a property that is used here.
    pub(super) fn note(&mut self, id: u8, value: Value<'a>) {
        match (id, value) {
            (REASON_STRING, Value::Data(text)) => self.text = Some(text),
            (SERVER_REFERENCE, Value::Data(server)) => self.server = Some(server),
            _ => {}
        }
    }

    /// With a code's words: "quota exceeded (no room)".
    pub(super) fn beside(self, code: u8) -> String {
        self.after(code_in_words(code))
    }

    fn after(self, mut words: String) -> String {
        if let Some(said) = self.text {
            words = format!("{words} ({})", text::from_bytes(said));
        }
        if let Some(server) = self.server {
            words = format!("{words}; it names the server {}", text::from_bytes(server));
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_is_in_the_table_once() {
        assert!(REASONS.is_sorted_by(|a, b| a.code < b.code));
        assert!((0x80..=0xa2).all(|code| find(code).is_some()), "MQTT 5 has them all");
        assert_eq!(code_in_words(0xee), "reason code 0xee");
        assert!(!is_passing(0xee), "nobody knows");
    }

    #[test]
    fn what_a_broker_says_is_found_among_all_properties_and_cannot_forge_a_line() {
        let properties = b"\x26\0\x01a\0\x01b\x1c\0\x03b\n2\x1f\0\x04no\n!";
        let said = Said::among(properties, &[0x1c, 0x1f, 0x26]).unwrap();
        assert_eq!(said.beside(0x9d), "server moved (no\\n!); it names the server b\\n2");
    }
}
