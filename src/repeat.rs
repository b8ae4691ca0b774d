//! Warnings that can repeat are written at most once in a while, with the count of those left out.

use std::time::{Duration, Instant};

use crate::limits::REPEATED_WARNING_PAUSE;

/// Decides for one kind of warning.
#[derive(Debug, Default)]
pub struct Repeated {
    said: Option<Instant>,
    left_out: u64,
}

impl Repeated {
    /// Whether to say it now; if so, how many were left out since it was said last.
    pub fn due(&mut self, now: Instant) -> Option<u64> {
        let pause: Duration = REPEATED_WARNING_PAUSE;
        if self.said.is_some_and(|said| now.saturating_duration_since(said) < pause) {
            self.left_out += 1;
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.left_out))
    }

    /// The next one is news again.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_counted_and_said_once_in_a_while() {
        let start = crate::clock::now().instant;
        let mut repeated = Repeated::default();
        assert_eq!(repeated.due(start), Some(0));
        assert_eq!(repeated.due(start + REPEATED_WARNING_PAUSE / 2), None);
        assert_eq!(repeated.due(start + REPEATED_WARNING_PAUSE), Some(1));
    }
}
