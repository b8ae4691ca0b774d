//! Packets of a few bytes, written by own code. Each is the same in both versions.

use bytes::BytesMut;

/// Writes PUBACK. The shortest form, reason "success", is the same in both versions
/// (MQTT 5 §3.4.2.1).
pub(super) fn puback(out: &mut BytesMut, packet_id: u16) {
    let [high, low] = packet_id.to_be_bytes();
    out.extend_from_slice(&[0x40, 2, high, low]);
}

/// Writes PUBREC, "success" (MQTT 5 §3.5.2.1).
pub(super) fn pubrec(out: &mut BytesMut, packet_id: u16) {
    let [high, low] = packet_id.to_be_bytes();
    out.extend_from_slice(&[0x50, 2, high, low]);
}

/// Writes PUBCOMP, "success" (MQTT 5 §3.7.2.1).
pub(super) fn pubcomp(out: &mut BytesMut, packet_id: u16) {
    let [high, low] = packet_id.to_be_bytes();
    out.extend_from_slice(&[0x70, 2, high, low]);
}

/// Writes PINGREQ, the same in both versions.
pub(super) fn pingreq(out: &mut BytesMut) {
    out.extend_from_slice(&[0xc0, 0]);
}

/// Writes DISCONNECT, "normal", the same in both versions (MQTT 5 §3.14.2.1).
pub(super) fn disconnect(out: &mut BytesMut) {
    out.extend_from_slice(&[0xe0, 0]);
}

/// Writes DISCONNECT, "normal", that removes the session: a Session Expiry Interval of 0 replaces the one of
/// CONNECT (MQTT 5 §3.14.2.2.2). 3.1.1 has no such packet.
pub(super) fn disconnect_for_good(out: &mut BytesMut) {
    out.extend_from_slice(&[0xe0, 7, 0, 5, 0x11, 0, 0, 0, 0]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use rumqttc::v5::mqttbytes::v5;

    #[test]
    fn what_we_write_by_hand_is_what_the_codec_writes() {
        let (mut ours, mut theirs) = (BytesMut::new(), BytesMut::new());
        puback(&mut ours, 0x1234);
        v5::Packet::PubAck(v5::PubAck::new(0x1234, None)).write(&mut theirs, None).unwrap();
        pingreq(&mut ours);
        v5::Packet::PingReq(v5::PingReq).write(&mut theirs, None).unwrap();
        disconnect_for_good(&mut ours);
        let properties = v5::DisconnectProperties {
            session_expiry_interval: Some(0),
            reason_string: None,
            user_properties: Vec::new(),
            server_reference: None,
        };
        let reason_code = v5::DisconnectReasonCode::NormalDisconnection;
        let end = v5::Disconnect { reason_code, properties: Some(properties) };
        v5::Packet::Disconnect(end).write(&mut theirs, None).unwrap();
        assert_eq!(ours, theirs);
    }
}
