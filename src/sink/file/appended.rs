//! A file that lines are appended to, and synced: what was written whole is on the disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Settings, is_standard_output, with_suffix};

/// A file, or standard output.
#[derive(Debug, Clone)]
pub(super) struct Appended {
    path: PathBuf,
    rotation: Option<Rotation>,
    file: Option<Arc<File>>,
}

/// When a file is renamed, and how many of those are kept.
#[derive(Debug, Clone, Copy)]
struct Rotation {
    bytes: u64,
    files_max: u32,
}

impl Appended {
    pub(super) fn new(path: PathBuf, settings: &Settings) -> Self {
        let files_max = settings.files_max.get();
        let rotation = settings.rotate_bytes.map(|it| Rotation { bytes: it.get(), files_max });
        Self { path, rotation, file: None }
    }

    /// Opens the file under its name, unless that is open already.
    pub(super) fn open(&mut self) -> io::Result<()> {
        if is_standard_output(&self.path) {
            return Ok(());
        }
        self.current().map(drop).map_err(|error| self.about(&error))
    }

    /// Appends each text as a line, or as the lines that it is, and waits until they are on the disk. After
    /// an error none of them is there.
    pub(super) fn append(
        &mut self,
        texts: impl Iterator<Item = impl AsRef<[u8]>>,
    ) -> io::Result<()> {
        let mut texts = texts.peekable();
        if texts.peek().is_none() {
            return Ok(());
        }
        let written = if is_standard_output(&self.path) {
            let mut out = io::stdout().lock();
            write_lines(&mut out, texts).and_then(|()| out.flush())
        } else {
            self.append_to_file(texts)
        };
        written.map_err(|error| self.about(&error))
    }

    /// The same error, and of which file.
    fn about(&self, error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("{}: {error}", self.path.display()))
    }

    fn append_to_file(&mut self, texts: impl Iterator<Item = impl AsRef<[u8]>>) -> io::Result<()> {
        let file = self.current()?;
        let before = file.metadata()?.len();
        let written = write_lines(&mut &*file, texts).and_then(|()| file.sync_data());
        if written.is_err() && file.set_len(before).is_err() {
            // What cannot be taken back is ended where the file is opened again.
            self.file = None;
        }
        written
    }

    /// The file that has the name now, with room below the bound.
    fn current(&mut self) -> io::Result<Arc<File>> {
        let open = self.file.take().filter(|file| is_named(&self.path, file));
        let mut file = match open {
            Some(file) => file,
            None => Arc::new(opened(&self.path)?),
        };
        let full = |it: &Rotation| file.metadata().is_ok_and(|meta| meta.len() >= it.bytes);
        if let Some(rotation) = self.rotation.filter(full) {
            rename_all(&self.path, rotation.files_max)?;
            file = Arc::new(opened(&self.path)?);
        }
        self.file = Some(Arc::clone(&file));
        Ok(file)
    }
}

fn write_lines(
    out: &mut impl Write,
    texts: impl Iterator<Item = impl AsRef<[u8]>>,
) -> io::Result<()> {
    for text in texts {
        let text = text.as_ref();
        out.write_all(text)?;
        if !text.ends_with(b"\n") {
            out.write_all(b"\n")?;
        }
    }
    Ok(())
}

/// Whether the name leads to this file.
fn is_named(path: &Path, file: &File) -> bool {
    let identity = |meta: fs::Metadata| (meta.dev(), meta.ino());
    let named = fs::metadata(path).map(identity);
    matches!((named, file.metadata().map(identity)), (Ok(a), Ok(b)) if a == b)
}

/// The file, made where there is none; what was torn at its end is a line of its own.
fn opened(path: &Path) -> io::Result<File> {
    // A pipe without a reader would hold whoever opens it.
    if fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
        let what = "is no plain file: name one, or write \"-\" for standard output";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    // The name has to last as the lines do, also where it was made by an attempt that failed here.
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    if file.seek(SeekFrom::End(-1)).is_ok() {
        let mut last = [0];
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    Ok(file)
}

/// `path` becomes `path.1`, which becomes `path.2`; what is beyond `files_max` is gone.
pub(crate) fn rename_all(path: &Path, files_max: u32) -> io::Result<()> {
    let name = |number: u32| with_suffix(path, &format!(".{number}"));
    for number in (1..files_max).rev() {
        match fs::rename(name(number), name(number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::rename(path, name(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::DiskSize;
    use std::num::NonZeroU32;

    fn appended(path: &Path, rotate: Option<u64>) -> Appended {
        let settings = Settings {
            path: path.to_owned(),
            dead_letter_path: None,
            rotate_bytes: rotate.map(DiskSize::bytes),
            files_max: NonZeroU32::new(2).unwrap(),
        };
        Appended::new(path.to_owned(), &settings)
    }

    fn append(to: &mut Appended, texts: &[&str]) -> io::Result<()> {
        to.append(texts.iter().map(|text| text.as_bytes()))
    }

    #[test]
    fn each_text_is_a_line_and_what_was_torn_is_one_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        fs::write(&path, "torn").unwrap();
        let mut out = appended(&path, None);
        append(&mut out, &["1", "2\n3\n"]).unwrap();
        append(&mut out, &[]).unwrap();
        append(&mut appended(&path, None), &["4"]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "torn\n1\n2\n3\n4\n");
    }

    #[test]
    fn a_file_that_lost_its_name_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("out"), folder.path().join("moved"));
        let mut out = appended(&path, None);
        append(&mut out, &["1"]).unwrap();
        fs::rename(&path, &moved).unwrap();
        append(&mut out, &["2"]).unwrap();
        fs::remove_file(&path).unwrap();
        append(&mut out, &["3"]).unwrap();
        let text = |path: &Path| fs::read_to_string(path).unwrap();
        assert_eq!((text(&moved).as_str(), text(&path).as_str()), ("1\n", "3\n"));
    }

    #[test]
    fn a_full_file_is_renamed_and_the_oldest_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let mut out = appended(&path, Some(4));
        for text in ["1", "22", "333", "4444", "5"] {
            append(&mut out, &[text]).unwrap();
        }
        let text = |suffix: &str| fs::read_to_string(with_suffix(&path, suffix)).ok();
        assert_eq!(text("").as_deref(), Some("5\n"));
        assert_eq!(text(".1").as_deref(), Some("4444\n"));
        assert_eq!((text(".2").as_deref(), text(".3")), (Some("333\n"), None));
    }

    #[test]
    fn what_cannot_be_opened_is_said_with_its_place_and_half_a_line_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("none/out");
        assert!(append(&mut appended(&path, None), &["1"]).is_err());
        let error = appended(&path, None).open().unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}: ", path.display())), "{error}");
        let error = appended(folder.path(), None).open().unwrap_err().to_string();
        assert!(error.contains("is no plain file"), "{error}");
        // It takes no byte: as a full disk does.
        let full = OpenOptions::new().append(true).open("/dev/full").unwrap();
        assert!(write_lines(&mut &full, [&b"1"[..]].into_iter()).is_err());
    }
}
