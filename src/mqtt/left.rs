//! The sessions that earlier runs of this gateway left at brokers, in a small file. A run whose first
//! connection finds no session can then log that a session is gone, with the messages that waited in it.
//!
//! - The file stands beside the spool. Without a spool folder nothing is written. It is JSON, with the version
//!   of its form: `{"version":1,"subscribed":[{"entry":…,"broker":…,"session":…}]}`.
//! - A session is added once a subscription was granted in it. `entry` and `broker` are for people. `session`
//!   is a digest of broker and client id, because a client id can be a secret.
//! - The file is replaced: a new one is written, synced and renamed. A thread does that, so no connection
//!   waits.
//! - The file is bounded: of more sessions than it is opened for, the oldest are removed.
//! - An error of the file is logged and stops nothing. A file that cannot be read counts as empty, and is
//!   written anew with the next session.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::options::{self, Options};
use crate::limits::SOURCES_MAX;
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
    path: PathBuf,
    sessions_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    left: Vec<Left>,
    /// Changed since it was last written.
    changed: bool,
    /// A thread is writing.
    busy: bool,
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
        let state = Mutex::new(State { left, ..State::default() });
        Arc::new(Self { path, sessions_max, state })
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

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a session. Returns whether a thread must be started to write it.
    fn enter(&self, it: &Left) -> bool {
        let mut state = self.lock();
        if state.left.iter().any(|left| left.session == it.session) {
            return false;
        }
        let excess = (state.left.len() + 1).saturating_sub(self.sessions_max);
        state.left.drain(..excess);
        state.left.push(it.clone());
        state.changed = true;
        !std::mem::replace(&mut state.busy, true)
    }

    /// Removes a session. Returns whether a thread must be started to write it.
    fn remove(&self, it: &Left) -> bool {
        let mut state = self.lock();
        let before = state.left.len();
        state.left.retain(|left| left.session != it.session);
        if state.left.len() == before {
            return false;
        }
        state.changed = true;
        !std::mem::replace(&mut state.busy, true)
    }

    /// Writes until nothing has changed meanwhile. Blocks on the disk.
    fn write(&self) {
        while let Some(subscribed) = self.to_write() {
            let text = serde_json::to_vec(&Content { version: VERSION, subscribed });
            let written = text.map_err(io::Error::from).and_then(|text| put(&self.path, &text));
            if let Err(error) = written {
                tracing::warn!(
                    path = %self.path.display(),
                    %error,
                    "the list of the sessions that this run leaves cannot be written: the next run \
                     would not notice that one of them is lost"
                );
            }
        }
    }

    fn to_write(&self) -> Option<Vec<Left>> {
        let mut state = self.lock();
        state.busy = std::mem::take(&mut state.changed);
        state.busy.then(|| state.left.clone())
    }
}

impl Trace {
    /// Whether an earlier run left it.
    pub fn is_left(&self) -> bool {
        self.all.lock().left.iter().any(|left| left.session == self.it.session)
    }

    /// Adds it: a subscription was granted in it, so the next run should find it.
    pub fn leave(&self) {
        self.write_if(self.all.enter(&self.it));
    }

    /// Removes it: the session has ended.
    pub fn forget(&self) {
        self.write_if(self.all.remove(&self.it));
    }

    fn write_if(&self, must_write: bool) {
        if must_write {
            let all = Arc::clone(&self.all);
            // Nobody waits for the result: a session that is not written by the end of the run is only missing
            // in a log.
            drop(tokio::task::spawn_blocking(move || all.write()));
        }
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
    let file = match options::open_file(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.to_string()),
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("it has more than {FILE_BYTES_MAX} bytes"));
    }
    let content: Content = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    match content.version {
        VERSION => Ok(content.subscribed),
        other => Err(format!("it is of version {other}; this program knows {VERSION}")),
    }
}

/// Replaces the file by this text, all or nothing, and waits until it is on the disk.
fn put(path: &Path, text: &[u8]) -> io::Result<()> {
    let new = path.with_extension("json.new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&new)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
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

    fn leave(all: &Arc<LeftSessions>, entries: &[&str]) {
        for entry in entries {
            all.enter(&trace(all, entry).it);
        }
        all.write();
    }

    #[test]
    fn what_is_left_is_known_to_the_next_run_and_names_no_client_id() {
        let folder = tempfile::tempdir().unwrap();
        let all = LeftSessions::open(folder.path(), 9);
        assert!(!trace(&all, "a").is_left());
        leave(&all, &["a", "b"]);
        assert!(!all.enter(&trace(&all, "a").it), "it is in there");
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
