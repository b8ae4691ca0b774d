//! What the ends of the queue share: the buffer behind a lock, room in places and in bytes, and what settled for each
//! source.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::sync::Notify;

use super::Settings;
use super::buffer::Buffer;
use super::room::Room;
use crate::clock;
use crate::record::Record;
use crate::settlement::{Outcome, Run, SourceIndex};

#[derive(Debug)]
pub(super) struct State {
    pub(super) buffer: Buffer,
    pub(super) inlets: usize,
    /// Whether the worker waits, and with how many records or bytes its batch would be complete.
    pub(super) waits: bool,
    pub(super) fill: (usize, usize),
}

#[derive(Debug, Default)]
pub(super) struct SettledRuns {
    pub(super) runs: Mutex<Vec<(Run, Outcome)>>,
    pub(super) some: Notify,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) places: Room,
    pub(super) bytes: Room,
    /// The most that one claim may ask for: places, and bytes.
    piece: (AtomicU32, AtomicU32),
    pub(super) held: AtomicU64,
    pub(super) waiting: AtomicUsize,
    pub(super) starved: AtomicUsize,
    pub(super) state: Mutex<State>,
    pub(super) wake: Condvar,
    /// Of each source that there has ever been: indexes are never used again, or what an ended source left
    /// would settle for another one.
    sources: RwLock<Vec<Option<Arc<SettledRuns>>>>,
}

impl Shared {
    pub(super) fn new(settings: Settings) -> Self {
        let state =
            State { buffer: Buffer::new(settings.on_full), inlets: 0, waits: false, fill: (0, 0) };
        Self {
            places: Room::new(settings.records_max.get() as usize),
            bytes: Room::new(settings.bytes_max.get()),
            piece: {
                let (records, bytes) = piece_of(settings);
                (AtomicU32::new(records), AtomicU32::new(bytes))
            },
            held: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            starved: AtomicUsize::new(0),
            state: Mutex::new(state),
            wake: Condvar::new(),
            sources: RwLock::default(),
        }
    }

    /// A source more that waits for settlements.
    pub(super) fn add_source(&self) -> (SourceIndex, Arc<SettledRuns>) {
        let mut all = self.sources.write().unwrap_or_else(PoisonError::into_inner);
        let index = u32::try_from(all.len()).expect("there are far fewer sources");
        let settled = Arc::new(SettledRuns::default());
        all.push(Some(Arc::clone(&settled)));
        (SourceIndex(index), settled)
    }

    /// Nobody waits for what settles for this source.
    pub(super) fn remove_source(&self, source: SourceIndex) {
        let mut all = self.sources.write().unwrap_or_else(PoisonError::into_inner);
        *all.get_mut(source.0 as usize).expect("it was added") = None;
    }

    /// How many sources are told what settles.
    #[cfg(test)]
    pub(super) fn told(&self) -> usize {
        let all = self.sources.read().unwrap_or_else(PoisonError::into_inner);
        all.iter().flatten().count()
    }

    /// Tells the sources what became of their readings.
    pub(super) fn settle(&self, runs: &[Run], outcome: Outcome) {
        if runs.is_empty() {
            return;
        }
        let all = self.sources.read().unwrap_or_else(PoisonError::into_inner);
        for run in runs {
            if let Some(source) = all.get(run.source.0 as usize).and_then(Option::as_ref) {
                lock(&source.runs).push((*run, outcome));
                source.some.notify_one();
            }
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(super) fn stalled(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0 || self.starved.load(Ordering::Relaxed) > 0
    }

    /// Notes that records came; wakes the worker for the first ones and for a full batch.
    pub(super) fn offered(&self, state: &mut State, before: usize) {
        state.buffer.touched(|| clock::now().instant);
        let full = state.buffer.records() >= state.fill.0 || state.buffer.bytes() >= state.fill.1;
        if state.waits && (before == 0 || full || self.stalled()) {
            self.wake.notify_one();
        }
    }

    pub(super) fn claim(&self, records: u32, bytes: u32) -> bool {
        let Some(places) = self.places.try_take(records) else { return false };
        let Some(claimed) = self.bytes.try_take(bytes) else { return false };
        places.forget();
        claimed.forget();
        true
    }

    pub(super) async fn claim_or_wait(&self, records: u32, bytes: u32) {
        if self.claim(records, bytes) {
            return;
        }
        let _waiting = Waiting::begin(self);
        let places = self.places.take(records).await;
        let claimed = self.bytes.take(bytes).await;
        places.forget();
        claimed.forget();
    }

    /// The most that one claim may ask for, so that claims of several sources can take turns.
    pub(super) fn piece_max(&self) -> (u32, u32) {
        let (records, bytes) = &self.piece;
        (records.load(Ordering::Relaxed), bytes.load(Ordering::Relaxed))
    }

    /// Claims are made for these settings from now on, and all of their room is there; less room than there was comes
    /// about only with [`Shared::resize`].
    pub(super) fn prepare(&self, settings: Settings) {
        let (records, bytes) = piece_of(settings);
        self.piece.0.store(records, Ordering::Relaxed);
        self.piece.1.store(bytes, Ordering::Relaxed);
        self.places.grow(settings.records_max.get() as usize);
        self.bytes.grow(settings.bytes_max.get());
        self.lock().buffer.shed_by(settings.on_full);
    }

    /// There is no more room than these settings have. What was claimed for others has to be over: it may be more than
    /// there is now.
    pub(super) fn resize(&self, settings: Settings) {
        self.places.resize(settings.records_max.get() as usize);
        self.bytes.resize(settings.bytes_max.get());
    }
}

fn piece_of(settings: Settings) -> (u32, u32) {
    let Settings { records_max, bytes_max, .. } = settings;
    ((records_max.get() / 4).max(1), bytes_max.0.get() / 4)
}

/// Counts a claim that waits: the worker must not wait for more records meanwhile.
struct Waiting<'a>(&'a Shared);

impl<'a> Waiting<'a> {
    fn begin(shared: &'a Shared) -> Self {
        shared.waiting.fetch_add(1, Ordering::Relaxed);
        if shared.lock().waits {
            shared.wake.notify_one();
        }
        Self(shared)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(super) fn bytes_of(record: &Record) -> u32 {
    u32::try_from(record.bytes()).expect("a record is bounded by queue.record_bytes_max")
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere stops the process; until then the data are whole, since no code that can
    // panic runs between two related changes.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
