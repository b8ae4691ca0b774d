//! The last warnings and errors of the log, for whoever looks from outside.
//!
//! The log puts them here beside its lines: what `log.level` leaves out is not here either.

use serde_json::{Map, Value};

use super::recent::Kept;
use crate::clock::Timestamp;

/// Warnings and errors that are shown. Of more, the oldest are left out.
const WARNINGS_SHOWN_MAX: usize = 100;

/// Bytes of those; at this limit they are fewer.
const WARNINGS_SHOWN_BYTES_MAX: usize = 128 * 1024;

/// Bytes of a message, and of the text of a field. The rest is cut off.
pub const SAID_TEXT_BYTES_MAX: usize = 1024;

/// Bytes of a warning, and of a field, beside their texts, with what the allocator and the list add.
const WARNING_BYTES: usize = 256;
const FIELD_BYTES: usize = 192;

/// A line of the log.
#[derive(Debug)]
pub struct Warning {
    pub at: Timestamp,
    /// `WARN` or `ERROR`.
    pub level: &'static str,
    pub message: String,
    pub fields: Map<String, Value>,
}

impl Kept for Warning {
    const ITEMS_MAX: usize = WARNINGS_SHOWN_MAX;
    const BYTES_MAX: usize = WARNINGS_SHOWN_BYTES_MAX;

    fn bytes(&self) -> usize {
        let text = |value: &Value| value.as_str().map_or(0, str::len);
        let fields = self.fields.iter().map(|(name, it)| FIELD_BYTES + name.len() + text(it));
        WARNING_BYTES + self.message.len() + fields.sum::<usize>()
    }
}
