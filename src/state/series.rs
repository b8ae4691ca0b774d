//! Finds the missing ones among a sensor's own numbers.
//!
//! Each number is compared with three that are stored:
//!
//! - Counting begins at the first number: earlier numbers are unknown, not missing.
//! - A number beyond the next one leaves a gap, and each number in it is missing.
//! - A number that was passed already is a repeat, or late: a broker sends again what a cut has
//!   interrupted, and another may change the order. If it lies in the *last* gap it is no longer missing.
//!   The gap shrinks from below, so no number is taken back twice; those of the gap below it stay
//!   missing, as do those of earlier gaps.
//! - 0 or 1, at least [`BACK_MIN`] back and not sent again by the broker, is a sensor that has started
//!   anew: counting begins there. Also where a counter overflows: what is lost at that moment is unseen.
//! - A jump beyond `NUMBERS_MISSING_MAX` is no plausible gap: the device was replaced, or counts in another way.
//!   Counting begins there.
//!
//! A dead letter has no readable number, so it counts as missing.

use std::ops::Range;

/// If a sensor's number leaves out more than this, the device was replaced or counts in another way: counting begins
/// again, and no number is missing. A sensor of one reading a second has so many in eleven days.
const NUMBERS_MISSING_MAX: u64 = 1_000_000;

/// A sensor that restarts goes back at least by this; less is a repeat.
pub const BACK_MIN: u64 = 2;

/// What a number is, compared with the earlier ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// The first, or the one behind the last.
    Next,
    /// These were passed over.
    Missing(Range<u64>),
    /// It had been missing.
    Late,
    /// Seen before, or missing no longer.
    Known,
}

/// The numbers of one sensor: the next one (0: none has come, or 0 is next), and the last gap, from
/// and to the number behind it. An array, so that a row can keep it in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Series(pub [u64; 3]);

impl Series {
    /// Judges a number; `repeated` when the broker has marked it as sent before.
    pub fn see(&mut self, number: u64, repeated: bool) -> Seen {
        let [next, from, until] = self.0;
        // Nothing can come behind the largest of all numbers: it is not judged.
        let Some(behind) = number.checked_add(1) else { return Seen::Known };
        if number == next {
            self.0 = [behind, from, until];
            return Seen::Next;
        }
        let starts = number <= 1 && !repeated && next.saturating_sub(behind) >= BACK_MIN;
        if next == 0 || starts || number.saturating_sub(next) > NUMBERS_MISSING_MAX {
            self.0 = [behind, 0, 0];
            return Seen::Next;
        }
        if number > next {
            self.0 = [behind, next, number];
            return Seen::Missing(next..number);
        }
        if (from..until).contains(&number) {
            self.0 = [next, behind, until];
            return Seen::Late;
        }
        Seen::Known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is missing after these numbers; one below zero was sent again by the broker.
    fn missing(numbers: &[i64]) -> u64 {
        let mut series = Series::default();
        numbers.iter().fold(0, |missing, number| {
            match series.see(number.unsigned_abs(), *number < 0) {
                Seen::Missing(gap) => missing + gap.end - gap.start,
                Seen::Late => missing - 1,
                Seen::Next | Seen::Known => missing,
            }
        })
    }

    #[test]
    fn what_is_passed_over_is_missing_and_nothing_else() {
        for (numbers, expected) in [
            (&[][..], 0),
            (&[0, 1, 2, 3], 0),
            (&[500, 501, 502], 0),
            (&[1, 2, 4], 1),
            (&[1, 11, 12, 15], 9 + 2),
            (&[1, 2, 2, 2, 3], 0),
            (&[1, 2, 3, -2, -3, 4], 0),
        ] {
            assert_eq!(missing(numbers), expected, "{numbers:?}");
        }
    }

    #[test]
    fn what_comes_late_is_missing_no_longer_but_never_twice() {
        for (numbers, expected) in [
            (&[1, 5, 2, 3, 4, 6][..], 0),
            (&[1, 5, -2, -2, -2, 6], 2),
            (&[1, 5, 3, 2, 6], 2),
            (&[1, 5, 9, 2, 6], 5),
        ] {
            assert_eq!(missing(numbers), expected, "{numbers:?}");
        }
    }

    #[test]
    fn a_sensor_that_starts_anew_counts_anew() {
        for (numbers, expected) in [
            (&[7, 8, 9, 0, 1, 2][..], 0),
            (&[7, 8, 9, 1, 2, 4], 1),
            (&[65_534, 65_535, 0, 1], 0),
            // Sent again by the broker: no start.
            (&[1, 2, 3, 4, -1, 5], 0),
            // One back is a repeat.
            (&[1, 2, 1, 3], 0),
            // Another way of counting.
            (&[1, 2, 1_764_000_000_000, 1_764_000_000_001], 0),
            (&[1, 2, 4_000_000_000, 4_000_000_002], 1),
            (&[1, 2, 1_000_003], 1_000_000),
            (&[1, 2, 1_000_004], 0),
        ] {
            assert_eq!(missing(numbers), expected, "{numbers:?}");
        }
        let mut series = Series::default();
        assert_eq!(series.see(u64::MAX, false), Seen::Known);
        assert_eq!(series.see(u64::MAX - 1, false), Seen::Next);
        assert_eq!(series.see(u64::MAX, false), Seen::Known);
    }
}
