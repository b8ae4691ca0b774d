//! `payload = "sparkplug_b"`: the messages of edge nodes (Eclipse Sparkplug 3.0, payloads §6.4), for a passive host.
//!
//! A metric is a document:
//!
//! | member of the document | what |
//! | --- | --- |
//! | `sensorId` | the sensor: `group/node`, or `group/node/device` |
//! | `name` | the metric, which becomes the record's quantity |
//! | `value` | as `values` has it; `null` where the metric is null |
//! | `unit` | the property `engUnit` of its birth, which becomes the record's unit |
//! | `timestamp` | milliseconds of the metric, else of the message |
//! | `type`, `dataType` | `DDATA`; `Float` |
//! | `historical`, `transient` | `true`, where the metric says so |
//! | `properties`, `metadata` | where it has some |
//! | `group`, `node`, `device` | for templates; not in `extra` unless it is set |
//!
//! A birth says first that its node or device is `online`, with the value `true`. A death says last that it is not,
//! and so of each device of a node that dies: it is the end of the life of all their metrics. A death whose `bdSeq` is
//! that of an earlier birth ends nothing, and its `bdSeq` is marked `"stale":true`.
//!
//! - What a data message leaves out says the birth (`births`). A message of which a metric cannot be resolved
//!   *waits* for it, and so do all behind it of that device ([`Turn`]): nothing passes another. What the birth
//!   resolves no better, or what no birth came for in time, becomes a dead letter, `alias`; the other metrics of the
//!   message live.
//! - A gap in a node's `seq` is what QoS 0 has lost: it is counted.
//! - `rebirth`: a node whose birth is missing or of an earlier run, or that has a gap, is asked for one. Aliases that a
//!   node has changed while nobody listened are told only so.

use std::ops::ControlFlow;
use std::time::Duration;

use serde::Deserialize;

use self::births::Births;
use self::documents::Writing;
use self::metric::Metric;
use self::payload::{Payload, resolve};
use self::topic::{Address, Kind};
use self::wire::wrong;
use super::decode::Decode;
use super::json_writer::JsonWriter;
use super::mapping::Document;
use super::mapping::keys::Extra;
use super::mapping::settings::Settings;
use super::mapping::template::Template;
use super::turn::{Line, Note, Request, Turn};
use super::{Input, Malformed, Take};

mod births;
mod documents;
mod metric;
mod options;
mod payload;
mod rebirth;
mod topic;
mod values;
pub(crate) mod wire;

pub use self::options::Options;
pub use self::rebirth::REBIRTH;
pub use self::topic::NAMESPACE;

/// Reads the messages of an entry's nodes.
#[derive(Debug)]
pub struct Decoder {
    births: Births,
    /// Messages wait for births.
    waits: bool,
    asks: Option<rebirth::Requests>,
    /// Messages that were lost before they came here, and that nobody has asked for yet.
    missing: u64,
    /// Whether the message that was read last is a birth (`true`), or a death.
    says: Option<bool>,
    /// The document of a metric.
    json: JsonWriter,
    /// `group/node`, and then the device.
    sensor: String,
}

impl Decoder {
    fn new(options: &Options) -> Self {
        let wait = options.birth_wait.0;
        Self {
            births: Births::new(options.state_bytes_max.get()),
            waits: wait > Duration::ZERO,
            asks: options.rebirth.then(|| rebirth::Requests::new(wait)),
            missing: 0,
            says: None,
            json: JsonWriter::default(),
            sensor: String::new(),
        }
    }
}

impl Decode for Decoder {
    /// A message has many metrics.
    const IS_MANY: bool = true;

    /// A payload is bytes.
    const IS_TEXT: bool = false;

    /// The metric is the quantity, and the topic says most of the rest.
    fn complete(settings: &mut Settings) {
        let member = |name: &str| Template::try_from(name.to_owned()).expect("it is a template");
        settings.unit.get_or_insert_with(|| member("{/unit}"));
        settings.quantity.get_or_insert_with(|| member("{/name}"));
        if settings.extra == Extra::Keep {
            settings.extra = options::extra();
        }
    }

    /// Notes what a message says of its node, and whether it may be read now.
    fn turn(&mut self, input: &Input<'_>, again: bool) -> Turn {
        let Ok(address) = Address::of(input.topic) else { return Turn::Now };
        if address.kind == Kind::State {
            return Turn::Now;
        }
        let Ok(payload) = Payload::read(input.payload) else {
            self.pass(input);
            return Turn::Now;
        };
        let Address { group, node, device, .. } = address;
        name(&mut self.sensor, &[group, node]);
        let of = (&*self.sensor, device);
        let line = Line::of(&self.sensor, device);
        let seq = payload.seq.filter(|_| !again);
        match address.kind {
            Kind::Birth => {
                let bd_seq = payload.bd_seq().filter(|_| device.is_empty());
                self.births.born(of, &mut payload.good(), bd_seq);
                self.missing += self.births.count(of.0, device.is_empty(), payload.seq);
                Turn::Ends(line)
            }
            Kind::Death => {
                self.missing += self.births.count(of.0, false, seq);
                let is_whole = device.is_empty() && !self.births.is_stale(of.0, payload.bd_seq());
                Turn::Ends(if is_whole { line.whole() } else { line })
            }
            Kind::Data => {
                let is_unsure = self.births.is_unsure(of.0);
                let missing = self.births.count(of.0, false, seq);
                self.missing += missing;
                let born = self.births.of(of.0, device);
                let is_clear = payload.good().all(|it| resolve(&it, born).is_some());
                if let Some(asks) =
                    self.asks.as_mut().filter(|_| !is_clear || is_unsure || missing > 0)
                {
                    asks.ask((group, node), line, input.received);
                }
                if is_clear || !self.waits { Turn::Behind(line) } else { Turn::Waits(line) }
            }
            Kind::Command | Kind::State => Turn::Behind(line),
        }
    }

    /// What a birth or a death says of the time after it, before it is decoded; of another message nothing.
    fn note(&mut self, input: &Input<'_>) -> Option<Note> {
        let address = Address::of(input.topic).ok()?;
        let is_birth = address.kind == Kind::Birth;
        name(&mut self.sensor, &[address.group, address.node]);
        let line = Line::of(&self.sensor, address.device);
        let line = if address.device.is_empty() { line.whole() } else { line };
        let is_stale = || {
            let bd_seq = Payload::read(input.payload).ok().and_then(|it| it.bd_seq());
            self.births.is_stale(&self.sensor, bd_seq)
        };
        let holds = is_birth || address.kind == Kind::Death && !is_stale();
        holds.then_some(Note { line, is_birth })
    }

    /// A birth that an earlier run has heard may be an old one.
    fn learn(&mut self, input: &Input<'_>) -> Option<Note> {
        let address = Address::of(input.topic).ok()?;
        let payload = Payload::read(input.payload).ok()?;
        let note = self.note(input)?;
        let Address { device, .. } = address;
        if note.is_birth {
            let bd_seq = payload.bd_seq().filter(|_| device.is_empty());
            self.births.learn((&self.sensor, device), &mut payload.good(), bd_seq);
        } else {
            self.births.forget(&self.sensor, device);
        }
        Some(note)
    }

    /// It was not lost. Where its number cannot be read, the node's next message begins the count anew.
    fn pass(&mut self, input: &Input<'_>) {
        let Ok(Address { kind, group, node, device, .. }) = Address::of(input.topic) else {
            return;
        };
        if matches!(kind, Kind::Command | Kind::State) {
            return;
        }
        name(&mut self.sensor, &[group, node]);
        match Payload::read(input.payload).ok().and_then(|it| it.seq) {
            None => self.births.lose_count(&self.sensor),
            seq => {
                let is_birth = kind == Kind::Birth && device.is_empty();
                self.missing += self.births.count(&self.sensor, is_birth, seq);
            }
        }
    }

    /// Messages that the numbers of their nodes say were lost before they came here, since this was asked last.
    fn missing(&mut self) -> u64 {
        std::mem::take(&mut self.missing)
    }

    /// A birth says that its node or device is there, a death that it is gone.
    fn says(&self) -> Option<bool> {
        self.says
    }

    /// A node that is to be asked for its birth.
    fn request(&mut self) -> Option<Request> {
        self.asks.as_mut()?.next()
    }

    fn decode<'a>(&mut self, input: Input<'a>, take: &mut impl Take<'a>) -> ControlFlow<()> {
        let read = Address::of(input.topic).and_then(|address| {
            let is_state = address.kind == Kind::State;
            let payload =
                if is_state { Ok(Payload::default()) } else { Payload::read(input.payload) };
            Ok((address, payload?))
        });
        self.says = None;
        let (address, payload) = match read {
            Ok(read) => read,
            Err(malformed) => return take(input.payload, Err(malformed)),
        };
        if address.kind == Kind::State {
            return take(input.payload, self.state(&input, &address));
        }
        name(&mut self.sensor, &[address.group, address.node]);
        let Self { births, json, sensor, .. } = self;
        let mut writing = Writing { input, address, payload, json, node: sensor };
        let ended = writing.all(births, take);
        let is_death = address.kind == Kind::Death && !births.is_stale(sensor, payload.bd_seq());
        if is_death {
            births.forget(sensor, address.device);
        }
        self.says = is_death.then_some(false).or((address.kind == Kind::Birth).then_some(true));
        ended
    }
}

impl Decoder {
    /// The state of a host application (§6.4.28): whether it is online.
    fn state<'j>(
        &'j mut self,
        input: &Input<'_>,
        address: &Address<'_>,
    ) -> Result<Document<'j>, Malformed> {
        #[derive(Deserialize)]
        struct State {
            online: bool,
            timestamp: Option<u64>,
        }
        let read: Result<State, _> = serde_json::from_slice(input.payload);
        let state = read.map_err(|error| wrong(&format!("a host's state: {error}")))?;
        let Self { json, sensor, .. } = self;
        name(sensor, &["STATE", address.node]);
        let mut document = Writing {
            input: *input,
            address: *address,
            payload: Payload::default(),
            json,
            node: sensor,
        };
        document.payload.timestamp = state.timestamp;
        document.online(address.device, state.online)?;
        Ok(Document::Json(self.json.json()))
    }
}

/// Whether these bytes are a metric, and no payload: the first fields of both have the same numbers and other types.
pub fn is_metric(bytes: &[u8]) -> bool {
    Metric::read(bytes).is_ok() && Payload::read(bytes).is_err()
}

/// Writes a name of these levels.
fn name(into: &mut String, levels: &[&str]) {
    into.clear();
    for level in levels {
        if !into.is_empty() {
            into.push('/');
        }
        into.push_str(level);
    }
}

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
