//! What was published with QoS 1 on one connection and has no answer yet: packet ids, and what they stand for.

use std::collections::VecDeque;
use std::time::Instant;

/// Publications without an answer, in the order in which they were published. Whoever publishes bounds them: there must be
/// far fewer than packet ids.
#[derive(Debug)]
pub struct Unanswered<T> {
    last_id: u16,
    waiting: VecDeque<(u16, Instant, T)>,
}

impl<T> Default for Unanswered<T> {
    fn default() -> Self {
        Self { last_id: 0, waiting: VecDeque::new() }
    }
}

impl<T> Unanswered<T> {
    /// Enters a publication of now; its packet id, which is not in use.
    pub fn enter(&mut self, what: T, now: Instant) -> u16 {
        let packet_id = self.spare_id();
        self.waiting.push_back((packet_id, now, what));
        packet_id
    }

    /// A packet id that is not in use, for another packet than a publication. It comes again after all others only.
    pub fn spare_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if self.waiting.iter().all(|(id, ..)| *id != self.last_id) {
                return self.last_id;
            }
        }
    }

    /// The publication with this packet id is answered; `None`: there is none.
    pub fn strike(&mut self, packet_id: u16) -> Option<T> {
        let at = self.waiting.iter().position(|(id, ..)| *id == packet_id)?;
        self.waiting.remove(at).map(|(.., what)| what)
    }

    /// The one that has waited for longest, and since when.
    pub fn oldest(&self) -> Option<(&T, Instant)> {
        self.waiting.front().map(|(_, since, what)| (what, *since))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// All of them, in their order: the connection has ended.
    pub fn into_all(self) -> impl DoubleEndedIterator<Item = T> {
        self.waiting.into_iter().map(|(.., what)| what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    /// Ids count up, round the end, and past those that wait for their answer.
    #[test]
    fn no_packet_id_is_0_or_in_use() {
        let now = clock::now().instant;
        let mut in_flight = Unanswered { last_id: u16::MAX - 1, ..Unanswered::default() };
        in_flight.waiting.push_back((1, now, 0));
        in_flight.waiting.push_back((3, now, 0));
        let ids: Vec<u16> = (0..4).map(|count| in_flight.enter(count, now)).collect();
        assert_eq!(ids, [u16::MAX, 2, 4, 5]);
        assert_eq!(in_flight.spare_id(), 6);
        assert_eq!(in_flight.strike(2), Some(1));
        assert_eq!(in_flight.strike(2), None, "answered twice");
        assert_eq!(in_flight.into_all().collect::<Vec<_>>(), [0, 0, 0, 2, 3]);
    }
}
