//! The files that an output wrote, the oldest first.
//!
//! A path stands for the file there, those that rotation renamed (`path.1` is the youngest of them), and the
//! dead letters beside it, `path.dead-letters`, with theirs. A folder stands for every file in it: those of one
//! name by the number behind it, and the names in their order. No file is read twice.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Error;
use crate::sink::file::with_suffix;

/// Files of one verification, at most. More are refused.
const FILES_MAX: usize = 65_536;

/// A file, and which one it is, whatever its name becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::tools) struct Found {
    pub(in crate::tools) path: PathBuf,
    id: (u64, u64),
}

impl Found {
    fn at(path: &Path) -> Option<Self> {
        let meta = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
        Some(Self { path: path.to_owned(), id: (meta.dev(), meta.ino()) })
    }

    /// Whether its name still leads to it.
    pub(in crate::tools) fn has_its_name(&self) -> bool {
        Self::at(&self.path).as_ref() == Some(self)
    }

    /// The path that it had when it was begun.
    pub(in crate::tools) fn base(&self) -> PathBuf {
        let name = self.path.file_name().map_or(OsStr::new(""), |it| numbered(it).0);
        self.path.with_file_name(name)
    }

    /// The file that was begun at `base` after this one, and whether it is known to be the next; `None` where there is
    /// none yet.
    pub(in crate::tools) fn next(&self, base: &Path) -> Option<(Self, bool)> {
        let all = at(base);
        match all.iter().position(|it| it.id == self.id) {
            Some(own) => all.get(own + 1).map(|it| (it.clone(), true)),
            None => all.first().map(|it| (it.clone(), false)),
        }
    }
}

/// The files at these paths. Beside them, `also` is read if it is there.
pub(in crate::tools) fn found(paths: &[PathBuf], also: &[PathBuf]) -> Result<Vec<Found>, Error> {
    let mut files = Vec::new();
    for path in paths {
        let here = if path.is_dir() {
            of_folder(path).map_err(|error| Error::Unreadable { path: path.clone(), error })?
        } else {
            [at(path), at(&with_suffix(path, ".dead-letters"))].concat()
        };
        if here.is_empty() {
            return Err(Error::Absent { path: path.clone() });
        }
        files.extend(here);
    }
    files.extend(also.iter().flat_map(|path| at(path)));
    let mut seen = HashSet::new();
    files.retain(|file| seen.insert(file.id));
    if files.len() > FILES_MAX {
        return Err(Error::TooMany { files_max: FILES_MAX });
    }
    Ok(files)
}

/// The file at a path behind those that were renamed, the oldest first.
fn at(path: &Path) -> Vec<Found> {
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
    let names = names(folder.unwrap_or(Path::new("."))).into_iter().flatten().flatten();
    let number = |it: OsString| {
        let (name, number) = numbered(&it);
        (Some(name) == path.file_name() && number > 0).then_some(number)
    };
    let mut numbers: Vec<_> = names.filter_map(number).collect();
    numbers.sort_unstable_by_key(|number| Reverse(*number));
    let renamed = numbers.iter().map(|number| with_suffix(path, &format!(".{number}")));
    renamed.chain([path.to_owned()]).filter_map(|path| Found::at(&path)).collect()
}

/// The files of a folder, those of one name the oldest first: one more than may be read, at most.
fn of_folder(folder: &Path) -> io::Result<Vec<Found>> {
    let names: io::Result<Vec<_>> = names(folder)?.take(FILES_MAX + 1).collect();
    let mut names = names?;
    names.sort_by(|a, b| {
        let ((a, first), (b, second)) = (numbered(a), numbered(b));
        a.cmp(b).then(second.cmp(&first))
    });
    Ok(names.iter().filter_map(|name| Found::at(&folder.join(name))).collect())
}

fn names(folder: &Path) -> io::Result<impl Iterator<Item = io::Result<OsString>>> {
    Ok(fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())))
}

/// A name without the number that rotation put behind it, and that number; 0 without one.
fn numbered(name: &OsStr) -> (&OsStr, u64) {
    let parts = name.to_str().and_then(|it| it.rsplit_once('.'));
    let number =
        |text: &str| text.parse().ok().filter(|it| *it > 0 && !text.starts_with(['0', '+']));
    parts.and_then(|(name, text)| Some((OsStr::new(name), number(text)?))).unwrap_or((name, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            fs::write(folder.path().join(name), name).unwrap();
        }
        folder
    }

    fn names_of(files: Result<Vec<Found>, Error>) -> Vec<String> {
        let name = |it: &Found| it.path.file_name().unwrap().to_string_lossy().into_owned();
        files.unwrap().iter().map(name).collect()
    }

    #[test]
    fn renamed_files_are_older_and_dead_letters_stand_beside() {
        let all = ["out", "out.1", "out.10", "out.2", "out.dead-letters", "out.dead-letters.1"];
        let other = ["out.01", "out.x", "outer.1", "other"];
        let folder = folder(&[&all[..], &other].concat());
        let path = |name: &str| folder.path().join(name);
        let batches = ["out.10", "out.2", "out.1", "out"];
        let letters = ["out.dead-letters.1", "out.dead-letters"];
        assert_eq!(names_of(found(&[path("out")], &[])), [&batches[..], &letters].concat());
        // Named one by one, and also as a whole: in that order, and each once.
        let given = ["other", "out.1", "out"].map(path);
        let expected = ["other", "out.1", "out.10", "out.2", "out"];
        assert_eq!(names_of(found(&given, &[])), [&expected[..], &letters].concat());
        assert_eq!(
            names_of(found(&[path("other")], &[path("outer"), path("none")])),
            ["other", "outer.1"]
        );
    }

    #[test]
    fn the_file_behind_one_that_was_renamed_is_found() {
        let folder = folder(&["out"]);
        let path = |name: &str| folder.path().join(name);
        let first = found(&[path("out")], &[]).unwrap().swap_remove(0);
        assert_eq!(first.next(&path("out")), None, "it is the last one");
        fs::rename(path("out"), path("out.2")).unwrap();
        fs::write(path("out.1"), "").unwrap();
        fs::write(path("out"), "").unwrap();
        let (second, is_next) = first.next(&path("out")).unwrap();
        assert_eq!((second.path, is_next, first.base()), (path("out.1"), true, path("out")));
        fs::remove_file(path("out.2")).unwrap();
        let (oldest, is_next) = first.next(&path("out")).unwrap();
        assert_eq!((oldest.path, is_next), (path("out.1"), false), "what came between may be gone");
        assert_eq!(Found::at(&path("out.1")).unwrap().base(), path("out"));
    }

    #[test]
    fn a_folder_is_every_file_in_it() {
        let folder = folder(&["b", "a.2", "a.1", "a", "a.dead-letters"]);
        fs::create_dir(folder.path().join("c")).unwrap();
        let given = [folder.path().to_owned()];
        assert_eq!(names_of(found(&given, &[])), ["a.2", "a.1", "a", "a.dead-letters", "b"]);
    }

    #[test]
    fn what_is_not_there_is_said_and_what_is_renamed_is_seen() {
        let folder = folder(&["out"]);
        let path = folder.path().join("none");
        let error = found(std::slice::from_ref(&path), &[]).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}: there is no file", path.display())), "{error}");
        let file = found(&[folder.path().join("out")], &[]).unwrap().swap_remove(0);
        assert!(file.has_its_name());
        fs::rename(&file.path, &path).unwrap();
        assert!(!file.has_its_name());
        fs::write(&file.path, "new").unwrap();
        assert!(!file.has_its_name());
    }
}
