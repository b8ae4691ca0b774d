//! How the built program is started: its configuration, its variables, what stands between it and the
//! system.

use std::ffi::OsStr;
use std::fs;
use std::io::PipeReader;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use tempfile::TempDir;

use super::{Gateway, Output, Stream, follow};
use crate::support::Monitor;

/// What is to be started.
#[derive(Debug)]
pub(crate) struct Launch {
    folder: TempDir,
    command: Command,
    input: Stdio,
}

impl Launch {
    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// With this configuration.
    fn config(self, text: &str) -> Self {
        let path = self.folder.path().join("sluicegate.toml");
        fs::write(&path, text).unwrap();
        self.arg("--config").arg(path)
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Another file beside the configuration (a password, a certificate), named relative to it.
    pub(crate) fn file(self, name: &str, text: &str) -> Self {
        fs::write(self.folder.path().join(name), text).unwrap();
        self
    }

    /// The same, with this standard input; else it is empty.
    pub(crate) fn input(self, input: impl Into<Stdio>) -> Self {
        Self { input: input.into(), ..self }
    }

    /// The same, started through `nohup`.
    pub(crate) fn nohup(self) -> Self {
        let mut command = Command::new("nohup");
        command.arg(self.command.get_program()).args(self.command.get_args());
        self.through(command)
    }

    /// The same, which can write no file larger than so many blocks of 512 bytes: a disk that is full.
    /// [`Gateway::lift_file_limit`] makes room.
    pub(crate) fn file_limit(self, blocks: u64) -> Self {
        // Without the trap the signal of the limit would end the process, which no full disk does.
        let script = format!("trap '' XFSZ; ulimit -S -f {blocks}; exec \"$0\" \"$@\"");
        let mut command = Command::new("sh");
        command.arg("-c").arg(script).arg(self.command.get_program());
        command.args(self.command.get_args());
        self.through(command)
    }

    /// The same, on a terminal of its own, which `script` (package util-linux) holds: the process is that
    /// one, and the terminal closes with it.
    pub(crate) fn on_terminal(self) -> Self {
        let words = std::iter::once(self.command.get_program()).chain(self.command.get_args());
        let words: Vec<_> = words.map(|it| format!("'{}'", it.display())).collect();
        let mut command = Command::new("script");
        command.args(["-q", "-e", "-f", "-c", &words.join(" "), "/dev/null"]);
        self.through(command)
    }

    /// Started by this command instead, in the same folder and environment.
    fn through(mut self, mut command: Command) -> Self {
        command.current_dir(self.folder.path());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        self.command = command;
        self
    }

    /// The same, with a clock that is as far from ours as the file says (`-1h`), and follows it. Durations
    /// are not touched.
    pub(crate) fn with_clock_of(self, file: &Path) -> Self {
        // The dynamic linker knows $LIB; what it cannot load it leaves out, and the test fails.
        self.env("LD_PRELOAD", "/usr/$LIB/faketime/libfaketimeMT.so.1")
            .env("FAKETIME_TIMESTAMP_FILE", &file.display().to_string())
            .env("FAKETIME_CACHE_DURATION", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    }

    pub(crate) fn start(mut self) -> Gateway {
        let piped = self.command.stdin(self.input).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        let output = Arc::new(Monitor::new(Output { open: 2, ..Output::default() }));
        follow(child.stdout.take().unwrap(), Stream::Out, &output);
        follow(child.stderr.take().unwrap(), Stream::Err, &output);
        Gateway::new(self.folder, child, output, None)
    }

    /// Starts it with standard error in a pipe that nobody reads before [`Gateway::read_on`].
    pub(crate) fn start_unread(mut self) -> Gateway {
        let (unread, end) = std::io::pipe().unwrap();
        let piped = self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(end);
        let mut child = piped.spawn().unwrap();
        let output = Arc::new(Monitor::new(Output { open: 1, ..Output::default() }));
        follow(child.stdout.take().unwrap(), Stream::Out, &output);
        Gateway::new(self.folder, child, output, Some(unread))
    }

    /// Starts it with standard output in the same unread pipe, as with `2>&1 | less`.
    pub(crate) fn start_unread_whole(mut self) -> Gateway {
        let (unread, end) = std::io::pipe().unwrap();
        let piped = self.command.stdin(Stdio::null()).stdout(end.try_clone().unwrap()).stderr(end);
        let child = piped.spawn().unwrap();
        let output = Arc::new(Monitor::new(Output::default()));
        Gateway::new(self.folder, child, output, Some(unread))
    }
}

impl Gateway {
    fn new(
        folder: TempDir,
        child: Child,
        output: Arc<Monitor<Output>>,
        unread: Option<PipeReader>,
    ) -> Self {
        Self { folder, child, output, unread, code: None, peak_before: 0 }
    }

    /// Runs with this configuration (TOML).
    pub(crate) fn start(config: &str) -> Self {
        Self::with_config(config).start()
    }

    /// A run with this configuration, to add to.
    pub(crate) fn with_config(config: &str) -> Launch {
        Self::bare().config(config)
    }

    /// A run of a subcommand with this configuration: `check`, `doctor`, …
    pub(crate) fn command(subcommand: &str, config: &str) -> Launch {
        Self::bare().arg(subcommand).config(config)
    }

    /// A run in which strace (its `inject=…`) delays or fails system calls.
    pub(crate) fn with_faulty_calls(config: &str, inject: &str) -> Launch {
        let runs = Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_ok();
        assert!(runs, "this test slows and fails system calls: apt-get install strace");
        let mut command = Command::new("strace");
        // The process keeps its place and its id (-D); only what is injected stops it.
        let calls = inject.split(['=', ':']).nth(1).unwrap();
        command.args(["-D", "-f", "--seccomp-bpf", "-o", "/dev/null"]);
        command.args(["-e", &format!("trace={calls}"), "-e", inject]);
        command.arg(env!("CARGO_BIN_EXE_sluicegate"));
        Self::launch(command).config(config)
    }

    /// A run with this configuration and [`Launch::file_limit`].
    pub(crate) fn with_file_limit(config: &str, blocks: u64) -> Launch {
        Self::with_config(config).file_limit(blocks)
    }

    /// A run with no arguments, in an empty folder and without SLUICEGATE variables.
    pub(crate) fn bare() -> Launch {
        Self::launch(Command::new(env!("CARGO_BIN_EXE_sluicegate")))
    }

    fn launch(mut command: Command) -> Launch {
        let folder = tempfile::tempdir().unwrap();
        command.current_dir(folder.path()).env("NO_COLOR", "1").env_remove("RUST_LOG");
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SLUICEGATE") {
                command.env_remove(name);
            }
        }
        // Many gateways run at a time: those that are asked over HTTP get a port of their own.
        command.env("SLUICEGATE__HTTP__LISTEN", "off");
        Launch { folder, command, input: Stdio::null() }
    }
}
