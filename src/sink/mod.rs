//! Where batches go.
//!
//! A sink never decides and never keeps: it takes publications from a channel that lives as long as
//! one connection, and reports what the other side said. Whatever it was given and has not
//! reported is the engine's to publish again on the next connection; the channel of a connection that
//! is gone is closed, so nothing given too late can go astray.
//!
//! What crosses here knows no protocol: sealed batches one way, answers and sizes the other. Packets,
//! topics and QoS exist on the sink's side only (`message`, `mqtt`), as do files (`file`).
//!
//! A new kind of sink is one file here, with its `Settings`, which are [`Declared`], and one line in the list
//! below; in the configuration it is `[output.<kind>]`.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use self::routing::Routing;
use crate::mqtt::broker::Broker;
use crate::mqtt::roll_call::RollCall;
use crate::mqtt::topic_pattern::TopicPattern;
use crate::phase::PhaseReceiver;
use crate::queue::Reports;
use crate::sealed::Sealed;
use crate::state::metrics::Metrics;
use crate::state::standing::Standing;
use crate::tasks::Tasks;
use crate::unusable::Unusable;

pub mod dead_letter;
pub mod file;
pub mod message;
pub mod mqtt;
pub mod packed;
pub mod routing;
pub mod shortened;

macro_rules! kinds {
    ($($(#[$doc:meta])+ $module:ident => $kind:ident,)+) => {
        /// The sink of a gateway, by kind.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case", rename = "kind of sink")]
        pub enum Kind { $($(#[$doc])+ $kind($module::Settings),)+ }

        impl Kind {
            /// The kinds, as the configuration names them.
            pub const NAMES: &[&str] = &[$(stringify!($module),)+];

            /// How the configuration names it.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$kind(_) => stringify!($module),)+ }
            }

            /// What it declares.
            pub fn declared(&self) -> &dyn Declared {
                match self { $(Self::$kind(settings) => settings,)+ }
            }
        }
    };
}

kinds! {
    /// Topics of an MQTT broker. The keys of this section may also stand in `[output]` itself.
    mqtt => Mqtt,
    /// Files that batches are appended to, or standard output.
    file => File,
}

impl Default for Kind {
    fn default() -> Self {
        Self::Mqtt(mqtt::Settings::default())
    }
}

/// What a sink has to know of the rest of the plan.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// The gateway's id.
    pub gateway: &'a str,
    /// The readings' broker.
    pub broker: &'a Broker,
}

/// What a sink declares by its settings: all that the rest of the program asks of them.
pub trait Declared: Debug {
    /// Counts the bytes that it needs for a batch.
    fn measure(&self, around: &Surroundings<'_>) -> Arc<dyn Measure>;

    /// Bytes of the largest batch that it can take, whatever the other side says. Below 4 GiB: a record's place
    /// in a batch is counted with 32 bits.
    fn batch_bytes_most(&self) -> usize;

    /// Bytes that it holds at most beside the window, with batches of up to `batch_bytes`.
    fn bytes_max(&self, batch_bytes: u64, around: &Surroundings<'_>) -> u64;

    /// Where batches and dead letters go, in words.
    fn destination(&self, around: &Surroundings<'_>) -> String;

    /// Starts its tasks.
    fn start(&self, start: Start<'_>, tasks: &mut Tasks<()>);

    /// Where what it delivered can be read again.
    fn read_back(&self) -> ReadBack<'_> {
        ReadBack::Nowhere
    }

    /// What contradicts itself: key and remedy.
    fn problems(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// What this machine lacks: key and remedy.
    fn unusable(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// What is valid and will surprise: key and remedy.
    fn warnings(&self, _around: &Surroundings<'_>) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Whether what it takes is appended, and may be torn by a crash.
    fn is_of_lines(&self) -> bool {
        false
    }

    /// Whether something goes to standard output.
    fn is_standard_output(&self) -> bool {
        false
    }

    /// Whether a batch is held that was [`Answer::TakenByNobody`].
    fn holds_without_subscriber(&self) -> bool {
        false
    }
}

/// Where what a sink delivered can be read again, for `verify`.
#[derive(Debug)]
pub enum ReadBack<'a> {
    /// Topics of its broker, from now on.
    Topics {
        /// Of batches.
        batches: TopicPattern,
        /// Of dead letters.
        dead_letters: TopicPattern,
    },
    /// Files, with those that were renamed.
    Files {
        /// Of batches.
        batches: &'a Path,
        /// Of dead letters.
        dead_letters: PathBuf,
    },
    /// Nowhere.
    Nowhere,
}

/// What a sink that starts is given.
#[derive(Debug)]
pub struct Start<'a> {
    /// What it has to know of the rest of the plan.
    pub around: Surroundings<'a>,
    /// Publications that it takes at a time.
    pub channel_max: usize,
    /// Where it reports to.
    pub reports: Reports<Event>,
    /// How its connection stands.
    pub standing: &'a Arc<Standing>,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// How far the gateway is on its way to the end.
    pub phase: PhaseReceiver,
    /// Of its randomness.
    pub seed: u64,
    /// How long it may be refused before anything has worked; `None`: for ever.
    pub start_grace: Option<Duration>,
    /// Checks whether an MQTT broker keeps our clients apart.
    pub roll_call: Option<Arc<RollCall>>,
}

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
pub trait Measure: Routing {
    /// Bytes of a batch as this sink sends it: what the bound of [`Event::Connected`] counts.
    fn bytes(&self, sealed: &Sealed) -> usize;

    /// Whether it sends a batch in so many bytes at most.
    fn takes(&self, sealed: &Sealed, bytes_max: usize) -> bool {
        self.bytes(sealed) <= bytes_max
    }

    /// Bytes of the longest text with which a batch that is otherwise like this one has `bytes_max`; `None`
    /// where not even an empty one fits.
    fn text_bytes_max(&self, like: &Sealed, bytes_max: usize) -> Option<usize>;

    /// Bytes that a batch of this gateway has beside its text, at most.
    fn overhead_bytes(&self, gateway: &str, letters: bool) -> usize;

    /// Where it takes a batch, as it is called in the log.
    fn destination<'a>(&'a self, sealed: &'a Sealed) -> &'a str;
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
        channel: mpsc::Sender<Publication>,
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
    /// From the engine: the plan has changed. Told when that counts; where the sink is to be replaced, when nothing is on
    /// its way to it that it will still answer.
    Changed(oneshot::Sender<()>),
    /// From the engine: the sink has ended, and another one starts.
    Replaced,
}
