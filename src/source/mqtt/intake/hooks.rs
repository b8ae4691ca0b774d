//! What schedules look at and set.

use super::Intake;
use crate::settlement::{Outcome, Run};

impl Intake {
    /// All messages are alike: only their ids tell them apart.
    pub fn take_all_for_alike(&mut self) {
        self.digest = |_| 7;
    }

    /// As if another client might have our session: acknowledges nothing until it is clear what is missing.
    pub fn be_wary(&mut self) {
        self.ledger.hold();
    }

    /// Whether messages were missing from the session.
    pub fn is_suspicious(&self) -> bool {
        self.session.is_suspicious()
    }

    /// Whether a message waits for its acknowledgement.
    pub fn waits(&self) -> bool {
        self.ledger.waits()
    }

    /// Whether everything that was read is in the totals, too.
    pub fn has_offered_all(&self) -> bool {
        self.chunk.records.is_empty()
    }

    /// What has settled and was not looked at.
    pub fn unseen(&self) -> Vec<(Run, Outcome)> {
        self.settlements.unseen()
    }
}
