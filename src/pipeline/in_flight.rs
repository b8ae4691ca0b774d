//! A publication in flight: what stays until it is acknowledged, and whose records it settles.
//!
//! It is *held* while its records wait for its acknowledgement (their receipts are here), and
//! *spooled* once it is in the spool: its records have settled then, and what is left is to enter in
//! the books that they were delivered.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::split::Split;
use crate::sealed::Sealed;
use crate::settlement::{Outcome, Receipts, SensorIndex};
use crate::spool::Key;
use crate::state::books::Books;

/// What is owed to its records.
#[derive(Debug)]
enum Duty {
    /// To settle them.
    Held(Receipts),
    /// To enter in the books that they were delivered, and to remove them from the spool.
    Spooled { key: Key, sensors: Box<[SensorIndex]> },
}

/// What stays until it is acknowledged.
#[derive(Debug)]
pub struct InFlight {
    sealed: Arc<Sealed>,
    /// What is to be published of it.
    pub split: Split,
    duty: Duty,
    /// When its oldest record came, where that is known.
    received: Option<Instant>,
    since: Instant,
}

impl InFlight {
    /// A batch whose oldest record came at `received`, and that was sealed at `since`.
    pub fn new(sealed: Sealed, receipts: Receipts, received: Instant, since: Instant) -> Self {
        Self { received: Some(received), ..Self::with(sealed, Duty::Held(receipts), since) }
    }

    /// One that was read from the spool then.
    pub fn from_spool(sealed: Sealed, key: Key, sensors: Box<[SensorIndex]>, at: Instant) -> Self {
        Self::with(sealed, Duty::Spooled { key, sensors }, at)
    }

    fn with(sealed: Sealed, duty: Duty, since: Instant) -> Self {
        let sealed = Arc::new(sealed);
        Self { split: Split::whole(Arc::clone(&sealed)), sealed, duty, received: None, since }
    }

    /// The batch as it was sealed.
    pub fn sealed(&self) -> &Sealed {
        &self.sealed
    }

    /// Whether it carries dead letters.
    pub fn is_dead_letter(&self) -> bool {
        self.sealed.is_letters()
    }

    /// Whether records wait for it: it is not in the spool.
    pub fn is_held(&self) -> bool {
        matches!(self.duty, Duty::Held(_))
    }

    /// The sensor of each record.
    pub fn sensors(&self) -> &[SensorIndex] {
        match &self.duty {
            Duty::Held(receipts) => receipts.sensors(),
            Duty::Spooled { sensors, .. } => sensors,
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

    /// It is in the spool as `key`: its records settle as spooled.
    pub fn spooled(&mut self, key: Key) {
        let sensors = self.sensors().into();
        let duty = std::mem::replace(&mut self.duty, Duty::Spooled { key, sensors });
        if let Duty::Held(receipts) = duty {
            receipts.settle(Outcome::Spooled);
        }
    }

    /// All of it was acknowledged: its records are done with. Returns what can leave the spool. `last` gets its text,
    /// if nobody else holds it.
    pub fn settle(self, books: &Books, last: impl FnOnce(Bytes)) -> Option<Key> {
        let shares = self.split.shares();
        drop(self.split);
        if let Some(sealed) = Arc::into_inner(self.sealed) {
            last(sealed.text);
        }
        match self.duty {
            Duty::Held(receipts) => {
                receipts.settle_shares(&shares);
                None
            }
            Duty::Spooled { key, sensors } => {
                books.replayed(&sensors, &shares);
                Some(key)
            }
        }
    }
}
