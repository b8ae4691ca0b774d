//! How a run ends: exit codes, and the last line.

use std::convert::Infallible;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use crate::tasks;

/// The longest time for the balance to be written to standard output. If nobody reads it, only the exit code tells.
const BALANCE_MAX: Duration = Duration::from_secs(1);

/// Exit codes, after `sysexits.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Everything settled, and the books close.
    Drained = 0,
    /// `verify` found faults, `doctor` found a broker that can lose messages, `health` found a gateway that is
    /// not ready, `explain` found a dead letter.
    Faults = 1,
    /// `doctor` found a broker that does not support what the settings need; no reading comes of what `explain` was
    /// given.
    Unfit = 2,
    /// Wrong arguments or settings, or our client id is in use: a restart does not help. For a tool also: the
    /// broker refuses it.
    Settings = 64,
    /// A bug, or the books do not close.
    Internal = 70,
    /// The spool's disk or file cannot be used, or readings in it are lost. `record`: the disk takes no more;
    /// `tail`: standard output does.
    Spool = 74,
    /// Stopped before everything was settled.
    Unsettled = 75,
    /// A broker, a command or a file has refused us for `gateway.start_grace`, and nothing of it has worked: a
    /// restart may help.
    Refused = 77,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Runs `work`. A panic in it ends the run, not the process: it returns [`Exit::Internal`] with `said()`. The
/// panic has been logged where it happened.
pub fn guarded<T>(
    work: impl FnOnce() -> (Exit, Option<T>),
    said: impl FnOnce() -> Option<T>,
) -> (Exit, Option<T>) {
    // What the work has borrowed is only read after a panic.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| (Exit::Internal, said()))
}

/// Writes the last line to standard output, or to standard error. A reader that does not read may block it:
/// after `BALANCE_MAX` the line is dropped.
pub fn say_last(line: String, to_stderr: bool) {
    let (open, written) = mpsc::sync_channel::<Infallible>(1);
    let thread = tasks::thread("balance", move || {
        // The reader closed its pipe: not our error.
        if to_stderr {
            drop(writeln!(std::io::stderr(), "{line}"));
        } else {
            drop(writeln!(std::io::stdout(), "{line}"));
        }
        drop(open);
    });
    // If the thread did not start, the channel is closed.
    drop(thread);
    let Err(_written_or_given_up) = written.recv_timeout(BALANCE_MAX);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_internal_error_and_what_is_known_is_said() {
        let ended = guarded(|| panic!("as planned"), || Some("the balance"));
        assert_eq!(ended, (Exit::Internal, Some("the balance")));
        let ended = guarded(|| (Exit::Drained, Some("mine")), || Some("not asked for"));
        assert_eq!(ended, (Exit::Drained, Some("mine")));
    }
}
