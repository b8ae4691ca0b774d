//! The files of a recording: lines are appended to one, which is renamed when it is full.
//!
//! - `path.1` is the youngest of those that were renamed; the oldest is removed where there are as many as asked for.
//! - Lines are written together, as often as the connection is looked at. A write that fails is taken back to the last
//!   whole line.
//! - What was there before is refused, or removed if that is asked for: it is never appended to, for the times of two
//!   recordings have nothing between them.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::Error;
use crate::sink::file::{rename_all, with_suffix};

/// Bytes that wait to be written, above which they are written at once.
const PENDING_BYTES_MAX: usize = 256 * 1024;

#[derive(Debug)]
pub(super) struct Files {
    path: PathBuf,
    bytes_max: u64,
    /// All of them, the one that is written to among them.
    kept_max: u32,
    file: File,
    /// Whole lines of the file, and their bytes.
    lines: u64,
    bytes: u64,
    /// Lines of those that were renamed, the youngest first.
    older: VecDeque<u64>,
    /// Whole lines that are not written yet.
    pending: Vec<u8>,
    pending_lines: u64,
    /// Lines that were removed with the oldest files.
    removed: u64,
    written_bytes: u64,
}

impl Files {
    pub(super) fn create(
        path: &Path,
        (bytes_max, files_max): (u64, u32),
        replaces: bool,
    ) -> Result<Self, Error> {
        let unusable = |path: &Path, error| Error::Unusable { path: path.to_owned(), error };
        for old in all_of(path) {
            // Where nothing came, another try finds an empty file.
            let is_empty = fs::symlink_metadata(&old).is_ok_and(|it| it.is_file() && it.len() == 0);
            if !replaces && !is_empty {
                return Err(Error::Exists { path: old });
            }
            if !old.is_file() {
                return Err(Error::NoFile { path: old });
            }
            fs::remove_file(&old).map_err(|error| unusable(&old, error))?;
        }
        Ok(Self {
            file: made(path).map_err(|error| unusable(path, error))?,
            path: path.to_owned(),
            bytes_max,
            kept_max: files_max,
            lines: 0,
            bytes: 0,
            older: VecDeque::new(),
            pending: Vec::new(),
            pending_lines: 0,
            removed: 0,
            written_bytes: 0,
        })
    }

    /// Takes a line, which is no longer than a file may be.
    pub(super) fn push(&mut self, line: &[u8]) -> io::Result<()> {
        let bytes = (self.pending.len() + line.len()) as u64;
        if self.bytes + bytes > self.bytes_max {
            self.flush()?;
            self.rotate()?;
        }
        self.pending.extend_from_slice(line);
        self.pending_lines += 1;
        if self.pending.len() > PENDING_BYTES_MAX { self.flush() } else { Ok(()) }
    }

    /// Writes what waits.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let written = (&self.file).write_all(&self.pending);
        let (bytes, lines) = (self.pending.len() as u64, std::mem::take(&mut self.pending_lines));
        self.pending.clear();
        match written {
            Ok(()) => {
                self.bytes += bytes;
                self.written_bytes += bytes;
                self.lines += lines;
                Ok(())
            }
            Err(error) => {
                // A disk that does not even do that has half a line, which no reader takes for a message.
                drop(self.file.set_len(self.bytes));
                Err(error)
            }
        }
    }

    /// Writes what waits, and waits until the file is on the disk.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.flush()?;
        self.file.sync_all()
    }

    fn rotate(&mut self) -> io::Result<()> {
        if self.bytes == 0 {
            return Ok(());
        }
        self.file.sync_all()?;
        rename_all(&self.path, self.kept_max - 1)?;
        self.file = made(&self.path)?;
        self.bytes = 0;
        self.older.push_front(std::mem::take(&mut self.lines));
        if self.older.len() >= self.kept_max as usize {
            self.removed += self.older.pop_back().unwrap_or_default();
        }
        Ok(())
    }

    /// Lines that were written, those of removed files among them; and their bytes.
    pub(super) fn written(&self) -> (u64, u64) {
        (self.older.iter().sum::<u64>() + self.lines + self.removed, self.written_bytes)
    }

    /// Files that there are, and lines that went with removed ones.
    pub(super) fn kept(&self) -> (usize, u64) {
        (1 + self.older.len(), self.removed)
    }
}

/// The file at a path, if there is one, and those that rotation renamed, the oldest first.
pub(super) fn all_of(path: &Path) -> Vec<PathBuf> {
    let renamed = (1..).map(|number: u32| with_suffix(path, &format!(".{number}")));
    let mut all: Vec<_> = renamed.take_while(|it| it.exists()).collect();
    all.reverse();
    all.extend(path.exists().then(|| path.to_owned()));
    all
}

fn made(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create_new(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &Path, suffix: &str) -> String {
        fs::read_to_string(with_suffix(path, suffix)).unwrap_or_default()
    }

    #[test]
    fn a_full_file_is_renamed_and_the_oldest_is_removed_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let mut files = Files::create(&path, (6, 3), false).unwrap();
        for line in ["1\n", "2\n", "333\n", "44444\n", "5\n", "6\n", "7\n", "8\n"] {
            files.push(line.as_bytes()).unwrap();
        }
        files.finish().unwrap();
        let all = ["", ".1", ".2", ".3"].map(|it| text(&path, it));
        assert_eq!(all, ["8\n", "5\n6\n7\n", "44444\n", ""]);
        assert_eq!((files.written(), files.kept()), ((8, 22), (3, 3)));
        assert_eq!(all_of(&path), [".2", ".1", ""].map(|it| with_suffix(&path, it)));
    }

    #[test]
    fn what_is_there_is_refused_or_replaced_with_its_older_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        for old in ["", ".1", ".2"] {
            fs::write(with_suffix(&path, old), "old\n").unwrap();
        }
        let error = Files::create(&path, (100, 2), false).unwrap_err().to_string();
        assert!(error.contains("out.2") && error.contains("--force"), "{error}");
        assert_eq!(text(&path, ".2"), "old\n");
        let mut files = Files::create(&path, (100, 2), true).unwrap();
        files.push(b"new\n").unwrap();
        files.finish().unwrap();
        assert_eq!(["", ".1", ".2"].map(|it| text(&path, it)), ["new\n", "", ""]);
        // Where nothing came, nobody has recorded anything.
        fs::write(&path, "").unwrap();
        Files::create(&path, (100, 2), false).unwrap();
        // What is no file is never removed.
        let error = Files::create(folder.path(), (100, 2), true).unwrap_err().to_string();
        assert!(error.contains("is no plain file") && folder.path().is_dir(), "{error}");
    }

    #[test]
    fn a_disk_that_is_full_leaves_whole_lines_and_counts_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let mut files = Files::create(&path, (100, 2), false).unwrap();
        files.push(b"1\n").unwrap();
        files.flush().unwrap();
        files.file = OpenOptions::new().append(true).open("/dev/full").unwrap();
        files.push(b"2\n").unwrap();
        assert_eq!(files.flush().unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!((text(&path, "").as_str(), files.written()), ("1\n", (1, 2)));
    }
}
