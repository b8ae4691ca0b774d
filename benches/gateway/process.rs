//! A child process: what it uses, read from /proc, and its end.

use std::fs;
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

/// How long a measurement waits for a calm machine; then it begins all the same.
const CALM_WAIT_MAX: Duration = Duration::from_secs(4);

/// Percent of one processor that strangers may use on a machine that counts as calm.
const CALM: f64 = 25.0;

/// Waits until strangers leave the machine alone. Nothing of ours may be running.
pub(crate) fn until_calm() {
    until(CALM_WAIT_MAX, || {
        let before = Usage::now(&[]);
        thread::sleep(Duration::from_millis(200));
        Usage::now(&[]).others_since(&before) < CALM
    });
}

/// Waits until `condition` is true, for at most `within`; whether it is.
pub(crate) fn until(within: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + within;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// The same, for a condition that costs something: it is looked at so often only, the first time after
/// `every`.
pub(crate) fn until_every(
    every: Duration,
    within: Duration,
    mut condition: impl FnMut() -> bool,
) -> bool {
    let mut next = Instant::now() + every;
    until(within, || {
        let due = Instant::now() >= next;
        due && {
            next = Instant::now() + every;
            condition()
        }
    })
}

/// A child process; it is killed when dropped.
pub(crate) struct Process {
    /// The child.
    pub(crate) child: Child,
}

impl Process {
    /// Starts it.
    pub(crate) fn start(command: &mut Command) -> Self {
        Self { child: command.spawn().unwrap() }
    }

    /// Whether it has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// User and system time so far in seconds, to 10 ms.
    pub(crate) fn cpu(&self) -> f64 {
        cpu_of(self.child.id())
    }

    /// Resident memory in bytes.
    pub(crate) fn memory(&self) -> u64 {
        self.status("VmRSS:") * 1024
    }

    /// The peak of resident memory in bytes.
    pub(crate) fn memory_peak(&self) -> u64 {
        self.status("VmHWM:") * 1024
    }

    /// Its threads.
    pub(crate) fn threads(&self) -> u64 {
        self.status("Threads:")
    }

    /// Sends a signal: "TERM", "STOP", "CONT".
    pub(crate) fn signal(&self, name: &str) {
        let mut command = Command::new("kill");
        command.arg(format!("-{name}")).arg(self.child.id().to_string());
        assert!(command.status().unwrap().success(), "kill -{name}");
    }

    fn status(&self, key: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Errors: it has ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn cpu_of(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name in parentheses may hold spaces.
    let (_, fields) = text.rsplit_once(')').unwrap();
    let fields: Vec<&str> = fields.split_whitespace().collect();
    ticks(fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap())
}

/// Bytes that a process has written so far, to whatever.
pub(crate) fn bytes_written(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("wchar: "))?.parse().ok()
}

fn ticks(count: u64) -> f64 {
    count as f64 / 100.0
}

/// What the machine and some of its processes have used: to tell how much strangers have.
#[derive(Clone, Copy)]
pub(crate) struct Usage {
    at: Instant,
    /// All processes (what interrupts took is nobody's).
    all: f64,
    /// This process and the named ones.
    own: f64,
}

impl Usage {
    /// Up to now, with these processes as our own.
    pub(crate) fn now(own: &[&Process]) -> Self {
        let text = fs::read_to_string("/proc/stat").unwrap();
        let line = text.lines().next().unwrap().split_whitespace().skip(1);
        let fields: Vec<u64> = line.map(|it| it.parse().unwrap()).collect();
        // user, nice, system; stolen
        let all = ticks(fields[0] + fields[1] + fields[2] + fields[7]);
        let own = own.iter().map(|process| process.cpu()).sum::<f64>();
        Self { at: Instant::now(), all, own: own + cpu_of(std::process::id()) }
    }

    /// Percent of one processor that strangers have used since `before`.
    pub(crate) fn others_since(&self, before: &Self) -> f64 {
        let others = (self.all - before.all - self.own + before.own).max(0.0);
        100.0 * others / (self.at - before.at).as_secs_f64()
    }
}
