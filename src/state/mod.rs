//! What a running gateway knows of itself: every number has one place, and this folder is all of them.
//!
//! - What is counted in total and only grows is a field of [`metrics`]; whoever does it counts it.
//! - What is counted for one sensor stands in its row ([`registry`], [`series`]). Entries are sums of rows, made when
//!   somebody asks.
//! - So do the head of its last value ([`head`]), its rate ([`rate`]) and why its last dead letter was one ([`last_letter`]).
//! - Whether a sensor keeps silent stands in its row, too ([`presence`], [`rhythm`]); that it does is found out once a
//!   second ([`liveness`]), while its entry listens ([`listening`]).
//! - How many readings of an entry wait for their turn: [`waiting`].
//! - What rises and falls in the engine is a gauge ([`gauges`]); the worker alone writes it, after each event.
//! - How a connection stands is written by the task that serves it ([`standing`]).
//! - When certificates expire is looked up beside the connections, and put up ([`certificates`]).
//! - Why readings became dead letters of late: [`tally`]. The last ones themselves, the last warnings of the log, and which
//!   sensors have changed are lists with bounds ([`recent`]: [`letters`], [`said`], [`changed`]).
//! - What follows from the others is kept nowhere: the balance ([`books`]) is drawn up when it is asked for.
//! - Health is judged once a second from all of these ([`monitor`], [`crowd`], [`share`]), and put up for whoever asks
//!   ([`board`]).
//!
//! Nothing here asks the edges or the engine for anything. `ops/` only reads it.

pub mod board;
pub mod books;
pub mod certificates;
pub mod changed;
pub mod crowd;
pub mod gauges;
pub mod head;
pub mod last_letter;
pub mod letters;
pub mod listening;
pub mod liveness;
#[warn(missing_docs)]
pub mod metrics;
pub mod monitor;
pub mod presence;
pub mod rate;
pub mod recent;
pub mod registry;
pub mod rhythm;
pub mod said;
pub mod series;
pub mod share;
pub mod standing;
pub mod tally;
pub mod waiting;
