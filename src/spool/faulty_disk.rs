//! A disk for tests: in memory, with faults, and with what remains after a loss of power.

use std::io::{Error as IoError, ErrorKind};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use rand::RngExt;
use rand::rngs::SmallRng;
use redb::{Database, StorageBackend};

use super::file::{self, DatabaseFile};
use super::{Error, Spool, tables};

/// When the disk begins to fail. It then fails until it is healed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// After this many writes.
    Write(u32),
    /// At the sync after this many syncs.
    Sync(u32),
    /// When the file would have more bytes.
    Space(usize),
    /// At each read.
    Read,
}

#[derive(Debug, Clone)]
enum Change {
    Len(usize),
    Bytes(usize, Vec<u8>),
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// What remains after a crash for certain.
    synced: Vec<u8>,
    /// What a read returns.
    pub live: Vec<u8>,
    /// Writes since the last sync.
    pending: Vec<Change>,
    pub fault: Option<Fault>,
    /// Bytes that the system reports as free.
    available: Option<u64>,
    /// The process has ended: nothing reaches the disk any more.
    pub gone: bool,
}

impl State {
    fn change(&mut self, change: Change) -> Result<(), IoError> {
        let end = match &change {
            Change::Len(len) => *len,
            Change::Bytes(at, bytes) => at + bytes.len(),
        };
        match &mut self.fault {
            _ if self.gone => return Err(ErrorKind::Other.into()),
            Some(Fault::Write(0)) => return Err(ErrorKind::Other.into()),
            Some(Fault::Write(left)) => *left -= 1,
            Some(Fault::Space(len)) if end > *len => return Err(ErrorKind::StorageFull.into()),
            _ => {}
        }
        apply(&mut self.live, &change);
        self.pending.push(change);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), IoError> {
        match &mut self.fault {
            _ if self.gone => return Err(ErrorKind::Other.into()),
            Some(Fault::Sync(0)) => return Err(ErrorKind::Other.into()),
            Some(Fault::Sync(left)) => *left -= 1,
            _ => {}
        }
        for change in std::mem::take(&mut self.pending) {
            apply(&mut self.synced, &change);
        }
        Ok(())
    }

    /// The power fails: some of the writes that were not synced happened, some did not.
    pub(super) fn crash(&mut self, random: &mut SmallRng) {
        let share = [0.0, 0.5, 0.9, 1.0][random.random_range(0..4)];
        for change in std::mem::take(&mut self.pending) {
            if random.random_bool(share) {
                apply(&mut self.synced, &change);
            }
        }
        self.live = self.synced.clone();
        (self.fault, self.gone) = (None, false);
    }
}

fn apply(file: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Len(len) => file.resize(*len, 0),
        Change::Bytes(at, bytes) => {
            file.resize(file.len().max(at + bytes.len()), 0);
            file[*at..at + bytes.len()].copy_from_slice(bytes);
        }
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Disk(Arc<Mutex<State>>);

impl Disk {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(crate) fn spool(&self) -> Result<Spool, Error> {
        Spool::load(Box::new(self.clone()), 1 << 30)
    }
}

impl Disk {
    /// The disk fails from then on.
    pub(crate) fn break_with(&self, fault: Fault) {
        self.state().fault = Some(fault);
    }

    /// The system reports this many free bytes.
    pub(crate) fn leave(&self, available: u64) {
        self.state().available = Some(available);
    }

    /// The disk has no room for a longer file.
    pub(crate) fn fill(&self) {
        let len = self.state().live.len();
        self.break_with(Fault::Space(len));
    }

    /// Deletes everything that was written.
    pub(crate) fn erase(&self) {
        let mut state = self.state();
        state.live.clear();
        state.synced.clear();
    }

    /// Changes one byte of this text, at its first place.
    pub(crate) fn spoil(&self, text: &[u8]) {
        let live = &mut self.state().live;
        let at = live.windows(text.len()).position(|it| it == text).expect("it is on the disk");
        live[at + text.len() / 2] ^= 1;
    }

    /// The disk works again.
    pub(crate) fn heal(&self) {
        self.state().fault = None;
    }

    /// The process ends here: its later writes do not reach the disk.
    pub(crate) fn unplug(&self) {
        self.state().gone = true;
    }

    /// What remains after a power failure, for the next process.
    pub(crate) fn crash(&self, random: &mut SmallRng) {
        self.state().crash(random);
    }
}

impl DatabaseFile for Disk {
    fn open(&self) -> tables::Result<Database> {
        file::database(self.clone())
    }

    fn is_named(&self) -> Result<bool, IoError> {
        Ok(true)
    }

    fn renew(&self, _: &mut dyn FnMut(Database) -> tables::Result<()>) -> tables::Result<()> {
        unreachable!("it never loses its name")
    }

    fn len(&self) -> u64 {
        self.state().live.len() as u64
    }

    fn available(&self) -> u64 {
        self.state().available.unwrap_or(u64::MAX)
    }

    fn path(&self) -> &Path {
        Path::new("disk")
    }
}

pub(super) fn offset(n: u64) -> usize {
    usize::try_from(n).unwrap()
}

/// Runs `act` without counting its memory: what is on the disk is not in memory.
pub(super) fn uncounted<T>(act: impl FnOnce() -> T) -> T {
    let mut returned = None;
    allocation_counter::opt_out(|| returned = Some(act()));
    returned.unwrap()
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, IoError> {
        Ok(self.state().live.len() as u64)
    }

    fn read(&self, at: u64, out: &mut [u8]) -> Result<(), IoError> {
        let state = self.state();
        if matches!(state.fault, Some(Fault::Read)) {
            return Err(ErrorKind::Other.into());
        }
        let bytes = state.live.get(offset(at)..).and_then(|rest| rest.get(..out.len()));
        out.copy_from_slice(bytes.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), IoError> {
        uncounted(|| self.state().change(Change::Len(offset(len))))
    }

    fn sync_data(&self) -> Result<(), IoError> {
        uncounted(|| self.state().sync())
    }

    fn write(&self, at: u64, data: &[u8]) -> Result<(), IoError> {
        uncounted(|| self.state().change(Change::Bytes(offset(at), data.to_vec())))
    }
}
