//! The plan changes while the gateway runs, and with it perhaps the sink.
//!
//! Where the sink stays, the new settings count at once. Where it is replaced, nothing new is published until it is: what
//! is on its way is answered by the old one, and nothing is published twice. Where that is not to be expected, because the
//! output is away or refuses what it is given, nothing is waited for: the new sink gets what has no answer, in order.
//! What is sealed stays as it is.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::hang_ups::HangUps;
use super::{Failure, Publisher};
use crate::pipeline::in_flight::InFlight;
use crate::pipeline::spooler::Spooler;
use crate::plan::Plan;
use crate::unusable::Unusable;

/// How far a change is.
#[derive(Debug, Default)]
pub(super) struct Changing {
    /// The sink is to be replaced, and is not yet.
    is_held: bool,
    /// Who is told when it can be.
    told: Option<oneshot::Sender<()>>,
    /// A sink has been replaced in this run.
    was_replaced: bool,
}

impl Changing {
    /// Whether nothing new is published.
    pub(super) fn is_held(&self) -> bool {
        self.is_held
    }
}

impl Changing {
    /// Whether the sink is to end now: what it is given may come twice.
    pub(super) fn is_over(&self) -> bool {
        self.is_held && self.told.is_none()
    }
}

impl Publisher {
    /// It is this plan from now on. `told` when that counts, or when the sink can be replaced.
    pub fn become_plan(&mut self, plan: Arc<Plan>, told: oneshot::Sender<()>) {
        let is_replaced = plan.output.sink != self.plan.output.sink;
        self.sizes.become_plan(&plan);
        if let Some(spooler) = &mut self.spooler {
            spooler.become_plan(&plan);
        }
        self.plan = plan;
        if is_replaced {
            (self.changing.is_held, self.changing.told) = (true, Some(told));
            self.tell();
        } else {
            // Nobody may wait for it any more.
            _ = told.send(());
        }
    }

    /// Tells that the sink can be replaced, if it can.
    pub(super) fn tell(&mut self) {
        if self.changing.told.is_none() {
            return;
        }
        let outbox = &self.outbox;
        let spools = self.spooler.as_ref().is_some_and(Spooler::is_stuck);
        // What is on disk may come twice where the output is stuck: it has come late already.
        let waits = |(count, flight): (u64, &InFlight)| {
            !outbox.keeps_dead_letter(count) && (!spools || flight.is_held())
        };
        if !self.window.iter().any(waits) || outbox.refuses() || !outbox.is_connected() {
            // Nobody may wait for it any more.
            self.changing.told.take().map(|it| it.send(()));
        }
    }

    /// The old sink has ended: it answers nothing more.
    pub(super) fn replaced(&mut self, now: Instant) {
        self.outbox.disconnected(now);
        self.hang_ups = HangUps::default();
        self.answered.begun_anew();
        self.changing = Changing { was_replaced: true, ..Changing::default() };
    }

    /// The sink has given up. With the one of the start the gateway ends: whoever has started it sees it. One that came
    /// later must not end it: another change of the settings may mend it.
    pub(super) fn failed(&mut self, error: Unusable) -> Result<(), Failure> {
        if !self.changing.was_replaced {
            return Err(Failure::Connect(error));
        }
        tracing::error!(
            "output: {error}; it came while the gateway runs, which goes on: change [output] again, or restart it"
        );
        Ok(())
    }
}
