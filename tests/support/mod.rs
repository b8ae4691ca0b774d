//! What the tests stand on: a scripted broker, a real Mosquitto, a load publisher with a collector
//! and an audit, a proxy that cuts, and the gateway as a child process.
//!
//! Nothing here sleeps and hopes: a test names what it waits for and how long it may take. The
//! clock, the waiting and the randomness of all of it are in this file.

#![expect(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "test support: what cannot go on stops the test, and the clock is read here"
)]

pub(crate) mod broker;
pub(crate) mod browser;
pub(crate) mod client;
pub(crate) mod gateway;
pub(crate) mod held_port;
pub(crate) mod http;
pub(crate) mod mosquitto;
pub(crate) mod proxy;
mod selftest;
pub(crate) mod stream;
pub(crate) mod terminal;
pub(crate) mod websocket;
pub(crate) mod wire;

use std::future::Future;
use std::io::Write;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Long enough for anything that should happen at once, also on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);

const POLL: Duration = Duration::from_millis(5);

/// The test's clock.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The day and hour, as the system has it.
pub(crate) fn wall() -> std::time::SystemTime {
    std::time::SystemTime::now()
}

/// Lets `time` pass: for pacing and polling, never to wait for an event.
pub(crate) fn pause(time: Duration) {
    let end = now() + time;
    while let Some(left) = end.checked_duration_since(now()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}

/// Whether `condition` came true within `deadline`.
pub(crate) fn within(deadline: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = now() + deadline;
    loop {
        if condition() {
            return true;
        }
        if now() >= end {
            return false;
        }
        pause(POLL);
    }
}

/// Waits until `condition` is true; the test fails with `what` when it is not within `deadline`.
#[track_caller]
pub(crate) fn eventually(what: &str, deadline: Duration, condition: impl FnMut() -> bool) {
    assert!(within(deadline, condition), "not within {deadline:?}: {what}");
}

/// Says that nothing can be done about a failure here, and why.
pub(crate) fn ignore<T, E>(outcome: Result<T, E>, _why: &str) {
    drop(outcome.ok());
}

/// A number that orders what any of the brokers of this process saw or sent.
pub(crate) fn order() -> u64 {
    static ORDER: AtomicU64 = AtomicU64::new(1);
    ORDER.fetch_add(1, Ordering::Relaxed)
}

/// A state that several threads share and a test waits on.
#[derive(Debug, Default)]
pub(crate) struct Monitor<T> {
    state: Mutex<T>,
    changed: Condvar,
}

impl<T> Monitor<T> {
    pub(crate) fn new(state: T) -> Self {
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// The state, to look at.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and wakes who waits for it.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    /// Waits until `condition` holds: the state, and whether it does.
    pub(crate) fn wait(
        &self,
        deadline: Duration,
        mut condition: impl FnMut(&T) -> bool,
    ) -> (MutexGuard<'_, T>, bool) {
        let (state, timeout) = self
            .changed
            .wait_timeout_while(self.lock(), deadline, |state| !condition(state))
            .unwrap_or_else(PoisonError::into_inner);
        (state, !timeout.timed_out())
    }
}

/// A named thread; it must end by itself.
pub(crate) fn thread<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body).unwrap()
}

/// A thread that drives one future on a runtime of its own.
pub(crate) fn runtime_thread<F>(name: &str, future: F) -> JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    thread(name, || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(future);
    })
}

/// Sends a signal ("TERM", "INT", "KILL", "STOP", "CONT") to one process.
pub(crate) fn kill(pid: u32, signal: &str) {
    let status = Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).status();
    assert!(status.is_ok_and(|status| status.success()), "cannot send {signal} to process {pid}");
}

/// What somebody asks of the tests by a variable.
pub(crate) fn number_from_environment<T: std::str::FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// The seed of this run: `TEST_SEED` if set, else from the clock. A failing test prints it.
pub(crate) fn seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(|| {
        let seed = number_from_environment("TEST_SEED");
        let seed = seed.unwrap_or_else(|| {
            let age = wall().duration_since(std::time::UNIX_EPOCH).unwrap();
            u64::from(age.subsec_nanos()) ^ age.as_secs() << 20
        });
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            previous(info);
            let line = format!("to repeat with the same random choices: TEST_SEED={seed}\n");
            ignore(std::io::stderr().write_all(line.as_bytes()), "nowhere to tell");
        }));
        seed
    })
}

/// A small generator of repeatable random numbers (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn duration(&mut self, range: std::ops::Range<Duration>) -> Duration {
        let span = u64::try_from(range.end.saturating_sub(range.start).as_micros()).unwrap();
        range.start + Duration::from_micros(self.below(span.max(1)))
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            let other = usize::try_from(self.below(end as u64 + 1)).unwrap();
            items.swap(end, other);
        }
    }
}
