//! The connection of a recorder: subscribes, writes what comes, and notes when it was away.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::mpsc;

use super::file::Files;
use super::{Arguments, End, Error, LINE_BYTES_MAX, Recorded, line};
use crate::clock::{self, Now, Timestamp};
use crate::limits::{READ_AHEAD_BYTES, WRITE_BUFFER_BYTES_MAX};
use crate::mqtt;
use crate::mqtt::attempt::{Attempt, Failed};
use crate::mqtt::client::{self, Client, Step};
use crate::mqtt::connection::Connection;
use crate::mqtt::frame::{Inbound, Incoming};
use crate::mqtt::options::BrokerUrl;
use crate::mqtt::outbound::Outbound;
use crate::mqtt::outgoing::Hello;
use crate::mqtt::packet::{Greeting, Packet};
use crate::mqtt::publish::Publish;
use crate::mqtt::session::Session;
use crate::mqtt::topic::Filter;
use crate::plan::Plan;
use crate::tools::listening::{Topics, ended};

/// Receive Maximum.
const WINDOW_MESSAGES: u16 = 1000;

/// How often progress is logged.
const PROGRESS_PAUSE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Listener {
    session: Session,
    topics: Topics,
    files: Files,
    /// Why the disk took no more.
    failed: Option<io::Error>,
    line: Vec<u8>,
    /// Messages that are taken, and how many are wanted.
    taken: u64,
    count: Option<u64>,
    left_out: u64,
    /// It has listened to all topics.
    has_heard: bool,
    /// Since when it does not listen any more.
    away_since: Option<Instant>,
    away: (u64, Duration),
    progress_due: Instant,
    end: End,
    is_stopped: bool,
}

impl Listener {
    pub(super) fn new(
        plan: &Plan,
        arguments: &Arguments,
        started: Instant,
        stops: mpsc::Receiver<()>,
    ) -> Result<Self, Error> {
        let seed = clock::now().wall.millis() ^ u64::from(std::process::id()) << 40;
        let suffix: u32 = SmallRng::seed_from_u64(seed).random();
        let client = plan.input_client(&format!("record-{suffix:08x}"));
        if client.url == BrokerUrl::Embedded {
            return Err(Error::Embedded);
        }
        let filters = filters(plan, &arguments.topics)?;
        let bounds = (arguments.bytes_max, arguments.files);
        let files = Files::create(&arguments.out, bounds, arguments.force)?;
        let session = Session::new(client, LINE_BYTES_MAX + READ_AHEAD_BYTES, seed);
        tracing::info!(broker = %session.options().url, topics = ?filters, "recording starts");
        Ok(Self {
            session,
            topics: Topics::new(filters, arguments.qos, false, started),
            files,
            failed: None,
            line: Vec::new(),
            taken: 0,
            count: arguments.count,
            left_out: 0,
            has_heard: false,
            away_since: None,
            away: (0, Duration::ZERO),
            progress_due: started + PROGRESS_PAUSE,
            end: End { stops, until: arguments.lasting.map(|it| started + it) },
            is_stopped: false,
        })
    }

    /// Records until its end.
    pub(super) async fn record(mut self) -> Result<Self, Error> {
        if let Err(error) = client::run(&mut self).await {
            return Err(Error::Broker { broker: self.session.options().url.to_string(), error });
        }
        let finished = self.files.finish();
        self.failed = self.failed.or(finished.err());
        self.listens(clock::now().instant);
        if self.left_out > 0 {
            let left_out = self.left_out;
            tracing::warn!(
                left_out,
                line_bytes_max = LINE_BYTES_MAX,
                "messages were too long for a line"
            );
        }
        Ok(self)
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

    fn take(
        &mut self,
        now: Now,
        inbound: &mut Inbound,
        out: &mut Outbound,
    ) -> Result<(), mqtt::Error> {
        let version = self.session.options().version;
        while !self.is_over(now.instant)
            && let Some(incoming) = inbound.packet()?
        {
            match incoming {
                Incoming::Publish(publish) => {
                    self.write(&publish, now.wall, out);
                }
                Incoming::Other(bytes) => {
                    let packet = Connection::read(version, bytes)?;
                    self.control(now.instant, packet, out)?;
                }
            }
        }
        let flushed = self.files.flush();
        self.failed = self.failed.take().or(flushed.err());
        Ok(())
    }

    fn write(&mut self, publish: &Publish<'_>, received: Timestamp, out: &mut Outbound) {
        self.session.proved();
        if publish.qos > 0 {
            out.puback(publish.packet_id);
        }
        self.line.clear();
        if publish.cut.is_none() {
            line::write(&mut self.line, publish, received);
        }
        if self.line.is_empty() || self.line.len() > LINE_BYTES_MAX {
            self.left_out += 1;
            return;
        }
        self.taken += 1;
        let pushed = self.files.push(&self.line);
        self.failed = self.failed.take().or(pushed.err());
    }

    fn control(
        &mut self,
        now: Instant,
        packet: Packet,
        out: &mut Outbound,
    ) -> Result<(), mqtt::Error> {
        if !self.topics.answered(packet, out)? {
            return Ok(());
        }
        let seconds = self.listens(now).as_secs_f64();
        if std::mem::replace(&mut self.has_heard, true) {
            tracing::warn!(seconds, "recording goes on; what was published meanwhile is missing");
        } else {
            tracing::info!("listening");
        }
        Ok(())
    }

    /// Notes that it listens again, or never will; returns how long it did not.
    fn listens(&mut self, now: Instant) -> Duration {
        let since = self.away_since.take();
        let away = since.map_or(Duration::ZERO, |it| now.saturating_duration_since(it));
        self.away.1 += away;
        away
    }

    /// Returns the pause before the next attempt. A refusal ends a recorder that has heard nothing yet.
    fn handle_lost(&mut self, now: Instant, error: mqtt::Error) -> Result<Duration, mqtt::Error> {
        if error.is_permanent() && !self.has_heard {
            return Err(error);
        }
        if self.has_heard && self.away_since.is_none() {
            self.away.0 += 1;
            self.away_since = Some(now);
        }
        Ok(self.session.lost(now, &error))
    }

    fn is_over(&self, now: Instant) -> bool {
        self.is_stopped
            || self.failed.is_some()
            || self.count.is_some_and(|count| self.taken >= count)
            || self.end.until.is_some_and(|until| now >= until)
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

impl Client for Listener {
    fn is_wanted(&mut self) -> bool {
        !self.is_over(clock::now().instant)
    }

    fn attempt(&mut self) -> Attempt {
        self.session.attempt(Hello {
            clean_start: true,
            session_expiry: None,
            receive_max: Some(WINDOW_MESSAGES),
            packet_bytes_max: None,
            will: None,
        })
    }

    fn handle_failed(&mut self, now: Now, failed: Failed) -> Result<Duration, mqtt::Error> {
        match self.session.handle_failed(now.instant, failed) {
            Err(error) => self.handle_lost(now.instant, error),
            pause => pause,
        }
    }

    fn handle_connected(
        &mut self,
        now: Now,
        greeting: Greeting,
        out: &mut Outbound,
    ) -> Result<(), mqtt::Error> {
        self.session.handle_connected(now.instant, &greeting);
        self.topics.connected(now.instant, out)
    }

    fn advance(
        &mut self,
        now: Now,
        inbound: &mut Inbound,
        out: &mut Outbound,
    ) -> Result<Step, mqtt::Error> {
        self.take(now, inbound, out)?;
        let now = now.instant;
        let subscribed_by = self.topics.due(now)?;
        self.tell(now);
        if self.is_over(now) {
            return Ok(Step::CloseForGood);
        }
        let due = [subscribed_by, self.end.until].into_iter().flatten();
        let until = Some(due.fold(self.progress_due, Instant::min));
        Ok(Step::Wait { reads: out.backlog() < WRITE_BUFFER_BYTES_MAX, until })
    }

    fn handle_disconnected(
        &mut self,
        now: Now,
        ended: Result<(), mqtt::Error>,
    ) -> Result<Option<Duration>, mqtt::Error> {
        ended.err().map(|error| self.handle_lost(now.instant, error)).transpose()
    }

    /// A stop, or the end of the time.
    async fn woken(&mut self) {
        let End { stops, until } = &mut self.end;
        ended(stops, *until).await;
        self.is_stopped = true;
    }
}
