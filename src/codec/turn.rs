//! When a message may be read: most at once, some only when another one has come that says what they mean.
//!
//! Messages that belong together stand in one *line*. Where one of a line waits, those behind it wait, too: so no
//! message of a line passes another.

use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use foldhash::fast::FixedState;

/// Whose messages keep their order among each other. Two that are not the same may be told as one, which only makes
/// one wait for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Line {
    owner: u64,
    /// `None`: all lines of the owner.
    part: Option<u64>,
}

impl Line {
    /// That of a part of an owner.
    pub fn of(owner: &str, part: &str) -> Self {
        let digest = |text: &str| {
            let mut hasher = FixedState::default().build_hasher();
            hasher.write(text.as_bytes());
            hasher.finish()
        };
        Self { owner: digest(owner), part: Some(digest(part)) }
    }

    /// All lines of its owner.
    #[must_use]
    pub fn whole(self) -> Self {
        Self { part: None, ..self }
    }

    /// Whether all that stands in the other line stands in this one.
    pub fn covers(self, other: Self) -> bool {
        self.owner == other.owner && (self.part.is_none() || self.part == other.part)
    }

    /// Whether a message of one line stands in the other.
    pub fn meets(self, other: Self) -> bool {
        let is_part = self.part.is_none() || other.part.is_none() || self.part == other.part;
        self.owner == other.owner && is_part
    }
}

/// What a message says that holds until another one says it anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Note {
    /// Of whom. What was said of it before does not hold any more.
    pub line: Line,
    /// It is to be read again by the next run, before all others; else there is nothing to be read again.
    pub is_birth: bool,
}

/// How messages may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waits {
    /// For so long, at most.
    pub time: Duration,
    /// Bytes of those that wait. Beyond it the oldest waits no longer.
    pub bytes_max: usize,
    /// Bytes of those that are kept for the next run, as they came.
    pub kept_bytes_max: usize,
}

/// A message that is to be published, with QoS 0.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// Where.
    pub topic: String,
    /// What.
    pub payload: Vec<u8>,
}

/// When a message may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// At once.
    Now,
    /// Behind all that waits of its line.
    Behind(Line),
    /// When what it waits for has come, or has not come in time; and behind all that waits of its line.
    Waits(Line),
    /// Behind all that waits of its line, which is read now: nothing better will come for it.
    Ends(Line),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_meets_itself_and_the_whole_of_its_owner() {
        let (a, b) = (Line::of("G/N", "a"), Line::of("G/N", "b"));
        assert!(a.meets(a) && !a.meets(b) && a.meets(b.whole()) && a.whole().meets(b));
        assert!(!a.meets(Line::of("G/M", "a").whole()));
        assert!(a.covers(a) && a.whole().covers(b) && !a.covers(a.whole()) && !a.covers(b));
    }
}
