//! A connection that ended over a publication: the broker will not take it, and hangs up or falls silent.
//!
//! MQTT 3.1.1 has no word for a packet that is too large, and some brokers of MQTT 5 use none. The broker
//! closes the connection, and would close every later one over the same publication, for ever. Others
//! never answer it, and a link may swallow packets of that size.
//!
//! - Twice the same oldest publication was unanswered when the connection ended: from then on one is
//!   published at a time, so that it is known which one is the cause.
//! - One that was alone is halved. Batches are no larger than its half from then on (`sizes`), also
//!   those in the window and in the spool.
//! - One record that is alone becomes a dead letter, which is halved in turn; but only where the size can be
//!   the reason: it is larger than [`SMALL_BYTES`], the broker has taken batches in this run, and it has
//!   hung up [`ALONE_MAX`] times; or where the broker called it too large. Else it is held: the broker may
//!   forbid the topic in this way.
//! - Silence may have other causes, behind a broker that answers pings. A batch of [`SMALL_BYTES`] is not
//!   halved for it, and no record becomes a dead letter.
//! - A dead letter that was alone [`ALONE_MAX`] times and cannot be made smaller is withheld with all others
//!   ([`crate::pipeline::outbox`]), and nothing waits for them: the broker may forbid their topic. One is
//!   tried again now and then.
//! - Once the publication has been taken, publications go out together again.
//! - A broker of MQTT 5 may end the connection in words: "not authorized". Readings that it does not take
//!   wait, and the sink logs the reason. Dead letters are withheld once it has ended the connection twice
//!   over the same one.
//!
//! The sink sees to it that the client id is not suspected meanwhile ([`crate::sink`]).

use std::time::Instant;

use super::Publisher;
use crate::clock::Now;
use crate::sealed::Sealed;
use crate::sink::{Number, Over, Why};

/// Connections that ended over the same oldest publication before publications go out one at a time.
const TOGETHER_MAX: u32 = 2;

/// Connections that ended over one record alone before it becomes a dead letter.
const ALONE_MAX: u32 = 3;

/// A payload of so many bytes is taken by any broker: it is not the size that it hangs up on.
const SMALL_BYTES: usize = 1024;

const REMEDY: &str = "if it, or the link to it, takes no packets of that size, raise the maximum there or set \
                      batch.bytes_max below it";

/// What the last connections that ended over a publication have in common.
#[derive(Debug, Default)]
pub(super) struct HangUps {
    /// The oldest publication that was unanswered, and how many times in a row.
    over: Option<(Number, u32)>,
    /// It is published alone.
    one_at_a_time: bool,
    /// The publication over which the broker last ended the connection in words.
    forbidden: Option<Number>,
}

impl HangUps {
    /// Whether no more than one publication may be on its way.
    pub(super) fn is_one_at_a_time(&self) -> bool {
        self.one_at_a_time
    }

    /// One more; returns how many there were over this one while it was alone.
    fn over(&mut self, number: Number) -> u32 {
        let before = self.over.filter(|(last, _)| *last == number).map_or(0, |(_, times)| times);
        self.over = Some((number, before + 1));
        if self.one_at_a_time {
            return before + 1;
        }
        if before + 1 >= TOGETHER_MAX {
            (self.over, self.one_at_a_time) = (Some((number, 0)), true);
        }
        0
    }

    /// Publications go out together again.
    fn reset(&mut self) {
        (self.over, self.one_at_a_time) = (None, false);
    }

    /// All of a publication was taken: the broker takes it after all.
    pub(super) fn taken(&mut self, count: u64) {
        if self.over.is_some_and(|(number, _)| number.count <= count) {
            self.reset();
        }
    }
}

impl Publisher {
    /// The connection ended, and this was the oldest publication without an answer.
    pub(super) fn ended_over(&mut self, now: Now, over: &Over) {
        match &over.why {
            Why::Forbidden(reason) => self.forbidden(now, over.number, reason),
            Why::HungUp | Why::TooLarge | Why::Silent => self.not_taken(now, over),
        }
    }

    /// The broker ended the connection with this reason.
    fn forbidden(&mut self, now: Now, number: Number, reason: &str) {
        let again = self.hang_ups.forbidden.replace(number) == Some(number);
        let Some(sealed) = self.sealed(number).filter(|it| it.is_letters()) else { return };
        if !again || self.outbox.is_trial(number) {
            return;
        }
        self.outbox.withhold_dead_letters(now.instant);
        let topic = self.sizes.measure.destination(&sealed);
        let refusal = format!("it ends the connection when a message is published there: {reason}");
        self.books.gauges.refused(topic, refusal, now.instant);
        if let Some(left_out) = self.warnings.refused.due(now.instant) {
            tracing::error!(
                topic,
                reason,
                left_out,
                "the output broker ends the connection when a dead letter is published: dead letters wait, and \
                 one is tried now and then; the session that it came from waits if there is no spool"
            );
        }
    }

    /// The broker hung up or fell silent.
    fn not_taken(&mut self, now: Now, over: &Over) {
        let Some(sealed) = self.sealed(over.number) else { return };
        if self.outbox.is_trial(over.number) {
            return;
        }
        let was_alone = self.hang_ups.is_one_at_a_time();
        let alone = self.hang_ups.over(over.number);
        if !self.hang_ups.is_one_at_a_time() {
            return;
        }
        let topic = self.sizes.measure.destination(&sealed).to_owned();
        let bytes = sealed.text.len();
        let (what, or) = match over.why {
            Why::Silent => ("does not answer", "; if it waits for something behind it, look there"),
            Why::TooLarge => ("ends the connection (packet too large)", ""),
            _ => ("hangs up", "; if it forbids the topic, allow it"),
        };
        let reason =
            format!("it {what} when a message of {bytes} bytes is published; {REMEDY}{or}");
        self.books.gauges.refused(&topic, reason, now.instant);
        let smaller = was_alone && self.make_smaller(now.instant, over, &sealed, alone);
        let withheld = sealed.is_letters() && !smaller && alone >= ALONE_MAX;
        if withheld {
            self.hang_ups.reset();
            self.outbox.withhold_dead_letters(now.instant);
        }
        if let Some(left_out) = self.warnings.hung_up.due(now.instant) {
            let then = if smaller {
                "it is published in smaller parts"
            } else if withheld {
                "dead letters wait, and one is tried now and then; the session that it came from waits if \
                 there is no spool"
            } else {
                "it is published alone, and all else waits"
            };
            tracing::error!(
                topic,
                bytes,
                bytes_max = self.sizes.learned.bytes_max(),
                left_out,
                "the output broker {what} when this message is published, time and again: {then}; \
                 {REMEDY}{or}"
            );
        }
    }

    /// Replaces a publication that was alone when the connection ended by smaller ones, if its size may be
    /// why.
    fn make_smaller(&mut self, now: Instant, over: &Over, sealed: &Sealed, times: u32) -> bool {
        let Number { count, part } = over.number;
        let (alone, small) = (sealed.count == 1, sealed.text.len() <= SMALL_BYTES);
        let may_be_size = match over.why {
            Why::Silent => !small && !alone,
            // It has said so.
            Why::TooLarge => true,
            _ => !alone || !small && self.answered.batch_taken && times >= ALONE_MAX,
        };
        let Some(flight) = self.window.get_mut(count).filter(|_| may_be_size) else { return false };
        let is_reading = !sealed.is_letters();
        let mut fit = self.sizes.fit();
        if alone && is_reading {
            // What stands for one record must be smaller than it.
            let below = self.sizes.measure.bytes(sealed).saturating_sub(1);
            fit.bytes_max = Some(fit.bytes_max.map_or(below, |max| max.min(below)));
        }
        if flight.split.halve(part, fit).is_empty() {
            return false;
        }
        if is_reading && !alone {
            self.sizes.too_large(now, sealed.text.len());
        }
        true
    }
}
