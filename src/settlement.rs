//! The way back: what became of each record.
//!
//! A record carries a [`Token`]; a batch carries the tokens of its records compressed into runs
//! ([`Receipts`]). Whoever holds receipts must settle them. Receipts that are dropped settle as
//! [`Outcome::Abandoned`]: forgetting is impossible, and the default is the safe one (nothing is
//! acknowledged, the balance shows the records as held).
//!
//! Per record this costs a comparison and a four-byte push; allocation, channel and lock are per
//! batch.

use std::fmt;
use std::sync::Arc;

/// A sensor's row in the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SensorIndex(pub u32);

/// Which source, as an index given by the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceIndex(pub u32);

/// A record's way back to its source: a small copy, not a channel.
///
/// Ordinals count the readings that a source must acknowledge, those of one message in a row. They never start again and are never reused, not even
/// in a later epoch; the source's ledger knows which of them belong to the current connection. So
/// an acknowledgement cannot cross epochs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// The source that waits.
    pub source: SourceIndex,
    /// The source's number for the record.
    pub ordinal: u64,
}

impl Token {
    /// Of a record for which nobody waits: simulated, or QoS 0.
    pub const NONE: Self = Self { source: SourceIndex(u32::MAX), ordinal: 0 };

    /// Whether nobody waits.
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// That of the next reading of the same message.
    #[must_use]
    pub fn next(self) -> Self {
        if self.is_none() { self } else { Self { ordinal: self.ordinal + 1, ..self } }
    }
}

macro_rules! policies {
    ($($(#[$doc:meta])+ $name:ident => $key:literal, $word:literal,)+) => {
        /// A policy that the user has named, by which a record may be lost on purpose. All are listed here, each
        /// with its key in the configuration and its word there.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Policy { $($(#[$doc])+ $name,)+ }

        impl Policy {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The key that names it.
            pub const fn key(self) -> &'static str {
                match self { $(Self::$name => $key,)+ }
            }

            /// Its word.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)+ }
            }
        }
    };
}

policies! {
    /// The queue is full: the QoS 0 record that came last.
    ShedNewest => "queue.on_full", "shed_newest",
    /// The queue is full: the QoS 0 record that has waited longest.
    ShedOldest => "queue.on_full", "shed_oldest",
    /// The queue is full: a QoS 0 record that a later one of its sensor has superseded.
    KeepLatest => "queue.on_full", "keep_latest",
    /// It has come before.
    Deduplicate => "sensors.<name>.<kind>.deduplicate", "deduplicate",
    /// It says nothing new.
    Filter => "sensors.<name>.<kind>.filter", "filter",
    /// Its sensor sends more than it may.
    Quota => "sensors.<name>.<kind>.quota", "quota",
}

impl Policy {
    /// Whether it is of an entry, and asked before a reading has a place. The others are the queue's.
    pub const fn is_of_entry(self) -> bool {
        matches!(self, Self::Deduplicate | Self::Filter | Self::Quota)
    }
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The output broker acknowledged the batch that carries it.
    Delivered,
    /// The batch that carries it is on disk, synced; it is still to be delivered from there.
    Spooled,
    /// The dead-letter topic's broker acknowledged it.
    DeadLettered,
    /// It was lost on purpose.
    Shed {
        /// What the user has named for it.
        policy: Policy,
    },
    /// It was let go unsettled; its source must offer it again.
    Abandoned,
}

impl Outcome {
    /// Whether the source may acknowledge it upstream.
    pub const fn is_safe(self) -> bool {
        match self {
            Self::Delivered | Self::Spooled | Self::DeadLettered | Self::Shed { policy: _ } => true,
            Self::Abandoned => false,
        }
    }
}

/// Consecutive ordinals of one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The source that waits.
    pub source: SourceIndex,
    /// The first ordinal.
    pub first: u64,
    /// How many.
    pub count: u64,
}

/// What became of the next so many records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// How many.
    pub records: usize,
    /// What became of them.
    pub outcome: Outcome,
}

/// Takes settled receipts: gives the places back, keeps the books, tells the sources.
pub trait Settle: Send + Sync {
    /// Called exactly once for each [`Receipts`]. The shares cover all records, in order; either all
    /// of them are safe or none is.
    fn settle(&self, settled: &Settled, shares: &[Share]);
}

/// The content of receipts.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// What the sources wait for, in the order it was taken.
    pub runs: Vec<Run>,
    /// The sensor of each record, in order; its length is the number of records.
    pub sensors: Vec<SensorIndex>,
    /// Bytes of text claimed for the records.
    pub bytes: usize,
}

impl Settled {
    /// Adds one record.
    pub fn add(&mut self, token: Token, sensor: SensorIndex, bytes: usize) {
        self.sensors.push(sensor);
        self.bytes += bytes;
        if token.is_none() {
            return;
        }
        match self
            .runs
            .iter_mut()
            .rev()
            .take(RUNS_LOOKED_BACK_MAX)
            .find(|run| run.source == token.source)
        {
            Some(run) if run.first + run.count == token.ordinal => run.count += 1,
            _ => self.runs.push(Run { source: token.source, first: token.ordinal, count: 1 }),
        }
    }
}

/// How many runs are looked at for one to prolong: sources that take turns still share few runs.
const RUNS_LOOKED_BACK_MAX: usize = 8;

/// The promise to say what became of some records.
pub struct Receipts {
    settled: Settled,
    to: Option<Arc<dyn Settle>>,
}

impl Receipts {
    /// Empty receipts that will settle with `to`.
    pub fn new(to: Arc<dyn Settle>) -> Self {
        Self { settled: Settled::default(), to: Some(to) }
    }

    /// Takes responsibility for one record.
    pub fn add(&mut self, token: Token, sensor: SensorIndex, bytes: usize) {
        self.settled.add(token, sensor, bytes);
    }

    /// How many records.
    pub fn records(&self) -> usize {
        self.settled.sensors.len()
    }

    /// The sensor of each, in order.
    pub fn sensors(&self) -> &[SensorIndex] {
        &self.settled.sensors
    }

    /// Says what became of them all.
    pub fn settle(mut self, outcome: Outcome) {
        self.finish(&[Share { records: self.records(), outcome }]);
    }

    /// Says what became of each share of them.
    pub fn settle_shares(mut self, shares: &[Share]) {
        self.finish(shares);
    }

    fn finish(&mut self, shares: &[Share]) {
        if let Some(to) = self.to.take()
            && !self.settled.sensors.is_empty()
        {
            to.settle(&self.settled, shares);
        }
    }
}

impl Drop for Receipts {
    fn drop(&mut self) {
        self.finish(&[Share { records: self.records(), outcome: Outcome::Abandoned }]);
    }
}

impl fmt::Debug for Receipts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipts").field("settled", &self.settled).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Book(Mutex<Vec<(Vec<Run>, usize, Outcome)>>);

    impl Settle for Book {
        fn settle(&self, settled: &Settled, shares: &[Share]) {
            let entries =
                shares.iter().map(|share| (settled.runs.clone(), share.records, share.outcome));
            self.0.lock().unwrap().extend(entries);
        }
    }

    fn token(source: u32, ordinal: u64) -> Token {
        Token { source: SourceIndex(source), ordinal }
    }

    #[test]
    fn neighbours_become_one_run_and_gaps_begin_another() {
        let mut settled = Settled::default();
        for (source, ordinal) in [(0, 5), (1, 1), (0, 6), (1, 2), (0, 8)] {
            settled.add(token(source, ordinal), SensorIndex(0), 1);
        }
        settled.add(Token::NONE, SensorIndex(3), 1);
        let run = |source, first, count| Run { source: SourceIndex(source), first, count };
        assert_eq!(settled.runs, [run(0, 5, 2), run(1, 1, 2), run(0, 8, 1)]);
        assert_eq!((settled.sensors.len(), settled.bytes), (6, 6));
    }

    #[test]
    fn receipts_settle_once_and_dropped_ones_as_abandoned() {
        let book = Arc::new(Book::default());
        let make = || {
            let mut receipts = Receipts::new(Arc::clone(&book) as Arc<dyn Settle>);
            receipts.add(token(0, 1), SensorIndex(0), 1);
            receipts
        };
        make().settle(Outcome::Delivered);
        drop(make());
        drop(Receipts::new(Arc::clone(&book) as Arc<dyn Settle>));
        let outcomes: Vec<_> = book.0.lock().unwrap().iter().map(|entry| entry.2).collect();
        assert_eq!(outcomes, [Outcome::Delivered, Outcome::Abandoned]);
    }
}
