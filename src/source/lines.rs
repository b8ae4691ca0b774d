//! Lines of a pipe as payloads, for the sources that read one: a command's, and standard input.
//!
//! A line is read when the queue has room: who writes faster waits at the pipe. No more than
//! `queue.record_bytes_max` of a line are kept; of a longer one the head, in a dead letter. A line without a word
//! is none. Nobody can ask for a line again, so nobody waits for its acknowledgement.

use std::sync::Arc;

use super::records::{Message, Records, See};
use super::{Context, Entry};
use crate::clock::{self, Now};
use crate::codec::Payload;
use crate::codec::mapping::settings::Settings;
use crate::phase::{Phase, PhaseReceiver};
use crate::queue::Inlet;
use crate::record::{Arrival, Chunk, Record};
use crate::settlement::Token;
use crate::state::listening::Listening;

pub(super) use self::bounded::{Line, Lines, lines_of};

mod bounded;

/// Ids whose rows are remembered; the others are looked up each time.
const IDS_REMEMBERED_MAX: usize = 1024;

/// Lines that are read before they are offered.
const LINES_MAX: usize = 256;

/// Bytes of the buffer of a pipe.
const PIPE_BUFFER_BYTES: usize = 8 * 1024;

/// Bytes that an entry holds beside the queue, at most: two buffers of pipes, a line, and what is read and not
/// offered yet, each in a buffer that grows.
pub const fn bytes_max(record_bytes_max: usize) -> u64 {
    let line = 2 * record_bytes_max;
    let chunk = 4 * record_bytes_max + 2 * LINES_MAX * size_of::<Record>();
    (2 * PIPE_BUFFER_BYTES + line + chunk) as u64
}

/// Makes records of lines.
#[derive(Debug)]
pub(super) struct Reader {
    records: Records,
}

impl Reader {
    /// Of the entry `name`, whose lines are read so.
    pub(super) fn new(
        name: &str,
        payload: &Payload,
        settings: &Settings,
        context: &Context,
    ) -> Self {
        let mapping = payload.mapping(settings, &[]);
        Self { records: Records::new(name, payload, None, mapping, IDS_REMEMBERED_MAX, context) }
    }

    /// Makes records of a line; `see` is shown of what each is made. Whether it is one: a line without a word is none.
    pub(super) fn take(&mut self, line: &Line, now: Now, chunk: &mut Chunk, see: See<'_>) -> bool {
        if line.text.trim_ascii().is_empty() && line.cut.is_none() {
            return false;
        }
        self.records.context.metrics.messages.one();
        let message = Message {
            payload: &line.text,
            topic: b"",
            token: Token::NONE,
            arrival: Arrival::default(),
            properties: &[],
            repeated: false,
            taken: now,
        };
        let own = self.records.own();
        if let Some((bytes, sha256)) = &line.cut {
            let oversize = self.records.context.oversize(*bytes, sha256);
            self.records.refuse(&message, &own, &oversize, chunk);
        } else {
            self.records.take(&message, &own, (false, &[]), None, chunk, see);
        }
        true
    }
}

/// The records of lines, on their way to the queue.
#[derive(Debug)]
pub(super) struct Readings {
    inlet: Inlet,
    reader: Reader,
    context: Context,
    chunk: Chunk,
}

impl Readings {
    /// Whether the entry listens.
    pub(super) fn listening(&self) -> Arc<Listening> {
        Arc::clone(&self.context.listening)
    }

    /// Of this entry, whose lines are read so.
    pub(super) fn new(entry: &Entry<'_>, payload: &Payload, settings: &Settings) -> Self {
        Self {
            inlet: entry.queue.inlet(),
            reader: Reader::new(entry.name, payload, settings, &entry.context),
            context: entry.context.clone(),
            chunk: Chunk::default(),
        }
    }

    /// The lines of `from`, as much of each as is kept.
    pub(super) fn lines<R: tokio::io::AsyncRead + Unpin>(&self, from: R) -> Lines<R> {
        Lines::new(from, self.context.record_bytes_max)
    }

    /// Whether they must be offered before another line is taken.
    pub(super) fn are_many(&self) -> bool {
        self.chunk.records.len() >= LINES_MAX || self.chunk.bytes() >= self.context.record_bytes_max
    }

    /// Makes records of a line.
    pub(super) fn take(&mut self, line: &Line, now: Now) {
        self.reader.take(line, now, &mut self.chunk, None);
    }

    /// Offers what was read and waits for room. It is received when it has a place.
    pub(super) async fn offer(&mut self, phase: &mut PhaseReceiver) {
        let Context { metrics, listening, .. } = &self.context;
        // Nothing is read meanwhile.
        listening.end(clock::now().wall);
        while !self.chunk.records.is_empty() {
            tokio::select! {
                biased;
                taken = self.inlet.offer_piece(&mut self.chunk) => metrics.received.add(taken.into()),
                // Nobody takes them any more.
                () = phase.reached(Phase::Closing) => {
                    let left = self.chunk.records.len() as u64;
                    metrics.received.add(left);
                    metrics.abandoned.add(left);
                    self.chunk.clear();
                }
            }
        }
        listening.begin(clock::now().wall);
    }
}
