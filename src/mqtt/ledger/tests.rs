//! Tests of the ledger: what settles, and what is acknowledged then. `repeats` has what comes again,
//! `connections` what one connection leaves to the next.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;
use crate::settlement::SourceIndex;

mod connections;
mod repeats;

fn run(first: u64, count: u64) -> Run {
    Run { source: SourceIndex(0), first, count }
}

fn acknowledged(ledger: &mut Ledger) -> Vec<u16> {
    let mut ids = Vec::new();
    ledger.acknowledge(|id, _| ids.push(id));
    ids
}

fn ledger_with(ids: &[u16]) -> Ledger {
    let mut ledger = Ledger::new(20, 20);
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
fn a_message_is_acknowledged_when_all_its_readings_have_settled() {
    // Of 2, 0, 3, 0 and 1 readings: the ordinals are 0 and 1, 2 to 4, and 5.
    let mut ledger = ledger_with(&[]);
    for (id, readings, first) in [(1, 2, 0), (2, 0, 2), (3, 3, 2), (4, 0, 5), (5, 1, 5)] {
        assert_eq!(ledger.enter(id, false, u64::from(id)), Entered::New(first));
        ledger.readings(readings);
    }
    ledger.settle(run(1, 2), Outcome::Delivered);
    assert_eq!(acknowledged(&mut ledger), [] as [u16; 0], "0 has not settled");
    ledger.settle(run(0, 1), Outcome::Spooled);
    assert_eq!(acknowledged(&mut ledger), [1, 2], "the second one has none");
    ledger.settle(run(4, 2), Outcome::DeadLettered);
    assert_eq!(acknowledged(&mut ledger), [] as [u16; 0], "3 has not settled");
    ledger.settle(run(3, 1), Outcome::Abandoned);
    assert_eq!(acknowledged(&mut ledger), [] as [u16; 0], "nor is it safe now");
    ledger.settle(run(3, 1), Outcome::Delivered);
    assert_eq!((acknowledged(&mut ledger), ledger.waits()), (vec![3, 4, 5], false));
    assert_eq!(ledger.enter(6, false, 6), Entered::New(6));
}

/// One of its later readings may be the one that waits.
#[test]
fn all_readings_of_the_next_message_are_awaited_until_it_has_settled() {
    let mut ledger = ledger_with(&[]);
    assert_eq!(ledger.awaited(), None);
    for (id, readings) in [(1, 3), (2, 2)] {
        ledger.enter(id, false, u64::from(id));
        ledger.readings(readings);
    }
    assert_eq!(ledger.awaited(), Some(0..3));
    ledger.settle(run(0, 2), Outcome::Delivered);
    assert_eq!(ledger.awaited(), Some(0..3));
    ledger.settle(run(2, 1), Outcome::Delivered);
    assert_eq!(ledger.awaited(), None, "it is acknowledged next");
    assert_eq!((acknowledged(&mut ledger), ledger.awaited()), (vec![1], Some(3..5)));
}

#[test]
fn a_message_of_many_readings_that_is_held_is_known_and_settles_on_the_next_connection() {
    let mut ledger = ledger_with(&[1, 2]);
    ledger.readings(50);
    ledger.settle(run(0, 20), Outcome::Delivered);
    ledger.connect(true);
    for id in [1, 2] {
        assert_eq!(ledger.enter(id, true, u64::from(id)), Entered::Known);
    }
    assert_eq!(acknowledged(&mut ledger), [1]);
    ledger.settle(run(20, 31), Outcome::Delivered);
    assert_eq!(acknowledged(&mut ledger), [2]);
    assert_eq!(ledger.enter(3, false, 3), Entered::New(51));
    // A session that is lost: what is held of it settles for nobody, also where a run goes on behind it.
    ledger.readings(9);
    assert_eq!(ledger.connect(false), 1);
    assert_eq!(ledger.enter(1, false, 1), Entered::New(60));
    ledger.settle(run(51, 10), Outcome::Delivered);
    assert_eq!(acknowledged(&mut ledger), [1]);
}

#[test]
fn a_message_of_which_a_part_is_let_go_is_never_acknowledged() {
    let mut ledger = ledger_with(&[1, 2]);
    ledger.readings(3);
    ledger.enter(3, false, 3);
    ledger.settle(run(0, 1), Outcome::Delivered);
    assert_eq!(acknowledged(&mut ledger), [1]);
    ledger.let_go(0);
    ledger.let_go(3);
    assert!(ledger.waits(), "the third");
    ledger.settle(run(1, 2), Outcome::Delivered);
    ledger.settle(run(4, 1), Outcome::Delivered);
    assert_eq!((acknowledged(&mut ledger), ledger.waits()), (vec![], true));
    assert_eq!(ledger.open(), 2, "behind the second");
}

/// Else a message would be acknowledged before the others of its readings have settled.
#[test]
fn more_settlements_than_a_message_has_readings_are_loud() {
    let mut ledger = ledger_with(&[1]);
    ledger.readings(2);
    ledger.settle(run(0, 2), Outcome::Delivered);
    let again = std::panic::AssertUnwindSafe(|| ledger.settle(run(0, 1), Outcome::Delivered));
    let loud = std::panic::catch_unwind(again).unwrap_err();
    assert_eq!(
        loud.downcast_ref::<String>().map(String::as_str),
        Some("no message settles more readings than it has")
    );
}

#[test]
fn abandoned_records_are_not_acknowledged() {
    let mut ledger = ledger_with(&[1]);
    ledger.settle(run(0, 1), Outcome::Abandoned);
    assert_eq!((acknowledged(&mut ledger), ledger.open()), (vec![], 1));
}

#[test]
fn what_waits_behind_one_reading_is_bounded_and_what_waits_for_the_queue_is_not() {
    let mut ledger = ledger_with(&[1]);
    let bound = u16::try_from(blocked_max(20, 1)).unwrap();
    for id in 2..=bound + 1 {
        let Entered::New(ordinal) = ledger.enter(id, false, 7) else { panic!("{id}") };
        ledger.settle(run(ordinal, 1), Outcome::Delivered);
    }
    assert!(matches!(ledger.enter(bound + 2, false, 7), Entered::Against(_)));
    ledger.settle(run(0, 1), Outcome::Delivered);
    assert_eq!(acknowledged(&mut ledger).len(), usize::from(bound) + 1);
    for id in 1..=2 * bound {
        assert!(
            matches!(ledger.enter(id, false, 7), Entered::New(_)),
            "held in the queue's places"
        );
    }
}

#[test]
fn messages_of_qos_2_are_answered_with_pubrec() {
    let mut ledger = Ledger::new(20, 20);
    ledger.connect(true);
    ledger.expect_qos_2(4);
    assert_eq!(ledger.enter(4, true, 4), Entered::New(0));
    assert_eq!(ledger.enter(5, false, 5), Entered::New(1));
    ledger.settle(run(0, 2), Outcome::Delivered);
    let mut answers = Vec::new();
    ledger.acknowledge(|id, answer| answers.push((id, answer)));
    assert_eq!(answers, [(4, Answer::PubRec), (5, Answer::PubAck)]);
    assert!(!ledger.waits());
    assert_eq!(ledger.enter(4, false, 6), Entered::New(2));
    ledger.settle(run(2, 1), Outcome::Delivered);
    ledger.acknowledge(|id, answer| assert_eq!((id, answer), (4, Answer::PubAck), "of QoS 1 now"));
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
        let mut ledger = Ledger::new(20, 20);
        ledger.connect(false);
        let (mut unacked, mut taken) = (Vec::<(u16, u64)>::new(), Vec::new());
        let (mut ordinals, mut safe) = (HashMap::new(), HashSet::new());
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

/// What is acknowledged next is in nobody's way.
#[test]
fn only_an_entry_that_has_not_settled_blocks_those_behind_it() {
    let bound = u16::try_from(blocked_max(20, 1)).unwrap();
    let mut ledger = ledger_with(&[1]);
    for id in 2..bound + 2 {
        let Entered::New(ordinal) = ledger.enter(id, false, 0) else { panic!("{id}") };
        ledger.settle(run(ordinal, 1), Outcome::Delivered);
    }
    assert!(matches!(ledger.enter(60_000, false, 0), Entered::Against(_)));
    ledger.settle(run(0, 1), Outcome::Delivered);
    assert!(matches!(ledger.enter(60_000, false, 0), Entered::New(_)));
    assert_eq!(acknowledged(&mut ledger).len(), usize::from(bound) + 1);
}
