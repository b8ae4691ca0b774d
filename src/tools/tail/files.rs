//! Shows the last records of the files that an output wrote, and what is written to them from then on.
//!
//! Batches and dead letters are a series of files each: the current one, and those that were renamed. The youngest
//! is read first, and an older one only where it does not have enough. The current one stays open: where it was renamed
//! it is read to its end, and then the one behind it. Half a line is waited for, and one that never ends is skipped.

use std::fs::File;
use std::io::{BufReader, ErrorKind};
use std::path::PathBuf;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use super::End;
use super::last::Last;
use super::printer::Printer;
use super::shown::{self, Held, Line, Wanted};
use crate::clock;
use crate::codec::Format;
use crate::mqtt::options::open_file;
use crate::text;
use crate::tools::listening::ended;
use crate::tools::verify::Error;
use crate::tools::verify::batch;
use crate::tools::verify::lines::{self, Lines};
use crate::tools::verify::paths::Found;

/// Bytes that are read between two looks at signals and the clock.
const TURN_BYTES: usize = 1 << 20;

/// How often a file is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A reader of files.
#[derive(Debug)]
pub(super) struct Files<'a> {
    series: Vec<Vec<Found>>,
    format: Format,
    line_bytes_max: usize,
    wanted: Wanted,
    printer: Printer,
    end: End<'a>,
}

/// A file that is read.
#[derive(Debug)]
struct Reading {
    found: Found,
    base: PathBuf,
    lines: Lines<BufReader<File>>,
}

/// How far a turn came.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    Lines,
    End,
}

impl<'a> Files<'a> {
    /// A reader of these files, in this format, of lines of so many bytes.
    pub(super) fn new(
        found: Vec<Found>,
        (format, line_bytes_max): (Format, usize),
        wanted: Wanted,
        printer: Printer,
        end: End<'a>,
    ) -> Self {
        let mut series: Vec<Vec<Found>> = Vec::new();
        for file in found {
            match series.last_mut() {
                Some(all) if all.first().is_some_and(|it| it.base() == file.base()) => {
                    all.push(file);
                }
                _ => series.push(vec![file]),
            }
        }
        Self { series, format, line_bytes_max, wanted, printer, end }
    }

    /// Shows until its end.
    pub(super) async fn read(mut self) -> Result<Printer, Error> {
        let (mut last, mut current) = (Vec::new(), Vec::new());
        for series in std::mem::take(&mut self.series) {
            let (lines, reading) = self.last_of(series).await?;
            last.push(lines);
            current.extend(reading);
        }
        let (lines, left_out) = Last::merged(last, self.count());
        self.printer.leave_out(left_out);
        self.print(lines).await;
        if self.end.follows {
            tracing::info!(files = current.len(), "following");
            self.follow(current).await?;
        }
        Ok(self.printer)
    }

    fn count(&self) -> usize {
        usize::try_from(self.end.count).unwrap_or(usize::MAX)
    }

    /// The last lines of a series, and its current file.
    async fn last_of(&mut self, series: Vec<Found>) -> Result<(Last, Option<Reading>), Error> {
        let (mut all, mut current) = (Last::new(self.count()), None);
        for found in series.into_iter().rev() {
            if all.is_full() || self.is_over() {
                break;
            }
            let Some(mut reading) = self.open(found)? else { continue };
            all = all.behind(self.last_lines(&mut reading).await?);
            current = current.or(Some(reading));
        }
        Ok((all, current))
    }

    /// The last lines of a file, or of what was read of it until a stop.
    async fn last_lines(&mut self, reading: &mut Reading) -> Result<Last, Error> {
        let (mut last, mut lines) = (Last::new(self.count()), Vec::new());
        loop {
            let turn = self.turn(reading, &mut lines)?;
            lines.drain(..).for_each(|it| last.push(it));
            if turn == Turn::End || self.is_over() {
                return Ok(last);
            }
            yield_now().await;
        }
    }

    /// Shows what is written to these files.
    async fn follow(&mut self, mut current: Vec<Reading>) -> Result<(), Error> {
        while !self.is_over() {
            let mut lines = Vec::new();
            let mut is_more = false;
            for reading in &mut current {
                is_more |= self.look(reading, &mut lines)?;
            }
            self.print(lines).await;
            if is_more {
                yield_now().await;
            } else {
                self.wait().await;
            }
        }
        Ok(())
    }

    /// Reads what is new in a file, or goes on to the next one; whether there is more.
    fn look(&self, reading: &mut Reading, lines: &mut Vec<Line>) -> Result<bool, Error> {
        // Before the end is seen: what was written until it was renamed is read.
        let is_current = reading.found.path == reading.base && reading.found.has_its_name();
        let is_more = self.turn(reading, lines)? == Turn::Lines;
        if is_more || is_current { Ok(is_more) } else { self.go_on(reading) }
    }

    /// Goes to the file behind this one; whether there is one.
    fn go_on(&self, reading: &mut Reading) -> Result<bool, Error> {
        let Some((next, is_known)) = reading.found.next(&reading.base) else { return Ok(false) };
        if !is_known {
            let file = text::from_path(&reading.base);
            tracing::warn!(
                file,
                "renamed files were removed before they were read: some of it is missing"
            );
        }
        let Some(opened) = self.open(next)? else { return Ok(false) };
        *reading = opened;
        Ok(true)
    }

    /// Waits until it is time to look again, or for a stop.
    async fn wait(&mut self) {
        let until = (Instant::from(clock::now().instant) + LOOK_EVERY).into_std();
        let (stops, end) = (&mut *self.end.stops, self.end.until);
        tokio::select! {
            biased;
            () = ended(stops, end) => self.end.until = Some(clock::now().instant),
            () = self.printer.gone() => self.end.until = Some(clock::now().instant),
            () = sleep(until.saturating_duration_since(clock::now().instant)) => {}
        }
    }

    fn is_over(&mut self) -> bool {
        if self.end.stops.try_recv().is_ok() {
            self.end.until = Some(clock::now().instant);
        }
        self.printer.is_gone() || self.end.until.is_some_and(|it| clock::now().instant >= it)
    }

    async fn print(&mut self, lines: Vec<Line>) {
        if lines.is_empty() {
            return;
        }
        let (stops, until) = (&mut *self.end.stops, self.end.until);
        let count = lines.len() as u64;
        let text: String = lines.into_iter().map(|it| it.text).collect();
        tokio::select! {
            () = self.printer.give(&text, count) => {}
            () = ended(stops, until) => self.end.until = Some(clock::now().instant),
        }
    }

    /// Opens a file; `None` where it was renamed or removed meanwhile.
    fn open(&self, found: Found) -> Result<Option<Reading>, Error> {
        match open_file(&found.path) {
            Ok(file) => {
                let file = BufReader::with_capacity(TURN_BYTES, file);
                let lines = Lines::new(file, self.line_bytes_max);
                Ok(Some(Reading { base: found.base(), found, lines }))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::Unreadable { path: found.path, error }),
        }
    }

    /// Reads some lines, and adds what is to be shown of them.
    fn turn(&self, reading: &mut Reading, shown: &mut Vec<Line>) -> Result<Turn, Error> {
        let path = || reading.found.path.clone();
        let mut bytes = 0;
        while bytes < TURN_BYTES {
            let line = reading.lines.next();
            let line = line.map_err(|error| Error::Unreadable { path: path(), error })?;
            let Some(line) = line else { return Ok(Turn::End) };
            let lines::Line::Read(line, has_end) = line else {
                let (line, bytes_max) = (reading.lines.number, self.line_bytes_max);
                return Err(Error::LineTooLong { path: path(), line, bytes_max });
            };
            bytes += line.len() + 1;
            if has_end {
                self.take(line, shown);
            }
        }
        Ok(Turn::Lines)
    }

    fn take(&self, line: &[u8], shown: &mut Vec<Line>) {
        if line.trim_ascii().is_empty() {
            return;
        }
        match shown::of_line(line, self.format) {
            Held::Records(records) if records.is_empty() => {
                if !batch::ends_early(line) && !self.wanted.is_of_dead_letters() {
                    shown.extend(self.wanted.unreadable(line, "no batch and no dead letter"));
                }
            }
            held => shown.extend(self.wanted.lines(&held)),
        }
    }
}
