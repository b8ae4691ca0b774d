//! One connection of the scripted broker: what waits to be written, and how it ends.

use std::sync::Arc;

use bytes::BytesMut;
use tokio::sync::Notify;

use crate::support::wire::{self, Packet, PubAck, PubAckReason, Version};

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Open,
    /// Write what is left, then close.
    Finish,
    /// Reset at once; what is left is lost.
    Reset,
}

/// Wakes the two halves of a connection.
#[derive(Debug, Default)]
pub(super) struct Wakers {
    pub(super) reader: Notify,
    pub(super) writer: Notify,
    pub(super) end: Notify,
}

impl Wakers {
    pub(super) fn all(&self) {
        self.reader.notify_one();
        self.writer.notify_one();
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: u64,
    pub(super) client: String,
    pub(super) version: Version,
    pub(super) out: BytesMut,
    pub(super) wakers: Arc<Wakers>,
    pub(super) fate: Fate,
    pub(super) keep_alive: u16,
    /// PUBACKs withheld: packet id, index in the log, reason.
    pub(super) held: Vec<(u16, usize, PubAckReason)>,
    /// PUBACKs in `out`: indices in the log.
    pub(super) acking: Vec<usize>,
}

impl Link {
    pub(super) fn new(id: u64, wakers: Arc<Wakers>) -> Self {
        Self {
            id,
            client: String::new(),
            version: Version::V5,
            out: BytesMut::new(),
            wakers,
            fate: Fate::Open,
            keep_alive: 0,
            held: Vec::new(),
            acking: Vec::new(),
        }
    }

    pub(super) fn send(&mut self, packet: &Packet) {
        if self.fate == Fate::Open {
            wire::write(self.version, packet, &mut self.out);
            self.wakers.writer.notify_one();
        }
    }

    pub(super) fn end(&mut self, fate: Fate) {
        self.fate = fate;
        self.wakers.all();
        if fate == Fate::Reset {
            self.out.clear();
            self.acking.clear();
            self.wakers.end.notify_one();
        }
    }

    pub(super) fn answer(&mut self, id: u16, index: usize, reason: PubAckReason) {
        let mut ack = PubAck::new(id, None);
        ack.reason = reason;
        self.send(&Packet::PubAck(ack));
        self.acking.push(index);
    }
}
