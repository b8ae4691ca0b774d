//! A sealed batch's way to the sink, and back.
//!
//! Owns the window: everything published and not yet acknowledged, in order. Whatever happens to
//! the connection, what is in the window is published again, in order, on the next one, before
//! anything new.
//!
//! - Room: no more than `window_batches` batches and a fixed number of batches of dead letters between the
//!   oldest unacknowledged publication and the newest, and never more than the broker takes
//!   (Receive Maximum). A publication that is settled behind an older one frees no room: so what a
//!   source must remember is bounded too. Dead letters have room of their own, also in bytes:
//!   those that find none wait in [`super::dead_letters`].
//! - Nothing is sealed before the first connection: until then the broker's limits are not known,
//!   and records wait where they are counted, in the queue; or, with a spool, for `spool.after`.
//! - With a spool the output is *stuck* when there is no connection, or no answer to the oldest
//!   publication, for `spool.after`. Then what is in the window is written, and what is sealed
//!   behind it ([`super::spooler`]). One rule of age serves an output that is away, one that is silent
//!   and one that is too slow; a queue that fills and empties fast is no reason to write.
//! - A broker may have no word for what it does not take, and end the connection (`hang_ups`).
//! - A batch that the broker refuses is not delivered. Where nothing has been delivered, a
//!   refusal for good that lasts for `gateway.start_grace` ends the gateway; any other is tried again
//!   after a pause, one at a time, and nothing new is published meanwhile. What was already in flight
//!   behind it may be taken before it: only there can a sensor's batches change places.
//! - A refused dead letter holds back no publication and is not the oldest of any. It is tried again, and
//!   takes from the room of dead letters. Its session acknowledges nothing behind it, because
//!   acknowledgements are in order per session, and stops by itself once its window is used up. With a
//!   spool it is written there and holds back nothing, until so many are refused that there is no
//!   room for more. The same holds for a dead letter that the broker hangs up on.

use std::sync::Arc;
use std::time::Instant;

use self::answers::Answered;
use self::changing::Changing;
use self::hang_ups::HangUps;
use self::sizes::Sizes;
use super::in_flight::InFlight;
use super::outbox::Outbox;
use super::spares::Spares;
use super::spooler::Spooler;
use crate::clock::Now;
use crate::limits::{DEAD_LETTER_BYTES_IN_FLIGHT_MAX, DEAD_LETTERS_IN_FLIGHT_MAX};
use crate::plan::Plan;
use crate::repeat::Repeated;
use crate::sealed::Sealed;
use crate::sink::{self, Number};
use crate::state::books::Books;
use crate::state::gauges::Gauges;
use crate::unusable::Unusable;
use crate::window::Window;

mod answers;
mod changing;
mod hang_ups;
mod sizes;

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
    window: Window<InFlight>,
    counts: Counts,
    /// The number of the last publication that entered the window.
    last: u64,
    /// Batches and dead letters given to it so far.
    pub published: u64,
    outbox: Outbox,
    spooler: Option<Spooler>,
    sizes: Sizes,
    hang_ups: HangUps,
    answered: Answered,
    changing: Changing,
    warnings: Warnings,
    spares: Spares,
}

/// What the window holds.
#[derive(Debug, Default)]
struct Counts {
    batches: usize,
    dead_letters: usize,
    dead_letter_bytes: usize,
}

/// Warnings that may repeat, each for itself.
#[derive(Debug, Default)]
struct Warnings {
    refused: Repeated,
    hung_up: Repeated,
    no_subscriber: Repeated,
    split: Repeated,
    resent: Repeated,
}

impl Publisher {
    /// With nothing in flight and no connection.
    pub fn new(plan: Arc<Plan>, books: Arc<Books>, spooler: Option<Spooler>, now: Instant) -> Self {
        Self {
            sizes: Sizes::new(&plan),
            plan,
            books,
            window: Window::default(),
            counts: Counts::default(),
            last: 0,
            published: 0,
            outbox: Outbox::new(now),
            spooler,
            hang_ups: HangUps::default(),
            answered: Answered::default(),
            changing: Changing::default(),
            warnings: Warnings::default(),
            spares: Spares::default(),
        }
    }

    /// Whether records wait for an answer: more can come from their sources then.
    pub fn will_settle(&self) -> bool {
        let window = &self.window;
        self.spooler.as_ref().map_or(!window.is_empty(), |it| it.will_settle(window))
    }

    /// Whether nothing is left to do.
    pub fn is_done(&self) -> bool {
        let window = &self.window;
        self.spooler.as_ref().map_or(window.is_empty(), |it| it.is_done(window))
    }

    /// The largest packet the broker takes, once that is known.
    pub fn bytes_max(&self) -> Option<usize> {
        self.sizes.bytes_max
    }

    /// The largest batch that the broker is likely to take: learned from refusals, and no reason to
    /// make a dead letter of a single record.
    pub fn batch_bytes_max(&self) -> usize {
        self.sizes.learned.bytes_max().unwrap_or(usize::MAX)
    }

    /// Whether a batch of readings can be published now.
    pub fn has_room(&self) -> bool {
        self.has_room_if(self.window_has_room())
    }

    /// An empty buffer for the next batch.
    pub fn spare(&mut self) -> Vec<u8> {
        self.spares.take()
    }

    /// Whether a batch of dead letters can be published now.
    pub fn has_dead_letter_room(&self) -> bool {
        self.has_room_if(self.window_has_dead_letter_room())
    }

    fn has_room_if(&self, window: bool) -> bool {
        let window = window && !self.changing.is_held();
        self.spooler.as_ref().map_or(window, |spooler| spooler.has_room(window))
    }

    fn window_has_room(&self) -> bool {
        let window_batches = self.plan.output.window_batches.get();
        self.counts.batches < window_batches.into() && self.takes_more()
    }

    fn window_has_dead_letter_room(&self) -> bool {
        self.counts.dead_letters < DEAD_LETTERS_IN_FLIGHT_MAX
            && self.counts.dead_letter_bytes < DEAD_LETTER_BYTES_IN_FLIGHT_MAX
            && self.takes_more()
    }

    /// Room for what the spool brings, whichever it is.
    fn window_has_room_for_any(&self) -> bool {
        self.window_has_room() && self.window_has_dead_letter_room() && !self.changing.is_held()
    }

    fn takes_more(&self) -> bool {
        let window_batches = usize::from(self.plan.output.window_batches.get());
        let span = self.oldest().map_or(0, |(oldest, _)| self.last - oldest);
        span < (window_batches + DEAD_LETTERS_IN_FLIGHT_MAX) as u64
            && self.outbox.has_room(self.window.len())
    }

    /// The oldest publication that others wait behind. A dead letter that is refused holds nothing back.
    fn oldest(&self) -> Option<(u64, &InFlight)> {
        self.window.iter().find(|(count, _)| !self.outbox.keeps_dead_letter(*count))
    }

    /// Since when the output has been away, or the oldest publication waits.
    fn silent(&self) -> Option<Instant> {
        let oldest = self.oldest().map(|(_, flight)| flight.since());
        [oldest, self.outbox.away()].into_iter().flatten().min()
    }

    /// When the publisher wants to be asked again.
    pub fn deadline(&self) -> Option<Instant> {
        let resend = self.outbox.deadline();
        let Some(spooler) = &self.spooler else { return resend };
        let room = self.outbox.is_connected() && self.window_has_room_for_any();
        [resend, spooler.deadline(self.silent(), room)].into_iter().flatten().min()
    }

    /// Publishes a batch or a dead letter and keeps it until it is acknowledged. Without a
    /// connection it waits in the window for the next; behind the spool, for its turn.
    pub fn publish(&mut self, flight: InFlight) {
        self.published += 1;
        let is_dead_letter = flight.is_dead_letter();
        let room = if is_dead_letter {
            self.window_has_dead_letter_room()
        } else {
            self.window_has_room()
        };
        let is_held = self.changing.is_held();
        let direct = match &mut self.spooler {
            Some(spooler) => spooler.push(flight, room && !is_held),
            None => Some(flight),
        };
        if let Some(flight) = direct {
            self.enter(flight);
        }
    }

    /// Takes a report of the sink.
    pub fn apply(&mut self, now: Now, event: sink::Event) -> Result<(), Failure> {
        match event {
            sink::Event::Connected { channel, bytes_max, in_flight_max } => {
                self.sizes.bytes_max = bytes_max;
                self.outbox.connected(channel, in_flight_max, now.instant);
                self.fit(now.instant);
                self.resend_all(now.instant);
            }
            sink::Event::Disconnected { over } => {
                self.outbox.disconnected(now.instant);
                if let Some(over) = over {
                    self.ended_over(now, &over);
                }
            }
            sink::Event::Answered { number, answer } => {
                self.outbox.answered(number);
                self.answered(now, number, answer)?;
                self.pump();
            }
            sink::Event::Stop => self.spooler.iter_mut().for_each(Spooler::stop),
            sink::Event::Failed(error) => self.failed(error)?,
            sink::Event::Replaced => self.replaced(now.instant),
            // The worker's.
            sink::Event::Changed(_) | sink::Event::Abort => {}
        }
        Ok(())
    }

    /// Does what time brings: resends what was refused, writes to the spool and reads from it. Returns
    /// whether there is room now that there was not.
    pub fn tend(&mut self, now: Now) -> bool {
        self.sizes.learned.forget(now.instant);
        self.resend_refused(now.instant);
        let (room, silent) = (self.has_room(), self.silent());
        self.tell();
        let Some(spooler) = &mut self.spooler else { return false };
        // The source of a refused dead letter would wait for it.
        let waits = |(count, flight): (u64, &InFlight)| {
            flight.is_held() && self.outbox.keeps_dead_letter(count)
        };
        let needed = self.window.iter().any(waits);
        spooler.tend(now, silent, &mut self.window, needed);
        self.fill(now);
        !room && self.has_room()
    }

    /// Removes from the disk what was acknowledged; the end of a run.
    pub fn finish(&mut self, now: Now) {
        if let Some(spooler) = &mut self.spooler {
            spooler.finish(now);
        }
    }

    /// Lets everything go: what was in flight is abandoned.
    pub fn abandon(&mut self) {
        self.window = Window::default();
        self.counts = Counts::default();
        if let Some(spooler) = &mut self.spooler {
            spooler.abandon();
        }
    }

    /// Shows what is held at `now`; the worker holds records that came at `taken` at the earliest.
    pub fn show(&self, gauges: &Gauges, taken: Option<Instant>, now: Instant) {
        gauges.window_batches.set(self.counts.batches as u64);
        gauges.window_dead_letters.set(self.counts.dead_letters as u64);
        let waiting = self.spooler.as_ref().and_then(|spooler| spooler.show(gauges));
        let held = self.window.iter().find_map(|(_, flight)| flight.received());
        gauges.look([held, waiting, taken].into_iter().flatten().min(), now);
    }

    /// Fills the window from the spool.
    fn fill(&mut self, now: Now) {
        while self.window_has_room_for_any()
            && let Some(spooler) = &mut self.spooler
            && let Some(mut flight) = spooler.next(now, self.outbox.is_connected())
        {
            flight.split.fit(self.sizes.fit());
            self.enter(flight);
        }
    }

    fn enter(&mut self, flight: InFlight) {
        self.last += 1;
        self.count(&flight, 1);
        self.window.open(self.last, flight);
        self.submit(self.last);
        self.pump();
    }

    /// Notes that one has entered the window (1), or left it (-1).
    fn count(&mut self, flight: &InFlight, by: isize) {
        let Counts { batches, dead_letters, dead_letter_bytes } = &mut self.counts;
        if flight.is_dead_letter() {
            let bytes = flight.sealed().text.len().cast_signed();
            *dead_letters = dead_letters.saturating_add_signed(by);
            *dead_letter_bytes = dead_letter_bytes.saturating_add_signed(by * bytes);
        } else {
            *batches = batches.saturating_add_signed(by);
        }
    }

    /// Resends what was refused, if it is time.
    fn resend_refused(&mut self, now: Instant) {
        let resent = self.outbox.resend(now);
        if resent > 0 {
            self.books.metrics.batches_resent.add(resent);
            self.pump();
        }
    }

    /// Resends all that is in flight, on a new connection.
    fn resend_all(&mut self, now: Instant) {
        let all: Vec<u64> = self.window.iter().map(|(count, _)| count).collect();
        if all.is_empty() {
            return;
        }
        if let Some(left_out) = self.warnings.resent.due(now) {
            let publications = all.len();
            tracing::info!(publications, left_out, "publishing again what was not acknowledged");
        }
        self.books.metrics.batches_resent.add(all.len() as u64);
        for count in all {
            self.submit(count);
        }
        self.pump();
    }

    /// Splits the batches in the window that this connection's broker would not take whole.
    fn fit(&mut self, now: Instant) {
        let fit = self.sizes.fit();
        let split = self.window.iter_mut().filter_map(|it| it.split.fit(fit).then_some(())).count();
        if split > 0
            && let Some(left_out) = self.warnings.split.due(now)
        {
            tracing::warn!(
                batches = split,
                bytes_max = self.sizes.bytes_max,
                left_out,
                "split: the broker takes smaller packets now"
            );
        }
    }

    /// A part of a publication, if it has no answer yet.
    fn sealed(&self, number: Number) -> Option<Arc<Sealed>> {
        self.window.get(number.count)?.split.get(number.part).cloned()
    }

    /// Gives all parts of a publication to the outbox that have no answer.
    fn submit(&mut self, count: u64) {
        let Some(flight) = self.window.get(count) else { return };
        for part in flight.split.open() {
            let is_dead_letter = flight.split.get(part).is_some_and(|it| it.is_letters());
            self.outbox.push(Number { count, part }, is_dead_letter);
        }
    }

    /// Gives to the connection what it takes.
    fn pump(&mut self) {
        if self.changing.is_over() {
            return;
        }
        self.outbox.pump(&self.window, self.hang_ups.is_one_at_a_time());
        self.books.pace.wake();
    }
}
