//! The engine's side of the spool: what goes to disk, in which order, and what is read back.
//!
//! ```text
//!  sealed ──► window ──► output                     direct
//!     │         ▲ │
//!     │         │ └─ write ─┐                        the window's content first,
//!     └► waiting┼── write ──┴─► spool ── read ──► window     then what is sealed behind it
//!               └ (disk failed)
//! ```
//!
//! What happens is decided by one state, the `Mode`. It changes in one function, `enter`.
//!
//! | mode | a sealed batch | is written | goes into the window from here | is left |
//! | --- | --- | --- | --- | --- |
//! | `Direct`: the output takes batches, nothing on disk is unread | goes into the window; waits while an older one waits, or the window is full | nothing, but what the publisher asks for: a dead letter that is refused | what waits | when the output is *stuck*: it has been away or silent for `spool.after` |
//! | `Writing`: the output is stuck | the same; what finds no room in the window waits, for the disk | the window's content, then what waits | on a connection only: what is on disk, then what waits | when the output has answered, or is back |
//! | `Replaying`: the output takes batches, what is on disk is older than what is sealed | waits | what waits | what is on disk | when all of that has been read, or the output is stuck |
//!
//! What is on disk and cannot be published by this run stays there (`kept`), and what must not pass it, too. Then the
//! mode is `Replaying` for good: what is sealed goes into the window, or to disk behind what is kept.
//!
//! After a stop request nothing more is read from disk: the next run does that. It is read all the same
//! while what waits finds no room on disk. The run has ended when nothing is held in memory.
//!
//! Invariants:
//! - What is on disk is older than what is not: a write always begins with the oldest publication that is
//!   not yet there. So a sensor's order holds across a crash, too.
//! - While anything on disk has not been read, what is sealed goes behind it.
//! - Records settle as spooled after the write has been synced, and never otherwise. A write that
//!   fails leaves its publications as they were, in memory, bounded; it is tried again after a pause.
//! - An entry leaves the disk after all of it was acknowledged. A crash before that makes repeats of
//!   whole batches, with their ids: at most the window's and [`REMOVE_GROUP_MAX`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::kept::Kept;
use self::log::SpoolLog;
use self::routes::Routes;
use super::entry_head::{EntryHead, Read};
use super::in_flight::InFlight;
use super::retry_timer::RetryTimer;
use crate::state::books::Books;
use crate::state::gauges::Gauges;

use crate::clock::Now;
use crate::limits::WAITING_MAX;
use crate::plan::Plan;
use crate::sink::routing::Routing;
use crate::spool::{Entry, Error, Key, Spool};
use crate::window::Window;

mod failing;
mod kept;
mod log;
mod routes;

/// Delivered batches that are removed from the spool together, unless [`REMOVE_DELAY_MAX`] is over before. A crash before
/// that repeats them, with their ids.
pub const REMOVE_GROUP_MAX: usize = 16;

/// How long a delivered batch may stay in the spool.
pub const REMOVE_DELAY_MAX: Duration = Duration::from_secs(1);

/// What the spooler does with what is sealed: see the table above.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// The output takes batches, and nothing on disk is ahead of them.
    #[default]
    Direct,
    /// The output is stuck.
    Writing,
    /// The output takes batches, first those on disk: there is at least one, which may be kept.
    Replaying,
}

/// The spool as the publisher uses it.
#[derive(Debug)]
pub struct Spooler {
    mode: Mode,
    /// Batches on disk that have not been read, and their records.
    unread: u64,
    unread_records: u64,
    spool: Spool,
    plan: Arc<Plan>,
    books: Arc<Books>,
    /// Bytes of the largest batch, all of its message.
    batch_bytes: usize,
    /// The routes that batches of the disk may have.
    routes: Routes,
    /// What stays on disk in this run.
    kept: Kept,
    /// Sealed, and neither in the window nor on disk.
    waiting: VecDeque<InFlight>,
    /// Since when something waits that no write has been tried for.
    untried: Option<Instant>,
    /// The last entry that was read.
    cursor: Option<Key>,
    /// Entries that were acknowledged, and are still on disk.
    acknowledged: Vec<Key>,
    acknowledged_since: Option<Instant>,
    /// Writes that failed.
    writes: RetryTimer,
    /// Reads that failed: a full disk can still be read. And `spool.replay_rate`.
    reads: RetryTimer,
    /// The last write failed: what waits for it is still in memory.
    behind: bool,
    /// A stop was asked for.
    stopping: bool,
    log: SpoolLog,
    /// When it was last checked whether the spool's file has lost its name.
    checked: Option<Instant>,
}

impl Spooler {
    /// Takes over what an opened spool holds: it is published before anything new, if it is for one of these
    /// routes.
    pub fn new(
        mut spool: Spool,
        plan: Arc<Plan>,
        books: Arc<Books>,
        routing: Arc<dyn Routing>,
    ) -> Result<Self, Error> {
        show_disk(&spool, &books.gauges);
        let (mut unread_records, mut kept) = (0, Kept::default());
        spool.heads(|_, records, head| {
            unread_records += u64::from(records);
            if let Some(unknown) = EntryHead::recover(head, records, &*routing, &books) {
                kept.found(unknown, records);
            }
        })?;
        let unread = spool.entries();
        if unread > 0 {
            tracing::info!(
                batches = unread,
                readings = unread_records,
                "the spool holds batches of an earlier run: they are published first"
            );
        }
        if let Some(told) = kept.told() {
            tracing::error!("{told}");
            books.gauges.spool_keeps(Some(told));
        }
        let mut spooler = Self {
            mode: Mode::Direct,
            unread,
            unread_records,
            spool,
            batch_bytes: plan.batch.bytes_max.get() + plan.batch_overhead_bytes(),
            plan,
            books,
            routes: Routes::new(routing),
            kept,
            waiting: VecDeque::new(),
            untried: None,
            cursor: None,
            acknowledged: Vec::new(),
            acknowledged_since: None,
            writes: RetryTimer::default(),
            reads: RetryTimer::default(),
            behind: false,
            stopping: false,
            log: SpoolLog::default(),
            checked: None,
        };
        spooler.enter(false);
        Ok(spooler)
    }

    /// The one place where the mode changes: when the output was judged, and when what is unread on disk
    /// has changed.
    fn enter(&mut self, stuck: bool) {
        self.mode = match self.unread {
            _ if stuck => Mode::Writing,
            0 if !self.kept.is_active() => Mode::Direct,
            _ => Mode::Replaying,
        };
    }

    /// It is this plan from now on. What is on disk keeps its size and its format.
    pub fn become_plan(&mut self, plan: &Arc<Plan>) {
        let batch_bytes = plan.batch.bytes_max.get() + plan.batch_overhead_bytes();
        self.batch_bytes = self.batch_bytes.max(batch_bytes);
        self.routes.become_these(plan.measure());
        self.plan = Arc::clone(plan);
    }

    /// A stop was asked for: what is on disk stays there.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// How long the output may be silent. After a stop request there is no more than the grace.
    fn after(&self) -> Duration {
        let (after, grace) = (self.plan.spool.after.0, self.plan.gateway.shutdown_grace.0);
        if self.stopping { after.min(grace / 4) } else { after }
    }

    /// Whether records wait, in the window or for the disk: they will settle.
    pub fn will_settle(&self, window: &Window<InFlight>) -> bool {
        !self.waiting.is_empty() || window.iter().any(|(_, flight)| flight.is_held())
    }

    /// Whether nothing is left to do.
    pub fn is_done(&self, window: &Window<InFlight>) -> bool {
        let idle = window.is_empty() && self.waiting.is_empty();
        match self.mode {
            Mode::Direct => idle,
            // What is in flight is on disk.
            Mode::Writing if self.stopping => !self.will_settle(window),
            Mode::Writing => idle && self.unread == 0,
            Mode::Replaying => idle && (self.stopping || self.unread == 0),
        }
    }

    /// Whether a batch that is sealed now goes in front of nothing that is older.
    fn is_next(&self) -> bool {
        self.waiting.is_empty() && self.unread == 0
    }

    /// Whether one more sealed batch finds room; `window` is whether the window has some.
    pub fn has_room(&self, window: bool) -> bool {
        let direct = window && self.is_next();
        match self.mode {
            Mode::Direct => direct,
            Mode::Writing | Mode::Replaying => direct || self.has_disk_room(),
        }
    }

    /// Whether the output takes nothing, and what is sealed is written.
    pub fn is_stuck(&self) -> bool {
        self.mode == Mode::Writing
    }

    /// Whether one more batch may wait for the disk.
    fn has_disk_room(&self) -> bool {
        let waiting = self.waiting.len();
        self.writes.is_well() && waiting < WAITING_MAX && self.fits(waiting + 1)
    }

    /// Whether so many batches fit on disk, as large as they may be.
    fn fits(&self, batches: usize) -> bool {
        // With its head, in whole pages.
        self.spool.fits((batches * self.batch_bytes * 5 / 4) as u64)
    }

    /// Takes a sealed batch, behind all others. Gives it back where it goes into the window: nothing is
    /// ahead of it, and there is room.
    pub fn push(&mut self, flight: InFlight, window: bool) -> Option<InFlight> {
        if window && self.is_next() && !self.kept.holds(&flight) {
            return Some(flight);
        }
        self.untried.get_or_insert(flight.since());
        self.waiting.push_back(flight);
        None
    }

    /// The next for the window, if there is one: from disk or, when nothing there is ahead of it, of what
    /// waits. A disk that takes nothing may still be read.
    pub fn next(&mut self, now: Now, connected: bool) -> Option<InFlight> {
        loop {
            match self.mode {
                Mode::Direct => return self.waiting.pop_front(),
                Mode::Writing if connected && self.unread == 0 => {
                    return self.waiting.pop_front_if(|it| !self.kept.holds(it));
                }
                Mode::Writing | Mode::Replaying => {}
            }
            if !connected || !self.wants_read() || !self.reads.allows(now.instant) {
                return None;
            }
            if let Some(flight) = self.read(now) {
                return Some(flight);
            }
        }
    }

    /// Whether what is on disk is to be read. After a stop request the next run has time for it,
    /// unless it keeps what is in memory from becoming safe.
    fn wants_read(&self) -> bool {
        self.unread > 0 && !(self.stopping && self.has_disk_room())
    }

    /// When it wants to be asked again; `silent` is since when the output has been away or silent, `room`
    /// whether a connection could take more.
    pub fn deadline(&self, silent: Option<Instant>, room: bool) -> Option<Instant> {
        let stuck = silent.map(|since| since + self.after()).filter(|_| self.mode != Mode::Writing);
        let read = self.reads.deadline().filter(|_| room && self.wants_read());
        let remove = self.acknowledged_since.map(|since| since + REMOVE_DELAY_MAX);
        let write = self.writes.deadline().or(self.untried).or(remove);
        [stuck, read, write, self.check_at()].into_iter().flatten().min()
    }

    /// Does what time brings for an output that has been away or silent since `silent`: judges it, removes
    /// what was acknowledged, writes; `needed` is whether something in the window waits for the disk.
    pub fn tend(
        &mut self,
        now: Now,
        silent: Option<Instant>,
        window: &mut Window<InFlight>,
        needed: bool,
    ) {
        let stuck = silent.is_some_and(|since| since + self.after() <= now.instant);
        self.enter(stuck);
        if stuck && !self.fits(1) {
            // Nothing may ever be written that would log it.
            self.log.filled(&self.spool, false);
        }
        self.check_file(now);
        // First what makes room on a disk that is full.
        self.tidy(now, false);
        self.write(now, window, needed);
    }

    /// Writes what is not on disk, oldest first, as much as fits, if the mode says so or it is `needed`.
    pub fn write(&mut self, now: Now, window: &mut Window<InFlight>, needed: bool) {
        self.untried = None;
        if !self.writes.allows(now.instant) {
            return;
        }
        let entries = match self.mode {
            Mode::Direct if !needed => Vec::new(),
            // Only what is kept is on disk: what is in the window need not be written behind it.
            Mode::Replaying if !needed && self.is_next() => Vec::new(),
            Mode::Direct | Mode::Writing | Mode::Replaying => self.entries(window),
        };
        if entries.is_empty() {
            return self.writes.rest();
        }
        match self.spool.append(&entries) {
            Ok(first) => self.written(now, first, entries.len(), window),
            Err(error) => {
                self.behind = true;
                self.write_failed(now, &error);
            }
        }
    }

    /// What is to be written, as far as it fits.
    fn entries(&self, window: &Window<InFlight>) -> Vec<Entry> {
        let held = window.iter().map(|(_, flight)| flight).filter(|flight| flight.is_held());
        let (mut entries, mut bytes) = (Vec::new(), 0);
        for flight in held.chain(&self.waiting) {
            // A head is made where it may fit only: this is asked often while the spool is full.
            if !self.spool.fits(bytes + flight.sealed().text.len() as u64) {
                break;
            }
            let entry = EntryHead::entry(flight, &self.books);
            bytes += entry.footprint();
            if !self.spool.fits(bytes) {
                break;
            }
            entries.push(entry);
        }
        entries
    }

    /// So many entries are on disk, from `first` on: of the window first, then of what waits.
    fn written(&mut self, now: Now, first: Key, count: usize, window: &mut Window<InFlight>) {
        self.behind = false;
        // Before its records settle: nobody may see readings in a spool of no bytes.
        show_disk(&self.spool, &self.books.gauges);
        self.healthy();
        self.log_renewed();
        self.log.written(self.mode, now.instant);
        self.log.filled(&self.spool, self.fits(1));
        let mut keys = (0..count as u64).map(|n| first.plus(n));
        let held = window.iter_mut().filter(|flight| flight.is_held());
        for (flight, key) in held.zip(&mut keys) {
            // In the window already: not to be read again.
            flight.spooled(key);
            self.cursor = Some(key);
        }
        for key in keys {
            let mut flight = self.waiting.pop_front().expect("what was written has waited");
            flight.spooled(key);
            self.unread += 1;
            self.unread_records += flight.sensors().len() as u64;
        }
        self.enter(self.mode == Mode::Writing);
    }

    /// Reads the next entry of those that are unread; nothing, where it cannot be read.
    fn read(&mut self, now: Now) -> Option<InFlight> {
        match self.spool.next(self.cursor) {
            Ok(Some((key, entry))) => {
                self.log.read(self.mode, &self.spool, now.instant);
                let records = entry.records;
                self.advance(key, records);
                self.pace_reads(now.instant, records);
                let known = (&*self.plan, &self.routes as &dyn Routing);
                match EntryHead::flight(entry, key, known, &self.books, now.instant) {
                    Read::Flight(flight) if self.kept.holds(&flight) => {
                        self.kept.keep_behind(&flight);
                        self.keeps();
                    }
                    Read::Flight(flight) => return Some(flight),
                    Read::Unknown(sensors) => {
                        self.kept.keep(sensors.as_deref(), records);
                        self.keeps();
                    }
                    Read::Damaged => self.unreadable(now.instant, key, records),
                }
            }
            Ok(None) => self.nothing_unread(),
            Err(Error::Corrupt { key, records }) => {
                self.advance(key, records);
                self.unreadable(now.instant, key, records);
            }
            Err(error) => {
                self.failed(now, &error);
                self.reads.failed(now);
            }
        }
        None
    }

    /// The entry stays on disk, for a run that can publish it.
    fn keeps(&mut self) {
        self.enter(self.mode == Mode::Writing);
        self.books.gauges.spool_keeps(self.kept.told());
    }

    /// The entry has been read, or never will be.
    fn advance(&mut self, key: Key, records: u32) {
        self.cursor = Some(key);
        self.unread = self.unread.saturating_sub(1);
        self.unread_records = self.unread_records.saturating_sub(records.into());
        self.enter(self.mode == Mode::Writing);
    }

    fn nothing_unread(&mut self) {
        (self.unread, self.unread_records) = (0, 0);
        self.enter(self.mode == Mode::Writing);
    }

    /// So many records were read: the next follow at `spool.replay_rate`.
    fn pace_reads(&mut self, now: Instant, records: u32) {
        let due = self.reads.deadline().unwrap_or(now).max(now);
        self.reads.succeeded();
        if let Some(rate) = self.plan.spool.replay_rate {
            let pause = Duration::from_secs_f64(f64::from(records) / f64::from(rate.get()));
            self.reads.at(due + pause);
        }
    }

    /// All of an entry was acknowledged: it can leave the disk.
    pub fn acknowledged(&mut self, now: Instant, key: Key) {
        self.acknowledged.push(key);
        self.acknowledged_since.get_or_insert(now);
    }

    /// Removes from the disk what was acknowledged, if that is worth a write; `all`: whatever there is.
    fn tidy(&mut self, now: Now, all: bool) {
        let due =
            self.acknowledged_since.is_some_and(|since| since + REMOVE_DELAY_MAX <= now.instant);
        let enough = self.acknowledged.len() >= REMOVE_GROUP_MAX || due || all;
        // The last chance is taken whatever was before.
        if !enough || self.acknowledged.is_empty() || !(all || self.writes.allows(now.instant)) {
            return;
        }
        match self.spool.remove(&self.acknowledged) {
            Ok(()) => {
                self.acknowledged.clear();
                self.acknowledged_since = None;
                // A removal may work on a disk that is too full for a write.
                self.behind &= self.spool.entries() > 0;
                if !self.behind {
                    self.healthy();
                }
            }
            Err(error) => self.write_failed(now, &error),
        }
        if self.spool.entries() == 0 {
            self.log.emptied();
        }
    }

    /// Shows what it holds; returns since when the oldest that is not on disk has been here.
    pub fn show(&self, gauges: &Gauges) -> Option<Instant> {
        gauges.spool_waiting.set(self.waiting.len() as u64);
        show_disk(&self.spool, gauges);
        self.waiting.front().and_then(InFlight::received)
    }

    /// Lets go of what is not on disk.
    pub fn abandon(&mut self) {
        self.waiting.clear();
    }
}

/// Shows how full the spool is.
fn show_disk(spool: &Spool, gauges: &Gauges) {
    gauges.spool_bytes.set(spool.bytes());
    gauges.spool_batches.set(spool.entries());
}
