//! `quota`: how many readings a sensor may send, so that one that floods takes nothing from the others.
//!
//! The generic cell rate algorithm (ITU-T I.371, Annex A): for each sensor the time is kept at which it would have used up
//! all that it has sent, were it to send at its rate. A reading that comes more than a burst before that is over the
//! quota. A sensor that has been quiet is as one that nothing is known of; so what is forgotten gives a burst, and no loss.
//!
//! With `keep_latest` a reading that is over waits for its turn (`line`), unless a later one of its series takes its
//! place; the turn is taken from the quota of the sensor when it begins to wait. While one of a sensor waits, none of it
//! passes: they stay in order.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::lately::Lately;
use super::line::{self, Line};
use crate::settlement::Policy;

/// `quota` of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "what a sensor may send")]
pub struct Settings {
    /// How many readings of a sensor pass in the long run: `"50/s"`, `"6/min"`, `"100/h"`, `"24/d"`.
    pub rate: Rate,
    /// How many of them may come at once, after a pause, 1,000,000 at most. Absent: as many as `rate` names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<NonZeroU32>,
    /// What becomes of a reading that is over.
    pub over: Over,
}

/// Readings that may come at once.
const BURST_MAX: u32 = 1_000_000;

/// How far ahead of its rate a sensor may be, so that no time leaves the clock's range.
const AHEAD_MAX: Duration = Duration::from_hours(365 * 24);

impl Settings {
    pub(super) fn bytes_max(&self) -> u64 {
        if self.over == Over::KeepLatest { line::BYTES } else { 0 }
    }

    /// What cannot stay as it is.
    pub(super) fn problem(&self) -> Option<String> {
        let burst = self.burst.map_or(1, NonZeroU32::get);
        (burst > BURST_MAX).then(|| format!("has a burst of {burst}: write {BURST_MAX} at most"))
    }

    fn burst(&self) -> u32 {
        self.burst.map_or(self.rate.readings, NonZeroU32::get)
    }
}

/// What becomes of a reading that is over the quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", rename = "what becomes of a reading that is over")]
pub enum Over {
    /// It is left out.
    ShedNewest,
    /// It waits for its turn, and is left out where a later one of its sensor and quantity comes before that. Meanwhile its
    /// message is not acknowledged; where the broker's window is full by it, it goes out before its turn. At most 1,024
    /// readings and 512 KiB of an entry wait; a further one is left out.
    KeepLatest,
    /// It is a dead letter, `quota`.
    DeadLetter,
}

/// Readings in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(
    with = "String",
    extend("pattern" = "^\\s*[1-9][0-9]{0,6}\\s*/\\s*(s|min|h|d)\\s*$", "examples" = ["50/s", "6/min"])
)]
pub struct Rate {
    readings: u32,
    unit: Unit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Second,
    Minute,
    Hour,
    Day,
}

impl Unit {
    const ALL: [(&'static str, Self); 4] =
        [("s", Self::Second), ("min", Self::Minute), ("h", Self::Hour), ("d", Self::Day)];

    const fn time(self) -> Duration {
        match self {
            Self::Second => Duration::from_secs(1),
            Self::Minute => Duration::from_mins(1),
            Self::Hour => Duration::from_hours(1),
            Self::Day => Duration::from_hours(24),
        }
    }
}

/// Readings that a rate may name.
const RATE_MAX: u32 = 1_000_000;

impl TryFrom<String> for Rate {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no rate: write how many readings in which time, \"50/s\", \"6/min\", \"100/h\" or \"24/d\""
            )
        };
        let (readings, unit) = text.split_once('/').ok_or_else(wrong)?;
        let readings: u32 = readings.trim().parse().map_err(|_| wrong())?;
        let unit = Unit::ALL.into_iter().find(|(word, _)| *word == unit.trim());
        let (_, unit) = unit.ok_or_else(wrong)?;
        if !(1..=RATE_MAX).contains(&readings) {
            return Err(format!("{text:?} is beside 1 to {RATE_MAX} readings"));
        }
        Ok(Self { readings, unit })
    }
}

impl From<Rate> for String {
    fn from(rate: Rate) -> Self {
        rate.to_string()
    }
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let unit = Unit::ALL.iter().find(|(_, unit)| *unit == self.unit);
        write!(f, "{}/{}", self.readings, unit.expect("all units are there").0)
    }
}

/// What becomes of a reading.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict<T> {
    /// It is taken.
    Take,
    /// It is left out by this policy.
    Leave(Policy),
    /// It becomes a dead letter.
    Refuse,
    /// It waits for its turn, in place of this one, which is left out.
    Wait(Option<T>),
}

/// When each sensor will have used up what it has sent.
#[derive(Debug)]
pub(super) struct UsedUp {
    /// The first moment, and how many nanoseconds after it.
    begin: Option<Instant>,
    all: Lately<u64>,
}

impl UsedUp {
    /// Of so many sensors.
    pub(super) fn new(sensors_max: usize) -> Self {
        Self { begin: None, all: Lately::new(sensors_max) }
    }

    pub(super) const fn bytes_max(sensors_max: usize) -> u64 {
        Lately::<u64>::bytes_max(sensors_max)
    }

    /// When this one will have, not before now.
    fn of(&mut self, sensor: u64, now: Instant) -> Instant {
        let begin = *self.begin.get_or_insert(now);
        let known =
            self.all.get(sensor).and_then(|it| begin.checked_add(Duration::from_nanos(*it)));
        known.map_or(now, |it| it.max(now))
    }

    fn put(&mut self, sensor: u64, used_up: Instant) {
        let begin = *self.begin.get_or_insert(used_up);
        let nanos = used_up.saturating_duration_since(begin).as_nanos();
        self.all.put(sensor, u64::try_from(nanos).unwrap_or(u64::MAX));
    }
}

/// Finds out what a sensor may send, and keeps what waits.
#[derive(Debug)]
pub(super) struct Quota<T> {
    over: Over,
    /// Between two readings at the rate, and how far ahead of it a sensor may be.
    pause: Duration,
    ahead: Duration,
    pub(super) line: Line<T>,
}

impl<T> Quota<T> {
    pub(super) fn new(settings: Settings) -> Self {
        let pause = settings.rate.unit.time() / settings.rate.readings;
        let ahead = pause.saturating_mul(settings.burst() - 1).min(AHEAD_MAX);
        Self { over: settings.over, pause, ahead, line: Line::default() }
    }

    /// Whether readings may wait.
    pub(super) fn may_wait(&self) -> bool {
        self.over == Over::KeepLatest
    }

    /// What becomes of a reading of this sensor and series that comes now.
    pub(super) fn judge(
        &mut self,
        all: &mut UsedUp,
        (sensor, series): (u64, u64),
        now: Instant,
        bytes: usize,
        make: impl FnOnce() -> T,
    ) -> Verdict<T> {
        if self.line.has(sensor, series) {
            return Verdict::Wait(self.line.replace((sensor, series), bytes, make));
        }
        let used_up = all.of(sensor, now);
        let turn = used_up.checked_sub(self.ahead).unwrap_or(now);
        let is_over = turn > now || self.line.has_sensor(sensor);
        match self.over {
            _ if !is_over => {}
            Over::ShedNewest => return Verdict::Leave(Policy::Quota),
            Over::DeadLetter => return Verdict::Refuse,
            Over::KeepLatest if !self.line.has_room(bytes) => {
                return Verdict::Leave(Policy::Quota);
            }
            Over::KeepLatest => self.line.put((sensor, series), turn, bytes, make()),
        }
        all.put(sensor, used_up + self.pause);
        if is_over { Verdict::Wait(None) } else { Verdict::Take }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn settings(json: &str) -> Settings {
        let settings: Settings = serde_json::from_str(json).unwrap();
        assert_eq!(settings.problem(), None);
        settings
    }

    struct Scene {
        quota: Quota<u32>,
        all: UsedUp,
        begin: Instant,
    }

    impl Scene {
        fn new(json: &str) -> Self {
            Self {
                quota: Quota::new(settings(json)),
                all: UsedUp::new(9),
                begin: clock::now().instant,
            }
        }

        fn at(&self, millis: u64) -> Instant {
            self.begin + Duration::from_millis(millis)
        }

        /// Of sensor 1, and this series.
        fn judge(&mut self, series: u64, millis: u64, what: u32) -> Verdict<u32> {
            let at = self.at(millis);
            self.quota.judge(&mut self.all, (1, series), at, 10, || what)
        }

        fn due(&mut self, millis: u64) -> Vec<u32> {
            let at = self.at(millis);
            self.quota.line.expire(at);
            std::iter::from_fn(|| self.quota.line.take_due()).collect()
        }
    }

    #[test]
    fn after_a_burst_readings_pass_at_the_rate() {
        let mut scene = Scene::new(r#"{"rate": "10/s", "burst": 3, "over": "shed_newest"}"#);
        let passed: Vec<u64> = (0..100)
            .map(|it| it * 10)
            .filter(|at| scene.judge(1, *at, 0) == Verdict::Take)
            .collect();
        assert_eq!(passed, [0, 10, 20, 100, 200, 300, 400, 500, 600, 700, 800, 900]);
        // After a pause there is a burst again, and no more.
        let later: Vec<u64> = (0..10)
            .map(|it| 9000 + it)
            .filter(|at| scene.judge(1, *at, 0) == Verdict::Take)
            .collect();
        assert_eq!(later, [9000, 9001, 9002]);
    }

    #[test]
    fn each_sensor_has_its_own_and_a_burst_is_what_the_rate_names() {
        let mut scene = Scene::new(r#"{"rate": "2/min", "over": "dead_letter"}"#);
        let at = scene.at(0);
        let Scene { quota, all, .. } = &mut scene;
        let mut judge = |sensor| quota.judge(all, (sensor, 0), at, 1, || 0);
        let found = [judge(1), judge(1), judge(1), judge(2)];
        assert_eq!(found, [Verdict::Take, Verdict::Take, Verdict::Refuse, Verdict::Take]);
    }

    #[test]
    fn the_latest_waits_for_its_turn_and_others_are_left_out() {
        let mut scene = Scene::new(r#"{"rate": "1/s", "over": "keep_latest"}"#);
        assert_eq!(scene.judge(1, 0, 1), Verdict::Take);
        assert_eq!(scene.judge(1, 100, 2), Verdict::Wait(None));
        assert_eq!(scene.judge(1, 200, 3), Verdict::Wait(Some(2)));
        assert_eq!((scene.quota.line.until(), scene.due(999)), (Some(scene.at(1000)), vec![]));
        assert_eq!(scene.due(1000), [3]);
        // Its turn is taken: the next is due a second later.
        assert_eq!(scene.judge(1, 1500, 4), Verdict::Wait(None));
        assert_eq!(
            (scene.due(1999), scene.due(2000), scene.quota.line.until()),
            (vec![], vec![4], None)
        );
        assert_eq!(scene.judge(1, 3000, 5), Verdict::Take);
    }

    #[test]
    fn what_a_sensor_measures_stays_in_order() {
        let mut scene = Scene::new(r#"{"rate": "1/s", "over": "keep_latest"}"#);
        assert_eq!(scene.judge(1, 0, 10), Verdict::Take);
        for (series, at, what, superseded) in [
            (1, 100, 11, None),
            (2, 150, 21, None),
            (1, 200, 12, Some(11)),
            (2, 2500, 22, Some(21)),
        ] {
            assert_eq!(scene.judge(series, at, what), Verdict::Wait(superseded));
        }
        // Another series of it does not overtake them, late as they are.
        assert_eq!(scene.judge(3, 9000, 31), Verdict::Wait(None));
        assert_eq!(scene.due(9000), [12, 22, 31]);
    }

    #[test]
    fn all_that_waits_can_be_released_and_has_had_its_turn_then() {
        let mut scene = Scene::new(r#"{"rate": "1/s", "over": "keep_latest"}"#);
        scene.judge(1, 0, 1);
        scene.judge(1, 10, 2);
        scene.quota.line.release();
        assert_eq!((scene.due(10), scene.quota.line.until()), (vec![2], None));
        assert_eq!(scene.judge(1, 20, 3), Verdict::Wait(None));
        assert_eq!(scene.quota.line.until(), Some(scene.at(2000)));
        assert_eq!(
            (scene.quota.line.clear(), scene.quota.line.until(), scene.due(9999)),
            (1, None, vec![])
        );
    }

    #[test]
    fn what_has_no_room_is_left_out() {
        let mut scene = Scene::new(r#"{"rate": "1/h", "over": "keep_latest"}"#);
        let at = scene.at(0);
        let Scene { quota, all, .. } = &mut scene;
        let mut judge = |sensor, bytes| quota.judge(all, (sensor, sensor), at, bytes, || 0);
        let (full, left) = (line::BYTES_MAX, Verdict::Leave(Policy::Quota));
        assert_eq!(
            [judge(1, 1), judge(1, full), judge(2, 1)],
            [Verdict::Take, Verdict::Wait(None), Verdict::Take]
        );
        assert_eq!(
            [judge(2, 1), judge(1, 1), judge(2, 1)],
            [left, Verdict::Wait(Some(0)), Verdict::Wait(None)]
        );
    }

    #[test]
    fn a_rate_reads_as_it_is_written() {
        for text in ["50/s", "6/min", "100/h", "1/d"] {
            assert_eq!(Rate::try_from(text.to_owned()).unwrap().to_string(), text);
        }
        assert_eq!(Rate::try_from(" 5 / s ".to_owned()).unwrap().to_string(), "5/s");
        for wrong in ["50", "s", "0/s", "-1/s", "1.5/s", "5/m", "9999999/s", "5/week", ""] {
            assert!(Rate::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
        let many: Settings =
            serde_json::from_str(r#"{"rate": "1/s", "burst": 1000001, "over": "dead_letter"}"#)
                .unwrap();
        assert!(many.problem().unwrap().contains("1000000 at most"));
        assert!(serde_json::from_str::<Settings>(r#"{"rate": "1/s"}"#).is_err(), "over is missing");
    }
}
