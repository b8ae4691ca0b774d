//! Faults that a simulated entry plants into its readings.
//!
//! Invariants:
//! - All faults come of the seed. Each reading draws the same random numbers, whatever the rates are, so a fault stays
//!   where it is when the rate of another changes.
//! - They come of a generator of their own, so the values beside them are those of the entry without faults.
//! - A reading that is not made (`dropout`, `offline`) has no number. A gap of numbers is always a loss.

use std::num::NonZeroU32;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::amounts::{NotNegative, Rate};
use crate::units;

/// `[sensors.<name>.simulated.faults]`: how often readings have faults. A rate is a probability a reading, 0 to 1; 0
/// unless it is set.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// Rate of readings that are not made. `readings` counts them; the sensor's number does not.
    pub dropout: Rate,
    /// Rate of readings at which the sensor falls silent.
    pub offline: Rate,
    /// The longest silence, in readings: each lasts from 1 to so many.
    pub offline_readings: NonZeroU32,
    /// Rate of readings whose value the following ones repeat.
    pub stuck: Rate,
    /// The longest repetition, in readings: each lasts from 1 to so many.
    pub stuck_readings: NonZeroU32,
    /// Rate of values that are far away.
    pub spike: Rate,
    /// How far: added or subtracted.
    pub spike_size: NotNegative,
    /// Rate of readings that come twice, with the same number and time.
    pub duplicate: Rate,
    /// Rate of readings with an earlier time of their own.
    pub delayed: Rate,
    /// How much earlier.
    pub delayed_by: units::Period,
    /// Rate of payloads of `sluicegate simulate` that are no readings: their first byte is 0xFF, which begins no text.
    /// In the gateway's own process there are no payloads, and it has no effect.
    pub malformed: Rate,
}

impl Default for Faults {
    fn default() -> Self {
        let never = Rate(0.0);
        Self {
            dropout: never,
            offline: never,
            offline_readings: NonZeroU32::new(60).expect("60 is above 0"),
            stuck: never,
            stuck_readings: NonZeroU32::new(30).expect("30 is above 0"),
            spike: never,
            spike_size: NotNegative(100.0),
            duplicate: never,
            delayed: never,
            delayed_by: units::Period::millis(60_000),
            malformed: never,
        }
    }
}

impl Faults {
    pub(super) fn is_none(&self) -> bool {
        let Self { dropout, offline, stuck, spike, duplicate, delayed, malformed, .. } = self;
        let rates = [dropout, offline, stuck, spike, duplicate, delayed, malformed];
        rates.iter().all(|it| it.0 <= 0.0)
    }
}

/// A planted fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The reading is not made.
    Dropout,
    /// Nor are others beside it.
    Offline,
    /// It repeats a value.
    Stuck,
    /// Its value is far away.
    Spike,
    /// It comes twice.
    Duplicate,
    /// Its time is too early.
    Delayed,
    /// Its payload is no reading.
    Malformed,
}

/// The faults of one reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Planted(u8);

impl Planted {
    /// Whether it has this fault.
    pub const fn has(self, fault: Fault) -> bool {
        self.0 & 1 << fault as u8 != 0
    }

    fn plant(&mut self, fault: Fault) {
        self.0 |= 1 << fault as u8;
    }
}

/// What becomes of a reading that is due.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Turn {
    /// It is made.
    Made(f64, Planted),
    /// It is not made, by this fault.
    Absent(Fault),
    /// The file of a `replay` has ended, and so does the sensor.
    Over,
}

/// The faults of one sensor, at work.
#[derive(Debug)]
pub(super) struct Planter {
    rng: Xoshiro256PlusPlus,
    /// Readings for which it is silent yet.
    silent: u32,
    /// Readings that repeat a value yet, and the value.
    stuck: (u32, f64),
}

impl Planter {
    pub(super) fn new(seed: u64) -> Self {
        // The values have the seed itself.
        let rng = Xoshiro256PlusPlus::seed_from_u64(!seed);
        Self { rng, silent: 0, stuck: (0, 0.0) }
    }

    /// What becomes of the reading that would have this value.
    pub(super) fn turn(&mut self, faults: &Faults, value: f64) -> Turn {
        let [offline, dropout, stuck, spike, malformed, duplicate, delayed] =
            self.rng.random::<[f64; 7]>();
        let silent = self.rng.random_range(1..=faults.offline_readings.get());
        let repeated = self.rng.random_range(1..=faults.stuck_readings.get());
        let is_up = self.rng.random::<bool>();
        if self.silent == 0 && offline < faults.offline.0 {
            self.silent = silent;
        }
        if self.silent > 0 {
            self.silent -= 1;
            return Turn::Absent(Fault::Offline);
        }
        if dropout < faults.dropout.0 {
            return Turn::Absent(Fault::Dropout);
        }
        let (mut value, mut planted) = (value, Planted::default());
        if self.stuck.0 > 0 {
            self.stuck.0 -= 1;
            value = self.stuck.1;
            planted.plant(Fault::Stuck);
        } else if spike < faults.spike.0 {
            value += if is_up { faults.spike_size.0 } else { -faults.spike_size.0 };
            planted.plant(Fault::Spike);
        } else if stuck < faults.stuck.0 {
            self.stuck = (repeated, value);
        }
        if malformed < faults.malformed.0 {
            // A second one of it, or its time, would be seen by nobody.
            planted.plant(Fault::Malformed);
            return Turn::Made(value, planted);
        }
        for (drawn, rate, fault) in [
            (duplicate, faults.duplicate, Fault::Duplicate),
            (delayed, faults.delayed, Fault::Delayed),
        ] {
            if drawn < rate.0 {
                planted.plant(fault);
            }
        }
        Turn::Made(value, planted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of so many readings with the values 0, 1, 2, ….
    fn turns(faults: &str, count: u32) -> Vec<Turn> {
        let faults: Faults = serde_json::from_str(faults).unwrap();
        let mut planter = Planter::new(5);
        (0..count).map(|n| planter.turn(&faults, f64::from(n))).collect()
    }

    fn count(turns: &[Turn], fault: Fault) -> usize {
        let is = |it: &&Turn| match it {
            Turn::Made(_, planted) => planted.has(fault),
            Turn::Absent(by) => *by == fault,
            Turn::Over => false,
        };
        turns.iter().filter(is).count()
    }

    #[test]
    fn each_fault_comes_as_often_as_its_rate_says_and_alone() {
        for (key, fault) in [
            ("dropout", Fault::Dropout),
            ("spike", Fault::Spike),
            ("duplicate", Fault::Duplicate),
            ("delayed", Fault::Delayed),
            ("malformed", Fault::Malformed),
        ] {
            let turns = turns(&format!(r#"{{"{key}":0.1}}"#), 10_000);
            assert!((900..1100).contains(&count(&turns, fault)), "{key}");
            let clean = |it: &&Turn| matches!(it, Turn::Made(_, planted) if planted.0 == 0);
            assert_eq!(turns.iter().filter(clean).count() + count(&turns, fault), 10_000, "{key}");
        }
    }

    #[test]
    fn a_silence_and_a_stuck_value_last_for_a_while() {
        let silent = turns(r#"{"offline":0.01,"offline_readings":20}"#, 10_000);
        let lengths: Vec<_> = silent
            .split(|it| matches!(it, Turn::Made(..)))
            .map(<[Turn]>::len)
            .filter(|it| *it > 0)
            .collect();
        assert!((70..130).contains(&lengths.len()), "{lengths:?}");
        // Two may follow each other at once.
        assert!(lengths.iter().max() > Some(&15) && lengths.iter().min() < Some(&5), "{lengths:?}");
        let stuck = turns(r#"{"stuck":0.01,"stuck_readings":20}"#, 10_000);
        let mut repeated = 0;
        for two in stuck.windows(2) {
            let [Turn::Made(before, _), Turn::Made(value, planted)] = two else {
                panic!("{two:?}")
            };
            assert_eq!(planted.has(Fault::Stuck), (value - before).abs() < 0.5, "{two:?}");
            repeated += usize::from(planted.has(Fault::Stuck));
        }
        assert!((500..1500).contains(&repeated), "{repeated}");
    }

    #[test]
    fn a_spike_is_far_away_on_both_sides() {
        let spikes = turns(r#"{"spike":1,"spike_size":30}"#, 100);
        let away = |(at, it): (u32, &Turn)| match it {
            Turn::Made(value, _) => value - f64::from(at),
            Turn::Absent(_) | Turn::Over => 0.0,
        };
        let away: Vec<_> = (0..).zip(&spikes).map(away).collect();
        assert!(away.iter().all(|it| (it.abs() - 30.0).abs() < 0.001), "{away:?}");
        assert!(away.iter().any(|it| *it > 0.0) && away.iter().any(|it| *it < 0.0));
    }

    #[test]
    fn a_fault_stays_where_it_is_when_the_rate_of_another_changes() {
        let places = |faults: &str| -> Vec<_> {
            let is = |(at, it): (usize, &Turn)| match it {
                Turn::Made(_, planted) => planted.has(Fault::Duplicate).then_some(at),
                Turn::Absent(_) | Turn::Over => None,
            };
            turns(faults, 1000).iter().enumerate().filter_map(is).collect()
        };
        let alone = places(r#"{"duplicate":0.1}"#);
        let beside = places(r#"{"duplicate":0.1,"delayed":0.5,"spike":0.2,"stuck":0.1}"#);
        assert_eq!(alone, beside);
        let without = places(r#"{"duplicate":0.1,"dropout":0.5}"#);
        assert!(without.iter().all(|it| alone.contains(it)) && without.len() > 20);
    }

    #[test]
    fn a_rate_that_is_none_is_refused_with_its_remedy() {
        for faults in [
            r#"{"dropout":1.5}"#,
            r#"{"malformed":-0.1}"#,
            r#"{"spike_size":-1}"#,
            r#"{"delayed_by":"soon"}"#,
        ] {
            let error = serde_json::from_str::<Faults>(faults).unwrap_err().to_string();
            assert!(error.contains(": write "), "{faults}: {error}");
        }
        assert!(serde_json::from_str::<Faults>(r#"{"stuck_readings":0}"#).is_err());
    }
}
