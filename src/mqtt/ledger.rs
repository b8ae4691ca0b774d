//! Which reading waits for which PUBACK: the intake's memory of what the broker has not been told.
//!
//! Pure. A QoS 1 message enters with its packet id and a digest and gets an *ordinal*, which is its
//! record's way back. Ordinals grow for ever and are never used again. Acknowledgements leave in
//! the order the messages came on the connection of today, each when its record has settled safely.
//!
//! An *epoch* is one connection. When a session resumes, the broker sends everything again that it
//! has no PUBACK for, with its packet id and DUP (MQTT 5 §4.4). As long as we have written no
//! PUBACK for a packet id, the broker cannot have used it for another message, so such a message is
//! the one we hold: it is bound to the new epoch instead of being taken twice, and one whose record
//! has settled meanwhile is acknowledged at once. The digest guards against a broker that has
//! forgotten more than it says. A message whose PUBACK was written before the cut is taken again:
//! whether it arrived is not known, and losing is worse than repeating.
//!
//! Invariants:
//! - an entry leaves once: acknowledged, or forgotten because its session or its message is gone;
//! - only what came on the connection of today is acknowledged on it, in the order it came;
//! - a settlement for an ordinal that has left is ignored;
//! - the number of entries is bounded by the queue's places and the window, because each entry is a
//!   held record or waits behind one.

use std::collections::{HashMap, VecDeque};

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
#[derive(Debug, Default)]
pub struct Ledger {
    /// Ordinal of the first entry.
    first: u64,
    entries: VecDeque<Entry>,
    /// Entries of earlier connections that may come again, by packet id.
    unbound: HashMap<u16, u64>,
    /// What came on the connection of today and is not acknowledged, in the order it came: what the
    /// broker counts against its window.
    arrived: VecDeque<u64>,
}

impl Ledger {
    /// Begins an epoch. Returns how many messages were held for a session that is lost.
    pub fn connect(&mut self, session_present: bool) -> usize {
        self.unbound.clear();
        self.arrived.clear();
        let open = self.entries.iter().filter(|entry| !entry.gone).count();
        if !session_present {
            self.first += self.entries.len() as u64;
            self.entries.clear();
            return open;
        }
        for (ordinal, entry) in (self.first..).zip(&self.entries) {
            if !entry.gone {
                self.unbound.insert(entry.packet_id, ordinal);
            }
        }
        0
    }

    /// Enters a QoS 1 message.
    pub fn enter(&mut self, packet_id: u16, dup: bool, digest: u64) -> Entered {
        if dup && self.has_arrived(packet_id, digest) {
            // Some brokers send again on a timer what they still wait for.
            return Entered::Known;
        }
        if let Some(ordinal) = self.unbound.remove(&packet_id) {
            if dup && self.entry(ordinal).is_some_and(|entry| entry.digest == digest) {
                self.arrived.push_back(ordinal);
                return Entered::Known;
            }
            self.give_up(ordinal);
        }
        if !dup && !self.unbound.is_empty() {
            // New messages come after all that is sent again: the rest does not come any more.
            let rest: Vec<u64> = self.unbound.drain().map(|(_, ordinal)| ordinal).collect();
            for ordinal in rest {
                self.give_up(ordinal);
            }
        }
        let ordinal = self.first + self.entries.len() as u64;
        self.entries.push_back(Entry { packet_id, digest, safe: false, gone: false });
        self.arrived.push_back(ordinal);
        Entered::New(ordinal)
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
    pub fn acknowledge(&mut self, mut write: impl FnMut(u16)) -> usize {
        let mut count = 0;
        while let Some(&ordinal) = self.arrived.front() {
            let Some(entry) = self.entry(ordinal).filter(|entry| entry.safe) else { break };
            entry.gone = true;
            write(entry.packet_id);
            self.arrived.pop_front();
            count += 1;
        }
        while self.entries.front().is_some_and(|entry| entry.gone) {
            self.entries.pop_front();
            self.first += 1;
        }
        count
    }

    /// Messages of this connection that are not acknowledged.
    pub fn open(&self) -> usize {
        self.arrived.len()
    }

    fn has_arrived(&self, packet_id: u16, digest: u64) -> bool {
        self.arrived.iter().any(|ordinal| {
            let at = usize::try_from(ordinal - self.first).ok();
            let entry = at.and_then(|at| self.entries.get(at));
            entry.is_some_and(|it| it.packet_id == packet_id && it.digest == digest)
        })
    }

    fn entry(&mut self, ordinal: u64) -> Option<&mut Entry> {
        let at = usize::try_from(ordinal.checked_sub(self.first)?).ok()?;
        self.entries.get_mut(at)
    }

    fn give_up(&mut self, ordinal: u64) {
        if let Some(entry) = self.entry(ordinal) {
            entry.gone = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settlement::SourceIndex;
    use proptest::prelude::*;

    fn run(first: u64, count: u64) -> Run {
        Run { source: SourceIndex(0), first, count }
    }

    fn acknowledged(ledger: &mut Ledger) -> Vec<u16> {
        let mut ids = Vec::new();
        ledger.acknowledge(|id| ids.push(id));
        ids
    }

    fn ledger_with(ids: &[u16]) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.connect(false);
        for &id in ids {
            assert!(matches!(ledger.enter(id, false, u64::from(id)), Entered::New(_)));
        }
        ledger
    }

    #[test]
    fn acknowledgements_leave_in_order_of_arrival() {
        let mut ledger = ledger_with(&[7, 3, 9]);
        ledger.settle(run(1, 2), Outcome::Delivered);
        assert_eq!(acknowledged(&mut ledger), [] as [u16; 0]);
        ledger.settle(run(0, 1), Outcome::DeadLettered);
        assert_eq!((acknowledged(&mut ledger), ledger.open()), (vec![7, 3, 9], 0));
    }

    #[test]
    fn abandoned_records_are_not_acknowledged() {
        let mut ledger = ledger_with(&[1]);
        ledger.settle(run(0, 1), Outcome::Abandoned);
        assert_eq!((acknowledged(&mut ledger), ledger.open()), (vec![], 1));
    }

    #[test]
    fn a_resumed_session_binds_what_is_held_and_acknowledges_what_has_settled() {
        let mut ledger = ledger_with(&[1, 2, 3]);
        ledger.settle(run(0, 1), Outcome::Delivered);
        assert_eq!(ledger.connect(true), 0);
        assert_eq!(acknowledged(&mut ledger), [] as [u16; 0], "not before the broker asks again");
        for id in [1, 2, 3] {
            assert_eq!(ledger.enter(id, true, u64::from(id)), Entered::Known);
        }
        assert_eq!(acknowledged(&mut ledger), [1]);
        ledger.settle(run(1, 2), Outcome::Delivered);
        assert_eq!(acknowledged(&mut ledger), [2, 3]);
        assert_eq!(ledger.enter(1, false, 1), Entered::New(3));
    }

    #[test]
    fn a_lost_session_forgets_and_late_settlements_are_ignored() {
        let mut ledger = ledger_with(&[1, 2]);
        assert_eq!(ledger.connect(false), 2);
        assert_eq!(ledger.enter(1, false, 99), Entered::New(2));
        ledger.settle(run(0, 2), Outcome::Delivered);
        assert_eq!(acknowledged(&mut ledger), [] as [u16; 0]);
        ledger.settle(run(2, 1), Outcome::Delivered);
        assert_eq!(acknowledged(&mut ledger), [1]);
    }

    #[test]
    fn another_message_under_a_known_id_is_taken() {
        let mut ledger = ledger_with(&[5]);
        ledger.connect(true);
        assert_eq!(ledger.enter(5, true, 1234), Entered::New(1));
    }

    #[test]
    fn a_message_whose_acknowledgement_may_be_lost_does_not_unbind_what_is_held() {
        let mut ledger = ledger_with(&[1, 2, 3]);
        ledger.settle(run(0, 1), Outcome::Delivered);
        assert_eq!(acknowledged(&mut ledger), [1], "written, and lost with the link");
        ledger.connect(true);
        assert_eq!(ledger.enter(1, true, 1), Entered::New(3));
        assert_eq!(ledger.enter(2, true, 2), Entered::Known);
        assert_eq!(ledger.enter(3, true, 3), Entered::Known);
        ledger.settle(run(1, 3), Outcome::Delivered);
        assert_eq!(acknowledged(&mut ledger), [1, 2, 3], "as they came");
    }

    #[test]
    fn what_a_broker_sends_again_on_a_timer_is_known() {
        let mut ledger = ledger_with(&[1, 2]);
        assert_eq!(ledger.enter(1, true, 1), Entered::Known);
        ledger.settle(run(0, 2), Outcome::Delivered);
        assert_eq!((acknowledged(&mut ledger), ledger.open()), (vec![1, 2], 0));
    }

    #[test]
    fn a_session_restored_from_the_past_is_served() {
        let mut ledger = ledger_with(&[1, 2, 3]);
        ledger.connect(true);
        for id in [1, 2, 3] {
            assert!(matches!(ledger.enter(id, true, 77), Entered::New(_)));
        }
        ledger.settle(run(0, 6), Outcome::Delivered);
        assert_eq!((acknowledged(&mut ledger), ledger.open()), (vec![1, 2, 3], 0));
    }

    #[test]
    fn what_does_not_come_again_does_not_block_what_does() {
        let mut ledger = ledger_with(&[1, 2, 3]);
        ledger.connect(true);
        assert_eq!(ledger.enter(2, true, 2), Entered::Known);
        assert_eq!(ledger.enter(8, false, 8), Entered::New(3));
        ledger.settle(run(0, 4), Outcome::Delivered);
        assert_eq!((acknowledged(&mut ledger), ledger.open()), (vec![2, 8], 0));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Send,
        Settle(usize),
        Cut { lost: bool },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => Just(Step::Send),
            3 => (0_usize..50).prop_map(Step::Settle),
            1 => prop::bool::weighted(0.3).prop_map(|lost| Step::Cut { lost }),
        ];
        prop::collection::vec(step, 1..120)
    }

    proptest! {
        /// A broker in twenty lines: sends with growing ids, drops a message when it is
        /// acknowledged, sends the rest again after a cut. Nothing is acknowledged before its
        /// record settled, nothing acknowledged out of order, nothing held is taken twice.
        #[test]
        fn no_message_is_acknowledged_before_it_is_safe(steps in steps()) {
            let mut ledger = Ledger::default();
            ledger.connect(false);
            let (mut unacked, mut taken) = (Vec::<(u16, u64)>::new(), Vec::new());
            let (mut ordinals, mut safe) = (HashMap::new(), std::collections::HashSet::new());
            let mut next = 0_u16;
            for step in steps {
                match step {
                    Step::Send => {
                        next += 1;
                        let digest = u64::from(next) * 31;
                        let entered = ledger.enter(next, false, digest);
                        prop_assert!(matches!(entered, Entered::New(_)));
                        let Entered::New(ordinal) = entered else { unreachable!() };
                        unacked.push((next, digest));
                        ordinals.insert(next, ordinal);
                        taken.push((ordinal, next));
                    }
                    Step::Settle(pick) if !taken.is_empty() => {
                        let (ordinal, id) = taken.remove(pick % taken.len());
                        ledger.settle(run(ordinal, 1), Outcome::Delivered);
                        safe.insert(id);
                    }
                    Step::Settle(_) => {}
                    Step::Cut { lost } => {
                        ledger.connect(!lost);
                        if lost {
                            unacked.clear();
                        }
                        for (id, digest) in &unacked {
                            prop_assert_eq!(ledger.enter(*id, true, *digest), Entered::Known);
                        }
                    }
                }
                let acks = acknowledged(&mut ledger);
                let expected: Vec<u16> = unacked.iter().map(|it| it.0)
                    .take_while(|id| safe.contains(id)).collect();
                prop_assert_eq!(&acks, &expected);
                unacked.drain(..acks.len());
                prop_assert_eq!(ledger.open(), unacked.len());
            }
        }
    }
}
