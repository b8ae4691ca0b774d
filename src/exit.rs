//! How a run ends, for whoever started it.

use std::process::ExitCode;

/// Exit codes, after `sysexits.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Everything settled, and the books close.
    Drained = 0,
    /// `verify` found what should not be, or `doctor` a broker at which something can get lost.
    Faults = 1,
    /// `doctor` found a broker that cannot do what the settings ask for.
    Unfit = 2,
    /// Wrong arguments or settings, or a broker refuses what they ask for.
    Settings = 64,
    /// A mistake in this program, or the books do not close.
    Internal = 70,
    /// The spool's disk or file cannot be used.
    Spool = 74,
    /// Stopped before everything was settled.
    Unsettled = 75,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
