//! The models of simulated values, as settings.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::amounts::{Lasting, Levels, NotNegative, Period, Share, StdDev};
use super::replay::Replay;

/// How values are made. All in the unit of the reading.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
        /// The standard deviation of what is added to each value. 0: a clean wave.
        #[serde(default = "none")]
        noise: StdDev,
        /// The part of a period that is over at the first reading, 0 to 1. Absent: each sensor has its own, by the
        /// seed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        phase: Option<Share>,
    },
    /// Each value is the one before, plus or minus up to a step.
    RandomWalk {
        /// The first value.
        #[serde(default = "fifty")]
        start: f64,
        /// The largest step.
        #[serde(default = "one")]
        step: NotNegative,
        /// The lowest value: a step below it is turned back. Absent: there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        min: Option<f64>,
        /// The highest value: a step above it is turned back. Absent: there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max: Option<f64>,
    },
    /// Two levels in turn, as of a switch.
    Square {
        /// The level that each period begins with.
        #[serde(default = "sixty")]
        high: f64,
        /// The other one.
        #[serde(default = "forty")]
        low: f64,
        /// Readings a period, above 0.
        #[serde(default = "hundred")]
        period: Period,
        /// The part of a period that is high, 0 to 1.
        #[serde(default = "half")]
        duty: Share,
        /// The standard deviation of what is added to each value. 0: clean levels.
        #[serde(default = "none")]
        noise: StdDev,
        /// The part of a period that is over at the first reading, 0 to 1. Absent: each sensor has its own, by the
        /// seed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        phase: Option<Share>,
    },
    /// A level that changes at random times to another one.
    Step {
        /// The levels, 1 to 64.
        #[serde(default = "two_levels")]
        levels: Levels,
        /// Readings that a level lasts on average, 1 or more.
        #[serde(default = "long")]
        lasting: Lasting,
        /// The standard deviation of what is added to each value. 0: clean levels.
        #[serde(default = "none")]
        noise: StdDev,
    },
    /// Always the same.
    Constant {
        /// The value.
        value: f64,
    },
    /// Readings out of a file.
    Replay(Replay),
}

fn fifty() -> f64 {
    50.0
}
fn forty() -> f64 {
    40.0
}
fn sixty() -> f64 {
    60.0
}
fn ten() -> StdDev {
    StdDev::of(10.0)
}
fn none() -> StdDev {
    StdDev::of(0.0)
}
fn ten_plain() -> NotNegative {
    NotNegative(10.0)
}
fn hundred() -> Period {
    Period(100.0)
}
fn long() -> Lasting {
    Lasting(100.0)
}
fn one() -> NotNegative {
    NotNegative(1.0)
}
fn half() -> Share {
    Share(0.5)
}
fn two_levels() -> Levels {
    Levels([40.0, 60.0].into())
}

impl Default for Model {
    fn default() -> Self {
        Self::Gaussian { mean: fifty(), std_dev: ten() }
    }
}

impl Model {
    /// What is wrong with parameters taken together: the key below `model`, and the remedy.
    pub(super) fn problems(&self) -> Vec<(&'static str, String)> {
        if let Self::Replay(replay) = self {
            return replay.problem().map(|it| ("replay.file", it)).into_iter().collect();
        }
        let Self::RandomWalk { start, min, max, .. } = self else { return Vec::new() };
        let (low, high) = (min.unwrap_or(f64::MIN), max.unwrap_or(f64::MAX));
        if low > high {
            return vec![("random_walk.min", format!("{low} is above max = {high}: write less"))];
        }
        if (low..=high).contains(start) {
            return Vec::new();
        }
        vec![(
            "random_walk.start",
            format!("{start} is not between min and max: write one that is"),
        )]
    }
}
