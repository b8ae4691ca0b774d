//! The built program as a child process: its lines, its memory, its end.

use std::fs;
use std::io::{BufRead, BufReader, PipeReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::{Monitor, ignore, kill, now, thread, within};

mod launch;

pub(crate) use launch::Launch;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    Out,
    Err,
}

#[derive(Debug, Default)]
struct Output {
    lines: Vec<(Stream, String)>,
    /// Streams that have not ended.
    open: usize,
}

/// The last line of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Balance {
    pub(crate) received: u64,
    pub(crate) delivered: u64,
    pub(crate) dead_lettered: u64,
    pub(crate) shed: u64,
    pub(crate) held: u64,
    /// Of those held.
    pub(crate) spooled: u64,
}

impl Balance {
    /// Reads `received 5 = delivered 4 + dead-lettered 1 + shed 0 + held 0` out of a line.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let start = line.find("received ")?;
        let words: Vec<&str> = line.get(start..)?.split_whitespace().collect();
        let number = |name: &str| {
            let at = words.iter().position(|word| *word == name)?;
            words.get(at + 1)?.trim_end_matches([',', '.', ';']).parse().ok()
        };
        Some(Self {
            received: number("received")?,
            delivered: number("delivered")?,
            dead_lettered: number("dead-lettered")?,
            shed: number("shed")?,
            held: number("held")?,
            spooled: spooled(&words).unwrap_or_default(),
        })
    }

    pub(crate) fn closes(&self) -> bool {
        self.received == self.delivered + self.dead_lettered + self.shed + self.held
    }
}

/// Reads `(3 in the spool)`.
fn spooled(words: &[&str]) -> Option<u64> {
    let at = words.windows(3).position(|next| next == ["in", "the", "spool)"])?;
    words.get(at.checked_sub(1)?)?.strip_prefix('(')?.parse().ok()
}

/// A running or ended gateway; it is killed when dropped.
#[derive(Debug)]
pub(crate) struct Gateway {
    folder: TempDir,
    child: Child,
    output: Arc<Monitor<Output>>,
    unread: Option<PipeReader>,
    code: Option<i32>,
    /// Of the runs before it.
    peak_before: u64,
}

impl Gateway {
    /// Ends the limit of [`Gateway::with_file_limit`].
    pub(crate) fn lift_file_limit(&self) {
        let pid = self.pid().to_string();
        let status = Command::new("prlimit").args(["--fsize=unlimited", "--pid", &pid]).status();
        assert!(status.unwrap().success(), "prlimit (package util-linux) lifts the limit");
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Begins to read what nobody has read.
    pub(crate) fn read_on(&mut self) {
        let unread = self.unread.take().unwrap();
        self.output.change(|output| output.open += 1);
        follow(unread, Stream::Err, &self.output);
    }

    /// The folder it runs in; its configuration is `sluicegate.toml` there.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn config_path(&self) -> PathBuf {
        self.folder.path().join("sluicegate.toml")
    }

    /// "TERM", "INT", "KILL", "HUP", "STOP", "CONT".
    pub(crate) fn signal(&self, signal: &str) {
        kill(self.pid(), signal);
    }

    /// Waits for a line that contains `text`, on either stream, and returns the first.
    #[track_caller]
    pub(crate) fn wait_for_line(&self, text: &str, deadline: Duration) -> String {
        let ends = |output: &Output| output.open == 0 || output.find(text).is_some();
        let (output, _) = self.output.wait(deadline, ends);
        let found = output.find(text).map(str::to_owned);
        drop(output);
        found.unwrap_or_else(|| {
            panic!("no line with {text:?} within {deadline:?}; it wrote:\n{}", self.text())
        })
    }

    /// Whether a line so far contains `text`.
    pub(crate) fn said(&self, text: &str) -> bool {
        self.count(text) > 0
    }

    /// How many lines so far contain `text`.
    pub(crate) fn count(&self, text: &str) -> usize {
        self.output.lock().lines.iter().filter(|(_, line)| line.contains(text)).count()
    }

    /// Everything it wrote so far, both streams.
    pub(crate) fn text(&self) -> String {
        self.output.lock().text(|_| true)
    }

    pub(crate) fn stdout(&self) -> String {
        self.output.lock().text(|stream| stream == Stream::Out)
    }

    pub(crate) fn stderr(&self) -> String {
        self.output.lock().text(|stream| stream == Stream::Err)
    }

    /// Whether it is still running.
    pub(crate) fn runs(&mut self) -> bool {
        self.code.is_none() && self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end: the exit code, or minus the signal that ended it.
    #[track_caller]
    pub(crate) fn wait_exit(&mut self, deadline: Duration) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        if let Some(code) = self.code {
            return code;
        }
        let end = now() + deadline;
        let mut status = None;
        let ended = within(deadline, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        assert!(ended, "still runs after {deadline:?}; it wrote:\n{}", self.text());
        let status = status.unwrap();
        let code = status.code().unwrap_or_else(|| -status.signal().unwrap());
        self.code = Some(code);
        let left = end.saturating_duration_since(now()).max(Duration::from_secs(1));
        drop(self.output.wait(left, |output| output.open == 0));
        code
    }

    /// Waits for its end and its balance.
    #[track_caller]
    pub(crate) fn wait_balance(&mut self, deadline: Duration) -> (i32, Balance) {
        let code = self.wait_exit(deadline);
        let balance = self.balance();
        let balance = balance.unwrap_or_else(|| panic!("no balance; it wrote:\n{}", self.text()));
        (code, balance)
    }

    /// The last balance it wrote.
    pub(crate) fn balance(&self) -> Option<Balance> {
        let output = self.output.lock();
        output.lines.iter().rev().find_map(|(_, line)| Balance::parse(line))
    }

    /// Resident memory now, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        self.status_kib("VmRSS:") * 1024
    }

    /// The peak of resident memory, in bytes.
    pub(crate) fn memory_peak(&self) -> u64 {
        self.peak_before.max(self.status_kib("VmHWM:") * 1024)
    }

    /// Comes after a run with such a peak: the peak of both is asked for.
    pub(crate) fn after(mut self, peak: u64) -> Self {
        self.peak_before = peak;
        self
    }

    /// User and system time so far (to 10 ms).
    #[track_caller]
    pub(crate) fn cpu(&self) -> Duration {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        // The name of the program, in parentheses, may contain spaces.
        let (_, fields) = text.rsplit_once(')').unwrap();
        let ticks =
            |at: usize| -> u64 { fields.split_whitespace().nth(at).unwrap().parse().unwrap() };
        Duration::from_millis((ticks(11) + ticks(12)) * 10)
    }

    #[track_caller]
    fn status_kib(&self, name: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.expect("the process runs").trim_end_matches("kB").trim().parse().unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if self.code.is_none() {
            ignore(self.child.kill(), "it has ended by itself");
            ignore(self.child.wait(), "it has ended by itself");
        }
    }
}

impl Output {
    fn find(&self, text: &str) -> Option<&str> {
        let found = self.lines.iter().find(|(_, line)| line.contains(text));
        found.map(|(_, line)| line.as_str())
    }

    fn text(&self, wanted: impl Fn(Stream) -> bool) -> String {
        let lines = self.lines.iter().filter(|(stream, _)| wanted(*stream));
        lines.fold(String::new(), |text, (_, line)| text + line + "\n")
    }
}

fn follow(pipe: impl Read + Send + 'static, stream: Stream, output: &Arc<Monitor<Output>>) {
    let output = Arc::clone(output);
    drop(thread("output", move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            output.change(|output| output.lines.push((stream, text)));
            line.clear();
        }
        output.change(|output| output.open -= 1);
    }));
}
