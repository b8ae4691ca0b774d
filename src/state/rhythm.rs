//! How often a sensor reports, learned from its readings.
//!
//! A *report* is what comes at once: readings with less than [`REPORT_PAUSE`] between two of them. Of the last seven
//! pauses between reports the second longest counts: one long pause makes a sensor no slower. Of pauses that are much
//! shorter than the longest, one of eight is remembered: reports that come in bursts make it no faster.

use std::time::Duration;

/// Readings that come this soon after another one are of the same report.
pub const REPORT_PAUSE: Duration = Duration::from_secs(1);

/// Pauses that must be known before anything is said of a sensor.
const PAUSES_LEAST: usize = 3;

/// A sensor must have been heard for so many times its longest pause, too, or have so many readings: the first burst says
/// nothing of the pauses between bursts.
const OBSERVED_LEAST: u32 = 8;
const READINGS_LEAST: u64 = 64;

/// Readings that must have come of a sensor without pauses before anything is said of it.
const STEADY_READINGS: u64 = 10;

/// A pause that is so many times as long as another one makes that one short.
const SHORT: u32 = 8;

/// One of so many short pauses is remembered.
const SHORT_ONES: u64 = 8;

/// The last seven pauses of a sensor, each in steps of 7 %, 0 where there was none; in the lowest byte how many short ones
/// have come since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rhythm(pub u64);

impl Rhythm {
    /// The same, after one more pause.
    #[must_use]
    pub fn with(self, pause: Duration) -> Self {
        let [.., longest] = self.steps();
        let is_short = pause_of(longest) > pause.saturating_mul(SHORT);
        if is_short && self.0 % 256 + 1 < SHORT_ONES {
            return Self(self.0 + 1);
        }
        Self((self.0 >> 8 << 8 | u64::from(step_of(pause))) << 8)
    }

    /// The time between two reports of a sensor that has been heard for so long, with so many readings; `None` while too
    /// little is known.
    pub fn interval(self, observed: Duration, readings: u64) -> Option<Duration> {
        let steps = self.steps();
        let known = steps.iter().filter(|step| **step > 0).count();
        let [.., second, longest] = steps.map(pause_of);
        // It reports all the time, and pauses are few.
        let is_steady = readings >= STEADY_READINGS.max(observed.as_secs());
        let interval = if known >= PAUSES_LEAST {
            second
        } else {
            is_steady.then_some(longest.max(REPORT_PAUSE))?
        };
        let is_settled = observed >= longest.max(REPORT_PAUSE) * OBSERVED_LEAST;
        (is_settled || known >= PAUSES_LEAST && readings >= READINGS_LEAST).then_some(interval)
    }

    /// That of a sensor that is known to report so often.
    pub fn of(interval: Duration) -> Self {
        (0..PAUSES_LEAST).fold(Self::default(), |it, _| it.with(interval))
    }

    /// The time between two reports of a sensor whose rhythm began with [`Rhythm::of`], whatever has come since.
    pub fn going_on(self) -> Duration {
        let [.., second, _] = self.steps().map(pause_of);
        second
    }

    /// The steps of the pauses, the longest last.
    fn steps(self) -> [u8; 8] {
        let mut steps = (self.0 >> 8).to_be_bytes();
        steps.sort_unstable();
        steps
    }
}

/// The first step that is not shorter. The longest is most of a year.
fn step_of(pause: Duration) -> u8 {
    let mut steps = steps();
    let step = steps.find(|(_, it)| *it >= pause);
    step.map_or(u8::MAX, |it| it.0)
}

/// The time of a step.
fn pause_of(step: u8) -> Duration {
    steps().find(|it| it.0 == step).map_or(Duration::ZERO, |it| it.1)
}

fn steps() -> impl Iterator<Item = (u8, Duration)> {
    let longer = |millis: &u64| Some(millis + millis * 7 / 100);
    let pauses = std::iter::successors(Some(1000), longer);
    (1..=u8::MAX).zip(pauses.map(Duration::from_millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether so many seconds are learned of these pauses.
    fn is_learned(pauses: &[u64], expected: u64) -> bool {
        let rhythm = pauses
            .iter()
            .fold(Rhythm::default(), |it, seconds| it.with(Duration::from_secs(*seconds)));
        let observed = Duration::from_secs(pauses.iter().sum());
        let learned = rhythm.interval(observed, 1).unwrap_or_default().as_secs();
        (expected..=expected + expected / 14).contains(&learned)
    }

    #[test]
    fn the_second_longest_of_the_last_pauses_counts() {
        assert!(is_learned(&[60; 8], 0) && is_learned(&[60; 9], 60));
        assert!(is_learned(&[[60; 20].as_slice(), &[600], &[60; 60]].concat(), 60), "a pause");
        assert!(
            is_learned(&[2; 17][..3], 0) && is_learned(&[[2; 9].as_slice(), &[60]].concat(), 0),
            "a burst"
        );
        assert!(is_learned(&[9; 20], 9));
        assert!(is_learned(&[[600; 9].as_slice(), &[100; 6]].concat(), 100), "it is faster now");
    }

    #[test]
    fn a_sensor_that_reports_all_the_time_is_known_soon() {
        let seconds = Duration::from_secs;
        let none = Rhythm::default();
        assert_eq!(none.interval(seconds(9), 90), Some(REPORT_PAUSE));
        assert_eq!(none.interval(seconds(7), 90), None, "soon");
        assert_eq!(none.interval(seconds(99), 90), None, "it reports only now and then");
        let once = none.with(seconds(5));
        assert_eq!(once.interval(seconds(39), 400), None);
        assert!(once.interval(seconds(50), 400).is_some_and(|it| it >= seconds(5)));
    }

    #[test]
    fn bursts_make_a_sensor_no_faster_and_a_night_makes_it_no_slower() {
        let bursts = [[2; 20].as_slice(), &[600]].concat().repeat(9);
        assert!(is_learned(&bursts, 600));
        assert!(is_learned(&[bursts, vec![2; 20]].concat(), 600));
        let days = [[600; 90].as_slice(), &[30_000]].concat().repeat(9);
        assert!(is_learned(&days, 600));
        let faster = [[600; 9].as_slice(), &[5; 8 * 6]].concat();
        assert!(is_learned(&faster, 5), "it is much faster now");
    }

    #[test]
    fn what_is_known_of_before_stays_as_it_is_and_is_learned_anew_from_then_on() {
        let seconds = Duration::from_secs;
        for interval in [seconds(1), Duration::from_millis(1070), seconds(600), seconds(20_000_000)]
        {
            let kept = Rhythm::of(interval).going_on();
            assert!(kept >= interval && kept <= interval.mul_f64(1.07), "{interval:?}: {kept:?}");
            assert_eq!(Rhythm::of(kept).going_on(), kept, "not longer at each start");
        }
        let goes_on = |pauses: &[u64]| {
            let begin = Rhythm::of(seconds(60));
            pauses.iter().fold(begin, |it, pause| it.with(seconds(*pause))).going_on().as_secs()
        };
        assert_eq!((goes_on(&[61]), goes_on(&[600, 60])), (goes_on(&[]), goes_on(&[])));
        assert_eq!(goes_on(&[10; 7]), 10, "it is faster now");
        assert!(goes_on(&[600; 2]) >= 600, "it is slower now");
    }

    #[test]
    fn a_pause_is_known_to_one_part_in_fourteen_and_none_is_made_shorter() {
        for seconds in [1, 2, 7, 60, 86_400, 20_000_000] {
            let pause = Duration::from_secs(seconds);
            let rhythm = Rhythm::default().with(pause).with(pause).with(pause);
            let told = rhythm.interval(pause * 9, 1).unwrap();
            assert!(told >= pause && told <= pause.mul_f64(1.07), "{pause:?}: {told:?}");
        }
        let longest = Rhythm::default().with(Duration::MAX);
        assert_eq!(longest.0, 255 << 8);
    }
}
