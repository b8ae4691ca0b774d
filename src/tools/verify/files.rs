//! Reads the files that an output wrote, line by line, into the audit.
//!
//! A line is a batch, a record, or dead letters: its content tells which. One that ends too early is half a line:
//! its writer is still at it, or was killed there, and writes it again. Half lines are told of and are no fault.
//! What they held and nothing else holds is missing. At the end of a file, with more to be expected, it may still
//! come.

use std::io::{self, BufRead, BufReader};
use std::path::Path;

use tokio::sync::mpsc;
use tokio::task::yield_now;

use super::Error;
use super::audit::{Audit, Taken};
use super::lines::{Line, Lines};
use super::paths::Found;
use super::progress::Progress;
use super::verdict::Hearing;
use crate::clock;
use crate::mqtt::options::open_file;
use crate::text;

/// Bytes that are read between two looks at signals and the clock.
const TURN_BYTES: usize = 1 << 20;

/// A reader of files.
#[derive(Debug)]
pub(super) struct Files {
    found: Vec<Found>,
    /// Bytes of a line. A longer one ends the verification.
    line_bytes_max: usize,
    audit: Audit,
    stops: mpsc::Receiver<()>,
    progress: Progress,
    half: Half,
}

/// Half lines.
#[derive(Debug, Default)]
struct Half {
    count: u64,
    /// Where the first is.
    first: Option<String>,
    /// The last line that was read is one, and has no end.
    is_last: bool,
}

/// How far a turn came.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    Lines,
    End,
}

impl Files {
    /// A reader of these files, of lines of up to `line_bytes_max`, until a stop.
    pub(super) fn new(
        found: Vec<Found>,
        line_bytes_max: usize,
        audit: Audit,
        stops: mpsc::Receiver<()>,
    ) -> Self {
        let progress = Progress::new(clock::now().instant);
        Self { found, line_bytes_max, audit, stops, progress, half: Half::default() }
    }

    /// Reads all of them, or until a stop.
    pub(super) async fn read(mut self) -> Result<(Audit, Hearing), Error> {
        tracing::info!(files = self.found.len(), "verification starts");
        let mut hearing = Hearing::default();
        let found = std::mem::take(&mut self.found);
        for Found { path, .. } in &found {
            let file = match open_file(path) {
                Ok(file) => file,
                // Renamed or removed meanwhile: told of below.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(Error::Unreadable { path: path.clone(), error }),
            };
            let shown = text::from_path(path);
            let lines = Lines::new(BufReader::with_capacity(TURN_BYTES, file), self.line_bytes_max);
            if !self.read_one(path, lines).await? {
                hearing.doubts.push(format!("stopped in {shown}: the rest was not read"));
                break;
            }
            if self.half.is_last {
                let text = format!("what is missing may be in the half line at the end of {shown}");
                hearing.half = Some(text);
            }
        }
        if let Some(file) = found.iter().find(|it| !it.has_its_name()) {
            let shown = text::from_path(&file.path);
            let text = format!("{shown} was renamed or removed while it was read: verify again");
            hearing.doubts.push(text);
        }
        hearing.notes.extend(self.half.note());
        if self.audit.tells_late() {
            let text = "--late-ms has no effect: a file does not say when its readings arrived";
            hearing.notes.push(text.to_owned());
        }
        Ok((self.audit, hearing))
    }

    /// Reads a file; false after a stop.
    async fn read_one(
        &mut self,
        path: &Path,
        mut lines: Lines<impl BufRead>,
    ) -> Result<bool, Error> {
        while self.turn(path, &mut lines)? == Turn::Lines {
            self.progress.tell(clock::now().instant, &self.audit);
            yield_now().await;
            if self.stops.try_recv().is_ok() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads some lines.
    fn turn(&mut self, path: &Path, lines: &mut Lines<impl BufRead>) -> Result<Turn, Error> {
        let mut bytes = 0;
        while bytes < TURN_BYTES {
            let line = lines.next();
            let line = line.map_err(|error| Error::Unreadable { path: path.to_owned(), error })?;
            let Some(line) = line else { return Ok(Turn::End) };
            let Line::Read(line, has_end) = line else {
                let (line, bytes_max) = (lines.number, self.line_bytes_max);
                return Err(Error::LineTooLong { path: path.to_owned(), line, bytes_max });
            };
            bytes += line.len() + 1;
            let is_half = self.audit.take_line(line) == Taken::Half;
            self.half.is_last = is_half && !has_end;
            if is_half {
                self.half.count += 1;
                let place = || format!("line {} of {}", lines.number, text::from_path(path));
                self.half.first.get_or_insert_with(place);
            }
        }
        Ok(Turn::Lines)
    }
}

impl Half {
    /// What to know of them.
    fn note(&self) -> Option<String> {
        let (count, first) = (self.count, self.first.as_ref()?);
        let lines = if count == 1 { "line ends" } else { "lines end" };
        Some(format!(
            "{count} {lines} too early, first {first}: it was being written, or its writer was killed there"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Format;
    use crate::tools::simulate::report::{Counts, Report};
    use crate::tools::verify::audit::Rules;
    use crate::tools::verify::paths::found;
    use crate::tools::verify::verdict::{Expectation, Judgement, Verdict, judge};
    use std::fs;

    const BYTES_MAX: usize = 1000;

    /// Reads these files (name, text) as one output, and judges by what was acknowledged, if that is known.
    fn judged(files: &[(&str, &str)], acknowledged: Option<u64>) -> Result<Verdict, Error> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let found = found(&[folder.path().join("out")], &[]).unwrap();
        let (audit, hearing) = read(found, None, mpsc::channel(1).1)?;
        let expectation = acknowledged.map_or(Expectation::Unknown, |acknowledged| {
            let mut report = Report { ended: Some(String::new()), ..Report::default() };
            let counts = Counts { sent: acknowledged, acknowledged, ..Counts::default() };
            report.sensors.insert("a".into(), counts);
            Expectation::Report(report)
        });
        Ok(judge(&audit, "n", &expectation, hearing))
    }

    fn read(
        found: Vec<Found>,
        late_ms: Option<u64>,
        stops: mpsc::Receiver<()>,
    ) -> Result<(Audit, Hearing), Error> {
        let rules = Rules {
            member: "n".into(),
            format: Format::Json,
            sensors_max: 10,
            late_ms,
            batch_bytes_max: 1 << 20,
        };
        let files = Files::new(found, BYTES_MAX, Audit::new(rules), stops);
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(files.read())
    }

    /// Those of outputs.
    const FORMATS: [Format; 3] = [Format::Json, Format::JsonArray, Format::Ndjson];

    fn record(n: u64) -> String {
        format!(r#"{{"sensorId":"a","sequence":{n},"value":{{"n":{n}}}}}"#)
    }

    /// A line of a batch, as each format writes it.
    fn batch(format: Format, id: &str, numbers: &[u64]) -> String {
        let between = if format == Format::Ndjson { "\n" } else { "," };
        let records = numbers.iter().map(|n| record(*n)).collect::<Vec<_>>().join(between);
        match format {
            Format::Json => {
                format!("{{\"gateway\":\"g\",\"batch\":\"{id}\",\"records\":[{records}]}}\n")
            }
            Format::JsonArray => format!("[{records}]\n"),
            Format::Ndjson => records + "\n",
            Format::Cbor | Format::Influx | Format::Numbers => panic!("no file has it"),
        }
    }

    /// Missing, duplicated, reordered, unnumbered, unreadable, repeated batches.
    fn counts(it: &Verdict) -> [u64; 6] {
        [it.missing, it.duplicated, it.reordered, it.unnumbered, it.unreadable, it.repeated_batches]
    }

    /// Lines with faults in them, and what is to be found.
    fn planted(format: Format) -> [(String, [u64; 6]); 7] {
        let line = |numbers: &[u64]| batch(format, &format!("g-{}", numbers[0]), numbers);
        let [first, second, third] = [[1, 2], [3, 4], [5, 6]].map(|it| line(&it));
        // Each line is a batch of its own.
        let by_lines = format == Format::Ndjson;
        let again = if by_lines { [0, 0, 0, 0, 0, 1] } else { [0, 1, 0, 0, 0, 0] };
        [
            (format!("{first}{second}{third}"), [0; 6]),
            (format!("{first}{third}"), [2, 0, 0, 0, 0, 0]),
            (format!("{first}{second}{third}{first}"), [0, 0, 0, 0, 0, 1 + u64::from(by_lines)]),
            (format!("{first}{third}{second}"), [0, 0, 2, 0, 0, 0]),
            (format!("{first}{second}hello\n\n{third}"), [0, 0, 0, 0, 1, 0]),
            (format!("{first}{second}{third}{}", line(&[8, 7])), [0, 0, 1, 0, 0, 0]),
            (format!("{first}{second}{third}{}", line(&[7, 3])), again),
        ]
    }

    #[test]
    fn each_planted_fault_is_found_in_files_of_each_format_and_nothing_else() {
        let all = FORMATS.into_iter().flat_map(|format| planted(format).map(|it| (format, it)));
        for (format, (text, expected)) in all {
            let verdict = judged(&[("out", &text)], None).unwrap();
            assert_eq!(counts(&verdict), expected, "{format:?}: {text}");
            assert_eq!(verdict.verdict == Judgement::Clean, expected[..5] == [0; 5], "{text}");
            assert_eq!(verdict.latency_ms, None);
        }
    }

    #[test]
    fn renamed_files_are_read_first_and_dead_letters_count_as_over_mqtt() {
        let line = |n| batch(Format::Json, &format!("g-{n}"), &[n]);
        let letter = |n: u64| {
            format!(
                r#"{{"gateway":"g","reason":"malformed","sensorId":"a","payload":"{{\"n\":{n}}}"}}"#
            )
        };
        let (letters, lines) = (format!("{}\n[{},{}]\n", letter(5), letter(6), letter(7)), line(4));
        let (second, first) = (line(3), line(1) + &line(2));
        let files = [
            ("out", &*lines),
            ("out.1", &second),
            ("out.2", &first),
            ("out.dead-letters", &letters),
        ];
        let verdict = judged(&files, Some(7)).unwrap();
        assert_eq!((counts(&verdict), verdict.records, verdict.dead_lettered), ([0; 6], 4, 3));
        assert_eq!(verdict.verdict, Judgement::Clean);
        assert_eq!(verdict.dead_letters.get("malformed"), Some(&3));
        // Both in one file, as on standard output.
        let verdict = judged(&[("out", &(first + &second + &lines + &letters))], None).unwrap();
        assert_eq!((counts(&verdict), verdict.dead_letters.get("malformed")), ([0; 6], Some(&3)));
    }

    #[test]
    fn half_a_line_is_told_of_and_is_no_fault() {
        for format in FORMATS {
            let line = |n| batch(format, &format!("g-{n}"), &[n]);
            let (whole, next) = (line(1) + &line(2), line(3));
            // In the middle of the record; and where only what is around it is missing.
            for end in [next.len() / 2, next.len() - 2] {
                half_a_line(&whole, &next, end);
            }
            // One that only lacks its line break is whole.
            let verdict = judged(&[("out", (whole + &next).trim_end())], Some(3)).unwrap();
            assert_eq!((verdict.verdict, verdict.records), (Judgement::Clean, 3));
        }
    }

    #[track_caller]
    fn half_a_line(whole: &str, next: &str, end: usize) {
        let ending = format!("{whole}{}", next.get(..end).unwrap());
        let verdict = judged(&[("out", &ending)], Some(2)).unwrap();
        assert_eq!((verdict.verdict, counts(&verdict)), (Judgement::Clean, [0; 6]), "{ending}");
        let note = verdict.notes.concat();
        assert!(note.contains("1 line ends too early, first line 3 of "), "{note}");
        // What is missing may be in it.
        let verdict = judged(&[("out", &ending)], Some(3)).unwrap();
        assert_eq!((verdict.verdict, verdict.lost), (Judgement::Inconclusive, None));
        let note = &verdict.notes[0];
        assert!(note.starts_with("what is missing may be in the half line"), "{note}");
        // A gateway that was killed writes it again, behind a line break.
        let again = format!("{ending}\n{next}");
        let verdict = judged(&[("out", &again)], Some(3)).unwrap();
        assert_eq!((verdict.verdict, counts(&verdict)), (Judgement::Clean, [0; 6]), "{again}");
        let verdict = judged(&[("out", &again)], Some(4)).unwrap();
        assert_eq!((verdict.verdict, verdict.lost), (Judgement::Faulty, Some(1)));
    }

    #[test]
    fn a_line_beyond_the_limit_names_file_line_and_limit() {
        let text = format!("{}{}\n", batch(Format::Json, "g-1", &[1]), "x".repeat(BYTES_MAX + 1));
        let error = judged(&[("out", &text)], None).unwrap_err().to_string();
        assert!(error.contains("out: line 2 has more than 1000 bytes"), "{error}");
    }

    #[test]
    fn what_was_not_read_is_not_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let line = batch(Format::Json, "g-1", &[1]) + &batch(Format::Json, "g-2", &[3]);
        fs::write(&path, line.repeat(TURN_BYTES / line.len() + 1)).unwrap();
        let found = || found(std::slice::from_ref(&path), &[]).unwrap();
        let (stop, stops) = mpsc::channel(1);
        stop.try_send(()).unwrap();
        let (audit, stopped) = read(found(), None, stops).unwrap();
        assert_eq!(stopped.notes, [""; 0]);
        let verdict = judge(&audit, "n", &Expectation::Unknown, stopped);
        assert_eq!(
            (verdict.verdict, verdict.missing, verdict.lost),
            (Judgement::Inconclusive, 1, None)
        );
        assert!(verdict.notes[0].starts_with("stopped in "), "{:?}", verdict.notes);
        let (_, late) = read(found(), Some(1), mpsc::channel(1).1).unwrap();
        assert!(late.notes[0].starts_with("--late-ms has no effect"), "{:?}", late.notes);
        let before = found();
        fs::rename(&path, folder.path().join("out.1")).unwrap();
        let (_, renamed) = read(before, None, mpsc::channel(1).1).unwrap();
        assert!(renamed.doubts[0].contains("was renamed or removed"), "{:?}", renamed.doubts);
    }
}
