//! A sealed batch's way to the sink, and back.
//!
//! Owns the window: everything published and not yet acknowledged, in order. Whatever happens to
//! the connection, what is in the window is published again, in order, on the next one, before
//! anything new.
//!
//! - Room: no more than `window_batches` batches and a fixed number of batches of dead letters between the
//!   oldest unacknowledged publication and the newest, and never more than the broker takes
//!   (Receive Maximum). A publication that is settled behind an older one frees no room: so what a
//!   source must remember is bounded too. Dead letters have room of their own, also in bytes
//!   (`room`): those that find none wait in [`super::letters`].
//! - Nothing is sealed before the first connection: until then the broker's limits are not known,
//!   and records wait where they are counted, in the queue; or, with a spool, for `spool.after`.
//! - With a spool the output is *stuck* when there is no connection, or no answer to the oldest
//!   publication, for `spool.after`. Then what is in the window is written, and what is sealed
//!   behind it ([`super::store`]). One rule of age serves an output that is away, one that is silent
//!   and one that is too slow; a queue that fills and empties fast is no reason to write.
//! - A broker may have no word for what it does not take, and hang up (`hang_ups`).
//! - A batch that the broker refuses is not delivered. Where nothing has been delivered, a
//!   refusal for good that lasts for `gateway.start_grace` ends the gateway; any other is tried again
//!   after a pause, one at a time, and nothing new is published meanwhile. What was already in flight
//!   behind it may be taken before it: only there can a sensor's batches change places.
//! - A refused dead letter holds back no publication and is not the oldest of any. It is tried again, and
//!   takes from the room of the letters. Its session acknowledges nothing behind it, because
//!   acknowledgements are in order per session, and stops by itself once its window is used up. With a
//!   spool the letter is written there and holds back nothing, until so many are refused that there is no
//!   room for more. The same holds for a dead letter that the broker hangs up on.

use std::sync::Arc;
use std::time::Instant;

use self::hang_ups::HangUps;
use self::learned::Learned;
use super::books::Books;
use super::flight::Flight;
use super::outbox::Outbox;
use super::parts::Fit;
use super::store::Store;
use crate::clock::Now;
use crate::plan::Plan;
use crate::repeat::Repeated;
use crate::settlement::Outcome;
use crate::sink::{self, Answer, Measure, Number, Over, Refusal, Why};
use crate::unusable::Unusable;
use crate::window::Window;

mod forbidden;
mod hang_ups;
mod learned;
mod nobody;
mod room;
mod shown;

/// Why the gateway cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// There never was a connection, and trying again is pointless.
    #[error("{0}")]
    Connect(Unusable),
    /// The very first publication was refused.
    #[error("the output refused to take a batch for {topic}: {reason}")]
    Refused {
        /// Where it should have gone.
        topic: String,
        /// What the broker says.
        reason: String,
    },
}

/// The publisher.
#[derive(Debug)]
pub struct Publisher {
    plan: Arc<Plan>,
    books: Arc<Books>,
    measure: Arc<dyn Measure>,
    window: Window<Flight>,
    next: u64,
    /// Batches and dead letters given to it so far.
    pub published: u64,
    batches: usize,
    letters: usize,
    letter_bytes: usize,
    outbox: Outbox,
    /// Since when there is no connection.
    away: Option<Instant>,
    store: Option<Store>,
    bytes_max: Option<usize>,
    /// Half of the smallest batch that was refused as too large, or hung up on.
    learned: Learned,
    hang_ups: HangUps,
    hung_up_said: Repeated,
    /// The publication over which the broker last ended the connection in words.
    forbidden: Option<Number>,
    known: bool,
    proved: bool,
    /// A batch, or a part of one, has been taken in this run.
    takes_batches: bool,
    /// Since when publications are refused for good; of interest until one is taken.
    refused_since: Option<Instant>,
    repeated: Repeated,
    again: Repeated,
    nobody: Repeated,
    split: Repeated,
}

impl Publisher {
    /// With nothing in flight and no connection.
    pub fn new(plan: Arc<Plan>, books: Arc<Books>, store: Option<Store>, now: Instant) -> Self {
        Self {
            window: Window::default(),
            measure: plan.measure(),
            plan,
            books,
            next: 0,
            published: 0,
            batches: 0,
            letters: 0,
            letter_bytes: 0,
            outbox: Outbox::default(),
            away: Some(now),
            store,
            bytes_max: None,
            learned: Learned::default(),
            hang_ups: HangUps::default(),
            hung_up_said: Repeated::default(),
            forbidden: None,
            known: false,
            proved: false,
            takes_batches: false,
            refused_since: None,
            repeated: Repeated::default(),
            again: Repeated::default(),
            nobody: Repeated::default(),
            split: Repeated::default(),
        }
    }

    /// Whether records wait for an answer: more can come from their sources then.
    pub fn will_settle(&self) -> bool {
        self.window.iter().any(|(_, flight)| flight.is_held())
            || self.store.as_ref().is_some_and(|store| !store.is_settled())
    }

    /// Whether nothing is left to do.
    pub fn is_done(&self) -> bool {
        let empty = self.window.is_empty();
        self.store.as_ref().map_or(empty, |it| it.is_done((empty, self.will_settle())))
    }

    /// The largest packet the broker takes, once that is known.
    pub fn bytes_max(&self) -> Option<usize> {
        self.bytes_max
    }

    /// The largest batch that the broker is likely to take: learned from refusals, and no reason to
    /// put a single record aside.
    pub fn batch_bytes_max(&self) -> usize {
        self.learned.bytes_max().unwrap_or(usize::MAX)
    }

    /// When the publisher wants to be asked again.
    pub fn deadline(&self) -> Option<Instant> {
        let retry = self.outbox.deadline();
        let Some(store) = &self.store else { return retry };
        let room = self.outbox.is_connected() && self.window_has_room_for_any();
        [retry, store.stuck_at(self.silent()), store.deadline(room)].into_iter().flatten().min()
    }

    /// Publishes a batch or a dead letter and keeps it until it is acknowledged. Without a
    /// connection it waits in the window for the next; behind the spool, for its turn.
    pub fn publish(&mut self, flight: Flight) {
        self.published += 1;
        let letter = flight.is_letter();
        let room = if letter { self.window_has_letter_room() } else { self.window_has_room() };
        match &mut self.store {
            Some(store) if store.is_ahead() || !room => store.push(flight),
            _ => self.enter(flight),
        }
    }

    /// Takes a report of the sink.
    pub fn apply(&mut self, now: Now, event: sink::Event) -> Result<(), Failure> {
        match event {
            sink::Event::Connected { lane, bytes_max, in_flight_max } => {
                self.bytes_max = bytes_max;
                self.known = true;
                let alone = self.hang_ups.is_one_at_a_time();
                self.outbox.connected(lane, in_flight_max, alone, now.instant);
                self.away = None;
                self.fit(now.instant);
                self.publish_again(now.instant);
            }
            sink::Event::Disconnected { over } => {
                self.outbox.disconnected();
                self.away.get_or_insert(now.instant);
                match over {
                    Some(Over { number, why: Why::Forbidden(reason) }) => {
                        self.forbidden(now, number, &reason);
                    }
                    Some(over) => self.not_taken(now, &over),
                    None => {}
                }
            }
            sink::Event::Answered { number, answer } => {
                self.outbox.answered(number);
                self.answered(now, number, answer)?;
                self.outbox.pump(&self.window);
                self.books.pace.wake();
            }
            sink::Event::Stop => self.store.iter_mut().for_each(Store::stop),
            sink::Event::Failed(error) => return Err(Failure::Connect(error)),
            sink::Event::Abort => {}
        }
        Ok(())
    }

    /// Does what time brings: publishes again what was refused, writes to the spool and reads from
    /// it. Returns whether there is room now that there was not.
    pub fn tend(&mut self, now: Now) -> bool {
        self.learned.look(now.instant);
        self.retry(now.instant);
        let (room, silent) = (self.has_room(), self.silent());
        let Some(store) = &mut self.store else { return false };
        store.judge(silent, now.instant);
        store.look(now);
        // First what makes room on a disk that is full.
        store.tidy(now, false);
        // The source of a refused dead letter would wait for it.
        let aside =
            |(count, flight): (u64, &Flight)| flight.is_held() && self.outbox.is_aside(count);
        let needed = self.window.iter().any(aside);
        store.write(now, &mut self.window, needed);
        self.read(now);
        !room && self.has_room()
    }

    /// Takes from the disk what has arrived; the end of a run.
    pub fn finish(&mut self, now: Now) {
        if let Some(store) = &mut self.store {
            store.finish(now);
        }
    }

    /// Lets everything go: what was in flight is abandoned.
    pub fn abandon(&mut self) {
        self.window = Window::default();
        (self.batches, self.letters, self.letter_bytes) = (0, 0, 0);
        if let Some(store) = &mut self.store {
            store.abandon();
        }
    }

    /// Since when the output has been away, or the oldest flight waits.
    fn silent(&self) -> Option<Instant> {
        let oldest = self.oldest().map(|(_, flight)| flight.since());
        [oldest, self.away].into_iter().flatten().min()
    }

    /// Fills the window from the spool.
    fn read(&mut self, now: Now) {
        while self.window_has_room_for_any()
            && let Some(store) = &mut self.store
            && store.can_read(now.instant, self.outbox.is_connected())
        {
            let Some(mut flight) = store.read(now) else { continue };
            flight.fit(bounds(
                &self.plan,
                &*self.measure,
                self.bytes_max,
                self.learned.bytes_max(),
            ));
            self.enter(flight);
        }
    }

    fn enter(&mut self, flight: Flight) {
        self.next += 1;
        self.count(&flight, 1);
        self.window.open(self.next, flight);
        self.submit(self.next);
    }

    fn retry(&mut self, now: Instant) {
        let again = self.outbox.retry(now);
        if again > 0 {
            self.books.metrics.batches_resent.add(again);
            self.outbox.pump(&self.window);
            self.books.pace.wake();
        }
    }

    fn publish_again(&mut self, now: Instant) {
        let again: Vec<u64> = self.window.iter().map(|(count, _)| count).collect();
        if again.is_empty() {
            return;
        }
        if let Some(left_out) = self.again.due(now) {
            let publications = again.len();
            tracing::info!(publications, left_out, "publishing again what was not acknowledged");
        }
        self.books.metrics.batches_resent.add(again.len() as u64);
        for count in again {
            self.submit(count);
        }
    }

    /// Parts the batches in the window that this connection's broker would not take whole.
    fn fit(&mut self, now: Instant) {
        let fit = bounds(&self.plan, &*self.measure, self.bytes_max, self.learned.bytes_max());
        let parted = self.window.iter_mut().filter_map(|it| it.fit(fit).then_some(())).count();
        if parted > 0
            && let Some(left_out) = self.split.due(now)
        {
            let bytes_max = self.bytes_max;
            tracing::warn!(
                batches = parted,
                bytes_max,
                left_out,
                "split: the broker takes smaller packets now"
            );
        }
    }

    fn submit(&mut self, count: u64) {
        let Some(flight) = self.window.get(count) else { return };
        for part in flight.parts().open() {
            if flight.parts().get(part).is_some_and(|it| it.is_letters()) {
                self.outbox.push_letter(Number { count, part });
            } else {
                self.outbox.push(count, [part]);
            }
        }
        self.outbox.pump(&self.window);
        self.books.pace.wake();
    }

    fn answered(&mut self, now: Now, number: Number, answer: Answer) -> Result<(), Failure> {
        match answer {
            Answer::TakenByNobody if self.nobody_listens(now, number) => {}
            Answer::Taken | Answer::TakenByNobody => self.settle(now.instant, number),
            Answer::Refused(refusal) if refusal.too_large && self.halve(now.instant, number) => {}
            Answer::Refused(refusal) => return self.refused(now, number, &refusal),
        }
        Ok(())
    }

    /// Replaces what was too large by its halves. False if it cannot be made smaller.
    fn halve(&mut self, now: Instant, number: Number) -> bool {
        let Some(flight) = self.window.get_mut(number.count) else { return true };
        let Some(sealed) = flight.parts().get(number.part) else { return true };
        let bytes = sealed.text.len();
        let fit = bounds(&self.plan, &*self.measure, self.bytes_max, self.learned.bytes_max());
        let places = flight.halve(number.part, fit);
        if places.len() > 1 {
            self.learn(now, bytes);
            let bytes_max = self.batch_bytes_max();
            if let Some(left_out) = self.split.due(now) {
                tracing::warn!(
                    bytes_max,
                    left_out,
                    "split: the output refused a batch as too large"
                );
            }
        }
        let replaced = !places.is_empty();
        self.outbox.replace(number, places);
        replaced
    }

    /// A batch of so many bytes was too large.
    fn learn(&mut self, now: Instant, bytes: usize) {
        let half = (bytes / 2).saturating_sub(self.plan.batch_overhead_bytes());
        self.learned.learn(now, half);
    }

    fn settle(&mut self, now: Instant, number: Number) {
        self.outbox.taken(now, number);
        let Some(flight) = self.window.get_mut(number.count) else { return };
        self.takes_batches |= flight.parts().outcome(number.part) == Some(Outcome::Delivered);
        let last = flight.answered(number.part);
        let flight = if last { self.window.settle(number.count) } else { None };
        let Some(flight) = flight else { return };
        self.proved = true;
        self.hang_ups.taken(number.count);
        self.outbox.one_at_a_time(self.hang_ups.is_one_at_a_time());
        self.count(&flight, -1);
        if !self.outbox.refuses() {
            self.books.gauges.nothing_refused();
        }
        if !flight.is_letter() {
            self.books.metrics.batches_delivered.one();
            self.books.gauges.confirmed(flight.received(), now);
        }
        if let Some(key) = flight.settle(&self.books)
            && let Some(store) = &mut self.store
        {
            store.arrived(now, key);
        }
    }

    fn refused(&mut self, now: Now, number: Number, refusal: &Refusal) -> Result<(), Failure> {
        let Some(flight) = self.window.get(number.count) else { return Ok(()) };
        let Some(sealed) = flight.parts().get(number.part) else { return Ok(()) };
        // A part of a batch may have become a dead letter of its own.
        let is_letter = sealed.is_letters();
        let topic = self.measure.destination(sealed).to_owned();
        self.books.metrics.publishes_refused.one();
        if !self.proved && self.is_refused_for_good(now.instant, refusal) {
            return Err(Failure::Refused { topic, reason: refusal.reason.clone() });
        }
        self.outbox.refused(now, number, is_letter);
        self.books.gauges.refused(&topic, refusal.reason.clone(), now.instant);
        if let Some(left_out) = self.repeated.due(now.instant) {
            let what = if is_letter {
                "the output refused a dead letter; it is tried again, and the session that it came from \
                 waits if there is no spool"
            } else {
                "the output refused a batch; nothing new is published until it takes it"
            };
            tracing::error!(topic, reason = refusal.reason, left_out, "{what}");
        }
        Ok(())
    }

    /// Whether nothing but refusals for good has come for the start's grace.
    fn is_refused_for_good(&mut self, now: Instant, refusal: &Refusal) -> bool {
        if !refusal.permanent {
            self.refused_since = None;
            return false;
        }
        let since = *self.refused_since.get_or_insert(now);
        now.saturating_duration_since(since) >= self.plan.gateway.start_grace.0
    }

    fn count(&mut self, flight: &Flight, by: isize) {
        let bytes = flight.sealed().text.len().cast_signed();
        if flight.is_letter() {
            self.letters = self.letters.saturating_add_signed(by);
            self.letter_bytes = self.letter_bytes.saturating_add_signed(by * bytes);
        } else {
            self.batches = self.batches.saturating_add_signed(by);
        }
    }
}

/// What a publication must keep to: the broker's word, and the sizes that the settings of today and what
/// was learned allow a batch.
fn bounds<'a>(
    plan: &Plan,
    measure: &'a dyn Measure,
    bytes_max: Option<usize>,
    learned: Option<usize>,
) -> Fit<'a> {
    let batch_bytes_max = plan.batch.bytes_max.get();
    let records_bytes_max = learned.map_or(batch_bytes_max, |it| it.min(batch_bytes_max));
    Fit { measure, bytes_max, records_bytes_max }
}
