//! Which reading waits for which PUBACK: the intake's memory of what the broker has not been told.
//!
//! Pure. A QoS 1 message enters with its packet id and a digest and gets an *ordinal*, which is its
//! record's way back. Ordinals grow for ever and are never used again. Acknowledgements leave in
//! the order the messages came on the connection of today, each when its record has settled safely.
//!
//! An *epoch* is one connection. When a session resumes, the broker sends everything again that it
//! has had no PUBACK for, with its packet id and DUP (MQTT 5 §4.4), before anything new:
//!
//! - A message that is *held*: as long as we have written no PUBACK for a packet id, the broker
//!   cannot have used it for another message, so this is the one we hold. It is bound to the new
//!   epoch instead of being taken twice, and acknowledged at once if its record has settled
//!   meanwhile. The digest guards against a broker that has forgotten more than it says.
//! - A message whose PUBACK was *written before the cut* and lost with it: known and only acknowledged
//!   again, where that can be told (`unheard`); taken again, where it cannot.
//!
//! What is held and does not come again was acknowledged by another client in our session, has expired, or
//! is lost with what the broker forgot: [`Ledger::missing`]. Of a group, another member may have it.
//!
//! Invariants:
//! - an entry leaves once: acknowledged, or forgotten because its session or its message is gone;
//! - only what came on the connection of today is acknowledged on it, in the order it came;
//! - a settlement for an ordinal that has left is ignored;
//! - the number of entries is bounded by the queue's places and the window, because each entry is a
//!   held record or waits behind one.

use std::collections::{HashMap, HashSet, VecDeque};

use super::unheard::Unheard;
use crate::settlement::{Outcome, Run};

/// What an entering message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entered {
    /// To be taken; its record's ordinal.
    New(u64),
    /// Held already, or settled: nothing to take.
    Known,
}

#[derive(Debug)]
struct Entry {
    packet_id: u16,
    digest: u64,
    safe: bool,
    /// Acknowledged, or given up by the broker.
    gone: bool,
}

/// The intake's ledger.
#[derive(Debug)]
pub struct Ledger {
    /// Ordinal of the first entry.
    first: u64,
    entries: VecDeque<Entry>,
    /// Entries of earlier connections that may come again, by packet id.
    unbound: HashMap<u16, u64>,
    /// What came on the connection of today and is not acknowledged, in the order it came: what the
    /// broker counts against its window.
    arrived: VecDeque<u64>,
    unheard: Unheard,
    /// Something was held when this epoch began, and nothing new has come since.
    resuming: bool,
    missing: Option<usize>,
    /// Acknowledges nothing before that is clear.
    holding: bool,
    /// Those of QoS 2 among what arrived: answered with PUBREC.
    twofold: HashSet<u16>,
}

/// How a message is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// QoS 1.
    PubAck,
    /// QoS 2, from a subscription that somebody else made in our session: the broker answers with
    /// PUBREL, which is answered at once.
    PubRec,
}

/// Whether a ledger with this window that remembers so many acknowledgements can recognise a message whose
/// acknowledgement was lost, at a broker that counts its packet ids up by one.
pub fn recognises(window: usize, remembered: usize) -> bool {
    Unheard::new(window, remembered).has_ids_enough()
}

impl Ledger {
    /// For a broker that is asked to have no more than `window` messages unacknowledged; remembers so
    /// many acknowledgements, 16,384 at most.
    pub fn new(window: usize, remembered: usize) -> Self {
        Self {
            first: 0,
            entries: VecDeque::new(),
            unbound: HashMap::new(),
            arrived: VecDeque::new(),
            unheard: Unheard::new(window, remembered),
            resuming: false,
            missing: None,
            holding: false,
            twofold: HashSet::new(),
        }
    }

    /// Begins an epoch. Returns how many messages were held for a session that is lost.
    pub fn connect(&mut self, session_present: bool) -> usize {
        self.unbound.clear();
        self.arrived.clear();
        self.twofold.clear();
        (self.resuming, self.missing, self.holding) = (false, None, false);
        let open = self.entries.iter().filter(|entry| !entry.gone).count();
        if !session_present {
            self.first += self.entries.len() as u64;
            self.entries.clear();
            self.unheard.forget();
            return open;
        }
        let held = (self.first..).zip(&self.entries).filter(|(_, entry)| !entry.gone);
        let held: Vec<_> = held.map(|(ordinal, entry)| (entry.packet_id, ordinal)).collect();
        for (packet_id, ordinal) in held {
            // Two under one id: the broker had given the older one up.
            if let Some(older) = self.unbound.insert(packet_id, ordinal) {
                self.give_up(older);
            }
        }
        self.unheard.resume();
        self.resuming = !self.unbound.is_empty();
        0
    }

    /// Of what was held when this session was resumed, how much has not come again; once, as soon as
    /// that is clear.
    pub fn missing(&mut self) -> Option<usize> {
        self.missing.take()
    }

    /// Acknowledges nothing until [`Self::missing`] is clear: the session may be another client's by now,
    /// and what we acknowledge is missing there.
    pub fn hold(&mut self) {
        self.holding = self.resuming;
    }

    /// Whether acknowledgements are held back.
    pub fn is_holding(&self) -> bool {
        self.holding
    }

    /// Holds back nothing any more.
    pub fn release(&mut self) {
        self.holding = false;
    }

    /// Notes that the message that is entered next under this id has QoS 2.
    pub fn expect_qos_2(&mut self, packet_id: u16) {
        self.twofold.insert(packet_id);
    }

    /// Enters a message that wants to be acknowledged.
    pub fn enter(&mut self, packet_id: u16, dup: bool, digest: u64) -> Entered {
        if self.recognise(packet_id, dup, digest) {
            return Entered::Known;
        }
        if !dup {
            self.unheard.fresh(packet_id);
        } else if self.resuming && self.is_held_as(digest) {
            // A broker that counts from 1 on each connection: nothing can be told from its ids.
            self.judged(0);
        }
        if let Some(ordinal) = self.unbound.remove(&packet_id) {
            self.give_up(ordinal);
        }
        Entered::New(self.arrive(packet_id, digest, false))
    }

    /// Whether a message is one that is held, or settled; it is bound to this connection then. One that
    /// is not stays as it was: with the broker, unacknowledged.
    pub fn recognise(&mut self, packet_id: u16, dup: bool, digest: u64) -> bool {
        if !dup {
            self.end_of_repeats();
            return false;
        }
        // Some brokers also send again, on a timer, what they still wait for.
        self.is_held(packet_id, digest)
            || self.was_unheard(packet_id, digest)
            || self.has_arrived(packet_id, digest)
    }

    /// Notes what became of records.
    pub fn settle(&mut self, run: Run, outcome: Outcome) {
        if !outcome.is_safe() {
            return;
        }
        for ordinal in run.first..run.first + run.count {
            if let Some(entry) = self.entry(ordinal) {
                entry.safe = true;
            }
        }
    }

    /// Calls `write` with each packet id that can now be acknowledged, in order. Returns how many.
    pub fn acknowledge(&mut self, mut write: impl FnMut(u16, Answer)) -> usize {
        let mut count = 0;
        while let Some(&ordinal) = self.arrived.front().filter(|_| !self.holding) {
            let Some(entry) = self.entry(ordinal).filter(|entry| entry.safe) else { break };
            entry.gone = true;
            let (packet_id, digest) = (entry.packet_id, entry.digest);
            let twofold = !self.twofold.is_empty() && self.twofold.remove(&packet_id);
            write(packet_id, if twofold { Answer::PubRec } else { Answer::PubAck });
            self.unheard.acknowledged(packet_id, digest);
            self.arrived.pop_front();
            count += 1;
        }
        while self.entries.front().is_some_and(|entry| entry.gone) {
            self.entries.pop_front();
            self.first += 1;
        }
        count
    }

    /// Whether a message of any connection waits for its acknowledgement.
    pub fn waits(&self) -> bool {
        self.entries.iter().any(|entry| !entry.gone)
    }

    /// Messages of this connection that are not acknowledged.
    pub fn open(&self) -> usize {
        self.arrived.len()
    }

    /// Puts a message behind all that came on this connection; its ordinal.
    fn arrive(&mut self, packet_id: u16, digest: u64, safe: bool) -> u64 {
        let ordinal = self.first + self.entries.len() as u64;
        self.entries.push_back(Entry { packet_id, digest, safe, gone: false });
        self.bind(ordinal);
        ordinal
    }

    fn bind(&mut self, ordinal: u64) {
        self.arrived.push_back(ordinal);
        self.unheard.saw_open(self.arrived.len());
    }

    fn has_arrived(&self, packet_id: u16, digest: u64) -> bool {
        self.arrived.iter().any(|ordinal| {
            let at = usize::try_from(ordinal - self.first).ok();
            let entry = at.and_then(|at| self.entries.get(at));
            entry.is_some_and(|it| it.packet_id == packet_id && it.digest == digest)
        })
    }

    /// Binds a message that is held to this connection.
    fn is_held(&mut self, packet_id: u16, digest: u64) -> bool {
        let Some(&ordinal) = self.unbound.get(&packet_id) else { return false };
        if self.entry(ordinal).is_none_or(|entry| entry.digest != digest) {
            return false;
        }
        self.unbound.remove(&packet_id);
        self.bind(ordinal);
        if self.resuming && self.unbound.is_empty() {
            self.judged(0);
        }
        true
    }

    /// Whether a message with this digest is held, under whatever id.
    fn is_held_as(&self, digest: u64) -> bool {
        let at = |ordinal: &u64| usize::try_from(ordinal - self.first).ok();
        let held = self.unbound.values().filter_map(at).filter_map(|at| self.entries.get(at));
        held.into_iter().any(|entry| entry.digest == digest)
    }

    /// It is clear how much does not come again.
    fn judged(&mut self, missing: usize) {
        (self.resuming, self.missing, self.holding) = (false, Some(missing), false);
    }

    /// Notes that a message whose acknowledgement was lost must be acknowledged again.
    fn was_unheard(&mut self, packet_id: u16, digest: u64) -> bool {
        if self.unbound.contains_key(&packet_id) || !self.unheard.take(packet_id, digest) {
            return false;
        }
        self.arrive(packet_id, digest, true);
        true
    }

    /// New messages come after all that is sent again: the rest does not come any more.
    fn end_of_repeats(&mut self) {
        if self.resuming {
            self.judged(self.unbound.len());
        }
        if self.unbound.is_empty() && self.unheard.is_empty() {
            return;
        }
        self.unheard.end_of_repeats();
        let rest: Vec<u64> = self.unbound.drain().map(|(_, ordinal)| ordinal).collect();
        for ordinal in rest {
            self.give_up(ordinal);
        }
    }

    fn entry(&mut self, ordinal: u64) -> Option<&mut Entry> {
        let at = usize::try_from(ordinal.checked_sub(self.first)?).ok()?;
        self.entries.get_mut(at)
    }

    /// Forgets a message: it will not settle, or not come again.
    pub fn give_up(&mut self, ordinal: u64) {
        if let Some(entry) = self.entry(ordinal) {
            entry.gone = true;
        }
    }
}

#[cfg(test)]
mod tests;
