//! `[sensors.<name>.exec]`: the lines that a command writes to its standard output are payloads.
//!
//! The command is started without a shell, in a process group of its own, with nothing on its standard input.
//! What it writes to standard error goes to the log, a line in ten seconds. When it ends it is started again after a pause that grows;
//! with `restart = "on_failure"` not where it ended with 0: then this source has ended, as a simulated one that
//! has made all its readings.
//!
//! - A line is read when the queue has room: a command that writes faster waits at its pipe. No more than
//!   `queue.record_bytes_max` of a line are kept; of a longer one the head, in a dead letter.
//! - Nobody can ask for a line again. So readings come *at most once* up to the queue, and at least once from
//!   there: what is held when the gateway stops without having drained is gone.
//! - When the gateway drains, the group gets SIGTERM, and SIGKILL where it lives after `END_MAX`. Lines that
//!   it writes meanwhile are not read.

use std::borrow::Cow;
use std::io;
use std::process::Stdio;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::{sleep, timeout};

use self::lines::{Line, Lines};
use super::records::{Message, Records};
use super::{Context, Ended, Entry};
use crate::backoff::Backoff;
use crate::clock::{self, Now};
use crate::codec::Payload;
use crate::limits::RECONNECT_PAUSE;
use crate::phase::{Phase, Watch};
use crate::queue::Inlet;
use crate::record::{Chunk, Record};
use crate::repeat::Repeated;
use crate::settlement::Token;
use crate::tasks::Tasks;
use crate::text;

mod lines;

/// How long a process group may live after SIGTERM.
const END_MAX: Duration = Duration::from_secs(2);

/// A command that ran for so long is started again after the shortest pause.
const STEADY: Duration = Duration::from_mins(1);

/// Bytes of a line of standard error that are logged.
const ERROR_LINE_BYTES_MAX: usize = 1024;

/// Ids whose rows are remembered; the others are looked up each time.
const IDS_REMEMBERED_MAX: usize = 1024;

/// Lines that are read before they are offered.
const LINES_MAX: usize = 256;

/// Bytes of the buffer of a pipe.
const PIPE_BUFFER_BYTES: usize = 8 * 1024;

/// Bytes that an entry holds beside the queue, at most: the buffers of two pipes, a line, and what is read
/// and not offered yet, each in a buffer that grows.
pub const fn bytes_max(record_bytes_max: usize) -> u64 {
    let line = 2 * record_bytes_max;
    let chunk = 4 * record_bytes_max + 2 * LINES_MAX * size_of::<Record>();
    (2 * PIPE_BUFFER_BYTES + line + chunk) as u64
}

/// `[sensors.<name>.exec]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The program and its arguments. There is no shell: `["sh", "-c", "…"]` starts one.
    pub command: Argv,
    /// When it is started again.
    #[serde(default)]
    pub restart: Restart,
    /// How lines are read.
    #[serde(default)]
    pub payload: Payload,
}

/// A program and its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Value", into = "Vec<String>")]
#[schemars(with = "Vec<String>", extend("minItems" = 1))]
pub struct Argv {
    program: String,
    arguments: Vec<String>,
}

impl Argv {
    /// The program, as it may be shown.
    pub fn program(&self) -> Cow<'_, str> {
        text::shown(&self.program)
    }
}

impl TryFrom<Value> for Argv {
    type Error = &'static str;

    fn try_from(value: Value) -> Result<Self, Self::Error> {
        let words = value.as_array().and_then(|list| {
            let word = |it: &Value| it.as_str().map(str::to_owned);
            list.iter().map(word).collect::<Option<Vec<String>>>()
        });
        let mut words = words
            .ok_or("is not a list: write the program and its arguments, such as [\"rtl_433\", \"-F\", \"json\"]")?
            .into_iter();
        match words.next().filter(|it| !it.is_empty()) {
            Some(program) => Ok(Self { program, arguments: words.collect() }),
            None => Err("is empty: write the program and its arguments"),
        }
    }
}

impl From<Argv> for Vec<String> {
    fn from(argv: Argv) -> Self {
        std::iter::once(argv.program).chain(argv.arguments).collect()
    }
}

/// When a command that has ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Restart {
    /// However it ended.
    #[default]
    Always,
    /// Unless it ended with 0.
    OnFailure,
}

impl Settings {
    /// None: the lines may name their sensors.
    #[expect(clippy::unused_self, reason = "the shape of every kind")]
    pub(super) fn known_sensors(&self) -> Option<usize> {
        None
    }

    /// How payloads are read.
    #[expect(clippy::unnecessary_wraps, reason = "the shape of every kind")]
    pub(super) fn payload(&self) -> Option<&Payload> {
        Some(&self.payload)
    }
}

/// Starts the task of an entry.
pub(super) fn start(settings: &Settings, entry: &Entry<'_>, tasks: &mut Tasks<Ended>) {
    let (first, longest) = RECONNECT_PAUSE;
    let program = Program {
        name: entry.name.to_owned(),
        settings: settings.clone(),
        inlet: entry.queue.inlet(),
        records: Records::new(entry.name, &settings.payload, IDS_REMEMBERED_MAX, &entry.context),
        context: entry.context.clone(),
        chunk: Chunk::default(),
        end_said: Repeated::default(),
        error_said: Repeated::default(),
        backoff: Backoff::new(first, longest),
        rng: SmallRng::seed_from_u64(entry.seed),
    };
    tasks.start(program.run(entry.phase.clone()));
}

/// A command, from one start to the next.
#[derive(Debug)]
struct Program {
    name: String,
    settings: Settings,
    inlet: Inlet,
    records: Records,
    context: Context,
    chunk: Chunk,
    end_said: Repeated,
    error_said: Repeated,
    backoff: Backoff,
    rng: SmallRng,
}

impl Program {
    async fn run(mut self, mut phase: Watch) -> Ended {
        loop {
            let begun = clock::now().instant;
            let ended = match self.spawned() {
                Ok(child) => self.serve(child, &mut phase).await,
                Err(error) => Some(format!("cannot be started: {error}")),
            };
            let Some(how) = ended else { return Ok(()) };
            if clock::now().instant.saturating_duration_since(begun) >= STEADY {
                self.backoff.reset();
            }
            let pause = self.backoff.pause(&mut self.rng);
            if let Some(left_out) = self.end_said.due(clock::now().instant) {
                let command = self.settings.command.program();
                tracing::warn!(entry = self.name, left_out, "{command} {how}; it is started again");
            }
            tokio::select! {
                biased;
                () = phase.reached(Phase::Draining) => return Ok(()),
                () = sleep(pause) => {}
            }
        }
    }

    fn spawned(&self) -> io::Result<Child> {
        let Argv { program, arguments } = &self.settings.command;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true).spawn()
    }

    /// One run of the command. How it ended, if it is to be started again.
    async fn serve(&mut self, mut child: Child, phase: &mut Watch) -> Option<String> {
        let (out, errors) =
            (child.stdout.take().expect("a pipe"), child.stderr.take().expect("a pipe"));
        let mut out = Lines::new(out, self.context.record_bytes_max);
        let mut errors = Some(Lines::new(errors, ERROR_LINE_BYTES_MAX));
        loop {
            tokio::select! {
                () = phase.reached(Phase::Draining) => {
                    // What was read is counted, and comes before the end of this inlet.
                    self.offer(phase).await;
                    end(&mut child).await;
                    return None;
                }
                line = next_error(&mut errors) => match line {
                    Some(line) => self.say(&line),
                    None => errors = None,
                },
                line = out.next() => match line {
                    Ok(Some(line)) => self.take(&line, clock::now()),
                    Ok(None) => break,
                    Err(error) => {
                        self.offer(phase).await;
                        end(&mut child).await;
                        return Some(format!("cannot be read: {error}"));
                    }
                },
            }
            let full = self.chunk.records.len() >= LINES_MAX
                || self.chunk.bytes() >= self.context.record_bytes_max;
            if full || !out.is_whole_line_here() {
                self.offer(phase).await;
            }
        }
        self.offer(phase).await;
        let group = group(&child);
        let ended = timeout(END_MAX, child.wait()).await;
        if ended.is_ok() {
            // What it has left behind would not be the last.
            signal(group, Signal::TERM);
        }
        match ended {
            Ok(Ok(status)) if status.success() && self.settings.restart == Restart::OnFailure => {
                None
            }
            Ok(Ok(status)) => Some(format!("ended ({status})")),
            Ok(Err(error)) => Some(format!("cannot be waited for: {error}")),
            Err(_) => {
                end(&mut child).await;
                Some("closed its standard output".to_owned())
            }
        }
    }

    /// Offers what was read and waits for room. It is received when it has a place.
    async fn offer(&mut self, phase: &mut Watch) {
        let metrics = &self.context.metrics;
        while !self.chunk.records.is_empty() {
            tokio::select! {
                biased;
                taken = self.inlet.offer_piece(&mut self.chunk) => metrics.received.add(taken.into()),
                // Nobody takes them any more.
                () = phase.reached(Phase::Closing) => {
                    let left = self.chunk.records.len() as u64;
                    metrics.received.add(left);
                    metrics.abandoned.add(left);
                    self.chunk.clear();
                }
            }
        }
    }

    fn say(&mut self, line: &Line) {
        let line = String::from_utf8_lossy(&line.text);
        let (entry, line) = (self.name.as_str(), text::shown(line.trim_end()));
        // By kind and not by text: a command may write without end.
        if let Some(left_out) = self.error_said.due(clock::now().instant) {
            tracing::warn!(entry, left_out, "standard error: {line}");
        }
    }

    /// Makes records of a line. A line without a word is none.
    fn take(&mut self, line: &Line, now: Now) {
        if line.text.trim_ascii().is_empty() && line.cut.is_none() {
            return;
        }
        self.context.metrics.messages.one();
        let message = Message {
            payload: &line.text,
            topic: b"",
            token: Token::NONE,
            retained: false,
            repeated: false,
            sheddable: false,
            taken: now,
        };
        let own = self.records.own();
        if let Some((bytes, sha256)) = &line.cut {
            let oversize = self.context.oversize(*bytes, sha256);
            self.records.refuse(&message, &own, &oversize, &mut self.chunk);
        } else {
            self.records.take(&message, &own, false, &mut self.chunk);
        }
    }
}

/// The next line of standard error; never one where that is closed.
async fn next_error(errors: &mut Option<Lines<ChildStderr>>) -> Option<Line> {
    match errors {
        Some(errors) => errors.next().await.ok().flatten(),
        None => std::future::pending().await,
    }
}

/// Ends a command and what it has started.
async fn end(child: &mut Child) {
    let group = group(child);
    signal(group, Signal::TERM);
    if timeout(END_MAX, child.wait()).await.is_err() {
        signal(group, Signal::KILL);
        drop(child.wait().await);
    }
}

/// The process group that a command leads, until it has been waited for.
fn group(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?))
}

/// A group that is gone needs none.
fn signal(group: Option<Pid>, signal: Signal) {
    if let Some(group) = group
        && let Err(error) = kill_process_group(group, signal)
        && error != Errno::SRCH
    {
        tracing::warn!(%error, "cannot end what a command has started: end it by hand");
    }
}
