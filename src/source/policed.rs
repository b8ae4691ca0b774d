//! Asks the policies of an entry ([`crate::policies`]) what becomes of each reading, and enters what is left out.
//!
//! What is left out is no record: it takes no place and no `sequence`. It is received and shed in the same moment, in its
//! sensor's row and in the totals. Its message waits for its other readings only; one that has no others is done with.
//!
//! A reading that waits for its turn is entered when that is decided: as received and shed where a later one takes its place
//! ([`Policed::superseded`]), else as any other. Until then its message is not acknowledged, as one of a broker's window.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Context;
use crate::clock::Now;
use crate::policies::quota::Over;
use crate::policies::{Asked, Memory, Policies, Settings, Verdict};
use crate::record::{Body, Chunk, Reason, Record, Span};
use crate::repeat::Repeated;
use crate::settlement::{Outcome, Policy, Run};
use crate::state::metrics::Metrics;
use crate::state::registry::Row;
use crate::state::waiting::Part;
use crate::text;

/// How often it is said of an entry that a sensor sends more than it may.
const SAID_PAUSE: Duration = Duration::from_mins(1);

/// Why a superseded reading settles.
pub(super) const SUPERSEDED: Outcome = Outcome::Shed { policy: Policy::Quota };

/// The policies of an entry, and what waits by them.
#[derive(Debug)]
pub(super) struct Policed {
    entry: String,
    context: Context,
    policies: Policies<Held>,
    waiting: Part,
    /// What a sensor may send, and what became of the rest: words.
    quota: String,
    fate: &'static str,
    superseded: Vec<Run>,
    unknown_said: Repeated,
    said: Repeated,
    /// Readings over their quota since it was said.
    unsaid: u64,
}

/// A reading that waits for its turn.
#[derive(Debug)]
struct Held {
    row: Arc<Row>,
    /// With its record, which has no sequence yet.
    chunk: Chunk,
}

/// A reading before it is a record.
#[derive(Debug)]
pub(super) struct Candidate<'a> {
    pub(super) row: &'a Arc<Row>,
    /// Without its sequence. It may become a dead letter.
    pub(super) record: &'a mut Record,
    /// What is measured.
    pub(super) quantity: Span,
    pub(super) number: Option<u64>,
}

/// What becomes of a reading.
#[derive(Debug)]
pub(super) enum Fate {
    /// It is a record, as it is now.
    Taken,
    /// It was left out by this policy.
    Left(Policy),
    /// It waits.
    Waits,
}

impl Fate {
    /// Whether the reading has come before.
    pub(super) fn is_repeat(&self) -> bool {
        matches!(self, Self::Left(Policy::Deduplicate))
    }
}

impl Policed {
    /// Of the entry of this name; `None` where it has no policies.
    pub(super) fn new(entry: &str, settings: &Settings, context: &Context) -> Option<Self> {
        let policies = Policies::new(settings, context.entry)?;
        let waiting = Part::new(context.registry.waiting(context.entry));
        let quota =
            settings.quota.map_or_else(String::new, |it| format!("the quota of {}", it.rate));
        let fate = match settings.quota.map(|it| it.over) {
            Some(Over::DeadLetter) => "what is over became dead letters",
            Some(Over::KeepLatest) => "what was superseded before its turn was left out",
            Some(Over::ShedNewest) | None => "what is over was left out",
        };
        let (entry, context) = (entry.to_owned(), context.clone());
        let [unknown_said, said] = [Repeated::default(), Repeated::default()];
        let superseded = Vec::new();
        let unsaid = 0;
        Some(Self {
            entry,
            context,
            policies,
            waiting,
            quota,
            fate,
            superseded,
            unknown_said,
            said,
            unsaid,
        })
    }

    /// What becomes of a reading of which the texts are in the chunk.
    pub(super) fn judge(
        &mut self,
        memory: &mut Memory,
        candidate: Candidate<'_>,
        taken: Now,
        chunk: &mut Chunk,
    ) -> Fate {
        let Candidate { row, record, quantity, number } = candidate;
        let Body::Reading { value, timestamp, labels, extra } = record.body else {
            return Fate::Taken;
        };
        let id = if row.is_shared() { chunk.text(record.id) } else { row.id().as_bytes() };
        let asked = Asked {
            sensor: str::from_utf8(id).unwrap_or_default(),
            topic: chunk.text(record.topic),
            quantity: chunk.text(quantity),
            labels: chunk.text(labels),
            value: chunk.text(value),
            extra: chunk.text(extra),
            number,
            timestamp: chunk.text(timestamp),
            received: taken,
            is_acknowledged: !record.token.is_none(),
            is_copy: record.arrival.retained,
            was_shed: row.was_shed(),
        };
        let hold = || {
            let mut held = Chunk::default();
            held.copy_from(chunk, record);
            Held { row: Arc::clone(row), chunk: held }
        };
        let verdict = self.policies.judge(memory, &asked, record.bytes(), hold);
        self.count_waiting();
        self.say_bounds(taken);
        match verdict {
            Verdict::Take => Fate::Taken,
            Verdict::Leave(policy) => {
                if policy == Policy::Quota {
                    self.is_over(row, taken);
                }
                leave_out(row, policy, &self.context.metrics);
                Fate::Left(policy)
            }
            Verdict::Refuse => {
                self.is_over(row, taken);
                let detail = format!("the sensor sends more than {}", self.quota);
                let detail = chunk.put(detail.as_bytes());
                record.body = Body::Unreadable { reason: Reason::Quota, detail, payload: value };
                Fate::Taken
            }
            Verdict::Wait(superseded) => {
                if let Some(Held { row, chunk }) = superseded {
                    self.is_over(&row, taken);
                    let row = self.row_now(row);
                    leave_out(&row, Policy::Quota, &self.context.metrics);
                    let tokens = chunk.records.iter().map(|it| it.token);
                    self.superseded.extend(tokens.filter(|it| !it.is_none()).map(|it| Run {
                        source: it.source,
                        first: it.ordinal,
                        count: 1,
                    }));
                }
                Fate::Waits
            }
        }
    }

    /// Counts what a bound let through: readings whose repeats would pass, and those that left before their turn.
    fn say_bounds(&mut self, taken: Now) {
        self.context.metrics.quota_turns_cut.add(self.policies.cut());
        let unknown = self.policies.forgotten();
        if unknown == 0 {
            return;
        }
        self.context.metrics.repeats_unknown.add(unknown);
        let Some(left_out) = self.unknown_said.due_after(SAID_PAUSE, taken.instant) else { return };
        tracing::warn!(
            entry = self.entry,
            readings = unknown,
            left_out,
            "more readings come within deduplicate.window than deduplicate.readings_max: repeats of the first ones \
             pass; raise the one, or lower the other"
        );
    }

    /// A reading of this sensor is over its quota.
    fn is_over(&mut self, row: &Row, taken: Now) {
        self.unsaid += 1;
        if self.said.due_after(SAID_PAUSE, taken.instant).is_none() {
            return;
        }
        let readings = std::mem::take(&mut self.unsaid);
        tracing::warn!(
            entry = self.entry,
            readings,
            sensor = %text::shown(row.id()),
            "sensors send more than {}: {}. The last of them is named",
            self.quota,
            self.fate
        );
    }

    /// The row of a sensor: that which it has now, where it was forgotten.
    fn row_now(&self, row: Arc<Row>) -> Arc<Row> {
        if row.is_forgotten() { self.context.row(row.id()) } else { row }
    }

    /// Whether readings may wait for their turn.
    pub(super) fn may_wait(&self) -> bool {
        self.policies.may_wait()
    }

    /// What has its turn by now waits no longer.
    pub(super) fn expire(&mut self, now: Instant) {
        self.policies.expire(now);
    }

    /// Until when the next reading waits.
    pub(super) fn until(&self) -> Option<Instant> {
        self.policies.until()
    }

    /// Nothing waits any longer.
    pub(super) fn release(&mut self, now: Instant) {
        self.policies.release(&mut self.context.registry.memory(), now);
    }

    /// What came before may be lost: nothing is known of it.
    pub(super) fn begin_anew(&mut self, now: Instant) {
        self.policies.begin_anew(&mut self.context.registry.memory(), now);
    }

    /// Whether a reading waits that has one of these ordinals.
    pub(super) fn has(&self, ordinals: &std::ops::Range<u64>) -> bool {
        let mut records = self.policies.waiting().flat_map(|it| &it.chunk.records);
        records.any(|it| !it.token.is_none() && ordinals.contains(&it.token.ordinal))
    }

    /// Puts the record of the next reading that waits no longer into the chunk. Whether there was one.
    pub(super) fn take_due(&mut self, chunk: &mut Chunk) -> bool {
        let Some(Held { mut row, chunk: held }) = self.policies.take_due() else { return false };
        self.count_waiting();
        let Some(record) = held.records.first() else { return false };
        chunk.copy_from(&held, record);
        let mut again = None;
        if row.is_forgotten() {
            // Another sensor has its place.
            let found = self.row_now(Arc::clone(&row));
            let gone = std::mem::replace(&mut row, found);
            let is_shared = row.is_shared();
            again = Some(if is_shared { chunk.put(gone.id().as_bytes()) } else { Span::default() });
        }
        let Some(record) = chunk.records.last_mut() else { return false };
        record.sequence = row.count();
        if let Some(id) = again {
            (record.sensor, record.id) = (row.index, id);
        }
        true
    }

    /// The readings in whose place others wait, since this was asked last: they settle as [`SUPERSEDED`].
    pub(super) fn superseded(&mut self) -> impl Iterator<Item = Run> {
        self.superseded.drain(..)
    }

    /// Forgets what waits: the ordinals of those that somebody waits for, and how many they were.
    pub(super) fn clear(&mut self) -> (Vec<u64>, usize) {
        let records = self.policies.waiting().flat_map(|it| &it.chunk.records);
        let tokens = records.map(|it| it.token).filter(|it| !it.is_none());
        let ordinals = tokens.map(|it| it.ordinal).collect();
        let count = self.policies.clear();
        self.count_waiting();
        (ordinals, count)
    }

    /// Shows how many wait: what has its turn counts until it is taken.
    fn count_waiting(&mut self) {
        self.waiting.set(self.policies.undecided() as u64);
    }
}

/// Enters a reading that is left out.
fn leave_out(row: &Row, policy: Policy, totals: &Metrics) {
    row.leave_out(policy);
    totals.received.one();
    totals.shed.of(policy).one();
}
