//! The gateway's health as it was last judged ([`super::monitor`]), for whoever asks.

use std::fmt;
use std::sync::{Mutex, PoisonError};
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

/// The last look, for whoever asks.
#[derive(Debug)]
pub struct Board(Mutex<Status>);

impl Board {
    /// Before the first look.
    pub fn new(now: Instant) -> Self {
        let reason = Some("it has just started".to_owned());
        Self(Mutex::new(Status { health: Health::Starting, reason, looked: now }))
    }

    /// What was seen at the last look.
    pub fn status(&self) -> Status {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts up what is seen now.
    pub fn put_up(&self, status: Status) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }
}
