//! The engine stepped with a disk that is full, or fails and is not needed any more.

use super::*;
use crate::spool::faulty_disk::Fault;
use crate::units::DiskSize;

/// A small plan with a queue of forty.
fn roomy() -> Plan {
    let mut plan = small();
    plan.queue.records_max = NonZeroU32::new(40).unwrap();
    plan
}

impl Bench {
    /// Goes on for so long with an output that answers at once, and says what it took.
    fn go_on(&mut self, steps: usize) -> Vec<String> {
        let mut values = Vec::new();
        for _ in 0..steps {
            while let Some(first) = self.came.first() {
                let number = first.number;
                values.extend(self.records().swap_remove(0));
                self.answer(number, Answer::Taken);
            }
            self.take();
            self.later(Duration::from_millis(100));
        }
        values
    }

    fn spins(&self) -> bool {
        self.worker.want().deadline.is_some_and(|at| at <= self.now.instant)
    }
}

#[test]
fn a_write_that_failed_and_is_not_needed_any_more_leaves_no_deadline() {
    let disk = Disk::default();
    let mut bench = Bench::on_disk(&disk, roomy());
    bench.connect(None, usize::MAX);
    bench.offer(&some(0..6));
    bench.take();
    bench.take();
    disk.break_with(Fault::Write(0));
    bench.later(AFTER);
    assert_eq!(bench.books.metrics.spool_failures.get(), 1);
    assert_eq!(bench.go_on(1), texts(0..6));
    disk.heal();
    bench.later(AFTER * 10);
    assert_eq!(bench.balance().held, 0);
    assert!(!bench.spins(), "the thread of the worker would not rest any more");
}

#[test]
fn a_disk_that_is_full_does_not_keep_what_it_holds_from_the_output() {
    let disk = Disk::default();
    let mut bench = Bench::on_disk(&disk, roomy());
    bench.later(AFTER);
    let mut value = 0;
    for step in 0..200 {
        if step == 20 {
            disk.fill();
        }
        value += u32::from(bench.offer_large(value, 50_000));
        bench.take();
        bench.later(Duration::from_millis(100));
    }
    assert!(bench.balance().held > bench.balance().spooled, "{:?}", bench.balance());
    assert!(bench.books.metrics.spool_failures.get() > 0);
    bench.connect(None, usize::MAX);
    let came = bench.go_on(300);
    assert_eq!(came.len(), value as usize, "{:?}", bench.balance());
    assert_eq!(bench.balance().held, 0);
}

#[test]
fn reading_goes_on_after_the_disk_failed_to_read_once() {
    let disk = Disk::default();
    let mut bench = Bench::on_disk(&disk, roomy());
    bench.later(AFTER);
    let mut value = 0;
    while value < 40 {
        value += u32::from(bench.offer_large(value, 200_000));
        bench.take();
        bench.later(Duration::from_millis(100));
    }
    bench.later(AFTER);
    assert_eq!(bench.balance().spooled, 40);
    drop(bench);
    let mut bench = Bench::on_disk(&disk, roomy());
    disk.break_with(Fault::Read);
    bench.connect(None, usize::MAX);
    assert_eq!(bench.books.metrics.spool_failures.get(), 1);
    disk.heal();
    let came = bench.go_on(300);
    assert!(!bench.spins());
    assert_eq!(came.len(), 40);
}

#[test]
fn a_stop_with_a_full_spool_and_a_working_output_drains() {
    let folder = tempfile::tempdir().unwrap();
    let mut plan = roomy();
    plan.spool.bytes_max = DiskSize::bytes(16 << 20);
    let mut bench = Bench::on_folder(&folder, plan);
    bench.connect(None, usize::MAX);
    bench.disconnect();
    bench.later(AFTER);
    let mut value = 0;
    for _ in 0..300 {
        value += u32::from(bench.offer_large(value, 200_000));
        bench.take();
        bench.later(Duration::from_millis(200));
    }
    assert!(bench.books.queue.held() > 0, "the spool is full");
    bench.connect(None, usize::MAX);
    bench.report(sink::Event::Stop);
    bench.inlet = None;
    let mut drained = false;
    for _ in 0..100 {
        bench.go_on(1);
        let want = bench.worker.want();
        let want = Want { hold: Duration::ZERO, deadline: Some(clock::now().instant), ..want };
        match bench.outlet.next(want) {
            Event::Deadline => {}
            event => bench.apply(event),
        }
        drained |= bench.worker.ended().is_some();
    }
    assert!(drained, "{:?}", bench.balance());
}

#[test]
fn a_disk_that_has_healed_with_nothing_to_write_leaves_no_deadline() {
    let disk = Disk::default();
    let mut bench = Bench::on_disk(&disk, roomy());
    bench.connect(None, usize::MAX);
    bench.offer(&some(0..3));
    bench.take();
    disk.break_with(Fault::Write(0));
    bench.disconnect();
    bench.later(AFTER);
    bench.connect(None, usize::MAX);
    bench.go_on(3);
    bench.disconnect();
    disk.heal();
    bench.later(AFTER * 3);
    bench.later(AFTER * 3);
    assert!(!bench.spins(), "away, and nothing to write");
}

/// What the file held is lost and said to be; the file is not touched again.
#[test]
fn a_spool_that_is_damaged_in_mid_run_is_given_up_and_the_rest_flows_on() {
    let disk = Disk::default();
    let mut bench = Bench::on_disk(&disk, roomy());
    bench.later(AFTER);
    bench.offer(&some(0..6));
    bench.take();
    bench.later(AFTER);
    assert_eq!(bench.balance().spooled, 6);
    disk.break_with(Fault::Write(0));
    bench.offer(&some(6..9));
    bench.take();
    bench.later(AFTER);
    disk.erase();
    disk.heal();
    bench.later(AFTER * 10);
    assert_eq!(bench.books.metrics.spool_unreadable.get(), 6);
    let failures = bench.books.metrics.spool_failures.get();
    bench.later(AFTER * 60);
    assert_eq!(bench.books.metrics.spool_failures.get(), failures, "not tried again");
    bench.connect(None, usize::MAX);
    bench.offer(&some(9..12));
    assert_eq!(bench.go_on(5), texts(6..12));
    let balance = bench.balance();
    assert_eq!((balance.received, balance.delivered, balance.held), (12, 6, 6));
    assert!(!bench.spins());
}

#[test]
fn a_stop_spools_within_its_grace() {
    let mut plan = roomy();
    plan.spool.after = crate::units::Period::millis(60_000);
    let disk = Disk::default();
    let mut bench = Bench::on_disk(&disk, plan);
    bench.connect(None, usize::MAX);
    bench.offer(&some(0..5));
    bench.take();
    bench.disconnect();
    bench.report(sink::Event::Stop);
    bench.inlet = None;
    bench.apply(Event::Ended);
    let within = bench.worker.want().deadline.unwrap() - bench.now.instant;
    assert!(
        within < Duration::from_secs(10),
        "gateway.shutdown_grace, not spool.after: {within:?}"
    );
    bench.later(within);
    assert_eq!(bench.worker.ended(), Some(Ended::Drained));
    assert_eq!(bench.balance().spooled, 5);
}

/// Forbidden after all, for good.
#[test]
fn a_dead_letter_that_is_always_refused_keeps_no_batch_from_the_output() {
    let disk = Disk::default();
    let mut bench = Bench::on_disk(&disk, roomy());
    bench.connect(None, usize::MAX);
    bench.offer(&some(0..3));
    bench.take();
    bench.answer(bench.came[0].number, Answer::Taken);
    bench.offer(&[None]);
    bench.take();
    let mut delivered = 0;
    for round in 0..200 {
        bench.offer(&some(round * 3 + 3..round * 3 + 6));
        bench.take();
        while let Some(first) = bench.came.first() {
            let (number, letter) =
                (first.number, first.message.topic.as_str() == "gateway/dead-letters");
            delivered += u32::from(!letter);
            let refusal = refusal(0x87);
            bench.answer(number, if letter { refusal } else { Answer::Taken });
            bench.take();
        }
        bench.later(Duration::from_millis(100));
    }
    assert_eq!((delivered, bench.balance().spooled), (200, 1));
    assert!(!bench.spins());
}

#[test]
fn refused_batches_do_not_wait_for_a_refused_dead_letter() {
    let refused = || refusal(0x87);
    let mut bench = Bench::proved();
    bench.offer(&[None; 3]);
    bench.take();
    let letter = bench.came[0].number;
    bench.answer(letter, refused());
    bench.offer(&some(3..9));
    bench.take();
    let (first, second) = (bench.came[0].number, bench.came[1].number);
    bench.answer(first, refused());
    bench.answer(second, refused());
    bench.later(Duration::from_secs(10));
    bench.answer(letter, refused());
    bench.answer(first, Answer::Taken);
    assert!(bench.came.iter().any(|it| it.number == second), "at once");
    bench.answer(second, Answer::Taken);
    assert!(bench.worker.want().records);
}

/// Refused for now, and then as too large: what it is replaced by goes, and what is new behind it.
#[test]
fn a_refused_batch_that_is_split_holds_back_nothing_more() {
    let mut bench = Bench::proved();
    bench.offer(&some(3..6));
    bench.take();
    let number = bench.came[0].number;
    bench.answer(number, refusal(0x97));
    bench.later(Duration::from_secs(10));
    bench.answer(number, refusal(0x95));
    while let Some(part) = bench.came.first() {
        let number = part.number;
        bench.answer(number, Answer::Taken);
    }
    assert!(bench.worker.want().records);
    assert_eq!((bench.balance().held, bench.balance().delivered), (0, 6));
}
