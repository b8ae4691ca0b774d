//! `--watch-config`: looks at the configuration file once a second, on a thread of its own.
//!
//! - Its content counts, by its digest. It is read again only when the file's time, size or place has changed, so a file
//!   that is replaced by another one under its name is seen as well as one that is written.
//! - A content that is new is asked for when it is the same at two looks, a second apart: half of a file may be a valid
//!   configuration with entries missing, whose sessions would be removed.
//! - What was refused is asked for again when it changes, and every five looks: it may have been refused for a file
//!   that it names, or for what the gateway was just doing. The same refusal is not logged again.

use std::fs::Metadata;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::{Asking, Outcome};
use crate::mqtt::options::open_file;
use crate::settings::FILE_BYTES_MAX;
use crate::tasks;

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Looks until a content that was refused is asked for again.
const AGAIN_LOOKS: u32 = 5;

const BY: &str = "--watch-config";

type Content = [u8; 32];

/// Starts to watch a file, until nobody can be asked any more.
pub fn start(path: PathBuf, asking: Asking) -> io::Result<()> {
    let work = move || {
        let mut look = Look::default();
        let mut watch = Watch { asked: look.at(&path), ..Watch::default() };
        while !asking.is_over() {
            std::thread::park_timeout(LOOK_EVERY);
            let Some(ask) = watch.see(look.at(&path)) else { continue };
            let outcome = asking.outcome(BY, ask == Ask::Again);
            watch.refused = (outcome == Some(Outcome::Refused)).then_some(0);
        }
    };
    drop(tasks::thread("watch-config", work)?);
    Ok(())
}

/// The content that was looked at last.
#[derive(Debug, Default)]
struct Look {
    stamp: Option<(i64, i64, u64, u64)>,
    content: Option<Content>,
}

impl Look {
    /// The content now; `None` if the file cannot be read.
    fn at(&mut self, path: &Path) -> Option<Content> {
        let stamp = path.metadata().ok().as_ref().map(stamp);
        if stamp != self.stamp || stamp.is_none() {
            self.content = content(path).ok();
            self.stamp = stamp;
        }
        self.content
    }
}

fn stamp(it: &Metadata) -> (i64, i64, u64, u64) {
    (it.mtime(), it.mtime_nsec(), it.size(), it.ino())
}

fn content(path: &Path) -> io::Result<Content> {
    let mut bytes = Vec::new();
    open_file(path)?.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(Sha256::digest(&bytes).into())
}

/// What to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    /// A content that was not asked for yet.
    Anew,
    /// The content that was refused.
    Again,
}

/// Which content is asked for, and when.
#[derive(Debug, Default)]
struct Watch {
    /// The content that was asked for last, or that the gateway started with.
    asked: Option<Content>,
    /// One that was seen once.
    new: Option<Content>,
    /// It was refused so many looks ago.
    refused: Option<u32>,
}

impl Watch {
    /// Whether to ask for what is seen now.
    fn see(&mut self, now: Option<Content>) -> Option<Ask> {
        let is_new = now.is_some() && now != self.asked;
        let is_steady = is_new && now == self.new;
        self.new = now.filter(|_| is_new && !is_steady);
        if is_steady {
            self.asked = now;
            return Some(Ask::Anew);
        }
        let looks = self.refused.as_mut().filter(|_| now == self.asked)?;
        *looks += 1;
        looks.is_multiple_of(AGAIN_LOOKS).then_some(Ask::Again)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_is_asked_for_once_when_it_was_seen_twice() {
        let of = |content: &str| {
            Some(content).filter(|it| !it.is_empty()).map(|it| [it.as_bytes()[0]; 32])
        };
        let mut watch = Watch { asked: of("a"), ..Watch::default() };
        for (seen, asks) in [
            ("a", false),
            ("b", false),
            ("c", false),
            ("c", true),
            ("c", false),
            // Between two names there may be none.
            ("", false),
            ("c", false),
            ("d", false),
            ("", false),
            ("d", false),
            ("d", true),
            // Back again.
            ("c", false),
            ("c", true),
        ] {
            assert_eq!(watch.see(of(seen)).is_some(), asks, "{seen:?}");
        }
    }

    #[test]
    fn a_content_that_was_refused_is_asked_for_again_while_it_stays() {
        let [good, bad, other] = [1, 2, 3].map(|it| Some([it; 32]));
        let mut watch = Watch { asked: good, ..Watch::default() };
        assert_eq!([bad, bad].map(|it| watch.see(it)), [None, Some(Ask::Anew)]);
        let quiet = vec![None; AGAIN_LOOKS as usize - 1];
        let seen = |watch: &mut Watch, content| -> Vec<_> {
            (0..AGAIN_LOOKS).map(|_| watch.see(content)).collect()
        };
        assert_eq!(seen(&mut watch, bad), [&quiet[..], &[None]].concat(), "it was applied");
        watch.refused = Some(0);
        for _ in 0..2 {
            let again = [&quiet[..], &[Some(Ask::Again)]].concat();
            assert_eq!(seen(&mut watch, bad), again);
        }
        // Between two names there may be none.
        assert!(seen(&mut watch, None).iter().all(Option::is_none));
        assert_eq!([other, other].map(|it| watch.see(it)), [None, Some(Ask::Anew)]);
    }

    #[test]
    fn a_file_that_is_written_or_replaced_has_another_content() {
        let folder = tempfile::tempdir().unwrap();
        let [path, other] = ["a", "b"].map(|name| folder.path().join(name));
        let mut look = Look::default();
        assert_eq!(look.at(&path), None);
        std::fs::write(&path, "one").unwrap();
        let one = look.at(&path);
        assert!(one.is_some() && look.at(&path) == one);
        std::fs::write(&other, "two").unwrap();
        std::fs::rename(&other, &path).unwrap();
        let two = look.at(&path);
        assert!(two.is_some() && two != one);
        std::fs::write(&path, "longer").unwrap();
        let longer = look.at(&path);
        assert_ne!(longer, two);
        // In its place, and as long.
        std::fs::write(&path, "as lon").unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + LOOK_EVERY).unwrap();
        assert_ne!(look.at(&path), longer);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(look.at(&path), None);
    }
}
