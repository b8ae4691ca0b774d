//! The connection of a verifier: subscribes, acknowledges, passes messages to the audit.
//!
//! With MQTT 5 the broker keeps the session while the connection is lost: messages published meanwhile arrive
//! afterwards. With 3.1.1 a session that nobody resumes would stay for ever, so none is kept. If the broker has
//! no session any more, the verifier has missed messages.

use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::audit::Audit;
use super::progress::Progress;
use super::verdict::Hearing;
use super::{End, Error};
use crate::clock::{self, Now};
use crate::limits::{READ_AHEAD_BYTES, WRITE_BUFFER_BYTES_MAX};
use crate::mqtt;
use crate::mqtt::attempt::{Attempt, Failed};
use crate::mqtt::client::{self, Client, Step};
use crate::mqtt::connection::Connection;
use crate::mqtt::frame::{Inbound, Incoming};
use crate::mqtt::options::{BrokerUrl, Version};
use crate::mqtt::outbound::Outbound;
use crate::mqtt::outgoing::Hello;
use crate::mqtt::packet::{Greeting, Packet};
use crate::mqtt::session::Session;
use crate::mqtt::topic::Filter;
use crate::plan::Plan;
use crate::tools::listening::{Topics, ended};
use crate::tools::simulate::report::Report;

/// Receive Maximum.
const WINDOW_MESSAGES: u16 = 1000;

/// Session Expiry Interval, in seconds. A verifier that is killed leaves its session for that time.
const SESSION_SECONDS: u32 = 3600;

/// The smallest read buffer: batches of another gateway may be larger than this configuration's. A payload that
/// does not fit counts as unreadable.
const READ_BUFFER_BYTES_MIN: usize = 1024 * 1024;

#[derive(Debug)]
pub(super) struct Listener {
    session: Session,
    /// For batches and for dead letters.
    filters: [Filter; 2],
    topics: Topics,
    audit: Audit,
    hearing: Hearing,
    /// When the last message arrived.
    last: Option<Instant>,
    progress: Progress,
    end: End,
    is_stopped: bool,
}

impl Listener {
    /// A listener to batches and dead letters.
    pub(super) fn new(
        plan: &Plan,
        filters: [Filter; 2],
        audit: Audit,
        end: End,
    ) -> Result<Self, Error> {
        let now = clock::now();
        let seed = now.wall.millis() ^ u64::from(std::process::id()) << 40;
        let suffix: u32 = SmallRng::seed_from_u64(seed).random();
        let client = plan.output_client(&format!("verify-{suffix:08x}"));
        if client.url == BrokerUrl::Embedded {
            return Err(Error::Embedded);
        }
        let batch = plan.batch.bytes_max.get() + plan.batch_overhead_bytes() + READ_AHEAD_BYTES;
        let session = Session::new(client, batch.max(READ_BUFFER_BYTES_MIN), seed);
        tracing::info!(broker = %session.options().url, seed, "verification starts");
        Ok(Self {
            session,
            topics: Topics::new(
                filters.iter().map(|it| it.subscription(None)).collect(),
                1,
                true,
                now.instant,
            ),
            filters,
            audit,
            hearing: Hearing::default(),
            last: None,
            progress: Progress::new(now.instant),
            end,
            is_stopped: false,
        })
    }

    /// Listens until its end.
    pub(super) async fn read(mut self) -> Result<(Audit, Hearing), Error> {
        match client::run(&mut self).await {
            Err(error) => {
                Err(Error::Broker { broker: self.session.options().url.to_string(), error })
            }
            Ok(()) => Ok((self.audit, self.hearing)),
        }
    }

    /// Notes that the connection stands again. A loss during which the broker kept the session was none.
    fn resume(&mut self, session_present: bool) {
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

    /// Returns the pause before the next attempt. A refusal ends a verifier that has heard nothing yet.
    fn handle_lost(&mut self, now: Now, error: mqtt::Error) -> Result<Duration, mqtt::Error> {
        let never_heard = self.hearing.since.is_none();
        if error.is_permanent() && never_heard {
            return Err(error);
        }
        self.hearing.losses += u64::from(!never_heard);
        Ok(self.session.lost(now.instant, &error))
    }

    fn take(
        &mut self,
        now: Now,
        inbound: &mut Inbound,
        out: &mut Outbound,
    ) -> Result<(), mqtt::Error> {
        let version = self.session.options().version;
        while let Some(incoming) = inbound.packet()? {
            let publish = match incoming {
                Incoming::Publish(publish) => publish,
                Incoming::Other(bytes) => {
                    let packet = Connection::read(version, bytes)?;
                    self.control(now, packet, out)?;
                    continue;
                }
            };
            self.last = Some(now.instant);
            let topic = String::from_utf8_lossy(publish.topic);
            // Dead letters first: "gateway/#" for batches matches them too.
            let [_, letters] = &self.filters;
            if letters.matches(&topic) {
                self.audit.take_letter(&publish);
            } else {
                self.audit.take_batch(&publish, now.wall);
            }
            let (qos, packet_id) = (publish.qos, publish.packet_id);
            if qos > 0 {
                out.puback(packet_id);
            }
        }
        Ok(())
    }

    fn control(&mut self, now: Now, packet: Packet, out: &mut Outbound) -> Result<(), mqtt::Error> {
        if self.topics.answered(packet, out)? {
            self.session.proved();
            self.hearing.since = self.hearing.since.or(Some(now.wall));
            // Silence counts only while we are connected.
            self.last = self.last.map(|_| now.instant);
            let [batches, letters] = &self.filters;
            tracing::info!(%batches, dead_letters = %letters, "listening");
        }
        Ok(())
    }

    /// When something must be checked.
    fn wake(&self, subscribed_by: Option<Instant>) -> Instant {
        let idle = self.silence().map(|(last, idle)| last + idle);
        let due = [subscribed_by, idle, self.end.until];
        due.into_iter().flatten().fold(self.progress.due, Instant::min)
    }

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

impl Client for Listener {
    fn is_wanted(&mut self) -> bool {
        !self.is_stopped
    }

    fn attempt(&mut self) -> Attempt {
        let keeps = self.session.options().version == Version::V5;
        self.session.attempt(Hello {
            // The client id is new. Mosquitto 2.0 stores no session that began with a clean start, whatever its
            // expiry.
            clean_start: !keeps,
            session_expiry: keeps.then_some(SESSION_SECONDS),
            receive_max: Some(WINDOW_MESSAGES),
            packet_bytes_max: None,
            will: None,
        })
    }

    fn handle_failed(&mut self, now: Now, failed: Failed) -> Result<Duration, mqtt::Error> {
        match self.session.handle_failed(now.instant, failed) {
            Err(error) => self.handle_lost(now, error),
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
        self.resume(greeting.session_present);
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
        self.progress.tell(now, &self.audit);
        let over = self.end.until.is_some_and(|until| now >= until);
        if self.is_stopped || over || self.is_idle(now) {
            return Ok(Step::CloseForGood);
        }
        let reads = out.backlog() < WRITE_BUFFER_BYTES_MAX;
        Ok(Step::Wait { reads, until: Some(self.wake(subscribed_by)) })
    }

    fn handle_disconnected(
        &mut self,
        now: Now,
        ended: Result<(), mqtt::Error>,
    ) -> Result<Option<Duration>, mqtt::Error> {
        ended.err().map(|error| self.handle_lost(now, error)).transpose()
    }

    /// A stop, or the end of the time.
    async fn woken(&mut self) {
        ended(&mut self.end.stops, self.end.until).await;
        self.is_stopped = true;
    }
}
