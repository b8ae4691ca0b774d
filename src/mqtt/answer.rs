//! What a PUBACK says.

use std::fmt;

use super::Error;
use super::properties::OF_ACKNOWLEDGEMENT;
use super::reason::Said;

/// The answer to a PUBLISH (MQTT 5 §3.4.2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Taken,
    /// Accepted, but nobody subscribes to the topic.
    NobodyListens,
    Refused(NotTaken),
}

/// Packet too large (MQTT 5 §2.4).
const TOO_LARGE: u8 = 0x95;

/// Why the broker did not accept a PUBLISH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotTaken {
    code: u8,
    said: String,
}

impl NotTaken {
    /// Reads a reason code and its properties. Properties that cannot be read are ignored.
    pub fn new(code: u8, properties: &[u8]) -> Self {
        Self::read(code, properties).unwrap_or_else(|_| Self::of(code, Said::default()))
    }

    fn read(code: u8, properties: &[u8]) -> Result<Self, Error> {
        Ok(Self::of(code, Said::among(properties, OF_ACKNOWLEDGEMENT)?))
    }

    fn of(code: u8, said: Said<'_>) -> Self {
        Self { code, said: said.beside(code) }
    }

    /// Not sent: the PUBLISH has more bytes than the broker's Maximum Packet Size.
    pub fn too_large(bytes: usize, bytes_max: usize) -> Self {
        let said = format!(
            "packet too large: it has {bytes} bytes and the broker takes {bytes_max}; raise the \
             broker's maximum packet size"
        );
        Self { code: TOO_LARGE, said }
    }

    /// Whether a smaller message may be accepted (0x95).
    pub fn is_too_large(&self) -> bool {
        self.code == TOO_LARGE
    }

    /// Whether a retry cannot succeed: not authorized, or invalid topic name (0x87, 0x90).
    pub fn is_permanent(&self) -> bool {
        matches!(self.code, 0x87 | 0x90)
    }
}

impl fmt::Display for NotTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.said)
    }
}

/// Reads the reason code and the properties of a PUBACK (MQTT 5 §3.4.2).
pub(super) fn answer(code: u8, properties: &[u8]) -> Result<Answer, Error> {
    if code != 0x00 && code != 0x10 {
        return NotTaken::read(code, properties).map(Answer::Refused);
    }
    Said::among(properties, OF_ACKNOWLEDGEMENT)?;
    Ok(if code == 0 { Answer::Taken } else { Answer::NobodyListens })
}
