//! The rows that the worker keeps at hand, by index.
//!
//! A record's row is lent, never cloned: the count of who has a row stands beside what the intakes' thread writes for
//! each reading, and two threads that write there wait for one another.

use std::sync::Arc;

use crate::record::Record;
use crate::state::registry::{Registry, Row};

/// Rows by index, added to when a new sensor appears.
#[derive(Debug, Default)]
pub(super) struct Rows(Vec<Arc<Row>>);

impl Rows {
    /// That of a record's sensor.
    #[inline]
    pub(super) fn of(&mut self, record: &Record, registry: &Registry) -> &Arc<Row> {
        let index = record.sensor.0 as usize;
        if self.0.get(index).is_none_or(|row| row.is_forgotten()) {
            registry.with_rows(|all| renew(&mut self.0, all, index));
        }
        self.0.get(index).expect("a record's sensor is in the registry before the record is made")
    }
}

/// Adds the rows that have come since, and renews the one at this place: its sensor may be another one.
#[cold]
fn renew(rows: &mut Vec<Arc<Row>>, all: &[Arc<Row>], index: usize) {
    rows.extend(all.iter().skip(rows.len()).cloned());
    if let Some((row, now)) = rows.get_mut(index).zip(all.get(index)) {
        row.clone_from(now);
    }
}
