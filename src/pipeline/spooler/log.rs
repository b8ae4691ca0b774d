//! What is logged of the spool: one line at each change, and not too many of them where an output is just
//! too slow.

use std::time::Instant;

use super::Mode;
use crate::repeat::Repeated;
use crate::spool::{DISK_RESERVE_BYTES, Error, Spool};

/// How full the spool is when that is logged, in percent of what it may have.
const NEARLY_FULL_PERCENT: u64 = 80;

#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Fill {
    #[default]
    Low,
    NearlyFull,
    Full,
}

/// What was logged last.
#[derive(Debug, Default)]
pub(super) struct SpoolLog {
    mode: Mode,
    written: Repeated,
    read: Repeated,
    fill: Fill,
    failed: bool,
}

impl SpoolLog {
    /// Batches are written in this mode: it is logged where the output is stuck.
    pub(super) fn written(&mut self, mode: Mode, now: Instant) {
        let news = mode == Mode::Writing && self.mode != mode;
        if news && self.written.due(now).is_some() {
            self.mode = mode;
            tracing::warn!("the output takes nothing: batches go to the spool");
        }
    }

    /// Batches are read in this mode: it is logged where the output takes them.
    pub(super) fn read(&mut self, mode: Mode, spool: &Spool, now: Instant) {
        let news = mode == Mode::Replaying && self.mode != mode;
        if news && self.read.due(now).is_some() {
            self.mode = mode;
            let (batches, readings) = (spool.entries(), spool.records());
            tracing::info!(batches, readings, "publishing from the spool");
        }
    }

    pub(super) fn emptied(&mut self) {
        if std::mem::take(&mut self.mode) != Mode::Direct {
            tracing::info!("the spool is empty: batches go out directly");
            (self.written, self.read) = (Repeated::default(), Repeated::default());
        }
        self.fill = Fill::Low;
    }

    /// It is so full; `more` is whether another batch fits.
    pub(super) fn filled(&mut self, spool: &Spool, more: bool) {
        let bytes = spool.bytes();
        let percent = (bytes * 100).checked_div(bytes + spool.room()).unwrap_or(100);
        let fill = match percent {
            _ if !more => Fill::Full,
            NEARLY_FULL_PERCENT.. => Fill::NearlyFull,
            _ => Fill::Low,
        };
        if fill > self.fill {
            let limit = limit(spool);
            if fill == Fill::Full {
                tracing::error!(
                    bytes,
                    "the spool is full: {limit}; sources wait until the output takes more"
                );
            } else {
                tracing::warn!(percent, "the spool is filling up: {limit}");
            }
            self.fill = fill;
        } else if fill == Fill::Low && percent < NEARLY_FULL_PERCENT / 2 {
            self.fill = Fill::Low;
        }
    }

    pub(super) fn failed(&mut self, error: &Error) {
        if !std::mem::replace(&mut self.failed, true) {
            tracing::error!(
                %error,
                "the spool's disk fails: readings wait in memory and at their brokers until it works"
            );
        }
    }

    /// The disk works. Whether it did not before.
    pub(super) fn healthy(&mut self) -> bool {
        let failed = std::mem::take(&mut self.failed);
        if failed {
            tracing::info!("the spool's disk works again");
        }
        failed
    }
}
/// What takes no more, and how that is mended.
fn limit(spool: &Spool) -> String {
    if spool.is_bound_by_disk() {
        let left = DISK_RESERVE_BYTES >> 20;
        format!(
            "the disk of spool.path has {left} MiB that stay free, and little more: make room there"
        )
    } else {
        "no more than spool.bytes_max fits".to_owned()
    }
}
