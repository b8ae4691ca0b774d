//! Subscriptions at an MQTT broker: an entry is one sensor, or a wildcard fleet. A session, with a connection
//! of its own, carries the subscriptions of one entry or of several ([`Intake`]).
//!
//! - The session is persistent (`clean_start = false`, a stable client id), so what is not
//!   acknowledged comes again after a cut or a restart.
//! - It subscribes at each connect, or where that has a price, when it must (`subscription`).
//! - While the gateway drains it takes nothing new, but comes back after a cut for as long as there is
//!   something to acknowledge (`drain`).
//! - What this run has published itself is not taken (`own`).
//! - QoS 2 is granted as 1: a persistent session that is cut between PUBREC and PUBREL can wedge,
//!   and at-least-once is what a batch can promise anyway.

pub use self::availability::Online;
pub(super) use self::entry::start;
pub use self::entry::{Bounds, Broker, Joined};
pub use self::intake::Intake;
pub use self::settings::{OnExpiry, Qos, Retained, Settings};
pub use self::topics::{Filters, TOPICS_MAX};
pub use self::user_properties::Properties;

mod availability;
mod backlog;
pub mod desk;
mod drain;
mod entry;
#[cfg(test)]
mod fuzz;
mod intake;
mod members;
mod own;
mod reader;
mod settings;
mod subscription;
mod topics;
pub mod trial;
mod user_properties;
mod waiting;
