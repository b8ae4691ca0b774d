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
    /// The connection of today has sent it.
    bound: bool,
    /// Will not be acknowledged: the broker has given it up.
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
    /// Entries bound and not acknowledged: what the broker counts against its window.
    open: usize,
}

impl Ledger {
    /// Begins an epoch. Returns how many messages were held for a session that is lost.
    pub fn connect(&mut self, session_present: bool) -> usize {
        self.unbound.clear();
        self.open = 0;
        if !session_present {
            let lost = self.entries.len();
            self.first += lost as u64;
            self.entries.clear();
            return lost;
        }
        for (at, entry) in self.entries.iter_mut().enumerate() {
            entry.bound = false;
            if !entry.gone {
                self.unbound.insert(entry.packet_id, self.first + at as u64);
            }
        }
        0
    }

    /// Enters a QoS 1 message.
    pub fn enter(&mut self, packet_id: u16, dup: bool, digest: u64) -> Entered {
        self.open += 1;
        if dup && let Some(ordinal) = self.unbound.remove(&packet_id) {
            let at = self.place(ordinal);
            if let Some(entry) = at.and_then(|at| self.entries.get_mut(at))
                && entry.digest == digest
            {
                entry.bound = true;
                self.give_up_before(ordinal);
                return Entered::Known;
            }
        }
        if !self.unbound.is_empty() {
            // New messages come after all that is sent again: the rest does not come any more.
            self.give_up_before(u64::MAX);
        }
        self.entries.push_back(Entry { packet_id, digest, safe: false, bound: true, gone: false });
        Entered::New(self.first + self.entries.len() as u64 - 1)
    }

    /// Notes what became of records.
    pub fn settle(&mut self, run: Run, outcome: Outcome) {
        if !outcome.is_safe() {
            return;
        }
        for ordinal in run.first..run.first + run.count {
            if let Some(entry) = self.place(ordinal).and_then(|at| self.entries.get_mut(at)) {
                entry.safe = true;
            }
        }
    }

    /// Calls `write` with each packet id that can now be acknowledged, in order. Returns how many.
    pub fn acknowledge(&mut self, mut write: impl FnMut(u16)) -> usize {
        let mut count = 0;
        while let Some(entry) = self.entries.front() {
            if entry.bound && entry.safe && !entry.gone {
                write(entry.packet_id);
                self.open -= 1;
                count += 1;
            } else if !entry.gone {
                break;
            }
            self.entries.pop_front();
            self.first += 1;
        }
        count
    }

    /// Messages of this connection that are not acknowledged.
    pub fn open(&self) -> usize {
        self.open
    }

    fn place(&self, ordinal: u64) -> Option<usize> {
        usize::try_from(ordinal.checked_sub(self.first)?).ok()
    }

    /// Gives up the unbound entries before `ordinal`: the broker sends in order, so they are gone.
    fn give_up_before(&mut self, ordinal: u64) {
        let mut gone = Vec::new();
        self.unbound.retain(|_, at| {
            if *at < ordinal {
                gone.push(*at);
            }
            *at >= ordinal
        });
        for ordinal in gone {
            if let Some(entry) = self.place(ordinal).and_then(|at| self.entries.get_mut(at)) {
                entry.gone = true;
            }
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
