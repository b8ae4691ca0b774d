//! Durations and sizes as they stand in the configuration: `"100ms"`, `"64MiB"`.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

/// A duration, written as text: `"100ms"`, `"10s"`, `"1h 30m"`; `0` needs no unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Text", into = "String")]
pub struct Span(pub Duration);

/// A size in bytes, written as text: `"64MiB"`, `"500kB"`. At most 4 GiB − 1; never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Text", into = "String")]
pub struct Size(pub NonZeroU32);

/// Text, or the number that an environment variable looks like.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "is neither a duration such as \"100ms\" nor a size such as \"64MiB\""
)]
enum Text {
    Number(u64),
    Text(String),
}

impl Span {
    /// So many milliseconds.
    pub const fn millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }
}

impl Size {
    /// So many bytes; a constant of this program.
    pub const fn bytes(bytes: u32) -> Self {
        Self(NonZeroU32::new(bytes).expect("a constant size is not zero"))
    }

    /// The number of bytes.
    pub const fn get(self) -> usize {
        self.0.get() as usize
    }
}

/// The longest duration; a longer one is refused, so that no deadline leaves the clock's range.
const SPAN_MAX: Duration = Duration::from_hours(365 * 24);

impl TryFrom<Text> for Span {
    type Error = String;

    fn try_from(text: Text) -> Result<Self, String> {
        match text {
            Text::Number(0) => Ok(Self(Duration::ZERO)),
            Text::Number(n) => Err(format!("{n} has no unit: write \"{n}ms\" or \"{n}s\"")),
            Text::Text(text) => match humantime::parse_duration(&text) {
                Ok(span) if span > SPAN_MAX => {
                    Err(format!("{text:?} is more than a year: write \"365d\" at most"))
                }
                Ok(span) => Ok(Self(span)),
                Err(error) => {
                    Err(format!("{text:?} is not a duration ({error}): write \"100ms\" or \"10s\""))
                }
            },
        }
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        span.to_string()
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl TryFrom<Text> for Size {
    type Error = String;

    fn try_from(text: Text) -> Result<Self, String> {
        let bytes = match &text {
            Text::Number(bytes) => *bytes,
            Text::Text(text) => {
                let size = ByteSize::from_str(text);
                size.map_err(|_| format!("{text:?} is not a size: write \"64MiB\""))?.as_u64()
            }
        };
        let fits = u32::try_from(bytes).map_err(|_| format!("{bytes} bytes is 4 GiB or more"))?;
        NonZeroU32::new(fits).map(Self).ok_or_else(|| "a size of 0 bounds nothing".to_owned())
    }
}

impl From<Size> for String {
    fn from(size: Size) -> Self {
        size.to_string()
    }
}

/// In the largest binary unit that divides it: the text parses back to the same number.
impl fmt::Display for Size {
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
        assert_eq!(read::<Span>("\"100ms\"").unwrap(), Span::millis(100));
        assert_eq!(read::<Span>("0").unwrap(), Span::millis(0));
        for bad in ["\"0\"", "0", "\"8GiB\"", "\"many\""] {
            assert!(read::<Size>(bad).is_err(), "{bad}");
        }
        assert!(read::<Span>("\"500000000000y\"").unwrap_err().contains("365d"));
        let error = read::<Span>("100").unwrap_err();
        assert!(error.contains("write \"100ms\" or \"100s\""), "{error}");
    }
}
