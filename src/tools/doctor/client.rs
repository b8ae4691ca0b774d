//! The client of the probe: one connection, requests, and answers with a deadline.
//!
//! Every wait has a limit: [`ANSWER_MAX`] for what the broker must answer, the caller's limit for what may not
//! arrive. Messages that arrive during a wait are kept, at most [`INBOX_MAX`].

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout_at;

use crate::clock;
use crate::limits::{CLOSE_MAX, TOPIC_SHOWN_BYTES_MAX};
use crate::mqtt::Error;
use crate::mqtt::answer::Answer;
use crate::mqtt::connection::Connection;
use crate::mqtt::frame::Incoming;
use crate::mqtt::options::{Options, Version};
use crate::mqtt::outgoing::{Hello, Outgoing};
use crate::mqtt::packet::{Greeting, Packet};
use crate::mqtt::publish::Publish;
use crate::mqtt::topic::Topic;
use crate::text;

/// The longest time for an answer of the broker. Then the connection counts as lost.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Messages that are kept until they are asked for. More are an error: no check causes more.
pub(super) const INBOX_MAX: usize = 1024;

/// Bytes of the read buffer. A larger message is read past; its length is known.
const BUFFER_BYTES: usize = 64 * 1024;

/// Bytes of a topic that are kept: more than a topic of the probe or of `$SYS` has.
const TOPIC_BYTES: usize = TOPIC_SHOWN_BYTES_MAX;

/// Bytes of a payload that are kept.
const HEAD_BYTES: usize = 64;

/// Publishes in flight, or fewer if the broker allows fewer.
const PUBLISHED_MAX: usize = 64;

/// A message that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) topic: Vec<u8>,
    pub(super) head: Vec<u8>,
    /// The length of its payload, in bytes.
    pub(super) bytes: u64,
    /// DUP: sent before.
    pub(super) dup: bool,
    /// RETAIN: the broker had retained it.
    pub(super) retain: bool,
    pub(super) packet_id: u16,
}

impl Message {
    fn of(publish: &Publish<'_>) -> Self {
        let head = publish.payload.get(..HEAD_BYTES).unwrap_or(publish.payload);
        Self {
            topic: publish.topic.get(..TOPIC_BYTES).unwrap_or(publish.topic).to_vec(),
            head: head.to_vec(),
            bytes: publish.cut.map_or(publish.payload.len() as u64, |cut| cut.bytes),
            dup: publish.dup,
            retain: publish.retain,
            packet_id: publish.packet_id,
        }
    }

    /// The number at the beginning of a numbered payload.
    pub(super) fn number(&self) -> Option<u32> {
        let digits = self.head.get(..NUMBER_DIGITS)?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }

    pub(super) fn text(&self) -> String {
        text::from_bytes(&self.head)
    }
}

/// Digits that begin a numbered payload.
const NUMBER_DIGITS: usize = 10;

/// A payload of `bytes`, at least [`NUMBER_DIGITS`], that begins with `number`.
fn numbered(number: u32, bytes: usize) -> Bytes {
    format!("{number:0NUMBER_DIGITS$}{:.<1$}", "", bytes.saturating_sub(NUMBER_DIGITS)).into()
}

/// The answers to many publishes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Published {
    /// Publishes that the broker accepted.
    pub(super) taken: u32,
    /// Publishes that the broker refused with a reason code.
    pub(super) refused: u32,
    pub(super) reason: Option<String>,
}

enum Heard {
    Message(Message),
    PubAck(u16, Answer),
    SubAck(Result<u8, String>),
    Pong,
}

/// A connected client of the probe.
#[derive(Debug)]
pub(super) struct Client {
    connection: Connection,
    version: Version,
    /// The content of CONNACK.
    pub(super) greeting: Greeting,
    inbox: VecDeque<Message>,
    last_id: u16,
}

/// A CONNECT for a session that ends with the connection.
pub(super) const fn passing() -> Hello {
    Hello {
        clean_start: true,
        session_expiry: None,
        receive_max: None,
        packet_bytes_max: None,
        will: None,
    }
}

impl Client {
    pub(super) async fn open(options: &Options, hello: &Hello) -> Result<Self, Error> {
        let (connection, greeting) = Connection::open(options, hello, BUFFER_BYTES).await?;
        let (inbox, version) = (VecDeque::new(), options.version);
        Ok(Self { connection, version, greeting, inbox, last_id: 0 })
    }

    pub(super) async fn close(self) {
        self.connection.close(CLOSE_MAX).await;
    }

    /// Subscribes with QoS 1 or 0. Returns the granted QoS, or why it was refused.
    pub(super) async fn subscribe(
        &mut self,
        filter: &str,
        qos: u8,
    ) -> Result<Result<u8, String>, Error> {
        self.connection.out().subscribe(1, filter, qos, false)?;
        loop {
            match self.answer().await? {
                Heard::SubAck(granted) => return Ok(granted),
                other => self.keep(other)?,
            }
        }
    }

    /// Publishes one message with QoS 1. Returns the broker's answer.
    pub(super) async fn publish(&mut self, topic: &Topic, payload: Bytes) -> Result<Answer, Error> {
        let id = self.next_id();
        self.connection.out().publish(id, &message(topic, payload))?;
        self.puback(id).await
    }

    /// The same with RETAIN.
    pub(super) async fn publish_retained(
        &mut self,
        topic: &Topic,
        payload: Bytes,
    ) -> Result<Answer, Error> {
        let id = self.next_id();
        let message = Outgoing { retain: true, ..message(topic, payload) };
        self.connection.out().publish(id, &message)?;
        self.puback(id).await
    }

    async fn puback(&mut self, id: u16) -> Result<Answer, Error> {
        loop {
            match self.answer().await? {
                Heard::PubAck(packet_id, answer) if packet_id == id => return Ok(answer),
                other => self.keep(other)?,
            }
        }
    }

    /// Publishes messages with these numbers and QoS 1, as many in flight as the broker allows.
    pub(super) async fn publish_numbers(
        &mut self,
        topic: &Topic,
        numbers: std::ops::Range<u32>,
        bytes: usize,
    ) -> Result<Published, Error> {
        let out_max = usize::from(self.greeting.receive_max).clamp(1, PUBLISHED_MAX);
        let mut out = BTreeMap::new();
        let mut published = Published::default();
        let mut numbers = numbers.peekable();
        while numbers.peek().is_some() || !out.is_empty() {
            while out.len() < out_max
                && let Some(number) = numbers.next()
            {
                let id = self.next_id();
                self.connection.out().publish(id, &message(topic, numbered(number, bytes)))?;
                out.insert(id, number);
            }
            match self.answer().await? {
                Heard::PubAck(id, Answer::Refused(reason)) if out.remove(&id).is_some() => {
                    published.refused += 1;
                    published.reason.get_or_insert(reason.to_string());
                }
                Heard::PubAck(id, _) if out.remove(&id).is_some() => published.taken += 1,
                other => self.keep(other)?,
            }
        }
        Ok(published)
    }

    /// The next message, if one arrives in time.
    ///
    /// # Cancel safety
    /// No message is lost.
    pub(super) async fn message(&mut self, within: Duration) -> Result<Option<Message>, Error> {
        if let Some(message) = self.inbox.pop_front() {
            return Ok(Some(message));
        }
        loop {
            match self.heard(within).await? {
                Some(Heard::Message(message)) => return Ok(Some(message)),
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }

    pub(super) fn acknowledge(&mut self, packet_id: u16) {
        if packet_id > 0 {
            self.connection.out().puback(packet_id);
        }
    }

    /// Sends a ping. Returns how long the answer took, if it arrived in time.
    pub(super) async fn ping(&mut self, within: Duration) -> Result<Option<Duration>, Error> {
        let start = clock::now().instant;
        self.connection.out().ping();
        loop {
            let left = within.saturating_sub(clock::now().instant - start);
            match self.heard(left).await? {
                Some(Heard::Pong) => return Ok(Some(clock::now().instant - start)),
                Some(other) => self.keep(other)?,
                None => return Ok(None),
            }
        }
    }

    fn keep(&mut self, heard: Heard) -> Result<(), Error> {
        if let Heard::Message(message) = heard {
            if self.inbox.len() >= INBOX_MAX {
                return Err(unpublished());
            }
            self.inbox.push_back(message);
        }
        Ok(())
    }

    async fn answer(&mut self) -> Result<Heard, Error> {
        self.heard(ANSWER_MAX).await?.ok_or(Error::TimedOut(ANSWER_MAX))
    }

    /// The next event, if it arrives in time.
    async fn heard(&mut self, within: Duration) -> Result<Option<Heard>, Error> {
        let end = clock::now().instant + within;
        loop {
            if let Some(heard) = self.taken()? {
                return Ok(Some(heard));
            }
            match timeout_at(end.into(), self.connection.turn(true)).await {
                Ok(turn) => turn?,
                Err(_) => return Ok(None),
            };
        }
    }

    /// The next event among the bytes that have arrived.
    fn taken(&mut self) -> Result<Option<Heard>, Error> {
        loop {
            let packet = match self.connection.packet()? {
                None => return Ok(None),
                Some(Incoming::Publish(publish)) => {
                    return Ok(Some(Heard::Message(Message::of(&publish))));
                }
                Some(Incoming::Other(bytes)) => Connection::read(self.version, bytes)?,
            };
            match packet {
                Packet::PubAck { packet_id, answer } => {
                    return Ok(Some(Heard::PubAck(packet_id, answer)));
                }
                Packet::SubAck { granted, .. } => return Ok(Some(Heard::SubAck(granted))),
                Packet::PingResp => return Ok(Some(Heard::Pong)),
                Packet::ConnAck(_)
                | Packet::Disconnect(_)
                | Packet::PubRel { .. }
                | Packet::UnsubAck { .. }
                | Packet::Other => {}
            }
        }
    }

    fn next_id(&mut self) -> u16 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.last_id
    }
}

/// Far more messages arrived than were published.
pub(super) fn unpublished() -> Error {
    Error::Protocol("the broker sends messages that nobody published".into())
}

/// A message of the probe.
pub(super) fn message(topic: &Topic, payload: Bytes) -> Outgoing {
    let (topic, content_type) = (topic.clone(), "application/octet-stream");
    let (properties, expiry) = (Vec::new(), None);
    Outgoing { topic, qos: 1, payload, content_type, properties, retain: false, expiry }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_message_no_more_is_kept_than_is_looked_at() {
        let long = vec![b'x'; 65_535];
        let message = Message::of(&Publish {
            dup: false,
            qos: 1,
            retain: false,
            topic: &long,
            packet_id: 1,
            properties: &[],
            payload: &long,
            cut: None,
        });
        assert_eq!((message.topic.len(), message.head.len()), (TOPIC_BYTES, HEAD_BYTES));
        assert_eq!(message.bytes, 65_535);
    }

    #[test]
    fn a_numbered_payload_has_its_length_and_gives_its_number_back() {
        for bytes in [10, 11, 64, 1000] {
            let payload = numbered(7096, bytes);
            assert_eq!(payload.len(), bytes);
            let head = payload.get(..HEAD_BYTES).unwrap_or(&payload).to_vec();
            let message = Message {
                topic: Vec::new(),
                bytes: payload.len() as u64,
                head,
                dup: false,
                retain: false,
                packet_id: 1,
            };
            assert_eq!(message.number(), Some(7096));
        }
    }
}
