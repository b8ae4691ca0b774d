//! The chunk in which all intakes make their records, one after the other.
//!
//! An intake makes records of what it has read and offers them to the queue at once. Then the chunk is empty, and the
//! next intake's. Where the queue has no room for all of them, the rest stays in the chunk, and its intake keeps the
//! *desk* until there is some: else each intake could hold such a rest, and each would have to be paid for. The others
//! wait for the desk in line, as they would for the queue. They do not read meanwhile; pings and acknowledgements go on.
//!
//! What a policy may shed does not wait for the desk: QoS 0 is taken without it, into a second chunk, which is empty
//! again when it has been offered. It may wait behind a message with QoS 1 of its connection that does, and a large packet
//! for one of the large buffers, whose holder may wait for the desk.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::record::Chunk;

/// Chunks of all intakes: one with records that wait, and one that is filled.
pub const CHUNKS_MAX: usize = 2;

/// The desk of all intakes of a gateway.
#[derive(Debug)]
pub struct Desk {
    place: Arc<Semaphore>,
    /// Chunks that are empty, with the memory they have taken.
    spare: Mutex<Vec<Chunk>>,
}

/// Whoever has it may keep records that the queue has no room for.
pub(super) type Place = OwnedSemaphorePermit;

impl Default for Desk {
    fn default() -> Self {
        Self { place: Arc::new(Semaphore::new(1)), spare: Mutex::default() }
    }
}

impl Desk {
    /// The desk, if nobody has it.
    pub(super) fn try_place(&self) -> Option<Place> {
        Arc::clone(&self.place).try_acquire_owned().ok()
    }

    /// Waits for the desk, in line.
    pub(super) fn place(&self) -> impl Future<Output = Place> + Send + 'static {
        let place = Arc::clone(&self.place).acquire_owned();
        async { place.await.expect("the semaphore is never closed") }
    }

    /// A chunk that is empty.
    pub(super) fn chunk(&self) -> Chunk {
        self.spare().pop().unwrap_or_default()
    }

    /// Takes back a chunk that is empty again.
    pub(super) fn give_back(&self, chunk: Chunk) {
        let mut spare = self.spare();
        if spare.len() < CHUNKS_MAX {
            spare.push(chunk);
        }
    }

    fn spare(&self) -> MutexGuard<'_, Vec<Chunk>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
