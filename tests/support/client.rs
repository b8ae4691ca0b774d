//! The world around the gateway: sensors that send numbered readings, a consumer that takes the
//! batches, and the audit that compares the two.

mod audit;
mod collector;
mod publisher;
mod session;

pub(crate) use audit::{Audit, Counter, Verdict};
pub(crate) use collector::{Collection, Collector};
pub(crate) use publisher::{Publisher, Report, Running, sensor_id};
pub(crate) use session::{Options, Session};
