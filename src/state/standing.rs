//! The state of the connections of the sources and of the sink: usable or not, since when, and why not.
//!
//! The session and the task that serves its connections write it at each change. Status, health and metrics
//! read it. *Usable* is more than connected: an intake's session is usable once its subscription is granted.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use crate::clock::Timestamp;

/// The state of each connection of a gateway.
#[derive(Debug, Clone)]
pub struct Standings {
    pub output: Arc<Standing>,
    /// The sessions of the sources, by name.
    sessions: Arc<RwLock<BTreeMap<String, Arc<Standing>>>>,
}

impl Standings {
    /// Of an output, and of no session yet, none of which has connected at `now`.
    pub fn new(now: Instant) -> Self {
        Self { output: Arc::new(Standing::new(now)), sessions: Arc::default() }
    }

    /// The session of this name, which is added if need be.
    pub fn session(&self, name: &str, now: Instant) -> Arc<Standing> {
        let mut sessions = self.sessions.write().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Standing::new(now));
        Arc::clone(sessions.entry(name.to_owned()).or_insert_with(new))
    }

    /// Forgets a session that has ended for good.
    pub fn remove(&self, name: &str) {
        self.sessions.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// All sessions, by name.
    pub fn sessions(&self) -> Vec<(String, Arc<Standing>)> {
        let sessions = self.sessions.read().unwrap_or_else(PoisonError::into_inner);
        sessions.iter().map(|(name, it)| (name.clone(), Arc::clone(it))).collect()
    }
}

/// The state of one client.
#[derive(Debug)]
pub struct Standing {
    /// The same as [`Seen::usable`], without a lock: it is read at each turn of a connection.
    usable: AtomicBool,
    unacknowledged: AtomicU64,
    seen: Mutex<Seen>,
}

/// A copy of a client's state.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Whether readings or batches can pass.
    pub usable: bool,
    /// Since when `usable` has its value.
    pub since: Instant,
    /// Connections so far.
    pub epoch: u64,
    /// The error that ended the last connection or attempt.
    pub trouble: Option<String>,
    /// When a broker has shown certificates last, and when the first of those expires.
    pub certificate_end: Option<(Instant, Timestamp)>,
}

impl Standing {
    /// A client that has not connected at `now`.
    pub fn new(now: Instant) -> Self {
        let seen =
            Seen { usable: false, since: now, epoch: 0, trouble: None, certificate_end: None };
        Self {
            usable: AtomicBool::new(false),
            unacknowledged: AtomicU64::new(0),
            seen: Mutex::new(seen),
        }
    }

    /// A copy of the current state.
    pub fn seen(&self) -> Seen {
        self.lock().clone()
    }

    /// QoS 1 and 2 messages that an intake has received and not acknowledged.
    pub fn unacknowledged(&self) -> u64 {
        self.unacknowledged.load(Ordering::Relaxed)
    }

    /// Sets the number of unacknowledged messages.
    pub fn set_unacknowledged(&self, messages: usize) {
        self.unacknowledged.store(messages as u64, Ordering::Relaxed);
    }

    /// Whether readings or batches can pass.
    pub fn is_usable(&self) -> bool {
        self.usable.load(Ordering::Relaxed)
    }

    /// Sets the number of connections so far.
    pub fn connected(&self, epoch: u64) {
        self.lock().epoch = epoch;
    }

    /// Notes when the first of the certificates expires that the broker has shown at `now`, if it has.
    pub fn shown(&self, now: Instant, certificate_end: Option<Timestamp>) {
        self.lock().certificate_end = certificate_end.map(|end| (now, end));
    }

    /// Notes that readings or batches can pass from `now` on.
    pub fn usable(&self, now: Instant) {
        self.change(now, true);
    }

    /// Notes that they cannot, because of `trouble`.
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
        standing.set_unacknowledged(7);
        assert_eq!(standing.unacknowledged(), 7);
    }
}
