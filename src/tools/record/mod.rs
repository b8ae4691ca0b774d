//! `sluicegate record`: what a broker publishes, as lines of files, to be published again by `simulate`.
//!
//! - The session is its own: a client id that no gateway has, and a clean start. What is published while the connection
//!   is lost is missing, and at the end it says for how long.
//! - It is no gateway. A message is acknowledged when it is read, and nothing waits until its line is on the disk.
//! - A line, a file and the number of files are bounded, and so is memory: one packet, and the lines of one turn. What
//!   is too long for a line is left out and counted.
//! - Files are written by the task that polls the connection: a disk that is slow slows the reading down, and a broker
//!   drops what it cannot hold of QoS 0.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::clock;
use crate::limits::mebibytes;
use crate::mqtt;
use crate::mqtt::topic::Filter;
use crate::plan::Plan;
use crate::text::from_path;

pub use self::line::Message;
pub use self::recording::Recording;

mod file;
mod line;
mod listener;
mod recording;

/// Bytes of a line, at most. A message that needs more is left out and counted.
pub const LINE_BYTES_MAX: usize = 1024 * 1024;

/// Files of a recording, at most. More are refused.
pub const FILES_MAX: u32 = 1000;

/// The arguments of a recording.
#[derive(Debug, Clone)]
pub struct Arguments {
    /// What to subscribe to; empty: the topics of the configuration's entries.
    pub topics: Vec<Filter>,
    /// 0 or 1.
    pub qos: u8,
    pub out: PathBuf,
    /// What is there is replaced.
    pub force: bool,
    /// Bytes of a file, at least [`LINE_BYTES_MAX`].
    pub bytes_max: u64,
    /// Files that are kept, 2 to [`FILES_MAX`].
    pub files: u32,
    /// Ends after this time.
    pub lasting: Option<Duration>,
    /// Ends after so many messages.
    pub count: Option<u64>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The broker of the file is the embedded one.
    #[error(
        "broker.url is \"embedded\", a broker inside the gateway's process: name its address, such as \
         SLUICEGATE__BROKER__URL=mqtt://127.0.0.1:1883"
    )]
    Embedded,
    #[error(
        "there is no topic to record: the configuration has no MQTT entry; name one with --topic"
    )]
    NoTopic,
    #[error(
        "{}: is there: name another file with --out, or replace it with --force",
        from_path(path)
    )]
    Exists { path: PathBuf },
    #[error("{}: is no plain file: name one with --out", from_path(path))]
    NoFile { path: PathBuf },
    #[error("{}: {error}; name a file with --out that this user can write", from_path(path))]
    Unusable { path: PathBuf, error: std::io::Error },
    /// A connection or a subscription can never be made.
    #[error("{broker}: {error}")]
    Broker { broker: String, error: mqtt::Error },
}

/// What was recorded.
#[derive(Debug)]
pub struct Recorded {
    path: PathBuf,
    messages: u64,
    bytes: u64,
    files: usize,
    /// Messages that went with files that were removed.
    removed: u64,
    /// Messages that were too long for a line.
    left_out: u64,
    /// How often the connection was lost, and for how long.
    away: (u64, Duration),
    took: Duration,
    /// Why the disk took no more.
    pub failed: Option<String>,
}

impl Recorded {
    /// Whether something came, and the connection stood all the time.
    pub fn is_whole(&self) -> bool {
        self.messages > 0 && self.away.0 == 0
    }
}

/// For people.
impl fmt::Display for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, messages, bytes, files, removed, left_out, away, took, failed } = self;
        let (path, bytes, seconds) = (from_path(path), mebibytes(*bytes), took.as_secs_f64());
        writeln!(f, "record: {messages} messages in {seconds:.1} s, {bytes}, in {path}")?;
        match files - 1 {
            0 => {}
            1 => writeln!(f, "1 older file beside it: {path}.1")?,
            older => writeln!(f, "{older} older files beside it: {path}.1 is the youngest")?,
        }
        if *removed > 0 {
            writeln!(f, "{removed} of the messages are gone with the oldest files (--files)")?;
        }
        if *left_out > 0 {
            writeln!(
                f,
                "{left_out} more were left out: a line has {LINE_BYTES_MAX} bytes at most"
            )?;
        }
        let (times, lasted) = (away.0, away.1.as_secs_f64());
        let often = if times == 1 { "once".to_owned() } else { format!("{times} times") };
        if times > 0 {
            let missing = "what was published then is missing";
            writeln!(f, "the connection was lost {often}, for {lasted:.1} s in all: {missing}")?;
        }
        match failed {
            Some(error) => {
                writeln!(f, "{path} cannot be written: {error}; it ends with a whole line")
            }
            None => Ok(()),
        }
    }
}

/// Records until it is stopped, or has enough.
pub async fn run(
    plan: &Plan,
    arguments: &Arguments,
    stops: mpsc::Receiver<()>,
) -> Result<Recorded, Error> {
    let started = clock::now().instant;
    let recorder = listener::record(plan, arguments, started, stops).await?;
    Ok(recorder.recorded(&arguments.out, started))
}

/// What ends a recording beside the number of its messages.
#[derive(Debug)]
struct End {
    stops: mpsc::Receiver<()>,
    until: Option<Instant>,
}
