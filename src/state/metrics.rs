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

use crate::settlement::Policy;
use crate::state::presence::Presence;

macro_rules! counters {
    ($($(#[doc = $help:literal])+ $name:ident: $counter:ty,)+) => {
        /// Everything that is counted, in total.
        #[derive(Debug, Default)]
        pub struct Metrics { $($(#[doc = $help])+ pub $name: $counter,)+ }

        impl Metrics {
            /// All of them.
            pub fn each(&self) -> Vec<Counted> {
                vec![$(Counted {
                    name: stringify!($name),
                    help: concat!($($help),+).trim_ascii(),
                    values: self.$name.values(),
                },)+]
            }
        }
    };
}

counters! {
    /// Readings taken from sources, each once. What can be no reading counts as one.
    received: Counter,
    /// MQTT messages and lines of commands that were taken, each once: with any number of readings, or none.
    messages: Counter,
    /// Records of earlier runs found in the spool at start.
    recovered: Counter,
    /// Records whose batch the output broker acknowledged.
    delivered: Counter,
    /// Records put on the dead-letter topic, acknowledged.
    dead_lettered: Counter,
    /// Readings lost on purpose, by the policy that the user has named: a value of `queue.on_full`, or `deduplicate`, `filter`
    /// and `quota` of an entry.
    shed: CounterBy<Policy>,
    /// Readings over their quota that went out before their turn (`keep_latest`), because the broker's window, or the room for
    /// what waits, was full.
    quota_turns_cut: Counter,
    /// Readings that `deduplicate` knows no more before its window is over, because of its `readings_max`: repeats of them
    /// pass.
    repeats_unknown: Counter,
    /// Records written to the spool, in batches or as dead letters.
    spooled: Counter,
    /// Records of the spool that were delivered or dead-lettered from there.
    replayed: Counter,
    /// Records whose batch in the spool could not be read again; they stay in the balance as held.
    spool_unreadable: Counter,
    /// Times that the spool's disk failed.
    spool_failures: Counter,
    /// Records let go unsettled; their source must offer them again.
    abandoned: Counter,
    /// Messages that the broker sent again and that were still held: taken once.
    repeats_matched: Counter,
    /// Messages that the broker marked as sent again and that were taken again.
    repeats_taken: Counter,
    /// Held messages that were given up because the broker used their packet id for another one.
    held_given_up: Counter,
    /// Connections ended because the readings' broker sent what the protocol forbids, or without end.
    protocol_errors: Counter,
    /// Messages that are acknowledged and of which no reading is made, by reason: retained (`retained = "skip"`);
    /// loop (this run's own output that came back by a subscription; one a minute becomes a dead letter); missing
    /// (nothing of what is asked for, and `missing = "skip"`); ignored (their topic is one of `ignore`); online (they say whether
    /// a sensor is there).
    messages_skipped: CounterBy<Skipped>,
    /// Messages that waited in the gateway for another one, without which they cannot be read: Sparkplug's births.
    messages_waited: Counter,
    /// Births that Sparkplug nodes were asked for (`rebirth = true`).
    births_asked: Counter,
    /// Ticks that simulated sensors missed because the queue or the machine was late.
    ticks_missed: Counter,
    /// Batches sealed because they were full: `batch.records_max`.
    sealed_full: Counter,
    /// Batches sealed because they were heavy: `batch.bytes_max`.
    sealed_heavy: Counter,
    /// Batches sealed because of their age: `batch.age_max`.
    sealed_aged: Counter,
    /// Batches sealed because nothing more could come before they settled.
    sealed_starved: Counter,
    /// Batches sealed for another route: a sensor changed to it, or it needed the place.
    sealed_route: Counter,
    /// Batches sealed because a reload changed the settings of batches or of the output.
    sealed_changed: Counter,
    /// Batches sealed by the drain.
    sealed_draining: Counter,
    /// Batches acknowledged by the output broker.
    batches_delivered: Counter,
    /// Batches and dead letters sent again after a reconnect.
    batches_resent: Counter,
    /// Batches and dead letters that the output broker refused.
    publishes_refused: Counter,
    /// Batches the output broker took while nobody subscribed to the output topic.
    batches_without_subscriber: Counter,
    /// Times that the configuration was read again, by result: applied, unchanged (nothing that can be applied while it
    /// runs), refused (a mistake: nothing has changed).
    reloads: CounterBy<Reloaded>,
    /// Connections made to brokers.
    connections: Counter,
    /// Connections to brokers lost.
    disconnections: Counter,
    /// Broker sessions that were gone on return although they should have been kept.
    sessions_lost: Counter,
    /// Messages that the readings' broker has dropped by its own count, for any of its clients.
    broker_dropped: Counter,
    /// Times of sensors that could not be read or were not plausible: the time of receipt stands.
    times_unused: Counter,
    /// Sensors that became this, by state: late (nothing has come for one and a half of its intervals), silent (for three),
    /// online (something has come again).
    sensors_changed: CounterBy<Presence>,
    /// Notices about sensors and the gateway that their broker has taken (`[status]`).
    notices: Counter,
    /// Notices that it refused, or that cannot be sent.
    notices_refused: Counter,
    /// Numbers of sensors that were passed over: the entry's `counter`, and `seq` of Sparkplug nodes.
    numbers_missing: Counter,
    /// Of those, numbers that came after all.
    numbers_late: Counter,
    /// Sensors that were forgotten to make room for others: `gateway.sensors_max`.
    sensors_forgotten: Counter,
    /// Records of sensors for which `gateway.sensors_max` left no row: delivered without a `sequence`.
    sensors_overflowed: Counter,
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

/// The values of one name.
#[derive(Debug)]
pub struct Counted {
    /// The name.
    pub name: &'static str,
    /// The help text.
    pub help: &'static str,
    /// Each value, with the name and the word of its label if it has one.
    pub values: Vec<(Option<(&'static str, &'static str)>, u64)>,
}

/// Why no reading is made of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skipped {
    /// It was retained, and the entry skips those.
    Retained,
    /// It is this run's own output.
    Loop,
    /// It has no value, and the entry skips those.
    Missing,
    /// The entry leaves its topic out.
    Ignored,
    /// It says whether a sensor is there.
    Online,
}

/// What became of a configuration that was read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reloaded {
    /// What could be applied is.
    Applied,
    /// There was nothing to apply.
    Unchanged,
    /// It had a mistake: nothing has changed.
    Refused,
}

/// What a counter is divided by: a closed list of words.
pub trait Label: Copy + PartialEq + 'static {
    /// What the words are.
    const NAME: &'static str;
    /// All of them.
    const ALL: &'static [Self];
    /// The word.
    fn word(self) -> &'static str;
}

impl Label for Policy {
    const NAME: &'static str = "policy";
    const ALL: &'static [Self] = Self::ALL;

    fn word(self) -> &'static str {
        self.as_str()
    }
}

impl Label for Skipped {
    const NAME: &'static str = "reason";
    const ALL: &'static [Self] =
        &[Self::Retained, Self::Loop, Self::Missing, Self::Ignored, Self::Online];

    fn word(self) -> &'static str {
        match self {
            Self::Retained => "retained",
            Self::Loop => "loop",
            Self::Missing => "missing",
            Self::Ignored => "ignored",
            Self::Online => "online",
        }
    }
}

impl Label for Presence {
    const NAME: &'static str = "state";
    const ALL: &'static [Self] = &[Self::Online, Self::Late, Self::Silent];

    fn word(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Late => "late",
            Self::Silent => "silent",
        }
    }
}

impl Label for Reloaded {
    const NAME: &'static str = "result";
    const ALL: &'static [Self] = &[Self::Applied, Self::Unchanged, Self::Refused];

    fn word(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
        }
    }
}

/// A counter for each word of a label.
#[derive(Debug)]
pub struct CounterBy<L>(Box<[(L, Counter)]>);

impl<L: Label> Default for CounterBy<L> {
    fn default() -> Self {
        Self(L::ALL.iter().map(|label| (*label, Counter::default())).collect())
    }
}

impl<L: Label> CounterBy<L> {
    /// That of one word.
    pub fn of(&self, label: L) -> &Counter {
        let found = self.0.iter().find(|(it, _)| *it == label);
        &found.expect("there is one for each").1
    }

    /// Those that have counted something.
    pub fn counted(&self) -> impl Iterator<Item = L> {
        self.0.iter().filter(|(_, counter)| counter.get() > 0).map(|(label, _)| *label)
    }

    /// Those of some of the words together.
    pub fn total_of(&self, of: impl Fn(L) -> bool) -> u64 {
        self.0.iter().filter(|(label, _)| of(*label)).map(|(_, counter)| counter.get()).sum()
    }

    /// All together.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|(_, counter)| counter.get()).sum()
    }

    fn values(&self) -> Vec<(Option<(&'static str, &'static str)>, u64)> {
        let value =
            |(label, counter): &(L, Counter)| (Some((L::NAME, label.word())), counter.get());
        self.0.iter().map(value).collect()
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

    fn values(&self) -> Vec<(Option<(&'static str, &'static str)>, u64)> {
        vec![(None, self.get())]
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
