//! The engine stepped by hand: a manual clock, a scripted sink, no runtime and no thread.

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tokio::sync::mpsc;

use super::books::Books;
use super::plan::Plan;
use super::store::Store;
use super::worker::{Ended, Worker};
use crate::clock::{self, Now};
use crate::metrics::{Balance, Metrics};
use crate::mqtt::packet::{Answer, NotTaken};
use crate::queue::{Event, Inlet, Outlet, Queue, Returned, Want};
use crate::record::{Body, Chunk, Reason, Record, Span};
use crate::registry::{Registry, Row};
use crate::settlement::{Outcome, Run, SourceIndex, Token};
use crate::sink::{self, Number, Publication};

/// A worker, both ends of its queue, and the far side of its sink.
struct Bench {
    now: Now,
    worker: Worker,
    outlet: Outlet<sink::Event>,
    inlet: Option<Inlet<sink::Event>>,
    returned: Returned<sink::Event>,
    books: Arc<Books>,
    lane: Option<mpsc::Receiver<Publication>>,
    /// Publications that came on the connection of today.
    came: Vec<Publication>,
    next: u64,
}

const SENSORS: [&str; 3] = ["a", "b", "c"];

mod full;
mod schedules;
mod spool;

impl Bench {
    fn new(change: impl FnOnce(&mut Plan)) -> Self {
        let mut plan = Plan::default();
        plan.batch.records_max = NonZeroU32::new(3).unwrap();
        plan.output.window_batches = NonZeroU16::new(2).unwrap();
        plan.queue.records_max = NonZeroU32::new(20).unwrap();
        change(&mut plan);
        Self::with_store(plan, |_, _| None)
    }

    fn with_store(
        plan: Plan,
        store: impl FnOnce(&Arc<Plan>, &Arc<Books>) -> Option<Store>,
    ) -> Self {
        let limits = plan.queue.into();
        let books = Arc::new(Books {
            queue: Queue::new(limits, 1),
            registry: Arc::new(Registry::new(10)),
            metrics: Arc::new(Metrics::default()),
            pace: Arc::default(),
        });
        let now = clock::now();
        let plan = Arc::new(plan);
        let store = store(&plan, &books);
        Self {
            now,
            worker: Worker::new(plan, Arc::clone(&books), store, (now, 7)),
            outlet: books.queue.outlet(),
            inlet: Some(books.queue.inlet()),
            returned: books.queue.returned(SourceIndex(0)),
            books,
            lane: None,
            came: Vec::new(),
            next: 0,
        }
    }

    fn connected(change: impl FnOnce(&mut Plan)) -> Self {
        let mut bench = Self::new(change);
        bench.connect(None, usize::MAX);
        bench
    }

    fn apply(&mut self, event: Event<sink::Event>) {
        self.worker.apply(self.now, event).unwrap();
        self.collect();
    }

    fn mail(&mut self, mail: sink::Event) {
        self.apply(Event::Mail(mail));
    }

    fn connect(&mut self, packet_bytes_max: Option<u32>, in_flight_max: usize) {
        let (lane, publications) = mpsc::channel(100);
        self.lane = Some(publications);
        self.came.clear();
        self.mail(sink::Event::Connected { lane, packet_bytes_max, in_flight_max });
    }

    fn disconnect(&mut self) {
        self.lane = None;
        self.came.clear();
        self.mail(sink::Event::Disconnected);
    }

    fn collect(&mut self) {
        while let Some(Ok(publication)) = self.lane.as_mut().map(mpsc::Receiver::try_recv) {
            self.came.push(publication);
        }
    }

    fn answer(&mut self, number: Number, answer: Answer) {
        self.came.retain(|it| it.number != number);
        self.mail(sink::Event::Answered { number, answer });
    }

    /// Offers one record of each given value; `None` is unreadable. False where there is no room.
    fn offer(&mut self, values: &[Option<u32>]) -> bool {
        let mut chunk = Chunk::default();
        for value in values {
            let turn = value.map_or(self.next, u64::from);
            let id = SENSORS[usize::try_from(turn).unwrap() % SENSORS.len()];
            let (row, _) = self.books.registry.row(id);
            let body = match value {
                Some(value) => {
                    let value = chunk.put(value.to_string().as_bytes());
                    let (timestamp, extra) = (Span::default(), Span::default());
                    Body::Reading { value, timestamp, extra }
                }
                None => rubbish(&mut chunk, "{"),
            };
            chunk.records.push(self.record(&row, body));
        }
        self.offer_chunk(chunk)
    }

    /// Makes the next record of a sensor.
    fn record(&mut self, row: &Row, body: Body) -> Record {
        let ordinal = self.next;
        self.next += 1;
        Record {
            sensor: row.index,
            sequence: row.receive(self.now.wall),
            received: self.now.wall,
            token: Token { source: SourceIndex(0), ordinal },
            topic: Span::default(),
            retained: false,
            sheddable: false,
            body,
        }
    }

    /// Offers what the chunk holds; false where there is no room for all.
    fn offer_chunk(&mut self, mut chunk: Chunk) -> bool {
        let offered = chunk.records.len();
        let inlet = self.inlet.as_ref().unwrap();
        let all = inlet.try_offer(&mut chunk, &mut Vec::new());
        self.books.metrics.received.add((offered - chunk.records.len()) as u64);
        all
    }

    /// Lets the worker take what the queue holds now, without waiting for more.
    fn take(&mut self) {
        let want = self.worker.want();
        if want.records {
            let want = Want { hold: Duration::ZERO, deadline: Some(clock::now().instant), ..want };
            match self.outlet.next(want) {
                Event::Deadline => {}
                event => self.apply(event),
            }
        }
    }

    /// Records of each publication that came, by value.
    fn records(&self) -> Vec<Vec<String>> {
        let values = |it: &Publication| {
            let json: serde_json::Value = serde_json::from_slice(&it.message.payload).unwrap();
            let records = json.get("records").and_then(|it| it.as_array().cloned());
            let records = records.unwrap_or_default();
            records.iter().map(|it| it["value"].to_string()).collect()
        };
        self.came.iter().map(values).collect()
    }

    fn settled(&self) -> Vec<(Run, Outcome)> {
        let mut settled = Vec::new();
        self.returned.take(&mut settled);
        settled
    }

    fn balance(&self) -> Balance {
        assert_eq!(self.books.difference(), None);
        self.books.balance()
    }
}

fn rubbish(chunk: &mut Chunk, payload: &str) -> Body {
    let (detail, payload) = (chunk.put(b"why"), chunk.put(payload.as_bytes()));
    Body::Unreadable { reason: Reason::Malformed, detail, payload }
}

fn some(values: std::ops::Range<u32>) -> Vec<Option<u32>> {
    values.map(Some).collect()
}

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
    bench.now = bench.now.later(Duration::from_secs(1));
    bench.apply(Event::Deadline);
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
fn an_answer_out_of_order_frees_no_room_beyond_the_span() {
    let mut bench = Bench::connected(|plan| {
        plan.output.window_batches = NonZeroU16::new(1).unwrap();
    });
    bench.offer(&some(0..3));
    bench.offer(&[None; 5]);
    bench.offer(&some(3..6));
    bench.take();
    assert_eq!(bench.came.len(), 1, "one batch fills the window");
    bench.answer(bench.came[0].number, Answer::Taken);
    assert_eq!(bench.came.len(), 6, "five dead letters and the batch behind them");
    let letter = bench.came[0].clone();
    assert_eq!(letter.message.topic.as_str(), "gateway/dead-letters");
    bench.answer(letter.number, Answer::Taken);
    assert_eq!(bench.balance().dead_lettered, 1);
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
        assert!(part.message.payload.len() + 256 <= 1200);
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
    bench.connect(Some(500), usize::MAX);
    bench.offer(&some(0..1));
    bench.take();
    let letter = bench.came[0].clone();
    assert_eq!(letter.message.topic.as_str(), "gateway/dead-letters");
    assert!(String::from_utf8_lossy(&letter.message.payload).contains("oversize"));
    bench.answer(letter.number, Answer::Taken);
    assert_eq!(bench.balance().dead_lettered, 1);
}

#[test]
fn a_refused_batch_is_tried_again_and_nothing_new_goes_meanwhile() {
    let mut bench = Bench::connected(|_| {});
    bench.offer(&some(0..3));
    bench.take();
    bench.answer(bench.came[0].number, Answer::Taken);
    bench.offer(&some(3..9));
    bench.take();
    let (first, second) = (bench.came[0].number, bench.came[1].number);
    bench.answer(first, Answer::Refused(NotTaken::new(0x97, &[])));
    bench.answer(second, Answer::Taken);
    assert!(!bench.worker.want().records, "nothing new while one is refused");
    assert_eq!(bench.balance().held, 3);
    bench.now = bench.now.later(Duration::from_secs(10));
    bench.apply(Event::Deadline);
    assert_eq!(bench.came.iter().map(|it| it.number).collect::<Vec<_>>(), [first]);
    bench.answer(first, Answer::NobodyListens);
    assert_eq!((bench.balance().held, bench.balance().delivered), (0, 9));
}

#[test]
fn a_refusal_of_the_very_first_publication_is_a_failure() {
    let mut bench = Bench::connected(|_| {});
    bench.offer(&some(0..3));
    bench.take();
    let number = bench.came[0].number;
    let answer = Answer::Refused(NotTaken::new(0x87, &[]));
    let event = Event::Mail(sink::Event::Answered { number, answer });
    let failure = bench.worker.apply(bench.now, event).unwrap_err();
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
    bench.mail(sink::Event::Abort);
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
        let mut bench = Bench::connected(|_| {});
        // Something has to be delivered first, or a refusal would be a failure.
        bench.offer(&some(0..3));
        bench.take();
        bench.answer(bench.came[0].number, Answer::Taken);
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
                        let refusal = Answer::Refused(NotTaken::new(0x97, &[]));
                        bench.answer(it.number, if refused { refusal } else { Answer::Taken });
                    }
                }
                Step::Cut => bench.disconnect(),
                Step::Connect { packet, few } => {
                    bench.disconnect();
                    bench.connect(packet.then_some(1500), if few { 1 } else { 99 });
                }
                Step::Later => {
                    bench.now = bench.now.later(Duration::from_secs(10));
                    bench.apply(Event::Deadline);
                }
            }
            prop_assert_eq!(bench.books.difference(), None);
            settled.extend(bench.settled());
        }
        bench.inlet = None;
        bench.disconnect();
        bench.connect(None, 99);
        for _ in 0..200 {
            bench.now = bench.now.later(Duration::from_secs(10));
            bench.apply(Event::Deadline);
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
