//! The worker's end, and the sink's way to report to it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::shared::{Shared, State, lock};
use crate::clock;
use crate::record::Chunk;

/// What the worker is told.
#[derive(Debug)]
pub enum Event<E> {
    /// Records, and since when the oldest of them has been in the buffer.
    Offered(Chunk, Instant),
    /// A report from the sink.
    Reported(E),
    /// No record waits, and none can come until something settles.
    Stalled,
    /// Every inlet is gone and the buffer is empty. Told once.
    Ended,
    /// The deadline has passed.
    Deadline,
}

/// What the worker waits for.
#[derive(Debug, Clone, Copy)]
pub struct Want {
    /// Whether records are welcome; if not, only a report and the deadline end the waiting.
    pub records: bool,
    /// As many records as complete a batch: reason not to wait for `hold`.
    pub fill_records: usize,
    /// As many bytes as complete a batch: likewise.
    pub fill_bytes: usize,
    /// How long the oldest record may wait in the buffer for others.
    pub hold: Duration,
    /// Whether [`Event::Stalled`] is of interest.
    pub stalled: bool,
    /// When to give up waiting, or to take what there is.
    pub deadline: Option<Instant>,
}

/// What was reported and is not taken yet. Nobody holds this lock and then waits for the other one: the
/// worker looks here while it holds that of the buffer.
type Pending<E> = Arc<Mutex<VecDeque<E>>>;

/// The worker's end.
#[derive(Debug)]
pub struct Outlet<E> {
    shared: Arc<Shared>,
    pending: Pending<E>,
    ended: bool,
}

/// The sink's end: reports to the worker.
#[derive(Debug)]
pub struct Reports<E> {
    shared: Arc<Shared>,
    pending: Pending<E>,
}

impl<E> Clone for Reports<E> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), pending: Arc::clone(&self.pending) }
    }
}

impl<E> Reports<E> {
    /// Reports to the worker.
    pub fn send(&self, report: E) {
        lock(&self.pending).push_back(report);
        // After that: a worker that has not seen it waits already, or will look again.
        if self.shared.lock().waits {
            self.shared.wake.notify_one();
        }
    }
}

impl<E> Outlet<E> {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared), pending: Pending::default(), ended: false }
    }

    /// The sink's end: reports to this one.
    pub fn reports(&self) -> Reports<E> {
        Reports { shared: Arc::clone(&self.shared), pending: Arc::clone(&self.pending) }
    }

    /// Waits for the next event: the worker's one waiting place.
    pub fn next(&mut self, want: Want) -> Event<E> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        state.fill = (want.fill_records, want.fill_bytes);
        loop {
            let now = clock::now().instant;
            let until = match self.ready(&mut state, want, now) {
                Ok(event) => return event,
                Err(until) => until,
            };
            state.waits = true;
            state = match until {
                None => shared.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let pause = until.saturating_duration_since(now);
                    let woken = shared.wake.wait_timeout(state, pause);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
            state.waits = false;
        }
    }

    /// A report that has come meanwhile.
    pub fn report(&self) -> Option<E> {
        lock(&self.pending).pop_front()
    }

    /// Gives the memory of a chunk back for the buffer to use again.
    pub fn recycle(&self, mut chunk: Chunk) {
        chunk.clear();
        self.shared.lock().buffer.recycle(chunk);
    }

    /// The event that is due, or until when to wait for one.
    fn ready(
        &mut self,
        state: &mut State,
        want: Want,
        now: Instant,
    ) -> Result<Event<E>, Option<Instant>> {
        let mut until = want.deadline;
        let ended = state.inlets == 0;
        let waiting = state.buffer.records();
        if waiting > 0 && want.records {
            let since = state.buffer.since().unwrap_or(now);
            let full = waiting >= want.fill_records || state.buffer.bytes() >= want.fill_bytes;
            let due =
                want.deadline.is_some_and(|deadline| deadline <= now) || since + want.hold <= now;
            if full || ended || due || self.shared.stalled() {
                return Ok(Event::Offered(state.buffer.take(want.fill_records.max(1)), since));
            }
            until = Some(until.map_or(since + want.hold, |at| at.min(since + want.hold)));
        }
        // Behind records that are due: it is taken with them, and would starve them where each turn
        // brings some.
        if let Some(report) = self.report() {
            return Ok(Event::Reported(report));
        }
        if waiting == 0 {
            if ended && !self.ended {
                self.ended = true;
                return Ok(Event::Ended);
            }
            if want.stalled && self.shared.stalled() {
                return Ok(Event::Stalled);
            }
        }
        if want.deadline.is_some_and(|deadline| deadline <= now) {
            return Ok(Event::Deadline);
        }
        Err(until)
    }
}
