//! Tells a broker how each sensor and the gateway do, in retained messages: a *notice* each (`[status]`).
//!
//! This is a client of its own, beside the sink and the intakes, which it cannot disturb: no batch waits for a notice,
//! and no notice is in a column of the balance.
//!
//! - A notice says what is known when it goes out. What changes while the broker is away is one notice when it is back
//!   ([`crate::state::registry::Notices`]). So nothing grows with the time that a broker is away.
//! - Notices have QoS 1 where the broker allows it, and `IN_FLIGHT_MAX` are unanswered at most. What is unanswered when a
//!   connection ends is sent again, as it is then.
//! - The broker keeps our session, in which there is nothing, to say that it still knows of us. Where it does not
//!   (Session Present 0), it may have lost what it retained, and all notices are sent again.
//! - The last will says that the gateway is offline. A stop says so, too, and before it that the gateway drains.
//! - What an entry leaves that is removed, or a sensor that is forgotten, is taken back: an empty retained message.
//! - At the start it reads back what an earlier run has told (`recalled`).
//! - A notice that is refused is logged and counted, and sent again when it has changed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::backoff::Backoff;
use crate::clock::Now;
use crate::limits::{CLOSE_MAX, TOPIC_MADE_BYTES_MAX};
use crate::mqtt::Error;
use crate::mqtt::answer::{Answer, NotTaken};
use crate::mqtt::attempt::{Attempt, Failed};
use crate::mqtt::client::{self, Client, Step};
use crate::mqtt::connection::Connection;
use crate::mqtt::frame::{Inbound, Incoming};
use crate::mqtt::look_up::LookUps;
use crate::mqtt::options::{Options, Version};
use crate::mqtt::outbound::Outbound;
use crate::mqtt::outgoing::{Hello, Outgoing, Will};
use crate::mqtt::packet::{Greeting, Packet};
use crate::mqtt::publish::Publish;
use crate::mqtt::roll_call::RollCall;
use crate::mqtt::topic::Topic;
use crate::mqtt::unanswered::Unanswered;
use crate::phase::{Phase, PhaseReceiver};
use crate::repeat::Repeated;
use crate::state::registry::Row;

pub use self::about::About;
use self::about::State;
use self::recalled::Recall;
pub use self::settings::{GatewayTopic, Settings};

mod about;
mod recalled;
mod settings;

/// Notices without an answer, at most, and fewer where the broker's Receive Maximum is less. Others wait.
const IN_FLIGHT_MAX: usize = 64;

/// First and longest pause before it connects again: nothing waits for it.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// Bytes of its read buffer, which the broker is told: what comes are acknowledgements, and at the start notices of ours.
const BUFFER_BYTES: u32 = 8 * 1024;

/// Bytes of a notice with its topic, at most: an id is in both, with each byte escaped.
const NOTICE_BYTES: usize = 4096 + TOPIC_MADE_BYTES_MAX;

/// Bytes that the client holds, at most, beside what lies below MQTT.
pub const BYTES: u64 = 4 * BUFFER_BYTES as u64 + (IN_FLIGHT_MAX * NOTICE_BYTES) as u64;

/// Bytes of a sensor whose notice is due, in a list that grows.
pub const DUE_BYTES: u64 = 2 * size_of::<Arc<Row>>() as u64;

/// What a stopping gateway gives it to say so.
const FAREWELL_MAX: Duration = CLOSE_MAX;

/// Gives notice.
#[derive(Debug)]
pub struct Notifier {
    options: Options,
    about: About,
    look_ups: LookUps,
    roll_call: Option<Arc<RollCall>>,
    phase: PhaseReceiver,
    backoff: Backoff,
    rng: SmallRng,
    /// While a connection stands.
    current: Option<Current>,
    recall: Recall,
    refused: Repeated,
    away: Repeated,
}

/// What belongs to one connection.
#[derive(Debug)]
struct Current {
    qos: u8,
    in_flight_max: usize,
    bytes_max: Option<usize>,
    /// Of these sensors; `None`: of the gateway.
    in_flight: Unanswered<Option<Arc<Row>>>,
    /// What was said of the gateway.
    said: Option<State>,
    /// An answer has come: the broker takes notices.
    proved: bool,
    /// When the farewell began.
    leaving: Option<Instant>,
}

impl Notifier {
    /// A client with these options. It connects only where the broker keeps our own clients apart.
    pub fn new(
        options: Options,
        about: About,
        roll_call: Option<Arc<RollCall>>,
        phase: PhaseReceiver,
        seed: u64,
    ) -> Self {
        let recall = Recall::new(&options.url, about.settings.topic.as_ref());
        if about.settings.topic.is_some() {
            about.registry.notices.want();
        }
        let (first, longest) = PAUSE;
        Self {
            options,
            about,
            look_ups: LookUps::default(),
            roll_call,
            phase,
            backoff: Backoff::new(first, longest),
            rng: SmallRng::seed_from_u64(seed),
            current: None,
            recall,
            refused: Repeated::default(),
            away: Repeated::default(),
        }
    }

    /// Gives notice until the gateway has closed.
    pub async fn run(mut self) {
        if let Err(error) = client::run(&mut self).await {
            let (broker, client) = (&self.options.url, &self.options.client_id);
            tracing::error!(%broker, client, "no notices (status) until the next start: {error}");
        }
    }

    fn state(&self) -> State {
        if self.phase.is(Phase::Closing) {
            State::Offline
        } else if self.phase.is(Phase::Draining) {
            State::Draining
        } else {
            State::Online
        }
    }

    /// The pause before the next attempt. That a broker is away, others say.
    fn failed(&mut self, now: Instant, error: Error, is_away: bool) -> Result<Duration, Error> {
        if error.is_about_ids() {
            return Err(error);
        }
        let (broker, client) = (&self.options.url, &self.options.client_id);
        if is_away {
            tracing::debug!(%broker, client, %error, "no notices (status) for now");
        } else if let Some(left_out) = self.away.due(now) {
            tracing::warn!(%broker, client, left_out, "no notices (status) for now: {error}");
        }
        Ok(self.backoff.pause(&mut self.rng))
    }

    /// Whether what it may have to answer has room: what comes at the start can be to be taken back.
    fn has_room(&self, out: &Outbound) -> bool {
        self.recall.is_over() || out.backlog() < NOTICE_BYTES
    }

    /// Reads what has come.
    fn read(
        &mut self,
        now: Instant,
        inbound: &mut Inbound,
        out: &mut Outbound,
    ) -> Result<(), Error> {
        while self.has_room(out)
            && let Some(incoming) = inbound.packet()?
        {
            match incoming {
                Incoming::Publish(message) => self.recalled(now, &message, out)?,
                Incoming::Other(bytes) => self.hear(now, bytes)?,
            }
        }
        Ok(())
    }

    /// A notice of an earlier run, which may be to be taken back. With QoS 0: what is lost is so at the next start.
    fn recalled(
        &mut self,
        now: Instant,
        message: &Publish<'_>,
        out: &mut Outbound,
    ) -> Result<(), Error> {
        let Some(topic) = self.recall.take(now, &self.about, message) else { return Ok(()) };
        self.about.metrics.notices.one();
        out.publish(0, &retained(topic, Vec::new(), 0))
    }

    fn hear(&mut self, now: Instant, bytes: &[u8]) -> Result<(), Error> {
        match Connection::read(self.options.version, bytes)? {
            Packet::PubAck { packet_id, answer } => self.answered(now, packet_id, &answer),
            Packet::SubAck { granted, .. } => {
                self.recall.answered(now, granted);
            }
            Packet::UnsubAck { packet_id } => self.recall.unsubscribed(packet_id),
            _ => {}
        }
        Ok(())
    }

    fn answered(&mut self, now: Instant, packet_id: u16, answer: &Answer) {
        let current = self.current.as_mut().expect(STANDS);
        let Some(row) = current.in_flight.strike(packet_id) else { return };
        match answer {
            Answer::Taken | Answer::NobodyListens => {
                self.about.metrics.notices.one();
                current.proved = true;
                self.backoff.reset();
                if row.is_some() {
                    self.recall.told(now);
                }
            }
            Answer::Refused(why) => self.say_refused(now, row.as_deref(), why),
        }
    }

    fn say_refused(&mut self, now: Instant, row: Option<&Row>, why: &NotTaken) {
        self.about.metrics.notices_refused.one();
        let Some(left_out) = self.refused.due(now) else { return };
        let notice = match row {
            Some(row) => self.about.of_sensor(row),
            None => self.about.of_gateway(self.state()),
        };
        let topic = notice.map(|(topic, _)| topic.to_string()).unwrap_or_default();
        tracing::warn!(
            broker = %self.options.url,
            topic,
            left_out,
            "the broker refuses a notice (status): {why}"
        );
    }

    /// There is no topic for the sensor's notice.
    fn say_unsent(&mut self, now: Instant, row: &Row) {
        self.about.metrics.notices_refused.one();
        if let Some(left_out) = self.refused.due(now) {
            tracing::warn!(
                entry = row.entry_name(),
                sensor = row.id(),
                left_out,
                "a notice (status) cannot be sent: its topic would have more than {TOPIC_MADE_BYTES_MAX} bytes"
            );
        }
    }

    /// Publishes what is due, as far as there is room.
    fn publish(&mut self, now: Instant, out: &mut Outbound) -> Result<(), Error> {
        let state = self.state();
        let current = self.current.as_mut().expect(STANDS);
        if current.said != Some(state) && current.has_room(out) {
            current.said = Some(state);
            if let Some((topic, payload)) = self.about.of_gateway(state) {
                self.send(now, (topic, payload), None, out)?;
            }
        }
        while self.current.as_ref().expect(STANDS).has_room(out) {
            let Some(row) = self.about.registry.notices.take() else { break };
            match self.about.of_sensor(&row) {
                Some(notice) => self.send(now, notice, Some(row), out)?,
                None => self.say_unsent(now, &row),
            }
        }
        Ok(())
    }

    fn send(
        &mut self,
        now: Instant,
        (topic, payload): (Topic, Vec<u8>),
        row: Option<Arc<Row>>,
        out: &mut Outbound,
    ) -> Result<(), Error> {
        let current = self.current.as_mut().expect(STANDS);
        let qos = current.qos;
        let message = retained(topic, payload, qos);
        let bytes = message.packet_bytes(self.options.version);
        if let Some(bytes_max) = current.bytes_max.filter(|max| bytes > *max) {
            let why = NotTaken::too_large(bytes, bytes_max);
            self.say_refused(now, row.as_deref(), &why);
            return Ok(());
        }
        if qos == 0 {
            self.about.metrics.notices.one();
            return out.publish(0, &message);
        }
        out.publish(current.in_flight.enter(row, now), &message)
    }
}

/// A message that the broker is to keep; an empty one takes back what it keeps.
fn retained(topic: Topic, payload: Vec<u8>, qos: u8) -> Outgoing {
    let (payload, content_type) = (Bytes::from(payload), "application/json");
    let (properties, retain, expiry) = (Vec::new(), true, None);
    Outgoing { topic, qos, payload, content_type, properties, retain, expiry }
}

/// An invariant.
const STANDS: &str = "a connection stands";

impl Current {
    fn has_room(&self, out: &Outbound) -> bool {
        self.in_flight.len() < self.in_flight_max && out.backlog() < NOTICE_BYTES
    }
}

impl Client for Notifier {
    fn is_wanted(&mut self) -> bool {
        !self.phase.is(Phase::Closing)
    }

    fn attempt(&mut self) -> Attempt {
        let will = self.about.of_gateway(State::Offline);
        // A session of 3.1.1 would never end.
        let is_kept = self.options.version == Version::V5;
        let hello = Hello {
            clean_start: !is_kept || !self.recall.is_over(),
            session_expiry: is_kept.then(|| self.options.session_expiry_seconds()),
            receive_max: None,
            packet_bytes_max: Some(BUFFER_BYTES),
            will: will.map(|(topic, payload)| Will { topic, payload, retain: true }),
        };
        Attempt {
            options: self.options.clone(),
            hello,
            ahead: (BUFFER_BYTES as usize).into(),
            look_ups: std::mem::take(&mut self.look_ups),
            roll_call: self.roll_call.clone(),
            is_needed: false,
        }
    }

    fn handle_failed(&mut self, now: Now, failed: Failed) -> Result<Duration, Error> {
        self.look_ups = failed.look_ups;
        let is_away = !failed.error.is_permanent();
        self.failed(now.instant, failed.error, is_away)
    }

    fn handle_connected(
        &mut self,
        now: Now,
        greeting: Greeting,
        out: &mut Outbound,
    ) -> Result<(), Error> {
        let bytes_max = greeting.packet_bytes_max.map(|bytes| bytes as usize);
        let current = self.current.insert(Current {
            qos: greeting.qos_max.min(1),
            in_flight_max: IN_FLIGHT_MAX.min(greeting.receive_max.max(1).into()),
            bytes_max,
            in_flight: Unanswered::default(),
            said: None,
            proved: false,
            leaving: None,
        });
        if !greeting.features.retained {
            let reason = "it keeps no retained messages: let it, or remove [status]".into();
            return Err(Error::Refused { reason, permanent: true });
        }
        if !greeting.session_present {
            self.about.registry.renew_notices();
        }
        let packet_id = current.in_flight.spare_id();
        self.recall.begin(now.instant, packet_id, out)
    }

    fn advance(
        &mut self,
        now: Now,
        inbound: &mut Inbound,
        out: &mut Outbound,
    ) -> Result<Step, Error> {
        self.read(now.instant, inbound, out)?;
        self.publish(now.instant, out)?;
        let within = self.options.connect_timeout;
        let is_closing = self.phase.is(Phase::Closing);
        let current = self.current.as_mut().expect(STANDS);
        let spare_id = || current.in_flight.spare_id();
        let recalled_by = self.recall.advance(now.instant, spare_id, out)?;
        let leaving = is_closing.then(|| *current.leaving.get_or_insert(now.instant));
        let leaves_by = leaving.map(|since| since + FAREWELL_MAX);
        let is_said = current.said == Some(State::Offline) && current.in_flight.is_empty();
        if is_closing && is_said {
            return Ok(Step::CloseForGood);
        }
        if leaves_by.is_some_and(|by| by <= now.instant) {
            // Without a DISCONNECT: the broker sends the last will.
            return Err(Error::Unanswered(FAREWELL_MAX));
        }
        let answer_by = current.in_flight.oldest().map(|(_, since)| since + within);
        if answer_by.is_some_and(|by| by <= now.instant) {
            return Err(Error::Unanswered(within));
        }
        let until = [leaves_by, answer_by, recalled_by].into_iter().flatten().min();
        Ok(Step::Wait { reads: self.has_room(out), until })
    }

    fn handle_disconnected(
        &mut self,
        now: Now,
        ended: Result<(), Error>,
    ) -> Result<Option<Duration>, Error> {
        let current = self.current.take().expect(STANDS);
        // Else the broker may not like what it was sent.
        let is_away = current.proved || current.in_flight.is_empty();
        let unanswered = current.in_flight.into_all().flatten();
        self.about.registry.notices.put_back(unanswered);
        let Err(error) = ended else { return Ok(None) };
        self.recall.cut(&error);
        let is_away = is_away && !error.is_permanent();
        self.failed(now.instant, error, is_away).map(Some)
    }

    async fn woken(&mut self) {
        let Some(current) = &self.current else {
            return self.phase.reached(Phase::Closing).await;
        };
        let next = match self.state() {
            State::Online => Phase::Draining,
            State::Draining => Phase::Closing,
            // Only answers are waited for.
            State::Offline => return std::future::pending().await,
        };
        let has_room = current.in_flight.len() < current.in_flight_max;
        tokio::select! {
            biased;
            () = self.phase.reached(next) => {}
            () = self.about.registry.notices.news(), if has_room => {}
        }
    }
}

#[cfg(test)]
mod tests;
