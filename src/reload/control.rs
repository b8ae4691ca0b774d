//! `gateway.control`: the Unix socket on which a running gateway is asked to read its configuration again, and its
//! other end, `sluicegate reload`.
//!
//! - One line of JSON is asked, one is answered: `{"reload":{"dry_run":true}}`, and an [`Answer`]. A connection carries
//!   one request, of `REQUEST_BYTES_MAX` bytes, within `STEP_MAX`; one is served at a time, and the others wait.
//! - The socket is made for its owner alone (mode 0600), and then takes its name: what an earlier run has left there is
//!   replaced, another gateway's socket and what is no socket is not. At the end it is removed, if it is still ours.

use std::fs::{self, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener as Listener, UnixStream as Stream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{sleep, timeout};

use super::{Answer, Asking};

/// Bytes of a request.
const REQUEST_BYTES_MAX: u64 = 1024;

/// Bytes of an answer: a line for each entry, or for each mistake.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// How long a client may take to ask, and to take the answer.
const STEP_MAX: Duration = Duration::from_secs(5);

/// How long a client waits for the answer. What an entry holds is delivered before it ends.
const ANSWER_MAX: Duration = Duration::from_mins(10);

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Request {
    Reload { dry_run: bool },
}

/// Why a gateway cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "gateway.control: {path} is the socket of another gateway that runs: name another path"
    )]
    Taken { path: String },
    #[error("gateway.control: {path} is there and is no socket: remove it, or name another path")]
    NoSocket { path: String },
    #[error(
        "gateway.control: {path}: {error}; create its folder, and let the gateway's user write there"
    )]
    Unusable { path: String, error: io::Error },
    #[error("no gateway answers at {path} (gateway.control): {error}")]
    NotReached { path: String, error: io::Error },
}

/// The socket of a gateway that runs.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of what is ours.
    id: (u64, u64),
}

impl Control {
    /// Listens at this path; within a runtime.
    pub fn listen(path: &Path) -> Result<Self, Error> {
        let shown = || path.display().to_string();
        let unusable = |error| Error::Unusable { path: shown(), error };
        match fs::symlink_metadata(path) {
            Ok(it) if !it.file_type().is_socket() => return Err(Error::NoSocket { path: shown() }),
            Ok(_) if Stream::connect(path).is_ok() => return Err(Error::Taken { path: shown() }),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(unusable(error)),
        }
        let made = listen_at(path).and_then(|(listener, id)| {
            listener.set_nonblocking(true)?;
            Ok((UnixListener::from_std(listener)?, id))
        });
        let (listener, id) = made.map_err(unusable)?;
        Ok(Self { listener, path: path.to_owned(), id })
    }

    /// Serves who asks.
    pub async fn serve(self, asking: Asking) {
        loop {
            match self.listener.accept().await {
                // A client that does not ask, or does not take the answer, is its own loss.
                Ok((stream, _)) => drop(serve_one(stream, &asking).await),
                Err(error) => {
                    tracing::warn!(%error, "gateway.control cannot be served");
                    sleep(STEP_MAX).await;
                }
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if id_of(&self.path).is_ok_and(|id| id == self.id) {
            // Left behind it would be replaced by the next run.
            drop(fs::remove_file(&self.path));
        }
    }
}

/// Makes a socket that has its mode before it has its name.
fn listen_at(path: &Path) -> io::Result<(Listener, (u64, u64))> {
    let mut made = path.as_os_str().to_owned();
    made.push(MADE);
    let made = Path::new(&made);
    if fs::symlink_metadata(made).is_ok_and(|it| it.file_type().is_socket()) {
        fs::remove_file(made)?;
    }
    let listener = Listener::bind(made)?;
    fs::set_permissions(made, Permissions::from_mode(0o600))?;
    fs::rename(made, path)?;
    Ok((listener, id_of(path)?))
}

/// What the name of a socket has behind it until its mode is set.
const MADE: &str = ".new";

fn id_of(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|it| (it.dev(), it.ino()))
}

async fn serve_one(stream: UnixStream, asking: &Asking) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut read = tokio::io::BufReader::new(read.take(REQUEST_BYTES_MAX));
    timeout(STEP_MAX, read.read_line(&mut line)).await??;
    let Request::Reload { dry_run } = serde_json::from_str(&line)?;
    let Some(answer) = asking.answer("sluicegate reload", dry_run).await else { return Ok(()) };
    let mut line = serde_json::to_string(&answer)?;
    line.push('\n');
    timeout(STEP_MAX, write.write_all(line.as_bytes())).await?
}

/// Asks the gateway that listens at this path.
pub fn ask(path: &Path, dry_run: bool) -> Result<Answer, Error> {
    let answer = exchange(path, dry_run);
    answer.map_err(|error| Error::NotReached { path: path.display().to_string(), error })
}

fn exchange(path: &Path, dry_run: bool) -> io::Result<Answer> {
    let mut stream = Stream::connect(path)?;
    stream.set_write_timeout(Some(STEP_MAX))?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    let request = serde_json::to_string(&Request::Reload { dry_run })?;
    stream.write_all(format!("{request}\n").as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream.take(ANSWER_BYTES_MAX)).read_line(&mut line)?;
    if line.is_empty() {
        return Err(io::Error::other("it ended without an answer"));
    }
    Ok(serde_json::from_str(&line)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn listening(path: &Path) -> Result<Control, Error> {
        std::future::ready(Control::listen(path)).await
    }

    #[tokio::test]
    async fn the_socket_is_its_owners_alone_replaces_what_was_left_and_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        drop(Listener::bind(&path).unwrap());
        assert!(path.exists(), "an earlier run has left it");
        let control = listening(&path).await.unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let other = listening(&path).await.unwrap_err();
        assert!(matches!(other, Error::Taken { .. }), "{other}");
        drop(control);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        fs::write(&path, "mine").unwrap();
        let other = listening(&path).await.unwrap_err();
        assert!(matches!(other, Error::NoSocket { .. }), "{other}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
        let none = listening(&folder.path().join("none/control")).await.unwrap_err();
        assert!(none.to_string().contains("create its folder"), "{none}");
    }

    #[tokio::test]
    async fn a_socket_that_another_run_has_put_in_its_place_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        let control = listening(&path).await.unwrap();
        fs::remove_file(&path).unwrap();
        let _other = Listener::bind(&path).unwrap();
        drop(control);
        assert!(path.exists());
    }

    #[test]
    fn nobody_there_is_said_with_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let error = ask(&folder.path().join("control"), false).unwrap_err().to_string();
        assert!(error.contains("/control (gateway.control): No such file"), "{error}");
    }
}
