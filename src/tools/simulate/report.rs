//! The report of a simulation, as a file and as a table.
//!
//! ```json
//! {"started":"2026-11-22T07:30:50.601Z","ended":"2026-11-22T07:31:40.112Z","qos":1,
//!  "sensors":{"TEMP_00":{"sent":500,"acknowledged":500,"again":0}}}
//! ```
//! A sensor with planted faults has `"planted":{"dropout":3,…}` beside these; with `delayed` there is `"delayed_ms"`.
//!
//! The file is written at the start (with `"ended":null`, so that the report of an earlier run is not taken for
//! this one's) and at the end. Each time a new file is written, synced and renamed.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::source::simulated::{self, Fault};

/// Bytes of a report that is read. A larger file is refused.
pub const REPORT_BYTES_MAX: u64 = 256 << 20;

/// Sensors that the table shows.
const SHOWN_MAX: usize = 10;

/// The counts of one sensor, or of many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Readings that were sent, each counted once.
    pub sent: u64,
    /// Readings that the broker acknowledged; with QoS 0 those that were written.
    pub acknowledged: u64,
    /// How many times a reading was resent after a reconnect.
    pub again: u64,
    /// Readings that the broker refused; with QoS 0 those whose connection broke while they were written. They
    /// are not resent.
    #[serde(skip_serializing_if = "is_zero")]
    pub refused: u64,
    /// The faults of its readings.
    #[serde(skip_serializing_if = "Planted::is_none")]
    pub planted: Planted,
}

/// The faults that were planted. Those of readings are counted when the reading is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Planted {
    /// Readings that were not made; no number is missing.
    pub dropout: u64,
    /// Readings that were not made in a silence; no number is missing.
    pub offline: u64,
    /// Readings that repeat a value.
    pub stuck: u64,
    /// Readings with a value that is far away.
    pub spike: u64,
    /// Second messages of a reading, acknowledged and not counted as such.
    pub duplicate: u64,
    /// Readings with an earlier time.
    pub delayed: u64,
    /// Readings whose payload is none.
    pub malformed: u64,
}

impl Planted {
    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Counts one.
    pub(super) fn count(&mut self, fault: Fault) {
        let count = match fault {
            Fault::Dropout => &mut self.dropout,
            Fault::Offline => &mut self.offline,
            Fault::Stuck => &mut self.stuck,
            Fault::Spike => &mut self.spike,
            Fault::Duplicate => &mut self.duplicate,
            Fault::Delayed => &mut self.delayed,
            Fault::Malformed => &mut self.malformed,
        };
        *count += 1;
    }

    /// Counts those of a reading that was made; its second message is counted by itself.
    pub(super) fn count_made(&mut self, planted: simulated::Planted) {
        let all = [Fault::Stuck, Fault::Spike, Fault::Delayed, Fault::Malformed];
        for fault in all.into_iter().filter(|it| planted.has(*it)) {
            self.count(fault);
        }
    }

    fn add(&mut self, other: Self) {
        let Self { dropout, offline, stuck, spike, duplicate, delayed, malformed } = other;
        self.dropout += dropout;
        self.offline += offline;
        self.stuck += stuck;
        self.spike += spike;
        self.duplicate += duplicate;
        self.delayed += delayed;
        self.malformed += malformed;
    }
}

/// All that are not 0.
impl fmt::Display for Planted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [
            ("dropout", self.dropout),
            ("offline", self.offline),
            ("stuck", self.stuck),
            ("spike", self.spike),
            ("duplicate", self.duplicate),
            ("delayed", self.delayed),
            ("malformed", self.malformed),
        ];
        let shown = all.iter().filter(|it| it.1 > 0).map(|(name, count)| format!("{name} {count}"));
        f.write_str(&shown.collect::<Vec<_>>().join(", "))
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde asks for")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Counts {
    pub fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.acknowledged += other.acknowledged;
        self.again += other.again;
        self.refused += other.refused;
        self.planted.add(other.planted);
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Report {
    /// RFC 3339.
    #[serde(default)]
    pub started: Option<String>,
    /// `None` while the simulation runs.
    #[serde(default)]
    pub ended: Option<String>,
    #[serde(default)]
    pub qos: u8,
    /// By how many milliseconds the times of delayed readings are too early, at most.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub delayed_ms: u64,
    /// The counts by sensor.
    pub sensors: BTreeMap<String, Counts>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot write the report {}: {error}; choose another place with --report", path.display())]
    Unwritable { path: PathBuf, error: std::io::Error },
    #[error("cannot read the report {}: {problem}", path.display())]
    Unreadable { path: PathBuf, problem: String },
}

impl Report {
    /// The report of a simulation that begins.
    pub fn begin(started: Timestamp, qos: u8) -> Self {
        Self { started: Some(started.to_string()), qos, ..Self::default() }
    }

    pub fn started(&self) -> Option<Timestamp> {
        self.started.as_deref().and_then(Timestamp::parse)
    }

    /// The counts of all sensors together.
    pub fn total(&self) -> Counts {
        let mut total = Counts::default();
        self.sensors.values().for_each(|counts| total.add(*counts));
        total
    }

    /// Whether something was sent, and all of it was acknowledged.
    pub fn is_complete(&self) -> bool {
        let total = self.total();
        total.sent > 0 && total.sent == total.acknowledged
    }

    /// Replaces the file at `path`, all or nothing.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".tmp");
        let beside = PathBuf::from(beside);
        let written = || -> std::io::Result<()> {
            let mut file = BufWriter::new(File::create(&beside)?);
            serde_json::to_writer(&mut file, self)?;
            file.write_all(b"\n")?;
            file.flush()?;
            file.get_ref().sync_all()?;
            std::fs::rename(&beside, path)
        };
        written().map_err(|error| Error::Unwritable { path: path.to_owned(), error })
    }

    pub fn read(path: &Path) -> Result<Self, Error> {
        let unreadable = |problem: String| Error::Unreadable { path: path.to_owned(), problem };
        let file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
        let bytes = file.metadata().map_err(|error| unreadable(error.to_string()))?.len();
        if bytes > REPORT_BYTES_MAX {
            return Err(unreadable(format!("{bytes} bytes, more than {REPORT_BYTES_MAX}")));
        }
        serde_json::from_reader(BufReader::new(file)).map_err(|error| unreadable(error.to_string()))
    }

    /// The table: entries, the total, and sensors with unacknowledged readings.
    pub fn table(&self, entries: &[(String, Counts)], took: Duration) -> String {
        let mut out = String::new();
        self.describe(&mut out, entries, took).expect("text can be written to memory");
        out
    }

    fn describe(
        &self,
        out: &mut String,
        entries: &[(String, Counts)],
        took: Duration,
    ) -> fmt::Result {
        let total = self.total();
        let per_second = rate(total.acknowledged, took);
        writeln!(
            out,
            "simulate: {} of {} readings of {} sensors acknowledged in {:.1} s ({per_second}/s), QoS {}",
            total.acknowledged,
            total.sent,
            self.sensors.len(),
            took.as_secs_f64(),
            self.qos
        )?;
        writeln!(
            out,
            "{:<16} {:>12} {:>12} {:>9} {:>9}",
            "entry", "sent", "acknowledged", "again", "refused"
        )?;
        let mut line = |name: &str, it: &Counts| {
            let Counts { sent, acknowledged, again, refused, planted: _ } = it;
            writeln!(out, "{name:<16} {sent:>12} {acknowledged:>12} {again:>9} {refused:>9}")
        };
        for (name, counts) in entries.iter().take(SHOWN_MAX) {
            line(name, counts)?;
        }
        if entries.len() > 1 {
            line("in all", &total)?;
        }
        let open = self.sensors.iter().filter(|(_, it)| it.sent > it.acknowledged);
        for (name, counts) in open.clone().take(SHOWN_MAX) {
            line(&format!("  {name}"), counts)?;
        }
        match open.count().saturating_sub(SHOWN_MAX) {
            0 => {}
            more => writeln!(out, "  and {more} more sensors with something unacknowledged")?,
        }
        if total.planted.is_none() {
            return Ok(());
        }
        writeln!(out, "planted: {}", total.planted)
    }
}

/// Readings per second, rounded.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a rate for people"
)]
pub(crate) fn rate(readings: u64, took: Duration) -> u64 {
    (readings as f64 / took.as_secs_f64().max(0.001)).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_the_contract_and_reads_back() {
        let mut report = Report::begin(Timestamp::from_millis(1_763_796_650_601), 1);
        let counts = Counts { sent: 500, acknowledged: 500, ..Counts::default() };
        report.sensors.insert("TEMP_00".into(), counts);
        let text = serde_json::to_string(&report).unwrap();
        let expected = concat!(
            r#"{"started":"2025-11-22T07:30:50.601Z","ended":null,"qos":1,"#,
            r#""sensors":{"TEMP_00":{"sent":500,"acknowledged":500,"again":0}}}"#
        );
        assert_eq!(text, expected);
        assert!(report.is_complete());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        assert!(Report::read(&path).unwrap_err().to_string().contains("report.json"));
        report.write(&path).unwrap();
        let more = Counts { sent: 3, acknowledged: 1, again: 2, refused: 1, ..Counts::default() };
        report.sensors.insert("TEMP_01".into(), more);
        report.ended = report.started.clone();
        report.write(&path).unwrap();
        assert_eq!(Report::read(&path).unwrap(), report);
        assert!(!report.is_complete());
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            1,
            "nothing is left beside it"
        );
        let nowhere = report.write(&folder.path().join("no/report.json")).unwrap_err().to_string();
        assert!(nowhere.contains("choose another place with --report"), "{nowhere}");
        let entries = [("TEMP".to_owned(), report.total())];
        let table = report.table(&entries, Duration::from_secs(2));
        assert!(table.contains("501 of 503 readings of 2 sensors acknowledged in 2.0 s (251/s)"));
        assert!(table.contains("TEMP_01") && !table.contains("TEMP_00"), "{table}");
    }
}
