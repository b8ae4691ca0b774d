//! The sink that runs, and its replacement by one of other settings while the gateway runs.
//!
//! A sink is replaced in two steps. First nothing new is published, and what is on its way is answered; the worker says
//! when that is so, or the grace is over. Then the old sink closes, and only when it has ended the new one starts: their
//! reports never mix, and two clients of one id never meet.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::sleep_until;

use super::Shared;
use crate::clock;
use crate::mqtt::roll_call::RollCall;
use crate::phase::{self, Phase, PhaseSender};
use crate::plan::Plan;
use crate::queue::Reports;
use crate::sink;
use crate::tasks::{Panicked, Tasks};

/// The sink that runs.
#[derive(Debug)]
pub struct Output {
    shared: Shared,
    reports: Reports<sink::Event>,
    roll_call: Option<Arc<RollCall>>,
    seed: u64,
    phase: Phase,
    lead: PhaseSender,
    tasks: Tasks<()>,
    becoming: Option<Becoming>,
}

/// What it becomes, and when.
#[derive(Debug)]
struct Becoming {
    /// The plan of the sink that comes in its place; `None`: it stays, and only what it is given changes.
    next: Option<Arc<Plan>>,
    /// Told when the worker has changed, and what is on its way to this sink is answered; `None`: it is closing.
    settled: Option<oneshot::Receiver<()>>,
    /// Then it closes all the same.
    until: Instant,
}

/// What has become of it.
#[derive(Debug)]
pub enum Said {
    /// The change is over.
    Changed,
    /// It ended by itself: it had failed, which the worker is told, or it panicked.
    Ended(Result<(), Panicked>),
}

impl Output {
    /// Starts the sink of this plan. Its reports go to the worker.
    pub(super) fn start(
        plan: &Plan,
        shared: &Shared,
        reports: Reports<sink::Event>,
        roll_call: Option<Arc<RollCall>>,
        seed: u64,
    ) -> Self {
        let (lead, _) = phase::start();
        let (shared, tasks) = (shared.clone(), Tasks::default());
        let (phase, becoming) = (Phase::Running, None);
        let mut it = Self { shared, reports, roll_call, seed, phase, lead, tasks, becoming };
        it.begin(plan, Some(plan.gateway.start_grace.0));
        it
    }

    fn begin(&mut self, plan: &Plan, start_grace: Option<Duration>) {
        let (lead, phase) = phase::start();
        lead.enter(self.phase);
        self.lead = lead;
        let start = sink::Start {
            around: plan.surroundings(),
            channel_max: plan.channel_max(),
            reports: self.reports.clone(),
            standing: &self.shared.standings.output,
            metrics: Arc::clone(&self.shared.metrics),
            phase,
            seed: self.seed,
            start_grace,
            roll_call: self.roll_call.clone(),
        };
        plan.output.sink.declared().start(start, &mut self.tasks);
    }

    /// It follows the gateway.
    pub fn enter(&mut self, phase: Phase) {
        self.phase = self.phase.max(phase);
        self.lead.enter(phase);
    }

    /// The worker is told of another plan, and says when that counts: at the latest after the grace. With `next` another
    /// sink comes then in the place of this one.
    pub fn change(
        &mut self,
        next: Option<Arc<Plan>>,
        settled: oneshot::Receiver<()>,
        grace: Duration,
    ) {
        let until = clock::now().instant + grace;
        self.becoming = Some(Becoming { next, settled: Some(settled), until });
    }

    /// Waits for the next that becomes of it.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn next(&mut self) -> Said {
        if let Some(Becoming { next, settled: Some(settled), until }) = &mut self.becoming {
            tokio::select! {
                biased;
                // An error means that the worker has ended.
                _ = settled => {}
                () = sleep_until((*until).into()) => say_overdue(next.is_some()),
                Some(ended) = self.tasks.next() => return Said::Ended(ended),
            }
            if next.is_none() {
                self.becoming = None;
                return Said::Changed;
            }
            self.becoming.iter_mut().for_each(|it| it.settled = None);
            self.lead.enter(Phase::Closing);
        }
        match self.tasks.next().await {
            Some(ended) => Said::Ended(ended),
            None => match self.becoming.take().and_then(|it| it.next) {
                Some(plan) => {
                    self.reports.send(sink::Event::Replaced);
                    self.begin(&plan, None);
                    Said::Changed
                }
                None => pending().await,
            },
        }
    }

    /// Waits until its tasks have ended, for at most `within`. How many did not end.
    pub async fn finish(self, within: Duration) -> usize {
        self.tasks.finish(within).await.1
    }
}

/// The grace is over.
fn say_overdue(replaces: bool) {
    if replaces {
        tracing::warn!(
            "the output changes before all has been answered: what has not been is published again"
        );
    } else {
        tracing::warn!("the new settings count a little later: batches wait for the spool's disk");
    }
}
