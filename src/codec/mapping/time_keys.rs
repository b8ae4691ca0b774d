//! What the key `timestamp` may be: where the sensor's own time is, in which form, and what is plausible.

use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::keys::table;
use super::several::Pointers;
use crate::codec::pointer::Pointer;
use crate::units::Period;

/// The sensor's own time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Value", into = "Value")]
#[schemars(with = "TimestampShape")]
pub struct Timestamp {
    /// Where it is.
    pub from: Pointers,
    /// In which form.
    pub format: TimeFormat,
    /// The zone of local times.
    pub zone: Zone,
    /// What is plausible.
    pub plausible: Plausible,
}

/// The long form of a [`Timestamp`].
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TimestampTable {
    /// Where it is: a JSON pointer, or several.
    from: Pointers,
    /// In which form it is.
    #[serde(default, skip_serializing_if = "is_default")]
    format: TimeFormat,
    /// The time zone of local times and times of day, by its IANA name.
    #[serde(default, skip_serializing_if = "is_default")]
    zone: Zone,
    /// Which times are plausible. Another one is not used: it stays in `extra`, is counted, and the time of receipt
    /// stands.
    #[serde(default, skip_serializing_if = "is_default")]
    plausible: Plausible,
}

/// The shapes of a [`Timestamp`], for the schema.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum TimestampShape {
    Pointers(Pointers),
    Table(TimestampTable),
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Timestamp {
    /// At this member, in any form.
    pub(crate) fn at(name: &str) -> Self {
        let from = Pointers(vec![Pointer::to_member(name)]);
        let (format, zone) = (TimeFormat::default(), Zone::default());
        Self { from, format, zone, plausible: Plausible::default() }
    }
}

impl TryFrom<Value> for Timestamp {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let TimestampTable { from, format, zone, plausible } = table(value)?;
        Ok(Self { from, format, zone, plausible })
    }
}

impl From<Timestamp> for Value {
    fn from(it: Timestamp) -> Self {
        let Timestamp { from, format, zone, plausible } = it;
        if is_default(&format) && is_default(&zone) && is_default(&plausible) {
            return from.into();
        }
        let table = TimestampTable { from, format, zone, plausible };
        serde_json::to_value(table).expect("a table of texts")
    }
}

/// The form of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimeFormat {
    /// Any of the others; a number is told by its magnitude.
    #[default]
    Auto,
    /// RFC 3339, with an offset; a blank for the `T` and a comma for the point are taken, too.
    Rfc3339,
    /// RFC 2822: `Tue, 03 Nov 2026 19:34:28 GMT`.
    Rfc2822,
    /// Seconds since 1970.
    Unix,
    /// Milliseconds since 1970.
    UnixMs,
    /// Microseconds since 1970.
    UnixUs,
    /// Nanoseconds since 1970.
    UnixNs,
    /// A date and time without an offset, of the `zone`.
    Local,
    /// A time of day in the `zone`: of the day that makes it nearest to the receipt.
    TimeOfDay,
}

/// A time zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("examples" = ["Europe/Berlin", "UTC"]))]
pub struct Zone {
    name: String,
    pub(super) zone: TimeZone,
}

impl Default for Zone {
    fn default() -> Self {
        Self { name: "UTC".into(), zone: TimeZone::UTC }
    }
}

impl TryFrom<String> for Zone {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let zone = TimeZone::get(&name).map_err(|_| {
            "is no time zone that is known here: write its IANA name, such as \"Europe/Berlin\""
                .to_owned()
        })?;
        Ok(Self { name, zone })
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> Self {
        zone.name
    }
}

/// Which times are plausible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Plausible {
    /// The longest time by which a sensor's time may be later than its receipt.
    pub ahead_max: Period,
    /// The first day that is plausible.
    pub since: Day,
}

impl Default for Plausible {
    fn default() -> Self {
        Self { ahead_max: Period::millis(86_400_000), since: Day(jiff::civil::date(2000, 1, 1)) }
    }
}

/// A day, from its beginning in UTC: `2000-01-01`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$", "examples" = ["2000-01-01"]))]
pub struct Day(jiff::civil::Date);

impl Day {
    /// Its first second since 1970.
    pub fn second(self) -> i64 {
        let begin = jiff::tz::Offset::UTC.to_timestamp(self.0.at(0, 0, 0, 0));
        begin.expect("a day of four digits can be counted").as_second()
    }
}

impl TryFrom<String> for Day {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let wrong = "is no day: write \"2000-01-01\"";
        let date: jiff::civil::Date = text.parse().map_err(|_| wrong)?;
        if date.to_string() == text { Ok(Self(date)) } else { Err(wrong) }
    }
}

impl From<Day> for String {
    fn from(day: Day) -> Self {
        day.0.to_string()
    }
}
