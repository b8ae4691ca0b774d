//! What is known of each sensor: its sequence, its books, when it was last heard.
//!
//! Rows are appended and never removed, so an index stays good. A source keeps the rows of its own
//! sensors at hand; the map is asked once for each sensor and source, and the list once for each
//! settled batch. When `sensors_max` sensors are known, all further ones share one row named
//! [`OVERFLOW`]: their readings flow on and the books still close, but their sequence is common.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::clock::Timestamp;
use crate::limits::{SENSOR_ID_BYTES_MAX, TOPIC_REMEMBERED_BYTES_MAX};
use crate::metrics::Balance;
use crate::series::{Seen, Series};
use crate::settlement::{Outcome, SensorIndex};

/// The id of the row that sensors beyond `gateway.sensors_max` share.
pub const OVERFLOW: &str = "(others)";

/// What a sensor takes: its row with its id thrice, and an intake's memory of its topic or id, at their
/// longest. The places in lists and maps, and what the allocator adds, are in the flat part.
pub const SENSOR_BYTES: u64 =
    (size_of::<Row>() + 232 + 4 * SENSOR_ID_BYTES_MAX + TOPIC_REMEMBERED_BYTES_MAX) as u64;

/// No entry has claimed the sensor.
const NO_ENTRY: u32 = u32::MAX;

/// The books of several sensors.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum {
    /// How many.
    pub sensors: u64,
    /// Their books, added up.
    pub balance: Balance,
    /// When the last reading of any of them was taken.
    pub last_received: Option<Timestamp>,
}

impl Sum {
    fn add(&mut self, row: &Row) {
        self.sensors += 1;
        self.balance = self.balance + row.balance();
        self.last_received = self.last_received.max(row.last_received());
    }
}

/// One sensor.
#[derive(Debug)]
pub struct Row {
    /// Its index.
    pub index: SensorIndex,
    /// Its id.
    pub id: Box<str>,
    /// Its id as a JSON string, as it stands in envelopes.
    pub json: Box<str>,
    /// The place of the configured entry that it belongs to, if one has claimed it.
    entry: AtomicU32,
    received: AtomicU64,
    recovered: AtomicU64,
    spooled: AtomicU64,
    delivered: AtomicU64,
    dead_lettered: AtomicU64,
    shed: AtomicU64,
    abandoned: AtomicU64,
    last_received: AtomicU64,
    /// The state of its [`Series`].
    series: [AtomicU64; 3],
    numbers_missing: AtomicU64,
}

impl Row {
    fn new(index: u32, id: &str) -> Arc<Self> {
        Arc::new(Self {
            index: SensorIndex(index),
            id: id.into(),
            json: serde_json::Value::from(id).to_string().into(),
            entry: AtomicU32::new(NO_ENTRY),
            received: AtomicU64::new(0),
            recovered: AtomicU64::new(0),
            spooled: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            dead_lettered: AtomicU64::new(0),
            shed: AtomicU64::new(0),
            abandoned: AtomicU64::new(0),
            last_received: AtomicU64::new(0),
            series: Default::default(),
            numbers_missing: AtomicU64::new(0),
        })
    }

    /// Counts a record taken at `at` and gives its sequence number, from 1.
    pub fn receive(&self, at: Timestamp) -> u64 {
        self.last_received.store(at.millis(), Ordering::Relaxed);
        self.received.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Judges the number that the sensor gave a reading. All intakes run on one thread, so no two are
    /// here at once; if they were, a number might be misjudged, and nothing else. The shared row has
    /// the numbers of many sensors and judges none.
    pub fn number(&self, number: u64, repeated: bool) -> Seen {
        if &*self.id == OVERFLOW {
            return Seen::Known;
        }
        let mut series = Series(self.series.each_ref().map(|it| it.load(Ordering::Relaxed)));
        let seen = series.see(number, repeated);
        for (kept, now) in self.series.iter().zip(series.0) {
            kept.store(now, Ordering::Relaxed);
        }
        match &seen {
            Seen::Next | Seen::Known => {}
            Seen::Missing(gap) => {
                self.numbers_missing.fetch_add(gap.end - gap.start, Ordering::Relaxed);
            }
            Seen::Late => {
                self.numbers_missing.fetch_sub(1, Ordering::Relaxed);
            }
        }
        seen
    }

    /// The place of the configured entry that it belongs to, if one has claimed it.
    pub fn entry(&self) -> Option<u32> {
        Some(self.entry.load(Ordering::Relaxed)).filter(|entry| *entry != NO_ENTRY)
    }

    /// Numbers of the sensor that were passed over and have not come since.
    pub fn numbers_missing(&self) -> u64 {
        self.numbers_missing.load(Ordering::Relaxed)
    }

    /// Counts records of an earlier run that were found in the spool. Their numbers were given then.
    pub fn recover(&self, records: u64) {
        self.recovered.fetch_add(records, Ordering::Relaxed);
    }

    /// When a record was last taken, if ever.
    pub fn last_received(&self) -> Option<Timestamp> {
        let millis = self.last_received.load(Ordering::Relaxed);
        (millis > 0).then_some(Timestamp::from_millis(millis))
    }

    /// Its books. `held` is what has not settled, so a row cannot show a difference of its own; the
    /// gateway's balance, where held records are counted apart, can.
    pub fn balance(&self) -> Balance {
        let counters =
            [&self.delivered, &self.dead_lettered, &self.shed, &self.received, &self.recovered];
        let [delivered, dead_lettered, shed, taken, recovered] =
            counters.map(|counter| counter.load(Ordering::Relaxed));
        let received = taken + recovered;
        let held = received.saturating_sub(delivered + dead_lettered + shed);
        Balance { received, delivered, dead_lettered, shed, held, spooled: 0 }
    }
}

/// All sensors.
#[derive(Debug)]
pub struct Registry {
    sensors_max: usize,
    by_id: Mutex<HashMap<Box<str>, Arc<Row>>>,
    rows: RwLock<Vec<Arc<Row>>>,
}

impl Registry {
    /// For so many sensors.
    pub fn new(sensors_max: usize) -> Self {
        Self { sensors_max, by_id: Mutex::default(), rows: RwLock::default() }
    }

    /// The row of a sensor, made if need be; the second value is whether the registry was full and
    /// the shared row stands in.
    pub fn row(&self, id: &str) -> (Arc<Row>, bool) {
        let mut by_id = self.by_id.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(row) = by_id.get(id) {
            return (Arc::clone(row), false);
        }
        let full = by_id.len() >= self.sensors_max;
        let id = if full { OVERFLOW } else { id };
        if let Some(row) = by_id.get(id) {
            return (Arc::clone(row), full);
        }
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        let index = u32::try_from(rows.len()).expect("sensors_max is a u32");
        let row = Row::new(index, id);
        rows.push(Arc::clone(&row));
        by_id.insert(id.into(), Arc::clone(&row));
        (row, full)
    }

    /// The same for a sensor of the configured entry `entry`: the first one that asks has it in its
    /// sums. The shared row is nobody's.
    pub fn row_of(&self, id: &str, entry: u32) -> (Arc<Row>, bool) {
        let (row, full) = self.row(id);
        let unclaimed = row.entry.load(Ordering::Relaxed) == NO_ENTRY;
        if unclaimed && &*row.id != OVERFLOW {
            row.entry.store(entry, Ordering::Relaxed);
        }
        (row, full)
    }

    /// Sums by configured entry, for so many; behind them that of the sensors of none: the shared row,
    /// and those only known from an earlier run's spool.
    pub fn sums(&self, entries: usize) -> Vec<Sum> {
        let mut sums = vec![Sum::default(); entries + 1];
        self.with_rows(|rows| {
            for row in rows {
                let entry = entries.min(row.entry.load(Ordering::Relaxed) as usize);
                sums.get_mut(entry).into_iter().for_each(|sum| sum.add(row));
            }
        });
        sums
    }

    /// Enters what became of the records of these sensors.
    pub fn settle(&self, sensors: &[SensorIndex], outcome: Outcome) {
        self.count(sensors, |row| match outcome {
            Outcome::Delivered => &row.delivered,
            Outcome::DeadLettered => &row.dead_lettered,
            // On its way: still held.
            Outcome::Spooled => &row.spooled,
            Outcome::Abandoned => &row.abandoned,
        });
    }

    /// Enters records that were shed.
    pub fn shed(&self, sensors: &[SensorIndex]) {
        self.count(sensors, |row| &row.shed);
    }

    fn count(&self, sensors: &[SensorIndex], counter: impl Fn(&Row) -> &AtomicU64) {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        for sensor in sensors {
            if let Some(row) = rows.get(sensor.0 as usize) {
                counter(row).fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Runs `read` on all rows, in the order the sensors were first heard.
    pub fn with_rows<T>(&self, read: impl FnOnce(&[Arc<Row>]) -> T) -> T {
        read(&self.rows.read().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_numbers_are_counted_by_sensor_and_not_in_the_shared_row() {
        let registry = Registry::new(2);
        let (a, b) = (registry.row("a").0, registry.row("b").0);
        for number in [1, 2, 5, 6, 9] {
            a.number(number, false);
        }
        assert_eq!(a.number(7, true), Seen::Late);
        b.number(1, false);
        let (shared, _) = registry.row("c");
        assert_eq!((shared.number(1, false), shared.number(9, false)), (Seen::Known, Seen::Known));
        let missing = [a, b, shared].map(|row| row.numbers_missing());
        assert_eq!(missing, [3, 0, 0]);
    }

    #[test]
    fn a_full_registry_shares_one_row_and_its_books_close() {
        let registry = Registry::new(2);
        let mut received = Vec::new();
        for id in ["a", "b", "c", "d", "a"] {
            let (row, _) = registry.row(id);
            row.receive(Timestamp::from_millis(7));
            received.push((row.id.to_string(), row.index));
        }
        let ids: Vec<_> = received.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(ids, ["a", "b", OVERFLOW, OVERFLOW, "a"]);
        registry.settle(&[received[0].1, received[2].1], Outcome::Delivered);
        registry.shed(&[received[3].1]);
        registry.with_rows(|rows| {
            let sum =
                |f: fn(&Balance) -> u64| rows.iter().map(|row| f(&row.balance())).sum::<u64>();
            assert_eq!((sum(|b| b.received), sum(|b| b.delivered), sum(|b| b.shed)), (5, 2, 1));
            assert_eq!(sum(|b| b.held), 2);
            assert_eq!(rows[0].last_received(), Some(Timestamp::from_millis(7)));
        });
    }

    #[test]
    fn sums_are_by_entry_and_the_shared_row_is_nobodys() {
        let registry = Registry::new(3);
        for (id, entry) in [("a", 0), ("b", 1), ("a", 1), ("c", 0), ("d", 1)] {
            registry.row_of(id, entry).0.receive(Timestamp::from_millis(7));
        }
        let sums = registry.sums(2);
        let told: Vec<_> = sums.iter().map(|sum| (sum.sensors, sum.balance.received)).collect();
        assert_eq!(told, [(2, 3), (1, 1), (1, 1)]);
        assert_eq!(sums[0].last_received, Some(Timestamp::from_millis(7)));
    }
}
