//! `filter`: a reading that says nothing new is left out.
//!
//! Each series (what one sensor measures, by `quantity`) is compared with its last reading that passed. The time between two
//! is that by the sensor's own times, or that by their receipt, whichever is longer: so what a device has kept and sends at
//! once is not taken for a flood, and a device whose clock stands still is not taken for one that says nothing new.
//!
//! A reading that is to be acknowledged is compared with one that was: another one may be lost yet (QoS 0).
//!
//! - `min_interval`: it comes too soon after that one, or too soon before it, as its own time says.
//! - `deadband`: it differs from that one by no more; what is no number, not at all.
//! - `heartbeat`: after so long one passes as it is.
//!
//! What passes is decided when it comes: where nothing comes, nothing passes.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::Asked;
use crate::clock::Timestamp;
use crate::units::Period;

/// `filter` of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "readings that say nothing new")]
pub struct Settings {
    /// A value that differs by no more from the last one that passed is left out; 0: one that is the same. What is no
    /// number is left out where its text is the same. Absent: values are not compared.
    #[serde(default, deserialize_with = "is_there", skip_serializing_if = "Option::is_none")]
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
                "has a heartbeat and no deadband: a heartbeat lets a value pass that the deadband leaves out. Remove it, or add a deadband"
            }
            (_, Some(least), _) if least.0.is_zero() => {
                "has a min_interval of 0: remove it, or write a longer one"
            }
            (_, Some(least), Some(most)) if most <= least => {
                "has a heartbeat that is no longer than min_interval: write a longer one"
            }
            (_, Some(Period(long)), _) | (_, _, Some(Period(long))) if *long > TIME_MAX => {
                "has a time of more than 24 days: write \"24d\" at most"
            }
            (_, _, Some(most)) if most.0.is_zero() => {
                "has a heartbeat of 0, with which all passes: write a longer one"
            }
            _ => return None,
        };
        Some(text.to_owned())
    }
}

/// A key that is there has a value: `nan` of TOML comes as none.
fn is_there<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Deadband>, D::Error> {
    Deadband::deserialize(from).map(Some)
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

/// The longest time that is told from the two times of [`Passed`].
const TIME_MAX: Duration = Duration::from_hours(24 * 24);

/// The last reading of a series that passed, in as few bytes as can be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Passed {
    /// The sensor's own time and that of receipt in milliseconds, without the upper half.
    own: u32,
    received: u32,
    /// A number, or one that is none and holds a digest of the text.
    value: f64,
}

/// Of a text: a NaN, which no number in JSON is, with the lower 51 bits of the digest.
const TEXT: u64 = 0x7ff8 << 48;

impl Passed {
    /// How long before or after it another one came, by either time.
    fn distance(self, other: Self) -> Duration {
        let between = |a: u32, b: u32| a.wrapping_sub(b).min(b.wrapping_sub(a));
        let distance = between(self.own, other.own).max(between(self.received, other.received));
        Duration::from_millis(distance.into())
    }

    /// What it is worth to remember: it passed later.
    pub(super) fn worth(&self) -> u64 {
        self.received.into()
    }
}

/// The lower half of a time in milliseconds.
fn half(at: Timestamp) -> u32 {
    u32::try_from(at.millis() & u64::from(u32::MAX)).expect("it has 32 bits")
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

    /// What is to be kept of a reading, after this one has passed, if it passes.
    pub(super) fn news(&self, last: Option<Passed>, asked: &Asked<'_>) -> Option<Passed> {
        let Settings { deadband, min_interval, heartbeat } = self.settings;
        let value = self.said(asked.value);
        let (own, received) = (half(asked.at()), half(asked.received.wall));
        let passed = Passed { own, received, value };
        let Some(last) = last else { return Some(passed) };
        let since = passed.distance(last);
        let is_soon = min_interval.is_some_and(|least| since < least.0);
        let is_late = heartbeat.is_some_and(|most| since >= most.0);
        let is_same = deadband.is_some_and(|it| is_within(it, value, last.value));
        (!is_soon && (is_late || !is_same)).then_some(passed)
    }

    /// What a value says, as far as it is compared.
    fn said(&self, value: &[u8]) -> f64 {
        let compares = self.settings.deadband.is_some_and(|it| it.0 > 0.0);
        let number = str::from_utf8(value).ok().filter(|_| compares);
        let number = number.and_then(|text| serde_json::from_str::<f64>(text).ok());
        number.unwrap_or_else(|| f64::from_bits(TEXT | self.hashing.hash_one(value) >> 13))
    }
}

/// Whether a value differs by no more. Decimals are no whole numbers of halves: what 0.3 and 0.2 lack to them is no difference.
fn is_within(deadband: Deadband, value: f64, last: f64) -> bool {
    if value.is_nan() || last.is_nan() {
        return value.to_bits() == last.to_bits();
    }
    let rounding = 4.0 * f64::EPSILON * value.abs().max(last.abs());
    (value - last).abs() <= deadband.0 + rounding
}

#[cfg(test)]
mod tests {
    use super::super::tests::asked;
    use super::*;
    use crate::clock::{self, Now};

    /// Which of these pass: a second of its own time, and a value. All are received at once.
    fn passing(json: &str, readings: &[(u64, &str)]) -> Vec<(u64, String)> {
        let settings: Settings = serde_json::from_str(json).unwrap();
        assert_eq!(settings.problem(), None);
        let (filter, mut last) = (Filter::new(settings), None);
        let now = clock::now();
        let mut passes = |second: u64, value: &str| {
            let at = Timestamp::from_millis(1_000_000 + second * 1000);
            let timestamp = format!("\"{at}\"");
            let asked = Asked { timestamp: timestamp.as_bytes(), ..asked(value, now) };
            let news = filter.news(last, &asked);
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
        let tenths = [(0, "20.0"), (1, "20.1"), (2, "20.2"), (3, "20.1"), (4, "0.3"), (5, "0.2")];
        assert_eq!(seconds(r#"{"deadband": 0.1}"#, &tenths), [0, 2, 4]);
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
    fn where_the_sensors_clock_stands_still_the_time_of_receipt_counts() {
        let json = r#"{"min_interval": "1s", "deadband": 0, "heartbeat": "3s"}"#;
        let filter = Filter::new(serde_json::from_str(json).unwrap());
        let (begin, mut last) = (clock::now(), None);
        let passing: Vec<u64> = (0..10)
            .filter(|second| {
                let received: Now = begin.later(Duration::from_secs(*second));
                let timestamp = b"\"2000-01-01T00:00:00Z\"";
                let news = filter.news(last, &Asked { timestamp, ..asked("1", received) });
                last = news.or(last);
                news.is_some()
            })
            .collect();
        assert_eq!(passing, [0, 3, 6, 9]);
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for (json, words) in [
            ("{}", "leaves nothing out"),
            (r#"{"heartbeat": "1m"}"#, "no deadband"),
            (r#"{"deadband": 0, "heartbeat": "0s"}"#, "heartbeat of 0"),
            (r#"{"min_interval": "0s"}"#, "min_interval of 0"),
            (r#"{"min_interval": "25d"}"#, "more than 24 days"),
            (r#"{"deadband": 0, "min_interval": "2s", "heartbeat": "2s"}"#, "no longer than"),
        ] {
            let settings: Settings = serde_json::from_str(json).unwrap();
            assert!(settings.problem().unwrap().contains(words), "{json}");
        }
        for wrong in [
            r#"{"deadband": null}"#,
            r#"{"deadband": -1}"#,
            r#"{"deadband": "much"}"#,
            r#"{"dead": 1}"#,
        ] {
            assert!(serde_json::from_str::<Settings>(wrong).is_err(), "{wrong}");
        }
    }
}
