//! Looks whether every reading comes out, and each sensor's in the order they were published.
//!
//! As a consumer should, it drops a batch whose id it has seen.

use std::collections::HashSet;
use std::time::Instant;

use crate::audit::{Audit, records};
use crate::load::SENSORS;

/// What has come out.
pub(crate) struct Order {
    batches: HashSet<String>,
    /// By number.
    seen: Vec<bool>,
    /// The highest number of each sensor so far, and one more.
    next: Vec<u64>,
    /// Readings behind a later one of their sensor.
    pub(crate) disordered: u64,
    /// Readings that came before, in another batch.
    pub(crate) repeated: u64,
}

impl Order {
    /// Nothing has.
    pub(crate) fn new() -> Self {
        let (batches, seen, next) = (HashSet::new(), Vec::new(), vec![0; SENSORS as usize]);
        Self { batches, seen, next, disordered: 0, repeated: 0 }
    }

    /// How many of so many readings have not come.
    pub(crate) fn missing(&self, sent: u64) -> u64 {
        sent - self.seen.iter().filter(|seen| **seen).count() as u64
    }

    fn reading(&mut self, number: u64) {
        let at = number as usize;
        if self.seen.len() <= at {
            self.seen.resize(at + 1, false);
        }
        if std::mem::replace(&mut self.seen[at], true) {
            self.repeated += 1;
            return;
        }
        let next = &mut self.next[(number % SENSORS) as usize];
        if number < *next {
            self.disordered += 1;
        }
        *next = (*next).max(number + 1);
    }
}

impl Audit for Order {
    fn batch(&mut self, payload: &str, _: Instant) {
        let (_, rest) = payload.split_once("\"batch\":\"").unwrap();
        let (id, _) = rest.split_once('"').unwrap();
        if self.batches.insert(id.to_owned()) {
            records(payload).for_each(|record| self.reading(record.number()));
        }
    }
}
