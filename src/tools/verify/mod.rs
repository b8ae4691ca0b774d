//! `sluicegate verify`: listens at the output, and judges.
//!
//! One connection subscribes to batches and dead letters and feeds an [`audit`]; at the end a
//! [`verdict`] is made of it and of what a simulation says was acknowledged. While its connection is
//! down the broker keeps its session (MQTT 5). If it did not, the verifier was deaf, knows it, and does
//! not call anything lost.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::mqtt;
use crate::mqtt::topic::Filter;
use crate::plan::Plan;
use crate::tools::simulate::report::Report;

use self::audit::Rules;
use self::listener::Listener;
use self::verdict::{Expectation, Verdict, judge};

pub mod audit;
pub mod batch;
pub mod latency;
pub mod letter;
mod listener;
pub mod numbers;
pub mod verdict;

/// Sensors that are told apart, at most. More are refused: each takes some 300 bytes, and up to 2 KiB
/// if it has gaps.
pub const SENSORS_MAX: u32 = 1_000_000;

/// How often progress is logged.
const PROGRESS_PAUSE: Duration = Duration::from_secs(5);

/// What to do.
#[derive(Debug, Clone)]
pub struct Options {
    /// A simulation's report; read at the end.
    pub expect: Option<PathBuf>,
    /// The member that has the sensor's own number.
    pub number: String,
    /// The end, whatever comes.
    pub seconds: Option<Duration>,
    /// The end, when nothing has come for so long after the first record.
    pub idle: Option<Duration>,
    /// Instead of `output.topic`.
    pub topic: Option<Filter>,
    /// Instead of `output.dead_letter_topic`.
    pub dead_letter_topic: Option<Filter>,
    /// Sensors that are told apart, 1 to [`SENSORS_MAX`].
    pub sensors_max: u32,
    /// A latency above this is late, in milliseconds.
    pub late_ms: Option<u64>,
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody to listen to.
    #[error(
        "the output's broker is \"embedded\", inside the gateway's process: name its address, such \
         as SLUICEGATE__BROKER__URL=mqtt://127.0.0.1:1883"
    )]
    Embedded,
    /// Nothing to listen to.
    #[error(
        "batches go to a file ([output.file]), and verify listens to a topic: name one with --topic"
    )]
    File,
    /// A connection or subscription can never be had.
    #[error("{broker}: {error}")]
    Broker {
        /// Its address.
        broker: String,
        /// Why.
        error: mqtt::Error,
    },
}

/// When to end.
#[derive(Debug)]
struct End {
    stops: mpsc::Receiver<()>,
    until: Option<Instant>,
    idle: Option<Duration>,
    expect: Option<PathBuf>,
}

/// Listens to the end (a stop, `--seconds`, or `--idle`), and judges.
pub async fn run(
    plan: &Plan,
    options: &Options,
    stops: mpsc::Receiver<()>,
) -> Result<Verdict, Error> {
    let rules = Rules {
        member: options.number.clone(),
        format: plan.output.format,
        sensors_max: options.sensors_max as usize,
        late_ms: options.late_ms,
    };
    let mut listener = Listener::new(plan, options, rules)?;
    let end = End {
        stops,
        until: options.seconds.map(|after| crate::clock::now().instant + after),
        idle: options.idle,
        expect: options.expect.clone(),
    };
    listener.listen(end).await?;
    let expectation = match &options.expect {
        None => Expectation::Unknown,
        Some(path) => match Report::read(path) {
            Ok(report) => Expectation::Report(report),
            Err(error) => Expectation::Unreadable(error.to_string()),
        },
    };
    Ok(judge(&listener.audit, &options.number, &expectation, listener.hearing))
}
