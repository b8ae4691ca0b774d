//! The rows that a source keeps at hand, by topic or by id.
//!
//! A row that is shared is not remembered: what somebody invents takes no place from those who have one. A row that was
//! forgotten is as if it were not here; they are removed before there are many.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::state::registry::Row;

/// Of the rows that a source may remember, one in so many may be a forgotten one.
pub(super) const FORGOTTEN_IN: usize = 16;

/// Rows, each by a key.
#[derive(Debug)]
pub(super) struct Remembered<K: ?Sized> {
    max: usize,
    rows: HashMap<Box<K>, Arc<Row>, RandomState>,
    /// Sensors of the entry that had been forgotten when it was looked for their rows.
    forgotten: u64,
}

impl<K: Eq + Hash + ?Sized> Remembered<K>
where
    Box<K>: Borrow<K> + for<'k> From<&'k K>,
{
    /// At most so many.
    pub(super) fn new(max: usize) -> Self {
        Self { max, rows: HashMap::default(), forgotten: 0 }
    }

    /// The row of this key.
    #[inline]
    pub(super) fn get(&self, key: &K) -> Option<&Arc<Row>> {
        self.rows.get(key).filter(|row| !row.is_forgotten())
    }

    /// Remembers it, where there is room.
    pub(super) fn put(&mut self, key: &K, row: &Arc<Row>) {
        let forgotten = row.forgotten_beside();
        if forgotten - self.forgotten > (self.max / FORGOTTEN_IN) as u64 {
            self.forgotten = forgotten;
            self.rows.retain(|_, row| !row.is_forgotten());
        }
        if !row.is_shared() && (self.rows.len() < self.max || self.rows.contains_key(key)) {
            self.rows.insert(key.into(), Arc::clone(row));
        }
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::settlement::Outcome;
    use crate::state::metrics::Metrics;
    use crate::state::registry::Registry;

    #[test]
    fn a_row_that_was_forgotten_is_not_found_and_that_of_a_further_sensor_is_not_kept() {
        let registry = Registry::new(1, [("fleet", None)]);
        let mut rows = Remembered::new(99);
        let row = registry.row_of("a", 0);
        row.receive(Timestamp::from_millis(1));
        registry.enter(&Metrics::default(), &[row.index], Outcome::Delivered);
        rows.put("a", &row);
        assert_eq!(rows.get("a").map(|it| it.id()), Some("a"));
        rows.put("b", &registry.row_of("b", 0));
        assert_eq!((rows.get("a").is_none(), rows.get("b").is_some()), (true, true));
        rows.put("c", &registry.row_of("c", 0));
        assert!(rows.get("c").is_none(), "it shares a row");
    }
}
