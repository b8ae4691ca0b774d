//! Dead letters that are withheld: the broker does not take them, and hangs up, or does not answer.
//!
//! A broker may forbid a topic in this way. Each attempt costs a connection. So all dead letters wait, and nothing
//! waits behind them. After a pause ([`TRIAL_PAUSE`]) the oldest is tried again,
//! with nothing else on its way: no batch is repeated where the connection ends over it. Each attempt that fails doubles the pause,
//! because one that is never answered keeps the output busy. Once it has been answered, the others follow.
//!
//! Unlike what is refused in words, this is known across connections.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::sink::Number;

/// How long dead letters wait before the first attempt, and between two of them at most.
const TRIAL_PAUSE: (Duration, Duration) = (Duration::from_mins(1), Duration::from_mins(8));

/// What is withheld.
#[derive(Debug, Default)]
pub(super) struct Withheld {
    numbers: BTreeSet<Number>,
    /// When the next attempt is due. `None` while dead letters go out as everything else.
    at: Option<Instant>,
    /// On its way, or about to be.
    trial: Option<Number>,
    /// Attempts that failed.
    failed: u32,
}

impl Withheld {
    /// Whether dead letters wait.
    pub(super) fn is_on(&self) -> bool {
        self.at.is_some()
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// How many publications it holds something of.
    pub(super) fn counts(&self) -> impl Iterator<Item = u64> {
        self.numbers.iter().map(|number| number.count)
    }

    pub(super) fn begin(&mut self, now: Instant) {
        let (first, longest) = TRIAL_PAUSE;
        let pause = first.saturating_mul(2_u32.saturating_pow(self.failed)).min(longest);
        self.at = Some(now + pause);
    }

    /// A new connection: everything is given anew. However the last one ended, an attempt that was not answered
    /// has failed.
    pub(super) fn connected(&mut self, now: Instant) {
        self.numbers.clear();
        if self.trial.take().is_some() {
            self.failed += 1;
            self.begin(now);
        }
    }

    pub(super) fn hold(&mut self, number: Number) {
        self.numbers.insert(number);
    }

    /// When to try again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.at.filter(|_| self.trial.is_none() && !self.is_empty())
    }

    /// The one to be tried now.
    pub(super) fn due(&mut self, now: Instant) -> Option<Number> {
        self.deadline().filter(|at| *at <= now)?;
        self.trial = self.numbers.first().copied();
        self.trial
    }

    /// Whether it is tried, and nothing may be on its way beside it.
    pub(super) fn is_trial(&self, number: Number) -> bool {
        self.trial == Some(number)
    }

    /// An answer: where it is to the one that is tried, all others follow.
    pub(super) fn answered(&mut self, number: Number) -> BTreeSet<Number> {
        self.numbers.remove(&number);
        if !self.is_trial(number) {
            return BTreeSet::new();
        }
        std::mem::take(self).numbers
    }
}
