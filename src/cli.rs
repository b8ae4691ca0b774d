//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use serde_json::Value;

use crate::codec::Format;
use crate::mqtt::topic::TOPIC_BYTES_MAX;
use crate::mqtt::topic::{Filter, Topic};
use crate::tools::doctor::scene::{MESSAGE_BYTES_MAX, MESSAGES_MAX, Probe, SECONDS_MAX};
use crate::tools::{record, simulate, verify};
use crate::units::{DiskSize, Period};

use self::watching::{AFTER_SENSORS, AFTER_TAIL, AFTER_TOP};
pub use self::watching::{Sensors, Tail};

mod watching;

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
    pub run: Run,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway until it is told to stop, or every sensor has ended.
    Run(Run),
    /// Let a running gateway, at its gateway.control, read its configuration again: entries, queue, batch, output and
    /// log.level are changed while it runs, and what needs a restart is named.
    #[command(after_help = AFTER_RELOAD)]
    Reload(Reload),
    /// Check the configuration: print the effective settings (no secrets), the bound on memory, every client id and topic
    /// that will be used, and until when certificates are valid.
    Check(Configuration),
    /// Show what the gateway would make of a message, or of lines: who takes it, each record and dead letter as it would
    /// be published, which time a record has and why, and the settings behind it. Needs no broker, and nothing that runs.
    #[command(after_help = AFTER_EXPLAIN)]
    Explain(Explain),
    /// Print the JSON Schema of the configuration file (draft 2020-12): every key with its text, values and
    /// default, for editors that complete and check TOML.
    Schema,
    /// Ask a running gateway, at the configuration's http.listen, whether it is ready; its answer goes to
    /// standard output.
    #[command(after_help = AFTER_HEALTH)]
    Health(Configuration),
    /// List the sensors of a running gateway, asked at the configuration's http.listen: whether something comes of each,
    /// since when, and how often it reports.
    #[command(after_help = AFTER_SENSORS)]
    Sensors(Sensors),
    /// Show a running gateway, asked at the configuration's http.listen, on the whole terminal: health, balance, flow, limits,
    /// connections, sensors, dead letters and warnings, as they change.
    #[command(after_help = AFTER_TOP)]
    Top(Configuration),
    /// Audit the configuration's brokers before trusting them: what they accept, keep, hold and
    /// drop, with a verdict and the setting to change for each.
    Doctor(Doctor),
    /// Publish the readings of the file's simulated sensors, one message each, to try or to load a gateway that
    /// subscribes to them.
    #[command(after_help = AFTER_SIMULATE)]
    Simulate(Simulate),
    /// Write what a broker publishes into a file, a line for each message, until it is told to stop;
    /// simulate --recording publishes it again.
    #[command(after_help = AFTER_RECORD)]
    Record(Record),
    /// Subscribe to the gateway's output, or read the files that it wrote, and judge: lost, duplicated and
    /// reordered readings, dead letters, latency.
    #[command(after_help = AFTER_VERIFY)]
    Verify(Verify),
    /// Show what a gateway delivers, at its output's broker or in the files that it writes: a line for each record and
    /// each dead letter.
    #[command(after_help = AFTER_TAIL)]
    Tail(Tail),
    /// Print what makes a shell complete this program's commands and options.
    #[command(after_help = AFTER_COMPLETIONS)]
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print this program's man page, or write it and a page for each command into a folder.
    #[command(after_help = AFTER_MAN)]
    Man {
        /// Write the pages here: sluicegate.1, sluicegate-check.1 … Files of these names are replaced.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

/// `sluicegate run`.
#[derive(Debug, Clone, Default, Args)]
pub struct Run {
    #[command(flatten)]
    pub config: Configuration,
    /// Read the file again whenever it changes, once it has been the same for a second. A file with a mistake is logged,
    /// changes nothing, and is tried again every five seconds: a file that it names may have been the mistake.
    #[arg(long)]
    pub watch_config: bool,
}

/// `sluicegate reload`.
#[derive(Debug, Clone, Args)]
pub struct Reload {
    /// The gateway's configuration; its gateway.control says where to ask.
    #[command(flatten)]
    pub config: Configuration,
    /// Ask at this socket in place of gateway.control.
    #[arg(long, value_name = "PATH")]
    pub control: Option<PathBuf>,
    /// Change nothing: print what would be changed, and what would need a restart, or why it is refused.
    #[arg(long)]
    pub dry_run: bool,
}

const AFTER_RELOAD: &str = "\
The gateway reads the file that it was started with, with the environment of its start, and checks it as
\"sluicegate check\" does. A file with a mistake changes nothing.

Changed while it runs: entries, [queue], [batch], [output] (all but its kind, its broker, and standard output),
log.level, gateway.memory_max and gateway.shutdown_grace. All else needs a restart, and so do an entry that reads
standard input, and [queue] beside one: each such key is named with both values, at each reload until there was one.

The answer has a line for each change, or says \"nothing has changed\". It comes when all of it is made: mostly at once.
An entry that is changed or removed, and an output that is changed, first deliver what they hold, for
gateway.shutdown_grace at most; removals come last, so the longest time is about twice that. No other entry notices.
With --dry-run the same lines are printed, and nothing is changed.

SIGHUP does the same, and --watch-config of a run whenever the file changes: the log has the answer.

Exit codes:
  0   applied (with --dry-run: it would be), or nothing to apply; what needs a restart is named
  64  refused, and why: nothing has changed; or wrong arguments, or gateway.control is not set
  75  no answer within ten minutes: is the gateway running, with the same gateway.control?";

#[derive(Debug, Clone, Default, Args)]
pub struct Configuration {
    /// The configuration file (TOML; JSON where its name ends in .json). Default: the first of
    /// config/sluicegate.toml and /etc/sluicegate/sluicegate.toml.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// `sluicegate explain`.
#[derive(Debug, Clone, Args)]
pub struct Explain {
    #[command(flatten)]
    pub config: Configuration,
    /// The message's topic.
    #[arg(long, value_name = "TOPIC", required_unless_present_any = ["dead_letter", "entry"])]
    pub topic: Option<String>,
    /// Ask this entry only. One that reads lines (exec, stdin) has no topic: each line of the payload is read as it
    /// would read it. A simulated one reads nothing: what it makes is told and, with --topic, what becomes of it there.
    #[arg(long, value_name = "NAME")]
    pub entry: Option<String>,
    /// Its payload. Without --payload and --file it is read from standard input.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub payload: Option<String>,
    /// The file with its payload.
    #[arg(long, value_name = "FILE", conflicts_with = "payload")]
    pub file: Option<PathBuf>,
    /// A message that came before it and says what it means: a birth of Sparkplug. As many as there are.
    #[arg(long, value_name = "TOPIC=FILE", value_parser = before)]
    pub before: Vec<(String, PathBuf)>,
    /// The broker had retained it.
    #[arg(long)]
    pub retained: bool,
    /// A user property of it (MQTT 5); as many as there are.
    #[arg(long, value_name = "NAME=VALUE", value_parser = property)]
    pub property: Vec<(String, String)>,
    /// What is given is a dead letter, one JSON object as the gateway published it, or a line that record wrote: explain
    /// the message in it.
    #[arg(long, visible_alias = "recorded",
        conflicts_with_all = ["topic", "entry", "retained", "property", "before"])]
    pub dead_letter: bool,
    /// Show the records in this format instead of output.format.
    #[arg(long, value_name = "FORMAT", value_parser = format)]
    pub format: Option<Format>,
    /// One JSON object instead of lines.
    #[arg(long)]
    pub json: bool,
}

fn property(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    if name.len().max(value.len()) > TOPIC_BYTES_MAX {
        return Err(format!(
            "a name and a value have at most {TOPIC_BYTES_MAX} bytes (MQTT 5 §1.5.4)"
        ));
    }
    Ok((name.to_owned(), value.to_owned()))
}

fn before(text: &str) -> Result<(String, PathBuf), String> {
    let (topic, file) = text.split_once('=').ok_or("write TOPIC=FILE")?;
    Ok((topic.to_owned(), file.into()))
}

fn format(text: &str) -> Result<Format, String> {
    let found = Format::ALL.iter().find(|it| it.as_str() == text);
    let known: Vec<_> = Format::ALL.iter().map(|it| it.as_str()).collect();
    found.copied().ok_or_else(|| format!("write {}", known.join(" or ")))
}

const AFTER_EXPLAIN: &str = "\
sluicegate explain --topic tele/t1/SENSOR --payload '{\"Time\":\"2026-11-03T19:34:28\"}'
rtl_433 -F json -T 60 | sluicegate explain --entry radio
mosquitto_sub -t 'gateway/dead-letters' -C 1 | sluicegate explain --dead-letter

Exit codes:
  0   every part of the message is a reading
  1   a part of it, or all, is a dead letter
  2   no reading comes of it: no entry takes it, or it is skipped
  64  wrong arguments or settings, or the payload cannot be read";

#[derive(Debug, Args)]
#[command(after_help = AFTER_DOCTOR)]
pub struct Doctor {
    #[command(flatten)]
    pub config: Configuration,
    /// One JSON object instead of lines.
    #[arg(long)]
    pub json: bool,
    /// Also publish one empty message to the output topic and one to the dead-letter topic, to learn whether
    /// that is permitted and whether anyone subscribes. Their consumers get these messages.
    #[arg(long)]
    pub probe_output: bool,
    /// The prefix of the probe's topics. Default: a random one below sluicegate-doctor/.
    #[arg(long, value_name = "TOPIC", value_parser = topic)]
    pub topic_prefix: Option<Topic>,
    /// The longest time for the whole run, in seconds.
    #[arg(long, value_name = "N", default_value_t = 90,
          value_parser = clap::value_parser!(u64).range(10..=SECONDS_MAX))]
    pub seconds: u64,
    /// QoS 1 messages that the capacity probe publishes beyond the window. The verdict covers no more than
    /// these.
    #[arg(long, value_name = "N", default_value_t = 3000,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(MESSAGES_MAX)))]
    pub messages: u32,
    /// Bytes of each.
    #[arg(long, value_name = "N", default_value_t = 64,
          value_parser = clap::value_parser!(u32).range(16..=i64::from(MESSAGE_BYTES_MAX)))]
    pub message_bytes: u32,
    /// The largest packet that is tried, in bytes. A larger batch is tried only up to this size.
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

/// Parses a topic with room for a level below it.
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
settings ask for). \"-\" was not looked at, or no setting needs it: it does not count.

Exit codes:
  0   fit
  1   risky
  2   unfit
  64  wrong arguments or settings, or the broker refuses the login
  75  could not judge: no broker there, connection lost, not permitted on the topics of the probe, out
      of time, or stopped";
/// `sluicegate simulate`.
#[derive(Debug, Clone, Args)]
pub struct Simulate {
    /// The configuration; its broker says where to publish, its simulated sensors what.
    #[command(flatten)]
    pub config: Configuration,
    /// The topic of a sensor's readings; {sensor} stands for its id. An edge node of Sparkplug B has topics of its own.
    #[arg(long, value_name = "TEMPLATE", default_value = "sensors/{sensor}/reading")]
    pub topic: String,
    /// Connections, 1 to 256, that share the sensors; no more are made than there are sensors. Each edge node of
    /// Sparkplug B has one beside them.
    #[arg(long, value_name = "N", default_value_t = 4,
        value_parser = clap::value_parser!(u16).range(1..=i64::from(simulate::CONNECTIONS_MAX)))]
    pub connections: u16,
    /// 1: a reading counts when the broker has acknowledged it. 0: when it is written, as those of edge nodes always do.
    #[arg(long, value_name = "0|1", default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=1))]
    pub qos: u8,
    /// Readings per second of all sensors together, the sensors in turn; 0: as fast as they are acknowledged.
    /// Default: each sensor at the interval of its entry. Readings that could not be sent in time are sent as
    /// soon as possible.
    #[arg(long, value_name = "R", value_parser = rate)]
    pub rate: Option<f64>,
    /// Unacknowledged readings of each connection, 1 to 16384; the broker's own limit (Receive Maximum) applies
    /// if it is lower. At the limit, sending waits.
    #[arg(long, value_name = "N", default_value_t = 1000,
        value_parser = clap::value_parser!(u16).range(1..=i64::from(simulate::WINDOW_MESSAGES_MAX)))]
    pub window: u16,
    /// Readings of each sensor, instead of what its entry says. Default: the entry's "readings"; if
    /// it has none, no end.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub readings: Option<u64>,
    /// Send nothing new after this many seconds, up to a year.
    #[arg(long, value_name = "S",
        value_parser = clap::value_parser!(u64).range(1..=simulate::SECONDS_MAX))]
    pub seconds: Option<u64>,
    /// Write the acknowledged readings, by sensor, as JSON; for verify --expect. The file is written at the
    /// start (with "ended":null) and at the end, each time as a whole.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Publish the messages that record wrote to this file, and to those that it renamed, in place of simulated sensors:
    /// each as it was, on its topic, in their order, on one connection. What the broker had retained is retained.
    #[arg(long, value_name = "FILE",
        conflicts_with_all = ["topic", "connections", "rate", "readings", "report"])]
    pub recording: Option<PathBuf>,
    /// How many times as fast as it was recorded, 0 to 1000000; 0: as fast as it is acknowledged.
    #[arg(long, value_name = "F", default_value_t = 1.0, requires = "recording", value_parser = speed)]
    pub speed: f64,
}

/// `sluicegate record`.
#[derive(Debug, Clone, Args)]
pub struct Record {
    /// The configuration: its broker, and the topics of its MQTT entries.
    #[command(flatten)]
    pub config: Configuration,
    /// Record these topics, + and # as usual, in place of those of the entries. May be given several times.
    #[arg(long, value_name = "FILTER", value_parser = filter)]
    pub topic: Vec<Filter>,
    /// 0: the broker drops what it cannot send in time. 1: it sends such messages later, and has them acknowledged
    /// when they are read.
    #[arg(long, value_name = "0|1", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=1))]
    pub qos: u8,
    /// The file to write. One that is there is refused.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Replace the file, and those that a recording renamed: FILE.1, FILE.2 …
    #[arg(long)]
    pub force: bool,
    /// Bytes of a file, 1MiB or more; a line is never longer than 1 MiB. A full file is renamed: FILE.1 is the
    /// youngest of those.
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = bytes_of_file)]
    pub bytes_max: u64,
    /// Files that are kept, FILE among them, 2 to 1000. The oldest is removed.
    #[arg(long, value_name = "N", default_value_t = 3,
        value_parser = clap::value_parser!(u32).range(2..=i64::from(record::FILES_MAX)))]
    pub files: u32,
    /// End after this time, such as 10m.
    #[arg(long = "for", value_name = "TIME", value_parser = period)]
    pub lasting: Option<Duration>,
    /// End after so many messages.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
}

fn period(text: &str) -> Result<Duration, String> {
    Period::try_from(Value::from(text)).map(|it| it.0)
}

fn bytes_of_file(text: &str) -> Result<u64, String> {
    let bytes = DiskSize::try_from(Value::from(text))?.get();
    let is_enough = bytes >= record::LINE_BYTES_MAX as u64;
    is_enough
        .then_some(bytes)
        .ok_or_else(|| "write 1MiB or more: a line may have as many".to_owned())
}

/// `sluicegate verify`.
#[derive(Debug, Clone, Args)]
pub struct Verify {
    /// The gateway's configuration; its output says where to listen, or which files to read.
    #[command(flatten)]
    pub config: Configuration,
    /// The report of simulate: judge by the readings that it lists as acknowledged. The file is read at the end
    /// and may be created later. Start verify before simulate.
    #[arg(long, value_name = "REPORT")]
    pub expect: Option<PathBuf>,
    /// The member with the sensor's own number, which counts from 1: in a record's "extra", or in its "value"
    /// if that is an object. If no record has it, the gateway's "sequence" is used, and the verdict says so.
    #[arg(long, value_name = "MEMBER", default_value = "number")]
    pub number: String,
    /// End after this many seconds, up to a year.
    #[arg(long, value_name = "S",
        value_parser = clap::value_parser!(u64).range(1..=simulate::SECONDS_MAX))]
    pub seconds: Option<u64>,
    /// End after this many seconds without a message, after the first record. Default: 5 with --expect (silence
    /// does not count while the report says that the simulation still runs), otherwise no end.
    #[arg(long, value_name = "S",
        value_parser = clap::value_parser!(u64).range(1..=simulate::SECONDS_MAX))]
    pub idle: Option<u64>,
    /// Read what an output wrote there, in place of the configuration's output: a file with those that rotation
    /// renamed (PATH.1 …) and PATH.dead-letters with its own, or every file of a folder. May be given several
    /// times; the files are read in this order, each once. Without a configuration the defaults apply.
    #[arg(long, value_name = "PATH",
        conflicts_with_all = ["topic", "dead_letter_topic", "seconds", "idle", "late_ms"])]
    pub file: Vec<PathBuf>,
    /// Listen to these batches in place of output.topic; + and # as usual.
    #[arg(long, value_name = "FILTER", value_parser = filter)]
    pub topic: Option<Filter>,
    /// Listen to these dead letters in place of the output's.
    #[arg(long, value_name = "FILTER", value_parser = filter)]
    pub dead_letter_topic: Option<Filter>,
    /// Sensors that are counted, 1 to 1000000: 300 bytes each, up to 2 KiB with many gaps. Records of further
    /// sensors are not judged, and the verdict is not clean.
    #[arg(long, value_name = "N", default_value_t = 100_000,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(verify::SENSORS_MAX)))]
    pub sensors_max: u32,
    /// Count readings that take more than this many milliseconds from their timestamp to here. They are not a
    /// fault.
    #[arg(long, value_name = "MS")]
    pub late_ms: Option<u64>,
    /// Print the verdict as one line of JSON instead of the table.
    #[arg(long)]
    pub json: bool,
}

fn speed(text: &str) -> Result<f64, String> {
    let speed = text.parse().ok().filter(|speed| (0.0..=1e6).contains(speed));
    speed.ok_or_else(|| "write 0 to 1000000".to_owned())
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.0..=simulate::RATE_MAX).contains(rate));
    rate.ok_or_else(|| format!("write 0 to {} readings per second", simulate::RATE_MAX))
}

fn filter(text: &str) -> Result<Filter, String> {
    Filter::try_from(text.to_owned()).map_err(|error| error.to_string())
}

const AFTER_HEALTH: &str = "\
Exit codes:
  0   ready: readings come in and batches go out, or would
  1   not ready, and why; or there is no answer
  64  wrong arguments or settings";

const AFTER_SIMULATE: &str = "\
A reading is {\"value\":50.12,\"timestamp\":\"2026-11-22T07:30:50.601Z\",\"number\":7}: \"number\" counts
per sensor from 1 without gaps, \"timestamp\" is when it was due; an entry's \"payload\" says otherwise. What its
\"faults\" plant is counted in the last line and in the report. After a lost connection all that is
unacknowledged is sent again, in order, before anything new.

With payload = \"sparkplug_b\" an entry is an edge node of Sparkplug B, and its sensors are devices: births, data by
alias with QoS 0, a will. A host may ask for births (NCMD, Node Control/Rebirth). docs/load-and-verify.md has more.

The end: all readings acknowledged, --seconds over, or a signal (SIGINT, SIGTERM, SIGHUP): then nothing
new is sent, and acknowledgements are waited for, for gateway.shutdown_grace; a second one ends at once.

Exit codes:
  0   everything that was sent was acknowledged
  64  wrong arguments or settings, or the broker refuses them
  70  internal error
  75  something was not acknowledged, or nothing was sent";

const AFTER_RECORD: &str = "\
sluicegate record --config fleet.toml --out fleet.ndjson --for 10m
sluicegate simulate --config trial.toml --recording fleet.ndjson
head -1 fleet.ndjson | sluicegate explain --config trial.toml --recorded

A line is {\"receivedAt\":…,\"topic\":…,\"qos\":0,\"payload\":…}, with \"payloadBase64\" for a payload that is no text,
\"retained\":true and \"userProperties\" where there are any. It has a session of its own, with a clean start: what is
published while the connection is lost is missing.

Exit codes:
  0   it ended as it was asked to, or by a signal, and the connection stood all the time
  64  wrong arguments or settings, the file is there, or the broker refuses us
  70  internal error
  74  the disk took no more: what is there are whole lines
  75  nothing came, or the connection was lost meanwhile";

const AFTER_VERIFY: &str = "\
lost        numbers 1 to \"acknowledged\" that did not come; without --expect: gaps between the lowest and
            the highest number of a sensor. A reading that became a dead letter is not lost
dead-lettered  readings that became dead letters: the letter's payload shows their number; or it shows
            none, and one of the sensor's numbers is missing: then nobody can tell
duplicated  records whose number had come before, after batches that came again (same id) were set
            aside; the last 65536 batches are remembered
reordered   numbers that came for the first time after a higher one
unnumbered  records without a sensor or a number
unreadable  messages on the output topic, or lines, that are no batch and no dead letter

Each sensor's numbers are kept as up to 128 ranges. One with more gaps at a time has its lowest closed:
it stays missing, and a late arrival in it counts as duplicated.

What the report says that simulate planted is no fault: as many duplicates are expected, and one less is lost.

The broker must not drop what it has for this listener: Mosquitto's default queue of 1000 batches does.

Files ([output.file], or --file) are read once, to their end, while the gateway runs or after it. A line that ends
too early was being written, or its writer was killed there: it is told of, and no fault. Repeated records of
format ndjson are known by their bytes. A file does not say when its readings arrived: there is no latency.

Exit codes:
  0   clean: something came, and all of the above are 0; repeated batches, dead letters and late readings
      are no fault
  1   faulty: one of the above is not 0
  64  wrong arguments or settings, the broker refuses them, or a file cannot be read
  70  internal error
  75  inconclusive: nothing came; a file was renamed while it was read; or the own connection was lost, and with MQTT 5 its session too; the
      report cannot be read, there are more sensors than --sensors-max, or records
      without number and sequence; or something is missing, and the simulation had not ended or had
      started before verify listened, or it may be a dead letter without a number, or in half a line. It never calls lost
      what it may not have heard";

const AFTER_COMPLETIONS: &str = "\
sluicegate completions bash > /usr/share/bash-completion/completions/sluicegate
sluicegate completions zsh > /usr/share/zsh/vendor-completions/_sluicegate
sluicegate completions fish > /usr/share/fish/vendor_completions.d/sluicegate.fish";

const AFTER_MAN: &str = "\
sluicegate man | man -l -
sluicegate man --dir /usr/local/share/man/man1";

const AFTER: &str = "\
Every key of the file can be overridden by an environment variable: SLUICEGATE__BATCH__AGE_MAX=1s
sets age_max in [batch].

Signals: SIGINT, SIGTERM and, on a terminal, SIGHUP (it is closed) drain within gateway.shutdown_grace; a
second one lets go at once, and what is not settled of QoS 1 stays unacknowledged at the broker; QoS 0
and simulated readings are lost. Where standard input is no terminal, SIGHUP reads the configuration again, as
sluicegate reload does; under nohup it is ignored.

Exit codes:
  0   drained, and the books close
  64  wrong arguments or settings, or our client id is in use: no restart mends it
  70  internal error, or the books do not close
  74  the spool cannot be used, or readings in it are lost
  75  stopped before everything was settled
  77  a broker, a command or a file has refused us for gateway.start_grace, and nothing of it has worked";

#[cfg(test)]
mod tests {
    use super::{AFTER, AFTER_RELOAD};
    use crate::exit::Exit;

    #[test]
    fn the_help_names_each_exit_code_of_a_run() {
        use Exit::{Drained, Internal, Refused, Settings, Spool, Unsettled};
        for exit in [Drained, Settings, Internal, Spool, Unsettled, Refused] {
            assert!(AFTER.contains(&format!("\n  {:<2}  ", exit as u8)), "{exit:?} is missing");
        }
    }

    #[test]
    fn the_help_of_reload_names_what_it_changes_and_its_exit_codes() {
        let keys = ["[queue]", "[batch]", "[output]", "log.level", "memory_max", "shutdown_grace"];
        let codes = [Exit::Drained, Exit::Settings, Exit::Unsettled];
        let codes = codes.map(|exit| format!("\n  {:<2}  ", exit as u8));
        for word in keys.into_iter().chain(codes.iter().map(String::as_str)) {
            assert!(AFTER_RELOAD.contains(word), "{word:?} is missing");
        }
    }
}
