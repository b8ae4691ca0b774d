//! All rows by their index, and what is counted in them.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock};

use super::owner::Owner;
use super::row::Row;
use crate::clock::Timestamp;
use crate::settlement::{Outcome, SensorIndex};
use crate::state::metrics::Balance;
use crate::state::presence::Presence;

/// The rows, in the order in which the sensors were first heard.
#[derive(Debug, Default)]
pub(super) struct List(RwLock<Vec<Arc<Row>>>);

impl List {
    /// One more.
    pub(super) fn add(&self, id: &str, shared: bool, owner: Option<&Arc<Owner>>) -> Arc<Row> {
        let mut rows = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let index = u32::try_from(rows.len()).expect("sensors_max is a u32");
        let row = Row::new(index, id, shared, owner.cloned());
        rows.push(Arc::clone(&row));
        row
    }

    /// One in the place of another.
    pub(super) fn replace(&self, row: &Arc<Row>) {
        let mut rows = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let place = rows.get_mut(row.index.0 as usize).expect("each sensor has a row");
        *place = Arc::clone(row);
    }

    /// Runs `read` on all.
    pub(super) fn with<T>(&self, read: impl FnOnce(&[Arc<Row>]) -> T) -> T {
        read(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Enters what became of a record of each of these.
    pub(super) fn enter(&self, sensors: &[SensorIndex], outcome: Outcome) {
        self.with(|rows| {
            let rows = sensors.iter().filter_map(|sensor| rows.get(sensor.0 as usize));
            rows.for_each(|row| row.settle(outcome));
        });
    }

    /// A record of each of these was not taken after all.
    pub(super) fn take_back(&self, sensors: impl Iterator<Item = SensorIndex>) {
        self.with(|rows| {
            let rows = sensors.filter_map(|sensor| rows.get(sensor.0 as usize));
            rows.for_each(|row| row.take_back());
        });
    }

    /// Sums by entry, for so many, and behind them that of the sensors of none.
    pub(super) fn sums(&self, entries: usize) -> Vec<Sum> {
        let mut sums = vec![Sum::default(); entries + 1];
        self.with(|rows| {
            for row in rows {
                let place = row.entry().map_or(entries, |place| place as usize);
                // An entry that was added since has its sum the next time.
                sums.get_mut(place).into_iter().for_each(|sum| sum.add(row));
            }
        });
        sums
    }
}

/// The books of several sensors.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum {
    /// How many have a row of their own.
    pub sensors: u64,
    /// Records of this run whose sensor had none.
    pub without_row: u64,
    /// Their books, added up.
    pub balance: Balance,
    /// Readings with a time of their own that is not used.
    pub times_unused: u64,
    /// When the last reading of any of them was taken.
    pub last_received: Option<Timestamp>,
    /// Sensors of which a report is missing, and several are.
    pub late: u64,
    pub silent: u64,
    /// Readings that wait for their turn, and are in no column of the books yet.
    pub waiting: u64,
    /// Their entry was removed.
    pub is_removed: bool,
}

impl Sum {
    /// Whether nothing comes of them any more: their entry was removed, and nothing of it is held.
    pub fn is_over(&self) -> bool {
        self.is_removed && self.balance.held == 0 && self.waiting == 0
    }

    fn add(&mut self, row: &Row) {
        self.sensors += u64::from(!row.shared);
        self.without_row += if row.shared { row.received() } else { 0 };
        self.balance = self.balance + row.balance();
        self.times_unused += row.times_unused.load(Ordering::Relaxed);
        self.last_received = self.last_received.max(row.last_received());
        self.late += u64::from(row.presence() == Presence::Late);
        self.silent += u64::from(row.presence() == Presence::Silent);
    }
}
