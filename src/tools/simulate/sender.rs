//! One connection and the sensors that publish on it.
//!
//! Invariants:
//! - A sensor keeps its connection, so its readings are sent in order. Unacknowledged readings of a lost
//!   connection are resent first ([`super::unacknowledged`]).
//! - Memory does not grow with time: at most `window` readings are unacknowledged, and a reading is only made
//!   when there is room for it.
//! - The task waits for its connection, its schedule and the phase, and for nothing else.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep_until;

use super::report::Counts;
use super::schedule::{Next, Schedule};
use super::unacknowledged::{Reading, Unacknowledged};
use super::{FILL_BYTES_MAX, Totals};
use crate::clock::{self, Now, Timestamp};
use crate::limits::{CLOSE_MAX, GATHER_WINDOW_MIN};
use crate::mqtt::Error;
use crate::mqtt::answer::Answer;
use crate::mqtt::connection::Connection;
use crate::mqtt::frame::Incoming;
use crate::mqtt::outgoing::Hello;
use crate::mqtt::packet::{Greeting, Packet};
use crate::mqtt::plain::Plain;
use crate::mqtt::session::Session;
use crate::pace::{NoRest, Pace};
use crate::phase::{Phase, Watch};
use crate::repeat::Repeated;
use crate::source::simulated::Values;

/// Only acknowledgements arrive.
pub(super) const READ_BUFFER_BYTES: usize = 16 * 1024;

/// An invariant: indexes of sensors come from this connection's own schedule.
const OWN_SENSOR: &str = "the sensor is of this connection";

#[derive(Debug)]
pub(super) struct Sensor {
    pub(super) id: Box<str>,
    pub(super) topic: Box<str>,
    /// The index of its configured entry.
    pub(super) entry: usize,
    pub(super) values: Values,
    pub(super) counts: Counts,
}

/// What all connections share.
#[derive(Debug, Clone)]
pub(super) struct Common {
    pub(super) qos: u8,
    pub(super) window: usize,
    pub(super) totals: Arc<Totals>,
    pub(super) pace: Arc<Pace>,
}

/// One client, over its connections.
#[derive(Debug)]
pub(super) struct Sender {
    session: Session,
    sensors: Vec<Sensor>,
    schedule: Schedule,
    common: Common,
    unacknowledged: Unacknowledged,
    /// QoS 0: sensors whose reading is not written yet; bounded by [`FILL_BYTES_MAX`].
    unwritten: Vec<usize>,
    /// The time of the first connection, where the schedule begins.
    start: Option<Now>,
    made_all: bool,
    refused: Repeated,
    payload: Vec<u8>,
    stamp: (Timestamp, String),
}

/// The result of one client.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) sensors: Vec<Sensor>,
    /// Why it could not go on.
    pub(super) error: Option<Error>,
}

impl Sender {
    pub(super) fn new(
        session: Session,
        sensors: Vec<Sensor>,
        schedule: Schedule,
        common: Common,
    ) -> Self {
        Self {
            session,
            sensors,
            schedule,
            common,
            unacknowledged: Unacknowledged::default(),
            unwritten: Vec::new(),
            start: None,
            made_all: false,
            refused: Repeated::default(),
            payload: Vec::new(),
            stamp: (Timestamp::default(), Timestamp::default().to_string()),
        }
    }

    /// Sends until all is acknowledged. From `Draining` on it sends nothing new; at `Closing` it ends.
    pub(super) async fn run(mut self, mut phase: Watch) -> Sent {
        // The broker stores nothing for a publisher: unacknowledged readings are stored here.
        let hello = Hello {
            clean_start: true,
            session_expiry: None,
            receive_max: None,
            packet_bytes_max: None,
        };
        let mut error = None;
        while !self.is_over(&phase) {
            let end = self.end();
            let connected = tokio::select! {
                biased;
                () = phase.reached(end) => continue,
                connected = self.session.connect(&hello) => connected,
            };
            let served = match connected {
                Ok((connection, greeting)) => self.serve(connection, greeting, &mut phase).await,
                Err(permanent) => {
                    error = Some(permanent);
                    break;
                }
            };
            self.let_go();
            let Err(lost) = served else { break };
            if lost.is_permanent() && self.session.epoch() == 1 {
                error = Some(lost);
                break;
            }
            self.common.totals.reconnects.one();
            let end = self.end();
            tokio::select! {
                biased;
                () = phase.reached(end) => {}
                () = self.session.lost(&lost) => {}
            }
        }
        Sent { sensors: self.sensors, error }
    }

    /// The phase that ends the client even without a connection.
    fn end(&self) -> Phase {
        if self.unacknowledged.is_empty() { Phase::Draining } else { Phase::Closing }
    }

    fn is_over(&self, phase: &Watch) -> bool {
        let idle = self.unacknowledged.is_empty() && self.unwritten.is_empty();
        idle && (self.made_all || phase.is(Phase::Draining)) || phase.is(Phase::Closing)
    }

    /// Serves one connection. `Ok` when nothing is left to do.
    async fn serve(
        &mut self,
        mut connection: Connection,
        greeting: Greeting,
        phase: &mut Watch,
    ) -> Result<(), Error> {
        if greeting.qos_max < self.common.qos {
            let reason = format!("it takes no QoS above {}: set --qos", greeting.qos_max);
            return Err(Error::Refused { reason, permanent: true });
        }
        let start = *self.start.get_or_insert_with(clock::now);
        self.unacknowledged.reconnected();
        let window = self.common.window.min(usize::from(greeting.receive_max.max(1)));
        let small = self.common.qos > 0 && window < GATHER_WINDOW_MIN;
        let _no_rest = small.then(|| NoRest::new(&self.common.pace));
        loop {
            let draining = phase.is(Phase::Draining);
            let due = self.fill(&mut connection, window, (start, draining))?;
            if self.is_over(phase) {
                break;
            }
            let until = due.map(|due| start.instant + due);
            tokio::select! {
                biased;
                () = phase.reached(if draining { Phase::Closing } else { Phase::Draining }) => {}
                turn = connection.turn(true) => {
                    turn?;
                    self.read(&mut connection)?;
                }
                () = sleep_until(until.unwrap_or(start.instant).into()), if until.is_some() => {}
            }
            if connection.backlog() == 0 {
                self.written();
            }
        }
        connection.close(CLOSE_MAX).await;
        Ok(())
    }

    /// Queues the readings that are due and allowed. Returns when the next reading is due, if only time is
    /// waited for.
    fn fill(
        &mut self,
        connection: &mut Connection,
        window: usize,
        (start, draining): (Now, bool),
    ) -> Result<Option<Duration>, Error> {
        let elapsed = clock::now().instant.saturating_duration_since(start.instant);
        while connection.backlog() < FILL_BYTES_MAX {
            if let Some((id, reading)) = self.unacknowledged.resend(window) {
                self.count(reading.sensor, |counts| counts.again += 1);
                self.common.totals.again.one();
                self.publish(connection, (id, true), reading)?;
                continue;
            }
            if draining || self.common.qos > 0 && !self.unacknowledged.has_room(window) {
                return Ok(None);
            }
            let due = match self.schedule.next(elapsed) {
                Next::Reading(due) => due,
                Next::Wait(until) => return Ok(Some(until)),
                Next::Over => {
                    self.made_all = true;
                    return Ok(None);
                }
            };
            let sensor = self.sensors.get_mut(due.sensor).expect(OWN_SENSOR);
            let reading = Reading {
                sensor: due.sensor,
                number: due.number,
                value: sensor.values.value(),
                at: start.later(due.at).wall,
            };
            sensor.counts.sent += 1;
            self.common.totals.sent.one();
            let id = if self.common.qos == 0 {
                self.unwritten.push(due.sensor);
                0
            } else {
                self.unacknowledged.enter(reading)
            };
            self.publish(connection, (id, false), reading)?;
        }
        Ok(None)
    }

    fn publish(
        &mut self,
        connection: &mut Connection,
        (id, dup): (u16, bool),
        reading: Reading,
    ) -> Result<(), Error> {
        if self.stamp.0 != reading.at {
            self.stamp = (reading.at, reading.at.to_string());
        }
        let payload = &mut self.payload;
        payload.clear();
        payload.extend_from_slice(b"{\"value\":");
        payload.extend_from_slice(ryu::Buffer::new().format_finite(reading.value).as_bytes());
        payload.extend_from_slice(b",\"timestamp\":\"");
        payload.extend_from_slice(self.stamp.1.as_bytes());
        payload.extend_from_slice(b"\",\"number\":");
        payload.extend_from_slice(itoa::Buffer::new().format(reading.number).as_bytes());
        payload.push(b'}');
        let topic = &*self.sensors.get(reading.sensor).expect(OWN_SENSOR).topic;
        connection.publish_plain(id, &Plain { topic, qos: self.common.qos, dup, payload })
    }

    fn count(&mut self, sensor: usize, count: impl FnOnce(&mut Counts)) {
        count(&mut self.sensors.get_mut(sensor).expect(OWN_SENSOR).counts);
    }

    /// QoS 0: a written reading counts as acknowledged, because the protocol tells no more.
    fn written(&mut self) {
        let written = std::mem::take(&mut self.unwritten);
        if !written.is_empty() {
            self.session.proved();
        }
        for sensor in &written {
            self.count(*sensor, |counts| counts.acknowledged += 1);
        }
        self.common.totals.acknowledged.add(written.len() as u64);
    }

    /// QoS 0: readings that were not written when the connection broke may have been sent or not. They are not
    /// resent.
    fn let_go(&mut self) {
        for sensor in std::mem::take(&mut self.unwritten) {
            self.count(sensor, |counts| counts.refused += 1);
            self.common.totals.refused.one();
        }
    }

    fn read(&mut self, connection: &mut Connection) -> Result<(), Error> {
        let version = self.session.options().version;
        while let Some(incoming) = connection.packet()? {
            if let Incoming::Other(bytes) = incoming
                && let Packet::PubAck { packet_id, answer } = Connection::read(version, bytes)?
            {
                self.answered(packet_id, answer)?;
            }
        }
        Ok(())
    }

    fn answered(&mut self, packet_id: u16, answer: Answer) -> Result<(), Error> {
        let reading = self.unacknowledged.acknowledge(packet_id).ok_or_else(|| {
            Error::Protocol(format!(
                "a PUBACK for packet id {packet_id}, which no unacknowledged reading has"
            ))
        })?;
        self.session.proved();
        if let Answer::Refused(reason) = answer {
            self.common.totals.refused.one();
            self.count(reading.sensor, |counts| counts.refused += 1);
            if let Some(left_out) = self.refused.due(clock::now().instant) {
                let topic = &*self.sensors.get(reading.sensor).expect(OWN_SENSOR).topic;
                tracing::warn!(topic, %reason, left_out, "the broker refuses a reading");
            }
            return Ok(());
        }
        if answer == Answer::NobodyListens {
            self.common.totals.unheard.one();
        }
        self.common.totals.acknowledged.one();
        self.count(reading.sensor, |counts| counts.acknowledged += 1);
        Ok(())
    }
}
