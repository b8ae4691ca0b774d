//! Makes room where an entry has no row left for a sensor: it forgets the one of which nothing has come for longest.
//!
//! - Nothing is held of it, and nothing has come of it for [`QUIET_MIN`]. One that reports in time is kept, however seldom
//!   that is.
//! - Before it, a sensor of an entry that was removed gives way, however lately it was heard.
//! - No other entry's sensors do: what one entry's devices invent takes nothing from another.
//! - Its rows are looked through once in [`LOOK_PAUSE`] at most, and the quietest of them are remembered. So an id that
//!   somebody invents costs no more than that.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::row::Row;
use super::rows::{ById, Rows};
use crate::clock::Timestamp;
use crate::state::presence::Presence;

/// A sensor of which something has come since is not forgotten.
const QUIET_MIN: Duration = Duration::from_mins(1);

/// Between two looks through the rows of an entry.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// Sensors that are remembered of a look: no more are forgotten until the next one.
const CANDIDATES_MAX: usize = 256;

/// The sensors of an entry that may be forgotten.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// The quietest is last.
    candidates: Vec<Arc<Row>>,
    looked: Option<Timestamp>,
}

impl Room {
    /// The sensor of these to forget, if there is one.
    #[expect(clippy::mutable_key_type, reason = "the id of a row never changes")]
    pub(super) fn make(&mut self, rows: &Rows, now: Timestamp) -> Option<Arc<Row>> {
        let is_due = |looked: Timestamp| now < looked || looked <= now.earlier(LOOK_PAUSE);
        if self.candidates.is_empty() && self.looked.is_none_or(is_due) {
            self.looked = Some(now);
            self.candidates = quietest(rows, now);
        }
        std::iter::from_fn(|| self.candidates.pop()).find(|row| may_go(row, now))
    }
}

/// Those that may be forgotten and have been quiet for longest; the quietest is last.
#[expect(clippy::mutable_key_type, reason = "the id of a row never changes")]
fn quietest(rows: &Rows, now: Timestamp) -> Vec<Arc<Row>> {
    let mut found = BTreeMap::new();
    for ById(row) in rows.iter().filter(|ById(row)| may_go(row, now)) {
        found.insert((row.quiet_since(), row.index), row);
        if found.len() > CANDIDATES_MAX {
            found.pop_last();
        }
    }
    found.into_values().rev().cloned().collect()
}

/// Whether a sensor may be forgotten.
fn may_go(row: &Row, now: Timestamp) -> bool {
    // What an earlier run has left may be of a clock that was ahead.
    let is_long = |since| since <= now.earlier(QUIET_MIN) || since > now && row.is_only_recalled();
    let is_quiet = row.quiet_since().is_some_and(is_long);
    let is_missed = row.presence() == Presence::Silent || row.interval().is_none();
    (is_quiet && is_missed || row.is_removed()) && row.may_be_left()
}
