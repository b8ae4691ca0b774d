//! A sealed batch's way to the sink, and back.
//!
//! Owns the window: everything published and not yet acknowledged, in order. Whatever happens to
//! the connection, what is in the window is published again, in order, on the next one, before
//! anything new.
//!
//! - Room: no more than `window_batches` batches and a fixed number of dead letters between the
//!   oldest unacknowledged publication and the newest, and never more than the broker takes
//!   (Receive Maximum). A publication that is settled behind an older one frees no room: so what a
//!   source must remember is bounded too.
//! - Nothing is sealed before the first connection: until then the broker's limits are not known,
//!   and records wait where they are counted, in the queue.
//! - A publication that the broker refuses is not delivered. Before anything has ever been
//!   delivered that is a mistake in the settings and ends the gateway; later it is tried again
//!   after a pause, and nothing new is published meanwhile. What was already in flight behind it
//!   may be taken before it: only there can a sensor's batches change places.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::flight::Flight;
use crate::backoff::Backoff;
use crate::clock::Now;
use crate::limits::{DEAD_LETTERS_IN_FLIGHT_MAX, RECONNECT_PAUSE};
use crate::metrics::Metrics;
use crate::mqtt::packet::Answer;
use crate::pace::Pace;
use crate::repeat::Repeated;
use crate::settlement::Outcome;
use crate::sink::{self, Number, Publication};
use crate::window::Window;

/// Why the gateway cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// There never was a connection, and trying again is pointless.
    #[error("{0}")]
    Connect(crate::mqtt::Error),
    /// The very first publication was refused.
    #[error("the broker refused to take a message on {topic}: {reason}")]
    Refused {
        /// Where it should have gone.
        topic: String,
        /// What the broker says.
        reason: String,
    },
}

/// What a connection allows.
#[derive(Debug)]
struct Lane {
    publications: mpsc::Sender<Publication>,
    in_flight_max: usize,
}

/// The publisher.
#[derive(Debug)]
pub struct Publisher {
    window: Window<Flight>,
    window_batches: usize,
    /// Bytes of a packet beside its payload.
    wire_overhead_bytes: usize,
    next: u64,
    batches: usize,
    letters: usize,
    lane: Option<Lane>,
    packet_bytes_max: Option<usize>,
    known: bool,
    proved: bool,
    /// Publications that were refused and have not been taken since; published again then.
    refused: Vec<Number>,
    retry: Option<Instant>,
    backoff: Backoff,
    repeated: Repeated,
    nobody: Repeated,
    metrics: Arc<Metrics>,
    pace: Arc<Pace>,
}

impl Publisher {
    /// With nothing in flight and no connection.
    pub fn new(
        window_batches: usize,
        wire_overhead_bytes: usize,
        metrics: Arc<Metrics>,
        pace: Arc<Pace>,
    ) -> Self {
        let (first, longest) = RECONNECT_PAUSE;
        Self {
            window: Window::default(),
            window_batches,
            wire_overhead_bytes,
            next: 0,
            batches: 0,
            letters: 0,
            lane: None,
            packet_bytes_max: None,
            known: false,
            proved: false,
            retry: None,
            refused: Vec::new(),
            backoff: Backoff::new(first, longest),
            repeated: Repeated::default(),
            nobody: Repeated::default(),
            metrics,
            pace,
        }
    }

    /// Whether a batch and a dead letter can be published now.
    pub fn has_room(&self) -> bool {
        let span = self.window.iter().next().map_or(0, |(oldest, _)| self.next - oldest);
        let span_max = (self.window_batches + DEAD_LETTERS_IN_FLIGHT_MAX) as u64;
        self.known
            && self.refused.is_empty()
            && self.batches < self.window_batches
            && self.letters < DEAD_LETTERS_IN_FLIGHT_MAX
            && span < span_max
            && self.lane.as_ref().is_none_or(|lane| self.window.len() < lane.in_flight_max)
    }

    /// Whether nothing is in flight.
    pub fn is_idle(&self) -> bool {
        self.window.is_empty()
    }

    /// Publications in flight.
    pub fn in_flight(&self) -> usize {
        self.window.len()
    }

    /// The largest packet the broker takes, once that is known.
    pub fn packet_bytes_max(&self) -> Option<usize> {
        self.packet_bytes_max
    }

    /// When the publisher wants to be asked again.
    pub fn deadline(&self) -> Option<Instant> {
        self.retry
    }

    /// Publishes a batch or a dead letter and keeps it until it is acknowledged. Without a
    /// connection it waits in the window for the next.
    pub fn publish(&mut self, flight: Flight) {
        self.next += 1;
        self.count(flight.outcome, 1);
        self.window.open(self.next, flight);
        self.submit(self.next);
    }

    /// Takes a report of the sink.
    pub fn apply(&mut self, now: Now, event: sink::Event) -> Result<(), Failure> {
        match event {
            sink::Event::Connected { lane, packet_bytes_max, in_flight_max } => {
                self.packet_bytes_max = packet_bytes_max.map(|bytes| bytes as usize);
                self.known = true;
                self.lane = Some(Lane { publications: lane, in_flight_max: in_flight_max.max(1) });
                (self.retry, self.refused) = (None, Vec::new());
                self.split();
                self.publish_again();
            }
            sink::Event::Disconnected => self.lane = None,
            sink::Event::Answered { number, answer } => self.answered(now, number, answer)?,
            sink::Event::Failed(error) => return Err(Failure::Connect(error)),
            sink::Event::Abort => {}
        }
        Ok(())
    }

    /// Publishes again what was refused, if it is time.
    pub fn retry(&mut self, now: Instant) {
        if self.retry.is_none_or(|at| at > now) {
            return;
        }
        self.retry = None;
        self.refused.sort_unstable_by_key(|number| (number.count, number.part));
        self.refused.dedup();
        for number in self.refused.clone() {
            self.metrics.batches_resent.one();
            self.submit_part(number);
        }
    }

    /// Lets everything go: what was in flight is abandoned.
    pub fn abandon(&mut self) {
        self.window = Window::default();
        (self.batches, self.letters) = (0, 0);
    }

    fn publish_again(&mut self) {
        let again: Vec<u64> = self.window.iter().map(|(count, _)| count).collect();
        if again.is_empty() {
            return;
        }
        tracing::info!(publications = again.len(), "publishing again what was not acknowledged");
        self.metrics.batches_resent.add(again.len() as u64);
        for count in again {
            self.submit(count);
        }
    }

    /// Splits the batches in the window that this connection's broker would not take whole.
    fn split(&mut self) {
        let Some(bytes_max) = self.packet_bytes_max else { return };
        let payload_max = bytes_max.saturating_sub(self.wire_overhead_bytes);
        let split = self.window.iter_mut().filter_map(|it| it.split(payload_max).then_some(()));
        let split = split.count();
        if split > 0 {
            tracing::warn!(
                batches = split,
                bytes_max,
                "split: the broker takes smaller packets now"
            );
        }
    }

    /// Gives a publication to the connection of today, if there is one. A lane that is closed or
    /// full belongs to a connection that is ending: the next one publishes it again.
    fn submit(&mut self, count: u64) {
        let Some(flight) = self.window.get(count) else { return };
        let parts: Vec<u32> = flight.parts().map(|(part, _)| part).collect();
        for part in parts {
            self.submit_part(Number { count, part });
        }
    }

    fn submit_part(&mut self, number: Number) {
        let Some(flight) = self.window.get(number.count) else { return };
        let (Some(message), Some(lane)) = (flight.part(number.part), &self.lane) else { return };
        let publication = Publication { number, message: Arc::clone(message) };
        if lane.publications.try_send(publication).is_err() {
            self.lane = None;
        }
        self.pace.wake();
    }

    fn answered(&mut self, now: Now, number: Number, answer: Answer) -> Result<(), Failure> {
        match answer {
            Answer::Taken => self.settle(number),
            Answer::NobodyListens => {
                self.nobody_listens(now, number);
                self.settle(number);
            }
            Answer::Refused(reason) => return self.refused(now, number, reason),
        }
        Ok(())
    }

    fn nobody_listens(&mut self, now: Now, number: Number) {
        let Some(flight) = self.window.get(number.count) else { return };
        let Some(message) = flight.part(number.part) else { return };
        self.metrics.batches_without_subscriber.one();
        if let Some(left_out) = self.nobody.due(now.instant) {
            let topic = message.topic.as_str();
            tracing::warn!(topic, left_out, "delivered, but nobody subscribes to the topic");
        }
    }

    fn settle(&mut self, number: Number) {
        let last = self.window.get_mut(number.count).is_some_and(|it| it.answered(number.part));
        let flight = if last { self.window.settle(number.count) } else { None };
        let Some(flight) = flight else { return };
        self.refused.retain(|refused| refused.count != number.count);
        self.proved = true;
        self.count(flight.outcome, -1);
        if flight.outcome == Outcome::Delivered {
            self.metrics.batches_delivered.one();
        }
        if self.refused.is_empty() {
            self.backoff.reset();
        }
        flight.settle();
    }

    fn refused(&mut self, now: Now, number: Number, reason: String) -> Result<(), Failure> {
        let flight = self.window.get(number.count);
        let Some(message) = flight.and_then(|it| it.part(number.part)) else { return Ok(()) };
        let topic = message.topic.to_string();
        self.metrics.publishes_refused.one();
        if !self.proved {
            return Err(Failure::Refused { topic, reason });
        }
        self.refused.push(number);
        if self.retry.is_none() {
            let seed = now.wall.millis();
            let mut rng = <rand::rngs::SmallRng as rand::SeedableRng>::seed_from_u64(seed);
            let pause: Duration = self.backoff.pause(&mut rng);
            self.retry = Some(now.instant + pause);
        }
        if let Some(left_out) = self.repeated.due(now.instant) {
            tracing::error!(
                topic,
                reason,
                left_out,
                "the broker refused a message; nothing new is published until it takes it"
            );
        }
        Ok(())
    }

    fn count(&mut self, outcome: Outcome, by: isize) {
        let counter = match outcome {
            Outcome::DeadLettered => &mut self.letters,
            Outcome::Delivered | Outcome::Abandoned => &mut self.batches,
        };
        *counter = counter.saturating_add_signed(by);
    }
}
