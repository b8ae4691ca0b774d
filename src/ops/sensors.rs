//! `/api/sensors`: what is known of each sensor, page by page. Members are named as in `/api/status`.
//!
//! Rows are looked at in pieces, so that no new sensor waits for a request. A page is the first of an order: its rows are
//! kept in a heap while all others are passed over. What changes between two pages may be on both of them, or on none.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::View;
use super::snapshot::Books;
use super::words::State;
use crate::clock::{self, Timestamp};
use crate::limits::SENSORS_PAGE_BYTES_MAX;
use crate::state::metrics::Label;
use crate::state::presence::Presence;
use crate::state::registry::{Registry, Row};

/// Sensors of a page, at most, and where nobody asks for another number.
const LIMIT_MAX: usize = 1000;
const LIMIT: usize = 100;

/// Rows that are looked at in a piece.
const PIECE: usize = 1024;

/// What is asked for.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// Of this entry only.
    entry: Option<String>,
    /// Of this state only.
    #[param(value_type = Option<State>, inline)]
    state: Option<Presence>,
    /// Whose id has this in it, in any case.
    search: Option<String>,
    /// Their order.
    #[param(inline)]
    sort: Sort,
    /// Sensors of a page, at most.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// The order of sensors; of those that are equal, that of their entry and id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    /// That of which nothing has come for longest is first.
    #[default]
    Silence,
    /// That of which most has come is first.
    Received,
    /// That of which most comes in a second is first.
    Rate,
    /// That of which most has become dead letters is first.
    Letters,
    /// By entry and id.
    Id,
}

impl Sort {
    /// The words of all of them.
    pub const WORDS: [&str; 5] = ["silence", "received", "rate", "letters", "id"];
}

/// A page.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Sensors)]
pub(super) struct Page {
    /// Sensors that are what was asked for, on all pages.
    total: usize,
    sensors: Vec<Sensor>,
    /// `after` of the next page, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A sensor.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sensor {
    #[serde(skip_serializing_if = "Option::is_none")]
    entry: Option<String>,
    #[serde(rename = "sensorId")]
    id: String,
    #[schema(value_type = State)]
    state: Presence,
    /// Since when it has this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    first_received_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    last_received_at: Option<String>,
    /// How often it reports, as it is set or learned.
    #[serde(skip_serializing_if = "Option::is_none")]
    interval_seconds: Option<f64>,
    /// Readings a second of late.
    readings_per_second: f64,
    /// Its last value, as it came; of a long one the head, as text that ends with `…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Value, required = false)]
    last_value: Option<Value>,
    #[serde(flatten)]
    balance: Books,
    /// What shed readings of it: `queue` (`queue.on_full`), or a policy of its entry.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    shed_by: BTreeMap<&'static str, u64>,
    /// Numbers of its own (`counter`) that have not come.
    missing: u64,
}

impl From<&Row> for Sensor {
    fn from(row: &Row) -> Self {
        let text = |at: Option<Timestamp>| at.map(|it| it.to_string());
        Self {
            entry: row.entry_name().map(str::to_owned),
            id: row.id().to_string(),
            state: row.presence(),
            since: text(row.since()),
            first_received_at: text(row.first_received()),
            last_received_at: text(row.last_received()),
            interval_seconds: row.interval().map(|it| it.as_secs_f64()),
            readings_per_second: row.rate(clock::now().wall),
            last_value: row.last_value().map(|(text, is_cut)| shown(text, is_cut)),
            balance: Books::of(row.balance()),
            shed_by: shed_by(row),
            missing: row.numbers_missing(),
        }
    }
}

fn shed_by(row: &Row) -> BTreeMap<&'static str, u64> {
    let mut by: BTreeMap<_, _> =
        row.left_out().map(|(policy, count)| (policy.as_str(), count)).collect();
    let by_queue = row.balance().shed.saturating_sub(by.values().sum());
    if by_queue > 0 {
        by.insert("queue", by_queue);
    }
    by
}

/// A value as JSON; text where it is cut, or was none.
fn shown(text: String, is_cut: bool) -> Value {
    if is_cut {
        Value::from(text + "…")
    } else {
        serde_json::from_str(&text).unwrap_or(Value::from(text))
    }
}

/// What orders rows: a number, and of equal ones the entry and the id.
type Key<'a> = (u64, &'a str, &'a str);

fn key(number: u64, row: &Row) -> Key<'_> {
    (number, row.entry_name().unwrap_or_default(), row.id())
}

/// A row's place in an order.
#[derive(Debug)]
pub(super) struct Place {
    number: u64,
    pub(super) row: Arc<Row>,
}

impl Place {
    fn key(&self) -> Key<'_> {
        key(self.number, &self.row)
    }

    /// What is behind it begins with this `after`.
    pub(super) fn cursor(&self) -> String {
        let (number, entry, id) = self.key();
        format!("{number}/{entry}/{id}")
    }
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Place {}

impl Asked {
    /// Why it cannot be asked so, if it cannot.
    pub(super) fn problem(&self) -> Option<String> {
        if let Some(limit) = self.limit.filter(|it| !(1..=LIMIT_MAX).contains(it)) {
            return Some(format!("limit is {limit}: write a number from 1 to {LIMIT_MAX}"));
        }
        let after = self.after.as_deref().filter(|it| cursor(it).is_none());
        after.map(|it| format!("after is {it:?}: write the next of a page"))
    }

    /// The page.
    pub(super) fn page(&self, view: &View) -> String {
        let (total, places) = self.found(view);
        written(total, &places, self.page_limit())
    }

    /// The same sensors in an order that does not move.
    pub(super) fn by_id(self) -> Self {
        Self { sort: Sort::Id, ..self }
    }

    /// Sensors of a page, at most.
    pub(super) fn page_limit(&self) -> usize {
        self.limit.unwrap_or(LIMIT)
    }

    /// How many there are, and those of the page: one more, if there are.
    pub(super) fn found(&self, view: &View) -> (usize, Vec<Place>) {
        let after = self.after.as_deref().and_then(cursor);
        self.places(&view.books.registry, self.page_limit(), after)
    }

    /// What asks for the same sensors behind this one, by id.
    pub(super) fn query(&self, after: &str) -> String {
        let limit = self.limit.map(|it| it.to_string());
        let all = [
            ("entry", self.entry.as_deref()),
            ("state", self.state.map(Label::word)),
            ("search", self.search.as_deref()),
            ("limit", limit.as_deref()),
            ("after", Some(after)),
        ];
        let all: Vec<_> = all.iter().filter_map(|(name, value)| Some((name, (*value)?))).collect();
        serde_urlencoded::to_string(all).expect("names and texts can be written")
    }

    /// How many rows there are, and the first behind this one: one more than a page has, if there are.
    fn places(
        &self,
        registry: &Registry,
        limit: usize,
        after: Option<Key<'_>>,
    ) -> (usize, Vec<Place>) {
        let search = self.search.as_deref().map(str::to_lowercase);
        let (mut total, mut heap) = (0, BinaryHeap::<Place>::new());
        let mut take = |row: &Arc<Row>| {
            total += 1;
            let number = self.sort.number(row);
            let key = key(number, row);
            let is_behind = heap.len() > limit && heap.peek().is_some_and(|it| it.key() <= key);
            if is_behind || after.is_some_and(|after| key <= after) {
                return;
            }
            heap.push(Place { number, row: Arc::clone(row) });
            if heap.len() > limit + 1 {
                heap.pop();
            }
        };
        let (mut begin, mut seen) = (0, usize::MAX);
        while seen > 0 {
            seen = registry.with_rows(|rows| {
                let piece = rows.iter().skip(begin).take(PIECE);
                let asked = piece.clone().filter(|it| self.is_asked_for(it, search.as_deref()));
                asked.for_each(&mut take);
                piece.len()
            });
            begin += seen;
        }
        (total, heap.into_sorted_vec())
    }

    fn is_asked_for(&self, row: &Row, search: Option<&str>) -> bool {
        let is_of = self.entry.as_deref().is_none_or(|it| row.entry_name() == Some(it));
        let is_so = self.state.is_none_or(|it| row.presence() == it);
        let is_found = search.is_none_or(|it| row.id().to_lowercase().contains(it));
        is_of && is_so && is_found && !row.is_over()
    }
}

/// The page as JSON: as many as have room.
fn written(total: usize, places: &[Place], limit: usize) -> String {
    let (mut sensors, mut bytes) = (Vec::new(), 0);
    for place in places.iter().take(limit) {
        let sensor = Sensor::from(&*place.row);
        bytes += serde_json::to_string(&sensor).map_or(0, |it| it.len());
        if bytes > SENSORS_PAGE_BYTES_MAX {
            break;
        }
        sensors.push(sensor);
    }
    let last = sensors.len().checked_sub(1).filter(|_| sensors.len() < places.len());
    let next = last.and_then(|at| places.get(at)).map(Place::cursor);
    super::json::written(&Page { total, sensors, next })
}

impl Sort {
    fn number(self, row: &Row) -> u64 {
        match self {
            Self::Silence => row.last_received().map_or(0, Timestamp::millis),
            Self::Received => u64::MAX - row.received(),
            // The bits of numbers that are not negative are in their order.
            Self::Rate => u64::MAX - row.rate(clock::now().wall).to_bits(),
            Self::Letters => u64::MAX - row.balance().dead_lettered,
            Self::Id => 0,
        }
    }
}

fn cursor(text: &str) -> Option<Key<'_>> {
    let (number, rest) = text.split_once('/')?;
    let (entry, id) = rest.split_once('/')?;
    Some((number.parse().ok()?, entry, id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::view;
    use crate::settlement::Outcome;

    fn asked(view: &View, query: &[(&str, Value)]) -> Value {
        let query = query.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        let asked: Asked = serde_json::from_value(Value::Object(query.collect())).unwrap();
        asked
            .problem()
            .map_or_else(|| serde_json::from_str(&asked.page(view)).unwrap(), Value::from)
    }

    fn ids(page: &Value) -> Vec<&str> {
        let sensors = page["sensors"].as_array().unwrap().iter();
        sensors.map(|it| it["sensorId"].as_str().unwrap()).collect()
    }

    #[test]
    fn sensors_come_in_pages_that_have_each_once() {
        let view = view();
        for number in 0..2500_u64 {
            let row = view.books.registry.row_of(&format!("s{number:04}"), 0);
            // Each has come a second after the one before it, and as often as its number's last digit says.
            for _ in 0..=number % 10 {
                row.receive(Timestamp::from_millis(1_000_000 + number * 1000));
            }
        }
        for (sort, first) in [("silence", "s0000"), ("received", "s0009"), ("id", "s0000")] {
            let (mut all, mut after) = (Vec::new(), None::<Value>);
            loop {
                let mut query = vec![("sort", Value::from(sort)), ("limit", 90.into())];
                query.extend(after.take().map(|it| ("after", it)));
                let page = asked(&view, &query);
                assert_eq!(page["total"], 2500);
                all.extend(ids(&page).into_iter().map(str::to_owned));
                match page.get("next") {
                    Some(next) => after = Some(next.clone()),
                    None => break,
                }
            }
            assert_eq!((all.len(), &*all[0]), (2500, first), "{sort}");
            all.sort();
            all.dedup();
            assert_eq!(all.len(), 2500, "{sort}");
        }
    }

    #[test]
    fn the_sensor_of_which_most_comes_in_a_second_is_first() {
        let view = view();
        let now = clock::now().wall;
        for (id, readings) in [("slow", 1), ("fast", 9), ("silent", 20)] {
            let row = view.books.registry.row_of(id, 0);
            for _ in 0..readings {
                row.receive(now);
            }
        }
        view.books.registry.row_of("silent", 0).is_now(Presence::Silent, now);
        assert_eq!(ids(&asked(&view, &[("sort", "rate".into())])), ["fast", "slow", "silent"]);
    }

    #[test]
    fn the_sensor_of_which_most_has_become_dead_letters_is_first() {
        let view = view();
        let books = &view.books;
        for (id, letters) in [("good", 0), ("worst", 9), ("bad", 2)] {
            let row = books.registry.row_of(id, 0);
            let records = vec![row.index; letters];
            books.registry.enter(&books.metrics, &records, Outcome::DeadLettered);
        }
        let page = asked(&view, &[("sort", "letters".into())]);
        assert_eq!(ids(&page), ["worst", "bad", "good"]);
    }

    #[test]
    fn a_sensor_has_its_last_value_as_it_came_or_the_head_of_it() {
        let view = view();
        let row = view.books.registry.row_of("a", 0);
        let value = |text: &str| {
            row.receive(Timestamp::from_millis(7));
            row.has_value(text.as_bytes());
            asked(&view, &[])["sensors"][0]["lastValue"].clone()
        };
        for (text, expected) in [
            ("21.50", serde_json::json!(21.50)),
            (r#"{"t":1}"#, serde_json::json!({"t": 1})),
            ("\"on\"", "on".into()),
            (&*format!("\"{}\"", "x".repeat(60)), format!("\"{}…", "x".repeat(30)).into()),
        ] {
            assert_eq!(value(text), expected);
        }
    }

    #[test]
    fn sensors_are_found_by_entry_state_and_a_part_of_their_id() {
        let view = view();
        let registry = &view.books.registry;
        for (id, entry) in [("Oven-1", 0), ("oven-2", 0), ("pump", 0), ("oven-3", 1)] {
            registry.row_of(id, entry).receive(Timestamp::from_millis(7));
        }
        registry.row_of("oven-2", 0).is_now(Presence::Silent, Timestamp::from_millis(9));
        let search = ("search", Value::from("OVEN"));
        assert_eq!(
            ids(&asked(&view, &[search.clone(), ("entry", "fleet".into())])),
            ["Oven-1", "oven-2"]
        );
        let page = asked(&view, &[search, ("state", "silent".into())]);
        assert_eq!(ids(&page), ["oven-2"]);
        let oven = &page["sensors"][0];
        assert_eq!(
            (&oven["state"], &oven["received"], &oven["held"]),
            (&"silent".into(), &1.into(), &1.into())
        );
        assert_eq!(oven["since"], "1970-01-01T00:00:00.009Z");
    }

    #[test]
    fn what_cannot_be_asked_for_is_told() {
        let view = view();
        for (name, value, part) in [
            ("limit", Value::from(0), "from 1 to 1000"),
            ("limit", 1001.into(), "from 1 to 1000"),
            ("after", "x".into(), "the next of a page"),
        ] {
            let told = asked(&view, &[(name, value)]);
            assert!(told.as_str().unwrap().contains(part), "{told}");
        }
    }

    /// Ids have their bound, and JSON makes them longer.
    #[test]
    fn a_page_has_a_bound_of_bytes_and_the_next_one_goes_on() {
        let view = view();
        for number in 0..300 {
            let id = format!("{}{number:03}", "\"".repeat(120));
            view.books.registry.row_of(&id, 0).receive(Timestamp::from_millis(7));
        }
        let asked: Asked = serde_json::from_value(serde_json::json!({"limit": 1000})).unwrap();
        let text = asked.page(&view);
        assert!(text.len() < SENSORS_PAGE_BYTES_MAX + 1024, "{}", text.len());
        let page: Value = serde_json::from_str(&text).unwrap();
        assert!(page["next"].is_string() && ids(&page).len() > 10);
    }
}
