//! The intake while the gateway drains: nothing new is taken, what settles is acknowledged.
//!
//! A connection may break now as at any time. What settles after that is delivered, and the broker
//! would send it again to the next run; so the intake comes back for it. It reads to notice such a
//! break, and what the broker sends again of what is held: that is bound to the new connection
//! (`mqtt::ledger`). It subscribes to nothing, and what is new it reads past: without an
//! acknowledgement it stays with the broker.
//!
//! It ends when nothing waits any more, or when the gateway closes, which is after its grace at the
//! latest. Without its session there is nothing to acknowledge.
//!
//! The intake of an entry that is removed does the same while the gateway runs on. It unsubscribes first, and
//! its session ends with it: nobody will come for what the broker would keep there.

use std::time::{Duration, Instant};

use super::Intake;
use super::intake::Room;
use crate::clock;
use crate::mqtt::Error;
use crate::mqtt::client::Step;
use crate::mqtt::frame::{Inbound, Incoming};
use crate::mqtt::outbound::Outbound;
use crate::mqtt::packet::Greeting;
use crate::phase::Phase;
use crate::queue::Inlet;

impl Intake {
    /// Whether there is nothing more to come back for.
    pub(super) fn is_over(&self) -> bool {
        let waits = self.ledger.waits() || self.phase.is_removed();
        self.inlet.is_none() && (!waits || self.phase.is(Phase::Closing))
    }

    /// Offers what has room and takes no more.
    pub(super) fn stop_taking(&mut self) {
        if let Some(inlet) = self.inlet.take() {
            self.members.end_listening(clock::now().wall);
            let before = self.chunk.records.len();
            // Its place in the line is the next one's.
            if let Room::Claimed(claim) = std::mem::replace(&mut self.room, Room::Free) {
                inlet.put(claim, &mut self.chunk);
            }
            self.count_offered(before);
            self.end_waiting();
            // Where another intake has the desk, the queue has no room either.
            while self.has_desk(1) && self.offer_last(&inlet) {}
        }
        self.settlements.starved(false);
        // Taken from the connection, but never offered: the broker still has those of QoS 1.
        let mut left = std::mem::take(&mut self.chunk);
        for record in left.records.iter().filter(|record| !record.token.is_none()) {
            self.ledger.let_go(record.token.ordinal);
        }
        let mut abandoned = left.records.len() as u64;
        let unacknowledged = left.records.iter().filter(|it| it.token.is_none()).count();
        for reader in self.members.readers() {
            let (ordinals, waiting) = reader.clear();
            for ordinal in ordinals {
                self.ledger.let_go(ordinal);
            }
            abandoned += waiting as u64;
        }
        if self.phase.is_survived() {
            // What comes again is received then, and the books of this run go on.
            self.registry.take_back(left.records.iter().map(|it| it.sensor));
            self.say_let_go(abandoned, unacknowledged);
        } else {
            self.metrics.received.add(abandoned);
            self.metrics.abandoned.add(abandoned);
        }
        left.clear();
        self.chunk = left;
        self.leave_desk();
    }

    /// Says what of an entry that is changed or removed had no room in the queue.
    fn say_let_go(&self, readings: u64, unacknowledged: usize) {
        if readings == 0 {
            return;
        }
        let entry = self.members.names();
        let lost = if self.phase.is_removed() {
            "its session ends, and they are lost"
        } else {
            "those of QoS 0 are lost, and its broker sends the others again"
        };
        tracing::warn!(
            entry,
            readings,
            qos_0 = unacknowledged,
            "a full queue had no room for what the entry had read: {lost}"
        );
    }

    /// Offers what has been read. Whether all of it had room, and there is more that has waited.
    fn offer_last(&mut self, inlet: &Inlet) -> bool {
        let before = self.chunk.records.len();
        let all = inlet.try_offer(&mut self.chunk, &mut self.shed);
        self.count_offered(before);
        let mut left = self.chunk_records_max;
        all && self.take_due(&mut left)
    }

    /// What waits for another message waits no longer, and what waits for its turn has it. The broker still has messages of
    /// QoS 1, and sends them to the next run, unless the session ends, too.
    fn end_waiting(&mut self) {
        let now = clock::now().instant;
        if self.phase.is_removed() {
            self.members.release(now);
            return;
        }
        for reader in self.members.readers() {
            for token in reader.end_waiting(now) {
                self.ledger.let_go(token.ordinal);
            }
        }
    }

    /// Another client has our session now. That ends the gateway, but for one that drains: whoever
    /// starts the next run before this one has ended means it so.
    pub(super) fn yields(&self, error: Error) -> Result<Option<Duration>, Error> {
        if !self.phase.is(Phase::Draining) {
            return Err(error);
        }
        let entry = self.members.names();
        tracing::warn!(entry, %error, "what is delivered now comes again there");
        Ok(None)
    }

    /// Tells the ledger of a new connection.
    pub(super) fn resume(&mut self, now: Instant, greeting: Greeting) {
        let lost = self.ledger.connect(greeting.session_present);
        if !greeting.session_present {
            self.members.begin_anew(now);
        }
        if !self.session.is_lost(&greeting) {
            return;
        }
        self.metrics.sessions_lost.one();
        let Some(left_out) = self.sessions_lost.due(now) else { return };
        let whose = if self.session.epoch() > 1 {
            "the broker has lost our session, and with it the readings it held for us"
        } else {
            "the broker has not the session that an earlier run left, nor the readings it held for us: it \
             was ended or lost, or the gateway was away for longer than the broker keeps it \
             (broker.session_expiry)"
        };
        tracing::warn!(
            entry = self.members.names(),
            held = lost,
            left_out,
            "possible loss outside the gateway: {whose}"
        );
    }

    /// Acknowledges what has settled, and takes nothing new.
    pub(super) fn drain(
        &mut self,
        now: Instant,
        inbound: &mut Inbound,
        out: &mut Outbound,
    ) -> Result<Step, Error> {
        self.ledger.release();
        let is_removed = self.phase.is_removed();
        if is_removed && !std::mem::replace(&mut self.current().unsubscribed, true) {
            self.members.unsubscribe(out)?;
        }
        self.match_repeats(now, inbound, out)?;
        self.acknowledge(out);
        if !self.ledger.waits() || self.phase.is(Phase::Closing) {
            return Ok(if is_removed { Step::CloseForGood } else { Step::Close });
        }
        Ok(Step::Wait { reads: self.may_answer(out), until: None })
    }

    /// Binds what the broker sends again to this connection; some of it may have settled already.
    fn match_repeats(
        &mut self,
        now: Instant,
        inbound: &mut Inbound,
        out: &mut Outbound,
    ) -> Result<(), Error> {
        while self.may_answer(out)
            && let Some(incoming) = inbound.packet()?
        {
            match incoming {
                Incoming::Publish(publish) => {
                    self.recognise(&publish);
                    self.session.proved();
                }
                Incoming::Other(bytes) => self.control(now, bytes, out)?,
            }
        }
        Ok(())
    }
}
