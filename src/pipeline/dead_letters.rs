//! The dead letters' way into batches of their own, beside the readings'.
//!
//! A dead letter waits here until the dead-letter topic has room: a topic that is slow, or refused for good,
//! holds back no reading. Then it goes into the open batch, which is sealed as the readings' is.
//!
//! What waits is bounded by the queue: a record's place in it stays taken until the record has settled.
//! So a session with acknowledgements stops by itself once its own window is used up, because they are in
//! order, and takes nothing from the windows of others. Records that nobody acknowledges (QoS 0, simulated)
//! take places until the queue is full; then `queue.on_full` says what happens, to all.
//!
//! A sensor's dead letters are in order among themselves, and in none with its readings. A batch has one route: where
//! the dead letters of two sensors have different ones, those of the first are sealed before one of the second.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::content::Content;
use super::in_flight::InFlight;
use super::publisher::Publisher;
use crate::batch::{Batcher, Seal};
use crate::clock::{Now, Timestamp};
use crate::limits::LETTER_WAITING_BYTES;
use crate::plan::Plan;
use crate::record::Reason;
use crate::sealed::{Kind, Places, Route, Sealed, place};
use crate::settlement::{Receipts, Settle, Token};
use crate::sink::Measure;
use crate::sink::dead_letter::{self, DeadLetter};
use crate::sink::shortened;
use crate::state::books::Books;
use crate::state::registry::Row;

/// Bytes of a dead letter's id in an array, beside the batch's prefix.
const ID_BYTES: usize = 64;

/// Bytes before the first dead letter of an array, and between two.
const BEGIN: usize = 1;
const BETWEEN: u32 = 1;

/// The record that becomes a dead letter.
#[derive(Debug, Clone)]
pub struct Origin {
    pub row: Arc<Row>,
    /// Its way back.
    pub token: Token,
    /// Bytes that it claims in the queue.
    pub bytes: usize,
    /// When it was taken.
    pub received: Timestamp,
    /// Since when it has been here.
    pub since: Instant,
}

/// A dead letter that is in no batch yet.
#[derive(Debug)]
struct Waiting {
    origin: Origin,
    reason: Reason,
    /// Detail, id, topic, payload.
    text: Box<[u8]>,
    detail_bytes: usize,
    id_bytes: usize,
    topic_bytes: usize,
}

impl Waiting {
    fn content(&self) -> Content<'_> {
        let (detail, rest) = self.text.split_at(self.detail_bytes);
        let (id, rest) = rest.split_at(self.id_bytes);
        let (topic, payload) = rest.split_at(self.topic_bytes);
        Content { reason: self.reason, detail, id, topic, payload }
    }
}

/// Dead letters that wait, and the open batch.
#[derive(Debug)]
pub struct DeadLetters {
    plan: Arc<Plan>,
    books: Arc<Books>,
    waiting: VecDeque<Waiting>,
    batcher: Batcher,
    measure: Arc<dyn Measure>,
    /// Bytes of a batch that the sink takes, if it says.
    bytes_max: Option<usize>,
    body: Vec<u8>,
    /// Where each dead letter of the body ends.
    ends: Vec<u32>,
    /// The first dead letter of the open batch, as it travels alone.
    first: Vec<u8>,
    /// Of the open batch.
    route: Route,
    receipts: Receipts,
    batch_prefix: String,
    batches: u64,
}

impl DeadLetters {
    /// None yet; the ids of batches begin with `batch_prefix`.
    pub fn new(plan: Arc<Plan>, books: Arc<Books>, batch_prefix: &str) -> Self {
        Self {
            batcher: Batcher::new(plan.batch),
            receipts: Receipts::new(Arc::clone(&books) as Arc<dyn Settle>),
            measure: plan.measure(),
            plan,
            books,
            waiting: VecDeque::new(),
            bytes_max: None,
            body: Vec::new(),
            ends: Vec::new(),
            first: Vec::new(),
            route: Route::dead_letters(),
            batch_prefix: format!("{batch_prefix}-d"),
            batches: 0,
        }
    }

    /// Whether the broker takes a dead letter of this alone, shortened if need be.
    pub fn can_take(&self, origin: &Origin, content: Content<'_>) -> bool {
        let route = self.route_of(origin, content);
        let bytes_max = self.alone_bytes_max(self.waiting.len(), route);
        shortened::headed(&self.letter(origin, content), bytes_max).is_some()
    }

    /// Takes a record that becomes a dead letter.
    pub fn take(&mut self, origin: Origin, content: Content<'_>) {
        let Content { reason, detail, id, topic, payload } = content;
        self.books.tally.note(content.cause(&origin.row));
        self.books.letters.put(content.shown(&origin.row, origin.received));
        origin.row.last_letter.note(origin.received, reason);
        let [detail_bytes, id_bytes, topic_bytes] = [detail, id, topic].map(<[u8]>::len);
        let text = [detail, id, topic, payload].concat().into();
        let waiting = Waiting { origin, reason, text, detail_bytes, id_bytes, topic_bytes };
        self.waiting.push_back(waiting);
    }

    /// Moves dead letters on as far as the publisher has room for them.
    pub fn advance(&mut self, now: Now, publisher: &mut Publisher, draining: bool) {
        while publisher.has_dead_letter_room()
            && let Some(waiting) = self.waiting.pop_front()
        {
            self.add(now, &waiting, publisher);
        }
        if publisher.has_dead_letter_room() {
            let reason =
                if draining { Some(Seal::Draining) } else { self.batcher.due(now.instant) };
            if let Some(reason) = reason {
                self.seal(now, reason, publisher);
            }
        }
        if self.waiting.is_empty() && self.waiting.capacity() > WAITING_CAPACITY_KEPT {
            self.waiting = VecDeque::new();
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.batcher.is_empty()
    }

    /// Whether the open batch waits for more dead letters.
    pub fn is_open(&self) -> bool {
        !self.batcher.is_empty()
    }

    /// When the open batch is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.batcher.deadline()
    }

    /// Since when the oldest has been here.
    pub fn oldest(&self) -> Option<Instant> {
        let waiting = self.waiting.front().map(|it| it.origin.since);
        [waiting, self.batcher.opened()].into_iter().flatten().min()
    }

    /// How many wait or are in the open batch.
    pub fn records(&self) -> usize {
        self.waiting.len() + self.receipts.records()
    }

    /// Lowers the bounds on a dead letter and on the dead letters of a batch to what the sink takes.
    pub fn fit(&mut self, bytes_max: Option<usize>, letters_bytes_max: usize) {
        self.bytes_max = bytes_max;
        self.batcher.fit(letters_bytes_max);
    }

    /// It is this plan from now on; no batch is open.
    pub fn become_plan(&mut self, plan: &Arc<Plan>) {
        self.batcher = Batcher::new(plan.batch);
        self.measure = plan.measure();
        self.route = Route::dead_letters();
        self.plan = Arc::clone(plan);
    }

    /// Lets all go.
    pub fn abandon(&mut self) {
        for Waiting { origin, .. } in std::mem::take(&mut self.waiting) {
            self.receipts.add(origin.token, origin.row.index, origin.bytes);
        }
        self.receipts = self.new_receipts();
        self.body.clear();
        self.ends.clear();
        self.batcher.sealed();
    }

    fn add(&mut self, now: Now, waiting: &Waiting, publisher: &mut Publisher) {
        let Waiting { origin, .. } = waiting;
        let letter = self.encode(waiting);
        let bytes = letter.len() + self.batch_prefix.len() + ID_BYTES;
        let route = self.route_of(origin, waiting.content());
        let turns = (route != self.route).then_some(Seal::Route);
        if let Some(reason) = turns.or(self.batcher.must_seal_before(bytes)) {
            self.seal(now, reason, publisher);
        }
        self.route = route;
        let id = format!("{}/{}", self.id(self.batches + 1), self.receipts.records() + 1);
        dead_letter::push(&mut self.body, &letter, &id);
        self.ends.push(place(self.body.len() - BEGIN));
        if self.batcher.is_empty() {
            self.first = letter;
        }
        self.receipts.add(origin.token, origin.row.index, origin.bytes);
        if let Some(full) = self.batcher.push(origin.since, bytes) {
            self.seal(now, full, publisher);
        }
    }

    /// A dead letter as it travels alone, shortened to fit. What is too large all the same is held until a
    /// broker takes it.
    fn encode(&self, waiting: &Waiting) -> Vec<u8> {
        let letter = self.letter(&waiting.origin, waiting.content());
        let route = self.route_of(&waiting.origin, waiting.content());
        let bytes_max = [self.alone_bytes_max(0, route), usize::MAX];
        let fitting = bytes_max.into_iter().find_map(|max| shortened::headed(&letter, max));
        fitting.unwrap_or_else(|| letter.encode())
    }

    fn letter<'a>(&'a self, origin: &'a Origin, content: Content<'a>) -> DeadLetter<'a> {
        let Content { reason, detail, topic, payload, .. } = content;
        let (gateway, received) = (&self.plan.gateway.id, origin.received);
        let (sensor, entry) = (content.sensor(&origin.row), origin.row.entry_name());
        DeadLetter { gateway, reason, detail, sensor, entry, topic, received, payload }
    }

    fn route_of(&self, origin: &Origin, content: Content<'_>) -> Route {
        self.measure.letter_route(origin.row.entry_name(), content.sensor(&origin.row))
    }

    /// Bytes of a dead letter that the broker takes alone, behind so many others, each perhaps a batch.
    fn alone_bytes_max(&self, others: usize, route: Route) -> usize {
        let Some(bytes_max) = self.bytes_max else { return usize::MAX };
        let batch = self.id(self.batches + 1 + u64::from(self.is_open()) + others as u64);
        self.measure.text_bytes_max(&self.sealed(batch, 1, route), bytes_max).unwrap_or(0)
    }

    /// A batch of so many dead letters, without its text.
    fn sealed(&self, id: String, count: usize, route: Route) -> Sealed {
        let (gateway, kind) = (self.plan.gateway.id.clone(), Kind::DeadLetters { route });
        Sealed { gateway, id, kind, count, text: Bytes::new(), places: None }
    }

    fn id(&self, batch: u64) -> String {
        format!("{}{batch}", self.batch_prefix)
    }

    /// Publishes the open batch, if there is one.
    pub fn seal(&mut self, now: Now, reason: Seal, publisher: &mut Publisher) {
        if self.batcher.is_empty() {
            return;
        }
        self.batches += 1;
        let id = self.id(self.batches);
        let next = self.new_receipts();
        let receipts = std::mem::replace(&mut self.receipts, next);
        let count = receipts.records();
        self.body.push(b']');
        let text = std::mem::take(if count == 1 { &mut self.first } else { &mut self.body });
        tracing::debug!(batch = id, letters = count, bytes = text.len(), ?reason, "sealed");
        let ends = self.ends.as_slice().into();
        let places = (count > 1).then_some(Places { begin: place(BEGIN), ends, between: BETWEEN });
        let sealed =
            Sealed { text: text.into(), places, ..self.sealed(id, count, self.route.clone()) };
        let opened = self.batcher.opened().unwrap_or(now.instant);
        self.body.clear();
        self.ends.clear();
        self.batcher.sealed();
        publisher.publish(InFlight::new(sealed, receipts, opened, now.instant));
    }

    fn new_receipts(&self) -> Receipts {
        Receipts::new(Arc::clone(&self.books) as Arc<dyn Settle>)
    }
}

// What the budget allows each: a place in a list that grows, and what the allocator adds.
const _: () = assert!(2 * size_of::<Waiting>() + 32 <= LETTER_WAITING_BYTES);

/// Places of a list that is empty; a larger one is given back.
const WAITING_CAPACITY_KEPT: usize = 1024;
