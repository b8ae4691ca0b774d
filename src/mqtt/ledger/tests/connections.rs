//! Tests of what a connection begins anew, what it takes over from the one before, and what it is bounded by.

use super::repeats::counting_up;
use super::*;

#[test]
fn what_does_not_come_on_one_connection_is_known_on_the_next() {
    let mut ledger = ledger_with(&[1, 2]);
    for _ in 0..2 {
        ledger.connect(true);
        assert_eq!(acknowledged(&mut ledger), [] as [u16; 0]);
    }
    for id in [1, 2] {
        assert_eq!(ledger.enter(id, true, u64::from(id)), Entered::Known);
    }
    ledger.connect(true);
    ledger.connect(false);
    assert_eq!((ledger.enter(1, false, 1), ledger.replaced()), (Entered::New(2), 0));
}

#[test]
fn what_one_connection_holds_back_or_misses_is_nothing_to_the_next() {
    let mut ledger = ledger_with(&[1]);
    ledger.connect(true);
    ledger.hold();
    ledger.connect(true);
    assert!(!ledger.is_holding());
    ledger.connect(false);
    ledger.hold();
    assert!(!ledger.is_holding(), "a lost session has nothing to wait for");
    let mut ledger = ledger_with(&[1]);
    ledger.connect(true);
    ledger.enter(9, false, 9);
    ledger.connect(true);
    assert_eq!(ledger.missing(), None, "9 may still come");
}

#[test]
fn each_connection_has_its_looks_among_what_is_held() {
    let mut ledger = ledger_with(&[1, 2]);
    ledger.connect(true);
    for id in (1000..).take(LOOKS_MAX) {
        assert!(matches!(ledger.enter(id, true, 9), Entered::New(_)));
    }
    ledger.connect(true);
    ledger.enter(5000, true, 1);
    assert_eq!(ledger.missing(), Some(0));
}

#[test]
fn without_dup_nothing_is_a_repeat_of_a_broker_that_sets_it() {
    let mut ledger = ledger_with(&[1, 2, 3]);
    ledger.settle(run(0, 1), Outcome::Delivered);
    assert_eq!(acknowledged(&mut ledger), [1], "written, and lost with the link");
    ledger.connect(true);
    assert_eq!(ledger.enter(2, true, 2), Entered::Known);
    ledger.connect(true);
    assert_eq!(ledger.enter(1, false, 1), Entered::New(3));
    assert_eq!(ledger.missing(), Some(2), "so it ends the repeats");
}

/// What a broker gave ids to on a connection that broke is no wide step of its counter.
#[test]
fn what_was_sent_before_and_never_came_takes_no_trust_from_the_ids() {
    let mut ledger = counting_up(10);
    ledger.connect(true);
    for id in 101..=3101 {
        let Entered::New(ordinal) = ledger.enter(id, id < 3101, 7) else { panic!("{id}") };
        ledger.settle(run(ordinal, 1), Outcome::Delivered);
        assert_eq!(acknowledged(&mut ledger), [id]);
    }
    assert!(ledger.unheard.is_sure());
}

/// Else an id that was given away again would be taken for one whose acknowledgement was lost.
#[test]
fn a_broker_that_exceeds_its_window_is_trusted_for_fewer_ids() {
    let mut ledger = Ledger::new(10, 10);
    ledger.connect(false);
    for id in 1..=30 {
        assert!(matches!(ledger.enter(id, false, 7), Entered::New(_)));
    }
    ledger.settle(run(0, 30), Outcome::Delivered);
    assert_eq!(acknowledged(&mut ledger).len(), 30);
    for (id, expected) in [(31..=120, false), (121..=121, true)] {
        for id in id {
            let Entered::New(ordinal) = ledger.enter(id, false, 7) else { panic!("{id}") };
            ledger.settle(run(ordinal, 1), Outcome::Delivered);
            acknowledged(&mut ledger);
        }
        assert_eq!(ledger.unheard.is_sure(), expected, "a rise of four times 30");
    }
}

/// A broker can have more of them under way than its window has messages.
#[test]
fn as_many_acknowledgements_are_remembered_as_are_asked_for() {
    let mut ledger = counting_up(40);
    ledger.connect(true);
    assert_eq!(ledger.enter(61, true, 7), Entered::Known);
    assert_eq!(ledger.enter(60, true, 7), Entered::New(100));
    assert_eq!(ledger.blocked_max, blocked_max(40, 1));
}

/// A broker that was set back in time: what it has given the id to is not known.
#[test]
fn a_held_id_is_none_whose_acknowledgement_was_lost() {
    let mut ledger = counting_up(10);
    ledger.connect(true);
    assert_eq!(ledger.enter(100, true, 9), Entered::New(100));
    ledger.connect(true);
    assert_eq!(ledger.enter(100, true, 7), Entered::New(101));
}

/// Each may have been a repeat without DUP, and only what is held waits for those.
#[test]
fn a_new_message_ends_the_repeats_also_where_nothing_is_held() {
    let mut ledger = counting_up(10);
    ledger.connect(true);
    assert_eq!(ledger.enter(91, false, 7), Entered::New(100));
    assert_eq!(ledger.enter(100, true, 7), Entered::New(101));
}

/// It may be as much as the queue has places, and all of it may have expired.
#[test]
fn what_does_not_come_again_counts_for_no_bound() {
    let held: Vec<u16> = (1..=u16::try_from(blocked_max(20, 1)).unwrap()).collect();
    let mut ledger = ledger_with(&held);
    ledger.connect(true);
    assert!(matches!(ledger.enter(60_000, false, 0), Entered::New(_)));
}

#[test]
fn what_waits_for_a_message_that_does_not_come_or_is_held_back_is_bounded() {
    for comes in [false, true] {
        let mut ledger = ledger_with(&[1, 2]);
        ledger.settle(run(0, 1), Outcome::Delivered);
        ledger.connect(true);
        if comes {
            ledger.hold();
            assert_eq!(ledger.enter(1, true, 1), Entered::Known);
        }
        let taken = (1000..).take_while(|id| {
            let Entered::New(ordinal) = ledger.enter(*id, true, 9) else { return false };
            ledger.settle(run(ordinal, 1), Outcome::Delivered);
            ledger.acknowledge(|_, _| {});
            true
        });
        assert_eq!(taken.take(9999).count(), blocked_max(20, 1) - 1, "and the first of all");
    }
}

/// Its ordinal tells which. One that has left is nobody's.
#[test]
fn a_reading_that_is_let_go_takes_its_own_message_with_it_and_no_other() {
    let mut ledger = ledger_with(&[1, 2]);
    ledger.let_go(1);
    ledger.settle(run(0, 1), Outcome::Delivered);
    assert_eq!((acknowledged(&mut ledger), ledger.waits()), (vec![1], false));
    let mut ledger = ledger_with(&[1, 2]);
    ledger.let_go(0);
    assert_eq!(ledger.connect(false), 1, "the second");
    let mut ledger = ledger_with(&[1, 2]);
    ledger.settle(run(0, 1), Outcome::Delivered);
    assert_eq!(acknowledged(&mut ledger), [1]);
    ledger.let_go(0);
    assert!(ledger.waits(), "for the second");
}
