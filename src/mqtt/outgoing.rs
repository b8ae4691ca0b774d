//! Packets that we send, written by rumqttc's codec, for both protocol versions. For PUBACK and the like see
//! `short`.

use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::QoS as QoS5;
use rumqttc::v5::mqttbytes::v5;

use super::Error;
use super::options::{Options, Version};
use super::topic::Topic;

/// Bytes that a PUBLISH has beside topic, payload and user properties: fixed header, lengths,
/// packet id, content type. Rounded up.
pub const PUBLISH_OVERHEAD_BYTES: usize = 256;

/// What we send in CONNECT.
#[derive(Debug, Clone, Default)]
pub struct Hello {
    /// Clean Start: the broker removes an earlier session.
    pub clean_start: bool,
    /// Session Expiry Interval, in seconds.
    pub session_expiry: Option<u32>,
    /// Receive Maximum: QoS 1 and 2 messages that the broker may send unacknowledged.
    pub receive_max: Option<u16>,
    /// Maximum Packet Size, in bytes: the broker drops larger ones.
    pub packet_bytes_max: Option<u32>,
    pub will: Option<Will>,
}

/// What the broker publishes, with QoS 1, where the connection ends without a DISCONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    pub topic: Topic,
    pub payload: Vec<u8>,
    pub retain: bool,
}

/// A PUBLISH of ours.
#[derive(Debug, Clone)]
pub struct Outgoing {
    pub topic: Topic,
    /// 0 or 1.
    pub qos: u8,
    pub payload: Bytes,
    /// Content Type (MQTT 5).
    pub content_type: &'static str,
    pub properties: Vec<(String, String)>,
    /// RETAIN: the broker keeps the message for later subscribers. An empty payload deletes the retained message.
    pub retain: bool,
    /// Message Expiry Interval (MQTT 5), in seconds.
    pub expiry: Option<u32>,
}

impl Outgoing {
    /// Bytes of its whole PUBLISH (MQTT 5 and 3.1.1 §3.3).
    pub fn packet_bytes(&self, version: Version) -> usize {
        let remaining = self.body_bytes(version) + self.payload.len();
        1 + length_bytes(remaining) + remaining
    }

    /// Bytes of the largest payload whose PUBLISH has at most `packet_bytes_max`; `None` if not even an empty
    /// payload fits.
    pub fn payload_bytes_max(&self, version: Version, packet_bytes_max: usize) -> Option<usize> {
        let body = self.body_bytes(version);
        (1..=4).find_map(|length| {
            let remaining = packet_bytes_max.checked_sub(1 + length)?;
            (length_bytes(remaining) <= length).then(|| remaining.checked_sub(body))?
        })
    }

    /// Bytes between the remaining length and the payload.
    fn body_bytes(&self, version: Version) -> usize {
        let id = if self.qos == 0 { 0 } else { 2 };
        let head = 2 + self.topic.as_str().len() + id;
        if version == Version::V3 {
            return head;
        }
        let user: usize =
            self.properties.iter().map(|(name, value)| 5 + name.len() + value.len()).sum();
        let expiry = if self.expiry.is_some() { 5 } else { 0 };
        let properties = expiry + 3 + self.content_type.len() + user;
        head + length_bytes(properties) + properties
    }
}

/// Bytes of a Variable Byte Integer (MQTT 5 §1.5.5).
pub(super) const fn length_bytes(length: usize) -> usize {
    match length {
        0..=127 => 1,
        128..=16_383 => 2,
        16_384..=2_097_151 => 3,
        _ => 4,
    }
}

pub fn connect(out: &mut BytesMut, options: &Options, hello: &Hello) -> Result<(), Error> {
    let keep_alive = u16::try_from(options.keep_alive.as_secs()).unwrap_or(u16::MAX);
    let login = options.login()?;
    if options.version == Version::V3 {
        let mut connect = v4::Connect::new(options.client_id.clone());
        connect.keep_alive = keep_alive;
        connect.clean_session = hello.clean_start;
        connect.login = login.map(|(username, password)| v4::Login::new(username, password));
        connect.last_will = hello.will.clone().map(|it| {
            v4::LastWill::new(it.topic.as_str(), it.payload, rumqttc::QoS::AtLeastOnce, it.retain)
        });
        return written(v4::Packet::Connect(connect).write(out, usize::MAX));
    }
    let mut properties = v5::ConnectProperties::new();
    properties.session_expiry_interval = hello.session_expiry;
    properties.receive_maximum = hello.receive_max;
    properties.max_packet_size = hello.packet_bytes_max;
    let connect = v5::Connect {
        keep_alive,
        client_id: options.client_id.clone(),
        clean_start: hello.clean_start,
        properties: Some(properties),
    };
    let login = login.map(|(username, password)| v5::Login::new(username, password));
    let will = hello.will.clone().map(|it| {
        v5::LastWill::new(it.topic.as_str(), it.payload, QoS5::AtLeastOnce, it.retain, None)
    });
    written(v5::Packet::Connect(connect, will, login).write(out, None))
}

/// What a SUBSCRIBE asks for.
#[derive(Debug, Clone, Copy)]
pub struct Subscription<'a> {
    pub packet_id: u16,
    pub filter: &'a str,
    /// 0 or 1.
    pub qos: u8,
    /// The broker is asked not to send retained messages.
    pub skip_retained: bool,
}

/// Writes SUBSCRIBE for one filter.
pub fn subscribe(
    out: &mut BytesMut,
    version: Version,
    wanted: &Subscription<'_>,
) -> Result<(), Error> {
    let Subscription { packet_id, filter, qos, skip_retained } = *wanted;
    if version == Version::V3 {
        let qos = if qos == 0 { rumqttc::QoS::AtMostOnce } else { rumqttc::QoS::AtLeastOnce };
        let mut subscribe = v4::Subscribe::new(filter, qos);
        subscribe.pkid = packet_id;
        return written(v4::Packet::Subscribe(subscribe).write(out, usize::MAX));
    }
    let mut wanted = v5::Filter::new(filter, qos5(qos));
    // A shared subscription gets no retained messages, and retain handling is a protocol error there.
    if skip_retained && !filter.starts_with("$share/") {
        wanted.retain_forward_rule = v5::RetainForwardRule::Never;
    } else if !filter.starts_with("$share/") {
        // A resumed session has had them.
        wanted.retain_forward_rule = v5::RetainForwardRule::OnNewSubscribe;
    }
    let mut subscribe = v5::Subscribe::new(wanted, None);
    subscribe.pkid = packet_id;
    written(v5::Packet::Subscribe(subscribe).write(out, None))
}

pub fn unsubscribe(
    out: &mut BytesMut,
    version: Version,
    packet_id: u16,
    filter: &str,
) -> Result<(), Error> {
    if version == Version::V3 {
        let mut unsubscribe = v4::Unsubscribe::new(filter);
        unsubscribe.pkid = packet_id;
        return written(v4::Packet::Unsubscribe(unsubscribe).write(out, usize::MAX));
    }
    let mut unsubscribe = v5::Unsubscribe::new(filter, None);
    unsubscribe.pkid = packet_id;
    written(v5::Packet::Unsubscribe(unsubscribe).write(out, None))
}

pub fn publish(
    out: &mut BytesMut,
    version: Version,
    packet_id: u16,
    message: &Outgoing,
) -> Result<(), Error> {
    if version == Version::V3 {
        let qos =
            if message.qos == 0 { rumqttc::QoS::AtMostOnce } else { rumqttc::QoS::AtLeastOnce };
        let topic = message.topic.as_str();
        let mut publish = v4::Publish::from_bytes(topic, qos, message.payload.clone());
        publish.pkid = packet_id;
        publish.retain = message.retain;
        return written(v4::Packet::Publish(publish).write(out, usize::MAX));
    }
    let properties = v5::PublishProperties {
        message_expiry_interval: message.expiry,
        content_type: Some(message.content_type.to_owned()),
        user_properties: message.properties.clone(),
        ..Default::default()
    };
    let topic = message.topic.as_str();
    let qos = qos5(message.qos);
    let mut publish = v5::Publish::new(topic, qos, message.payload.clone(), Some(properties));
    publish.pkid = packet_id;
    publish.retain = message.retain;
    written(v5::Packet::Publish(publish).write(out, None))
}

fn qos5(qos: u8) -> QoS5 {
    if qos == 0 { QoS5::AtMostOnce } else { QoS5::AtLeastOnce }
}

fn written<T, E: std::fmt::Display>(result: Result<T, E>) -> Result<(), Error> {
    result.map(|_| ()).map_err(|error| Error::Protocol(error.to_string().to_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_a_publish_are_counted_as_they_are_written() {
        let topic = Topic::try_from("a/topic".to_owned()).unwrap();
        let properties = vec![("batch".to_owned(), "b".repeat(90)), ("count".into(), "7".into())];
        let sizes = (0..300).chain([16_200, 16_300, 16_383, 16_384, 2_097_100, 2_097_152]);
        for bytes in sizes {
            for (version, qos, expiry) in [
                (Version::V3, 0, None),
                (Version::V3, 1, Some(60)),
                (Version::V5, 0, None),
                (Version::V5, 1, Some(60)),
            ] {
                let payload = Bytes::from(vec![b'x'; bytes]);
                let content_type = "application/json";
                let (topic, properties) = (topic.clone(), properties.clone());
                let retain = false;
                let mut message =
                    Outgoing { topic, qos, payload, content_type, properties, retain, expiry };
                let mut out = BytesMut::new();
                publish(&mut out, version, 1, &message).unwrap();
                assert_eq!(message.packet_bytes(version), out.len(), "{bytes} {version:?} {qos}");
                let most = message.payload_bytes_max(version, out.len());
                assert_eq!(most, Some(bytes), "{version:?} {qos}");
                message.payload = Bytes::new();
                let empty = message.packet_bytes(version);
                assert_eq!(message.payload_bytes_max(version, empty - 1), None);
            }
        }
    }

    #[test]
    fn a_retained_publish_differs_in_its_flag() {
        let topic = Topic::try_from("a".to_owned()).unwrap();
        let payload = Bytes::from_static(b"x");
        let (content_type, properties, expiry) = ("text/plain", Vec::new(), None);
        let message =
            Outgoing { topic, qos: 1, payload, content_type, properties, retain: false, expiry };
        for version in [Version::V3, Version::V5] {
            let (mut plain, mut kept) = (BytesMut::from(&b"before"[..]), BytesMut::from("before"));
            publish(&mut plain, version, 7, &message).unwrap();
            let retained = Outgoing { retain: true, ..message.clone() };
            publish(&mut kept, version, 7, &retained).unwrap();
            assert_eq!((plain[6], kept[6]), (0x32, 0x33));
            assert_eq!((&plain[..6], &plain[7..]), (&kept[..6], &kept[7..]));
        }
    }
}
