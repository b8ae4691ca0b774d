//! Batches on disk while the output is away: a bounded first-in, first-out store of entries.
//!
//! ```text
//!  engine ──append──► [ entry │ entry │ … │ entry ] ──next──► engine ──PUBACK──► remove
//!                       one file, one transaction a call, synced before it returns
//! ```
//!
//! Invariants:
//! - What [`Spool::append`] returned a key for is there, in order and byte for byte, until it is
//!   removed: after a crash, after errors of the disk, after a loss of power.
//! - What it returned an error for is not there, but for one case: the process ends before the file
//!   could be opened again, and the write had reached the disk all the same. At least once, then.
//! - What is read is what was written: rows and bodies have checksums that are compared on every
//!   reading. One corrupt entry is reported with its key; a file whose structure is damaged is set
//!   aside, never overwritten, and a new one begun.
//! - The file is bounded by `spool.bytes_max` and a 16th: entries are counted with the pages they
//!   take, a share is kept for the rest, and nothing is appended that would make the engine double
//!   the file beyond that (`footprint`). So between a half and nearly all of the bound is for
//!   entries, depending on where the doublings fell; a new file with a bound that is a power of two
//!   has nearly all. A spool that became empty gives its space back.
//! - Memory: the engine's cache of 4 MiB, and the entry that is read.
//!
//! Errors close the database; the next call opens it again and, if that fails, says so. The owner
//! waits between two attempts.
//!
//! | file | job |
//! | --- | --- |
//! | `store` | tables and transactions |
//! | `row` | an entry's row and checksums |
//! | `footprint` | what an entry occupies |
//! | `file` | the file, its folder and its lock |
//! | `load` | opening and counting; what the engine's errors mean |
//! | `error` | what can go wrong |
//! | `faulty`, `faulty_disk` | tests on a disk that fails, forgets and rots |

use std::fmt;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::units::{DiskSize, Span};

pub use self::error::Error;
use self::file::{InFolder, Place, guarded};
use self::footprint::Packing;
use self::load::{error_of, load};
use self::row::Row;
use self::store::{Read, Store};

mod error;
#[cfg(test)]
mod faulty;
#[cfg(test)]
pub(crate) mod faulty_disk;
mod file;
mod footprint;
mod load;
mod row;
mod store;

/// Bytes of an entry's head and body together. A larger one is refused by [`Spool::append`].
pub const ENTRY_BYTES_MAX: usize = 64 << 20;

/// The least `spool.bytes_max`: what the empty file needs, and room for some batches.
pub const BYTES_MIN: u64 = 16 << 20;

/// Bytes that the spool leaves free on its disk; with less it is full.
pub const DISK_RESERVE_BYTES: u64 = 16 << 20;

/// A spool that held more than this gives its space back to the system when it becomes empty.
const COMPACT_BYTES: u64 = 4 << 20;

/// `[spool]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The folder of the spool's file. Without it nothing is spooled.
    pub path: Option<PathBuf>,
    /// Bytes on disk; at least [`BYTES_MIN`].
    pub bytes_max: DiskSize,
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
            bytes_max: DiskSize::bytes(1 << 30),
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
    /// The most that it occupies on disk. [`Spool::append`] counts less for a small entry that
    /// fits behind the one before it.
    pub fn footprint(&self) -> u64 {
        footprint::most(row::FIXED_BYTES + self.head.len(), self.body.len())
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
        self.plus(Self { entries: 1, records: row.records.into(), bytes: row.occupied.into() });
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
    /// What the entries may occupy in the file as long as it is.
    capacity: u64,
    /// The key of the next entry that will be acknowledged.
    next: u64,
    held: Held,
    /// The most bytes that were held since the file was last compacted.
    peak: u64,
    packing: Packing,
}

impl Spool {
    /// Opens the spool in `folder`, or begins one.
    pub fn open(
        folder: &Path,
        bytes_max: DiskSize,
        now: Timestamp,
    ) -> Result<(Self, Opened), Error> {
        let place = InFolder::new(folder)?;
        let (file, bytes_max) = (place.path().to_owned(), bytes_max.get());
        let mut set_aside = None;
        let mut loaded = Self::load(Box::new(place.clone()), bytes_max);
        if let Err(Error::Damaged { path, .. }) = loaded {
            let aside = place.set_aside(now);
            set_aside = Some(aside.map_err(|source| Error::Unusable { path, source })?);
            loaded = Self::load(Box::new(place), bytes_max);
        }
        let spool = loaded.map_err(|error| match error {
            Error::Disk(source) => Error::Unusable { path: file, source },
            other => other,
        })?;
        let Held { entries, records, bytes } = spool.held;
        Ok((spool, Opened { entries, records, bytes, set_aside }))
    }

    fn load(place: Box<dyn Place>, bytes_max: u64) -> Result<Self, Error> {
        let (store, next, held) = load(&*place)?;
        let capacity = footprint::capacity(bytes_max, place.len());
        let (store, packing) = (Some(store), Packing::default());
        Ok(Self { place, store, bytes_max, capacity, next, held, peak: u64::MAX, packing })
    }

    /// Shows all entries, oldest first: key, readings and head. Reads no bodies.
    pub fn heads(&mut self, mut visit: impl FnMut(Key, u32, &[u8])) -> Result<(), Error> {
        self.with(|store| store.scan(&mut |key, row| visit(Key(key), row.records, row.head)))?;
        Ok(())
    }

    /// Appends entries, all or none, and returns when they are on the disk. The key is of the
    /// first; the others follow it without a gap.
    pub fn append(&mut self, entries: &[Entry]) -> Result<Key, Error> {
        let mut packing = self.packing;
        let counted = entries.iter().map(|entry| Ok((entry, count(&mut packing, entry)?)));
        let counted = counted.collect::<Result<Vec<_>, Error>>()?;
        let bytes = counted.iter().map(|(_, bytes)| bytes).sum();
        if !self.fits(bytes) {
            return Err(Error::Full { bytes, room: self.room() });
        }
        let first = self.next;
        let added = self.with(|store| store.append(first, &counted))?;
        self.next += added.entries;
        self.held.plus(added);
        self.peak = self.peak.max(self.held.bytes);
        self.packing = packing;
        self.measure();
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
        if self.held.entries == 0 && self.peak > COMPACT_BYTES {
            // If it fails, the next call that needs the disk says so.
            self.with(Store::compact).ok();
            self.peak = 0;
        }
        self.measure();
        Ok(())
    }

    /// Whether entries that occupy so many bytes ([`Entry::footprint`]) can be appended.
    pub fn fits(&self, bytes: u64) -> bool {
        bytes <= self.room()
    }

    /// Bytes that are free: of the bound, and on the disk, where [`DISK_RESERVE_BYTES`] are left. What
    /// is read and removed needs some too: a disk that was filled to the last byte could not be
    /// emptied any more.
    pub fn room(&self) -> u64 {
        let disk = self.place.available().saturating_sub(DISK_RESERVE_BYTES);
        self.capacity.saturating_sub(self.held.bytes).min(disk)
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
        self.held.bytes as f64 / self.capacity as f64
    }

    fn measure(&mut self) {
        self.capacity = footprint::capacity(self.bytes_max, self.place.len());
    }

    /// Does something with the open database, and closes it on any error: after one, the engine
    /// refuses everything.
    fn with<T>(&mut self, act: impl FnOnce(&mut Store) -> store::Result<T>) -> Result<T, Error> {
        let mut store = match self.store.take() {
            Some(store) => store,
            None => self.reopen()?,
        };
        let done = guarded(move || Ok((act(&mut store)?, store)));
        let (result, store) = done.map_err(|error| error_of(&*self.place, error))?;
        self.store = Some(store);
        Ok(result)
    }

    /// Opens the file again after an error. A commit that failed may have reached the disk: what it
    /// wrote was never acknowledged and goes.
    fn reopen(&mut self) -> Result<Store, Error> {
        let (store, next, held) = load(&*self.place)?;
        if next < self.next {
            let path = self.place.path().to_owned();
            return Err(Error::Damaged { path, what: "another file is in its place".to_owned() });
        }
        if next == self.next {
            // Nothing was left behind: a disk that takes nothing can be read.
            self.held = held;
            return Ok(store);
        }
        let keep = self.next;
        let forgotten = guarded(move || {
            store.forget(keep)?;
            Ok((store.scan(&mut |_, _| {})?, store))
        });
        let (held, store) = forgotten.map_err(|error| error_of(&*self.place, error))?;
        self.held = held;
        self.packing = Packing::default();
        Ok(store)
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        // Everything acknowledged is on the disk; what closing could not write, opening finds out.
        let store = self.store.take();
        guarded(move || {
            drop(store);
            Ok(())
        })
        .ok();
    }
}

/// What an entry occupies behind those that were counted before.
fn count(packing: &mut Packing, entry: &Entry) -> Result<u64, Error> {
    let bytes = entry.head.len().saturating_add(entry.body.len());
    if bytes > ENTRY_BYTES_MAX {
        return Err(Error::TooLarge { bytes });
    }
    Ok(packing.add(row::FIXED_BYTES + entry.head.len(), entry.body.len()))
}

#[cfg(test)]
mod tests {
    use super::store::FORMAT;
    use super::*;

    fn entry(n: u32, bytes: usize) -> Entry {
        let body = vec![u8::try_from(n % 251).unwrap(); bytes];
        Entry { records: n, head: n.to_le_bytes().to_vec(), body: body.into() }
    }

    fn open(path: &Path) -> Result<(Spool, Opened), Error> {
        Spool::open(path, DiskSize::bytes(BYTES_MIN), Timestamp::from_millis(1_763_796_650_692))
    }

    #[test]
    fn what_cannot_be_a_spool_is_named_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("spool.redb");
        let message = |path: &Path| open(path).unwrap_err().to_string();

        std::fs::write(&file, "x".repeat(400)).unwrap();
        let error = message(folder.path());
        assert!(error.contains("is not a spool (") && error.contains("move it away"), "{error}");
        assert_eq!(std::fs::read(&file).unwrap(), vec![b'x'; 400]);
        assert!(message(&file).contains("is not a folder"));
        let error = message(&file.join("below"));
        assert!(error.contains("cannot use") && error.contains("another spool.path"), "{error}");

        std::fs::remove_file(&file).unwrap();
        let other = redb::TableDefinition::<u64, u64>::new("other");
        let write = redb::Database::create(&file).unwrap().begin_write().unwrap();
        write.open_table(other).unwrap();
        write.commit().unwrap();
        assert!(message(folder.path()).contains("it has a table \"other\""));

        std::fs::remove_file(&file).unwrap();
        let (spool, _) = open(folder.path()).unwrap();
        assert!(matches!(open(folder.path()), Err(Error::Locked { path }) if path == file));
        drop(spool);
        let write = redb::Database::open(&file).unwrap().begin_write().unwrap();
        let meta = redb::TableDefinition::<&str, u64>::new("meta");
        write.open_table(meta).unwrap().insert("format", FORMAT + 1).unwrap();
        write.commit().unwrap();
        assert!(matches!(open(folder.path()), Err(Error::Newer { found: 2, known: 1, .. })));
    }

    #[test]
    fn a_damaged_file_is_set_aside_under_a_name_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("spool.redb");
        let names = [
            "spool.corrupt-2025-11-22T07-30-50.692Z.redb",
            "spool.corrupt-2025-11-22T07-30-50.692Z-2.redb",
        ];
        for name in names {
            let (mut spool, _) = open(folder.path()).unwrap();
            spool.append(&[entry(1, 20_000)]).unwrap();
            drop(spool);
            let mut bytes = std::fs::read(&file).unwrap();
            let body = bytes.windows(100).position(|it| it == [1; 100]).unwrap();
            bytes[body + 50] ^= 1;
            std::fs::write(&file, &bytes).unwrap();
            let (_, found) = open(folder.path()).unwrap();
            let aside = folder.path().join(name);
            assert_eq!(found, Opened { set_aside: Some(aside.clone()), ..Opened::default() });
            assert_eq!(std::fs::read(aside).unwrap(), bytes);
        }
        // Cut short, and never written: damaged. Empty: new.
        for bytes in [&[b'r'; 20][..], &[0; 5000]] {
            std::fs::write(&file, bytes).unwrap();
            assert!(open(folder.path()).unwrap().1.set_aside.is_some());
        }
        std::fs::write(&file, "").unwrap();
        assert_eq!(open(folder.path()).unwrap().1, Opened::default());
    }

    #[test]
    fn a_file_that_was_exchanged_is_not_taken_for_ours() {
        let folder = tempfile::tempdir().unwrap();
        let (mut spool, _) = open(folder.path()).unwrap();
        spool.append(&[entry(1, 10)]).unwrap();
        spool.store = None;
        std::fs::remove_file(folder.path().join("spool.redb")).unwrap();
        assert!(matches!(spool.next(None), Err(Error::Damaged { .. })));
        assert!(matches!(spool.append(&[entry(1, 10)]), Err(Error::Damaged { .. })));
    }

    #[test]
    fn what_does_not_fit_is_refused_and_the_disk_stays_within_the_bound() {
        let folder = tempfile::tempdir().unwrap();
        let (mut spool, _) = open(folder.path()).unwrap();
        let large = entry(1, ENTRY_BYTES_MAX);
        assert!(matches!(spool.append(&[large]), Err(Error::TooLarge { .. })));
        let mut keys = std::collections::VecDeque::new();
        for round in 0..300_usize {
            let sizes = [100, 3000, 50_000, 20_000 + round * 900].map(|bytes| entry(1, bytes));
            let before = (spool.bytes(), spool.entries());
            match spool.append(&sizes) {
                Ok(first) => keys.extend((0..4).map(|n| first.plus(n))),
                Err(Error::Full { bytes, room }) => {
                    assert!(bytes > room && !spool.fits(bytes));
                    assert_eq!(before, (spool.bytes(), spool.entries()));
                    let oldest: Vec<Key> = keys.drain(..8).collect();
                    spool.remove(&oldest).unwrap();
                }
                Err(error) => panic!("{error}"),
            }
            assert!(spool.fill() <= 1.0);
            let long = std::fs::metadata(folder.path().join("spool.redb")).unwrap().len();
            assert!(long <= BYTES_MIN / 16 * 17 + 65_536, "{long} in round {round}");
        }
        spool.remove(keys.make_contiguous()).unwrap();
        assert_eq!((spool.bytes(), spool.records()), (0, 0));
        let left = std::fs::metadata(folder.path().join("spool.redb")).unwrap().len();
        assert!(left < 256 << 10, "an empty spool gives its space back: {left}");
    }

    #[test]
    fn what_is_appended_comes_out_in_order_and_survives() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        let open =
            || Spool::open(&path, DiskSize::bytes(64 << 20), Timestamp::from_millis(0)).unwrap();
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
