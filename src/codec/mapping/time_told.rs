//! Which time a reading has, and why, for people: `sluicegate explain`.
//!
//! A mapping keeps no reason: it would cost each record. So the reason is found again, from the place and its text.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::plan::Defaults;
use super::settings::Settings;
use super::several::Pointers;
use super::slots::{Slot, Slots};
use super::time::{Times, Unusable, unit_of};
use super::time_keys::{Day, Plausible, TimeFormat, Timestamp};
use super::walk::{Found, Scope, Walk, Wanted};
use super::{Document, at, run, scalar};
use crate::clock;
use crate::codec::pointer::Pointer;
use crate::codec::strict::Marks;
use crate::codec::text_json;
use crate::text;
use crate::units::Period;

/// Bytes of what was sent that are shown.
const SENT_BYTES_MAX: usize = 80;

/// Which time a reading has, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TimeTold {
    /// Where the sensor's time is, a JSON pointer; absent where it sent none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// What is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent: Option<String>,
    /// The form as which it was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_as: Option<String>,
    /// Why the time of receipt stands; absent where the sensor's time does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unused: Option<String>,
}

impl TimeTold {
    /// That the time of receipt stands, since nothing was sent.
    fn nothing(why: String) -> Self {
        Self { at: None, sent: None, read_as: None, unused: Some(why) }
    }
}

/// Tells the times of one entry.
#[derive(Debug)]
pub struct TimesTold {
    places: Pointers,
    slots: Vec<Slot>,
    wanted: Wanted,
    has_each: bool,
    settings: Timestamp,
}

impl TimesTold {
    /// Of an entry with these settings.
    pub(in crate::codec) fn new(settings: &Settings, defaults: &Defaults) -> Self {
        let has_each = settings.each.is_some();
        let timestamp = settings.timestamp.clone().unwrap_or_else(|| {
            let own = Pointer::to_member(defaults.timestamp);
            let around = has_each.then(|| own.clone().in_message());
            let from = Pointers(std::iter::once(own).chain(around).collect());
            Timestamp { from, ..Timestamp::at(defaults.timestamp) }
        });
        let places = timestamp.from.clone();
        let mut wanted = Wanted::default();
        let slot = |it: &Pointer| {
            let of_message = has_each && it.is_of_message();
            wanted.add(it, if of_message { Scope::Message } else { Scope::Document })
        };
        let slots = places.0.iter().map(slot).collect();
        Self { places, slots, wanted, has_each, settings: timestamp }
    }

    /// Of a reading of this document, or of this part of it.
    pub fn tell(
        &self,
        document: Document<'_>,
        part: Option<&str>,
        received: clock::Timestamp,
    ) -> TimeTold {
        let quoted;
        let message = match document {
            Document::Json(json) => json,
            Document::Text(text) => {
                quoted = text_json::quoted(text);
                &quoted
            }
        };
        if self.has_each && part.is_none() {
            return TimeTold::nothing("the message is no reading of `each`".to_owned());
        }
        let mut found = Found::new();
        // A part of a text is a piece of it, so that places in it can be told.
        let walked = self.walk(message, message, Scope::Message, &mut found).and_then(|()| {
            self.walk(message, part.unwrap_or(message), Scope::Document, &mut found)
        });
        let places = self.slots.iter().zip(&self.places.0);
        let mut there =
            places.filter_map(|(slot, place)| Some((place, at(*slot, &found, message)?)));
        match there.next() {
            Some((place, raw)) if walked.is_ok() => self.told(place, raw, received),
            _ => {
                let texts: Vec<_> = self.places.0.iter().map(|it| shown(&it.to_string())).collect();
                TimeTold::nothing(format!("nothing is at {}", texts.join(" or ")))
            }
        }
    }

    fn walk<'a>(
        &self,
        message: &'a str,
        json: &'a str,
        scope: Scope,
        found: &mut Found,
    ) -> serde_json::Result<()> {
        let marks = Marks::of(message);
        let mut walk =
            Walk { message, marks, found, taken: &Slots::default(), rest: &mut Vec::new() };
        run(&mut walk, json, &self.wanted, scope)
    }

    /// What is made of this text at this place.
    fn told(&self, place: &Pointer, raw: &str, received: clock::Timestamp) -> TimeTold {
        let Timestamp { format, plausible, .. } = &self.settings;
        let sent = raw.get(..raw.floor_char_boundary(SENT_BYTES_MAX)).unwrap_or(raw);
        let mut told = TimeTold {
            at: Some(place.to_string()),
            sent: Some(text::shown(sent).into_owned()),
            read_as: None,
            unused: None,
        };
        let Some(text) = scalar(raw) else {
            told.unused = Some("it is neither a text nor a number".to_owned());
            return told;
        };
        let read = self.read(&text, *format, *plausible, received);
        if read != Err(Unusable::Unreadable) {
            told.read_as = self.form(&text, received).map(|it| self.named(it, &text));
        }
        told.unused = read.err().map(|why| self.why(why, &text, received));
        told
    }

    fn read(
        &self,
        text: &str,
        format: TimeFormat,
        plausible: Plausible,
        received: clock::Timestamp,
    ) -> Result<String, Unusable> {
        let mut out = Vec::new();
        let mut times = Times::new(format, &self.settings.zone.zone, plausible);
        times.read(text, received, &mut out)?;
        Ok(String::from_utf8_lossy(&out).into_owned())
    }

    /// The form of a text that can be read: no text is of two, but for numbers, of which the magnitude tells.
    fn form(&self, text: &str, received: clock::Timestamp) -> Option<TimeFormat> {
        use TimeFormat::{Auto, Local, Rfc2822, Rfc3339, TimeOfDay, Unix, UnixMs, UnixNs, UnixUs};
        if self.settings.format != Auto {
            return Some(self.settings.format);
        }
        let text = text.trim();
        // A date and a time of day have more than digits and a point.
        if text.bytes().all(|it| it.is_ascii_digit() || it == b'.') {
            let whole = text.split('.').next().and_then(|it| it.parse().ok());
            return whole.map(|it| match unit_of(it).0 {
                0 => Unix,
                3 => UnixMs,
                6 => UnixUs,
                _ => UnixNs,
            });
        }
        let is = |form: &TimeFormat| {
            let read = self.read(text, *form, self.settings.plausible, received);
            read != Err(Unusable::Unreadable)
        };
        [Unix, Rfc3339, Local, TimeOfDay, Rfc2822].into_iter().find(is)
    }

    /// A form for people, and who chose it.
    fn named(&self, form: TimeFormat, text: &str) -> String {
        let zone = String::from(self.settings.zone.clone());
        let is_set = self.settings.format != TimeFormat::Auto;
        let chosen = |unit: &str| {
            let is_number = text.starts_with(|c: char| c.is_ascii_digit());
            let how = match (is_set, is_number) {
                (true, _) => " (timestamp.format)",
                (false, true) => ", told by its magnitude",
                (false, false) => "",
            };
            format!("epoch {unit}{how}")
        };
        match form {
            TimeFormat::Auto | TimeFormat::Rfc3339 => "RFC 3339".to_owned(),
            TimeFormat::Rfc2822 => "RFC 2822".to_owned(),
            TimeFormat::Unix => chosen("seconds"),
            TimeFormat::UnixMs => chosen("milliseconds"),
            TimeFormat::UnixUs => chosen("microseconds"),
            TimeFormat::UnixNs => chosen("nanoseconds"),
            TimeFormat::Local => format!("local time in {zone}"),
            TimeFormat::TimeOfDay => format!("time of day in {zone}"),
        }
    }

    /// Why a text is not used, with what helps.
    fn why(&self, why: Unusable, text: &str, received: clock::Timestamp) -> String {
        let Timestamp { format, plausible, .. } = &self.settings;
        let time = || {
            let any = Plausible { ahead_max: Period(ANY_AHEAD), since: first_day() };
            let read = self.read(text, *format, any, received).unwrap_or_default();
            read.trim_matches('"').to_owned()
        };
        match why {
            Unusable::Unreadable if *format == TimeFormat::Auto => {
                "it is no time that can be read".to_owned()
            }
            Unusable::Unreadable => {
                let word = serde_json::to_value(format).expect("a format is a word");
                format!("it cannot be read as timestamp.format = {word}")
            }
            Unusable::Early => {
                let since = String::from(plausible.since);
                format!("{} is not plausible: before {since} (timestamp.plausible.since)", time())
            }
            Unusable::Late => {
                let ahead = plausible.ahead_max;
                format!(
                    "{} is not plausible: later than its receipt, {received}, by more than {ahead} \
                     (timestamp.plausible.ahead_max)",
                    time()
                )
            }
        }
    }
}

/// Further ahead than any time that can be written.
const ANY_AHEAD: Duration = Duration::from_secs(1 << 40);

/// Before any time that can be written.
fn first_day() -> Day {
    Day::try_from("0000-01-01".to_owned()).expect("it is a day")
}

/// A pointer for people: that of the whole has no letter.
fn shown(pointer: &str) -> String {
    if pointer.is_empty() { "\"\"".to_owned() } else { pointer.to_owned() }
}

impl fmt::Display for TimeTold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, sent) = (shown(self.at.as_deref().unwrap_or_default()), self.sent.as_deref());
        match (&self.unused, sent) {
            (None, _) => write!(f, "of the sensor, from {at}")?,
            (Some(why), None) => return write!(f, "of receipt: {why}"),
            (Some(why), Some(sent)) => write!(f, "of receipt: at {at} is {sent}, and {why}")?,
        }
        self.read_as.iter().try_for_each(|it| write!(f, "; read as {it}"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::mapped::tests::Entry;
    use super::*;

    /// 2026-11-22T07:30:50.692Z.
    const RECEIVED: clock::Timestamp = clock::Timestamp::from_millis(1_795_332_650_692);

    const DEFAULTS: Defaults =
        Defaults { value: "value", timestamp: "timestamp", sensor: "sensorId" };

    fn told(settings: serde_json::Value, message: &str, part: Option<&str>) -> TimeTold {
        let entry: Entry = serde_json::from_value(settings).unwrap();
        let times = TimesTold::new(&entry.mapping().unwrap(), &DEFAULTS);
        let part = part.map(|it| message.find(it).and_then(|at| message.get(at..at + it.len())));
        times.tell(Document::Json(message), part.map(Option::unwrap), RECEIVED)
    }

    #[test]
    fn each_form_is_told_by_its_name() {
        let zone = json!({"timestamp": {"from": "/t", "zone": "Europe/Berlin"}});
        for (sent, form) in [
            (r#""2026-11-03T19:34:28Z""#, "RFC 3339"),
            (r#""2026-11-03 19:34:28,5 +0100""#, "RFC 3339"),
            (r#""Tue, 03 Nov 2026 19:34:28 GMT""#, "RFC 2822"),
            ("1732269000", "epoch seconds, told by its magnitude"),
            ("1732269000.5", "epoch seconds, told by its magnitude"),
            (r#""1732269000123""#, "epoch milliseconds, told by its magnitude"),
            ("1732269000123456", "epoch microseconds, told by its magnitude"),
            ("1732269000123456789", "epoch nanoseconds, told by its magnitude"),
            (r#""2026-11-03T19:34:28""#, "local time in Europe/Berlin"),
            (r#""08:31:00""#, "time of day in Europe/Berlin"),
        ] {
            let told = told(zone.clone(), &format!(r#"{{"t":{sent}}}"#), None);
            assert_eq!((told.at.as_deref(), &told.unused), (Some("/t"), &None), "{sent}");
            assert_eq!(told.read_as.as_deref(), Some(form), "{sent}");
        }
        let set = json!({"timestamp": {"from": "/t", "format": "unix_ms"}});
        let told = told(set, r#"{"t":1732269000}"#, None);
        assert_eq!(told.read_as.as_deref(), Some("epoch milliseconds (timestamp.format)"));
        let why = told.unused.unwrap();
        assert!(why.starts_with("1970-01-21T01:11:09.000Z is not plausible: before 2000"), "{why}");
    }

    #[test]
    fn why_the_time_of_receipt_stands_is_told_with_the_place_and_the_limit() {
        let set = json!({"timestamp": {"from": ["/a", "/b"], "plausible": {"ahead_max": "1h"}}});
        for (message, at, words) in [
            ("{}", None, "nothing is at /a or /b"),
            (r#"{"a":null,"b":1732269000}"#, Some("/a"), "neither a text nor a number"),
            (r#"{"b":"yesterday"}"#, Some("/b"), "no time that can be read"),
            (
                r#"{"b":"2026-11-22T08:30:52Z"}"#,
                Some("/b"),
                "2026-11-22T08:30:52Z is not plausible: later than its receipt, 2026-11-22T07:30:50.692Z, by more \
                 than 1h (timestamp.plausible.ahead_max)",
            ),
            (r#"{"a":-5}"#, Some("/a"), "1969-12-31T23:59:55Z is not plausible: before 2000-01-01"),
            ("21.5", None, "nothing is at /a or /b"),
        ] {
            let told = told(set.clone(), message, None);
            assert_eq!(told.at.as_deref(), at, "{message}");
            let why = told.unused.unwrap();
            assert!(why.contains(words), "{message}: {why}");
        }
        let local = json!({"timestamp": {"from": "/t", "format": "local"}});
        let why = told(local, r#"{"t":"2026-11-03T19:34:28Z"}"#, None).unused.unwrap();
        assert_eq!(why, "it cannot be read as timestamp.format = \"local\"");
    }

    #[test]
    fn a_time_is_looked_for_in_the_reading_and_then_in_the_message_around_it() {
        let each = json!({"each": "/r"});
        let message = r#"{"timestamp":1732269000,"r":[{"v":1,"timestamp":1732269001},{"v":2}]}"#;
        for (part, at) in
            [(r#"{"v":1,"timestamp":1732269001}"#, "/timestamp"), (r#"{"v":2}"#, "$/timestamp")]
        {
            let told = told(each.clone(), message, Some(part));
            assert_eq!((told.at.as_deref(), told.unused), (Some(at), None), "{part}");
        }
        let none = told(each, message, None);
        assert!(none.at.is_none() && none.unused.is_some(), "{none:?}");
        let whole = told(json!({"timestamp": ""}), "1732269000", None);
        assert_eq!(
            whole.to_string(),
            "of the sensor, from \"\"; read as epoch seconds, told by its magnitude"
        );
    }
}
