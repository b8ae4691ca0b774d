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

/// What a flight carries, and its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// A batch of readings.
    Batch(BatchName),
    /// A batch of dead letters, by its id; that is empty for a letter of an older program's spool.
    Letters(String),
}

impl Name {
    fn batch(&self) -> Option<&BatchName> {
        match self {
            Self::Batch(name) => Some(name),
            Self::Letters(_) => None,
        }
    }

    fn id(&self) -> &str {
        match self {
            Self::Batch(name) => &name.id,
            Self::Letters(id) => id,
        }
    }
}

/// What stays until it is acknowledged.
#[derive(Debug)]
pub struct Flight {
    message: Arc<Outgoing>,
    name: Name,
    parts: Parts,
    duty: Duty,
    /// When its oldest record came, where that is known.
    received: Option<Instant>,
    since: Instant,
}

impl Flight {
    /// A batch: when its oldest record came, when it was sealed.
    pub fn new(
        message: Outgoing,
        name: Name,
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
        name: Name,
        (key, sensors): (Key, Box<[SensorIndex]>),
        since: Instant,
    ) -> Self {
        Self::with(message, name, (sensors.len(), Duty::Stored { key, sensors }), since)
    }

    fn with(message: Outgoing, name: Name, (records, duty): (usize, Duty), since: Instant) -> Self {
        let outcome = match name {
            Name::Batch(_) => Outcome::Delivered,
            Name::Letters(_) => Outcome::DeadLettered,
        };
        let id = name.id().to_owned();
        let message = Arc::new(message);
        let parts = Parts::whole(id, Arc::clone(&message), records, outcome);
        Self { message, name, parts, duty, received: None, since }
    }

    /// The message as it was made.
    pub fn message(&self) -> &Arc<Outgoing> {
        &self.message
    }

    /// What it carries.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Whether it carries dead letters.
    pub fn is_letter(&self) -> bool {
        matches!(self.name, Name::Letters(_))
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
        self.parts.fit(self.name.batch(), fit)
    }

    /// Halves a part that was refused as too large; returns the places of what replaces it.
    pub fn halve(&mut self, at: u32, fit: Fit<'_>) -> Vec<u32> {
        self.parts.halve(at, self.name.batch(), fit)
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
