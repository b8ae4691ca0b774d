//! What an earlier run knew of a sensor, taken up again ([`crate::notices`]).
//!
//! A row that is made so has no readings: the books do not change. It is watched as any other, from the moment at which its
//! entry listens. A silent one stays so until it is heard.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{GONE, LEARNED, RECALLED, Row};
use crate::clock::Timestamp;
use crate::state::presence::Presence;
use crate::state::rhythm::Rhythm;

/// What an earlier run knew of a sensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Before {
    pub presence: Presence,
    /// Since when it was that.
    pub since: Timestamp,
    /// When its last reading was taken, if there was one.
    pub last_received: Option<Timestamp>,
    /// How often it reported, where anybody could say.
    pub interval: Option<Duration>,
}

impl Row {
    /// Takes up what an earlier run knew of it, unless a reading of it has come in this one. Whether it did. All intakes run
    /// on the thread that asks, so nothing comes meanwhile.
    pub(in crate::state::registry) fn recall(&self, before: &Before) -> bool {
        if self.last_received().is_some() {
            return false;
        }
        if let Some(interval) = before.interval {
            self.rhythm.store(Rhythm::of(interval).0, Ordering::Relaxed);
            self.marks.fetch_or(LEARNED, Ordering::Relaxed);
        }
        // Where it has said in this run whether it is there, that is newer.
        if self.since().is_none() {
            self.marks.fetch_or(RECALLED, Ordering::Relaxed);
            self.is_now(before.presence, before.since);
        }
        let last = before.last_received.map_or(0, Timestamp::millis);
        self.last_received.store(last | GONE, Ordering::Relaxed);
        true
    }

    /// Whether its state is that of an earlier run, and nothing has come of it in this one.
    pub fn is_only_recalled(&self) -> bool {
        self.marks.load(Ordering::Relaxed) & RECALLED > 0 && self.first_received().is_none()
    }
}
