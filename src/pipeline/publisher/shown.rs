//! What the publisher shows of itself.

use std::time::Instant;

use super::Publisher;
use crate::pipeline::flight::Flight;
use crate::pipeline::gauges::Gauges;

impl Publisher {
    /// Shows what is held at `now`; the worker holds records that came at `taken` at the earliest.
    pub fn show(&self, gauges: &Gauges, taken: Option<Instant>, now: Instant) {
        gauges.window_batches.set(self.batches as u64);
        gauges.window_dead_letters.set(self.letters as u64);
        let waiting = self.store.as_ref().and_then(|store| store.show(gauges));
        let held = self.window.iter().find_map(|(_, flight): (u64, &Flight)| flight.received());
        gauges.look([held, waiting, taken].into_iter().flatten().min(), now);
    }
}
