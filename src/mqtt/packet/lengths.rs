//! Tests of every packet that a broker sends, at the lengths where a length field takes one more byte; and of
//! any legal packet, written by an encoder that shares no code with the reader (rumqttc's, and a small one for
//! what that cannot write).

use bytes::BytesMut;
use proptest::prelude::*;
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::v5;

use super::super::answer::NotTaken;
use super::super::frame::{Inbound, Incoming};
use super::*;

/// A variable byte integer as the standard's own example makes it (MQTT 5 §1.5.5).
fn varint(mut value: usize) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let digit = u8::try_from(value % 128).unwrap();
        value /= 128;
        out.push(if value > 0 { digit + 128 } else { digit });
        if value == 0 {
            return out;
        }
    }
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    [&[first][..], &varint(body.len()), body].concat()
}

fn data(text: &[u8]) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap().to_be_bytes()[..], text].concat()
}

/// A user property of this many bytes in all.
fn filling(bytes: usize) -> Vec<u8> {
    if bytes == 0 {
        return Vec::new();
    }
    [&[0x26, 0, 0][..], &data(&vec![b'x'; bytes - 5])].concat()
}

/// A body of this many bytes, with properties between `head` and `tail`.
fn body_of(remaining: usize, head: &[u8], tail: &[u8]) -> Vec<u8> {
    let left = remaining - head.len() - tail.len();
    let fits = |length: &usize| varint(left - length).len() == *length;
    let length = (1..=4).find(fits).unwrap();
    [head, &varint(left - length), &filling(left - length), tail].concat()
}

/// First byte, the bytes before the properties, the bytes behind them, and what is read.
const KINDS: [(u8, &[u8], &[u8], &str); 12] = [
    (0x20, &[1, 0], &[], "ConnAck(Greeting { session_present: true"),
    (0x40, &[1, 0, 0], &[], "PubAck { packet_id: 256, answer: Taken }"),
    (0x40, &[1, 0, 0x10], &[], "PubAck { packet_id: 256, answer: NobodyListens }"),
    (0x40, &[1, 0, 0x97], &[], "PubAck { packet_id: 256, answer: Refused(NotTaken { code: 151"),
    (0x50, &[1, 0, 0], &[], "Other"),
    (0x62, &[1, 0, 0x92], &[], "PubRel { packet_id: 256 }"),
    (0x70, &[1, 0, 0], &[], "Other"),
    (0x90, &[1, 0], &[1], "SubAck { packet_id: 256, granted: Ok(1) }"),
    (0x90, &[1, 0], &[0x87], "SubAck { packet_id: 256, granted: Err(\"not authorized\") }"),
    (0xb0, &[1, 0], &[0x11], "UnsubAck { packet_id: 256 }"),
    (0xf0, &[0x18], &[], "Other"),
    (0xe0, &[0x8b], &[], "Disconnect(\"server shutting down\")"),
];

#[test]
fn every_packet_is_read_at_every_length() {
    for (first, head, tail, expected) in KINDS {
        let remaining = [127, 128, 16_383, 16_384].map(|length| body_of(length, head, tail));
        let properties =
            [0, 127, 128].map(|length| [head, &varint(length), &filling(length), tail].concat());
        for body in remaining.iter().chain(&properties) {
            let bytes = packet(first, body);
            let came = format!("{:?}", read(&bytes, Version::V5).unwrap());
            assert!(came.starts_with(expected), "{} bytes: {came}", body.len());
            // A byte less, and one more than the length says.
            assert!(read(&bytes[..bytes.len() - 1], Version::V5).is_err());
            assert!(read(&[&bytes[..], &[0]].concat(), Version::V5).is_err());
            assert!(
                read(&packet(first, &body[..body.len() - 1]), Version::V5).is_err()
                    || body.len() < 128
            );
        }
    }
}

/// A PUBLISH of this many bytes behind its fixed header, with properties of this many where it can have some.
fn assert_publish(version: Version, remaining: usize, properties: Option<usize>) {
    let mut body = [data(b"a/b"), vec![1, 0]].concat();
    if let Some(length) = properties {
        body.extend([varint(length), filling(length)].concat());
    }
    let payload = remaining.checked_sub(body.len()).unwrap_or(7);
    body.resize(body.len() + payload, b'p');
    let bytes = [packet(0x32, &body), vec![0xd0, 0]].concat();
    let mut inbound = Inbound::new(version, 32 * 1024);
    inbound.space()[..bytes.len()].copy_from_slice(&bytes);
    inbound.filled(bytes.len());
    match inbound.packet().unwrap() {
        Some(Incoming::Publish(it)) => {
            assert_eq!((it.topic, it.qos, it.packet_id), (&b"a/b"[..], 1, 256));
            assert_eq!((it.properties.len(), it.payload.len()), (properties.unwrap_or(0), payload));
        }
        other => panic!("{version:?} {remaining} {properties:?}: {other:?}"),
    }
    assert!(matches!(inbound.packet(), Ok(Some(Incoming::Other(&[0xd0, 0])))), "what is behind it");
}

#[test]
fn a_publish_is_read_at_every_length() {
    for remaining in [127, 128, 16_383, 16_384] {
        assert_publish(Version::V3, remaining, None);
        for properties in [0, 127, 128] {
            assert_publish(Version::V5, remaining, Some(properties));
        }
    }
}

#[test]
fn a_packet_that_is_not_as_the_standard_has_it_is_an_error() {
    let twice = [data(b"a"), vec![0x1f], data(b"b")].concat();
    let twice = packet(0x40, &[&[1, 0, 0x97, 8, 0x1f][..], &twice].concat());
    for (version, bytes) in [
        (Version::V5, &[0x41, 2, 1, 0][..]),
        (Version::V5, &[0x60, 2, 1, 0]),
        (Version::V5, &[0x72, 2, 1, 0]),
        (Version::V5, &[0xd1, 0]),
        (Version::V5, &[0xd0, 1, 0]),
        // The only length that a PINGRESP has, in two bytes.
        (Version::V5, &[0xd0, 0x81, 0, 0]),
        (Version::V5, &[0x21, 3, 0, 0, 0]),
        (Version::V5, &[0x91, 4, 0, 1, 0, 1]),
        (Version::V5, &[0xb1, 4, 0, 1, 0, 0]),
        (Version::V5, &[0xe1, 0]),
        (Version::V5, &[0xf1, 0]),
        (Version::V5, &[0x40, 2, 0, 0]),
        (Version::V5, &[0x40, 1, 1]),
        (Version::V5, &[0x40, 0]),
        (Version::V5, &[0x62, 2, 0, 0]),
        (Version::V5, &[0x90, 4, 0, 0, 0, 1]),
        (Version::V5, &[0x90, 3, 0, 1, 0]),
        (Version::V5, &[0x90, 5, 0, 1, 0, 1, 1]),
        (Version::V5, &[0x90, 4, 0, 1, 0, 3]),
        (Version::V5, &[0xb0, 3, 0, 1, 0]),
        (Version::V5, &[0xb0, 5, 0, 1, 0, 0, 0]),
        (Version::V5, &[0x20, 3, 2, 0, 0]),
        (Version::V5, &[0x20, 2, 0, 0]),
        (Version::V5, &[0x20, 6, 0, 0, 3, 0x21, 0, 0]),
        (Version::V5, &[0x20, 5, 0, 0, 2, 0x01, 0]),
        (Version::V5, &[0x20, 5, 0, 0, 2, 0x7e, 0]),
        (Version::V5, &[0x40, 9, 1, 2, 0x97, 5, 0x1f, 0, 9, b'n', b'o']),
        (Version::V5, &twice),
        (Version::V5, &[0x10, 0]),
        (Version::V5, &[0xc0, 0]),
        (Version::V5, &[0x40, 0x80, 0x80, 0x80, 0x80, 1]),
        (Version::V5, &[0x40]),
        (Version::V5, &[]),
        (Version::V3, &[0x40, 3, 1, 0, 0]),
        (Version::V3, &[0x62, 4, 1, 0, 0, 0]),
        (Version::V3, &[0x90, 3, 0, 1, 3]),
        (Version::V3, &[0x20, 3, 0, 0, 0]),
        (Version::V3, &[0xb0, 3, 0, 1, 0]),
        (Version::V3, &[0xf0, 0]),
    ] {
        let came = read(bytes, version);
        assert!(matches!(came, Err(Error::Protocol(_))), "{bytes:x?}: {came:?}");
    }
    assert!(matches!(read(&[0xd0, 0], Version::V5), Ok(Packet::PingResp)));
    let read_v3 = |bytes: &[u8]| format!("{:?}", read(bytes, Version::V3).unwrap());
    assert_eq!(read_v3(&[0x40, 2, 1, 0]), "PubAck { packet_id: 256, answer: Taken }");
    assert!(read_v3(&[0x90, 3, 0, 1, 0x80]).starts_with("SubAck { packet_id: 1, granted: Err"));
    assert_eq!(read_v3(&[0xb0, 2, 0, 1]), "UnsubAck { packet_id: 1 }");
}

fn told(code: u8, said: Option<&str>) -> String {
    let words = code_in_words(code);
    said.map_or_else(|| words.clone(), |said| format!("{words} ({said})"))
}

fn by_rumqttc(packet: &v5::Packet) -> Vec<u8> {
    let mut out = BytesMut::new();
    packet.write(&mut out, None).unwrap();
    out.to_vec()
}

proptest! {
    #[test]
    fn any_acknowledgement_reads_back_the_same(
        id in 1_u16..,
        refused in any::<bool>(),
        said in prop::option::of("[a-z]{0,200}"),
        names in prop::collection::vec(("[a-z]{0,90}", "[a-z]{0,90}"), 0..4),
        at in 0_usize..4,
    ) {
        let code = if refused { 0x97 } else { 0x10 };
        let mut properties: Vec<Vec<u8>> = names
            .iter()
            .map(|(name, value)| {
                [&[0x26][..], &data(name.as_bytes()), &data(value.as_bytes())].concat()
            })
            .collect();
        if let Some(said) = &said {
            let at = at.min(properties.len());
            properties.insert(at, [&[0x1f][..], &data(said.as_bytes())].concat());
        }
        let properties = properties.concat();
        let body = [&id.to_be_bytes()[..], &[code], &varint(properties.len()), &properties].concat();
        let mut theirs = v5::PubAck::new(id, None);
        theirs.reason =
            if refused { v5::PubAckReason::QuotaExceeded } else { v5::PubAckReason::NoMatchingSubscribers };
        theirs.properties = Some(v5::PubAckProperties {
            reason_string: said.clone(),
            user_properties: names,
        });
        for bytes in [packet(0x40, &body), by_rumqttc(&v5::Packet::PubAck(theirs))] {
            let came = read(&bytes, Version::V5).unwrap();
            let Packet::PubAck { packet_id, answer } = came else { panic!("{came:?}") };
            prop_assert_eq!(packet_id, id);
            match answer {
                Answer::Refused(it) => {
                    prop_assert!(refused && it.to_string() == told(code, said.as_deref()), "{}", it);
                    prop_assert_eq!(it, NotTaken::new(code, &properties));
                }
                other => prop_assert!(!refused && other == Answer::NobodyListens),
            }
        }
    }

    #[test]
    fn any_greeting_reads_back_the_same(
        present in any::<bool>(),
        expiry in any::<Option<u32>>(),
        receive in prop::option::of(1_u16..),
        bytes_max in prop::option::of(1_u32..),
        keep_alive in any::<Option<u16>>(),
        (qos_max, retained, shared) in
            (prop::option::of(0_u8..2), prop::option::of(0_u8..2), prop::option::of(0_u8..2)),
        renamed in prop::option::of("[a-z]{1,300}"),
    ) {
        let ack = v5::ConnAck {
            session_present: present,
            code: v5::ConnectReturnCode::Success,
            properties: Some(v5::ConnAckProperties {
                session_expiry_interval: expiry,
                receive_max: receive,
                max_qos: qos_max,
                retain_available: retained,
                max_packet_size: bytes_max,
                assigned_client_identifier: renamed.clone(),
                topic_alias_max: Some(9),
                reason_string: Some("welcome".into()),
                user_properties: vec![("a".into(), "b".into())],
                wildcard_subscription_available: Some(1),
                subscription_identifiers_available: Some(1),
                shared_subscription_available: shared,
                server_keep_alive: keep_alive,
                response_information: None,
                server_reference: None,
                authentication_method: None,
                authentication_data: None,
            }),
        };
        let bytes = by_rumqttc(&v5::Packet::ConnAck(ack));
        prop_assert_eq!(renames(&bytes, "ours").unwrap(), renamed.is_some_and(|it| it != "ours"));
        let came = read(&bytes, Version::V5).unwrap();
        let Packet::ConnAck(greeting) = came else { panic!("{came:?}") };
        prop_assert_eq!(greeting, Greeting {
            session_present: present,
            receive_max: receive.unwrap_or(u16::MAX),
            packet_bytes_max: bytes_max,
            keep_alive,
            qos_max: qos_max.unwrap_or(2),
            session_expiry: expiry,
            features: Features { retained: retained != Some(0), shared: shared != Some(0) },
            renames: false,
            certificate_end: None,
        });
    }

    #[test]
    fn any_packet_of_3_1_1_reads_back_the_same(id in 1_u16.., present in any::<bool>(), qos in 0_u8..3) {
        let granted = v4::SubscribeReasonCode::Success(rumqttc::mqttbytes::qos(qos).unwrap());
        let packets = [
            v4::Packet::ConnAck(v4::ConnAck::new(v4::ConnectReturnCode::Success, present)),
            v4::Packet::PubAck(v4::PubAck::new(id)),
            v4::Packet::PubRel(v4::PubRel::new(id)),
            v4::Packet::SubAck(v4::SubAck::new(id, vec![granted])),
            v4::Packet::UnsubAck(v4::UnsubAck::new(id)),
            v4::Packet::PingResp,
        ];
        let read = packets.map(|packet| {
            let mut bytes = BytesMut::new();
            packet.write(&mut bytes, usize::MAX).unwrap();
            format!("{:?}", read(&bytes, Version::V3).unwrap())
        });
        let starts = [
            format!("ConnAck(Greeting {{ session_present: {present}"),
            format!("PubAck {{ packet_id: {id}, answer: Taken }}"),
            format!("PubRel {{ packet_id: {id} }}"),
            format!("SubAck {{ packet_id: {id}, granted: Ok({qos}) }}"),
            format!("UnsubAck {{ packet_id: {id} }}"),
            "PingResp".to_owned(),
        ];
        for (came, start) in read.iter().zip(&starts) {
            prop_assert!(came.starts_with(start), "{} {}", came, start);
        }
    }
}
