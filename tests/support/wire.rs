//! Packets of both protocol versions on a byte buffer.
//!
//! Everything above speaks the packets of MQTT 5 only; 3.1.1 is translated here, in both
//! directions, so that the same codec serves the scripted broker and the load clients.

use bytes::{Buf, Bytes, BytesMut};
use rumqttc::mqttbytes::{self as base, v4};
use rumqttc::v5::mqttbytes::Error as V5Error;
pub(crate) use rumqttc::v5::mqttbytes::QoS;
pub(crate) use rumqttc::v5::mqttbytes::v5::{
    ConnAck, ConnAckProperties, Connect, ConnectProperties, ConnectReturnCode, Disconnect,
    DisconnectReasonCode, Filter, Login, Packet, PingReq, PingResp, PubAck, PubAckReason, Publish,
    PublishProperties, RetainForwardRule, SubAck, Subscribe, SubscribeReasonCode, UnsubAck,
    UnsubAckReason, Unsubscribe,
};

/// A protocol version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V3,
    V5,
}

/// The version of the CONNECT at the start of `buffer`, once its protocol level is there.
pub(crate) fn version_of(buffer: &[u8]) -> Option<Version> {
    let length_bytes = 1 + buffer.iter().skip(1).take_while(|byte| **byte & 0x80 != 0).count();
    let level = buffer.get(1 + length_bytes + 6)?;
    Some(if *level == 5 { Version::V5 } else { Version::V3 })
}

/// Takes the next packet off `buffer`, if it is whole.
pub(crate) fn read(version: Version, buffer: &mut BytesMut) -> Result<Option<Packet>, String> {
    if let Some(disconnect) = read_short_disconnect(buffer) {
        return Ok(Some(Packet::Disconnect(disconnect)));
    }
    match version {
        Version::V5 => match Packet::read(buffer, None) {
            Ok(packet) => Ok(Some(packet)),
            Err(V5Error::InsufficientBytes(_)) => Ok(None),
            Err(error) => Err(error.to_string()),
        },
        Version::V3 => match v4::Packet::read(buffer, usize::MAX) {
            Ok(packet) => from_v3(packet).map(Some),
            Err(base::Error::InsufficientBytes(_)) => Ok(None),
            Err(error) => Err(error.to_string()),
        },
    }
}

/// A DISCONNECT without a reason or without properties, as most programs send it. The library's
/// reader of MQTT 5 knows neither form: it refuses the first and waits for more after the second.
fn read_short_disconnect(buffer: &mut BytesMut) -> Option<Disconnect> {
    let (length, code) = match **buffer {
        [0xe0, 0, ..] => (2, 0),
        [0xe0, 1, code, ..] => (3, code),
        _ => return None,
    };
    buffer.advance(length);
    let reason = DisconnectReasonCode::try_from(code);
    Some(Disconnect::new(reason.unwrap_or(DisconnectReasonCode::UnspecifiedError)))
}

/// Appends `packet` to `buffer`.
pub(crate) fn write(version: Version, packet: &Packet, buffer: &mut BytesMut) {
    match (version, packet) {
        // As Mosquitto does; the library would write a byte more than it announces.
        (Version::V5, Packet::Disconnect(disconnect)) => {
            buffer.extend_from_slice(&[0xe0, 1, disconnect.reason_code as u8]);
        }
        (Version::V5, packet) => {
            packet.write(buffer, None).unwrap();
        }
        (Version::V3, packet) => {
            if let Some(packet) = to_v3(packet) {
                packet.write(buffer, usize::MAX).unwrap();
            }
        }
    }
}

fn qos_from(qos: base::QoS) -> QoS {
    match qos {
        base::QoS::AtMostOnce => QoS::AtMostOnce,
        base::QoS::AtLeastOnce => QoS::AtLeastOnce,
        base::QoS::ExactlyOnce => QoS::ExactlyOnce,
    }
}

fn qos_to(qos: QoS) -> base::QoS {
    match qos {
        QoS::AtMostOnce => base::QoS::AtMostOnce,
        QoS::AtLeastOnce => base::QoS::AtLeastOnce,
        QoS::ExactlyOnce => base::QoS::ExactlyOnce,
    }
}

fn from_v3(packet: v4::Packet) -> Result<Packet, String> {
    Ok(match packet {
        v4::Packet::Connect(connect) => {
            let login = connect.login.map(|login| Login::new(login.username, login.password));
            let connect = Connect {
                keep_alive: connect.keep_alive,
                client_id: connect.client_id,
                clean_start: connect.clean_session,
                properties: None,
            };
            Packet::Connect(connect, None, login)
        }
        v4::Packet::ConnAck(ack) => Packet::ConnAck(ConnAck {
            session_present: ack.session_present,
            code: code_from(ack.code),
            properties: None,
        }),
        v4::Packet::Publish(publish) => Packet::Publish(Publish {
            dup: publish.dup,
            qos: qos_from(publish.qos),
            retain: publish.retain,
            topic: Bytes::from(publish.topic),
            pkid: publish.pkid,
            payload: publish.payload,
            properties: None,
        }),
        v4::Packet::PubAck(ack) => Packet::PubAck(PubAck::new(ack.pkid, None)),
        v4::Packet::Subscribe(subscribe) => {
            let filters = subscribe.filters.into_iter();
            let filters = filters.map(|filter| Filter::new(filter.path, qos_from(filter.qos)));
            let mut packet = Subscribe::new_many(filters, None);
            packet.pkid = subscribe.pkid;
            Packet::Subscribe(packet)
        }
        v4::Packet::SubAck(ack) => Packet::SubAck(SubAck {
            pkid: ack.pkid,
            return_codes: ack.return_codes.into_iter().map(granted_from).collect(),
            properties: None,
        }),
        v4::Packet::Unsubscribe(unsubscribe) => Packet::Unsubscribe(Unsubscribe {
            pkid: unsubscribe.pkid,
            filters: unsubscribe.topics,
            properties: None,
        }),
        v4::Packet::UnsubAck(ack) => {
            Packet::UnsubAck(UnsubAck { pkid: ack.pkid, reasons: Vec::new(), properties: None })
        }
        v4::Packet::PingReq => Packet::PingReq(PingReq),
        v4::Packet::PingResp => Packet::PingResp(PingResp),
        v4::Packet::Disconnect => {
            Packet::Disconnect(Disconnect::new(DisconnectReasonCode::NormalDisconnection))
        }
        other => return Err(format!("not part of QoS 0 and 1: {other:?}")),
    })
}

/// `None` for what 3.1.1 cannot say (a DISCONNECT of the server).
fn to_v3(packet: &Packet) -> Option<v4::Packet> {
    Some(match packet.clone() {
        Packet::Connect(connect, _, login) => {
            let mut packet = v4::Connect::new(connect.client_id);
            packet.keep_alive = connect.keep_alive;
            packet.clean_session = connect.clean_start;
            packet.login = login.map(|login| v4::Login::new(login.username, login.password));
            v4::Packet::Connect(packet)
        }
        Packet::ConnAck(ack) => {
            v4::Packet::ConnAck(v4::ConnAck::new(code_to(ack.code), ack.session_present))
        }
        Packet::Publish(publish) => {
            let topic = String::from_utf8(publish.topic.to_vec()).unwrap();
            let mut packet =
                v4::Publish::from_bytes(topic, qos_to(publish.qos), publish.payload.clone());
            packet.dup = publish.dup;
            packet.retain = publish.retain;
            packet.pkid = publish.pkid;
            v4::Packet::Publish(packet)
        }
        Packet::PubAck(ack) => v4::Packet::PubAck(v4::PubAck::new(ack.pkid)),
        Packet::Subscribe(subscribe) => {
            let filters = subscribe.filters.into_iter();
            let mut packet = v4::Subscribe::new_many(
                filters.map(|filter| v4::SubscribeFilter::new(filter.path, qos_to(filter.qos))),
            );
            packet.pkid = subscribe.pkid;
            v4::Packet::Subscribe(packet)
        }
        Packet::SubAck(ack) => {
            let codes = ack.return_codes.into_iter().map(granted_to).collect();
            v4::Packet::SubAck(v4::SubAck::new(ack.pkid, codes))
        }
        Packet::UnsubAck(ack) => v4::Packet::UnsubAck(v4::UnsubAck::new(ack.pkid)),
        Packet::PingReq(_) => v4::Packet::PingReq,
        Packet::PingResp(_) => v4::Packet::PingResp,
        Packet::Disconnect(packet)
            if packet.reason_code == DisconnectReasonCode::NormalDisconnection =>
        {
            v4::Packet::Disconnect
        }
        _ => return None,
    })
}

fn granted_from(code: v4::SubscribeReasonCode) -> SubscribeReasonCode {
    match code {
        v4::SubscribeReasonCode::Success(qos) => SubscribeReasonCode::Success(qos_from(qos)),
        v4::SubscribeReasonCode::Failure => SubscribeReasonCode::Failure,
    }
}

fn granted_to(code: SubscribeReasonCode) -> v4::SubscribeReasonCode {
    match code {
        SubscribeReasonCode::Success(qos) => v4::SubscribeReasonCode::Success(qos_to(qos)),
        _ => v4::SubscribeReasonCode::Failure,
    }
}

fn code_from(code: v4::ConnectReturnCode) -> ConnectReturnCode {
    match code {
        v4::ConnectReturnCode::Success => ConnectReturnCode::Success,
        v4::ConnectReturnCode::RefusedProtocolVersion => {
            ConnectReturnCode::UnsupportedProtocolVersion
        }
        v4::ConnectReturnCode::BadClientId => ConnectReturnCode::ClientIdentifierNotValid,
        v4::ConnectReturnCode::ServiceUnavailable => ConnectReturnCode::ServerUnavailable,
        v4::ConnectReturnCode::BadUserNamePassword => ConnectReturnCode::BadUserNamePassword,
        v4::ConnectReturnCode::NotAuthorized => ConnectReturnCode::NotAuthorized,
    }
}

fn code_to(code: ConnectReturnCode) -> v4::ConnectReturnCode {
    match code {
        ConnectReturnCode::Success => v4::ConnectReturnCode::Success,
        ConnectReturnCode::UnsupportedProtocolVersion => {
            v4::ConnectReturnCode::RefusedProtocolVersion
        }
        ConnectReturnCode::ClientIdentifierNotValid => v4::ConnectReturnCode::BadClientId,
        ConnectReturnCode::BadUserNamePassword => v4::ConnectReturnCode::BadUserNamePassword,
        ConnectReturnCode::NotAuthorized | ConnectReturnCode::Banned => {
            v4::ConnectReturnCode::NotAuthorized
        }
        _ => v4::ConnectReturnCode::ServiceUnavailable,
    }
}
