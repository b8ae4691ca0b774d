//! Sluicegate: an MQTT ingestion gateway that can prove it lost nothing.
//!
//! [`batch`]: crate::batch
//! [`codec`]: crate::codec
//! [`mqtt::ledger`]: crate::mqtt::ledger
//! [`pace`]: crate::pace
//! [`pipeline::dead_letters`]: crate::pipeline::dead_letters
//! [`pipeline::publisher`]: crate::pipeline::publisher
//! [`pipeline::spooler`]: crate::pipeline::spooler
//! [`pipeline::worker`]: crate::pipeline::worker
//! [`plan`]: crate::plan
//! [`queue`]: crate::queue
//! [`sealed`]: crate::sealed
//! [`settlement`]: crate::settlement
//! [`sink`]: crate::sink
//! [`source`]: crate::source
//! [`spool`]: crate::spool
//! [`state::books`]: crate::state::books
//! [`window`]: crate::window
//!
#![cfg_attr(doc, doc = include_str!("../ARCHITECTURE.md"))]
// The text is the page that a reader of the repository finds. Of two definitions of a link the first holds: here
// those above lead to the modules, on the page its own lead to the files. A build needs no page.

// `missing_docs` stands at what others build on: the two ports, the values that cross them, and what the manual is
// made of. Elsewhere a comment stands where it says more than the name.
pub mod cli;
pub mod commands;
pub mod exit;
pub mod gateway;
pub mod manual;
pub mod reload;
pub mod settings;
pub mod signals;
pub mod telemetry;

pub mod ops;
pub mod tools;

pub mod pipeline;

pub mod assembly;
#[warn(missing_docs)]
pub mod plan;

#[cfg(feature = "embedded-broker")]
pub mod broker;
pub mod notices;
#[warn(missing_docs)]
pub mod sink;
#[warn(missing_docs)]
pub mod source;
pub mod watch;

pub mod sealed;
pub mod state;

pub mod batch;
#[warn(missing_docs)]
pub mod codec;
pub mod mirror;
pub mod mqtt;
#[warn(missing_docs)]
pub mod queue;
pub mod spool;
pub mod window;

pub mod pace;
pub mod policies;
#[warn(missing_docs)]
pub mod record;
pub mod repeat;

#[cfg(test)]
mod fuzz;

pub mod backoff;
pub mod clock;
pub mod limits;
pub mod phase;
#[warn(missing_docs)]
pub mod settlement;
pub mod tasks;
pub mod text;
#[warn(missing_docs)]
pub mod units;
pub mod unusable;
pub mod word;
