//! The configuration is read again while the gateway runs.
//!
//! - Who asks: SIGHUP, `sluicegate reload` over a socket ([`control`]), or a change of the file ([`watching`]). All of
//!   them wait in one bounded channel ([`Asking`]) and are served one at a time.
//! - The file is read and checked as at the start, with the environment of the start, by a thread of its own: readings do
//!   not wait for it. A file with a mistake changes nothing; all mistakes are logged and answered.
//! - What differs ([`Difference`]) is checked by the gateway as a whole before anything changes, and applied: entries are
//!   added, changed and removed, and so are the limits of queue and batches and the output
//!   ([`crate::assembly::changes`]); `log.level` is set. What needs a restart is named, each
//!   time, until there was one.
//!
//! What a file takes while it is read, some KiB for each entry, is in the program's own part of the bound on memory.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::assembly::changes::{Changes, Refused, Wanted};
use crate::clock;
use crate::settings::{self, Difference, Files, Settings};
use crate::state::books::Books;
use crate::state::metrics::Reloaded;
use crate::tasks;
use crate::telemetry::Level;

pub mod control;
pub mod watching;

/// Requests that wait for the one that is served.
const ASKED_MAX: usize = 4;

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// What could be applied is.
    Applied,
    /// There was nothing to apply.
    Unchanged,
    /// It would be applied: a dry run changes nothing.
    Possible,
    /// Nothing has changed: the lines say why.
    Refused,
}

/// What is answered, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    pub outcome: Outcome,
    pub lines: Vec<String>,
}

/// A request.
#[derive(Debug)]
struct Asked {
    /// Who asks.
    by: &'static str,
    dry_run: bool,
    answer: Option<oneshot::Sender<Answer>>,
}

/// Asks a running gateway to read its configuration again.
#[derive(Debug, Clone)]
pub struct Asking(mpsc::Sender<Asked>);

impl Asking {
    /// Asks, and waits for no answer: the log has it.
    pub fn ask(&self, by: &'static str) {
        // Without room others wait, and the file is read after them.
        drop(self.0.try_send(Asked { by, dry_run: false, answer: None }));
    }

    /// Asks, and waits for the answer; `None`: the gateway is ending.
    pub async fn answer(&self, by: &'static str, dry_run: bool) -> Option<Answer> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Asked { by, dry_run, answer: Some(answer) }).await.ok()?;
        answered.await.ok()
    }

    /// Whether nobody serves requests any more.
    pub fn is_over(&self) -> bool {
        self.0.is_closed()
    }
}

/// Serves the requests of a gateway.
#[derive(Debug)]
pub struct Reloader {
    path: PathBuf,
    /// The settings that run.
    running: Arc<Settings>,
    changes: Changes,
    level: Level,
    books: Arc<Books>,
    asked: mpsc::Receiver<Asked>,
}

impl Reloader {
    /// Of a gateway that runs these settings of this file; and who asks it.
    pub fn new(
        path: PathBuf,
        running: Settings,
        (changes, books): (Changes, Arc<Books>),
        level: Level,
    ) -> (Self, Asking) {
        let (ask, asked) = mpsc::channel(ASKED_MAX);
        (Self { path, running: Arc::new(running), changes, level, books, asked }, Asking(ask))
    }

    /// Serves requests for as long as anybody may ask.
    pub async fn run(mut self) {
        while let Some(Asked { by, dry_run, answer }) = self.asked.recv().await {
            let answered = self.reload(by, dry_run).await;
            self.count(answered.outcome, dry_run);
            // Nobody may wait for it any more.
            drop(answer.map(|it| it.send(answered)));
        }
    }

    async fn reload(&mut self, by: &'static str, dry_run: bool) -> Answer {
        let difference = match self.read().await {
            Ok(difference) => difference,
            Err(lines) => return refuse(by, lines),
        };
        let mut lines = difference.lines();
        if dry_run {
            return match self.changes.try_these(wanted(&difference.target)).await {
                Ok(()) if difference.applied.is_empty() => {
                    Answer { outcome: Outcome::Unchanged, lines }
                }
                Ok(()) => Answer { outcome: Outcome::Possible, lines },
                Err(refused) => Answer { outcome: Outcome::Refused, lines: reasons(refused) },
            };
        }
        if !difference.applied.is_empty() {
            match self.changes.become_these(wanted(&difference.target)).await {
                Ok(()) => {}
                Err(stopped @ Refused::Stopped) => lines.push(stopped.to_string()),
                Err(refused) => return refuse(by, reasons(refused)),
            }
        }
        self.level.set(&difference.target.log.level);
        self.say(by, &difference);
        let outcome =
            if difference.applied.is_empty() { Outcome::Unchanged } else { Outcome::Applied };
        self.running = Arc::new(difference.target);
        Answer { outcome, lines }
    }

    fn count(&self, outcome: Outcome, dry_run: bool) {
        let result = match outcome {
            _ if dry_run => return,
            Outcome::Applied | Outcome::Possible => Reloaded::Applied,
            Outcome::Unchanged => Reloaded::Unchanged,
            Outcome::Refused => Reloaded::Refused,
        };
        self.books.metrics.reloads.of(result).one();
        let gauges = &self.books.gauges;
        gauges.reload_refused.set(u64::from(result == Reloaded::Refused));
        gauges.reload_at.set(clock::now().wall.millis());
    }

    /// Reads the file, and compares it with what runs; or what is wrong with it.
    async fn read(&self) -> Result<Difference, Vec<String>> {
        let (path, running) = (self.path.clone(), Arc::clone(&self.running));
        let environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
        let read = move || {
            settings::load(&path, environment.into_iter(), Files::Examined)
                .map(|wanted| Difference::between(&running, &wanted))
                .map_err(|error| lines_of(&error.to_string()))
        };
        match tasks::thread("reload", read) {
            Ok(read) => read.await.unwrap_or_else(|_| Err(vec!["internal error".into()])),
            Err(error) => Err(vec![format!("cannot start a thread: {error}")]),
        }
    }

    fn say(&self, by: &'static str, difference: &Difference) {
        let (applied, restart) = (difference.applied.len(), difference.restart.len());
        tracing::info!(by, applied, restart, "the configuration was read again");
        let mut lines = difference.lines().into_iter();
        lines.by_ref().take(applied).for_each(|line| tracing::info!("{line}"));
        if restart > 0 {
            lines.for_each(|line| tracing::warn!("{line}"));
        }
        let known = &self.running.warnings;
        for (key, text) in difference.target.warnings.iter().filter(|it| !known.contains(it)) {
            tracing::warn!("{key}: {text}");
        }
    }
}

/// What the gateway is to become.
fn wanted(target: &Settings) -> Wanted {
    Wanted {
        sensors: target.plan.sensors.clone(),
        queue: target.plan.queue,
        batch: target.plan.batch,
        output: target.plan.output.clone(),
        memory_max: target.plan.gateway.memory_max,
        shutdown_grace: target.plan.gateway.shutdown_grace,
    }
}

fn reasons(refused: Refused) -> Vec<String> {
    match refused {
        Refused::Settings(problems) => problems,
        other => vec![other.to_string()],
    }
}

fn lines_of(text: &str) -> Vec<String> {
    text.lines().map(|line| line.trim().to_owned()).collect()
}

fn refuse(by: &'static str, lines: Vec<String>) -> Answer {
    tracing::error!(by, "the configuration was read again and is refused: nothing has changed");
    for line in &lines {
        tracing::error!("{line}");
    }
    Answer { outcome: Outcome::Refused, lines }
}
