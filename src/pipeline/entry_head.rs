//! The head of an entry of the spool: what is written beside a batch, and what makes it a publication again.
//!
//! A JSON object. `version` is that of the head (absent: 1), `batch` names the batch, its format and its route
//! (absent for dead letters), `letters` a batch of dead letters (absent where an older program wrote a single
//! one), `route` theirs (absent: that of all dead letters), `sensors` lists ids, `entries` names the entry of each (absent where an older program wrote it, an empty
//! name where it is of none), `runs` says whose the records are, in order: pairs of a place in `sensors` and a
//! count. The message itself is the entry's body, byte for byte: it is published again as it was, to the topic
//! that the settings name then.
//!
//! Version 2 names the route; the route of version 1 is the output. A later version stays an object with `version`.
//! What this program does not know ([`Unknown`]) stays on disk.

use std::collections::HashMap;
use std::fmt;
use std::iter::repeat_n;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::in_flight::InFlight;
use crate::clock::Timestamp;
use crate::codec::Format;
use crate::plan::Plan;
use crate::sealed::{Kind, Route, Sealed};
use crate::settlement::SensorIndex;
use crate::sink::routing::Routing;
use crate::spool::{Entry, Key};
use crate::state::books::Books;
use crate::state::registry::Row;

/// The version of the head that this program writes, and the newest it knows.
const VERSION: u32 = 2;

/// What this program does not know of an entry that it could read; and what helps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unknown {
    /// The head is of a newer version.
    Version(u32),
    /// The batch is in this format.
    Format(String),
    /// The batch is for this route.
    Route(String),
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(found) => write!(
                f,
                "they are of version {found}, and this program knows up to {VERSION}: run the version that wrote them"
            )?,
            Self::Format(format) => write!(
                f,
                "this version does not know their format {format:?}: run the version that wrote them"
            )?,
            Self::Route(route) => write!(
                f,
                "the settings have no route {route:?}: run with the settings, or the version, that wrote them"
            )?,
        }
        f.write_str(" until the spool is empty, or set another spool.path")
    }
}

/// What this run can make of the entry of a publication.
#[derive(Debug)]
pub enum Read {
    Flight(InFlight),
    /// Nothing, but another run can; whose its records are, if that is known.
    Unknown(Option<Box<[SensorIndex]>>),
    /// Nothing: no program wrote this head.
    Damaged,
}

/// Only the version, which all versions have.
#[derive(Deserialize)]
struct Versioned {
    #[serde(default = "first_version")]
    version: u32,
}

fn first_version() -> u32 {
    1
}

/// The head of an entry.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct EntryHead {
    #[serde(default = "first_version")]
    version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<Batch>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    letters: Option<String>,
    /// Of dead letters; absent: that of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    route: Option<String>,
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
    format: String,
    /// Absent: an older program wrote it, for the output.
    #[serde(default)]
    route: Option<String>,
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

    /// The publication of an entry, for one of the routes of this run.
    pub fn flight(
        entry: Entry,
        key: Key,
        (plan, routing): (&Plan, &dyn Routing),
        books: &Books,
        since: Instant,
    ) -> Read {
        if newer(&entry.head).is_some() {
            return Read::Unknown(None);
        }
        let head: Option<Self> = serde_json::from_slice(&entry.head).ok();
        let sensors = head.as_ref().and_then(|head| head.indexes(entry.records, books));
        let Some((head, sensors)) = head.zip(sensors) else { return Read::Damaged };
        match head.sealed(&plan.gateway.id, routing, sensors.len(), entry.body) {
            Ok(sealed) => Read::Flight(InFlight::from_spool(sealed, key, sensors, since)),
            Err(_) => Read::Unknown(Some(sensors)),
        }
    }

    /// Enters the records of an earlier run's entry in the books, as held. Says what is not known of it.
    pub fn recover(
        head: &[u8],
        records: u32,
        routing: &dyn Routing,
        books: &Books,
    ) -> Option<Unknown> {
        let newer = newer(head);
        let Ok(entry) = serde_json::from_slice::<Self>(head) else {
            books.recovered(UNKNOWN, None, u64::from(records));
            return newer;
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
        newer.or_else(|| entry.batch.as_ref()?.known(routing).err())
    }

    fn new(sealed: &Sealed, sensors: &[SensorIndex], books: &Books) -> Self {
        let mut places: HashMap<SensorIndex, u32> = HashMap::new();
        let id = sealed.id.clone();
        let (batch, letters, route) = match sealed.kind {
            Kind::Readings { ref route, format, sealed_at } => {
                let (gateway, sealed_at) = (sealed.gateway.clone(), sealed_at.millis());
                let (format, route) = (format.as_str().to_owned(), Some(route.as_str().to_owned()));
                (Some(Batch { gateway, id, sealed_at, format, route }), None, None)
            }
            Kind::DeadLetters { ref route } => {
                let route = Some(route).filter(|it| **it != Route::dead_letters());
                let route = route.map(|it| it.as_str().to_owned());
                (None, Some(id).filter(|it| !it.is_empty()), route)
            }
        };
        let (ids, entries, runs) = (Vec::new(), Vec::new(), Vec::new());
        let mut head =
            Self { version: VERSION, batch, letters, route, sensors: ids, entries, runs };
        books.registry.with_rows(|rows| {
            for sensor in sensors {
                let known = u32::try_from(places.len()).expect("as many as records");
                let place = *places.entry(*sensor).or_insert(known);
                let row = rows.get(sensor.0 as usize).expect("every sensor has a row");
                let new = (place == known).then_some(row);
                let entry = |row: &Arc<Row>| row.entry_name().unwrap_or_default().to_owned();
                head.sensors.extend(new.map(|row| row.id().to_string()));
                head.entries.extend(new.map(entry));
                match head.runs.last_mut() {
                    Some((last, count)) if *last == place => *count += 1,
                    _ => head.runs.push((place, 1)),
                }
            }
        });
        head
    }

    /// The batch as it was, for its route; dead letters are this gateway's.
    fn sealed(
        self,
        gateway: &str,
        routing: &dyn Routing,
        count: usize,
        text: Bytes,
    ) -> Result<Sealed, Unknown> {
        let (gateway, id, kind) = if let Some(batch) = self.batch {
            let (format, route) = batch.known(routing)?;
            let sealed_at = Timestamp::from_millis(batch.sealed_at);
            (batch.gateway, batch.id, Kind::Readings { route, format, sealed_at })
        } else {
            let route = self.route.as_deref().map(|it| routing.letter_route_named(it));
            let kind = Kind::DeadLetters { route: route.unwrap_or_else(Route::dead_letters) };
            (gateway.to_owned(), self.letters.unwrap_or_default(), kind)
        };
        Ok(Sealed { gateway, id, kind, count, text, places: None })
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

impl Batch {
    /// Its format, and its route as this run has it.
    fn known(&self, routing: &dyn Routing) -> Result<(Format, Route), Unknown> {
        let format = Format::ALL.iter().copied().find(|it| it.as_str() == self.format);
        let format = format.ok_or_else(|| Unknown::Format(self.format.clone()))?;
        let output = Route::output();
        let name = self.route.as_deref().unwrap_or(output.as_str());
        let route = routing.named(name);
        Ok((format, route.ok_or_else(|| Unknown::Route(name.to_owned()))?))
    }
}

/// The version of a head, if this program does not know it.
fn newer(head: &[u8]) -> Option<Unknown> {
    let Versioned { version } = serde_json::from_slice(head).ok()?;
    (version > VERSION).then_some(Unknown::Version(version))
}

/// The sensor of records whose head says none.
const UNKNOWN: &str = "(unknown)";

#[cfg(test)]
mod tests {
    use super::*;

    fn indexes(records: u32, runs: &str) -> Option<Vec<u32>> {
        let books = Plan::default().books(Arc::default());
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
    fn a_head_names_version_route_and_format() {
        let plan = made_topics();
        let books = plan.books(Arc::default());
        let sensors = [books.registry.row_left("a", None).index];
        let (route, format, sealed_at) =
            (Route::output_at("r/a"), Format::Ndjson, Timestamp::from_millis(7));
        let (gateway, id) = ("gw".to_owned(), "b1".to_owned());
        let kind = Kind::Readings { route, format, sealed_at };
        let sealed = Sealed { gateway, id, kind, count: 1, text: Bytes::new(), places: None };
        let head = serde_json::to_string(&EntryHead::new(&sealed, &sensors, &books)).unwrap();
        let batch =
            r#"{"gateway":"gw","id":"b1","sealedAt":7,"format":"ndjson","route":"output:r/a"}"#;
        let expected = format!(
            r#"{{"version":2,"batch":{batch},"sensors":["a"],"entries":[""],"runs":[[0,1]]}}"#
        );
        assert_eq!(head, expected);
        let head: EntryHead = serde_json::from_str(&head).unwrap();
        assert_eq!(head.sealed("gw", &*plan.measure(), 1, Bytes::new()), Ok(sealed));
    }

    /// A topic for each sensor.
    fn made_topics() -> Plan {
        let mut plan = Plan::default();
        let sink = r#"{"mqtt":{"topic":"r/{sensor}","dead_letter_topic":"d/{sensor}"}}"#;
        plan.output.sink = serde_json::from_str(sink).unwrap();
        plan
    }

    /// An older program, which knows one route for dead letters, passes over the member.
    #[test]
    fn a_head_of_dead_letters_names_their_route_where_there_are_several() {
        let plan = made_topics();
        let books = plan.books(Arc::default());
        let sensors = [books.registry.row_left("a", None).index];
        let one = r#"{"version":2,"letters":"d1","sensors":["a"],"entries":[""],"runs":[[0,1]]}"#;
        let routed = one.replace(r#""sensors""#, r#""route":"dead-letters:d/a","sensors""#);
        for (route, expected) in
            [(Route::dead_letters(), one), (Route::dead_letters_at("d/a"), &routed)]
        {
            let (gateway, id) = ("gw-1".to_owned(), "d1".to_owned());
            let (kind, text) = (Kind::DeadLetters { route }, Bytes::new());
            let sealed = Sealed { gateway, id, kind, count: 1, text, places: None };
            let head = serde_json::to_string(&EntryHead::new(&sealed, &sensors, &books)).unwrap();
            assert_eq!(head, expected);
            let head: EntryHead = serde_json::from_str(&head).unwrap();
            assert_eq!(head.sealed("gw-1", &*plan.measure(), 1, Bytes::new()), Ok(sealed));
        }
    }

    #[test]
    fn a_sensor_is_recovered_for_the_entry_that_took_its_readings() {
        let mut plan = Plan::default();
        let intake = serde_json::from_str(r#"{"topic":"t"}"#).unwrap();
        plan.sensors.insert("fleet".into(), crate::source::Kind::Mqtt(intake));
        let books = || plan.books(Arc::default());
        let before = books();
        let of = |entry| before.registry.row_left("a", entry).index;
        let sensors = [of(Some("fleet")), of(None), of(Some("fleet"))];
        let (kind, text) = (Kind::DeadLetters { route: Route::dead_letters() }, Bytes::new());
        let (gateway, id) = (String::new(), "d1".to_owned());
        let sealed = Sealed { gateway, id, kind, count: 3, text, places: None };
        let head = serde_json::to_vec(&EntryHead::new(&sealed, &sensors, &before)).unwrap();
        let after = books();
        assert_eq!(EntryHead::recover(&head, 3, &*plan.measure(), &after), None);
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
            let plan = Plan::default();
            let books = plan.books(Arc::default());
            assert_eq!(
                EntryHead::recover(head.as_bytes(), records, &*plan.measure(), &books),
                None
            );
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
