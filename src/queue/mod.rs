//! The one bounded hand-over between the async edge and the synchronous worker.
//!
//! ```text
//!  source ──offer──► buffer ──next──► worker ──…──► settle ──release──► places, bytes, settlements
//!                     │ full: wait, or shed QoS 0 by policy                │
//!                     └──────────── places are held until settled ─────────┘
//! ```
//!
//! Invariants:
//! - The bound covers a record from `offer` until `release`, not until it is taken: no more than
//!   `records_max` records and `bytes_max` bytes of their text exist between the two.
//! - Waiting is fair (first come, first served) and only ever happens in [`Inlet::offer`]. A task
//!   that polls a connection uses [`Inlet::try_offer`] and stops *reading* when it fails.
//! - The buffer is one chunk that producers append to and the worker swaps out: no allocation, and
//!   one lock per hand-over of any number of records.
//! - The worker is woken for the first record, for a full batch, when nothing more can come, and by
//!   the clock; not for each record.
//! - Reports of the sink to the worker go before records, because they free places. They are
//!   bounded by the window: each publication is reported at most twice.
//! - Only records marked sheddable are ever lost here, and each is reported to its source.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::shared::Shared;
use crate::settlement::{Outcome, Policy, Settled};
use crate::units::Size;

pub use self::buffer::SPARE_BYTES_MAX;
pub use self::inlet::{Claim, Inlet, Settlements};
pub use self::outlet::{Event, Outlet, Reports, Want};

mod buffer;
mod inlet;
mod outlet;
mod room;
mod shared;

/// What happens to a QoS 0 record when the queue is full. QoS ≥ 1 and simulated records wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFull {
    /// Stop reading from the broker until there is room; the broker then drops by its own limits.
    #[default]
    Wait,
    /// Lose the record that came last.
    ShedNewest,
    /// Lose the QoS 0 record that has waited longest, for the one that came. `records_max` must be above what
    /// can be in flight: `sluicegate check` warns where it is not.
    ShedOldest,
    /// Lose a waiting QoS 0 record that a later one of the same sensor has superseded; if there is none, the
    /// one of the sensor that came; if there is none, the oldest. `records_max` as for `shed_oldest`.
    KeepLatest,
}

impl OnFull {
    /// The policy by which it sheds, if it does.
    pub const fn policy(self) -> Option<Policy> {
        match self {
            Self::Wait => None,
            Self::ShedNewest => Some(Policy::ShedNewest),
            Self::ShedOldest => Some(Policy::ShedOldest),
            Self::KeepLatest => Some(Policy::KeepLatest),
        }
    }
}

/// `[queue]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Readings held from their arrival until they are settled. When it is full, simulated sensors wait, the
    /// gateway stops reading from the broker (keep-alive goes on), and QoS 0 does as `on_full` says.
    pub records_max: NonZeroU32,
    /// Bytes of the texts of these readings. When it is full, the same happens.
    pub bytes_max: Size,
    /// Bytes of a payload. A larger one becomes a dead letter that shows its head, its length and its
    /// SHA-256.
    pub record_bytes_max: Size,
    /// Readings of one message, where its payload may hold several (`ndjson`, `senml`). A message with more becomes one
    /// dead letter.
    pub readings_max: NonZeroU32,
    /// What happens to QoS 0 when the queue is full. What is shed is counted for its sensor.
    pub on_full: OnFull,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            records_max: NonZeroU32::new(16_384).expect("16384 is not zero"),
            bytes_max: Size::bytes(16 << 20),
            record_bytes_max: Size::bytes(64 << 10),
            readings_max: NonZeroU32::new(1024).expect("1024 is not zero"),
            on_full: OnFull::Wait,
        }
    }
}

/// The queue, as the engine holds it: makes the ends.
#[derive(Debug, Clone)]
pub struct Queue {
    shared: Arc<Shared>,
}

impl Queue {
    /// An empty queue.
    pub fn new(settings: Settings) -> Self {
        Self { shared: Arc::new(Shared::new(settings)) }
    }

    /// It takes and sheds by these settings from now on. Where they have less room than there was, that stays until
    /// [`Queue::resize`].
    pub fn prepare(&self, settings: Settings) {
        self.shared.prepare(settings);
    }

    /// It has no more room than these settings have: what is held beyond it stays, and its places do not come back. Whoever
    /// waits must have begun after [`Queue::prepare`], or may wait for more than there is.
    pub fn resize(&self, settings: Settings) {
        self.shared.resize(settings);
    }

    /// Whether more is held than there is room for.
    pub fn owes(&self) -> bool {
        self.shared.places.owes() || self.shared.bytes.owes()
    }

    /// A new end to offer records to.
    pub fn inlet(&self) -> Inlet {
        Inlet::new(&self.shared)
    }

    /// Where a source more learns what settled.
    pub fn settlements(&self) -> Settlements {
        Settlements::new(&self.shared)
    }

    /// The worker's end, which also takes reports of the type `E`. There is one worker.
    pub fn outlet<E>(&self) -> Outlet<E> {
        Outlet::new(&self.shared)
    }

    /// Records between offer and release.
    pub fn held(&self) -> u64 {
        self.shared.held.load(Ordering::Relaxed)
    }

    /// Bytes of their texts.
    pub fn held_bytes(&self) -> usize {
        self.shared.bytes.taken()
    }

    /// Since when the oldest has been here that the worker has not taken.
    pub fn oldest(&self) -> Option<Instant> {
        self.shared.lock().buffer.since()
    }

    /// Gives the places of settled records back and tells their sources.
    pub fn release(&self, settled: &Settled, outcome: Outcome) {
        let records = settled.sensors.len();
        self.shared.held.fetch_sub(records as u64, Ordering::Relaxed);
        self.shared.places.give(records);
        self.shared.bytes.give(settled.bytes);
        self.shared.settle(&settled.runs, outcome);
    }
}

#[cfg(test)]
mod tests;
