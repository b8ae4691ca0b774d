//! PUBLISH written directly into the buffer: for clients that send many small messages.
//! Formats: MQTT 5 §3.3; 3.1.1 has the same without the properties.

use bytes::{BufMut, BytesMut};

use super::Error;
use super::options::Version;
use super::outgoing::length_bytes;

/// A small message of ours, borrowed.
#[derive(Debug, Clone, Copy)]
pub struct Plain<'a> {
    /// The text of a [`super::topic::Topic`].
    pub topic: &'a str,
    /// 0 or 1.
    pub qos: u8,
    /// DUP: sent before.
    pub dup: bool,
    /// RETAIN: the broker keeps the message for later subscribers.
    pub retain: bool,
    /// Its properties as they stand in a PUBLISH; 3.1.1 has none, and leaves them out.
    pub properties: &'a [u8],
    pub payload: &'a [u8],
}

impl Plain<'_> {
    /// Bytes of its whole PUBLISH, at most.
    pub const fn packet_bytes_max(&self) -> usize {
        // Fixed header, length of the topic, packet id, length of the properties.
        5 + 2 + self.topic.len() + 2 + 4 + self.properties.len() + self.payload.len()
    }
}

/// Writes PUBLISH without an allocation, for many small messages.
pub fn publish(
    out: &mut BytesMut,
    version: Version,
    packet_id: u16,
    message: &Plain<'_>,
) -> Result<(), Error> {
    let Plain { topic, qos, dup, retain, properties, payload } = *message;
    let topic_bytes = u16::try_from(topic.len())
        .map_err(|_| Error::Protocol(format!("a topic of {} bytes", topic.len())))?;
    let has_properties = version == Version::V5;
    let properties = if has_properties { properties } else { &[] };
    let id = 2 * usize::from(qos > 0);
    let lengths = if has_properties { length_bytes(properties.len()) } else { 0 };
    let left = 2 + topic.len() + id + lengths + properties.len() + payload.len();
    if left > BODY_BYTES_MAX {
        return Err(Error::Protocol(format!("{left} bytes are more than a packet can hold")));
    }
    let flags = u8::from(dup && qos > 0) << 3 | u8::from(qos > 0) << 1 | u8::from(retain);
    out.put_u8(0x30 | flags);
    put_length(out, left);
    out.put_u16(topic_bytes);
    out.extend_from_slice(topic.as_bytes());
    if qos > 0 {
        out.put_u16(packet_id);
    }
    if has_properties {
        put_length(out, properties.len());
        out.extend_from_slice(properties);
    }
    out.extend_from_slice(payload);
    Ok(())
}

/// Writes a Variable Byte Integer (MQTT 5 §1.5.5).
fn put_length(out: &mut BytesMut, mut length: usize) {
    while length > 0x7f {
        let [low, ..] = length.to_le_bytes();
        out.put_u8(low | 0x80);
        length >>= 7;
    }
    let [low, ..] = length.to_le_bytes();
    out.put_u8(low);
}

/// Bytes of a packet after its fixed header, at most (MQTT 5 §1.5.5).
const BODY_BYTES_MAX: usize = 268_435_455;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::publish::{user_properties, with_user_properties};
    use rumqttc::mqttbytes::v4;
    use rumqttc::v5::mqttbytes::{qos as v5_qos, v5};

    fn by_the_codec(version: Version, id: u16, plain: &Plain<'_>) -> BytesMut {
        let (payload, dup) = (plain.payload.to_vec(), plain.dup && id > 0);
        let mut out = BytesMut::new();
        if version == Version::V3 {
            let qos = rumqttc::mqttbytes::qos(plain.qos).unwrap();
            let mut publish = v4::Publish::new(plain.topic, qos, payload);
            (publish.pkid, publish.dup, publish.retain) = (id, dup, plain.retain);
            v4::Packet::Publish(publish).write(&mut out, usize::MAX).unwrap();
        } else {
            let user_properties = user_properties(plain.properties);
            let text = |text: &[u8]| String::from_utf8(text.to_vec()).unwrap();
            let user_properties = user_properties.map(|it| (text(it.0), text(it.1))).collect();
            let properties = v5::PublishProperties { user_properties, ..Default::default() };
            let properties = Some(properties);
            let mut publish =
                v5::Publish::new(plain.topic, v5_qos(plain.qos).unwrap(), payload, properties);
            (publish.pkid, publish.dup, publish.retain) = (id, dup, plain.retain);
            v5::Packet::Publish(publish).write(&mut out, None).unwrap();
        }
        out
    }

    #[test]
    fn a_plain_publish_is_what_the_codec_writes() {
        let none: &[(String, String)] = &[];
        let one = &[("room".to_owned(), "é".to_owned())];
        let long = &[("a".to_owned(), "b".repeat(200)), ("a".to_owned(), String::new())];
        for (bytes, qos, dup, retain, properties) in [
            (3, 1, true, false, none),
            (60, 1, true, true, one),
            (120, 1, false, false, long),
            (70_000, 0, false, true, none),
            (0, 0, true, false, one),
        ] {
            let (payload, properties) = (vec![b'x'; bytes], with_user_properties(properties));
            let (topic, properties, payload) = ("sensors/é/reading", &*properties, &*payload);
            let plain = Plain { topic, qos, dup, retain, properties, payload };
            for version in [Version::V3, Version::V5] {
                let id = 0x1234 * u16::from(qos);
                let mut ours = BytesMut::new();
                publish(&mut ours, version, id, &plain).unwrap();
                assert_eq!(ours, by_the_codec(version, id, &plain));
                assert!(ours.len() <= plain.packet_bytes_max());
            }
        }
        let topic = "x".repeat(70_000);
        let (qos, dup, retain, properties, payload) = (1, false, false, &[][..], &[][..]);
        let long = Plain { topic: &topic, qos, dup, retain, properties, payload };
        assert!(publish(&mut BytesMut::new(), Version::V5, 1, &long).is_err());
    }
}
