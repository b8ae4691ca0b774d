//! What fails: the disk, an entry, the file as a whole, its name.

use std::time::{Duration, Instant};

use super::Spooler;
use super::kept::Kept;
use crate::clock::Now;
use crate::spool::{Error, Key};

/// How often it is checked whether the spool's file is where its name leads, while it holds something.
/// It is checked before anything settles as spooled, too.
const CHECK_EVERY: Duration = Duration::from_secs(10);

impl Spooler {
    /// Checks from time to time whether the file has lost its name: nobody may write for long.
    pub(super) fn check_file(&mut self, now: Now) {
        if self.spool.entries() == 0 {
            self.checked = None;
            return;
        }
        let due = *self.checked.get_or_insert(now.instant) + CHECK_EVERY;
        if now.instant < due {
            return;
        }
        self.checked = Some(now.instant);
        if !self.writes.allows(now.instant) {
            return;
        }
        match self.spool.anchor() {
            Ok(()) => self.log_renewed(),
            Err(error) => self.write_failed(now, &error),
        }
    }

    /// When it checks again.
    pub(super) fn check_at(&self) -> Option<Instant> {
        self.checked.map(|checked| checked + CHECK_EVERY)
    }

    /// Removes from the disk what was acknowledged, and sees to it that the next run finds what is left. What
    /// it will not find is lost: it stays in the balance as held.
    pub fn finish(&mut self, now: Now) {
        self.tidy(now, true);
        if self.spool.entries() == 0 {
            return;
        }
        match self.spool.anchor() {
            Ok(()) => self.log_renewed(),
            Err(error @ (Error::Adrift { .. } | Error::Damaged { .. })) => {
                let readings = self.books.balance().spooled;
                self.books.metrics.spool_unreadable.add(readings);
                tracing::error!(%error, readings, "the next run will not find what the spool held");
            }
            Err(error) => tracing::error!(%error, "the next run may not find what the spool holds"),
        }
    }

    /// Logs that the file was written anew, if it was.
    pub(super) fn log_renewed(&mut self) {
        let (batches, readings) = (self.spool.entries(), self.spool.records());
        let Some(path) = self.spool.renewed() else { return };
        self.books.metrics.spool_failures.one();
        tracing::error!(
            path = %path.display(),
            batches,
            readings,
            "the spool's file was deleted or moved while in use: what it held was written to a new one"
        );
    }

    /// What cannot be read any more stays in the balance as held: it was taken, and did not arrive.
    pub(super) fn unreadable(&mut self, now: Instant, key: Key, records: u32) {
        self.books.metrics.spool_unreadable.add(u64::from(records));
        tracing::error!(
            readings = records,
            "a batch in the spool is damaged and cannot be delivered: its readings are lost"
        );
        self.acknowledged(now, key);
    }

    pub(super) fn failed(&mut self, now: Now, error: &Error) {
        self.books.metrics.spool_failures.one();
        if matches!(error, Error::Damaged { .. }) {
            return self.damaged(now, error);
        }
        self.log.failed(error);
        self.books.gauges.spool_fails(Some(format!("the spool fails: {error}")));
    }

    pub(super) fn write_failed(&mut self, now: Now, error: &Error) {
        self.writes.failed(now);
        self.failed(now, error);
    }

    /// The file cannot be used any more. What is in the window is still delivered, what was not yet
    /// read, or was kept, is lost; until the next start, which sets the file aside, there is no spool.
    fn damaged(&mut self, now: Now, error: &Error) {
        let lost = self.unread_records + self.kept.readings();
        // It holds back nothing any more.
        self.kept = Kept::default();
        self.books.gauges.spool_keeps(None);
        self.nothing_unread();
        self.books.metrics.spool_unreadable.add(lost);
        self.writes.give_up(now.instant);
        self.books
            .gauges
            .spool_fails(Some(format!("there is no spool until the next start: {error}")));
        tracing::error!(
            %error,
            readings = lost,
            "what the spool held is lost; there is none until the next start, which sets it aside"
        );
    }

    pub(super) fn healthy(&mut self) {
        self.writes.succeeded();
        if self.log.healthy() {
            self.books.gauges.spool_fails(None);
        }
    }
}
