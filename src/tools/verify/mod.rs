//! `sluicegate verify`: reads what a gateway delivered, and judges.
//!
//! One of two readers feeds an [`audit`]: a connection that subscribes to batches and dead letters, or a reader of
//! the files that an output wrote. At the end a [`verdict`] compares that with the report of a simulation. While
//! the connection is lost the broker keeps its session (MQTT 5). If the broker did not keep it, the verifier has
//! missed messages, knows that, and calls nothing lost.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::mqtt;
use crate::mqtt::topic::Filter;
use crate::mqtt::topic_pattern::TopicPattern;
use crate::plan::Plan;
use crate::sink::{self, Declared, ReadBack};
use crate::text::from_path;
use crate::tools::simulate::report::Report;

use self::audit::{Audit, Rules};
use self::files::Files;
use self::paths::{Found, found};
use self::verdict::{Expectation, Hearing, Verdict, judge};

pub mod audit;
pub mod batch;
mod files;
pub mod latency;
pub mod letter;
pub(super) mod lines;
mod listener;
pub mod numbers;
pub(super) mod paths;
mod progress;
pub mod verdict;

/// Sensors that are counted, at most. More are refused: each takes some 300 bytes, and up to 2 KiB if it has
/// gaps.
pub const SENSORS_MAX: u32 = 1_000_000;

/// Bytes that a line of a file may always have. With a larger `batch.bytes_max` it may have those, and the
/// envelope's.
const LINE_BYTES_MIN: usize = 16 << 20;

/// The arguments of a verification.
#[derive(Debug, Clone)]
pub struct Arguments {
    /// The report of a simulation, which is read at the end.
    pub expect: Option<PathBuf>,
    /// The member that holds the sensor's own number.
    pub number: String,
    /// The longest time to listen.
    pub seconds: Option<Duration>,
    /// Ends when nothing has arrived for this time after the first record.
    pub idle: Option<Duration>,
    /// Files in place of the output.
    pub files: Vec<PathBuf>,
    /// In place of `output.topic`.
    pub topic: Option<Filter>,
    /// In place of `output.dead_letter_topic`.
    pub dead_letter_topic: Option<Filter>,
    /// Sensors that are counted, 1 to [`SENSORS_MAX`].
    pub sensors_max: u32,
    /// A latency above this is late, in milliseconds.
    pub late_ms: Option<u64>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The broker of the output is the embedded one.
    #[error(
        "the output's broker is \"embedded\", inside the gateway's process: name its address, such \
         as SLUICEGATE__BROKER__URL=mqtt://127.0.0.1:1883"
    )]
    Embedded,
    /// What the output delivered cannot be read again.
    #[error(
        "what [output.{0}] took cannot be read again: name a file with --file, or a topic with --topic"
    )]
    Nowhere(&'static str),
    #[error(
        "{}: there is no file: correct the path, or let the gateway write it first",
        from_path(path)
    )]
    Absent { path: PathBuf },
    #[error("{}: cannot be read ({error}): let this user read it", from_path(path))]
    Unreadable { path: PathBuf, error: std::io::Error },
    #[error(
        "{}: line {line} has more than {bytes_max} bytes (batch.bytes_max and its envelope, at least \
         {LINE_BYTES_MIN}): name the configuration that the file was written with, by --config",
        from_path(path)
    )]
    LineTooLong { path: PathBuf, line: u64, bytes_max: usize },
    #[error("there are more than {files_max} files: name some of them with --file")]
    TooMany { files_max: usize },
    #[error("{0} cannot be subscribed to: {1}; name another with --topic or --dead-letter-topic")]
    Topic(TopicPattern, String),
    /// A connection or subscription can never be made.
    #[error("{broker}: {error}")]
    Broker { broker: String, error: mqtt::Error },
}

#[derive(Debug)]
struct End {
    stops: mpsc::Receiver<()>,
    until: Option<Instant>,
    idle: Option<Duration>,
    expect: Option<PathBuf>,
}

/// Where an output is read back.
#[derive(Debug)]
pub(super) enum Place {
    /// In these files, the oldest first.
    Files(Vec<Found>),
    /// At its broker: the topics of batches and of dead letters.
    Topics([Filter; 2]),
}

/// What was named on a command line in place of what the output declares.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named<'a> {
    pub(super) files: &'a [PathBuf],
    pub(super) topic: Option<&'a Filter>,
    pub(super) dead_letter_topic: Option<&'a Filter>,
}

/// Where to read: what was named, or else what the output declares.
pub(super) fn place(plan: &Plan, named: Named<'_>) -> Result<Place, Error> {
    let Named { files, topic, dead_letter_topic } = named;
    let unset = sink::mqtt::Settings::default();
    let declared = match plan.output.sink.declared().read_back() {
        _ if topic.is_some() => plan.mqtt_output().unwrap_or(&unset).read_back(),
        declared => declared,
    };
    let found = match declared {
        _ if !files.is_empty() => found(files, &[])?,
        ReadBack::Files { batches, dead_letters } => found(&[batches.to_owned()], &[dead_letters])?,
        ReadBack::Topics { batches, dead_letters } => {
            let batches = filter(topic, &batches)?;
            return Ok(Place::Topics([batches, filter(dead_letter_topic, &dead_letters)?]));
        }
        ReadBack::Nowhere => return Err(Error::Nowhere(plan.output.sink.name())),
    };
    Ok(Place::Files(found))
}

/// Reads by the reader for it: what was read, and what can have been.
async fn read(
    plan: &Plan,
    arguments: &Arguments,
    audit: Audit,
    end: End,
) -> Result<(Audit, Hearing), Error> {
    let Arguments { files, topic, dead_letter_topic, .. } = arguments;
    let (topic, dead_letter_topic) = (topic.as_ref(), dead_letter_topic.as_ref());
    match place(plan, Named { files, topic, dead_letter_topic })? {
        Place::Topics(filters) => listener::listen(plan, filters, audit, end).await,
        Place::Files(found) => {
            Files::new(found, line_bytes_max(plan), audit, end.stops).read().await
        }
    }
}

/// The topics to listen to: those that were named, or the output's, with any text in their places.
fn filter(named: Option<&Filter>, output: &TopicPattern) -> Result<Filter, Error> {
    let filter = named.map_or_else(|| output.filter(), |it| Ok(it.clone()));
    filter.map_err(|error| Error::Topic(output.clone(), error.to_string()))
}

/// Bytes of a line, at most.
pub(super) fn line_bytes_max(plan: &Plan) -> usize {
    LINE_BYTES_MIN.max(plan.batch.bytes_max.get() + plan.batch_overhead_bytes())
}

/// Reads to the end of the files, or until a stop, `--seconds`, or `--idle`; and judges.
pub async fn run(
    plan: &Plan,
    arguments: &Arguments,
    stops: mpsc::Receiver<()>,
) -> Result<Verdict, Error> {
    let rules = Rules {
        member: arguments.number.clone(),
        format: plan.output.format,
        sensors_max: arguments.sensors_max as usize,
        late_ms: arguments.late_ms,
        batch_bytes_max: line_bytes_max(plan),
    };
    let end = End {
        stops,
        until: arguments.seconds.map(|after| crate::clock::now().instant + after),
        idle: arguments.idle,
        expect: arguments.expect.clone(),
    };
    let (audit, hearing) = read(plan, arguments, Audit::new(rules), end).await?;
    let expectation = match &arguments.expect {
        None => Expectation::Unknown,
        Some(path) => match Report::read(path) {
            Ok(report) => Expectation::Report(report),
            Err(error) => Expectation::Unreadable(error.to_string()),
        },
    };
    Ok(judge(&audit, &arguments.number, &expectation, hearing))
}
