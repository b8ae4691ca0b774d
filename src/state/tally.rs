//! Which causes the dead letters of late had: the last one, and the commonest; and how many had which reason.
//!
//! Two spans of time are kept, today's and the one before it, so that what is told is at least one span old
//! and at most two. In each, `CAUSES_MAX` causes are told apart; a further one takes the place of the
//! rarest and its count with it, so that a cause that comes again and again is always found.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::text;

/// Causes (a reason and a sensor) that are told apart in one span.
const CAUSES_MAX: usize = 16;

/// Bytes of a topic or a detail that a cause shows.
const SHOWN_BYTES_MAX: usize = 128;

/// Why a sensor's message was no reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    pub reason: &'static str,
    /// Where and what.
    pub detail: String,
    pub sensor: Box<str>,
    /// The place of its configured entry, if it has one.
    pub entry: Option<u32>,
    pub topic: String,
}

impl Cause {
    /// Of this reason's word, sensor and entry; of `detail` and `topic` it shows the head.
    pub fn new(
        reason: &'static str,
        sensor: &str,
        entry: Option<u32>,
        detail: &[u8],
        topic: &[u8],
    ) -> Self {
        Self { reason, detail: shown(detail), sensor: sensor.into(), entry, topic: shown(topic) }
    }

    fn is_of(&self, sensor: &str, reason: &str) -> bool {
        self.reason == reason && *self.sensor == *sensor
    }
}

/// One span.
#[derive(Debug, Default)]
struct Span {
    letters: u64,
    causes: Vec<(u64, Cause)>,
}

#[derive(Debug, Default)]
struct Inner {
    last: Option<Cause>,
    now: Span,
    before: Span,
    /// Of the whole run, by the entry's place and the reason's word.
    by_entry: BTreeMap<(u32, &'static str), u64>,
}

/// The tally.
#[derive(Debug, Default)]
pub struct Tally(Mutex<Inner>);

impl Tally {
    /// A record becomes a dead letter, for this cause.
    pub fn note(&self, cause: Cause) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.now.note(&cause);
        if let Some(entry) = cause.entry {
            *inner.by_entry.entry((entry, cause.reason)).or_default() += 1;
        }
        inner.last = Some(cause);
    }

    /// The cause of the last one.
    pub fn last(&self) -> Option<Cause> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).last.clone()
    }

    /// Dead letters of both spans, and their commonest cause.
    pub fn recent(&self) -> (u64, Option<Cause>) {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = inner.before.causes.iter().chain(&inner.now.causes);
        let commonest = all.max_by_key(|(count, _)| *count).map(|(_, cause)| cause.clone());
        (inner.before.letters + inner.now.letters, commonest)
    }

    /// Dead letters of the whole run, by the entry's place and the reason's word.
    pub fn by_entry(&self) -> BTreeMap<(u32, &'static str), u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).by_entry.clone()
    }

    /// Begins the next span.
    pub fn turn(&self) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.before = std::mem::take(&mut inner.now);
    }
}

impl Span {
    fn note(&mut self, cause: &Cause) {
        self.letters += 1;
        let known = self.causes.iter_mut().find(|(_, it)| it.is_of(&cause.sensor, cause.reason));
        if let Some((count, latest)) = known {
            *count += 1;
            latest.clone_from(cause);
        } else if self.causes.len() < CAUSES_MAX {
            self.causes.push((1, cause.clone()));
        } else if let Some((count, rarest)) = self.causes.iter_mut().min_by_key(|it| it.0) {
            *count += 1;
            rarest.clone_from(cause);
        }
    }
}

/// The head of a text from outside, as it may stand in a log line.
fn shown(text: &[u8]) -> String {
    let head = text.get(..SHOWN_BYTES_MAX).unwrap_or(text);
    text::escaped(&String::from_utf8_lossy(head))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(tally: &Tally, sensor: &str) {
        let topic = "t\u{202e}".as_bytes();
        tally.note(Cause::new("malformed", sensor, None, b"the sensor's\n", topic));
    }

    fn cause(reason: &'static str, detail: &[u8]) -> Cause {
        Cause::new(reason, "a", Some(0), detail, b"t")
    }

    #[test]
    fn a_cause_is_a_reason_and_a_sensor_and_shows_the_head_of_its_last_detail() {
        let tally = Tally::default();
        let long = [b'x'; SHOWN_BYTES_MAX + 1];
        for detail in [&b"first"[..], b"second", &long] {
            tally.note(cause("malformed", detail));
        }
        let (_, last) = tally.recent();
        assert_eq!(last.unwrap().detail.len(), SHOWN_BYTES_MAX);
        (0..2).for_each(|_| tally.note(cause("oversize", b"large")));
        let (letters, commonest) = tally.recent();
        assert_eq!((letters, commonest.unwrap().reason), (5, "malformed"), "3 of 5");
        assert_eq!(tally.last().unwrap().detail, "large");
        assert_eq!(
            tally.by_entry().into_iter().collect::<Vec<_>>(),
            [((0, "malformed"), 3), ((0, "oversize"), 2)]
        );
    }

    /// Another cause takes the rarest's place with its count: it cannot be pushed out by the next one.
    #[test]
    fn a_cause_that_comes_between_many_others_is_the_commonest_in_the_end() {
        let tally = Tally::default();
        for n in 0..CAUSES_MAX {
            note(&tally, &format!("first{n}"));
        }
        for n in 0..10 * CAUSES_MAX {
            note(&tally, "late");
            note(&tally, &format!("s{n}"));
        }
        assert_eq!(&*tally.recent().1.unwrap().sensor, "late");
    }

    #[test]
    fn the_commonest_cause_is_found_among_many_and_forgotten_after_two_spans() {
        let tally = Tally::default();
        for n in 0..200 {
            note(&tally, &format!("s{n}"));
            note(&tally, "bad");
        }
        let (letters, commonest) = tally.recent();
        let commonest = commonest.unwrap();
        assert_eq!((letters, &*commonest.sensor), (400, "bad"));
        assert_eq!((&*commonest.detail, &*commonest.topic), ("the sensor's\\n", "t\\u{202e}"));
        assert_eq!(tally.0.lock().unwrap().now.causes.len(), CAUSES_MAX);
        tally.turn();
        assert_eq!(tally.recent().0, 400);
        tally.turn();
        assert_eq!(tally.recent(), (0, None));
        assert_eq!(&*tally.last().unwrap().sensor, "bad");
    }
}
