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

use super::report::Counts;
use super::schedule::{Due, Next, Schedule};
use super::unacknowledged::{Reading, Unacknowledged};
use super::{ABSENT_MAX, FILL_BYTES_MAX, Totals};
use crate::clock::{Now, Timestamp};
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
use crate::mqtt::session::Session;
use crate::pace::{NoRest, Pace};
use crate::phase::{Phase, PhaseReceiver};
use crate::repeat::Repeated;
use crate::source::simulated::{Fault, Fill, Turn, Values};

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
    pub(super) phase: PhaseReceiver,
}

/// One client, over its connections.
#[derive(Debug)]
pub(super) struct Sender {
    session: Session,
    sensors: Vec<Sensor>,
    schedule: Schedule,
    common: Common,
    /// The window of the current connection; where it is small, the thread does not rest.
    window: Option<(usize, Option<NoRest>)>,
    unacknowledged: Unacknowledged,
    /// The second message of the last reading, which is still to be sent.
    copy: Option<Reading>,
    /// QoS 0: readings that are not written yet; bounded by [`FILL_BYTES_MAX`].
    unwritten: Vec<Reading>,
    /// The time of the first connection, where the schedule begins.
    start: Option<Now>,
    made_all: bool,
    refusals: Repeated,
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
            window: None,
            unacknowledged: Unacknowledged::default(),
            unwritten: Vec::new(),
            start: None,
            made_all: false,
            refusals: Repeated::default(),
            copy: None,
            payload: Vec::new(),
            stamp: (Timestamp::default(), Timestamp::default().to_string()),
        }
    }

    /// Sends until all is acknowledged. From `Draining` on it sends nothing new; at `Closing` it ends.
    pub(super) async fn run(mut self) -> Sent {
        let error = client::run(&mut self).await.err();
        Sent { sensors: self.sensors, error }
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

    /// Queues the readings that are due and allowed. Returns when the next reading is due, if only time is
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
            if let Some((id, reading)) = self.unacknowledged.resend(window) {
                self.count(reading.sensor, |counts| counts.again += 1);
                self.common.totals.again.one();
                self.publish(out, (id, true), reading)?;
                continue;
            }
            if draining || self.common.qos > 0 && !self.unacknowledged.has_room(window) {
                return Ok(None);
            }
            if let Some(copy) = self.copy.take() {
                self.send(out, copy)?;
                continue;
            }
            let due = match self.schedule.next(elapsed) {
                Next::Reading(due) => due,
                Next::Wait(until) => return Ok(Some(until)),
                Next::Over => {
                    self.made_all = true;
                    return Ok(None);
                }
            };
            let Some(reading) = self.make(due, start) else {
                absent += 1;
                continue;
            };
            self.send(out, reading)?;
        }
        Ok((absent == ABSENT_MAX).then_some(elapsed))
    }

    /// The reading that is due; `None` if a planted fault leaves it out, or a file has ended.
    fn make(&mut self, due: Due, start: Now) -> Option<Reading> {
        let sensor = self.sensors.get_mut(due.sensor).expect(OWN_SENSOR);
        let turn = sensor.values.turn();
        if let Some(pause) = sensor.values.pause() {
            self.schedule.put_off(due.sensor, due.at + pause);
        }
        let (value, planted) = match turn {
            Turn::Made(value, planted) => (value, planted),
            Turn::Absent(fault) => {
                sensor.counts.planted.count(fault);
                return None;
            }
            Turn::Over => {
                self.schedule.end(due.sensor);
                return None;
            }
        };
        sensor.counts.sent += 1;
        self.common.totals.sent.one();
        let reading = Reading {
            sensor: due.sensor,
            number: sensor.counts.sent,
            value,
            at: start.later(due.at).wall.earlier(sensor.values.shared().delay(planted)),
            planted,
            is_copy: false,
        };
        self.copy = planted.has(Fault::Duplicate).then_some(Reading { is_copy: true, ..reading });
        Some(reading)
    }

    /// Publishes a reading for the first time.
    fn send(&mut self, out: &mut Outbound, reading: Reading) -> Result<(), Error> {
        let id = if self.common.qos == 0 {
            self.unwritten.push(reading);
            0
        } else {
            self.unacknowledged.enter(reading)
        };
        self.publish(out, (id, false), reading)
    }

    fn publish(
        &mut self,
        out: &mut Outbound,
        (id, dup): (u16, bool),
        reading: Reading,
    ) -> Result<(), Error> {
        if self.stamp.0 != reading.at {
            self.stamp = (reading.at, reading.at.to_string());
        }
        let sensor = self.sensors.get(reading.sensor).expect(OWN_SENSOR);
        let shared = sensor.values.shared();
        let mut text = ryu::Buffer::new();
        let fill = Fill {
            value: shared.decimals().text(reading.value, &mut text),
            time: &self.stamp.1,
            epoch: reading.at.millis(),
            number: reading.number,
            sensor: &sensor.id,
        };
        let payload = &mut self.payload;
        payload.clear();
        shared.write(payload, &fill, reading.planted);
        let topic = &*sensor.topic;
        out.publish_plain(id, &Plain { topic, qos: self.common.qos, dup, payload })
    }

    /// Counts a reading that the broker has taken.
    fn took(&mut self, reading: Reading) {
        let Reading { sensor, planted, is_copy, .. } = reading;
        if !is_copy {
            self.common.totals.acknowledged.one();
        }
        self.count(sensor, |counts| {
            if is_copy {
                return counts.planted.count(Fault::Duplicate);
            }
            counts.acknowledged += 1;
            counts.planted.count_made(planted);
        });
    }

    /// Counts a reading that the broker has not taken; a second message of one is no reading.
    fn refused(&mut self, reading: Reading) {
        if !reading.is_copy {
            self.common.totals.refused.one();
            self.count(reading.sensor, |counts| counts.refused += 1);
        }
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
        for reading in written {
            self.took(reading);
        }
    }

    /// QoS 0: readings that were not written when the connection broke may have been sent or not. They are not
    /// resent.
    fn let_go(&mut self) {
        for reading in std::mem::take(&mut self.unwritten) {
            self.refused(reading);
        }
    }

    fn read(&mut self, now: Now, inbound: &mut Inbound) -> Result<(), Error> {
        let version = self.session.options().version;
        while let Some(incoming) = inbound.packet()? {
            if let Incoming::Other(bytes) = incoming
                && let Packet::PubAck { packet_id, answer } = Connection::read(version, bytes)?
            {
                self.answered(now, packet_id, answer)?;
            }
        }
        Ok(())
    }

    fn answered(&mut self, now: Now, packet_id: u16, answer: Answer) -> Result<(), Error> {
        let reading = self.unacknowledged.acknowledge(packet_id).ok_or_else(|| {
            Error::Protocol(format!(
                "a PUBACK for packet id {packet_id}, which no unacknowledged reading has"
            ))
        })?;
        self.session.proved();
        if let Answer::Refused(reason) = answer {
            self.refused(reading);
            if let Some(left_out) = self.refusals.due(now.instant) {
                let topic = &*self.sensors.get(reading.sensor).expect(OWN_SENSOR).topic;
                tracing::warn!(topic, %reason, left_out, "the broker refuses a reading");
            }
            return Ok(());
        }
        if answer == Answer::NobodyListens {
            self.common.totals.unheard.one();
        }
        self.took(reading);
        Ok(())
    }
}

impl Client for Sender {
    fn is_wanted(&mut self) -> bool {
        !self.is_over()
    }

    /// The broker stores nothing for a publisher: unacknowledged readings are stored here.
    fn attempt(&mut self) -> Attempt {
        self.session.attempt(Hello {
            clean_start: true,
            session_expiry: None,
            receive_max: None,
            packet_bytes_max: None,
        })
    }

    fn handle_failed(&mut self, now: Now, failed: Failed) -> Result<Duration, Error> {
        self.session.handle_failed(now.instant, failed)
    }

    fn handle_connected(
        &mut self,
        now: Now,
        greeting: Greeting,
        _out: &mut Outbound,
    ) -> Result<(), Error> {
        self.session.handle_connected(now.instant, &greeting);
        let Common { qos, window, pace, .. } = &self.common;
        let window = (*window).min(usize::from(greeting.receive_max.max(1)));
        let is_small = *qos > 0 && window < GATHER_WINDOW_MIN;
        self.window = Some((window, is_small.then(|| NoRest::new(pace))));
        if greeting.qos_max < *qos {
            let reason = format!("it takes no QoS above {}: set --qos", greeting.qos_max);
            return Err(Error::Refused { reason, permanent: true });
        }
        self.unacknowledged.reconnected();
        Ok(())
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
        self.read(now, inbound)?;
        let window = self.window.as_ref().expect("a connection stands").0;
        let due = self.fill(now, window, out)?;
        if self.is_over() {
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
