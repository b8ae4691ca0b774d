//! The messages that one connection has sent and the broker has not acknowledged, in the order of sending.
//! Pure.
//!
//! Invariants:
//! - A message keeps its packet id until it is acknowledged, also across connections: it is resent with the
//!   same id and DUP.
//! - After a reconnect all unacknowledged messages are resent, in order, before any new one.
//! - No id is in use twice: an id is used again after 65535 messages, and the oldest unacknowledged one is
//!   never that far behind.

use std::collections::VecDeque;

use crate::clock::Timestamp;
use crate::source::simulated::Planted;

/// A reading that was sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// The sensor's index in its connection.
    pub sensor: usize,
    /// The number that the sensor counts, from 1.
    pub number: u64,
    pub value: f64,
    /// Its time: when it was due, unless that is planted.
    pub at: Timestamp,
    pub planted: Planted,
    /// It is the second message of a reading.
    pub is_copy: bool,
}

/// Packet ids are 1 to this.
const IDS: u64 = 65_535;

/// The unacknowledged messages of one client.
#[derive(Debug)]
pub struct Unacknowledged<M> {
    /// With their ordinals, which count all messages; the packet id follows from the ordinal.
    waiting: VecDeque<(u64, M)>,
    /// The first of them that were sent on the current connection.
    written: usize,
    next: u64,
}

impl<M> Default for Unacknowledged<M> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), written: 0, next: 0 }
    }
}

impl<M: Clone> Unacknowledged<M> {
    /// Notes a new connection: nothing has been sent on it.
    pub fn reconnected(&mut self) {
        self.written = 0;
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The next message to resend on this connection, with its packet id, if `window` allows it.
    pub fn resend(&mut self, window: usize) -> Option<(u16, M)> {
        let (ordinal, message) = self.waiting.get(self.written)?.clone();
        if self.written >= window {
            return None;
        }
        self.written += 1;
        Some((packet_id(ordinal), message))
    }

    /// Whether a new message may be sent: all old ones are resent, and `window` allows it.
    pub fn has_room(&self, window: usize) -> bool {
        let oldest = self.waiting.front().map_or(self.next, |(ordinal, _)| *ordinal);
        let len = self.waiting.len();
        self.written == len && len < window && self.next - oldest < IDS
    }

    /// Adds a new message as sent; returns its packet id. Only if there [is room](Self::has_room).
    pub fn enter(&mut self, message: M) -> u16 {
        let ordinal = self.next;
        self.next += 1;
        self.waiting.push_back((ordinal, message));
        self.written += 1;
        packet_id(ordinal)
    }

    /// Removes the message that is acknowledged; `None` if none with this id was sent on this connection.
    pub fn acknowledge(&mut self, id: u16) -> Option<M> {
        // Brokers acknowledge in order: nearly always it is the first.
        let sent = self.waiting.iter().take(self.written);
        let at = sent.map(|(ordinal, _)| packet_id(*ordinal)).position(|it| it == id)?;
        self.written -= 1;
        self.waiting.remove(at).map(|(_, message)| message)
    }
}

fn packet_id(ordinal: u64) -> u16 {
    u16::try_from(ordinal % IDS + 1).expect("1 to 65535 fits")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reading(number: u64) -> Reading {
        let (at, planted) = (Timestamp::default(), Planted::default());
        Reading { sensor: 0, number, value: 0.0, at, planted, is_copy: false }
    }

    fn numbers(unacknowledged: &mut Unacknowledged<Reading>, window: usize) -> Vec<(u16, u64)> {
        std::iter::from_fn(|| unacknowledged.resend(window))
            .map(|(id, it)| (id, it.number))
            .collect()
    }

    #[test]
    fn after_a_reconnect_the_old_goes_first_with_its_ids_and_in_order() {
        let mut unacknowledged = Unacknowledged::default();
        let ids: Vec<_> = (1..=5).map(|n| unacknowledged.enter(reading(n))).collect();
        assert_eq!(ids, [1, 2, 3, 4, 5]);
        assert!(!unacknowledged.has_room(5) && unacknowledged.has_room(6));
        assert_eq!(unacknowledged.acknowledge(2).map(|it| it.number), Some(2));
        assert_eq!(unacknowledged.acknowledge(2), None);
        unacknowledged.reconnected();
        assert_eq!(unacknowledged.acknowledge(1), None, "not sent on this connection");
        assert!(!unacknowledged.has_room(6));
        // The broker's Receive Maximum is now smaller.
        assert_eq!(numbers(&mut unacknowledged, 2), [(1, 1), (3, 3)]);
        assert_eq!(unacknowledged.acknowledge(1).map(|it| it.number), Some(1));
        assert_eq!(numbers(&mut unacknowledged, 2), [(4, 4)]);
        assert_eq!(numbers(&mut unacknowledged, 9), [(5, 5)]);
        assert!(unacknowledged.has_room(9));
        assert_eq!(unacknowledged.enter(reading(6)), 6);
    }

    #[test]
    fn an_id_in_use_is_never_given_twice() {
        let mut unacknowledged = Unacknowledged::default();
        let first = unacknowledged.enter(reading(0));
        let mut given = 1_u64;
        while unacknowledged.has_room(10) {
            let id = unacknowledged.enter(reading(given));
            assert_ne!(id, first);
            assert!(unacknowledged.acknowledge(id).is_some());
            given += 1;
        }
        assert_eq!(given, IDS);
        assert!(unacknowledged.acknowledge(first).is_some() && unacknowledged.has_room(10));
        assert_eq!(unacknowledged.enter(reading(given)), first);
    }

    proptest! {
        #[test]
        fn every_reading_is_struck_once_whatever_happens(
            steps in prop::collection::vec((0_u8..4, 0_usize..10), 1..200),
        ) {
            let mut unacknowledged = Unacknowledged::default();
            let (mut made, mut struck) = (0, Vec::new());
            let mut wire: Vec<(u16, u64)> = Vec::new();
            for (what, which) in steps {
                match what {
                    0 if unacknowledged.has_room(8) => {
                        made += 1;
                        let id = unacknowledged.enter(reading(made));
                        wire.push((id, made));
                    }
                    1 if !wire.is_empty() => {
                        let (id, number) = wire.remove(which % wire.len());
                        prop_assert_eq!(unacknowledged.acknowledge(id).map(|it| it.number), Some(number));
                        struck.push(number);
                    }
                    2 => {
                        unacknowledged.reconnected();
                        wire.clear();
                    }
                    _ => wire.extend(unacknowledged.resend(8).map(|(id, it)| (id, it.number))),
                }
                prop_assert!(wire.is_sorted_by_key(|it| it.1));
            }
            unacknowledged.reconnected();
            let left: Vec<_> = std::iter::from_fn(|| unacknowledged.resend(99)).collect();
            prop_assert!(left.is_sorted_by_key(|it| it.1.number));
            struck.extend(left.iter().map(|it| it.1.number));
            struck.sort_unstable();
            prop_assert_eq!(struck, (1..=made).collect::<Vec<_>>());
        }
    }
}
