//! `[sensors.<name>.exec]`: the lines that a command writes to its standard output are payloads.
//!
//! The command is started without a shell, in a process group of its own, with nothing on its standard input.
//! What it writes to standard error goes to the log, a line in ten seconds. When it ends it is started again after a pause that grows;
//! with `restart = "on_failure"` not where it ended with 0: then this source has ended, as a simulated one that
//! has made all its readings.
//!
//! - How lines become readings is said in `lines`. Nobody can ask for a line again. So readings come *at most once*
//!   up to the queue, and at least once from there: what is held when the gateway stops without having drained is
//!   gone.
//! - A command that cannot be started (it is not there, it may not be run) and never has been is given up after
//!   `gateway.start_grace`, as what a broker refuses is.
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

pub use super::lines::bytes_max;
use super::lines::{Line, Lines, Readings};
use super::{Ended, Entry, Failure};
use crate::backoff::Backoff;
use crate::clock;
use crate::codec::Payload;
use crate::codec::mapping::mapped::mapped;
use crate::limits::RECONNECT_PAUSE;
use crate::phase::{Phase, PhaseReceiver};
use crate::repeat::Repeated;
use crate::tasks::Tasks;
use crate::text;
use crate::unusable::{Patience, Unusable};

/// How long a process group may live after SIGTERM.
const END_MAX: Duration = Duration::from_secs(2);

/// A command that ran for so long is started again after the shortest pause.
const STEADY: Duration = Duration::from_mins(1);

/// Bytes of a line of standard error that are logged.
const ERROR_LINE_BYTES_MAX: usize = 1024;

mapped! {
/// `[sensors.<name>.exec]`.
pub struct Settings {
    /// The program and its arguments. There is no shell: `["sh", "-c", "…"]` starts one.
    pub command: Argv,
    /// When it is started again.
    #[serde(default)]
    pub restart: Restart,
}
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
        patience: Patience::new(entry.start_grace),
        settings: settings.clone(),
        readings: Readings::new(
            entry,
            &settings.payload,
            &settings.mapping().unwrap_or_default(),
            &settings.policies(),
        ),
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
    patience: Patience,
    settings: Settings,
    readings: Readings,
    end_said: Repeated,
    error_said: Repeated,
    backoff: Backoff,
    rng: SmallRng,
}

impl Program {
    async fn run(mut self, mut phase: PhaseReceiver) -> Ended {
        loop {
            let begun = clock::now().instant;
            let ended = match self.spawned() {
                Ok(child) => {
                    self.patience.worked();
                    let listening = self.readings.listening();
                    listening.begin(clock::now().wall);
                    let ended = self.serve(child, &mut phase).await;
                    listening.end(clock::now().wall);
                    ended
                }
                Err(error) if self.patience.failed(begun, is_refusal(&error)) => {
                    return Err(self.given_up(&error));
                }
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

    fn given_up(&self, error: &io::Error) -> Failure {
        let command = self.settings.command.program();
        let reason =
            format!("{command} cannot be started: {error}: install it, or mend exec.command");
        let error = Unusable { reason, may_mend: true };
        Failure { place: format!("sensors.{}", self.name), error }
    }

    fn spawned(&self) -> io::Result<Child> {
        let Argv { program, arguments } = &self.settings.command;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true).spawn()
    }

    /// One run of the command. How it ended, if it is to be started again.
    async fn serve(&mut self, mut child: Child, phase: &mut PhaseReceiver) -> Option<String> {
        let (out, errors) =
            (child.stdout.take().expect("a pipe"), child.stderr.take().expect("a pipe"));
        let mut out = self.readings.lines(out);
        let mut errors = Some(Lines::new(errors, ERROR_LINE_BYTES_MAX));
        loop {
            tokio::select! {
                () = phase.reached(Phase::Draining) => {
                    // What was read is counted, and comes before the end of this inlet.
                    self.readings.offer_all(phase).await;
                    end(&mut child).await;
                    return None;
                }
                line = next_error(&mut errors) => match line {
                    Some(line) => self.say(&line),
                    None => errors = None,
                },
                line = out.next() => match line {
                    Ok(Some(line)) => self.readings.take(&line, clock::now()),
                    Ok(None) => break,
                    Err(error) => {
                        self.readings.offer_all(phase).await;
                        end(&mut child).await;
                        return Some(format!("cannot be read: {error}"));
                    }
                },
                () = self.readings.turn() => self.readings.take_due(clock::now()),
            }
            if self.readings.are_many() || !out.is_whole_line_here() {
                self.readings.offer(phase).await;
            }
        }
        self.readings.offer_all(phase).await;
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

    fn say(&mut self, line: &Line) {
        let line = String::from_utf8_lossy(&line.text);
        let (entry, line) = (self.name.as_str(), text::shown(line.trim_end()));
        // By kind and not by text: a command may write without end.
        if let Some(left_out) = self.error_said.due(clock::now().instant) {
            tracing::warn!(entry, left_out, "standard error: {line}");
        }
    }
}

/// Whether the system says that the program cannot be run, and not that this machine has no room for it now.
fn is_refusal(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, NotADirectory, NotFound, PermissionDenied};
    let kinds = [InvalidInput, NotADirectory, NotFound, PermissionDenied];
    kinds.contains(&error.kind()) || Errno::from_io_error(error) == Some(Errno::NOEXEC)
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
