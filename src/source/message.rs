//! A message that came, or a line, and whose it is.

use std::borrow::Cow;
use std::sync::Arc;

use crate::clock::Now;
use crate::record::{Arrival, Chunk, Span};
use crate::settlement::Token;
use crate::state::registry::Row;

/// Whose a message is.
#[derive(Debug)]
pub(super) struct Whose<'a> {
    /// Where it is counted; borrowed of who remembers it, since to count who has a row costs more than to find it.
    pub(super) row: Cow<'a, Arc<Row>>,
    /// The sensor's id, where the row is shared; without one there it is the entry's own.
    pub(super) id: Option<Cow<'a, str>>,
}

impl<'a> Whose<'a> {
    pub(super) fn new(row: Arc<Row>, id: Cow<'a, str>) -> Self {
        let id = row.is_shared().then_some(id);
        Self { row: Cow::Owned(row), id }
    }

    /// The id that a record has beside its row: that of a sensor without a row of its own.
    pub(super) fn own_id(&self, entry: &str, chunk: &mut Chunk) -> Span {
        if !self.row.is_shared() {
            return Span::default();
        }
        chunk.put(self.id.as_deref().unwrap_or(entry).as_bytes())
    }

    /// That of a row which is remembered: it is the sensor's own.
    pub(super) fn known(row: &'a Arc<Row>) -> Self {
        Self { row: Cow::Borrowed(row), id: None }
    }
}

/// A message, or a line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) payload: &'a [u8],
    /// Empty where it came on none.
    pub(super) topic: &'a [u8],
    /// The way back of its first reading; the next ones follow it.
    pub(super) token: Token,
    /// How it came.
    pub(super) arrival: Arrival,
    /// What the sender wrote beside it, by name (MQTT 5).
    pub(super) properties: &'a [(&'a str, &'a str)],
    /// The broker marks it as sent before.
    pub(super) repeated: bool,
    pub(super) taken: Now,
}
