//! `sluicegate simulate`: the simulated sensors of a file as publishers, or a recording that is played back.
//!
//! Each reading is one message, on its sensor's topic, numbered per sensor from 1 without gaps. A few
//! connections (`sender`) share the `sensors`; an edge node of Sparkplug B has one (`node`), and so has a recording
//! (`recorded`). [`schedule`] says which reading is
//! due, [`unacknowledged`] holds what was sent, [`report`] counts what was acknowledged. The time of a reading is when it was due: a broker
//! that stalls shows as latency, not as a pause in the load.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::clock::{self, Now};
use crate::mqtt;
use crate::mqtt::options::BrokerUrl;
use crate::pace::Pace;
use crate::phase;
use crate::plan::Plan;
use crate::state::metrics::Counter;
use crate::tasks::{Panicked, Tasks};

use self::course::{Course, Progress};
use self::deal::Dealt;
use self::playback::play;
use self::report::{Counts, Report};
use self::sender::{Common, Sent};

mod course;
mod deal;
mod node;
mod playback;
mod recorded;
pub mod report;
pub mod schedule;
mod sender;
mod sensors;
mod supply;
pub mod unacknowledged;

/// Connections, at most. More are refused.
pub const CONNECTIONS_MAX: u16 = 256;

/// Unacknowledged messages of a connection, at most. More are refused.
pub const WINDOW_MESSAGES_MAX: u16 = 16_384;

/// Readings per second, at most. More are refused: write 0 for as fast as it goes.
pub const RATE_MAX: f64 = 10_000_000.0;

/// The longest run. A longer one is refused.
pub const SECONDS_MAX: u64 = 31_536_000;

/// Bytes that are queued on a connection before it writes them.
const FILL_BYTES_MAX: usize = 64 * 1024;

/// Readings that a connection leaves out one after another, by planted faults, before it looks at its broker again.
const ABSENT_MAX: u32 = 1024;

/// How often progress is logged.
const PROGRESS_PAUSE: Duration = Duration::from_secs(5);

/// The arguments of a simulation.
#[derive(Debug, Clone)]
pub struct Arguments {
    /// The topic of a sensor, with `{sensor}`.
    pub topic: String,
    /// 1 to [`CONNECTIONS_MAX`]; no more are made than there are sensors.
    pub connections: u16,
    /// 0 or 1.
    pub qos: u8,
    /// Readings per second of all sensors together; 0: as fast as they are acknowledged; `None`:
    /// each sensor by its own interval.
    pub rate: Option<f64>,
    /// Unacknowledged messages of each connection, 1 to [`WINDOW_MESSAGES_MAX`]; the broker's Receive
    /// Maximum goes before it.
    pub window: u16,
    /// Readings of each sensor, in place of its entry's `readings`.
    pub readings: Option<u64>,
    /// Nothing new is sent after this time.
    pub seconds: Option<Duration>,
    /// The file of the report.
    pub report: Option<PathBuf>,
    /// What is played back in place of the sensors.
    pub recording: Option<PathBuf>,
    /// How many times as fast it goes; 0: as fast as it is acknowledged.
    pub speed: f64,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file has no simulated sensors.
    #[error(
        "{0} has no simulated sensor: add [sensors.<name>.simulated], or name another file with --config"
    )]
    NoSensor(String),
    #[error(
        "{file} has {nodes} simulated entries of Sparkplug B, a connection each, and {CONNECTIONS_MAX} are the most: \
         simulate fewer of them, with another file"
    )]
    Nodes { nodes: usize, file: String },
    /// The broker of the file is the embedded one.
    #[error(
        "broker.url is \"embedded\", a broker inside the gateway's process: name a broker to send \
         to, such as \"mqtt://localhost:1883\", or the port where that gateway's broker listens"
    )]
    Embedded,
    #[error("--topic {topic:?} {problem}")]
    Topic { topic: String, problem: String },
    #[error("{0}: name a recording that this user can read, with --recording")]
    Recording(std::io::Error),
    #[error(transparent)]
    Report(#[from] report::Error),
    /// A connection can never be made.
    #[error("{broker}: {error}")]
    Broker { broker: String, error: mqtt::Error },
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

/// The result of a simulation.
#[derive(Debug)]
pub struct Summary {
    /// The acknowledged readings, as a table.
    pub table: String,
    /// Everything that was sent was acknowledged, and the report is written.
    pub complete: bool,
}

/// The counters of all connections together.
#[derive(Debug, Default)]
struct Totals {
    sent: Counter,
    acknowledged: Counter,
    again: Counter,
    refused: Counter,
    /// Readings that were acknowledged although nobody subscribes to the topic.
    unheard: Counter,
    reconnects: Counter,
}

/// Runs until everything is acknowledged, `--seconds` are over, or a stop. The first stop ends the sending, and
/// unacknowledged messages are waited for, for `gateway.shutdown_grace`. A second stop ends the run at once.
pub async fn run(
    plan: &Plan,
    file: &str,
    arguments: &Arguments,
    pace: Arc<Pace>,
    stops: mpsc::Receiver<()>,
) -> Result<Summary, Error> {
    if plan.broker.url == BrokerUrl::Embedded {
        return Err(Error::Embedded);
    }
    let now = clock::now();
    let totals = Arc::new(Totals::default());
    let (lead, phase) = phase::start();
    let common = Common {
        qos: arguments.qos,
        window: usize::from(arguments.window),
        totals: Arc::clone(&totals),
        pace,
        phase,
    };
    let course = Course {
        stops,
        lead,
        totals: &totals,
        ends: arguments.seconds.map(|after| now.instant + after),
        closes: None,
        grace: plan.gateway.shutdown_grace.0,
        progress: Progress { due: now.instant + PROGRESS_PAUSE, acknowledged: 0 },
    };
    match &arguments.recording {
        Some(recording) => play((plan, recording), arguments, common, now, course).await,
        None => simulate(plan, file, arguments, &common, now, course).await,
    }
}

/// Publishes the readings of the file's simulated sensors.
async fn simulate(
    plan: &Plan,
    file: &str,
    arguments: &Arguments,
    common: &Common,
    now: Now,
    mut course: Course<'_>,
) -> Result<Summary, Error> {
    let seed = now.wall.millis();
    let mut report = Report::begin(now.wall, arguments.qos);
    let delays = plan.simulated().map(|(_, it)| it.delay_max().as_millis());
    report.delayed_ms = u64::try_from(delays.max().unwrap_or(0)).unwrap_or(u64::MAX);
    let Dealt { senders, nodes } = deal::deal(plan, (file, seed), arguments, common)?;
    if senders.is_empty() {
        report.qos = 0;
    }
    if let Some(path) = &arguments.report {
        report.write(path)?;
    }
    tracing::info!(
        broker = %plan.broker.url,
        connections = senders.len() + nodes.len(),
        qos = arguments.qos,
        seed,
        "simulation starts"
    );
    let mut tasks = Tasks::default();
    for sender in senders {
        tasks.start(sender.run());
    }
    for node in nodes {
        tasks.start(async {
            let Sent { supply, error } = node.run().await;
            Sent { supply: supply.into_sensors(), error }
        });
    }
    let supplies = course.follow(tasks, &plan.broker.url.to_string()).await?;
    let took = clock::now().instant.saturating_duration_since(now.instant);
    let mut entries: Vec<(String, Counts)> =
        plan.simulated().map(|(name, _)| (name.to_owned(), Counts::default())).collect();
    for sensor in supplies.into_iter().flat_map(|it| it.all) {
        let (_, counts) = entries.get_mut(sensor.entry).expect("each sensor has its entry");
        counts.add(sensor.counts);
        report.sensors.insert(sensor.id.into(), sensor.counts);
    }
    report.ended = Some(clock::now().wall.to_string());
    if let Some(path) = &arguments.report {
        report.write(path)?;
    }
    let mut table = report.table(&entries, took);
    table.push_str(&unheard(&common.totals));
    Ok(Summary { table, complete: report.is_complete() })
}

/// What to say of messages that reached nobody.
fn unheard(totals: &Totals) -> String {
    match totals.unheard.get() {
        0 => String::new(),
        unheard => format!("{unheard} of them reached nobody: no client subscribes there\n"),
    }
}
