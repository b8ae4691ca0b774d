//! A private Mosquitto: one that drops nothing, or one with the limits that it comes with.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::process::{Process, until};

const ATTEMPTS: usize = 10;

const NO_DROP: &str = "max_queued_messages 0\nmax_inflight_messages 1000\n";

/// How long it may take to start, or to end.
const START_MAX: Duration = Duration::from_secs(5);

/// A running broker.
pub(crate) struct Mosquitto {
    /// Its process.
    pub(crate) process: Process,
    /// Its port on 127.0.0.1.
    pub(crate) port: u16,
    folder: TempDir,
}

impl Mosquitto {
    /// Starts one that drops nothing and waits until it listens.
    pub(crate) fn start() -> Self {
        Self::with(NO_DROP)
    }

    /// The same with the limits that it comes with: what exceeds them it drops.
    pub(crate) fn stock() -> Self {
        Self::with("")
    }

    fn with(limits: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let started = (0..ATTEMPTS).find_map(|_| spawn(&folder, limits));
        let (process, port) = started.expect("mosquitto is installed and starts");
        Self { process, port, folder }
    }

    /// Ends it: nobody listens there, and what it held is gone.
    pub(crate) fn end(&mut self) {
        self.process.signal("TERM");
        assert!(until(START_MAX, || self.process.ended().is_some()), "mosquitto ends");
    }

    /// Starts it once more where it was; since when it listens.
    pub(crate) fn again(&mut self) -> Instant {
        self.process = launch(&self.folder);
        assert!(listens(&mut self.process, self.port), "mosquitto starts");
        Instant::now()
    }

    /// The setting that names it.
    pub(crate) fn url(&self) -> String {
        format!("url = \"mqtt://127.0.0.1:{}\"", self.port)
    }

    /// Waits until someone has subscribed to `filter`.
    pub(crate) fn until_subscribed(&self, filter: &str) {
        let log = self.folder.path().join("log");
        let subscribed = || fs::read_to_string(&log).is_ok_and(|log| log.contains(filter));
        assert!(until(Duration::from_secs(10), subscribed), "nobody subscribed to {filter}");
    }
}

fn spawn(folder: &TempDir, limits: &str) -> Option<(Process, u16)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let text = format!(
        "listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n{limits}\
         log_dest stderr\nlog_type error\nlog_type subscribe\n"
    );
    fs::write(folder.path().join("mosquitto.conf"), text).unwrap();
    let mut process = launch(folder);
    // If another process has taken the port, ours has ended, or is about to.
    (listens(&mut process, port) && !until(Duration::from_millis(20), || process.ended().is_some()))
        .then_some((process, port))
}

fn launch(folder: &TempDir) -> Process {
    let [config, log] = ["mosquitto.conf", "log"].map(|name| folder.path().join(name));
    let log = File::create(log).unwrap();
    Process::start(Command::new(program()).arg("-c").arg(config).stdout(Stdio::null()).stderr(log))
}

fn listens(process: &mut Process, port: u16) -> bool {
    until(START_MAX, || {
        process.ended().is_some() || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
    })
}

fn program() -> &'static str {
    let candidates = ["mosquitto", "/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"];
    let runs = |name: &&str| {
        Command::new(name).arg("-h").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    };
    candidates.into_iter().find(runs).expect("this benchmark needs mosquitto")
}
