//! A set of numbers, stored as ranges: a sensor whose readings all arrive needs one range. Pure.
//!
//! More than [`RANGES_MAX`] ranges mean as many open gaps. Then the *lowest* gap is closed: its numbers stay
//! counted as missing, and if one of them arrives after all, it counts as a repeat. So the count of missing
//! numbers is never too small. A stream that is complete in the end, with fewer gaps at a time, is judged
//! exactly.

/// Ranges of one sensor, at most.
pub const RANGES_MAX: usize = 128;

/// A set of numbers from 1 up.
#[derive(Debug, Clone, Default)]
pub struct Numbers {
    /// First and last number of each range, in order, with a gap between any two.
    ranges: Vec<(u64, u64)>,
    /// Numbers of closed gaps: they lie in the first range, but never arrived.
    given_up: u64,
}

impl Numbers {
    /// Adds `n`. Returns whether it is new.
    pub fn insert(&mut self, n: u64) -> bool {
        // Nearly always it is the next one.
        if let Some(last) = self.ranges.last_mut()
            && last.1.checked_add(1) == Some(n)
        {
            last.1 = n;
            return true;
        }
        let at = self.ranges.partition_point(|range| range.1 < n);
        if self.ranges.get(at).is_some_and(|range| range.0 <= n) {
            return false;
        }
        let follows =
            at.checked_sub(1).filter(|it| self.ranges.get(*it).is_some_and(|it| it.1 + 1 == n));
        let precedes = self.ranges.get(at).filter(|it| it.0 - 1 == n).copied();
        match (follows, precedes) {
            (Some(before), Some((_, end))) => {
                self.ranges.remove(at);
                self.set(before, |range| range.1 = end);
            }
            (Some(before), None) => self.set(before, |range| range.1 = n),
            (None, Some(_)) => self.set(at, |range| range.0 = n),
            (None, None) => {
                self.ranges.insert(at, (n, n));
                self.close_lowest_gap();
            }
        }
        true
    }

    fn set(&mut self, at: usize, set: impl FnOnce(&mut (u64, u64))) {
        set(self.ranges.get_mut(at).expect("the range was found"));
    }

    fn close_lowest_gap(&mut self) {
        if self.ranges.len() <= RANGES_MAX {
            return;
        }
        let (start, end) = self.ranges.remove(0);
        let first = self.ranges.first_mut().expect("there are more than the limit");
        self.given_up = self.given_up.saturating_add(first.0 - end - 1);
        first.0 = start;
    }

    /// The lowest number that arrived; 0 if none did.
    pub fn lowest(&self) -> u64 {
        self.ranges.first().map_or(0, |range| range.0)
    }

    /// The highest number that arrived; 0 if none did.
    pub fn highest(&self) -> u64 {
        self.ranges.last().map_or(0, |range| range.1)
    }

    /// How many of the numbers `first` to `last` did not arrive.
    pub fn missing(&self, first: u64, last: u64) -> u64 {
        if first > last {
            return 0;
        }
        let inside = |range: &(u64, u64)| {
            let (start, end) = (range.0.max(first), range.1.min(last));
            if start > end { 0 } else { end - start + 1 }
        };
        let covered: u64 = self.ranges.iter().map(inside).sum();
        let given_up = self.given_up.min(self.ranges.first().map_or(0, inside));
        last - first + 1 - covered + given_up
    }

    /// The first gaps among `first` to `last`, without closed ones: at most `most`.
    pub fn gaps(&self, first: u64, last: u64, most: usize) -> Vec<(u64, u64)> {
        let mut gaps = Vec::new();
        let mut from = first;
        for (start, end) in self.ranges.iter().copied().chain([(u64::MAX, u64::MAX)]) {
            if gaps.len() == most || from > last {
                break;
            }
            if start > from {
                gaps.push((from, last.min(start - 1)));
            }
            from = from.max(end.saturating_add(1));
        }
        gaps
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn what_is_missing_is_counted_and_named() {
        let mut numbers = Numbers::default();
        for n in [2, 3, 5, 9, 8] {
            assert!(numbers.insert(n));
        }
        assert!(!numbers.insert(3) && !numbers.insert(9));
        assert_eq!((numbers.lowest(), numbers.highest()), (2, 9));
        assert_eq!(
            (numbers.missing(1, 9), numbers.missing(2, 9), numbers.missing(1, 12)),
            (4, 3, 7)
        );
        assert_eq!(numbers.gaps(1, 12, 9), [(1, 1), (4, 4), (6, 7), (10, 12)]);
        assert_eq!(numbers.gaps(1, 12, 2), [(1, 1), (4, 4)]);
        assert_eq!(numbers.gaps(2, 9, 9), [(4, 4), (6, 7)]);
        assert_eq!(Numbers::default().gaps(1, 3, 9), [(1, 3)]);
        assert_eq!((Numbers::default().missing(1, 3), Numbers::default().missing(1, 0)), (3, 0));
        assert!(numbers.insert(u64::MAX) && !numbers.insert(u64::MAX));
        assert_eq!(numbers.missing(10, u64::MAX), u64::MAX - 10);
    }

    #[test]
    fn more_gaps_than_are_kept_stay_missing_and_memory_bounded() {
        let mut numbers = Numbers::default();
        let even = 10 * RANGES_MAX as u64;
        (1..=even).for_each(|n| assert!(numbers.insert(2 * n)));
        assert_eq!(numbers.ranges.len(), RANGES_MAX);
        assert_eq!(numbers.missing(1, 2 * even), even);
        // In a closed gap it counts as a repeat. In an open one it is new.
        assert!(!numbers.insert(3) && numbers.insert(2 * even - 1));
        assert_eq!(numbers.missing(1, 2 * even), even - 1);
    }

    proptest! {
        #[test]
        fn it_is_a_set_while_the_gaps_are_few(
            inserted in prop::collection::vec(1_u64..200, 0..400),
            first in 1_u64..200,
            length in 0_u64..200,
        ) {
            let (mut numbers, mut model) = (Numbers::default(), BTreeSet::new());
            for n in inserted {
                prop_assert_eq!(numbers.insert(n), model.insert(n));
            }
            prop_assert_eq!(numbers.highest(), model.last().copied().unwrap_or(0));
            prop_assert_eq!(numbers.lowest(), model.first().copied().unwrap_or(0));
            let last = first + length;
            let missing = (first..=last).filter(|n| !model.contains(n)).count() as u64;
            prop_assert_eq!(numbers.missing(first, last), missing);
            let gaps = numbers.gaps(first, last, usize::MAX);
            prop_assert_eq!(gaps.iter().map(|gap| gap.1 - gap.0 + 1).sum::<u64>(), missing);
            prop_assert!(gaps.iter().all(|gap| (gap.0..=gap.1).all(|n| !model.contains(&n))));
        }
    }
}
