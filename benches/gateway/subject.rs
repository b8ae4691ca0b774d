//! What is measured: two bare subscribers, and the gateway.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::audit::{Audit, Auditor};
use crate::bare;
use crate::broker::Mosquitto;
use crate::load::{Flow, Load, Pace, Publishers};
use crate::process::{Process, bytes_written, until, until_every};
use crate::wire;

/// What the subjects subscribe to.
pub(crate) const READINGS: &str = "sensors/+/reading";

/// Readings by which the output of `mosquitto_sub` is gauged.
const GAUGE: u64 = 2000;

/// Between two looks at a gateway's metrics, and how long they are looked at.
pub(crate) const NAP: Duration = Duration::from_millis(5);
const ZERO_WAIT_MAX: Duration = Duration::from_mins(1);

/// A subject.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    /// A rumqttc event loop that counts.
    Rumqttc,
    /// `mosquitto_sub -F %p > /dev/null`.
    MosquittoSub,
    /// The gateway.
    Gateway,
}

impl Subject {
    /// What it is called in the tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Rumqttc => "bare rumqttc loop",
            Self::MosquittoSub => "mosquitto_sub",
            Self::Gateway => "sluicegate",
        }
    }

    /// Those that can run here.
    pub(crate) fn all() -> Vec<Self> {
        let mut command = Command::new("mosquitto_sub");
        let command = command.arg("--help").stdout(Stdio::null()).stderr(Stdio::null());
        let mut all = vec![Self::Rumqttc, Self::MosquittoSub, Self::Gateway];
        all.retain(|it| *it != Self::MosquittoSub || command.status().is_ok());
        all
    }

    /// Starts it and waits until it is subscribed; what comes out is counted in `flow`, to a step
    /// of so many readings, and the gateway's batches are shown to `audit`.
    pub(crate) fn start<A: Audit>(
        self,
        broker: &Mosquitto,
        qos: u8,
        flow: &Arc<Flow>,
        audit: A,
    ) -> Running<A> {
        match self {
            Self::Rumqttc => {
                let process = start_rumqttc(broker, qos, flow);
                Running { process, auditor: None, step: bare::STEP, _folder: None }
            }
            Self::MosquittoSub => {
                let process = start_mosquitto_sub(broker, qos, flow);
                Running { process, auditor: None, step: 1, _folder: None }
            }
            Self::Gateway => {
                let auditor = Some(Auditor::start(broker.port, qos, flow, audit));
                let gateway = Gateway::start(&fleet(broker, qos));
                broker.until_subscribed(READINGS);
                let Gateway { process, folder } = gateway;
                Running { process, auditor, step: 1, _folder: Some(folder) }
            }
        }
    }
}

/// A subject at work.
pub(crate) struct Running<A> {
    /// Its process.
    pub(crate) process: Process,
    /// The consumer of its batches, if it makes any.
    pub(crate) auditor: Option<Auditor<A>>,
    /// Fewer readings than this may have come out uncounted.
    pub(crate) step: u64,
    _folder: Option<TempDir>,
}

fn start_rumqttc(broker: &Mosquitto, qos: u8, flow: &Arc<Flow>) -> Process {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([bare::FLAG, &broker.port.to_string(), &qos.to_string()]);
    let mut process = Process::start(command.stdout(Stdio::piped()));
    let (counts, flow) = (process.child.stdout.take().unwrap(), Arc::clone(flow));
    thread::spawn(move || {
        for count in BufReader::new(counts).lines() {
            flow.got.store(count.unwrap().parse().unwrap(), Ordering::Release);
        }
    });
    broker.until_subscribed(READINGS);
    process
}

/// Its count is told from the bytes it has written, to /dev/null and to the broker: how many they
/// are for a reading is found out first.
fn start_mosquitto_sub(broker: &Mosquitto, qos: u8, flow: &Arc<Flow>) -> Process {
    let mut command = Command::new("mosquitto_sub");
    command.args(["-h", "127.0.0.1", "-p", &broker.port.to_string(), "-t", READINGS]);
    command.args(["-q", &qos.to_string(), "-F", "%p"]).stdout(Stdio::null());
    let process = Process::start(&mut command);
    broker.until_subscribed(READINGS);
    let pid = process.child.id();
    let (before, mut after) = (bytes_written(pid).unwrap(), 0);
    let (pace, start) = (Pace::Flood, Instant::now());
    let load = Load { port: broker.port, qos, pace, readings: GAUGE, padding: 0, start };
    Publishers::start(load, &Arc::default()).join();
    let quiet = until(Duration::from_secs(5), || {
        let last = std::mem::replace(&mut after, bytes_written(pid).unwrap());
        thread::sleep(Duration::from_millis(50));
        after > before && after == last
    });
    let each = (after - before) / GAUGE;
    assert!(quiet && (after - before) % GAUGE == 0, "{} bytes of {GAUGE}", after - before);
    let flow = Arc::clone(flow);
    thread::spawn(move || {
        while let Some(bytes) = bytes_written(pid) {
            flow.got.store((bytes - after) / each, Ordering::Release);
            thread::sleep(Duration::from_millis(1));
        }
    });
    process
}

/// The configuration of a gateway for the fleet, at one broker.
pub(crate) fn fleet(broker: &Mosquitto, qos: u8) -> String {
    format!(
        "[log]\nlevel = \"warn\"\n[broker]\n{}\n\
         [sensors.fleet.mqtt]\ntopic = \"sensors/{{sensor}}/reading\"\nqos = {qos}\n\
         [batch]\nrecords_max = 500\nage_max = \"100ms\"\n\
         [output]\ntopic = \"gateway/batches\"\nqos = {qos}\n",
        broker.url()
    )
}

/// The same with a spool in `disk`, an output of its own, and metrics. More of `[spool]` may follow.
pub(crate) fn spooling(broker: &Mosquitto, output: &str, disk: &Path) -> String {
    format!(
        "{}answer_max = \"1s\"\n[output.broker]\n{output}\nkeep_alive = \"2s\"\n\
         [http]\nlisten = \"127.0.0.1:0\"\n[spool]\npath = \"{}\"\n",
        fleet(broker, 1).replace("\"warn\"", "\"info\""),
        disk.display()
    )
}

/// What stands in the log before the port.
const HTTP_AT: &str = "metrics: http://127.0.0.1:";

/// The gateway.
pub(crate) struct Gateway {
    /// Its process.
    pub(crate) process: Process,
    folder: TempDir,
}

impl Gateway {
    /// Starts it with this configuration.
    pub(crate) fn start(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("gateway.toml"), config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_sluicegate"));
        command.arg("--config").arg(path("gateway.toml"));
        command.stdout(File::create(path("balance")).unwrap());
        command.stderr(File::create(path("log")).unwrap());
        Self { process: Process::start(&mut command), folder }
    }

    /// The bound it has logged (`memory_bound="69.6 MiB"`, at level info), in MB.
    pub(crate) fn memory_bound(&self) -> f64 {
        let log = read(self.folder.path(), "log");
        let (_, rest) = log.split_once("memory_bound=\"").unwrap();
        let (number, _) = rest.split_once(" MiB").unwrap();
        number.parse::<f64>().unwrap() * 1.048_576
    }

    /// Where it serves HTTP. Needs `http.listen` and level info.
    pub(crate) fn http_port(&self) -> u16 {
        let mut log = String::new();
        let told = until(Duration::from_secs(5), || {
            log = read(self.folder.path(), "log");
            log.contains(HTTP_AT)
        });
        assert!(told, "no {HTTP_AT} in: {log}");
        let (_, rest) = log.split_once(HTTP_AT).unwrap();
        let (port, _) = rest.split_once('/').unwrap();
        port.parse().unwrap()
    }

    /// The value of one of its metrics. Needs the same.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        wire::metric(self.http_port(), name)
    }

    /// Waits until one of its metrics is 0; when it was.
    pub(crate) fn until_zero(&self, name: &str) -> Instant {
        let zero = until_every(NAP, ZERO_WAIT_MAX, || self.metric(name) == 0);
        assert!(zero, "{name} is 0");
        Instant::now()
    }

    /// Lets so much time pass, through which it must live.
    pub(crate) fn lives(&mut self, time: Duration) {
        let ended = until(time, || self.process.ended().is_some());
        assert!(!ended, "the gateway has ended: {}", read(self.folder.path(), "log"));
    }

    /// SIGTERM: waits for the end; how it ended, and the balance.
    pub(crate) fn drain(&mut self) -> (Option<ExitStatus>, String) {
        self.process.signal("TERM");
        let mut status = None;
        until(Duration::from_secs(15), || {
            status = self.process.ended();
            status.is_some()
        });
        (status, read(self.folder.path(), "balance").trim().to_owned())
    }

    /// The same, for people.
    pub(crate) fn drained(&mut self) -> String {
        let (status, balance) = self.drain();
        let status = status.map_or("still running".to_owned(), |it| it.to_string());
        format!("{status}; {balance}")
    }
}

fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap()
}
