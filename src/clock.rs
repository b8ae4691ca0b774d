//! The only reader of time.
//!
//! Everything that decides (batcher, worker, publisher, back-off) takes the time as an argument, so tests set
//! it. Only the shell, the tasks and the place where the worker waits call [`now`].

use std::fmt;
use std::time::{Duration, Instant, SystemTime};

/// Milliseconds since the Unix epoch, by the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// A moment `millis` milliseconds after the Unix epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Reads RFC 3339: a date and time with `Z` or an offset. `None` for anything else, and for
    /// times before 1970.
    pub fn parse(text: &str) -> Option<Self> {
        let (local, ahead) =
            match text.len().checked_sub(6).and_then(|at| text.split_at_checked(at)) {
                Some((local, offset)) if offset.starts_with(['+', '-']) => {
                    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
                    let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
                    let ahead = (hours * 60 + minutes) * 60_000;
                    (format!("{local}Z"), if offset.starts_with('-') { -ahead } else { ahead })
                }
                _ => (text.to_owned(), 0),
            };
        let time = humantime::parse_rfc3339(&local).ok()?;
        let millis = time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_millis();
        u64::try_from(millis).ok()?.checked_add_signed(-ahead).map(Self)
    }

    /// The time that was so long before, not before 1970.
    #[must_use]
    pub fn earlier(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
    }

    /// Milliseconds since the Unix epoch.
    pub const fn millis(self) -> u64 {
        self.0
    }
}

/// RFC 3339 in UTC with milliseconds: `2026-11-22T07:30:50.692Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The formatter ends with the year 9999. A wrong clock must not stop the gateway.
        let capped = self.0.min(253_402_300_799_999);
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(capped);
        humantime::format_rfc3339_millis(time).fmt(f)
    }
}

/// One reading of both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Monotonic: for deadlines and ages.
    pub instant: Instant,
    /// Wall clock, for what is written into records. It may step backwards.
    pub wall: Timestamp,
}

impl Now {
    /// The same moment, later by `by` on both clocks (tests step time with it).
    #[must_use]
    pub fn later(self, by: Duration) -> Self {
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        Self {
            instant: self.instant + by,
            wall: Timestamp::from_millis(self.wall.millis().saturating_add(millis)),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub fn now() -> Now {
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Now {
        instant: Instant::now(),
        wall: Timestamp::from_millis(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_3339_is_read_with_any_offset() {
        let at = Timestamp::from_millis(1_763_796_650_692);
        for text in [
            "2025-11-22T07:30:50.692Z",
            "2025-11-22T08:30:50.692+01:00",
            "2025-11-22T02:00:50.692-05:30",
        ] {
            assert_eq!(Timestamp::parse(text), Some(at), "{text}");
        }
        for bad in ["", "Z", "yesterday", "2025-11-22", "2025-11-22T07:30:50", "é+01:00", "+01:00"]
        {
            assert_eq!(Timestamp::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_timestamp_reads_as_rfc_3339() {
        assert_eq!(
            Timestamp::from_millis(1_763_796_650_692).to_string(),
            "2025-11-22T07:30:50.692Z"
        );
        assert_eq!(Timestamp::from_millis(u64::MAX).to_string(), "9999-12-31T23:59:59.999Z");
    }
}
