//! The head of an entry of the spool: what is written beside a batch, and what makes it a publication again.
//!
//! Format, version 1: a JSON object. `batch` names the batch (absent for dead letters), `letters` a batch of
//! dead letters (absent where an older program wrote a single one), `sensors` lists ids, `entries` names the
//! entry of each (absent where an older program wrote it, an empty name where it is of none), `runs` says whose
//! the records are, in order: pairs of a place in `sensors` and a count. The message itself is the
//! entry's body, byte for byte: it is published again as it was, to the topic that the settings name then.

use std::collections::HashMap;
use std::iter::repeat_n;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::books::Books;
use super::in_flight::InFlight;
use crate::clock::Timestamp;
use crate::codec::Format;
use crate::plan::Plan;
use crate::registry::Row;
use crate::sealed::{Kind, Route, Sealed};
use crate::settlement::SensorIndex;
use crate::spool::{Entry, Key};

/// The head of an entry.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct EntryHead {
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<Batch>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    letters: Option<String>,
    sensors: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    entries: Vec<String>,
    runs: Vec<(u32, u32)>,
}

#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
struct Batch {
    gateway: String,
    id: String,
    /// Milliseconds since 1970.
    sealed_at: u64,
    format: Format,
}

impl EntryHead {
    /// The entry of a publication.
    pub fn entry(flight: &InFlight, books: &Books) -> Entry {
        let sensors = flight.sensors();
        let head = Self::new(flight.sealed(), sensors, books);
        Entry {
            records: u32::try_from(sensors.len()).expect("batch.records_max is a u32"),
            head: serde_json::to_vec(&head).expect("text and numbers can be written"),
            body: flight.sealed().text.clone(),
        }
    }

    /// The publication of an entry; `None` for a head that this program did not write.
    pub fn flight(
        entry: Entry,
        key: Key,
        plan: &Plan,
        books: &Books,
        since: Instant,
    ) -> Option<InFlight> {
        let head: Self = serde_json::from_slice(&entry.head).ok()?;
        let sensors = head.indexes(entry.records, books)?;
        let count = sensors.len();
        let sealed = head.sealed(&plan.gateway.id, count, entry.body);
        Some(InFlight::from_spool(sealed, key, sensors, since))
    }

    /// Enters the records of an earlier run's entry in the books, as held.
    pub fn recover(head: &[u8], records: u32, books: &Books) {
        let Ok(entry) = serde_json::from_slice::<Self>(head) else {
            return books.recovered(UNKNOWN, None, u64::from(records));
        };
        let mut left = records;
        for (sensor, count) in &entry.runs {
            let sensor = *sensor as usize;
            let id = entry.sensors.get(sensor).map_or(UNKNOWN, String::as_str);
            let count = left.min(*count);
            left -= count;
            books.recovered(id, entry.entry_of(sensor), u64::from(count));
        }
        books.recovered(UNKNOWN, None, u64::from(left));
    }

    fn new(sealed: &Sealed, sensors: &[SensorIndex], books: &Books) -> Self {
        let mut places: HashMap<SensorIndex, u32> = HashMap::new();
        let id = sealed.id.clone();
        let (batch, letters) = match sealed.kind {
            Kind::Readings { format, sealed_at, .. } => {
                let (gateway, sealed_at) = (sealed.gateway.clone(), sealed_at.millis());
                (Some(Batch { gateway, id, sealed_at, format }), None)
            }
            Kind::DeadLetters => (None, Some(id).filter(|it| !it.is_empty())),
        };
        let (ids, entries, runs) = (Vec::new(), Vec::new(), Vec::new());
        let mut head = Self { batch, letters, sensors: ids, entries, runs };
        books.registry.with_rows(|rows| {
            for sensor in sensors {
                let known = u32::try_from(places.len()).expect("as many as records");
                let place = *places.entry(*sensor).or_insert(known);
                let row = rows.get(sensor.0 as usize).expect("every sensor has a row");
                let new = (place == known).then_some(row);
                let entry = |row: &Arc<Row>| row.entry_name().unwrap_or_default().to_owned();
                head.sensors.extend(new.map(|row| row.id.to_string()));
                head.entries.extend(new.map(entry));
                match head.runs.last_mut() {
                    Some((last, count)) if *last == place => *count += 1,
                    _ => head.runs.push((place, 1)),
                }
            }
        });
        head
    }

    /// The batch as it was; dead letters are this gateway's.
    fn sealed(self, gateway: &str, count: usize, text: Bytes) -> Sealed {
        let (gateway, id, kind) = match self.batch {
            Some(Batch { gateway, id, sealed_at, format }) => {
                let sealed_at = Timestamp::from_millis(sealed_at);
                (gateway, id, Kind::Readings { route: Route::output(), format, sealed_at })
            }
            None => (gateway.to_owned(), self.letters.unwrap_or_default(), Kind::DeadLetters),
        };
        Sealed { gateway, id, kind, count, text, places: None }
    }

    /// The name of the entry of the sensor at this place in the list.
    fn entry_of(&self, sensor: usize) -> Option<&str> {
        self.entries.get(sensor).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// The sensor of each of so many records, by its index in this run.
    fn indexes(&self, records: u32, books: &Books) -> Option<Box<[SensorIndex]>> {
        let count = self.runs.iter().map(|(_, count)| u64::from(*count)).sum::<u64>();
        if count != u64::from(records) {
            return None;
        }
        let known: Vec<SensorIndex> = (0..)
            .zip(&self.sensors)
            .map(|(at, id)| books.registry.row_left(id, self.entry_of(at)).index)
            .collect();
        let mut indexes = Vec::new();
        for (place, count) in &self.runs {
            indexes.extend(repeat_n(*known.get(*place as usize)?, *count as usize));
        }
        Some(indexes.into())
    }
}

/// The sensor of records whose head says none.
const UNKNOWN: &str = "(unknown)";

#[cfg(test)]
mod tests {
    use super::*;

    fn indexes(records: u32, runs: &str) -> Option<Vec<u32>> {
        let books = Books::new(&Plan::default(), Arc::default());
        let head = format!(r#"{{"sensors":["a","b"],"runs":{runs}}}"#);
        let head: EntryHead = serde_json::from_str(&head).unwrap();
        head.indexes(records, &books).map(|it| it.iter().map(|index| index.0).collect())
    }

    #[test]
    fn a_head_names_the_sensor_of_each_record() {
        assert_eq!(indexes(4, "[[0,1],[1,2],[0,1]]"), Some(vec![0, 1, 1, 0]));
        assert_eq!(indexes(0, "[]"), Some(vec![]));
    }

    /// The length is compared before anything is made of that length.
    #[test]
    fn a_head_that_is_not_of_its_entry_is_refused() {
        assert_eq!(indexes(3, "[[0,2]]"), None, "too few");
        assert_eq!(indexes(3, "[[0,4294967295],[1,4]]"), None, "the sum does not wrap");
        assert_eq!(indexes(2, "[[0,1],[2,1]]"), None, "a sensor that it does not list");
    }

    #[test]
    fn a_sensor_is_recovered_for_the_entry_that_took_its_readings() {
        let mut plan = Plan::default();
        let intake = serde_json::from_str(r#"{"topic":"t"}"#).unwrap();
        plan.sensors.insert("fleet".into(), crate::source::Kind::Mqtt(intake));
        let books = || Books::new(&plan, Arc::default());
        let before = books();
        let of = |entry| before.registry.row_left("a", entry).index;
        let sensors = [of(Some("fleet")), of(None), of(Some("fleet"))];
        let (kind, text) = (Kind::DeadLetters, Bytes::new());
        let (gateway, id) = (String::new(), "d1".to_owned());
        let sealed = Sealed { gateway, id, kind, count: 3, text, places: None };
        let head = serde_json::to_vec(&EntryHead::new(&sealed, &sensors, &before)).unwrap();
        let after = books();
        EntryHead::recover(&head, 3, &after);
        let received: Vec<_> = after.registry.sums().iter().map(|it| it.balance.received).collect();
        assert_eq!(received, [2, 1], "of the entry, and of none");
        let head: EntryHead = serde_json::from_slice(&head).unwrap();
        let indexes = head.indexes(3, &after).unwrap();
        let names = after.registry.with_rows(|rows| {
            indexes
                .iter()
                .map(|it| rows[it.0 as usize].entry_name().map(str::to_owned))
                .collect::<Vec<_>>()
        });
        assert_eq!(names, [Some("fleet".to_owned()), None, Some("fleet".to_owned())]);
    }

    #[test]
    fn what_cannot_be_told_is_recovered_as_nobodys() {
        let recovered = |head: &str, records| {
            let books = Books::new(&Plan::default(), Arc::default());
            EntryHead::recover(head.as_bytes(), records, &books);
            assert_eq!(books.difference(), None);
            let of = |id: &str| books.registry.row_left(id, None).balance().held;
            (of("a"), of("b"), of(UNKNOWN))
        };
        assert_eq!(recovered("rubbish", 3), (0, 0, 3));
        assert_eq!(recovered(r#"{"sensors":["a","b"],"runs":[[0,1],[1,1]]}"#, 3), (1, 1, 1));
        assert_eq!(recovered(r#"{"sensors":["a"],"runs":[[0,9],[1,1]]}"#, 3), (3, 0, 0));
        assert_eq!(recovered(r#"{"sensors":["a"],"runs":[[7,2]]}"#, 3), (0, 0, 3));
    }
}
