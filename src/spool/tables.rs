//! The tables and transactions: entries in a redb database.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | `meta` | `format`, `next` | the format's version, the next entry's key |
//! | `heads` | key | [`Row`] |
//! | `bodies` | key, piece | [`PIECE_BYTES`] of the body, the last piece less |
//!
//! Every change is one transaction, synced before it returns. Errors are redb's. A row that does not fit our
//! format counts as redb's `Corrupted`.

use redb::{
    Database, Range, ReadOnlyTable, ReadableDatabase, ReadableTableMetadata, Table,
    TableDefinition, TableError, TableHandle, WriteTransaction,
};

use super::footprint::PIECE_BYTES;
use super::row::Row;
use super::{Entry, Held};

/// The version of the format that this program writes, and the newest it reads.
pub(super) const FORMAT: u64 = 1;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const HEADS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("heads");
const BODIES: TableDefinition<'_, (u64, u32), &[u8]> = TableDefinition::new("bodies");
const META_FORMAT: &str = "format";
const META_NEXT: &str = "next";

/// Above every key: a million entries a second reach it after 140,000 years.
const KEYS_END: u64 = 1 << 62;

/// Bytes that one transaction copies into another database, and one entry more.
const COPY_BYTES: usize = 1 << 20;

pub(super) type Result<T> = std::result::Result<T, redb::Error>;

#[derive(Debug)]
pub(super) enum Read {
    /// As it was appended.
    Whole(Entry),
    /// Not as it was appended; the readings that it had.
    Corrupt(u32),
}

/// What a database that was just opened holds.
#[derive(Debug)]
pub(super) enum Opened {
    /// Our tables, with the next key.
    Tables(Tables, u64),
    /// Something else.
    Foreign(String),
    /// Our tables in a newer format, and how many entries they have, if that can be told.
    Newer(u64, Option<u64>),
}

/// An open database with our tables.
#[derive(Debug)]
pub(super) struct Tables {
    db: Database,
}

impl Tables {
    /// Checks a database; creates the tables in an empty one.
    pub(super) fn open(db: Database) -> Result<Opened> {
        let read = db.begin_read()?;
        let meta = match read.open_table(META) {
            Ok(meta) => meta,
            Err(TableError::TableDoesNotExist(_)) => {
                if let Some(table) = read.list_tables()?.next() {
                    return Ok(Opened::Foreign(format!("it has a table {:?}", table.name())));
                }
                drop(read);
                let tables = Self { db };
                tables.begin()?;
                return Ok(Opened::Tables(tables, 1));
            }
            Err(error @ TableError::Storage(_)) => return Err(error.into()),
            Err(error) => return Ok(Opened::Foreign(error.to_string())),
        };
        let number = |name| Ok::<_, redb::Error>(meta.get(name)?.map(|it| it.value()));
        match (number(META_FORMAT)?, number(META_NEXT)?) {
            (Some(FORMAT), Some(next)) if next < KEYS_END => Ok(Opened::Tables(Self { db }, next)),
            (Some(found), _) if found > FORMAT => {
                let heads = read.open_table(HEADS).ok();
                Ok(Opened::Newer(found, heads.and_then(|it| it.len().ok())))
            }
            _ => Ok(Opened::Foreign("its table \"meta\" is of another program".to_owned())),
        }
    }

    fn begin(&self) -> Result<()> {
        self.change(|write| {
            EntryTables::open(write)?;
            let mut meta = write.open_table(META)?;
            meta.insert(META_FORMAT, FORMAT)?;
            meta.insert(META_NEXT, 1)?;
            Ok(())
        })
    }

    /// Runs one transaction, which is on the disk when this returns.
    fn change<T>(&self, act: impl FnOnce(&WriteTransaction) -> Result<T>) -> Result<T> {
        let write = self.db.begin_write()?;
        let done = act(&write)?;
        write.commit()?;
        Ok(done)
    }

    /// Calls `visit` with every row, oldest first; returns their totals.
    pub(super) fn scan(&self, visit: &mut dyn FnMut(u64, Row<'_>)) -> Result<Held> {
        let heads = self.db.begin_read()?.open_table(HEADS)?;
        let mut held = Held::default();
        for item in heads.range::<u64>(..)? {
            let (key, row) = item?;
            let (key, row) = (key.value(), row.value());
            let row = Row::decode(key, row).ok_or_else(|| broken(key))?;
            held.add(&row);
            visit(key, row);
        }
        Ok(held)
    }

    /// Appends entries, each with the bytes that it occupies, under `first` and the keys behind it.
    pub(super) fn append(&self, first: u64, entries: &[(&Entry, u64)]) -> Result<Held> {
        self.change(|write| {
            let (mut tables, mut held) = (EntryTables::open(write)?, Held::default());
            let mut key = first;
            for (entry, occupied) in entries {
                held.add(&tables.put(key, entry, *occupied)?);
                key += 1;
            }
            write.open_table(META)?.insert(META_NEXT, key)?;
            Ok(held)
        })
    }

    /// The oldest entry behind `after`.
    pub(super) fn next(&self, after: u64) -> Result<Option<(u64, Read)>> {
        let read = self.db.begin_read()?;
        let heads = read.open_table(HEADS)?;
        let Some(item) = heads.range(after.saturating_add(1)..)?.next() else { return Ok(None) };
        let (key, row) = item?;
        let (key, row) = (key.value(), row.value());
        let row = Row::decode(key, row).ok_or_else(|| broken(key))?;
        let mut body = Vec::with_capacity(row.body_bytes as usize);
        for piece in read.open_table(BODIES)?.range((key, 0)..=(key, u32::MAX))? {
            let (_, piece) = piece?;
            // A body that is too long is corrupt already: the rest need not be read.
            if body.len() <= row.body_bytes as usize {
                body.extend_from_slice(piece.value());
            }
        }
        if !row.owns(&body) {
            return Ok(Some((key, Read::Corrupt(row.records))));
        }
        let head = row.head.to_vec();
        Ok(Some((key, Read::Whole(Entry { records: row.records, head, body: body.into() }))))
    }

    /// Copies all entries, as they are on the disk, into an empty database with the next key `next`.
    pub(super) fn copy_to(&self, new: &Self, next: u64) -> Result<()> {
        let read = self.db.begin_read()?;
        let bodies = read.open_table(BODIES)?;
        let mut rows = read.open_table(HEADS)?.range::<u64>(..)?;
        let mut copy = |write: &WriteTransaction| {
            write.open_table(META)?.insert(META_NEXT, next)?;
            EntryTables::open(write)?.put_rows(&mut rows, &bodies)
        };
        while new.change(&mut copy)? {}
        Ok(())
    }

    /// Removes entries; returns their totals.
    pub(super) fn remove(&self, keys: &mut dyn Iterator<Item = u64>) -> Result<Held> {
        self.change(|write| {
            let (mut tables, mut held) = (EntryTables::open(write)?, Held::default());
            for key in keys {
                tables.take(key, &mut held)?;
            }
            Ok(held)
        })
    }

    /// Moves all pages to the beginning of the file and cuts off the rest.
    pub(super) fn compact(&mut self) -> Result<()> {
        self.db.compact()?;
        Ok(())
    }

    /// Removes entries that may have been written under `next` and the keys behind it.
    pub(super) fn forget(&self, next: u64) -> Result<()> {
        self.change(|write| {
            let mut tables = EntryTables::open(write)?;
            tables.heads.retain_in(next.., |_, _| false)?;
            tables.bodies.retain_in((next, 0).., |_, _| false)?;
            write.open_table(META)?.insert(META_NEXT, next)?;
            Ok(())
        })
    }
}

/// The tables of entries, in a transaction.
struct EntryTables<'t> {
    heads: Table<'t, u64, &'static [u8]>,
    bodies: Table<'t, (u64, u32), &'static [u8]>,
}

impl<'t> EntryTables<'t> {
    fn open(write: &'t WriteTransaction) -> Result<Self> {
        Ok(Self { heads: write.open_table(HEADS)?, bodies: write.open_table(BODIES)? })
    }

    fn put<'e>(&mut self, key: u64, entry: &'e Entry, occupied: u64) -> Result<Row<'e>> {
        let row = Row::new(entry, occupied);
        self.heads.insert(key, row.encode(key).as_slice())?;
        for (piece, bytes) in (0..).zip(entry.body.chunks(PIECE_BYTES)) {
            self.bodies.insert((key, piece), bytes)?;
        }
        Ok(row)
    }

    /// Copies [`COPY_BYTES`] of rows and bodies. Returns whether there may be more.
    fn put_rows(
        &mut self,
        rows: &mut Range<'_, u64, &'static [u8]>,
        bodies: &ReadOnlyTable<(u64, u32), &'static [u8]>,
    ) -> Result<bool> {
        let mut bytes = 0;
        while bytes < COPY_BYTES {
            let Some(item) = rows.next() else { return Ok(false) };
            let (key, row) = item?;
            let (key, row) = (key.value(), row.value());
            self.heads.insert(key, row)?;
            bytes += self.put_body(bodies.range((key, 0)..=(key, u32::MAX))?)?;
        }
        Ok(true)
    }

    /// Copies the pieces of a body; returns their bytes.
    fn put_body(&mut self, pieces: Range<'_, (u64, u32), &'static [u8]>) -> Result<usize> {
        let mut bytes = 0;
        for item in pieces {
            let (place, piece) = item?;
            self.bodies.insert(place.value(), piece.value())?;
            bytes += piece.value().len();
        }
        Ok(bytes)
    }

    /// Removes an entry, if there is one, and adds its numbers to `held`.
    fn take(&mut self, key: u64, held: &mut Held) -> Result<()> {
        if let Some(row) = self.heads.remove(key)? {
            held.add(&Row::decode(key, row.value()).ok_or_else(|| broken(key))?);
        }
        self.bodies.retain_in((key, 0)..=(key, u32::MAX), |_, _| false)?;
        Ok(())
    }
}

fn broken(key: u64) -> redb::Error {
    redb::Error::Corrupted(format!("the row of entry {key}"))
}
