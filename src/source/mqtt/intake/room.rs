//! Room for what an intake has read: the desk where records are made of it, and places in the queue.

use std::fmt;
use std::future::{Future, pending};
use std::pin::Pin;

use super::super::desk::Place;
use crate::queue::Claim;

type Coming<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What an intake waits for before it reads on.
pub(in crate::source::mqtt) enum Room {
    /// Nothing.
    Free,
    /// The desk: another intake has it.
    InLine(Coming<Place>),
    /// It is this intake's now.
    Seated(Place),
    /// Room in the queue for what the chunk holds.
    Waited(Coming<Claim>),
    /// There is some now.
    Claimed(Claim),
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Free => "Free",
            Self::InLine(_) => "InLine",
            Self::Seated(_) => "Seated",
            Self::Waited(_) => "Waited",
            Self::Claimed(_) => "Claimed",
        })
    }
}

impl Room {
    /// Waits until there is what is waited for.
    ///
    /// # Cancel safety
    /// The place in the line is kept.
    pub(super) async fn came(&mut self) {
        match self {
            Self::Free => pending().await,
            Self::InLine(desk) => {
                let place = desk.await;
                *self = Self::Seated(place);
            }
            Self::Waited(claim) => {
                let claim = claim.await;
                *self = Self::Claimed(claim);
            }
            Self::Seated(_) | Self::Claimed(_) => {}
        }
    }
}
