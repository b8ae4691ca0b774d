//! Whether too many of the readings of late became dead letters.
//!
//! Of late is in the last one or two times `SPAN`. A handful of bad messages is no matter:
//! `LETTERS_LEAST`.

use std::time::{Duration, Instant};

use super::books::Books;
use super::tally::Cause;
use crate::units::Percent;

/// What is counted together; when it has passed, what was before it is forgotten.
const SPAN: Duration = Duration::from_secs(30);

/// Fewer dead letters of late are never too many.
const LETTERS_LEAST: u64 = 20;

/// Judges the share.
#[derive(Debug)]
pub struct Share {
    percent_max: u8,
    began: Instant,
    /// Records received before the span before this one, and before this one.
    received: [u64; 2],
}

impl Share {
    /// Begins at `now`.
    pub const fn new(percent_max: Percent, now: Instant) -> Self {
        Self { percent_max: percent_max.0, began: now, received: [0; 2] }
    }

    /// So many are too many from now on.
    pub const fn judge_by(&mut self, percent_max: Percent) {
        self.percent_max = percent_max.0;
    }

    /// What is to be said where too many became dead letters.
    pub fn judge(&mut self, books: &Books, now: Instant) -> Option<String> {
        let total = books.metrics.received.get();
        if now.saturating_duration_since(self.began) >= SPAN {
            books.tally.turn();
            (self.began, self.received) = (now, [self.received[1], total]);
        }
        let (letters, cause) = books.tally.recent();
        let received = (total - self.received[0]).max(letters);
        let max = u64::from(self.percent_max);
        if letters < LETTERS_LEAST || letters * 100 <= received * max {
            return None;
        }
        let cause = cause?;
        let Cause { reason, detail, sensor, topic, .. } = &cause;
        let entry = entry(books, &cause).unwrap_or_else(|| "none".to_owned());
        Some(format!(
            "{letters} of the last {received} readings became dead letters, and \
             output.dead_letters_percent_max is {max}: most often {reason} from sensor {sensor} of \
             entry {entry} on {topic}: {detail}"
        ))
    }
}

/// The entry of a cause.
pub fn entry(books: &Books, cause: &Cause) -> Option<String> {
    books.registry.entry_name(cause.entry?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    /// After so many readings, of which so many became dead letters, with this limit.
    fn told(percent: u8, received: u64, letters: u64, seconds: u64) -> Option<String> {
        let books = Books::of_entries(9, &["fleet"]);
        let start = clock::now().instant;
        let mut share = Share::new(Percent(percent), start);
        let row = books.registry.row_of("bad", 0);
        let cause = Cause::new("malformed", row.id(), row.entry(), b"no JSON", b"sensors/bad");
        books.metrics.received.add(received);
        (0..letters).for_each(|_| books.tally.note(cause.clone()));
        let looks = (0..=seconds).map(|second| start + Duration::from_secs(second));
        looks.map(|at| share.judge(&books, at)).last().flatten()
    }

    /// What came long ago is no excuse.
    #[test]
    fn the_share_is_one_of_the_readings_of_late() {
        let books = Books::of_entries(9, &["fleet"]);
        let start = clock::now().instant;
        let mut share = Share::new(Percent(5), start);
        books.metrics.received.add(1_000_000);
        for spans in 1..=2 {
            assert_eq!(share.judge(&books, start + SPAN * spans), None);
        }
        books.metrics.received.add(100);
        let row = books.registry.row_left("bad", None);
        let cause = Cause::new("malformed", row.id(), row.entry(), b"", b"");
        (0..100).for_each(|_| books.tally.note(cause.clone()));
        let told = share.judge(&books, start + SPAN * 2 + Duration::from_secs(1)).unwrap();
        assert!(told.starts_with("100 of the last 100 readings"), "{told}");
    }

    #[test]
    fn a_share_above_the_limit_is_told_with_its_commonest_cause_until_it_is_long_ago() {
        let reason = "21 of the last 400 readings became dead letters, and \
                      output.dead_letters_percent_max is 5: most often malformed from sensor bad of \
                      entry fleet on sensors/bad: no JSON";
        assert_eq!(told(5, 400, 21, 0).as_deref(), Some(reason));
        assert_eq!(told(5, 400, 21, 59).as_deref(), Some(reason));
        assert_eq!(told(5, 400, 21, 61), None);
        assert_eq!(told(5, 420, 21, 0), None, "no more than the limit");
        assert_eq!(told(5, 19, 19, 0), None, "a handful");
        assert_eq!(told(100, 50, 50, 0), None, "never");
        assert!(told(0, 100_000, 20, 0).is_some());
    }
}
