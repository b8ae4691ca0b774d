//! The numbers and texts of a simulated entry, each with its range and the remedy where it is outside.

use rand_distr::Normal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// Levels of a `step`, at most. More are refused.
const LEVELS_MAX: usize = 64;

/// Digits after the point, at most. More are refused.
const DECIMALS_MAX: u8 = 9;

/// Bytes of a unit, at most. Longer ones are refused.
const UNIT_BYTES_MAX: usize = 64;

/// Types of finite numbers: what they are, their range in the schema, whether a number is one, and what is said of
/// one that is not.
macro_rules! amounts {
    ($($(#[$about:meta])* $name:ident [$($range:tt)*] |$it:ident| $usable:expr, $remedy:literal;)+) => {
        $(
            $(#[$about])*
            #[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
            #[serde(try_from = "f64", into = "f64")]
            #[schemars(extend($($range)*))]
            pub struct $name(pub(super) f64);

            impl TryFrom<f64> for $name {
                type Error = String;

                fn try_from($it: f64) -> Result<Self, String> {
                    let usable = $it.is_finite() && $usable;
                    usable.then_some(Self($it)).ok_or_else(|| format!(concat!("{} ", $remedy), $it))
                }
            }

            impl From<$name> for f64 {
                fn from(it: $name) -> Self {
                    it.0
                }
            }
        )+
    };
}

amounts! {
    /// A distance: finite and not negative.
    NotNegative ["minimum" = 0] |it| it >= 0.0, "is negative: write 0 or more";
    /// Readings a period: finite and above 0.
    Period ["exclusiveMinimum" = 0] |it| it > 0.0,
        "is no period: write how many readings one has, such as 100.0";
    /// Readings, on average: 1 or more.
    Lasting ["minimum" = 1] |it| it >= 1.0, "is too short: write 1 or more readings, such as 100.0";
    /// How many times as fast: above 0.
    Speed ["exclusiveMinimum" = 0] |it| it > 0.0, "is no speed: write a number above 0, such as 2.0";
    /// A probability.
    Rate ["minimum" = 0, "maximum" = 1] |it| (0.0..=1.0).contains(&it),
        "is no rate: write 0 to 1, such as 0.01";
    /// A part of a whole.
    Share ["minimum" = 0, "maximum" = 1] |it| (0.0..=1.0).contains(&it),
        "is no part of a whole: write 0 to 1, such as 0.5";
}

/// A standard deviation: finite and not negative.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "f64", into = "f64")]
#[schemars(extend("minimum" = 0))]
pub struct StdDev(pub(super) Normal<f64>);

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

impl StdDev {
    pub(super) fn of(std_dev: f64) -> Self {
        Self(Normal::new(0.0, std_dev).expect("a default is a standard deviation"))
    }
}

/// The levels of a `step`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Value", into = "Vec<f64>")]
#[schemars(extend("type" = "array", "items" = {"type": "number"}, "minItems" = 1, "maxItems" = LEVELS_MAX))]
#[schemars(extend("examples" = [[40.0, 60.0]]))]
pub struct Levels(pub(super) Arc<[f64]>);

impl TryFrom<Value> for Levels {
    type Error = String;

    fn try_from(levels: Value) -> Result<Self, String> {
        let levels = levels.as_array().map(|all| all.iter().map(Value::as_f64).collect());
        let levels: Option<Vec<f64>> = levels.flatten();
        let levels = levels.filter(|all| (1..=LEVELS_MAX).contains(&all.len()));
        let levels = levels.ok_or_else(|| {
            format!("is no list of levels: write 1 to {LEVELS_MAX} numbers, such as [40.0, 60.0]")
        });
        levels.map(|all| Self(all.into()))
    }
}

impl From<Levels> for Vec<f64> {
    fn from(levels: Levels) -> Self {
        levels.0.to_vec()
    }
}

/// Digits after the point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "u8", into = "u8")]
#[schemars(extend("minimum" = 0, "maximum" = DECIMALS_MAX))]
pub struct Decimals(u8);

impl TryFrom<u8> for Decimals {
    type Error = String;

    fn try_from(digits: u8) -> Result<Self, String> {
        let problem = || format!("{digits} is too large: write 0 to {DECIMALS_MAX} digits");
        (digits <= DECIMALS_MAX).then_some(Self(digits)).ok_or_else(problem)
    }
}

impl From<Decimals> for u8 {
    fn from(decimals: Decimals) -> Self {
        decimals.0
    }
}

impl Default for Decimals {
    /// As a sensor has: 50.12.
    fn default() -> Self {
        Self(2)
    }
}

impl Decimals {
    /// The number, rounded. One that is too large for these digits stays as it is; 0 for one that JSON cannot
    /// write.
    pub(super) fn round(self, value: f64) -> f64 {
        let factor = 10_f64.powi(i32::from(self.0));
        let scaled = value * factor;
        let rounded = if scaled.is_finite() { scaled.round() / factor } else { value };
        // There is no negative 0.
        if rounded.is_finite() { rounded + 0.0 } else { 0.0 }
    }

    /// The text of a rounded number.
    pub(crate) fn text(self, value: f64, buffer: &mut ryu::Buffer) -> &str {
        let text = buffer.format_finite(value);
        if self.0 == 0 { text.strip_suffix(".0").unwrap_or(text) } else { text }
    }
}

/// A unit: text of some bytes, without control characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("minLength" = 1, "maxLength" = UNIT_BYTES_MAX, "examples" = ["C"]))]
pub struct Unit(String);

impl TryFrom<String> for Unit {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let usable = (1..=UNIT_BYTES_MAX).contains(&text.len()) && !text.contains(char::is_control);
        let problem = format!(
            "is no unit: write 1 to {UNIT_BYTES_MAX} bytes without control characters, such as \"C\""
        );
        usable.then_some(Self(text)).ok_or(problem)
    }
}

impl From<Unit> for String {
    fn from(unit: Unit) -> Self {
        unit.0
    }
}

impl Unit {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}
