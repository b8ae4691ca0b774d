//! One connection, and what publishes on it.
//!
//! Invariants:
//! - A sensor keeps its connection, so its readings are sent in order. Unacknowledged messages of a lost
//!   connection are resent first ([`super::unacknowledged`]).
//! - Memory does not grow with time: at most `window` messages are unacknowledged, and a message is only made
//!   when there is room for it.
//! - The task waits for its connection, its supply ([`super::supply`]) and the phase, and for nothing else.

use std::sync::Arc;
use std::time::Duration;

use super::supply::{Offer, Supply};
use super::unacknowledged::Unacknowledged;
use super::{ABSENT_MAX, FILL_BYTES_MAX, Totals};
use crate::clock::Now;
use crate::limits::GATHER_WINDOW_MIN;
use crate::mqtt::Error;
use crate::mqtt::answer::Answer;
use crate::mqtt::attempt::{Attempt, Failed};
use crate::mqtt::client::{self, Client, Step};
use crate::mqtt::connection::Connection;
use crate::mqtt::frame::{Inbound, Incoming};
use crate::mqtt::outbound::Outbound;
use crate::mqtt::outgoing::Hello;
use crate::mqtt::packet::{Greeting, Packet};
use crate::mqtt::plain::Plain;
use crate::mqtt::publish::Publish;
use crate::mqtt::session::Session;
use crate::pace::{NoRest, Pace};
use crate::phase::{Phase, PhaseReceiver};
use crate::repeat::Repeated;

/// Acknowledgements arrive, and commands.
pub(super) const READ_BUFFER_BYTES: usize = 16 * 1024;

/// The packet ids of the subscription to commands, and of the last word. Data beside them has none.
const COMMANDS_ID: u16 = 1;
const LAST_ID: u16 = 2;

/// What all connections share.
#[derive(Debug, Clone)]
pub(super) struct Common {
    pub(super) qos: u8,
    pub(super) window: usize,
    pub(super) totals: Arc<Totals>,
    pub(super) pace: Arc<Pace>,
    pub(super) phase: PhaseReceiver,
}

/// One client, over its connections.
#[derive(Debug)]
pub(super) struct Sender<S: Supply> {
    session: Session,
    supply: S,
    common: Common,
    /// The window of the current connection; where it is small, the thread does not rest.
    window: Option<(usize, Option<NoRest>)>,
    unacknowledged: Unacknowledged<S::Message>,
    /// QoS 0: messages that are not written yet; bounded by [`FILL_BYTES_MAX`].
    unwritten: Vec<S::Message>,
    /// The time of the first connection, where the schedule begins.
    start: Option<Now>,
    made_all: bool,
    refusals: Repeated,
}

/// The result of one client.
#[derive(Debug)]
pub(super) struct Sent<S> {
    pub(super) supply: S,
    /// Why it could not go on.
    pub(super) error: Option<Error>,
}

impl<S: Supply> Sender<S> {
    pub(super) fn new(session: Session, supply: S, common: Common) -> Self {
        Self {
            session,
            supply,
            common,
            window: None,
            unacknowledged: Unacknowledged::default(),
            unwritten: Vec::new(),
            start: None,
            made_all: false,
            refusals: Repeated::default(),
        }
    }

    /// Sends until all is acknowledged. From `Draining` on it sends nothing new; at `Closing` it ends.
    pub(super) async fn run(mut self) -> Sent<S> {
        let error = client::run(&mut self).await.err();
        Sent { supply: self.supply, error }
    }

    /// The next phase that changes what is to be done.
    fn next_phase(&self) -> Phase {
        let waits = if self.window.is_some() {
            self.common.phase.is(Phase::Draining)
        } else {
            !self.unacknowledged.is_empty()
        };
        if waits { Phase::Closing } else { Phase::Draining }
    }

    fn is_over(&self) -> bool {
        let idle = self.unacknowledged.is_empty() && self.unwritten.is_empty();
        idle && (self.made_all || self.common.phase.is(Phase::Draining))
            || self.common.phase.is(Phase::Closing)
    }

    /// Queues the messages that are due and allowed. Returns when the next one is due, if only time is
    /// waited for.
    fn fill(
        &mut self,
        now: Now,
        window: usize,
        out: &mut Outbound,
    ) -> Result<Option<Duration>, Error> {
        let start = *self.start.get_or_insert(now);
        let elapsed = now.instant.saturating_duration_since(start.instant);
        let draining = self.common.phase.is(Phase::Draining);
        let mut absent = 0;
        while out.backlog() < FILL_BYTES_MAX && absent < ABSENT_MAX {
            if let Some((id, message)) = self.unacknowledged.resend(window) {
                self.supply.sent_again(&message);
                self.publish(out, (id, true), &message)?;
                continue;
            }
            if draining || self.common.qos > 0 && !self.unacknowledged.has_room(window) {
                return Ok(None);
            }
            match self.supply.next(start, elapsed) {
                Offer::Message(message) => self.send(out, &message)?,
                Offer::Absent => absent += 1,
                Offer::Wait(until) => return Ok(Some(until)),
                Offer::Full => return Ok(None),
                Offer::Over => {
                    self.made_all = true;
                    return Ok(None);
                }
            }
        }
        Ok((absent == ABSENT_MAX).then_some(elapsed))
    }

    /// Publishes a message for the first time.
    fn send(&mut self, out: &mut Outbound, message: &S::Message) -> Result<(), Error> {
        let id = if self.common.qos == 0 {
            self.unwritten.push(message.clone());
            0
        } else {
            self.unacknowledged.enter(message.clone())
        };
        self.publish(out, (id, false), message)
    }

    fn publish(
        &mut self,
        out: &mut Outbound,
        (id, dup): (u16, bool),
        message: &S::Message,
    ) -> Result<(), Error> {
        let plain = self.supply.plain(message);
        out.publish_plain(id, &Plain { qos: self.common.qos, dup, ..plain })
    }

    /// QoS 0: a written message counts as acknowledged, because the protocol tells no more.
    fn written(&mut self) {
        let written = std::mem::take(&mut self.unwritten);
        if !written.is_empty() {
            self.session.proved();
        }
        for message in written {
            self.supply.took(message);
        }
    }

    /// QoS 0: messages that were not written when the connection broke may have been sent or not. They are not
    /// resent.
    fn let_go(&mut self) {
        for message in std::mem::take(&mut self.unwritten) {
            self.supply.refused(message);
        }
    }

    fn read(&mut self, now: Now, inbound: &mut Inbound, out: &mut Outbound) -> Result<(), Error> {
        let version = self.session.options().version;
        while let Some(incoming) = inbound.packet()? {
            match incoming {
                Incoming::Publish(publish) => {
                    self.supply.command(publish.payload);
                    Self::acknowledge(&publish, out);
                }
                Incoming::Other(bytes) => self.handle(now, Connection::read(version, bytes)?)?,
            }
        }
        Ok(())
    }

    fn acknowledge(publish: &Publish<'_>, out: &mut Outbound) {
        if publish.qos > 0 {
            out.puback(publish.packet_id);
        }
    }

    fn handle(&mut self, now: Now, packet: Packet) -> Result<(), Error> {
        match packet {
            Packet::PubAck { packet_id, answer } => self.answered(now, packet_id, answer)?,
            Packet::SubAck { granted: Err(reason), .. } => {
                let topic = self.supply.commands().unwrap_or_default();
                tracing::warn!(
                    topic,
                    reason,
                    "the broker refuses the subscription: nobody can command the node"
                );
            }
            _ => {}
        }
        Ok(())
    }

    /// Says the last word before a connection that we end.
    fn take_leave(&mut self, out: &mut Outbound) -> Result<(), Error> {
        self.supply.farewell().map_or(Ok(()), |it| out.publish_plain(LAST_ID, &it))
    }

    fn answered(&mut self, now: Now, packet_id: u16, answer: Answer) -> Result<(), Error> {
        let message = self.unacknowledged.acknowledge(packet_id).ok_or_else(|| {
            Error::Protocol(format!(
                "a PUBACK for packet id {packet_id}, which no unacknowledged message has"
            ))
        })?;
        self.session.proved();
        if let Answer::Refused(reason) = answer {
            if let Some(left_out) = self.refusals.due(now.instant) {
                let topic = self.supply.plain(&message).topic;
                tracing::warn!(topic, %reason, left_out, "the broker refuses a message");
            }
            self.supply.refused(message);
            return Ok(());
        }
        if answer == Answer::NobodyListens {
            self.common.totals.unheard.one();
        }
        self.supply.took(message);
        Ok(())
    }
}

impl<S: Supply> Client for Sender<S> {
    fn is_wanted(&mut self) -> bool {
        !self.is_over()
    }

    /// The broker stores nothing for a publisher: unacknowledged messages are stored here.
    fn attempt(&mut self) -> Attempt {
        let will = self.supply.will();
        self.session.attempt(Hello {
            clean_start: true,
            session_expiry: None,
            receive_max: None,
            packet_bytes_max: None,
            will,
        })
    }

    fn handle_failed(&mut self, now: Now, failed: Failed) -> Result<Duration, Error> {
        self.session.handle_failed(now.instant, failed)
    }

    fn handle_connected(
        &mut self,
        now: Now,
        greeting: Greeting,
        out: &mut Outbound,
    ) -> Result<(), Error> {
        self.session.handle_connected(now.instant, &greeting);
        self.supply.greet(&greeting);
        let Common { qos, window, pace, .. } = &self.common;
        let window = (*window).min(usize::from(greeting.receive_max.max(1)));
        let is_small = *qos > 0 && window < GATHER_WINDOW_MIN;
        self.window = Some((window, is_small.then(|| NoRest::new(pace))));
        if greeting.qos_max < *qos {
            let reason = format!("it takes no QoS above {}: set --qos", greeting.qos_max);
            return Err(Error::Refused { reason, permanent: true });
        }
        self.unacknowledged.reconnected();
        match self.supply.commands() {
            Some(topic) => out.subscribe(COMMANDS_ID, topic, 1, true),
            None => Ok(()),
        }
    }

    fn advance(
        &mut self,
        now: Now,
        inbound: &mut Inbound,
        out: &mut Outbound,
    ) -> Result<Step, Error> {
        if out.backlog() == 0 {
            self.written();
        }
        self.read(now, inbound, out)?;
        let window = self.window.as_ref().expect("a connection stands").0;
        let due = self.fill(now, window, out)?;
        if self.is_over() {
            self.take_leave(out)?;
            return Ok(Step::Close);
        }
        let until = self.start.zip(due).map(|(start, due)| start.instant + due);
        Ok(Step::Wait { reads: true, until })
    }

    fn handle_disconnected(
        &mut self,
        now: Now,
        ended: Result<(), Error>,
    ) -> Result<Option<Duration>, Error> {
        self.window = None;
        self.let_go();
        let Err(lost) = ended else { return Ok(None) };
        if lost.is_permanent() && self.session.epoch() == 1 {
            return Err(lost);
        }
        self.common.totals.reconnects.one();
        Ok(Some(self.session.lost(now.instant, &lost)))
    }

    async fn woken(&mut self) {
        let next = self.next_phase();
        self.common.phase.reached(next).await;
    }
}
