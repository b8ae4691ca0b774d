//! When a sensor's last dead letter was taken, and why it was one: a row keeps no more of it.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::Timestamp;
use crate::record::Reason;

/// Bits of the time in milliseconds: enough until the year 10889. The reason is above them, counted from 1.
const TIME_BITS: u32 = 48;

/// The last dead letter of a sensor; none at first.
#[derive(Debug, Default)]
pub struct LastLetter(AtomicU64);

impl LastLetter {
    /// One was taken at `at`.
    pub fn note(&self, at: Timestamp, reason: Reason) {
        let number = (1..).zip(Reason::ALL).find(|(_, it)| *it == reason);
        let number: u64 = number.map_or(0, |(number, _)| number);
        let millis = at.millis().min((1 << TIME_BITS) - 1);
        self.0.store(number << TIME_BITS | millis, Ordering::Relaxed);
    }

    /// When it was taken, and why it was one.
    pub fn get(&self) -> Option<(Timestamp, Reason)> {
        let both = self.0.load(Ordering::Relaxed);
        let place = usize::try_from(both >> TIME_BITS).ok()?.checked_sub(1)?;
        let millis = both & ((1 << TIME_BITS) - 1);
        Some((Timestamp::from_millis(millis), *Reason::ALL.get(place)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_kept_with_its_time() {
        let last = LastLetter::default();
        assert_eq!(last.get(), None);
        for (millis, reason) in (1_763_796_650_692..).zip(Reason::ALL) {
            let at = Timestamp::from_millis(millis);
            last.note(at, reason);
            assert_eq!(last.get(), Some((at, reason)));
        }
        last.note(Timestamp::from_millis(u64::MAX), Reason::Loop);
        assert_eq!(last.get().map(|(_, it)| it), Some(Reason::Loop), "a wrong clock");
    }
}
