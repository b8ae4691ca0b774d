//! The one place where records settle.
//!
//! Gives the queue its places back, tells the sources, enters the outcome in each sensor's row and
//! in the totals. The balance is drawn up from here.

use std::sync::Arc;

use crate::metrics::{Balance, Metrics};
use crate::pace::Pace;
use crate::queue::Queue;
use crate::registry::Registry;
use crate::settlement::{Outcome, Settle, Settled};
use crate::sink;

/// The books of a gateway.
#[derive(Debug, Clone)]
pub struct Books {
    /// The records' places.
    pub queue: Queue<sink::Event>,
    /// Each sensor's.
    pub registry: Arc<Registry>,
    /// The totals.
    pub metrics: Arc<Metrics>,
    /// The pace of the thread that runs the sink.
    pub pace: Arc<Pace>,
}

impl Settle for Books {
    fn settle(&self, settled: &Settled, outcome: Outcome) {
        let total = match outcome {
            Outcome::Delivered => &self.metrics.delivered,
            Outcome::DeadLettered => &self.metrics.dead_lettered,
            Outcome::Abandoned => &self.metrics.abandoned,
        };
        total.add(settled.sensors.len() as u64);
        self.registry.settle(&settled.sensors, outcome);
        self.queue.release(settled, outcome);
    }
}

impl Books {
    /// The balance. Exact once the sources have stopped; while they run, a record can be between
    /// two columns.
    pub fn balance(&self) -> Balance {
        let metrics = &self.metrics;
        Balance {
            received: metrics.received.get(),
            delivered: metrics.delivered.get(),
            dead_lettered: metrics.dead_lettered.get(),
            shed: metrics.shed.get(),
            held: self.queue.held() + metrics.abandoned.get(),
        }
    }

    /// Whether every sensor's books agree with the totals: the first column that does not.
    pub fn difference(&self) -> Option<String> {
        let total = self.balance();
        if !total.closes() {
            return Some(format!("the books do not close: {total}"));
        }
        let rows = self.registry.with_rows(|rows| {
            rows.iter().map(|row| row.balance()).fold(Balance::default(), |sum, row| Balance {
                received: sum.received + row.received,
                delivered: sum.delivered + row.delivered,
                dead_lettered: sum.dead_lettered + row.dead_lettered,
                shed: sum.shed + row.shed,
                held: sum.held + row.held,
            })
        });
        (rows != total).then(|| format!("the sensors' books say {rows}; the totals say {total}"))
    }
}
