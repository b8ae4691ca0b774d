//! Lines of a pipe as payloads, for the sources that read one: a command's, and standard input.
//!
//! A line is read when the queue has room: who writes faster waits at the pipe. No more than
//! `queue.record_bytes_max` of a line are kept; of a longer one the head, in a dead letter. A line without a word
//! is none. Nobody can ask for a line again, so nobody waits for its acknowledgement.
//!
//! A source has its thread with others. So a program (`transform`) that works as long as many lines do ends its turn, as
//! these do, also where it makes no reading of them.

use std::future::pending;
use std::sync::Arc;

use tokio::task::yield_now;
use tokio::time::sleep_until;

use super::message::Message;
use super::records::{Records, See};
use super::{Context, Entry};
use crate::clock::{self, Now};
use crate::codec::Payload;
use crate::codec::mapping::settings::Settings;
use crate::phase::{Phase, PhaseReceiver};
use crate::policies::Settings as Policies;
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

    /// With these policies about which readings are left out.
    fn with(self, policies: &Policies) -> Self {
        Self { records: self.records.with(policies) }
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
    /// What programs have done since readings were offered, in records that take as long.
    work: usize,
}

impl Readings {
    /// Whether the entry listens.
    pub(super) fn listening(&self) -> Arc<Listening> {
        Arc::clone(&self.context.listening)
    }

    /// Of this entry, whose lines are read so, and left out so.
    pub(super) fn new(
        entry: &Entry<'_>,
        payload: &Payload,
        settings: &Settings,
        policies: &Policies,
    ) -> Self {
        let reader = Reader::new(entry.name, payload, settings, &entry.context);
        Self {
            inlet: entry.queue.inlet(),
            reader: reader.with(policies),
            context: entry.context.clone(),
            chunk: Chunk::default(),
            work: 0,
        }
    }

    /// The lines of `from`, as much of each as is kept.
    pub(super) fn lines<R: tokio::io::AsyncRead + Unpin>(&self, from: R) -> Lines<R> {
        Lines::new(from, self.context.record_bytes_max)
    }

    /// Whether they must be offered before another line is taken: they are many, or took as long as many.
    pub(super) fn are_many(&self) -> bool {
        self.chunk.records.len() + self.work >= LINES_MAX
            || self.chunk.bytes() >= self.context.record_bytes_max
    }

    /// Waits until a reading that waits has its turn; for ever where none does.
    pub(super) async fn turn(&mut self) {
        match self.reader.records.policed().and_then(|it| it.until()) {
            Some(until) => sleep_until(until.into()).await,
            None => pending().await,
        }
    }

    /// Takes the readings that have their turn by now.
    pub(super) fn take_due(&mut self, now: Now) {
        let Some(policed) = self.reader.records.policed() else { return };
        policed.expire(now.instant);
        while policed.take_due(&mut self.chunk) {}
    }

    /// Makes records of a line.
    pub(super) fn take(&mut self, line: &Line, now: Now) {
        self.take_due(now);
        self.reader.take(line, now, &mut self.chunk, None);
        self.work += self.reader.records.work();
    }

    /// Offers what was read, and what waits for its turn: no more comes.
    pub(super) async fn offer_all(&mut self, phase: &mut PhaseReceiver) {
        if let Some(policed) = self.reader.records.policed() {
            policed.release(clock::now().instant);
            while policed.take_due(&mut self.chunk) {}
        }
        self.offer(phase).await;
    }

    /// Offers what was read and waits for room. It is received when it has a place. After a program has worked others have
    /// their turn, even where there is room at once.
    pub(super) async fn offer(&mut self, phase: &mut PhaseReceiver) {
        let Context { metrics, listening, registry, entry, .. } = &self.context;
        // Nothing is read meanwhile.
        listening.end(clock::now().wall);
        while !self.chunk.records.is_empty() {
            tokio::select! {
                biased;
                taken = self.inlet.offer_piece(&mut self.chunk) => metrics.received.add(taken.into()),
                // Nobody takes them any more.
                () = phase.reached(Phase::Closing) => {
                    let left = self.chunk.records.len() as u64;
                    if phase.is_survived() {
                        let sensors = self.chunk.records.iter().map(|it| it.sensor);
                        registry.take_back(sensors);
                        tracing::warn!(
                            entry = registry.entry_name(*entry).unwrap_or_default(),
                            readings = left,
                            "a full queue had no room for lines of the command: they are lost"
                        );
                    } else {
                        metrics.received.add(left);
                        metrics.abandoned.add(left);
                    }
                    self.chunk.clear();
                }
            }
        }
        listening.begin(clock::now().wall);
        if std::mem::take(&mut self.work) > 0 {
            yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context as Polling, Poll, Waker};

    use super::*;
    use crate::phase;
    use crate::queue::{OnFull, Queue, Settings as Places};
    use crate::state::registry::Registry;

    fn readings(transform: &str) -> Readings {
        let context = Context {
            entry: 0,
            run: "gw-1".into(),
            registry: Arc::new(Registry::new(9, [("piped", None)])),
            metrics: Arc::default(),
            pace: Arc::default(),
            on_full: OnFull::Wait,
            record_bytes_max: 1024,
            readings_max: 9,
            folder: None,
            listening: Arc::default(),
        };
        let transform = Some(transform.to_owned().try_into().unwrap());
        let settings = Settings { transform, ..Settings::default() };
        Readings {
            inlet: Queue::new(Places::default()).inlet(),
            reader: Reader::new("piped", &Payload::default(), &settings, &context),
            context,
            chunk: Chunk::default(),
            work: 0,
        }
    }

    /// How many lines are taken in one turn, and how often others have theirs when these are offered.
    fn turn(readings: &mut Readings) -> (usize, usize) {
        let line = Line { text: b"1".to_vec(), cut: None };
        let mut lines = 0;
        while !readings.are_many() && lines < LINES_MAX {
            readings.take(&line, clock::now());
            lines += 1;
        }
        let (_lead, mut phase) = phase::start();
        let mut offered = pin!(readings.offer(&mut phase));
        let mut polls = || offered.as_mut().poll(&mut Polling::from_waker(Waker::noop()));
        let turns = std::iter::from_fn(|| (polls() == Poll::Pending).then_some(())).count();
        (lines, turns)
    }

    #[test]
    fn a_program_that_works_long_gives_others_their_turn_after_each_line() {
        let mut slow = readings("lists.range(999).all(it, it >= 0) ? [] : [msg]");
        assert_eq!([turn(&mut slow), turn(&mut slow)], [(1, 1); 2]);
        let mut quick = readings("{'value': msg}");
        let (lines, turns) = turn(&mut quick);
        assert!((9..LINES_MAX).contains(&lines) && turns == 1, "{lines} lines, {turns} turns");
    }
}
