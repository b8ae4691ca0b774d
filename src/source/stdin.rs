//! `[sensors.<name>.stdin]`: the lines of standard input are payloads (`lines`). When the input ends, this source
//! has ended, as a simulated one that has made all its readings.
//!
//! - Readings come *at most once* up to the queue, and at least once from there. While the gateway drains, it takes
//!   no further line: what is in its two buffers of the pipe is gone, the rest stays in the pipe.
//! - A terminal is refused. A gateway in the background of one is stopped by it at the first read (SIGTTIN), with
//!   all its connections, and one that was started there by mistake would wait for a person without a word. Who
//!   wants to type writes `cat | sluicegate`.
//! - An input that cannot be read ends the gateway. It is an argument of the run: a restart would begin a file from
//!   its first line.

use std::io::IsTerminal;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::lines::Readings;
pub use super::lines::bytes_max;
use super::{Ended, Entry, Failure};
use crate::clock;
use crate::codec::Payload;
use crate::codec::mapping::mapped::mapped;
use crate::phase::{Phase, PhaseReceiver};
use crate::tasks::Tasks;
use crate::unusable::Unusable;

mapped! {
/// `[sensors.<name>.stdin]`.
#[derive(Default)]
pub struct Settings {}
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

/// Starts the task of the entry.
pub(super) fn start(settings: &Settings, entry: &Entry<'_>, tasks: &mut Tasks<Ended>) {
    let readings = Readings::new(
        entry,
        &settings.payload,
        &settings.mapping().unwrap_or_default(),
        &settings.policies(),
    );
    tasks.start(run(entry.name.to_owned(), readings, entry.phase.clone()));
}

async fn run(name: String, mut readings: Readings, mut phase: PhaseReceiver) -> Ended {
    let failure = |reason: String| {
        let error = Unusable { reason, may_mend: false };
        Failure { place: format!("sensors.{name}"), error }
    };
    if std::io::stdin().is_terminal() {
        let reason = "standard input is a terminal, which stops a gateway in its background: write into it with \
                      `command | sluicegate` (to type lines, `cat | sluicegate`), or `sluicegate < file`";
        return Err(failure(reason.into()));
    }
    let mut lines = readings.lines(tokio::io::stdin());
    let listening = readings.listening();
    listening.begin(clock::now().wall);
    let ended = loop {
        let line = tokio::select! {
            biased;
            () = phase.reached(Phase::Draining) => break Ok(()),
            line = lines.next() => line,
            () = readings.turn() => {
                readings.take_due(clock::now());
                readings.offer(&mut phase).await;
                continue;
            }
        };
        match line {
            Ok(Some(line)) => readings.take(&line, clock::now()),
            Ok(None) => {
                tracing::info!(entry = name, "standard input has ended");
                break Ok(());
            }
            Err(error) => break Err(failure(format!("standard input cannot be read: {error}"))),
        }
        if readings.are_many() || !lines.is_whole_line_here() {
            readings.offer(&mut phase).await;
        }
    };
    readings.offer_all(&mut phase).await;
    listening.end(clock::now().wall);
    ended
}
