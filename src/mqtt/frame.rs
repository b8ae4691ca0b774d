//! Cuts the byte stream into packets.
//!
//! A PUBLISH is read in place (`publish`). All other packets are handed out whole, for `packet`. Format: the
//! fixed header of MQTT 5 §2.1, the same in 3.1.1.
//!
//! The read buffer is bounded (`read_buffer`). A packet that is larger does not end the connection: with a
//! persistent session it would be sent again after each reconnect, for ever. It is read past: its head is kept,
//! its payload is digested on the way, and it is handed out as a PUBLISH marked [`Publish::cut`].

use std::task::{Context, Poll};

use sha2::{Digest, Sha256};

use super::Error;
use super::options::Version;
use super::publish::{self, Cut, Publish, payload_at};
use super::read_buffer::{ReadAhead, ReadBuffer};
use super::wire::{fixed_header, malformed};

/// Packet type of PUBLISH, in the upper half of the first byte.
const PUBLISH: u8 = 3;

/// Bytes that are kept of a packet that is read past: its topic, the beginning of its properties, the head of
/// its payload.
const HEAD_BYTES: usize = 4096;

/// Bytes of topic and properties that are kept of it. Of one with more the properties are left out.
const TOPIC_AND_PROPERTIES_BYTES_MAX: usize = 64 * 1024;

/// Bytes that are kept of a packet that is read past, at most: the longest topic, and what is around it.
pub const SKIPPED_BYTES_MAX: usize = TOPIC_AND_PROPERTIES_BYTES_MAX + 2 * HEAD_BYTES;

#[derive(Debug)]
pub enum Incoming<'a> {
    Publish(Publish<'a>),
    /// Any other packet, whole.
    Other(&'a [u8]),
}

/// A packet that is being read past.
#[derive(Debug)]
struct Skipped {
    first: u8,
    head: Vec<u8>,
    payload_at: usize,
    left: usize,
    bytes: u64,
    digest: Sha256,
}

/// The bytes that have arrived and are not yet handled.
#[derive(Debug)]
pub struct Inbound {
    version: Version,
    buffer: ReadBuffer,
    skipped: Option<Box<Skipped>>,
    /// The packet that was read past last, while its caller uses it.
    finished: Option<Box<Skipped>>,
    /// Bytes of the packet that was handed out last; of one that was read past, 0.
    last: usize,
}

impl Inbound {
    /// Reads so much ahead; larger packets are read past.
    pub fn new(version: Version, ahead: impl Into<ReadAhead>) -> Self {
        let buffer = ReadBuffer::new(ahead.into(), 2 * HEAD_BYTES);
        Self { version, buffer, skipped: None, finished: None, last: 0 }
    }

    /// Where the next bytes are to be written. Never empty once [`Inbound::packet`] has returned `None`, if the
    /// buffer is the connection's own.
    pub fn space(&mut self) -> &mut [u8] {
        self.buffer.space()
    }

    /// The same, and never empty where a buffer is shared: it is waited for.
    pub(super) fn poll_space(&mut self, cx: &mut Context<'_>) -> Poll<&mut [u8]> {
        self.buffer.poll_space(cx)
    }

    /// Whether it waits for a buffer that is shared.
    pub(super) fn is_waiting(&self) -> bool {
        self.buffer.is_waiting()
    }

    /// Nothing is read for now.
    pub(super) fn rest(&mut self) {
        self.buffer.rest();
    }

    /// The bytes that have arrived and are not yet handled.
    pub(super) fn unread(&self) -> &[u8] {
        self.buffer.unread()
    }

    /// Discards what has arrived.
    pub fn discard(&mut self) {
        self.buffer.discard();
    }

    /// Notes that `bytes` have been written to [`Inbound::space`].
    pub fn filled(&mut self, bytes: usize) {
        self.buffer.filled(bytes);
    }

    /// The next whole packet; `None` when it needs more bytes.
    pub fn packet(&mut self) -> Result<Option<Incoming<'_>>, Error> {
        if let Some(skipped) = self.skipped.take() {
            return self.skip_on(skipped);
        }
        let bytes = self.unread();
        let Some((header, body)) = fixed_header(bytes)? else { return Ok(None) };
        let length = header + body;
        if length > bytes.len() {
            if length > self.buffer.packet_bytes_max() {
                self.begin_skip(header, body)?;
            }
            return Ok(None);
        }
        self.last = length;
        let packet = self.buffer.take(length);
        if let Some(first) = packet.first().copied().filter(|first| first >> 4 == PUBLISH) {
            let body = packet.get(header..).expect("a packet has its header");
            let publish = publish::parse(first, body, self.version)?;
            return Ok(Some(Incoming::Publish(publish)));
        }
        Ok(Some(Incoming::Other(packet)))
    }

    /// Puts back the packet that was handed out last: it is the next one again.
    pub fn put_back(&mut self) {
        match std::mem::take(&mut self.last) {
            0 => self.skipped = self.finished.take(),
            bytes => self.buffer.put_back(bytes),
        }
    }

    /// Begins to read past a packet, once its head has arrived.
    fn begin_skip(&mut self, header: usize, body: usize) -> Result<(), Error> {
        self.finished = None;
        let bytes = self.unread();
        let first = *bytes.first().expect("the header has arrived");
        if first >> 4 != PUBLISH {
            return Err(Error::Protocol(format!(
                "a packet of {} bytes that is no PUBLISH, and {} is the most that is read of such",
                header + body,
                self.buffer.packet_bytes_max()
            )));
        }
        // The head is taken when it is complete, or when the buffer is full: no more fits.
        let full = bytes.len() == self.buffer.packet_bytes_max();
        let payload_at = match payload_at(bytes, header, self.version)? {
            Some(at) if at > header + body => return Err(malformed()),
            Some(at) if full || at + HEAD_BYTES <= bytes.len() => at,
            None if full => return Err(topic_too_long()),
            _ => return Ok(()),
        };
        if payload_at > bytes.len().min(header + TOPIC_AND_PROPERTIES_BYTES_MAX) {
            return self.begin_skip_in_properties(header, body);
        }
        let keep = bytes.len().min(payload_at + HEAD_BYTES);
        let payload = bytes.get(payload_at..).expect("its beginning has arrived");
        let mut digest = Sha256::new();
        digest.update(payload);
        self.skipped = Some(Box::new(Skipped {
            first,
            head: bytes.get(header..keep).expect("the head has arrived").to_vec(),
            payload_at: payload_at - header,
            left: header + body - bytes.len(),
            bytes: (header + body - payload_at) as u64,
            digest,
        }));
        self.buffer.discard();
        Ok(())
    }

    /// The same for a packet whose properties alone are larger than the buffer: its head is topic and packet
    /// id, with empty properties and payload.
    fn begin_skip_in_properties(&mut self, header: usize, body: usize) -> Result<(), Error> {
        let bytes = self.unread();
        let first = *bytes.first().expect("the header has arrived");
        let at = payload_at(bytes, header, Version::V3)?.unwrap_or(header);
        let topic = bytes.get(header..at).ok_or_else(topic_too_long)?;
        // Not twice as much room as it needs: a topic has up to 64 KiB.
        let mut head = Vec::with_capacity(topic.len() + 1);
        head.extend_from_slice(topic);
        head.push(0);
        let mut digest = Sha256::new();
        digest.update(bytes.get(at..).expect("the topic has arrived"));
        self.skipped = Some(Box::new(Skipped {
            first,
            payload_at: head.len(),
            head,
            left: header + body - bytes.len(),
            bytes: (header + body - at) as u64,
            digest,
        }));
        self.buffer.discard();
        Ok(())
    }

    /// Reads on past a packet. At its end, hands out what is known of it.
    fn skip_on(&mut self, mut skipped: Box<Skipped>) -> Result<Option<Incoming<'_>>, Error> {
        let here = self.buffer.unread().len().min(skipped.left);
        skipped.digest.update(self.buffer.take(here));
        skipped.left -= here;
        if skipped.left > 0 {
            self.skipped = Some(skipped);
            return Ok(None);
        }
        self.last = 0;
        let sha256 = skipped.digest.clone().finalize().into();
        let done = self.finished.insert(skipped);
        let (head, payload) = done.head.split_at_checked(done.payload_at).ok_or_else(malformed)?;
        let mut parsed = publish::parse(done.first, head, self.version)?;
        parsed.payload = payload;
        parsed.cut = Some(Cut { bytes: done.bytes, sha256 });
        Ok(Some(Incoming::Publish(parsed)))
    }
}

fn topic_too_long() -> Error {
    Error::Protocol("a topic that is longer than the read buffer".into())
}

#[cfg(test)]
mod tests;
