//! Entries, their keys, and their totals.

use std::fmt;

use bytes::Bytes;

use super::row::Row;
use super::{footprint, row};

/// The key of an entry. Keys grow in the order of appending, are never used again and survive restarts. A
/// damaged file that is renamed takes its keys with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub(super) u64);

impl Key {
    /// The key `n` behind this one: of the entry `n` among those that were appended together.
    #[must_use]
    pub const fn plus(self, n: u64) -> Self {
        Self(self.0 + n)
    }

    /// The key as a number, for logs.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is spooled: a batch, and what the engine needs to know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub records: u32,
    /// What the engine reads of every entry without reading bodies; opaque here.
    pub head: Vec<u8>,
    /// The batch; opaque here.
    pub body: Bytes,
}

impl Entry {
    /// The most bytes that it occupies on disk. [`append`](super::Spool::append) counts less for a small entry
    /// that fits behind the one before it.
    pub fn footprint(&self) -> u64 {
        footprint::most(row::FIXED_BYTES + self.head.len(), self.body.len())
    }
}

/// How many entries there are, and what they hold together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Held {
    pub(super) entries: u64,
    pub(super) records: u64,
    pub(super) bytes: u64,
}

impl Held {
    pub(super) fn add(&mut self, row: &Row<'_>) {
        self.plus(Self { entries: 1, records: row.records.into(), bytes: row.occupied.into() });
    }

    pub(super) fn plus(&mut self, other: Self) {
        self.entries += other.entries;
        self.records += other.records;
        self.bytes += other.bytes;
    }

    pub(super) fn minus(&mut self, other: Self) {
        self.entries = self.entries.saturating_sub(other.entries);
        self.records = self.records.saturating_sub(other.records);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }
}
