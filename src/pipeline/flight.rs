//! A publication in flight: what stays until it is acknowledged, and whose records it settles.
//!
//! A flight is *held* while its records wait for its acknowledgement (their receipts are here), and
//! *stored* once it is in the spool: its records have settled then, and what is left to say is that
//! they have arrived.

use std::sync::Arc;
use std::time::Instant;

use super::books::Books;
use super::parts::{BatchName, Fit, Parts};
use crate::mqtt::outgoing::Outgoing;
use crate::settlement::{Outcome, Receipts, SensorIndex};
use crate::spool::Key;

/// What is owed to the records of a flight.
#[derive(Debug)]
enum Duty {
    /// To settle them.
    Held(Receipts),
    /// To enter in the books that they arrived, and to take them from the spool.
    Stored { key: Key, sensors: Box<[SensorIndex]> },
}

/// What stays until it is acknowledged.
#[derive(Debug)]
pub struct Flight {
    message: Arc<Outgoing>,
    /// `None` for a dead letter.
    name: Option<BatchName>,
    parts: Parts,
    duty: Duty,
    /// When its oldest record came, where that is known.
    received: Option<Instant>,
    since: Instant,
}

impl Flight {
    /// A batch, or (without a name) a dead letter: when its oldest record came, when it was sealed.
    pub fn new(
        message: Outgoing,
        name: Option<BatchName>,
        receipts: Receipts,
        (received, since): (Instant, Instant),
    ) -> Self {
        let records = receipts.records();
        let flight = Self::with(message, name, (records, Duty::Held(receipts)), since);
        Self { received: Some(received), ..flight }
    }

    /// One that was read from the spool at `since`.
    pub fn stored(
        message: Outgoing,
        name: Option<BatchName>,
        (key, sensors): (Key, Box<[SensorIndex]>),
        since: Instant,
    ) -> Self {
        Self::with(message, name, (sensors.len(), Duty::Stored { key, sensors }), since)
    }

    fn with(
        message: Outgoing,
        name: Option<BatchName>,
        (records, duty): (usize, Duty),
        since: Instant,
    ) -> Self {
        let outcome = if name.is_some() { Outcome::Delivered } else { Outcome::DeadLettered };
        let id = name.as_ref().map_or(String::new(), |name| name.id.clone());
        let message = Arc::new(message);
        let parts = Parts::whole(id, Arc::clone(&message), records, outcome);
        Self { message, name, parts, duty, received: None, since }
    }

    /// The message as it was made.
    pub fn message(&self) -> &Arc<Outgoing> {
        &self.message
    }

    /// What the batch is called; `None` for a dead letter.
    pub fn name(&self) -> Option<&BatchName> {
        self.name.as_ref()
    }

    /// Whether it is a dead letter.
    pub fn is_letter(&self) -> bool {
        self.name.is_none()
    }

    /// Whether records wait for it: it is not in the spool.
    pub fn is_held(&self) -> bool {
        matches!(self.duty, Duty::Held(_))
    }

    /// The sensor of each record.
    pub fn sensors(&self) -> &[SensorIndex] {
        match &self.duty {
            Duty::Held(receipts) => receipts.sensors(),
            Duty::Stored { sensors, .. } => sensors,
        }
    }

    /// When its oldest record came; `None` once it is in the spool.
    pub fn received(&self) -> Option<Instant> {
        self.received.filter(|_| self.is_held())
    }

    /// Since when it waits.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// What is to be published of it.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Notes that a part has been answered; true when that was the last.
    pub fn answered(&mut self, at: u32) -> bool {
        self.parts.answered(at)
    }

    /// Makes it fit; returns whether it had to be parted.
    pub fn fit(&mut self, fit: Fit<'_>) -> bool {
        self.parts.fit(self.name.as_ref(), fit)
    }

    /// Halves a part that was refused as too large; returns the places of what replaces it.
    pub fn halve(&mut self, at: u32, fit: Fit<'_>) -> Vec<u32> {
        self.parts.halve(at, self.name.as_ref(), fit)
    }

    /// It is in the spool as `key`: its records settle as spooled.
    pub fn store(&mut self, key: Key) {
        let sensors = self.sensors().into();
        let duty = std::mem::replace(&mut self.duty, Duty::Stored { key, sensors });
        if let Duty::Held(receipts) = duty {
            receipts.settle(Outcome::Spooled);
        }
    }

    /// All of it was acknowledged: its records are done with. Returns what can leave the spool.
    pub fn settle(self, books: &Books) -> Option<Key> {
        let shares = self.parts.shares();
        match self.duty {
            Duty::Held(receipts) => {
                receipts.settle_shares(&shares);
                None
            }
            Duty::Stored { key, sensors } => {
                books.replayed(&sensors, &shares);
                Some(key)
            }
        }
    }
}
