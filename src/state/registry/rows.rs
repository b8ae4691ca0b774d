//! The rows of an entry, by the ids of their sensors, which are in the rows alone.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::row::Row;

/// The rows of an entry.
pub(super) type Rows = HashSet<ById>;

/// A row, found by its id.
#[derive(Debug)]
pub(super) struct ById(pub(super) Arc<Row>);

impl Borrow<str> for ById {
    fn borrow(&self) -> &str {
        self.0.id()
    }
}

impl Hash for ById {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id().hash(state);
    }
}

impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        self.0.id() == other.0.id()
    }
}

impl Eq for ById {}
