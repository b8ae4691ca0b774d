//! The one bounded hand-over between the async edge and the synchronous worker.
//!
//! ```text
//!  source ──offer──► lane ──next──► worker ──…──► settle ──release──► places, bytes, returns
//!                     │ full: wait, or shed QoS 0 by policy                │
//!                     └──────────── places are held until settled ─────────┘
//! ```
//!
//! Invariants:
//! - The bound covers a record from `offer` until `release`, not until it is taken: no more than
//!   `records_max` records and `bytes_max` bytes of their text exist between the two.
//! - Waiting is fair (first come, first served) and only ever happens in [`Inlet::offer`]. A task
//!   that polls a connection uses [`Inlet::try_offer`] and stops *reading* when it fails.
//! - The lane is one chunk that producers append to and the worker swaps out: no allocation, and
//!   one lock per hand-over of any number of records.
//! - The worker is woken for the first record, for a full batch, when nothing more can come, and by
//!   the clock; not for each record.
//! - Mail to the worker (what the sink reports) goes before records, because it frees places. It is
//!   bounded by the window: each publication is reported at most twice.
//! - Only records marked sheddable are ever lost here, and each is reported to its source.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, Semaphore};

use crate::clock;
use crate::record::Record;
use crate::settlement::{Outcome, Run, Settled, SourceIndex};
use crate::units::Size;

pub use self::inlet::{Inlet, Returned};
use self::lane::Lane;
pub use self::outlet::{Event, Outlet, Post, Want};

mod inlet;
mod lane;
mod outlet;

/// What happens to a QoS 0 record when the queue is full. QoS ≥ 1 and simulated records wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFull {
    /// Stop reading from the broker until there is room; the broker then drops by its own limits.
    #[default]
    Wait,
    /// Lose the record that came last.
    ShedNewest,
    /// Lose the QoS 0 record that has waited longest, for the one that came.
    ShedOldest,
    /// Lose a waiting QoS 0 record that a later one of the same sensor has superseded; if there is
    /// none, the one of the sensor that came; if there is none, the oldest.
    KeepLatest,
}

/// `[queue]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Records held between a source and their settlement.
    pub records_max: NonZeroU32,
    /// Bytes of their texts.
    pub bytes_max: Size,
    /// A payload above this becomes a dead letter with its head.
    pub record_bytes_max: Size,
    /// What happens to QoS 0 when the queue is full.
    pub on_full: OnFull,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            records_max: NonZeroU32::new(8192).expect("8192 is not zero"),
            bytes_max: Size::bytes(16 << 20),
            record_bytes_max: Size::bytes(64 << 10),
            on_full: OnFull::Wait,
        }
    }
}

impl From<Settings> for Limits {
    fn from(settings: Settings) -> Self {
        let Settings { records_max, bytes_max, on_full, .. } = settings;
        Self { records_max, bytes_max: bytes_max.0, on_full }
    }
}

/// The queue's bounds.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Records between `offer` and `release`.
    pub records_max: NonZeroU32,
    /// Bytes of their text.
    pub bytes_max: NonZeroU32,
    /// What happens to what may be shed when there is no room.
    pub on_full: OnFull,
}

#[derive(Debug)]
struct State<E> {
    lane: Lane,
    mail: VecDeque<E>,
    inlets: usize,
    /// Whether the worker waits, and with how many records or bytes its batch would be complete.
    waits: bool,
    fill: (usize, usize),
}

#[derive(Debug, Default)]
struct Returns {
    settled: Mutex<Vec<(Run, Outcome)>>,
    some: Notify,
}

#[derive(Debug)]
struct Shared<E> {
    limits: Limits,
    places: Semaphore,
    bytes: Semaphore,
    held: AtomicU64,
    waiting: AtomicUsize,
    starved: AtomicUsize,
    state: Mutex<State<E>>,
    wake: Condvar,
    returns: Box<[Returns]>,
}

/// The queue, as the engine holds it: makes the ends.
#[derive(Debug)]
pub struct Queue<E> {
    shared: Arc<Shared<E>>,
}

impl<E> Queue<E> {
    /// A queue for `sources` sources that wait for settlements.
    pub fn new(limits: Limits, sources: usize) -> Self {
        let state = State {
            lane: Lane::new(limits.on_full),
            mail: VecDeque::new(),
            inlets: 0,
            waits: false,
            fill: (0, 0),
        };
        let shared = Shared {
            limits,
            places: Semaphore::new(limits.records_max.get() as usize),
            bytes: Semaphore::new(limits.bytes_max.get() as usize),
            held: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            starved: AtomicUsize::new(0),
            state: Mutex::new(state),
            wake: Condvar::new(),
            returns: (0..sources).map(|_| Returns::default()).collect(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// A new end to offer records to.
    pub fn inlet(&self) -> Inlet<E> {
        Inlet::new(&self.shared)
    }

    /// Where `source` learns what settled.
    pub fn returned(&self, source: SourceIndex) -> Returned<E> {
        Returned::new(&self.shared, source)
    }

    /// The worker's end. There is one worker.
    pub fn outlet(&self) -> Outlet<E> {
        Outlet::new(&self.shared)
    }

    /// The sink's end.
    pub fn post(&self) -> Post<E> {
        Post::new(&self.shared)
    }

    /// Records between offer and release.
    pub fn held(&self) -> u64 {
        self.shared.held.load(Ordering::Relaxed)
    }

    /// Gives the places of settled records back and tells their sources.
    pub fn release(&self, settled: &Settled, outcome: Outcome) {
        let records = settled.sensors.len();
        self.shared.held.fetch_sub(records as u64, Ordering::Relaxed);
        self.shared.places.add_permits(records);
        self.shared.bytes.add_permits(settled.bytes);
        for run in &settled.runs {
            if let Some(returns) = self.shared.returns.get(run.source.0 as usize) {
                lock(&returns.settled).push((*run, outcome));
                returns.some.notify_one();
            }
        }
    }
}

impl<E> Clone for Queue<E> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<E> Shared<E> {
    fn lock(&self) -> MutexGuard<'_, State<E>> {
        lock(&self.state)
    }

    fn stalled(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0 || self.starved.load(Ordering::Relaxed) > 0
    }

    /// Notes that records came; wakes the worker for the first ones and for a full batch.
    fn offered(&self, state: &mut State<E>, before: usize) {
        state.lane.touched(|| clock::now().instant);
        let full = state.lane.records() >= state.fill.0 || state.lane.bytes() >= state.fill.1;
        if state.waits && (before == 0 || full || self.stalled()) {
            self.wake.notify_one();
        }
    }

    fn claim(&self, records: u32, bytes: u32) -> bool {
        let Ok(places) = self.places.try_acquire_many(records) else { return false };
        let Ok(claimed) = self.bytes.try_acquire_many(bytes) else { return false };
        places.forget();
        claimed.forget();
        true
    }

    async fn claim_or_wait(&self, records: u32, bytes: u32) {
        if self.claim(records, bytes) {
            return;
        }
        let _waiting = Waiting::begin(self);
        let places = self.places.acquire_many(records).await;
        let claimed = self.bytes.acquire_many(bytes).await;
        // The semaphores are never closed.
        if let (Ok(places), Ok(claimed)) = (places, claimed) {
            places.forget();
            claimed.forget();
        }
    }

    /// The most that one claim may ask for, so that claims of several sources can take turns.
    fn piece_max(&self) -> (u32, u32) {
        let Limits { records_max, bytes_max, .. } = self.limits;
        ((records_max.get() / 4).max(1), bytes_max.get() / 4)
    }
}

/// Counts a claim that waits: the worker must not wait for more records meanwhile.
struct Waiting<'a, E>(&'a Shared<E>);

impl<'a, E> Waiting<'a, E> {
    fn begin(shared: &'a Shared<E>) -> Self {
        shared.waiting.fetch_add(1, Ordering::Relaxed);
        if shared.lock().waits {
            shared.wake.notify_one();
        }
        Self(shared)
    }
}

impl<E> Drop for Waiting<'_, E> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

fn bytes_of(record: &Record) -> u32 {
    u32::try_from(record.bytes()).expect("a record is bounded by queue.record_bytes_max")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere stops the process; until then the data are whole, since no code that can
    // panic runs between two related changes.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::record::{Body, Chunk, Span};
    use crate::settlement::{SensorIndex, Token};
    use proptest::prelude::*;
    use std::time::Duration;

    fn queue(records_max: u32, bytes_max: u32, on_full: OnFull) -> Queue<&'static str> {
        let bound = |n| NonZeroU32::new(n).unwrap();
        let (records_max, bytes_max) = (bound(records_max), bound(bytes_max));
        Queue::new(Limits { records_max, bytes_max, on_full }, 1)
    }

    fn add(chunk: &mut Chunk, sensor: u32, sequence: u64, sheddable: bool, bytes: usize) {
        let value = chunk.put(&vec![b'1'; bytes]);
        chunk.records.push(Record {
            sensor: SensorIndex(sensor),
            sequence,
            received: Timestamp::default(),
            token: Token::NONE,
            topic: Span::default(),
            retained: false,
            sheddable,
            body: Body::Reading { value, timestamp: Span::default(), extra: Span::default() },
        });
    }

    fn now_or_never(records: bool) -> Want {
        let deadline = Some(clock::now().instant);
        let (fill_records, fill_bytes) = (1000, 1);
        Want { records, fill_records, fill_bytes, hold: Duration::ZERO, stalled: true, deadline }
    }

    fn settled(records: &[Record]) -> Settled {
        let mut settled = Settled::default();
        for it in records {
            settled.add(it.token, it.sensor, it.bytes());
        }
        settled
    }

    #[test]
    fn places_are_held_until_release_and_not_until_taken() {
        let queue = queue(2, 100, OnFull::Wait);
        let (inlet, mut outlet) = (queue.inlet(), queue.outlet());
        let mut chunk = Chunk::default();
        (1..=3).for_each(|n| add(&mut chunk, 0, n, false, 5));
        assert!(!inlet.try_offer(&mut chunk, &mut Vec::new()));
        assert_eq!((chunk.records.len(), queue.held()), (1, 2));
        let Event::Offered(taken, _) = outlet.next(now_or_never(true)) else { panic!() };
        assert!(!inlet.try_offer(&mut chunk, &mut Vec::new()), "still held");
        queue.release(&settled(&taken.records), Outcome::Delivered);
        assert!(inlet.try_offer(&mut chunk, &mut Vec::new()));
        assert_eq!(queue.held(), 1);
    }

    #[test]
    fn mail_goes_first_and_the_end_is_told_once() {
        let queue = queue(2, 100, OnFull::Wait);
        let (inlet, mut outlet, post) = (queue.inlet(), queue.outlet(), queue.post());
        let mut chunk = Chunk::default();
        add(&mut chunk, 0, 1, false, 5);
        inlet.try_offer(&mut chunk, &mut Vec::new());
        post.send("mail");
        drop(inlet);
        assert!(matches!(outlet.next(now_or_never(true)), Event::Mail("mail")));
        assert!(matches!(outlet.next(now_or_never(false)), Event::Deadline), "not welcome");
        assert!(matches!(outlet.next(now_or_never(true)), Event::Offered(..)));
        assert!(matches!(outlet.next(now_or_never(true)), Event::Ended));
        assert!(matches!(outlet.next(now_or_never(true)), Event::Deadline));
    }

    #[tokio::test]
    async fn an_offer_waits_for_room_and_says_that_it_does() {
        let queue = queue(4, 100, OnFull::Wait);
        let (inlet, mut outlet) = (queue.inlet(), queue.outlet());
        let mut chunk = Chunk::default();
        (1..=9).for_each(|n| add(&mut chunk, 0, n, false, 5));
        let mut taken = Vec::new();
        let mut offer = Box::pin(inlet.offer(&mut chunk));
        let mut offered = false;
        while taken.len() < 9 {
            tokio::select! {
                biased;
                () = &mut offer, if !offered => offered = true,
                () = std::future::ready(()) => {
                    if let Event::Offered(chunk, _) = outlet.next(now_or_never(true)) {
                        queue.release(&settled(&chunk.records), Outcome::Delivered);
                        taken.extend(chunk.records.iter().map(|it| it.sequence));
                    }
                }
            }
        }
        assert_eq!(taken, (1..=9).collect::<Vec<_>>());
        assert!(offered && !queue.shared.stalled());
    }

    #[derive(Debug, Clone)]
    enum Step {
        Offer { sensor: u32, sheddable: bool, bytes: usize },
        Take,
        Release,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let offer = (0_u32..4, prop::bool::weighted(0.8), 1_usize..30)
            .prop_map(|(sensor, sheddable, bytes)| Step::Offer { sensor, sheddable, bytes });
        let step = prop_oneof![6 => offer, 1 => Just(Step::Take), 1 => Just(Step::Release)];
        prop::collection::vec(step, 1..150)
    }

    fn policies() -> impl Strategy<Value = OnFull> {
        prop_oneof![Just(OnFull::ShedNewest), Just(OnFull::ShedOldest), Just(OnFull::KeepLatest)]
    }

    proptest! {
        /// Whatever is offered, taken and released: the bounds hold, what is not shed comes out
        /// once and in order for each sensor, only what may be shed is, and the count agrees.
        #[test]
        fn the_bounds_hold_and_only_the_policy_loses(steps in steps(), policy in policies()) {
            let queue = queue(8, 120, policy);
            let (inlet, mut outlet) = (queue.inlet(), queue.outlet());
            let (mut offered, mut out) = (0_usize, Vec::<Record>::new());
            let (mut shed, mut unreleased) = (Vec::new(), Vec::new());
            let mut sequence = 0;
            for step in steps {
                match step {
                    Step::Offer { sensor, sheddable, bytes } => {
                        sequence += 1;
                        let mut chunk = Chunk::default();
                        add(&mut chunk, sensor, sequence, sheddable, bytes);
                        let before = shed.len();
                        let all = inlet.try_offer(&mut chunk, &mut shed);
                        prop_assert!(all || !sheddable, "only what may not be shed has to wait");
                        if policy == OnFull::ShedNewest && shed.len() > before {
                            prop_assert_eq!(&shed[before..], &[SensorIndex(sensor)]);
                        }
                        offered += usize::from(all);
                    }
                    Step::Take => if let Event::Offered(chunk, _) = outlet.next(Want { fill_records: 3, ..now_or_never(true) }) {
                        unreleased.extend(chunk.records.iter().copied());
                        out.extend(chunk.records.iter().copied());
                        outlet.recycle(chunk);
                    },
                    Step::Release => {
                        queue.release(&settled(&unreleased), Outcome::Delivered);
                        unreleased.clear();
                    }
                }
                prop_assert!(queue.held() <= 8);
                let state = queue.shared.lock();
                let bytes: usize = unreleased.iter().map(Record::bytes).sum();
                prop_assert!(state.lane.bytes() + bytes <= 120);
                prop_assert_eq!(state.lane.records() + unreleased.len(), usize::try_from(queue.held()).unwrap());
                prop_assert_eq!(offered, out.len() + shed.len() + state.lane.records());
            }
            for sensor in 0..4 {
                let sequences: Vec<u64> = out.iter()
                    .filter(|it| it.sensor == SensorIndex(sensor)).map(|it| it.sequence).collect();
                prop_assert!(sequences.is_sorted_by(|a, b| a < b), "{:?}", sequences);
            }
        }

        #[test]
        fn keep_latest_keeps_the_last_reading_of_each_sensor(sensors in prop::collection::vec(0_u32..5, 1..200)) {
            let queue = queue(5, 100, OnFull::KeepLatest);
            let (inlet, mut outlet) = (queue.inlet(), queue.outlet());
            let mut last = std::collections::BTreeMap::new();
            let mut shed = Vec::new();
            for (sequence, &sensor) in (1..).zip(&sensors) {
                let mut chunk = Chunk::default();
                add(&mut chunk, sensor, sequence, true, 4);
                inlet.try_offer(&mut chunk, &mut shed);
                last.insert(sensor, sequence);
            }
            let Event::Offered(taken, _) = outlet.next(now_or_never(true)) else { panic!() };
            for (sensor, sequence) in last {
                let kept = taken.records.iter().any(|it| it.sensor.0 == sensor && it.sequence == sequence);
                prop_assert!(kept, "sensor {sensor}");
            }
            prop_assert_eq!(taken.records.len() + shed.len(), sensors.len());
        }
    }
}
