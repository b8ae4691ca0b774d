//! The one place where records settle.
//!
//! Gives the queue its places back, tells the sources, enters the outcome in each sensor's row and
//! in the totals. The balance is drawn up from here.

use std::ops::Add;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::board::Board;
use super::certificates::Certificates;
use super::changed::Changed;
use super::gauges::Gauges;
use super::letters::Letter;
use super::recent::Recent;
use super::tally::Tally;
use crate::clock;
use crate::pace::Pace;
use crate::queue::Queue;
use crate::settlement::{Outcome, SensorIndex, Settle, Settled, Share};
use crate::state::metrics::{Balance, Metrics};
use crate::state::registry::Registry;
use crate::state::standing::Standings;

/// The books of a gateway.
#[derive(Debug, Clone)]
pub struct Books {
    pub queue: Queue,
    pub registry: Arc<Registry>,
    pub metrics: Arc<Metrics>,
    /// The pace of the thread that runs the sink.
    pub pace: Arc<Pace>,
    /// What the worker holds.
    pub gauges: Arc<Gauges>,
    /// What became dead letters of late.
    pub tally: Arc<Tally>,
    /// The last dead letters.
    pub letters: Arc<Recent<Letter>>,
    /// The sensors that have changed their state of late.
    pub changed: Arc<Recent<Changed>>,
    /// How the connections stand.
    pub standings: Standings,
    /// When certificates expire.
    pub certificates: Arc<Certificates>,
    /// How it is doing.
    pub board: Arc<Board>,
}

impl Settle for Books {
    fn settle(&self, settled: &Settled, shares: &[Share]) {
        self.enter(&settled.sensors, shares);
        // All are safe or none is: the first speaks for all.
        let outcome = shares.first().map_or(Outcome::Abandoned, |share| share.outcome);
        self.queue.release(settled, outcome);
    }
}

impl Books {
    /// Empty books, of no connection yet.
    pub fn new(queue: Queue, registry: Registry, pace: Arc<Pace>) -> Self {
        let now = clock::now().instant;
        Self {
            queue,
            registry: Arc::new(registry),
            metrics: Arc::default(),
            pace,
            gauges: Arc::default(),
            tally: Arc::default(),
            letters: Arc::default(),
            changed: Arc::default(),
            certificates: Arc::default(),
            board: Arc::new(Board::new(now)),
            standings: Standings::new(now),
        }
    }

    /// Of MQTT entries of these names, for tests.
    #[cfg(test)]
    pub(crate) fn of_entries(sensors_max: usize, names: &[&str]) -> Self {
        let entries = names.iter().map(|name| (name, None));
        let queue = Queue::new(crate::queue::Settings::default());
        Self::new(queue, Registry::new(sensors_max, entries), Arc::default())
    }

    /// Enters what became of records that had settled as spooled: their places are long free.
    pub fn replayed(&self, sensors: &[SensorIndex], shares: &[Share]) {
        self.enter(sensors, shares);
        self.metrics.replayed.add(sensors.len() as u64);
    }

    /// Enters records of an earlier run that were found in the spool, of a sensor of this entry.
    pub fn recovered(&self, sensor: &str, entry: Option<&str>, records: u64) {
        if records == 0 {
            return;
        }
        self.registry.row_left(sensor, entry).recover(records);
        self.metrics.recovered.add(records);
    }

    fn enter(&self, mut sensors: &[SensorIndex], shares: &[Share]) {
        for share in shares {
            let (these, others) = sensors.split_at(share.records.min(sensors.len()));
            sensors = others;
            self.registry.enter(&self.metrics, these, share.outcome);
        }
    }

    /// The balance. Exact once the sources have stopped; while they run, a record can be between
    /// two columns.
    pub fn balance(&self) -> Balance {
        let metrics = &self.metrics;
        // In this order: while the gateway runs, none may seem to have left before it came.
        let replayed = metrics.replayed.get();
        let unreadable = metrics.spool_unreadable.get();
        let spooled =
            (metrics.recovered.get() + metrics.spooled.get()).saturating_sub(replayed + unreadable);
        Balance {
            received: metrics.received.get() + metrics.recovered.get(),
            delivered: metrics.delivered.get(),
            dead_lettered: metrics.dead_lettered.get(),
            shed: metrics.shed.total(),
            held: self.queue.held() + metrics.abandoned.get() + unreadable + spooled,
            spooled,
        }
    }

    /// How long the oldest reading has been held that has not settled.
    pub fn oldest_age(&self, now: Instant) -> Option<Duration> {
        let oldest =
            [self.gauges.moments().oldest, self.queue.oldest()].into_iter().flatten().min();
        oldest.map(|oldest| now.saturating_duration_since(oldest))
    }

    /// Says once more, at the end, what may have been lost before the gateway saw it: the warnings of
    /// the run were limited.
    pub fn say_outside(&self) {
        let metrics = &self.metrics;
        let (broker_dropped, sessions_lost) =
            (metrics.broker_dropped.get(), metrics.sessions_lost.get());
        let numbers_missing = metrics.numbers_still_missing();
        if broker_dropped + sessions_lost + numbers_missing > 0 {
            tracing::warn!(
                broker_dropped,
                numbers_missing,
                sessions_lost,
                "possible loss outside the gateway, in the whole run"
            );
        }
    }

    /// Whether every sensor's books agree with the totals: the first column that does not.
    pub fn difference(&self) -> Option<String> {
        let total = self.balance();
        if !total.closes() {
            return Some(format!("the books do not close: {total}"));
        }
        let rows = self.registry.with_rows(|rows| {
            let unseen = Balance { spooled: total.spooled, ..Balance::default() };
            rows.iter().map(|row| row.balance()).fold(unseen, Add::add)
        });
        (rows != total).then(|| format!("the sensors' books say {rows}; the totals say {total}"))
    }
}
