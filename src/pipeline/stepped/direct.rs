//! The engine stepped without a spool.

use proptest::prelude::*;

use super::*;
use crate::mqtt::options::Version;

#[test]
fn nothing_settles_before_the_broker_has_answered() {
    let mut bench = Bench::connected(|_| {});
    bench.offer(&some(0..3));
    bench.take();
    assert_eq!(bench.records(), [["0", "1", "2"]]);
    assert_eq!((bench.settled().len(), bench.balance().held), (0, 3));
    let number = bench.came[0].number;
    bench.answer(number, Answer::Taken);
    let run = Run { source: SourceIndex(0), first: 0, count: 3 };
    assert_eq!(bench.settled(), [(run, Outcome::Delivered)]);
    assert_eq!((bench.balance().held, bench.balance().delivered), (0, 3));
    bench.answer(number, Answer::Taken);
    assert_eq!(bench.balance().delivered, 3, "a second answer is ignored");
}

#[test]
fn records_wait_in_the_queue_until_the_broker_is_known() {
    let mut bench = Bench::new(|_| {});
    bench.offer(&some(0..3));
    bench.take();
    assert!(!bench.worker.want().records);
    bench.connect(None, usize::MAX);
    bench.take();
    assert_eq!(bench.records(), [["0", "1", "2"]]);
}

#[test]
fn a_batch_is_sealed_by_age_and_when_nothing_more_can_come() {
    let mut bench = Bench::connected(|_| {});
    bench.offer(&some(0..4));
    bench.take();
    assert!(!bench.worker.want().stalled, "the batch in flight will settle");
    bench.answer(bench.came[0].number, Answer::Taken);
    assert!(bench.worker.want().stalled);
    bench.apply(Event::Stalled);
    assert_eq!(bench.records(), [["3"]]);
    assert_eq!(bench.books.metrics.sealed_starved.get(), 1);
    bench.offer(&some(4..5));
    bench.take();
    assert_eq!(bench.records().len(), 1);
    bench.later(Duration::from_secs(1));
    assert_eq!(bench.records(), [["3"], ["4"]]);
    assert_eq!(bench.books.metrics.sealed_aged.get(), 1);
}

#[test]
fn what_was_not_answered_is_published_again_in_order_before_anything_new() {
    let mut bench = Bench::connected(|_| {});
    bench.offer(&some(0..9));
    bench.take();
    assert_eq!(bench.records().len(), 2, "the window holds two");
    let first: Vec<_> = bench.came.iter().map(|it| it.message.payload.clone()).collect();
    bench.disconnect();
    bench.connect(None, usize::MAX);
    let again: Vec<_> = bench.came.iter().map(|it| it.message.payload.clone()).collect();
    assert_eq!(first, again, "the same bytes, in the same order");
    bench.answer(bench.came[0].number, Answer::Taken);
    assert_eq!(bench.records(), [["3", "4", "5"], ["6", "7", "8"]]);
}

#[test]
fn a_window_that_is_full_of_one_batch_leaves_letters_their_room() {
    let mut bench = Bench::connected(|plan| {
        plan.output.window_batches = NonZeroU16::new(1).unwrap();
    });
    bench.offer(&some(0..3));
    bench.offer(&[None; 5]);
    bench.offer(&some(3..6));
    bench.take();
    assert_eq!(bench.came.len(), 1, "one batch fills the window");
    bench.answer(bench.came[0].number, Answer::Taken);
    assert_eq!(bench.records(), [texts(3..6), vec![]], "the batch, and three of the letters");
    let letters = bench.came[1].clone();
    assert_eq!(letters.message.topic.as_str(), "gateway/dead-letters");
    bench.answer(letters.number, Answer::Taken);
    assert_eq!(bench.balance().dead_lettered, 3);
}

#[test]
fn the_brokers_receive_maximum_is_respected() {
    let mut bench = Bench::connected(|plan| {
        plan.output.window_batches = NonZeroU16::new(16).unwrap();
    });
    bench.connect(None, 1);
    bench.offer(&some(0..9));
    bench.take();
    assert_eq!(bench.came.len(), 1);
}

#[test]
fn a_batch_fits_the_brokers_packets() {
    let mut bench = Bench::new(|plan| plan.batch.records_max = NonZeroU32::new(15).unwrap());
    bench.connect(Some(1200), usize::MAX);
    bench.offer(&some(0..15));
    bench.take();
    assert!(bench.books.metrics.sealed_heavy.get() > 0);
    assert!(bench.came.iter().all(|it| it.message.payload.len() < 1200));
}

#[test]
fn a_batch_that_no_longer_fits_is_split_and_settles_when_all_parts_are_answered() {
    let mut bench = Bench::new(|plan| plan.batch.records_max = NonZeroU32::new(15).unwrap());
    bench.connect(None, usize::MAX);
    bench.offer(&some(0..15));
    bench.take();
    assert_eq!(bench.came.len(), 1);
    let id = bench.came[0].message.properties[0].1.clone();
    bench.disconnect();
    bench.connect(Some(1200), usize::MAX);
    assert!(bench.came.len() > 1, "in parts now");
    let values: Vec<_> = bench.records().concat();
    assert_eq!(values, (0..15).map(|value| value.to_string()).collect::<Vec<_>>());
    for (at, part) in (1..).zip(&bench.came) {
        assert!(part.message.packet_bytes(Version::V5) <= 1200);
        assert_eq!(part.message.properties[0].1, format!("{id}.{at}"));
    }
    let first = bench.came.len();
    bench.disconnect();
    bench.connect(Some(800), usize::MAX);
    assert!(bench.came.len() > first, "and in smaller ones");
    assert_eq!(bench.records().concat(), values);
    while let Some(part) = bench.came.first() {
        assert_eq!(bench.balance().delivered, 0);
        bench.answer(part.number, Answer::Taken);
    }
    assert_eq!(bench.balance().delivered, 15);
}

#[test]
fn a_record_that_the_broker_never_takes_is_a_dead_letter() {
    let mut bench = Bench::new(|plan| plan.batch.records_max = NonZeroU32::new(1).unwrap());
    bench.connect(Some(250), usize::MAX);
    bench.offer(&some(0..1));
    bench.take();
    bench.later(Duration::from_secs(1));
    let letter = bench.came[0].clone();
    assert_eq!(letter.message.topic.as_str(), "gateway/dead-letters");
    assert!(String::from_utf8_lossy(&letter.message.payload).contains("oversize"));
    bench.answer(letter.number, Answer::Taken);
    assert_eq!(bench.balance().dead_lettered, 1);
}

/// A batch of a small record and one that later fits nowhere.
#[test]
fn a_refused_dead_letter_that_is_a_part_of_a_batch_holds_back_no_batch() {
    let mut bench = Bench::connected(|plan| plan.batch.records_max = NonZeroU32::new(2).unwrap());
    bench.offer(&some(0..2));
    bench.take();
    bench.answer(bench.came[0].number, Answer::Taken);
    bench.offer(&some(2..3));
    bench.offer_large(3, 2000);
    bench.take();
    bench.connect(Some(1200), usize::MAX);
    let letters = |bench: &Bench| -> Vec<bool> {
        bench.came.iter().map(|it| it.message.topic.as_str() == "gateway/dead-letters").collect()
    };
    assert_eq!(letters(&bench), [false, true]);
    let (part, letter) = (bench.came[0].number, bench.came[1].number);
    bench.answer(letter, refusal(0x87));
    bench.answer(part, Answer::Taken);
    bench.offer(&some(4..6));
    bench.take();
    assert_eq!(bench.records(), [["4", "5"]], "goes on beside the letter");
    bench.answer(bench.came[0].number, Answer::Taken);
    bench.later(Duration::from_secs(10));
    assert_eq!(letters(&bench), [true], "tried again");
    bench.answer(letter, Answer::Taken);
    let balance = bench.balance();
    assert_eq!((balance.delivered, balance.dead_lettered, balance.held), (5, 1, 0));
}

#[test]
fn a_refused_batch_is_not_tried_again_before_its_pause_has_passed() {
    let mut bench = Bench::proved();
    bench.offer(&some(3..6));
    bench.take();
    let number = bench.came[0].number;
    bench.answer(number, refusal(0x97));
    let pause = bench.worker.want().deadline.unwrap() - bench.now.instant;
    bench.later(pause.checked_sub(Duration::from_millis(1)).unwrap());
    assert!(bench.came.is_empty(), "not yet");
    bench.later(Duration::from_millis(1));
    assert_eq!(bench.came[0].number, number);
    bench.later(Duration::from_secs(10));
    assert_eq!(bench.came.len(), 1, "once a refusal");
}

#[test]
fn a_refused_batch_is_tried_again_and_nothing_new_goes_meanwhile() {
    let mut bench = Bench::proved();
    bench.offer(&some(3..9));
    bench.take();
    let (first, second) = (bench.came[0].number, bench.came[1].number);
    bench.answer(first, refusal(0x97));
    bench.answer(second, Answer::Taken);
    assert!(!bench.worker.want().records, "nothing new while one is refused");
    assert_eq!(bench.balance().held, 3);
    bench.later(Duration::from_secs(10));
    assert_eq!(bench.came.iter().map(|it| it.number).collect::<Vec<_>>(), [first]);
    bench.answer(first, Answer::TakenByNobody);
    assert_eq!((bench.balance().held, bench.balance().delivered), (0, 9));
}

/// A broker that refuses all for a while, or by turns, does not change their order.
#[test]
fn refused_batches_are_tried_again_one_at_a_time_the_oldest_first() {
    let refused = || refusal(0x97);
    let mut bench = Bench::proved();
    bench.offer(&some(3..9));
    bench.take();
    let (first, second) = (bench.came[0].number, bench.came[1].number);
    let numbers = |bench: &Bench| bench.came.iter().map(|it| it.number).collect::<Vec<_>>();
    bench.answer(second, refused());
    bench.answer(first, refused());
    for _ in 0..3 {
        bench.later(Duration::from_secs(10));
        assert_eq!(numbers(&bench), [first]);
        bench.later(Duration::from_secs(10));
        assert_eq!(numbers(&bench), [first], "once a refusal");
        bench.answer(first, refused());
    }
    bench.later(Duration::from_secs(10));
    bench.answer(first, Answer::Taken);
    assert_eq!(numbers(&bench), [second], "at once");
    assert!(!bench.worker.want().records, "nothing new while one is refused");
    bench.answer(second, Answer::Taken);
    assert!(bench.worker.want().records);
    assert_eq!((bench.balance().held, bench.balance().delivered), (0, 9));
}

#[test]
fn what_was_tried_again_waits_for_its_answer_while_another_is_refused() {
    let mut bench = Bench::proved();
    bench.offer(&some(3..9));
    bench.take();
    let (first, second) = (bench.came[0].number, bench.came[1].number);
    let numbers = |bench: &Bench| bench.came.iter().map(|it| it.number).collect::<Vec<_>>();
    bench.answer(first, refusal(0x97));
    bench.later(Duration::from_secs(10));
    bench.answer(second, refusal(0x97));
    bench.later(Duration::from_secs(10));
    assert_eq!(numbers(&bench), [first], "the second behind it");
    bench.answer(first, Answer::Taken);
    bench.later(Duration::from_secs(10));
    assert_eq!(numbers(&bench), [second]);
}

#[test]
fn a_refusal_of_the_very_first_publication_is_a_failure_once_the_grace_is_over() {
    let mut bench = Bench::connected(|_| {});
    bench.offer(&some(0..3));
    bench.take();
    let number = bench.came[0].number;
    let refuse = |bench: &mut Bench| {
        let answer = refusal(0x87);
        let event = Event::Reported(sink::Event::Answered { number, answer });
        bench.worker.apply_all(bench.now, std::iter::once(event))
    };
    assert!(refuse(&mut bench).is_ok(), "an ACL may be loaded later than the broker");
    bench.later(Duration::from_mins(4));
    assert!(refuse(&mut bench).is_ok());
    bench.later(Duration::from_mins(2));
    let failure = refuse(&mut bench).unwrap_err();
    assert!(failure.to_string().contains("gateway/batches: not authorized"), "{failure}");
}

#[test]
fn a_drain_seals_what_is_open_and_ends_when_all_is_answered() {
    let mut bench = Bench::connected(|_| {});
    bench.offer(&some(0..1));
    bench.take();
    bench.inlet = None;
    bench.apply(Event::Ended);
    assert_eq!((bench.records(), bench.worker.ended()), (vec![vec!["0".to_owned()]], None));
    bench.answer(bench.came[0].number, Answer::Taken);
    assert_eq!(bench.worker.ended(), Some(Ended::Drained));
}

#[test]
fn an_abort_leaves_everything_held_and_unacknowledged() {
    let mut bench = Bench::connected(|_| {});
    bench.offer(&some(0..8));
    bench.take();
    bench.report(sink::Event::Abort);
    assert_eq!(bench.worker.ended(), Some(Ended::Aborted));
    assert_eq!((bench.balance().held, bench.balance().delivered), (8, 0));
    assert!(bench.settled().iter().all(|(_, outcome)| *outcome == Outcome::Abandoned));
}

#[derive(Debug, Clone)]
enum Step {
    Offer(usize),
    Rubbish,
    Take,
    Answer { pick: usize, refused: bool },
    Cut,
    Connect { packet: bool, few: bool },
    Later,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1_usize..6).prop_map(Step::Offer),
        1 => Just(Step::Rubbish),
        4 => Just(Step::Take),
        4 => (0_usize..9, prop::bool::weighted(0.1))
            .prop_map(|(pick, refused)| Step::Answer { pick, refused }),
        1 => Just(Step::Cut),
        2 => any::<(bool, bool)>().prop_map(|(packet, few)| Step::Connect { packet, few }),
        2 => Just(Step::Later),
    ];
    prop::collection::vec(step, 1..80)
}

proptest! {
    /// Whatever the sink does: every record that was taken settles once, at first publication in
    /// order, the books close at every step, and in the end nothing is held.
    #[test]
    fn everything_taken_settles_exactly_once(steps in steps()) {
        let mut bench = Bench::proved();
        let mut value = 3_u32;
        let mut settled = bench.settled();
        for step in steps {
            match step {
                Step::Offer(count) => {
                    let room = usize::try_from(20 - bench.books.queue.held()).unwrap();
                    let values: Vec<_> = (value..).take(count.min(room)).map(Some).collect();
                    value += u32::try_from(values.len()).unwrap();
                    prop_assert!(bench.offer(&values));
                }
                Step::Rubbish => {
                    if bench.books.queue.held() < 20 {
                        bench.offer(&[None]);
                    }
                }
                Step::Take => bench.take(),
                Step::Answer { pick, refused } => {
                    if let Some(it) = bench.came.get(pick % bench.came.len().max(1)) {
                        let refusal = refusal(0x97);
                        bench.answer(it.number, if refused { refusal } else { Answer::Taken });
                    }
                }
                Step::Cut => bench.disconnect(),
                Step::Connect { packet, few } => {
                    bench.disconnect();
                    bench.connect(packet.then_some(1500), if few { 1 } else { 99 });
                }
                Step::Later => {
                    bench.later(Duration::from_secs(10));
                }
            }
            prop_assert_eq!(bench.books.difference(), None);
            settled.extend(bench.settled());
        }
        bench.inlet = None;
        bench.disconnect();
        bench.connect(None, 99);
        for _ in 0..200 {
            bench.later(Duration::from_secs(10));
            bench.take();
            if bench.books.queue.held() == 0 || bench.worker.ended().is_some() {
                break;
            }
            while let Some(it) = bench.came.first() {
                bench.answer(it.number, Answer::Taken);
            }
            if !bench.worker.want().records {
                continue;
            }
            bench.apply(Event::Ended);
        }
        settled.extend(bench.settled());
        prop_assert_eq!(bench.books.queue.held(), 0);
        let mut ordinals: Vec<u64> =
            settled.iter().flat_map(|(run, _)| run.first..run.first + run.count).collect();
        let count = ordinals.len();
        ordinals.sort_unstable();
        ordinals.dedup();
        prop_assert_eq!(ordinals.len(), count, "nothing settles twice");
        let balance = bench.books.balance();
        prop_assert_eq!(balance.delivered + balance.dead_lettered, count as u64);
    }
}
