//! Where batches go.
//!
//! A sink never decides and never keeps: it takes publications from a lane that lives as long as
//! one connection, and reports what the other side said. Whatever it was given and has not
//! reported is the engine's to publish again on the next connection; the lane of a connection that
//! is gone is closed, so nothing given too late can go astray.
//!
//! What crosses here knows no protocol: sealed batches one way, answers and sizes the other. Packets,
//! topics and QoS exist on the sink's side only (`message`, `mqtt`), as do files (`file`).

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::sealed::Sealed;
use crate::unusable::Unusable;

pub mod dead_letter;
pub mod file;
pub mod message;
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

/// One batch to deliver.
#[derive(Debug, Clone)]
pub struct Publication {
    /// Its number, by which it is reported.
    pub number: Number,
    /// The batch.
    pub sealed: Arc<Sealed>,
}

/// How large a sink makes a batch, and where it takes it: all that the engine has to know of that.
pub trait Measure: std::fmt::Debug + Send + Sync {
    /// Bytes of a batch as this sink sends it: what the bound of [`Event::Connected`] counts.
    fn bytes(&self, sealed: &Sealed) -> usize;

    /// Bytes of the longest text with which a batch that is otherwise like this one has `bytes_max`; `None`
    /// where not even an empty one fits.
    fn text_bytes_max(&self, like: &Sealed, bytes_max: usize) -> Option<usize>;

    /// Bytes that a batch of this gateway has beside its text, at most.
    fn overhead_bytes(&self, gateway: &str, letters: bool) -> usize;

    /// Where it takes a batch, as it is called in the log.
    fn destination(&self, sealed: &Sealed) -> &str;
}

/// What the other side says to a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It has it.
    Taken,
    /// It has taken it, and there is nobody who gets it.
    TakenByNobody,
    /// It has not taken it.
    Refused(Refusal),
}

/// Why a batch was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// In words.
    pub reason: String,
    /// A smaller one may be taken.
    pub too_large: bool,
    /// It will be the same tomorrow.
    pub permanent: bool,
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
        /// Bytes of the largest batch that is taken, as [`Measure::bytes`] counts them.
        bytes_max: Option<usize>,
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
    Failed(Unusable),
    /// From the engine: a stop was asked for; what is safe on disk may stay there.
    Stop,
    /// From the engine: let everything go that is not settled.
    Abort,
}
