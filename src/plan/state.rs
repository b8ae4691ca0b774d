//! The state that a gateway of this plan begins with.

use std::sync::Arc;
use std::time::Instant;

use super::Plan;
use crate::clock;
use crate::pace::Pace;
use crate::queue::Queue;
use crate::state::books::Books;
use crate::state::monitor::{Limits, Monitor};
use crate::state::registry::Registry;

impl Plan {
    /// Empty books. `pace` is that of the thread that runs the sink.
    pub fn books(&self, pace: Arc<Pace>) -> Books {
        let books = Books::new(Queue::new(self.queue), self.registry(), pace);
        // A gateway is not ready until each of its sessions is: they are known before they begin.
        let now = clock::now().instant;
        for name in self.sessions().keys() {
            books.standings.session(name, now);
        }
        books
    }

    /// Who judges its health, from `now` on.
    pub fn monitor(&self, now: Instant) -> Monitor {
        Monitor::new(self.health_limits(), now)
    }

    /// What health is judged by.
    pub fn health_limits(&self) -> Limits {
        Limits {
            age_max: self.batch.age_max.0,
            dead_letters_percent_max: self.output.dead_letters_percent_max,
            sensors_max: self.gateway.sensors_max.get(),
        }
    }

    /// A registry for its sensors: simulated ones are known.
    fn registry(&self) -> Registry {
        let entries = self.sensors.iter().map(|(name, kind)| (name.as_str(), kind.known_sensors()));
        Registry::new(self.gateway.sensors_max.get() as usize, entries)
    }
}
