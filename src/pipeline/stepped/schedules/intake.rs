//! The intake of the schedules: the ledger as it is, and around it, without a connection, what
//! `source::mqtt` does: what has no room stays in the chunk and nothing more is read, what settles
//! while there is no link is told to the ledger after the next connect.
//!
//! Judged here, at the message and at the acknowledgement: nothing is known that was not taken,
//! nothing taken twice that can be told, and an acknowledgement is for the oldest message of *this*
//! link that waits, and that one is safe.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::super::*;
use super::output::Output;
use super::upstream::{Giving, Sent, Upstream};
use crate::mqtt::ledger::{Entered, Ledger};

/// More than the readings of any message: what a reading says is its message's value, times this, and its place.
const READINGS: u32 = 64;

/// How many readings a message has.
fn readings(value: u32) -> u32 {
    match value % 13 {
        4 => 0,
        8 => 50,
        _ => 1,
    }
}

/// What the readings of a message say.
pub(super) fn said(value: u32) -> impl Iterator<Item = u32> {
    (0..readings(value)).map(move |place| value * READINGS + place)
}

/// The value of the message that has a reading.
pub(super) fn message(said: u32) -> u32 {
    said / READINGS
}

/// A reading that is held.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    /// The first ordinal of its message.
    first: u64,
    says: u32,
}

/// Acknowledgements that the ledger remembers: more than a schedule has.
const REMEMBERED: usize = 4000;

/// A broker's ids are trusted when they have risen for so many windows (`mqtt::ids`).
const RISING_WINDOWS: usize = 4;

/// How often it came to what the schedules are about.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    /// Messages that were held and came again.
    pub(super) bound: u64,
    /// Messages whose acknowledgement was lost: known.
    pub(super) known: u64,
    /// The same, taken again.
    pub(super) again: u64,
    /// Records of a lost session that settled on a later one.
    pub(super) late: u64,
    /// Readings that are lost outside of the gateway.
    pub(super) gone: u64,
}

impl Seen {
    pub(super) fn add(&mut self, other: Self) {
        self.bound += other.bound;
        self.known += other.known;
        self.again += other.again;
        self.late += other.late;
        self.gone += other.gone;
    }
}

/// The intake of one process.
#[derive(Debug)]
pub(super) struct Intake {
    ledger: Ledger,
    /// All messages say the same: only their ids tell them apart.
    alike: bool,
    chunk: Chunk,
    /// What settled and was not looked at.
    settled: Vec<(Run, Outcome)>,
    /// What came on the link of today and is not acknowledged, in order.
    arrived: VecDeque<(u16, u32)>,
    /// The readings that the process holds unsettled, by their way back.
    held: BTreeMap<u64, Held>,
    /// How many of a message are unsettled, by its first ordinal.
    left: BTreeMap<u64, u32>,
    /// Messages without readings: safe as soon as they come.
    without: Vec<u32>,
    /// Those of lost sessions among them.
    old: BTreeSet<u64>,
    taken: BTreeSet<u32>,
    /// What was acknowledged, heard or not.
    written: BTreeSet<u32>,
    /// New messages of the session.
    fresh: usize,
    /// A lost acknowledgement is known on the link of today.
    sure: bool,
    /// The broker has been set back in time: it sends again what it has heard of.
    pub(super) set_back: bool,
    pub(super) seen: Seen,
}

impl Intake {
    pub(super) fn new(window: usize, alike: bool) -> Self {
        Self {
            ledger: Ledger::new(window, REMEMBERED),
            alike,
            chunk: Chunk::default(),
            settled: Vec::new(),
            arrived: VecDeque::new(),
            held: BTreeMap::new(),
            left: BTreeMap::new(),
            without: Vec::new(),
            old: BTreeSet::new(),
            taken: BTreeSet::new(),
            written: BTreeSet::new(),
            fresh: 0,
            sure: false,
            set_back: false,
            seen: Seen::default(),
        }
    }

    pub(super) fn holds(&self, value: u32) -> bool {
        self.held.values().any(|it| message(it.says) == value)
    }

    /// The messages of which it holds readings.
    pub(super) fn held(&self) -> BTreeSet<u32> {
        self.held.values().map(|it| message(it.says)).collect()
    }

    /// Whether a message waits for its acknowledgement.
    pub(super) fn waits(&self) -> bool {
        self.ledger.waits()
    }

    /// Whether everything that was read is in the totals, too.
    pub(super) fn has_offered_all(&self) -> bool {
        self.chunk.records.is_empty()
    }

    /// The link is gone.
    pub(super) fn disconnected(&mut self, bench: &mut Bench) {
        bench.returned.starved(false);
        self.arrived.clear();
    }

    /// Connects; `wary`: as if another client might have our session.
    pub(super) fn connect(&mut self, wary: bool, upstream: &mut Upstream, bench: &mut Bench) {
        let present = upstream.resume();
        self.disconnected(bench);
        self.ledger.connect(present);
        if wary {
            self.ledger.hold();
        }
        if !present {
            self.fresh = 0;
            self.old.extend(self.held.keys());
        }
        let counts_up = upstream.giving == Giving::CountsUp;
        self.sure = counts_up && upstream.marks && self.fresh > RISING_WINDOWS * upstream.window;
    }

    /// Reads so many messages, if what was read before had room. Returns values that came again and
    /// could not be known.
    pub(super) fn read(
        &mut self,
        count: usize,
        upstream: &mut Upstream,
        bench: &mut Bench,
    ) -> Vec<u32> {
        let mut again = Vec::new();
        if !self.offer(bench) {
            return again;
        }
        let mut silent = true;
        for sent in (0..count).map_while(|_| upstream.read()) {
            again.extend(self.enter(sent, bench));
            silent = false;
        }
        if silent {
            self.ledger.release();
        }
        bench.returned.starved(self.ledger.open() >= upstream.window);
        self.offer(bench);
        again
    }

    /// Offers what has been read; whether all had room.
    fn offer(&mut self, bench: &mut Bench) -> bool {
        self.has_offered_all() || bench.offer_chunk(&mut self.chunk)
    }

    /// Takes a message. Returns its value if it was taken before.
    fn enter(&mut self, Sent { packet_id, dup, value }: Sent, bench: &Bench) -> Option<u32> {
        self.fresh += usize::from(!dup);
        self.arrived.push_back((packet_id, value));
        let digest = if self.alike { 7 } else { u64::from(value) };
        let entered = self.ledger.enter(packet_id, dup, digest);
        let missing = self.ledger.missing().unwrap_or_default();
        assert!(missing == 0 || self.set_back, "{missing} are missing, and nobody took them");
        assert!(!matches!(entered, Entered::Against(_)), "it keeps to the protocol: {entered:?}");
        let Entered::New(first) = entered else {
            assert!(self.taken.contains(&value), "{value} is known and was never taken");
            let unheard = self.written.contains(&value);
            let seen = if unheard { &mut self.seen.known } else { &mut self.seen.bound };
            *seen += 1;
            return None;
        };
        for (ordinal, says) in (first..).zip(said(value)) {
            self.held.insert(ordinal, Held { first, says });
            bench.read_value(says, ordinal, &mut self.chunk);
        }
        let count = readings(value);
        if count != 1 {
            self.ledger.readings(count);
        }
        if count == 0 {
            self.without.push(value);
        } else {
            self.left.insert(first, count);
        }
        if self.taken.insert(value) {
            return None;
        }
        let heard = self.written.contains(&value) && !self.sure;
        assert!(self.set_back || heard, "{value} is taken twice");
        self.seen.again += 1;
        Some(value)
    }

    /// Looks at what has settled since. Returns the messages that have as a whole.
    pub(super) fn observe(&mut self, bench: &Bench, output: &Output) -> Vec<u32> {
        let mut values = std::mem::take(&mut self.without);
        for (run, outcome) in bench.settled() {
            assert!(outcome.is_safe(), "{outcome:?}");
            for ordinal in run.first..run.first + run.count {
                let Held { first, says } =
                    self.held.remove(&ordinal).expect("it is held, and settles once");
                let spooled = outcome == Outcome::Spooled;
                assert!(
                    spooled || output.ids.contains_key(&says),
                    "{says} is {outcome:?} and never came"
                );
                self.seen.late += u64::from(self.old.remove(&ordinal));
                let left = self.left.get_mut(&first).expect("one is held");
                *left -= 1;
                values.extend((*left == 0).then_some(message(says)));
            }
            self.settled.push((run, outcome));
        }
        values
    }

    /// Tells the ledger what settled, and the broker what it may forget.
    pub(super) fn acknowledge(
        &mut self,
        safe: &BTreeSet<u32>,
        upstream: &mut Upstream,
        bench: &mut Bench,
    ) {
        for (run, outcome) in self.settled.drain(..) {
            self.ledger.settle(run, outcome);
        }
        let (arrived, written) = (&mut self.arrived, &mut self.written);
        self.ledger.acknowledge(|packet_id, _| {
            let (expected, value) = arrived.pop_front().expect("it came on this link");
            assert_eq!(packet_id, expected, "in the order of this link");
            assert!(safe.contains(&value), "{value} is acknowledged and not safe");
            written.insert(value);
            upstream.acknowledge(packet_id);
        });
        bench.returned.starved(self.ledger.open() >= upstream.window);
    }
}

impl Bench {
    /// Puts a reading that says this into a chunk, or rubbish that tells it.
    fn read_value(&self, says: u32, ordinal: u64, chunk: &mut Chunk) {
        let row =
            self.books.registry.row_left(SENSORS[message(says) as usize % SENSORS.len()], None);
        let body = if says % 11 == 10 {
            rubbish(chunk, &format!("{{{says}"))
        } else {
            let value = chunk.put(says.to_string().as_bytes());
            let (timestamp, extra) = (Span::default(), Span::default());
            Body::Reading { value, timestamp, extra }
        };
        chunk.records.push(self.record_of(&row, body, ordinal));
    }
}
