//! Acknowledgements that were written before a cut and may have been lost with it.
//!
//! When a session resumes, the broker sends again what it has had no PUBACK for. If ours was on its
//! way, the message comes again though it has settled. Its packet id alone says nothing: had the broker
//! received the PUBACK, it could have given the id to a new message that happens to say the same. A
//! broker that counts its packet ids up, as Mosquitto does, gives none away within 65,535 messages, or
//! fewer where its steps are wider; so as far back as that has been seen ([`Ids`]), the message is
//! known. Before that, or of another broker, it is taken again: losing is worse than repeating.
//!
//! Many windows of acknowledgements are remembered: a broker can have far more in flight than the window
//! (Mosquitto 2.0.11 has, while it catches up), and more acknowledgements under way than messages are
//! open here. What was acknowledged before them and comes again is taken again.

use std::collections::{HashMap, VecDeque};

use super::ids::{IDS_TRUSTED_MAX, Ids};

/// The memory of one session.
#[derive(Debug)]
pub(super) struct Unheard {
    /// The last acknowledgements written in this session, by packet id and digest, oldest first.
    written: VecDeque<(u16, u64)>,
    written_max: usize,
    /// Those of earlier connections that may come again on this one, by packet id: the digest, and whether
    /// the broker cannot have given the id away since.
    lost: HashMap<u16, (u64, bool)>,
    /// The most messages that were unacknowledged at once.
    open_max: usize,
    ids: Ids,
}

impl Unheard {
    /// For a broker that is asked to have no more than `window` messages unacknowledged; remembers so
    /// many acknowledgements.
    pub(super) fn new(window: usize, remembered: usize) -> Self {
        Self {
            written: VecDeque::new(),
            written_max: remembered.clamp(1, IDS_TRUSTED_MAX / 2),
            lost: HashMap::new(),
            open_max: window,
            ids: Ids::default(),
        }
    }

    /// The session is lost, and all its ids with it.
    pub(super) fn forget(&mut self) {
        self.written.clear();
        self.lost.clear();
        self.ids = Ids::default();
    }

    /// The session resumes: what was written may come again.
    pub(super) fn resume(&mut self) {
        self.lost.clear();
        let trusted = self.ids.trusted(self.open_max);
        let doubtful = self.written.len().saturating_sub(trusted);
        let written = self.written.iter().enumerate();
        self.lost.extend(written.map(|(at, (id, digest))| (*id, (*digest, at >= doubtful))));
    }

    /// Whether the broker gives no id away that is remembered here.
    #[cfg(test)]
    pub(super) fn is_sure(&self) -> bool {
        self.ids.trusted(self.open_max) >= self.written.len().max(1)
    }

    /// How many acknowledgements the broker may not have heard, at most.
    pub(super) fn most(&self) -> usize {
        self.written.len().min(self.open_max)
    }

    /// Notes the id of a message that was sent before and is not known.
    pub(super) fn sent_before(&mut self, packet_id: u16) {
        self.ids.sent_before(packet_id);
    }

    /// Whether a broker that counts its ids up by one gives none away that is remembered here.
    pub(super) fn has_ids_enough(&self) -> bool {
        self.open_max + self.written_max <= IDS_TRUSTED_MAX
    }

    /// Notes the id of a message that was not sent before.
    pub(super) fn fresh(&mut self, packet_id: u16) {
        self.ids.fresh(packet_id);
    }

    /// Notes how many messages are unacknowledged. MQTT 3.1.1 has no word for a window, and some brokers
    /// exceed it: it is at least what was seen.
    pub(super) fn saw_open(&mut self, messages: usize) {
        self.open_max = self.open_max.max(messages);
    }

    /// Notes an acknowledgement that was written.
    pub(super) fn acknowledged(&mut self, packet_id: u16, digest: u64) {
        if self.written.len() >= self.written_max {
            self.written.pop_front();
        }
        self.written.push_back((packet_id, digest));
    }

    /// Whether a message that was sent again has been acknowledged before; once.
    pub(super) fn take(&mut self, packet_id: u16, digest: u64) -> bool {
        let known = self.lost.get(&packet_id) == Some(&(digest, true));
        known && self.lost.remove(&packet_id).is_some()
    }

    /// Whether a message may have been acknowledged before, as far as it looks: or it is a new one that
    /// says the same under an id that is used again.
    pub(super) fn may_have(&self, packet_id: u16, digest: u64) -> bool {
        self.lost.get(&packet_id).is_some_and(|(lost, _)| *lost == digest)
    }

    /// Nothing more comes again on this connection.
    pub(super) fn end_of_repeats(&mut self) {
        self.lost.clear();
    }

    /// Whether nothing is expected to come again.
    pub(super) fn is_empty(&self) -> bool {
        self.lost.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_is_known_once_and_only_of_the_same_message() {
        let mut unheard = Unheard::new(2, 4);
        for id in 1..=100 {
            unheard.fresh(id);
        }
        assert!(unheard.is_sure());
        unheard.acknowledged(100, 7);
        unheard.resume();
        assert!(!unheard.take(100, 8), "another message");
        assert!(unheard.take(100, 7));
        assert!(!unheard.take(100, 7), "sent a second time it is another message");
        assert!(unheard.is_empty());
    }

    #[test]
    fn what_is_remembered_is_bounded_and_its_ids_are_trusted_by_what_was_seen_open() {
        let mut unheard = Unheard::new(2, 4);
        for id in 1..=100 {
            unheard.fresh(id);
            unheard.acknowledged(id, 7);
        }
        assert!(unheard.is_sure() && unheard.written.len() == 4);
        assert_eq!(unheard.written.front(), Some(&(97, 7)), "the last ones");
        unheard.saw_open(50);
        assert!(!unheard.is_sure(), "a broker that has so many under way may have gone round");
    }
}
