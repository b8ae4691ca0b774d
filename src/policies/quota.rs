//! `quota`: how many readings a sensor may send, so that one that floods takes nothing from the others.
//!
//! The generic cell rate algorithm (ITU-T I.371, Annex A): for each sensor the time is kept at which it would have used up
//! all that it has sent, were it to send at its rate. A reading that comes more than a burst before that is over the
//! quota. A sensor that has been quiet is as one that nothing is known of; so what is forgotten gives a burst, and no loss.
//!
//! With `keep_latest` a reading that is over waits for its turn (`line`), unless a later one of its series takes its
//! place; the turn is taken from the quota of the sensor when it begins to wait. While one of a sensor waits, none of it
//! passes: they stay in order. What waits is not acknowledged, and holds back what came behind it. So it waits a second at
//! most: a rate is one a second at least there. What leaves before its turn, since there is no room, begins the quota
//! of its sensor anew: else the next ones would wait for what has left already.

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

/// How long a reading waits for its turn.
const WAIT_MAX: Duration = Duration::from_secs(1);

impl Settings {
    pub(super) fn bytes_max(&self) -> u64 {
        if self.over == Over::KeepLatest { line::BYTES } else { 0 }
    }

    /// What cannot stay as it is.
    pub(super) fn problem(&self) -> Option<String> {
        let burst = self.burst();
        if burst > BURST_MAX {
            return Some(format!("has a burst of {burst}: write {BURST_MAX} at most"));
        }
        let pause = self.pause();
        if pause.saturating_mul(burst - 1) > AHEAD_MAX {
            let most = AHEAD_MAX.as_secs() / pause.as_secs().max(1) + 1;
            let rate = self.rate;
            return Some(format!(
                "has a burst of more than a year at {rate}: write {most} at most"
            ));
        }
        (self.over == Over::KeepLatest && pause > WAIT_MAX).then(|| {
            let rate = self.rate;
            format!(
                "keeps the latest of less than one a second ({rate}): what waits is not acknowledged, nor what came \
                 behind it. Write \"1/s\" at least, or filter = {{ min_interval = … }} for fewer"
            )
        })
    }

    /// Between two readings at the rate.
    fn pause(&self) -> Duration {
        self.rate.unit.time() / self.rate.readings
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
    /// It waits for its turn, a second at most, and is left out where a later one of its sensor and quantity comes before
    /// that: `rate` is `"1/s"` at least. Meanwhile its message is not acknowledged, nor what came behind it. Where the
    /// broker's window is full by it, or 1,024 readings or 512 KiB of an entry wait, all that waits goes out at once.
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
        let digits = readings.trim();
        let is_number = digits.bytes().all(|it| it.is_ascii_digit());
        let readings = digits.parse::<u32>().ok().filter(|_| is_number).ok_or_else(wrong)?;
        let unit = Unit::ALL.into_iter().find(|(word, _)| *word == unit.trim());
        let (_, unit) = unit.ok_or_else(wrong)?;
        if !(1..=RATE_MAX).contains(&readings) {
            return Err(format!("{text:?} is not from 1 to {RATE_MAX} readings"));
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
        let known = self.all.get(sensor).and_then(|it| begin.checked_add(Duration::from_nanos(it)));
        known.map_or(now, |it| it.max(now))
    }

    fn put(&mut self, sensor: u64, used_up: Instant) {
        let begin = *self.begin.get_or_insert(used_up);
        let nanos = used_up.saturating_duration_since(begin).as_nanos();
        // One that has used up nothing is as one that is not known.
        self.all.put(sensor, u64::try_from(nanos).unwrap_or(u64::MAX), |it| *it);
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
    /// Readings that left before their turn.
    cut: u64,
}

impl<T> Quota<T> {
    pub(super) fn new(settings: Settings) -> Self {
        let pause = settings.pause();
        let ahead = pause.saturating_mul(settings.burst() - 1).min(AHEAD_MAX);
        Self { over: settings.over, pause, ahead, line: Line::default(), cut: 0 }
    }

    /// Whether readings may wait.
    pub(super) fn may_wait(&self) -> bool {
        self.over == Over::KeepLatest
    }

    /// What becomes of a reading of this sensor and series that comes now. A `copy` of an earlier one takes no place of
    /// one that waits.
    pub(super) fn judge(
        &mut self,
        all: &mut UsedUp,
        (sensor, series): (u64, u64),
        (now, is_copy): (Instant, bool),
        bytes: usize,
        make: impl FnOnce() -> T,
    ) -> Verdict<T> {
        let used_up = all.of(sensor, now);
        let turn = used_up.checked_sub(self.ahead).unwrap_or(now);
        let waits = self.line.has(sensor);
        if turn <= now && !waits {
            all.put(sensor, used_up + self.pause);
            return Verdict::Take;
        }
        match self.over {
            Over::ShedNewest => return Verdict::Leave(Policy::Quota),
            Over::DeadLetter => return Verdict::Refuse,
            Over::KeepLatest if waits && is_copy => return Verdict::Leave(Policy::Quota),
            Over::KeepLatest => {}
        }
        let superseded = self.line.take(sensor, series);
        if !self.line.has_room(bytes) {
            self.release(all, now);
        }
        if superseded.is_none() {
            let used_up = all.of(sensor, now);
            all.put(sensor, used_up + self.pause);
        }
        self.line.put((sensor, series), turn, bytes, make());
        Verdict::Wait(superseded)
    }

    /// Readings that left before their turn, since this was asked last.
    pub(super) fn cut(&mut self) -> u64 {
        std::mem::take(&mut self.cut)
    }

    /// It is the turn of all that waits.
    pub(super) fn release(&mut self, all: &mut UsedUp, now: Instant) {
        self.cut += self.line.count() as u64;
        for sensor in self.line.release() {
            let used_up = all.of(sensor, now);
            all.put(sensor, used_up.min(now + self.ahead + self.pause));
        }
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
            self.quota.judge(&mut self.all, (1, series), (at, false), 10, || what)
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
        let mut judge = |sensor| quota.judge(all, (sensor, 0), (at, false), 1, || 0);
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

    /// Else what comes first in each message would take all turns.
    #[test]
    fn what_a_sensor_measures_leaves_together_in_order_and_takes_as_many_turns() {
        let mut scene = Scene::new(r#"{"rate": "1/s", "burst": 1, "over": "keep_latest"}"#);
        let mut came = Vec::new();
        for (at, series) in (0..20).flat_map(|it| [1, 2, 3].map(|series| (it * 900, series))) {
            came.extend(scene.due(at));
            let what = u32::try_from(at + series).unwrap();
            came.extend((scene.judge(series, at, what) == Verdict::Take).then_some(what));
        }
        let of = |series| came.iter().filter(|it| *it % 10 == series).count();
        assert!((5..=7).contains(&of(1)) && of(2) >= 5 && of(3) >= 5, "{came:?}");
        assert!(came.is_sorted(), "{came:?}");
        // Another series of it does not overtake them, late as they are.
        let late = 1_000_000;
        assert_eq!(scene.judge(4, late, 999), Verdict::Wait(None));
        assert_eq!(scene.due(late).last(), Some(&999));
    }

    /// Nobody has taken it yet, as where the queue has no room: the next one would overtake it.
    #[test]
    fn what_had_its_turn_and_is_not_taken_yet_is_not_overtaken() {
        let mut scene = Scene::new(r#"{"rate": "1/s", "over": "keep_latest"}"#);
        assert_eq!(scene.judge(1, 0, 1), Verdict::Take);
        assert_eq!(scene.judge(1, 100, 2), Verdict::Wait(None));
        let late = scene.at(9000);
        scene.quota.line.expire(late);
        assert_eq!(scene.judge(1, 9000, 3), Verdict::Wait(None));
        assert_eq!(scene.due(9000), [2, 3]);
        assert_eq!(scene.judge(1, 10_000, 4), Verdict::Take);
    }

    #[test]
    fn all_that_waits_can_be_released_and_the_next_waits_no_longer_for_it() {
        let mut scene = Scene::new(r#"{"rate": "1/s", "over": "keep_latest"}"#);
        scene.judge(1, 0, 1);
        for at in 1..=9 {
            assert_eq!(scene.judge(1, at, 2), Verdict::Wait(None));
            let now = scene.at(at);
            scene.quota.release(&mut scene.all, now);
            assert_eq!((scene.due(at), scene.quota.line.until()), (vec![2], None));
        }
        assert_eq!(scene.judge(1, 20, 3), Verdict::Wait(None));
        assert_eq!(scene.quota.line.until(), Some(scene.at(1009)));
        assert_eq!(
            (scene.quota.line.clear(), scene.quota.line.until(), scene.due(9999)),
            (1, None, vec![])
        );
    }

    #[test]
    fn where_no_more_may_wait_all_goes_out_and_the_latest_is_kept() {
        let mut scene = Scene::new(r#"{"rate": "1/s", "over": "keep_latest"}"#);
        let (at, full) = (scene.at(0), line::BYTES_MAX);
        for (sensor, bytes, what, verdict, due) in [
            (1, 1, 10, Verdict::Take, vec![]),
            (2, 1, 20, Verdict::Take, vec![]),
            (1, 1, 11, Verdict::Wait(None), vec![]),
            (2, 1, 21, Verdict::Wait(None), vec![]),
            // It takes the place of one, and there is no room for it.
            (1, full, 12, Verdict::Wait(Some(11)), vec![21]),
            (2, 1, 22, Verdict::Wait(None), vec![12]),
        ] {
            let Scene { quota, all, .. } = &mut scene;
            assert_eq!(quota.judge(all, (sensor, sensor), (at, false), bytes, || what), verdict);
            assert_eq!(scene.due(0), due, "{what}");
        }
        assert_eq!(scene.due(5000), [22]);
    }

    #[test]
    fn a_copy_of_an_earlier_reading_takes_no_place() {
        let mut scene = Scene::new(r#"{"rate": "1/s", "over": "keep_latest"}"#);
        scene.judge(1, 0, 1);
        let at = scene.at(0);
        let mut copy = || scene.quota.judge(&mut scene.all, (1, 1), (at, true), 10, || 9);
        assert_eq!(copy(), Verdict::Wait(None), "nothing else waits");
        assert_eq!(copy(), Verdict::Leave(Policy::Quota));
    }

    #[test]
    fn a_rate_reads_as_it_is_written() {
        for text in ["50/s", "6/min", "100/h", "1/d"] {
            assert_eq!(Rate::try_from(text.to_owned()).unwrap().to_string(), text);
        }
        assert_eq!(Rate::try_from(" 5 / s ".to_owned()).unwrap().to_string(), "5/s");
        for wrong in
            ["50", "s", "0/s", "-1/s", "+5/s", "/s", "1.5/s", "5/m", "9999999/s", "5/week", ""]
        {
            assert!(Rate::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
        let many: Settings =
            serde_json::from_str(r#"{"rate": "1/s", "burst": 1000001, "over": "dead_letter"}"#)
                .unwrap();
        assert!(many.problem().unwrap().contains("1000000 at most"));
        for (json, words) in [
            (r#"{"rate": "1/d", "burst": 367, "over": "dead_letter"}"#, "write 366 at most"),
            (r#"{"rate": "59/min", "over": "keep_latest"}"#, "less than one a second"),
        ] {
            let settings: Settings = serde_json::from_str(json).unwrap();
            assert!(settings.problem().unwrap().contains(words), "{json}");
        }
        settings(r#"{"rate": "1/d", "burst": 366, "over": "shed_newest"}"#);
        assert!(serde_json::from_str::<Settings>(r#"{"rate": "1/s"}"#).is_err(), "over is missing");
    }
}
