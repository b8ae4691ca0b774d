//! The settings of batches and of the output change while the worker runs.
//!
//! What is open is sealed first, as it is, whether there is room for it or not: its records are held all the same, and
//! nothing new is opened before there is room. So a batch is of one plan, and a sensor's readings keep their order.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::Worker;
use super::open::OpenBatches;
use crate::batch::Seal;
use crate::clock::Now;
use crate::pipeline::router::Router;

impl Worker {
    /// It is the current plan from now on.
    pub(super) fn become_plan(&mut self, now: Now, told: oneshot::Sender<()>) {
        while let Some(at) = self.open.oldest() {
            self.seal(now, at, Seal::Changed);
        }
        self.dead_letters.seal(now, Seal::Changed, &mut self.publisher);
        let plan = self.current.get();
        self.measure = plan.measure();
        self.router = Router::new(Arc::clone(&self.measure) as _);
        self.encoder = plan.output.encoder();
        let route = self.router.first().clone();
        self.open = OpenBatches::new(Arc::clone(&plan), Arc::clone(&self.books), route);
        self.dead_letters.become_plan(&plan);
        self.publisher.become_plan(Arc::clone(&plan), told);
        self.plan = plan;
        self.fitted = None;
        self.fit();
    }
}
