//! The outbox stepped alone: what goes to a connection, and when.

use super::*;
use crate::codec::{Format, Head};
use crate::pipeline::in_flight::InFlight;
use crate::pipeline::outbox::Outbox;
use crate::sealed::Sealed;
use crate::settlement::{Receipts, Settle};
use crate::window::Window;

/// A batch of one record.
fn in_flight(books: &Arc<Books>, number: u64, now: Now) -> InFlight {
    in_flight_of(books, number, now, b"{}")
}

/// A batch of this record.
pub(super) fn in_flight_of(books: &Arc<Books>, number: u64, now: Now, record: &[u8]) -> InFlight {
    let mut receipts = Receipts::new(Arc::clone(books) as Arc<dyn Settle>);
    receipts.add(Token::NONE, books.registry.row_left("a", None).index, 1);
    let id = number.to_string();
    let head = Head { gateway: "gw", batch: &id, count: 1, sealed_at: now.wall };
    let end = u32::try_from(record.len()).unwrap();
    let sealed =
        Sealed::readings(&head, Route::output(), Format::Json, record, [end].into(), Vec::new());
    InFlight::new(sealed, receipts, now.instant, now.instant)
}

/// An outbox, its window, and the far side of its connection.
struct Side {
    now: Now,
    outbox: Outbox,
    window: Window<InFlight>,
    channel: mpsc::Receiver<sink::Publication>,
}

fn number(count: u64) -> Number {
    Number { count, part: 0 }
}

impl Side {
    /// Not yet connected, with so many publications in the window.
    fn new(publications: u64) -> Self {
        let (books, now) = (Arc::new(Plan::default().books(Arc::default())), clock::now());
        let mut window = Window::default();
        (1..=publications).for_each(|count| window.open(count, in_flight(&books, count, now)));
        Self { now, outbox: Outbox::new(now.instant), window, channel: mpsc::channel(1).1 }
    }

    /// Connected with a channel of so many places, and all publications pushed.
    fn connected(publications: u64, places: usize) -> Self {
        let mut side = Self::new(publications);
        side.connect(places);
        side.push_all(false);
        side
    }

    fn connect(&mut self, places: usize) {
        let (channel, publications) = mpsc::channel(places);
        self.channel = publications;
        self.outbox.connected(channel, 2, self.now.instant);
    }

    fn push_all(&mut self, dead_letters: bool) {
        for (count, _) in self.window.iter() {
            self.outbox.push(number(count), dead_letters);
        }
    }

    /// What comes now.
    fn came(&mut self) -> Vec<u64> {
        self.outbox.pump(&self.window, false);
        std::iter::from_fn(|| self.channel.try_recv().ok()).map(|it| it.number.count).collect()
    }

    fn refuse(&mut self, count: u64) {
        self.outbox.answered(number(count));
        self.outbox.refused(self.now, number(count), false);
    }

    fn take(&mut self, count: u64) {
        self.outbox.answered(number(count));
        self.outbox.taken(self.now.instant, number(count));
    }

    /// Waits until it wants to be asked; how many it resends then.
    fn resend(&mut self) -> u64 {
        let wait = self.outbox.deadline().unwrap().saturating_duration_since(self.now.instant);
        self.now = self.now.later(wait);
        self.outbox.resend(self.now.instant)
    }
}

#[test]
fn there_is_no_room_before_the_first_connection_and_any_between_two() {
    let mut side = Side::new(1);
    let start = side.now.instant;
    assert_eq!((side.outbox.has_room(0), side.outbox.away()), (false, Some(start)));
    side.now = side.now.later(AFTER);
    side.outbox.disconnected(side.now.instant);
    assert_eq!(side.outbox.away(), Some(start), "still none");
    assert!(!side.outbox.has_room(0));
    side.push_all(false);
    side.connect(9);
    assert_eq!(side.came(), [0; 0], "what is in flight is pushed on the connection");
    assert_eq!((side.outbox.has_room(1), side.outbox.has_room(2)), (true, false));
    assert!(side.outbox.is_connected());
    let ended = side.now.instant;
    side.outbox.disconnected(ended);
    side.now = side.now.later(AFTER);
    side.outbox.disconnected(side.now.instant);
    assert_eq!((side.outbox.has_room(99), side.outbox.away()), (true, Some(ended)));
    assert!(!side.outbox.is_connected());
}

#[test]
fn refused_batches_are_resent_one_by_one_and_nothing_else_makes_them_come_sooner() {
    let mut side = Side::connected(3, 9);
    assert_eq!(side.came(), [1, 2, 3]);
    side.refuse(3);
    side.refuse(2);
    let pause = side.outbox.deadline();
    assert!(pause.is_some_and(|at| at > side.now.instant));
    side.take(1);
    assert_eq!(side.outbox.deadline(), pause, "it was not refused");
    assert_eq!((side.resend(), side.came()), (1, vec![2]), "the older one");
    assert_eq!(side.outbox.deadline(), None);
    side.take(2);
    assert_eq!(side.outbox.deadline(), Some(side.now.instant), "the next at once");
    assert_eq!((side.resend(), side.came()), (1, vec![3]));
    assert!(side.outbox.refuses() && !side.outbox.has_room(0));
    side.take(3);
    assert_eq!((side.outbox.deadline(), side.outbox.refuses()), (None, false));
    assert!(side.outbox.has_room(0));
}

/// Those that wait for a place on the channel are not resent.
#[test]
fn what_is_resent_is_counted_without_what_waits() {
    let mut side = Side::connected(3, 1);
    assert_eq!(side.came(), [1]);
    side.refuse(1);
    assert_eq!(side.resend(), 1);
    assert_eq!([side.came(), side.came(), side.came()], [[2], [3], [1]]);
}

#[test]
fn nothing_is_refused_by_a_connection_that_has_just_begun() {
    let mut side = Side::connected(1, 9);
    assert_eq!(side.came(), [1]);
    side.refuse(1);
    side.outbox.disconnected(side.now.instant);
    // The pause ends while there is no connection.
    side.resend();
    side.connect(9);
    assert_eq!((side.outbox.refuses(), side.outbox.deadline()), (false, None));
    assert!(side.outbox.has_room(0));
    side.push_all(false);
    assert_eq!(side.came(), [1], "once");
    side.refuse(1);
    side.connect(9);
    assert_eq!(side.outbox.deadline(), None, "no pause is left of the connection before");
}

#[test]
fn dead_letters_that_are_withheld_are_tried_on_a_connection_and_the_others_follow() {
    let mut side = Side::new(2);
    side.outbox.withhold_dead_letters(side.now.instant);
    side.connect(9);
    side.push_all(true);
    assert_eq!(side.came(), [0; 0]);
    assert!(side.outbox.keeps_dead_letter(1) && side.outbox.has_room(3), "they take no room");
    assert!(!side.outbox.has_room(4));
    side.outbox.disconnected(side.now.instant);
    side.now = side.now.later(Duration::from_mins(9));
    assert_eq!(side.outbox.deadline(), None);
    assert_eq!(side.outbox.resend(side.now.instant), 0, "not while there is no connection");
    side.connect(9);
    side.push_all(true);
    assert_eq!((side.resend(), side.came()), (1, vec![1]));
    assert!(side.outbox.is_trial(number(1)) && !side.outbox.is_trial(number(2)));
    side.take(1);
    assert_eq!(side.came(), [2], "and not the first again");
    assert!(!side.outbox.refuses());
}

/// A later broker may take smaller packets: another part stands for it then.
#[test]
fn what_was_withheld_on_a_connection_before_is_forgotten() {
    let mut side = Side::new(1);
    side.outbox.withhold_dead_letters(side.now.instant);
    side.connect(9);
    side.push_all(true);
    assert!(side.outbox.refuses());
    side.connect(9);
    assert!(!side.outbox.refuses());
}
