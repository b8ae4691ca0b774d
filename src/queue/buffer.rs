//! The records that wait for the worker, and the choice of what to shed.
//!
//! One chunk that producers append to and the worker swaps out. A shed record stays in place as a
//! tombstone (sequence 0, which no record has) until the buffer is taken or more than half of it are
//! tombstones, so shedding costs a constant time for each record that comes.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use super::OnFull;
use crate::record::{Body, Chunk, Record, Span};
use crate::settlement::SensorIndex;

/// Bytes of a used chunk of the queue that are kept for the next; more is freed. A queue that is full with its default
/// places stays below: faulting in the pages of each chunk again took a third of the processor time of a reading.
pub const SPARE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Tombstones, and bytes of them, up to which the buffer is not rebuilt.
const TOMBSTONES_SPARED: usize = 1024;
const TOMBSTONE_BYTES_SPARED: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Buffer {
    policy: OnFull,
    chunk: Chunk,
    since: Option<Instant>,
    tombstones: usize,
    tombstone_bytes: usize,
    /// No waiting record lies before this place; none that may be shed before that one.
    waiting_from: usize,
    oldest_from: usize,
    /// `KeepLatest`: where each sensor's last record that may be shed lies, and where those lie that
    /// have a later one of the same sensor behind them, oldest first.
    latest: HashMap<SensorIndex, usize>,
    superseded: VecDeque<usize>,
    spare: Option<Chunk>,
}

impl Buffer {
    /// An empty buffer that sheds by `policy`.
    pub(super) fn new(policy: OnFull) -> Self {
        Self {
            policy,
            chunk: Chunk::default(),
            since: None,
            tombstones: 0,
            tombstone_bytes: 0,
            waiting_from: 0,
            oldest_from: 0,
            latest: HashMap::new(),
            superseded: VecDeque::new(),
            spare: None,
        }
    }

    /// It sheds by this policy from now on.
    pub(super) fn shed_by(&mut self, policy: OnFull) {
        self.policy = policy;
        self.latest.clear();
        self.superseded.clear();
        self.remember(0);
    }

    /// Waiting records.
    pub(super) fn records(&self) -> usize {
        self.chunk.records.len() - self.tombstones
    }

    /// Bytes of their text.
    pub(super) fn bytes(&self) -> usize {
        self.chunk.bytes() - self.tombstone_bytes
    }

    /// Since when the oldest has waited.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Notes that records were added; the first ones' time counts.
    pub(super) fn touched(&mut self, now: impl FnOnce() -> Instant) {
        if self.since.is_none() && !self.chunk.records.is_empty() {
            self.since = Some(now());
        }
    }

    /// Moves the first `count` records of `chunk` here.
    pub(super) fn append(&mut self, chunk: &mut Chunk, count: usize) {
        self.tidy();
        let before = self.chunk.records.len();
        if count == chunk.records.len() {
            self.chunk.append(chunk);
        } else {
            let rest = chunk.records.split_off(count);
            for record in std::mem::replace(&mut chunk.records, rest) {
                self.chunk.copy_from(chunk, &record);
            }
        }
        self.remember(before);
    }

    /// Copies one record of `from` here.
    pub(super) fn push(&mut self, from: &Chunk, record: &Record) {
        self.tidy();
        self.chunk.copy_from(from, record);
        self.remember(self.chunk.records.len() - 1);
    }

    /// Puts a reading here: its value, time and labels.
    pub(super) fn push_value(&mut self, record: &mut Record, texts: [&[u8]; 3]) {
        self.tidy();
        let [value, timestamp, labels] = texts.map(|it| self.chunk.put(it));
        record.body = Body::Reading { value, timestamp, labels, extra: Span::default() };
        self.chunk.records.push(*record);
    }

    /// Sheds the waiting record that the policy gives up for one of `sensor`: whose it was, and how
    /// many bytes. `None` when the policy gives up none.
    pub(super) fn shed_for(&mut self, sensor: SensorIndex) -> Option<(SensorIndex, usize)> {
        let at = match self.policy {
            OnFull::Wait | OnFull::ShedNewest => None,
            OnFull::ShedOldest => self.oldest(),
            OnFull::KeepLatest => {
                self.superseded().or_else(|| self.latest_of(sensor)).or_else(|| self.oldest())
            }
        }?;
        self.bury(at)
    }

    /// Makes a tombstone of a record: whose it was, and how many bytes.
    fn bury(&mut self, at: usize) -> Option<(SensorIndex, usize)> {
        let gone = self.chunk.records.get_mut(at)?;
        gone.sequence = 0;
        let gone = (gone.sensor, gone.bytes());
        self.tombstones += 1;
        self.tombstone_bytes += gone.1;
        Some(gone)
    }

    /// Takes the waiting records: all of them, or, where a policy may yet choose which to shed, only
    /// the first `records_max`.
    pub(super) fn take(&mut self, records_max: usize) -> Chunk {
        let chooses = matches!(self.policy, OnFull::ShedOldest | OnFull::KeepLatest);
        if chooses && self.records() > records_max {
            self.take_first(records_max)
        } else {
            self.take_all()
        }
    }

    /// Copies the first ones and leaves tombstones in their places.
    fn take_first(&mut self, records_max: usize) -> Chunk {
        self.tidy();
        let mut taken = self.spare.take().unwrap_or_default();
        let waiting = |(_, record): &(usize, &Record)| record.sequence != 0;
        let places = self.chunk.records.iter().enumerate().skip(self.waiting_from);
        let places: Vec<usize> =
            places.filter(waiting).map(|(at, _)| at).take(records_max).collect();
        self.waiting_from = places.last().map_or(self.waiting_from, |last| last + 1);
        for at in places {
            let Some(record) = self.chunk.records.get(at).copied() else { continue };
            taken.copy_from(&self.chunk, &record);
            self.bury(at);
        }
        taken
    }

    fn take_all(&mut self) -> Chunk {
        let spare = self.spare.take().unwrap_or_default();
        let mut chunk = std::mem::replace(&mut self.chunk, spare);
        if self.tombstones > 0 {
            chunk.records.retain(|record| record.sequence != 0);
        }
        self.since = None;
        self.forget_places();
        chunk
    }

    /// Takes the memory of a used chunk.
    pub(super) fn recycle(&mut self, chunk: Chunk) {
        if chunk.capacity_bytes() <= SPARE_BYTES_MAX {
            self.spare.get_or_insert(chunk);
        }
    }

    fn oldest(&mut self) -> Option<usize> {
        let ahead = self.chunk.records.iter().skip(self.oldest_from).position(may_be_shed)?;
        self.oldest_from += ahead;
        Some(self.oldest_from)
    }

    fn superseded(&mut self) -> Option<usize> {
        loop {
            let at = self.superseded.pop_front()?;
            if self.chunk.records.get(at).is_some_and(may_be_shed) {
                return Some(at);
            }
        }
    }

    fn latest_of(&self, sensor: SensorIndex) -> Option<usize> {
        let at = *self.latest.get(&sensor)?;
        self.chunk.records.get(at).is_some_and(may_be_shed).then_some(at)
    }

    /// Notes the records from `from` on, for the policy that wants to know.
    fn remember(&mut self, from: usize) {
        if self.policy != OnFull::KeepLatest {
            return;
        }
        for (at, record) in self.chunk.records.iter().enumerate().skip(from) {
            // In a shared row the later record is mostly another sensor's.
            if may_be_shed(record)
                && record.id.is_empty()
                && let Some(older) = self.latest.insert(record.sensor, at)
            {
                self.superseded.push_back(older);
            }
        }
    }

    /// Rebuilds the buffer when more than half of it are tombstones.
    fn tidy(&mut self) {
        let many = self.tombstones > TOMBSTONES_SPARED.max(self.records());
        let heavy = self.tombstone_bytes > TOMBSTONE_BYTES_SPARED.max(self.bytes());
        if !many && !heavy {
            return;
        }
        let mut kept = Chunk::default();
        for record in self.chunk.records.iter().filter(|record| record.sequence != 0) {
            kept.copy_from(&self.chunk, record);
        }
        self.chunk = kept;
        self.forget_places();
        self.remember(0);
    }

    fn forget_places(&mut self) {
        self.tombstones = 0;
        self.tombstone_bytes = 0;
        self.waiting_from = 0;
        self.oldest_from = 0;
        self.latest.clear();
        self.superseded.clear();
    }
}

fn may_be_shed(record: &Record) -> bool {
    record.arrival.sheddable && record.sequence != 0
}
