//! What a broker says to a publish.

use std::fmt;

use super::reason::refused;

/// What a PUBACK says (MQTT 5 §3.4.2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Taken.
    Taken,
    /// Taken, but nobody subscribes to the topic.
    NobodyListens,
    /// Not taken.
    Refused(NotTaken),
}

/// Packet too large (MQTT 5 §2.4).
const TOO_LARGE: u8 = 0x95;

/// Why a publish was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotTaken {
    code: u8,
    said: String,
}

impl NotTaken {
    /// Of a reason code, and the properties behind it.
    pub fn new(code: u8, properties: &[u8]) -> Self {
        Self { code, said: refused(code, properties) }
    }

    /// Not even asked: the broker has said that it takes no packets of so many bytes.
    pub fn too_large(bytes: usize, bytes_max: usize) -> Self {
        let said = format!(
            "packet too large: it has {bytes} bytes and the broker takes {bytes_max}; raise the \
             broker's maximum packet size"
        );
        Self { code: TOO_LARGE, said }
    }

    /// Whether a smaller message may be taken (0x95).
    pub fn is_too_large(&self) -> bool {
        self.code == TOO_LARGE
    }

    /// Whether it will be the same tomorrow: not authorized, or no such topic name (0x87, 0x90).
    pub fn is_permanent(&self) -> bool {
        matches!(self.code, 0x87 | 0x90)
    }
}

impl fmt::Display for NotTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.said)
    }
}

/// What a PUBACK says behind its packet id: a reason code and properties, or nothing, which is success
/// (MQTT 5 §3.4.2; always nothing with 3.1.1).
pub(super) fn answer(rest: &[u8]) -> Answer {
    match rest {
        [] | [0x00, ..] => Answer::Taken,
        [0x10, ..] => Answer::NobodyListens,
        [code, properties @ ..] => Answer::Refused(NotTaken::new(*code, properties)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::Version;
    use super::super::packet::{self, Packet};
    use super::*;

    #[test]
    fn a_puback_code_that_the_library_does_not_know_is_a_refusal() {
        for (bytes, expected) in [
            (&[0x40, 2, 1, 2][..], Answer::Taken),
            (&[0x40, 3, 1, 2, 0x10], Answer::NobodyListens),
            (&[0x40, 4, 1, 2, 0x95, 0], Answer::Refused(NotTaken::new(0x95, &[]))),
            (&[0x40, 4, 1, 2, 0xee, 0], Answer::Refused(NotTaken::new(0xee, &[]))),
            (
                &[0x40, 9, 1, 2, 0x97, 5, 0x1f, 0, 2, b'n', b'o'],
                Answer::Refused(NotTaken { code: 0x97, said: "quota exceeded (no)".into() }),
            ),
        ] {
            let answered = packet::read(bytes, Version::V5).unwrap();
            let Packet::PubAck { packet_id, answer } = answered else { panic!("{bytes:?}") };
            assert_eq!((packet_id, answer), (0x0102, expected));
        }
    }
}
