//! Where records come from.
//!
//! The contract of a source: it offers records until it is told to drain; it waits where
//! `Inlet::offer` waits (and where it must not wait, it stops reading); it never drops a record it
//! has taken, but for QoS 0 by policy, counted; it acknowledges upstream only what has settled
//! safely.
//!
//! A new kind of source is one file here and one line in the list below; in the configuration it is
//! `[sensors.<name>.<kind>]`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::metrics::Metrics;
use crate::pace::Pace;
use crate::queue::OnFull;
use crate::registry::Registry;

macro_rules! kinds {
    ($($(#[$doc:meta])+ $module:ident => $kind:ident,)+) => {
        $(pub mod $module;)+

        /// A configured sensor, by kind.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case", rename = "kind of sensor")]
        pub enum Kind { $($(#[$doc])+ $kind($module::Settings),)+ }
    };
}

kinds! {
    /// Readings made up by this process.
    simulated => Simulated,
    /// A subscription at an MQTT broker.
    mqtt => Mqtt,
}

/// What every source is given.
#[derive(Debug, Clone)]
pub struct Context {
    /// The place of the configured entry.
    pub entry: u32,
    /// What the ids of all batches of this run begin with.
    pub run: Arc<str>,
    /// The sensors' rows.
    pub registry: Arc<Registry>,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// The pace of the runtime's thread.
    pub pace: Arc<Pace>,
    /// What happens to QoS 0 when the queue is full.
    pub on_full: OnFull,
    /// Topics and ids that one intake remembers.
    pub remembered_max: usize,
    /// Acknowledgements that one intake remembers, in case they were lost with a connection.
    pub acknowledgements_max: usize,
    /// Records that an intake makes before it offers them.
    pub chunk_records_max: usize,
    /// A payload above this is dead-lettered with its head.
    pub record_bytes_max: usize,
}
