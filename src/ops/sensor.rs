//! `/api/sensors/{entry}/{id}`: one sensor with its last dead letter.
//!
//! The last dead letters of all sensors are kept whole (`state::letters`). Of one that has left them its sensor's row still
//! knows when it was taken, and why it was one.

use serde::Serialize;
use utoipa::ToSchema;

use super::View;
use super::lists::DeadLetter;
use super::sensors::Sensor;
use super::words::Why;
use crate::state::registry::Row;

/// The body of `/api/sensors/{entry}/{id}`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SensorWithLetter)]
pub(super) struct One {
    #[serde(flatten)]
    sensor: Sensor,
    /// Absent: there was none in this run.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_dead_letter: Option<Last>,
}

/// The last dead letter of a sensor.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = LastDeadLetter)]
pub(super) enum Last {
    /// It is among the last ones of all sensors.
    Whole(DeadLetter),
    /// It has left them.
    Head(Head),
}

/// What a sensor's row knows of its last dead letter.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DeadLetterHead)]
pub(super) struct Head {
    /// When it was taken.
    #[schema(format = DateTime)]
    at: String,
    #[schema(value_type = Why)]
    reason: &'static str,
}

impl One {
    /// The sensor of this row.
    pub(super) fn new(view: &View, row: &Row) -> Self {
        Self { sensor: Sensor::from(row), last_dead_letter: last(view, row) }
    }
}

fn last(view: &View, row: &Row) -> Option<Last> {
    let letters = view.books.letters.since(0);
    let newest = letters.iter().rev();
    let mut own = newest.filter(|(_, it)| it.entry == row.entry() && *it.sensor == *row.id());
    if let Some((number, letter)) = own.next() {
        return Some(Last::Whole(DeadLetter::new(*number, letter, &view.books.registry)));
    }
    let (at, reason) = row.last_letter.get()?;
    Some(Last::Head(Head { at: at.to_string(), reason: reason.as_str() }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::clock::Timestamp;
    use crate::ops::tests::view;
    use crate::record::Reason;
    use crate::state::letters::{Letter, head};

    fn put(view: &View, sensor: &str, entry: u32, reason: Reason) {
        let at = Timestamp::from_millis(7);
        view.books.registry.row_of(sensor, entry).last_letter.note(at, reason);
        view.books.letters.put(Letter {
            at,
            entry: Some(entry),
            sensor: sensor.into(),
            reason: reason.as_str(),
            detail: head(b"no JSON"),
            topic: head(b"t"),
            payload: head(b"{"),
            payload_bytes: 1,
        });
    }

    fn told(view: &View, sensor: &str, entry: u32) -> Value {
        let row = view.books.registry.row_of(sensor, entry);
        serde_json::to_value(One::new(view, &row)).unwrap()["lastDeadLetter"].clone()
    }

    #[test]
    fn the_last_dead_letter_of_a_sensor_is_told_whole_and_then_by_its_reason() {
        let view = view();
        put(&view, "a", 0, Reason::Empty);
        put(&view, "a", 0, Reason::Malformed);
        put(&view, "a", 1, Reason::Missing);
        put(&view, "b", 0, Reason::Missing);
        let whole = json!({
            "number": 2, "at": "1970-01-01T00:00:00.007Z", "entry": "fleet", "sensorId": "a", "topic": "t",
            "reason": "malformed", "detail": "no JSON", "payload": "{", "payloadBytes": 1
        });
        assert_eq!(told(&view, "a", 0), whole, "its own, and the last one");
        assert_eq!(told(&view, "c", 0), Value::Null);
        (0..100).for_each(|_| put(&view, "b", 0, Reason::Missing));
        let kept = json!({"at": "1970-01-01T00:00:00.007Z", "reason": "malformed"});
        assert_eq!(told(&view, "a", 0), kept, "it has left the list");
    }
}
