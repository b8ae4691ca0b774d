//! What others may know of the connections of a source or of the sink: whether it is usable now, since when, and why not.
//!
//! Written at each change of state by the session and by whoever serves its connections, read by
//! whoever shows it. *Usable* is more than connected: an intake's session is usable once its
//! subscription is granted.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// How each connection of a gateway stands.
#[derive(Debug, Clone)]
pub struct Standings {
    /// The output's.
    pub output: Arc<Standing>,
    /// Those of the entries that have one, by name.
    pub entries: BTreeMap<String, Arc<Standing>>,
}

/// One client's standing.
#[derive(Debug)]
pub struct Standing {
    /// The same as [`Seen::usable`]: read at each turn of a connection.
    usable: AtomicBool,
    unacknowledged: AtomicU64,
    seen: Mutex<Seen>,
}

/// What can be seen of a client.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Whether readings or batches can pass.
    pub usable: bool,
    /// Since when this is so.
    pub since: Instant,
    /// Connections so far.
    pub epoch: u64,
    /// What ended the last connection or attempt.
    pub trouble: Option<String>,
}

impl Standing {
    /// Of a client that has not connected at `now`.
    pub fn new(now: Instant) -> Self {
        let seen = Seen { usable: false, since: now, epoch: 0, trouble: None };
        Self {
            usable: AtomicBool::new(false),
            unacknowledged: AtomicU64::new(0),
            seen: Mutex::new(seen),
        }
    }

    /// What can be seen now.
    pub fn seen(&self) -> Seen {
        self.lock().clone()
    }

    /// Messages that came and are not acknowledged; of an intake.
    pub fn unacknowledged(&self) -> u64 {
        self.unacknowledged.load(Ordering::Relaxed)
    }

    /// So many messages have come and are not acknowledged.
    pub fn open(&self, messages: usize) {
        self.unacknowledged.store(messages as u64, Ordering::Relaxed);
    }

    /// Whether readings or batches can pass.
    pub fn is_usable(&self) -> bool {
        self.usable.load(Ordering::Relaxed)
    }

    /// That many connections have stood.
    pub fn connected(&self, epoch: u64) {
        self.lock().epoch = epoch;
    }

    /// Readings or batches can pass from now on.
    pub fn usable(&self, now: Instant) {
        self.change(now, true);
    }

    /// They cannot, because of this.
    pub fn lost(&self, now: Instant, trouble: &impl ToString) {
        self.change(now, false);
        self.lock().trouble = Some(trouble.to_string());
    }

    fn change(&self, now: Instant, usable: bool) {
        let mut seen = self.lock();
        if seen.usable != usable {
            (seen.usable, seen.since) = (usable, now);
        }
        self.usable.store(usable, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock;

    #[test]
    fn a_standing_tells_since_when_and_why() {
        let now = clock::now().instant;
        let at = |seconds| now + Duration::from_secs(seconds);
        let standing = Standing::new(now);
        standing.lost(at(1), &"timed out");
        let seen = standing.seen();
        assert_eq!((seen.usable, seen.since, seen.epoch), (false, now, 0), "never was usable");
        assert!(seen.trouble.is_some());
        standing.connected(1);
        standing.usable(at(2));
        standing.usable(at(3));
        let seen = standing.seen();
        assert_eq!((seen.usable, seen.since, seen.epoch), (true, at(2), 1));
        assert!(standing.is_usable());
        standing.lost(at(4), &"taken over");
        assert_eq!(standing.seen().since, at(4));
        assert!(!standing.is_usable());
        standing.open(7);
        assert_eq!(standing.unacknowledged(), 7);
    }
}
