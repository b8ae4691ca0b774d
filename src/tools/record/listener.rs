//! The connection of a recorder: subscribes, writes what comes, and notes when it was away.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::file::Files;
use super::{Arguments, End, Error, LINE_BYTES_MAX, Recorded, line};
use crate::clock::{self, Now};
use crate::limits::READ_AHEAD_BYTES;
use crate::mqtt::options::BrokerUrl;
use crate::mqtt::publish::Publish;
use crate::mqtt::topic::Filter;
use crate::plan::Plan;
use crate::tools::listening::{Hears, Listener, Topics, client, ended};

/// How often progress is logged.
const PROGRESS_PAUSE: Duration = Duration::from_secs(5);

/// Writes what comes.
#[derive(Debug)]
pub(super) struct Recorder {
    files: Files,
    /// Why the disk took no more.
    failed: Option<io::Error>,
    line: Vec<u8>,
    /// Messages that are taken, and how many are wanted.
    taken: u64,
    count: Option<u64>,
    left_out: u64,
    /// Since when it does not listen any more.
    away_since: Option<Instant>,
    away: (u64, Duration),
    progress_due: Instant,
    end: End,
}

/// Records until its end.
pub(super) async fn record(
    plan: &Plan,
    arguments: &Arguments,
    started: Instant,
    stops: mpsc::Receiver<()>,
) -> Result<Recorder, Error> {
    let client = client("record", |name| plan.input_client(name)).ok_or(Error::Embedded)?;
    let filters = filters(plan, &arguments.topics)?;
    let bounds = (arguments.bytes_max, arguments.files);
    let files = Files::create(&arguments.out, bounds, arguments.force)?;
    tracing::info!(broker = %client.0.url, topics = ?filters, "recording starts");
    let recorder = Recorder {
        files,
        failed: None,
        line: Vec::new(),
        taken: 0,
        count: arguments.count,
        left_out: 0,
        away_since: None,
        away: (0, Duration::ZERO),
        progress_due: started + PROGRESS_PAUSE,
        end: End { stops, until: arguments.lasting.map(|it| started + it) },
    };
    let topics = Topics::new(filters, arguments.qos, false, started);
    let ended = Listener::new(client, LINE_BYTES_MAX + READ_AHEAD_BYTES, topics, recorder).listen();
    let recorder = ended.await.map_err(|(broker, error)| Error::Broker { broker, error })?;
    Ok(recorder.finished())
}

impl Recorder {
    fn finished(mut self) -> Self {
        let finished = self.files.finish();
        self.failed = self.failed.or(finished.err());
        self.returns(clock::now().instant);
        if self.left_out > 0 {
            let left_out = self.left_out;
            tracing::warn!(
                left_out,
                line_bytes_max = LINE_BYTES_MAX,
                "messages were too long for a line"
            );
        }
        self
    }

    pub(super) fn recorded(self, path: &Path, started: Instant) -> Recorded {
        let ((messages, bytes), (files, removed)) = (self.files.written(), self.files.kept());
        Recorded {
            path: path.to_owned(),
            messages,
            bytes,
            files,
            removed,
            left_out: self.left_out,
            away: self.away,
            took: clock::now().instant.saturating_duration_since(started),
            failed: self.failed.map(|it| it.to_string()),
        }
    }

    /// Notes that it listens again, or never will; returns how long it did not.
    fn returns(&mut self, now: Instant) -> Duration {
        let since = self.away_since.take();
        let away = since.map_or(Duration::ZERO, |it| now.saturating_duration_since(it));
        self.away.1 += away;
        away
    }

    fn tell(&mut self, now: Instant) {
        if now >= self.progress_due {
            let (messages, bytes) = self.files.written();
            tracing::info!(messages, bytes, left_out = self.left_out, "progress");
            self.progress_due = now + PROGRESS_PAUSE;
        }
    }
}

/// What to subscribe to: what was named or, without that, what the entries of the configuration do.
fn filters(plan: &Plan, named: &[Filter]) -> Result<Vec<String>, Error> {
    let entries = || plan.intakes().flat_map(|(_, it)| it.filters()).collect();
    let all: Vec<&Filter> = if named.is_empty() { entries() } else { named.iter().collect() };
    let mut texts: Vec<String> = Vec::new();
    for (at, filter) in all.iter().enumerate() {
        let text = filter.subscription(None);
        if texts.contains(&text) {
            continue;
        }
        if let Some(other) = all.iter().take(at).find(|it| it.overlaps(filter)) {
            tracing::warn!(%filter, %other, "the topics overlap: the broker may send a message of both twice");
        }
        texts.push(text);
    }
    if texts.is_empty() { Err(Error::NoTopic) } else { Ok(texts) }
}

impl Hears for Recorder {
    fn hears(&mut self, now: Now, _: &BrokerUrl, again: bool) {
        let seconds = self.returns(now.instant).as_secs_f64();
        if again {
            tracing::warn!(seconds, "recording goes on; what was published meanwhile is missing");
        } else {
            tracing::info!("listening");
        }
    }

    fn deaf(&mut self, now: Instant) {
        if self.away_since.is_none() {
            self.away.0 += 1;
            self.away_since = Some(now);
        }
    }

    fn take(&mut self, publish: &Publish<'_>, now: Now) {
        self.line.clear();
        if publish.cut.is_none() {
            line::write(&mut self.line, publish, now.wall);
        }
        if self.line.is_empty() || self.line.len() > LINE_BYTES_MAX {
            self.left_out += 1;
            return;
        }
        self.taken += 1;
        let pushed = self.files.push(&self.line);
        self.failed = self.failed.take().or(pushed.err());
    }

    fn tend(&mut self, now: Instant) {
        let flushed = self.files.flush();
        self.failed = self.failed.take().or(flushed.err());
        self.tell(now);
    }

    fn is_full(&self) -> bool {
        self.failed.is_some() || self.count.is_some_and(|count| self.taken >= count)
    }

    fn is_over(&mut self, now: Instant) -> bool {
        self.end.until.is_some_and(|until| now >= until)
    }

    fn due(&self, _: Instant) -> Option<Instant> {
        Some(self.end.until.map_or(self.progress_due, |until| until.min(self.progress_due)))
    }

    /// A stop, or the end of the time.
    async fn ended(&mut self) {
        let End { stops, until } = &mut self.end;
        ended(stops, *until).await;
    }
}
