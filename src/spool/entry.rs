//! Entries, their names and their number.

use std::fmt;

use bytes::Bytes;

use super::row::Row;
use super::{footprint, row};

/// An entry's name. Keys grow in the order of appending, are never used again and survive
/// restarts; a file that was set aside takes its keys with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub(super) u64);

impl Key {
    /// The key `n` behind this one: of the entry `n` of those that were appended together.
    #[must_use]
    pub const fn plus(self, n: u64) -> Self {
        Self(self.0 + n)
    }

    /// As a number, for logs.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is spooled: a batch, and what its owner needs beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Readings in it.
    pub records: u32,
    /// What the owner wants to know of every entry without reading bodies; opaque here.
    pub head: Vec<u8>,
    /// The batch; opaque here.
    pub body: Bytes,
}

impl Entry {
    /// The most that it occupies on disk. [`append`](super::Spool::append) counts less for a small entry that
    /// fits behind the one before it.
    pub fn footprint(&self) -> u64 {
        footprint::most(row::FIXED_BYTES + self.head.len(), self.body.len())
    }
}

/// Entries in numbers.
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
