//! The spooler stepped alone: what each of its modes does.

use super::outbox::in_flight_of;
use super::*;
use crate::pipeline::in_flight::InFlight;
use crate::pipeline::publisher::Publisher;
use crate::pipeline::spooler::Spooler;
use crate::pipeline::spooler::{REMOVE_DELAY_MAX, REMOVE_GROUP_MAX};
use crate::spool::faulty_disk::Fault;
use crate::spool::{DISK_RESERVE_BYTES, Entry, Key};
use crate::window::Window;

struct Side {
    now: Now,
    spooler: Spooler,
    window: Window<InFlight>,
    books: Arc<Books>,
    next: u64,
}

/// So many batches on disk.
fn on_disk(disk: &Disk, batches: u32) {
    let entry = || Entry {
        records: 1,
        head: br#"{"sensors":["a"],"runs":[[0,1]]}"#.to_vec(),
        body: b"{}".to_vec().into(),
    };
    disk.spool().unwrap().append(&(0..batches).map(|_| entry()).collect::<Vec<_>>()).unwrap();
}

impl Side {
    fn new(disk: &Disk, change: impl FnOnce(&mut Plan)) -> Self {
        let mut plan = small();
        change(&mut plan);
        let plan = Arc::new(plan);
        let books = Arc::new(plan.books(Arc::default()));
        let (spool, routing) = (disk.spool().unwrap(), plan.measure());
        let spooler = Spooler::new(spool, plan, Arc::clone(&books), routing).unwrap();
        Self { now: clock::now(), spooler, window: Window::default(), books, next: 0 }
    }

    /// A batch is sealed; whether it goes into the window.
    fn seal(&mut self, window_has_room: bool) -> bool {
        self.seal_of(window_has_room, b"{}")
    }

    fn seal_of(&mut self, window_has_room: bool, record: &[u8]) -> bool {
        self.next += 1;
        let flight = in_flight_of(&self.books, self.next, self.now, record);
        let direct = self.spooler.push(flight, window_has_room);
        direct.map(|flight| self.window.open(self.next, flight)).is_some()
    }

    /// One turn, with an output that has been silent for so long.
    fn tend(&mut self, silent: Duration) {
        let since = self.now.instant.checked_sub(silent).unwrap();
        self.spooler.tend(self.now, Some(since), &mut self.window, false);
    }

    fn stuck(&mut self) {
        self.tend(AFTER);
    }

    /// Takes one from the spooler; whether it came from disk.
    fn next(&mut self, connected: bool) -> Option<bool> {
        self.spooler.next(self.now, connected).map(|flight| !flight.is_held())
    }

    fn will_settle(&self) -> bool {
        self.spooler.will_settle(&self.window)
    }

    fn is_done(&self) -> bool {
        self.spooler.is_done(&self.window)
    }

    /// Batches on disk, as they are shown.
    fn shown(&self) -> u64 {
        self.spooler.show(&self.books.gauges);
        self.books.gauges.spool_batches.get()
    }
}

#[test]
fn directly_batches_go_into_the_window_and_wait_behind_those_that_found_none() {
    let mut side = Side::new(&Disk::default(), |_| {});
    assert!(side.is_done() && !side.will_settle());
    assert_eq!([true, false].map(|window| side.spooler.has_room(window)), [true, false]);
    assert!(side.seal(true));
    assert!(side.will_settle() && !side.is_done(), "in the window");
    side.window.settle(1).unwrap().settle(&side.books, drop);
    assert!(!side.seal(false));
    assert!(side.will_settle() && !side.is_done(), "it waits");
    assert!(!side.spooler.has_room(true), "it goes first");
    assert!(!side.seal(true), "it goes first");
    side.tend(Duration::ZERO);
    assert_eq!(side.shown(), 0, "nothing is written");
    assert_eq!([(); 3].map(|()| side.next(false)), [Some(false), Some(false), None]);
    assert!(side.is_done() && side.spooler.has_room(true));
}

#[test]
fn a_stuck_output_has_all_written_and_only_a_connection_has_it_read() {
    let mut side = Side::new(&Disk::default(), |_| {});
    side.tend(AFTER / 2);
    assert!(!side.spooler.has_room(false), "not yet");
    assert!(side.seal(true));
    side.stuck();
    assert_eq!(side.shown(), 1);
    assert!(!side.will_settle() && !side.is_done(), "it is in flight, and on disk");
    assert!(side.spooler.has_room(false), "on disk");
    assert!(side.seal(true), "nothing unread is ahead: the first is in the window");
    assert!(!side.seal(false));
    side.stuck();
    assert_eq!(side.shown(), 3);
    assert!(!side.seal(true), "behind the third");
    assert_eq!((side.next(false), side.next(true)), (None, Some(true)));
    assert_eq!((side.next(false), side.next(true)), (None, Some(false)), "not yet written");
    assert_eq!(side.spooler.deadline(None, true), Some(side.now.instant), "it will be tried");
}

#[test]
fn what_is_on_disk_is_replayed_before_what_waits_and_in_the_same_turn() {
    let disk = Disk::default();
    on_disk(&disk, 2);
    let mut side = Side::new(&disk, |_| {});
    assert_eq!(side.books.gauges.spool_batches.get(), 2, "shown from the start");
    assert!(!side.is_done() && !side.will_settle());
    assert!(side.spooler.has_room(false), "on disk");
    assert!(!side.seal(true));
    assert_eq!(side.next(false), None, "not without a connection");
    assert_eq!([(); 4].map(|()| side.next(true)), [Some(true), Some(true), Some(false), None]);
    assert!(side.spooler.has_room(true) && !side.spooler.has_room(false), "directly again");
}

#[test]
fn after_a_stop_what_is_on_disk_is_left_to_the_next_run() {
    let disk = Disk::default();
    on_disk(&disk, 1);
    let mut side = Side::new(&disk, |_| {});
    assert!(!side.is_done());
    side.spooler.stop();
    assert!(side.is_done());
    assert_eq!(side.next(true), None);
    disk.leave(0);
    assert_eq!(side.next(true), Some(true), "unless what waits finds no room there");
    // With an output that is stuck nothing may be held in memory.
    let mut side = Side::new(&Disk::default(), |_| {});
    side.seal(true);
    side.stuck();
    assert!(!side.is_done());
    side.spooler.stop();
    assert!(side.is_done(), "the window's is on disk");
    side.seal(true);
    assert!(!side.is_done());
}

#[test]
fn reading_is_due_only_where_there_is_something_to_read_and_room_for_it() {
    let disk = Disk::default();
    on_disk(&disk, 2);
    let mut side = Side::new(&disk, |plan| plan.spool.replay_rate = NonZeroU32::new(1));
    assert_eq!(side.spooler.deadline(None, true), None, "at once, when it is asked");
    assert_eq!((side.next(true), side.next(true)), (Some(true), None));
    let due = side.now.instant + Duration::from_secs(1);
    assert_eq!(side.spooler.deadline(None, true), Some(due));
    assert_eq!(side.spooler.deadline(None, false), None, "no room");
    side.now = side.now.later(Duration::from_secs(1));
    assert_eq!(side.next(true), Some(true));
    assert_eq!(side.spooler.deadline(None, true), None, "nothing unread");
}

#[test]
fn a_read_that_failed_is_tried_again_after_a_pause_and_then_nothing_waits() {
    let disk = Disk::default();
    large_on_disk(&disk);
    let mut side = Side::new(&disk, |_| {});
    disk.break_with(Fault::Read);
    while side.books.metrics.spool_failures.get() == 0 {
        assert_eq!(side.next(true).is_some(), side.books.metrics.spool_failures.get() == 0);
    }
    let due = side.spooler.deadline(None, true).unwrap();
    assert!(due > side.now.instant);
    disk.heal();
    assert_eq!(side.next(true), None, "not before");
    side.now = side.now.later(due - side.now.instant);
    assert_eq!(side.next(true), Some(true));
    assert_eq!(side.spooler.deadline(None, true), None);
}

/// Three batches, larger than what the storage engine keeps in memory of what it has read at the start.
fn large_on_disk(disk: &Disk) {
    let mut spool = disk.spool().unwrap();
    for byte in *b"123" {
        let head = br#"{"sensors":["a"],"runs":[[0,1]]}"#.to_vec();
        let large = Entry { records: 1, head, body: vec![byte; 4 << 20].into() };
        spool.append(&[large]).unwrap();
    }
}

#[test]
fn a_batch_that_is_spoilt_on_disk_is_lost_and_said_to_be_and_the_next_is_read() {
    let disk = Disk::default();
    large_on_disk(&disk);
    let mut side = Side::new(&disk, |_| {});
    disk.spoil(&[b'2'; 4096]);
    assert_eq!([(); 3].map(|()| side.next(true)), [Some(true), Some(true), None]);
    assert_eq!(side.books.metrics.spool_unreadable.get(), 1);
    side.now = side.now.later(REMOVE_DELAY_MAX);
    side.tend(Duration::ZERO);
    assert_eq!(side.shown(), 2, "it leaves the disk");
}

/// What was read is still delivered, what is unread is lost: nothing on disk is ahead any more.
#[test]
fn a_disk_that_is_damaged_costs_what_is_unread_and_no_more() {
    for (silent, connected) in [(Duration::ZERO, false), (AFTER, true)] {
        let disk = Disk::default();
        on_disk(&disk, 3);
        let mut side = Side::new(&disk, |_| {});
        assert_eq!(side.next(true), Some(true));
        assert!(!side.seal(false));
        disk.break_with(Fault::Write(0));
        side.tend(silent);
        assert_eq!(side.books.metrics.spool_failures.get(), 1);
        disk.erase();
        disk.heal();
        side.now = side.now.later(Duration::from_secs(10));
        side.tend(silent);
        assert_eq!(side.books.metrics.spool_unreadable.get(), 2);
        let trouble = side.books.gauges.spool_trouble();
        assert!(trouble.is_some_and(|it| it.starts_with("there is no spool")));
        if connected {
            assert_eq!(side.next(false), None, "the output is stuck");
        }
        assert_eq!(side.next(connected), Some(false));
    }
}

/// Asked for by the publisher, though the output takes batches.
#[test]
fn what_was_written_behind_a_dead_letter_is_read_from_disk() {
    let mut side = Side::new(&Disk::default(), |_| {});
    assert!(side.seal(true));
    assert!(!side.seal(false));
    side.spooler.write(side.now, &mut side.window, true);
    assert_eq!(side.shown(), 2);
    assert_eq!((side.next(true), side.next(true)), (Some(true), None));
}

/// A removal is no sign that the disk takes more: the pauses between attempts to write grow on.
#[test]
fn a_disk_that_is_full_is_not_well_because_something_was_removed() {
    let disk = Disk::default();
    on_disk(&disk, 8);
    let mut side = Side::new(&disk, |_| {});
    let keys = read(&mut side, 8);
    assert!(!side.seal_of(false, &vec![b' '; 4 << 20]));
    disk.fill();
    side.stuck();
    assert!(!side.spooler.has_room(false));
    for key in &keys[1..] {
        side.spooler.acknowledged(side.now.instant, *key);
        side.now = side.now.later(Duration::from_secs(10));
        side.stuck();
        assert!(side.books.gauges.spool_trouble().is_some() && !side.spooler.has_room(false));
    }
    assert_eq!((side.shown(), side.books.metrics.spool_failures.get()), (1, 8));
    let pause = side.spooler.deadline(None, false).unwrap() - side.now.instant;
    assert!(pause > Duration::from_secs(1), "{pause:?}");
}

/// There is nothing to write any more that would show it.
#[test]
fn a_disk_that_failed_is_well_once_the_last_entry_was_removed() {
    let disk = Disk::default();
    on_disk(&disk, 1);
    let mut side = Side::new(&disk, |_| {});
    let keys = read(&mut side, 1);
    assert!(!side.seal(false));
    disk.break_with(Fault::Write(0));
    side.stuck();
    assert!(side.books.gauges.spool_trouble().is_some());
    disk.heal();
    side.tend(Duration::ZERO);
    assert_eq!(side.next(true), Some(false));
    side.spooler.acknowledged(side.now.instant, keys[0]);
    side.now = side.now.later(Duration::from_secs(10));
    side.tend(Duration::ZERO);
    assert_eq!((side.shown(), side.books.gauges.spool_trouble()), (0, None));
}

#[test]
fn pauses_between_writes_that_fail_begin_anew_once_one_has_not() {
    let disk = Disk::default();
    let mut side = Side::new(&disk, |_| {});
    let fail = |side: &mut Side, times| {
        side.seal(false);
        disk.break_with(Fault::Write(0));
        let mut pause = Duration::ZERO;
        for _ in 0..times {
            side.now = side.now.later(Duration::from_secs(10));
            side.stuck();
            pause = side.spooler.deadline(None, false).unwrap() - side.now.instant;
        }
        disk.heal();
        side.now = side.now.later(Duration::from_secs(10));
        side.stuck();
        pause
    };
    let pauses = [fail(&mut side, 6), fail(&mut side, 1)];
    assert_eq!(side.shown(), 2);
    assert!(pauses[0] > Duration::from_secs(1) && pauses[1] < pauses[0] / 4, "{pauses:?}");
}

/// A head that no version of this program has written.
#[test]
fn an_entry_that_is_none_is_lost_and_said_to_be_and_leaves_the_disk() {
    let disk = Disk::default();
    let rubbish = Entry { records: 7, head: b"?".to_vec(), body: b"?".to_vec().into() };
    disk.spool().unwrap().append(&[rubbish]).unwrap();
    on_disk(&disk, 1);
    let mut side = Side::new(&disk, |_| {});
    assert_eq!((side.next(true), side.next(true)), (Some(true), None));
    assert_eq!(side.books.metrics.spool_unreadable.get(), 7);
    side.now = side.now.later(REMOVE_DELAY_MAX);
    side.tend(Duration::ZERO);
    assert_eq!(side.shown(), 1);
}

/// Reads so many, and returns their keys.
fn read(side: &mut Side, batches: u32) -> Vec<Key> {
    let read = (0..batches).map(|_| side.spooler.next(side.now, true).unwrap());
    read.map(|flight| flight.settle(&side.books, drop).unwrap()).collect()
}

#[test]
fn what_was_acknowledged_leaves_the_disk_in_groups_or_soon_or_at_the_end() {
    let group = u32::try_from(REMOVE_GROUP_MAX).unwrap();
    let disk = Disk::default();
    on_disk(&disk, group * 2 + 1);
    let mut side = Side::new(&disk, |_| {});
    let mut keys = read(&mut side, group * 2 + 1).into_iter();
    let mut acknowledge = |side: &mut Side, count| {
        keys.by_ref().take(count).for_each(|key| side.spooler.acknowledged(side.now.instant, key));
        side.tend(Duration::ZERO);
        side.shown()
    };
    assert_eq!(acknowledge(&mut side, REMOVE_GROUP_MAX - 1), 33, "not yet");
    assert_eq!(acknowledge(&mut side, 1), 17, "a group");
    let due = side.now.instant + REMOVE_DELAY_MAX;
    assert!(side.spooler.deadline(None, true).is_some_and(|at| at > due), "the file is checked");
    assert_eq!(acknowledge(&mut side, 1), 17);
    assert_eq!(side.spooler.deadline(None, true), Some(due));
    side.now = side.now.later(REMOVE_DELAY_MAX.saturating_sub(Duration::from_millis(1)));
    assert_eq!(acknowledge(&mut side, 0), 17, "not yet");
    side.now = side.now.later(Duration::from_millis(1));
    assert_eq!(acknowledge(&mut side, 0), 16, "soon");
    assert_eq!(acknowledge(&mut side, 2), 16);
    side.spooler.finish(side.now);
    assert_eq!(side.shown(), 14, "at the end");
}

#[test]
fn the_end_of_a_run_removes_what_was_acknowledged_though_the_disk_has_failed() {
    let disk = Disk::default();
    on_disk(&disk, 2);
    let mut side = Side::new(&disk, |_| {});
    let keys = read(&mut side, 1);
    assert!(!side.seal(false));
    disk.break_with(Fault::Write(0));
    side.stuck();
    assert_eq!(side.books.metrics.spool_failures.get(), 1);
    disk.heal();
    side.spooler.acknowledged(side.now.instant, keys[0]);
    side.now = side.now.later(Duration::from_millis(1));
    side.spooler.finish(side.now);
    assert_eq!(side.shown(), 1);
}

#[test]
fn a_publisher_ends_its_run_with_a_disk_that_holds_only_what_is_left() {
    let disk = Disk::default();
    on_disk(&disk, 2);
    let side = Side::new(&disk, |_| {});
    let Side { now, spooler, books, .. } = side;
    let plan = Arc::new(small());
    let mut publisher = Publisher::new(plan, books, Some(spooler), now.instant);
    let (channel, mut publications) = mpsc::channel(9);
    let connected = sink::Event::Connected { channel, bytes_max: None, in_flight_max: 9 };
    publisher.apply(now, connected).unwrap();
    publisher.tend(now);
    let number = publications.try_recv().unwrap().number;
    let answered = sink::Event::Answered { number, answer: Answer::Taken };
    publisher.apply(now, answered).unwrap();
    publisher.finish(now);
    drop(publisher);
    assert_eq!(disk.spool().unwrap().entries(), 1);
}

/// On disk a batch takes a quarter more than its largest text; it is counted with all that waits.
#[test]
fn there_is_room_on_disk_for_a_batch_that_fits_with_what_waits() {
    let has_room = |free: u64, waiting: u64| {
        let disk = Disk::default();
        on_disk(&disk, 1);
        disk.leave(DISK_RESERVE_BYTES + free);
        let mut side = Side::new(&disk, |_| {});
        (0..waiting).for_each(|_| assert!(!side.seal(true)));
        side.spooler.has_room(false)
    };
    let plan = small();
    let batch_bytes = (plan.batch.bytes_max.get() + plan.batch_overhead_bytes()) as u64;
    for waiting in [0, 1, 3] {
        let all = (waiting + 1) * batch_bytes * 5 / 4;
        assert_eq!((has_room(all - 1, waiting), has_room(all, waiting)), (false, true));
    }
}
