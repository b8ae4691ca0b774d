//! The packets that arrive, except PUBLISH, for both protocol versions.
//!
//! The difference between the versions ends here: the rest of the program sees one [`Packet`]. A packet that
//! breaks the standard is an error with words, never a guess: a wrong packet id would settle a message that the
//! broker does not have. A form that the standard forbids but that has only one meaning is read. An
//! acknowledgement is read without an allocation unless it refuses.

use super::Error;
use super::answer::{Answer, answer};
use super::options::Version;
use super::properties::{
    ASSIGNED_CLIENT_ID, OF_ACKNOWLEDGEMENT, OF_AUTH, OF_CONNACK, OF_DISCONNECT, PACKET_BYTES_MAX,
    Properties, QOS_MAX, RECEIVE_MAX, RETAIN_AVAILABLE, SERVER_KEEP_ALIVE, SESSION_EXPIRY,
    SHARED_AVAILABLE, Value,
};
use super::reason::{Said, code_in_words, is_passing, of_version_3, remedy};
use super::wire::{Wire, whole};
use crate::clock::Timestamp;

/// The content of CONNACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Greeting {
    /// Session Present: the broker still has our session.
    pub session_present: bool,
    /// Receive Maximum: publishes of ours that it allows unacknowledged.
    pub receive_max: u16,
    /// Maximum Packet Size, in bytes; `None` is no limit.
    pub packet_bytes_max: Option<u32>,
    /// Server Keep Alive, in seconds, which replaces ours; 0 is none.
    pub keep_alive: Option<u16>,
    /// Maximum `QoS` of what we publish.
    pub qos_max: u8,
    /// Session Expiry Interval, in seconds, where it differs from ours.
    pub session_expiry: Option<u32>,
    pub features: Features,
    /// It assigned another client id than the one we sent ([`renames`]).
    pub renames: bool,
    /// When the first of the certificates that the broker has shown expires; not of CONNACK.
    pub certificate_end: Option<Timestamp>,
}

/// What the broker supports, as its CONNACK says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    pub retained: bool,
    pub shared: bool,
}

/// A packet other than PUBLISH.
#[derive(Debug)]
pub enum Packet {
    ConnAck(Greeting),
    /// A publish of ours is acknowledged or refused.
    PubAck {
        packet_id: u16,
        answer: Answer,
    },
    /// The granted QoS, or why the subscription was refused.
    SubAck {
        packet_id: u16,
        /// The QoS, or why it is refused.
        granted: Result<u8, String>,
    },
    PubRel {
        packet_id: u16,
    },
    /// A subscription has ended.
    UnsubAck {
        packet_id: u16,
    },
    PingResp,
    /// The broker ends the connection, for this reason.
    Disconnect(String),
    /// Any other packet: ignored.
    Other,
}

/// Reads a whole packet other than PUBLISH.
pub fn read(bytes: &[u8], version: Version) -> Result<Packet, Error> {
    let (first, mut body) = whole(bytes)?;
    match first {
        0x20 => connack(body, version).map(|(_, greeting, _)| Packet::ConnAck(greeting)),
        0x40 => {
            let (packet_id, code, properties) = acknowledgement(body, version)?;
            Ok(Packet::PubAck { packet_id, answer: answer(code, properties)? })
        }
        0x62 => {
            let (packet_id, ..) = checked(acknowledgement(body, version)?)?;
            Ok(Packet::PubRel { packet_id })
        }
        // We publish nothing with QoS 2.
        0x50 | 0x70 => {
            checked(acknowledgement(body, version)?)?;
            Ok(Packet::Other)
        }
        0x90 => suback(body, version).map(|(packet_id, code, said)| {
            let granted = match code {
                0..=2 => Ok(code),
                _ if version == Version::V3 => {
                    Err("not permitted, or the filter is not allowed".into())
                }
                _ => Err(said.beside(code)),
            };
            Packet::SubAck { packet_id, granted }
        }),
        0xb0 => unsuback(body, version).map(|packet_id| Packet::UnsubAck { packet_id }),
        0xd0 => body.end().map(|()| Packet::PingResp),
        0xe0 => disconnect(body).map(Packet::Disconnect),
        0xf0 if version == Version::V5 => {
            if !body.is_empty() {
                body.byte()?;
                Said::among(trailing(&mut body)?, OF_AUTH)?;
            }
            Ok(Packet::Other)
        }
        _ => Err(unexpected(first)),
    }
}

/// A packet that a broker does not send, or whose reserved flags are wrong (MQTT 5 §2.1.3).
fn unexpected(first: u8) -> Error {
    let (kind, flags) = (first >> 4, first & 0x0f);
    Error::Protocol(match kind {
        2 | 4..=7 | 9 | 11 | 13..=15 => {
            format!("a packet of type {kind} with the reserved flags {flags:#x}")
        }
        _ => format!("a packet of type {kind}, which is not for clients"),
    })
}

/// Packet id, code and properties of PUBACK, PUBREC, PUBREL or PUBCOMP. With MQTT 5 the code may be left
/// out, which is success, and so may the properties (§3.4.2); 3.1.1 has neither.
fn acknowledgement(mut body: Wire<'_>, version: Version) -> Result<(u16, u8, &[u8]), Error> {
    let packet_id = body.packet_id()?;
    if version == Version::V3 || body.is_empty() {
        body.end()?;
        return Ok((packet_id, 0, &[]));
    }
    Ok((packet_id, body.byte()?, trailing(&mut body)?))
}

/// The properties at the end of a packet, which may be left out together with their length.
fn trailing<'a>(body: &mut Wire<'a>) -> Result<&'a [u8], Error> {
    let properties = if body.is_empty() { &[] } else { body.counted()? };
    body.end()?;
    Ok(properties)
}

/// The same acknowledgement, if its properties can be read.
fn checked(read: (u16, u8, &[u8])) -> Result<(u16, u8, &[u8]), Error> {
    Said::among(read.2, OF_ACKNOWLEDGEMENT)?;
    Ok(read)
}

/// The code of a SUBACK and the reason text beside it. We subscribe to one filter at a time.
fn suback(mut body: Wire<'_>, version: Version) -> Result<(u16, u8, Said<'_>), Error> {
    let packet_id = body.packet_id()?;
    let mut said = Said::default();
    if version == Version::V5 {
        said = Said::among(body.counted()?, OF_ACKNOWLEDGEMENT)?;
    }
    let code = body.byte()?;
    body.end()?;
    match code {
        0..=2 | 0x80 => Ok((packet_id, code, said)),
        0x81.. if version == Version::V5 => Ok((packet_id, code, said)),
        _ => Err(Error::Protocol(format!("a SUBACK with the code {code:#04x}"))),
    }
}

/// The packet id of an UNSUBACK. Whatever its code, there is no such subscription any more.
fn unsuback(mut body: Wire<'_>, version: Version) -> Result<u16, Error> {
    let packet_id = body.packet_id()?;
    if version == Version::V5 {
        Said::among(body.counted()?, OF_ACKNOWLEDGEMENT)?;
        body.byte()?;
    }
    body.end()?;
    Ok(packet_id)
}

/// The reason why the broker ends the connection. 3.1.1 has no DISCONNECT of a server; one that is sent anyway
/// is read as MQTT 5.
fn disconnect(mut body: Wire<'_>) -> Result<String, Error> {
    if body.is_empty() {
        return Ok("without a reason".into());
    }
    let code = body.byte()?;
    Ok(Said::among(trailing(&mut body)?, OF_DISCONNECT)?.beside(code))
}

/// Whether a SUBACK for one filter refuses with a code that may pass. 3.1.1 has one code for all reasons.
pub fn is_put_off(bytes: &[u8], version: Version) -> bool {
    let code = whole(bytes).and_then(|(_, body)| suback(body, version));
    version == Version::V5 && code.is_ok_and(|(_, code, _)| code >= 0x80 && is_passing(code))
}

/// Whether a packet is a DISCONNECT "session taken over" (MQTT 5 §3.14.2.1), whatever else is in it.
pub fn is_takeover(bytes: &[u8]) -> bool {
    matches!(whole(bytes), Ok((0xe0, Wire([0x8e, ..]))))
}

/// Whether a packet is a DISCONNECT that says "packet too large".
pub fn is_too_large(bytes: &[u8]) -> bool {
    matches!(whole(bytes), Ok((0xe0, Wire([0x95, ..]))))
}

/// Whether a packet is a DISCONNECT whose reason may be about what we published (MQTT 5 §3.14.2.1): unspecified,
/// implementation specific, not authorized, topic name invalid, quota exceeded, payload format invalid.
pub fn is_about_publish(bytes: &[u8]) -> bool {
    let about = [0x80, 0x83, 0x87, 0x90, 0x97, 0x99];
    matches!(whole(bytes), Ok((0xe0, Wire([code, ..]))) if about.contains(code))
}

/// Whether a CONNACK of MQTT 5 assigns another client id than the one we sent. Some brokers repeat ours.
pub fn renames(bytes: &[u8], client_id: &str) -> Result<bool, Error> {
    let (_, mut body) = whole(bytes)?;
    body.two()?;
    let mut renamed = false;
    Properties::of(body.counted()?).each(OF_CONNACK, |id, value| {
        renamed |= id == ASSIGNED_CLIENT_ID && value != Value::Data(client_id.as_bytes());
        Ok(())
    })?;
    Ok(renamed)
}

/// Why a CONNACK refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub reason: String,
    /// Another attempt with the same settings cannot succeed.
    pub permanent: bool,
    /// What to do, where that is known.
    pub remedy: Option<&'static str>,
}

/// The reason why a CONNACK refuses; `None` if it accepts.
pub fn refusal(bytes: &[u8], version: Version) -> Result<Option<Refusal>, Error> {
    let (first, body) = whole(bytes)?;
    if first != 0x20 {
        return Ok(None);
    }
    if version == Version::V5 && matches!(body, Wire([_, 1..=5])) {
        // A broker that only supports 3.1.1 answers in its own format.
        let (reason, remedy) = ("it does not know MQTT 5".to_owned(), Some("set version = 3"));
        return Ok(Some(Refusal { reason, permanent: true, remedy }));
    }
    // Without properties, which the standard forbids; the meaning is clear.
    if let (Version::V5, Wire([_, code @ 0x80..=0xff])) = (version, body) {
        return Ok(Some(refused(*code, code_in_words(*code))));
    }
    let (code, _, said) = connack(body, version)?;
    Ok(match (version, code) {
        (_, 0) => None,
        (Version::V3, 6..) => {
            let reason = format!("return code {code}, which MQTT 3.1.1 does not have");
            Some(Refusal { reason, permanent: false, remedy: None })
        }
        (Version::V3, _) => {
            let code = of_version_3(code);
            Some(refused(code, code_in_words(code)))
        }
        (Version::V5, _) => Some(refused(code, said.beside(code))),
    })
}

fn refused(code: u8, reason: String) -> Refusal {
    Refusal { reason, permanent: !is_passing(code), remedy: remedy(code) }
}

/// The code of a CONNACK, its content, and the reason text of a refusal.
fn connack(mut body: Wire<'_>, version: Version) -> Result<(u8, Greeting, Said<'_>), Error> {
    let (flags, code) = (body.byte()?, body.byte()?);
    let mut greeting = Greeting {
        session_present: flags & 1 != 0,
        receive_max: u16::MAX,
        packet_bytes_max: None,
        keep_alive: None,
        qos_max: 2,
        session_expiry: None,
        features: Features { retained: true, shared: true },
        renames: false,
        certificate_end: None,
    };
    if flags > 1 {
        return Err(Error::Protocol(format!("a CONNACK with the flags {flags:#04x}")));
    }
    let mut said = Said::default();
    if version == Version::V3 {
        body.end()?;
        return Ok((code, greeting, said));
    }
    if body.is_empty() {
        let text = "a CONNACK without properties, as MQTT 3.1.1 has it: set version = 3";
        return Err(Error::Protocol(text.into()));
    }
    let properties = body.counted()?;
    body.end()?;
    Properties::of(properties).each(OF_CONNACK, |id, value| {
        said.note(id, value);
        greeting.note(id, value)
    })?;
    Ok((code, greeting, said))
}

impl Greeting {
    /// Keeps a property that is used here.
    fn note(&mut self, id: u8, value: Value<'_>) -> Result<(), Error> {
        let Value::Number(number) = value else { return Ok(()) };
        let two = u16::try_from(number).unwrap_or(u16::MAX);
        match id {
            RECEIVE_MAX | PACKET_BYTES_MAX if number == 0 => {
                let what =
                    if id == RECEIVE_MAX { "Receive Maximum" } else { "Maximum Packet Size" };
                return Err(Error::Protocol(format!("a {what} of 0 in CONNACK")));
            }
            SESSION_EXPIRY => self.session_expiry = Some(number),
            SERVER_KEEP_ALIVE => self.keep_alive = Some(two),
            RECEIVE_MAX => self.receive_max = two,
            // A value above 1 is forbidden, and has only one meaning.
            QOS_MAX => self.qos_max = u8::try_from(number.min(2)).unwrap_or(2),
            PACKET_BYTES_MAX => self.packet_bytes_max = Some(number),
            RETAIN_AVAILABLE => self.features.retained = number != 0,
            SHARED_AVAILABLE => self.features.shared = number != 0,
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod lengths;

#[cfg(test)]
mod tests {
    use super::super::answer::NotTaken;
    use super::*;

    #[test]
    fn a_puback_code_that_the_library_does_not_know_is_a_refusal() {
        for (bytes, expected) in [
            (&[0x40, 2, 1, 2][..], Answer::Taken),
            (&[0x40, 3, 1, 2, 0x10], Answer::NobodyListens),
            (&[0x40, 3, 1, 2, 0x02], Answer::Refused(NotTaken::new(0x02, &[]))),
            (&[0x40, 3, 1, 2, 0x95], Answer::Refused(NotTaken::new(0x95, &[]))),
            (&[0x40, 4, 1, 2, 0xee, 0], Answer::Refused(NotTaken::new(0xee, &[]))),
            (
                &[0x40, 9, 1, 2, 0x97, 5, 0x1f, 0, 2, b'n', b'o'],
                Answer::Refused(NotTaken::new(0x97, &[0x1f, 0, 2, b'n', b'o'])),
            ),
        ] {
            let answered = read(bytes, Version::V5).unwrap();
            let Packet::PubAck { packet_id, answer } = answered else { panic!("{bytes:?}") };
            assert_eq!((packet_id, answer), (0x0102, expected));
        }
        let refused = NotTaken::new(0x97, &[0x1f, 0, 2, b'n', b'o']);
        assert_eq!(refused.to_string(), "quota exceeded (no)");
    }

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
    fn a_client_id_that_is_repeated_is_none_that_was_assigned() {
        let said = [0x20, 8, 0, 0, 5, ASSIGNED_CLIENT_ID, 0, 2, b'g', b'w'];
        assert!(!renames(&said, "gw").unwrap());
        assert!(renames(&said, "gw-1").unwrap());
        assert!(!renames(&[0x20, 3, 0, 0, 0], "gw").unwrap());
    }

    #[test]
    fn a_refused_connect_says_why_and_whether_for_good() {
        let of = |bytes: &[u8], version| refusal(bytes, version).unwrap();
        assert_eq!(of(&[0x20, 3, 0, 0, 0], Version::V5), None);
        assert_eq!(of(&[0x20, 2, 0, 0], Version::V3), None);
        for (code, words, permanent, remedy) in [
            (0x85, "client identifier not valid", true, "gateway.id"),
            (0x86, "bad user name or password", true, "password_file"),
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
        let unknown = of(&[0x20, 2, 0, 6], Version::V3).unwrap();
        assert!(!unknown.permanent, "{unknown:?}");
        assert_eq!(of(&[0xd0, 0], Version::V5), None, "no CONNACK");
    }

    #[test]
    fn what_goes_on_behind_its_end_or_says_what_it_cannot_is_an_error() {
        for bytes in [
            &[0x20, 4, 0, 0, 0, 9][..],
            &[0x40, 5, 1, 2, 0, 0, 9],
            &[0x50, 6, 1, 2, 0, 2, 0x25, 1],
            &[0x62, 6, 1, 2, 0, 2, 0x25, 1],
            &[0x70, 6, 1, 2, 0, 2, 0x25, 1],
        ] {
            assert!(read(bytes, Version::V5).is_err(), "{bytes:x?}");
        }
        assert!(read(&[0x90, 3, 0, 1, 0x81], Version::V3).is_err(), "a code of MQTT 5");
        let refused = read(&[0x90, 3, 0, 1, 0x80], Version::V3).unwrap();
        let Packet::SubAck { granted: Err(why), .. } = refused else { panic!("{refused:?}") };
        assert!(why.starts_with("not permitted"), "{why}");
    }

    #[test]
    fn a_takeover_and_a_passing_refusal_are_told_from_others() {
        assert!(is_takeover(&[0xe0, 1, 0x8e]) && is_takeover(&[0xe0, 2, 0x8e, 0]));
        let long = [&[0xe0, 0x85, 0x01, 0x8e][..], &[0; 132]].concat();
        assert!(is_takeover(&long));
        assert!(!is_takeover(&[0xe0, 0]) && !is_takeover(&[0xe0, 1, 0x8b]));
        assert!(is_too_large(&[0xe0, 1, 0x95]) && !is_too_large(&[0xe0, 1, 0x8e]));
        assert!(is_about_publish(&[0xe0, 1, 0x87]) && is_about_publish(&[0xe0, 2, 0x90, 0]));
        assert!(!is_about_publish(&[0xe0, 1, 0x8b]) && !is_about_publish(&[0xe0, 0]));
        for (code, passing) in [(0x80, true), (0x83, true), (0x97, true), (0x87, false), (1, false)]
        {
            assert_eq!(is_put_off(&[0x90, 4, 0, 1, 0, code], Version::V5), passing, "{code:#x}");
        }
        assert!(!is_put_off(&[0x90, 3, 0, 1, 0x80], Version::V3), "its only word for no");
    }
}
