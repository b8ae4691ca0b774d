//! The engine stepped with a spool.

use std::sync::Mutex;

use super::*;
use crate::codec::{Format, Head};
use crate::limits::WAITING_MAX;
use crate::pipeline::in_flight::InFlight;
use crate::sealed::Sealed;
use crate::settlement::{Receipts, Settle, Settled, Share};
use crate::spool::DISK_RESERVE_BYTES;
use crate::window::Window;

impl Bench {
    /// Answers whatever comes until nothing does; says what came, by value, in order.
    fn answer_all(&mut self) -> Vec<String> {
        let mut values = Vec::new();
        while let Some(first) = self.came.first() {
            let number = first.number;
            values.extend(self.records().swap_remove(0));
            self.answer(number, Answer::Taken);
            self.take();
        }
        values
    }
}

#[test]
fn what_waits_for_the_output_too_long_settles_on_disk_and_is_published_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::on_folder(&folder, small());
    bench.connect(None, usize::MAX);
    bench.offer(&some(0..9));
    bench.take();
    bench.disconnect();
    bench.later(AFTER / 2);
    assert_eq!((bench.settled().len(), bench.balance().spooled), (0, 0), "not yet");
    bench.later(AFTER);
    bench.take();
    assert_eq!(bench.balance().spooled, 9, "the window, and what is sealed behind it");
    assert!(bench.settled().iter().all(|(_, outcome)| *outcome == Outcome::Spooled));
    bench.offer(&some(9..12));
    bench.take();
    assert_eq!((bench.balance().spooled, bench.books.queue.held()), (12, 0));
    bench.connect(None, usize::MAX);
    bench.offer(&some(12..15));
    bench.take();
    assert_eq!(bench.balance().spooled, 15, "nothing passes what is on disk");
    assert_eq!(bench.answer_all(), texts(0..15));
    let balance = bench.balance();
    assert_eq!((balance.delivered, balance.held, balance.spooled), (15, 0, 0));
    bench.offer(&some(15..18));
    bench.take();
    assert_eq!((bench.balance().spooled, bench.came.len()), (0, 1), "directly again");
}

#[test]
fn an_output_that_is_away_from_the_start_is_no_reason_to_wait() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::on_folder(&folder, small());
    bench.offer(&some(0..6));
    assert!(!bench.worker.want().records, "its limits are not known");
    bench.later(AFTER);
    bench.take();
    bench.later(AFTER);
    assert_eq!((bench.balance().spooled, bench.books.queue.held()), (6, 0));
    bench.connect(None, usize::MAX);
    assert_eq!(bench.answer_all(), texts(0..6));
}

#[test]
fn the_next_run_publishes_what_the_last_one_left_before_anything_new() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::on_folder(&folder, small());
    bench.later(AFTER);
    bench.offer(&some(0..3));
    bench.offer(&[None]);
    bench.take();
    bench.take();
    bench.later(AFTER);
    assert_eq!(bench.balance().spooled, 4);
    drop(bench);
    let mut bench = Bench::on_folder(&folder, small());
    let balance = bench.balance();
    assert_eq!((balance.received, balance.held, balance.spooled), (4, 4, 4));
    bench.offer(&some(10..13));
    bench.connect(None, usize::MAX);
    bench.take();
    let batch = Arc::clone(&bench.came[0].message);
    assert_eq!(batch.properties[0].0, "batch");
    assert!(bench.came[1].message.topic.as_str().ends_with("dead-letters"));
    assert_eq!(bench.answer_all(), [texts(0..3), texts(10..13)].concat());
    let balance = bench.balance();
    assert_eq!((balance.delivered, balance.dead_lettered, balance.held), (6, 1, 0));
    bench.later(AFTER * 2);
    drop(bench);
    assert_eq!(
        Bench::on_folder(&folder, small()).balance(),
        Balance::default(),
        "what has arrived left the disk"
    );
}

#[test]
fn a_repeat_after_a_crash_has_the_same_id_and_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::on_folder(&folder, small());
    bench.connect(None, usize::MAX);
    bench.offer(&some(0..3));
    bench.take();
    let first = Arc::clone(&bench.came[0].message);
    bench.later(AFTER);
    assert_eq!(bench.balance().spooled, 3, "an output that is silent is as good as away");
    drop(bench);
    let mut bench = Bench::on_folder(&folder, small());
    bench.connect(None, usize::MAX);
    let again = Arc::clone(&bench.came[0].message);
    assert_eq!((&again.payload, &again.properties), (&first.payload, &first.properties));
    assert_eq!(again.content_type, first.content_type);
}

#[test]
fn a_stop_with_the_output_away_leaves_everything_on_disk_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::on_folder(&folder, small());
    bench.connect(None, usize::MAX);
    bench.offer(&some(0..7));
    bench.take();
    bench.disconnect();
    bench.report(sink::Event::Stop);
    bench.inlet = None;
    bench.apply(Event::Ended);
    assert_eq!(bench.worker.ended(), None, "the output may come back");
    bench.later(AFTER);
    bench.take();
    assert_eq!(bench.worker.ended(), Some(Ended::Drained));
    let balance = bench.balance();
    assert_eq!((balance.held, balance.spooled), (7, 7));
    assert!(bench.settled().iter().all(|(_, outcome)| outcome.is_safe()));
}

#[test]
fn a_finite_run_waits_for_what_is_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::on_folder(&folder, small());
    bench.offer(&some(0..3));
    bench.later(AFTER);
    bench.take();
    bench.inlet = None;
    bench.apply(Event::Ended);
    bench.later(AFTER);
    assert_eq!(bench.worker.ended(), None);
    bench.connect(None, usize::MAX);
    bench.answer_all();
    assert_eq!(bench.worker.ended(), Some(Ended::Drained));
}

#[test]
fn reading_back_is_paced() {
    let folder = tempfile::tempdir().unwrap();
    let mut plan = small();
    plan.spool.replay_rate = NonZeroU32::new(3);
    let mut bench = Bench::on_folder(&folder, small());
    bench.later(AFTER);
    bench.offer(&some(0..9));
    while bench.worker.want().records && bench.books.queue.held() > 0 {
        bench.take();
    }
    drop(bench);
    let mut bench = Bench::on_folder(&folder, plan);
    bench.connect(None, usize::MAX);
    assert_eq!(bench.came.len(), 1);
    assert_eq!(bench.worker.want().deadline, Some(bench.now.instant + AFTER));
    bench.later(AFTER);
    assert_eq!(bench.came.len(), 2);
}

/// What another program leaves of the disk.
#[test]
fn a_disk_without_room_is_a_full_spool_and_what_is_on_it_is_delivered() {
    let disk = Disk::default();
    let mut bench = Bench::on_disk(&disk, small());
    bench.later(AFTER);
    bench.offer(&some(0..15));
    while bench.worker.want().records && bench.books.queue.held() > 0 {
        bench.take();
    }
    disk.leave(DISK_RESERVE_BYTES);
    bench.offer(&some(15..30));
    bench.take();
    assert!(!bench.worker.want().records, "no room");
    assert_eq!((bench.balance().spooled, bench.books.metrics.spool_failures.get()), (15, 0));
    bench.connect(None, usize::MAX);
    let mut values = bench.answer_all();
    bench.take();
    values.extend(bench.answer_all());
    assert_eq!(values, texts(0..30));
    assert_eq!(bench.balance().held, 0);
}

/// On a disk that syncs slowly, what the broker says would wait for one write after the other.
#[test]
fn the_disk_is_written_to_once_a_turn_and_what_is_left_is_due_at_once() {
    let disk = Disk::default();
    let mut plan = small();
    plan.queue.records_max = NonZeroU32::new(200).unwrap();
    let mut bench = Bench::on_disk(&disk, plan);
    bench.connect(None, usize::MAX);
    bench.offer(&some(0..6));
    bench.take();
    bench.disconnect();
    bench.later(AFTER);
    assert_eq!(bench.balance().spooled, 6);
    bench.offer(&some(6..180));
    let want = Want { hold: Duration::ZERO, ..bench.worker.want() };
    let offered = std::iter::once(bench.outlet.next(want));
    bench.worker.apply_all(bench.now, offered).unwrap();
    let once = bench.balance().spooled;
    assert!((7..=6 + 3 * WAITING_MAX as u64).contains(&once), "{once}");
    assert!(bench.worker.want().deadline.unwrap() <= bench.now.instant, "goes on at once");
    bench.apply(Event::Deadline);
    bench.take();
    assert_eq!(bench.balance().spooled, 180);
}

/// Looks at the gauges of the spool while records settle.
struct Looker {
    books: Arc<Books>,
    seen: Mutex<Vec<(u64, bool)>>,
}

impl Settle for Looker {
    fn settle(&self, _: &Settled, _: &[Share]) {
        let gauges = &self.books.gauges;
        let seen = (gauges.spool_batches.get(), gauges.spool_bytes.get() > 0);
        self.seen.lock().unwrap().push(seen);
    }
}

/// A scrape may come between the write and the end of the turn.
#[test]
fn nobody_sees_readings_in_a_spool_of_no_bytes() {
    let disk = Disk::default();
    let plan = Arc::new(small());
    let books = Arc::new(plan.books(Arc::default()));
    let looker = Arc::new(Looker { books: Arc::clone(&books), seen: Mutex::default() });
    let now = clock::now();
    let flight = |number: u64| {
        let mut receipts = Receipts::new(Arc::clone(&looker) as Arc<dyn Settle>);
        let sensor = books.registry.row_left("a", None).index;
        receipts.add(Token::NONE, sensor, 1);
        let id = number.to_string();
        let head = Head { gateway: "gw", batch: &id, count: 1, sealed_at: now.wall };
        let sealed =
            Sealed::readings(&head, Route::output(), Format::Json, b"{}", [2].into(), Vec::new());
        InFlight::new(sealed, receipts, now.instant, now.instant)
    };
    let mut window = Window::default();
    for number in 0..2 {
        window.open(number, flight(number));
    }
    let mut spooler = {
        let (spool, books) = (disk.spool().unwrap(), Arc::clone(&books));
        let routing = plan.measure();
        Spooler::new(spool, plan, books, routing).unwrap()
    };
    spooler.write(now, &mut window, true);
    assert_eq!(*looker.seen.lock().unwrap(), [(2, true), (2, true)]);
}
