//! What is given to the current connection, in order, and resent after a refusal.
//!
//! Batches that were refused are resent one at a time, the oldest first, the next when it was taken: a
//! broker that takes again what it refused, or refuses by turns (a quota), does not change their order.
//!
//! Dead letters over which the broker ended the connection are withheld (`withheld`).
//!
//! Holds numbers, not messages: those stay in the window. A connection's channel is bounded; what does
//! not fit waits here and follows when something has been answered. A channel that is closed belongs to
//! a connection that has ended: what was given to it is published again on the next.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc::{self, error::TrySendError};

use self::withheld::Withheld;
use super::in_flight::InFlight;
use super::retry_timer::RetryTimer;
use crate::clock::Now;
use crate::sealed::Sealed;
use crate::sink::{Number, Publication};
use crate::window::Window;

mod withheld;

/// The connection to the output.
#[derive(Debug)]
enum Connection {
    /// There has been none since the start: what the broker takes is not known.
    None { since: Instant },
    /// The last one has ended.
    Ended { since: Instant },
    /// One stands.
    Current(Channel),
}

/// What the current connection takes.
#[derive(Debug)]
struct Channel {
    publications: mpsc::Sender<Publication>,
    in_flight_max: usize,
    /// What is on its way goes alone.
    alone: bool,
    /// Given to it and not answered.
    out: usize,
}

impl Channel {
    /// Gives it a publication; false if that must wait.
    fn takes(&mut self, number: Number, sealed: &Arc<Sealed>, alone: bool) -> bool {
        if (self.alone || alone) && self.out > 0 {
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
    is_dead_letter: bool,
    /// To be resent; if not, it already was.
    due: bool,
}

/// The outbox.
#[derive(Debug)]
pub struct Outbox {
    connection: Connection,
    /// To be given to the current connection.
    pending: VecDeque<Number>,
    refused: Vec<Refused>,
    retry: RetryTimer,
    withheld: Withheld,
}

impl Outbox {
    /// Of a gateway that starts now.
    pub fn new(now: Instant) -> Self {
        Self {
            connection: Connection::None { since: now },
            pending: VecDeque::new(),
            refused: Vec::new(),
            retry: RetryTimer::default(),
            withheld: Withheld::default(),
        }
    }

    /// Begins with a new connection: nothing was given to it, nothing refused by it.
    pub fn connected(
        &mut self,
        publications: mpsc::Sender<Publication>,
        in_flight_max: usize,
        now: Instant,
    ) {
        let in_flight_max = in_flight_max.max(1);
        self.connection =
            Connection::Current(Channel { publications, in_flight_max, alone: false, out: 0 });
        self.pending.clear();
        self.refused.clear();
        self.withheld.connected(now);
        self.retry.rest();
    }

    /// The connection has ended, or there is none again.
    pub fn disconnected(&mut self, now: Instant) {
        if self.is_connected() {
            self.connection = Connection::Ended { since: now };
        }
    }

    /// Something that was given to the connection has been answered.
    pub fn answered(&mut self, number: Number) {
        if let Connection::Current(channel) = &mut self.connection {
            channel.out = channel.out.saturating_sub(1);
        }
        self.pending.extend(self.withheld.answered(number));
    }

    /// Whether there is a connection.
    pub fn is_connected(&self) -> bool {
        self.away().is_none()
    }

    /// Since when there is no connection.
    pub fn away(&self) -> Option<Instant> {
        match self.connection {
            Connection::None { since } | Connection::Ended { since } => Some(since),
            Connection::Current(_) => None,
        }
    }

    /// Whether one more publication may enter the window, which holds so many: the broker takes one more
    /// unacknowledged, and no batch was refused, behind which nothing new may go. Without a connection the
    /// next one will tell; before the first there is no room.
    pub fn has_room(&self, in_window: usize) -> bool {
        let in_flight_max = match &self.connection {
            Connection::None { .. } => return false,
            Connection::Ended { .. } => usize::MAX,
            Connection::Current(channel) => channel.in_flight_max,
        };
        let refuses_batch = self.refused.iter().any(|refused| !refused.is_dead_letter);
        let kept = self.kept_dead_letters().collect::<BTreeSet<_>>().len();
        // What is kept is not on its way.
        !refuses_batch && in_window < in_flight_max.saturating_add(kept)
    }

    /// Whether the publication has a dead letter that the broker refuses: nothing waits behind it.
    pub fn keeps_dead_letter(&self, count: u64) -> bool {
        self.kept_dead_letters().any(|it| it == count)
    }

    /// The publications that have a dead letter which was refused, or is withheld.
    fn kept_dead_letters(&self) -> impl Iterator<Item = u64> {
        let refused = self.refused.iter().filter(|refused| refused.is_dead_letter);
        refused.map(|refused| refused.number.count).chain(self.withheld.counts())
    }

    /// Whether something was refused and has not been taken since.
    pub fn refuses(&self) -> bool {
        !self.refused.is_empty() || !self.withheld.is_empty()
    }

    /// When it wants to be asked again.
    pub fn deadline(&self) -> Option<Instant> {
        let trial = self.withheld.deadline().filter(|_| self.is_connected());
        [self.retry.deadline(), trial].into_iter().flatten().min()
    }

    /// Publishes it behind what waits; a dead letter not while those are withheld.
    pub fn push(&mut self, number: Number, is_dead_letter: bool) {
        if !self.is_connected() {
            return;
        }
        if is_dead_letter && self.withheld.is_on() {
            self.withheld.hold(number);
        } else {
            self.pending.push_back(number);
        }
    }

    /// Withholds all dead letters from the next connection on: the last one ended over one.
    pub fn withhold_dead_letters(&mut self, now: Instant) {
        self.withheld.begin(now);
    }

    /// Whether it is a dead letter that was withheld and is tried again.
    pub fn is_trial(&self, number: Number) -> bool {
        self.withheld.is_trial(number)
    }

    /// Gives to the connection what its channel takes, each `alone` if need be: when nothing else is on its way.
    pub fn pump(&mut self, window: &Window<InFlight>, alone: bool) {
        let Connection::Current(channel) = &mut self.connection else { return };
        while let Some(number) = self.pending.front().copied() {
            let sealed = window.get(number.count).and_then(|it| it.split.get(number.part));
            let alone = alone || self.withheld.is_trial(number);
            if sealed.is_some_and(|it| !channel.takes(number, it, alone)) {
                return;
            }
            self.pending.pop_front();
        }
    }

    /// It was taken.
    pub fn taken(&mut self, now: Instant, number: Number) {
        let was_refused = |it: &Refused| it.number == number && !it.is_dead_letter;
        let next = self.refused.iter().any(was_refused);
        self.forget(number);
        if self.refused.is_empty() {
            self.retry.succeeded();
        } else if next {
            self.retry.at(now);
        }
    }

    /// Publishes other parts in its place, if there are any.
    pub fn replace(&mut self, number: Number, parts: Vec<u32>) {
        if !parts.is_empty() {
            self.forget(number);
        }
        for part in parts {
            self.push(Number { part, ..number }, false);
        }
    }

    fn forget(&mut self, number: Number) {
        self.refused.retain(|refused| refused.number != number);
    }

    /// It was refused: it is resent after a pause.
    pub fn refused(&mut self, now: Now, number: Number, is_dead_letter: bool) {
        self.forget(number);
        self.refused.push(Refused { number, is_dead_letter, due: true });
        if self.retry.is_well() {
            self.retry.failed(now);
        }
    }

    /// Resends what was refused, if it is time: dead letters, and the oldest batch. Tries a dead letter that
    /// is withheld, if it is time. Returns how many.
    pub fn resend(&mut self, now: Instant) -> u64 {
        let before = self.pending.len();
        if self.is_connected() {
            self.pending.extend(self.withheld.due(now));
        }
        if self.retry.take_due(now) {
            self.resend_refused();
        }
        (self.pending.len() - before) as u64
    }

    fn resend_refused(&mut self) {
        self.refused.sort_unstable_by_key(|it| it.number);
        let mut behind_batch = false;
        for refused in &mut self.refused {
            let may_go = refused.is_dead_letter || !behind_batch;
            if may_go && std::mem::take(&mut refused.due) {
                self.pending.push_back(refused.number);
            }
            behind_batch |= !refused.is_dead_letter;
        }
    }
}
