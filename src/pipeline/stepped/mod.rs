//! The engine stepped by hand: a manual clock, a scripted sink, no runtime and no thread.
//!
//! Here is what all of these tests stand on.

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::router::Router;
use super::spooler::Spooler;
use super::worker::{Ended, Worker, run_id};
use crate::clock::{self, Now, Timestamp};
use crate::mqtt::answer::NotTaken;
use crate::mqtt::outgoing::Outgoing;
use crate::plan::Plan;
use crate::plan::current::Current;
use crate::queue::{Event, Inlet, Outlet, Queue, Settlements, Want};
use crate::record::{Arrival, Body, Chunk, Reason, Record, Span};
use crate::sealed::Route;
use crate::settlement::{Outcome, Run, SourceIndex, Token};
use crate::sink::message::Messages;
use crate::sink::{self, Answer, Number};
use crate::spool::Spool;
use crate::spool::faulty_disk::Disk;
use crate::state::books::Books;
use crate::state::gauges::Gauge;
use crate::state::metrics::Balance;
use crate::state::registry::Row;

/// Not taken, with this reason code of MQTT 5.
fn refusal(code: u8) -> Answer {
    Answer::Refused(NotTaken::new(code, &[]).into())
}

/// A batch that was given to the sink, as it publishes it.
#[derive(Debug, Clone)]
struct Publication {
    number: Number,
    message: Arc<Outgoing>,
}

/// A worker, both ends of its queue, and the far side of its sink.
struct Bench {
    now: Now,
    /// The plan of the worker, as the engine changes it.
    current: Current,
    worker: Worker,
    outlet: Outlet<sink::Event>,
    inlet: Option<Inlet>,
    settlements: Settlements,
    books: Arc<Books>,
    messages: Messages,
    channel: Option<mpsc::Receiver<sink::Publication>>,
    /// Publications that came on the connection of today.
    came: Vec<Publication>,
    next: u64,
    /// Of the queue.
    places: u64,
    /// Since when the oldest record waits that the worker has not taken, by the clock of the test.
    since: Option<Instant>,
}

const SENSORS: [&str; 3] = ["a", "b", "c"];

/// What `spool.after` is where nothing else is set.
const AFTER: Duration = Duration::from_secs(1);

/// Batches of three records, a window of two, a queue of twenty.
fn small() -> Plan {
    let mut plan = Plan::default();
    plan.batch.records_max = NonZeroU32::new(3).unwrap();
    plan.output.window_batches = NonZeroU16::new(2).unwrap();
    plan.queue.records_max = NonZeroU32::new(20).unwrap();
    plan
}

mod answers;
mod bounds;
mod changing;
mod direct;
mod expired;
mod forgotten;
mod formats;
mod full;
mod hang_ups;
mod kept;
mod letters;
mod nobody;
mod outbox;
mod routes;
mod schedules;
mod shed;
mod sizes;
mod spool;
mod spooler;
mod topics;

impl Bench {
    fn new(change: impl FnOnce(&mut Plan)) -> Self {
        let mut plan = small();
        change(&mut plan);
        Self::start(plan, None)
    }

    /// Starts with what the folder holds.
    fn on_folder(folder: &tempfile::TempDir, plan: Plan) -> Self {
        let (size, now) = (plan.spool.bytes_max, Timestamp::from_millis(0));
        let (spool, set_aside) = Spool::open(folder.path(), size, now).unwrap();
        assert_eq!(set_aside, None);
        Self::start(plan, Some(spool))
    }

    /// Starts with what the disk holds.
    fn on_disk(disk: &Disk, plan: Plan) -> Self {
        Self::start(plan, Some(disk.spool().unwrap()))
    }

    fn start(plan: Plan, spool: Option<Spool>) -> Self {
        Self::start_at((clock::now(), 7), plan, spool)
    }

    /// Starts then; the salt tells the batches of this start from those of others.
    fn start_at(start: (Now, u16), plan: Plan, spool: Option<Spool>) -> Self {
        let router = Router::new(plan.measure());
        Self::routed(start, plan, spool, router)
    }

    /// Starts with a router.
    fn routed((now, salt): (Now, u16), plan: Plan, spool: Option<Spool>, router: Router) -> Self {
        let places = u64::from(plan.queue.records_max.get());
        let books = Arc::new(Books { queue: Queue::new(plan.queue), ..plan.books(Arc::default()) });
        let messages = plan.mqtt_output().unwrap().messages(&plan.broker);
        let (run, plan) = (run_id(&plan.gateway.id, now.wall, salt), Arc::new(plan));
        let current = Current::new(Arc::clone(&plan));
        let spooler = |spool| {
            let (plan, books) = (Arc::clone(&plan), Arc::clone(&books));
            Spooler::new(spool, plan, books, router.routing()).unwrap()
        };
        let spooler = spool.map(spooler);
        Self {
            now,
            worker: Worker::new(current.clone(), Arc::clone(&books), spooler, now, &run, router),
            current,
            outlet: books.queue.outlet(),
            inlet: Some(books.queue.inlet()),
            settlements: books.queue.settlements(),
            books,
            messages,
            channel: None,
            came: Vec::new(),
            next: 0,
            places,
            since: None,
        }
    }

    fn connected(change: impl FnOnce(&mut Plan)) -> Self {
        let mut bench = Self::new(change);
        bench.connect(None, usize::MAX);
        bench
    }

    /// Connected, and the readings 0 to 2 are delivered: a refusal is no failure any more.
    fn proved() -> Self {
        let mut bench = Self::connected(|_| {});
        bench.offer(&some(0..3));
        bench.take();
        bench.answer(bench.came[0].number, Answer::Taken);
        bench
    }

    fn apply(&mut self, event: Event<sink::Event>) {
        self.worker.apply_all(self.now, std::iter::once(event)).unwrap();
        // As the worker's thread does.
        let due = |it: &Self| it.worker.want().deadline.is_some_and(|at| at <= it.now.instant);
        let mut turns = 0;
        while due(self) {
            self.worker.apply_all(self.now, std::iter::once(Event::Deadline)).unwrap();
            turns += 1;
            assert!(turns < 1000, "the worker never rests");
        }
        self.collect();
    }

    fn report(&mut self, report: sink::Event) {
        self.apply(Event::Reported(report));
    }

    fn connect(&mut self, bytes_max: Option<u32>, in_flight_max: usize) {
        let bytes_max = bytes_max.map(|it| it as usize);
        let (channel, publications) = mpsc::channel(100);
        self.channel = Some(publications);
        self.came.clear();
        self.report(sink::Event::Connected { channel, bytes_max, in_flight_max });
    }

    fn disconnect(&mut self) {
        self.channel = None;
        self.came.clear();
        self.report(sink::Event::Disconnected { over: None });
    }

    /// The broker hangs up on the oldest publication that has no answer.
    fn hang_up(&mut self) {
        self.end_over(sink::Why::HungUp);
    }

    /// The connection ends over the oldest publication that has no answer.
    fn end_over(&mut self, why: sink::Why) {
        let over = self.came.first().map(|it| sink::Over { number: it.number, why });
        self.channel = None;
        self.came.clear();
        self.report(sink::Event::Disconnected { over });
    }

    /// Time passes, and the worker looks at it.
    fn later(&mut self, by: Duration) {
        self.now = self.now.later(by);
        self.apply(Event::Deadline);
    }

    fn collect(&mut self) {
        while let Some(Ok(publication)) = self.channel.as_mut().map(mpsc::Receiver::try_recv) {
            let message = Arc::new(self.messages.of(&publication.sealed));
            self.came.push(Publication { number: publication.number, message });
        }
    }

    fn answer(&mut self, number: Number, answer: Answer) {
        self.came.retain(|it| it.number != number);
        self.report(sink::Event::Answered { number, answer });
    }

    /// Offers one record of each given value; `None` is unreadable. False where there is no room.
    fn offer(&mut self, values: &[Option<u32>]) -> bool {
        let mut chunk = Chunk::default();
        for value in values {
            let turn = value.map_or(self.next, u64::from);
            let id = SENSORS[usize::try_from(turn).unwrap() % SENSORS.len()];
            let row = self.books.registry.row_left(id, None);
            let body = match value {
                Some(value) => {
                    let value = chunk.put(value.to_string().as_bytes());
                    let (timestamp, labels, extra) =
                        (Span::default(), Span::default(), Span::default());
                    Body::Reading { value, timestamp, labels, extra }
                }
                None => rubbish(&mut chunk, "{"),
            };
            chunk.records.push(self.record(&row, body));
        }
        self.offer_chunk(&mut chunk)
    }

    /// Offers one reading of so many bytes.
    fn offer_large(&mut self, value: u32, bytes: usize) -> bool {
        if self.books.queue.held() >= self.places {
            return false;
        }
        let mut chunk = Chunk::default();
        let row = self.books.registry.row_left("a", None);
        let text = chunk.put(format!("\"{value}{}\"", "x".repeat(bytes)).as_bytes());
        let (timestamp, labels, extra) = (Span::default(), Span::default(), Span::default());
        let record = self.record(&row, Body::Reading { value: text, timestamp, labels, extra });
        chunk.records.push(record);
        self.offer_chunk(&mut chunk)
    }

    /// Makes the next record of a sensor.
    fn record(&mut self, row: &Row, body: Body) -> Record {
        let ordinal = self.next;
        self.next += 1;
        self.record_of(row, body, ordinal)
    }

    /// Makes a record of a sensor with this way back.
    fn record_of(&self, row: &Row, body: Body, ordinal: u64) -> Record {
        Record {
            sensor: row.index,
            id: Span::default(),
            sequence: row.receive(self.now.wall),
            received: self.now.wall,
            token: Token { source: SourceIndex(0), ordinal },
            topic: Span::default(),
            arrival: Arrival::default(),
            body,
        }
    }

    /// The queue's buffer may have got its first record.
    fn offered(&mut self) {
        if self.books.queue.oldest().is_some() {
            self.since.get_or_insert(self.now.instant);
        }
    }

    /// Offers what the chunk holds; false where there is no room for all, and it keeps the rest.
    fn offer_chunk(&mut self, chunk: &mut Chunk) -> bool {
        let before = chunk.records.len();
        let inlet = self.inlet.as_ref().unwrap();
        let all = inlet.try_offer(chunk, &mut Vec::new());
        let offered = before - chunk.records.len();
        self.books.metrics.received.add(offered as u64);
        if offered > 0 {
            self.since.get_or_insert(self.now.instant);
        }
        all
    }

    /// Lets the worker take what the queue holds now, without waiting for more.
    fn take(&mut self) {
        let want = self.worker.want();
        if want.records {
            let want = Want { hold: Duration::ZERO, deadline: Some(clock::now().instant), ..want };
            match self.outlet.next(want) {
                Event::Deadline => {}
                Event::Offered(chunk, _) => {
                    // The buffer has the time of the day, which is not the time of the test.
                    let since = self.since.take().unwrap_or(self.now.instant);
                    self.since = self.books.queue.oldest().map(|_| since);
                    self.apply(Event::Offered(chunk, since));
                }
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
        self.settlements.take(&mut settled);
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

/// The values as the output shows them.
fn texts(values: std::ops::Range<u32>) -> Vec<String> {
    values.map(|value| value.to_string()).collect()
}
