//! Tests of what a broker sends again: what is known, what is taken again, and what is against the protocol.

use super::*;

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
fn what_is_held_and_does_not_come_again_is_missing() {
    let mut ledger = ledger_with(&[1, 2, 3]);
    assert_eq!(ledger.missing(), None);
    ledger.connect(true);
    ledger.enter(2, true, 2);
    assert_eq!(ledger.missing(), None, "the others may still come");
    ledger.enter(9, false, 9);
    assert_eq!((ledger.missing(), ledger.missing()), (Some(2), None), "said once");
    ledger.connect(true);
    ledger.enter(2, true, 2);
    ledger.enter(9, true, 9);
    ledger.enter(10, false, 10);
    assert_eq!(ledger.missing(), Some(0));
    // 9 and 10 come again under other ids.
    ledger.connect(true);
    ledger.enter(1, true, 9);
    assert_eq!(ledger.missing(), Some(0), "a broker that counts from 1 again");
    for (id, digest) in [(4, 10), (2, 2), (9, 9), (10, 10)] {
        ledger.enter(id, true, digest);
    }
    assert_eq!(ledger.missing(), None, "said once");
    ledger.enter(3, false, 11);
    assert_eq!(ledger.missing(), None);
    ledger.connect(false);
    ledger.enter(1, false, 1);
    assert_eq!(ledger.missing(), None, "a lost session is another matter");
}

#[test]
fn a_ledger_that_holds_back_acknowledges_nothing_before_it_knows_what_is_missing() {
    let holding_back = || {
        let mut ledger = ledger_with(&[1, 2]);
        ledger.settle(run(0, 2), Outcome::Delivered);
        ledger.connect(true);
        ledger.hold();
        ledger.enter(1, true, 1);
        assert_eq!((acknowledged(&mut ledger), ledger.is_holding()), (vec![], true));
        ledger
    };
    let mut ledger = holding_back();
    ledger.enter(2, true, 2);
    assert_eq!((acknowledged(&mut ledger), ledger.missing()), (vec![1, 2], Some(0)));
    let mut ledger = holding_back();
    ledger.enter(3, false, 3);
    assert_eq!((acknowledged(&mut ledger), ledger.missing()), (vec![1], Some(1)));
    let mut ledger = holding_back();
    ledger.release();
    assert_eq!(acknowledged(&mut ledger), [1]);
    // Nothing is held: nothing can be missing.
    let mut ledger = ledger_with(&[]);
    ledger.connect(true);
    ledger.hold();
    assert!(!ledger.is_holding());
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
    ledger.settle(run(1, 1), Outcome::Delivered);
    assert_eq!((acknowledged(&mut ledger), ledger.waits()), (vec![5], false));
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

/// As Aedes and `FlashMQ` do.
#[test]
fn what_is_held_is_known_also_without_dup_and_amid_what_was_acknowledged_in_vain() {
    let mut ledger = ledger_with(&[1, 2, 3, 4]);
    ledger.settle(run(0, 1), Outcome::Delivered);
    assert_eq!(acknowledged(&mut ledger), [1], "written, and lost with the link");
    ledger.connect(true);
    assert_eq!(ledger.enter(1, false, 1), Entered::New(4), "nobody can tell");
    for id in [2, 3, 4] {
        assert_eq!(ledger.missing(), None);
        assert_eq!(ledger.enter(id, false, u64::from(id)), Entered::Known);
    }
    assert_eq!(ledger.missing(), Some(0));
    assert_eq!(ledger.enter(5, false, 5), Entered::New(5));
    ledger.settle(run(1, 5), Outcome::Delivered);
    assert_eq!((acknowledged(&mut ledger), ledger.open()), (vec![1, 2, 3, 4, 5], 0));
    assert_eq!(ledger.replaced(), 0);
}

/// Two gateways under one id tell each other by what is missing: a new message must show it at once, also
/// where acknowledgements may have been lost and the broker has not been seen to set DUP.
#[test]
fn a_new_message_ends_the_repeats_also_where_acknowledgements_may_have_been_lost() {
    let mut ledger = ledger_with(&[1, 2, 3, 4]);
    ledger.settle(run(0, 2), Outcome::Delivered);
    assert_eq!(acknowledged(&mut ledger), [1, 2]);
    ledger.connect(true);
    assert_eq!(ledger.enter(1, false, 1), Entered::New(4), "perhaps acknowledged in vain");
    assert_eq!(ledger.missing(), None, "what is held may still come");
    assert_eq!(ledger.enter(9, false, 9), Entered::New(5), "never seen before");
    assert_eq!(ledger.missing(), Some(2));
}

#[test]
fn a_held_id_without_dup_is_new_when_it_says_something_else_or_the_broker_knows_dup() {
    let mut ledger = ledger_with(&[1, 2]);
    ledger.connect(true);
    assert_eq!(ledger.enter(1, false, 99), Entered::New(2));
    assert_eq!((ledger.replaced(), ledger.replaced()), (1, 0));
    let mut ledger = ledger_with(&[1, 2]);
    ledger.connect(true);
    assert_eq!(ledger.enter(1, true, 1), Entered::Known);
    ledger.connect(true);
    assert_eq!(ledger.enter(1, false, 1), Entered::New(2), "its repeats have DUP");
    let mut ledger = ledger_with(&[1, 2]);
    ledger.connect(true);
    ledger.enter(9, false, 9);
    assert_eq!(ledger.enter(1, false, 1), Entered::New(3), "something new has come");
}

#[test]
fn an_id_that_is_open_on_this_connection_is_taken_no_second_time() {
    let mut ledger = ledger_with(&[1, 2]);
    let against = |entered| matches!(entered, Entered::Against(_));
    assert!(against(ledger.enter(1, false, 1)), "without DUP");
    assert!(against(ledger.enter(1, true, 9)), "another message");
    let known = (0..SENT_AGAIN_MAX).filter(|_| ledger.enter(2, true, 2) == Entered::Known).count();
    assert!(known + 1 == SENT_AGAIN_MAX && against(ledger.enter(2, true, 2)), "{known}");
    ledger.connect(true);
    for id in [1, 2] {
        let again = ledger.enter(id, true, u64::from(id));
        assert_eq!(again, Entered::Known, "a connection of its own");
    }
    assert!(against(ledger.enter(1, true, 2)), "what 2 says");
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

#[test]
fn lost_acknowledgements_are_known_where_ids_count_up_and_taken_again_where_they_do_not() {
    for (counts_up, expected) in [(true, Entered::Known), (false, Entered::New(100))] {
        let mut ledger = Ledger::new(10, 10);
        ledger.connect(false);
        let id = |n: u16| if counts_up { n + 1 } else { n % 10 + 1 };
        for (n, id) in (0..100_u16).map(|n| (n, id(n))) {
            assert_eq!(ledger.enter(id, false, 7), Entered::New(u64::from(n)));
            ledger.settle(run(u64::from(n), 1), Outcome::Delivered);
            assert_eq!(acknowledged(&mut ledger), [id]);
        }
        ledger.connect(true);
        let last = if counts_up { 100 } else { 10 };
        assert_eq!(ledger.enter(last, true, 7), expected);
        let again = if counts_up { vec![100] } else { vec![] };
        assert_eq!(acknowledged(&mut ledger), again);
    }
}

/// How a model broker gives out packet ids.
#[derive(Debug, Clone, Copy)]
enum Giving {
    CountsUp,
    LowestFree,
    LastFreed,
}

#[derive(Debug)]
struct Model {
    giving: Giving,
    window: usize,
    /// (packet id, which message), in the order they were sent first.
    unacked: Vec<(u16, u64)>,
    freed: Vec<u16>,
    counter: u16,
    messages: u64,
}

impl Model {
    fn send(&mut self) -> Option<(u16, u64)> {
        if self.unacked.len() >= self.window {
            return None;
        }
        let used = |id: &u16| self.unacked.iter().any(|it| it.0 == *id);
        let id = match self.giving {
            Giving::CountsUp => {
                self.counter = self.counter % 65_535 + 1;
                self.counter
            }
            Giving::LowestFree => (1..=u16::MAX).find(|id| !used(id)).unwrap(),
            Giving::LastFreed => self.freed.pop().unwrap_or_else(|| {
                self.counter += 1;
                self.counter
            }),
        };
        self.messages += 1;
        self.unacked.push((id, self.messages));
        Some((id, self.messages))
    }

    fn acknowledged(&mut self, id: u16) {
        let at = self.unacked.iter().position(|it| it.0 == id);
        self.unacked.remove(at.expect("only what is unacknowledged is acknowledged"));
        self.freed.push(id);
    }
}

#[derive(Debug, Clone)]
enum Fate {
    Send(usize),
    Settle(usize),
    /// The broker hears so many of the last acknowledgements, then sends on, and the link is cut
    /// before we have read any of that.
    Cut {
        heard: usize,
        unread: usize,
    },
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = prop_oneof![
        5 => (1_usize..8).prop_map(Fate::Send),
        5 => (1_usize..8).prop_map(Fate::Settle),
        1 => (0_usize..8, 0_usize..8).prop_map(|(heard, unread)| Fate::Cut { heard, unread }),
    ];
    prop::collection::vec(fate, 1..200)
}

fn givings() -> impl Strategy<Value = Giving> {
    prop_oneof![Just(Giving::CountsUp), Just(Giving::LowestFree), Just(Giving::LastFreed)]
}

proptest! {
    /// Every message says the same, so only the ids tell. Whatever the broker, a message is
    /// only known if it was taken: nothing is lost. Once a broker is seen to count up, nothing
    /// is taken twice.
    #[test]
    fn no_message_is_mistaken_for_another(fates in fates(), giving in givings(), window in 2_usize..8) {
        let mut broker = Model { giving, window, unacked: Vec::new(), freed: Vec::new(), counter: 0, messages: 0 };
        let mut ledger = Ledger::new(window, 4 * window);
        ledger.connect(false);
        let mut taken = HashSet::new();
        let mut unsettled = VecDeque::new();
        // Acknowledgements on their way to the broker.
        let mut under_way = VecDeque::new();
        for fate in fates {
            match fate {
                Fate::Send(count) => for _ in 0..count {
                    while let Some(id) = under_way.pop_front() {
                        broker.acknowledged(id);
                    }
                    let Some((id, message)) = broker.send() else { break };
                    let Entered::New(ordinal) = ledger.enter(id, false, 7) else { panic!("new messages are taken") };
                    taken.insert(message);
                    unsettled.push_back(ordinal);
                },
                Fate::Settle(count) => for _ in 0..count {
                    let Some(ordinal) = unsettled.pop_front() else { break };
                    ledger.settle(run(ordinal, 1), Outcome::Delivered);
                },
                Fate::Cut { heard, unread } => {
                    for id in under_way.drain(..).take(heard) {
                        broker.acknowledged(id);
                    }
                    for _ in 0..unread {
                        broker.send();
                    }
                    let sure = ledger.unheard.is_sure();
                    ledger.connect(true);
                    for (id, message) in broker.unacked.clone() {
                        match ledger.enter(id, true, 7) {
                            Entered::Against(what) => prop_assert!(false, "{}", what),
                            Entered::Known => prop_assert!(taken.contains(&message), "lost"),
                            Entered::New(ordinal) => {
                                let first = taken.insert(message);
                                prop_assert!(first || !sure, "taken twice");
                                unsettled.push_back(ordinal);
                            }
                        }
                    }
                }
            }
            ledger.acknowledge(|id, _| under_way.push_back(id));
        }
    }
}

/// A ledger that has acknowledged 100 messages that all say the same, of a broker that counts its ids up. It
/// remembers so many.
pub(super) fn counting_up(remembered: usize) -> Ledger {
    let mut ledger = Ledger::new(10, remembered);
    ledger.connect(false);
    for id in 1..=100 {
        let Entered::New(ordinal) = ledger.enter(id, false, 7) else { panic!("{id}") };
        ledger.settle(run(ordinal, 1), Outcome::Delivered);
        assert_eq!(acknowledged(&mut ledger), [id]);
    }
    ledger
}

/// To know a message that was never taken is to lose it.
#[test]
fn acknowledgements_are_forgotten_with_their_session_and_when_something_new_has_come() {
    let mut ledger = counting_up(10);
    ledger.connect(false);
    ledger.connect(true);
    assert_eq!(ledger.enter(100, true, 7), Entered::New(100), "its session is another one");
    let mut ledger = counting_up(10);
    ledger.connect(true);
    assert_eq!(ledger.enter(101, false, 7), Entered::New(100));
    assert_eq!(
        ledger.enter(100, true, 7),
        Entered::New(101),
        "repeats come before all that is new"
    );
}

/// Of what was acknowledged in vain no more comes between the repeats than acknowledgements were written.
#[test]
fn no_more_comes_between_the_repeats_than_acknowledgements_can_have_been_lost() {
    let mut ledger = ledger_with(&[1, 2, 3]);
    ledger.settle(run(0, 1), Outcome::Delivered);
    assert_eq!(acknowledged(&mut ledger), [1]);
    ledger.connect(true);
    for (ordinal, missing) in [(3, None), (4, Some(2))] {
        assert_eq!(ledger.enter(1, false, 1), Entered::New(ordinal));
        ledger.settle(run(ordinal, 1), Outcome::Delivered);
        assert_eq!((acknowledged(&mut ledger), ledger.missing()), (vec![1], missing));
    }
}

#[test]
fn what_one_connection_may_bring_again_begins_anew_with_the_next() {
    let mut ledger = ledger_with(&[1]);
    for _ in 0..2 {
        for _ in 0..SENT_AGAIN_MAX {
            assert_eq!(ledger.enter(1, true, 1), Entered::Known);
        }
        assert!(matches!(ledger.enter(1, true, 1), Entered::Against(_)));
        ledger.connect(true);
        assert_eq!(ledger.enter(1, true, 1), Entered::Known, "held");
    }
}

/// Each look goes through all that is held: what a broker invents costs no more than so many.
#[test]
fn so_many_messages_and_no_more_are_looked_for_among_all_that_is_held() {
    for (strangers, missing) in [(LOOKS_MAX - 1, Some(0)), (LOOKS_MAX, None)] {
        let mut ledger = ledger_with(&[1, 2]);
        ledger.connect(true);
        for id in (1000..).take(strangers) {
            assert!(matches!(ledger.enter(id, true, 9), Entered::New(_)));
        }
        assert!(matches!(ledger.enter(5000, true, 1), Entered::New(_)));
        assert_eq!(ledger.missing(), missing, "{strangers}");
    }
}

#[test]
fn an_id_of_qos_2_is_one_of_qos_1_on_the_next_connection_if_it_comes_so() {
    let mut ledger = Ledger::new(20, 20);
    ledger.connect(true);
    ledger.expect_qos_2(4);
    assert_eq!(ledger.enter(4, true, 4), Entered::New(0));
    ledger.connect(true);
    assert_eq!(ledger.enter(4, true, 4), Entered::Known);
    ledger.settle(run(0, 1), Outcome::Delivered);
    ledger.acknowledge(|id, answer| assert_eq!((id, answer), (4, Answer::PubAck)));
    assert!(!ledger.waits());
}
