//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

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
}

/// Where the configuration is.
#[derive(Debug, Clone, Default, Args)]
pub struct Configuration {
    /// The configuration file (TOML; also JSON and YAML by extension). Default: the first of
    /// config/sluicegate.toml and /etc/sluicegate/sluicegate.toml.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

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
