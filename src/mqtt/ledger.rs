//! Which reading waits for which PUBACK: the intake's memory of what the broker has not been told.
//!
//! Pure. A QoS 1 message enters with its packet id and a digest. Each of its readings has an *ordinal*, which
//! is its record's way back: a message is a range of them, and may have none. Ordinals grow for ever and are
//! never used again. Acknowledgements leave in the order the messages came on the current connection, each
//! when all readings of the message have settled safely.
//!
//! An *epoch* is one connection. When a session resumes, the broker sends everything again that it
//! has had no PUBACK for, with its packet id and DUP (MQTT 5 §4.4), before anything new:
//!
//! - A message that is *held*: as long as we have written no PUBACK for a packet id, the broker
//!   cannot have used it for another message, so this is the one we hold. It is bound to the new
//!   epoch instead of being taken twice, and acknowledged at once if its readings have settled
//!   meanwhile. The digest guards against a broker that has forgotten more than it says.
//! - A message whose PUBACK was *written before the cut* and lost with it: known and only acknowledged
//!   again, where that can be told (`unheard`); taken again, where it cannot.
//!
//! Some brokers leave out DUP (Aedes, `FlashMQ`). So a held message is known without it, too, as long as
//! this broker has never been seen to set DUP, and before anything new has come. Between them may come
//! messages whose acknowledgement was lost (id and digest are remembered): those are taken again, and no
//! more of them than acknowledgements can have been lost. Any other message is new and ends the repeats.
//!
//! What remains: a broker that sets DUP, of which no repeat has been seen in this run, and that was set
//! back in time without saying so. If it gives the id of a held message to a new one that says the same on
//! the same topic, the new one is taken for the held one. A held id with another digest is a new message;
//! the held one is given up and counted ([`Ledger::replaced`]).
//!
//! What is held and does not come again was acknowledged by another client in our session, has expired, or
//! is lost with what the broker forgot: [`Ledger::missing`]. Of a group, another member may have it.
//!
//! Invariants:
//! - an entry leaves once: acknowledged, or forgotten because its session or its message is gone;
//! - only what came on the current connection is acknowledged on it, in the order it came;
//! - a reading settles once: its receipts are used up by it ([`crate::settlement`]). Here readings are only
//!   counted;
//! - a settlement for an ordinal whose message has left is ignored;
//! - no id is open twice on one connection. A broker may send what it waits for again, on a timer, so
//!   many times ([`SENT_AGAIN_MAX`]); all else is against the protocol, and the connection's end;
//! - the number of entries is bounded: the unsettled ones by the queue's places and the chunk, those
//!   that wait behind one of them by [`blocked_max`]. A broker that goes on beyond that is cut off.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

pub use self::entered::{Answer, Entered};
use super::ids::OpenIds;
use super::unheard::Unheard;
use crate::settlement::{Outcome, Run};

mod entered;

/// Repeats of what is open on one connection: MQTT 5 forbids them, with 3.1.1 some brokers send them on a
/// timer. After so many on one connection it is ended, and everything comes again on the next.
pub const SENT_AGAIN_MAX: usize = 4096;

/// Messages that come again and are not known by their id, on one connection: so many are looked for
/// among all that is held.
const LOOKS_MAX: usize = 64;

/// Entries that may wait, settled or given up, behind one that is not settled, in the ledgers of all sessions: more than
/// is remembered of acknowledgements, for brokers that exceed a small window.
const BLOCKED_BEYOND: usize = 4 * 1024;

/// The same in the ledger of one of so many sessions that each remember so many acknowledgements.
pub fn blocked_max(remembered: usize, sessions: usize) -> usize {
    remembered + (BLOCKED_BEYOND / sessions.max(1)).clamp(128, 1024)
}

/// The same in all of them together, at most.
pub fn all_blocked_max(remembered: usize, sessions: usize) -> usize {
    let beyond = BLOCKED_BEYOND.max(sessions * (blocked_max(remembered, sessions) - remembered));
    sessions * remembered + beyond
}

/// A message.
#[derive(Debug)]
struct Entry {
    packet_id: u16,
    digest: u64,
    /// The ordinal of its first reading, and how many of them have not settled safely.
    first: u64,
    unsettled: u32,
    /// Acknowledged, or given up by the broker.
    gone: bool,
}

impl Entry {
    fn is_safe(&self) -> bool {
        self.unsettled == 0
    }
}

/// The intake's ledger.
#[derive(Debug)]
pub struct Ledger {
    /// The place of the first entry: places count messages, and are never used again.
    first: u64,
    entries: VecDeque<Entry>,
    /// The ordinal of the next reading.
    next_ordinal: u64,
    /// Places of entries of earlier connections that may come again, by packet id.
    unbound: HashMap<u16, u64>,
    /// Places of what came on the current connection and is not acknowledged, in the order it came: what the
    /// broker counts against its window.
    arrived: VecDeque<u64>,
    unheard: Unheard,
    /// Something was held when this epoch began, and nothing new has come since.
    resuming: bool,
    missing: Option<usize>,
    /// Acknowledges nothing before that is clear.
    holding: bool,
    /// Those of QoS 2 among what arrived: answered with PUBREC.
    twofold: OpenIds,
    /// The ids of what arrived.
    open: OpenIds,
    /// Entries that are neither settled nor gone.
    unsettled: usize,
    blocked_max: usize,
    /// The broker has been seen to set DUP.
    sets_dup: bool,
    /// Messages without DUP whose acknowledgement may have been lost: so many may still come before something
    /// that is held.
    between: usize,
    /// Repeats of what is open that this connection may still bring.
    again_left: usize,
    looks_left: usize,
    /// Messages that were held and whose id came with another message.
    replaced: u64,
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
            next_ordinal: 0,
            unbound: HashMap::new(),
            arrived: VecDeque::new(),
            unheard: Unheard::new(window, remembered),
            resuming: false,
            missing: None,
            holding: false,
            twofold: OpenIds::default(),
            open: OpenIds::default(),
            unsettled: 0,
            blocked_max: blocked_max(remembered, 1),
            sets_dup: false,
            between: 0,
            again_left: SENT_AGAIN_MAX,
            looks_left: LOOKS_MAX,
            replaced: 0,
        }
    }

    /// Is one of several that share the room for what waits ([`blocked_max`]).
    #[must_use]
    pub fn with_blocked_max(self, blocked_max: usize) -> Self {
        Self { blocked_max, ..self }
    }

    /// Begins an epoch. Returns how many messages were held for a session that is lost.
    pub fn connect(&mut self, session_present: bool) -> usize {
        self.unbound.clear();
        self.arrived.clear();
        self.twofold.clear();
        self.open.clear();
        (self.resuming, self.missing, self.holding) = (false, None, false);
        (self.again_left, self.looks_left) = (SENT_AGAIN_MAX, LOOKS_MAX);
        self.between = 0;
        let open = self.entries.iter().filter(|entry| !entry.gone).count();
        if !session_present {
            self.first += self.entries.len() as u64;
            self.entries.clear();
            self.unsettled = 0;
            self.unheard.forget();
            return open;
        }
        let held = (self.first..).zip(&self.entries).filter(|(_, entry)| !entry.gone);
        let held: Vec<_> = held.map(|(place, entry)| (entry.packet_id, place)).collect();
        for (packet_id, place) in held {
            // Two under one id: the broker had given the older one up.
            if let Some(older) = self.unbound.insert(packet_id, place) {
                self.give_up(older);
            }
        }
        self.unheard.resume();
        self.resuming = !self.unbound.is_empty();
        self.between = if self.sets_dup { 0 } else { self.unheard.most() };
        0
    }

    /// How many messages that were held have been given up because their id came with another message,
    /// since this was asked last.
    pub fn replaced(&mut self) -> u64 {
        std::mem::take(&mut self.replaced)
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

    /// Enters a message that wants to be acknowledged. A new one has one reading, unless [`Self::readings`]
    /// says otherwise before the next one is entered.
    pub fn enter(&mut self, packet_id: u16, dup: bool, digest: u64) -> Entered {
        let replaces = self.unbound.contains_key(&packet_id);
        if self.recognise(packet_id, dup, digest) {
            return Entered::Known;
        }
        if let Some(against) = self.is_against(packet_id, dup) {
            return Entered::Against(against);
        }
        self.replaced += u64::from(replaces);
        if dup {
            self.unheard.sent_before(packet_id);
            if self.resuming && self.is_held_as(digest) {
                // A broker that counts from 1 on each connection: nothing can be told from its ids.
                self.judged(0);
            }
        } else {
            self.unheard.fresh(packet_id);
        }
        if let Some(place) = self.unbound.remove(&packet_id) {
            self.give_up(place);
        }
        let first = self.next_ordinal;
        self.arrive(packet_id, digest, 1);
        Entered::New(first)
    }

    /// Says how many readings the new message has that was entered last. Without any it is safe.
    ///
    /// # Panics
    /// If no message has been entered.
    pub fn readings(&mut self, count: u32) {
        let entry = self.entries.back_mut().expect("a message has been entered");
        self.unsettled -= usize::from(!entry.is_safe() && count == 0);
        entry.unsettled = count;
        self.next_ordinal = entry.first + u64::from(count);
    }

    /// Whether a message is one that is held, or settled; it is bound to this connection then. One that
    /// is not stays as it was: with the broker, unacknowledged.
    pub fn recognise(&mut self, packet_id: u16, dup: bool, digest: u64) -> bool {
        if self.open.has(packet_id) {
            return dup && self.has_arrived(packet_id, digest);
        }
        if self.is_held(packet_id, dup, digest) {
            return true;
        }
        if dup {
            return self.was_unheard(packet_id, digest);
        }
        let repeated = self.between > 0 && self.unheard.may_have(packet_id, digest);
        if repeated && !self.unbound.is_empty() {
            self.between -= 1;
        } else {
            self.end_of_repeats();
        }
        false
    }

    /// Why a message that is not known ends the connection, if it does.
    fn is_against(&mut self, packet_id: u16, dup: bool) -> Option<&'static str> {
        if self.open.has(packet_id) {
            return Some(if dup {
                "again and again a message that we have not acknowledged, on one connection"
            } else {
                "two messages with one packet id, and we have acknowledged neither"
            });
        }
        self.forget_gone();
        let blocked = self.entries.len() - self.unsettled;
        (blocked >= self.blocked_max && !self.moves())
            .then_some("far more messages than it may before we acknowledge the first")
    }

    /// Whether the oldest entry has settled, and is acknowledged next.
    fn moves(&self) -> bool {
        let oldest = self.arrived.front().filter(|oldest| **oldest == self.first);
        oldest.is_some() && self.entries.front().is_some_and(Entry::is_safe) && !self.holding
    }

    /// Notes what became of readings.
    ///
    /// # Panics
    /// If more readings of a message settle than it has.
    pub fn settle(&mut self, run: Run, outcome: Outcome) {
        if !outcome.is_safe() {
            return;
        }
        let Some(oldest) = self.entries.front() else { return };
        let (mut ordinal, end) = (run.first.max(oldest.first), run.first + run.count);
        let mut at = self.at(ordinal);
        while ordinal < end {
            let next = self.entries.get(at + 1).map_or(self.next_ordinal, |next| next.first);
            let Some(entry) = self.entries.get_mut(at) else { return };
            let settled = end.min(next).saturating_sub(ordinal);
            if settled > 0 {
                let left = u64::from(entry.unsettled).checked_sub(settled);
                let left = left.and_then(|left| u32::try_from(left).ok());
                entry.unsettled = left.expect("no message settles more readings than it has");
                let counted = entry.is_safe() && !entry.gone;
                self.unsettled -= usize::from(counted);
                ordinal += settled;
            }
            at += 1;
        }
    }

    /// Where among the entries the message is that has the reading with this ordinal.
    fn at(&self, ordinal: u64) -> usize {
        // Messages without readings have the ordinal of the next one, and are before it.
        self.entries.partition_point(|entry| entry.first <= ordinal).saturating_sub(1)
    }

    /// Calls `write` with each packet id that can now be acknowledged, in order.
    pub fn acknowledge(&mut self, mut write: impl FnMut(u16, Answer)) {
        while let Some(&place) = self.arrived.front().filter(|_| !self.holding) {
            let Some(entry) = self.entry(place).filter(|entry| entry.is_safe()) else { break };
            entry.gone = true;
            let (packet_id, digest) = (entry.packet_id, entry.digest);
            let twofold = self.twofold.has(packet_id);
            self.twofold.remove(packet_id);
            self.open.remove(packet_id);
            write(packet_id, if twofold { Answer::PubRec } else { Answer::PubAck });
            self.unheard.acknowledged(packet_id, digest);
            self.arrived.pop_front();
        }
        self.forget_gone();
    }

    fn forget_gone(&mut self) {
        while self.entries.front().is_some_and(|entry| entry.gone) {
            self.entries.pop_front();
            self.first += 1;
        }
    }

    /// Whether a message of any connection waits for its acknowledgement.
    pub fn waits(&self) -> bool {
        self.entries.iter().any(|entry| !entry.gone)
    }

    /// Messages of this connection that are not acknowledged.
    pub fn open(&self) -> usize {
        self.arrived.len()
    }

    /// The ordinals of the readings of the message that is acknowledged next, while that has not settled.
    pub fn awaited(&self) -> Option<Range<u64>> {
        let at = usize::try_from(self.arrived.front()?.checked_sub(self.first)?).ok()?;
        let entry = self.entries.get(at).filter(|entry| !entry.is_safe())?;
        let next = self.entries.get(at + 1).map_or(self.next_ordinal, |next| next.first);
        Some(entry.first..next)
    }

    /// Puts a message with so many readings behind all that came on this connection.
    fn arrive(&mut self, packet_id: u16, digest: u64, readings: u32) {
        let place = self.first + self.entries.len() as u64;
        let (first, unsettled) = (self.next_ordinal, readings);
        self.entries.push_back(Entry { packet_id, digest, first, unsettled, gone: false });
        self.next_ordinal += u64::from(readings);
        self.unsettled += usize::from(readings > 0);
        self.bind(packet_id, place);
    }

    fn bind(&mut self, packet_id: u16, place: u64) {
        self.open.insert(packet_id);
        self.arrived.push_back(place);
        self.unheard.saw_open(self.arrived.len());
    }

    /// Whether an open message comes again; some brokers send again, on a timer, what they wait for.
    fn has_arrived(&mut self, packet_id: u16, digest: u64) -> bool {
        let Some(left) = self.again_left.checked_sub(1) else { return false };
        self.again_left = left;
        self.arrived.iter().any(|place| {
            let at = usize::try_from(place - self.first).ok();
            let entry = at.and_then(|at| self.entries.get(at));
            entry.is_some_and(|it| it.packet_id == packet_id && it.digest == digest)
        })
    }

    /// Binds a message that is held to this connection.
    fn is_held(&mut self, packet_id: u16, dup: bool, digest: u64) -> bool {
        let Some(&place) = self.unbound.get(&packet_id) else { return false };
        if self.entry(place).is_none_or(|entry| entry.digest != digest) {
            return false;
        }
        if !dup && self.sets_dup {
            return false;
        }
        self.sets_dup |= dup;
        self.unbound.remove(&packet_id);
        self.bind(packet_id, place);
        if self.resuming && self.unbound.is_empty() {
            self.judged(0);
        }
        true
    }

    /// Whether a message with this digest is held, under whatever id.
    fn is_held_as(&mut self, digest: u64) -> bool {
        let Some(left) = self.looks_left.checked_sub(1) else { return false };
        self.looks_left = left;
        let at = |place: &u64| usize::try_from(place - self.first).ok();
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
        self.arrive(packet_id, digest, 0);
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
        let rest: Vec<u64> = self.unbound.drain().map(|(_, place)| place).collect();
        for place in rest {
            self.give_up(place);
        }
    }

    fn entry(&mut self, place: u64) -> Option<&mut Entry> {
        let at = usize::try_from(place.checked_sub(self.first)?).ok()?;
        self.entries.get_mut(at)
    }

    /// Forgets the message that has this reading: not all of it will settle.
    pub fn let_go(&mut self, ordinal: u64) {
        if self.entries.front().is_some_and(|oldest| oldest.first <= ordinal) {
            self.give_up(self.first + self.at(ordinal) as u64);
        }
    }

    /// Forgets a message: it will not settle, or not come again.
    fn give_up(&mut self, place: u64) {
        if let Some(entry) = self.entry(place).filter(|entry| !entry.gone) {
            entry.gone = true;
            let counted = !entry.is_safe();
            self.unsettled -= usize::from(counted);
        }
    }
}

#[cfg(test)]
mod tests;
