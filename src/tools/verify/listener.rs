//! The connection of a verifier: subscribes, acknowledges, passes messages to the audit.
//!
//! With MQTT 5 the broker keeps the session while the connection is lost: messages published meanwhile arrive
//! afterwards. With 3.1.1 a session that nobody resumes would stay for ever, so none is kept. If the broker has
//! no session any more, the verifier has missed messages.

use std::time::{Duration, Instant};

use super::audit::Audit;
use super::progress::Progress;
use super::verdict::Hearing;
use super::{End, Error};
use crate::clock::{self, Now};
use crate::limits::READ_AHEAD_BYTES;
use crate::mqtt::options::{BrokerUrl, Version};
use crate::mqtt::outgoing::Hello;
use crate::mqtt::publish::Publish;
use crate::mqtt::topic::Filter;
use crate::plan::Plan;
use crate::tools::listening::{Hears, Listener, Topics, WINDOW_MESSAGES, client, ended};
use crate::tools::simulate::report::Report;

/// Session Expiry Interval, in seconds. A verifier that is killed leaves its session for that time.
const SESSION_SECONDS: u32 = 3600;

/// The smallest read buffer: batches of another gateway may be larger than this configuration's. A payload that
/// does not fit counts as unreadable.
const READ_BUFFER_BYTES_MIN: usize = 1024 * 1024;

/// Audits what comes.
#[derive(Debug)]
struct Verifier {
    /// For batches and for dead letters.
    filters: [Filter; 2],
    audit: Audit,
    hearing: Hearing,
    /// When the last message arrived.
    last: Option<Instant>,
    progress: Progress,
    end: End,
}

/// Listens to batches and dead letters until its end.
pub(super) async fn listen(
    plan: &Plan,
    filters: [Filter; 2],
    audit: Audit,
    end: End,
) -> Result<(Audit, Hearing), Error> {
    let client = client("verify", |name| plan.output_client(name)).ok_or(Error::Embedded)?;
    let batch = plan.batch.bytes_max.get() + plan.batch_overhead_bytes() + READ_AHEAD_BYTES;
    tracing::info!(broker = %client.0.url, seed = client.1, "verification starts");
    let now = clock::now().instant;
    let topics = filters.iter().map(|it| it.subscription(None)).collect();
    let topics = Topics::new(topics, 1, true, now);
    let (hearing, last, progress) = (Hearing::default(), None, Progress::new(now));
    let verifier = Verifier { filters, audit, hearing, last, progress, end };
    let ended = Listener::new(client, batch.max(READ_BUFFER_BYTES_MIN), topics, verifier).listen();
    let verifier = ended.await.map_err(|(broker, error)| Error::Broker { broker, error })?;
    Ok((verifier.audit, verifier.hearing))
}

impl Verifier {
    /// When the last message arrived, and how long silence may last; `None` before the first record.
    fn silence(&self) -> Option<(Instant, Duration)> {
        self.last.zip(self.end.idle).filter(|_| self.audit.records > 0)
    }

    /// Whether nothing has arrived for `--idle`. Silence does not count while the simulation of the awaited
    /// report still runs.
    fn is_idle(&mut self, now: Instant) -> bool {
        let Some((last, idle)) = self.silence() else { return false };
        if now < last + idle {
            return false;
        }
        let report = self.end.expect.as_deref().and_then(|path| Report::read(path).ok());
        if report.is_some_and(|report| report.ended.is_none()) {
            tracing::info!("nothing comes, but the simulation has not ended");
            self.last = Some(now);
            return false;
        }
        true
    }
}

impl Hears for Verifier {
    fn hello(&self, version: Version) -> Hello {
        let keeps = version == Version::V5;
        Hello {
            // The client id is new. Mosquitto 2.0 stores no session that began with a clean start, whatever its
            // expiry.
            clean_start: !keeps,
            session_expiry: keeps.then_some(SESSION_SECONDS),
            receive_max: Some(WINDOW_MESSAGES),
            ..Hello::default()
        }
    }

    /// A loss during which the broker kept the session was none.
    fn connected(&mut self, session_present: bool) {
        if self.hearing.losses == 0 {
            return;
        }
        if session_present {
            self.hearing.losses -= 1;
            tracing::info!("the broker kept our session: what was published meanwhile comes now");
        } else {
            tracing::warn!("deaf while the connection was lost: nothing can be called lost");
        }
    }

    fn hears(&mut self, now: Now, _: &BrokerUrl, _: bool) {
        self.hearing.since = self.hearing.since.or(Some(now.wall));
        // Silence counts only while we are connected.
        self.last = self.last.map(|_| now.instant);
        let [batches, letters] = &self.filters;
        tracing::info!(%batches, dead_letters = %letters, "listening");
    }

    fn deaf(&mut self, _: Instant) {
        self.hearing.losses += 1;
    }

    fn take(&mut self, publish: &Publish<'_>, now: Now) {
        self.last = Some(now.instant);
        let topic = String::from_utf8_lossy(publish.topic);
        // Dead letters first: "gateway/#" for batches matches them too.
        let [_, letters] = &self.filters;
        if letters.matches(&topic) {
            self.audit.take_letter(publish);
        } else {
            self.audit.take_batch(publish, now.wall);
        }
    }

    fn tend(&mut self, now: Instant) {
        self.progress.tell(now, &self.audit);
    }

    fn is_over(&mut self, now: Instant) -> bool {
        self.end.until.is_some_and(|until| now >= until) || self.is_idle(now)
    }

    fn due(&self, _: Instant) -> Option<Instant> {
        let idle = self.silence().map(|(last, idle)| last + idle);
        let due = [idle, self.end.until].into_iter().flatten();
        Some(due.fold(self.progress.due, Instant::min))
    }

    /// A stop, or the end of the time.
    async fn ended(&mut self) {
        ended(&mut self.end.stops, self.end.until).await;
    }
}
