//! What `top` knows, made of events. It is pure, and the same as the page's `state.js`: the same events make the same
//! state. A recording of each kind of event in `tests/data/events` holds both to it.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::words::{float, member};
use crate::clock::Timestamp;

/// Dead letters, and warnings, that are kept. The gateway keeps no more.
const ROWS_MAX: usize = 100;

/// Steps of the history, and the length of one in milliseconds.
pub(super) const STEPS_MAX: usize = 180;
const STEP: u64 = 5000;

/// Rates are those of so many milliseconds.
const RATE_SPAN: u64 = 10_000;

/// The columns that have a rate.
const COLUMNS: [&str; 4] = ["received", "delivered", "deadLettered", "shed"];

/// What is known.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct State {
    /// The last `/api/status`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<Value>,
    /// When it came, in milliseconds of the wall clock.
    pub(super) seen: u64,
    /// Each column's readings a second, over the last seconds.
    pub(super) rates: BTreeMap<&'static str, f64>,
    samples: Vec<Sample>,
    /// The history, the oldest first.
    pub(super) steps: Vec<Value>,
    /// The last dead letters, and warnings, the newest first.
    pub(super) letters: Vec<Value>,
    pub(super) warnings: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) restarted: Option<Restarted>,
}

/// A balance, and when it was seen.
#[derive(Debug, Serialize)]
struct Sample {
    at: u64,
    balance: Value,
}

/// The gateway began anew.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Restarted {
    pub(super) started_at: Value,
}

impl State {
    /// Takes an event: its name, what it says, and when it came, in milliseconds.
    pub(super) fn take(&mut self, name: &str, data: Value, at: u64) {
        match name {
            "status" => self.take_status(data, at),
            "history" => self.take_steps(listed(data, "steps"), at),
            "dead_letters" => add_rows(&mut self.letters, listed(data, "deadLetters")),
            "dead_letter" => add_rows(&mut self.letters, vec![data]),
            "warnings" => add_rows(&mut self.warnings, listed(data, "warnings")),
            "warning" => add_rows(&mut self.warnings, vec![data]),
            _ => {}
        }
    }

    fn take_status(&mut self, data: Value, at: u64) {
        let is_other = |before: &Value| member(before, "startedAt") != member(&data, "startedAt");
        if self.status.as_ref().is_some_and(is_other) {
            // Numbers begin anew.
            self.restarted = Some(Restarted { started_at: member(&data, "startedAt").clone() });
            self.samples.clear();
            self.letters.clear();
            self.warnings.clear();
        }
        self.samples.retain(|it| at.saturating_sub(it.at) < RATE_SPAN);
        self.samples.push(Sample { at, balance: member(&data, "balance").clone() });
        self.status = Some(data);
        self.seen = at;
        self.rates = rates(&self.samples);
    }

    /// A restarted gateway knows none of the steps before: they stay.
    fn take_steps(&mut self, more: Vec<Value>, at: u64) {
        for step in more {
            match self.steps.iter_mut().find(|it| member(it, "at") == member(&step, "at")) {
                Some(known) => *known = step,
                None => self.steps.push(step),
            }
        }
        let span = 2 * STEPS_MAX as u64 * STEP;
        self.steps.retain(|it| moment(it).is_some_and(|end| at < end.saturating_add(span)));
        self.steps.sort_by_key(moment);
        let surplus = self.steps.len().saturating_sub(STEPS_MAX);
        self.steps.drain(..surplus);
    }
}

/// A list in an answer of the API, or what is one row by itself.
fn listed(mut data: Value, name: &str) -> Vec<Value> {
    match data.get_mut(name).map(Value::take) {
        Some(Value::Array(rows)) => rows,
        _ => vec![data],
    }
}

/// The end of a step, in milliseconds.
pub(super) fn moment(step: &Value) -> Option<u64> {
    member(step, "at").as_str().and_then(Timestamp::parse).map(Timestamp::millis)
}

fn rates(samples: &[Sample]) -> BTreeMap<&'static str, f64> {
    let Some((first, last)) = samples.first().zip(samples.last()) else { return BTreeMap::new() };
    let seconds = float(last.at.saturating_sub(first.at)) / 1000.0;
    if seconds < 0.5 {
        return BTreeMap::new();
    }
    let count =
        |of: &Sample, column: &str| member(&of.balance, column).as_f64().unwrap_or_default();
    let rate = |column| (count(last, column) - count(first, column)).max(0.0) / seconds;
    COLUMNS.into_iter().map(|column| (column, rate(column))).collect()
}

/// Rows have numbers: one that comes in the stream and in the list is one.
fn add_rows(rows: &mut Vec<Value>, more: Vec<Value>) {
    for row in more {
        match rows.iter_mut().find(|it| member(it, "number") == member(&row, "number")) {
            Some(known) => *known = row,
            None => rows.push(row),
        }
    }
    rows.sort_by_key(|it| std::cmp::Reverse(member(it, "number").as_u64()));
    rows.truncate(ROWS_MAX);
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use serde_json::json;

    use super::*;
    use crate::ops::top::sse::Events;

    /// When an event of a recording came: at the time that the last status before it tells.
    fn told(status: &Value) -> Option<u64> {
        let started = status["startedAt"].as_str().and_then(Timestamp::parse)?;
        Some(started.millis() + status["uptimeSeconds"].as_u64()? * 1000)
    }

    /// The state that a recording makes.
    fn made(recording: &[u8]) -> State {
        let (mut state, mut at, mut events) = (State::default(), 0, Events::default());
        // In pieces, as a connection gives them.
        let all = recording.chunks(1000).flat_map(|piece| events.take(piece).unwrap());
        for (name, data) in all {
            at = if name == "status" { told(&data).unwrap() } else { at };
            state.take(&name, data, at);
        }
        state
    }

    /// The same with each number as JavaScript has it.
    fn plain(value: Value) -> Value {
        match value {
            Value::Number(number) => json!(number.as_f64()),
            Value::Array(all) => all.into_iter().map(plain).collect(),
            Value::Object(all) => all.into_iter().map(|(name, it)| (name, plain(it))).collect(),
            other => other,
        }
    }

    /// `tests/page.rs` compares what `state.js` makes of the same files with the same states.
    #[test]
    fn recorded_events_make_the_states_that_the_page_makes_of_them() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/events");
        let files = fs::read_dir(&folder).unwrap().map(|it| it.unwrap().path());
        let files: Vec<_> =
            files.filter(|it| it.extension().is_some_and(|it| it == "events")).collect();
        assert!(files.len() >= 4, "{files:?}");
        for path in files {
            let made = plain(serde_json::to_value(made(&fs::read(&path).unwrap())).unwrap());
            let expected = path.with_extension("json");
            if std::env::var_os("RENEW").is_some() {
                fs::write(&expected, format!("{made:#}\n")).unwrap();
            }
            let expected: Value = serde_json::from_slice(&fs::read(&expected).unwrap()).unwrap();
            assert!(made == plain(expected), "{}: {made:#}", path.display());
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut state = State::default();
        let at = |n: u64| Timestamp::from_millis(1_000_000 + n * STEP);
        for n in 0..500 {
            state.take("dead_letter", json!({ "number": n }), 0);
            state.take("warning", json!({ "number": n }), 0);
            state.take("history", json!({ "at": at(n).to_string() }), at(n).millis());
            state.take("status", json!({ "startedAt": "a", "balance": {} }), n * 1000);
            state.take("else", json!({}), 0);
        }
        let kept = [state.letters.len(), state.warnings.len(), state.steps.len()];
        assert_eq!((kept, state.samples.len()), ([100, 100, 180], 10));
        assert_eq!(state.letters[0]["number"], 499);
    }
}
