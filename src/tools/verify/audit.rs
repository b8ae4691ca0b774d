//! Compares the numbers that arrived, sensor by sensor, in bounded memory. Pure.
//!
//! A sensor is an id of an entry: where several entries take readings of one id, the first of them has the id,
//! and the others `id (entry)`.
//!
//! A batch that arrived before is dropped first, as every consumer must do. A record that is repeated after
//! that is a real duplicate. Numbers are the sensor's own, if records have them. Until the first record has
//! one, the gateway's `sequence` is used; after it, records without a number are unnumbered. A record without
//! either cannot be judged: the gateway had no row for its sensor (`gateway.sensors_max`). A `sequence` that is 1 again
//! begins anew behind what came before: the gateway was started again, or had forgotten the sensor.
//!
//! A reading that became a dead letter is not missing. If the dead letter shows the sensor's own number, that
//! number is accounted for. If not, the dead letter stands for one unknown number of its sensor. Dead letters
//! have another topic than batches, so their order is not judged.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;

use super::batch::{self, Record, SeenBatches};
use super::latency::Latency;
use super::letter::{Letter, letters};
use super::numbers::Numbers;
use crate::clock::Timestamp;
use crate::codec::Format;
use crate::limits::SENSOR_ID_BYTES_MAX;
use crate::mqtt::publish::{Publish, user_property};
use crate::text;

/// Reasons of dead letters that are counted apart, [`text::SHOWN_BYTES_MAX`] bytes of each. Further ones count
/// as `(others)`.
const REASONS_MAX: usize = 64;

/// Bytes of an id here: of a sensor's id, and of its entry's name behind it.
const ID_BYTES_MAX: usize = SENSOR_ID_BYTES_MAX + 70;

#[derive(Debug, Clone, Default)]
pub struct Sensor {
    /// The entry of the first record or dead letter that named one.
    entry: Option<Box<str>>,
    /// The numbers that arrived in records or, with [`Audit::is_numbered`], in dead letters.
    pub numbers: Numbers,
    /// The highest that arrived in a record.
    highest: u64,
    /// The highest that had arrived when the gateway's `sequence` began anew: it counts from there.
    before: u64,
    /// Numbers that arrived in dead letters before the first record had one.
    early: Numbers,
    /// Records, without those of repeated batches.
    pub records: u64,
    /// Records whose number had arrived before.
    pub duplicated: u64,
    /// Numbers that arrived first after a higher one.
    pub reordered: u64,
    /// Records above `late_ms`.
    pub late: u64,
    /// Dead letters, without those whose number had arrived before.
    pub dead_lettered: u64,
    /// Of these, those without a number.
    pub dead_unnumbered: u64,
    /// Dead letters whose number had arrived before.
    pub dead_repeated: u64,
}

/// What a line of a file was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// A line, whatever it holds.
    Whole,
    /// The beginning of one.
    Half,
}

/// The rules of an audit.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The member that holds the sensor's own number.
    pub member: String,
    /// The expected format; others are read too.
    pub format: Format,
    /// Sensors that are counted, at most.
    pub sensors_max: usize,
    /// A latency above this is late, in milliseconds.
    pub late_ms: Option<u64>,
    /// Bytes of a batch, at most: no more is unpacked of one that is compressed.
    pub batch_bytes_max: usize,
}

/// Everything that arrived.
#[derive(Debug)]
pub struct Audit {
    rules: Rules,
    seen: SeenBatches,
    pub sensors: HashMap<Box<str>, Sensor, RandomState>,
    /// A record had a number of its own.
    pub is_numbered: bool,
    /// Batches, each counted once.
    pub batches: u64,
    pub repeated_batches: u64,
    /// Records, without those of repeated batches.
    pub records: u64,
    /// Messages on the output topic, or lines, that are not a batch.
    pub unreadable: u64,
    /// Records without a sensor or a number.
    pub unnumbered: u64,
    /// Records without a time that can be read.
    pub untimed: u64,
    /// The earliest time in a record.
    pub oldest: Option<Timestamp>,
    /// Times that the gateway's `sequence` of a sensor began anew.
    pub begun_anew: u64,
    /// Records of sensors beyond `sensors_max`: not judged.
    pub unjudged: u64,
    /// Records of sensors beyond the gateway's own `sensors_max`, without a number: not judged either.
    pub unsequenced: u64,
    /// Retained messages: from before, not judged.
    pub retained: u64,
    /// Dead letters, by reason.
    pub dead_letters: BTreeMap<String, u64>,
    /// From the time of a record to its arrival, where that is known.
    pub latency: Latency,
}

impl Audit {
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            seen: SeenBatches::default(),
            sensors: HashMap::default(),
            is_numbered: false,
            batches: 0,
            repeated_batches: 0,
            records: 0,
            unreadable: 0,
            unnumbered: 0,
            untimed: 0,
            oldest: None,
            begun_anew: 0,
            unjudged: 0,
            unsequenced: 0,
            retained: 0,
            dead_letters: BTreeMap::new(),
            latency: Latency::default(),
        }
    }

    /// Whether late readings are counted.
    pub fn tells_late(&self) -> bool {
        self.rules.late_ms.is_some()
    }

    /// Takes a message of the output topic.
    pub fn take_batch(&mut self, publish: &Publish<'_>, arrived: Timestamp) {
        if publish.retain {
            self.retained += 1;
            return;
        }
        if publish.cut.is_some() {
            self.unreadable += 1;
            return;
        }
        let Some(payload) = batch::text(publish.payload, self.rules.batch_bytes_max) else {
            self.unreadable += 1;
            return;
        };
        let records = batch::records(&payload, self.rules.format);
        let id = user_property(publish.properties, "batch");
        self.take_records(&records, &payload, id, Some(arrived));
    }

    /// Takes a line of a file: a batch, a record or dead letters.
    pub fn take_line(&mut self, line: &[u8]) -> Taken {
        if line.trim_ascii().is_empty() {
            return Taken::Whole;
        }
        let records = batch::records(line, self.rules.format);
        let member = self.rules.member.clone();
        // Letters in an array are no records, although they name a sensor.
        let first = records.first().map_or(line, |it| &**it);
        if letters(first, &member).iter().any(Option::is_some) {
            for letter in letters(line, &member) {
                self.count_letter(letter);
            }
            return Taken::Whole;
        }
        // In half a line one format finds a record: the one whose records are lines.
        if records.len() < 2 && batch::ends_early(line) {
            return Taken::Half;
        }
        self.take_records(&records, line, None, None);
        Taken::Whole
    }

    /// Takes the records of a text, unless it has come before.
    fn take_records(
        &mut self,
        records: &[Cow<'_, [u8]>],
        text: &[u8],
        id: Option<&[u8]>,
        arrived: Option<Timestamp>,
    ) {
        if records.is_empty() {
            self.unreadable += 1;
            return;
        }
        if self.seen.is_repeated(id, text) {
            self.repeated_batches += 1;
            return;
        }
        self.batches += 1;
        for raw in records {
            self.records += 1;
            match batch::record(raw, &self.rules.member) {
                Some(record) => self.take(&record, arrived),
                None => self.unnumbered += 1,
            }
        }
    }

    /// Takes a message of the dead-letter topic: one dead letter, or several.
    pub fn take_letter(&mut self, publish: &Publish<'_>) {
        if publish.retain {
            self.retained += 1;
            return;
        }
        let member = self.rules.member.clone();
        for letter in letters(publish.payload, &member) {
            self.count_letter(letter);
        }
    }

    fn count_letter(&mut self, letter: Option<Letter<'_>>) {
        let reason = letter.as_ref().map_or("(unreadable)", |it| &*it.reason);
        let reason = &*text::shown(reason);
        let is_other =
            self.dead_letters.len() >= REASONS_MAX && !self.dead_letters.contains_key(reason);
        let reason = if is_other { "(others)" } else { reason };
        *self.dead_letters.entry(reason.to_owned()).or_default() += 1;
        if let Some(Letter { sensor: Some(id), entry, number, .. }) = letter {
            let is_numbered = self.is_numbered;
            let id = self.id_of(&id, entry.as_deref());
            // Beyond `sensors_max` there are no numbers that it could account for.
            if let Some(sensor) = self.sensor(&id) {
                sensor.take_letter(number.filter(|it| *it > 0), is_numbered);
            }
        }
    }

    /// The row of this sensor; `None` beyond `sensors_max`.
    fn sensor(&mut self, id: &str) -> Option<&mut Sensor> {
        if !self.sensors.contains_key(id) {
            if self.sensors.len() >= self.rules.sensors_max || id.len() > ID_BYTES_MAX {
                return None;
            }
            self.sensors.insert(id.into(), Sensor::default());
        }
        self.sensors.get_mut(id)
    }

    /// The id that the sensor of a record or a dead letter has here.
    fn id_of<'a>(&mut self, id: &'a str, entry: Option<&str>) -> Cow<'a, str> {
        let Some(entry) = entry else { return Cow::Borrowed(id) };
        let Some(sensor) = self.sensor(id) else { return Cow::Borrowed(id) };
        if **sensor.entry.get_or_insert_with(|| entry.into()) == *entry {
            return Cow::Borrowed(id);
        }
        Cow::Owned(format!("{id} ({entry})"))
    }

    fn take(&mut self, record: &Record<'_>, arrived: Option<Timestamp>) {
        let times = record.timestamp.zip(arrived);
        let latency = times.map(|(taken, arrived)| self.latency.take(taken, arrived));
        self.untimed += u64::from(record.timestamp.is_none());
        self.oldest = [self.oldest, record.timestamp].into_iter().flatten().min();
        if record.number.is_some() && !self.is_numbered {
            self.is_numbered = true;
            self.unnumbered += self.sensors.values().map(|it| it.records).sum::<u64>();
            self.unnumbered += std::mem::take(&mut self.unsequenced);
            self.sensors.values_mut().for_each(Sensor::begin_anew);
        }
        if !self.is_numbered && record.sequence.is_none() {
            self.unsequenced += 1;
            return;
        }
        let number = if self.is_numbered { record.number } else { record.sequence };
        let usable = record.sensor.len() <= SENSOR_ID_BYTES_MAX;
        let Some(number) = number.filter(|number| *number > 0 && usable) else {
            self.unnumbered += 1;
            return;
        };
        let is_late = latency.zip(self.rules.late_ms).is_some_and(|(it, most)| it > most);
        let id = self.id_of(&record.sensor, record.entry.as_deref());
        let by_sequence = !self.is_numbered;
        let Some(sensor) = self.sensor(&id) else {
            self.unjudged += 1;
            return;
        };
        let begins = by_sequence && number == 1 && sensor.highest > 1;
        if begins {
            sensor.before = sensor.highest;
        }
        sensor.take(number.saturating_add(sensor.before), is_late);
        self.begun_anew += u64::from(begins);
    }
}

impl Sensor {
    fn take(&mut self, number: u64, is_late: bool) {
        self.records += 1;
        self.late += u64::from(is_late);
        if !self.numbers.insert(number) {
            self.duplicated += 1;
        } else if number < self.highest {
            self.reordered += 1;
        }
        self.highest = self.highest.max(number);
    }

    fn take_letter(&mut self, number: Option<u64>, is_numbered: bool) {
        let numbers = if is_numbered { &mut self.numbers } else { &mut self.early };
        let is_new = number.is_none_or(|number| numbers.insert(number));
        self.dead_lettered += u64::from(is_new);
        self.dead_repeated += u64::from(!is_new);
        self.dead_unnumbered += u64::from(number.is_none());
    }

    /// Forgets what was counted by `sequence`.
    fn begin_anew(&mut self) {
        let (numbers, dead) = (std::mem::take(&mut self.early), self.dead_lettered);
        let Self { dead_unnumbered, dead_repeated, .. } = *self;
        let entry = self.entry.take();
        *self = Self {
            entry,
            numbers,
            dead_lettered: dead,
            dead_unnumbered,
            dead_repeated,
            ..Self::default()
        };
    }
}
