//! The engine stepped: what follows from an answer, and from a connection that ended without one.

use super::*;
use crate::limits::RECONNECT_PAUSE;
use crate::units::Period;

fn is_dead_letter(it: &Publication) -> bool {
    it.message.topic.as_str() == "gateway/dead-letters"
}

/// One that has taken a batch of so many readings.
fn proved(records_max: u32) -> Bench {
    let mut bench = Bench::connected(|plan| {
        plan.batch.records_max = NonZeroU32::new(records_max).unwrap();
        plan.queue.records_max = NonZeroU32::new(200).unwrap();
    });
    bench.offer(&some(0..records_max));
    bench.take();
    bench.answer(bench.came[0].number, Answer::Taken);
    bench
}

#[test]
fn batches_that_were_taken_are_counted_and_dead_letters_are_none() {
    let mut bench = proved(3);
    bench.offer(&[None; 3]);
    bench.offer(&some(3..6));
    bench.take();
    bench.take();
    while let Some(first) = bench.came.first() {
        bench.answer(first.number, Answer::Taken);
    }
    let balance = bench.balance();
    assert_eq!((balance.delivered, balance.dead_lettered), (6, 3));
    assert_eq!(bench.books.metrics.batches_delivered.get(), 2);
}

#[test]
fn batches_are_no_larger_than_half_of_one_that_was_refused_as_too_large() {
    let mut bench = proved(16);
    bench.offer(&some(16..32));
    bench.take();
    bench.answer(bench.came[0].number, refusal(0x95));
    assert_eq!(bench.books.metrics.publishes_refused.get(), 0, "it is replaced, and not resent");
    while let Some(first) = bench.came.first() {
        bench.answer(first.number, Answer::Taken);
    }
    bench.offer(&some(32..48));
    bench.take();
    bench.later(AFTER);
    assert!(bench.came.len() > 1, "{:?}", bench.records());
}

/// One reading alone was too large: that says nothing of batches.
#[test]
fn a_reading_that_is_refused_as_too_large_leaves_batches_as_they_are() {
    let mut bench = proved(16);
    bench.offer_large(7, 1100);
    bench.take();
    bench.later(AFTER);
    bench.answer(bench.came[0].number, refusal(0x95));
    assert!(is_dead_letter(&bench.came[0]));
    bench.answer(bench.came[0].number, Answer::Taken);
    bench.offer(&some(16..32));
    bench.take();
    assert_eq!(bench.records(), [texts(16..32)]);
}

#[test]
fn a_dead_letter_that_cannot_be_made_smaller_is_resent_after_a_pause() {
    let mut bench = proved(3);
    bench.offer(&[None]);
    bench.take();
    bench.later(AFTER);
    let mut refused = 0;
    while let Some(first) = bench.came.first() {
        bench.answer(first.number, refusal(0x95));
        refused += 1;
        assert!(refused < 20);
    }
    assert_eq!(bench.books.metrics.publishes_refused.get(), 1, "the last of {refused}");
    bench.later(Duration::from_secs(10));
    bench.answer(bench.came[0].number, Answer::Taken);
    assert_eq!(bench.balance().dead_lettered, 1);
}

/// Refuses the oldest until the gateway fails, with the code for the time that has passed; how many times, and how long
/// that took. The pauses in between are random.
fn refuse_until_failed(bench: &mut Bench, mut code: impl FnMut(Duration) -> u8) -> (u32, Duration) {
    let start = bench.now.instant;
    for times in 1..60 {
        let passed = bench.now.instant - start;
        let (number, answer) = (bench.came[0].number, refusal(code(passed)));
        bench.came.clear();
        let answered = sink::Event::Answered { number, answer };
        let answered = std::iter::once(Event::Reported(answered));
        if bench.worker.apply_all(bench.now, answered).is_err() {
            return (times, passed);
        }
        let pause = bench.worker.want().deadline.unwrap() - bench.now.instant;
        bench.later(pause.max(Duration::from_secs(1)));
    }
    panic!("it does not fail");
}

#[test]
fn refusals_for_good_end_the_gateway_at_the_end_of_the_grace_and_any_other_begins_it_anew() {
    let start = |grace| {
        let mut bench = Bench::connected(|plan| plan.gateway.start_grace = Period::millis(grace));
        bench.offer(&some(0..3));
        bench.take();
        bench
    };
    assert_eq!(refuse_until_failed(&mut start(0), |_| 0x87).0, 1, "without any grace");
    let (good, now) = (0x87, 0x97);
    let seconds = Duration::from_secs;
    let (times, took) = refuse_until_failed(&mut start(20_000), |_| good);
    let is_grace = took >= seconds(20) && took < seconds(20) + RECONNECT_PAUSE.1;
    assert!(times > 3 && is_grace, "{times} {took:?}");
    let mut said = false;
    let (_, later) = refuse_until_failed(&mut start(20_000), |passed| {
        let other = passed >= seconds(10) && !std::mem::replace(&mut said, true);
        if other { now } else { good }
    });
    assert!(later >= seconds(30) && later > took, "{later:?}");
}

/// It is away although nothing waits for it.
#[test]
fn an_output_that_has_been_away_with_nothing_in_flight_is_stuck_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::on_folder(&folder, small());
    bench.connect(None, usize::MAX);
    bench.later(AFTER * 3);
    bench.disconnect();
    bench.later(AFTER);
    bench.offer(&some(0..3));
    bench.take();
    assert_eq!(bench.balance().spooled, 3);
}

#[test]
fn an_abort_lets_go_of_what_waits_for_the_disk() {
    let disk = Disk::default();
    let mut bench = Bench::on_disk(&disk, small());
    bench.connect(None, usize::MAX);
    bench.disconnect();
    bench.later(AFTER);
    disk.break_with(crate::spool::faulty_disk::Fault::Write(0));
    bench.offer(&some(0..15));
    bench.take();
    let trouble = bench.books.gauges.spool_trouble();
    assert!(trouble.as_ref().is_some_and(|it| it.starts_with("the spool fails")), "{trouble:?}");
    assert!(bench.books.gauges.spool_waiting.get() > 0);
    bench.report(sink::Event::Abort);
    let settled = bench.settled();
    assert!(settled.iter().all(|(_, outcome)| *outcome == Outcome::Abandoned));
    assert_eq!(settled.iter().map(|(run, _)| run.count).sum::<u64>(), 15);
}

/// The trouble is over once something is written.
#[test]
fn a_disk_that_works_again_is_no_trouble_any_more() {
    let disk = Disk::default();
    let mut bench = Bench::on_disk(&disk, small());
    bench.connect(None, usize::MAX);
    bench.offer(&some(0..3));
    bench.take();
    disk.break_with(crate::spool::faulty_disk::Fault::Write(0));
    bench.later(AFTER);
    assert!(bench.books.gauges.spool_trouble().is_some());
    let tried_again = bench.worker.want().deadline.unwrap();
    assert!(tried_again > bench.now.instant, "after a pause");
    disk.heal();
    bench.later(AFTER);
    assert_eq!((bench.books.gauges.spool_trouble(), bench.balance().spooled), (None, 3));
    bench.offer(&some(3..9));
    bench.take();
    assert_eq!(bench.balance().spooled, 9, "at once: it has no pause any more");
}

/// Twice together and three times alone: then it waits, and nothing with it.
#[test]
fn a_dead_letter_is_withheld_after_three_hang_ups_alone_and_the_rest_goes_out_together() {
    let mut bench = proved(3);
    bench.offer(&[None]);
    bench.take();
    bench.later(AFTER);
    bench.offer(&some(3..9));
    bench.take();
    let mut hung_up = 0;
    while bench.came.first().is_some_and(is_dead_letter) {
        assert!(bench.records().len() == if hung_up < 2 { 3 } else { 1 }, "{hung_up}");
        bench.end_over(sink::Why::Silent);
        bench.connect(None, usize::MAX);
        hung_up += 1;
        assert!(hung_up < 20);
    }
    assert_eq!(bench.records(), [texts(3..6), texts(6..9)], "together");
    // The letter was halved on the way, which is not counted against its smaller one.
    assert!(hung_up >= 2 + 3, "{hung_up}");
    for number in [bench.came[0].number, bench.came[1].number] {
        bench.answer(number, Answer::Taken);
    }
    // A trial that fails says nothing of the rest.
    bench.later(Duration::from_mins(1));
    for _ in 0..3 {
        assert!(bench.came.len() == 1 && is_dead_letter(&bench.came[0]), "{:?}", bench.came);
        bench.hang_up();
        bench.connect(None, usize::MAX);
        bench.later(Duration::from_mins(8));
    }
    bench.answer(bench.came[0].number, Answer::Taken);
    assert_eq!(bench.balance().held, 0);
}

/// Each time it is half as large, until it is so small that its size is no reason.
#[test]
fn a_large_dead_letter_that_is_hung_up_on_is_soon_small_and_withheld() {
    let mut bench = proved(3);
    let mut chunk = Chunk::default();
    let row = bench.books.registry.row_left("a", None);
    let body = rubbish(&mut chunk, &"\u{1}".repeat(1000));
    chunk.records.push(bench.record(&row, body));
    assert!(bench.offer_chunk(&mut chunk));
    bench.take();
    bench.later(AFTER);
    assert!(bench.came[0].message.payload.len() > 6000);
    let mut hung_up = 0;
    while !bench.came.is_empty() {
        bench.hang_up();
        bench.connect(None, usize::MAX);
        hung_up += 1;
        assert!(hung_up < 40, "{} bytes", bench.came[0].message.payload.len());
    }
}

/// No size is the reason, and there is nothing to withhold: the rest waits, and dead letters do not.
#[test]
fn a_small_batch_that_is_never_answered_is_published_alone_for_good() {
    let mut bench = proved(3);
    bench.offer(&some(3..9));
    bench.take();
    for silent in 1..12 {
        bench.end_over(sink::Why::Silent);
        bench.connect(None, usize::MAX);
        assert_eq!(bench.came.len(), if silent < 2 { 2 } else { 1 }, "{silent}");
    }
    while let Some(first) = bench.came.first() {
        bench.answer(first.number, Answer::Taken);
    }
    bench.offer(&[None]);
    bench.take();
    bench.later(AFTER);
    assert!(bench.came.first().is_some_and(is_dead_letter), "none is withheld");
}

#[test]
fn what_stands_for_a_reading_that_is_hung_up_on_is_smaller_than_it() {
    let mut bench = proved(3);
    // Its dead letter would show nearly all of it.
    bench.offer_large(7, 1050);
    bench.take();
    bench.later(AFTER);
    let bytes = bench.came[0].message.payload.len();
    while !is_dead_letter(&bench.came[0]) {
        bench.hang_up();
        bench.connect(None, usize::MAX);
    }
    assert!(bench.came[0].message.payload.len() < bytes);
}

#[test]
fn a_connection_that_is_ended_over_a_size_is_shown_as_that() {
    let mut bench = proved(3);
    bench.offer(&some(3..6));
    bench.take();
    for _ in 0..2 {
        bench.end_over(sink::Why::TooLarge);
        bench.connect(None, usize::MAX);
    }
    let refusal = bench.books.gauges.refusal().unwrap().to_string();
    assert!(refusal.contains("packet too large"), "{refusal}");
}

/// Its next read is due, and there is no connection.
#[test]
fn a_paced_replay_rests_while_the_output_is_away() {
    let disk = Disk::default();
    let mut plan = small();
    let mut bench = Bench::on_disk(&disk, plan.clone());
    bench.later(AFTER);
    bench.offer(&some(0..9));
    (0..3).for_each(|_| bench.take());
    assert_eq!(bench.balance().spooled, 9);
    drop(bench);
    plan.spool.replay_rate = NonZeroU32::new(3);
    let mut bench = Bench::on_disk(&disk, plan);
    bench.connect(None, usize::MAX);
    assert_eq!(bench.came.len(), 1);
    bench.answer(bench.came[0].number, Answer::Taken);
    bench.disconnect();
    bench.later(AFTER * 5);
    let deadline = bench.worker.want().deadline;
    assert!(deadline.is_none_or(|at| at > bench.now.instant), "the worker never rests");
}
