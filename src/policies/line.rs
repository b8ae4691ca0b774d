//! The readings that wait for their turn, in a line for each sensor.
//!
//! A line has its turns, one for each reading that waits in it. A later reading of a series takes the place of the one
//! that waits, and goes to the end: so they leave in the order in which they came.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Instant;

use foldhash::fast::RandomState;

/// Readings of an entry that may wait, and bytes of them.
pub(super) const READINGS_MAX: usize = 1024;
pub(super) const BYTES_MAX: usize = 512 << 10;

/// Bytes of all that waits: each text in a buffer that has grown, and what it needs in lists and maps.
pub(super) const BYTES: u64 = (2 * BYTES_MAX + READINGS_MAX * 1024) as u64;

/// The readings of all sensors that wait.
#[derive(Debug)]
pub(super) struct Line<T> {
    by_sensor: HashMap<u64, OfSensor<T>, RandomState>,
    /// The next turn of each sensor.
    turns: BTreeSet<(Instant, u64)>,
    count: usize,
    bytes: usize,
    /// What waits no longer, whenever its turn is.
    due: VecDeque<T>,
}

#[derive(Debug)]
struct OfSensor<T> {
    readings: VecDeque<Waiting<T>>,
    /// As many as there are readings, in order.
    turns: VecDeque<Instant>,
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
    /// Whether a reading of this series waits.
    pub(super) fn has(&self, sensor: u64, series: u64) -> bool {
        let line = self.by_sensor.get(&sensor);
        line.is_some_and(|it| it.readings.iter().any(|it| it.series == series))
    }

    /// Whether any of this sensor waits.
    pub(super) fn has_sensor(&self, sensor: u64) -> bool {
        self.by_sensor.contains_key(&sensor)
    }

    /// Whether one of so many bytes may wait.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.count < READINGS_MAX && self.bytes + bytes <= BYTES_MAX
    }

    /// One of a series of which none waits; its turn is then.
    pub(super) fn put(&mut self, (sensor, series): (u64, u64), turn: Instant, bytes: usize, it: T) {
        let empty = || OfSensor { readings: VecDeque::new(), turns: VecDeque::new() };
        let line = self.by_sensor.entry(sensor).or_insert_with(empty);
        line.readings.push_back(Waiting { series, bytes, it });
        line.turns.push_back(turn);
        if line.turns.len() == 1 {
            self.turns.insert((turn, sensor));
        }
        self.count += 1;
        self.bytes += bytes;
    }

    /// One of a series of which one waits: that leaves its place, and is returned. A longer one may have no room: then it
    /// leaves it as it is, and is the one that is returned.
    pub(super) fn replace(
        &mut self,
        (sensor, series): (u64, u64),
        bytes: usize,
        make: impl FnOnce() -> T,
    ) -> Option<T> {
        let line = self.by_sensor.get_mut(&sensor)?;
        let at = line.readings.iter().position(|it| it.series == series)?;
        let before = line.readings.get(at)?.bytes;
        if self.bytes - before + bytes > BYTES_MAX {
            return Some(make());
        }
        let gone = line.readings.remove(at)?;
        line.readings.push_back(Waiting { series, bytes, it: make() });
        self.bytes = self.bytes - before + bytes;
        Some(gone.it)
    }

    /// What has its turn by now waits no longer.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((turn, sensor)) = self.turns.pop_first() {
            if turn > now {
                self.turns.insert((turn, sensor));
                return;
            }
            self.pass(sensor);
        }
    }

    /// The first of a sensor has its turn.
    fn pass(&mut self, sensor: u64) {
        let Some(line) = self.by_sensor.get_mut(&sensor) else { return };
        line.turns.pop_front();
        if let Some(Waiting { bytes, it, .. }) = line.readings.pop_front() {
            self.count -= 1;
            self.bytes -= bytes;
            self.due.push_back(it);
        }
        match line.turns.front() {
            Some(next) => _ = self.turns.insert((*next, sensor)),
            None => _ = self.by_sensor.remove(&sensor),
        }
    }

    /// The next one that waits no longer.
    pub(super) fn take_due(&mut self) -> Option<T> {
        self.due.pop_front()
    }

    /// When the next one has its turn.
    pub(super) fn until(&self) -> Option<Instant> {
        self.turns.first().map(|(turn, _)| *turn)
    }

    /// It is the turn of all.
    pub(super) fn release(&mut self) {
        for (_, line) in self.by_sensor.drain() {
            self.due.extend(line.readings.into_iter().map(|it| it.it));
        }
        self.turns.clear();
        (self.count, self.bytes) = (0, 0);
    }

    /// All that waits, in no order.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &T> {
        let lines = self.by_sensor.values().flat_map(|it| &it.readings).map(|it| &it.it);
        lines.chain(&self.due)
    }

    /// Forgets all; returns how many there were.
    pub(super) fn clear(&mut self) -> usize {
        self.release();
        std::mem::take(&mut self.due).len()
    }
}
