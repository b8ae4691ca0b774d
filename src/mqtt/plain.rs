//! PUBLISH without properties, written directly into the buffer: for clients that send many small messages.
//! Formats: MQTT 5 §3.3; 3.1.1 has the same without the properties' length.

use bytes::{BufMut, BytesMut};

use super::Error;
use super::options::Version;

/// A small message of ours, without properties, borrowed.
#[derive(Debug, Clone, Copy)]
pub struct Plain<'a> {
    /// The text of a [`super::topic::Topic`].
    pub topic: &'a str,
    /// 0 or 1.
    pub qos: u8,
    /// DUP: sent before.
    pub dup: bool,
    pub payload: &'a [u8],
}

/// Writes PUBLISH without an allocation, for many small messages.
pub fn publish(
    out: &mut BytesMut,
    version: Version,
    packet_id: u16,
    message: &Plain<'_>,
) -> Result<(), Error> {
    let Plain { topic, qos, dup, payload } = *message;
    let topic_bytes = u16::try_from(topic.len())
        .map_err(|_| Error::Protocol(format!("a topic of {} bytes", topic.len())))?;
    let (id, properties) = (2 * usize::from(qos > 0), usize::from(version == Version::V5));
    let mut left = 2 + topic.len() + id + properties + payload.len();
    if left > BODY_BYTES_MAX {
        return Err(Error::Protocol(format!("{left} bytes are more than a packet can hold")));
    }
    out.put_u8(0x30 | u8::from(dup && qos > 0) << 3 | u8::from(qos > 0) << 1);
    while left > 0x7f {
        let [low, ..] = left.to_le_bytes();
        out.put_u8(low | 0x80);
        left >>= 7;
    }
    let [low, ..] = left.to_le_bytes();
    out.put_u8(low);
    out.put_u16(topic_bytes);
    out.extend_from_slice(topic.as_bytes());
    if qos > 0 {
        out.put_u16(packet_id);
    }
    if version == Version::V5 {
        out.put_u8(0);
    }
    out.extend_from_slice(payload);
    Ok(())
}

/// Bytes of a packet after its fixed header, at most (MQTT 5 §1.5.5).
const BODY_BYTES_MAX: usize = 268_435_455;

#[cfg(test)]
mod tests {
    use super::*;
    use rumqttc::mqttbytes::v4;
    use rumqttc::v5::mqttbytes::{qos as v5_qos, v5};

    fn by_the_codec(version: Version, id: u16, plain: &Plain<'_>) -> BytesMut {
        let (payload, dup) = (plain.payload.to_vec(), plain.dup && id > 0);
        let mut out = BytesMut::new();
        if version == Version::V3 {
            let qos = rumqttc::mqttbytes::qos(plain.qos).unwrap();
            let mut publish = v4::Publish::new(plain.topic, qos, payload);
            (publish.pkid, publish.dup) = (id, dup);
            v4::Packet::Publish(publish).write(&mut out, usize::MAX).unwrap();
        } else {
            let properties = Some(v5::PublishProperties::default());
            let mut publish =
                v5::Publish::new(plain.topic, v5_qos(plain.qos).unwrap(), payload, properties);
            (publish.pkid, publish.dup) = (id, dup);
            v5::Packet::Publish(publish).write(&mut out, None).unwrap();
        }
        out
    }

    #[test]
    fn a_plain_publish_is_what_the_codec_writes() {
        for (bytes, qos, dup) in
            [(3, 1, true), (60, 1, true), (120, 1, false), (70_000, 0, false), (0, 0, true)]
        {
            let payload = vec![b'x'; bytes];
            let plain = Plain { topic: "sensors/é/reading", qos, dup, payload: &payload };
            for version in [Version::V3, Version::V5] {
                let id = 0x1234 * u16::from(qos);
                let mut ours = BytesMut::new();
                publish(&mut ours, version, id, &plain).unwrap();
                assert_eq!(ours, by_the_codec(version, id, &plain));
            }
        }
        let topic = "x".repeat(70_000);
        let long = Plain { topic: &topic, qos: 1, dup: false, payload: b"" };
        assert!(publish(&mut BytesMut::new(), Version::V5, 1, &long).is_err());
    }
}
