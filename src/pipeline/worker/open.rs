//! The open batches: one for each route, `batch.routes_max` at most.
//!
//! ```text
//!  record ──route──► its route's open batch ──seal──► sealed
//!                      └─ before it, where need be: another one is sealed
//! ```
//!
//! Invariants:
//! - A batch has one route, and each open batch fills, grows heavy and ages by itself.
//! - The records of a sensor are in one open batch at most. Where a sensor changes its route, the batch that holds
//!   its records is sealed before the record is written. Batches are published in the order sealed, so a sensor's
//!   order holds.
//! - Where one more route would need a batch of its own, the least recently used one is sealed first.
//! - The batch of the last record's route is looked at first. While no second one was ever open, nothing is
//!   remembered of any sensor.
//!
//! Sensors beyond `gateway.sensors_max` share a row, and count as one sensor here: what is sealed too early because
//! of that is a smaller batch, and in order.

use std::sync::Arc;
use std::time::Instant;

use crate::batch::{Batcher, Seal};
use crate::clock::Now;
use crate::codec::{Encoder, Head, Unwritable, View};
use crate::pipeline::in_flight::InFlight;
use crate::plan::Plan;
use crate::record::Record;
use crate::sealed::{Route, Sealed, place};
use crate::settlement::{Receipts, SensorIndex, Settle};
use crate::state::books::Books;

/// A batch that takes records.
#[derive(Debug)]
struct OpenBatch {
    route: Route,
    /// Told from every batch that was ever open.
    serial: u64,
    /// When it was turned away from, counted.
    used: u64,
    batcher: Batcher,
    body: Vec<u8>,
    /// Where the record begins that was written and not yet kept, and what separates it from the one before.
    begin: usize,
    before: usize,
    /// Where each record of the body ends.
    ends: Vec<u32>,
    receipts: Receipts,
}

/// All of them; there is always one, which may be empty.
#[derive(Debug)]
pub(super) struct OpenBatches {
    plan: Arc<Plan>,
    books: Arc<Books>,
    routes_max: usize,
    /// The bound on a batch's bytes, as far as the output takes them.
    bytes_max: usize,
    separator: &'static [u8],
    batches: Vec<OpenBatch>,
    /// The one that the last record went to.
    last: usize,
    serials: u64,
    uses: u64,
    /// By a sensor's row: the serial of the batch that took its last record. Empty while there is one batch.
    holders: Vec<u64>,
}

impl OpenBatches {
    /// None that holds anything; records begin to come for `route`.
    pub(super) fn new(plan: Arc<Plan>, books: Arc<Books>, route: Route) -> Self {
        let mut open = Self {
            routes_max: plan.batch.routes_max.get(),
            bytes_max: plan.batch.bytes_max.get(),
            separator: plan.output.format.separator(),
            plan,
            books,
            batches: Vec::new(),
            last: 0,
            serials: 0,
            uses: 0,
            holders: Vec::new(),
        };
        open.push(route);
        open
    }

    /// Turns to the batch of a route, for a record of this sensor. Says which one must be sealed before that, if
    /// one must: then it is asked again.
    pub(super) fn turn_to(&mut self, route: &Route, sensor: SensorIndex) -> Result<(), usize> {
        let stays = self.is_of(self.last, route);
        if self.batches.len() == 1 {
            if stays {
                return Ok(());
            }
            self.remember_all();
        }
        if let Some(held) = self.holder(sensor).filter(|at| !self.is_of(*at, route)) {
            return Err(held);
        }
        if stays {
            return Ok(());
        }
        self.uses += 1;
        let uses = self.uses;
        self.current().used = uses;
        let same = self.batches.iter().position(|it| it.route == *route);
        let free = || self.batches.iter().position(|it| it.batcher.is_empty());
        if let Some(at) = same.or_else(free) {
            self.last = at;
            self.current().route = route.clone();
            return Ok(());
        }
        if self.batches.len() < self.routes_max {
            self.push(route.clone());
            return Ok(());
        }
        let least = (0..).zip(&self.batches).min_by_key(|(_, it)| it.used);
        Err(least.map_or(self.last, |(at, _)| at))
    }

    /// Writes a record into the batch that was turned to; says how many bytes. Of one that is refused, none is left.
    pub(super) fn write(
        &mut self,
        encoder: &mut Encoder,
        view: &View<'_>,
    ) -> Result<usize, Unwritable> {
        let separator = self.separator;
        let batch = self.current();
        batch.before = batch.body.len();
        if batch.before > 0 {
            batch.body.extend_from_slice(separator);
        }
        batch.begin = batch.body.len();
        match encoder.record(&mut batch.body, view) {
            Ok(()) => Ok(batch.body.len() - batch.begin),
            Err(unwritable) => {
                batch.take_back();
                Err(unwritable)
            }
        }
    }

    /// The record that was written.
    pub(super) fn written(&self) -> &[u8] {
        let last = self.batches.get(self.last);
        last.and_then(|it| it.body.get(it.begin..)).unwrap_or_default()
    }

    /// Takes the record back that was written.
    pub(super) fn take_back(&mut self) {
        self.current().take_back();
    }

    /// Keeps the record that was written, which has waited since `since`; says whether its batch is now full.
    /// Where it does not fit into its batch it is taken back: that one must be sealed first.
    pub(super) fn keep(&mut self, record: &Record, since: Instant) -> Result<Option<Seal>, Seal> {
        let several = self.batches.len() > 1;
        let batch = self.current();
        let bytes = batch.body.len() - batch.before;
        if let Some(heavy) = batch.batcher.must_seal_before(bytes) {
            batch.take_back();
            return Err(heavy);
        }
        batch.ends.push(place(batch.body.len()));
        batch.receipts.add(record.token, record.sensor, record.bytes());
        let (full, serial) = (batch.batcher.push(since, bytes), batch.serial);
        if several {
            self.remember(record.sensor, serial);
        }
        Ok(full)
    }

    /// The route that was turned to.
    pub(super) fn route(&self) -> &Route {
        &self.batches.get(self.last).expect("there is always one").route
    }

    /// The batch that the last record went to.
    pub(super) fn at(&self) -> usize {
        self.last
    }

    /// The batch that has been open for longest, if one holds anything.
    pub(super) fn oldest(&self) -> Option<usize> {
        let open = (0..).zip(&self.batches).filter_map(|(at, it)| Some((it.batcher.opened()?, at)));
        open.min().map(|(_, at)| at)
    }

    /// The oldest, if its age completes it at `now`.
    pub(super) fn due(&self, now: Instant) -> Option<(usize, Seal)> {
        let at = self.oldest()?;
        Some((at, self.batches.get(at)?.batcher.due(now)?))
    }

    /// Seals the batch at this place, under this id; its text is written into `out`.
    pub(super) fn seal(&mut self, at: usize, now: Now, id: &str, out: Vec<u8>) -> Option<InFlight> {
        self.serials += 1;
        let (serial, next) = (self.serials, self.receipts());
        let (gateway, format) = (&self.plan.gateway.id, self.plan.output.format);
        let batch = self.batches.get_mut(at)?;
        let opened = batch.batcher.opened()?;
        let receipts = std::mem::replace(&mut batch.receipts, next);
        let head = Head { gateway, batch: id, sealed_at: now.wall, count: receipts.records() };
        let (route, ends) = (batch.route.clone(), batch.ends.as_slice().into());
        let sealed = Sealed::readings(&head, route, format, &batch.body, ends, out);
        batch.serial = serial;
        batch.body.clear();
        batch.ends.clear();
        batch.batcher.sealed();
        Some(InFlight::new(sealed, receipts, opened, now.instant))
    }

    /// Lets all records go.
    pub(super) fn abandon(&mut self) {
        let route = self.current().route.clone();
        self.batches.clear();
        self.push(route);
    }

    /// Lowers the bound on bytes to what the output broker takes.
    pub(super) fn fit(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
        self.batches.iter_mut().for_each(|it| it.batcher.fit(bytes_max));
    }

    /// Whether none holds anything.
    pub(super) fn is_empty(&self) -> bool {
        self.batches.iter().all(|it| it.batcher.is_empty())
    }

    /// How many records they hold.
    pub(super) fn records(&self) -> usize {
        self.batches.iter().map(|it| it.receipts.records()).sum()
    }

    /// As many records, and as many bytes, complete the first of them.
    pub(super) fn room(&self) -> (usize, usize) {
        let rooms = self.batches.iter().map(|it| it.batcher.room());
        let least = rooms.reduce(|one, other| (one.0.min(other.0), one.1.min(other.1)));
        least.expect("there is always one")
    }

    /// When the oldest record of them came.
    pub(super) fn opened(&self) -> Option<Instant> {
        self.batches.iter().filter_map(|it| it.batcher.opened()).min()
    }

    /// When the age of one will complete it.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.batches.iter().filter_map(|it| it.batcher.deadline()).min()
    }

    fn current(&mut self) -> &mut OpenBatch {
        self.batches.get_mut(self.last).expect("there is always one")
    }

    fn is_of(&self, at: usize, route: &Route) -> bool {
        self.batches.get(at).is_some_and(|it| it.route == *route)
    }

    /// Opens one more, and turns to it.
    fn push(&mut self, route: Route) {
        self.serials += 1;
        let mut batcher = Batcher::new(self.plan.batch);
        batcher.fit(self.bytes_max);
        self.last = self.batches.len();
        self.batches.push(OpenBatch {
            route,
            serial: self.serials,
            used: 0,
            batcher,
            body: Vec::new(),
            begin: 0,
            before: 0,
            ends: Vec::new(),
            receipts: self.receipts(),
        });
    }

    fn receipts(&self) -> Receipts {
        Receipts::new(Arc::clone(&self.books) as Arc<dyn Settle>)
    }

    /// The open batch that holds records of this sensor.
    fn holder(&self, sensor: SensorIndex) -> Option<usize> {
        let holder = self.holders.get(sensor.0 as usize)?;
        self.batches.iter().position(|it| it.serial == *holder)
    }

    fn remember(&mut self, sensor: SensorIndex, serial: u64) {
        let row = sensor.0 as usize;
        if row >= self.holders.len() {
            self.holders.resize(row + 1, 0);
        }
        if let Some(holder) = self.holders.get_mut(row) {
            *holder = serial;
        }
    }

    /// Remembers whose records the batch holds, before there is a second one.
    fn remember_all(&mut self) {
        let only = self.current();
        let (serial, sensors) = (only.serial, only.receipts.sensors().to_vec());
        for sensor in sensors {
            self.remember(sensor, serial);
        }
    }
}

impl OpenBatch {
    fn take_back(&mut self) {
        self.body.truncate(self.before);
    }
}

#[cfg(test)]
mod tests;
