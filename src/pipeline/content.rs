//! What a dead letter is made of.

use crate::record::Reason;
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
        own.unwrap_or(&row.id)
    }

    /// The cause of a dead letter of this sensor.
    pub fn cause(&self, row: &Row) -> Cause {
        let Self { reason, detail, topic, .. } = self;
        Cause::new(reason.as_str(), self.sensor(row), row.entry(), detail, topic)
    }
}
