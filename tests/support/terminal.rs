//! A terminal of the test's own: a pseudo-terminal whose other end is read as a terminal reads it.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use tempfile::TempDir;
use vt100::Parser;

use super::{Monitor, ignore, kill, thread, within};

/// Long enough for anything that is drawn, also on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// The program on a terminal of its own; it is killed when dropped.
#[derive(Debug)]
pub(crate) struct Terminal {
    ours: File,
    /// It stays open, so that the terminal stays when the program has ended.
    theirs: OwnedFd,
    child: Child,
    screen: Arc<Monitor<Screen>>,
    _folder: TempDir,
}

/// What the terminal shows.
struct Screen(Parser);

impl std::fmt::Debug for Screen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.screen().contents())
    }
}

impl Terminal {
    /// Runs a subcommand with this configuration and environment on a terminal of so many columns and rows.
    pub(crate) fn start(
        subcommand: &str,
        config: &str,
        environment: &[(&str, &str)],
        (columns, rows): (u16, u16),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path: PathBuf = folder.path().join("sluicegate.toml");
        fs::write(&path, config).unwrap();
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let theirs = open(name.as_c_str(), flags, Mode::empty()).unwrap();
        let ours = File::from(ours);
        tcsetwinsize(&ours, size(columns, rows)).unwrap();
        let end = || Stdio::from(theirs.try_clone().unwrap());
        // It is the session's terminal: a change of its size is told to the program.
        let mut command = Command::new("setsid");
        command.args(["--ctty", env!("CARGO_BIN_EXE_sluicegate"), subcommand, "--config"]);
        command.arg(&path).env_remove("NO_COLOR").env("TERM", "xterm-256color");
        command.envs(environment.iter().copied());
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let screen = Arc::new(Monitor::new(Screen(Parser::new(some(rows), some(columns), 0))));
        let (mut reader, shown) = (ours.try_clone().unwrap(), Arc::clone(&screen));
        drop(thread("terminal", move || {
            let mut bytes = [0; 8192];
            while let Ok(count) = reader.read(&mut bytes) {
                shown.change(|screen| screen.0.process(&bytes[..count]));
            }
        }));
        Self { ours, theirs, child, screen, _folder: folder }
    }

    /// What is on the screen.
    pub(crate) fn text(&self) -> String {
        self.screen.lock().0.screen().contents()
    }

    /// Waits until the screen is so.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        let came = within(PATIENCE, || is_so(&self.text()));
        let text = self.text();
        assert!(came, "{what} does not show:\n{text}");
        text
    }

    /// Presses these keys.
    pub(crate) fn press(&mut self, keys: &str) {
        self.ours.write_all(keys.as_bytes()).unwrap();
    }

    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        self.screen.change(|screen| screen.0.screen_mut().set_size(some(rows), some(columns)));
        tcsetwinsize(&self.ours, size(columns, rows)).unwrap();
    }

    pub(crate) fn signal(&self, signal: &str) {
        kill(self.child.id(), signal);
    }

    /// Whether something has a colour.
    pub(crate) fn has_colours(&self) -> bool {
        let screen = self.screen.lock();
        let screen = screen.0.screen();
        let (rows, columns) = screen.size();
        let (rows, columns) = (rows.get(), columns.get());
        let places = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
        places.filter_map(|(row, column)| screen.cell(row, column)).any(|it| {
            (it.fgcolor(), it.bgcolor()) != (vt100::Color::Default, vt100::Color::Default)
        })
    }

    /// Whether keys go to the program one by one, unseen, and the screen is the program's.
    pub(crate) fn is_taken(&self) -> bool {
        let modes = tcgetattr(&self.theirs).unwrap().local_modes;
        let is_raw = !modes.intersects(LocalModes::ICANON | LocalModes::ECHO);
        let screen = self.screen.lock();
        is_raw || screen.0.screen().alternate_screen() || screen.0.screen().hide_cursor()
    }

    /// Waits for its end, and returns the exit code.
    #[track_caller]
    pub(crate) fn wait_exit(&mut self) -> i32 {
        let mut status = None;
        let ended = within(PATIENCE, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        assert!(ended, "it still runs:\n{}", self.text());
        status.unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        ignore(self.child.kill(), "it has ended by itself");
        ignore(self.child.wait(), "it has ended by itself");
    }
}

fn some(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).unwrap()
}

const fn size(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}
