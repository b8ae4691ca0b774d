//! How the values of a simulated sensor are made: the same seed gives the same values.

use std::f64::consts::TAU;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Normal};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How values are made. All in the unit of the reading.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", rename = "model", deny_unknown_fields)]
pub enum Model {
    /// Independent values around a mean, by the normal distribution.
    Gaussian {
        /// The mean.
        #[serde(default = "fifty")]
        mean: f64,
        /// The standard deviation.
        #[serde(default = "ten")]
        std_dev: StdDev,
    },
    /// A sine wave.
    Sine {
        /// The middle.
        #[serde(default = "fifty")]
        mean: f64,
        /// From the middle to the peak.
        #[serde(default = "ten_plain")]
        amplitude: NotNegative,
        /// Readings a period, above 0.
        #[serde(default = "hundred")]
        period: Period,
    },
    /// Each value is the one before, plus or minus up to a step.
    RandomWalk {
        /// The first value.
        #[serde(default = "fifty")]
        start: f64,
        /// The largest step.
        #[serde(default = "one")]
        step: NotNegative,
    },
    /// Always the same.
    Constant {
        /// The value.
        value: f64,
    },
}

/// A standard deviation: finite and not negative.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "f64", into = "f64")]
#[schemars(extend("minimum" = 0))]
pub struct StdDev(Normal<f64>);

impl TryFrom<f64> for StdDev {
    type Error = String;

    fn try_from(std_dev: f64) -> Result<Self, String> {
        let usable = std_dev.is_finite() && std_dev >= 0.0;
        match Normal::new(0.0, std_dev) {
            Ok(normal) if usable => Ok(Self(normal)),
            _ => Err(format!("{std_dev} is no standard deviation: write 0 or more")),
        }
    }
}

impl From<StdDev> for f64 {
    fn from(std_dev: StdDev) -> Self {
        std_dev.0.std_dev()
    }
}

/// A distance: finite and not negative.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "f64", into = "f64")]
#[schemars(extend("minimum" = 0))]
pub struct NotNegative(f64);

impl TryFrom<f64> for NotNegative {
    type Error = String;

    fn try_from(number: f64) -> Result<Self, String> {
        let usable = number.is_finite() && number >= 0.0;
        usable
            .then_some(Self(number))
            .ok_or_else(|| format!("{number} is negative: write 0 or more"))
    }
}

impl From<NotNegative> for f64 {
    fn from(number: NotNegative) -> Self {
        number.0
    }
}

/// Readings a period: finite and above 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "f64", into = "f64")]
#[schemars(extend("exclusiveMinimum" = 0))]
pub struct Period(f64);

impl TryFrom<f64> for Period {
    type Error = String;

    fn try_from(readings: f64) -> Result<Self, String> {
        let usable = readings.is_finite() && readings > 0.0;
        usable.then_some(Self(readings)).ok_or_else(|| {
            format!("{readings} is no period: write how many readings one has, such as 100.0")
        })
    }
}

impl From<Period> for f64 {
    fn from(period: Period) -> Self {
        period.0
    }
}

fn fifty() -> f64 {
    50.0
}
fn ten() -> StdDev {
    StdDev(Normal::new(0.0, 10.0).expect("10 is a standard deviation"))
}
fn ten_plain() -> NotNegative {
    NotNegative(10.0)
}
fn hundred() -> Period {
    Period(100.0)
}
fn one() -> NotNegative {
    NotNegative(1.0)
}

impl Default for Model {
    fn default() -> Self {
        Self::Gaussian { mean: fifty(), std_dev: ten() }
    }
}

/// A model at work: the values of one sensor.
#[derive(Debug)]
pub struct Values {
    model: Model,
    rng: SmallRng,
    last: f64,
    made: u64,
}

impl Values {
    /// Begins; the same seed gives the same values.
    pub fn new(model: Model, seed: u64) -> Self {
        let last = if let Model::RandomWalk { start, .. } = model { start } else { 0.0 };
        Self { model, rng: SmallRng::seed_from_u64(seed), last, made: 0 }
    }

    /// The next value, with two digits after the point; always finite.
    #[expect(clippy::cast_precision_loss, reason = "a phase past 2^53 readings may be rough")]
    pub fn value(&mut self) -> f64 {
        let value = match self.model {
            Model::Gaussian { mean, std_dev } => mean + std_dev.0.sample(&mut self.rng),
            Model::Sine { mean, amplitude, period } => {
                mean + amplitude.0 * (TAU * self.made as f64 / period.0).sin()
            }
            Model::RandomWalk { step, .. } => {
                if self.made > 0 {
                    self.last += step.0 * self.rng.random_range(-1.0..=1.0);
                }
                self.last
            }
            Model::Constant { value } => value,
        };
        self.made += 1;
        // Two digits, as a sensor has: 50.12. What has no decimal text becomes 0.
        let rounded = (value * 100.0).round() / 100.0;
        if rounded.is_finite() { rounded } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(model: &str, count: usize) -> Vec<f64> {
        let mut values = Values::new(serde_json::from_str(model).unwrap(), 7);
        (0..count).map(|_| values.value()).collect()
    }

    #[test]
    fn a_sine_has_its_middle_its_height_and_its_period() {
        let wave = values(r#"{"sine":{"mean":20,"amplitude":3,"period":8}}"#, 17);
        assert_eq!(wave[..5], [20.0, 22.12, 23.0, 22.12, 20.0]);
        assert_eq!((wave[6], wave[8], &wave[8..16]), (17.0, 20.0, &wave[..8]));
        // 50 and 10, a hundred readings a period.
        assert_eq!(values(r#"{"sine":{}}"#, 26)[25..], [60.0]);
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
}
