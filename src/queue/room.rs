//! Places of the queue, or bytes: of which so many can be taken, and how many that is may change.
//!
//! Where there are more, they are there at once. Where there are fewer, those that are free go at once, and the others
//! as they are given back: until then more is taken than there is room for.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

/// What can be taken and given back.
#[derive(Debug)]
pub(super) struct Room {
    free: Semaphore,
    all: AtomicUsize,
    /// Taken beyond `all`: these are not there again when they are given back.
    owed: AtomicUsize,
}

impl Room {
    /// So much, all of it free.
    pub(super) fn new(all: usize) -> Self {
        Self { free: Semaphore::new(all), all: AtomicUsize::new(all), owed: AtomicUsize::new(0) }
    }

    /// Takes so much, if it is free.
    pub(super) fn try_take(&self, count: u32) -> Option<SemaphorePermit<'_>> {
        self.free.try_acquire_many(count).ok()
    }

    /// Takes so much once it is free. It is given back when it is dropped, and kept when it is forgotten.
    ///
    /// # Cancel safety
    /// Nothing is taken.
    pub(super) async fn take(&self, count: u32) -> SemaphorePermit<'_> {
        self.free.acquire_many(count).await.expect("the semaphore is never closed")
    }

    /// Gives back what was taken and kept.
    pub(super) fn give(&self, count: usize) {
        if self.owed.load(Ordering::Relaxed) == 0 {
            return self.free.add_permits(count);
        }
        let pay = |owed: usize| Some(owed.saturating_sub(count));
        let owed = self.owed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay);
        let owed = owed.unwrap_or_else(|owed| owed);
        self.free.add_permits(count.saturating_sub(owed));
    }

    /// There is at least so much from now on.
    pub(super) fn grow(&self, all: usize) {
        if all > self.all.load(Ordering::Relaxed) {
            self.resize(all);
        }
    }

    /// There is so much from now on.
    pub(super) fn resize(&self, all: usize) {
        let before = self.all.swap(all, Ordering::Relaxed);
        if all >= before {
            self.give(all - before);
        } else {
            let wanted = before - all;
            let gone = self.free.forget_permits(wanted);
            self.owed.fetch_add(wanted - gone, Ordering::Relaxed);
        }
    }

    /// Whether more is taken than there is.
    pub(super) fn owes(&self) -> bool {
        self.owed.load(Ordering::Relaxed) > 0
    }

    /// How much is taken.
    pub(super) fn taken(&self) -> usize {
        let (all, owed) = (self.all.load(Ordering::Relaxed), self.owed.load(Ordering::Relaxed));
        (all + owed).saturating_sub(self.free.available_permits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes and keeps so much.
    fn takes(room: &Room, count: u32) -> bool {
        room.try_take(count).map(SemaphorePermit::forget).is_some()
    }

    #[test]
    fn less_room_comes_about_as_what_is_taken_is_given_back() {
        let room = Room::new(10);
        assert!(takes(&room, 6));
        room.resize(4);
        assert!(!takes(&room, 1) && room.taken() == 6, "two more than there is room for");
        room.give(1);
        assert!(!takes(&room, 1) && room.taken() == 5);
        room.give(3);
        assert_eq!(room.taken(), 2);
        assert!(takes(&room, 2) && !takes(&room, 1), "four at a time");
        room.give(4);
        assert!(takes(&room, 4) && !takes(&room, 1));
    }

    #[test]
    fn more_room_is_there_at_once_and_pays_first_what_is_owed() {
        let room = Room::new(10);
        assert!(takes(&room, 10));
        room.resize(5);
        room.resize(8);
        assert_eq!(room.taken(), 10);
        assert!(!takes(&room, 1), "ten are taken of eight");
        room.give(3);
        assert!(takes(&room, 1) && !takes(&room, 1));
        room.resize(20);
        assert!(takes(&room, 12) && !takes(&room, 1));
    }
}
