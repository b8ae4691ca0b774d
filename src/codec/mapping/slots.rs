//! Sets of pointers, by their numbers.
//!
//! A set is read right after it was written, for each document: so it is written and read in words of one size, or the
//! processor would wait until what was written has arrived in its cache.

/// The number of a pointer among those that are wanted.
pub(super) type Slot = usize;

/// Pointers of a word.
const WORD: usize = 64;

/// A set of pointers.
#[derive(Debug, Clone, Default)]
pub(super) struct Slots(Vec<u64>);

impl Slots {
    /// With room for so many, and none in it.
    pub(super) fn none(count: usize) -> Self {
        Self(vec![0; count.div_ceil(WORD)])
    }

    /// With so many in it.
    pub(super) fn all(count: usize) -> Self {
        let mut all = Self::none(count);
        all.add(0..count);
        all
    }

    /// Takes all out.
    pub(super) fn clear(&mut self) {
        self.0.iter_mut().for_each(|word| *word = 0);
    }

    /// Adds these.
    ///
    /// # Panics
    /// If there is no room for one.
    pub(super) fn add(&mut self, slots: impl IntoIterator<Item = Slot>) {
        for slot in slots {
            let word = self.0.get_mut(slot / WORD);
            *word.expect("a pointer's number is below their count") |= 1 << (slot % WORD);
        }
    }

    /// Whether it is in it.
    pub(super) fn has(&self, slot: Slot) -> bool {
        self.0.get(slot / WORD).is_some_and(|word| word >> (slot % WORD) & 1 == 1)
    }

    /// Adds it, or takes it out.
    pub(super) fn set(&mut self, slot: Slot, is_in: bool) {
        self.add([slot]);
        if !is_in && let Some(word) = self.0.get_mut(slot / WORD) {
            *word &= !(1 << (slot % WORD));
        }
    }

    /// Whether the other set has the same room and holds the same.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.0.iter().eq(&other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_added_and_not_taken_out() {
        let mut some = Slots::none(130);
        some.add([0, 63, 64, 129]);
        some.set(63, false);
        some.set(65, true);
        let held: Vec<Slot> = (0..200).filter(|it| some.has(*it)).collect();
        assert_eq!(held, [0, 64, 65, 129]);
        assert!(!some.is(&Slots::all(130)) && Slots::all(130).is(&Slots::all(130)));
        some.clear();
        assert!(some.is(&Slots::none(130)));
        assert!(!Slots::default().has(0));
    }
}
