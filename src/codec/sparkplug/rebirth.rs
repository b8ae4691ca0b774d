//! Asking nodes for their birth (Sparkplug 3.0 §6.4.22: NCMD with `Node Control/Rebirth`).
//!
//! A request is a PUBLISH with QoS 0: one that is lost is made again when the next message of the node cannot be read.
//! A node is asked at most once in a time, so that a fleet that comes back is not made to send its births twice; of
//! more nodes than are remembered none is asked.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use foldhash::fast::RandomState;

use super::topic::NAMESPACE;
use super::wire::Message;
use crate::clock::Timestamp;
use crate::codec::turn::{Line, Request};

/// Nodes that were asked and have not answered, at most. More are not asked until others were.
const ASKED_MAX: usize = 1024;

/// Requests that wait to be published, at most. More are made when the next message of their node comes.
const REQUESTS_MAX: usize = 64;

/// A node is asked again after this time, at the earliest, where nothing waits for births.
const AGAIN: Duration = Duration::from_secs(30);

/// The metric that asks.
pub const REBIRTH: &str = "Node Control/Rebirth";

/// The requests of an entry.
#[derive(Debug)]
pub(super) struct Requests {
    again: Duration,
    asked: HashMap<Line, Timestamp, RandomState>,
    due: VecDeque<Request>,
}

impl Requests {
    /// Those of an entry of which messages wait for so long.
    pub(super) fn new(wait: Duration) -> Self {
        let again = if wait.is_zero() { AGAIN } else { wait };
        Self { again, asked: HashMap::default(), due: VecDeque::new() }
    }

    /// Asks the node of this line, unless that was done a short time ago.
    pub(super) fn ask(&mut self, (group, node): (&str, &str), line: Line, now: Timestamp) {
        let line = line.whole();
        let again = u64::try_from(self.again.as_millis()).unwrap_or(u64::MAX);
        let is_recent = |at: &Timestamp| now.millis().abs_diff(at.millis()) < again;
        if self.asked.get(&line).is_some_and(is_recent) || self.due.len() >= REQUESTS_MAX {
            return;
        }
        if self.asked.len() >= ASKED_MAX {
            self.asked.retain(|_, at| is_recent(at));
            if self.asked.len() >= ASKED_MAX {
                return;
            }
        }
        self.asked.insert(line, now);
        let topic = format!("{NAMESPACE}/{group}/NCMD/{node}");
        self.due.push_back(Request { topic, payload: payload(now) });
    }

    /// The next request, which is then done with.
    pub(super) fn next(&mut self) -> Option<Request> {
        self.due.pop_front()
    }
}

/// A payload with the one metric.
fn payload(now: Timestamp) -> Vec<u8> {
    let (mut metric, mut payload) = (Message::default(), Message::default());
    metric.bytes(1, REBIRTH.as_bytes());
    // Its time, its type (Boolean), its value.
    for (field, value) in [(3, now.millis()), (4, 11), (14, 1)] {
        metric.number(field, value);
    }
    payload.number(1, now.millis());
    payload.bytes(2, metric.written());
    payload.written().to_vec()
}
