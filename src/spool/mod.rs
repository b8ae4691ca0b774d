//! Batches on disk while the output is away: a bounded first-in, first-out queue of entries.
//!
//! ```text
//!  engine ──append──► [ entry │ entry │ … │ entry ] ──next──► engine ──PUBACK──► remove
//!                       one file, one transaction a call, synced before it returns
//! ```
//!
//! Invariants:
//! - An entry whose key [`Spool::append`] returned is there, in order and byte for byte, until it is removed:
//!   after a crash, after errors of the disk, after a loss of power.
//! - An entry that it returned an error for is not there, with one exception: the process ends before the file
//!   could be opened again, and the write had reached the disk. Then it is delivered at least once.
//! - An entry with a key is in the file that the name leads to: that is checked after each write. A file that
//!   was deleted, moved or replaced while it is open is written again under its name, if no file is there.
//!   Until that succeeds nothing can be appended, and the entries can be read.
//! - A read returns what was written: rows and bodies have checksums, compared at every read. One corrupt entry
//!   is reported with its key. A file whose structure is damaged is renamed, never overwritten, and a new one
//!   is begun.
//! - The file is bounded by `spool.bytes_max` and a 16th: entries are counted with the pages they take, a share
//!   is kept for the rest, and nothing is appended that would make the engine double the file beyond that
//!   (`footprint`). So between a half and nearly all of the bound is for entries, depending on the sizes at
//!   which the file is doubled. A new file with a bound that is a power of two has nearly all. A spool that
//!   becomes empty gives its space back.
//! - Memory: the engine's cache of 4 MiB, and the entry that is read.
//!
//! An error closes the database. The next call opens it again and, if that fails, returns the error. The owner
//! waits between two attempts.
//!
//! | file | job |
//! | --- | --- |
//! | `entry` | entries, their names and number |
//! | `tables` | tables and transactions |
//! | `row` | an entry's row and checksums |
//! | `footprint` | what an entry occupies |
//! | `file` | the file, its folder and its lock |
//! | `load` | opening and counting; what the engine's errors mean |
//! | `error` | what can go wrong |
//! | `faulty`, `faulty_disk` | tests on a disk that fails, forgets and rots |

use std::io;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::units::{DiskSize, Period};

use self::entry::Held;
pub use self::entry::{Entry, Key};
pub use self::error::Error;
use self::file::{DatabaseFile, InFolder, guarded};
use self::footprint::Packing;
use self::load::{error_of, load};
use self::tables::{Read, Tables};

mod entry;
mod error;
#[cfg(test)]
mod faulty;
#[cfg(test)]
pub(crate) mod faulty_disk;
mod file;
mod footprint;
mod load;
mod row;
mod tables;

/// Bytes of an entry's head and body together. A larger one is refused by [`Spool::append`].
pub const ENTRY_BYTES_MAX: usize = 64 << 20;

/// The least `spool.bytes_max`: what the empty file needs, and room for some batches.
pub const BYTES_MIN: u64 = 16 << 20;

/// Bytes that the spool leaves free on its disk; with less it is full.
pub const DISK_RESERVE_BYTES: u64 = 16 << 20;

/// A spool that held more than this gives its space back to the system when it becomes empty.
const COMPACT_BYTES: u64 = 4 << 20;

/// `[spool]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The folder for batches that the output does not take, of one gateway only. Absent: nothing is written to
    /// disk, and unsettled readings stay unacknowledged at their broker. A folder that cannot be used ends the
    /// gateway with exit code 74. A damaged file is renamed, a new one is begun, and both are logged.
    pub path: Option<PathBuf>,
    /// Bytes of the file (and a 16th), at least 16MiB; half to nearly all of it is for batches. The log warns
    /// at 80 percent. When it is full, sources wait as if there were no spool.
    pub bytes_max: DiskSize,
    /// How long a batch may wait for the output before it is written to disk, with everything behind it. 0:
    /// every batch is written at once.
    pub after: Period,
    /// Readings a second while the spool is published. Absent: as fast as the output takes them. New readings
    /// go behind the spooled ones: if they come faster than this, the spool only grows.
    pub replay_rate: Option<NonZeroU32>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            path: None,
            bytes_max: DiskSize::bytes(1 << 30),
            after: Period::millis(1000),
            replay_rate: None,
        }
    }
}

/// The spool, for one owner in one thread. Every call may block on the disk.
#[derive(Debug)]
pub struct Spool {
    place: Box<dyn DatabaseFile>,
    /// `None` after an error, until the next call opens it again.
    tables: Option<Tables>,
    bytes_max: u64,
    /// Bytes that entries may occupy in a file of its current length.
    capacity: u64,
    /// The key of the next entry that is appended.
    next: u64,
    held: Held,
    /// The most bytes that the entries occupied since the file was last compacted.
    peak: u64,
    packing: Packing,
    /// At the last check, the file's name did not lead to it.
    adrift: bool,
    /// The file was written again under its name, and [`Spool::renewed`] has not reported that.
    renewed: bool,
}

impl Spool {
    /// Opens the spool in `folder`, or creates one.
    pub fn open(
        folder: &Path,
        bytes_max: DiskSize,
        now: Timestamp,
    ) -> Result<(Self, Option<PathBuf>), Error> {
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
        Ok((spool, set_aside))
    }

    fn load(place: Box<dyn DatabaseFile>, bytes_max: u64) -> Result<Self, Error> {
        let (tables, next, held) = load(&*place)?;
        let capacity = footprint::capacity(bytes_max, place.len());
        let (tables, packing) = (Some(tables), Packing::default());
        let (adrift, renewed) = (false, false);
        let peak = u64::MAX;
        Ok(Self { place, tables, bytes_max, capacity, next, held, peak, packing, adrift, renewed })
    }

    /// Calls `visit` with each entry, oldest first: key, readings and head. Reads no bodies.
    pub fn heads(&mut self, mut visit: impl FnMut(Key, u32, &[u8])) -> Result<(), Error> {
        self.with(|tables| tables.scan(&mut |key, row| visit(Key(key), row.records, row.head)))?;
        Ok(())
    }

    /// Appends entries, all or none, and returns when they are on the disk. Returns the key of the first; the
    /// keys of the others follow without a gap.
    pub fn append(&mut self, entries: &[Entry]) -> Result<Key, Error> {
        if self.adrift {
            self.anchor()?;
        }
        let mut packing = self.packing;
        let counted = entries.iter().map(|entry| Ok((entry, count(&mut packing, entry)?)));
        let counted = counted.collect::<Result<Vec<_>, Error>>()?;
        let bytes = counted.iter().map(|(_, bytes)| bytes).sum();
        if !self.fits(bytes) {
            return Err(Error::Full { bytes, room: self.room() });
        }
        let first = self.next;
        let added = self.with(|tables| tables.append(first, &counted))?;
        self.next += added.entries;
        self.held.plus(added);
        self.packing = packing;
        if let Err(error) = self.anchor() {
            // No key is returned for them. If they cannot be removed, the next call reports that.
            self.next = first;
            self.held.minus(added);
            self.with(|tables| tables.forget(first)).ok();
            return Err(error);
        }
        self.peak = self.peak.max(self.held.bytes);
        self.measure();
        Ok(Key(first))
    }

    /// The oldest entry behind `after`, or the oldest of all.
    pub fn next(&mut self, after: Option<Key>) -> Result<Option<(Key, Entry)>, Error> {
        let after = after.map_or(0, |key| key.0);
        match self.with(|tables| tables.next(after))? {
            None => Ok(None),
            Some((key, Read::Whole(entry))) => Ok(Some((Key(key), entry))),
            Some((key, Read::Corrupt(records))) => Err(Error::Corrupt { key: Key(key), records }),
        }
    }

    /// Removes entries, all or none, and returns when that is on the disk. Keys without an entry are ignored.
    pub fn remove(&mut self, keys: &[Key]) -> Result<(), Error> {
        let removed = self.with(|tables| tables.remove(&mut keys.iter().map(|key| key.0)))?;
        self.held.minus(removed);
        if self.held.entries == 0 && self.peak > COMPACT_BYTES {
            // If it fails, the next call that needs the disk returns the error.
            self.with(Tables::compact).ok();
            self.peak = 0;
        }
        self.measure();
        Ok(())
    }

    /// Checks whether the file's name leads to it. If not, writes all entries to a new file under that name.
    pub fn anchor(&mut self) -> Result<(), Error> {
        self.adrift = !self.place.is_named().map_err(Error::Disk)?;
        if !self.adrift {
            return Ok(());
        }
        let old = match self.tables.take() {
            Some(old) => old,
            None => self.reopen()?,
        };
        let (next, mut filled) = (self.next, None);
        let renewed = self.place.renew(&mut |database| {
            let tables::Opened::Tables(new, _) = Tables::open(database)? else {
                return Err(redb::Error::Corrupted("a new file is not empty".to_owned()));
            };
            old.copy_to(&new, next)?;
            filled = Some((new.scan(&mut |_, _| {})?, new));
            Ok(())
        });
        let (Ok(()), Some((held, new))) = (&renewed, filled) else {
            self.tables = Some(old);
            let source = match renewed {
                Err(redb::Error::Io(error)) => error,
                Err(error) => io::Error::other(error),
                Ok(()) => io::Error::other("nothing was written"),
            };
            return Err(Error::Adrift { path: self.place.path().to_owned(), source });
        };
        (self.tables, self.held, self.packing) = (Some(new), held, Packing::default());
        (self.adrift, self.renewed) = (false, true);
        self.measure();
        Ok(())
    }

    /// The file's path, if it was written again since the last call.
    pub fn renewed(&mut self) -> Option<&Path> {
        std::mem::take(&mut self.renewed).then(|| self.place.path())
    }

    /// Whether entries that occupy this many bytes ([`Entry::footprint`]) can be appended.
    pub fn fits(&self, bytes: u64) -> bool {
        bytes <= self.room()
    }

    /// Bytes that are free: within the bound, and on the disk except [`DISK_RESERVE_BYTES`]. Reading and
    /// removing need some too: a spool on a disk that is full to the last byte could not be emptied.
    pub fn room(&self) -> u64 {
        self.within_bound().min(self.on_disk())
    }

    /// Whether the disk leaves less room than `spool.bytes_max`.
    pub fn is_bound_by_disk(&self) -> bool {
        self.on_disk() < self.within_bound()
    }

    fn within_bound(&self) -> u64 {
        self.capacity.saturating_sub(self.held.bytes)
    }

    fn on_disk(&self) -> u64 {
        self.place.available().saturating_sub(DISK_RESERVE_BYTES)
    }

    /// Bytes that the entries occupy on disk.
    pub fn bytes(&self) -> u64 {
        self.held.bytes
    }

    /// Readings in all entries.
    pub fn records(&self) -> u64 {
        self.held.records
    }

    pub fn entries(&self) -> u64 {
        self.held.entries
    }

    fn measure(&mut self) {
        self.capacity = footprint::capacity(self.bytes_max, self.place.len());
    }

    /// Runs `act` on the open database, and closes it on any error: after one, the engine refuses every call.
    fn with<T>(&mut self, act: impl FnOnce(&mut Tables) -> tables::Result<T>) -> Result<T, Error> {
        let mut tables = match self.tables.take() {
            Some(tables) => tables,
            None => self.reopen()?,
        };
        let done = guarded(move || Ok((act(&mut tables)?, tables)));
        let (result, tables) = done.map_err(|error| error_of(&*self.place, error))?;
        self.tables = Some(tables);
        Ok(result)
    }

    /// Opens the file again after an error. A commit that failed may have reached the disk: its entries have no
    /// key, and are removed.
    fn reopen(&mut self) -> Result<Tables, Error> {
        let (tables, next, held) = load(&*self.place)?;
        if next < self.next {
            let path = self.place.path().to_owned();
            return Err(Error::Damaged { path, what: "another file is in its place".to_owned() });
        }
        if next == self.next {
            // Nothing needs to be removed: a disk that refuses writes can still be read.
            self.held = held;
            return Ok(tables);
        }
        let keep = self.next;
        let forgotten = guarded(move || {
            tables.forget(keep)?;
            Ok((tables.scan(&mut |_, _| {})?, tables))
        });
        let (held, tables) = forgotten.map_err(|error| error_of(&*self.place, error))?;
        self.held = held;
        self.packing = Packing::default();
        Ok(tables)
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        // All entries with a key are on the disk. If closing fails, opening checks the file.
        let tables = self.tables.take();
        guarded(move || {
            drop(tables);
            Ok(())
        })
        .ok();
    }
}

/// Bytes that an entry occupies behind those that were counted before.
fn count(packing: &mut Packing, entry: &Entry) -> Result<u64, Error> {
    let bytes = entry.head.len().saturating_add(entry.body.len());
    if bytes > ENTRY_BYTES_MAX {
        return Err(Error::TooLarge { bytes });
    }
    Ok(packing.add(row::FIXED_BYTES + entry.head.len(), entry.body.len()))
}

#[cfg(test)]
mod tests;
