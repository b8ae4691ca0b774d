//! The one place where records settle.
//!
//! Gives the queue its places back, tells the sources, enters the outcome in each sensor's row and
//! in the totals. The balance is drawn up from here.

use std::ops::Add;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::board::Board;
use super::gauges::Gauges;
use super::tally::Tally;
use crate::clock;
use crate::metrics::{Balance, Metrics};
use crate::pace::Pace;
use crate::plan::Plan;
use crate::queue::Queue;
use crate::registry::Registry;
use crate::settlement::{Outcome, SensorIndex, Settle, Settled, Share};
use crate::standing::Standings;

/// The books of a gateway.
#[derive(Debug, Clone)]
pub struct Books {
    /// The records' places.
    pub queue: Queue,
    /// Each sensor's.
    pub registry: Arc<Registry>,
    /// The totals.
    pub metrics: Arc<Metrics>,
    /// The pace of the thread that runs the sink.
    pub pace: Arc<Pace>,
    /// What the worker holds.
    pub gauges: Arc<Gauges>,
    /// What became dead letters of late.
    pub tally: Arc<Tally>,
    /// How the connections stand.
    pub standings: Standings,
    /// How it is doing.
    pub board: Arc<Board>,
}

/// A registry for the sensors of this plan: the simulated ones are known.
fn registry(plan: &Plan) -> Registry {
    let entries = plan.sensors.iter().map(|(name, kind)| (name.as_str(), kind.known_sensors()));
    Registry::new(plan.gateway.sensors_max.get() as usize, entries)
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
    /// Empty books of a gateway by this plan.
    pub fn new(plan: &Plan, pace: Arc<Pace>) -> Self {
        let now = clock::now().instant;
        // Before they begin: a gateway is not ready until they are.
        let standings = Standings::new(now);
        for name in plan.sessions().keys() {
            standings.session(name, now);
        }
        Self {
            queue: Queue::new(plan.queue),
            registry: Arc::new(registry(plan)),
            metrics: Arc::default(),
            pace,
            gauges: Arc::default(),
            tally: Arc::default(),
            board: Arc::new(Board::new(now)),
            standings,
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::ledger::{Entered, Ledger};
    use crate::record::{Body, Chunk, Record, Span};
    use crate::settlement::{Policy, Receipts, SourceIndex, Token};

    const KEEP_LATEST: Outcome = Outcome::Shed { policy: Policy::KeepLatest };
    const SHED_NEWEST: Outcome = Outcome::Shed { policy: Policy::ShedNewest };

    /// Readings of one message, taken and held.
    fn held(books: &Books, first: u64, count: u64) -> Receipts {
        let (row, now) = (books.registry.row_of("a", 0), clock::now().wall);
        let mut receipts = Receipts::new(Arc::new(books.clone()));
        let (mut chunk, none) = (Chunk::default(), Span::default());
        for ordinal in first..first + count {
            let token = Token { source: SourceIndex(0), ordinal };
            chunk.records.push(Record {
                sensor: row.index,
                id: none,
                sequence: row.receive(now),
                received: now,
                token,
                topic: none,
                retained: false,
                sheddable: false,
                body: Body::Reading { value: none, timestamp: none, extra: none },
            });
            receipts.add(token, row.index, 0);
        }
        books.metrics.received.add(count);
        assert!(books.queue.inlet().try_offer(&mut chunk, &mut Vec::new()));
        receipts
    }

    #[test]
    fn a_message_of_which_a_policy_sheds_a_part_is_acknowledged_and_the_books_close() {
        for (outcomes, by_policy) in [
            ([Outcome::Delivered, KEEP_LATEST, SHED_NEWEST], [1, 0, 3]),
            ([KEEP_LATEST, SHED_NEWEST, Outcome::DeadLettered], [3, 0, 2]),
            ([KEEP_LATEST; 3], [0, 0, 6]),
        ] {
            let mut plan = Plan::default();
            let kind = serde_json::from_str(r#"{"mqtt":{"topic":"a"}}"#).unwrap();
            plan.sensors.insert("fleet".into(), kind);
            let books = Books::new(&plan, Arc::default());
            let settlements = books.queue.settlements();
            let mut ledger = Ledger::new(20, 20);
            let Entered::New(first) = ledger.enter(7, false, 1) else { panic!("it is new") };
            ledger.readings(6);
            let receipts = held(&books, first, 6);
            assert_eq!((books.balance().held, books.difference()), (6, None));
            let shares = [(2, outcomes[0]), (3, outcomes[1]), (1, outcomes[2])];
            receipts.settle_shares(&shares.map(|(records, outcome)| Share { records, outcome }));
            let mut settled = Vec::new();
            settlements.take(&mut settled);
            for (run, outcome) in settled {
                ledger.settle(run, outcome);
            }
            let mut acknowledged = Vec::new();
            ledger.acknowledge(|packet_id, _| acknowledged.push(packet_id));
            assert_eq!(acknowledged, [7]);
            let balance = books.balance();
            let found = Policy::ALL.iter().map(|it| books.metrics.shed.of(*it).get());
            assert_eq!(found.collect::<Vec<_>>(), by_policy, "{outcomes:?}");
            assert_eq!(balance.shed, by_policy.iter().sum::<u64>());
            assert_eq!((balance.received, balance.held), (6, 0));
            assert_eq!(books.difference(), None);
        }
    }
}
