//! The thread in the middle: records in, batches out, settlements back.
//!
//! It waits in one place (`Outlet::next`) and decides in one place ([`Worker::apply_all`]), which is
//! not async, reads no clock and touches nothing but memory, the sink's lane and the spool. Tests step it with
//! a clock of their own and a scripted sink.
//!
//! Invariants:
//! - records are encoded in the order they were offered, batches published in the order sealed;
//! - a record is taken from the queue only when a batch could be published: what cannot move waits
//!   where it is counted;
//! - the worker ends only when everything has settled, or is told to let go.

use std::sync::Arc;
use std::time::Instant;

use super::books::Books;
use super::dead_letters::{Content, DeadLetters, Origin};
use super::in_flight::InFlight;
use super::publisher::{Failure, Publisher};
use super::spooler::Spooler;
use crate::batch::{Batcher, Seal};
use crate::clock::{self, Now, Timestamp};
use crate::codec::{Encoder, Head, View, Whose};
use crate::plan::Plan;
use crate::queue::{Event, Outlet, Want};
use crate::record::{Body, Chunk, Record};
use crate::registry::Row;
use crate::sealed::{Sealed, place};
use crate::settlement::{Receipts, Settle};
use crate::sink::{self, Measure};

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

/// The worker.
#[derive(Debug)]
pub struct Worker {
    plan: Arc<Plan>,
    books: Arc<Books>,
    /// Rows by index, added to when a new sensor appears.
    rows: Vec<Arc<Row>>,
    taken: Option<Taken>,
    used: Option<Chunk>,
    batcher: Batcher,
    measure: Arc<dyn Measure>,
    /// What was known of the sink's bounds when the batch was adapted to them.
    fitted: (Option<usize>, usize),
    /// Bytes of records that the broker takes in one packet, if it says.
    fits: Option<usize>,
    body: Vec<u8>,
    /// Where each record of the body ends.
    ends: Vec<u32>,
    receipts: Receipts,
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
    /// A worker of a gateway that starts now. The batches' ids begin with `run`.
    pub fn new(
        plan: Arc<Plan>,
        books: Arc<Books>,
        spooler: Option<Spooler>,
        now: Now,
        run: &str,
    ) -> Self {
        let publisher = Publisher::new(Arc::clone(&plan), Arc::clone(&books), spooler, now.instant);
        Self {
            batcher: Batcher::new(plan.batch),
            receipts: Receipts::new(Arc::clone(&books) as Arc<dyn Settle>),
            dead_letters: DeadLetters::new(Arc::clone(&plan), Arc::clone(&books), run),
            measure: plan.measure(),
            publisher,
            batch_prefix: run.to_owned(),
            encoder: plan.output.format.encoder(),
            plan,
            books,
            rows: Vec::new(),
            taken: None,
            used: None,
            body: Vec::new(),
            ends: Vec::new(),
            batches: 0,
            fitted: (None, usize::MAX),
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
            let mail = std::iter::from_fn(|| outlet.mail().map(Event::Mail));
            self.apply_all(clock::now(), std::iter::once(event).chain(mail))?;
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
        let empty = self.taken.is_none() && self.batcher.is_empty() && self.dead_letters.is_empty();
        let idle = empty && self.publisher.is_done();
        (self.draining && idle).then_some(Ended::Drained)
    }

    /// What to wait for.
    pub fn want(&self) -> Want {
        let room = self.publisher.has_room();
        let (fill_records, fill_bytes) = self.batcher.room();
        let due = if room { self.batcher.deadline() } else { None };
        let dead_letters =
            self.dead_letters.deadline().filter(|_| self.publisher.has_dead_letter_room());
        let open = !self.batcher.is_empty() || self.dead_letters.is_open();
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
    /// is still to be written then is a deadline that has passed, and mail goes before it.
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
            Event::Mail(sink::Event::Abort) => {
                self.aborted = true;
                self.publisher.abandon();
                self.dead_letters.abandon();
                self.receipts = self.new_receipts();
            }
            Event::Mail(mail) => {
                self.publisher.apply(now, mail)?;
                self.fit();
            }
            Event::Stalled => {
                self.seal(now, Seal::Starved);
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
        gauges.batch_records.set(self.receipts.records() as u64);
        gauges.letters_waiting.set(self.dead_letters.records() as u64);
        let taken = self.taken.as_ref().map(|taken| taken.since);
        let oldest =
            [taken, self.batcher.opened(), self.dead_letters.oldest()].into_iter().flatten().min();
        self.publisher.show(gauges, oldest, now);
    }

    /// Moves records on as far as there is room.
    fn advance(&mut self, now: Now) {
        self.encode(now);
        if self.publisher.has_room() && self.taken.is_none() {
            if self.draining {
                self.seal(now, Seal::Draining);
            } else if let Some(due) = self.batcher.due(now.instant) {
                self.seal(now, due);
            }
        }
        self.dead_letters.advance(now, &mut self.publisher, self.draining);
    }

    /// Puts taken records into batches for as long as batches can be published.
    fn encode(&mut self, now: Now) {
        let Some(mut taken) = self.taken.take() else { return };
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
            match record.body {
                Body::Reading { .. } => self.add(now, &taken.chunk, record, taken.since),
                Body::Unreadable { .. } => self.make_dead_letter(&taken.chunk, record, taken.since),
            }
            taken.next += 1;
        }
        self.used = Some(taken.chunk);
    }

    /// Puts a reading into the open batch; seals the batch before or after it, if that is due.
    fn add(&mut self, now: Now, chunk: &Chunk, record: &Record, since: Instant) {
        let row = self.row(record);
        let Body::Reading { value, timestamp, extra } = record.body else { return };
        let before = self.body.len();
        let view = View {
            sensor: if record.id.is_empty() {
                Whose::Counted(&row.json, record.sequence)
            } else {
                Whose::Uncounted(chunk.text(record.id))
            },
            entry: row.entry_json(),
            value: chunk.text(value),
            timestamp: chunk.text(timestamp),
            received: record.received,
            topic: chunk.text(record.topic),
            extra: chunk.text(extra),
            retained: record.retained,
        };
        if before > 0 {
            self.body.push(self.plan.output.format.separator());
        }
        let begin = self.body.len();
        if let Err(unwritable) = self.encoder.record(&mut self.body, &view) {
            self.body.truncate(before);
            return self.make_unwritable_dead_letter(since, chunk, record, &unwritable);
        }
        let mut bytes = self.body.len() - before;
        // What is held as what it is, until a broker takes it, stays.
        if self.fits.is_some_and(|max| bytes > max)
            && !self.travels_alone(now, begin)
            && self.make_oversize_dead_letter(since, chunk, record, self.body.len() - begin)
        {
            self.body.truncate(before);
            return;
        }
        if let Some(heavy) = self.batcher.must_seal_before(bytes) {
            let record = self.body.split_off(begin);
            self.body.truncate(before);
            self.seal(now, heavy);
            self.body.extend_from_slice(&record);
            bytes = record.len();
        }
        self.ends.push(place(self.body.len()));
        self.receipts.add(record.token, record.sensor, record.bytes());
        if let Some(full) = self.batcher.push(since, bytes) {
            self.seal(now, full);
        }
    }

    /// Publishes the open batch, if there is one.
    fn seal(&mut self, now: Now, reason: Seal) {
        if self.batcher.is_empty() {
            return;
        }
        self.batches += 1;
        let id = format!("{}-{}", self.batch_prefix, self.batches);
        let next = self.new_receipts();
        let receipts = std::mem::replace(&mut self.receipts, next);
        let gateway = &self.plan.gateway.id;
        let head = Head { gateway, batch: &id, sealed_at: now.wall, count: receipts.records() };
        let ends = self.ends.as_slice().into();
        let sealed = Sealed::readings(&head, self.plan.output.format, &self.body, ends);
        let bytes = sealed.text.len();
        tracing::debug!(batch = id, records = head.count, bytes, ?reason, "sealed");
        let opened = self.batcher.opened().unwrap_or(now.instant);
        self.body.clear();
        self.ends.clear();
        self.batcher.sealed();
        self.count(reason);
        self.publisher.publish(InFlight::new(sealed, receipts, opened, now.instant));
    }

    /// Makes a dead letter of what is no reading.
    fn make_dead_letter(&mut self, chunk: &Chunk, record: &Record, since: Instant) {
        let Body::Unreadable { reason, detail, payload } = record.body else { return };
        let (detail, payload) = (chunk.text(detail), chunk.text(payload));
        let (id, topic) = (chunk.text(record.id), chunk.text(record.topic));
        let content = Content { reason, detail, id, topic, payload };
        let origin = self.origin(record, since);
        self.dead_letters.take(origin, content);
    }

    fn origin(&mut self, record: &Record, since: Instant) -> Origin {
        let (row, token, bytes) = (self.row(record), record.token, record.bytes());
        Origin { row, token, bytes, received: record.received, since }
    }

    fn row(&mut self, record: &Record) -> Arc<Row> {
        let index = record.sensor.0 as usize;
        if index >= self.rows.len() {
            let known = self.rows.len();
            let rows = &mut self.rows;
            self.books.registry.with_rows(|all| rows.extend(all.iter().skip(known).cloned()));
        }
        // A record's sensor is in the registry before the record is made.
        Arc::clone(self.rows.get(index).expect("every sensor has a row"))
    }

    fn new_receipts(&self) -> Receipts {
        Receipts::new(Arc::clone(&self.books) as Arc<dyn Settle>)
    }

    fn count(&self, reason: Seal) {
        let metrics = &self.books.metrics;
        let counter = match reason {
            Seal::Full => &metrics.sealed_full,
            Seal::Heavy => &metrics.sealed_heavy,
            Seal::Aged => &metrics.sealed_aged,
            Seal::Starved => &metrics.sealed_starved,
            Seal::Draining => &metrics.sealed_draining,
        };
        counter.one();
    }
}
