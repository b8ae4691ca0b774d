//! What was seen lately, by a number, within a bound.
//!
//! There are two maps, a young and an old one. What is asked for moves into the young one. When that has half of the
//! bound it becomes the old one, and what was in the old one is forgotten: what nobody has asked for while half of the
//! bound came. So forgetting costs a step for each entry, and never a search.

use std::collections::HashMap;

use foldhash::fast::RandomState;

pub(super) type Map<V> = HashMap<u64, V, RandomState>;

/// What was seen lately. The numbers are digests already.
#[derive(Debug)]
pub(super) struct Lately<V> {
    max: usize,
    young: Map<V>,
    old: Map<V>,
}

impl<V> Lately<V> {
    /// At most so many, at least two.
    pub(super) fn new(max: usize) -> Self {
        Self { max: max.max(2), young: Map::default(), old: Map::default() }
    }

    /// Bytes of so many: two maps, and half of one that grows. Of eight places of a map seven may be used, its places are
    /// a power of two, and beside each is a byte, and some more at the end.
    pub(super) const fn bytes_max(max: usize) -> u64 {
        let places = (max as u64 / 2 * 8 / 7 + 8).next_power_of_two();
        (2 * places + places / 2) * (size_of::<(u64, V)>() as u64 + 1) + 3 * 64
    }

    /// What is known under this number.
    pub(super) fn get(&mut self, key: u64) -> Option<&mut V> {
        if let Some(value) = self.old.remove(&key) {
            self.put(key, value);
        }
        self.young.get_mut(&key)
    }

    /// Remembers it; returns what is forgotten for it.
    pub(super) fn put(&mut self, key: u64, value: V) -> Map<V> {
        let forgotten = if self.young.len() >= self.max / 2 { self.turn() } else { Map::default() };
        self.young.insert(key, value);
        forgotten
    }

    /// The young ones are the old ones from now on; returns what is forgotten by that.
    pub(super) fn turn(&mut self) -> Map<V> {
        std::mem::replace(&mut self.old, std::mem::take(&mut self.young))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_memory_is_used_than_is_counted() {
        for max in [100, 1000, 57_344, 57_346, 100_000] {
            let mut lately = Lately::new(max);
            let used = allocation_counter::measure(|| {
                for key in 0..2 * max as u64 {
                    lately.put(key, key);
                }
            });
            let bound = Lately::<u64>::bytes_max(max);
            assert!(used.bytes_max <= bound, "{max}: {} of {bound}", used.bytes_max);
            assert!(used.bytes_max > bound / 4, "{max}: {} of {bound}", used.bytes_max);
        }
    }

    #[test]
    fn what_is_asked_for_stays_and_there_are_never_more_than_the_bound() {
        let mut lately = Lately::new(4);
        let mut forgotten = 0;
        for key in 0..100 {
            forgotten += lately.put(key, key).len();
            assert_eq!(lately.get(0).copied(), Some(0), "after {key}");
            assert!(lately.young.len() + lately.old.len() <= 4);
        }
        assert!(lately.get(90).is_none());
        assert_eq!(forgotten + lately.young.len() + lately.old.len(), 100);
    }
}
