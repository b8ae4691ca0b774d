//! Makes a line of a record or a dead letter: which are wanted, and how they look. Pure.
//!
//! ```text
//! 2026-11-22T07:30:50.601Z  fleet/boiler              71.5 °C  temperature  site=north
//! 2026-11-22T07:30:50.655Z  fleet/boiler              DEAD LETTER malformed: expected value at line 1 column 5  payload {"a":
//! ```
//!
//! What comes from outside is made safe and cut ([`text::shown`]); as JSON it is whole, with JSON's own escapes.

use std::borrow::Cow;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::Arguments;
use crate::clock::Timestamp;
use crate::codec::Format;
use crate::sink::dead_letter;
use crate::text;
use crate::tools::verify::batch;

/// Which are shown, and how.
#[derive(Debug)]
pub(super) struct Wanted {
    sensors: Vec<String>,
    entries: Vec<String>,
    tags: Vec<(String, String)>,
    dead_letters: bool,
    json: bool,
}

/// A line, and the time in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) at: Option<Timestamp>,
    /// With its line break.
    pub(super) text: String,
}

/// What a text holds.
#[derive(Debug)]
pub(super) enum Held<'a> {
    Records(Vec<Cow<'a, [u8]>>),
    DeadLetters(Vec<&'a [u8]>),
}

/// A record or a dead letter, as far as this shows it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    #[serde(borrow)]
    sensor_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    entry: Option<Cow<'a, str>>,
    #[serde(borrow)]
    timestamp: Option<&'a RawValue>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    #[serde(borrow)]
    unit: Option<Cow<'a, str>>,
    #[serde(borrow)]
    quantity: Option<Cow<'a, str>>,
    tags: Option<Map<String, Value>>,
    #[serde(default)]
    retained: bool,
    #[serde(default)]
    waited: bool,
    #[serde(default)]
    expired: bool,
    /// Dead letters only.
    #[serde(borrow)]
    reason: Option<Cow<'a, str>>,
    #[serde(borrow)]
    detail: Option<Cow<'a, str>>,
    #[serde(borrow)]
    topic: Option<Cow<'a, str>>,
    #[serde(borrow)]
    received_at: Option<&'a RawValue>,
    #[serde(borrow)]
    payload: Option<Cow<'a, str>>,
    #[serde(borrow)]
    payload_base64: Option<Cow<'a, str>>,
}

/// The records or dead letters of a line of a file; none in what is neither.
pub(super) fn of_line(line: &[u8], format: Format) -> Held<'_> {
    let records = batch::records(line, format);
    // Letters in an array are found as records are.
    let first = records.first().map_or(line, |it| &**it);
    let is_letter = serde_json::from_slice::<Wire<'_>>(first).is_ok_and(|it| it.reason.is_some());
    if is_letter { Held::DeadLetters(of_letters(line)) } else { Held::Records(records) }
}

/// The dead letters of a message.
pub(super) fn of_letters(message: &[u8]) -> Vec<&[u8]> {
    dead_letter::letters(message).unwrap_or_else(|| vec![message])
}

impl Wanted {
    pub(super) fn new(arguments: &Arguments) -> Self {
        let Arguments { sensors, entries, tags, dead_letters, json, .. } = arguments.clone();
        Self { sensors, entries, tags, dead_letters, json }
    }

    /// Whether no records are wanted.
    pub(super) fn is_of_dead_letters(&self) -> bool {
        self.dead_letters
    }

    /// The lines of what is wanted.
    pub(super) fn lines(&self, held: &Held<'_>) -> Vec<Line> {
        match held {
            Held::Records(_) if self.dead_letters => Vec::new(),
            Held::Records(records) => records.iter().filter_map(|it| self.line(it)).collect(),
            Held::DeadLetters(letters) => letters.iter().filter_map(|it| self.line(it)).collect(),
        }
    }

    /// The line of a record or dead letter; `None` where it is not wanted.
    fn line(&self, raw: &[u8]) -> Option<Line> {
        let Ok(wire) = serde_json::from_slice::<Wire<'_>>(raw) else {
            return self.unreadable(raw, "no record");
        };
        if !self.wants(&wire) {
            return None;
        }
        let time = if wire.reason.is_some() { wire.received_at } else { wire.timestamp };
        let at = time.and_then(|it| batch::timestamp(it.get()));
        let text = if self.json {
            text::json(&one_line(&String::from_utf8_lossy(raw))) + "\n"
        } else {
            pretty(&wire, at)
        };
        Some(Line { at, text })
    }

    /// The line of what cannot be read, and why; `None` where others are wanted.
    pub(super) fn unreadable(&self, bytes: &[u8], why: &str) -> Option<Line> {
        if !(self.sensors.is_empty() && self.entries.is_empty() && self.tags.is_empty()) {
            return None;
        }
        let head = text::from_bytes(bytes);
        let text = if self.json {
            text::json(&json!({ "unreadable": why, "head": head }).to_string()) + "\n"
        } else {
            format!("UNREADABLE {why}: {head}\n")
        };
        Some(Line { at: None, text })
    }

    fn wants(&self, wire: &Wire<'_>) -> bool {
        let among = |all: &[String], it: &Option<Cow<'_, str>>| {
            all.is_empty() || it.as_ref().is_some_and(|it| all.iter().any(|one| *one == **it))
        };
        let has = |(name, value): &(String, String)| {
            let tag = wire.tags.as_ref().and_then(|it| it.get(name));
            tag.is_some_and(|it| it.as_str() == Some(value))
        };
        among(&self.sensors, &wire.sensor_id)
            && among(&self.entries, &wire.entry)
            && self.tags.iter().all(has)
    }
}

fn pretty(wire: &Wire<'_>, at: Option<Timestamp>) -> String {
    let mut line = match at {
        Some(at) => at.to_string(),
        None => format!("{:24}", "(no time)"),
    };
    let sensor = wire.sensor_id.as_deref().unwrap_or("(no sensor)");
    let who = match wire.entry.as_deref() {
        Some(entry) => format!("{}/{}", text::shown(entry), text::shown(sensor)),
        None => text::shown(sensor).into_owned(),
    };
    let what = if wire.reason.is_some() { letter(wire) } else { reading(wire) };
    writeln!(line, "  {who:<24}  {what}").expect("a string takes all");
    line
}

fn reading(wire: &Wire<'_>) -> String {
    let value = wire.value.map_or(Cow::Borrowed("(no value)"), |it| one_line(it.get()).into());
    let mut what = text::shown(&value).into_owned();
    if let Some(unit) = &wire.unit {
        what = format!("{what} {}", text::shown(unit));
    }
    let tags = wire.tags.iter().flatten().map(|(name, value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        format!("{}={}", text::shown(name), text::shown(&value))
    });
    let tags = tags.collect::<Vec<_>>().join(" ");
    let marks = [("retained", wire.retained), ("waited", wire.waited), ("expired", wire.expired)];
    let marks = marks.iter().filter(|it| it.1).map(|it| it.0).collect::<Vec<_>>().join(" ");
    let quantity = wire.quantity.as_deref().map(text::shown).unwrap_or_default();
    for part in [&*quantity, &tags, &marks].into_iter().filter(|it| !it.is_empty()) {
        what = format!("{what}  {part}");
    }
    what
}

fn letter(wire: &Wire<'_>) -> String {
    let shown = |text: &Option<Cow<'_, str>>| match text.as_deref() {
        Some(text) => text::shown(text).into_owned(),
        None => String::new(),
    };
    let (reason, detail) = (shown(&wire.reason), shown(&wire.detail));
    let payload = match (&wire.payload, &wire.payload_base64) {
        (Some(payload), _) => text::shown(payload).into_owned(),
        (None, Some(coded)) => {
            let bytes = STANDARD.decode(&**coded);
            bytes.map_or_else(|_| text::shown(coded).into_owned(), |it| text::from_bytes(&it))
        }
        (None, None) => String::new(),
    };
    let topic = wire.topic.as_deref().filter(|it| !it.is_empty());
    let on = topic.map(|it| format!("  on {}", text::shown(it))).unwrap_or_default();
    format!("DEAD LETTER {reason}: {detail}{on}  payload {payload}")
}

/// JSON without line breaks and tabs between its parts. In texts it has none (RFC 8259 §7).
fn one_line(json: &str) -> String {
    json.chars().filter(|it| !matches!(it, '\n' | '\r' | '\t')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::is_unsafe;

    fn all() -> Wanted {
        let (sensors, entries, tags) = (Vec::new(), Vec::new(), Vec::new());
        Wanted { sensors, entries, tags, dead_letters: false, json: false }
    }

    /// The lines of this batch or these letters.
    fn lines(wanted: &Wanted, text: &str) -> Vec<String> {
        let lines = wanted.lines(&of_line(text.as_bytes(), Format::Json));
        lines.into_iter().map(|it| it.text).collect()
    }

    const BATCH: &str = concat!(
        r#"{"gateway":"g","batch":"g-1","records":[{"sensorId":"boiler","sequence":1,"value":71.5,"#,
        r#""timestamp":"2026-11-22T08:30:50.601+01:00","entry":"fleet","tags":{"site":"north","n":1},"#,
        r#""quantity":"temperature","unit":"°C","retained":true,"waited":true},"#,
        r#"{"sensorId":"door","value":{"open": true}}]}"#
    );
    const LETTER: &str = concat!(
        r#"{"gateway":"g","reason":"malformed","detail":"expected value","sensorId":"boiler","#,
        r#""entry":"fleet","topic":"plant/boiler","receivedAt":"2026-11-22T07:30:50.655Z","payload":"{\"a\":"}"#
    );

    #[test]
    fn a_record_and_a_dead_letter_are_a_line_each() {
        assert_eq!(
            lines(&all(), BATCH),
            [
                "2026-11-22T07:30:50.601Z  fleet/boiler              71.5 °C  temperature  n=1 site=north  retained waited\n",
                "(no time)                 door                      {\"open\": true}\n",
            ]
        );
        let line = "2026-11-22T07:30:50.655Z  fleet/boiler              DEAD LETTER malformed: expected value  \
                    on plant/boiler  payload {\"a\":\n";
        assert_eq!(lines(&all(), LETTER), [line]);
        assert_eq!(lines(&all(), &format!("[{LETTER},{LETTER}]")), [line, line]);
        let binary = LETTER.replace(r#""payload":"{\"a\":""#, r#""payloadBase64":"/wEC""#);
        assert!(lines(&all(), &binary)[0].ends_with("payload \u{fffd}\\u{1}\\u{2}\n"));
    }

    #[test]
    fn only_what_is_asked_for_is_shown() {
        let texts = |of: &str| vec![of.to_owned()];
        let tag = |value: &str| vec![("site".to_owned(), value.to_owned())];
        let both = |wanted: &Wanted| (lines(wanted, BATCH).len(), lines(wanted, LETTER).len());
        assert_eq!(both(&all()), (2, 1));
        assert_eq!(both(&Wanted { sensors: texts("door"), ..all() }), (1, 0));
        assert_eq!(both(&Wanted { sensors: texts("doo"), ..all() }), (0, 0));
        assert_eq!(both(&Wanted { entries: texts("fleet"), ..all() }), (1, 1));
        assert_eq!(both(&Wanted { tags: tag("north"), ..all() }), (1, 0));
        assert_eq!(both(&Wanted { tags: tag("south"), ..all() }), (0, 0));
        assert_eq!(both(&Wanted { dead_letters: true, ..all() }), (0, 1));
        assert!(all().unreadable(b"?", "why").is_some());
        assert!(Wanted { sensors: texts("a"), ..all() }.unreadable(b"?", "why").is_none());
    }

    #[test]
    fn nothing_from_outside_reaches_the_terminal_but_as_text() {
        let bad = "\\u001b[31m\\n\\u0007\u{9b}\u{202e}é";
        let record = format!(
            "{{\"sensorId\":\"{bad}\",\"entry\":\"{bad}\",\"value\":[\"{bad}\",\n\t1],\"unit\":\"{bad}\",\
             \"quantity\":\"{bad}\",\"tags\":{{\"{bad}\":\"{bad}\"}}}}"
        );
        let letter = format!(
            "{{\"reason\":\"{bad}\",\"detail\":\"{bad}\",\"sensorId\":\"{bad}\",\"topic\":\"{bad}\",\
             \"payload\":\"{bad}\"}}"
        );
        for json in [false, true] {
            let wanted = Wanted { json, ..all() };
            let raw = [wanted.line(record.as_bytes()), wanted.line(letter.as_bytes())];
            let unreadable = wanted.unreadable("\u{1b}[31m\n\u{202e}".as_bytes(), "no batch");
            for line in raw.into_iter().chain([unreadable]).map(Option::unwrap) {
                let text = line.text.strip_suffix('\n').unwrap();
                assert!(!text.contains(is_unsafe) && text.len() > 10, "{text:?}");
                assert!(!json || serde_json::from_str::<Value>(text).is_ok(), "{text}");
            }
        }
        let same: Value = serde_json::from_str(&record).unwrap();
        let shown = Wanted { json: true, ..all() }.line(record.as_bytes()).unwrap().text;
        assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), same);
    }
}
