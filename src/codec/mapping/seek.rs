//! Looks for a value among what was found: the first that is there and is what it has to be.

use super::keys::{Mismatch, Type};
use super::number::number;
use super::plan::Plan;
use super::slots::Slot;
use super::walk::Found;
use super::{at, first, is_number, scalar};

/// What is there where a value should be.
#[derive(Debug)]
pub(super) enum Sought<'a> {
    /// A value, by this pointer.
    Value(Slot, &'a str),
    /// What is not of the type, and is to be skipped.
    Unlike,
    /// Nothing. Where a number is wanted, `null` is nothing, too.
    Nothing,
}

impl Plan {
    /// What the first of these pointers leads to that leads to anything.
    #[inline]
    pub(super) fn seek<'a>(&self, slots: &[Slot], found: &Found, message: &'a str) -> Sought<'a> {
        if self.kind == Type::Any {
            return first(slots, found, message)
                .map_or(Sought::Nothing, |(slot, raw)| Sought::Value(slot, raw));
        }
        let mut there = slots.iter().filter_map(|slot| Some((*slot, at(*slot, found, message)?)));
        match there.find(|(_, raw)| *raw != "null") {
            None => Sought::Nothing,
            Some((_, raw)) if self.skips(raw) => Sought::Unlike,
            Some((slot, raw)) => Sought::Value(slot, raw),
        }
    }

    /// Whether a value is not of the type, and is to be skipped.
    pub(super) fn skips(&self, raw: &str) -> bool {
        let reads = || scalar(raw).is_some_and(|text| number(&text, self.decimal).is_some());
        self.mismatch == Mismatch::Skip && self.kind == Type::Number && !is_number(raw) && !reads()
    }
}
