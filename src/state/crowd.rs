//! Whether an entry has more sensors than `gateway.sensors_max` leaves it.
//!
//! Nothing is lost then: such records keep their sensor's id, without a `sequence`. But somebody should
//! know, because ids that a device invents take rows from the entry's own later sensors. It is told for
//! as long as such records come, and for a minute after the last.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::books::Books;
use crate::repeat::Repeated;

/// How long it is told after the last such record.
const AFTERWARDS: Duration = Duration::from_mins(1);

/// Looks at the entries.
#[derive(Debug)]
pub struct Crowd {
    sensors_max: u32,
    /// Those of which one has been seen without a row, by place.
    entries: BTreeMap<u32, Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    /// Records of its sensors without a row, and when another one was seen.
    records: u64,
    last: Option<Instant>,
    said: Repeated,
}

impl Crowd {
    /// Of a gateway with this `gateway.sensors_max`.
    pub const fn new(sensors_max: u32) -> Self {
        Self { sensors_max, entries: BTreeMap::new() }
    }

    /// What is to be said of the first entry that has too many sensors; each is warned of.
    pub fn judge(&mut self, books: &Books, now: Instant) -> Option<String> {
        let mut told = None;
        for (entry, sensors, records) in books.registry.crowded() {
            let seen = self.entries.entry(entry).or_default();
            let comes = records > seen.records;
            if comes {
                (seen.records, seen.last) = (records, Some(now));
            }
            if seen.last.is_none_or(|last| now.saturating_duration_since(last) >= AFTERWARDS) {
                continue;
            }
            let (name, max) = (books.registry.entry_name(entry), self.sensors_max);
            let name = name.expect("a crowded entry was added");
            let text = format!(
                "entry {name} has {sensors} sensors, all that gateway.sensors_max = {max} leaves it, and \
                 {records} readings came of further ones: they keep their ids and have no sequence; raise \
                 it, or find out who invents ids"
            );
            if comes && let Some(left_out) = seen.said.due(now) {
                tracing::warn!(entry = name, sensors, readings = records, left_out, "{text}");
            }
            told.get_or_insert(text);
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{self, Timestamp};

    #[test]
    fn an_entry_with_more_sensors_than_rows_is_told_while_they_come() {
        let books = Books::of_entries(4, &["calm", "fleet"]);
        let (start, mut crowd) = (clock::now().instant, Crowd::new(4));
        let mut look = |seconds| crowd.judge(&books, start + Duration::from_secs(seconds));
        let came = |id: &str, entry| {
            books.registry.row_of(id, entry).receive(Timestamp::from_millis(7));
        };
        for id in ["a", "b", "c"] {
            came(id, 1);
        }
        assert_eq!(look(0), None, "each has a row");
        came("d", 1);
        came("e", 1);
        let text = look(1).unwrap();
        let words =
            "entry fleet has 3 sensors, all that gateway.sensors_max = 4 leaves it, and 2 readings";
        assert!(text.starts_with(words), "{text}");
        came("mine", 0);
        assert!(!books.registry.row_of("mine", 0).is_shared(), "the share of the other entry");
        assert!(look(60).is_some());
        assert_eq!(look(61), None, "long ago");
        came("d", 1);
        assert!(look(62).unwrap().contains("and 3 readings"));
        for id in ["mine", "mine too", "mine three", "mine four"] {
            came(id, 0);
        }
        assert!(look(63).unwrap().starts_with("entry calm has"), "the first of two");
    }
}
