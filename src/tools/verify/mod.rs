//! `sluicegate verify`: listens at the output, and judges.
//!
//! One connection subscribes to batches and dead letters and feeds an [`audit`]. At the end a [`verdict`]
//! compares that with the report of a simulation. While the connection is lost the broker keeps its session
//! (MQTT 5). If the broker did not keep it, the verifier has missed messages, knows that, and calls nothing
//! lost.

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

/// Sensors that are counted, at most. More are refused: each takes some 300 bytes, and up to 2 KiB if it has
/// gaps.
pub const SENSORS_MAX: u32 = 1_000_000;

/// How often progress is logged.
const PROGRESS_PAUSE: Duration = Duration::from_secs(5);

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
    /// Batches go to files.
    #[error(
        "batches go to a file ([output.file]), and verify listens to a topic: name one with --topic"
    )]
    File,
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

/// Listens until a stop, `--seconds`, or `--idle`, and judges.
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
    };
    let end = End {
        stops,
        until: arguments.seconds.map(|after| crate::clock::now().instant + after),
        idle: arguments.idle,
        expect: arguments.expect.clone(),
    };
    let mut listener = Listener::new(plan, arguments, rules, end)?;
    listener.listen().await?;
    let expectation = match &arguments.expect {
        None => Expectation::Unknown,
        Some(path) => match Report::read(path) {
            Ok(report) => Expectation::Report(report),
            Err(error) => Expectation::Unreadable(error.to_string()),
        },
    };
    Ok(judge(&listener.audit, &arguments.number, &expectation, listener.hearing))
}
