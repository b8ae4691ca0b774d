//! A blocking MQTT client on a plain socket that does nothing by itself: no pings, no
//! acknowledgements, no reconnects. Tests say what it sends.

use std::io::{self, Error, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::support::wire::{
    self, ConnAck, Connect, ConnectProperties, ConnectReturnCode, Filter, Login, Packet, PingReq,
    PubAck, Publish, QoS, Subscribe, SubscribeReasonCode, Version,
};
use crate::support::{SOON, now};

/// How to connect.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) port: u16,
    pub(crate) version: Version,
    pub(crate) client_id: String,
    pub(crate) clean: bool,
    pub(crate) keep_alive: u16,
    pub(crate) receive_maximum: Option<u16>,
    pub(crate) max_packet_size: Option<u32>,
    pub(crate) login: Option<(String, String)>,
}

impl Options {
    pub(crate) fn new(port: u16, client_id: &str) -> Self {
        Self {
            port,
            version: Version::V5,
            client_id: client_id.to_owned(),
            clean: true,
            keep_alive: 0,
            receive_maximum: None,
            max_packet_size: None,
            login: None,
        }
    }

    pub(crate) fn v3(mut self) -> Self {
        self.version = Version::V3;
        self
    }

    /// A session that outlives the connection.
    pub(crate) fn persistent(mut self) -> Self {
        self.clean = false;
        self
    }

    pub(crate) fn receive_maximum(mut self, messages: u16) -> Self {
        self.receive_maximum = Some(messages);
        self
    }

    pub(crate) fn login(mut self, user: &str, password: &str) -> Self {
        self.login = Some((user.to_owned(), password.to_owned()));
        self
    }

    fn packet(&self) -> Packet {
        let mut properties = ConnectProperties::new();
        properties.receive_maximum = self.receive_maximum;
        properties.max_packet_size = self.max_packet_size;
        properties.session_expiry_interval = (!self.clean).then_some(3600);
        let connect = Connect {
            keep_alive: self.keep_alive,
            client_id: self.client_id.clone(),
            clean_start: self.clean,
            properties: Some(properties),
        };
        let login = self.login.as_ref().map(|(user, password)| Login::new(user, password));
        Packet::Connect(connect, None, login)
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Session {
    stream: TcpStream,
    version: Version,
    inbox: BytesMut,
    outbox: BytesMut,
    timeout: Option<Duration>,
    last_id: u16,
    resumed: bool,
    /// Publishes that came while something else was waited for.
    early: Vec<Publish>,
}

impl Session {
    /// Connects; a refusal is an error of the kind `PermissionDenied`.
    pub(crate) fn open(options: &Options) -> io::Result<Self> {
        let (session, ack) = Self::knock(options)?;
        if ack.code == ConnectReturnCode::Success {
            return Ok(session);
        }
        Err(Error::new(ErrorKind::PermissionDenied, format!("refused: {:?}", ack.code)))
    }

    /// Connects and returns the answer, whatever it is.
    pub(crate) fn knock(options: &Options) -> io::Result<(Self, ConnAck)> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, options.port))?;
        stream.set_nodelay(true)?;
        let mut session = Self {
            stream,
            version: options.version,
            inbox: BytesMut::new(),
            outbox: BytesMut::new(),
            timeout: None,
            last_id: 0,
            resumed: false,
            early: Vec::new(),
        };
        session.write(&options.packet());
        session.flush()?;
        match session.receive(SOON)? {
            Some(Packet::ConnAck(ack)) => {
                session.resumed = ack.session_present;
                Ok((session, ack))
            }
            other => Err(unexpected("CONNACK", other.as_ref())),
        }
    }

    pub(crate) fn session_present(&self) -> bool {
        self.resumed
    }

    /// Adds a packet to what `flush` sends.
    pub(crate) fn write(&mut self, packet: &Packet) {
        wire::write(self.version, packet, &mut self.outbox);
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.outbox)?;
        self.outbox.clear();
        Ok(())
    }

    /// Bytes that wait for `flush`.
    pub(crate) fn unsent(&self) -> usize {
        self.outbox.len()
    }

    /// The next packet; `None` when there is none within the time.
    pub(crate) fn receive(&mut self, time: Duration) -> io::Result<Option<Packet>> {
        let end = now() + time;
        loop {
            let packet = wire::read(self.version, &mut self.inbox).map_err(Error::other)?;
            if packet.is_some() {
                return Ok(packet);
            }
            let left = end.saturating_duration_since(now());
            // The socket takes no timeout of 0; a little is as good.
            if !self.fill(left.max(Duration::from_micros(50)))? && now() >= end {
                return Ok(None);
            }
        }
    }

    /// Reads once; false if nothing came within the time.
    fn fill(&mut self, time: Duration) -> io::Result<bool> {
        if self.timeout != Some(time) {
            self.stream.set_read_timeout(Some(time))?;
            self.timeout = Some(time);
        }
        let mut chunk = [0; 16 << 10];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.inbox.extend_from_slice(&chunk[..count]);
                Ok(true)
            }
            Err(error) if is_timeout(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A packet id that was not used for long.
    pub(crate) fn fresh_id(&mut self) -> u16 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.last_id
    }

    /// Writes a PUBLISH; its packet id, 0 for `QoS` 0.
    pub(crate) fn write_publish(&mut self, topic: &str, payload: Vec<u8>, qos: u8) -> u16 {
        let id = if qos > 0 { self.fresh_id() } else { 0 };
        let qos = if qos > 0 { QoS::AtLeastOnce } else { QoS::AtMostOnce };
        let topic = Bytes::copy_from_slice(topic.as_bytes());
        let payload = Bytes::from(payload);
        self.write(&Packet::Publish(Publish {
            qos,
            topic,
            pkid: id,
            payload,
            ..Publish::default()
        }));
        id
    }

    /// Subscribes at `QoS` 1 and waits for the answer: the codes.
    pub(crate) fn subscribe(&mut self, filters: &[&str]) -> io::Result<Vec<SubscribeReasonCode>> {
        let filters = filters.iter().map(|filter| Filter::new(*filter, QoS::AtLeastOnce));
        let mut subscribe = Subscribe::new_many(filters, None);
        subscribe.pkid = self.fresh_id();
        self.write(&Packet::Subscribe(subscribe));
        self.flush()?;
        loop {
            match self.receive(SOON)? {
                Some(Packet::SubAck(ack)) => return Ok(ack.return_codes),
                Some(Packet::Publish(publish)) => self.early.push(publish),
                other => return Err(unexpected("SUBACK", other.as_ref())),
            }
        }
    }

    /// The next PUBLISH, not acknowledged; `None` when there is none within the time.
    pub(crate) fn next_publish(&mut self, time: Duration) -> io::Result<Option<Publish>> {
        if !self.early.is_empty() {
            return Ok(Some(self.early.remove(0)));
        }
        match self.receive(time)? {
            None => Ok(None),
            Some(Packet::Publish(publish)) => Ok(Some(publish)),
            other => Err(unexpected("PUBLISH", other.as_ref())),
        }
    }

    /// Acknowledges.
    pub(crate) fn ack(&mut self, id: u16) -> io::Result<()> {
        self.write(&Packet::PubAck(PubAck::new(id, None)));
        self.flush()
    }

    /// Sends PINGREQ and waits for PINGRESP: what was sent before has been read.
    pub(crate) fn ping(&mut self, time: Duration) -> io::Result<()> {
        self.write(&Packet::PingReq(PingReq));
        self.flush()?;
        loop {
            match self.receive(time)? {
                Some(Packet::PingResp(_)) => return Ok(()),
                Some(Packet::Publish(publish)) => self.early.push(publish),
                other => return Err(unexpected("PINGRESP", other.as_ref())),
            }
        }
    }
}

pub(crate) fn is_timeout(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

fn unexpected(wanted: &str, got: Option<&Packet>) -> Error {
    Error::new(ErrorKind::InvalidData, format!("no {wanted} but {got:?}"))
}
