//! A real Mosquitto on a free port of 127.0.0.1, with its own configuration and folder.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::support::held_port::HeldPort;
use crate::support::{SOON, eventually, ignore, kill, within};

/// Drops nothing and lets a client have 1000 messages in flight.
pub(crate) const NO_DROP: &str =
    "max_queued_messages 0\nmax_inflight_messages 1000\nset_tcp_nodelay true\n";

/// As installed: 20 messages in flight, 1000 queued, the rest silently dropped.
pub(crate) const STOCK: &str = "";

const ATTEMPTS: usize = 20;

/// What is to be started.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    config: String,
    users: Vec<(String, String)>,
    acl: Option<String>,
    persistence: bool,
}

impl Setup {
    /// A user who may connect; with the first one, anonymous clients are refused.
    pub(crate) fn user(mut self, name: &str, password: &str) -> Self {
        self.users.push((name.to_owned(), password.to_owned()));
        self
    }

    /// The text of an ACL file.
    pub(crate) fn acl(mut self, text: &str) -> Self {
        self.acl = Some(text.to_owned());
        self
    }

    /// Keeps sessions and messages in a file when stopped with SIGTERM.
    pub(crate) fn persistent(mut self) -> Self {
        self.persistence = true;
        self
    }

    pub(crate) fn start(self) -> Mosquitto {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..ATTEMPTS {
            let port = free_port();
            let config = self.write(folder.path(), port);
            fs::write(folder.path().join("mosquitto.conf"), config).unwrap();
            if let Some(child) = spawn(folder.path(), port) {
                return Mosquitto { folder, port, child: Some(child), held: None };
            }
        }
        let log = read_log(folder.path());
        panic!("mosquitto did not start in {ATTEMPTS} attempts; its log:\n{log}");
    }

    /// Writes the files beside the configuration; the configuration's text.
    fn write(&self, folder: &Path, port: u16) -> String {
        let at = folder.display();
        // `user root` keeps the folder writable when the tests run as root; others are not asked.
        let mut text = format!("listener {port} 127.0.0.1\nlog_dest stderr\nuser root\n");
        if !self.config.contains("log_type") {
            text += "log_type error\nlog_type warning\nlog_type notice\nlog_type information\n";
        }
        if self.persistence {
            write!(text, "persistence true\npersistence_location {at}/\n").unwrap();
        }
        if self.users.is_empty() {
            text += "allow_anonymous true\n";
        } else {
            let passwords = folder.join("passwords");
            fs::write(&passwords, "").unwrap();
            for (name, password) in &self.users {
                add_user(&passwords, name, password);
            }
            write!(text, "allow_anonymous false\npassword_file {at}/passwords\n").unwrap();
        }
        if let Some(acl) = &self.acl {
            fs::write(folder.join("acl"), acl).unwrap();
            writeln!(text, "acl_file {at}/acl").unwrap();
        }
        text + &self.config
    }
}

/// A running (or stopped) Mosquitto; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Mosquitto {
    folder: TempDir,
    port: u16,
    child: Option<Child>,
    /// While it is stopped.
    held: Option<HeldPort>,
}

impl Mosquitto {
    /// Starts with this configuration text; the listener is added.
    pub(crate) fn start(config: &str) -> Self {
        Self::with(config).start()
    }

    /// More than a configuration text.
    pub(crate) fn with(config: &str) -> Setup {
        Setup { config: config.to_owned(), users: Vec::new(), acl: None, persistence: false }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// `mqtt://127.0.0.1:PORT`
    pub(crate) fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// What it wrote to its log, over all starts.
    pub(crate) fn log(&self) -> String {
        read_log(self.folder.path())
    }

    /// Sends a signal ("STOP" and "CONT" freeze it and let it go on).
    pub(crate) fn signal(&self, signal: &str) {
        kill(self.child.as_ref().unwrap().id(), signal);
    }

    /// Changes the text of its ACL file while it runs; it was started with one.
    pub(crate) fn set_acl(&self, text: &str) {
        let file = self.folder.path().join("acl");
        assert!(file.exists(), "started without an ACL file");
        fs::write(file, text).unwrap();
        self.signal("HUP");
    }

    /// Adds to its configuration, for the next start.
    pub(crate) fn add_config(&self, text: &str) {
        let file = self.folder.path().join("mosquitto.conf");
        let before = fs::read_to_string(&file).unwrap();
        fs::write(file, before + text).unwrap();
    }

    /// Lets a user in while it runs; it was started with another one.
    pub(crate) fn add_user(&self, name: &str, password: &str) {
        add_user(&self.folder.path().join("passwords"), name, password);
        self.signal("HUP");
    }

    /// Changes a user's password, for the next start.
    pub(crate) fn set_password(&self, name: &str, password: &str) {
        assert!(self.child.is_none(), "mosquitto still runs");
        add_user(&self.folder.path().join("passwords"), name, password);
    }

    /// SIGTERM, and waits for the end: with persistence it writes its file.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait_end()
    }

    /// kill -9: whatever is not on disk is gone.
    pub(crate) fn crash(&mut self) -> ExitStatus {
        self.signal("KILL");
        self.wait_end()
    }

    /// Starts again: same port, same configuration, same folder.
    pub(crate) fn restart(&mut self) {
        assert!(self.child.is_none(), "mosquitto still runs");
        self.held = None;
        let mut started = None;
        eventually("mosquitto starts on its old port", SOON, || {
            started = spawn(self.folder.path(), self.port);
            started.is_some()
        });
        self.child = started;
    }

    fn wait_end(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        let mut status = None;
        let ended = within(SOON, || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        if !ended {
            ignore(child.kill(), "it has just ended");
        }
        let status = status.unwrap_or_else(|| child.wait().unwrap());
        self.held = HeldPort::new(self.port);
        status
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            ignore(child.kill(), "it has ended by itself");
            ignore(child.wait(), "it has ended by itself");
        }
    }
}

fn add_user(passwords: &Path, name: &str, password: &str) {
    let mut command = Command::new("mosquitto_passwd");
    let command = command.arg("-b").arg(passwords).args([name, password]);
    let done = command.stderr(Stdio::null()).status();
    assert!(done.is_ok_and(|status| status.success()), "mosquitto_passwd failed");
}

/// A port that nobody listens on now. Somebody else may take it before it is used: try again then.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// The process, once it accepts connections; `None` if it ended instead.
fn spawn(folder: &Path, port: u16) -> Option<Child> {
    let log = File::options().create(true).append(true).open(folder.join("log")).unwrap();
    let mut child = Command::new(program())
        .arg("-c")
        .arg(folder.join("mosquitto.conf"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    let mut ended = false;
    let accepts = within(Duration::from_secs(10), || {
        ended = child.try_wait().unwrap().is_some();
        ended || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
    });
    // Another process may own the port: ours then ends within the first moments.
    if accepts && !ended && child.try_wait().unwrap().is_none() && listens(child.id(), port) {
        return Some(child);
    }
    ignore(child.kill(), "it has ended by itself");
    ignore(child.wait(), "it has ended by itself");
    None
}

/// Whether the process holds the listening socket of the port.
fn listens(pid: u32, port: u16) -> bool {
    let wanted = format!("0100007F:{port:04X}");
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let inode = rows
        .filter(|row| row.len() > 9 && row[1] == wanted && row[3] == "0A")
        .map(|row| format!("socket:[{}]", row[9]))
        .next();
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    inode.is_some_and(|inode| {
        let links = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
        links.into_iter().any(|link| link.as_os_str() == inode.as_str())
    })
}

fn program() -> &'static str {
    let candidates = ["mosquitto", "/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"];
    let runs = |name: &&str| {
        let mut command = Command::new(name);
        command.arg("-h").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    };
    candidates.into_iter().find(runs).unwrap_or_else(|| {
        panic!("these tests need a real broker: apt-get install mosquitto");
    })
}

fn read_log(folder: &Path) -> String {
    let bytes = fs::read(folder.join("log")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
