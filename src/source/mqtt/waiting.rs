//! Messages that cannot be read before another one has come, in lines ([`crate::codec::turn`]).
//!
//! - A message waits for a time at most, and all of them have a bound of bytes; beyond it the oldest waits no longer.
//! - What waits no longer is *due*. All that is due is read before the next packet is, each line in its order.
//! - A message with QoS 1 waits in the ledger, too: it is acknowledged when what was made of it has settled. One that
//!   still waits when the gateway stops is left to the broker; one with QoS 0 is read as it is.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

use crate::clock::Now;
use crate::codec::turn::{Line, Turn, Waits};
use crate::mqtt::publish::Publish;
use crate::settlement::Token;

/// Bytes that a message needs beside its texts, at most: in a line of its own, which has room for four, in the list of
/// what is due, in the order of all, and in the ledger. Lists and maps grow to twice what they hold.
const OVERHEAD_BYTES: usize = 6 * size_of::<Held>()
    + 3 * size_of::<(Line, VecDeque<Held>)>()
    + 4 * size_of::<Position>()
    + 128;

type Lines = HashMap<Line, VecDeque<Held>, RandomState>;

/// The messages of an entry that wait.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    wait: Duration,
    bytes_max: usize,
    lines: Lines,
    /// Those that wait in lines, the oldest first. Some are due by now.
    order: VecDeque<Position>,
    due: VecDeque<Held>,
    /// In lines, and due.
    count: usize,
    bytes: usize,
    /// Where the message that is looked at waits.
    place: Option<Place>,
}

/// Where a message waits, until when, and what it was entered under.
#[derive(Debug, Clone, Copy)]
struct Position {
    until: Instant,
    line: Line,
    token: Token,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    /// In its line.
    Line(Line, Need),
    /// Behind all that is due.
    Due,
}

/// Why a message waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// It needs another one.
    Another,
    /// It can be read, and one before it waits.
    Order,
}

/// A message, copied out of the read buffer.
#[derive(Debug)]
pub(super) struct Held {
    topic: Box<[u8]>,
    payload: Box<[u8]>,
    properties: Box<[u8]>,
    qos: u8,
    dup: bool,
    retain: bool,
    pub(super) token: Token,
    pub(super) taken: Now,
    /// It waited at the broker before.
    pub(super) waited: bool,
    until: Instant,
    need: Need,
}

impl Held {
    /// As it came.
    pub(super) fn publish(&self) -> Publish<'_> {
        Publish {
            dup: self.dup,
            qos: self.qos,
            retain: self.retain,
            topic: &self.topic,
            packet_id: 0,
            properties: &self.properties,
            payload: &self.payload,
            cut: None,
        }
    }

    fn bytes(&self) -> usize {
        OVERHEAD_BYTES + self.topic.len() + self.payload.len() + self.properties.len()
    }
}

impl Waiting {
    /// Messages wait so.
    pub(super) fn new(Waits { time, bytes_max, .. }: Waits) -> Self {
        Self { wait: time, bytes_max, ..Self::default() }
    }

    /// Whether a message may be read now. One that may not is to be put here next.
    pub(super) fn may_read(&mut self, turn: Turn) -> bool {
        self.place = match turn {
            Turn::Now => None,
            Turn::Behind(line) if !self.lines.contains_key(&line) => None,
            Turn::Behind(line) => Some(Place::Line(line, Need::Order)),
            Turn::Waits(line) => Some(Place::Line(line, Need::Another)),
            Turn::Ends(line) => {
                self.end(line);
                (!self.due.is_empty()).then_some(Place::Due)
            }
        };
        self.place.is_none()
    }

    /// Keeps the message that may not be read now.
    pub(super) fn put(&mut self, publish: &Publish<'_>, token: Token, (now, waited): (Now, bool)) {
        let Some(place) = self.place.take() else { return };
        let until = now.instant + self.wait;
        let need = if let Place::Line(_, need) = place { need } else { Need::Order };
        let held = Held {
            topic: publish.topic.into(),
            payload: publish.payload.into(),
            properties: publish.properties.into(),
            qos: publish.qos,
            dup: publish.dup,
            retain: publish.retain,
            token,
            taken: now,
            waited,
            until,
            need,
        };
        self.bytes += held.bytes();
        self.count += 1;
        match place {
            Place::Due => self.due.push_back(held),
            Place::Line(line, _) => {
                self.lines.entry(line).or_default().push_back(held);
                self.order.push_back(Position { until, line, token });
            }
        }
        let mut excess = self.bytes.saturating_sub(self.bytes_max);
        while excess > 0
            && let Some(bytes) = self.hurry()
        {
            excess = excess.saturating_sub(bytes);
        }
        // Places of messages that are due are left in the order: no more than there are others.
        if self.order.len() > 2 * self.count + 64 {
            let lines = &self.lines;
            self.order.retain(|it| is_in(lines, it));
        }
    }

    /// Until when the oldest waits.
    pub(super) fn until(&self) -> Option<Instant> {
        self.order.front().map(|it| it.until)
    }

    /// Those that have waited long enough are due.
    pub(super) fn expire(&mut self, now: Instant) {
        while self.until().is_some_and(|until| until <= now) {
            self.hurry();
        }
    }

    /// Whether the message waits that was entered under this ordinal.
    pub(super) fn has(&self, ordinal: u64) -> bool {
        let is_it = |it: &&Position| !it.token.is_none() && it.token.ordinal == ordinal;
        self.order.iter().find(is_it).is_some_and(|it| is_in(&self.lines, it))
    }

    /// None waits any longer.
    pub(super) fn release(&mut self) {
        while self.hurry().is_some() {}
    }

    /// The oldest waits no longer. How many bytes are due by that; `None`: none waits.
    fn hurry(&mut self) -> Option<usize> {
        let Position { until, line, .. } = self.order.pop_front()?;
        let Some(all) = self.lines.get_mut(&line) else { return Some(0) };
        let mut bytes = 0;
        // Those behind it that needed nothing but their place go with it.
        while let Some(held) = all.pop_front_if(|it| it.until <= until || it.need == Need::Order) {
            bytes += held.bytes();
            self.due.push_back(held);
        }
        if all.is_empty() {
            self.lines.remove(&line);
        }
        Some(bytes)
    }

    /// All of a line are due.
    fn end(&mut self, line: Line) {
        if self.lines.is_empty() {
            return;
        }
        let due = &mut self.due;
        self.lines.retain(|it, all| {
            let meets = it.meets(line);
            if meets {
                due.extend(all.drain(..));
            }
            !meets
        });
        if self.lines.is_empty() {
            self.order.clear();
        }
    }

    /// The next one that is due.
    pub(super) fn next(&mut self) -> Option<Held> {
        let held = self.due.pop_front()?;
        self.bytes -= held.bytes();
        self.count -= 1;
        Some(held)
    }

    /// All that have no packet id are due; those that have one are left to the broker. Returns what these were entered
    /// under.
    pub(super) fn end_all(&mut self) -> Vec<Token> {
        self.release();
        let all = std::mem::take(&mut self.due);
        let (left, due) = all.into_iter().partition(|it: &Held| !it.token.is_none());
        self.due = due;
        self.count = self.due.len();
        self.bytes = self.due.iter().map(Held::bytes).sum();
        let left: VecDeque<Held> = left;
        left.iter().map(|it| it.token).collect()
    }

    /// Forgets all; returns how many there were.
    pub(super) fn clear(&mut self) -> usize {
        (self.due, self.bytes) = (VecDeque::new(), 0);
        self.lines.clear();
        self.order.clear();
        std::mem::take(&mut self.count)
    }
}

/// Whether the message of this position is in its line, and not due by now.
fn is_in(lines: &Lines, position: &Position) -> bool {
    let first = lines.get(&position.line).and_then(VecDeque::front);
    first.is_some_and(|first| first.until <= position.until)
}

#[cfg(test)]
mod tests;
