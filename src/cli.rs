//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::mqtt::topic::Topic;
use crate::tools::doctor::scene::{MESSAGE_BYTES_MAX, MESSAGES_MAX, Probe, SECONDS_MAX};

/// An MQTT ingestion gateway that can prove it lost nothing.
///
/// Sensors (simulated, or subscribed to at an MQTT broker) merge into one bounded queue; a worker
/// batches their readings and publishes the batches to an output topic. A reading is acknowledged
/// upstream only when its batch has been acknowledged downstream.
#[derive(Debug, Parser)]
#[command(version, after_help = AFTER, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do; without a command the gateway runs.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// For a run.
    #[command(flatten)]
    pub config: Configuration,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway until it is told to stop, or every sensor has ended.
    Run(Configuration),
    /// Check the configuration: print what is in effect (no secrets), the bound on memory, and every
    /// client id and topic that will be used.
    Check(Configuration),
    /// Audit the configuration's brokers before trusting them: what they accept, keep, hold and
    /// drop, with a verdict and the setting to change for each.
    Doctor(Doctor),
}

/// Where the configuration is.
#[derive(Debug, Clone, Default, Args)]
pub struct Configuration {
    /// The configuration file (TOML; also JSON and YAML by extension). Default: the first of
    /// config/sluicegate.toml and /etc/sluicegate/sluicegate.toml.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// How `doctor` asks.
#[derive(Debug, Args)]
#[command(after_help = AFTER_DOCTOR)]
pub struct Doctor {
    /// Whose brokers.
    #[command(flatten)]
    pub config: Configuration,
    /// One JSON object instead of lines.
    #[arg(long)]
    pub json: bool,
    /// Also publish one empty message to the output topic and one to the dead-letter topic, to learn
    /// whether that is permitted and whether anyone listens. Their consumers get it.
    #[arg(long)]
    pub probe_output: bool,
    /// What begins the topics of the probe. Default: a random one below sluicegate-doctor/.
    #[arg(long, value_name = "TOPIC", value_parser = topic)]
    pub topic_prefix: Option<Topic>,
    /// A bound on the whole run.
    #[arg(long, value_name = "N", default_value_t = 90,
          value_parser = clap::value_parser!(u64).range(15..=SECONDS_MAX))]
    pub seconds: u64,
    /// QoS 1 messages that the capacity probe publishes beyond the window: how far beyond, is how far
    /// the verdict reaches.
    #[arg(long, value_name = "N", default_value_t = 3000,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(MESSAGES_MAX)))]
    pub messages: u32,
    /// Bytes of each.
    #[arg(long, value_name = "N", default_value_t = 64,
          value_parser = clap::value_parser!(u32).range(16..=i64::from(MESSAGE_BYTES_MAX)))]
    pub message_bytes: u32,
    /// The largest packet that is tried, in bytes. A batch that may be larger is tried up to there.
    #[arg(long, value_name = "N", default_value_t = 16 << 20,
          value_parser = clap::value_parser!(u32).range(1024..=268_435_455))]
    pub packet_bytes_max: u32,
}

impl Doctor {
    /// How large the probe is.
    pub fn probe(&self) -> Probe {
        Probe {
            topic_prefix: self.topic_prefix.clone(),
            messages: self.messages,
            message_bytes: self.message_bytes,
            packet_bytes_max: self.packet_bytes_max,
            within: Duration::from_secs(self.seconds),
            output: self.probe_output,
        }
    }
}

/// A topic with room for a level below it.
fn topic(text: &str) -> Result<Topic, String> {
    let topic = text.trim_end_matches('/').to_owned();
    if topic.len() > 256 {
        return Err("has more than 256 bytes".into());
    }
    Topic::try_from(topic).map_err(|error| error.to_string())
}

const AFTER_DOCTOR: &str = "\
It uses topics and clients of its own (<gateway.id>-doctor-…), and removes what it leaves at the broker.
The account needs to read and write the topics of the probe.

Verdicts: fit, risky (it works, and something can get lost or late), unfit (it cannot do what the
settings ask for). \"-\" was not looked at and does not count.

Exit codes:
  0   fit
  1   risky
  2   unfit
  64  wrong arguments or settings, or the broker refuses the login
  75  could not judge: no broker there, connection lost, not permitted on the topics of the probe, out
      of time, or stopped";

const AFTER: &str = "\
Every key of the file can be overridden by an environment variable: SLUICEGATE__BATCH__AGE_MAX=1s
sets age_max in [batch].

Signals: SIGINT and SIGTERM drain within gateway.shutdown_grace; a second one lets go at once, and
what is not settled stays unacknowledged at the broker.

Exit codes:
  0   drained, and the books close
  64  wrong arguments or settings, or a broker refuses what they ask for
  70  internal error, or the books do not close
  75  stopped before everything was settled";
