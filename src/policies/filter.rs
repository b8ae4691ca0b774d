//! `filter`: a reading that says nothing new is left out.
//!
//! Each series (what one sensor measures, by `quantity`) is compared with its last reading that passed. The times are the
//! sensor's own where it has one, so that what a device has kept and sends at once is not taken for a flood.
//!
//! - `min_interval`: it comes too soon after that one, or too soon before it, as its own time says.
//! - `deadband`: it differs from that one by no more; what is no number, not at all.
//! - `heartbeat`: after so long one passes as it is.
//!
//! What passes is decided when it comes: where nothing comes, nothing passes.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::units::Period;

/// `filter` of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "readings that say nothing new")]
pub struct Settings {
    /// A value that differs by no more from the last one that passed is left out; 0: one that is the same. What is no
    /// number is left out where its text is the same. Absent: values are not compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadband: Option<Deadband>,
    /// A reading that comes sooner after the last one that passed is left out, whatever it says. Absent: none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_interval: Option<Period>,
    /// After so long a value passes also within the deadband. Absent: it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<Period>,
}

impl Settings {
    /// What cannot stay as it is.
    pub(super) fn problem(&self) -> Option<String> {
        let Self { deadband, min_interval, heartbeat } = self;
        let text = match (deadband, min_interval, heartbeat) {
            (None, None, None) => "leaves nothing out: write a deadband or a min_interval",
            (None, _, Some(_)) => {
                "has a heartbeat without a deadband, beside which it is: write deadband = 0 to leave out what is the same"
            }
            (_, Some(least), _) if least.0.is_zero() => {
                "has a min_interval of 0: remove it, or write a longer one"
            }
            (_, Some(least), Some(most)) if most <= least => {
                "has a heartbeat that is no longer than min_interval: write a longer one"
            }
            (_, _, Some(most)) if most.0.is_zero() => {
                "has a heartbeat of 0, with which all passes: write a longer one"
            }
            _ => return None,
        };
        Some(text.to_owned())
    }
}

/// A difference of values: a number that is not below 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Value", into = "f64")]
#[schemars(with = "f64", extend("minimum" = 0))]
pub struct Deadband(f64);

/// It is finite.
impl Eq for Deadband {}

impl TryFrom<Value> for Deadband {
    type Error = String;

    /// An environment variable may be a text.
    fn try_from(value: Value) -> Result<Self, String> {
        let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
        let number = number.filter(|it| it.is_finite() && *it >= 0.0);
        number
            .map(Self)
            .ok_or_else(|| format!("{value} is no difference: write a number, 0 or more"))
    }
}

impl From<Deadband> for f64 {
    fn from(it: Deadband) -> Self {
        it.0
    }
}

/// The last reading of a series that passed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Passed {
    /// When, in milliseconds, and whether it was a number.
    at: u64,
    /// The bits of the number, or a digest of the text.
    value: u64,
}

/// In the time of [`Passed`].
const NUMBER: u64 = 1 << 63;

/// What a value says.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Said {
    /// A number.
    Number(f64),
    /// A digest of another text, or of one that must be the same.
    Text(u64),
}

impl Passed {
    fn new(at: Timestamp, said: Said) -> Self {
        let at = at.millis() & !NUMBER;
        match said {
            Said::Number(number) => Self { at: at | NUMBER, value: number.to_bits() },
            Said::Text(value) => Self { at, value },
        }
    }

    fn said(self) -> Said {
        let is_number = self.at & NUMBER > 0;
        if is_number { Said::Number(f64::from_bits(self.value)) } else { Said::Text(self.value) }
    }

    /// How far from it a moment is, before it or after.
    fn distance(self, at: Timestamp) -> Duration {
        Duration::from_millis(at.millis().abs_diff(self.at & !NUMBER))
    }
}

/// Finds out what is news.
#[derive(Debug)]
pub(super) struct Filter {
    settings: Settings,
    hashing: RandomState,
}

impl Filter {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, hashing: RandomState::new() }
    }

    /// What is to be kept of a reading that was made then, after this one has passed, if it passes.
    pub(super) fn news(
        &self,
        last: Option<&mut Passed>,
        at: Timestamp,
        value: &[u8],
    ) -> Option<Passed> {
        let Settings { deadband, min_interval, heartbeat } = self.settings;
        let said = self.said(value);
        let passed = Passed::new(at, said);
        let Some(last) = last else { return Some(passed) };
        let since = last.distance(at);
        let is_soon = min_interval.is_some_and(|least| since < least.0);
        let is_late = heartbeat.is_some_and(|most| since >= most.0);
        let is_same = deadband.is_some_and(|it| is_within(it, said, last.said()));
        (!is_soon && (is_late || !is_same)).then_some(passed)
    }

    /// What a value says, as far as it is compared.
    fn said(&self, value: &[u8]) -> Said {
        let compares = self.settings.deadband.is_some_and(|it| it.0 > 0.0);
        let number = str::from_utf8(value).ok().filter(|_| compares);
        let number = number.and_then(|text| serde_json::from_str::<f64>(text).ok());
        number.map_or_else(|| Said::Text(self.hashing.hash_one(value)), Said::Number)
    }
}

fn is_within(deadband: Deadband, value: Said, last: Said) -> bool {
    match (value, last) {
        (Said::Number(value), Said::Number(last)) => (value - last).abs() <= deadband.0,
        _ => value == last,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of these pass: a second, and a value.
    fn passing(json: &str, readings: &[(u64, &str)]) -> Vec<(u64, String)> {
        let settings: Settings = serde_json::from_str(json).unwrap();
        assert_eq!(settings.problem(), None);
        let (filter, mut last) = (Filter::new(settings), None);
        let mut passes = |second: u64, value: &str| {
            let at = Timestamp::from_millis(1_000_000 + second * 1000);
            let news = filter.news(last.as_mut(), at, value.as_bytes());
            last = news.or(last);
            news.is_some()
        };
        let passing = readings.iter().filter(|(second, value)| passes(*second, value));
        passing.map(|(second, value)| (*second, (*value).to_owned())).collect()
    }

    fn seconds(json: &str, readings: &[(u64, &str)]) -> Vec<u64> {
        passing(json, readings).into_iter().map(|(second, _)| second).collect()
    }

    #[test]
    fn a_value_within_the_deadband_of_the_last_that_passed_is_left_out() {
        let slowly = [(0, "20"), (1, "20.25"), (2, "20.5"), (3, "20.75"), (4, "20.5"), (5, "-20")];
        assert_eq!(seconds(r#"{"deadband": 0.5}"#, &slowly), [0, 3, 5]);
        assert_eq!(seconds(r#"{"deadband": "0.5"}"#, &slowly), [0, 3, 5], "of a variable");
        let same =
            [(0, "1"), (1, "1"), (2, "1.0"), (3, "9007199254740993"), (4, "9007199254740992")];
        assert_eq!(seconds(r#"{"deadband": 0}"#, &same), [0, 2, 3, 4], "other texts");
    }

    #[test]
    fn what_is_no_number_is_compared_by_its_text() {
        let states =
            [(0, "\"on\""), (1, "\"on\""), (2, "\"off\""), (3, "0"), (4, "0.05"), (5, "null")];
        assert_eq!(seconds(r#"{"deadband": 0.1}"#, &states), [0, 2, 3, 5]);
        let objects = [(0, r#"{"t":1}"#), (1, r#"{"t":1}"#), (2, r#"{"t":2}"#)];
        assert_eq!(seconds(r#"{"deadband": 5}"#, &objects), [0, 2]);
    }

    #[test]
    fn a_heartbeat_lets_one_pass_and_an_interval_leaves_changes_out() {
        let still: Vec<_> = (0..25).map(|second| (second, "1")).collect();
        assert_eq!(seconds(r#"{"deadband": 0, "heartbeat": "10s"}"#, &still), [0, 10, 20]);
        let changing: Vec<_> = (0..12).zip(["1", "2"].into_iter().cycle()).collect();
        assert_eq!(seconds(r#"{"min_interval": "5s"}"#, &changing), [0, 5, 10]);
        let both = r#"{"min_interval": "5s", "deadband": 0}"#;
        // A change that was too soon passes with the next reading that is not.
        assert_eq!(seconds(both, &[(0, "1"), (2, "2"), (6, "2"), (12, "2")]), [0, 6]);
    }

    #[test]
    fn what_a_device_sends_late_is_judged_by_its_own_time() {
        let late = [(100, "1"), (50, "2"), (51, "3"), (60, "4"), (101, "5")];
        assert_eq!(seconds(r#"{"min_interval": "5s"}"#, &late), [100, 50, 60, 101]);
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for (json, words) in [
            ("{}", "leaves nothing out"),
            (r#"{"heartbeat": "1m"}"#, "without a deadband"),
            (r#"{"deadband": 0, "heartbeat": "0s"}"#, "heartbeat of 0"),
            (r#"{"min_interval": "0s"}"#, "min_interval of 0"),
            (r#"{"deadband": 0, "min_interval": "2s", "heartbeat": "2s"}"#, "no longer than"),
        ] {
            let settings: Settings = serde_json::from_str(json).unwrap();
            assert!(settings.problem().unwrap().contains(words), "{json}");
        }
        for wrong in [r#"{"deadband": -1}"#, r#"{"deadband": "much"}"#, r#"{"dead": 1}"#] {
            assert!(serde_json::from_str::<Settings>(wrong).is_err(), "{wrong}");
        }
    }
}
