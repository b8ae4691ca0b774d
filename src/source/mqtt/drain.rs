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

use super::Intake;
use crate::clock;
use crate::limits::{ANSWERS_BYTES_MAX, CLOSE_MAX};
use crate::mqtt::Error;
use crate::mqtt::connection::Connection;
use crate::mqtt::frame::Incoming;
use crate::mqtt::packet::Greeting;
use crate::phase::{Phase, Watch};

impl Intake {
    /// The phase that changes what is to be done.
    pub(super) fn next_phase(&self) -> Phase {
        if self.inlet.is_some() { Phase::Draining } else { Phase::Closing }
    }

    /// Whether there is nothing more to come back for.
    pub(super) fn is_over(&self, phase: &Watch) -> bool {
        self.inlet.is_none() && (!self.ledger.waits() || phase.is(Phase::Closing))
    }

    /// Offers what has room and takes no more.
    pub(super) fn stop_taking(&mut self) {
        if let Some(inlet) = self.inlet.take() {
            let before = self.chunk.records.len();
            inlet.try_offer(&mut self.chunk, &mut self.shed);
            self.count_offered(before);
        }
        self.returned.starved(false);
        // Taken from the connection, but never offered: the broker still has those of QoS 1.
        let left = std::mem::take(&mut self.chunk);
        for record in left.records.iter().filter(|record| !record.token.is_none()) {
            self.ledger.let_go(record.token.ordinal);
        }
        self.context.metrics.received.add(left.records.len() as u64);
        self.context.metrics.abandoned.add(left.records.len() as u64);
    }

    /// Another client has our session now. That ends the gateway, but for one that drains: whoever
    /// starts the next run before this one has ended means it so.
    pub(super) fn yields(&self, error: Error, phase: &Watch) -> Result<(), Error> {
        if !phase.is(Phase::Draining) {
            return Err(error);
        }
        tracing::warn!(entry = self.reader.name(), %error, "what is delivered now comes again there");
        Ok(())
    }

    /// Tells the ledger of a new connection.
    pub(super) fn resume(&mut self, greeting: Greeting) {
        let lost = self.ledger.connect(greeting.session_present);
        if !self.session.is_lost(&greeting) {
            return;
        }
        self.context.metrics.sessions_lost.one();
        let Some(left_out) = self.sessions_lost.due(clock::now().instant) else { return };
        let whose = if self.session.epoch() > 1 {
            "the broker has lost our session, and with it the readings it held for us"
        } else {
            "the broker has not the session that an earlier run left, nor the readings it held for us: it \
             was ended or lost, or the gateway was away for longer than the broker keeps it \
             (broker.session_expiry)"
        };
        tracing::warn!(
            entry = self.reader.name(),
            held = lost,
            left_out,
            "possible loss outside the gateway: {whose}"
        );
    }

    /// The rest of a connection: acknowledges what settles.
    pub(super) async fn see_out(
        &mut self,
        mut connection: Connection,
        phase: &mut Watch,
    ) -> Result<(), Error> {
        self.ledger.release();
        self.match_repeats(&mut connection)?;
        while self.ledger.waits() {
            let has_room = connection.backlog() < ANSWERS_BYTES_MAX;
            tokio::select! {
                biased;
                () = self.returned.some() => self.acknowledge(&mut connection),
                () = phase.reached(Phase::Closing) => break,
                turn = connection.turn(has_room) => {
                    turn?;
                    self.match_repeats(&mut connection)?;
                }
            }
        }
        self.acknowledge(&mut connection);
        connection.close(CLOSE_MAX).await;
        Ok(())
    }

    /// Binds what the broker sends again to this connection; some of it may have settled already.
    fn match_repeats(&mut self, connection: &mut Connection) -> Result<(), Error> {
        while let Some(incoming) = connection.packet()? {
            match incoming {
                Incoming::Publish(publish) => self.reader.recognise(&mut self.ledger, &publish),
                Incoming::Other(bytes) => {
                    let now = clock::now().instant;
                    let answers = self.subscription.control(now, &self.reader, bytes)?;
                    if let Some(packet_id) = answers {
                        connection.pubcomp(packet_id);
                    }
                }
            }
            self.session.proved();
        }
        self.acknowledge(connection);
        Ok(())
    }
}
