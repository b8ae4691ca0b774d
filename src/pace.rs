//! Letting a moment's messages gather before they are read.
//!
//! Measured (`cargo bench --bench gateway`): a reader that is woken for every packet costs ten times
//! more than one that lets a millisecond of packets gather, on both sides of the socket, and no
//! care in parsing makes up for it. A pause of one task does not help: the runtime's thread, asleep
//! in `epoll_wait`, is woken by every packet all the same. So it is the *thread* that rests, before
//! it goes to sleep, when it has been woken more often than once in [`READ_GATHER_MAX`]; everything
//! that came meanwhile is then handled in one turn, for all connections at once.
//!
//! Nothing is added when idle, or at less than a thousand wake-ups a second. A connection whose
//! broker allows so few unacknowledged messages that a rest would bound its rate asks for
//! [`Hurry`], and nobody rests while one does.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::Instant;

use crate::clock;
use crate::limits::READ_GATHER_MAX;

/// The pace of the thread that runs all tasks.
#[derive(Debug)]
pub struct Pace {
    start: Instant,
    /// When the thread last stopped resting or looked, in nanoseconds since `start`.
    last: AtomicU64,
    hurried: AtomicUsize,
    /// The thread, once it has been here.
    thread: OnceLock<Thread>,
}

impl Default for Pace {
    fn default() -> Self {
        let (last, hurried) = (AtomicU64::new(0), AtomicUsize::new(0));
        Self { start: clock::now().instant, last, hurried, thread: OnceLock::new() }
    }
}

impl Pace {
    /// Called by the thread when it has nothing left to do: rests if it has come here before
    /// within the last [`READ_GATHER_MAX`].
    pub fn rest(&self) {
        if self.is_fast(self.nanos()) && self.hurried.load(Ordering::Relaxed) == 0 {
            self.thread.get_or_init(std::thread::current);
            std::thread::park_timeout(READ_GATHER_MAX);
        }
        self.last.store(self.nanos(), Ordering::Relaxed);
    }

    /// Ends a rest: there is something to send.
    pub fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn is_fast(&self, nanos: u64) -> bool {
        let since = nanos.saturating_sub(self.last.load(Ordering::Relaxed));
        u128::from(since) < READ_GATHER_MAX.as_nanos()
    }

    fn nanos(&self) -> u64 {
        u64::try_from((clock::now().instant - self.start).as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A wish that nobody rests, for as long as it is held.
#[derive(Debug)]
pub struct Hurry(Arc<Pace>);

impl Hurry {
    /// Wishes it.
    pub fn new(pace: &Arc<Pace>) -> Self {
        pace.hurried.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(pace))
    }
}

impl Drop for Hurry {
    fn drop(&mut self) {
        self.0.hurried.fetch_sub(1, Ordering::Relaxed);
    }
}
