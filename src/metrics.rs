//! The gateway's counters: one field each, its comment is its help text.
//!
//! Counters only grow. The balance is built from them: `received = delivered + dead_lettered +
//! shed + held`, where `held` is counted on its own (places in use and abandoned records), so that
//! a difference can show.

use std::fmt;
use std::ops::Add;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;

macro_rules! counters {
    ($($(#[doc = $help:literal])+ $name:ident,)+) => {
        /// Everything that is counted, in total.
        #[derive(Debug, Default)]
        pub struct Metrics { $($(#[doc = $help])+ pub $name: Counter,)+ }

        impl Metrics {
            /// All of them: name, help text, value.
            pub fn each(&self) -> Vec<(&'static str, &'static str, u64)> {
                vec![$((stringify!($name), concat!($($help),+).trim_ascii(), self.$name.get()),)+]
            }
        }
    };
}

counters! {
    /// Readings taken from sources, each once. What can be no reading counts as one.
    received,
    /// MQTT messages and lines of commands that were taken, each once: with any number of readings, or none.
    messages,
    /// Records of earlier runs found in the spool at start.
    recovered,
    /// Records whose batch the output broker acknowledged.
    delivered,
    /// Records put on the dead-letter topic, acknowledged.
    dead_lettered,
    /// QoS 0 records lost on purpose, by the policy `queue.on_full`.
    shed,
    /// Records written to the spool, in batches or as dead letters.
    spooled,
    /// Records of the spool that were delivered or dead-lettered from there.
    replayed,
    /// Records whose batch in the spool could not be read again; they stay in the balance as held.
    spool_unreadable,
    /// Times that the spool's disk failed.
    spool_failures,
    /// Records let go unsettled; their source must offer them again.
    abandoned,
    /// Messages that the broker sent again and that were still held: taken once.
    repeats_matched,
    /// Messages that the broker marked as sent again and that were taken again.
    repeats_taken,
    /// Held messages that were given up because the broker used their packet id for another one.
    held_given_up,
    /// Connections ended because the readings' broker sent what the protocol forbids, or without end.
    protocol_errors,
    /// Retained messages skipped by `retained = "skip"`, acknowledged and not taken.
    retained_skipped,
    /// Messages of this run's own output that came back by a subscription: acknowledged and not taken, but one
    /// a minute becomes a dead letter.
    loop_messages,
    /// Ticks that simulated sensors missed because the queue or the machine was late.
    ticks_missed,
    /// Batches sealed because they were full: `batch.records_max`.
    sealed_full,
    /// Batches sealed because they were heavy: `batch.bytes_max`.
    sealed_heavy,
    /// Batches sealed because of their age: `batch.age_max`.
    sealed_aged,
    /// Batches sealed because nothing more could come before they settled.
    sealed_starved,
    /// Batches sealed for another route: a sensor changed to it, or it needed the place.
    sealed_route,
    /// Batches sealed by the drain.
    sealed_draining,
    /// Batches acknowledged by the output broker.
    batches_delivered,
    /// Batches and dead letters sent again after a reconnect.
    batches_resent,
    /// Batches and dead letters that the output broker refused.
    publishes_refused,
    /// Batches the output broker took while nobody subscribed to the output topic.
    batches_without_subscriber,
    /// Connections made to brokers.
    connections,
    /// Connections to brokers lost.
    disconnections,
    /// Broker sessions that were gone on return although they should have been kept.
    sessions_lost,
    /// Messages that the readings' broker has dropped by its own count, for any of its clients.
    broker_dropped,
    /// Numbers of sensors that were passed over: `number` of the payload's settings.
    numbers_missing,
    /// Of those, numbers that came after all.
    numbers_late,
    /// Records of sensors for which `gateway.sensors_max` left no row: delivered without a `sequence`.
    sensors_overflowed,
}

impl Metrics {
    /// Numbers of sensors that were passed over and have not come since.
    pub fn numbers_still_missing(&self) -> u64 {
        self.numbers_missing.get().saturating_sub(self.numbers_late.get())
    }
}

/// Seconds that the bounds of [`Latencies`] divide: from a batch that is sealed at once to one that
/// waited for a broker's restart.
const LATENCY_BOUNDS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// How long things took.
#[derive(Debug, Clone)]
pub struct Latencies(pub Histogram);

impl Default for Latencies {
    fn default() -> Self {
        Self(Histogram::new(LATENCY_BOUNDS))
    }
}

impl Latencies {
    /// Enters one.
    pub fn took(&self, time: Duration) {
        self.0.observe(time.as_secs_f64());
    }
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn one(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The value now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The books of a sensor or of the whole gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Balance {
    /// Taken.
    pub received: u64,
    /// Acknowledged by the output broker.
    pub delivered: u64,
    /// Acknowledged by the dead letters' broker.
    pub dead_lettered: u64,
    /// Lost on purpose, by policy.
    pub shed: u64,
    /// Not settled, or settled by the spool and still to be delivered.
    pub held: u64,
    /// How many of those held are in the spool, safe from the end of this process. Zero for a sensor:
    /// it is counted in total only.
    pub spooled: u64,
}

impl Balance {
    /// Whether the books close.
    pub const fn closes(&self) -> bool {
        self.received == self.delivered + self.dead_lettered + self.shed + self.held
    }
}

impl Add for Balance {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            received: self.received + other.received,
            delivered: self.delivered + other.delivered,
            dead_lettered: self.dead_lettered + other.dead_lettered,
            shed: self.shed + other.shed,
            held: self.held + other.held,
            spooled: self.spooled + other.spooled,
        }
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { received, delivered, dead_lettered, shed, held, spooled } = self;
        write!(
            f,
            "received {received} = delivered {delivered} + dead-lettered {dead_lettered} + shed {shed} + held {held}"
        )?;
        if *spooled > 0 {
            write!(f, " ({spooled} in the spool)")?;
        }
        Ok(())
    }
}
