//! What is given to the connection of today, in order, and again after a refusal.
//!
//! Batches that were refused go again one at a time, the oldest first, the next when it was taken: a
//! broker that takes again what it refused, or refuses by turns (a quota), does not change their order.
//!
//! Dead letters that were hung up on wait for better days (`set_aside`).
//!
//! Holds numbers, not messages: those stay in the window. A connection's lane is bounded; what does
//! not fit waits here and follows when something has been answered. A lane that is closed belongs to
//! a connection that has ended: what was given to it is published again on the next.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc::{self, error::TrySendError};

use self::set_aside::SetAside;
use super::flight::Flight;
use crate::backoff::Backoff;
use crate::clock::Now;
use crate::limits::RECONNECT_PAUSE;
use crate::sealed::Sealed;
use crate::sink::{Number, Publication};
use crate::window::Window;

mod set_aside;

/// What a connection allows.
#[derive(Debug)]
struct Lane {
    publications: mpsc::Sender<Publication>,
    in_flight_max: usize,
    one_at_a_time: bool,
    /// What is on its way goes alone.
    alone: bool,
    /// Given to it and not answered.
    out: usize,
}

impl Lane {
    /// Gives it a publication; false if that must wait.
    fn takes(&mut self, number: Number, sealed: &Arc<Sealed>, alone: bool) -> bool {
        if (self.one_at_a_time || self.alone || alone) && self.out > 0 {
            return false;
        }
        self.alone = alone;
        let publication = Publication { number, sealed: Arc::clone(sealed) };
        let full = matches!(self.publications.try_send(publication), Err(TrySendError::Full(_)));
        self.out += usize::from(!full);
        !full
    }
}

/// A publication that was refused and has not been taken since.
#[derive(Debug)]
struct Refused {
    number: Number,
    is_letter: bool,
    /// To be published again; if not, it already was.
    due: bool,
}

/// The outbox.
#[derive(Debug)]
pub struct Outbox {
    lane: Option<Lane>,
    pending: VecDeque<Number>,
    refused: Vec<Refused>,
    set_aside: SetAside,
    retry: Option<Instant>,
    backoff: Backoff,
}

impl Default for Outbox {
    fn default() -> Self {
        let (first, longest) = RECONNECT_PAUSE;
        Self {
            lane: None,
            pending: VecDeque::new(),
            refused: Vec::new(),
            set_aside: SetAside::default(),
            retry: None,
            backoff: Backoff::new(first, longest),
        }
    }
}

impl Outbox {
    /// Begins with a new connection: nothing was given to it, nothing refused by it.
    pub fn connected(
        &mut self,
        publications: mpsc::Sender<Publication>,
        in_flight_max: usize,
        one_at_a_time: bool,
        now: Instant,
    ) {
        let in_flight_max = in_flight_max.max(1);
        self.lane = Some(Lane { publications, in_flight_max, one_at_a_time, alone: false, out: 0 });
        self.pending.clear();
        self.refused.clear();
        self.set_aside.connected(now);
        self.retry = None;
    }

    /// The connection is gone.
    pub fn disconnected(&mut self) {
        self.lane = None;
        self.pending.clear();
    }

    /// Whether no more than one publication may be on its way from now on.
    pub fn one_at_a_time(&mut self, one_at_a_time: bool) {
        if let Some(lane) = &mut self.lane {
            lane.one_at_a_time = one_at_a_time;
        }
    }

    /// Something that was given to the connection has been answered.
    pub fn answered(&mut self, number: Number) {
        if let Some(lane) = &mut self.lane {
            lane.out = lane.out.saturating_sub(1);
        }
        self.pending.extend(self.set_aside.answered(number));
    }

    /// Whether there is a connection.
    pub fn is_connected(&self) -> bool {
        self.lane.is_some()
    }

    /// Publications the broker takes unacknowledged; more than any without a connection.
    pub fn in_flight_max(&self) -> usize {
        self.lane.as_ref().map_or(usize::MAX, |lane| lane.in_flight_max)
    }

    /// Whether a batch was refused, behind which nothing new may go.
    pub fn holds_back(&self) -> bool {
        self.refused.iter().any(|refused| !refused.is_letter)
    }

    /// Whether it is a dead letter that the broker refuses: nothing waits behind it.
    pub fn is_aside(&self, count: u64) -> bool {
        self.letters_aside().any(|it| it == count)
    }

    /// How many publications have a dead letter that the broker refuses.
    pub fn aside(&self) -> usize {
        self.letters_aside().collect::<BTreeSet<_>>().len()
    }

    fn letters_aside(&self) -> impl Iterator<Item = u64> {
        let letters = self.refused.iter().filter(|refused| refused.is_letter);
        letters.map(|refused| refused.number.count).chain(self.set_aside.counts())
    }

    /// Whether something was refused and has not been taken since.
    pub fn refuses(&self) -> bool {
        !self.refused.is_empty() || !self.set_aside.is_empty()
    }

    /// When it wants to be asked again.
    pub fn deadline(&self) -> Option<Instant> {
        let trial = self.set_aside.deadline().filter(|_| self.is_connected());
        [self.retry, trial].into_iter().flatten().min()
    }

    /// Publishes what of it has not been answered, behind what waits.
    pub fn push(&mut self, count: u64, parts: impl IntoIterator<Item = u32>) {
        if self.lane.is_some() {
            self.pending.extend(parts.into_iter().map(|part| Number { count, part }));
        }
    }

    /// The same for a dead letter: it waits while those are set aside.
    pub fn push_letter(&mut self, number: Number) {
        if self.set_aside.is_on() && self.lane.is_some() {
            self.set_aside.hold(number);
        } else {
            self.push(number.count, [number.part]);
        }
    }

    /// Sets all dead letters aside from the next connection on: one was not taken, without a word.
    pub fn set_letters_aside(&mut self, now: Instant) {
        self.set_aside.begin(now);
    }

    /// Whether it is a dead letter that was set aside and is tried again.
    pub fn is_trial(&self, number: Number) -> bool {
        self.set_aside.is_trial(number)
    }

    /// Gives to the lane what it takes.
    pub fn pump(&mut self, window: &Window<Flight>) {
        let Some(lane) = &mut self.lane else { return };
        while let Some(number) = self.pending.front().copied() {
            let sealed = window.get(number.count).and_then(|it| it.parts().get(number.part));
            let alone = self.set_aside.is_trial(number);
            if sealed.is_some_and(|it| !lane.takes(number, it, alone)) {
                return;
            }
            self.pending.pop_front();
        }
    }

    /// It was taken.
    pub fn taken(&mut self, now: Instant, number: Number) {
        let was_refused = |it: &Refused| it.number == number && !it.is_letter;
        let next = self.refused.iter().any(was_refused);
        self.forget(number);
        if self.refused.is_empty() {
            self.backoff.reset();
        } else if next {
            self.retry = Some(now);
        }
    }

    /// Publishes others in its place, if there are any.
    pub fn replace(&mut self, number: Number, places: Vec<u32>) {
        if !places.is_empty() {
            self.forget(number);
            self.push(number.count, places);
        }
    }

    fn forget(&mut self, number: Number) {
        self.refused.retain(|refused| refused.number != number);
    }

    /// It was refused: it is published again after a pause.
    pub fn refused(&mut self, now: Now, number: Number, is_letter: bool) {
        self.refused.retain(|refused| refused.number != number);
        self.refused.push(Refused { number, is_letter, due: true });
        if self.retry.is_none() {
            let seed = now.wall.millis();
            let mut rng = <rand::rngs::SmallRng as rand::SeedableRng>::seed_from_u64(seed);
            self.retry = Some(now.instant + self.backoff.pause(&mut rng));
        }
    }

    /// Publishes again what was refused, if it is time: dead letters, and the oldest batch; returns how
    /// many.
    pub fn retry(&mut self, now: Instant) -> u64 {
        let trial = if self.is_connected() { self.set_aside.due(now) } else { None };
        self.pending.extend(trial);
        if self.retry.is_none_or(|at| at > now) {
            return u64::from(trial.is_some());
        }
        self.retry = None;
        self.refused.sort_unstable_by_key(|it| (it.number.count, it.number.part));
        let before = self.pending.len();
        let mut behind = false;
        for refused in &mut self.refused {
            if (refused.is_letter || !behind) && std::mem::take(&mut refused.due) {
                self.pending.push_back(refused.number);
            }
            behind |= !refused.is_letter;
        }
        (self.pending.len() - before) as u64 + u64::from(trial.is_some())
    }
}
