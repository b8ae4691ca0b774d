//! The packets that wait to be written on one connection.
//!
//! A method that is called like a packet queues it. Nothing is written here: a turn of the connection writes
//! all that is queued. The owner of the connection bounds it: who looks at [`Outbound::backlog`] before
//! queueing more.

use bytes::BytesMut;

use super::options::Version;
use super::outgoing::{self, Outgoing};
use super::plain::{self, Plain};
use super::{Error, short};

/// The packets that wait to be written.
#[derive(Debug)]
pub struct Outbound {
    version: Version,
    pub(super) bytes: BytesMut,
}

impl Outbound {
    /// With nothing in it, for a connection of this version.
    pub fn new(version: Version) -> Self {
        Self { version, bytes: BytesMut::new() }
    }

    /// Bytes queued and not yet written.
    pub fn backlog(&self) -> usize {
        self.bytes.len()
    }

    /// Takes what is queued: for who writes it without a connection.
    #[cfg(test)]
    pub fn take(&mut self) -> BytesMut {
        self.bytes.split()
    }

    /// Queues SUBSCRIBE. Its SUBACK has the same packet id.
    pub fn subscribe(
        &mut self,
        packet_id: u16,
        filter: &str,
        qos: u8,
        skip_retained: bool,
    ) -> Result<(), Error> {
        let wanted = outgoing::Subscription { packet_id, filter, qos, skip_retained };
        outgoing::subscribe(&mut self.bytes, self.version, &wanted)
    }

    pub fn unsubscribe(&mut self, packet_id: u16, filter: &str) -> Result<(), Error> {
        outgoing::unsubscribe(&mut self.bytes, self.version, packet_id, filter)
    }

    pub fn publish(&mut self, packet_id: u16, message: &Outgoing) -> Result<(), Error> {
        outgoing::publish(&mut self.bytes, self.version, packet_id, message)
    }

    /// Queues a PUBLISH without properties, and without an allocation.
    pub fn publish_plain(&mut self, packet_id: u16, message: &Plain<'_>) -> Result<(), Error> {
        plain::publish(&mut self.bytes, self.version, packet_id, message)
    }

    /// Queues a PINGREQ beside those that keep the connection alive.
    pub fn ping(&mut self) {
        short::pingreq(&mut self.bytes);
    }

    pub fn puback(&mut self, packet_id: u16) {
        short::puback(&mut self.bytes, packet_id);
    }

    pub fn pubrec(&mut self, packet_id: u16) {
        short::pubrec(&mut self.bytes, packet_id);
    }

    pub fn pubcomp(&mut self, packet_id: u16) {
        short::pubcomp(&mut self.bytes, packet_id);
    }
}
