//! The configuration is read again while the gateway runs.
//!
//! - Who asks: SIGHUP, `sluicegate reload` over a socket ([`control`]), or a change of the file ([`watching`]). All of
//!   them wait in one bounded channel ([`Asking`]) and are served one at a time.
//! - The file is read and checked as at the start, with the environment of the start, by a thread of its own: readings do
//!   not wait for it. A file with a mistake changes nothing; all mistakes are answered, and logged in one line.
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
    /// The last one was refused: if it is for the same reasons, that is neither logged nor counted again.
    again: bool,
    answer: Option<oneshot::Sender<Answer>>,
}

/// Asks a running gateway to read its configuration again.
#[derive(Debug, Clone)]
pub struct Asking(mpsc::Sender<Asked>);

impl Asking {
    /// Asks, and waits for no answer: the log has it.
    pub fn ask(&self, by: &'static str) {
        // Without room others wait, and the file is read after them.
        drop(self.0.try_send(Asked { by, dry_run: false, again: false, answer: None }));
    }

    /// Asks, and waits for the answer; `None`: the gateway is ending.
    pub async fn answer(&self, by: &'static str, dry_run: bool) -> Option<Answer> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Asked { by, dry_run, again: false, answer: Some(answer) }).await.ok()?;
        answered.await.ok()
    }

    /// Asks on a thread that may wait, `again` where the last request was refused; `None`: the gateway is ending.
    pub fn outcome(&self, by: &'static str, again: bool) -> Option<Outcome> {
        let (answer, answered) = oneshot::channel();
        self.0.blocking_send(Asked { by, dry_run: false, again, answer: Some(answer) }).ok()?;
        answered.blocking_recv().ok().map(|it| it.outcome)
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
    refusal: Refusal,
    asked: mpsc::Receiver<Asked>,
}

/// Why the last request was refused, if it was: what the log has said.
#[derive(Debug, Default)]
struct Refusal(Vec<String>);

impl Refusal {
    /// A request is refused for these reasons: whether that is to be said. `again`: not if it was said last.
    fn is_due(&mut self, reasons: &[String], again: bool) -> bool {
        let is_known = again && self.0 == reasons;
        self.0 = reasons.to_vec();
        !is_known
    }
}

/// Why a request is refused: in the lines of the answer, and each reason in one.
#[derive(Debug)]
struct Reasons {
    lines: Vec<String>,
    each: Vec<String>,
}

impl From<Refused> for Reasons {
    fn from(refused: Refused) -> Self {
        let each = match refused {
            Refused::Settings(problems) => problems,
            other => vec![other.to_string()],
        };
        Self { lines: each.clone(), each }
    }
}

impl From<settings::Error> for Reasons {
    fn from(error: settings::Error) -> Self {
        let lines = error.to_string().lines().map(|line| line.trim().to_owned()).collect();
        Self { lines, each: error.reasons() }
    }
}

impl From<String> for Reasons {
    fn from(text: String) -> Self {
        Self { lines: vec![text.clone()], each: vec![text] }
    }
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
        let (running, refusal) = (Arc::new(running), Refusal::default());
        (Self { path, running, changes, level, books, refusal, asked }, Asking(ask))
    }

    /// Serves requests for as long as anybody may ask.
    pub async fn run(mut self) {
        while let Some(Asked { by, dry_run, again, answer }) = self.asked.recv().await {
            let made = self.reload(by, dry_run).await;
            if !dry_run {
                self.conclude(by, &made, again);
            }
            let answered = made.unwrap_or_else(|Reasons { lines, .. }| {
                let outcome = Outcome::Refused;
                Answer { outcome, lines }
            });
            // Nobody may wait for it any more.
            drop(answer.map(|it| it.send(answered)));
        }
    }

    /// Counts what became of a request, and says why it is refused.
    fn conclude(&mut self, by: &'static str, made: &Result<Answer, Reasons>, again: bool) {
        match made {
            Ok(answer) => {
                self.refusal = Refusal::default();
                self.count(answer.outcome);
            }
            Err(Reasons { each, .. }) if self.refusal.is_due(each, again) => {
                say_refused(by, each);
                self.count(Outcome::Refused);
            }
            Err(_) => {}
        }
    }

    async fn reload(&mut self, by: &'static str, dry_run: bool) -> Result<Answer, Reasons> {
        let difference = self.read().await?;
        let mut lines = difference.lines();
        let is_same = difference.applied.is_empty();
        if dry_run {
            self.changes.try_these(wanted(&difference.target)).await?;
            let outcome = if is_same { Outcome::Unchanged } else { Outcome::Possible };
            return Ok(Answer { outcome, lines });
        }
        if !is_same {
            match self.changes.become_these(wanted(&difference.target)).await {
                Ok(()) => {}
                Err(stopped @ Refused::Stopped) => lines.push(stopped.to_string()),
                Err(refused) => return Err(refused.into()),
            }
        }
        self.level.set(&difference.target.log.level);
        self.say(by, &difference);
        let outcome = if is_same { Outcome::Unchanged } else { Outcome::Applied };
        self.running = Arc::new(difference.target);
        Ok(Answer { outcome, lines })
    }

    fn count(&self, outcome: Outcome) {
        let result = match outcome {
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
    async fn read(&self) -> Result<Difference, Reasons> {
        let (path, running) = (self.path.clone(), Arc::clone(&self.running));
        let environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
        let read = move || {
            settings::load(&path, environment.into_iter(), Files::Examined)
                .map(|wanted| Difference::between(&running, &wanted))
                .map_err(Reasons::from)
        };
        match tasks::thread("reload", read) {
            Ok(read) => read.await.unwrap_or_else(|_| Err("internal error".to_owned().into())),
            Err(error) => Err(format!("cannot start a thread: {error}").into()),
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

/// Reasons of a refusal that the log names.
const REASONS_SHOWN_MAX: usize = 10;

/// Says in one line that a request is refused, how many reasons there are, and what they are.
fn say_refused(by: &'static str, reasons: &[String]) {
    let count = match reasons.len() {
        1 => "1 reason".to_owned(),
        count => format!("{count} reasons"),
    };
    let mut shown = match reasons {
        [only] => only.clone(),
        several => {
            let numbered = (1..).zip(several.iter().take(REASONS_SHOWN_MAX));
            numbered.map(|(number, it)| format!("({number}) {it}")).collect::<Vec<_>>().join(" ")
        }
    };
    if reasons.len() > REASONS_SHOWN_MAX {
        shown += " … `sluicegate check` says the others";
    }
    tracing::error!(
        by,
        "the configuration was read again and is refused: nothing has changed, for {count}: {shown}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_said_again_only_if_its_reasons_are_others_or_somebody_asks_anew() {
        let mut refusal = Refusal::default();
        let [a, b] = ["a", "b"].map(|it| vec![it.to_owned()]);
        for (reasons, again, is_due) in [
            (&a, false, true),
            (&a, true, false),
            (&a, true, false),
            (&b, true, true),
            (&b, true, false),
            (&b, false, true),
            (&a, true, true),
        ] {
            assert_eq!(refusal.is_due(reasons, again), is_due, "{reasons:?} {again}");
        }
    }
}
