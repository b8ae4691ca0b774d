//! Makes the records of a message, part by part, in the chunk that carries them.
//!
//! A record is made where it stays: to move it costs more than to make it. What is known only when the whole message was
//! read, `records` adds.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::message::{Message, Whose};
use super::remembered::Remembered;
use super::{Context, unreadable, usable_id};
use crate::codec::{Malformed, Reading};
use crate::limits::{READING_OVERHEAD_BYTES, RECORD_OVERHEAD_BYTES};
use crate::record::{Body, Chunk, Record, Span};
use crate::state::registry::Row;

/// What is known of a record that the chunk has, while its message is read.
#[derive(Debug)]
pub(super) struct Part {
    /// That of the sensor which the payload names; none where it is the message's.
    pub(super) row: Option<Arc<Row>>,
    /// What is measured.
    pub(super) quantity: Span,
    pub(super) number: Option<u64>,
    pub(super) time_unused: bool,
}

/// Bytes of a message of so many readings, beside the chunk of its source, in a list that grows.
pub(super) const fn bytes_max(readings_max: usize) -> usize {
    3 * readings_max * size_of::<Part>()
}

/// Readings of a message for which an entry keeps room, and the bytes of that.
pub(super) const PARTS_KEPT: usize = 64;
pub(super) const PARTS_BYTES: usize = PARTS_KEPT * size_of::<Part>();

/// The record at this place of a chunk.
pub(super) fn record_at(chunk: &mut Chunk, at: usize) -> &mut Record {
    chunk.records.get_mut(at).expect("each part of a message has a record")
}

/// Keeps the record at this place in an earlier one, where those before it are left out.
pub(super) fn keep(chunk: &mut Chunk, at: usize, place: usize) {
    if place < at {
        *record_at(chunk, place) = *record_at(chunk, at);
    }
}

/// What records are made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Of<'m> {
    pub(super) context: &'m Context,
    pub(super) message: &'m Message<'m>,
    pub(super) whose: &'m Whose<'m>,
    /// The entry's.
    pub(super) name: &'m str,
}

impl Of<'_> {
    /// Puts the record of a reading into the chunk.
    fn take(
        &self,
        reading: &Reading<'_>,
        row: impl FnOnce(&str) -> Result<Arc<Row>, Malformed>,
        chunk: &mut Chunk,
    ) -> Result<Part, Malformed> {
        let body = self.context.body(reading)?;
        let Reading { quantity, number, time_unused, .. } = *reading;
        let Some(id) = reading.sensor else {
            self.put(self.whose, body, chunk);
            return Ok(Part { row: None, quantity, number, time_unused });
        };
        let whose = Whose::new(row(id)?, Cow::Borrowed(id));
        self.put(&whose, body, chunk);
        Ok(Part { row: Some(whose.row.into_owned()), quantity, number, time_unused })
    }

    /// Puts the dead letter of a text into the chunk that can be no reading.
    pub(super) fn refuse(&self, text: &[u8], malformed: &Malformed, chunk: &mut Chunk) -> Part {
        let body = unreadable(text, malformed, chunk);
        self.put(self.whose, body, chunk);
        Part { row: None, quantity: Span::default(), number: None, time_unused: false }
    }

    /// What is not known yet is added when the message was read as a whole.
    #[inline]
    fn put(&self, whose: &Whose<'_>, body: Body, chunk: &mut Chunk) {
        let id = whose.own_id(self.name, chunk);
        let Message { token, arrival, taken, .. } = *self.message;
        let (sensor, received, topic) = (whose.row.index, taken.wall, Span::default());
        let sequence = 0;
        chunk.records.push(Record { sensor, id, sequence, received, token, topic, arrival, body });
    }
}

/// What was made of a message so far.
pub(super) struct Made<'m> {
    pub(super) of: Of<'m>,
    pub(super) sensors: &'m mut Sensors,
    pub(super) parts: &'m mut Vec<Part>,
    /// Several readings share the text of a document.
    pub(super) splits: bool,
    /// Of all parts.
    pub(super) bytes: usize,
    /// Where the text of the last part ends.
    pub(super) end: usize,
}

impl Made<'_> {
    /// One part more, of this text of the payload. It breaks where there are too many, or too many bytes of them.
    pub(super) fn put(
        &mut self,
        text: &[u8],
        read: Result<Reading<'_>, Malformed>,
        chunk: &mut Chunk,
    ) -> ControlFlow<()> {
        let Self { of, sensors, parts, bytes, end, splits } = self;
        let taken = match read {
            Ok(ref reading) => of.take(reading, |id| sensors.row(id, of.context), chunk),
            Err(malformed) => Err(malformed),
        };
        let part = taken.unwrap_or_else(|malformed| {
            if !*splits {
                chunk.take_back(*end);
            }
            of.refuse(text, &malformed, chunk)
        });
        *bytes += chunk.records.last().map_or(0, |record| record.body.bytes());
        *end = chunk.bytes();
        parts.push(part);
        // As many bytes as a reading may have, and what each further one may have beside.
        let beside = RECORD_OVERHEAD_BYTES + (parts.len() - 1) * READING_OVERHEAD_BYTES;
        let bytes_max = of.context.record_bytes_max + beside;
        let is_within = parts.len() <= of.context.readings_max && *bytes <= bytes_max;
        if is_within { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}

/// The rows of the sensors that payloads name, and of the entry itself.
#[derive(Debug)]
pub(super) struct Sensors {
    pub(super) by_id: Remembered<str>,
    pub(super) own: Option<Arc<Row>>,
}

impl Sensors {
    fn row(&mut self, id: &str, context: &Context) -> Result<Arc<Row>, Malformed> {
        if let Some(row) = self.by_id.get(id) {
            return Ok(Arc::clone(row));
        }
        let row = context.row(usable_id(id.as_bytes())?);
        self.by_id.put(id, &row);
        Ok(row)
    }

    /// The row is made when it is needed: an entry whose sensors are all named by their topic takes none of
    /// `gateway.sensors_max`.
    pub(super) fn own(&mut self, name: &str, context: &Context) -> Arc<Row> {
        let own = self.own.take().filter(|row| !row.is_forgotten());
        Arc::clone(self.own.insert(own.unwrap_or_else(|| context.row(name))))
    }
}
