//! A PUBLISH that came, read where it lies: no copy, no allocation, some 20 ns.
//!
//! Format: MQTT 5 §3.3; 3.1.1 has the same without the properties.

use super::Error;
use super::options::Version;

/// A PUBLISH, read where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish<'a> {
    /// The broker has sent it before.
    pub dup: bool,
    /// 0, 1 or 2.
    pub qos: u8,
    /// The broker had retained it.
    pub retain: bool,
    /// Its topic; not checked to be UTF-8.
    pub topic: &'a [u8],
    /// Its packet id; 0 with QoS 0.
    pub packet_id: u16,
    /// MQTT 5: its properties as they came, for [`user_property`].
    pub properties: &'a [u8],
    /// Its payload, or the head of it.
    pub payload: &'a [u8],
    /// Set when the payload was too large to keep.
    pub cut: Option<Cut>,
}

/// What is known of a payload that was too large to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Its length in bytes.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: [u8; 32],
}

/// A variable byte integer (MQTT 5 §1.5.5) and its own length.
pub(super) fn varint(bytes: &[u8]) -> Result<Option<(usize, usize)>, Error> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((value, at + 1)));
        }
    }
    if bytes.len() >= 4 { Err(malformed()) } else { Ok(None) }
}

/// Where the payload of the PUBLISH that begins `bytes` begins; `None` when that is not here yet.
pub(super) fn payload_at(
    bytes: &[u8],
    header: usize,
    version: Version,
) -> Result<Option<usize>, Error> {
    let qos = bytes.first().map_or(0, |first| first >> 1 & 3);
    let Some(length) = bytes.get(header..header + 2) else { return Ok(None) };
    let mut at = header + 2 + be16(length);
    if qos > 0 {
        at += 2;
    }
    if version == Version::V5 {
        let Some((properties, length)) = varint(bytes.get(at..).unwrap_or_default())? else {
            return Ok(None);
        };
        at += length + properties;
    }
    Ok(Some(at))
}

/// Reads a PUBLISH without its fixed header.
pub(super) fn parse(first: u8, body: &[u8], version: Version) -> Result<Publish<'_>, Error> {
    let qos = first >> 1 & 3;
    let (length, rest) = body.split_at_checked(2).ok_or_else(malformed)?;
    let (topic, mut rest) = rest.split_at_checked(be16(length)).ok_or_else(malformed)?;
    let (mut packet_id, mut properties) = (0, &[][..]);
    if qos > 0 {
        let (id, after) = rest.split_at_checked(2).ok_or_else(malformed)?;
        packet_id = u16::try_from(be16(id)).unwrap_or(0);
        rest = after;
    }
    if version == Version::V5 {
        let (bytes, length) = varint(rest)?.ok_or_else(malformed)?;
        properties = rest.get(length..length + bytes).ok_or_else(malformed)?;
        rest = rest.get(length + bytes..).ok_or_else(malformed)?;
    }
    if qos > 2 || (qos > 0 && packet_id == 0) || topic.is_empty() {
        // An empty topic would need a topic alias, which we never offer.
        return Err(malformed());
    }
    let (dup, retain) = (first & 8 != 0, first & 1 != 0);
    Ok(Publish { dup, qos, retain, topic, packet_id, properties, payload: rest, cut: None })
}

/// The first user property of that name among the properties of a PUBLISH (MQTT 5 §3.3.2.3).
/// `None` also when they cannot be read.
pub fn user_property<'a>(properties: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut rest = properties;
    while let Some((id, after)) = rest.split_first() {
        rest = match id {
            0x01 => after.get(1..)?,
            0x23 => after.get(2..)?,
            0x02 => after.get(4..)?,
            0x0b => after.get(varint(after).ok()??.1..)?,
            0x03 | 0x08 | 0x09 => prefixed(after)?.1,
            0x26 => {
                let (key, after) = prefixed(after)?;
                let (value, after) = prefixed(after)?;
                if key == name.as_bytes() {
                    return Some(value);
                }
                after
            }
            _ => return None,
        };
    }
    None
}

/// A text or binary value with its length before it, and what follows.
fn prefixed(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_at_checked(2)?;
    rest.split_at_checked(be16(length))
}

fn be16(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |value, byte| value << 8 | usize::from(*byte))
}

pub(super) fn malformed() -> Error {
    Error::Protocol("a malformed packet".into())
}
