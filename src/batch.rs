//! When a batch is complete.
//!
//! Pure: time and sizes are arguments, and what a batch is made of does not matter here. A batch
//! is never sealed empty, and its first item is never refused, however large: an item that is
//! larger than a batch must still travel.

use std::num::NonZeroU32;
use std::time::Instant;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{Period, Size};

/// `[batch]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Records of a batch: with so many it is published.
    pub records_max: NonZeroU32,
    /// Bytes of a batch's records: it is published before the next record would exceed them, or what the output
    /// broker takes.
    pub bytes_max: Size,
    /// How long the oldest record of a batch may wait: then it is published.
    pub age_max: Period,
    /// Batches that are open at a time, one for each topic that the readings make. Where the readings of one more
    /// topic come, the batch that was used longest ago is published before it is full. Each takes twice `bytes_max`.
    pub routes_max: RoutesMax,
}

/// Open batches, at most: all are looked at for a record whose topic is not that of the one before.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "u16", into = "u16")]
#[schemars(extend("minimum" = 1, "maximum" = ROUTES_OPEN_MOST))]
pub struct RoutesMax(u16);

/// The largest number of open batches.
const ROUTES_OPEN_MOST: u16 = 256;

impl RoutesMax {
    /// How many.
    pub fn get(self) -> usize {
        self.0.into()
    }
}

impl TryFrom<u16> for RoutesMax {
    type Error = String;

    fn try_from(count: u16) -> Result<Self, String> {
        match count {
            1..=ROUTES_OPEN_MOST => Ok(Self(count)),
            _ => Err(format!(
                "{count} cannot be used: write a whole number from 1 to {ROUTES_OPEN_MOST}"
            )),
        }
    }
}

impl From<RoutesMax> for u16 {
    fn from(count: RoutesMax) -> Self {
        count.0
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            records_max: NonZeroU32::new(500).expect("500 is not zero"),
            bytes_max: Size::bytes(256 << 10),
            age_max: Period::millis(100),
            routes_max: RoutesMax(8),
        }
    }
}

/// Why a batch was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seal {
    /// `records_max` records.
    Full,
    /// The next record would exceed `bytes_max`.
    Heavy,
    /// The oldest record has waited for `age_max`.
    Aged,
    /// Nothing more can come until these records settle.
    Starved,
    /// A record of another route had to come behind it, or needed its place.
    Route,
    /// The settings of batches or of the output have changed.
    Changed,
    /// The gateway is draining.
    Draining,
}

/// Counts an open batch.
#[derive(Debug)]
pub struct Batcher {
    settings: Settings,
    /// The bound on bytes, as far as the output takes them.
    bytes_max: usize,
    records: usize,
    bytes: usize,
    opened: Option<Instant>,
}

impl Batcher {
    /// With nothing in it.
    pub fn new(settings: Settings) -> Self {
        let bytes_max = settings.bytes_max.get();
        Self { settings, bytes_max, records: 0, bytes: 0, opened: None }
    }

    /// Whether an item of `bytes` more has to wait for the next batch.
    pub fn must_seal_before(&self, bytes: usize) -> Option<Seal> {
        (self.records > 0 && self.bytes + bytes > self.bytes_max).then_some(Seal::Heavy)
    }

    /// Counts an item that has waited since `since`; says whether the batch is now full.
    pub fn push(&mut self, since: Instant, bytes: usize) -> Option<Seal> {
        self.records += 1;
        self.bytes += bytes;
        self.opened.get_or_insert(since);
        (self.records >= self.records_max()).then_some(Seal::Full)
    }

    /// Whether the batch's age completes it at `now`.
    pub fn due(&self, now: Instant) -> Option<Seal> {
        self.deadline().is_some_and(|deadline| deadline <= now).then_some(Seal::Aged)
    }

    /// When the oldest record of the open batch came.
    pub fn opened(&self) -> Option<Instant> {
        self.opened
    }

    /// When the batch's age will complete it.
    pub fn deadline(&self) -> Option<Instant> {
        self.opened.map(|opened| opened + self.settings.age_max.0)
    }

    /// Begins the next batch.
    pub fn sealed(&mut self) {
        (self.records, self.bytes, self.opened) = (0, 0, None);
    }

    /// Whether the open batch holds nothing.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Records and bytes that still fit.
    pub fn room(&self) -> (usize, usize) {
        (self.records_max() - self.records, self.bytes_max.saturating_sub(self.bytes))
    }

    /// Lowers the bound on bytes to what the output broker takes.
    pub fn fit(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
    }

    fn records_max(&self) -> usize {
        self.settings.records_max.get() as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const AGE: Duration = Duration::from_millis(100);

    fn batcher(records_max: usize, bytes_max: usize) -> Batcher {
        let records_max = u32::try_from(records_max).ok().and_then(NonZeroU32::new).unwrap();
        let settings = Settings { records_max, age_max: Period(AGE), ..Settings::default() };
        let mut batcher = Batcher::new(settings);
        batcher.fit(bytes_max);
        batcher
    }

    #[test]
    fn a_batch_is_full_at_its_last_record_and_due_at_its_first_ones_age() {
        let start = crate::clock::now().instant;
        let mut batcher = batcher(2, 100);
        assert_eq!((batcher.due(start + AGE * 9), batcher.deadline()), (None, None));
        assert_eq!(batcher.push(start, 1), None);
        assert_eq!(batcher.due(start + AGE / 2), None);
        assert_eq!(batcher.due(start + AGE), Some(Seal::Aged));
        assert_eq!(batcher.push(start + AGE / 2, 1), Some(Seal::Full));
        batcher.sealed();
        assert!(batcher.is_empty() && batcher.deadline().is_none());
    }

    #[test]
    fn the_first_record_is_never_refused() {
        let mut batcher = batcher(10, 100);
        assert_eq!(batcher.must_seal_before(1000), None);
        batcher.push(crate::clock::now().instant, 1000);
        assert_eq!(batcher.must_seal_before(1), Some(Seal::Heavy));
    }

    proptest! {
        #[test]
        fn batches_respect_their_bounds_and_lose_nothing(
            sizes in prop::collection::vec(1_usize..200, 1..200),
            records_max in 1_usize..20,
            bytes_max in 1_usize..400,
        ) {
            let start = crate::clock::now().instant;
            let mut batcher = batcher(records_max, bytes_max);
            let (mut open, mut batches) = (Vec::new(), Vec::new());
            for &size in &sizes {
                if batcher.must_seal_before(size).is_some() {
                    batches.push(std::mem::take(&mut open));
                    batcher.sealed();
                }
                open.push(size);
                if batcher.push(start, size).is_some() {
                    batches.push(std::mem::take(&mut open));
                    batcher.sealed();
                }
            }
            batches.push(open);
            prop_assert_eq!(batches.concat(), sizes);
            for batch in &batches {
                let bytes: usize = batch.iter().sum();
                prop_assert!(batch.len() <= records_max);
                prop_assert!(bytes <= bytes_max || batch.len() == 1);
            }
        }
    }
}
