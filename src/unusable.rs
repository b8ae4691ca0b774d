//! Why a source or the sink gave up for good, and how long one that has never worked is tried.

use std::time::{Duration, Instant};

/// What ends the gateway, because nothing has worked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Unusable {
    /// In words, with the remedy.
    pub reason: String,
    /// A restart may find it mended; else it is in the settings.
    pub may_mend: bool,
}

/// How long what is refused is tried: for `gateway.start_grace`, as long as nothing of it has ever worked.
#[derive(Debug)]
pub struct Patience {
    /// Without one it is tried for ever.
    start_grace: Option<Duration>,
    /// It has worked: it is tried for ever.
    worked: bool,
    refused: Option<Instant>,
}

impl Patience {
    /// Nothing has worked yet.
    pub const fn new(start_grace: Option<Duration>) -> Self {
        Self { start_grace, worked: false, refused: None }
    }

    /// Notes that it has worked.
    pub const fn worked(&mut self) {
        self.worked = true;
    }

    /// How long it is tried yet, where it is refused.
    pub fn left(&self, now: Instant) -> Option<Duration> {
        let over = now.saturating_duration_since(self.refused?);
        Some(self.start_grace?.saturating_sub(over))
    }

    /// Notes a failure at `now`, which is a lasting refusal or not. Whether it is given up for that.
    pub fn failed(&mut self, now: Instant, is_refusal: bool) -> bool {
        if self.worked || !is_refusal {
            self.refused = None;
            return false;
        }
        let since = *self.refused.get_or_insert(now);
        let over = now.saturating_duration_since(since);
        self.start_grace.is_some_and(|it| over >= it)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn only_what_has_never_worked_is_given_up_for_refusals_that_last() {
        let (start, second) = (clock::now().instant, Duration::from_secs(1));
        let mut patience = Patience::new(Some(2 * second));
        let looks = [(0, true), (1, true), (2, false), (3, true), (4, true), (5, true)];
        let mut given_up = |(at, is_refusal)| patience.failed(start + second * at, is_refusal);
        assert_eq!(looks.map(&mut given_up), [false, false, false, false, false, true]);
        assert_eq!(patience.left(start + 4 * second), Some(second));
        patience.worked();
        assert!(!patience.failed(start + 9 * second, true));
        assert!(Patience::new(Some(Duration::ZERO)).failed(start, true), "at once");
        let mut endless = Patience::new(None);
        assert!(!endless.failed(start, true) && !endless.failed(start + 9 * second, true));
        assert_eq!(endless.left(start), None);
    }
}
