//! The readings that wait for their turn, in a line for each sensor.
//!
//! A line has one turn, at which all of it leaves: the latest of each series, in the order in which they came. A later
//! reading of a series takes the place of the one that waits, and goes to the end.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Instant;

use foldhash::fast::RandomState;

/// Readings of an entry that may wait, and bytes of them. Where there is no room for another one, all leave before their
/// turn.
pub(super) const READINGS_MAX: usize = 1024;
pub(super) const BYTES_MAX: usize = 512 << 10;

/// Bytes of all that waits: each text in a buffer that has grown, and what it needs in lists and maps.
pub(super) const BYTES: u64 = (2 * BYTES_MAX + READINGS_MAX * 512) as u64;

/// The readings of all sensors that wait.
#[derive(Debug)]
pub(super) struct Line<T> {
    by_sensor: HashMap<u64, OfSensor<T>, RandomState>,
    /// The turn of each sensor.
    turns: BTreeSet<(Instant, u64)>,
    count: usize,
    bytes: usize,
    /// What waits no longer, whenever its turn is, and of which sensor it is.
    due: VecDeque<(u64, T)>,
}

#[derive(Debug)]
struct OfSensor<T> {
    turn: Instant,
    readings: VecDeque<Waiting<T>>,
}

#[derive(Debug)]
struct Waiting<T> {
    series: u64,
    bytes: usize,
    it: T,
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self {
            by_sensor: HashMap::default(),
            turns: BTreeSet::new(),
            count: 0,
            bytes: 0,
            due: VecDeque::new(),
        }
    }
}

impl<T> Line<T> {
    /// Whether any of this sensor waits, or is not taken yet: what comes now is behind it.
    pub(super) fn has(&self, sensor: u64) -> bool {
        self.by_sensor.contains_key(&sensor) || self.due.iter().any(|(of, _)| *of == sensor)
    }

    /// How many wait for their turn.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// How many are here: they wait, or are not taken yet.
    pub(super) fn len(&self) -> usize {
        self.count + self.due.len()
    }

    /// Whether one of so many bytes may wait.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.count < READINGS_MAX && self.bytes + bytes <= BYTES_MAX
    }

    /// Takes out the reading of this series, for a later one that is put then.
    pub(super) fn take(&mut self, sensor: u64, series: u64) -> Option<T> {
        let line = self.by_sensor.get_mut(&sensor)?;
        let at = line.readings.iter().position(|it| it.series == series)?;
        let Waiting { bytes, it, .. } = line.readings.remove(at)?;
        self.count -= 1;
        self.bytes -= bytes;
        Some(it)
    }

    /// One behind those of its sensor that wait; the turn is that of the first of them.
    pub(super) fn put(&mut self, (sensor, series): (u64, u64), turn: Instant, bytes: usize, it: T) {
        let new = || OfSensor { turn, readings: VecDeque::new() };
        let line = self.by_sensor.entry(sensor).or_insert_with(new);
        line.readings.push_back(Waiting { series, bytes, it });
        self.turns.insert((line.turn, sensor));
        self.count += 1;
        self.bytes += bytes;
    }

    /// What has its turn by now waits no longer.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((turn, sensor)) = self.turns.first().copied().filter(|it| it.0 <= now) {
            self.turns.remove(&(turn, sensor));
            self.leave(sensor);
        }
    }

    fn leave(&mut self, sensor: u64) {
        let line = self.by_sensor.remove(&sensor);
        for Waiting { bytes, it, .. } in line.into_iter().flat_map(|it| it.readings) {
            self.count -= 1;
            self.bytes -= bytes;
            self.due.push_back((sensor, it));
        }
    }

    /// It is the turn of all. The sensors of which any has waited.
    pub(super) fn release(&mut self) -> Vec<u64> {
        let sensors: Vec<u64> =
            std::mem::take(&mut self.turns).into_iter().map(|it| it.1).collect();
        for sensor in &sensors {
            self.leave(*sensor);
        }
        sensors
    }

    /// The next one that waits no longer.
    pub(super) fn take_due(&mut self) -> Option<T> {
        self.due.pop_front().map(|(_, it)| it)
    }

    /// When the next one has its turn.
    pub(super) fn until(&self) -> Option<Instant> {
        self.turns.first().map(|(turn, _)| *turn)
    }

    /// All that waits, in no order.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &T> {
        let lines = self.by_sensor.values().flat_map(|it| &it.readings).map(|it| &it.it);
        lines.chain(self.due.iter().map(|(_, it)| it))
    }

    /// Forgets all; returns how many there were.
    pub(super) fn clear(&mut self) -> usize {
        self.release();
        std::mem::take(&mut self.due).len()
    }
}
