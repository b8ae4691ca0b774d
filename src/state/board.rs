//! The gateway's health as it was last judged ([`super::monitor`]), for whoever asks.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// How the gateway is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// A broker that is needed has not been reached yet.
    Starting,
    /// Making progress, or nothing to do.
    Ready,
    /// Something keeps readings from being delivered.
    Degraded,
    /// A stop was asked for: nothing new is taken.
    Draining,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::Draining => "draining",
        })
    }
}

/// What was seen at the last look.
#[derive(Debug, Clone)]
pub struct Status {
    pub health: Health,
    /// Why, unless it is ready.
    pub reason: Option<String>,
    /// When it was looked.
    pub looked: Instant,
}

/// Since when the health is what it is, and what it was before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    pub since: Instant,
    /// How often it was degraded, and is no more.
    pub spells: u64,
    /// The last of those.
    pub last: Option<Spell>,
}

/// A time in which it was degraded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spell {
    pub from: Instant,
    pub until: Instant,
    /// Why, at its end.
    pub reason: String,
}

/// The last look, for whoever asks.
#[derive(Debug)]
pub struct Board(Mutex<(Status, Past)>);

impl Board {
    /// Before the first look.
    pub fn new(now: Instant) -> Self {
        let reason = Some("it has just started".to_owned());
        let status = Status { health: Health::Starting, reason, looked: now };
        Self(Mutex::new((status, Past { since: now, spells: 0, last: None })))
    }

    /// What was seen at the last look.
    pub fn status(&self) -> Status {
        self.lock().0.clone()
    }

    /// Since when that is so, and what was before.
    pub fn past(&self) -> Past {
        self.lock().1.clone()
    }

    /// Puts up what is seen now.
    pub fn put_up(&self, status: Status) {
        let mut guard = self.lock();
        let (last, past) = &mut *guard;
        let before = std::mem::replace(last, status);
        if last.health == before.health {
            return;
        }
        let from = std::mem::replace(&mut past.since, last.looked);
        if before.health == Health::Degraded {
            let reason = before.reason.unwrap_or_default();
            past.spells += 1;
            past.last = Some(Spell { from, until: last.looked, reason });
        }
    }

    fn lock(&self) -> MutexGuard<'_, (Status, Past)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_is_kept_since_when_the_health_is_so_and_when_it_was_degraded_last() {
        let start = crate::clock::now().instant;
        let at = |seconds| start + Duration::from_secs(seconds);
        let board = Board::new(start);
        let put = |seconds, health, reason: Option<&str>| {
            board.put_up(Status { health, reason: reason.map(str::to_owned), looked: at(seconds) });
            board.past()
        };
        put(1, Health::Ready, None);
        assert_eq!(put(2, Health::Ready, None), Past { since: at(1), spells: 0, last: None });
        put(3, Health::Degraded, Some("a"));
        assert_eq!(put(9, Health::Degraded, Some("b")).last, None, "it is so still");
        let spell = |from, until, reason: &str| {
            Some(Spell { from: at(from), until: at(until), reason: reason.into() })
        };
        let past = put(10, Health::Ready, None);
        assert_eq!(past, Past { since: at(10), spells: 1, last: spell(3, 10, "b") });
        put(20, Health::Degraded, Some("c"));
        let past = put(21, Health::Draining, Some("d"));
        assert_eq!(past, Past { since: at(21), spells: 2, last: spell(20, 21, "c") });
    }
}
