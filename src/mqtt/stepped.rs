//! The far end of a client that tests step by hand: what it sends arrives as bytes, and what it hears are bytes.
//! The test is the client's driver ([`super::client`]), with a clock of its own.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::{BufMut, BytesMut};

use super::Error;
use super::client::{Client, Step};
use super::frame::Inbound;
use super::options::{BrokerUrl, Options, Tls, Version};
use super::outbound::Outbound;
use super::packet::{Features, Greeting};
use crate::clock::Now;

/// A message of the far end.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    pub packet_id: u16,
    pub qos: u8,
    pub dup: bool,
    pub retain: bool,
    pub topic: &'a str,
    pub payload: &'a [u8],
}

/// What a client has sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    PubAck(u16),
    PubRec(u16),
    PubComp(u16),
    Subscribe(u16),
    Unsubscribe(u16),
}

/// The far end of one connection.
#[derive(Debug)]
pub struct Peer {
    version: Version,
    inbound: Inbound,
    outbound: Outbound,
    /// What has no room in the client's buffer yet.
    wire: BytesMut,
}

/// Of a client that connects to no broker.
pub fn options(version: Version) -> Options {
    options_of(version, "gw-1-in-é")
}

/// The same of the client of this id.
pub fn options_of(version: Version, client_id: &str) -> Options {
    Options {
        url: BrokerUrl::try_from("mqtt://broker".to_owned()).unwrap(),
        version,
        client_id: client_id.into(),
        username: None,
        password_file: None,
        keep_alive: Duration::from_secs(30),
        connect_timeout: Duration::from_secs(30),
        session_expiry: Duration::from_hours(24),
        tls: Tls::default(),
    }
}

/// What a broker says to CONNECT that has no wishes.
pub fn greeting(session_present: bool) -> Greeting {
    Greeting {
        session_present,
        receive_max: u16::MAX,
        qos_max: 2,
        packet_bytes_max: None,
        keep_alive: None,
        session_expiry: None,
        features: Features { retained: true, shared: true },
        renames: false,
        certificate_end: None,
    }
}

impl Peer {
    pub fn new(version: Version, buffer_bytes: usize) -> Self {
        let (inbound, outbound) = (Inbound::new(version, buffer_bytes), Outbound::new(version));
        Self { version, inbound, outbound, wire: BytesMut::new() }
    }

    /// Tells the client that its connection stands.
    pub fn connect(
        &mut self,
        now: Now,
        session_present: bool,
        client: &mut impl Client,
    ) -> Result<(), Error> {
        client.handle_connected(now, greeting(session_present), &mut self.outbound)
    }

    pub fn grant(&mut self, packet_id: u16, qos: u8) {
        let v5: &[u8] = if self.version == Version::V5 { &[0] } else { &[] };
        let length = u8::try_from(3 + v5.len()).expect("a SUBACK is short");
        self.wire.put_slice(&[0x90, length]);
        self.wire.put_u16(packet_id);
        self.wire.put_slice(v5);
        self.wire.put_u8(qos);
    }

    /// The far end's answer to PUBREC.
    pub fn release(&mut self, packet_id: u16) {
        self.wire.put_slice(&[0x62, 2]);
        self.wire.put_u16(packet_id);
    }

    pub fn publish(&mut self, message: &Message<'_>) {
        self.wire.put_slice(&Self::written(self.version, message));
    }

    /// A message as the far end writes it.
    pub fn written(version: Version, message: &Message<'_>) -> BytesMut {
        let Message { packet_id, qos, dup, retain, topic, payload } = *message;
        let mut body = BytesMut::new();
        body.put_u16(u16::try_from(topic.len()).expect("a topic is short"));
        body.put_slice(topic.as_bytes());
        if qos > 0 {
            body.put_u16(packet_id);
        }
        if version == Version::V5 {
            body.put_u8(0);
        }
        body.put_slice(payload);
        let mut wire = BytesMut::new();
        wire.put_u8(0x30 | u8::from(dup) << 3 | qos << 1 | u8::from(retain));
        let mut left = body.len();
        while left > 0x7f {
            wire.put_u8(u8::try_from(left & 0x7f | 0x80).expect("a byte"));
            left >>= 7;
        }
        wire.put_u8(u8::try_from(left).expect("a byte"));
        wire.put_slice(&body);
        wire
    }

    /// Lets the client look at what is not its connection's, as its driver does. Whether there was anything.
    pub fn wake(client: &mut impl Client) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        pin!(client.woken()).poll(&mut context).is_ready()
    }

    /// Lets the client go on, for as long as it reads what has come.
    pub fn step(&mut self, now: Now, client: &mut impl Client) -> Result<Step, Error> {
        loop {
            let step = client.advance(now, &mut self.inbound, &mut self.outbound)?;
            let reads = matches!(step, Step::Wait { reads: true, .. });
            if !reads || self.wire.is_empty() {
                return Ok(step);
            }
            let space = self.inbound.space();
            let bytes = self.wire.split_to(space.len().min(self.wire.len()));
            space[..bytes.len()].copy_from_slice(&bytes);
            self.inbound.filled(bytes.len());
        }
    }

    /// What the client has sent since.
    pub fn heard(&mut self) -> Vec<Heard> {
        let sent = self.outbound.take();
        let (mut heard, mut left) = (Vec::new(), &sent[..]);
        while let Some((header, body)) = super::wire::fixed_header(left).unwrap() {
            let (packet, rest) = left.split_at(header + body);
            let packet_id = u16::from_be_bytes([packet[header], packet[header + 1]]);
            heard.push(match packet[0] {
                0x40 => Heard::PubAck(packet_id),
                0x50 => Heard::PubRec(packet_id),
                0x70 => Heard::PubComp(packet_id),
                0x82 => Heard::Subscribe(packet_id),
                0xa2 => Heard::Unsubscribe(packet_id),
                first => panic!("{first:#x}"),
            });
            left = rest;
        }
        heard
    }
}
