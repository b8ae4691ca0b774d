//! Tests of cutting the byte stream.

use super::super::packet;
use super::super::publish::user_property;
use super::super::read_buffer::LargeBuffers;
use super::*;
use bytes::BytesMut;
use proptest::prelude::*;
use rand::RngExt;
use rand::rngs::SmallRng;
use std::sync::Arc;
use std::task::Waker;

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
        Incoming::Publish(it) => (it.topic.into(), it.payload.into(), it.cut.map(|it| it.bytes)),
        Incoming::Other(_) => (b"other".to_vec(), Vec::new(), None),
    }
}

type Seen = (Vec<u8>, Vec<u8>, Option<u64>);

/// Feeds `stream` in pieces; collects (topic, payload or head, cut length). Whether the buffer is its own or one that
/// is shared makes no difference.
fn feed(stream: &[u8], buffer: usize, piece: usize) -> Vec<Seen> {
    let large = Arc::new(LargeBuffers::new(1, buffer.max(2 * HEAD_BYTES)));
    let came = feed_into(Inbound::new(Version::V5, buffer), stream, piece);
    let shared = Inbound::new(Version::V5, ReadAhead::sharing(1, &large));
    assert_eq!(feed_into(shared, stream, piece), came);
    came
}

fn feed_into(mut inbound: Inbound, stream: &[u8], piece: usize) -> Vec<Seen> {
    let mut came = Vec::new();
    let mut stream = stream;
    let mut context = Context::from_waker(Waker::noop());
    while !stream.is_empty() {
        inbound.rest();
        let Poll::Ready(space) = inbound.poll_space(&mut context) else { panic!("there is one") };
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
    let publish = publish::parse(bytes[0], &bytes[header..], Version::V5).unwrap();
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

/// What is read from a stream in pieces, packet by packet, and whether it ends with an error. The memory that
/// is held never exceeds the buffer and the heads of two packets that are read past.
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
        assert!(
            inbound.buffer.packet_bytes_max() == BUFFER && heads.iter().all(|it| *it <= BUFFER)
        );
    }
    (came, false)
}

/// Does everything that the program does with a packet of any kind.
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
        // Not cut out of a stream: its length may be wrong.
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

/// With MQTT 3.1.1 nothing behind the topic would tell that it does not fit.
#[test]
fn a_topic_longer_than_the_buffer_is_an_error_at_once() {
    for version in [Version::V3, Version::V5] {
        let mut inbound = Inbound::new(version, 10_000);
        let space = inbound.space();
        space.fill(b't');
        // A PUBLISH with QoS 0 of 60,000 bytes, with a topic of 50,000.
        space[..6].copy_from_slice(&[0x30, 0xe0, 0xd4, 0x03, 0xc3, 0x50]);
        let bytes = space.len();
        inbound.filled(bytes);
        let error = inbound.packet().unwrap_err().to_string();
        assert!(error.contains("longer than the read buffer"), "{error}");
    }
}
