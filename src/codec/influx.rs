//! `format = "influx"`: each record a line of the line protocol of Influx databases
//! (<https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/>).
//!
//! ```text
//! weather,sensor=north-1,site=north temperature=21.5,open=true,state="ok" 1763796650601000000
//! ```
//!
//! | part | what it is |
//! | --- | --- |
//! | measurement | the entry's name, or what `[output.influx]` makes |
//! | tags | `sensor`, or those of `[output.influx]`; and the record's own |
//! | fields | the members of an object, those of objects in it joined by `_`; else one: the quantity, or `value` |
//! | time | in nanoseconds: the sensor's; else that of receipt, with the record's `sequence` below the millisecond, so that two readings of one millisecond are two points |
//!
//! A number is always a float: `21` and `21.5` are of one type. A field keeps the type that it had first in a run: a
//! record with another is refused, because the database would refuse the line. What is null or an array, and what is
//! called `time`, is left out; a record of which nothing is left is refused. So is one that the protocol cannot say: a
//! backslash that would escape what follows, a measurement that is a comment.
//!
//! The sequence, the topic, the unit, how a record came and `extra` are not written. The batch's id, count and gateway are only in the
//! MQTT 5 user properties.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use foldhash::fast::FixedState;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use self::fields::{Kind, each_field};
use super::pattern::{Filling, Labels, Pattern};
use super::{Head, Options, Unwritable, View, Whose};

mod fields;
mod line;

pub use self::line::{json, records};

/// The MIME type of a batch.
pub const CONTENT_TYPE: &str = "text/plain; charset=utf-8";

/// What stands between two records.
pub const SEPARATOR: &[u8] = b"\n";

/// Half a line may be another line.
pub const IS_JSON: bool = false;

/// Series that are remembered. Beyond that all are forgotten, and made again when they are needed.
const SERIES_REMEMBERED_MAX: usize = 1024;

/// Bytes of a series that is remembered. A longer one is made again for each record.
const SERIES_BYTES_MAX: usize = 1024;

/// Fields whose types are remembered. The types of further ones are not compared.
const FIELDS_REMEMBERED_MAX: usize = 8192;

/// Bytes of a field that is remembered, with its measurement.
const FIELD_BYTES_MAX: usize = 256;

/// Bytes that an encoder remembers.
pub const ENCODER_BYTES: u64 = (SERIES_REMEMBERED_MAX * (SERIES_BYTES_MAX + 160)
    + FIELDS_REMEMBERED_MAX * (FIELD_BYTES_MAX + 64)) as u64;

/// What stands for what a record does not have. A name that begins with `_` is the database's own.
const ABSENT: &str = "none";

/// `[output.influx]`: what the lines of `format = "influx"` are made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The measurement. The same places as in a topic: `{entry}`, `{sensor}`, `{quantity}`, `{tag.name}`; `none` where a
    /// record has nothing.
    pub measurement: Pattern,
    /// Tags beside the record's own, with the same places. `verify` needs a tag `sensor`.
    pub tags: BTreeMap<String, Pattern>,
    /// The field of a value that is no object. Unset: the record's quantity, or `value`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<Pattern>,
}

impl Default for Settings {
    fn default() -> Self {
        let pattern = |text: &str| Pattern::try_from(text.to_owned()).expect("a valid pattern");
        Self {
            measurement: pattern("{entry}"),
            tags: [(SENSOR.to_owned(), pattern("{sensor}"))].into(),
            field: None,
        }
    }
}

/// The tag that names the sensor.
const SENSOR: &str = "sensor";

/// What the lines of a series begin with: measurement and tags, and how its one field is called.
#[derive(Debug, Clone)]
struct Series {
    begin: Box<[u8]>,
    measurement: usize,
    field: Box<str>,
}

/// Writes records.
#[derive(Debug)]
pub struct Encoder {
    settings: Settings,
    /// By what of a record decides them.
    series: HashMap<Box<[u8]>, Series, FixedState>,
    /// By measurement and field.
    kinds: HashMap<Box<[u8]>, Kind, FixedState>,
    key: Vec<u8>,
}

impl Encoder {
    /// With these options.
    pub fn new(options: &Options<'_>) -> Self {
        let settings = options.influx.clone();
        let (series, kinds, key) = (HashMap::default(), HashMap::default(), Vec::new());
        Self { settings, series, kinds, key }
    }

    /// Appends a record as a line.
    pub fn record(&mut self, out: &mut Vec<u8>, view: &View<'_>) -> Result<(), Unwritable> {
        let at = nanoseconds(view)?;
        self.make_key(view);
        if let Some(known) = self.series.get(&*self.key) {
            write_line(out, known, view, &mut self.kinds, &mut self.key)?;
        } else {
            let made = make(&self.settings, view)?;
            if self.series.len() >= SERIES_REMEMBERED_MAX {
                self.series.clear();
            }
            if self.key.len() + made.begin.len() + made.field.len() <= SERIES_BYTES_MAX {
                self.series.insert(self.key.as_slice().into(), made.clone());
            }
            write_line(out, &made, view, &mut self.kinds, &mut self.key)?;
        }
        out.push(b' ');
        out.extend_from_slice(itoa::Buffer::new().format(at).as_bytes());
        Ok(())
    }

    fn make_key(&mut self, view: &View<'_>) {
        self.key.clear();
        let sensor = match view.sensor {
            Whose::Counted(json, _) => json.as_bytes(),
            Whose::Uncounted(id) => id,
        };
        for part in [view.entry.as_bytes(), sensor, view.labels] {
            self.key.extend_from_slice(part);
            self.key.push(END);
        }
    }
}

/// Ends a part of a key: a byte that stands in no UTF-8.
const END: u8 = 0xff;

/// Makes the series of a record.
fn make(settings: &Settings, view: &View<'_>) -> Result<Series, Unwritable> {
    let (filling, labels) = (Filling::of(view), Labels::read(view.labels));
    let filled = |pattern: &Pattern| {
        let mut text = String::new();
        pattern.fill(&filling, &mut text, ABSENT, String::push_str);
        text
    };
    let mut begin = Vec::new();
    let measurement = filled(&settings.measurement);
    if measurement.starts_with('#') {
        return Err(Unwritable(format!("the measurement {measurement:?} would be a comment")));
    }
    name(&mut begin, &measurement, b", ", "the measurement")?;
    let bytes = begin.len();
    let own = settings.tags.iter().map(|(name, pattern)| (name, filled(pattern)));
    let mut tags: BTreeMap<&String, String> = own.collect();
    for (name, text) in &labels.tags {
        tags.entry(name).or_insert_with(|| text.clone());
    }
    for (key, text) in tags.iter().filter(|(key, text)| !text.is_empty() && is_usable(key)) {
        begin.push(b',');
        name(&mut begin, key, b",= ", "the tag's name")?;
        begin.push(b'=');
        name(&mut begin, text, b",= ", "the tag's text")?;
    }
    let field = match &settings.field {
        Some(pattern) => filled(pattern),
        None if is_usable(&labels.quantity) => labels.quantity,
        None => "value".to_owned(),
    };
    Ok(Series { begin: begin.into(), measurement: bytes, field: field.into() })
}

/// Whether a tag or field may be called so.
fn is_usable(name: &str) -> bool {
    !name.is_empty() && name != "time"
}

/// Appends a name, with a backslash before these bytes. The protocol has no word for a backslash that is followed by
/// one of them, or by the end: it would be read as escaping that.
fn name(out: &mut Vec<u8>, text: &str, special: &[u8], what: &str) -> Result<(), Unwritable> {
    let mut bytes = text.bytes().peekable();
    while let Some(byte) = bytes.next() {
        let escapes = |next: Option<&u8>| {
            next.is_none_or(|it| *it == b'\\' || b",= ".contains(it) || *it == b'\n')
        };
        match byte {
            b'\\' if escapes(bytes.peek()) => {
                return Err(Unwritable(format!(
                    "{what} {text:?} has a backslash at its end or before a comma, a blank, an equals sign or \
                     another, which line protocol cannot say"
                )));
            }
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            _ if special.contains(&byte) => out.extend_from_slice(&[b'\\', byte]),
            _ => out.push(byte),
        }
    }
    Ok(())
}

/// Writes measurement, tags and fields.
fn write_line(
    out: &mut Vec<u8>,
    series: &Series,
    view: &View<'_>,
    kinds: &mut HashMap<Box<[u8]>, Kind, FixedState>,
    key: &mut Vec<u8>,
) -> Result<(), Unwritable> {
    out.extend_from_slice(&series.begin);
    let value = serde_json::from_slice::<&RawValue>(view.value);
    let value = value.map_err(|error| Unwritable(format!("the value is no JSON: {error}")))?;
    let measurement = series.begin.get(..series.measurement).unwrap_or_default();
    let mut before = b' ';
    each_field(&series.field, value.get(), &mut |path, kind, json| {
        if !is_usable(path) {
            return Ok(());
        }
        let begin = out.len();
        out.push(before);
        name(out, path, b",= ", "the field")?;
        key.clear();
        key.extend_from_slice(measurement);
        key.push(END);
        key.extend_from_slice(out.get(begin + 1..).unwrap_or_default());
        same_kind(kinds, key, kind, path)?;
        out.push(b'=');
        fields::write(out, kind, json)?;
        before = b',';
        Ok(())
    })?;
    if before == b' ' {
        let text = "it has no number, no text and no true or false: null and arrays are left out";
        return Err(Unwritable(text.to_owned()));
    }
    Ok(())
}

/// Remembers the type of a field, and refuses another.
fn same_kind(
    kinds: &mut HashMap<Box<[u8]>, Kind, FixedState>,
    key: &[u8],
    kind: Kind,
    path: &str,
) -> Result<(), Unwritable> {
    match kinds.get(key) {
        Some(known) if *known != kind => Err(Unwritable(format!(
            "the field {path} has been {known} before, and is {kind} here: a field has one type"
        ))),
        None if kinds.len() < FIELDS_REMEMBERED_MAX && key.len() <= FIELD_BYTES_MAX => {
            kinds.insert(key.into(), kind);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Nanoseconds since 1970.
fn nanoseconds(view: &View<'_>) -> Result<i64, Unwritable> {
    if view.timestamp.is_empty() {
        let below = match view.sensor {
            Whose::Counted(_, sequence) => sequence % 1_000_000,
            Whose::Uncounted(_) => 0,
        };
        let nanoseconds = view.received.millis().checked_mul(1_000_000);
        let nanoseconds = nanoseconds.and_then(|it| it.checked_add(below)?.try_into().ok());
        return nanoseconds.ok_or_else(|| Unwritable("the clock is wrong".to_owned()));
    }
    let text = std::str::from_utf8(view.timestamp).unwrap_or_default().trim_matches('"');
    let read = digits_cut(text).parse::<Timestamp>().ok();
    let nanoseconds = read.and_then(|it| i64::try_from(it.as_nanosecond()).ok());
    nanoseconds.ok_or_else(|| {
        Unwritable(format!(
            "the time {text} is not within the years 1677 to 2262 that nanoseconds reach"
        ))
    })
}

/// A time of the sensor without the digits below a nanosecond.
fn digits_cut(text: &str) -> Cow<'_, str> {
    let end = text.find('.').map_or(text.len(), |dot| dot + 10);
    match text.get(..end) {
        Some(cut) if end + 1 < text.len() => format!("{cut}Z").into(),
        _ => text.into(),
    }
}

/// The payload of a batch; and where in it the records begin.
pub fn batch(_head: &Head<'_>, records: &[u8], mut out: Vec<u8>) -> (usize, Vec<u8>) {
    out.reserve_exact(records.len() + 1);
    out.extend_from_slice(records);
    out.push(b'\n');
    (0, out)
}

#[cfg(test)]
mod tests;
