//! A model at work: the values of one sensor.
//!
//! A sensor draws from a generator of its own, which is made of the seed, the name of its entry and its index there.
//! So two sensors never move in step, whatever their entries share, and the same seed and settings give the same
//! values. The generator is named (xoshiro256++), so that another version of the library makes the same.

use std::f64::consts::TAU;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use rand_distr::Distribution;

use super::Shared;
use super::amounts::{Period, Share};
use super::faults::{Planted, Planter, Turn};
use super::model::Model;
use super::replay::Player;

/// The values of one sensor.
#[derive(Debug)]
pub struct Values {
    shared: Arc<Shared>,
    rng: Xoshiro256PlusPlus,
    made: u64,
    /// Its own part of a period that is over at the first reading.
    phase: f64,
    /// The value of a walk, or the level of a `step`, without noise.
    last: f64,
    /// Only with faults.
    planter: Option<Box<Planter>>,
    /// Only of a `replay`.
    player: Option<Box<Player>>,
}

impl Values {
    /// The values of sensor `index` of an entry.
    pub fn new(shared: &Arc<Shared>, index: u32) -> Self {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(shared.seed_of(index));
        let phase = rng.random();
        let last = match &shared.settings.model {
            Model::RandomWalk { start, .. } => *start,
            Model::Step { levels, .. } => another(&levels.0, None, &mut rng),
            _ => 0.0,
        };
        let has_faults = !shared.settings.faults.is_none();
        let planter = has_faults.then(|| Box::new(Planter::new(shared.seed_of(index))));
        let player = match &shared.settings.model {
            Model::Replay(replay) => Some(Box::new(Player::new(replay))),
            _ => None,
        };
        Self { shared: Arc::clone(shared), rng, made: 0, phase, last, planter, player }
    }

    /// What its entry's sensors share.
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// What becomes of the next reading; its value is rounded, and always finite.
    pub fn turn(&mut self) -> Turn {
        let Some(value) = self.value() else { return Turn::Over };
        let Self { planter, shared, .. } = self;
        let settings = &shared.settings;
        let turn = match planter {
            Some(planter) => planter.turn(&settings.faults, value),
            None => Turn::Made(value, Planted::default()),
        };
        match turn {
            Turn::Made(value, planted) => Turn::Made(settings.decimals.round(value), planted),
            Turn::Absent(_) | Turn::Over => turn,
        }
    }

    /// How long it is from the last reading to the next one; `None`: as long as the interval.
    pub fn pause(&self) -> Option<Duration> {
        self.player.as_ref().and_then(|it| it.pause())
    }

    /// The next value; `None`: there are no more.
    fn value(&mut self) -> Option<f64> {
        let settings = &self.shared.settings;
        let rng = &mut self.rng;
        let (exact, noise) = match &settings.model {
            Model::Gaussian { mean, std_dev } => (*mean, Some(std_dev)),
            Model::Sine { mean, amplitude, period, noise, phase } => {
                let over = over(self.made, *period, phase.map_or(self.phase, |Share(it)| it));
                (mean + amplitude.0 * (TAU * over).sin(), Some(noise))
            }
            Model::Square { high, low, period, duty, noise, phase } => {
                let over = over(self.made, *period, phase.map_or(self.phase, |Share(it)| it));
                (if over < duty.0 { *high } else { *low }, Some(noise))
            }
            Model::RandomWalk { step, min, max, .. } => {
                if self.made > 0 {
                    let to = self.last + step.0 * rng.random_range(-1.0..=1.0);
                    self.last = turned_back(to, min.unwrap_or(f64::MIN), max.unwrap_or(f64::MAX));
                }
                (self.last, None)
            }
            Model::Step { levels, lasting, noise } => {
                if self.made > 0 && rng.random::<f64>() * lasting.0 < 1.0 {
                    self.last = another(&levels.0, Some(self.last), rng);
                }
                (self.last, Some(noise))
            }
            Model::Constant { value } => (*value, None),
            Model::Replay(_) => (self.player.as_mut().and_then(|it| it.value())?, None),
        };
        self.made += 1;
        let added = noise.map_or(0.0, |it| it.0.sample(rng));
        Some(exact + added)
    }
}

/// The part of a period that is over at reading `made`, from 0.
#[expect(clippy::cast_precision_loss, reason = "a phase past 2^53 readings may be rough")]
fn over(made: u64, period: Period, phase: f64) -> f64 {
    (made as f64 / period.0 + phase).fract()
}

/// A value that left its bounds, as far inside as it was outside.
fn turned_back(value: f64, min: f64, max: f64) -> f64 {
    let inside = if value < min {
        min + (min - value)
    } else if value > max {
        max - (value - max)
    } else {
        value
    };
    // A step may be wider than the bounds.
    inside.clamp(min, max)
}

/// One of the levels, and not the last one unless there is no other.
fn another(levels: &[f64], last: Option<f64>, rng: &mut Xoshiro256PlusPlus) -> f64 {
    let is_other = |it: &&f64| last.is_none_or(|last| last.total_cmp(it).is_ne());
    let others = levels.iter().filter(is_other);
    let at = rng.random_range(0..others.clone().count().max(1));
    others.clone().nth(at).or(levels.first()).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::simulated::Settings;

    fn values_of(text: &str, count: usize) -> Vec<f64> {
        let settings: Settings = serde_json::from_str(text).unwrap();
        let mut values = Values::new(&Shared::new(&settings, "T", 7), 0);
        let value = |_| match values.turn() {
            Turn::Made(value, _) => value,
            Turn::Absent(_) | Turn::Over => f64::NAN,
        };
        (0..count).map(value).collect()
    }

    fn values(model: &str, count: usize) -> Vec<f64> {
        values_of(&format!(r#"{{"model":{model}}}"#), count)
    }

    #[test]
    fn a_sine_has_its_middle_its_height_and_its_period() {
        let wave = values(r#"{"sine":{"mean":20,"amplitude":3,"period":8,"phase":0}}"#, 17);
        assert_eq!(wave[..5], [20.0, 22.12, 23.0, 22.12, 20.0]);
        assert_eq!((wave[6], wave[8], &wave[8..16]), (17.0, 20.0, &wave[..8]));
        // 50 and 10, a hundred readings a period.
        assert_eq!(values(r#"{"sine":{"phase":0}}"#, 26)[25..], [60.0]);
        assert_eq!(values(r#"{"sine":{"phase":0.25}}"#, 1), [60.0]);
    }

    #[test]
    fn noise_is_added_to_a_wave_and_to_levels() {
        for model in ["sine", "square", "step"] {
            let clean = values(&format!(r#"{{"{model}":{{}}}}"#), 1);
            let noisy = values(&format!(r#"{{"{model}":{{"noise":0.5}}}}"#), 1);
            let apart = (clean[0] - noisy[0]).abs();
            assert!(apart > 0.0 && apart < 3.0, "{model}: {apart}");
        }
    }

    #[test]
    fn a_random_walk_begins_at_its_start_and_takes_no_step_that_is_too_large() {
        let walk = values(r#"{"random_walk":{"start":5,"step":2}}"#, 1000);
        assert_eq!(walk[..1], [5.0]);
        let steps = walk.windows(2).map(|two| (two[1] - two[0]).abs());
        let largest = steps.fold(0.0, f64::max);
        // Both ends are rounded.
        assert!(largest > 1.9 && largest <= 2.01, "{largest}");
    }

    #[test]
    fn a_random_walk_stays_within_its_bounds_and_does_not_rest_there() {
        let walk = values(r#"{"random_walk":{"start":1,"step":0.5,"min":0,"max":2}}"#, 10_000);
        assert!(walk.iter().all(|it| (0.0..=2.0).contains(it)));
        let at_the_edge = walk.iter().filter(|it| **it < 0.01 || **it > 1.99).count();
        assert!(at_the_edge < 300, "{at_the_edge}");
        // A step wider than the bounds, too.
        let wide = values(r#"{"random_walk":{"start":1,"step":50,"min":0,"max":2}}"#, 1000);
        assert!(wide.iter().all(|it| (0.0..=2.0).contains(it)));
    }

    #[test]
    fn a_gaussian_has_its_mean_and_its_deviation_and_a_constant_its_value() {
        for (model, mean, deviation) in [
            (r#"{"gaussian":{}}"#, 50.0, 10.0),
            (r#"{"gaussian":{"mean":-3,"std_dev":0.5}}"#, -3.0, 0.5),
        ] {
            let values = values(model, 10_000);
            let average = values.iter().sum::<f64>() / 10_000.0;
            let squares = values.iter().map(|value| (value - average).powi(2)).sum::<f64>();
            let found = (squares / 10_000.0).sqrt();
            assert!((average - mean).abs() < deviation / 20.0, "{average}");
            assert!((found - deviation).abs() < deviation / 20.0, "{found}");
        }
        assert_eq!(values(r#"{"constant":{"value":1.25}}"#, 3), [1.25; 3]);
    }

    #[test]
    fn a_square_is_high_for_its_part_of_a_period() {
        let square = values(r#"{"square":{"high":3,"low":1,"period":4,"duty":0.25,"phase":0}}"#, 9);
        assert_eq!(square, [3.0, 1.0, 1.0, 1.0, 3.0, 1.0, 1.0, 1.0, 3.0]);
        let all = values(r#"{"square":{"duty":1}}"#, 200);
        assert!(all.iter().all(|it| *it > 59.9), "{all:?}");
    }

    #[test]
    fn a_step_lasts_as_long_as_it_should_and_takes_all_its_levels() {
        let steps = values(r#"{"step":{"levels":[1,2,5],"lasting":20}}"#, 20_000);
        for level in [1.0, 2.0, 5.0] {
            let share = steps.iter().filter(|it| (**it - level).abs() < 0.001).count();
            assert!((5000..8500).contains(&share), "{level}: {share}");
        }
        let changes = steps.windows(2).filter(|two| (two[0] - two[1]).abs() > 0.1).count();
        assert!((850..1150).contains(&changes), "{changes}");
        assert_eq!(values(r#"{"step":{"levels":[7],"lasting":1}}"#, 3), [7.0; 3]);
    }

    #[test]
    fn values_have_as_many_digits_as_are_asked_for() {
        let value = |decimals: u8| {
            let text = format!(
                r#"{{"decimals":{decimals},"model":{{"constant":{{"value":-1.23456789}}}}}}"#
            );
            let value = values_of(&text, 1)[0];
            super::super::Decimals::try_from(decimals)
                .unwrap()
                .text(value, &mut ryu::Buffer::new())
                .to_owned()
        };
        assert_eq!([0, 1, 4, 9].map(value), ["-1", "-1.2", "-1.2346", "-1.23456789"]);
        let huge = values(r#"{"constant":{"value":1.7e308}}"#, 1);
        assert_eq!(huge, [1.7e308]);
        let none = values(r#"{"constant":{"value":-0.001}}"#, 1);
        assert!(none[0].is_sign_positive());
    }
}
