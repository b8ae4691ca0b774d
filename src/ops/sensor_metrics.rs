//! `/metrics/sensors`: metrics of single sensors, a page at a time and when somebody asks. They are never in `/metrics`: labels
//! without a bound would fill a server that stores them.

use super::View;
use super::exposition::{Exposition, exposed_families};
use super::families::count;
use super::family::{Family, Labels, Values};
use super::sensors::{Asked, Place};
use crate::clock::Timestamp;
use crate::limits::HTTP_LIST_BYTES_MAX;
use crate::state::metrics::{Balance, Label};
use crate::state::registry::Row;

/// Metrics of a sensor, and bytes of each beside its labels' values.
const METRICS: usize = 7;
const METRIC_BYTES: usize = 96;

/// A page: its text, and the query of the next one, if there is one.
pub(super) struct Page {
    pub(super) text: String,
    pub(super) next: Option<String>,
}

impl Asked {
    /// The metrics of a page of sensors, ordered by their ids.
    pub(super) fn metrics(self, view: &View, exposition: Exposition) -> Page {
        let asked = self.by_id();
        let (_, places) = asked.found(view);
        let mut left = HTTP_LIST_BYTES_MAX;
        let fit = |place: &&Place| {
            let rest = left.checked_sub(bytes(&place.row));
            left = rest.unwrap_or_default();
            rest.is_some()
        };
        let shown = places.iter().take(asked.page_limit()).take_while(fit).count();
        let (shown, more) = places.split_at(shown);
        let next =
            shown.last().filter(|_| !more.is_empty()).map(|last| asked.query(&last.cursor()));
        let rows: Vec<&Row> = shown.iter().map(|place| &*place.row).collect();
        Page { text: exposed_families(families(&rows), exposition), next }
    }
}

/// Bytes of a sensor's metrics: in a label's value two may stand for one.
fn bytes(row: &Row) -> usize {
    METRICS * (METRIC_BYTES + 2 * (row.id().len() + row.entry_name().map_or(0, str::len)))
}

fn families(rows: &[&Row]) -> Vec<Family> {
    let counter = |name: &str, help: &str, value: fn(Balance) -> u64| {
        let values = rows.iter().map(|row| (labels(row), value(row.balance()))).collect();
        family(name, help, Values::Counters(values))
    };
    let gauge = |name: &str, help: &str, value: fn(&Row) -> f64| {
        let values = rows.iter().map(|row| (labels(row), value(row))).collect();
        family(name, help, Values::Gauges(values))
    };
    let states = rows.iter().map(|row| {
        let state = ("state", row.presence().word().to_owned());
        (labels(row).into_iter().chain([state]).collect(), 1.0)
    });
    vec![
        counter("readings_received", "Readings taken", |it| it.received),
        counter("readings_delivered", "Readings whose batch the output acknowledged", |it| {
            it.delivered
        }),
        counter("readings_dead_lettered", "Readings put on the dead-letter topic", |it| {
            it.dead_lettered
        }),
        counter("readings_shed", "Readings lost on purpose", |it| it.shed),
        gauge("readings_held", "Readings not yet delivered, dead-lettered or shed", |it| {
            count(it.balance().held)
        }),
        gauge(
            "last_reading_timestamp_seconds",
            "When the last reading came, in seconds since 1970; 0 if none has",
            |it| count(it.last_received().map_or(0, Timestamp::millis)) / 1000.0,
        ),
        family(
            "state",
            "1; whether it is online, late or silent",
            Values::Gauges(states.collect()),
        ),
    ]
}

fn family(name: &str, help: &str, values: Values) -> Family {
    Family { name: format!("sensor_{name}"), help: help.into(), values }
}

fn labels(row: &Row) -> Labels {
    let entry = row.entry_name().unwrap_or_default().to_owned();
    vec![("entry", entry), ("sensor", row.id().to_string())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::view;
    use crate::state::presence::Presence;

    fn asked(query: &str) -> Asked {
        serde_urlencoded::from_str(query).unwrap()
    }

    #[test]
    fn each_sensor_has_its_metrics_on_one_page_and_no_page_is_too_large() {
        let view = view();
        for number in 0..2000_u32 {
            let id = format!("{}{number:04}", "\"".repeat(100));
            view.books.registry.row_of(&id, 0).receive(Timestamp::from_millis(7000));
        }
        let (mut sensors, mut query) = (0, Some("entry=fleet&limit=1000".to_owned()));
        while let Some(asks) = query.take() {
            let Page { text, next } = asked(&asks).metrics(&view, Exposition::Prometheus);
            assert!(text.len() < HTTP_LIST_BYTES_MAX + 4096, "{}", text.len());
            sensors += text.matches("sluicegate_sensor_readings_received_total{").count();
            query = next;
        }
        assert_eq!(sensors, 2000);
    }

    #[test]
    fn a_sensor_tells_its_balance_its_last_reading_and_its_state() {
        let view = view();
        let row = view.books.registry.row_of("a", 0);
        row.receive(Timestamp::from_millis(7000));
        row.is_now(Presence::Silent, Timestamp::from_millis(9000));
        view.books.registry.row_of("b", 1).receive(Timestamp::from_millis(7000));
        let page = asked("entry=fleet&sort=silence").metrics(&view, Exposition::Prometheus);
        for line in [
            "sluicegate_sensor_readings_received_total{entry=\"fleet\",sensor=\"a\"} 1",
            "sluicegate_sensor_readings_delivered_total{entry=\"fleet\",sensor=\"a\"} 0",
            "sluicegate_sensor_readings_held{entry=\"fleet\",sensor=\"a\"} 1",
            "sluicegate_sensor_last_reading_timestamp_seconds{entry=\"fleet\",sensor=\"a\"} 7",
            "sluicegate_sensor_state{entry=\"fleet\",sensor=\"a\",state=\"silent\"} 1",
        ] {
            assert!(
                page.text.lines().any(|it| it.trim_end_matches(".0") == line),
                "{line}: {}",
                page.text
            );
        }
        assert!(!page.text.contains("\"b\"") && page.next.is_none());
        let first = asked("limit=1").metrics(&view, Exposition::Prometheus);
        assert_eq!(first.next.as_deref(), Some("limit=1&after=0%2Ffleet%2Fa"));
    }
}
