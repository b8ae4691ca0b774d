//! Room in the queue for what an intake has read.

use std::fmt;
use std::future::{Future, pending};
use std::pin::Pin;

use crate::queue::Claim;

/// Room for what the chunk holds.
pub(super) enum Room {
    /// Nothing waits for it.
    Free,
    /// There was none.
    Waited(Pin<Box<dyn Future<Output = Claim> + Send>>),
    /// There is some now.
    Claimed(Claim),
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Free => "Free",
            Self::Waited(_) => "Waited",
            Self::Claimed(_) => "Claimed",
        })
    }
}

impl Room {
    /// Waits until there is room, if it is waited for.
    ///
    /// # Cancel safety
    /// The place in the queue's line is kept.
    pub(super) async fn claimed(&mut self) {
        match self {
            Self::Free => pending().await,
            Self::Waited(claim) => {
                let claim = claim.await;
                *self = Self::Claimed(claim);
            }
            Self::Claimed(_) => {}
        }
    }
}
