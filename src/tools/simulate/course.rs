//! Runs the connections of a simulation until they end, and logs its progress.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::sleep_until;

use super::report::rate;
use super::sender::Sent;
use super::{Error, PROGRESS_PAUSE, Totals};
use crate::clock;
use crate::phase::{Phase, PhaseSender};
use crate::tasks::Tasks;

/// When progress is logged next, and the count at the last log line.
#[derive(Debug)]
pub(super) struct Progress {
    pub(super) due: Instant,
    pub(super) acknowledged: u64,
}

/// Ends the connections in time.
#[derive(Debug)]
pub(super) struct Course<'a> {
    pub(super) stops: mpsc::Receiver<()>,
    pub(super) lead: PhaseSender,
    pub(super) totals: &'a Totals,
    /// From then on nothing new is sent.
    pub(super) ends: Option<Instant>,
    /// From then on unacknowledged readings are given up.
    pub(super) closes: Option<Instant>,
    /// How long unacknowledged readings are waited for.
    pub(super) grace: Duration,
    pub(super) progress: Progress,
}

impl Course<'_> {
    /// Waits until all connections have ended; returns what they have published. An error of one ends all.
    pub(super) async fn follow<S: Send + 'static>(
        &mut self,
        mut tasks: Tasks<Sent<S>>,
        broker: &str,
    ) -> Result<Vec<S>, Error> {
        let mut supplies = Vec::new();
        loop {
            let wake = [self.ends, self.closes, Some(self.progress.due)];
            let wake = wake.into_iter().flatten().min().unwrap_or(self.progress.due);
            tokio::select! {
                biased;
                Some(()) = self.stops.recv() => self.stop("a signal"),
                ended = tasks.next() => match ended {
                    None => return Ok(supplies),
                    Some(ended) => {
                        let ended = ended?;
                        if let Some(error) = ended.error {
                            return Err(Error::Broker { broker: broker.to_owned(), error });
                        }
                        supplies.push(ended.supply);
                    }
                },
                () = sleep_until(wake.into()) => self.look(clock::now().instant),
            }
        }
    }

    /// Does what is due: a log line, the end of sending, the end.
    fn look(&mut self, now: Instant) {
        if self.ends.is_some_and(|ends| now >= ends) {
            self.ends = None;
            self.stop("--seconds");
        }
        if self.closes.is_some_and(|closes| now >= closes) {
            self.closes = None;
            tracing::warn!("the rest was not acknowledged within gateway.shutdown_grace");
            self.lead.enter(Phase::Closing);
        }
        if now >= self.progress.due {
            let acknowledged = self.totals.acknowledged.get();
            let per_second = rate(acknowledged - self.progress.acknowledged, PROGRESS_PAUSE);
            self.progress = Progress { due: now + PROGRESS_PAUSE, acknowledged };
            tracing::info!(
                sent = self.totals.sent.get(),
                acknowledged,
                per_second,
                again = self.totals.again.get(),
                refused = self.totals.refused.get(),
                reconnects = self.totals.reconnects.get(),
                "progress"
            );
        }
    }

    /// The first time: nothing new is sent. The second time: the end.
    fn stop(&mut self, why: &str) {
        if self.closes.is_some() {
            self.closes = None;
            return self.lead.enter(Phase::Closing);
        }
        tracing::info!(why, "sending ends; what is unacknowledged is waited for");
        self.ends = None;
        self.closes = Some(clock::now().instant + self.grace);
        self.lead.enter(Phase::Draining);
    }
}
