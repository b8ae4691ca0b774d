//! Where batches go.
//!
//! A sink never decides and never keeps: it takes publications from a lane that lives as long as
//! one connection, and reports what the other side said. Whatever it was given and has not
//! reported is the engine's to publish again on the next connection; the lane of a connection that
//! is gone is closed, so nothing given too late can go astray.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::mqtt::Error;
use crate::mqtt::answer::Answer;
use crate::mqtt::outgoing::Outgoing;

pub mod dead_letter;
pub mod mqtt;
pub mod shortened;

/// Names a publication: the engine's count, and which part of it, when it had to be split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Number {
    /// Counts publications in the order they were made.
    pub count: u64,
    /// Counts the parts of one, from 0.
    pub part: u32,
}

/// One message to publish.
#[derive(Debug, Clone)]
pub struct Publication {
    /// Its number, by which it is reported.
    pub number: Number,
    /// What to publish.
    pub message: Arc<Outgoing>,
}

/// The oldest publication that had no answer when a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Over {
    /// Which.
    pub number: Number,
    /// How it ended.
    pub why: Why,
}

/// How a connection ended that may have ended over a publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The broker hung up without a word.
    HungUp,
    /// The broker called it too large.
    TooLarge,
    /// The broker, or the link to it, fell silent.
    Silent,
    /// The broker said this, which may be about the publication.
    Forbidden(String),
}

impl Over {
    /// Whether nothing was said of what is forbidden.
    pub fn is_wordless(&self) -> bool {
        !matches!(self.why, Why::Forbidden(_))
    }
}

/// What a sink reports.
#[derive(Debug)]
pub enum Event {
    /// A connection stands.
    Connected {
        /// Takes publications for as long as this connection lives.
        lane: mpsc::Sender<Publication>,
        /// The largest packet the broker takes.
        packet_bytes_max: Option<u32>,
        /// Publications the broker takes unacknowledged.
        in_flight_max: usize,
    },
    /// The connection is gone; what it has not answered must be published again.
    Disconnected {
        /// Why, where it may have been a publication.
        over: Option<Over>,
    },
    /// The broker's answer to a publication.
    Answered {
        /// Which.
        number: Number,
        /// What it says.
        answer: Answer,
    },
    /// There will never be a connection.
    Failed(Error),
    /// From the engine: a stop was asked for; what is safe on disk may stay there.
    Stop,
    /// From the engine: let everything go that is not settled.
    Abort,
}
