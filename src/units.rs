//! Durations and sizes of the configuration, written as text: `"100ms"`, `"64MiB"`.

use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a [`Period`] looks like, as humantime reads it.
const PERIOD: &str = "^\\s*(0|([0-9]+(\\.[0-9]+)?\\s*(ns|nsec|nanos|us|µs|usec|ms|msec|millis|s|secs?|seconds?|m|mins?|\
                    minutes?|h|hrs?|hours?|d|days?|w|wks?|weeks?|M|months?|y|yrs?|years?)\\s*)+)$";

/// What a [`Size`] and a [`DiskSize`] look like, as bytesize reads them.
const SIZE: &str = "^[0-9.]*[1-9][0-9.]*\\s*([kKmMgGtTpPeE][iI]?[bB]?|[bB])?$";

/// A duration, written as text: `"100ms"`, `"10s"`, `"1h 30m"`; `0` needs no unit.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "Value", into = "String")]
#[schemars(
    extend("type" = ["string", "integer"], "pattern" = PERIOD, "minimum" = 0, "maximum" = 0),
    extend("examples" = ["100ms", "10s", "1h 30m"])
)]
pub struct Period(pub Duration);

/// A size in bytes, written as text: `"64MiB"`, `"500kB"`. At most 4 GiB − 1; never 0.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "Value", into = "String")]
#[schemars(
    extend("type" = ["string", "integer"], "pattern" = SIZE, "minimum" = 1, "maximum" = u32::MAX),
    extend("examples" = ["64MiB", "500kB"])
)]
pub struct Size(pub NonZeroU32);

/// A size on disk in bytes, written as text: `"1GiB"`; never 0.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "Value", into = "String")]
#[schemars(
    extend("type" = ["string", "integer"], "pattern" = SIZE, "minimum" = 1, "maximum" = u64::MAX),
    extend("examples" = ["1GiB", "500MB"])
)]
pub struct DiskSize(pub NonZeroU64);

impl DiskSize {
    /// A size of `bytes`, for a constant of this program.
    pub const fn bytes(bytes: u64) -> Self {
        Self(NonZeroU64::new(bytes).expect("a constant size is not zero"))
    }

    /// The size in bytes.
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl Period {
    /// A duration of `millis` milliseconds.
    pub const fn millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }
}

impl Size {
    /// A size of `bytes`, for a constant of this program.
    pub const fn bytes(bytes: u32) -> Self {
        Self(NonZeroU32::new(bytes).expect("a constant size is not zero"))
    }

    /// The size in bytes.
    pub const fn get(self) -> usize {
        self.0.get() as usize
    }
}

/// The longest duration; a longer one is refused, so that no deadline leaves the clock's range.
const PERIOD_MAX: Duration = Duration::from_hours(365 * 24);

/// An environment variable may look like a number, so a number is accepted here. No other value is repeated in a message.
impl TryFrom<Value> for Period {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let text = text(&value).ok_or("is not a duration: write \"100ms\" or \"10s\"")?;
        match humantime::parse_duration(&text) {
            Ok(period) if period > PERIOD_MAX => {
                Err(format!("{value} is more than a year: write \"365d\" at most"))
            }
            Ok(period) => Ok(Self(period)),
            Err(_) if text.parse::<u64>().is_ok() => {
                Err(format!("{text} has no unit: write \"{text}ms\" or \"{text}s\""))
            }
            Err(_) => Err(format!("{value} is not a duration: write \"100ms\" or \"10s\"")),
        }
    }
}

/// The text of a text or a number.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.clone()),
        _ => None,
    }
}

impl From<Period> for String {
    fn from(period: Period) -> Self {
        period.to_string()
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl TryFrom<Value> for Size {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let fits = u32::try_from(bytes(&value)?)
            .map_err(|_| format!("{value} is 4 GiB or more: write \"4095MiB\" at most"))?;
        NonZeroU32::new(fits).map(Self).ok_or_else(|| no_room(&value))
    }
}

impl TryFrom<Value> for DiskSize {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        NonZeroU64::new(bytes(&value)?).map(Self).ok_or_else(|| no_room(&value))
    }
}

fn bytes(value: &Value) -> Result<u64, String> {
    let text = text(value).ok_or("is not a size: write \"64MiB\"")?;
    let size = ByteSize::from_str(&text);
    Ok(size.map_err(|_| format!("{value} is not a size: write \"64MiB\""))?.as_u64())
}

fn no_room(value: &Value) -> String {
    format!("{value} leaves no room: write \"64MiB\"")
}

impl From<Size> for String {
    fn from(size: Size) -> Self {
        size.to_string()
    }
}

impl From<DiskSize> for String {
    fn from(size: DiskSize) -> Self {
        size.to_string()
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        DiskSize(self.0.into()).fmt(f)
    }
}

/// In the largest binary unit that divides it: the text parses back to the same number.
impl fmt::Display for DiskSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.get();
        for (unit, name) in [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
            if bytes.is_multiple_of(unit) {
                return write!(f, "{}{name}", bytes / unit);
            }
        }
        write!(f, "{bytes}B")
    }
}

/// A share, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "u8", into = "u8")]
#[schemars(extend("maximum" = 100))]
pub struct Percent(pub u8);

impl TryFrom<u8> for Percent {
    type Error = String;

    fn try_from(percent: u8) -> Result<Self, String> {
        match percent {
            0..=100 => Ok(Self(percent)),
            _ => Err(format!("{percent} is no share: write a percentage from 0 to 100")),
        }
    }
}

impl From<Percent> for u8 {
    fn from(percent: Percent) -> Self {
        percent.0
    }
}

/// `expected_interval`: how often each sensor of an entry reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("examples" = ["60s", "none"]))]
pub enum ExpectedInterval {
    /// So often; never 0.
    Every(Period),
    /// Nobody can say: it reports what changes.
    None,
}

impl TryFrom<String> for ExpectedInterval {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self::None);
        }
        let wrong = || {
            format!(
                "is {text:?}: write the time between two readings of a sensor, \"60s\", or \"none\" where it sends only what changes"
            )
        };
        let period = Period::try_from(Value::from(&*text)).map_err(|_| wrong())?;
        if period.0.is_zero() { Err(wrong()) } else { Ok(Self::Every(period)) }
    }
}

impl From<ExpectedInterval> for String {
    fn from(it: ExpectedInterval) -> Self {
        match it {
            ExpectedInterval::Every(period) => period.into(),
            ExpectedInterval::None => "none".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: serde::de::DeserializeOwned>(json: &str) -> Result<T, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn sizes_and_durations_read_and_print_the_same() {
        for text in ["\"64MiB\"", "\"500B\"", "\"1KiB\"", "\"3GiB\""] {
            let size: Size = read(text).unwrap();
            assert_eq!(serde_json::to_string(&size).unwrap(), text);
        }
        assert_eq!(read::<Size>("\"500kB\"").unwrap().get(), 500_000);
        assert_eq!(read::<Period>("\"100ms\"").unwrap(), Period::millis(100));
        assert_eq!(read::<Period>("0").unwrap(), Period::millis(0));
        for bad in ["\"0\"", "0", "\"8GiB\"", "\"many\""] {
            assert!(read::<Size>(bad).is_err(), "{bad}");
        }
        assert!(read::<Period>("\"500000000000y\"").unwrap_err().contains("365d"));
        let error = read::<Period>("100").unwrap_err();
        assert!(error.contains("100 has no unit: write \"100ms\" or \"100s\""), "{error}");
        for bad in ["-1", "1.5", "\"5\"", "true", "[]", "{}", "null"] {
            assert!(read::<Period>(bad).unwrap_err().contains("write \""), "{bad}");
        }
        for bad in ["-1", "0.5", "true", "[]", "{}", "null", "\"-1MiB\"", "0"] {
            assert!(read::<Size>(bad).unwrap_err().contains("write \""), "{bad}");
        }
    }

    #[test]
    fn an_expected_interval_is_a_time_or_none() {
        let read = |text: &str| ExpectedInterval::try_from(text.to_owned());
        assert_eq!(read("60s"), Ok(ExpectedInterval::Every(Period::millis(60_000))));
        assert_eq!(read("none"), Ok(ExpectedInterval::None));
        for wrong in ["0s", "often", ""] {
            assert!(read(wrong).unwrap_err().contains("or \"none\""), "{wrong}");
        }
        for text in ["1m", "none"] {
            assert_eq!(String::from(read(text).unwrap()), text);
        }
    }
}
