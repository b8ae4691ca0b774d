//! Whether messages probably waited at the broker before they came: a hint for consumers, who else take the time of
//! receipt for the time of the reading.
//!
//! A session that is resumed brings first what came while we were away. That has come when the broker, although the
//! window has room, has nothing more for [`CALM`]: it is not told otherwise. A fleet that fills the window all the time
//! is never through with what waits.
//!
//! Pure: the time comes as an argument.

use std::time::{Duration, Instant};

/// For so long the broker must have had nothing to send although the window had room. Longer than a batch needs
/// (`batch.age_max`, 100 ms unless set), in which acknowledgements make room again and again.
const CALM: Duration = Duration::from_millis(250);

/// What waited at the broker.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// The session was resumed, and what waited has not all come.
    is_coming: bool,
    /// Since when the broker has had room in the window, and nothing more to send.
    calm_since: Option<Instant>,
}

impl Backlog {
    /// Begins a connection.
    pub(super) fn connected(&mut self, session_present: bool) {
        *self = Self { is_coming: session_present, calm_since: None };
    }

    /// Whether what comes now probably waited.
    pub(super) fn is_coming(&mut self, now: Instant) -> bool {
        let is_calm = |since: Instant| now.saturating_duration_since(since) >= CALM;
        self.is_coming &= !self.calm_since.is_some_and(is_calm);
        self.is_coming
    }

    /// All that has come by now is read, or there is more; so many messages are open of a window of so many.
    pub(super) fn read(&mut self, now: Instant, unread: bool, (open, window): (usize, usize)) {
        // While records wait to be settled a full window is never quite full: acknowledgements are on their way.
        let is_calm = !unread && 4 * open < 3 * window;
        self.calm_since = is_calm.then(|| self.calm_since.unwrap_or(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn what_waited_has_come_when_there_is_room_and_nothing_comes() {
        let now = clock::now().instant;
        let mut it = Backlog::default();
        it.connected(false);
        assert!(!it.is_coming(now), "a new session: nothing waited");
        it.connected(true);
        for (after, unread, open, is_coming) in [
            (0, true, 4, true),
            (300, false, 15, true),
            (600, false, 14, true),
            (849, false, 0, true),
            (849, false, 15, true),
            (860, false, 3, true),
            (1000, true, 3, true),
            (1001, false, 3, true),
            (1250, false, 3, true),
            // Long after, the first message of a sensor.
            (1251, true, 1, false),
            (1252, true, 20, false),
        ] {
            let now = now + Duration::from_millis(after);
            assert_eq!(it.is_coming(now), is_coming, "after {after} ms");
            it.read(now, unread, (open, 20));
        }
        it.connected(true);
        assert!(it.is_coming(now), "after a cut it is resumed again");
    }
}
