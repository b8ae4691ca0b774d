//! The last things of a kind, for whoever looks from outside: bounded in number and in bytes.
//!
//! - Each thing has a number: the first of the run has 1. So a reader knows what it has seen, and sees what it has missed.
//! - What has no room pushes the oldest out. A single thing that is larger than the bound stands alone.
//! - The lock is held to add one thing, or to copy references.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What can be kept, and how much of it.
pub trait Kept {
    /// Things that are kept.
    const ITEMS_MAX: usize;
    /// Bytes of those.
    const BYTES_MAX: usize;

    /// Bytes of this one, in memory.
    fn bytes(&self) -> usize;
}

/// The last things of a kind.
#[derive(Debug)]
pub struct Recent<T>(Mutex<Inner<T>>);

#[derive(Debug)]
struct Inner<T> {
    /// With the bytes of each, oldest first.
    items: VecDeque<(usize, Arc<T>)>,
    bytes: usize,
    /// The number of the next one.
    next: u64,
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self(Mutex::new(Inner { items: VecDeque::new(), bytes: 0, next: 1 }))
    }
}

impl<T: Kept> Recent<T> {
    /// Adds one.
    pub fn put(&self, item: T) {
        self.put_numbered(|_| item);
    }

    /// Adds one that has its number in it.
    pub fn put_numbered(&self, item: impl FnOnce(u64) -> T) {
        let mut inner = self.lock();
        let item = item(inner.next);
        let bytes = item.bytes();
        while inner.items.len() >= T::ITEMS_MAX || inner.bytes + bytes > T::BYTES_MAX {
            let Some((gone, _)) = inner.items.pop_front() else { break };
            inner.bytes -= gone;
        }
        inner.items.push_back((bytes, Arc::new(item)));
        inner.bytes += bytes;
        inner.next += 1;
    }

    /// The number of the next one.
    pub fn next(&self) -> u64 {
        self.lock().next
    }

    /// The one of this number, if it is still there.
    pub fn get(&self, number: u64) -> Option<Arc<T>> {
        let inner = self.lock();
        let place = usize::try_from(number.checked_sub(inner.first())?).ok()?;
        inner.items.get(place).map(|(_, item)| Arc::clone(item))
    }

    /// Those from this number on with their numbers, oldest first, as far as they are still there.
    pub fn since(&self, number: u64) -> Vec<(u64, Arc<T>)> {
        let inner = self.lock();
        let skipped = number.saturating_sub(inner.first());
        let numbers = inner.first()..inner.next;
        let items = numbers.zip(inner.items.iter().map(|(_, item)| Arc::clone(item)));
        items.skip(usize::try_from(skipped).unwrap_or(usize::MAX)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Inner<T> {
    /// The number of the oldest one that is there.
    fn first(&self) -> u64 {
        self.next - self.items.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Text(&'static str);

    impl Kept for Text {
        const ITEMS_MAX: usize = 3;
        const BYTES_MAX: usize = 10;

        fn bytes(&self) -> usize {
            self.0.len()
        }
    }

    fn since(recent: &Recent<Text>, number: u64) -> Vec<(u64, &'static str)> {
        recent.since(number).into_iter().map(|(number, it)| (number, it.0)).collect()
    }

    #[test]
    fn the_last_ones_are_kept_within_both_bounds_and_have_their_numbers() {
        let recent = Recent::default();
        assert_eq!((recent.next(), since(&recent, 0)), (1, vec![]));
        for text in ["a", "b", "c", "d"] {
            recent.put(Text(text));
        }
        assert_eq!(since(&recent, 0), [(2, "b"), (3, "c"), (4, "d")], "three at most");
        assert_eq!((since(&recent, 4), since(&recent, 5)), (vec![(4, "d")], vec![]));
        recent.put(Text("12345678"));
        assert_eq!(since(&recent, 1), [(3, "c"), (4, "d"), (5, "12345678")], "ten bytes");
        recent.put(Text("xyz"));
        assert_eq!(since(&recent, 1), [(6, "xyz")]);
        recent.put(Text("more than ten bytes"));
        assert_eq!(since(&recent, 1), [(7, "more than ten bytes")], "it stands alone");
        assert_eq!(recent.get(7).unwrap().0, "more than ten bytes");
        assert!(recent.get(6).is_none() && recent.get(8).is_none() && recent.get(0).is_none());
        recent.put_numbered(|number| if number == 8 { Text("8") } else { Text("?") });
        assert_eq!(since(&recent, 8), [(8, "8")]);
    }
}
