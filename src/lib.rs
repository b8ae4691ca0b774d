//! Sluicegate: an MQTT ingestion gateway that can prove it lost nothing.
//!
//! ```text
//!  sensors                     one bound, held until settled                     output topic
//! ┌──────────────┐  offer  ┌─────────┐  next  ┌─────────── worker (one sync thread) ──────────┐
//! │ simulated × n│────────►│  queue  │───────►│ batcher ──seal──► publisher ──► window ──► sink│──► broker
//! │ mqtt intake  │         │(records │        │                      ▲                    │   │
//! └──────▲───────┘         │ + bytes)│        │                      └─ again after a cut  │   │
//!        │                 └────▲────┘        └────────────────────────────────────────────│──┘
//!        └──── acknowledge ─────┴──────────────────── settle(outcome) ◄───── PUBACK ────────┘
//! ```
//!
//! # Reading it
//!
//! Follow one reading: [`source`] takes it from a connection (or makes it up) and offers it to the
//! [`queue`]; [`pipeline::worker`] takes it, writes it into the open batch ([`codec`], [`batch`])
//! and seals: a value that knows no protocol ([`sealed`]). [`pipeline::publisher`] keeps it in the
//! [`window`] and gives it to the [`sink`], which makes a message of it. The broker's PUBACK comes back
//! as an event of the same worker, which settles the batch's receipts ([`settlement`],
//! [`pipeline::books`]): the queue gets its places back, the books their entries, and the source learns
//! what it may acknowledge.
//!
//! # Promises, and what keeps them
//!
//! 1. *At least once.* A PUBACK to a sensor's broker is written by one function
//!    ([`mqtt::ledger::Ledger::acknowledge`]), for records that settled as delivered, spooled or
//!    dead-lettered. Receipts that are dropped settle as abandoned.
//! 2. *Bounded memory.* Every part has a bound with a name; their sum is computed
//!    ([`plan::Plan::budget`]), printed at start and checked against
//!    `gateway.memory_max`.
//! 3. *Order per sensor.* One queue, one worker, one window, published again in order.
//! 4. *The books close*: `received = delivered + dead-lettered + shed + held`, checked at exit.
//! 5. *Fast.* Per record there is no allocation, lock, channel or system call; see [`pace`] for
//!    what matters more than that.
//!
//! # Absent, and to stay so
//!
//! No unbounded channel. No lock held across an await. No waiting in a task that polls a
//! connection. No import from a higher floor, or from the same one:
//!
//! | floor | | modules |
//! | --- | --- | --- |
//! | 9 | shell | `main` `cli` `commands` `gateway` `settings` `telemetry` `signals` `exit` |
//! | 8 | operations | `ops` `tools` |
//! | 7 | engine | `pipeline` |
//! | 6 | assembly | `assembly` |
//! | 5 | plan | `plan` |
//! | 4 | edges | `source` `sink` `watch` `broker` |
//! | 3 | batch | `sealed` |
//! | 2 | parts | `codec` `queue` `batch` `window` `spool` `registry` `mqtt` |
//! | 1 | values | `record` `pace` `repeat` `series` |
//! | 0 | ground | `settlement` `limits` `clock` `backoff` `phase` `metrics` `units` `text` `standing` `unusable` `tasks` |

pub mod cli;
pub mod commands;
pub mod exit;
pub mod gateway;
pub mod settings;
pub mod signals;
pub mod telemetry;

pub mod ops;
pub mod tools;

pub mod pipeline;

pub mod assembly;
pub mod plan;

#[cfg(feature = "embedded-broker")]
pub mod broker;
pub mod sink;
pub mod source;
pub mod watch;

pub mod sealed;

pub mod batch;
pub mod codec;
pub mod mqtt;
pub mod queue;
pub mod registry;
pub mod spool;
pub mod window;

pub mod pace;
pub mod record;
pub mod repeat;
pub mod series;

#[cfg(test)]
mod fuzz;

pub mod backoff;
pub mod clock;
pub mod limits;
pub mod metrics;
pub mod phase;
pub mod settlement;
pub mod standing;
pub mod tasks;
pub mod text;
pub mod units;
pub mod unusable;
