//! `deduplicate`: a reading that has come before is left out.
//!
//! It is a repeat where all is the same within a window that begins with the first one: the sensor, the topic, its own count
//! or its own time, the value, all labels and what is beside them. So a sensor that begins to count anew after it was
//! restarted repeats nothing as long as it says something else. What has neither count nor time passes.
//!
//! A repeat is acknowledged at once, behind the first one: acknowledgements of a session leave in order. So the first one
//! has settled by then, if it is to be acknowledged at all: a repeat that is does not repeat one that is not (QoS 0).
//!
//! Readings are known by a digest of 64 bits under a key of this process, which nobody can choose readings for. Among
//! 16,384 of them the chance that a new one is taken for another is 2⁻⁵⁰.

use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Asked;
use super::lately::Lately;
use crate::units::Period;

/// What a repeat is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", rename = "what a repeat is known by")]
pub enum By {
    /// The sensor's own count: the entry's `counter`.
    Counter,
    /// The sensor's own time: the entry's `timestamp`.
    Timestamp,
}

/// `deduplicate` of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "repeats that are left out")]
pub struct Settings {
    /// What a repeat is known by, beside all else that it says.
    pub by: By,
    /// How long a reading is known.
    #[serde(default = "window")]
    pub window: Period,
    /// Readings that are known at a time. Where more come within the window, the older half is known no more,
    /// which is counted: their repeats pass.
    #[serde(default = "readings_max")]
    #[schemars(range(min = 2, max = 10_000_000))]
    pub readings_max: NonZeroU32,
}

fn window() -> Period {
    Period::millis(60_000)
}

const fn readings_max() -> NonZeroU32 {
    NonZeroU32::new(16_384).expect("16384 is not zero")
}

/// Readings that may be known, so that their bytes can be added up.
const READINGS_MAX: u32 = 10_000_000;

impl Settings {
    pub(super) fn bytes_max(&self) -> u64 {
        Lately::<u64>::bytes_max(self.readings_max.get() as usize)
    }

    /// What cannot stay as it is.
    pub(super) fn problem(&self, counts: bool) -> Option<String> {
        if self.window.0.is_zero() {
            return Some("has a window of 0: write how long a reading is known, \"60s\"".into());
        }
        if !(2..=READINGS_MAX).contains(&self.readings_max.get()) {
            return Some(format!("has a readings_max that is not from 2 to {READINGS_MAX}"));
        }
        let lacks = self.by == By::Counter && !counts;
        lacks.then(|| {
            "is by counter, and the entry has none: write counter = \"/seq\", or by = \"timestamp\"".into()
        })
    }
}

/// Knows which readings have come.
#[derive(Debug)]
pub(super) struct Deduplicate {
    settings: Settings,
    /// The first moment, and how many milliseconds after it each came.
    begin: Option<Instant>,
    known: Lately<u64>,
    forgotten: u64,
}

impl Deduplicate {
    pub(super) fn new(settings: Settings) -> Self {
        let known = Lately::new(settings.readings_max.get() as usize);
        Self { settings, begin: None, known, forgotten: 0 }
    }

    /// Whether it has come before. If not, it has now.
    pub(super) fn is_repeat(&mut self, asked: &Asked<'_>, hashing: &RandomState) -> bool {
        let Asked { sensor, topic, labels, value, extra, .. } = *asked;
        let said = (sensor, topic, labels, value, extra, asked.is_acknowledged);
        let key = match (self.settings.by, asked.number) {
            (By::Counter, Some(number)) => hashing.hash_one((said, number)),
            (By::Timestamp, _) if !asked.timestamp.is_empty() => {
                hashing.hash_one((said, asked.timestamp))
            }
            _ => return false,
        };
        let begin = *self.begin.get_or_insert(asked.received.instant);
        let now = millis(asked.received.instant.saturating_duration_since(begin));
        let window = millis(self.settings.window.0);
        let is_within = |came: u64| now.saturating_sub(came) <= window;
        if self.known.get(key).is_some_and(is_within) {
            return true;
        }
        let gone = self.known.put(key, now, |came| *came);
        self.forgotten += gone.into_iter().filter(|came| is_within(*came)).count() as u64;
        false
    }

    /// Readings that are known no more before their window was over, since this was asked last.
    pub(super) fn forgotten(&mut self) -> u64 {
        std::mem::take(&mut self.forgotten)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {

    use super::super::tests::asked;
    use super::*;
    use crate::clock::{self, Now};

    struct Scene {
        it: Deduplicate,
        hashing: RandomState,
        now: Now,
    }

    impl Scene {
        fn new(json: &str) -> Self {
            let settings: Settings = serde_json::from_str(json).unwrap();
            assert_eq!(settings.problem(true), None);
            Self { it: Deduplicate::new(settings), hashing: RandomState::new(), now: clock::now() }
        }

        fn count(&mut self, value: &str, number: u64) -> bool {
            let asked = Asked { number: Some(number), ..asked(value, self.now) };
            self.it.is_repeat(&asked, &self.hashing)
        }

        fn wait(&mut self, seconds: u64) {
            self.now.instant += Duration::from_secs(seconds);
        }
    }

    #[test]
    fn a_repeat_says_the_same_in_all() {
        let mut scene = Scene::new(r#"{"by": "counter"}"#);
        let found = [
            scene.count("20", 1),
            scene.count("20", 1),
            // A device that was restarted counts from 1 again.
            scene.count("21", 1),
            scene.count("20", 2),
        ];
        assert_eq!(found, [false, true, false, false]);
        let (now, hashing) = (scene.now, scene.hashing.clone());
        let first = Asked { number: Some(1), ..asked("20", now) };
        for (asked, expected) in [
            (Asked { sensor: "b", ..first }, false),
            (Asked { labels: b"\"quantity\":\"t\"", ..first }, false),
            (Asked { topic: b"s/a/alarm", ..first }, false),
            (Asked { extra: b"\"state\":\"open\"", ..first }, false),
            (Asked { is_acknowledged: true, ..first }, false),
            (Asked { is_acknowledged: true, ..first }, true),
            (Asked { timestamp: b"\"2026-11-22T07:30:50Z\"", ..first }, true),
            (Asked { number: None, ..first }, false),
            (Asked { number: None, ..first }, false),
        ] {
            assert_eq!(scene.it.is_repeat(&asked, &hashing), expected, "{asked:?}");
        }
    }

    #[test]
    fn by_time_what_has_none_passes() {
        let mut scene = Scene::new(r#"{"by": "timestamp"}"#);
        let (now, hashing) = (scene.now, scene.hashing.clone());
        let mut at = |timestamp| {
            scene.it.is_repeat(&Asked { timestamp, number: Some(1), ..asked("1", now) }, &hashing)
        };
        let time = b"\"2026-11-22T07:30:50Z\"";
        assert_eq!([at(time), at(time), at(b""), at(b"")], [false, true, false, false]);
    }

    #[test]
    fn a_reading_is_known_for_the_window_and_no_longer() {
        let mut scene = Scene::new(r#"{"by": "counter", "window": "60s"}"#);
        scene.count("1", 1);
        for number in 2..10 {
            scene.wait(10);
            scene.count("1", number);
        }
        assert!(!scene.count("1", 1), "80 seconds later");
        assert!(scene.count("1", 5), "40 seconds later");
        scene.wait(21);
        assert!(!scene.count("1", 5), "61 seconds later");
        scene.wait(60);
        assert!(scene.count("1", 5), "60 seconds after it came anew");
        assert_eq!(scene.it.forgotten(), 0);
    }

    #[test]
    fn beyond_the_bound_the_first_are_known_no_more_and_counted() {
        let mut scene = Scene::new(r#"{"by": "counter", "readings_max": 10}"#);
        for number in 0..20 {
            scene.count("1", number);
            scene.wait(1);
        }
        // Ten, and of these the later five, with five more, twice.
        assert_eq!([scene.it.forgotten(), scene.it.forgotten()], [10, 0], "of 20");
        assert!((10..20).all(|number| scene.count("1", number)) && !scene.count("1", 0));
    }
}
