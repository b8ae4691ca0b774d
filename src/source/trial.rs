//! What an entry makes of a message or of lines, with nothing running: for `sluicegate explain`.

use std::sync::Arc;

use super::Context;
use super::lines::{Reader, lines_of};
use crate::clock::{Now, Timestamp};
use crate::codec::Payload;
use crate::codec::mapping::Document;
use crate::codec::mapping::settings::Settings;
use crate::codec::mapping::time_told::{TimeTold, TimesTold};
use crate::queue::OnFull;
use crate::record::Chunk;
use crate::state::metrics::Metrics;
use crate::state::registry::Registry;

/// The limits of a message.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// `queue.record_bytes_max`.
    pub record_bytes_max: usize,
    /// `queue.readings_max`.
    pub readings_max: usize,
    /// `gateway.sensors_max`.
    pub sensors_max: usize,
}

/// What was made.
#[derive(Debug)]
pub struct Trial {
    /// The records, those that are dead letters among them.
    pub chunk: Chunk,
    /// Of each record: which time it has, and why; absent where it was not made of a document.
    pub times: Vec<Option<TimeTold>>,
    /// Their sensors.
    pub registry: Arc<Registry>,
    /// What was counted.
    pub metrics: Arc<Metrics>,
}

impl Trial {
    /// Before anything was made, and what a reader of the entry of this name is given.
    pub(super) fn begin(name: &str, limits: Limits) -> (Self, Context) {
        let registry = Arc::new(Registry::new(limits.sensors_max, [(name, None)]));
        let metrics: Arc<Metrics> = Arc::default();
        let context = Context {
            entry: 0,
            run: "".into(),
            registry: Arc::clone(&registry),
            metrics: Arc::clone(&metrics),
            pace: Arc::default(),
            on_full: OnFull::Wait,
            record_bytes_max: limits.record_bytes_max,
            readings_max: limits.readings_max,
            folder: None,
            listening: Arc::default(),
        };
        (Self { chunk: Chunk::default(), times: Vec::new(), registry, metrics }, context)
    }
}

/// Tells the time of what it is shown.
pub(super) fn telling<'t>(
    told: &'t TimesTold,
    times: &'t mut Vec<Option<TimeTold>>,
    received: Timestamp,
) -> impl FnMut(Option<Document<'_>>, Option<&str>) + 't {
    move |document: Option<Document<'_>>, part: Option<&str>| {
        times.push(document.map(|it| told.tell(it, part, received)));
    }
}

/// The numbers of lines, from 1.
#[derive(Debug, Default)]
pub struct LineNumbers {
    /// Of each record.
    pub records: Vec<u64>,
    /// Of lines that were read and made no record.
    pub skipped: Vec<u64>,
}

/// What the entry of this name makes of lines that it reads now, one after the other.
pub fn lines(
    name: &str,
    (payload, settings): (&Payload, &Settings),
    limits: Limits,
    text: &[u8],
    now: Now,
) -> (Trial, LineNumbers) {
    let (mut trial, context) = Trial::begin(name, limits);
    let mut reader = Reader::new(name, payload, settings, &context);
    let told = payload.times_told(settings);
    let mut numbers = LineNumbers::default();
    for (line, number) in lines_of(text, limits.record_bytes_max).zip(1..) {
        let Trial { chunk, times, .. } = &mut trial;
        let before = chunk.records.len();
        let is_read = reader.take(&line, now, chunk, Some(&mut telling(&told, times, now.wall)));
        if is_read && chunk.records.len() == before {
            numbers.skipped.push(number);
        }
        numbers.records.resize(chunk.records.len(), number);
        // A line that was refused as a whole was not read, or in vain.
        times.resize(chunk.records.len(), None);
    }
    (trial, numbers)
}
