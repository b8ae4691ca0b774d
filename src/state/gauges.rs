//! Numbers that rise and fall, as the worker last left them: for whoever looks from outside.
//!
//! The worker writes after each event, with plain stores: there are a few events for each batch.

use std::fmt;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::state::metrics::Latencies;

/// One number.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the worker holds.
#[derive(Debug, Default)]
pub struct Gauges {
    /// Records of the open batches.
    pub batch_records: Gauge,
    /// Dead letters that wait for room on their topic, or in their open batch.
    pub letters_waiting: Gauge,
    pub window_batches: Gauge,
    /// Dead letters in flight.
    pub window_dead_letters: Gauge,
    /// Batches and dead letters that wait for the spool's disk.
    pub spool_waiting: Gauge,
    /// Bytes that the spool holds, by its own count.
    pub spool_bytes: Gauge,
    /// Batches and dead letters in the spool.
    pub spool_batches: Gauge,
    /// When the configuration was read again last, in milliseconds since 1970; 0 if it never was.
    pub reload_at: Gauge,
    /// 1 if it was refused then.
    pub reload_refused: Gauge,
    /// From the receipt of a batch's oldest reading to the output broker's acknowledgement of the
    /// batch; of batches that did not go through the spool.
    pub confirmation: Latencies,
    moments: Mutex<Moments>,
    spool_trouble: Mutex<Option<String>>,
    spool_kept: Mutex<Option<String>>,
    refusal: Mutex<Option<Refusal>>,
}

/// A topic that the output broker takes nothing for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub topic: String,
    /// What the broker says; `None` where it takes everything and nobody subscribes to the topic.
    pub reason: Option<String>,
    /// Since when something is not taken, whatever it was.
    pub since: Instant,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let topic = &self.topic;
        match &self.reason {
            Some(reason) => write!(f, "the output refuses {topic}: {reason}"),
            None => write!(
                f,
                "nobody subscribes to {topic}: its batches are held until somebody does \
                 (output.without_subscriber)"
            ),
        }
    }
}

/// Since when.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moments {
    /// The oldest reading that the worker has taken and that has not settled came.
    pub oldest: Option<Instant>,
    /// The spool has held something.
    pub spooling: Option<Instant>,
}

impl Gauges {
    /// A batch was acknowledged whose oldest record came then, if it did not go through the spool.
    pub fn confirmed(&self, received: Option<Instant>, now: Instant) {
        if let Some(received) = received {
            self.confirmation.took(now.saturating_duration_since(received));
        }
    }

    /// Notes what keeps the spool from taking anything, or that nothing does.
    pub fn spool_fails(&self, trouble: Option<String>) {
        *self.spool_trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// What keeps the spool from taking anything.
    pub fn spool_trouble(&self) -> Option<String> {
        self.spool_trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes what the spool keeps because this run cannot publish it, if there is anything.
    pub fn spool_keeps(&self, kept: Option<String>) {
        *self.spool_kept.lock().unwrap_or_else(PoisonError::into_inner) = kept;
    }

    /// What the spool keeps because this run cannot publish it.
    pub fn spool_kept(&self) -> Option<String> {
        self.spool_kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The broker refuses something for this topic, and maybe for others.
    pub fn refused(&self, topic: &str, reason: String, now: Instant) {
        self.not_taken(topic, Some(reason), now);
    }

    /// Nobody subscribes to this topic, and what is for it is held.
    pub fn nobody_subscribes(&self, topic: &str, now: Instant) {
        self.not_taken(topic, None, now);
    }

    fn not_taken(&self, topic: &str, reason: Option<String>, now: Instant) {
        let mut refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        let since = refusal.as_ref().map_or(now, |it| it.since);
        *refusal = Some(Refusal { topic: topic.to_owned(), reason, since });
    }

    /// The broker takes everything again.
    pub fn nothing_refused(&self) {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// What the broker refuses now.
    pub fn refusal(&self) -> Option<Refusal> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Since when things are as they are.
    pub fn moments(&self) -> Moments {
        *self.moments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes at `now` when the oldest unsettled record came, and looks whether the spool holds anything.
    pub fn look(&self, oldest: Option<Instant>, now: Instant) {
        let mut moments = self.moments.lock().unwrap_or_else(PoisonError::into_inner);
        let spooling = (self.spool_batches.get() > 0).then(|| moments.spooling.unwrap_or(now));
        *moments = Moments { oldest, spooling };
    }
}
