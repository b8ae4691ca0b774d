//! What was seen lately, by a number, within a bound.
//!
//! As many as the bound says are known. Where one more comes, the half that is worth least is forgotten, as whoever asks
//! judges it. So forgetting costs a step or two for each that comes, and never a search for each.

use std::collections::HashMap;

use foldhash::fast::RandomState;

/// What was seen lately. The numbers are digests already.
#[derive(Debug)]
pub(super) struct Lately<V> {
    max: usize,
    known: HashMap<u64, V, RandomState>,
}

impl<V: Copy> Lately<V> {
    /// At most so many, at least two.
    pub(super) fn new(max: usize) -> Self {
        Self { max: max.max(2), known: HashMap::default() }
    }

    /// Bytes of so many: a map, and half of it while it grows, or what each is worth, and half of them, while the others
    /// are forgotten. Of eight places of a map seven may be used, its places are a power of two, and beside each is a
    /// byte, and some more at the end.
    pub(super) const fn bytes_max(max: usize) -> u64 {
        let (max, known) = (max as u64, size_of::<(u64, V)>() as u64);
        let places = (max * 8 / 7 + 8).next_power_of_two() * (known + 1);
        let (grows, forgets) = (places / 2, max * 8 + (max / 2 + 1) * known);
        places + if grows > forgets { grows } else { forgets } + 2 * 64
    }

    /// What is known under this number.
    pub(super) fn get(&self, key: u64) -> Option<V> {
        self.known.get(&key).copied()
    }

    /// Remembers it. Returns what the ones were worth that are forgotten for it.
    pub(super) fn put(&mut self, key: u64, value: V, worth: impl Fn(&V) -> u64) -> Vec<u64> {
        let mut gone = Vec::new();
        if self.known.len() >= self.max && !self.known.contains_key(&key) {
            gone.extend(self.known.values().map(&worth));
            let half = gone.len() / 2;
            let (_, middle, _) = gone.select_nth_unstable(half);
            let middle = *middle;
            // Of equal ones all but this many stay, or none would be forgotten.
            let mut left = half - gone.iter().filter(|it| **it < middle).count();
            let mut stay = Vec::with_capacity(gone.len() - half);
            stay.extend(self.known.drain().filter(|(_, value)| {
                let worth = worth(value);
                let goes = worth < middle || worth == middle && left > 0;
                left -= usize::from(goes && worth == middle);
                !goes
            }));
            self.known.extend(stay);
            gone.truncate(half);
        }
        self.known.insert(key, value);
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_known_as_the_bound_says_and_then_the_least_worth_half_is_forgotten() {
        let mut lately = Lately::new(10);
        for round in 0..5 {
            for key in 0..10 {
                assert_eq!(lately.get(key).is_some(), round > 0, "{key}");
                assert_eq!(lately.put(key, 100 - key, |it| *it), [0; 0]);
            }
        }
        let mut gone = lately.put(10, 1000, |it| *it);
        gone.sort_unstable();
        assert_eq!(gone, [91, 92, 93, 94, 95]);
        assert!(lately.get(4).is_some() && lately.get(5).is_none() && lately.get(10).is_some());
    }

    #[test]
    fn of_equally_worthy_ones_half_is_forgotten_too() {
        let mut lately = Lately::new(10);
        let gone: usize = (0..100).map(|key| lately.put(key, 7, |it| *it).len()).sum();
        assert_eq!(gone + lately.known.len(), 100);
        assert!((5..=10).contains(&lately.known.len()));
    }

    #[test]
    fn no_more_memory_is_used_than_is_counted() {
        for max in [100, 1000, 57_344, 57_346, 100_000] {
            let mut lately = Lately::new(max);
            let mut fill =
                || (0..2 * max as u64).for_each(|key| _ = lately.put(key, key, |it| *it));
            let used = allocation_counter::measure(&mut fill);
            let bound = Lately::<u64>::bytes_max(max);
            assert!(used.bytes_max <= bound, "{max}: {} of {bound}", used.bytes_max);
            assert!(used.bytes_max > bound / 4, "{max}: {} of {bound}", used.bytes_max);
        }
    }
}
