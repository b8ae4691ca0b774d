//! What is published and not yet settled, in the order it was published.
//!
//! Pure, and generic over what it holds. Entries are found by their number; numbers grow and are
//! never used again. The window is the only owner of what is not yet acknowledged: every client,
//! session and channel beyond it holds copies that may be lost.

use std::collections::VecDeque;

/// The in-flight window.
#[derive(Debug)]
pub struct Window<T> {
    entries: VecDeque<(u64, T)>,
}

impl<T> Default for Window<T> {
    fn default() -> Self {
        Self { entries: VecDeque::new() }
    }
}

impl<T> Window<T> {
    /// Puts an entry behind all others. `number` must be larger than every number before it.
    pub fn open(&mut self, number: u64, entry: T) {
        debug_assert!(self.entries.back().is_none_or(|(last, _)| *last < number), "numbers grow");
        self.entries.push_back((number, entry));
    }

    /// Takes an entry out. `None` for a number that is not open: settled before, or never opened.
    pub fn settle(&mut self, number: u64) -> Option<T> {
        let at = self.entries.binary_search_by_key(&number, |entry| entry.0).ok()?;
        self.entries.remove(at).map(|entry| entry.1)
    }

    /// All entries, oldest first: the order to publish them again in.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.entries.iter().map(|(number, entry)| (*number, entry))
    }

    /// An open entry.
    pub fn get(&self, number: u64) -> Option<&T> {
        let at = self.entries.binary_search_by_key(&number, |entry| entry.0).ok()?;
        self.entries.get(at).map(|entry| &entry.1)
    }

    /// An open entry, to change it.
    pub fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        let at = self.entries.binary_search_by_key(&number, |entry| entry.0).ok()?;
        self.entries.get_mut(at).map(|entry| &mut entry.1)
    }

    /// All entries, oldest first, to change them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.entries.iter_mut().map(|entry| &mut entry.1)
    }

    /// Whether nothing is in flight.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many entries are in flight.
    pub fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn entries_settle_once_in_any_order_and_the_rest_keeps_its_order(
            order in Just((0_u64..20).collect::<Vec<_>>()).prop_shuffle(),
            settled in 0_usize..20,
        ) {
            let mut window = Window::default();
            (0..20).for_each(|number| window.open(number, number * 10));
            for &number in order.iter().take(settled) {
                prop_assert_eq!(window.settle(number), Some(number * 10));
                prop_assert_eq!(window.settle(number), None);
            }
            let left: Vec<u64> = window.iter().map(|entry| entry.0).collect();
            let mut expected: Vec<u64> = order.iter().skip(settled).copied().collect();
            expected.sort_unstable();
            prop_assert_eq!(left, expected);
            prop_assert_eq!((window.len(), window.is_empty()), (20 - settled, settled == 20));
        }
    }
}
