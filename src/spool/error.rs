//! The errors of the spool; each variant says what its owner can do.

use std::io;
use std::path::PathBuf;

use super::{ENTRY_BYTES_MAX, Key};

/// Why the spool refused. The first five come only from [`Spool::open`](super::Spool::open) and are for people;
/// the engine handles the others.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `spool.path` is not a folder.
    #[error("spool.path {path:?} is not a folder: move the file away or name another folder")]
    NotAFolder { path: PathBuf },
    /// The folder or its file cannot be created, read or written.
    #[error(
        "cannot use {path:?} for the spool ({source}): make it readable and writable for the gateway, or set another spool.path"
    )]
    Unusable { path: PathBuf, source: io::Error },
    /// Another process has the file open.
    #[error("another gateway uses the spool {path:?}: stop it, or set another spool.path")]
    Locked { path: PathBuf },
    /// The file is not a spool.
    #[error("{path:?} is not a spool ({found}): move it away, or set another spool.path")]
    Foreign {
        path: PathBuf,
        /// What the file is.
        found: String,
    },
    /// The file was written by a newer version of this program.
    #[error(
        "the spool {path:?} has format {found}{}, this version reads up to {known}: run the newer version until it is empty, or set another spool.path",
        batches.map_or_else(String::new, |it| format!(" and holds {it} batches"))
    )]
    Newer {
        path: PathBuf,
        found: u64,
        /// The newest format that this program reads.
        known: u64,
        /// Entries that it holds, where they can be counted.
        batches: Option<u64>,
    },
    /// No room for these entries. Nothing was written; entries must be removed first.
    #[error(
        "the spool is full: {bytes} bytes do not fit into the {room} that are left of spool.bytes_max"
    )]
    Full {
        /// Bytes that the entries would occupy.
        bytes: u64,
        /// Bytes that are free.
        room: u64,
    },
    /// An entry can never be spooled. Nothing was written.
    #[error("an entry of {bytes} bytes is larger than the {ENTRY_BYTES_MAX} that can be spooled")]
    TooLarge { bytes: usize },
    /// The disk failed. Whether the write reached it does not matter: the same call can be repeated, after a
    /// pause, and opens the file again.
    #[error("the spool's disk failed: {0}")]
    Disk(#[source] io::Error),
    /// The file was moved or deleted, and no new file can be created under its name. Its entries can be read
    /// until it is closed; nothing can be appended. The same call can be repeated.
    #[error(
        "{path:?} is not the spool's file any more: it was deleted or replaced while in use, and what it held cannot be written to a new one there ({source}): move away what is there, and make the folder writable for the gateway"
    )]
    Adrift { path: PathBuf, source: io::Error },
    /// One entry cannot be read. It stays until it is removed; the entries behind it can be read.
    #[error("the spooled entry {key} with {records} readings is corrupt")]
    Corrupt {
        key: Key,
        /// Readings that are lost with it.
        records: u32,
    },
    /// The file is damaged beyond one entry. Every later call returns the same error: drop the spool and open
    /// it again, which renames the file and begins a new one.
    #[error("the spool {path:?} is damaged ({what})")]
    Damaged { path: PathBuf, what: String },
}
