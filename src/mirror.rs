//! A list in memory, and its copy in a file for the next run.
//!
//! The file is replaced as a whole: a new one is written, synced and renamed. A thread does that, so no connection waits;
//! changes that come while it writes are written together afterwards. An error of the file is logged and stops nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock;
use crate::repeat::Repeated;

/// Writes the text of a list, piece by piece: it is not in memory as a whole.
type Text<T> = fn(&[T], &mut dyn Write) -> io::Result<()>;

/// A list with a copy in a file.
#[derive(Debug)]
pub struct Mirror<T> {
    path: PathBuf,
    /// Writes the text of the file.
    text: Text<T>,
    /// What is not written, and what that means: the end of a message.
    lost: &'static str,
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    all: Vec<T>,
    /// Changed since it was last written.
    changed: bool,
    /// A thread is writing.
    busy: bool,
    said: Repeated,
}

impl<T: Clone> Mirror<T> {
    /// Of a list that the file has already, or that need not be in it.
    pub fn new(path: PathBuf, all: Vec<T>, text: Text<T>, lost: &'static str) -> Self {
        let state =
            Mutex::new(State { all, changed: false, busy: false, said: Repeated::default() });
        Self { path, text, lost, state }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the list.
    pub fn look<R>(&self, look: impl FnOnce(&[T]) -> R) -> R {
        look(&self.lock().all)
    }

    /// Lets `change` say whether it has changed the list. Returns whether a thread must be started to write it.
    pub fn change(&self, change: impl FnOnce(&mut Vec<T>) -> bool) -> bool {
        let mut state = self.lock();
        if !change(&mut state.all) {
            return false;
        }
        state.changed = true;
        !std::mem::replace(&mut state.busy, true)
    }

    /// Changes the list to what the file has already.
    pub fn set(&self, change: impl FnOnce(&mut Vec<T>)) {
        change(&mut self.lock().all);
    }

    /// Writes until nothing has changed meanwhile. Blocks on the disk.
    pub fn write(&self) {
        while let Some(all) = self.to_write() {
            let Err(error) = put(&self.path, |file| (self.text)(&all, file)) else { continue };
            let due = self.lock().said.due(clock::now().instant);
            if let Some(left_out) = due {
                tracing::warn!(path = %self.path.display(), %error, left_out, "{}", self.lost);
            }
        }
    }

    fn to_write(&self) -> Option<Vec<T>> {
        let mut state = self.lock();
        state.busy = std::mem::take(&mut state.changed);
        state.busy.then(|| state.all.clone())
    }
}

impl<T: Clone + Send + 'static> Mirror<T> {
    /// Changes the list, and lets a thread write it. Nobody waits for that: what is not written is missing in the next
    /// run.
    pub fn keep(self: &Arc<Self>, change: impl FnOnce(&mut Vec<T>) -> bool) {
        if self.change(change) {
            let this = Arc::clone(self);
            drop(tokio::task::spawn_blocking(move || this.write()));
        }
    }
}

/// The bytes of a file of so many bytes at most; `None` if there is no file.
pub fn read(file: io::Result<File>, bytes_max: u64) -> Result<Option<Vec<u8>>, String> {
    let file = match file {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > bytes_max {
        return Err(format!("it has more than {bytes_max} bytes"));
    }
    Ok(Some(bytes))
}

/// Replaces the file by what `write` writes, all or nothing, and waits until it is on the disk.
fn put(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let new = path.with_extension("json.new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = BufWriter::new(options.open(&new)?);
    write(&mut file)?;
    file.into_inner()?.sync_all()?;
    fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}
