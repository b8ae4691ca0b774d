//! How the gateway is doing, in one word, and one log line at each change of it.
//!
//! Judged by progress, not by a TCP state: a gateway that holds readings and has settled none for a
//! while is degraded, however well it is connected.

use std::time::{Duration, Instant};

use super::books::Books;
use crate::repeat::Repeated;

/// Held readings that have seen no settlement for this long mean "degraded".
pub const PROGRESS_PAUSE_MAX: Duration = Duration::from_secs(5);

/// How the gateway is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Nothing has been delivered yet.
    Starting,
    /// Making progress, or nothing to do.
    Ready,
    /// Holding readings and not getting rid of them.
    Degraded,
}

/// Judges from one look to the next.
#[derive(Debug)]
pub struct Monitor {
    health: Health,
    settled: u64,
    progress: Instant,
    shed: u64,
    shed_said: Repeated,
    dead_lettered: u64,
    letters_said: Repeated,
}

impl Monitor {
    /// Begins at `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            health: Health::Starting,
            settled: 0,
            progress: now,
            shed: 0,
            shed_said: Repeated::default(),
            dead_lettered: 0,
            letters_said: Repeated::default(),
        }
    }

    /// Looks at the books; says what has changed.
    pub fn look(&mut self, books: &Books, now: Instant) -> Health {
        let balance = books.balance();
        let settled = balance.delivered + balance.dead_lettered + balance.shed;
        // What is lost in the spool stays held, and nothing will come of it.
        let held = balance.held.saturating_sub(books.metrics.spool_unreadable.get());
        if settled > self.settled || held == 0 {
            (self.settled, self.progress) = (settled, now);
        }
        let pause = now.saturating_duration_since(self.progress);
        let health = match self.health {
            _ if pause >= PROGRESS_PAUSE_MAX => Health::Degraded,
            Health::Starting if settled == 0 => Health::Starting,
            _ => Health::Ready,
        };
        if health != self.health {
            match health {
                Health::Degraded => tracing::warn!(
                    held,
                    spooled = balance.spooled,
                    seconds = pause.as_secs(),
                    "degraded: readings are held and none has been delivered for a while"
                ),
                Health::Ready | Health::Starting => {
                    tracing::info!("ready: readings are being delivered");
                }
            }
            self.health = health;
        }
        let shed = balance.shed - self.shed;
        if shed > 0 && self.shed_said.due(now).is_some() {
            self.shed = balance.shed;
            tracing::warn!(shed, total = balance.shed, "QoS 0 readings shed: the queue is full");
        }
        let letters = balance.dead_lettered - self.dead_lettered;
        if letters > 0 && self.letters_said.due(now).is_some() {
            self.dead_lettered = balance.dead_lettered;
            tracing::warn!(
                letters,
                total = balance.dead_lettered,
                "messages that can be no reading: the reasons are on the dead-letter topic"
            );
        }
        health
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock;
    use crate::pipeline::plan::Plan;

    #[test]
    fn what_is_lost_in_the_spool_is_nothing_to_wait_for() {
        let books = Books::new(&Plan::default(), Arc::default());
        let now = clock::now().instant;
        let mut monitor = Monitor::new(now);
        books.recovered("a", 7);
        books.metrics.spool_unreadable.add(5);
        assert_eq!(monitor.look(&books, now + PROGRESS_PAUSE_MAX), Health::Degraded);
        books.metrics.spool_unreadable.add(2);
        assert_eq!(monitor.look(&books, now + PROGRESS_PAUSE_MAX * 3), Health::Ready);
    }
}
