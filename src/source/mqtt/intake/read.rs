//! What an intake reads: each message is entered into the ledger, and its entry makes records of it.

use std::hash::{BuildHasher, Hasher};
use std::time::Instant;

use foldhash::fast::FixedState;

use super::{Intake, Room};
use crate::clock::Now;
use crate::codec::turn::Request;
use crate::mqtt::Error;
use crate::mqtt::connection::Connection;
use crate::mqtt::frame::{Inbound, Incoming};
use crate::mqtt::ledger::Entered;
use crate::mqtt::outbound::Outbound;
use crate::mqtt::packet::Packet;
use crate::mqtt::plain::Plain;
use crate::mqtt::publish::Publish;
use crate::settlement::{Outcome, Token};
use crate::source::mqtt::reader::Taken;
use crate::source::policed::SUPERSEDED;

impl Intake {
    /// Reads packets that have arrived into the chunk, until it is full or answers wait to be written. Whether there
    /// may be more, and whether anything came.
    pub(super) fn read(
        &mut self,
        now: Now,
        inbound: &mut Inbound,
        out: &mut Outbound,
    ) -> Result<(bool, bool), Error> {
        let (mut came, mut messages, mut unread) = (false, 0, true);
        // Messages that make no record count, too: what they wait for is acknowledged in between.
        let mut left = self.chunk_records_max.saturating_sub(self.chunk.records.len());
        let waited = self.backlog.is_coming(now.instant);
        if self.members.may_wait() && !self.has_desk(1) {
            self.wait_for_desk();
            return Ok((true, false));
        }
        self.members.expire(now.instant);
        self.take_due(&mut left);
        while left > 0 && self.chunk.bytes() < self.chunk_bytes_max && self.may_answer(out) {
            left -= 1;
            let Some(incoming) = inbound.packet()? else {
                unread = false;
                break;
            };
            let publish = match incoming {
                Incoming::Publish(publish) => publish,
                Incoming::Other(bytes) => {
                    came = true;
                    self.control(now.instant, bytes, out)?;
                    continue;
                }
            };
            if !self.has_desk(publish.qos) {
                inbound.put_back();
                self.wait_for_desk();
                break;
            }
            came = true;
            let entered = self.enter(&publish)?;
            self.session.proved();
            let (reader, subscription) = self.members.of(publish.topic);
            subscription.heard(now.instant, true);
            let Some(token) = entered else { continue };
            messages += 1;
            let made = reader.take(&publish, token, (now, waited), &mut self.chunk);
            let readings = made.unwrap_or_else(|| reader.readings_max());
            if readings != 1 && !token.is_none() {
                self.ledger.readings(readings);
            }
            for run in reader.superseded() {
                self.ledger.settle(run, SUPERSEDED);
            }
            left = left.saturating_sub(made.unwrap_or(1).saturating_sub(1) as usize);
            // A program that works as long as many records counts as many.
            let work = reader.work();
            self.is_weary |= work > 0 && work >= left;
            left = left.saturating_sub(work);
            if reader.is_in_turns() {
                self.ask(out)?;
                self.take_due(&mut left);
            }
        }
        self.metrics.messages.add(messages);
        self.backlog.read(now.instant, unread, (self.ledger.open(), self.window));
        if came {
            self.have_read(now.instant)?;
        }
        Ok((unread, came))
    }

    /// Whether a message of this QoS can be taken now.
    pub(in crate::source::mqtt) fn has_desk(&mut self, qos: u8) -> bool {
        if self.place.is_some() {
            return true;
        }
        if let Some(place) = self.desk.try_place() {
            self.sit(place);
            return true;
        }
        let is_shed = qos == 0 && self.policy.is_some();
        if is_shed {
            self.take_chunk();
        }
        is_shed
    }

    /// A chunk without records is not kept meanwhile: there are only so many ([`CHUNKS_MAX`]).
    ///
    /// [`CHUNKS_MAX`]: crate::source::mqtt::desk::CHUNKS_MAX
    fn wait_for_desk(&mut self) {
        if self.chunk.records.is_empty() {
            self.leave_desk();
        }
        self.room = Room::InLine(Box::pin(self.desk.place()));
    }

    /// Makes records, for as many as are left to make, of what has waited in the entries and waits no longer. Whether
    /// there was any.
    pub(in crate::source::mqtt) fn take_due(&mut self, left: &mut usize) -> bool {
        let mut any = false;
        while *left > 0
            && self.chunk.bytes() < self.chunk_bytes_max
            && let Some(Taken { made, work, without }) = self.members.take_due(&mut self.chunk)
        {
            any = true;
            let cost = made.max(1) as usize + work;
            self.is_weary |= work > 0 && cost >= *left;
            *left = left.saturating_sub(cost);
            if let Some(run) = without {
                self.ledger.settle(run, Outcome::Delivered);
            }
        }
        any
    }

    /// Publishes what entries ask for. With QoS 0: an answer is a message like others, or does not come.
    fn ask(&mut self, out: &mut Outbound) -> Result<(), Error> {
        let backlog_max = self.answers_bytes_max;
        for reader in self.members.readers() {
            while out.backlog() < backlog_max
                && let Some(Request { topic, payload }) = reader.request()
            {
                let (qos, dup, retain, properties) = (0, false, false, &[][..]);
                let (topic, payload) = (&*topic, &*payload);
                let message = Plain { topic, qos, dup, retain, properties, payload };
                out.publish_plain(0, &message)?;
                self.metrics.births_asked.one();
            }
        }
        Ok(())
    }

    /// Judges what has come.
    fn have_read(&mut self, now: Instant) -> Result<(), Error> {
        self.metrics.held_given_up.add(self.ledger.replaced());
        if let Some(missing) = self.ledger.missing()
            && self.members.own_their_session()
        {
            self.session.resumed(missing)?;
        }
        if self.members.are_granted() {
            self.session.usable(now);
        }
        // More than was assumed: the broker allows more.
        self.window = self.window.max(self.ledger.open());
        Ok(())
    }

    /// A packet that is no PUBLISH.
    pub(in crate::source::mqtt) fn control(
        &mut self,
        now: Instant,
        bytes: &[u8],
        out: &mut Outbound,
    ) -> Result<(), Error> {
        let version = self.version();
        match Connection::read(version, bytes)? {
            Packet::SubAck { packet_id, granted } => {
                self.members.answered(now, (packet_id, granted), bytes, version)?;
            }
            Packet::PubRel { packet_id } => out.pubcomp(packet_id),
            _ => {}
        }
        self.session.proved();
        Ok(())
    }

    /// Enters a message into the ledger; `None` when it is held already. An error where the broker
    /// breaks the protocol.
    fn enter(&mut self, publish: &Publish<'_>) -> Result<Option<Token>, Error> {
        match publish.qos {
            0 => return Ok(Some(Token::NONE)),
            1 => {}
            // From a subscription that somebody else made in our session.
            _ => self.ledger.expect_qos_2(publish.packet_id),
        }
        match self.ledger.enter(publish.packet_id, publish.dup, (self.digest)(publish)) {
            Entered::New(ordinal) => {
                self.metrics.repeats_taken.add(u64::from(publish.dup));
                Ok(Some(Token { source: self.settlements.source(), ordinal }))
            }
            Entered::Known => {
                self.metrics.repeats_matched.one();
                Ok(None)
            }
            Entered::Against(what) => {
                self.metrics.protocol_errors.one();
                Err(Error::Protocol(format!("the broker has sent {what}")))
            }
        }
    }

    /// Matches a message with what is held, and takes nothing new.
    pub(in crate::source::mqtt) fn recognise(&mut self, publish: &Publish<'_>) {
        let digest = (self.digest)(publish);
        let known =
            publish.qos > 0 && self.ledger.recognise(publish.packet_id, publish.dup, digest);
        if known {
            self.metrics.repeats_matched.one();
            if publish.qos > 1 {
                self.ledger.expect_qos_2(publish.packet_id);
            }
        }
    }
}

/// By topic and payload.
pub(super) fn digest(publish: &Publish<'_>) -> u64 {
    let mut hasher = FixedState::default().build_hasher();
    hasher.write(publish.topic);
    hasher.write(publish.payload);
    hasher.finish()
}
