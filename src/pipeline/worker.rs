//! The thread in the middle: records in, batches out, settlements back.
//!
//! It waits in one place (`Outlet::next`) and decides in one place ([`Worker::apply_all`]), which is
//! not async, reads no clock and touches nothing but memory, the sink's channel and the spool. Tests step it with
//! a clock of their own and a scripted sink.
//!
//! Invariants:
//! - records are encoded in the order they were offered, batches published in the order sealed;
//! - a batch is sealed only when it could be published: where one must be sealed before a record, and there is no
//!   room, the record waits;
//! - a record is taken from the queue only when a batch could be published: what cannot move waits
//!   where it is counted;
//! - the worker ends only when everything has settled, or is told to let go.

use std::sync::Arc;
use std::time::Instant;

use super::content::{self, Content};
use super::dead_letters::{DeadLetters, Origin};
use super::publisher::{Failure, Publisher};
use super::router::Router;
use super::spooler::Spooler;
use crate::batch::Seal;
use crate::clock::{self, Now, Timestamp};
use crate::codec::{Encoder, Unwritable};
use crate::plan::Plan;
use crate::plan::current::Current;
use crate::queue::{Event, Outlet, Want};
use crate::record::{Body, Chunk, Record};
use crate::sink::{self, Measure};
use crate::state::books::Books;
use crate::state::registry::Row;

use self::open::OpenBatches;
use self::rows::Rows;

mod changing;
mod open;
mod rows;
mod sizes;

/// What the worker says when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Everything has settled.
    Drained,
    /// It was told to let go.
    Aborted,
}

/// The records taken from the queue and not yet in a batch.
#[derive(Debug)]
struct Taken {
    chunk: Chunk,
    next: usize,
    since: Instant,
}

/// A record that is looked at, and where it is from.
#[derive(Debug, Clone, Copy)]
struct Next<'a> {
    chunk: &'a Chunk,
    record: &'a Record,
    row: &'a Arc<Row>,
    /// Since when it has been here.
    since: Instant,
}

impl Next<'_> {
    /// Where a dead letter of it is from.
    fn origin(&self) -> Origin {
        let Self { record, row, since, .. } = *self;
        let (row, token, bytes) = (Arc::clone(row), record.token, record.bytes());
        Origin { row, token, bytes, received: record.received, since }
    }
}

/// The worker.
#[derive(Debug)]
pub struct Worker {
    plan: Arc<Plan>,
    /// The plan that runs, as the engine changes it.
    current: Current,
    books: Arc<Books>,
    rows: Rows,
    taken: Option<Taken>,
    used: Option<Chunk>,
    router: Router,
    open: OpenBatches,
    measure: Arc<dyn Measure>,
    /// What was known of the sink's bounds when the batch was adapted to them.
    fitted: Option<(Option<usize>, usize)>,
    /// Bytes of records that the broker takes in one packet, if it says.
    fits: Option<usize>,
    encoder: Encoder,
    dead_letters: DeadLetters,
    publisher: Publisher,
    batch_prefix: String,
    batches: u64,
    draining: bool,
    aborted: bool,
}

/// What the ids of all batches of a run begin with: its gateway's id, its start and a `salt`, because a machine
/// without a clock of its own must not give the same ids after each start.
pub fn run_id(gateway: &str, start: Timestamp, salt: u16) -> String {
    format!("{gateway}-{:x}{salt:04x}", start.millis())
}

impl Worker {
    /// A worker of a gateway that starts now. The batches' ids begin with `run`, and `router` says where records
    /// go.
    pub fn new(
        current: Current,
        books: Arc<Books>,
        spooler: Option<Spooler>,
        now: Now,
        run: &str,
        router: Router,
    ) -> Self {
        let plan = current.get();
        let shared = (Arc::clone(&plan), Arc::clone(&books));
        let open = OpenBatches::new(shared.0, shared.1, router.first().clone());
        let publisher = Publisher::new(Arc::clone(&plan), Arc::clone(&books), spooler, now.instant);
        Self {
            router,
            open,
            dead_letters: DeadLetters::new(Arc::clone(&plan), Arc::clone(&books), run),
            measure: plan.measure(),
            publisher,
            batch_prefix: run.to_owned(),
            encoder: plan.output.encoder(),
            plan,
            current,
            books,
            rows: Rows::default(),
            taken: None,
            used: None,
            batches: 0,
            fitted: None,
            fits: None,
            draining: false,
            aborted: false,
        }
    }

    /// Works until everything has settled or the worker is told to let go.
    pub fn run(mut self, mut outlet: Outlet<sink::Event>) -> Result<Ended, Failure> {
        let ended = self.work(&mut outlet);
        self.publisher.finish(clock::now());
        ended
    }

    fn work(&mut self, outlet: &mut Outlet<sink::Event>) -> Result<Ended, Failure> {
        loop {
            let event = outlet.next(self.want());
            let reports = std::iter::from_fn(|| outlet.report().map(Event::Reported));
            self.apply_all(clock::now(), std::iter::once(event).chain(reports))?;
            if let Some(used) = self.used.take() {
                outlet.recycle(used);
            }
            if let Some(ended) = self.ended() {
                return Ok(ended);
            }
        }
    }

    /// Whether there is nothing left to do.
    pub fn ended(&self) -> Option<Ended> {
        if self.aborted {
            return Some(Ended::Aborted);
        }
        let empty = self.taken.is_none() && self.open.is_empty() && self.dead_letters.is_empty();
        let idle = empty && self.publisher.is_done();
        (self.draining && idle).then_some(Ended::Drained)
    }

    /// What to wait for.
    pub fn want(&self) -> Want {
        let room = self.publisher.has_room();
        let (fill_records, fill_bytes) = self.open.room();
        let due = if room { self.open.deadline() } else { None };
        let dead_letters =
            self.dead_letters.deadline().filter(|_| self.publisher.has_dead_letter_room());
        let open = !self.open.is_empty() || self.dead_letters.is_open();
        Want {
            records: room && self.taken.is_none(),
            fill_records,
            fill_bytes,
            hold: self.plan.batch.age_max.0,
            stalled: room && open && !self.publisher.will_settle(),
            deadline: [due, dead_letters, self.publisher.deadline()].into_iter().flatten().min(),
        }
    }

    /// Takes events and does what follows from them all. That may wait for the spool's disk: once. What
    /// is still to be written then is a deadline that has passed, and reports go before it.
    pub fn apply_all(
        &mut self,
        now: Now,
        events: impl Iterator<Item = Event<sink::Event>>,
    ) -> Result<(), Failure> {
        for event in events {
            self.take(now, event)?;
            if self.aborted {
                return Ok(());
            }
        }
        self.advance(now);
        if self.publisher.tend(now) {
            self.advance(now);
        }
        self.fit();
        self.show(now.instant);
        Ok(())
    }

    fn take(&mut self, now: Now, event: Event<sink::Event>) -> Result<(), Failure> {
        match event {
            Event::Offered(chunk, since) => self.taken = Some(Taken { chunk, next: 0, since }),
            Event::Reported(sink::Event::Abort) => {
                self.aborted = true;
                self.publisher.abandon();
                self.dead_letters.abandon();
                self.open.abandon();
            }
            Event::Reported(sink::Event::Changed(told)) => self.become_plan(now, told),
            Event::Reported(report) => {
                self.publisher.apply(now, report)?;
                self.fit();
            }
            Event::Stalled => {
                self.seal_all(now, Seal::Starved);
                self.dead_letters.seal(now, Seal::Starved, &mut self.publisher);
            }
            Event::Ended => self.draining = true,
            Event::Deadline => {}
        }
        Ok(())
    }

    /// Shows what is held, and since when.
    fn show(&self, now: Instant) {
        let gauges = &self.books.gauges;
        gauges.batch_records.set(self.open.records() as u64);
        gauges.letters_waiting.set(self.dead_letters.records() as u64);
        let taken = self.taken.as_ref().map(|taken| taken.since);
        let oldest =
            [taken, self.open.opened(), self.dead_letters.oldest()].into_iter().flatten().min();
        self.publisher.show(gauges, oldest, now);
    }

    /// Moves records on as far as there is room.
    fn advance(&mut self, now: Now) {
        self.encode(now);
        if self.taken.is_none() && self.draining {
            self.seal_all(now, Seal::Draining);
        }
        while self.taken.is_none()
            && self.publisher.has_room()
            && let Some((at, due)) = self.open.due(now.instant)
        {
            self.seal(now, at, due);
        }
        self.dead_letters.advance(now, &mut self.publisher, self.draining);
    }

    /// Puts taken records into batches for as long as batches can be published.
    fn encode(&mut self, now: Now) {
        let Some(taken) = self.taken.take() else { return };
        let mut rows = std::mem::take(&mut self.rows);
        self.encode_with(now, taken, &mut rows);
        self.rows = rows;
    }

    fn encode_with(&mut self, now: Now, mut taken: Taken, rows: &mut Rows) {
        let (mut room, mut published) = (self.publisher.has_room(), self.publisher.published);
        while let Some(record) = taken.chunk.records.get(taken.next) {
            // Only what is published takes room: it need not be asked for each record.
            if published != self.publisher.published {
                (room, published) = (self.publisher.has_room(), self.publisher.published);
            }
            if !room {
                self.taken = Some(taken);
                return;
            }
            let row = rows.of(record, &self.books.registry);
            let next = Next { chunk: &taken.chunk, record, row, since: taken.since };
            taken.next += usize::from(match record.body {
                Body::Reading { .. } => self.add(now, &next),
                Body::Unreadable { .. } => {
                    self.make_dead_letter(&next);
                    true
                }
            });
        }
        self.used = Some(taken.chunk);
    }

    /// Puts a reading into the open batch of its route, and seals the batch if that completes it. False where a
    /// batch was sealed before it: then it is still to be taken, once there is room again.
    fn add(&mut self, now: Now, next: &Next<'_>) -> bool {
        let Next { chunk, record, row, since } = *next;
        let Some(view) = content::view(record, row, chunk, now.wall) else { return true };
        if let Some(at) = record.letter_since(now.wall) {
            self.make_expired_dead_letter(next, at);
            return true;
        }
        let route = match self.router.route(&view) {
            Ok(route) => route,
            Err(Unwritable(what)) => {
                self.make_unwritable_dead_letter(next, &what);
                return true;
            }
        };
        if let Err(first) = self.open.turn_to(route, record.sensor) {
            self.seal(now, first, Seal::Route);
            return false;
        }
        let bytes = match self.open.write(&mut self.encoder, &view) {
            Ok(bytes) => bytes,
            Err(Unwritable(what)) => {
                let format = self.plan.output.format.as_str();
                let what = format!("{what}: output.format = \"{format}\" cannot write it");
                self.make_unwritable_dead_letter(next, &what);
                return true;
            }
        };
        // What is held as what it is, until a broker takes it, stays.
        if self.fits.is_some_and(|max| bytes > max)
            && !self.travels_alone(now)
            && self.make_oversize_dead_letter(next, bytes)
        {
            self.open.take_back();
            return true;
        }
        match self.open.keep(record, since) {
            Ok(None) => true,
            Ok(Some(full)) => {
                self.seal(now, self.open.at(), full);
                true
            }
            Err(heavy) => {
                self.seal(now, self.open.at(), heavy);
                false
            }
        }
    }

    /// Publishes the open batches, the oldest first, as far as there is room.
    fn seal_all(&mut self, now: Now, reason: Seal) {
        while self.publisher.has_room()
            && let Some(at) = self.open.oldest()
        {
            self.seal(now, at, reason);
        }
    }

    /// Publishes the open batch at this place.
    fn seal(&mut self, now: Now, at: usize, reason: Seal) {
        self.batches += 1;
        let id = format!("{}-{}", self.batch_prefix, self.batches);
        let flight = self
            .open
            .seal(at, now, &id, self.publisher.spare())
            .expect("what is sealed holds records");
        let (records, bytes) = (flight.sealed().count, flight.sealed().text.len());
        tracing::debug!(batch = id, records, bytes, ?reason, "sealed");
        self.count(reason);
        self.publisher.publish(flight);
    }

    /// Makes a dead letter of what is no reading.
    fn make_dead_letter(&mut self, next: &Next<'_>) {
        let Next { chunk, record, .. } = *next;
        let Body::Unreadable { reason, detail, payload } = record.body else { return };
        let (detail, payload) = (chunk.text(detail), chunk.text(payload));
        let (id, topic) = (chunk.text(record.id), chunk.text(record.topic));
        let content = Content { reason, detail, id, topic, payload };
        self.dead_letters.take(next.origin(), content);
    }

    fn count(&self, reason: Seal) {
        let metrics = &self.books.metrics;
        let counter = match reason {
            Seal::Full => &metrics.sealed_full,
            Seal::Heavy => &metrics.sealed_heavy,
            Seal::Aged => &metrics.sealed_aged,
            Seal::Starved => &metrics.sealed_starved,
            Seal::Route => &metrics.sealed_route,
            Seal::Changed => &metrics.sealed_changed,
            Seal::Draining => &metrics.sealed_draining,
        };
        counter.one();
    }
}
