//! What the log is told of the spool: one line at each change, and not too many of them where an
//! output is just too slow.

use std::time::Instant;

use crate::repeat::Repeated;
use crate::spool::{DISK_RESERVE_BYTES, Error, Spool};

/// How full the spool is when it is said, in percent of `spool.bytes_max`.
const NEARLY_FULL_PERCENT: u64 = 80;

#[derive(Debug, Default, PartialEq, Eq)]
enum Way {
    #[default]
    Direct,
    Writing,
    Reading,
}

#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Fill {
    #[default]
    Low,
    NearlyFull,
    Full,
}

/// What was said last.
#[derive(Debug, Default)]
pub struct Said {
    way: Way,
    written: Repeated,
    read: Repeated,
    fill: Fill,
    failed: bool,
}

impl Said {
    /// Batches are written because the output is stuck.
    pub fn writing(&mut self, now: Instant) {
        if self.way != Way::Writing && self.written.due(now).is_some() {
            self.way = Way::Writing;
            tracing::warn!("the output takes nothing: batches go to the spool");
        }
    }

    /// Batches are read, for an output that takes them.
    pub fn reading(&mut self, spool: &Spool, now: Instant) {
        if self.way != Way::Reading && self.read.due(now).is_some() {
            self.way = Way::Reading;
            let (batches, readings) = (spool.entries(), spool.records());
            tracing::info!(batches, readings, "publishing from the spool");
        }
    }

    /// Everything has arrived.
    pub fn emptied(&mut self) {
        if std::mem::take(&mut self.way) != Way::Direct {
            tracing::info!("the spool is empty: batches go out directly");
            (self.written, self.read) = (Repeated::default(), Repeated::default());
        }
        self.fill = Fill::Low;
    }

    /// It is so full; `more` is whether another batch fits.
    pub fn filled(&mut self, spool: &Spool, more: bool) {
        let bytes = spool.bytes();
        let percent = (bytes * 100).checked_div(bytes + spool.room()).unwrap_or(100);
        let fill = match percent {
            _ if !more => Fill::Full,
            NEARLY_FULL_PERCENT.. => Fill::NearlyFull,
            _ => Fill::Low,
        };
        if fill > self.fill {
            if fill == Fill::Full {
                tracing::error!(
                    percent,
                    "the spool is full (spool.bytes_max, or {} MiB and less left on its disk): sources \
                     wait until the output takes more",
                    DISK_RESERVE_BYTES >> 20
                );
            } else {
                tracing::warn!(percent, "the spool is filling up (spool.bytes_max)");
            }
            self.fill = fill;
        } else if fill == Fill::Low && percent < NEARLY_FULL_PERCENT / 2 {
            self.fill = Fill::Low;
        }
    }

    /// The disk failed.
    pub fn failed(&mut self, error: &Error) {
        if !std::mem::replace(&mut self.failed, true) {
            tracing::error!(
                %error,
                "the spool's disk fails: readings wait in memory and at their brokers until it works"
            );
        }
    }

    /// The disk works. Whether it did not before.
    pub fn healthy(&mut self) -> bool {
        let failed = std::mem::take(&mut self.failed);
        if failed {
            tracing::info!("the spool's disk works again");
        }
        failed
    }
}
