//! Tests of the packets that we send, with a reader that knows only the standard: every byte is as it must be,
//! and no byte is there that must not be (MQTT 5 and 3.1.1, §3.1, §3.3, §3.8, §3.10).

use bytes::{Bytes, BytesMut};

use super::options::{Options, Version};
use super::outgoing::{self, Hello, Outgoing, Will};
use super::short;
use super::stepped::options;
use super::topic::Topic;

const BOTH: [Version; 2] = [Version::V3, Version::V5];

/// The bytes of a packet that are not yet read.
struct Left<'a>(&'a [u8]);

impl<'a> Left<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    fn byte(&mut self) -> u8 {
        self.take(1)[0]
    }

    fn two(&mut self) -> u16 {
        let bytes = self.take(2);
        u16::from(bytes[0]) << 8 | u16::from(bytes[1])
    }

    /// Checks that it has as few bytes as possible.
    fn varint(&mut self) -> usize {
        let (mut value, mut at) = (0, 0);
        loop {
            let byte = self.byte();
            value |= usize::from(byte & 127) << (7 * at);
            if byte < 128 {
                assert!(at == 0 || byte > 0, "a length that is longer than it need be");
                return value;
            }
            at += 1;
        }
    }

    fn text(&mut self) -> &'a str {
        let length = self.two();
        let text = std::str::from_utf8(self.take(length.into())).unwrap();
        assert!(!text.contains('\0'));
        text
    }

    /// The ids of the properties. None is repeated except user properties.
    fn properties(&mut self) -> Vec<u8> {
        let length = self.varint();
        let (mut left, mut ids) = (Left(self.take(length)), Vec::new());
        while !left.0.is_empty() {
            let id = left.byte();
            assert!(id == 0x26 || !ids.contains(&id), "{id:#x} twice");
            ids.push(id);
            match id {
                0x02 | 0x11 | 0x27 => drop(left.take(4)),
                0x21 => assert_ne!(left.two(), 0),
                0x03 => drop(left.text()),
                0x26 => drop((left.text(), left.text())),
                other => panic!("property {other:#x}"),
            }
        }
        ids
    }
}

/// The first byte, and what is behind a remaining length that ends where the packet does.
fn opened(bytes: &[u8]) -> (u8, Left<'_>) {
    let mut left = Left(bytes);
    let first = left.byte();
    assert_eq!(left.varint(), left.0.len());
    (first, left)
}

fn connect(options: &Options, clean_start: bool) -> BytesMut {
    let (session_expiry, receive_max) = (Some(7), Some(20));
    let hello =
        Hello { clean_start, session_expiry, receive_max, packet_bytes_max: None, will: None };
    let mut out = BytesMut::new();
    outgoing::connect(&mut out, options, &hello).unwrap();
    out
}

/// A CONNECT with this user name and password. A password without a user name is left out.
fn assert_connect(version: Version, user: Option<&str>, password: Option<&str>, clean_start: bool) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "secret").unwrap();
    let options = Options {
        username: user.map(str::to_owned),
        password_file: password.map(|_| file.path().to_owned()),
        ..options(version)
    };
    let password = password.filter(|_| user.is_some());
    let out = connect(&options, clean_start);
    let (first, mut left) = opened(&out);
    assert_eq!((first, left.text()), (0x10, "MQTT"));
    // No topic aliases, no problem information withheld, no authentication method.
    let (level, properties) = match version {
        Version::V3 => (4, None),
        Version::V5 => (5, Some(vec![0x11, 0x21])),
    };
    assert_eq!(left.byte(), level);
    // No will, no reserved bit. A password needs a user name.
    let login = u8::from(user.is_some()) << 7 | u8::from(password.is_some()) << 6;
    assert_eq!(left.byte(), login | u8::from(clean_start) << 1, "{user:?} {password:?}");
    assert_eq!(left.two(), 30);
    assert_eq!(properties.is_some().then(|| left.properties()), properties);
    assert_eq!(left.text(), "gw-1-in-é");
    assert_eq!(user.map(|_| left.text()), user);
    assert_eq!(password.map(|_| left.text()), password);
    assert!(left.0.is_empty());
}

#[test]
fn a_will_stands_behind_the_client_id() {
    for (version, retain) in BOTH.map(|it| [(it, false), (it, true)]).concat() {
        let (session_expiry, receive_max, packet_bytes_max) = (None, None, None);
        let topic = Topic::try_from("a/will".to_owned()).unwrap();
        let will = Some(Will { topic, payload: b"\0\xff".to_vec(), retain });
        let hello =
            Hello { clean_start: true, session_expiry, receive_max, packet_bytes_max, will };
        let mut out = BytesMut::new();
        outgoing::connect(&mut out, &options(version), &hello).unwrap();
        let (_, mut left) = opened(&out);
        left.text();
        left.byte();
        // Will QoS 1.
        assert_eq!((left.byte(), left.two()), (0b0000_1110 | u8::from(retain) << 5, 30));
        if version == Version::V5 {
            assert_eq!(left.properties(), [0; 0]);
        }
        assert_eq!(left.text(), "gw-1-in-é");
        if version == Version::V5 {
            assert_eq!(left.properties(), [0; 0], "it is published at once");
        }
        assert_eq!((left.text(), left.two(), left.0), ("a/will", 2, &b"\0\xff"[..]));
    }
}

#[test]
fn a_connect_is_as_the_standard_has_it() {
    for version in BOTH {
        for clean_start in [true, false] {
            assert_connect(version, None, None, clean_start);
            assert_connect(version, None, Some("secret"), clean_start);
            assert_connect(version, Some("gé"), None, clean_start);
            assert_connect(version, Some("gé"), Some("secret"), clean_start);
        }
    }
}

/// Reads the packet id and the empty properties; returns the rest.
fn subscription(bytes: &[u8], version: Version) -> (u8, Left<'_>) {
    let (first, mut left) = opened(bytes);
    assert!(left.two() > 0);
    if version == Version::V5 {
        assert_eq!(left.properties(), [0; 0]);
    }
    (first, left)
}

#[test]
fn subscriptions_are_as_the_standard_has_them() {
    // Retain handling with retained messages, and without.
    for (version, filter, handling) in [
        (Version::V3, "sensors/+/é", [0, 0]),
        (Version::V5, "sensors/+/é", [1, 2]),
        (Version::V3, "$share/g/#", [0, 0]),
        (Version::V5, "$share/g/#", [0, 0]),
    ] {
        for (skip_retained, handling) in [false, true].into_iter().zip(handling) {
            let mut out = BytesMut::new();
            let wanted = outgoing::Subscription { packet_id: 7, filter, qos: 1, skip_retained };
            outgoing::subscribe(&mut out, version, &wanted).unwrap();
            let (first, mut left) = subscription(&out, version);
            assert_eq!((first, left.text()), (0x82, filter));
            // QoS 1; not "no local", not "retain as published", no reserved bits.
            assert_eq!((left.byte(), left.0.len()), (1 | handling << 4, 0));
        }
        let mut out = BytesMut::new();
        outgoing::unsubscribe(&mut out, version, 8, filter).unwrap();
        let (first, mut left) = subscription(&out, version);
        assert_eq!((first, left.text(), left.0.len()), (0xa2, filter, 0));
    }
}

/// Never DUP: a publish without an answer is published anew on the next connection.
#[test]
fn a_publish_is_as_the_standard_has_it() {
    for version in BOTH {
        for (qos, bytes, retain) in
            [(0, 0, false), (1, 0, true), (0, 200, true), (1, 70_000, false)]
        {
            let message = Outgoing {
                topic: Topic::try_from("gateway/é".to_owned()).unwrap(),
                qos,
                payload: Bytes::from(vec![b'x'; bytes]),
                content_type: "application/json",
                properties: vec![("batch".into(), "b-1".into()), ("count".into(), "7".into())],
                retain,
                expiry: retain.then_some(3600),
            };
            let mut out = BytesMut::new();
            outgoing::publish(&mut out, version, 0x1234, &message).unwrap();
            let (first, mut left) = opened(&out);
            let flags = qos << 1 | u8::from(retain);
            assert_eq!((first, left.text()), (0x30 | flags, "gateway/é"));
            if qos > 0 {
                assert_eq!(left.two(), 0x1234);
            }
            if version == Version::V5 {
                // No topic alias, no subscription identifier, no response topic.
                let mut ids = left.properties();
                ids.sort_unstable();
                let expiry = retain.then_some(0x02);
                assert_eq!(ids, expiry.into_iter().chain([0x03, 0x26, 0x26]).collect::<Vec<_>>());
            }
            assert_eq!(left.0.len(), bytes);
        }
    }
}

/// None has a reason or properties: they would need a packet size that the broker may not accept.
#[test]
fn answers_are_as_the_standard_has_them() {
    for (write, first) in [
        (short::puback as fn(&mut BytesMut, u16), 0x40),
        (short::pubrec, 0x50),
        (short::pubcomp, 0x70),
    ] {
        let mut out = BytesMut::new();
        write(&mut out, 0xfffe);
        assert_eq!(out[..], [first, 2, 0xff, 0xfe]);
    }
    let mut out = BytesMut::new();
    short::pingreq(&mut out);
    short::disconnect(&mut out);
    assert_eq!(out[..], [0xc0, 0, 0xe0, 0]);
}
