//! The bounds of what is in flight, what is shown of it, and what a stop leaves, stepped.

use super::*;
use crate::limits::{
    DEAD_LETTER_BYTES_IN_FLIGHT_MAX, DEAD_LETTER_HEAD_BYTES_MAX, DEAD_LETTERS_IN_FLIGHT_MAX,
    RECONNECT_PAUSE, WAITING_MAX,
};
use crate::mqtt::options::Version;
use crate::units::Period as Time;

impl Bench {
    /// Offers unreadable payloads of so many bytes, each of which is six of JSON.
    fn offer_rubbish(&mut self, count: usize, bytes: usize) {
        let mut chunk = Chunk::default();
        for _ in 0..count {
            let row = self.books.registry.row_left("a", None);
            let body = rubbish(&mut chunk, &"\u{1}".repeat(bytes));
            let record = self.record(&row, body);
            chunk.records.push(record);
        }
        assert!(self.offer_chunk(&mut chunk));
    }

    /// Ends the queue, as a drain does.
    fn drain(&mut self) {
        self.inlet = None;
        self.apply(Event::Ended);
    }
}

#[test]
fn dead_letters_in_flight_are_bounded_in_bytes() {
    let mut bench = Bench::connected(|plan| {
        plan.queue.records_max = NonZeroU32::new(1000).unwrap();
        plan.batch.records_max = NonZeroU32::new(20).unwrap();
    });
    bench.offer_rubbish(40 * 20, DEAD_LETTER_HEAD_BYTES_MAX);
    bench.take();
    let sizes: Vec<_> = bench.letters().iter().map(|it| it.message.payload.len()).collect();
    let bytes: usize = sizes.iter().sum();
    assert!(sizes.len() < 40 && bytes >= DEAD_LETTER_BYTES_IN_FLIGHT_MAX, "{bytes} bytes");
    assert!(bytes - sizes.last().unwrap() < DEAD_LETTER_BYTES_IN_FLIGHT_MAX, "{bytes} bytes");
    bench.answer(bench.came[0].number, Answer::Taken);
    assert_eq!(bench.letters().len(), sizes.len(), "one has made room for one");
}

/// The first has no answer, and each behind it is taken at once: what is remembered of them is bounded, too.
#[test]
fn what_is_answered_behind_a_silent_one_goes_no_further_than_the_span() {
    let mut bench = Bench::connected(|plan| {
        plan.queue.records_max = NonZeroU32::new(500).unwrap();
        plan.batch.records_max = NonZeroU32::new(1).unwrap();
    });
    bench.offer_rubbish(300, 1);
    bench.take();
    let mut taken = 0;
    while let Some(second) = bench.came.get(1) {
        bench.answer(second.number, Answer::Taken);
        taken += 1;
    }
    let window_batches = 2;
    assert_eq!(taken, window_batches + DEAD_LETTERS_IN_FLIGHT_MAX);
    bench.answer(bench.came[0].number, Answer::Taken);
    assert_eq!(bench.came.len(), DEAD_LETTERS_IN_FLIGHT_MAX, "on it goes");
}

/// It waits for its next attempt, and is not on its way.
#[test]
fn a_refused_dead_letter_takes_nothing_from_the_receive_maximum() {
    let mut bench = Bench::proved();
    bench.connect(None, 1);
    bench.offer(&[None; 3]);
    bench.take();
    bench.answer(bench.letters()[0].number, refusal(0x97));
    bench.offer(&some(3..6));
    bench.take();
    assert_eq!(bench.records(), [texts(3..6)]);
}

#[test]
fn a_drain_publishes_the_open_batch_of_letters_at_once_and_ends_with_its_answer() {
    let mut bench = Bench::connected(|_| {});
    bench.offer(&[None]);
    bench.take();
    assert_eq!(bench.came.len(), 0, "more may come");
    bench.drain();
    assert_eq!((bench.came.len(), bench.worker.ended()), (1, None));
    bench.answer(bench.came[0].number, Answer::Taken);
    assert_eq!(bench.worker.ended(), Some(Ended::Drained));
    assert_eq!(bench.balance().dead_lettered, 1);
}

#[test]
fn an_abort_lets_go_of_letters_wherever_they_are() {
    let letters = DEAD_LETTERS_IN_FLIGHT_MAX + 20;
    let mut bench = Bench::connected(|plan| {
        plan.queue.records_max = NonZeroU32::new(200).unwrap();
        plan.batch.records_max = NonZeroU32::new(1).unwrap();
    });
    bench.offer(&vec![None; letters]);
    bench.take();
    assert_eq!(bench.books.gauges.letters_waiting.get(), 20, "the others are in flight");
    bench.report(sink::Event::Abort);
    let settled = bench.settled();
    assert!(settled.iter().all(|(_, outcome)| *outcome == Outcome::Abandoned));
    assert_eq!(settled.iter().map(|(run, _)| run.count).sum::<u64>(), letters as u64);
    assert_eq!((bench.books.queue.held(), bench.balance().held), (0, letters as u64));
}

#[test]
fn what_is_in_flight_is_shown_and_since_when() {
    let mut bench = Bench::connected(|_| {});
    let shown = |bench: &Bench| {
        let gauges = &bench.books.gauges;
        let counts = [&gauges.window_batches, &gauges.window_dead_letters, &gauges.letters_waiting];
        (counts.map(Gauge::get), gauges.moments().oldest.map(|at| bench.now.instant - at))
    };
    bench.offer(&some(0..3));
    bench.take();
    let batch = bench.came[0].number;
    bench.later(AFTER);
    assert_eq!(shown(&bench), ([1, 0, 0], Some(AFTER)));
    bench.offer(&[None]);
    bench.take();
    bench.answer(batch, Answer::Taken);
    assert_eq!(shown(&bench), ([0, 0, 1], Some(Duration::ZERO)), "in the open batch");
    bench.later(AFTER);
    assert_eq!(shown(&bench), ([0, 1, 0], Some(AFTER)), "of its own age");
    bench.answer(bench.came[0].number, Answer::Taken);
    assert_eq!(shown(&bench), ([0, 0, 0], None));
}

/// What has been taken once may be taken again: only at the start a refusal for good ends the gateway.
#[test]
fn a_refusal_for_good_after_something_was_taken_is_counted_and_tried_again() {
    let mut bench = Bench::connected(|plan| plan.gateway.start_grace = Time::millis(0));
    bench.offer(&some(0..3));
    bench.take();
    bench.answer(bench.came[0].number, Answer::Taken);
    bench.offer(&some(3..6));
    bench.take();
    for n in 1..=3 {
        bench.answer(bench.came[0].number, refusal(0x87));
        assert_eq!(bench.books.metrics.publishes_refused.get(), n);
        bench.later(Duration::from_secs(10));
        assert_eq!(bench.books.metrics.batches_resent.get(), n);
    }
    bench.disconnect();
    bench.connect(None, usize::MAX);
    assert_eq!(bench.books.metrics.batches_resent.get(), 4, "and after a cut");
}

#[test]
fn pauses_after_refusals_grow_and_begin_anew_once_all_is_taken() {
    let mut bench = Bench::proved();
    let mut pauses = Vec::new();
    for round in 1..=2 {
        bench.offer(&some(round * 3..round * 3 + 3));
        bench.take();
        for _ in 0..4 {
            bench.answer(bench.came[0].number, refusal(0x97));
            pauses.push(bench.worker.want().deadline.unwrap() - bench.now.instant);
            bench.later(Duration::from_secs(10));
        }
        bench.answer(bench.came[0].number, Answer::Taken);
    }
    let (first, _) = RECONNECT_PAUSE;
    assert!(pauses[0] <= first && pauses[4] <= first, "{pauses:?}");
    assert!(pauses[3] > 2 * first && pauses[7] > 2 * first, "{pauses:?}");
}

/// Dead letters that nobody listens to are no batches.
#[test]
fn letters_that_nobody_subscribes_to_are_not_counted_as_batches() {
    let mut bench = Bench::connected(|_| {});
    bench.offer(&[None; 3]);
    bench.offer(&some(0..3));
    bench.take();
    bench.take();
    for number in [bench.came[0].number, bench.came[1].number] {
        bench.answer(number, Answer::TakenByNobody);
    }
    let balance = bench.balance();
    assert_eq!((balance.delivered, balance.dead_lettered), (3, 3));
    assert_eq!(bench.books.metrics.batches_without_subscriber.get(), 1);
}

/// What the spool holds goes into the window as far as there is room there, of each kind.
#[test]
fn letters_come_from_the_spool_as_far_as_they_have_room() {
    let folder = tempfile::tempdir().unwrap();
    let mut plan = small();
    plan.queue.records_max = NonZeroU32::new(200).unwrap();
    plan.batch.records_max = NonZeroU32::new(1).unwrap();
    let letters = DEAD_LETTERS_IN_FLIGHT_MAX + 20;
    let mut bench = Bench::on_folder(&folder, plan.clone());
    bench.connect(None, usize::MAX);
    bench.disconnect();
    bench.later(AFTER);
    bench.offer(&vec![None; letters]);
    for _ in 0..letters {
        bench.take();
        bench.later(AFTER);
    }
    assert_eq!(bench.balance().spooled, letters as u64);
    drop(bench);
    let mut bench = Bench::on_folder(&folder, plan);
    bench.connect(None, usize::MAX);
    assert_eq!(bench.letters().len(), DEAD_LETTERS_IN_FLIGHT_MAX);
}

#[test]
fn no_more_is_sealed_than_may_wait_for_a_disk_that_is_full_and_it_is_shown_since_when() {
    let disk = Disk::default();
    let mut plan = small();
    plan.queue.records_max = NonZeroU32::new(200).unwrap();
    let mut bench = Bench::on_disk(&disk, plan);
    bench.connect(None, usize::MAX);
    bench.disconnect();
    bench.later(AFTER);
    bench.offer(&some(0..6));
    bench.take();
    bench.later(AFTER);
    assert_eq!(bench.balance().spooled, 6);
    disk.fill();
    let (full, step) = (bench.now.instant, Duration::from_millis(100));
    for n in 2..40 {
        bench.offer(&some(n * 3..n * 3 + 3));
        bench.take();
        bench.later(step);
    }
    let gauges = &bench.books.gauges;
    assert!((1..=WAITING_MAX as u64).contains(&gauges.spool_waiting.get()));
    assert!(!bench.worker.want().records);
    // What the file had room for is written; the next batch is the oldest that waits.
    let written = u32::try_from(bench.balance().spooled / 3).unwrap();
    assert_eq!(gauges.moments().oldest, Some(full + step * (written - 2)));
}

/// What was sealed for a broker without limits, and is published to one that has some.
#[test]
fn what_comes_from_the_spool_is_parted_for_the_broker_of_today() {
    let folder = tempfile::tempdir().unwrap();
    let mut plan = small();
    plan.batch.records_max = NonZeroU32::new(9).unwrap();
    let mut bench = Bench::on_folder(&folder, plan.clone());
    bench.connect(None, usize::MAX);
    bench.offer(&some(0..9));
    bench.take();
    let bytes = bench.came[0].message.packet_bytes(Version::V5);
    bench.disconnect();
    bench.later(AFTER);
    assert_eq!(bench.balance().spooled, 9);
    drop(bench);
    let mut bench = Bench::on_folder(&folder, plan);
    bench.connect(Some(u32::try_from(bytes).unwrap() - 1), usize::MAX);
    assert!(bench.came.iter().all(|it| it.message.packet_bytes(Version::V5) < bytes));
    assert_eq!(bench.records().concat(), texts(0..9));
}

/// Twice together and three times alone; halves of a batch begin anew, because nobody has hung up on them.
#[test]
fn a_reading_is_hung_up_on_three_times_alone_before_it_becomes_a_dead_letter() {
    for (readings, expected) in [(1, 2 + 3), (2, 2 + 1 + 3)] {
        let mut bench = Bench::proved();
        for value in 0..readings {
            bench.offer_large(value, 6000);
        }
        bench.take();
        bench.later(AFTER);
        let mut hung_up = 0;
        while bench.letters().is_empty() {
            bench.hang_up();
            bench.connect(None, usize::MAX);
            hung_up += 1;
            assert!(hung_up < 20, "{:?}", bench.records());
        }
        assert_eq!(hung_up, expected, "{readings} readings");
    }
}

/// Its size is no reason to make batches smaller: one reading alone was too large.
#[test]
fn one_large_reading_that_is_hung_up_on_leaves_batches_as_they_are() {
    let mut bench = Bench::connected(|plan| plan.batch.records_max = NonZeroU32::new(16).unwrap());
    bench.offer(&some(0..16));
    bench.take();
    bench.answer(bench.came[0].number, Answer::Taken);
    bench.offer_large(7, 1100);
    bench.take();
    bench.later(AFTER);
    while bench.letters().is_empty() {
        bench.hang_up();
        bench.connect(None, usize::MAX);
    }
    bench.answer(bench.came[0].number, Answer::Taken);
    bench.offer(&some(16..32));
    bench.take();
    assert_eq!(bench.records(), [texts(16..32)]);
}
