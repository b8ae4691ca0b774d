//! Batches on disk while the output is away: a bounded first-in, first-out store of entries.
//!
//! | file | job |
//! | --- | --- |
//! | `store` | tables and transactions |
//! | `row` | an entry's row and checksums |
//! | `footprint` | what an entry occupies |
//! | `file` | the file, its folder and its lock |
//! | `error` | what can go wrong |

use std::fmt;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::units::{Size, Span};

pub use self::error::Error;
use self::file::{InFolder, Place, guarded};
use self::row::Row;
use self::store::{FORMAT, Read, Store};

mod error;
mod file;
mod footprint;
mod row;
mod store;

/// Bytes of an entry's head and body together. A larger one is refused by [`Spool::append`].
pub const ENTRY_BYTES_MAX: usize = 64 << 20;

/// The least `spool.bytes_max`: what the empty file needs, and room for some batches.
pub const BYTES_MIN: u32 = 8 << 20;

/// `[spool]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The folder of the spool's file. Without it nothing is spooled.
    pub path: Option<PathBuf>,
    /// Bytes on disk; at least [`BYTES_MIN`].
    pub bytes_max: Size,
    /// How long a batch may wait for the output before it is written to disk.
    pub after: Span,
    /// Readings a second while what was spooled is published. Without it, as fast as the output
    /// takes them.
    pub replay_rate: Option<NonZeroU32>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            path: None,
            bytes_max: Size::bytes(1 << 30),
            after: Span::millis(1000),
            replay_rate: None,
        }
    }
}

/// An entry's name. Keys grow in the order of appending, are never used again and survive
/// restarts; a file that was set aside takes its keys with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(u64);

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
    /// Bytes that it occupies on disk, which is what [`Spool::bytes`] counts.
    pub fn footprint(&self) -> u64 {
        footprint::entry(self.head.len(), self.body.len())
    }
}

/// What was found when the spool was opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Opened {
    /// Entries of earlier runs.
    pub entries: u64,
    /// Their readings.
    pub records: u64,
    /// Bytes that they occupy.
    pub bytes: u64,
    /// A damaged file was found and has this name now. What was in it is not in the spool.
    pub set_aside: Option<PathBuf>,
}

/// Entries in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Held {
    entries: u64,
    records: u64,
    bytes: u64,
}

impl Held {
    fn add(&mut self, row: &Row<'_>) {
        self.plus(Self { entries: 1, records: row.records.into(), bytes: footprint::row(row) });
    }

    fn plus(&mut self, other: Self) {
        self.entries += other.entries;
        self.records += other.records;
        self.bytes += other.bytes;
    }

    fn minus(&mut self, other: Self) {
        self.entries = self.entries.saturating_sub(other.entries);
        self.records = self.records.saturating_sub(other.records);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }
}

/// The spool. One owner, one thread; every call may wait for the disk.
#[derive(Debug)]
pub struct Spool {
    place: Box<dyn Place>,
    /// `None` after an error, until the next call opens it again.
    store: Option<Store>,
    bytes_max: u64,
    /// The key of the next entry that will be acknowledged.
    next: u64,
    held: Held,
}

impl Spool {
    /// Opens the spool in `folder`, or begins one.
    pub fn open(folder: &Path, bytes_max: Size, now: Timestamp) -> Result<(Self, Opened), Error> {
        let place = InFolder::new(folder)?;
        let mut set_aside = None;
        let (store, next, held) = match load(&place) {
            Err(Error::Damaged { path, .. }) => {
                let aside = place.set_aside(now);
                set_aside = Some(aside.map_err(|source| Error::Unusable { path, source })?);
                load(&place)?
            }
            other => other?,
        };
        let Held { entries, records, bytes } = held;
        let bytes_max = u64::from(bytes_max.0.get());
        let spool = Self { place: Box::new(place), store: Some(store), bytes_max, next, held };
        Ok((spool, Opened { entries, records, bytes, set_aside }))
    }

    /// Shows all entries, oldest first: key, readings and head. Reads no bodies.
    pub fn heads(&mut self, mut visit: impl FnMut(Key, u32, &[u8])) -> Result<(), Error> {
        self.with(|store| store.scan(&mut |key, row| visit(Key(key), row.records, row.head)))?;
        Ok(())
    }

    /// Appends entries, all or none, and returns when they are on the disk. The key is of the
    /// first; the others follow it without a gap.
    pub fn append(&mut self, entries: &[Entry]) -> Result<Key, Error> {
        let mut bytes = 0;
        for entry in entries {
            let sum = entry.head.len().saturating_add(entry.body.len());
            if sum > ENTRY_BYTES_MAX {
                return Err(Error::TooLarge { bytes: sum });
            }
            bytes += entry.footprint();
        }
        if !self.fits(bytes) {
            return Err(Error::Full { bytes, room: self.room() });
        }
        let first = self.next;
        let added = self.with(|store| store.append(first, entries))?;
        self.next += added.entries;
        self.held.plus(added);
        Ok(Key(first))
    }

    /// The oldest entry behind `after`, or of all.
    pub fn next(&mut self, after: Option<Key>) -> Result<Option<(Key, Entry)>, Error> {
        let after = after.map_or(0, |key| key.0);
        match self.with(|store| store.next(after))? {
            None => Ok(None),
            Some((key, Read::Whole(entry))) => Ok(Some((Key(key), entry))),
            Some((key, Read::Corrupt(records))) => Err(Error::Corrupt { key: Key(key), records }),
        }
    }

    /// Removes entries, all or none, and returns when that is on the disk. Keys without an entry
    /// are passed over.
    pub fn remove(&mut self, keys: &[Key]) -> Result<(), Error> {
        let removed = self.with(|store| store.remove(&mut keys.iter().map(|key| key.0)))?;
        self.held.minus(removed);
        Ok(())
    }

    /// Whether entries that occupy so many bytes ([`Entry::footprint`]) can be appended.
    pub fn fits(&self, bytes: u64) -> bool {
        bytes <= self.room()
    }

    /// Bytes that are free.
    pub fn room(&self) -> u64 {
        self.bytes_max.saturating_sub(self.held.bytes)
    }

    /// Bytes that the entries occupy on disk.
    pub fn bytes(&self) -> u64 {
        self.held.bytes
    }

    /// Readings in all entries.
    pub fn records(&self) -> u64 {
        self.held.records
    }

    /// Entries.
    pub fn entries(&self) -> u64 {
        self.held.entries
    }

    /// The occupied share, 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "a gauge; below 2⁵² anyway")]
    pub fn fill(&self) -> f64 {
        self.held.bytes as f64 / self.bytes_max as f64
    }

    /// Does something with the open database, and closes it on any error.
    fn with<T>(&mut self, act: impl FnOnce(&Store) -> store::Result<T>) -> Result<T, Error> {
        let store = match self.store.take() {
            Some(store) => store,
            None => self.reopen()?,
        };
        let result = guarded(|| act(&store)).map_err(|error| error_of(&*self.place, error))?;
        self.store = Some(store);
        Ok(result)
    }

    /// Opens the file again after an error. A commit that failed may have reached the disk: what it
    /// wrote was never acknowledged and goes.
    fn reopen(&mut self) -> Result<Store, Error> {
        let (store, _, _) = load(&*self.place)?;
        let counted = guarded(|| {
            store.forget(self.next)?;
            store.scan(&mut |_, _| {})
        });
        self.held = counted.map_err(|error| error_of(&*self.place, error))?;
        Ok(store)
    }
}

/// Opens a database and counts what is in it.
fn load(place: &dyn Place) -> Result<(Store, u64, Held), Error> {
    let opened = guarded(|| {
        let opened = Store::new(place.open()?)?;
        let held = match &opened {
            store::Opened::Store(store, _) => store.scan(&mut |_, _| {})?,
            _ => Held::default(),
        };
        Ok((opened, held))
    });
    let path = place.path().to_owned();
    match opened.map_err(|error| error_of(place, error))? {
        (store::Opened::Store(store, next), held) => Ok((store, next, held)),
        (store::Opened::Foreign(found), _) => Err(Error::Foreign { path, found }),
        (store::Opened::Newer(found), _) => Err(Error::Newer { path, found, known: FORMAT }),
    }
}

fn error_of(place: &dyn Place, error: redb::Error) -> Error {
    let path = place.path().to_owned();
    match error {
        redb::Error::Corrupted(what) => Error::Damaged { path, what },
        redb::Error::DatabaseAlreadyOpen => Error::Locked { path },
        other => Error::Disk(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: u32, bytes: usize) -> Entry {
        let body = vec![u8::try_from(n % 251).unwrap(); bytes];
        Entry { records: n, head: n.to_le_bytes().to_vec(), body: body.into() }
    }

    #[test]
    fn what_is_appended_comes_out_in_order_and_survives() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        let open = || Spool::open(&path, Size::bytes(64 << 20), Timestamp::from_millis(0)).unwrap();
        let (mut spool, found) = open();
        assert_eq!(found, Opened::default());
        let first = spool.append(&[entry(1, 10), entry(2, 50_000)]).unwrap();
        assert_eq!(spool.append(&[entry(3, 0)]).unwrap(), first.plus(2));
        let bytes = spool.bytes();
        drop(spool);
        let (mut spool, found) = open();
        assert_eq!(found, Opened { entries: 3, records: 6, bytes, set_aside: None });
        let mut heads = Vec::new();
        spool.heads(|key, records, head| heads.push((key, records, head.to_vec()))).unwrap();
        assert_eq!(heads[2], (first.plus(2), 3, vec![3, 0, 0, 0]));
        assert_eq!(spool.next(None).unwrap(), Some((first, entry(1, 10))));
        assert_eq!(spool.next(Some(first)).unwrap(), Some((first.plus(1), entry(2, 50_000))));
        spool.remove(&[first, first.plus(2), first.plus(9)]).unwrap();
        assert_eq!((spool.entries(), spool.records()), (1, 2));
        assert_eq!(spool.next(Some(first.plus(1))).unwrap(), None);
        spool.remove(&[first.plus(1)]).unwrap();
        assert_eq!((spool.entries(), spool.bytes()), (0, 0));
        drop(spool);
        assert_eq!(open().0.append(&[entry(4, 4)]).unwrap(), first.plus(3), "keys are not reused");
    }
}
