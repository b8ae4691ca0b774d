//! What an answer of the broker to a publication means.
//!
//! - Taken: its records settle once all parts of it are taken.
//! - Too large: it is replaced by its halves, where it has any.
//! - Refused: it is kept and resent after a pause ([`crate::pipeline::outbox`]); or the gateway ends, where
//!   nothing but refusals for good has come since its start, for `gateway.start_grace`.
//! - Taken while nobody subscribed to the topic (PUBACK 0x10, MQTT 5 §3.4.2.1): by the standard it is
//!   delivered, and in fact it is gone. With `output.without_subscriber = "hold"` it goes the way of one that
//!   was refused. But it is no refusal for good, and never ends the gateway: a consumer may come later. Dead
//!   letters go to whoever subscribes: none are held, or one of them would stop its session where nobody
//!   cares for them.

use std::time::{Duration, Instant};

use super::{Failure, Publisher};
use crate::clock::Now;
use crate::sink::{Answer, Number, Refusal};

/// What the broker's answers have shown in this run.
#[derive(Debug, Default)]
pub(super) struct Answered {
    /// A publication has been taken.
    taken: bool,
    /// A batch of readings, or a part of one, has been taken.
    pub(super) batch_taken: bool,
    /// Since when publications are refused for good; of interest until one is taken.
    refused_since: Option<Instant>,
}

/// What is logged of a publication that counts as delivered all the same.
const GONE: &str = "delivered, but nobody subscribes to the topic, and what is published there is gone: start its \
                    consumer, with a session that is kept (output.without_subscriber = \"hold\" keeps batches)";

impl Publisher {
    pub(super) fn answered(
        &mut self,
        now: Now,
        number: Number,
        answer: Answer,
    ) -> Result<(), Failure> {
        match answer {
            Answer::TakenByNobody if self.holds_without_subscriber(now, number) => {}
            Answer::Taken | Answer::TakenByNobody => self.taken(now.instant, number),
            Answer::Refused(refusal) if refusal.too_large && self.halve(now.instant, number) => {}
            Answer::Refused(refusal) => return self.refused(now, number, &refusal),
        }
        Ok(())
    }

    /// Replaces what was too large by its halves. False if it cannot be made smaller.
    fn halve(&mut self, now: Instant, number: Number) -> bool {
        let Some(sealed) = self.sealed(number) else { return true };
        let Some(flight) = self.window.get_mut(number.count) else { return true };
        let places = flight.split.halve(number.part, self.sizes.fit());
        if places.len() > 1 {
            self.sizes.too_large(now, sealed.text.len());
            if let Some(left_out) = self.warnings.split.due(now) {
                tracing::warn!(
                    bytes_max = self.sizes.learned.bytes_max(),
                    left_out,
                    "split: the output refused a batch as too large"
                );
            }
        }
        let replaced = !places.is_empty();
        self.outbox.replace(number, places);
        replaced
    }

    fn taken(&mut self, now: Instant, number: Number) {
        self.outbox.taken(now, number);
        let Some(flight) = self.window.get_mut(number.count) else { return };
        let sealed = flight.split.get(number.part);
        self.answered.batch_taken |= sealed.is_some_and(|it| !it.is_letters());
        if !flight.split.answered(number.part) {
            return;
        }
        let flight = self.window.settle(number.count).expect("it is in the window");
        self.answered.taken = true;
        self.hang_ups.taken(number.count);
        self.count(&flight, -1);
        if !self.outbox.refuses() {
            self.books.gauges.nothing_refused();
        }
        if !flight.is_dead_letter() {
            self.books.metrics.batches_delivered.one();
            self.books.gauges.confirmed(flight.received(), now);
        }
        let (in_flight, window) = (self.counts.batches, self.plan.output.window_batches.get());
        let is_dead_letter = flight.is_dead_letter();
        let key = flight.settle(&self.books, |text| {
            if !is_dead_letter {
                self.spares.keep(text, in_flight, window.into());
            }
        });
        if let Some(key) = key
            && let Some(spooler) = &mut self.spooler
        {
            spooler.acknowledged(now, key);
        }
    }

    fn refused(&mut self, now: Now, number: Number, refusal: &Refusal) -> Result<(), Failure> {
        let Some(sealed) = self.sealed(number) else { return Ok(()) };
        // A part of a batch may have become a dead letter of its own.
        let is_dead_letter = sealed.is_letters();
        let topic = self.sizes.measure.destination(&sealed).to_owned();
        self.books.metrics.publishes_refused.one();
        let start_grace = self.plan.gateway.start_grace.0;
        if self.answered.refused_for(now.instant, refusal).is_some_and(|it| it >= start_grace) {
            return Err(Failure::Refused { topic, reason: refusal.reason.clone() });
        }
        self.outbox.refused(now, number, is_dead_letter);
        self.books.gauges.refused(&topic, refusal.reason.clone(), now.instant);
        if let Some(left_out) = self.warnings.refused.due(now.instant) {
            let what = if is_dead_letter {
                "the output refused a dead letter; it is tried again, and the session that it came from \
                 waits if there is no spool"
            } else {
                "the output refused a batch; nothing new is published until it takes it"
            };
            tracing::error!(topic, reason = refusal.reason, left_out, "{what}");
        }
        Ok(())
    }

    /// Counts and logs that nobody subscribes to the topic of a publication. Whether it is held for that.
    fn holds_without_subscriber(&mut self, now: Now, number: Number) -> bool {
        let Some(sealed) = self.sealed(number) else { return false };
        // A part of a batch may have become a dead letter of its own.
        let is_batch = !sealed.is_letters();
        let holds = is_batch && self.plan.output.sink.declared().holds_without_subscriber();
        let topic = self.sizes.measure.destination(&sealed);
        self.books.metrics.batches_without_subscriber.add(u64::from(is_batch));
        if holds {
            self.books.gauges.nobody_subscribes(topic, now.instant);
            self.outbox.refused(now, number, false);
            // The topic may be written.
            self.answered.refused_since = None;
        }
        if let Some(left_out) = self.warnings.no_subscriber.due(now.instant) {
            if holds {
                tracing::error!(
                    topic,
                    left_out,
                    "nobody subscribes to the topic: its batches are held, and tried again until somebody \
                     does (output.without_subscriber = \"hold\")"
                );
            } else {
                tracing::warn!(topic, left_out, "{GONE}");
            }
        }
        holds
    }
}

impl Answered {
    /// Another sink begins. Nothing that it refuses ends the gateway, which has begun with one before.
    pub(super) fn begun_anew(&mut self) {
        (self.taken, self.refused_since) = (true, None);
    }

    /// For how long nothing but refusals for good has come, with this one; `None` where anything else has.
    fn refused_for(&mut self, now: Instant, refusal: &Refusal) -> Option<Duration> {
        if self.taken {
            return None;
        }
        if !refusal.permanent {
            self.refused_since = None;
            return None;
        }
        let since = *self.refused_since.get_or_insert(now);
        Some(now.saturating_duration_since(since))
    }
}
