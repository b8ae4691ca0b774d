//! Limits warnings that repeat: each is logged at most once in a while, with the count of those left out.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use crate::limits::REPEATED_WARNING_PAUSE;

/// Causes of one warning that are told apart. Of more, the one that has not come for longest is forgotten: it is logged
/// at once when it comes again.
const WARNING_CAUSES_MAX: usize = 8;

/// How many warnings were left out; `None` leaves the field out of the log line.
pub type LeftOut = Option<NonZeroU64>;

/// The limit of one kind of warning.
#[derive(Debug, Default)]
pub struct Repeated {
    said: Option<Instant>,
    left_out: u64,
}

impl Repeated {
    /// Whether to log it now; if so, how many were left out since the last one.
    pub fn due(&mut self, now: Instant) -> Option<LeftOut> {
        self.due_after(REPEATED_WARNING_PAUSE, now)
    }

    /// The same with another pause.
    pub fn due_after(&mut self, pause: Duration, now: Instant) -> Option<LeftOut> {
        if self.said.is_some_and(|said| now.saturating_duration_since(said) < pause) {
            self.left_out += 1;
            return None;
        }
        self.said = Some(now);
        Some(NonZeroU64::new(std::mem::take(&mut self.left_out)))
    }
}

/// The limit of a kind of warning that has many causes: a new cause is logged at once, however recent another
/// was. Remembers the digests of `WARNING_CAUSES_MAX` causes.
#[derive(Debug, Default)]
pub struct PerCause(Vec<(u64, Repeated)>);

impl PerCause {
    /// Whether to log it now for this cause; if so, how many of this cause were left out.
    pub fn due(&mut self, now: Instant, cause: &impl Hash) -> Option<LeftOut> {
        let mut hasher = DefaultHasher::new();
        cause.hash(&mut hasher);
        let digest = hasher.finish();
        let known = self.0.iter().position(|(known, _)| *known == digest);
        // The latest cause is last. The one that has not come for longest is removed.
        let (_, mut repeated) = match known {
            Some(at) => self.0.remove(at),
            None => (digest, Repeated::default()),
        };
        if self.0.len() >= WARNING_CAUSES_MAX {
            self.0.remove(0);
        }
        let due = repeated.due(now);
        self.0.push((digest, repeated));
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_counted_and_said_once_in_a_while() {
        let start = crate::clock::now().instant;
        let mut repeated = Repeated::default();
        assert_eq!(repeated.due(start), Some(None));
        assert_eq!(repeated.due(start + REPEATED_WARNING_PAUSE / 2), None);
        assert_eq!(repeated.due(start + REPEATED_WARNING_PAUSE), Some(NonZeroU64::new(1)));
    }

    #[test]
    fn a_new_cause_is_said_at_once_and_their_number_is_bounded() {
        let start = crate::clock::now().instant;
        let mut warning = PerCause::default();
        assert_eq!(warning.due(start, &"refused"), Some(None));
        assert_eq!(warning.due(start, &"refused"), None);
        assert_eq!(warning.due(start, &"timed out"), Some(None), "news");
        assert_eq!(
            warning.due(start + REPEATED_WARNING_PAUSE, &"refused"),
            Some(NonZeroU64::new(1))
        );
        for cause in 0..2 * WARNING_CAUSES_MAX {
            assert_eq!(warning.due(start, &cause), Some(None));
        }
        assert_eq!(warning.0.len(), WARNING_CAUSES_MAX);
    }
}
