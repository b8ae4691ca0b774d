//! Which sensors have changed their state of late, for whoever looks from outside.

use super::recent::Kept;
use crate::settlement::SensorIndex;

/// Changes that are remembered until somebody looks. Of more, the oldest are forgotten, and who looks sees that.
const CHANGES_MAX: usize = 1024;

/// Bytes of a change, with what the allocator and the list add.
const CHANGE_BYTES: usize = 64;

/// A sensor that has changed.
#[derive(Debug)]
pub struct Changed(pub SensorIndex);

impl Kept for Changed {
    const ITEMS_MAX: usize = CHANGES_MAX;
    const BYTES_MAX: usize = CHANGES_MAX * CHANGE_BYTES;

    fn bytes(&self) -> usize {
        CHANGE_BYTES
    }
}
