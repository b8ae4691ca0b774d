//! Packets that come, but PUBLISH, by rumqttc's codec, for both protocol versions.
//!
//! What differs between the versions ends here: the rest of the program sees one [`Packet`].

use bytes::BytesMut;
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::v5;

use super::Error;
use super::answer::{Answer, answer};
use super::options::Version;
use super::reason::{code_in_words, is_passing, of_version_3, reason, remedy, words};

/// What the broker says in CONNACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Greeting {
    /// It still has our session.
    pub session_present: bool,
    /// Unacknowledged publishes it takes.
    pub receive_max: u16,
    /// The largest packet it takes.
    pub packet_bytes_max: Option<u32>,
    /// The keep-alive it wants instead of ours, in seconds; 0 is none.
    pub keep_alive: Option<u16>,
    /// The highest QoS it grants to publishers.
    pub qos_max: u8,
    /// How long it keeps the session, in seconds, where that is not what was asked for.
    pub session_expiry: Option<u32>,
    /// What it can do.
    pub features: Features,
    /// It gave us another client id than ours.
    pub renames: bool,
}

/// What a broker can do, as far as it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    /// It keeps retained messages.
    pub retained: bool,
    /// It knows shared subscriptions.
    pub shared: bool,
}

/// A packet that is no PUBLISH.
#[derive(Debug)]
pub enum Packet {
    /// The connection stands.
    ConnAck(Greeting),
    /// A publish of ours is acknowledged, or refused.
    PubAck {
        /// Of which publish.
        packet_id: u16,
        /// What the broker says.
        answer: Answer,
    },
    /// The subscription is granted with this QoS, or refused.
    SubAck(Result<u8, String>),
    /// The broker has our PUBREC for a QoS 2 message.
    PubRel {
        /// Of which message.
        packet_id: u16,
    },
    /// The broker lives.
    PingResp,
    /// The broker ends the connection.
    Disconnect(String),
    /// Anything else: of no interest.
    Other,
}

/// Reads a whole packet that is no PUBLISH.
pub fn read(bytes: &[u8], version: Version) -> Result<Packet, Error> {
    // Read here: what comes often (PUBACK), and what rumqttc takes for an error: reason codes that it
    // does not know, and the short forms of DISCONNECT.
    match bytes {
        [0x40, _, high, low, rest @ ..] => {
            let packet_id = u16::from_be_bytes([*high, *low]);
            return Ok(Packet::PubAck { packet_id, answer: answer(rest) });
        }
        [0x62, _, high, low, ..] => {
            return Ok(Packet::PubRel { packet_id: u16::from_be_bytes([*high, *low]) });
        }
        [0xe0, 0] => return Ok(Packet::Disconnect("without a reason".into())),
        [0xe0, 1, code] => return Ok(Packet::Disconnect(code_in_words(*code))),
        _ => {}
    }
    let mut stream = BytesMut::from(bytes);
    if version == Version::V3 {
        let packet = v4::Packet::read(&mut stream, usize::MAX).map_err(protocol)?;
        return Ok(read_v3(packet));
    }
    let packet = v5::Packet::read(&mut stream, None).map_err(protocol)?;
    Ok(read_v5(packet))
}

/// Whether a SUBACK, for one filter, refuses for a reason that may pass. With 3.1.1 there is one code
/// for all reasons.
pub fn is_put_off(bytes: &[u8], version: Version) -> bool {
    version == Version::V5 && bytes.last().is_some_and(|code| is_passing(*code))
}

/// Whether a packet is a DISCONNECT that says "session taken over" (MQTT 5 §3.14.2.1).
pub fn is_takeover(bytes: &[u8]) -> bool {
    bytes.first() == Some(&0xe0) && body(bytes).first() == Some(&0x8e)
}

/// What follows a packet's fixed header.
fn body(bytes: &[u8]) -> &[u8] {
    let length = bytes.iter().skip(1).take_while(|byte| **byte & 0x80 != 0).count() + 1;
    bytes.get(1 + length..).unwrap_or_default()
}

/// What a CONNACK refuses for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// In words.
    pub reason: String,
    /// Whether trying again with the same settings is pointless.
    pub permanent: bool,
    /// What to do about it, where that can be said.
    pub remedy: Option<&'static str>,
}

/// Whether a CONNACK refuses, and what for.
pub fn refusal(bytes: &[u8], version: Version) -> Result<Option<Refusal>, Error> {
    if version == Version::V5 && matches!(bytes, [0x20, 2, _, code] if *code > 0) {
        // A broker that only knows 3.1.1 answers in its own way.
        let (reason, remedy) = ("it does not know MQTT 5".to_owned(), Some("set version = 3"));
        return Ok(Some(Refusal { reason, permanent: true, remedy }));
    }
    let said = body(bytes).get(1).copied().unwrap_or_default();
    let code = if version == Version::V3 { of_version_3(said) } else { said };
    let refusal = |reason| Refusal { reason, permanent: !is_passing(code), remedy: remedy(code) };
    let mut stream = BytesMut::from(bytes);
    if version == Version::V3 {
        return match v4::Packet::read(&mut stream, usize::MAX).map_err(protocol)? {
            v4::Packet::ConnAck(ack) if ack.code != v4::ConnectReturnCode::Success => {
                Ok(Some(refusal(words(&format!("{:?}", ack.code)))))
            }
            _ => Ok(None),
        };
    }
    match v5::Packet::read(&mut stream, None).map_err(protocol)? {
        v5::Packet::ConnAck(ack) if ack.code != v5::ConnectReturnCode::Success => {
            let said = ack.properties.and_then(|it| it.reason_string);
            Ok(Some(refusal(reason(&format!("{:?}", ack.code), said))))
        }
        _ => Ok(None),
    }
}

fn read_v3(packet: v4::Packet) -> Packet {
    match packet {
        v4::Packet::ConnAck(ack) => Packet::ConnAck(Greeting {
            session_present: ack.session_present,
            receive_max: u16::MAX,
            packet_bytes_max: None,
            keep_alive: None,
            qos_max: 2,
            session_expiry: None,
            features: Features { retained: true, shared: true },
            renames: false,
        }),
        v4::Packet::SubAck(ack) => Packet::SubAck(match ack.return_codes.first() {
            Some(v4::SubscribeReasonCode::Success(qos)) => Ok(*qos as u8),
            _ => Err("not permitted, or the filter is not allowed".into()),
        }),
        v4::Packet::PingResp => Packet::PingResp,
        v4::Packet::Disconnect => Packet::Disconnect("without a reason".into()),
        _ => Packet::Other,
    }
}

fn read_v5(packet: v5::Packet) -> Packet {
    match packet {
        v5::Packet::ConnAck(ack) => {
            let said = ack.properties.as_ref();
            Packet::ConnAck(Greeting {
                session_present: ack.session_present,
                receive_max: said.and_then(|it| it.receive_max).unwrap_or(u16::MAX),
                packet_bytes_max: said.and_then(|it| it.max_packet_size),
                keep_alive: said.and_then(|it| it.server_keep_alive),
                qos_max: said.and_then(|it| it.max_qos).unwrap_or(2),
                session_expiry: said.and_then(|it| it.session_expiry_interval),
                features: Features {
                    retained: said.and_then(|it| it.retain_available) != Some(0),
                    shared: said.and_then(|it| it.shared_subscription_available) != Some(0),
                },
                renames: said.is_some_and(|it| it.assigned_client_identifier.is_some()),
            })
        }
        v5::Packet::SubAck(ack) => Packet::SubAck(match ack.return_codes.first() {
            Some(v5::SubscribeReasonCode::Success(qos)) => Ok(*qos as u8),
            Some(other) => {
                let said = ack.properties.and_then(|it| it.reason_string);
                Err(reason(&format!("{other:?}"), said))
            }
            None => Err("an answer without a code".into()),
        }),
        v5::Packet::PingResp(_) => Packet::PingResp,
        v5::Packet::Disconnect(it) => {
            let said = it.properties.and_then(|it| it.reason_string);
            Packet::Disconnect(reason(&format!("{:?}", it.reason_code), said))
        }
        _ => Packet::Other,
    }
}

pub(super) fn protocol(error: impl std::fmt::Display) -> Error {
    Error::Protocol(error.to_string().to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_says_what_the_broker_does_not_have() {
        let said = [0x20, 11, 0, 0, 8, 0x11, 0, 0, 0, 9, 0x25, 0, 0x2a];
        // Session Expiry Interval 9, Retain Available 0, and a cut-off property is an error.
        assert!(read(&said, Version::V5).is_err());
        let said = [0x20, 12, 0, 0, 9, 0x11, 0, 0, 0, 9, 0x25, 0, 0x2a, 0];
        let Packet::ConnAck(greeting) = read(&said, Version::V5).unwrap() else { panic!() };
        assert_eq!(greeting.session_expiry, Some(9));
        let Features { retained, shared } = greeting.features;
        assert!(!retained && !shared && !greeting.renames);
    }

    #[test]
    fn a_refused_connect_says_why_and_whether_for_good() {
        let of = |bytes: &[u8], version| refusal(bytes, version).unwrap();
        assert_eq!(of(&[0x20, 3, 0, 0, 0], Version::V5), None);
        assert_eq!(of(&[0x20, 2, 0, 0], Version::V3), None);
        for (code, words, permanent, remedy) in [
            (0x85, "client identifier not valid", true, "gateway.id"),
            (0x86, "bad user name password", true, "password_file"),
            (0x87, "not authorized", true, "username"),
            (0x88, "server unavailable", false, "load"),
            (0x89, "server busy", false, "load"),
            (0x8a, "banned", true, "ban"),
            (0x97, "quota exceeded", false, "limits"),
            (0x9f, "connection rate exceeded", false, "limits"),
        ] {
            let refusal = of(&[0x20, 3, 0, code, 0], Version::V5).unwrap();
            assert_eq!((refusal.reason.as_str(), refusal.permanent), (words, permanent));
            assert!(refusal.remedy.unwrap().contains(remedy), "{refusal:?}");
        }
        for (code, permanent) in [(1, true), (2, true), (3, false), (4, true), (5, true)] {
            let refusal = of(&[0x20, 2, 0, code], Version::V3).unwrap();
            assert!(refusal.permanent == permanent && refusal.remedy.is_some(), "{refusal:?}");
        }
        let old = of(&[0x20, 2, 0, 1], Version::V5).unwrap();
        assert!(old.permanent && old.remedy.unwrap().contains("version = 3"), "{old:?}");
    }

    #[test]
    fn a_takeover_and_a_passing_refusal_are_told_from_others() {
        assert!(is_takeover(&[0xe0, 1, 0x8e]) && is_takeover(&[0xe0, 2, 0x8e, 0]));
        let long = [&[0xe0, 0x85, 0x01, 0x8e][..], &[0; 132]].concat();
        assert!(is_takeover(&long));
        assert!(!is_takeover(&[0xe0, 0]) && !is_takeover(&[0xe0, 1, 0x8b]));
        for (code, passing) in [(0x80, true), (0x83, true), (0x97, true), (0x87, false), (1, false)]
        {
            assert_eq!(is_put_off(&[0x90, 4, 0, 1, 0, code], Version::V5), passing, "{code:#x}");
        }
        assert!(!is_put_off(&[0x90, 3, 0, 1, 0x80], Version::V3), "its only word for no");
    }
}
