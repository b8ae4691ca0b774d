//! What can go wrong with the spool; each variant says what its owner can do.

use std::io;
use std::path::PathBuf;

use super::{ENTRY_BYTES_MAX, Key};

/// Why the spool refused. The first five come from [`Spool::open`](super::Spool::open) only and
/// are for people; the others are for the engine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Where the folder should be is something else.
    #[error("spool.path {path:?} is not a folder: move the file away or name another folder")]
    NotAFolder {
        /// The configured folder.
        path: PathBuf,
    },
    /// The folder or the file in it cannot be made, read or written.
    #[error(
        "cannot use {path:?} for the spool ({source}): make it readable and writable for the gateway, or set another spool.path"
    )]
    Unusable {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has the file open.
    #[error("another gateway uses the spool {path:?}: stop it, or set another spool.path")]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The file was not written by a spool.
    #[error("{path:?} is not a spool ({found}): move it away, or set another spool.path")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        found: String,
    },
    /// The file was written by a newer version of this program.
    #[error(
        "the spool {path:?} has format {found}, this version reads up to {known}: run the newer version, or set another spool.path"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The newest format this program knows.
        known: u64,
    },
    /// No room for what should be appended. Nothing was written; what is held must go first.
    #[error(
        "the spool is full: {bytes} bytes do not fit into the {room} that are left of spool.bytes_max"
    )]
    Full {
        /// What the entries would occupy.
        bytes: u64,
        /// What is left.
        room: u64,
    },
    /// An entry can never be spooled. Nothing was written.
    #[error("an entry of {bytes} bytes is larger than the {ENTRY_BYTES_MAX} that can be spooled")]
    TooLarge {
        /// Bytes of its head and body.
        bytes: usize,
    },
    /// The disk failed. Whether the write reached it does not matter: the same call can be made
    /// again, after a pause, and opens the file anew.
    #[error("the spool's disk failed: {0}")]
    Disk(#[source] io::Error),
    /// The file's name does not lead to it any more, and no new file can be made there. What it holds
    /// can be read until it is closed; nothing can be appended. The same call can be made again.
    #[error(
        "{path:?} is not the spool's file any more: it was deleted or replaced while in use, and what it held cannot be written to a new one there ({source}): move away what is there, and make the folder writable for the gateway"
    )]
    Adrift {
        /// Where the file should be.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// One entry cannot be read. It stays until it is removed; entries behind it can be read.
    #[error("the spooled entry {key} with {records} readings is corrupt")]
    Corrupt {
        /// Which.
        key: Key,
        /// How many readings are lost with it.
        records: u32,
    },
    /// The file is damaged beyond one entry. Every later call says the same: drop the spool and open
    /// it anew, which sets the file aside.
    #[error("the spool {path:?} is damaged ({what})")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
}
