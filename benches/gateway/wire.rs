//! As much MQTT 3.1.1 as sensors and a consumer need, and HTTP for one metric, by hand: the load
//! side must be cheap.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

/// First bytes of packets.
const CONNECT: u8 = 0x10;
const PUBLISH: u8 = 0x30;
const PUBACK: u8 = 0x40;
const SUBSCRIBE: u8 = 0x82;

/// DISCONNECT, whole.
pub(crate) const DISCONNECT: [u8; 2] = [0xe0, 0];

/// Bytes of a PUBACK.
pub(crate) const PUBACK_BYTES: usize = 4;

/// A connection with a clean session and no keep-alive.
pub(crate) fn connect(port: u16, id: &str) -> TcpStream {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut body = Vec::new();
    put_text(&mut body, "MQTT");
    body.extend_from_slice(&[4, 2, 0, 0]);
    put_text(&mut body, id);
    stream.write_all(&packet(CONNECT, &body)).unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [0x20, 2, 0, 0], "CONNACK");
    stream
}

/// Subscribes, and waits for the answer.
pub(crate) fn subscribe(stream: &mut TcpStream, filter: &str, qos: u8) {
    let mut body = vec![0, 1];
    put_text(&mut body, filter);
    body.push(qos);
    stream.write_all(&packet(SUBSCRIBE, &body)).unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [0x90, 3, 0, 1, qos], "SUBACK");
}

/// A PUBLISH.
pub(crate) fn publish(topic: &str, qos: u8, packet_id: u16, payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    put_text(&mut body, topic);
    if qos > 0 {
        body.extend_from_slice(&packet_id.to_be_bytes());
    }
    body.extend_from_slice(payload);
    packet(PUBLISH | qos << 1, &body)
}

/// The value of a metric that has no labels.
pub(crate) fn metric(port: u16, name: &str) -> u64 {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let request = "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse::<f64>().ok();
    answer.lines().find_map(value).unwrap() as u64
}

/// Calls `payload` for each whole PUBLISH of `bytes` and puts the acknowledgement it asks for into
/// `acks`. Returns how many bytes are handled.
pub(crate) fn take(bytes: &[u8], acks: &mut Vec<u8>, mut payload: impl FnMut(&[u8])) -> usize {
    let mut at = 0;
    while let Some((first, body, next)) = next(bytes, at) {
        if first >> 4 == PUBLISH >> 4 {
            let topic_end = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
            let qos = first >> 1 & 3;
            if qos > 0 {
                acks.extend_from_slice(&[PUBACK, 2, body[topic_end], body[topic_end + 1]]);
            }
            payload(&body[topic_end + if qos > 0 { 2 } else { 0 }..]);
        }
        at = next;
    }
    at
}

/// First byte, body and end of the packet that begins at `at`, if it is whole.
fn next(bytes: &[u8], at: usize) -> Option<(u8, &[u8], usize)> {
    let first = *bytes.get(at)?;
    let (mut length, mut begin) = (0_usize, at + 1);
    loop {
        let digit = *bytes.get(begin)?;
        length |= usize::from(digit & 0x7f) << (7 * (begin - at - 1));
        begin += 1;
        if digit & 0x80 == 0 {
            break;
        }
    }
    Some((first, bytes.get(begin..begin + length)?, begin + length))
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut length = body.len();
    while length > 0x7f {
        packet.push(length as u8 | 0x80);
        length >>= 7;
    }
    packet.push(length as u8);
    packet.extend_from_slice(body);
    packet
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}
