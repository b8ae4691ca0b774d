//! The file: its folder, its lock, and what happens if it cannot be used.

use std::cell::Cell;
use std::fmt::Debug;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Builder, Database, StorageBackend};

use super::Error;
use super::tables;
use crate::clock::Timestamp;

/// The file's name in the folder.
const FILE: &str = "spool.redb";

/// A shorter file cannot hold anything: the storage engine's header is larger.
const HEADER_BYTES: u64 = 320;

/// Memory that the storage engine may use for pages.
pub(super) const CACHE_BYTES: usize = 4 << 20;

/// Where a spool's database is. It is opened again after an error.
pub(super) trait DatabaseFile: Debug + Send {
    /// Opens the database or creates a new one.
    fn open(&self) -> tables::Result<Database>;
    /// Whether the name leads to the file that was opened last. A file without its name can be read while it is
    /// open, and is lost after that.
    fn is_named(&self) -> io::Result<bool>;
    /// Creates a new database under the name, where no file is, and lets `fill` write its content. After an
    /// error there is no file again.
    fn renew(&self, fill: &mut dyn FnMut(Database) -> tables::Result<()>) -> tables::Result<()>;
    /// Bytes of the file; 0 if that is unknown.
    fn len(&self) -> u64;
    /// Free bytes on its disk; a very large number if that is unknown.
    fn available(&self) -> u64;
    /// The path for messages.
    fn path(&self) -> &Path;
}

/// A file in a folder.
#[derive(Debug, Clone)]
pub(super) struct InFolder {
    folder: PathBuf,
    file: PathBuf,
    /// The file that was opened last.
    opened: Cell<Option<Identity>>,
}

/// Device and inode, where the system has them.
type Identity = (u64, u64);

impl InFolder {
    /// The spool's file in `folder`, which is created if it is missing.
    pub(super) fn new(folder: &Path) -> Result<Self, Error> {
        let unusable = |source| Error::Unusable { path: folder.to_owned(), source };
        match folder.metadata() {
            Ok(found) if !found.is_dir() => {
                return Err(Error::NotAFolder { path: folder.to_owned() });
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_folder(folder).map_err(unusable)?;
            }
            Err(error) => return Err(unusable(error)),
        }
        Ok(Self { folder: folder.to_owned(), file: folder.join(FILE), opened: Cell::new(None) })
    }

    /// Renames the file to a name that no file has, and returns the new path.
    pub(super) fn set_aside(&self, now: Timestamp) -> io::Result<PathBuf> {
        // Not every file system allows colons in names.
        let stamp = now.to_string().replace(':', "-");
        let mut name = self.folder.join(format!("spool.corrupt-{stamp}.redb"));
        let mut again = 1;
        while name.try_exists()? {
            again += 1;
            name = self.folder.join(format!("spool.corrupt-{stamp}-{again}.redb"));
        }
        std::fs::rename(&self.file, &name)?;
        sync(&self.folder)?;
        Ok(name)
    }

    /// Opens the file. A new one is created if there is none. With `new`, an old one is refused.
    fn file(&self, new: bool) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).create_new(new).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&self.file)?;
        // The name must be on the disk before content under it counts as stored.
        sync(&self.folder)?;
        Ok(file)
    }
}

impl DatabaseFile for InFolder {
    fn open(&self) -> tables::Result<Database> {
        if !self.is_named()? {
            let what = "it was deleted while in use, or another file is in its place";
            return Err(redb::Error::Corrupted(what.to_owned()));
        }
        let file = self.file(false)?;
        if hollow(&file)? {
            return Err(redb::Error::Corrupted("its beginning was never written".to_owned()));
        }
        let opened = identity(&file.metadata()?);
        let database = database(FileBackend::new(file)?)?;
        self.opened.set(Some(opened));
        Ok(database)
    }

    fn is_named(&self) -> io::Result<bool> {
        let Some(opened) = self.opened.get() else { return Ok(true) };
        match self.file.metadata() {
            Ok(found) => Ok(identity(&found) == opened),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Ok(false),
                _ => Err(error),
            },
        }
    }

    fn renew(&self, fill: &mut dyn FnMut(Database) -> tables::Result<()>) -> tables::Result<()> {
        make_folder(&self.folder)?;
        let new = self.file(true)?;
        let filled = guarded(|| {
            let made = identity(&new.metadata()?);
            fill(database(FileBackend::new(new)?)?)?;
            Ok(made)
        });
        match filled {
            Ok(made) => self.opened.set(Some(made)),
            Err(error) => {
                // The file is ours: there was none before.
                std::fs::remove_file(&self.file)?;
                return Err(error);
            }
        }
        Ok(())
    }

    fn len(&self) -> u64 {
        self.file.metadata().map_or(0, |file| file.len())
    }

    fn available(&self) -> u64 {
        rustix::fs::statvfs(&self.folder)
            .map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    fn path(&self) -> &Path {
        &self.file
    }
}

/// Tells a file from any other while it is open.
#[cfg(unix)]
fn identity(file: &Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt;
    (file.dev(), file.ino())
}

/// Not available on this system: only a missing file is noticed.
#[cfg(not(unix))]
fn identity(_: &Metadata) -> Identity {
    (0, 0)
}

/// Whether a file looks as if it was cut short, or as if its first page did not reach the disk. Other files
/// that are not a database belong to somebody. An empty file is new: only a crash during its creation leaves
/// one, before anything was acknowledged.
fn hollow(mut file: &File) -> io::Result<bool> {
    let len = file.metadata()?.len();
    let mut start = [0; 8];
    if len >= HEADER_BYTES {
        file.read_exact(&mut start)?;
    }
    Ok(len > 0 && start == [0; 8])
}

/// Opens a database after checking all of it: every page in use is read and compared with its checksum. The
/// engine does that anyway after a crash. After a clean end it would trust the file, and can panic on a file
/// that has changed since. The cost is one reading of the spooled entries.
pub(super) fn database(backend: impl StorageBackend) -> tables::Result<Database> {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    Ok(builder.create_with_backend(backend)?)
}

/// Runs what uses the database. A page that changes on the disk while the file is open can make the engine
/// panic: that is damage like any other, not a reason to stop. Nothing of the engine outlives a failure: `act`
/// drops the database.
pub(super) fn guarded<T>(act: impl FnOnce() -> tables::Result<T>) -> tables::Result<T> {
    catch_unwind(AssertUnwindSafe(act))
        .unwrap_or_else(|_| Err(redb::Error::Corrupted("the storage engine gave up".to_owned())))
}

fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)?;
    // A new name is on the disk when its folder is synced: sync all folders that may be new.
    for parent in folder.ancestors().skip(1).filter(|it| !it.as_os_str().is_empty()) {
        sync(parent)?;
    }
    Ok(())
}

#[cfg(unix)]
fn sync(folder: &Path) -> io::Result<()> {
    match File::open(folder) {
        Ok(folder) => folder.sync_all(),
        // A folder that we cannot read was not created by us.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(not(unix))]
fn sync(_: &Path) -> io::Result<()> {
    Ok(())
}
