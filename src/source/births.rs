//! The births of an entry, kept beside the spool: so that a gateway that starts again can read what devices send by
//! alias, and need not wait for births that do not come again by themselves.
//!
//! - The file is `births-<entry>.ndjson` in the spool's folder: the version of its form, then each birth as it came,
//!   `{"topic":…,"payload":…}`, the payload in base64. Without a spool folder nothing is written.
//! - It is bounded, as the births in memory are, by `state_bytes_max`, of which half is for births as they came. One that
//!   does not fit is not kept.
//! - What a death ends is taken out. An error of the file is logged and stops nothing ([`crate::mirror`]).

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::codec::turn::{Line, Note};
use crate::codec::{Decoder, Input};
use crate::mirror::{self, Mirror};
use crate::mqtt::options;
use crate::text;

/// The version of the form that this program reads and writes.
const VERSION: u32 = 1;

/// Bytes that a birth needs beside its topic and payload.
const OVERHEAD_BYTES: usize = 128;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    version: u32,
}

/// A line.
#[derive(Debug, Deserialize)]
struct Written {
    topic: String,
    payload: String,
}

/// A birth, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Birth {
    line: Line,
    topic: Arc<str>,
    payload: Arc<[u8]>,
}

impl Birth {
    fn bytes(&self) -> usize {
        OVERHEAD_BYTES + self.topic.len() + self.payload.len()
    }
}

/// The births of an entry.
#[derive(Debug)]
pub(super) struct Births {
    file: Arc<Mirror<Birth>>,
    bytes_max: usize,
}

impl Births {
    /// Those of the entry of this name, in this folder. Its decoder learns what an earlier run has left.
    pub(super) fn open(
        folder: &Path,
        entry: &str,
        bytes_max: usize,
        decoder: &mut Decoder,
    ) -> Self {
        let path = folder.join(format!("births-{entry}.ndjson"));
        let left = read(&path, bytes_max).unwrap_or_else(|problem| {
            tracing::warn!(
                path = %path.display(),
                problem = text::shown(&problem).to_string(),
                "the births that earlier runs have left cannot be read: what devices send by alias waits for their \
                 next birth; the file is replaced"
            );
            Vec::new()
        });
        let lost = "births cannot be written: after a start what devices send by alias would wait for their next birth";
        let file = Arc::new(Mirror::new(path, Vec::new(), write, lost));
        let it = Self { file, bytes_max };
        for (topic, payload) in &left {
            let received = clock::now().wall;
            let input =
                Input { payload, topic: topic.as_bytes(), received, bytes_max: payload.len() };
            if let Some(note) = decoder.learn(&input).filter(|it| it.is_birth) {
                it.know(note, topic, payload);
            }
        }
        it
    }

    /// Keeps a birth, or what a death leaves.
    pub(super) fn note(&self, note: Note, topic: &[u8], payload: &[u8]) {
        let birth = std::str::from_utf8(topic).ok().filter(|_| note.is_birth);
        let birth = birth.map(|topic| Birth {
            line: note.line,
            topic: topic.into(),
            payload: payload.into(),
        });
        self.file.keep(|all| change(all, note, birth, self.bytes_max));
    }

    /// The same for what the file has already: it is not written again.
    fn know(&self, note: Note, topic: &str, payload: &[u8]) {
        let birth = Birth { line: note.line, topic: topic.into(), payload: payload.into() };
        self.file.set(|all| _ = change(all, note, Some(birth), self.bytes_max));
    }
}

/// Whether this changes anything.
fn change(all: &mut Vec<Birth>, note: Note, birth: Option<Birth>, bytes_max: usize) -> bool {
    let mut ended = all.iter().filter(|it| note.line.covers(it.line));
    if birth.is_some() && ended.next() == birth.as_ref() && ended.next().is_none() {
        // It is there as it came.
        return false;
    }
    let before = all.len();
    all.retain(|it| !note.line.covers(it.line));
    let held: usize = all.iter().map(Birth::bytes).sum();
    let birth = birth.filter(|birth| held + birth.bytes() <= bytes_max);
    let changes = all.len() < before || birth.is_some();
    all.extend(birth);
    changes
}

/// The births of a file; none if there is no file.
fn read(path: &Path, bytes_max: usize) -> Result<Vec<(String, Vec<u8>)>, String> {
    // Base64 is a third longer.
    let Some(bytes) = mirror::read(options::open_file(path), 2 * bytes_max as u64)? else {
        return Ok(Vec::new());
    };
    let mut lines = bytes.split(|it| *it == b'\n').filter(|it| !it.is_empty());
    let head: Head =
        serde_json::from_slice(lines.next().unwrap_or_default()).map_err(|it| it.to_string())?;
    if head.version != VERSION {
        return Err(format!("it is of version {}; this program knows {VERSION}", head.version));
    }
    let birth = |line: &[u8]| {
        let Written { topic, payload } =
            serde_json::from_slice(line).map_err(|it| it.to_string())?;
        let payload = STANDARD.decode(payload).map_err(|it| it.to_string())?;
        Ok((topic, payload))
    };
    lines.map(birth).collect()
}

fn write(all: &[Birth], file: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *file, &Head { version: VERSION })?;
    for Birth { topic, payload, .. } in all {
        let payload = Base64Display::new(payload, &STANDARD);
        let topic = serde_json::to_string(&**topic)?;
        write!(file, "\n{{\"topic\":{topic},\"payload\":\"{payload}\"}}")?;
    }
    writeln!(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Payload;

    fn note(part: &str, is_birth: bool) -> Note {
        let line = Line::of("G/N", part);
        Note { line: if part.is_empty() { line.whole() } else { line }, is_birth }
    }

    #[test]
    fn births_are_there_for_the_next_run_until_their_device_dies() {
        let folder = tempfile::tempdir().unwrap();
        let left = |bytes_max| read(&folder.path().join("births-a.ndjson"), bytes_max).unwrap();
        let births = Births::open(folder.path(), "a", 4096, &mut Payload::default().decoder());
        assert!(left(4096).is_empty());
        births.file.change(|all| {
            for (part, topic, payload) in
                [("D", "d", b"1"), ("", "n", b"2"), ("D", "d", b"3"), ("E", "e", b"4")]
            {
                let it = note(part, true);
                let birth =
                    Birth { line: it.line, topic: topic.into(), payload: payload[..].into() };
                assert!(change(all, it, Some(birth), 4096));
            }
            true
        });
        births.file.write();
        let [n, d, e] =
            [("n", b"2"), ("d", b"3"), ("e", b"4")].map(|it| (it.0.to_owned(), it.1.to_vec()));
        assert_eq!(
            left(4096),
            [n.clone(), d, e.clone()],
            "a node's birth ends those of its devices"
        );
        assert!(births.file.change(|all| change(all, note("D", false), None, 4096)));
        births.file.write();
        assert_eq!(left(4096), [n, e]);
        assert!(!births.file.change(|all| change(all, note("D", false), None, 4096)));
        assert!(births.file.change(|all| change(all, note("", false), None, 4096)));
        births.file.write();
        assert!(left(4096).is_empty());
    }

    #[test]
    fn births_have_a_bound_and_rubbish_is_none() {
        let birth = |n: u8| Birth {
            line: Line::of("G/N", &n.to_string()),
            topic: "t".into(),
            payload: vec![n; 99].into(),
        };
        let mut all = Vec::new();
        for n in 0..9 {
            change(
                &mut all,
                note(&n.to_string(), true),
                Some(birth(n)),
                3 * (OVERHEAD_BYTES + 100),
            );
        }
        assert_eq!(all, [birth(0), birth(1), birth(2)]);
        assert!(!change(&mut all, note("1", true), Some(birth(1)), 4096), "the same comes again");
        let folder = tempfile::tempdir().unwrap();
        for rubbish in [
            "",
            "\0",
            "{}",
            "{\"version\":2}",
            "{\"version\":1}\n{}",
            "{\"version\":1}\n{\"topic\":\"t\",\"payload\":\"?\"}",
        ] {
            std::fs::write(folder.path().join("births-a.ndjson"), rubbish).unwrap();
            assert!(read(&folder.path().join("births-a.ndjson"), 4096).is_err(), "{rubbish}");
        }
        std::fs::write(folder.path().join("births-a.ndjson"), vec![b' '; 8193]).unwrap();
        assert!(read(&folder.path().join("births-a.ndjson"), 4096).is_err());
    }
}
