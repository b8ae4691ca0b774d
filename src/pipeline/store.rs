//! The engine's side of the spool: what goes to disk, in which order, and comes back.
//!
//! ```text
//!  sealed ──► window ──► output                     directly, while the output takes them
//!     │         ▲ │
//!     │         │ └─ write ─┐                        the window's content first,
//!     └► waiting┼── write ──┴─► spool ── read ──► window     then what is sealed behind it
//!               └ (disk failed)
//! ```
//!
//! Invariants:
//! - What is on disk is older than what is not: a write always begins with the oldest flight that is
//!   not yet there. So a sensor's order holds across a crash, too.
//! - While anything in the spool has not been read, nothing passes it: what is sealed goes behind it.
//! - Records settle as spooled after the write has been synced, and never otherwise. A write that
//!   fails leaves its flights as they were, in memory, bounded; it is tried again after a pause.
//! - An entry leaves the disk after all of it was acknowledged. A crash before that makes repeats of
//!   whole batches, with their ids: at most the window's and [`REMOVE_GROUP_MAX`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::books::Books;
use super::flight::Flight;
use super::gauges::Gauges;
use super::label::Label;
use super::patience::Patience;
use super::said::Said;
use crate::clock::Now;
use crate::limits::{REMOVE_DELAY_MAX, REMOVE_GROUP_MAX, WAITING_MAX};
use crate::plan::Plan;
use crate::spool::{Entry, Error, Key, Spool};
use crate::window::Window;

mod failing;

/// The spool as the publisher uses it.
#[derive(Debug)]
pub struct Store {
    spool: Spool,
    plan: Arc<Plan>,
    books: Arc<Books>,
    /// Sealed, and neither in the window nor on disk.
    waiting: VecDeque<Flight>,
    /// The last entry that was read.
    cursor: Option<Key>,
    /// Entries behind it, and their records.
    unread: u64,
    unread_records: u64,
    /// Arrived, and still on disk.
    arrived: Vec<Key>,
    arrived_since: Option<Instant>,
    /// Writes that failed, and reads: a full disk can still be read.
    writes: Patience,
    reads: Patience,
    /// When the next entry may be read: `spool.replay_rate`.
    next_read: Option<Instant>,
    stuck: bool,
    /// Since when something waits that no write has been tried for.
    untried: Option<Instant>,
    /// The last write failed: what waits for it is still in memory.
    behind: bool,
    /// Bytes of the largest batch, all of its message.
    batch_bytes: usize,
    /// A stop was asked for: what is on disk stays there.
    stopping: bool,
    said: Said,
    /// When it was last looked whether the spool's file has lost its name.
    looked: Option<Instant>,
}

impl Store {
    /// Takes over what an opened spool holds: it is published before anything new.
    pub fn new(mut spool: Spool, plan: Arc<Plan>, books: Arc<Books>) -> Result<Self, Error> {
        show_disk(&spool, &books.gauges);
        let mut recovered = 0;
        spool.heads(|_, records, head| {
            recovered += u64::from(records);
            Label::recover(head, records, &books);
        })?;
        let unread = spool.entries();
        if unread > 0 {
            tracing::info!(
                batches = unread,
                readings = recovered,
                "the spool holds batches of an earlier run: they are published first"
            );
        }
        Ok(Self {
            spool,
            batch_bytes: plan.batch.bytes_max.get() + plan.batch_overhead_bytes(),
            plan,
            books,
            waiting: VecDeque::new(),
            cursor: None,
            unread,
            unread_records: recovered,
            arrived: Vec::new(),
            arrived_since: None,
            writes: Patience::default(),
            reads: Patience::default(),
            next_read: None,
            stuck: false,
            untried: None,
            behind: false,
            stopping: false,
            said: Said::default(),
            looked: None,
        })
    }

    /// How long the output may be silent. After a stop request there is no more than the grace.
    fn after(&self) -> Duration {
        let (after, grace) = (self.plan.spool.after.0, self.plan.gateway.shutdown_grace.0);
        if self.stopping { after.min(grace / 4) } else { after }
    }

    /// Judges the output, which has been away or silent since `silent`.
    pub fn judge(&mut self, silent: Option<Instant>, now: Instant) {
        self.stuck = silent.is_some_and(|since| since + self.after() <= now);
        if self.stuck && !self.fits(1) {
            // Nothing may ever be written that would say so.
            self.said.filled(&self.spool, false);
        }
    }

    /// When an output that has been silent since then will be stuck; `None` if it is.
    pub fn stuck_at(&self, silent: Option<Instant>) -> Option<Instant> {
        silent.filter(|_| !self.stuck).map(|since| since + self.after())
    }

    /// Whether batches go through the spool: the output is stuck, or something there is ahead.
    pub fn is_used(&self) -> bool {
        self.stuck || self.unread > 0
    }

    /// A stop was asked for: what is on disk stays there.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// Whether nothing is left to do: all has arrived; or, after a stop request, is on disk, and the
    /// output takes nothing or it was there before.
    pub fn is_done(&self, (window_empty, will_settle): (bool, bool)) -> bool {
        let safe = self.stopping && self.stuck && !will_settle;
        let idle = window_empty && self.is_settled();
        safe || (idle && (self.stopping || self.unread == 0))
    }

    /// Whether something must be published before what is sealed now.
    pub fn is_ahead(&self) -> bool {
        self.unread > 0 || !self.waiting.is_empty()
    }

    /// Whether everything that it was given is in the window or on disk.
    pub fn is_settled(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether it takes another batch.
    pub fn has_room(&self) -> bool {
        self.writes.is_well()
            && self.waiting.len() < WAITING_MAX
            && self.fits(self.waiting.len() + 1)
    }

    /// Whether so many batches fit, as large as they may be.
    fn fits(&self, batches: usize) -> bool {
        // With its label, in whole pages.
        self.spool.fits((batches * self.batch_bytes * 5 / 4) as u64)
    }

    /// Takes a flight, behind all others.
    pub fn push(&mut self, flight: Flight) {
        self.untried.get_or_insert(flight.since());
        self.waiting.push_back(flight);
    }

    /// Whether there is something to read for the window: from disk or, when nothing there is ahead
    /// of it, from what could not be written. A disk that takes nothing may still be read.
    pub fn can_read(&self, now: Instant, connected: bool) -> bool {
        match self.unread {
            0 => !self.waiting.is_empty() && (connected || !self.stuck),
            _ => {
                connected
                    && self.wants_read()
                    && self.reads.allows(now)
                    && self.next_read.is_none_or(|at| at <= now)
            }
        }
    }

    /// Whether what is on disk is to be read. After a stop request the next run has time for it,
    /// unless it keeps what is in memory from becoming safe.
    fn wants_read(&self) -> bool {
        self.unread > 0 && !(self.stopping && self.has_room())
    }

    /// When it wants to be asked again; `room` is whether a connection could take more.
    pub fn deadline(&self, room: bool) -> Option<Instant> {
        let reads = room && self.wants_read();
        let read = self.reads.deadline().max(self.next_read).filter(|_| reads);
        let remove = self.arrived_since.map(|since| since + REMOVE_DELAY_MAX);
        let write = self.writes.deadline().or(self.untried).or(remove);
        [read, write, self.look_at()].into_iter().flatten().min()
    }

    /// Writes what is not on disk, oldest first, as much as fits, if the output is stuck, something
    /// on disk is ahead, or it is `needed`.
    pub fn write(&mut self, now: Now, window: &mut Window<Flight>, needed: bool) {
        self.untried = None;
        if !self.writes.allows(now.instant) {
            return;
        }
        let entries = if needed || self.is_used() { self.entries(window) } else { Vec::new() };
        if entries.is_empty() {
            return self.writes.rest();
        }
        match self.spool.append(&entries) {
            Ok(first) => self.written(now, (first, entries.len()), window),
            Err(error) => {
                self.behind = true;
                self.write_failed(now, &error);
            }
        }
    }

    /// The next flight for the window.
    pub fn read(&mut self, now: Now) -> Option<Flight> {
        if self.unread == 0 {
            return self.waiting.pop_front();
        }
        match self.spool.next(self.cursor) {
            Ok(Some((key, entry))) => {
                self.reads.succeeded();
                self.advance(key, entry.records);
                self.pace(now.instant, entry.records);
                if !self.stuck {
                    self.said.reading(&self.spool, now.instant);
                }
                self.restore(now.instant, key, entry)
            }
            Ok(None) => {
                (self.unread, self.unread_records) = (0, 0);
                None
            }
            Err(Error::Corrupt { key, records }) => {
                self.advance(key, records);
                self.unreadable(now.instant, key, records);
                None
            }
            Err(error) => {
                self.failed(now, &error);
                self.reads.failed(now);
                None
            }
        }
    }

    /// An entry has arrived: it can leave the disk.
    pub fn arrived(&mut self, now: Instant, key: Key) {
        self.arrived.push(key);
        self.arrived_since.get_or_insert(now);
    }

    /// Takes from the disk what has arrived, if that is worth a write; `all`: whatever there is.
    pub fn tidy(&mut self, now: Now, all: bool) {
        let due = self.arrived_since.is_some_and(|since| since + REMOVE_DELAY_MAX <= now.instant);
        let enough = self.arrived.len() >= REMOVE_GROUP_MAX || due || all;
        // The last chance is taken whatever was before.
        if !enough || self.arrived.is_empty() || !(all || self.writes.allows(now.instant)) {
            return;
        }
        match self.spool.remove(&self.arrived) {
            Ok(()) => {
                self.arrived.clear();
                self.arrived_since = None;
                // A removal may work on a disk that is too full for a write.
                self.behind &= self.spool.entries() > 0;
                if !self.behind {
                    self.healthy();
                }
            }
            Err(error) => self.write_failed(now, &error),
        }
        if self.spool.entries() == 0 {
            self.said.emptied();
        }
    }

    /// Shows what it holds; returns since when the oldest that is not on disk has been here.
    pub fn show(&self, gauges: &Gauges) -> Option<Instant> {
        gauges.spool_waiting.set(self.waiting.len() as u64);
        show_disk(&self.spool, gauges);
        self.waiting.front().and_then(Flight::received)
    }

    /// Lets go of what is not on disk.
    pub fn abandon(&mut self) {
        self.waiting.clear();
    }

    /// What is to be written, as far as it fits.
    fn entries(&self, window: &Window<Flight>) -> Vec<Entry> {
        let held = window.iter().map(|(_, flight)| flight).filter(|flight| flight.is_held());
        let (mut entries, mut bytes) = (Vec::new(), 0);
        for flight in held.chain(&self.waiting) {
            // A label is made where it may fit only: this is asked often while the spool is full.
            if !self.spool.fits(bytes + flight.sealed().text.len() as u64) {
                break;
            }
            let entry = Label::entry(flight, &self.books);
            bytes += entry.footprint();
            if !self.spool.fits(bytes) {
                break;
            }
            entries.push(entry);
        }
        entries
    }

    fn written(&mut self, now: Now, (first, count): (Key, usize), window: &mut Window<Flight>) {
        self.behind = false;
        // Before its records settle: nobody may see readings in a spool of no bytes.
        show_disk(&self.spool, &self.books.gauges);
        self.healthy();
        self.say_renewed();
        if self.stuck {
            self.said.writing(now.instant);
        }
        self.said.filled(&self.spool, self.fits(1));
        let mut keys = (0..count as u64).map(|n| first.plus(n));
        let held = window.iter_mut().filter(|flight| flight.is_held());
        for (flight, key) in held.zip(&mut keys) {
            // In the window already: not to be read again.
            flight.store(key);
            self.cursor = Some(key);
        }
        for key in keys {
            let Some(mut flight) = self.waiting.pop_front() else { break };
            flight.store(key);
            self.unread += 1;
            self.unread_records += flight.sensors().len() as u64;
        }
    }

    fn advance(&mut self, key: Key, records: u32) {
        self.cursor = Some(key);
        self.unread = self.unread.saturating_sub(1);
        self.unread_records = self.unread_records.saturating_sub(records.into());
    }

    fn pace(&mut self, now: Instant, records: u32) {
        let Some(rate) = self.plan.spool.replay_rate else { return };
        let pause = Duration::from_secs_f64(f64::from(records) / f64::from(rate.get()));
        self.next_read = Some(self.next_read.unwrap_or(now).max(now) + pause);
    }

    fn restore(&mut self, now: Instant, key: Key, entry: Entry) -> Option<Flight> {
        let records = entry.records;
        let flight = Label::flight(entry, key, (&self.plan, &self.books), now);
        if flight.is_none() {
            self.unreadable(now, key, records);
        }
        flight
    }
}

/// Shows how full the spool is.
fn show_disk(spool: &Spool, gauges: &Gauges) {
    gauges.spool_bytes.set(spool.bytes());
    gauges.spool_batches.set(spool.entries());
}
