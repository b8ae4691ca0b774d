//! What is known of each sensor, a row of its own ([`Row`]).
//!
//! A sensor is an id of a configured entry: the same id at two entries is two sensors. What an earlier run has
//! left in the spool for an entry that there is no more, or that an older program wrote, is of none.
//!
//! Rows are appended and never removed, so an index stays good while anything is held of its sensor. Where none is left, the
//! entry forgets the sensor of which nothing has come for longest and nothing is held (`room`): its books go to a row that
//! its entry shares, and its place to the new sensor. Whoever keeps rows at hand asks again where one is forgotten. A source
//! keeps the rows of its own sensors at hand; the map is asked once for each sensor and source, and the list once for each
//! settled batch. A sensor for which no place is left (`gateway.sensors_max`, `shares`) has its books in a
//! row that it shares with all such sensors of its entry: they still close. Its records keep its id, and
//! have no sequence, which would be nobody's.
//!
//! There are two halves, each with its lock: whose the rows are (`entries`), and the rows themselves with what is counted
//! in them (`list`). Who takes both takes them in this order.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::{self, Timestamp};
use crate::limits::{SENSOR_ID_BYTES_MAX, TOPIC_REMEMBERED_BYTES_MAX};
use crate::policies::Memory;
use crate::settlement::{Outcome, SensorIndex};
use crate::state::listening::Listening;
use crate::state::metrics::Metrics;
use crate::state::waiting::Waiting;
use crate::units::ExpectedInterval;

pub use self::entries::Forgotten;
use self::entries::{Entries, Sensors};
use self::list::List;
pub use self::list::Sum;
pub use self::notices::Notices;
pub use self::row::{Before, Row};
use self::rows::ById;

mod entries;
mod list;
mod notices;
mod owner;
mod room;
mod row;
mod rows;
mod shares;
#[cfg(test)]
mod tests;

/// The id of a row that sensors without one of their own share.
pub const OVERFLOW: &str = "(others)";

/// What a sensor takes: its row with its id as JSON, and once more where that has escapes, and an intake's memory of its topic or id, at their longest; and of each
/// sixteenth one that was forgotten, whose row is still at hand. The places in lists and maps, and on the wheel of
/// [`super::liveness`], and what the allocator adds, are in the flat part.
pub const SENSOR_BYTES: u64 = {
    let ids = 256 + 3 * SENSOR_ID_BYTES_MAX + TOPIC_REMEMBERED_BYTES_MAX;
    (size_of::<Row>() + size_of::<Row>() / 16 + ids) as u64
};

/// What became of what an earlier run knew of a sensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recalled {
    TakenUp,
    /// The sensor was heard in this run, which is newer.
    Heard,
    /// No row is left for it (`gateway.sensors_max`).
    NoRow,
    /// Its entry is not there any more, or has no such sensor.
    OfNone,
}

/// All sensors.
#[derive(Debug)]
pub struct Registry {
    /// The sensors whose notice is due.
    pub notices: Notices,
    /// What the policies of entries remember of sensors.
    memory: Mutex<Memory>,
    entries: Mutex<Entries>,
    rows: List,
}

impl Registry {
    /// For so many sensors of these configured entries: the name of each, and how many it has where that is
    /// entries.
    pub fn new<N: AsRef<str>>(
        sensors_max: usize,
        entries: impl IntoIterator<Item = (N, Option<usize>)>,
    ) -> Self {
        Self {
            notices: Notices::default(),
            memory: Mutex::new(Memory::new(sensors_max)),
            entries: Mutex::new(Entries::new(sensors_max, entries)),
            rows: List::default(),
        }
    }

    /// The place of the entry of this name, which is added if need be, with so many sensors where that is entries.
    /// Its rows are those that are left to all.
    pub fn add_entry(&self, name: &str, sensors: Option<usize>) -> u32 {
        self.lock().add(name, sensors, &self.notices)
    }

    /// Sets how often the sensors of the entry at this place report; `None`: that is learned of each. Whether it
    /// listens.
    ///
    /// # Panics
    /// If there is no such entry.
    pub fn expect(&self, place: u32, interval: Option<ExpectedInterval>) -> Arc<Listening> {
        let entries = self.lock();
        let owner = entries.owner(place).expect("the entry was added");
        owner.expect(interval);
        Arc::clone(&owner.listening)
    }

    /// How many readings of the entry at this place wait for their turn: whoever lets them wait counts them.
    ///
    /// # Panics
    /// If there is no such entry.
    pub fn waiting(&self, place: u32) -> Arc<Waiting> {
        let entries = self.lock();
        Arc::clone(&entries.owner(place).expect("the entry was added").waiting)
    }

    /// The entry of this name was removed: so are its sensors, until it begins again.
    pub fn end_entry(&self, name: &str) {
        let entries = self.lock();
        if let Some(place) = entries.place_of(name) {
            entries.set_ended(place, true, &self.notices);
        }
    }

    /// Entries that were removed and are not among these.
    pub fn removed_beside(&self, names: impl Fn(&str) -> bool) -> usize {
        self.lock().owners().filter(|owner| !names(&owner.name)).count()
    }

    /// Rows that are missing where entries of these names are to have so many sensors each, for good.
    pub fn rows_missing(&self, needs: &[(&str, usize)]) -> usize {
        self.lock().rows_missing(needs)
    }

    /// What the policies of entries remember of sensors: locked once for a message of an entry that has any.
    pub fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All notices that were given are due again.
    pub fn renew_notices(&self) {
        self.with_rows(|rows| {
            rows.iter().filter(|row| row.may_have_notice()).for_each(|row| self.notices.put(row));
        });
    }

    /// Nothing can be said of the time before: all entries that listen begin anew.
    pub fn restart(&self, now: Timestamp) {
        let entries = self.lock();
        let listening = entries.owners().map(|it| &it.listening);
        listening.filter(|it| it.since(now).is_some()).for_each(|it| it.restart(now));
    }

    /// Sensors whose state has changed by what has come since this was asked last.
    pub fn changed(&self) -> Vec<SensorIndex> {
        self.lock().owners().flat_map(|it| it.changed()).collect()
    }

    /// The names of all entries that there have been, by place.
    pub fn entries(&self) -> Vec<String> {
        self.lock().owners().map(|owner| owner.name.to_string()).collect()
    }

    /// The name of the entry at this place.
    pub fn entry_name(&self, place: u32) -> Option<String> {
        self.lock().owner(place).map(|owner| owner.name.to_string())
    }

    /// The row of this sensor of the entry of this name, if there is one.
    pub fn row(&self, entry: &str, id: &str) -> Option<Arc<Row>> {
        self.lock().row(entry, id)
    }

    /// The row of a sensor of the entry at this place, made if need be; a shared one where none is left.
    pub fn row_of(&self, id: &str, entry: u32) -> Arc<Row> {
        let mut entries = self.lock();
        let (row, _) = self.find(&mut entries, id, Some(entry), Some(entry));
        if row.unheard.swap(false, Ordering::Relaxed) {
            entries.shares.claim(entry);
        }
        row
    }

    /// The row of a sensor that an earlier run has left in the spool, with the name of its entry, if it had one.
    /// Until its entry hears it, it takes none of the entry's rows.
    pub fn row_left(&self, id: &str, entry: Option<&str>) -> Arc<Row> {
        let mut entries = self.lock();
        let place = entry.and_then(|name| entries.place_of(name));
        let (row, is_new) = self.find(&mut entries, id, place, None);
        if is_new && place.is_some() {
            row.unheard.store(true, Ordering::Relaxed);
        }
        row
    }

    /// Takes up what an earlier run knew of a sensor of the entry of this name, where nothing has come of it in this one. It
    /// takes a row that is left, and the place of no other sensor.
    pub fn recall(&self, entry: &str, id: &str, before: &Before) -> Recalled {
        let mut entries = self.lock();
        let Some((place, is_closed)) = entries.present(entry) else { return Recalled::OfNone };
        // What is known of sensors without a row is no sensor's.
        if id == OVERFLOW {
            return Recalled::Heard;
        }
        let row = entries.sensors(Some(place)).by_id.get(id).map(|ById(row)| Arc::clone(row));
        let row = match row {
            // It has its sensors, and this is none of them.
            None if is_closed => return Recalled::OfNone,
            Some(row) if is_closed && row.unheard.load(Ordering::Relaxed) => {
                return Recalled::OfNone;
            }
            Some(row) => row,
            None if entries.shares.take(Some(place)) => self.add(entries.sensors(Some(place)), id),
            None => return Recalled::NoRow,
        };
        if row.recall(before) { Recalled::TakenUp } else { Recalled::Heard }
    }

    /// Finds a row of an entry, or of none, or makes one of those that are for `taker`; whether one of the
    /// sensor's own was made.
    fn find(
        &self,
        entries: &mut Entries,
        id: &str,
        entry: Option<u32>,
        taker: Option<u32>,
    ) -> (Arc<Row>, bool) {
        let sensors = entries.sensors(entry);
        if let Some(ById(row)) = sensors.by_id.get(id) {
            return (Arc::clone(row), false);
        }
        // What an earlier run has counted in a shared row is no sensor's.
        let was_shared = taker.is_none() && id == OVERFLOW;
        if !was_shared && entries.shares.take(taker) {
            return (self.add(entries.sensors(entry), id), true);
        }
        // Where notices do not go out, those that are to be taken back must not be ever more.
        let may_forget = self.notices.waiting() < self.with_rows(<[_]>::len);
        if let Some(taker) = taker.filter(|_| may_forget)
            && let Some((from, gone)) = entries.room_for(taker, clock::now().wall)
        {
            return (self.replace(entries, (from, &gone), (taker, id)), true);
        }
        (Arc::clone(self.shared(entries.sensors(entry))), false)
    }

    /// A row of its own for a sensor.
    fn add(&self, sensors: &mut Sensors, id: &str) -> Arc<Row> {
        let row = self.rows.add(id, false, sensors.owner.as_ref());
        sensors.by_id.insert(ById(Arc::clone(&row)));
        row
    }

    /// The row that an entry's sensors share.
    fn shared<'s>(&self, sensors: &'s mut Sensors) -> &'s Arc<Row> {
        let Sensors { owner, shared, .. } = sensors;
        shared.get_or_insert_with(|| self.rows.add(OVERFLOW, true, owner.as_ref()))
    }

    /// Forgets a sensor of the entry at one place: its row is that of a sensor of another one, or of the same.
    fn replace(
        &self,
        entries: &mut Entries,
        (from, gone): (u32, &Arc<Row>),
        (to, id): (u32, &str),
    ) -> Arc<Row> {
        let sensors = entries.sensors(Some(from));
        gone.forget(self.shared(sensors));
        sensors.of_forgotten += gone.received();
        sensors.by_id.remove(gone.id());
        if gone.may_have_notice() {
            self.notices.put(gone);
        }
        entries.shares.pass(from, to);
        let sensors = entries.sensors(Some(to));
        let row = Row::new(gone.index.0, id, false, sensors.owner.clone());
        sensors.by_id.insert(ById(Arc::clone(&row)));
        self.rows.replace(&row);
        entries.renewed.push(row.index);
        // Of a removed entry nobody misses it.
        if from == to {
            let count = entries.forgotten.count + 1;
            entries.forgotten = Forgotten { count, last: Some(Arc::clone(gone)) };
        }
        row
    }

    /// The sensors that were forgotten since this was asked last, and the rows of those that have their places.
    pub fn forgotten(&self) -> (Forgotten, Vec<SensorIndex>) {
        let mut entries = self.lock();
        (std::mem::take(&mut entries.forgotten), std::mem::take(&mut entries.renewed))
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sensors that have a row of their own.
    pub fn sensors(&self) -> u64 {
        self.lock().count()
    }

    /// The entries that had more sensors than rows: the entry's place, how many rows it has, and how many
    /// records came of its further sensors.
    pub fn crowded(&self) -> Vec<(u32, u64, u64)> {
        self.lock().crowded()
    }

    /// Sums by entry, and behind them that of the sensors of none: those only known from an earlier run's
    /// spool.
    pub fn sums(&self) -> Vec<Sum> {
        let (of_forgotten, waiting, are_removed) = {
            let entries = self.lock();
            (entries.of_forgotten(), entries.waiting(), entries.are_removed())
        };
        let mut sums = self.rows.sums(of_forgotten.len());
        let known = of_forgotten.into_iter().zip(waiting).zip(are_removed);
        for (sum, ((of_forgotten, waiting), is_removed)) in sums.iter_mut().zip(known) {
            sum.without_row = sum.without_row.saturating_sub(of_forgotten);
            (sum.waiting, sum.is_removed) = (waiting, is_removed);
        }
        sums
    }

    /// Enters what became of the records of these sensors, in their rows and in the totals: the one way of any
    /// outcome into the books. What a policy leaves out before it is a record goes another one ([`Row::leave_out`]).
    pub fn enter(&self, totals: &Metrics, sensors: &[SensorIndex], outcome: Outcome) {
        let total = match outcome {
            Outcome::Delivered => &totals.delivered,
            Outcome::Spooled => &totals.spooled,
            Outcome::DeadLettered => &totals.dead_lettered,
            Outcome::Shed { policy } => totals.shed.of(policy),
            Outcome::Abandoned => &totals.abandoned,
        };
        total.add(sensors.len() as u64);
        self.rows.enter(sensors, outcome);
    }

    /// A record of each of these sensors was counted, and not taken after all: it will come again, or is lost outside.
    pub fn take_back(&self, sensors: impl Iterator<Item = SensorIndex>) {
        self.rows.take_back(sensors);
    }

    /// Runs `read` on all rows, in the order the sensors were first heard.
    pub fn with_rows<T>(&self, read: impl FnOnce(&[Arc<Row>]) -> T) -> T {
        self.rows.with(read)
    }
}
