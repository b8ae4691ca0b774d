//! A PUBLISH that arrived, read in place: no copy, no allocation, some 20 ns.
//!
//! Format: MQTT 5 §3.3; 3.1.1 has the same without the properties.

use super::Error;
use super::options::Version;
use super::properties::{MESSAGE_EXPIRY, Properties, USER_PROPERTY, Value};
use super::wire::{Wire, malformed, varint};

/// A PUBLISH, borrowed from the read buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish<'a> {
    /// DUP: the broker has sent it before.
    pub dup: bool,
    /// 0, 1 or 2.
    pub qos: u8,
    /// RETAIN: the broker had retained it.
    pub retain: bool,
    /// Its topic; not checked to be UTF-8.
    pub topic: &'a [u8],
    /// Its packet id; 0 with QoS 0.
    pub packet_id: u16,
    /// Its properties as they arrived (MQTT 5), for [`user_property`].
    pub properties: &'a [u8],
    /// Its payload, or the head of it.
    pub payload: &'a [u8],
    /// Set when the payload was too large to keep.
    pub cut: Option<Cut>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Its length in bytes.
    pub bytes: u64,
    pub sha256: [u8; 32],
}

/// Where the payload of the PUBLISH at the start of `bytes` begins; `None` if that has not arrived.
pub(super) fn payload_at(
    bytes: &[u8],
    header: usize,
    version: Version,
) -> Result<Option<usize>, Error> {
    let qos = bytes.first().map_or(0, |first| first >> 1 & 3);
    let Ok(topic) = Wire(bytes.get(header..).unwrap_or_default()).two() else { return Ok(None) };
    let mut at = header + 2 + usize::from(topic);
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
#[inline]
pub(super) fn parse(first: u8, body: &[u8], version: Version) -> Result<Publish<'_>, Error> {
    let qos = first >> 1 & 3;
    let mut body = Wire(body);
    let topic = body.prefixed()?;
    let packet_id = if qos > 0 { body.packet_id()? } else { 0 };
    let properties = if version == Version::V5 { body.counted()? } else { &[] };
    if qos > 2 || topic.is_empty() {
        // An empty topic needs a topic alias, which we never allow.
        return Err(malformed());
    }
    let (dup, retain) = (first & 8 != 0, first & 1 != 0);
    Ok(Publish { dup, qos, retain, topic, packet_id, properties, payload: body.0, cut: None })
}

/// The first user property of this name among the properties of a PUBLISH (MQTT 5 §3.3.2.3). `None` also if the
/// properties cannot be read.
pub fn user_property<'a>(properties: &'a [u8], name: &str) -> Option<&'a [u8]> {
    user_properties(properties).find(|(key, _)| *key == name.as_bytes()).map(|it| it.1)
}

/// The user properties of a PUBLISH, in their order; those up to the first property that cannot be read.
pub fn user_properties(properties: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    each(properties).filter_map(|(_, value)| match value {
        Value::Pair(name, value) => Some((name, value)),
        _ => None,
    })
}

/// The seconds for which a PUBLISH is of use from its receipt on, if its sender said it (MQTT 5 §3.3.2.3.3): the broker
/// has subtracted those for which it waited there.
pub fn expiry(properties: &[u8]) -> Option<u32> {
    each(properties).find_map(|(id, value)| match value {
        Value::Number(seconds) if id == MESSAGE_EXPIRY => Some(seconds),
        _ => None,
    })
}

fn each(properties: &[u8]) -> impl Iterator<Item = (u8, Value<'_>)> {
    let mut properties = Properties::of(properties);
    std::iter::from_fn(move || properties.next().ok().flatten())
}

/// Properties as they stand in a PUBLISH: these user properties, of which each text is short enough.
pub fn with_user_properties(pairs: &[(String, String)]) -> Vec<u8> {
    let mut properties = Vec::new();
    for (name, value) in pairs {
        properties.push(USER_PROPERTY);
        for text in [name, value] {
            let bytes = u16::try_from(text.len()).expect("the text is short enough");
            properties.extend_from_slice(&bytes.to_be_bytes());
            properties.extend_from_slice(text.as_bytes());
        }
    }
    properties
}
