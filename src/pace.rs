//! Lets messages gather for a moment before they are read.
//!
//! Measured (`cargo bench --bench gateway`): a reader that is woken for every packet costs ten times more than
//! one that lets a millisecond of packets gather, on both sides of the socket. Faster parsing does not make up
//! for it. A pause of one task does not help: the runtime's thread sleeps in `epoll_wait`, and every packet
//! wakes it. So the *thread* rests before it goes to sleep, if it was woken more often than once in
//! `READ_GATHER_MAX`. Everything that arrives meanwhile is handled in one turn, for all connections.
//!
//! When idle, or at less than a thousand wake-ups a second, nothing is delayed. If a broker allows so few
//! unacknowledged messages that a rest would limit the rate, its connection holds a [`NoRest`]; the thread does
//! not rest while one is held.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::{Duration, Instant};

use crate::clock;

/// While messages come faster than this, reads are gathered for this long: one system call and one wake-up for many
/// messages. When idle, nothing is delayed.
const READ_GATHER_MAX: Duration = Duration::from_millis(1);

/// Decides when the thread that runs all tasks rests.
#[derive(Debug)]
pub struct Pace {
    start: Instant,
    /// When the thread last stopped resting or was asked, in nanoseconds since `start`.
    last: AtomicU64,
    /// [`NoRest`] values that exist.
    held: AtomicUsize,
    /// The thread, once it has rested.
    thread: OnceLock<Thread>,
}

impl Default for Pace {
    fn default() -> Self {
        let (last, held) = (AtomicU64::new(0), AtomicUsize::new(0));
        Self { start: clock::now().instant, last, held, thread: OnceLock::new() }
    }
}

impl Pace {
    /// Called by the thread when it has no work: it rests if it was here within the last `READ_GATHER_MAX`.
    pub fn rest(&self) {
        if self.is_fast(self.nanos()) && self.held.load(Ordering::Relaxed) == 0 {
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

/// Keeps the thread from resting while it is held.
#[derive(Debug)]
pub struct NoRest(Arc<Pace>);

impl NoRest {
    pub fn new(pace: &Arc<Pace>) -> Self {
        pace.held.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(pace))
    }
}

impl Drop for NoRest {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::Relaxed);
    }
}
