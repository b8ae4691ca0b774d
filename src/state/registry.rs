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

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::clock::{self, Timestamp};
use crate::limits::{SENSOR_ID_BYTES_MAX, TOPIC_REMEMBERED_BYTES_MAX};
use crate::policies::Memory;
use crate::settlement::{Outcome, SensorIndex};
use crate::state::listening::Listening;
use crate::state::metrics::{Balance, Metrics};
use crate::state::presence::Presence;
use crate::units::ExpectedInterval;

pub use self::notices::Notices;
use self::room::Room;
use self::row::Owner;
pub use self::row::Row;
use self::rows::{ById, Rows};
use self::shares::Shares;

mod notices;
mod room;
mod row;
mod rows;
mod shares;

/// The id of a row that sensors without one of their own share.
pub const OVERFLOW: &str = "(others)";

/// What a sensor takes: its row with its id twice, once as JSON, and an intake's memory of its topic or id, at their longest; and of each
/// sixteenth one that was forgotten, whose row is still at hand. The places in lists and maps, and on the wheel of
/// [`super::liveness`], and what the allocator adds, are in the flat part.
pub const SENSOR_BYTES: u64 = {
    let ids = 256 + 3 * SENSOR_ID_BYTES_MAX + TOPIC_REMEMBERED_BYTES_MAX;
    (size_of::<Row>() + size_of::<Row>() / 16 + ids) as u64
};

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
}

impl Sum {
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

/// All sensors.
#[derive(Debug)]
pub struct Registry {
    /// The sensors whose notice is due.
    pub notices: Notices,
    /// What the policies of entries remember of sensors.
    memory: Mutex<Memory>,
    known: Mutex<Known>,
    rows: RwLock<Vec<Arc<Row>>>,
}

#[derive(Debug)]
struct Known {
    /// By place. An entry that has ended keeps its own until others need their rows: if it begins again, it has its sensors
    /// again.
    entries: Vec<Sensors>,
    /// Of none.
    others: Sensors,
    shares: Shares,
    forgotten: Forgotten,
    /// Rows of sensors that took the place of another one.
    renewed: Vec<SensorIndex>,
}

/// Sensors that were forgotten to make room for others.
#[derive(Debug, Default)]
pub struct Forgotten {
    pub count: u64,
    /// The last of them, as it was then.
    pub last: Option<Arc<Row>>,
}

/// The sensors of an entry.
#[derive(Debug, Default)]
struct Sensors {
    owner: Option<Arc<Owner>>,
    by_id: Rows,
    /// The row that is shared, made when it is needed.
    shared: Option<Arc<Row>>,
    /// Records in that row of sensors that were forgotten.
    of_forgotten: u64,
    room: Room,
    /// How many sensors it has is known: each has its row, for good.
    is_closed: bool,
}

impl Sensors {
    /// Whether the entry was removed.
    fn is_ended(&self) -> bool {
        self.owner.as_ref().is_some_and(|it| it.is_ended())
    }
}

impl Known {
    fn place_of(&self, name: &str) -> Option<u32> {
        let mut owners = self.entries.iter().filter_map(|it| it.owner.as_ref());
        owners.find(|owner| &*owner.name == name).map(|owner| owner.place)
    }

    /// The entry at this place was removed, or begins again: the notices of its sensors are due.
    fn set_ended(&self, place: u32, ended: bool, notices: &Notices) {
        let entry = self.entries.get(place as usize).expect("the entry was added");
        let changed = entry.owner.as_ref().is_some_and(|it| it.set_ended(ended) != ended);
        let rows = entry.by_id.iter().filter(|ById(row)| changed && row.was_ever_due());
        rows.for_each(|ById(row)| notices.put(row));
    }

    /// The sensors of the entry at this place, or of none.
    fn sensors(&mut self, entry: Option<u32>) -> &mut Sensors {
        match entry {
            Some(place) => self.entries.get_mut(place as usize).expect("the entry was added"),
            None => &mut self.others,
        }
    }

    /// A sensor to forget for one of the entry at this place, and the place of its own: of a removed entry, or the quietest
    /// of the same.
    fn room_for(&mut self, place: u32, now: Timestamp) -> Option<(u32, Arc<Row>)> {
        let ended = (0..).zip(&mut self.entries).filter(|(_, it)| it.is_ended());
        let mut left = ended.map(|(at, it)| (at, it.room.make(&it.by_id, now)));
        let left = left.find_map(|(at, row)| Some((at, row?)));
        left.or_else(|| {
            let own = self.entries.get_mut(place as usize).filter(|it| !it.is_closed)?;
            Some((place, own.room.make(&own.by_id, now)?))
        })
    }

    fn push(&mut self, name: &str, is_closed: bool) -> u32 {
        let place = u32::try_from(self.entries.len()).expect("there are far fewer entries");
        let owner = Some(Arc::new(Owner::new(place, name)));
        self.entries.push(Sensors { owner, is_closed, ..Sensors::default() });
        place
    }
}

impl Registry {
    /// For so many sensors of these configured entries: the name of each, and how many it has where that is
    /// known.
    pub fn new<N: AsRef<str>>(
        sensors_max: usize,
        entries: impl IntoIterator<Item = (N, Option<usize>)>,
    ) -> Self {
        let (names, needs): (Vec<N>, Vec<Option<usize>>) = entries.into_iter().unzip();
        let is_closed: Vec<bool> = needs.iter().map(Option::is_some).collect();
        let shares = Shares::new(sensors_max, needs);
        let (entries, others) = (Vec::new(), Sensors::default());
        let (forgotten, renewed) = (Forgotten::default(), Vec::new());
        let mut known = Known { entries, others, shares, forgotten, renewed };
        for (name, is_closed) in names.into_iter().zip(is_closed) {
            known.push(name.as_ref(), is_closed);
        }
        let memory = Mutex::new(Memory::new(sensors_max));
        Self {
            notices: Notices::default(),
            memory,
            known: Mutex::new(known),
            rows: RwLock::default(),
        }
    }

    /// The place of the entry of this name, which is added if need be, with so many sensors where that is known.
    /// Its rows are those that are left to all.
    pub fn add_entry(&self, name: &str, sensors: Option<usize>) -> u32 {
        let mut known = self.lock();
        if let Some(place) = known.place_of(name) {
            known.set_ended(place, false, &self.notices);
            return place;
        }
        known.shares.add(sensors);
        known.push(name, sensors.is_some())
    }

    /// Sets how often the sensors of the entry at this place report; `None`: that is learned of each. Whether it
    /// listens.
    ///
    /// # Panics
    /// If there is no such entry.
    pub fn expect(&self, place: u32, interval: Option<ExpectedInterval>) -> Arc<Listening> {
        let known = self.lock();
        let owner = known.entries.get(place as usize).and_then(|it| it.owner.as_ref());
        let owner = owner.expect("the entry was added");
        owner.expect(interval);
        Arc::clone(&owner.listening)
    }

    /// The entry of this name was removed: so are its sensors, until it begins again.
    pub fn end_entry(&self, name: &str) {
        let known = self.lock();
        if let Some(place) = known.place_of(name) {
            known.set_ended(place, true, &self.notices);
        }
    }

    /// Entries that were removed and are not among these.
    pub fn removed_beside(&self, names: impl Fn(&str) -> bool) -> usize {
        let known = self.lock();
        let owners = known.entries.iter().filter_map(|it| it.owner.as_ref());
        owners.filter(|owner| !names(&owner.name)).count()
    }

    /// Rows that are missing where entries of these names are to have so many sensors each, for good.
    pub fn rows_missing(&self, needs: &[(&str, usize)]) -> usize {
        let known = self.lock();
        let mut left = known.shares.common();
        let mut missing = 0;
        let mut named = Vec::new();
        for &(name, need) in needs {
            let place = known.place_of(name);
            let entry = place.and_then(|at| known.entries.get(at as usize));
            let rows = entry.map_or(0, |it| it.by_id.len());
            let own = place.map_or(0, |at| known.shares.own(at));
            missing += need.saturating_sub(rows + own);
            named.extend(place);
        }
        let ended =
            (0..).zip(&known.entries).filter(|(at, it)| it.is_ended() && !named.contains(at));
        left += ended
            .map(|(_, it)| it.by_id.iter().filter(|ById(row)| row.may_be_left()).count())
            .sum::<usize>();
        missing.saturating_sub(left)
    }

    /// What the policies of entries remember of sensors: locked once for a message of an entry that has any.
    pub fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All notices that were given are due again.
    pub fn renew_notices(&self) {
        self.with_rows(|rows| {
            rows.iter().filter(|row| row.was_ever_due()).for_each(|row| self.notices.put(row));
        });
    }

    /// Nothing can be said of the time before: all entries that listen begin anew.
    pub fn restart(&self, now: Timestamp) {
        let known = self.lock();
        let owners = known.entries.iter().filter_map(|it| it.owner.as_ref());
        let listening = owners.map(|it| &it.listening).filter(|it| it.since(now).is_some());
        listening.for_each(|it| it.restart(now));
    }

    /// Sensors whose state has changed by what has come since this was asked last.
    pub fn changed(&self) -> Vec<SensorIndex> {
        let known = self.lock();
        let owners = known.entries.iter().filter_map(|it| it.owner.as_ref());
        owners.flat_map(|it| it.changed()).collect()
    }

    /// The names of all entries that there have been, by place.
    pub fn entries(&self) -> Vec<String> {
        let known = self.lock();
        let owners = known.entries.iter().filter_map(|it| it.owner.as_ref());
        owners.map(|owner| owner.name.to_string()).collect()
    }

    /// The name of the entry at this place.
    pub fn entry_name(&self, place: u32) -> Option<String> {
        let known = self.lock();
        let owner = known.entries.get(place as usize)?.owner.as_ref();
        owner.map(|owner| owner.name.to_string())
    }

    /// The row of this sensor of the entry of this name, if there is one.
    pub fn row(&self, entry: &str, id: &str) -> Option<Arc<Row>> {
        let known = self.lock();
        let place = known.place_of(entry)?;
        known.entries.get(place as usize)?.by_id.get(id).map(|ById(row)| Arc::clone(row))
    }

    /// The row of a sensor of the entry at this place, made if need be; a shared one where none is left.
    pub fn row_of(&self, id: &str, entry: u32) -> Arc<Row> {
        let mut known = self.lock();
        let (row, _) = self.find(&mut known, id, Some(entry), Some(entry));
        if row.unheard.swap(false, Ordering::Relaxed) {
            known.shares.claim(entry);
        }
        row
    }

    /// The row of a sensor that an earlier run has left in the spool, with the name of its entry, if it had one.
    /// Until its entry hears it, it takes none of the entry's rows.
    pub fn row_left(&self, id: &str, entry: Option<&str>) -> Arc<Row> {
        let mut known = self.lock();
        let place = entry.and_then(|name| known.place_of(name));
        let (row, is_new) = self.find(&mut known, id, place, None);
        if is_new && place.is_some() {
            row.unheard.store(true, Ordering::Relaxed);
        }
        row
    }

    /// Finds a row of an entry, or of none, or makes one of those that are for `taker`; whether one of the
    /// sensor's own was made.
    fn find(
        &self,
        known: &mut Known,
        id: &str,
        entry: Option<u32>,
        taker: Option<u32>,
    ) -> (Arc<Row>, bool) {
        let sensors = known.sensors(entry);
        if let Some(ById(row)) = sensors.by_id.get(id) {
            return (Arc::clone(row), false);
        }
        // What an earlier run has counted in a shared row is no sensor's.
        let was_shared = taker.is_none() && id == OVERFLOW;
        if !was_shared && known.shares.take(taker) {
            let sensors = known.sensors(entry);
            let row = self.add(id, false, sensors.owner.as_ref());
            sensors.by_id.insert(ById(Arc::clone(&row)));
            return (row, true);
        }
        // Where notices do not go out, those that are to be taken back must not be ever more.
        let may_forget = self.notices.waiting() < self.with_rows(<[_]>::len);
        if let Some(taker) = taker.filter(|_| may_forget)
            && let Some((from, gone)) = known.room_for(taker, clock::now().wall)
        {
            return (self.replace(known, (from, &gone), (taker, id)), true);
        }
        (Arc::clone(self.shared(known.sensors(entry))), false)
    }

    /// The row that an entry's sensors share.
    fn shared<'s>(&self, sensors: &'s mut Sensors) -> &'s Arc<Row> {
        let Sensors { owner, shared, .. } = sensors;
        shared.get_or_insert_with(|| self.add(OVERFLOW, true, owner.as_ref()))
    }

    /// Forgets a sensor of the entry at one place: its row is that of a sensor of another one, or of the same.
    fn replace(
        &self,
        known: &mut Known,
        (from, gone): (u32, &Arc<Row>),
        (to, id): (u32, &str),
    ) -> Arc<Row> {
        let sensors = known.sensors(Some(from));
        gone.forget(self.shared(sensors));
        sensors.of_forgotten += gone.received();
        sensors.by_id.remove(&*gone.id);
        if gone.was_ever_due() {
            self.notices.put(gone);
        }
        known.shares.pass(from, to);
        let sensors = known.sensors(Some(to));
        let row = Row::new(gone.index.0, id, false, sensors.owner.clone());
        sensors.by_id.insert(ById(Arc::clone(&row)));
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        let place = rows.get_mut(gone.index.0 as usize).expect("each sensor has a row");
        *place = Arc::clone(&row);
        known.renewed.push(row.index);
        // Of a removed entry nobody misses it.
        if from == to {
            let count = known.forgotten.count + 1;
            known.forgotten = Forgotten { count, last: Some(Arc::clone(gone)) };
        }
        row
    }

    /// The sensors that were forgotten since this was asked last, and the rows of those that have their places.
    pub fn forgotten(&self) -> (Forgotten, Vec<SensorIndex>) {
        let mut known = self.lock();
        (std::mem::take(&mut known.forgotten), std::mem::take(&mut known.renewed))
    }

    fn add(&self, id: &str, shared: bool, owner: Option<&Arc<Owner>>) -> Arc<Row> {
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        let index = u32::try_from(rows.len()).expect("sensors_max is a u32");
        let row = Row::new(index, id, shared, owner.cloned());
        rows.push(Arc::clone(&row));
        row
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sensors that have a row of their own.
    pub fn sensors(&self) -> u64 {
        let known = self.lock();
        let all = known.entries.iter().chain([&known.others]);
        all.map(|it| it.by_id.len() as u64).sum()
    }

    /// The entries that had more sensors than rows: the entry's place, how many rows it has, and how many
    /// records came of its further sensors.
    pub fn crowded(&self) -> Vec<(u32, u64, u64)> {
        let known = self.lock();
        let of = |it: &Sensors| {
            let row = it.shared.as_deref()?;
            Some((row.entry()?, known.shares.taken(row.entry()?), row.received() - it.of_forgotten))
        };
        known.entries.iter().filter_map(of).collect()
    }

    /// Sums by entry, and behind them that of the sensors of none: those only known from an earlier run's
    /// spool.
    pub fn sums(&self) -> Vec<Sum> {
        let of_forgotten: Vec<u64> = self.lock().entries.iter().map(|it| it.of_forgotten).collect();
        let entries = of_forgotten.len();
        let mut sums = vec![Sum::default(); entries + 1];
        self.with_rows(|rows| {
            for row in rows {
                let place = row.entry().map_or(entries, |place| place as usize);
                // An entry that was added since has its sum the next time.
                sums.get_mut(place).into_iter().for_each(|sum| sum.add(row));
            }
        });
        for (sum, of_forgotten) in sums.iter_mut().zip(of_forgotten) {
            sum.without_row = sum.without_row.saturating_sub(of_forgotten);
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
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        for row in sensors.iter().filter_map(|sensor| rows.get(sensor.0 as usize)) {
            row.settled(outcome).fetch_add(1, Ordering::Relaxed);
            if matches!(outcome, Outcome::Shed { .. }) {
                row.is_shed();
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
    use std::time::Duration;

    use super::*;
    use crate::settlement::Policy;
    use crate::state::series::Seen;

    #[test]
    fn missing_numbers_are_counted_by_sensor_and_not_in_a_shared_row() {
        let registry = Registry::new(2, [("fleet", None)]);
        let [a, b] = ["a", "b"].map(|id| registry.row_of(id, 0));
        for number in [1, 2, 5, 6, 9] {
            a.number(number, false);
        }
        assert_eq!(a.number(7, true), Seen::Late);
        b.number(1, false);
        let shared = registry.row_of("c", 0);
        assert_eq!((shared.number(1, false), shared.number(9, false)), (Seen::Known, Seen::Known));
        let missing = [a, b, shared].map(|row| row.numbers_missing());
        assert_eq!(missing, [3, 0, 0]);
    }

    #[test]
    fn sensors_without_a_row_share_their_entrys_and_the_books_close() {
        // A share of one row for each of two, and one for whoever comes first.
        let registry = Registry::new(3, ["fleet", "more"].map(|name| (name, None)));
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
        let totals = Metrics::default();
        registry.enter(&totals, &[received[0].2, received[2].2], Outcome::Delivered);
        let policy = Policy::KeepLatest;
        registry.enter(&totals, &[received[3].2], Outcome::Shed { policy });
        let sums = registry.sums();
        let told = sums.iter().map(|it| (it.sensors, it.without_row, it.balance.received));
        assert_eq!(told.collect::<Vec<_>>(), [(2, 2, 5), (1, 1, 2), (0, 0, 0)]);
        let Balance { delivered, shed, held, .. } = sums[0].balance;
        assert_eq!((delivered, shed, held), (2, 1, 2));
        assert_eq!((totals.delivered.get(), totals.shed.of(policy).get()), (2, 1));
    }

    #[test]
    fn a_sensor_may_be_called_as_the_shared_row_is() {
        let registry = || Registry::new(2, [("fleet", None)]);
        let (first, fleet) = (registry(), Some("fleet"));
        let (own, spooled) = (first.row_of(OVERFLOW, 0), first.row_left(OVERFLOW, fleet));
        assert_eq!((own.is_shared(), own.index), (false, spooled.index));
        let second = registry();
        assert!(second.row_left(OVERFLOW, fleet).is_shared(), "of an earlier run");
        assert!(!second.row_of(OVERFLOW, 0).is_shared());
    }

    /// So long ago that it may be forgotten.
    fn heard_long_ago(registry: &Registry, id: &str, at: u64, settled: bool) -> Arc<Row> {
        let row = registry.row_of(id, 0);
        row.receive(Timestamp::from_millis(at));
        if settled {
            registry.enter(&Metrics::default(), &[row.index], Outcome::Delivered);
        }
        row
    }

    #[test]
    fn a_new_sensor_takes_the_place_of_the_quietest_of_which_nothing_is_held() {
        // A share of one row for each of two, and two for whoever comes first.
        let registry = Registry::new(4, [("fleet", None), ("more", None)]);
        let held = heard_long_ago(&registry, "held", 1000, false);
        let quiet = heard_long_ago(&registry, "quiet", 2000, true);
        let less = heard_long_ago(&registry, "less quiet", 3000, true);
        let new = registry.row_of("new", 0);
        assert_eq!((new.index, &*new.id, new.received()), (quiet.index, "new", 0));
        assert!(quiet.is_forgotten() && !less.is_forgotten() && !held.is_forgotten());
        registry.with_rows(|rows| assert_eq!(&*rows[new.index.0 as usize].id, "new"));
        let sum = registry.sums()[0];
        let Balance { received, delivered, held, .. } = sum.balance;
        assert_eq!((received, delivered, held, sum.sensors, sum.without_row), (3, 2, 1, 3, 0));
        assert_eq!(registry.crowded()[0].2, 0, "no reading came of one without a row");
        let (forgotten, renewed) = registry.forgotten();
        assert_eq!((forgotten.count, &*forgotten.last.unwrap().id), (1, "quiet"));
        assert_eq!((renewed, registry.forgotten().0.count), (vec![new.index], 0));
        assert!(!registry.row_of("quiet", 0).is_shared() && less.is_forgotten());
        assert!(registry.row_of("another", 0).is_shared(), "one is held, and two are new");
        assert!(!registry.row_of("a", 1).is_shared(), "the share of the other entry");
    }

    #[test]
    fn a_removed_entrys_rows_are_those_of_others_before_one_of_their_own_is_forgotten() {
        let registry = Registry::new(3, [("gone", None), ("fleet", None), ("TEMP", Some(1))]);
        let heard = |id: &str, place: u32, settled: bool| {
            let row = registry.row_of(id, place);
            row.receive(clock::now().wall);
            let outcome = if settled { Outcome::Delivered } else { Outcome::Spooled };
            registry.enter(&Metrics::default(), &[row.index], outcome);
            row
        };
        let (lately, held) = (heard("a", 0, true), heard("a", 1, false));
        assert!(registry.row_of("b", 1).is_shared(), "it is not removed yet");
        registry.end_entry("gone");
        assert_eq!(registry.rows_missing(&[("TEMP", 2), ("more", 1)]), 1);
        let new = registry.row_of("b", 1);
        assert_eq!((new.index, new.entry()), (lately.index, Some(1)));
        new.receive(clock::now().wall);
        assert_eq!(registry.crowded().iter().map(|it| it.1).collect::<Vec<_>>(), [0, 2]);
        assert_eq!(registry.forgotten().0.count, 0, "nobody misses it");
        registry.end_entry("fleet");
        assert!(registry.row_of("TEMP_00", 2).index != held.index && !held.is_forgotten());
        let sums = registry.sums();
        let received: Vec<u64> = sums.iter().map(|it| it.balance.received).collect();
        assert_eq!(received, [1, 2, 0, 0]);
        let names = |names: &[&str]| registry.removed_beside(|name| names.contains(&name));
        assert_eq!((names(&["TEMP"]), names(&["TEMP", "fleet"])), (2, 1));
    }

    /// It was taken of none of the entry's rows.
    #[test]
    fn a_row_of_a_spool_that_its_entry_never_heard_is_not_given_on() {
        let registry = Registry::new(3, [("gone", None), ("fleet", None)]);
        let left = registry.row_left("left", Some("gone"));
        left.recover(1);
        registry.enter(&Metrics::default(), &[left.index], Outcome::Delivered);
        registry.end_entry("gone");
        assert_eq!(registry.rows_missing(&[("more", 1)]), 1);
        assert!(!registry.row_of("a", 1).is_shared() && registry.row_of("b", 1).is_shared());
        assert!(!left.is_forgotten());
    }

    #[test]
    fn who_reports_in_time_or_has_a_row_for_good_is_not_forgotten() {
        let registry = Registry::new(1, [("fleet", None)]);
        let day = ExpectedInterval::Every(crate::units::Period(Duration::from_hours(24)));
        registry.expect(0, Some(day));
        let row = heard_long_ago(&registry, "daily", 1000, true);
        assert!(registry.row_of("new", 0).is_shared() && !row.is_forgotten());
        let again = Registry::new(1, [("fleet", None)]);
        again.expect(0, Some(day));
        let row = heard_long_ago(&again, "daily", 1000, true);
        row.is_now(Presence::Silent, Timestamp::from_millis(2000));
        assert!(!again.row_of("new", 0).is_shared());
        let simulated = Registry::new(1, [("TEMP", Some(1))]);
        heard_long_ago(&simulated, "TEMP_00", 1000, true);
        assert!(simulated.row_of("TEMP_01", 0).is_shared());
    }

    #[test]
    fn the_same_id_at_two_entries_is_two_sensors() {
        let registry = Registry::new(8, ["fleet", "more"].map(|name| (name, None)));
        let rows = [0, 1, 0].map(|entry| registry.row_of("a", entry));
        let sequences = rows.each_ref().map(|row| row.receive(Timestamp::from_millis(7)));
        assert_eq!((sequences, registry.sensors()), ([1, 1, 2], 2));
        assert_eq!(
            rows.map(|row| row.entry_json().to_owned()),
            ["\"fleet\"", "\"more\"", "\"fleet\""]
        );
    }

    #[test]
    fn an_entry_that_is_added_has_rows_of_what_is_left_and_its_old_ones_again() {
        let registry = Registry::new(3, [("fleet", None)]);
        let first = registry.row_of("a", 0);
        let place = registry.add_entry("more", None);
        let added = registry.row_of("a", place);
        assert_ne!((first.index, place), (added.index, 0));
        assert_eq!((added.entry_name(), added.is_shared()), (Some("more"), false));
        assert_eq!((registry.add_entry("more", None), registry.add_entry("fleet", None)), (1, 0));
        assert_eq!(registry.row_of("a", place).index, added.index);
        assert_eq!(registry.entries(), ["fleet", "more"]);
        added.receive(Timestamp::from_millis(7));
        let received = registry.sums().iter().map(|it| it.balance.received).collect::<Vec<_>>();
        assert_eq!(received, [0, 1, 0]);
    }

    #[test]
    fn a_sensor_of_a_spool_is_of_its_entry_if_there_is_one_still() {
        let registry = Registry::new(4, ["fleet", "more"].map(|name| (name, None)));
        for entry in [Some("fleet"), Some("gone"), None] {
            registry.row_left("b", entry).recover(1);
        }
        let of = || registry.sums().iter().map(|it| it.balance.received).collect::<Vec<_>>();
        assert_eq!((of(), registry.sensors()), (vec![1, 0, 2], 2));
        assert_eq!(registry.crowded(), []);
        registry.row_of("b", 0).receive(Timestamp::from_millis(7));
        registry.row_of("b", 1).receive(Timestamp::from_millis(7));
        assert_eq!((of(), registry.sensors()), (vec![2, 1, 2], 3));
        assert_eq!(registry.sums()[0].last_received, Some(Timestamp::from_millis(7)));
    }

    /// It may be one that the entry has no more, which would stand in the way of those that it has.
    #[test]
    fn a_sensor_of_a_spool_takes_none_of_its_entrys_rows_until_it_is_heard() {
        let registry = Registry::new(3, [("TEMP", Some(2))]);
        let old = registry.row_left("TEMP_09", Some("TEMP"));
        let rows = ["TEMP_00", "TEMP_01"].map(|id| registry.row_of(id, 0));
        assert!(rows.iter().all(|row| !row.is_shared()) && !old.is_shared());
        // One of four is the fleet's own, one for any of them.
        let registry = Registry::new(4, [("TEMP", Some(2)), ("fleet", None)]);
        assert!(!registry.row_left("TEMP_00", Some("TEMP")).is_shared());
        assert_eq!(["a", "b"].map(|id| registry.row_of(id, 1).is_shared()), [false, true]);
        registry.row_of("TEMP_00", 0);
        registry.row_of("TEMP_00", 0);
        let shared = ["c", "d"].map(|id| registry.row_of(id, 1).is_shared());
        assert_eq!(shared, [false, true], "its row went back to all, once, when it was heard");
    }
}
