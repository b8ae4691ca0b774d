//! The sessions that earlier runs of this gateway left at brokers, in a small file. A run whose first
//! connection finds no session can then log that a session is gone, with the messages that waited in it.
//!
//! - The file stands beside the spool. Without a spool folder nothing is written. It is JSON, with the version
//!   of its form: `{"version":1,"subscribed":[{"entry":…,"broker":…,"session":…}]}`.
//! - A session is added once a subscription was granted in it. `entry` and `broker` are for people. `session`
//!   is a digest of broker and client id, because a client id can be a secret.
//! - A thread writes the file ([`crate::mirror`]), so no connection waits.
//! - The file is bounded: of more sessions than it is opened for, the oldest are removed.
//! - An error of the file is logged and stops nothing. A file that cannot be read counts as empty, and is
//!   written anew with the next session.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::options::{self, Options};
use crate::limits::SOURCES_MAX;
use crate::mirror::{self, Mirror};
use crate::text;

/// Bytes of a session that is remembered for the next run, at most, in memory and in its file.
pub const SESSION_LEFT_BYTES: u64 = 2048;

/// The file's name in the folder.
const FILE: &str = "sessions.json";

/// The version of the form that this program reads and writes.
const VERSION: u32 = 1;

/// Bytes of a broker's address that are written. The session is known by its digest.
const BROKER_BYTES_MAX: usize = 256;

/// Bytes of a file that is read; a longer file is not ours. It is read before the gateway starts.
const FILE_BYTES_MAX: u64 = SOURCES_MAX as u64 * SESSION_LEFT_BYTES;

#[derive(Debug, Serialize, Deserialize)]
struct Content {
    version: u32,
    subscribed: Vec<Left>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Left {
    entry: String,
    broker: String,
    session: String,
}

/// All sessions that were left.
#[derive(Debug)]
pub struct LeftSessions {
    file: Arc<Mirror<Left>>,
    sessions_max: usize,
}

/// One session that was left, or that may be left.
#[derive(Debug, Clone)]
pub struct Trace {
    all: Arc<LeftSessions>,
    it: Left,
}

impl LeftSessions {
    /// Reads the file in this folder; keeps at most `sessions_max` sessions.
    pub fn open(folder: &Path, sessions_max: usize) -> Arc<Self> {
        let path = folder.join(FILE);
        let mut left = read(&path).unwrap_or_else(|problem| {
            tracing::warn!(
                path = %path.display(),
                problem = text::shown(&problem).to_string(),
                "the list of the sessions that earlier runs left cannot be read: if one of them is \
                 lost, this run does not notice it; the file is replaced"
            );
            Vec::new()
        });
        left.drain(..left.len().saturating_sub(sessions_max));
        let lost = "the list of the sessions that this run leaves cannot be written: the next run would not notice \
                    that one of them is lost";
        Arc::new(Self { file: Arc::new(Mirror::new(path, left, write, lost)), sessions_max })
    }

    /// The session of the client of this configured entry.
    pub fn trace(self: &Arc<Self>, entry: &str, options: &Options) -> Trace {
        let broker = options.url.to_string();
        let mut hasher = Sha256::new();
        hasher.update(&broker);
        hasher.update([0]);
        hasher.update(&options.client_id);
        let hex = |hex, byte: &u8| format!("{hex}{byte:02x}");
        let session = hasher.finalize().iter().fold(String::new(), hex);
        let end = broker.floor_char_boundary(BROKER_BYTES_MAX);
        let broker = broker.get(..end).expect("a character ends there").to_owned();
        Trace { all: Arc::clone(self), it: Left { entry: entry.to_owned(), broker, session } }
    }

    /// Forgets the sessions that are not these; returns them.
    pub fn forget_others(self: &Arc<Self>, known: &[Trace]) -> Vec<Trace> {
        let is_known = |it: &Left| known.iter().any(|known| known.it.session == it.session);
        let mut others = Vec::new();
        self.file.look(|left| others.extend(left.iter().filter(|it| !is_known(it)).cloned()));
        if !others.is_empty() {
            self.file.keep(|left| {
                left.retain(is_known);
                true
            });
        }
        others.into_iter().map(|it| Trace { all: Arc::clone(self), it }).collect()
    }

    /// Adds a session; whether it was new.
    fn enter(left: &mut Vec<Left>, it: &Left, sessions_max: usize) -> bool {
        if left.iter().any(|left| left.session == it.session) {
            return false;
        }
        let excess = (left.len() + 1).saturating_sub(sessions_max);
        left.drain(..excess);
        left.push(it.clone());
        true
    }

    /// Removes a session; whether it was there.
    fn remove(left: &mut Vec<Left>, it: &Left) -> bool {
        let before = left.len();
        left.retain(|left| left.session != it.session);
        left.len() < before
    }
}

/// Of one broker and one client id.
impl PartialEq for Trace {
    fn eq(&self, other: &Self) -> bool {
        self.it.session == other.it.session
    }
}

impl Trace {
    /// The name of its session, and the broker's address.
    pub fn shown(&self) -> (&str, &str) {
        (&self.it.entry, &self.it.broker)
    }

    /// Whether an earlier run left it.
    pub fn is_left(&self) -> bool {
        self.all.file.look(|left| left.iter().any(|left| left.session == self.it.session))
    }

    /// Adds it: a subscription was granted in it, so the next run should find it.
    pub fn leave(&self) {
        let sessions_max = self.all.sessions_max;
        self.all.file.keep(|left| LeftSessions::enter(left, &self.it, sessions_max));
    }

    /// Removes it: the session has ended.
    pub fn forget(&self) {
        self.all.file.keep(|left| LeftSessions::remove(left, &self.it));
    }
}

/// What a client knows of its own session.
#[derive(Debug, Default)]
pub struct Own {
    trace: Option<Trace>,
    /// The broker should have it, and it may hold messages.
    may_hold: bool,
}

impl Own {
    /// A session that an earlier run may have left, and that the next run may find.
    pub fn new(trace: Option<Trace>) -> Self {
        let may_hold = trace.as_ref().is_some_and(Trace::is_left);
        Self { trace, may_hold }
    }

    /// It is not left for the next run.
    pub fn forget(&mut self) {
        self.trace.take().iter().for_each(Trace::forget);
    }

    /// Notes that a subscription was granted in it.
    pub fn subscribed(&mut self) {
        if !std::mem::replace(&mut self.may_hold, true) {
            self.trace.iter().for_each(Trace::leave);
        }
    }

    /// Whether the session is gone and may have held messages. A session without a subscription holds none.
    pub fn is_lost(&mut self, session_present: bool) -> bool {
        !session_present && std::mem::take(&mut self.may_hold)
    }
}

/// The sessions of a file; none if there is no file.
fn read(path: &Path) -> Result<Vec<Left>, String> {
    let Some(bytes) = mirror::read(options::open_file(path), FILE_BYTES_MAX)? else {
        return Ok(Vec::new());
    };
    let content: Content = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    match content.version {
        VERSION => Ok(content.subscribed),
        other => Err(format!("it is of version {other}; this program knows {VERSION}")),
    }
}

/// Writes the text of the file.
fn write(left: &[Left], file: &mut dyn Write) -> io::Result<()> {
    let content = Content { version: VERSION, subscribed: left.to_vec() };
    serde_json::to_writer(file, &content).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::options::BrokerUrl;
    use super::*;
    use crate::mqtt::options::Version;
    use crate::mqtt::stepped::options_of;

    fn options(entry: &str) -> Options {
        options_of(Version::V5, &format!("gw-1-in-{entry}"))
    }

    fn trace(all: &Arc<LeftSessions>, entry: &str) -> Trace {
        all.trace(entry, &options(entry))
    }

    fn enter(all: &Arc<LeftSessions>, entry: &str) -> bool {
        let it = trace(all, entry).it;
        all.file.change(|left| LeftSessions::enter(left, &it, all.sessions_max))
    }

    fn leave(all: &Arc<LeftSessions>, entries: &[&str]) {
        for entry in entries {
            enter(all, entry);
        }
        all.file.write();
    }

    #[test]
    fn what_is_left_is_known_to_the_next_run_and_names_no_client_id() {
        let folder = tempfile::tempdir().unwrap();
        let all = LeftSessions::open(folder.path(), 9);
        assert!(!trace(&all, "a").is_left());
        leave(&all, &["a", "b"]);
        assert!(!enter(&all, "a"), "it is in there");
        let all = LeftSessions::open(folder.path(), 9);
        assert!(trace(&all, "a").is_left() && trace(&all, "b").is_left());
        let mut it = options("a");
        it.url = BrokerUrl::try_from("mqtt://elsewhere".to_owned()).unwrap();
        assert!(!all.trace("a", &it).is_left(), "another broker");
        let mut it = options("a");
        it.client_id.push('x');
        assert!(!all.trace("a", &it).is_left(), "another client");
        let text = fs::read_to_string(folder.path().join(FILE)).unwrap();
        assert!(text.starts_with(r#"{"version":1,"subscribed":[{"entry":"a","broker":"mqtt://"#));
        assert!(!text.contains("gw-1-in"), "{text}");
    }

    #[test]
    fn of_too_many_the_longest_known_are_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let all = LeftSessions::open(folder.path(), 2);
        leave(&all, &["a", "b", "c"]);
        let known = |all: &Arc<LeftSessions>| ["a", "b", "c"].map(|it| trace(all, it).is_left());
        assert_eq!(known(&all), [false, true, true]);
        assert_eq!(known(&LeftSessions::open(folder.path(), 1)), [false, false, true]);
    }

    #[test]
    fn rubbish_counts_as_nothing_and_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let too_long = vec![b' '; usize::try_from(FILE_BYTES_MAX).unwrap() + 1];
        for rubbish in [
            &b""[..],
            b"\0\0\0",
            b"[]",
            b"{\"version\":1}",
            b"{\"version\":2,\"subscribed\":[]}",
            &too_long,
        ] {
            fs::write(&path, rubbish).unwrap();
            assert!(read(&path).is_err());
            let all = LeftSessions::open(folder.path(), 9);
            leave(&all, &["a"]);
            assert!(trace(&LeftSessions::open(folder.path(), 9), "a").is_left());
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let all = LeftSessions::open(folder.path(), 9);
        leave(&all, &["a"]);
        assert!(trace(&all, "a").is_left() && path.is_dir(), "said, and no more");
    }

    #[test]
    fn a_list_that_is_longer_than_any_of_ours_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        leave(&LeftSessions::open(folder.path(), 9), &["a"]);
        let path = folder.path().join(FILE);
        let text = fs::read(&path).unwrap();
        let padded = |bytes| [&text[..], &vec![b' '; bytes - text.len()]].concat();
        let longest = usize::try_from(FILE_BYTES_MAX).unwrap();
        for (bytes, left) in [(longest, 1), (longest + 1, 0), (longest * 4, 0)] {
            fs::write(&path, padded(bytes)).unwrap();
            let took = allocation_counter::measure(|| {
                assert_eq!(read(&path).map_or(0, |it| it.len()), left, "{bytes} bytes");
            });
            assert!(took.bytes_max <= 4 * FILE_BYTES_MAX, "{took:?}");
        }
    }

    #[test]
    fn a_list_is_replaced_as_a_whole_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        leave(&LeftSessions::open(folder.path(), 9), &["a"]);
        #[cfg(unix)]
        {
            let mode =
                std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions());
            assert_eq!(mode & 0o777, 0o600);
        }
        let before = fs::read(&path).unwrap();
        fs::create_dir(path.with_extension("json.new")).unwrap();
        leave(&LeftSessions::open(folder.path(), 9), &["b"]);
        assert_eq!(fs::read(&path).unwrap(), before, "no other name, no change");
    }

    #[test]
    fn only_a_session_that_may_have_held_something_is_lost_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let all = LeftSessions::open(folder.path(), 9);
        let mut own = Own::new(Some(trace(&all, "a")));
        assert!(!own.is_lost(false), "no earlier run has left it");
        leave(&all, &["a"]);
        let mut own = Own::new(Some(trace(&all, "a")));
        assert!(!own.is_lost(true), "it is there");
        assert!(own.is_lost(false) && !own.is_lost(false), "said once");
        let mut own = Own::new(None);
        own.subscribed();
        assert!(own.is_lost(false));
    }

    #[test]
    fn a_session_takes_no_more_than_is_counted_for_it() {
        let name = "n".repeat(64);
        let mut it = options(&name);
        let url = format!("ws://{}/{}", "h".repeat(200), "\"".repeat(2000));
        it.url = url.try_into().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let all = LeftSessions::open(folder.path(), 1);
        let it = all.trace(&name, &it).it;
        assert!(serde_json::to_vec(&it).unwrap().len() as u64 <= SESSION_LEFT_BYTES / 2);
    }
}
