//! What a record is written of, and what a dead letter is made of.

use crate::clock::Timestamp;
use crate::codec::{View, Whose};
use crate::record::{Body, Chunk, Reason, Record};
use crate::state::letters::{Letter, head};
use crate::state::registry::Row;
use crate::state::tally::Cause;

/// What a dead letter is made of.
#[derive(Debug, Clone, Copy)]
pub struct Content<'a> {
    pub reason: Reason,
    /// Where and what.
    pub detail: &'a [u8],
    /// The sensor's id, where it has no row of its own; empty: the row has it.
    pub id: &'a [u8],
    pub topic: &'a [u8],
    /// The payload or its head.
    pub payload: &'a [u8],
}

impl<'a> Content<'a> {
    /// The id of the sensor whose books are in `row`.
    pub fn sensor(&self, row: &'a Row) -> &'a str {
        let own = std::str::from_utf8(self.id).ok().filter(|id| !id.is_empty());
        own.unwrap_or(row.id())
    }

    /// The cause of a dead letter of this sensor.
    pub fn cause(&self, row: &Row) -> Cause {
        let Self { reason, detail, topic, .. } = self;
        Cause::new(reason.as_str(), self.sensor(row), row.entry(), detail, topic)
    }

    /// What is shown of a dead letter of this sensor, taken at `at`.
    pub fn shown(&self, row: &Row, at: Timestamp) -> Letter {
        Letter {
            at,
            entry: row.entry(),
            sensor: self.sensor(row).into(),
            reason: self.reason.as_str(),
            detail: head(self.detail),
            topic: head(self.topic),
            payload: head(self.payload),
            payload_bytes: self.payload.len(),
        }
    }
}

/// What a reading is written of now; `None` for what is no reading.
pub fn view<'a>(
    record: &Record,
    row: &'a Row,
    chunk: &'a Chunk,
    now: Timestamp,
) -> Option<View<'a>> {
    let Body::Reading { value, timestamp, labels, extra } = record.body else { return None };
    let sensor = if record.id.is_empty() {
        Whose::Counted(row.json(), record.sequence)
    } else {
        Whose::Uncounted(chunk.text(record.id))
    };
    Some(View {
        sensor,
        entry: row.entry_json(),
        value: chunk.text(value),
        timestamp: chunk.text(timestamp),
        received: record.received,
        labels: chunk.text(labels),
        topic: chunk.text(record.topic),
        extra: chunk.text(extra),
        arrival: record.arrival,
        expires: record.arrival.expiry.at(record.received).map(|at| (at, at <= now)),
    })
}
