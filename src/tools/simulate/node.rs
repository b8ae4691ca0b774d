//! A simulated edge node of Sparkplug B (Eclipse Sparkplug 3.0): an entry on a connection of its own.
//!
//! - Births come first on each connection, that of the node and then those of its devices, and again where a host asks
//!   for them. A reading goes out behind them, by its alias.
//! - A message takes its number when it is made, and is written at once: on the wire they count 0 to 255 and again
//!   from 0 on.
//! - Data has QoS 0, as the standard has it: what is not written when the connection is lost is not sent again.
//! - Its death is the will of each connection, with the number of that birth. Where the connection is ended by us, it is
//!   published before: a broker forgets the will then.

use std::time::Duration;

use super::sensors::Sensors;
use super::supply::{Offer, Supply};
use super::unacknowledged::Reading;
use crate::clock::{self, Now, Timestamp};
use crate::mqtt::outgoing::Will;
use crate::mqtt::packet::Greeting;
use crate::mqtt::plain::Plain;
use crate::mqtt::topic::Topic;
use crate::source::simulated::Shared;
use crate::source::simulated::sparkplug::{EdgeNode, Place, Sample, Writer, asks_for_births};

/// An invariant: indexes of devices come from this node's own schedule.
const OWN_DEVICE: &str = "the device is of this node";

#[derive(Debug)]
pub(super) struct Node {
    edge: EdgeNode,
    /// Its devices, the topics of which are those of DDATA.
    sensors: Sensors,
    /// The last reading of each device.
    last: Vec<Option<Sample>>,
    /// The devices' names, for their births.
    names: Vec<Box<str>>,
    /// What is to be born next; `None`: all are.
    unborn: Option<Birth>,
    /// When the node was born: what was read before is history.
    born: Timestamp,
    /// The number of the next birth; that of the current connection is one less.
    bd_seq: u8,
    seq: u8,
    commands: String,
    topic: String,
    writer: Writer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Birth {
    Node,
    Device(usize),
}

/// A message, with its number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message {
    place: Place,
    what: What,
}

#[derive(Debug, Clone, Copy)]
enum What {
    Birth(Birth),
    Data(Reading),
}

impl Node {
    /// A node with these devices, of which each has its name.
    pub(super) fn new(edge: EdgeNode, sensors: Sensors, names: Vec<Box<str>>) -> Self {
        Self {
            commands: edge.topic("NCMD"),
            edge,
            last: vec![None; names.len()],
            names,
            sensors,
            unborn: Some(Birth::Node),
            born: Timestamp::default(),
            bd_seq: 0,
            seq: 0,
            topic: String::new(),
            writer: Writer::default(),
        }
    }

    /// What was published of its sensors.
    pub(super) fn into_sensors(self) -> Sensors {
        self.sensors
    }

    /// The next birth, if one is due.
    fn birth(&mut self, now: Timestamp) -> Option<Message> {
        let birth = self.unborn?;
        let next = match birth {
            Birth::Node => {
                (self.born, self.seq) = (now, 0);
                0
            }
            Birth::Device(at) => at + 1,
        };
        self.unborn = (next < self.names.len()).then_some(Birth::Device(next));
        Some(self.message(now, What::Birth(birth)))
    }

    fn message(&mut self, at: Timestamp, what: What) -> Message {
        let place = Place { at, seq: self.seq };
        self.seq = self.seq.wrapping_add(1);
        Message { place, what }
    }

    /// The number of the birth on the current connection.
    fn bd_seq(&self) -> u8 {
        self.bd_seq.wrapping_sub(1)
    }
}

fn alias(device: usize) -> u64 {
    device as u64
}

impl Supply for Node {
    type Message = Message;

    fn will(&mut self) -> Option<Will> {
        self.bd_seq = self.bd_seq.wrapping_add(1);
        let topic = Topic::made(&self.edge.topic("NDEATH")).expect("a group is a level of a topic");
        let bd_seq = self.bd_seq();
        let payload = self.writer.death(clock::now().wall, bd_seq).to_vec();
        Some(Will { topic, payload, retain: false })
    }

    fn commands(&self) -> Option<&str> {
        Some(&self.commands)
    }

    fn greet(&mut self, _: &Greeting) {
        self.unborn = Some(Birth::Node);
    }

    fn command(&mut self, payload: &[u8]) {
        if asks_for_births(payload) {
            tracing::debug!(topic = self.commands, "a host asks for births");
            self.unborn = Some(Birth::Node);
        }
    }

    fn next(&mut self, start: Now, elapsed: Duration) -> Offer<Message> {
        let now = start.later(elapsed).wall;
        if let Some(birth) = self.birth(now) {
            return Offer::Message(birth);
        }
        match self.sensors.next(start, elapsed) {
            Offer::Message(reading) => {
                let last = self.last.get_mut(reading.sensor).expect(OWN_DEVICE);
                *last = Some(sample(&reading));
                Offer::Message(self.message(now, What::Data(reading)))
            }
            Offer::Absent => Offer::Absent,
            Offer::Wait(until) => Offer::Wait(until),
            Offer::Full => Offer::Full,
            Offer::Over => Offer::Over,
        }
    }

    fn plain<'s>(&'s mut self, message: &'s Message) -> Plain<'s> {
        let bd_seq = self.bd_seq();
        let Self { edge, sensors, writer, .. } = self;
        let place = message.place;
        let (topic, payload) = match &message.what {
            What::Birth(Birth::Node) => {
                self.topic = edge.topic("NBIRTH");
                (&*self.topic, writer.node_birth(place, bd_seq))
            }
            What::Birth(Birth::Device(at)) => {
                self.topic = edge.topic_of("DBIRTH", self.names.get(*at).expect(OWN_DEVICE));
                let last = *self.last.get(*at).expect(OWN_DEVICE);
                let unit = sensors.of(*at).values.shared().unit();
                (&*self.topic, writer.device_birth(place, alias(*at), last, unit))
            }
            What::Data(reading) => {
                let is_historical = reading.at < self.born;
                let sample = sample(reading);
                let payload = writer.data(place, alias(reading.sensor), sample, is_historical);
                Shared::spoil(payload, reading.planted);
                (&*sensors.of(reading.sensor).topic, &**payload)
            }
        };
        Plain { topic, qos: 0, dup: false, retain: false, properties: &[], payload }
    }

    fn farewell(&mut self) -> Option<Plain<'_>> {
        self.topic = self.edge.topic("NDEATH");
        let bd_seq = self.bd_seq();
        let payload = self.writer.death(clock::now().wall, bd_seq);
        Some(Plain {
            topic: &self.topic,
            qos: 1,
            dup: false,
            retain: false,
            properties: &[],
            payload,
        })
    }

    fn sent_again(&mut self, _: &Message) {}

    fn took(&mut self, message: Message) {
        if let What::Data(reading) = message.what {
            self.sensors.took(reading);
        }
    }

    fn refused(&mut self, message: Message) {
        if let What::Data(reading) = message.what {
            self.sensors.refused(reading);
        }
    }
}

fn sample(reading: &Reading) -> Sample {
    Sample { value: reading.value, at: reading.at }
}

#[cfg(test)]
mod tests;
