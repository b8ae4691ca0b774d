//! What is known of each sensor: its sequence, its books, when it was last heard.
//!
//! Rows are appended and never removed, so an index stays good. A source keeps the rows of its own
//! sensors at hand; the map is asked once for each sensor and source, and the list once for each
//! settled batch. A sensor for which no row is left (`gateway.sensors_max`, `shares`) has its books in a
//! row that it shares with all such sensors of its entry: they still close. Its records keep its id, and
//! have no sequence, which would be nobody's.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::clock::Timestamp;
use crate::limits::{SENSOR_ID_BYTES_MAX, TOPIC_REMEMBERED_BYTES_MAX};
use crate::metrics::Balance;
use crate::series::{Seen, Series};
use crate::settlement::{Outcome, SensorIndex};

use self::shares::Shares;

mod shares;

/// The id of a row that sensors without one of their own share.
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
    /// How many have a row of their own.
    pub sensors: u64,
    /// Records of this run whose sensor has none.
    pub without_row: u64,
    /// Their books, added up.
    pub balance: Balance,
    /// When the last reading of any of them was taken.
    pub last_received: Option<Timestamp>,
}

impl Sum {
    fn add(&mut self, row: &Row) {
        self.sensors += u64::from(!row.shared);
        self.without_row += if row.shared { row.received() } else { 0 };
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
    /// It is of all sensors of an entry that have no row of their own.
    shared: bool,
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
    fn new(index: u32, id: &str, shared: bool, entry: Option<u32>) -> Arc<Self> {
        Arc::new(Self {
            index: SensorIndex(index),
            id: id.into(),
            json: serde_json::Value::from(id).to_string().into(),
            shared,
            entry: AtomicU32::new(entry.unwrap_or(NO_ENTRY)),
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

    /// Whether it is of all sensors of an entry that have no row of their own.
    pub fn is_shared(&self) -> bool {
        self.shared
    }

    /// Records taken in this run.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Judges the number that the sensor gave a reading. All intakes run on one thread, so no two are
    /// here at once; if they were, a number might be misjudged, and nothing else. A shared row has the
    /// numbers of many sensors and judges none.
    pub fn number(&self, number: u64, repeated: bool) -> Seen {
        if self.shared {
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
    known: Mutex<Known>,
    rows: RwLock<Vec<Arc<Row>>>,
}

#[derive(Debug)]
struct Known {
    by_id: HashMap<Box<str>, Arc<Row>>,
    shares: Shares,
    /// By configured entry, behind them that of none: the rows that are shared, made when they are needed.
    shared: Vec<Option<Arc<Row>>>,
}

impl Registry {
    /// For so many sensors of these configured entries, each of which has a known number of them, or any.
    pub fn new(sensors_max: usize, entries: impl IntoIterator<Item = Option<usize>>) -> Self {
        let needs: Vec<Option<usize>> = entries.into_iter().collect();
        let shared = vec![None; needs.len() + 1];
        let known =
            Known { by_id: HashMap::new(), shares: Shares::new(sensors_max, needs), shared };
        Self { known: Mutex::new(known), rows: RwLock::default() }
    }

    /// The row of a sensor that is of no entry yet, made if need be; a shared one where none is left.
    pub fn row(&self, id: &str) -> Arc<Row> {
        self.find(id, None)
    }

    /// The same for a sensor of the configured entry `entry`: the first one that asks has it in its
    /// sums, and has one row less for others.
    pub fn row_of(&self, id: &str, entry: u32) -> Arc<Row> {
        self.find(id, Some(entry))
    }

    fn find(&self, id: &str, entry: Option<u32>) -> Arc<Row> {
        let mut known = self.lock();
        let known = &mut *known;
        if let Some(row) = known.by_id.get(id) {
            if let Some(entry) = entry
                && row.entry().is_none()
            {
                row.entry.store(entry, Ordering::Relaxed);
                known.shares.claim(entry);
            }
            return Arc::clone(row);
        }
        // What an earlier run has counted in a shared row is nobody's now.
        let is_nobodys = entry.is_none() && id == OVERFLOW;
        if !is_nobodys && known.shares.take(entry) {
            let row = self.add(id, false, entry);
            known.by_id.insert(id.into(), Arc::clone(&row));
            return row;
        }
        let last = known.shared.len() - 1;
        let place = entry.map_or(last, |it| last.min(it as usize));
        let shared = known.shared.get_mut(place).expect("there is one for each entry and for none");
        Arc::clone(shared.get_or_insert_with(|| self.add(OVERFLOW, true, entry)))
    }

    fn add(&self, id: &str, shared: bool, entry: Option<u32>) -> Arc<Row> {
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        let index = u32::try_from(rows.len()).expect("sensors_max is a u32");
        let row = Row::new(index, id, shared, entry);
        rows.push(Arc::clone(&row));
        row
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sensors that have a row of their own.
    pub fn sensors(&self) -> u64 {
        self.lock().by_id.len() as u64
    }

    /// The entries that had more sensors than rows: the entry's place, how many rows it has, and how many
    /// records came of its further sensors.
    pub fn crowded(&self) -> Vec<(u32, u64, u64)> {
        let known = self.lock();
        let of = |row: &Row| Some((row.entry()?, known.shares.taken(row.entry()?), row.received()));
        known.shared.iter().flatten().filter_map(|row| of(row)).collect()
    }

    /// Sums by configured entry, for so many; behind them that of the sensors of none: those only known from
    /// an earlier run's spool.
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
    fn missing_numbers_are_counted_by_sensor_and_not_in_a_shared_row() {
        let registry = Registry::new(2, []);
        let (a, b) = (registry.row("a"), registry.row("b"));
        for number in [1, 2, 5, 6, 9] {
            a.number(number, false);
        }
        assert_eq!(a.number(7, true), Seen::Late);
        b.number(1, false);
        let shared = registry.row("c");
        assert_eq!((shared.number(1, false), shared.number(9, false)), (Seen::Known, Seen::Known));
        let missing = [a, b, shared].map(|row| row.numbers_missing());
        assert_eq!(missing, [3, 0, 0]);
    }

    #[test]
    fn sensors_without_a_row_share_their_entrys_and_the_books_close() {
        // A share of one row for each of two, and one for whoever comes first.
        let registry = Registry::new(3, [None, None]);
        let mut received = Vec::new();
        for (id, entry) in [("a", 0), ("b", 0), ("c", 0), ("d", 0), ("a", 0), ("good", 1), ("e", 1)]
        {
            let row = registry.row_of(id, entry);
            row.receive(Timestamp::from_millis(7));
            received.push((row.id.to_string(), row.entry().unwrap(), row.index));
        }
        let rows: Vec<_> = received.iter().map(|(id, entry, _)| (id.as_str(), *entry)).collect();
        let (others, [a, b]) = ((OVERFLOW, 0), [("a", 0), ("b", 0)]);
        assert_eq!(rows, [a, b, others, others, a, ("good", 1), (OVERFLOW, 1)]);
        assert_eq!((registry.sensors(), registry.crowded()), (3, vec![(0, 2, 2), (1, 1, 1)]));
        registry.settle(&[received[0].2, received[2].2], Outcome::Delivered);
        registry.shed(&[received[3].2]);
        let sums = registry.sums(2);
        let told = sums.iter().map(|it| (it.sensors, it.without_row, it.balance.received));
        assert_eq!(told.collect::<Vec<_>>(), [(2, 2, 5), (1, 1, 2), (0, 0, 0)]);
        let Balance { delivered, shed, held, .. } = sums[0].balance;
        assert_eq!((delivered, shed, held), (2, 1, 2));
    }

    #[test]
    fn a_sensor_may_be_called_as_the_shared_row_is() {
        let registry = Registry::new(2, [None]);
        let (own, spooled) = (registry.row_of(OVERFLOW, 0), registry.row(OVERFLOW));
        assert_eq!((own.is_shared(), own.index), (false, spooled.index));
        let registry = Registry::new(2, [None]);
        assert!(registry.row(OVERFLOW).is_shared(), "of an earlier run");
        assert!(!registry.row_of(OVERFLOW, 0).is_shared());
    }

    #[test]
    fn sums_are_by_entry_and_a_sensor_of_a_spool_is_nobodys_until_it_comes() {
        let registry = Registry::new(4, [None, None]);
        registry.row("b").recover(1);
        let of =
            |registry: &Registry| registry.sums(2).iter().map(|it| it.sensors).collect::<Vec<_>>();
        assert_eq!(of(&registry), [0, 0, 1]);
        for (id, entry) in [("a", 0), ("b", 1), ("a", 1)] {
            registry.row_of(id, entry).receive(Timestamp::from_millis(7));
        }
        assert_eq!(of(&registry), [1, 1, 0]);
        assert_eq!(registry.sums(2)[0].last_received, Some(Timestamp::from_millis(7)));
    }
}
