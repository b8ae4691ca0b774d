//! The connection of a verifier: subscribes, acknowledges, passes messages to the audit.
//!
//! With MQTT 5 the broker keeps the session while the connection is lost: messages published meanwhile arrive
//! afterwards. With 3.1.1 a session that nobody resumes would stay for ever, so none is kept. If the broker has
//! no session any more, the verifier has missed messages.

use std::time::Instant;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::time::sleep_until;

use super::audit::Audit;
use super::progress::Progress;
use super::verdict::Hearing;
use super::{End, Error};
use crate::clock;
use crate::limits::{CLOSE_MAX, CONNECT_MAX, READ_AHEAD_BYTES, WRITE_BUFFER_BYTES_MAX};
use crate::mqtt;
use crate::mqtt::connection::Connection;
use crate::mqtt::frame::Incoming;
use crate::mqtt::options::{BrokerUrl, Version};
use crate::mqtt::outgoing::Hello;
use crate::mqtt::packet::Packet;
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
    hearing: Hearing,
    /// When the last message arrived.
    last: Option<Instant>,
    progress: Progress,
}

impl Listener {
    /// A listener to batches and dead letters.
    pub(super) fn new(plan: &Plan, filters: [Filter; 2]) -> Result<Self, Error> {
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
            filters,
            granted: 0,
            hearing: Hearing::default(),
            last: None,
            progress: Progress::new(now.instant),
        })
    }

    /// Listens until its end.
    pub(super) async fn read(mut self, audit: &mut Audit, mut end: End) -> Result<Hearing, Error> {
        self.listen(audit, &mut end).await?;
        Ok(self.hearing)
    }

    async fn listen(&mut self, audit: &mut Audit, end: &mut End) -> Result<(), Error> {
        let keeps = self.session.options().version == Version::V5;
        let hello = Hello {
            // The client id is new. Mosquitto 2.0 stores no session that began with a clean start, whatever its
            // expiry.
            clean_start: !keeps,
            session_expiry: keeps.then_some(SESSION_SECONDS),
            receive_max: Some(WINDOW_MESSAGES),
            packet_bytes_max: None,
        };
        loop {
            let ended = tokio::select! {
                biased;
                Some(()) = end.stops.recv() => return Ok(()),
                () = at(end.until) => return Ok(()),
                connected = self.session.connect(&hello) => match connected {
                    Ok((connection, greeting)) => {
                        self.resume(greeting.session_present);
                        self.serve(connection, audit, end).await
                    }
                    Err(permanent) => Err(permanent),
                },
            };
            let Err(error) = ended else { return Ok(()) };
            let never_heard = self.hearing.since.is_none();
            if error.is_permanent() && never_heard {
                let broker = self.session.options().url.to_string();
                return Err(Error::Broker { broker, error });
            }
            if !never_heard {
                self.hearing.losses += 1;
            }
            tokio::select! {
                biased;
                Some(()) = end.stops.recv() => return Ok(()),
                () = at(end.until) => return Ok(()),
                () = self.session.lost(&error) => {}
            }
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

    /// Serves one connection. `Ok` at the end.
    async fn serve(
        &mut self,
        mut connection: Connection,
        audit: &mut Audit,
        end: &mut End,
    ) -> Result<(), mqtt::Error> {
        self.granted = 0;
        let opened = clock::now().instant;
        self.subscribe(&mut connection)?;
        loop {
            let wake = self.wake(opened, audit, end);
            tokio::select! {
                biased;
                Some(()) = end.stops.recv() => break,
                turn = connection.turn(connection.backlog() < WRITE_BUFFER_BYTES_MAX) => {
                    turn?;
                    self.take(&mut connection, audit)?;
                }
                () = sleep_until(wake.into()) => {}
            }
            let now = clock::now().instant;
            if self.granted < self.filters.len() && now >= opened + CONNECT_MAX {
                return Err(mqtt::Error::TimedOut(CONNECT_MAX));
            }
            self.progress.tell(now, audit);
            if end.until.is_some_and(|until| now >= until) || self.is_idle(now, audit, end) {
                break;
            }
        }
        connection.close_for_good(CLOSE_MAX).await;
        Ok(())
    }

    /// Subscribes to the next topic. One at a time, because a SUBACK is read without its packet id.
    fn subscribe(&self, connection: &mut Connection) -> Result<(), mqtt::Error> {
        match self.filters.get(self.granted) {
            Some(filter) => connection.subscribe(&filter.subscription(None), 1, true),
            None => Ok(()),
        }
    }

    fn take(&mut self, connection: &mut Connection, audit: &mut Audit) -> Result<(), mqtt::Error> {
        let now = clock::now();
        let version = self.session.options().version;
        while let Some(incoming) = connection.packet()? {
            let publish = match incoming {
                Incoming::Publish(publish) => publish,
                Incoming::Other(bytes) => {
                    let packet = Connection::read(version, bytes)?;
                    self.control(connection, packet)?;
                    continue;
                }
            };
            self.last = Some(now.instant);
            let topic = String::from_utf8_lossy(publish.topic);
            // Dead letters first: "gateway/#" for batches matches them too.
            let [_, letters] = &self.filters;
            if letters.matches(&topic) {
                audit.take_letter(&publish);
            } else {
                audit.take_batch(&publish, now.wall);
            }
            let (qos, packet_id) = (publish.qos, publish.packet_id);
            if qos > 0 {
                connection.puback(packet_id);
            }
        }
        Ok(())
    }

    fn control(&mut self, connection: &mut Connection, packet: Packet) -> Result<(), mqtt::Error> {
        let Packet::SubAck(answer) = packet else { return Ok(()) };
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
        self.subscribe(connection)?;
        if self.granted == self.filters.len() {
            self.session.proved();
            let now = clock::now();
            self.hearing.since = self.hearing.since.or(Some(now.wall));
            // Silence counts only while we are connected.
            self.last = self.last.map(|_| now.instant);
            let [batches, letters] = &self.filters;
            tracing::info!(%batches, dead_letters = %letters, "listening");
        }
        Ok(())
    }

    /// When something must be checked.
    fn wake(&self, opened: Instant, audit: &Audit, end: &End) -> Instant {
        let subscribed_by = (self.granted < self.filters.len()).then(|| opened + CONNECT_MAX);
        let idle = self.silence(audit, end).map(|(last, idle)| last + idle);
        let due = [subscribed_by, idle, end.until];
        due.into_iter().flatten().fold(self.progress.due, Instant::min)
    }

    /// When the last message arrived, and how long silence may last; `None` before the first record.
    fn silence(&self, audit: &Audit, end: &End) -> Option<(Instant, std::time::Duration)> {
        self.last.zip(end.idle).filter(|_| audit.records > 0)
    }

    /// Whether nothing has arrived for `--idle`. Silence does not count while the simulation of the awaited
    /// report still runs.
    fn is_idle(&mut self, now: Instant, audit: &Audit, end: &End) -> bool {
        let Some((last, idle)) = self.silence(audit, end) else { return false };
        if now < last + idle {
            return false;
        }
        let report = end.expect.as_deref().and_then(|path| Report::read(path).ok());
        if report.is_some_and(|report| report.ended.is_none()) {
            tracing::info!("nothing comes, but the simulation has not ended");
            self.last = Some(now);
            return false;
        }
        true
    }
}

/// Waits until then; for ever without a time.
async fn at(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until.into()).await,
        None => std::future::pending::<()>().await,
    }
}
