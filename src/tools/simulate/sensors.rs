//! The simulated sensors of one connection: readings by a schedule, each a message.

use std::sync::Arc;
use std::time::Duration;

use super::Totals;
use super::report::Counts;
use super::schedule::{Due, Next, Schedule};
use super::supply::{Offer, Supply};
use super::unacknowledged::Reading;
use crate::clock::{Now, Timestamp};
use crate::mqtt::packet::Greeting;
use crate::mqtt::plain::Plain;
use crate::source::simulated::{Fault, Fill, Turn, Values};

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

#[derive(Debug)]
pub(super) struct Sensors {
    pub(super) all: Vec<Sensor>,
    schedule: Schedule,
    totals: Arc<Totals>,
    /// The second message of the last reading, which is still to be sent.
    copy: Option<Reading>,
    payload: Vec<u8>,
    stamp: (Timestamp, String),
}

impl Sensors {
    pub(super) fn new(all: Vec<Sensor>, schedule: Schedule, totals: &Arc<Totals>) -> Self {
        Self {
            all,
            schedule,
            totals: Arc::clone(totals),
            copy: None,
            payload: Vec::new(),
            stamp: (Timestamp::default(), Timestamp::default().to_string()),
        }
    }

    /// The reading that is due; `None` if a planted fault leaves it out, or a file has ended.
    fn make(&mut self, due: Due, start: Now) -> Option<Reading> {
        let sensor = self.all.get_mut(due.sensor).expect(OWN_SENSOR);
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
        self.totals.sent.one();
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

    /// One of them.
    pub(super) fn of(&self, sensor: usize) -> &Sensor {
        self.all.get(sensor).expect(OWN_SENSOR)
    }

    fn count(&mut self, sensor: usize, count: impl FnOnce(&mut Counts)) {
        count(&mut self.all.get_mut(sensor).expect(OWN_SENSOR).counts);
    }
}

impl Supply for Sensors {
    type Message = Reading;

    fn greet(&mut self, _: &Greeting) {}

    fn next(&mut self, start: Now, elapsed: Duration) -> Offer<Reading> {
        if let Some(copy) = self.copy.take() {
            return Offer::Message(copy);
        }
        match self.schedule.next(elapsed) {
            Next::Reading(due) => self.make(due, start).map_or(Offer::Absent, Offer::Message),
            Next::Wait(until) => Offer::Wait(until),
            Next::Over => Offer::Over,
        }
    }

    fn plain<'s>(&'s mut self, reading: &'s Reading) -> Plain<'s> {
        if self.stamp.0 != reading.at {
            self.stamp = (reading.at, reading.at.to_string());
        }
        let sensor = self.all.get(reading.sensor).expect(OWN_SENSOR);
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
        let (qos, dup, retain, properties) = (0, false, false, &[][..]);
        Plain { topic: &sensor.topic, qos, dup, retain, properties, payload }
    }

    fn sent_again(&mut self, reading: &Reading) {
        self.count(reading.sensor, |counts| counts.again += 1);
        self.totals.again.one();
    }

    fn took(&mut self, reading: Reading) {
        let Reading { sensor, planted, is_copy, .. } = reading;
        if !is_copy {
            self.totals.acknowledged.one();
        }
        self.count(sensor, |counts| {
            if is_copy {
                return counts.planted.count(Fault::Duplicate);
            }
            counts.acknowledged += 1;
            counts.planted.count_made(planted);
        });
    }

    /// A second message of a reading is none.
    fn refused(&mut self, reading: Reading) {
        if !reading.is_copy {
            self.totals.refused.one();
            self.count(reading.sensor, |counts| counts.refused += 1);
        }
    }
}
