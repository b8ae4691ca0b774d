//! Cutting the byte stream into packets.
//!
//! A PUBLISH is read where it lies: no copy, no allocation, some 20 ns. All other packets are rare
//! and go through rumqttc (`packet`). Formats: MQTT 5 §2.1 (fixed header), §3.3 (PUBLISH); 3.1.1
//! has the same without the properties.
//!
//! The buffer has a fixed size. A packet that is larger is not a reason to end the connection (with
//! a persistent session it would come again, for ever): it is read past, its head kept and its
//! payload digested on the way, and handed out as a PUBLISH marked [`Publish::cut`].

use std::ops::Range;

use sha2::{Digest, Sha256};

use super::Error;
use super::options::Version;

/// Packet type of PUBLISH, in the upper half of the first byte.
const PUBLISH: u8 = 3;

/// Bytes of a packet that is read past that are kept: its topic, its properties' beginning and the
/// head of its payload.
const HEAD_BYTES: usize = 4096;

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

/// What came.
#[derive(Debug)]
pub enum Incoming<'a> {
    /// A PUBLISH.
    Publish(Publish<'a>),
    /// Any other packet, whole.
    Other(&'a [u8]),
}

/// A packet that is being read past.
#[derive(Debug)]
struct Skipped {
    first: u8,
    head: Vec<u8>,
    payload_at: usize,
    left: usize,
    bytes: u64,
    digest: Sha256,
}

/// The bytes that have come and are not yet handled.
#[derive(Debug)]
pub struct Inbound {
    version: Version,
    buffer: Box<[u8]>,
    filled: Range<usize>,
    skipped: Option<Box<Skipped>>,
    /// The packet last read past, for as long as it is looked at.
    finished: Option<Box<Skipped>>,
}

impl Inbound {
    /// A buffer of `bytes`; larger packets are read past.
    pub fn new(version: Version, bytes: usize) -> Self {
        let buffer = vec![0; bytes.max(2 * HEAD_BYTES)].into_boxed_slice();
        Self { version, buffer, filled: 0..0, skipped: None, finished: None }
    }

    /// Where the next bytes go. Never empty once [`Inbound::packet`] has returned `None`.
    pub fn space(&mut self) -> &mut [u8] {
        if self.filled.is_empty() {
            self.filled = 0..0;
        } else if self.filled.start > 0 {
            self.buffer.copy_within(self.filled.clone(), 0);
            self.filled = 0..self.filled.len();
        }
        self.buffer.get_mut(self.filled.end..).unwrap_or_default()
    }

    /// Forgets what has come.
    pub fn discard(&mut self) {
        self.filled = 0..0;
    }

    /// Notes that `bytes` have come.
    pub fn filled(&mut self, bytes: usize) {
        self.filled.end = (self.filled.end + bytes).min(self.buffer.len());
    }

    /// The next whole packet; `None` when more bytes must come first.
    pub fn packet(&mut self) -> Result<Option<Incoming<'_>>, Error> {
        if let Some(skipped) = self.skipped.take() {
            return self.skip_on(skipped);
        }
        let bytes = self.buffer.get(self.filled.clone()).unwrap_or_default();
        let Some((header, body)) = fixed_header(bytes)? else { return Ok(None) };
        let length = header + body;
        if length > self.buffer.len() {
            self.begin_skip(header, body)?;
            return Ok(None);
        }
        if length > self.filled.len() {
            return Ok(None);
        }
        let start = self.filled.start;
        self.filled.start += length;
        let packet = self.buffer.get(start..start + length).unwrap_or_default();
        if packet.first().is_some_and(|first| first >> 4 == PUBLISH) {
            return publish(packet, header, self.version).map(|it| Some(Incoming::Publish(it)));
        }
        Ok(Some(Incoming::Other(packet)))
    }

    /// Begins to read past a packet, once its head is here.
    fn begin_skip(&mut self, header: usize, body: usize) -> Result<(), Error> {
        let bytes = self.buffer.get(self.filled.clone()).unwrap_or_default();
        let first = bytes.first().copied().unwrap_or_default();
        if first >> 4 != PUBLISH {
            return Err(Error::Protocol(format!("a packet of {body} bytes that is no PUBLISH")));
        }
        // The head is taken when it has all come; a full buffer is as much as ever comes at once.
        let full = self.filled.len() == self.buffer.len();
        let payload_at = match payload_at(bytes, header, self.version)? {
            Some(at) if at > header + body => return Err(malformed()),
            Some(at) if full || at + HEAD_BYTES <= bytes.len() => at,
            None if full => {
                return Err(Error::Protocol("a topic that is longer than the read buffer".into()));
            }
            _ => return Ok(()),
        };
        if payload_at > bytes.len() {
            return self.begin_skip_in_properties(header, body);
        }
        let keep = bytes.len().min(payload_at + HEAD_BYTES);
        let payload = bytes.get(payload_at..).unwrap_or_default();
        let mut digest = Sha256::new();
        digest.update(payload);
        self.skipped = Some(Box::new(Skipped {
            first,
            head: bytes.get(header..keep).unwrap_or_default().to_vec(),
            payload_at: payload_at - header,
            left: header + body - bytes.len(),
            bytes: (header + body - payload_at) as u64,
            digest,
        }));
        self.filled = 0..0;
        Ok(())
    }

    /// The same for a packet whose properties alone are larger than the buffer: its head is topic and
    /// packet id, with properties and payload of no length.
    fn begin_skip_in_properties(&mut self, header: usize, body: usize) -> Result<(), Error> {
        let bytes = self.buffer.get(self.filled.clone()).unwrap_or_default();
        let first = bytes.first().copied().unwrap_or_default();
        let at = payload_at(bytes, header, Version::V3)?.unwrap_or(header);
        let mut head = bytes.get(header..at).unwrap_or_default().to_vec();
        head.push(0);
        let mut digest = Sha256::new();
        digest.update(bytes.get(at..).unwrap_or_default());
        self.skipped = Some(Box::new(Skipped {
            first,
            payload_at: head.len(),
            head,
            left: header + body - bytes.len(),
            bytes: (header + body - at) as u64,
            digest,
        }));
        self.filled = 0..0;
        Ok(())
    }

    /// Reads on past a packet, and hands out what is known of it when its end has come.
    fn skip_on(&mut self, mut skipped: Box<Skipped>) -> Result<Option<Incoming<'_>>, Error> {
        let here = self.filled.len().min(skipped.left);
        let range = self.filled.start..self.filled.start + here;
        skipped.digest.update(self.buffer.get(range).unwrap_or_default());
        skipped.left -= here;
        self.filled.start += here;
        if skipped.left > 0 {
            self.skipped = Some(skipped);
            return Ok(None);
        }
        let sha256 = skipped.digest.clone().finalize().into();
        let done = self.finished.insert(skipped);
        let (head, payload) = done.head.split_at_checked(done.payload_at).ok_or_else(malformed)?;
        let mut parsed = publish_parts(done.first, head, self.version)?;
        parsed.payload = payload;
        parsed.cut = Some(Cut { bytes: done.bytes, sha256 });
        Ok(Some(Incoming::Publish(parsed)))
    }
}

/// Length of the fixed header and of what follows it; `None` when it is not all here.
fn fixed_header(bytes: &[u8]) -> Result<Option<(usize, usize)>, Error> {
    let Some(rest) = bytes.get(1..) else { return Ok(None) };
    Ok(varint(rest)?.map(|(value, length)| (1 + length, value)))
}

/// A variable byte integer (MQTT 5 §1.5.5) and its own length.
fn varint(bytes: &[u8]) -> Result<Option<(usize, usize)>, Error> {
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
fn payload_at(bytes: &[u8], header: usize, version: Version) -> Result<Option<usize>, Error> {
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

fn publish(packet: &[u8], header: usize, version: Version) -> Result<Publish<'_>, Error> {
    let first = packet.first().copied().unwrap_or_default();
    publish_parts(first, packet.get(header..).unwrap_or_default(), version)
}

/// Reads a PUBLISH without its fixed header.
fn publish_parts(first: u8, body: &[u8], version: Version) -> Result<Publish<'_>, Error> {
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

fn malformed() -> Error {
    Error::Protocol("a malformed packet".into())
}

#[cfg(test)]
mod tests {
    use super::super::packet;
    use super::*;
    use bytes::BytesMut;
    use proptest::prelude::*;
    use rand::RngExt;
    use rand::rngs::SmallRng;
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::mqttbytes::v5::{Packet, PubAck, Publish as Wire, PublishProperties};

    fn wire(topic: &str, qos: QoS, payload: Vec<u8>, properties: bool) -> Vec<u8> {
        let properties = properties.then(|| PublishProperties {
            user_properties: vec![("key".into(), "value".into())],
            ..Default::default()
        });
        let mut publish = Wire::new(topic, qos, payload, properties);
        publish.pkid = 7;
        let mut bytes = BytesMut::new();
        Packet::Publish(publish).write(&mut bytes, None).unwrap();
        bytes.to_vec()
    }

    fn cut_digest(incoming: &Incoming<'_>) -> Option<[u8; 32]> {
        let Incoming::Publish(Publish { cut, .. }) = incoming else { return None };
        cut.map(|cut| cut.sha256)
    }

    fn seen(incoming: &Incoming<'_>) -> (Vec<u8>, Vec<u8>, Option<u64>) {
        match incoming {
            Incoming::Publish(it) => {
                (it.topic.into(), it.payload.into(), it.cut.map(|it| it.bytes))
            }
            Incoming::Other(_) => (b"other".to_vec(), Vec::new(), None),
        }
    }

    /// Feeds `stream` in pieces; collects (topic, payload or head, cut length).
    fn feed(stream: &[u8], buffer: usize, piece: usize) -> Vec<(Vec<u8>, Vec<u8>, Option<u64>)> {
        let mut inbound = Inbound::new(Version::V5, buffer);
        let mut came = Vec::new();
        let mut stream = stream;
        while !stream.is_empty() {
            let space = inbound.space();
            let now = piece.min(space.len()).min(stream.len());
            assert!(now > 0, "there is always room");
            space[..now].copy_from_slice(&stream[..now]);
            stream = &stream[now..];
            inbound.filled(now);
            while let Some(incoming) = inbound.packet().unwrap() {
                came.push(seen(&incoming));
            }
        }
        came
    }

    #[test]
    fn a_packet_that_is_too_large_is_cut_and_its_neighbours_are_whole() {
        let large: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let mut stream = wire("a", QoS::AtLeastOnce, b"before".to_vec(), true);
        stream.extend(wire("large", QoS::AtLeastOnce, large.clone(), true));
        stream.extend(wire("b", QoS::AtMostOnce, b"after".to_vec(), false));
        for piece in [1, 3, 1000, 1 << 20] {
            let came = feed(&stream, 10_000, piece);
            assert_eq!(came.len(), 3, "in pieces of {piece}");
            assert_eq!(came[0], (b"a".to_vec(), b"before".to_vec(), None));
            assert_eq!((&came[1].0[..], came[1].2), (&b"large"[..], Some(100_000)));
            assert!(large.starts_with(&came[1].1), "the head is kept");
            assert_eq!(came[2], (b"b".to_vec(), b"after".to_vec(), None));
        }
        let mut inbound = Inbound::new(Version::V5, 10_000);
        let mut digest = None;
        for piece in stream.chunks(5000) {
            inbound.space()[..piece.len()].copy_from_slice(piece);
            inbound.filled(piece.len());
            while let Some(incoming) = inbound.packet().unwrap() {
                digest = cut_digest(&incoming).or(digest);
            }
        }
        assert_eq!(digest, Some(Sha256::digest(&large).into()));
    }

    #[test]
    fn properties_that_are_larger_than_the_buffer_are_read_past() {
        let properties = PublishProperties {
            user_properties: vec![("k".repeat(60_000), "v".repeat(60_000))],
            ..Default::default()
        };
        let mut publish = Wire::new("t", QoS::AtLeastOnce, b"1".to_vec(), Some(properties));
        publish.pkid = 9;
        let mut bytes = BytesMut::new();
        Packet::Publish(publish).write(&mut bytes, None).unwrap();
        bytes.extend_from_slice(&wire("b", QoS::AtMostOnce, b"after".to_vec(), false));
        let came = feed(&bytes, 10_000, 999);
        assert_eq!((&came[0].0[..], &came[0].1[..]), (&b"t"[..], &b""[..]));
        assert!(came[0].2.is_some_and(|bytes| bytes > 120_000));
        assert_eq!(came[1], (b"b".to_vec(), b"after".to_vec(), None));
    }

    #[test]
    fn a_user_property_is_found_among_all_others() {
        let properties = PublishProperties {
            payload_format_indicator: Some(1),
            message_expiry_interval: Some(9),
            response_topic: Some("r".into()),
            correlation_data: Some(b"c".to_vec().into()),
            content_type: Some("application/json".into()),
            subscription_identifiers: vec![300],
            user_properties: vec![("gateway".into(), "gw".into()), ("batch".into(), "b-1".into())],
            ..Default::default()
        };
        let mut publish = Wire::new("t", QoS::AtLeastOnce, b"1".to_vec(), Some(properties));
        publish.pkid = 9;
        let mut bytes = BytesMut::new();
        Packet::Publish(publish).write(&mut bytes, None).unwrap();
        let header = fixed_header(&bytes).unwrap().unwrap().0;
        let publish = super::publish(&bytes, header, Version::V5).unwrap();
        assert_eq!(user_property(publish.properties, "batch"), Some(&b"b-1"[..]));
        assert_eq!(user_property(publish.properties, "none"), None);
        for end in 0..publish.properties.len() {
            let found = user_property(&publish.properties[..end], "batch");
            assert!(found.is_none_or(|it| it == b"b-1"), "{found:?}");
        }
    }

    #[test]
    fn other_packets_come_whole() {
        let mut bytes = BytesMut::new();
        Packet::PubAck(PubAck::new(9, None)).write(&mut bytes, None).unwrap();
        assert_eq!(feed(&bytes, 10_000, 1), [(b"other".to_vec(), Vec::new(), None)]);
    }

    /// Everything that a broker may send, in both versions, and a packet that is larger than the buffer.
    fn streams() -> Vec<Vec<u8>> {
        let mut streams: Vec<Vec<u8>> = [
            &b"\x20\x02\x01\x00"[..],
            b"\x20\x03\x00\x87\x00",
            b"\x20\x1c\x01\x00\x19\x11\0\0\0\x09\x21\x01\0\x24\x01\x25\x00\x27\0\x10\0\0\x13\0\x3c\x2a\x01\x12\0\x01x",
            b"\x20\x0e\x00\x86\x0b\x1f\0\x02no\x1c\0\x03b:1",
            b"\x40\x02\x01\x02\x40\x03\x01\x02\x10\x40\x09\x01\x02\x97\x05\x1f\0\x02no",
            b"\x90\x03\0\x01\x01\x90\x04\0\x01\x00\x87\x90\x0c\0\x01\x08\x1f\0\x05never\x80\xb0\x04\0\x01\0\x11",
            b"\x62\x02\0\x09\x50\x03\0\x09\x92\xd0\x00\x70\x02\0\x01",
            b"\xe0\x00\xe0\x01\x8e\xe0\x09\x8b\x07\x1f\0\x04away\xf0\x00",
            b"\x30\x05\x00\x01ax1\x3b\x07\0\x01a\0\x07\0x",
        ]
        .map(<[u8]>::to_vec)
        .into();
        let sizes = [(QoS::AtMostOnce, 0), (QoS::AtLeastOnce, 300), (QoS::ExactlyOnce, 20_000)];
        let publishes = sizes.map(|(qos, bytes)| wire("a/b", qos, vec![b'7'; bytes], bytes != 300));
        streams.extend(publishes);
        let properties = PublishProperties {
            user_properties: vec![("k".repeat(9000), "v".repeat(9))],
            ..Default::default()
        };
        let mut packet = BytesMut::new();
        let publish = Wire::new("t".repeat(200), QoS::AtMostOnce, "1", Some(properties));
        Packet::Publish(publish).write(&mut packet, None).unwrap();
        streams.push(packet.to_vec());
        streams.push(streams.concat());
        streams
    }

    /// What comes out of a stream in pieces, packet by packet, and whether it ends with an error. What
    /// is held meanwhile never exceeds the buffer, and a head for each of two packets read past.
    fn digested(stream: &[u8], version: Version, rng: &mut SmallRng) -> (Vec<String>, bool) {
        const BUFFER: usize = 2 * HEAD_BYTES;
        let (mut inbound, mut came, mut rest) = (Inbound::new(version, 1), Vec::new(), stream);
        let piece = [1, 7, 500, 1 << 18][rng.random_range(0..4)];
        while !rest.is_empty() {
            let space = inbound.space();
            let now = rng.random_range(1..=piece).min(space.len()).min(rest.len());
            assert!(now > 0, "there is always room");
            space[..now].copy_from_slice(&rest[..now]);
            rest = &rest[now..];
            inbound.filled(now);
            loop {
                match inbound.packet() {
                    Ok(Some(incoming)) => came.push(looked_at(&incoming, version)),
                    Ok(None) => break,
                    Err(_) => return (came, true),
                }
            }
            let heads = [&inbound.skipped, &inbound.finished];
            let heads = heads.map(|it| it.as_ref().map_or(0, |it| it.head.capacity()));
            assert!(inbound.buffer.len() == BUFFER && heads.iter().all(|it| *it <= BUFFER));
        }
        (came, false)
    }

    /// Everything that is done with a packet of any kind.
    fn looked_at(incoming: &Incoming<'_>, version: Version) -> String {
        match incoming {
            Incoming::Publish(publish) => {
                assert!(publish.qos <= 2 && (publish.qos == 0) == (publish.packet_id == 0));
                assert!(!publish.topic.is_empty());
                let batch = user_property(publish.properties, "key");
                format!("{publish:?} {batch:?}")
            }
            Incoming::Other(bytes) => {
                let said = packet::read(bytes, version);
                let refused = packet::refusal(bytes, version);
                let told = (packet::is_takeover(bytes), packet::is_put_off(bytes, version));
                let text = format!("{said:?} {refused:?} {told:?}");
                assert!(text.len() <= 6 * bytes.len() + 600, "{} bytes said", text.len());
                text
            }
        }
    }

    #[test]
    fn any_stream_gives_the_same_packets_in_any_pieces_within_the_same_memory() {
        crate::fuzz::fuzz(20_000, &streams(), |stream, rng| {
            for version in [Version::V3, Version::V5] {
                let whole = digested(stream, version, rng);
                assert_eq!(digested(stream, version, rng), whole);
            }
            // Not cut out of a stream: whatever its length says.
            for version in [Version::V3, Version::V5] {
                looked_at(&Incoming::Other(stream), version);
            }
        });
    }

    proptest! {
        #[test]
        fn every_publish_comes_back_whatever_the_pieces(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..20),
            piece in 1_usize..700,
        ) {
            let mut stream = Vec::new();
            for (at, payload) in payloads.iter().enumerate() {
                stream.extend(wire("t", QoS::AtLeastOnce, payload.clone(), at % 2 == 0));
            }
            let came: Vec<_> = feed(&stream, 8192, piece).into_iter().map(|it| it.1).collect();
            prop_assert_eq!(came, payloads);
        }
    }
}
