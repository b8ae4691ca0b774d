//! Readings out of a file, one line each: NDJSON, or CSV with a head (a file whose name ends in `.csv`).
//!
//! Invariants:
//! - A line is read when the one before it is made, so memory does not grow with the file.
//! - A line without a number is left out. So is one that is longer than [`LINE_BYTES_MAX`], or whose time cannot be read;
//!   how many there were is logged at the first end of the file.
//! - A file without any reading is over, although it is repeated.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::amounts::Speed;
use crate::clock::Timestamp;
use crate::text::from_path;

/// Bytes of a line, at most.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// Bytes that are read at once.
const READ_BYTES: usize = 4096;

/// Numbers below this are seconds since 1970, the others milliseconds.
const SECONDS_BELOW: f64 = 1e11;

/// `[sensors.<name>.simulated.model.replay]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    /// The file: NDJSON, or CSV with a head if its name ends in `.csv`.
    pub file: PathBuf,
    /// Where the value is, a number: a column of CSV; a member of an object, or a JSON pointer such as `/a/0`.
    #[serde(default = "value")]
    pub value: String,
    /// Where the time is: RFC 3339, or seconds or milliseconds since 1970. Readings come as far apart as these. Absent:
    /// as far apart as `interval`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// How many times as fast, above 0.
    #[serde(default = "as_it_was")]
    pub speed: Speed,
    /// At the end of the file it begins again. Else the sensor ends there.
    #[serde(default)]
    pub repeat: bool,
}

fn value() -> String {
    "value".into()
}
fn as_it_was() -> Speed {
    Speed(1.0)
}

impl Replay {
    /// What is wrong with the file.
    pub(super) fn problem(&self) -> Option<String> {
        let error = File::open(&self.file).and_then(|it| it.metadata());
        let problem = match error {
            Ok(it) if it.is_file() => return None,
            Ok(_) => "it is no file".to_owned(),
            Err(error) => error.to_string(),
        };
        let file = from_path(&self.file);
        Some(format!("{file} cannot be read ({problem}): name a file that this user can read"))
    }
}

/// A reading of the file, and its time.
type Found = (f64, Option<Timestamp>);

/// A file at work.
#[derive(Debug)]
pub(super) struct Player {
    /// `None` when it is over.
    lines: Option<Lines>,
    next: Option<Found>,
    /// From the reading that was made last to the next one.
    pause: Option<Duration>,
}

#[derive(Debug)]
struct Lines {
    replay: Replay,
    file: BufReader<File>,
    /// The places of value and time among the columns of CSV.
    columns: Option<(Option<usize>, Option<usize>)>,
    text: Vec<u8>,
    found: u64,
    left_out: u64,
    /// It was logged that lines are left out: the file is the same each time.
    is_told: bool,
}

impl Player {
    pub(super) fn new(replay: &Replay) -> Self {
        let lines = Lines::open(replay);
        let mut it = Self { lines, next: None, pause: None };
        it.advance();
        it
    }

    /// The next value; `None`: it is over.
    pub(super) fn value(&mut self) -> Option<f64> {
        let (value, time) = self.next?;
        self.advance();
        let times = time.zip(self.next.and_then(|it| it.1));
        let speed = self.lines.as_ref().map_or(1.0, |it| it.replay.speed.0);
        // Where the file begins again, the pause is the last one.
        if let Some((time, next)) = times.filter(|(time, next)| time <= next) {
            let pause = Duration::from_millis(next.millis() - time.millis());
            self.pause = Duration::try_from_secs_f64(pause.as_secs_f64() / speed).ok();
        }
        Some(value)
    }

    /// How long it is from the last reading to the next one; `None`: as long as the interval.
    pub(super) fn pause(&self) -> Option<Duration> {
        self.pause
    }

    fn advance(&mut self) {
        self.next = self.lines.as_mut().and_then(Lines::next);
        if self.next.is_none() {
            self.lines = None;
        }
    }
}

impl Lines {
    fn open(replay: &Replay) -> Option<Self> {
        let opened = File::open(&replay.file);
        let file = opened.inspect_err(|error| failed(&replay.file, error)).ok()?;
        let file = BufReader::with_capacity(READ_BYTES, file);
        let replay = replay.clone();
        let mut it = Self {
            replay,
            file,
            columns: None,
            text: Vec::new(),
            found: 0,
            left_out: 0,
            is_told: false,
        };
        it.begin();
        Some(it)
    }

    /// Reads the head, if there is to be one.
    fn begin(&mut self) {
        let is_csv = self.replay.file.extension().is_some_and(|it| it.eq_ignore_ascii_case("csv"));
        if is_csv && self.line() {
            let head = String::from_utf8_lossy(&self.text);
            let place = |name: &str| head.split(',').position(|it| field(it) == name);
            let time = self.replay.time.as_deref();
            self.columns = Some((place(&self.replay.value), time.and_then(place)));
        }
    }

    fn next(&mut self) -> Option<Found> {
        loop {
            if let Some(found) = self.next_here() {
                self.found += 1;
                return Some(found);
            }
            let (found, left_out) = (self.found, self.left_out);
            if (left_out > 0 || found == 0) && !std::mem::replace(&mut self.is_told, true) {
                let file = from_path(&self.replay.file);
                tracing::warn!(%file, found, left_out, "lines without a number, or a time, are left out");
            }
            if !self.replay.repeat || found == 0 || self.file.rewind().is_err() {
                return None;
            }
            (self.found, self.left_out) = (0, 0);
            self.begin();
        }
    }

    /// The next one before the end of the file.
    fn next_here(&mut self) -> Option<Found> {
        while self.line() {
            let found = self.found();
            if found.is_some() {
                return found;
            }
            self.left_out += u64::from(!self.text.trim_ascii().is_empty());
        }
        None
    }

    /// Reads a line; the rest of one that is too long is a line of its own. False at the end.
    fn line(&mut self) -> bool {
        self.text.clear();
        let read = (&mut self.file).take(LINE_BYTES_MAX).read_until(b'\n', &mut self.text);
        read.inspect_err(|error| failed(&self.replay.file, error)).is_ok_and(|bytes| bytes > 0)
    }

    fn found(&self) -> Option<Found> {
        let text = std::str::from_utf8(&self.text).ok()?.trim();
        let Some((value, time)) = self.columns else { return of_json(&self.replay, text) };
        let column = |at: usize| text.split(',').nth(at).map(field);
        let value: f64 = column(value?)?.parse().ok()?;
        let time = match &self.replay.time {
            Some(_) => Some(time_of(column(time?)?)?),
            None => None,
        };
        value.is_finite().then_some((value, time))
    }
}

/// A field of CSV without its quotes.
fn field(text: &str) -> &str {
    text.trim().trim_matches('"')
}

fn of_json(replay: &Replay, text: &str) -> Option<Found> {
    let json: Value = serde_json::from_str(text).ok()?;
    let at =
        |place: &str| if place.starts_with('/') { json.pointer(place) } else { json.get(place) };
    let value = match at(&replay.value)? {
        Value::String(text) => text.parse().ok()?,
        value => value.as_f64()?,
    };
    let time = match replay.time.as_deref().map(at) {
        None => None,
        Some(Some(Value::String(text))) => Some(time_of(text)?),
        Some(time) => Some(time_of(&time?.to_string())?),
    };
    Some((value, time))
}

fn time_of(text: &str) -> Option<Timestamp> {
    Timestamp::parse(text).or_else(|| {
        let number: f64 = text.parse().ok()?;
        let seconds = if number < SECONDS_BELOW { number } else { number / 1000.0 };
        let since = Duration::try_from_secs_f64(seconds).ok()?;
        Some(Timestamp::from_millis(u64::try_from(since.as_millis()).ok()?))
    })
}

fn failed(file: &Path, error: &std::io::Error) {
    let file = from_path(file);
    tracing::error!(%file, %error, "cannot be read; the sensor ends");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a file with this name and content gives, up to so many: values, and pauses in milliseconds.
    fn played(name: &str, content: &str, more: &str, most: usize) -> Vec<(f64, Option<u128>)> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name);
        std::fs::write(&file, content).unwrap();
        let replay = format!(r#"{{"file":{file:?}{more}}}"#);
        let replay: Replay = serde_json::from_str(&replay).unwrap();
        assert_eq!(replay.problem(), None);
        let mut player = Player::new(&replay);
        let next = || Some((player.value()?, player.pause().map(|it| it.as_millis())));
        std::iter::from_fn(next).take(most).collect()
    }

    #[test]
    fn values_come_out_of_ndjson_and_csv_and_what_is_none_is_left_out() {
        let lines = "{\"value\":1.5}\n\n{\"value\":\"2\"}\nrubbish\n{\"other\":1}\n{\"value\":3}";
        let three = [(1.5, None), (2.0, None), (3.0, None)];
        assert_eq!(played("a.ndjson", lines, "", 9), three);
        let deep = "{\"a\":[{\"t\":1.5}]}\n";
        assert_eq!(played("a.json", deep, r#","value":"/a/0/t""#, 9), three[..1]);
        let table = "when, \"value\" ,x\n1,1.5,a\n2,\"2\",b\n3,,c\n4,3\n";
        assert_eq!(played("a.CSV", table, "", 9), three);
        assert_eq!(played("a.csv", table, r#","value":"y""#, 9), []);
        assert_eq!(played("a.ndjson", "", r#","repeat":true"#, 9), []);
    }

    #[test]
    fn readings_come_as_far_apart_as_their_times_and_faster_if_asked_for() {
        let table = "t,value\n2026-11-22T07:30:50Z,1\n2026-11-22T07:30:51.5Z,2\n1795332652,3\n1795332652500,4\n";
        let more = r#","time":"t","speed":2.0"#;
        let pauses: Vec<_> = played("a.csv", table, more, 9).iter().map(|it| it.1).collect();
        // The last reading has none behind it.
        assert_eq!(pauses[..3], [Some(750), Some(250), Some(250)], "{pauses:?}");
        let json = "{\"t\":1000,\"value\":1}\n{\"t\":1010,\"value\":2}\n{\"value\":3}\n";
        let more = r#","time":"t","repeat":true"#;
        let twice = [(1.0, Some(10_000)), (2.0, Some(10_000))];
        assert_eq!(played("a.ndjson", json, more, 4), [twice, twice].concat());
    }

    #[test]
    fn a_line_that_is_too_long_is_left_out_and_takes_no_memory() {
        let long = format!("{{\"value\":1,\"x\":\"{}\"}}\n{{\"value\":2}}\n", "x".repeat(1 << 20));
        assert_eq!(played("a.ndjson", &long, "", 9), [(2.0, None)]);
    }

    #[test]
    fn a_file_that_is_not_there_is_told_with_its_remedy() {
        let replay: Replay = serde_json::from_str(r#"{"file":"/no/such.csv"}"#).unwrap();
        let problem = replay.problem().unwrap();
        assert!(
            problem.starts_with("/no/such.csv") && problem.contains(": name a file"),
            "{problem}"
        );
        assert_eq!(Player::new(&replay).value(), None);
    }
}
