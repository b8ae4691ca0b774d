//! The connection of a verifier: subscribes, acknowledges, passes messages to the audit.
//!
//! With MQTT 5 the broker keeps the session while the connection is lost: messages published meanwhile arrive
//! afterwards. With 3.1.1 a session that nobody resumes would stay for ever, so none is kept. If the broker has
//! no session any more, the verifier has missed messages.

use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::time::sleep_until;

use super::audit::{Audit, Rules};
use super::verdict::Hearing;
use super::{Arguments, End, Error, PROGRESS_PAUSE};
use crate::clock::{self, Now};
use crate::limits::{CONNECT_MAX, READ_AHEAD_BYTES, WRITE_BUFFER_BYTES_MAX};
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
    /// Subscriptions that the broker has granted on this connection.
    granted: usize,
    pub(super) audit: Audit,
    pub(super) hearing: Hearing,
    /// When the last message arrived.
    last: Option<Instant>,
    progress_due: Instant,
    progress_records: u64,
    end: End,
    is_stopped: bool,
    /// When the current connection was established.
    opened: Instant,
}

impl Listener {
    pub(super) fn new(
        plan: &Plan,
        arguments: &Arguments,
        rules: Rules,
        end: End,
    ) -> Result<Self, Error> {
        let now = clock::now();
        let seed = now.wall.millis() ^ u64::from(std::process::id()) << 40;
        let suffix: u32 = SmallRng::seed_from_u64(seed).random();
        let client = plan.output_client(&format!("verify-{suffix:08x}"));
        if client.url == BrokerUrl::Embedded {
            return Err(Error::Embedded);
        }
        if plan.output.file.is_some() && arguments.topic.is_none() {
            return Err(Error::File);
        }
        let batch = plan.batch.bytes_max.get() + plan.batch_overhead_bytes() + READ_AHEAD_BYTES;
        let session = Session::new(client, batch.max(READ_BUFFER_BYTES_MIN), seed);
        let filter = |text: &str| {
            Filter::try_from(text.to_owned()).map_err(|error| Error::Broker {
                broker: session.options().url.to_string(),
                error: mqtt::Error::Protocol(format!("{text:?} {error}")),
            })
        };
        let own =
            |given: &Option<Filter>, topic: &str| given.clone().map_or_else(|| filter(topic), Ok);
        let filters = [
            own(&arguments.topic, plan.output.topic.as_str())?,
            own(&arguments.dead_letter_topic, plan.output.dead_letter_topic.as_str())?,
        ];
        tracing::info!(broker = %session.options().url, seed, "verification starts");
        Ok(Self {
            session,
            filters,
            granted: 0,
            audit: Audit::new(rules),
            hearing: Hearing::default(),
            last: None,
            progress_due: now.instant + PROGRESS_PAUSE,
            progress_records: 0,
            end,
            is_stopped: false,
            opened: now.instant,
        })
    }

    /// Listens until its end.
    pub(super) async fn listen(&mut self) -> Result<(), Error> {
        match client::run(self).await {
            Err(error) => {
                Err(Error::Broker { broker: self.session.options().url.to_string(), error })
            }
            Ok(()) => Ok(()),
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

    /// Subscribes to the next topic. One at a time, because a SUBACK is read without its packet id.
    fn subscribe(&self, out: &mut Outbound) -> Result<(), mqtt::Error> {
        match self.filters.get(self.granted) {
            Some(filter) => out.subscribe(1, &filter.subscription(None), 1, true),
            None => Ok(()),
        }
    }

    fn read(
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
        let Packet::SubAck { granted: answer, .. } = packet else { return Ok(()) };
        let Some(filter) = self.filters.get(self.granted) else { return Ok(()) };
        let filter = filter.to_string();
        let qos = answer.map_err(|reason| mqtt::Error::SubscriptionRefused {
            filter: filter.clone(),
            reason,
        })?;
        if qos == 0 {
            tracing::warn!(filter, "the broker granted QoS 0: it may drop what it should show us");
        }
        self.granted += 1;
        self.subscribe(out)?;
        if self.granted == self.filters.len() {
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
        due.into_iter().flatten().fold(self.progress_due, Instant::min)
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

    fn progress(&mut self, now: Instant) {
        if now < self.progress_due {
            return;
        }
        let audit = &self.audit;
        let gaps = |it: &super::audit::Sensor| {
            it.numbers.missing(it.numbers.lowest().max(1), it.numbers.highest())
        };
        let sum = |of: &dyn Fn(&super::audit::Sensor) -> u64| {
            let heard = audit.sensors.values().filter(|it| it.records > 0);
            heard.map(of).fold(0, u64::saturating_add)
        };
        tracing::info!(
            records = audit.records,
            per_second = crate::tools::simulate::report::rate(
                audit.records - self.progress_records,
                PROGRESS_PAUSE
            ),
            sensors = audit.sensors.len(),
            repeated_batches = audit.repeated_batches,
            gaps = sum(&gaps),
            duplicated = sum(&|it| it.duplicated),
            reordered = sum(&|it| it.reordered),
            dead_letters = audit.dead_letters.values().sum::<u64>(),
            "progress"
        );
        self.progress_records = audit.records;
        self.progress_due = now + PROGRESS_PAUSE;
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
        (self.granted, self.opened) = (0, now.instant);
        self.subscribe(out)
    }

    fn advance(
        &mut self,
        now: Now,
        inbound: &mut Inbound,
        out: &mut Outbound,
    ) -> Result<Step, mqtt::Error> {
        self.read(now, inbound, out)?;
        let now = now.instant;
        let subscribed_by = self.opened + CONNECT_MAX;
        let subscribed_by = (self.granted < self.filters.len()).then_some(subscribed_by);
        if subscribed_by.is_some_and(|at| now >= at) {
            return Err(mqtt::Error::TimedOut(CONNECT_MAX));
        }
        self.progress(now);
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
        let end = &mut self.end;
        tokio::select! {
            biased;
            Some(()) = end.stops.recv() => {}
            () = at(end.until) => {}
        }
        self.is_stopped = true;
    }
}

/// Waits until then; for ever without a time.
async fn at(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until.into()).await,
        None => std::future::pending::<()>().await,
    }
}
