//! `/api/history`: what has come and gone in the last 15 minutes, in steps of five seconds.
//!
//! The thread of HTTP looks at the books by itself: the engine does not know. A step that it came to late is longer, and
//! says so.

use std::time::{Duration, Instant};

use serde::Serialize;
use utoipa::ToSchema;

use super::View;
use super::exposition::counts;
use crate::clock::Now;
use crate::state::books::Books;
use crate::state::metrics::Balance;
use crate::state::recent::Kept;

/// The length of a step.
const STEP: Duration = Duration::from_secs(5);

/// Steps that are kept: 15 minutes.
const STEPS_MAX: usize = 180;

/// Bytes of a step, with what the allocator and the list add. In the budget of the program itself.
const STEP_BYTES: usize = 256;

/// A step.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Step {
    /// Its end.
    #[schema(format = DateTime)]
    at: String,
    seconds: f64,
    /// Readings that came, and what became of readings, in this step.
    received: u64,
    delivered: u64,
    dead_lettered: u64,
    shed: u64,
    /// At its end; those in the spool are among those that are held.
    held: u64,
    spooled: u64,
    /// From the receipt of a batch's oldest reading to the acknowledgement of the batch, in half of the batches, and in 99
    /// of 100; of those of this step that did not go through the spool. Absent: there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    p50_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p99_seconds: Option<f64>,
    /// Age of the oldest reading that has not settled, at its end.
    oldest_reading_seconds: f64,
}

impl Kept for Step {
    const ITEMS_MAX: usize = STEPS_MAX;
    const BYTES_MAX: usize = STEPS_MAX * STEP_BYTES;

    fn bytes(&self) -> usize {
        STEP_BYTES
    }
}

/// The body of `/api/history`: the oldest step first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct History {
    step_seconds: u64,
    steps: Vec<Step>,
}

/// The body of `/api/history`.
pub(super) fn history(view: &View) -> String {
    let steps = view.feed.steps.since(0);
    let steps = steps.iter().map(|(_, step)| Step::clone(step)).collect();
    super::json::written(&History { step_seconds: STEP.as_secs(), steps })
}

/// Readings that had come and gone, and how many batches were confirmed within which time, at the last step.
#[derive(Debug)]
pub(super) struct Steps {
    at: Instant,
    due: Instant,
    balance: Balance,
    confirmed: Vec<(f64, u64)>,
}

impl Steps {
    /// Begins at `now`.
    pub(super) fn new(now: Instant) -> Self {
        Self { at: now, due: now + STEP, balance: Balance::default(), confirmed: Vec::new() }
    }

    /// Ends a step, if it is time.
    pub(super) fn look(&mut self, books: &Books, now: Now) -> Option<Step> {
        if now.instant < self.due {
            return None;
        }
        let seconds = now.instant.saturating_duration_since(self.at).as_secs_f64();
        let (balance, confirmed) = (books.balance(), counts(&books.gauges.confirmation));
        let latencies = since(&confirmed, &self.confirmed);
        let (is, was) = (balance, self.balance);
        let step = Step {
            at: now.wall.to_string(),
            seconds,
            received: is.received.saturating_sub(was.received),
            delivered: is.delivered.saturating_sub(was.delivered),
            dead_lettered: is.dead_lettered.saturating_sub(was.dead_lettered),
            shed: is.shed.saturating_sub(was.shed),
            held: is.held,
            spooled: is.spooled,
            p50_seconds: quantile(0.5, &latencies),
            p99_seconds: quantile(0.99, &latencies),
            oldest_reading_seconds: books.oldest_age(now.instant).unwrap_or_default().as_secs_f64(),
        };
        let due = self.due + STEP;
        let due = if due > now.instant { due } else { now.instant + STEP };
        *self = Self { at: now.instant, due, balance, confirmed };
        Some(step)
    }
}

/// How many took at most so long, of those that came since.
fn since(now: &[(f64, u64)], before: &[(f64, u64)]) -> Vec<(f64, f64)> {
    let before = before.iter().map(|(_, count)| *count).chain(std::iter::repeat(0));
    let few = |count| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    now.iter().zip(before).map(|((bound, is), was)| (*bound, few(is.saturating_sub(was)))).collect()
}

/// The time that this part of all took at most; between two bounds as if all times there were equally frequent.
fn quantile(part: f64, counts: &[(f64, f64)]) -> Option<f64> {
    let all = counts.last().map(|(_, count)| *count).filter(|it| *it > 0.0)?;
    let rank = part * all;
    let at = counts.iter().position(|(_, count)| *count >= rank)?;
    let (bound, count) = *counts.get(at)?;
    let (lower, below) =
        at.checked_sub(1).and_then(|it| counts.get(it)).copied().unwrap_or_default();
    if bound.is_infinite() {
        return Some(lower);
    }
    Some(lower + (bound - lower) * (rank - below) / (count - below))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::ops::tests::view;

    #[test]
    fn a_step_has_what_came_in_it_and_the_latency_of_its_batches() {
        let view = view();
        let (books, start) = (&view.books, clock::now());
        let mut steps = Steps::new(start.instant);
        let at = |seconds| start.later(Duration::from_secs(seconds));
        let took = |millis| books.gauges.confirmation.took(Duration::from_millis(millis));
        books.metrics.received.add(7);
        (0..100).for_each(|_| took(200));
        assert!(steps.look(books, at(4)).is_none());
        let first = steps.look(books, at(5)).unwrap();
        assert_eq!((first.received, first.delivered, first.seconds), (7, 0, 5.0));
        books.metrics.received.add(3);
        books.metrics.delivered.add(10);
        (0..100).for_each(|_| took(7));
        took(299_000);
        took(301_000);
        assert!(steps.look(books, at(9)).is_none());
        let second = steps.look(books, at(12)).unwrap();
        assert_eq!((second.received, second.delivered, second.seconds), (3, 10, 7.0));
        let half = second.p50_seconds.unwrap();
        assert!((0.007..0.008).contains(&half), "{half}: 5 to 10 ms, in the middle");
        assert!(second.p99_seconds.unwrap() > 60.0);
        let third = steps.look(books, at(15)).unwrap();
        assert_eq!((third.received, third.p50_seconds), (0, None), "steps keep their pace");
    }

    #[test]
    fn what_took_longer_than_the_last_bound_took_at_least_that() {
        let all = [(1.0, 0.0), (2.0, 4.0), (f64::INFINITY, 8.0)];
        assert_eq!(quantile(0.25, &all), Some(1.5));
        assert_eq!(quantile(0.99, &all), Some(2.0));
        assert_eq!(quantile(0.5, &[]), None);
    }
}
