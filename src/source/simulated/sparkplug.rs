//! `payload = "sparkplug_b"` of a simulated entry: the messages of an edge node, written (Eclipse Sparkplug 3.0).
//!
//! The entry is the node, and each of its sensors a device with one metric:
//!
//! | message | metrics |
//! | --- | --- |
//! | NBIRTH | `bdSeq`, `Node Control/Rebirth` |
//! | DBIRTH | `value`, a Double, with its alias, its unit (`engUnit`) and its last value; null before the first reading |
//! | DDATA | the alias and the value; `is_historical`, where the reading is older than the birth |
//! | NDEATH | the `bdSeq` of the birth |
//!
//! A writer keeps its buffers: a message takes no allocation.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::codec::sparkplug::wire::{Field, Fields, Message};
use crate::codec::sparkplug::{NAMESPACE, REBIRTH};

/// Bytes of a group, at most. A longer one is refused.
const GROUP_BYTES_MAX: usize = 64;

/// The metric of each device.
const VALUE: &str = "value";

/// Numbers of data types (§6.4.16).
const INT64: u64 = 4;
const DOUBLE: u64 = 10;
const BOOLEAN: u64 = 11;
const STRING: u64 = 12;

/// An edge node of Sparkplug B.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "simulated edge node")]
pub struct Options {
    /// The group of the node, 1 to 64 bytes: the level of its topics behind `spBv1.0`.
    pub group: Group,
}

impl Default for Options {
    fn default() -> Self {
        Self { group: Group("simulated".to_owned()) }
    }
}

/// A level of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("minLength" = 1, "maxLength" = GROUP_BYTES_MAX, "pattern" = "^[^/+#]+$"))]
#[schemars(extend("not" = {"const": "STATE"}))]
pub struct Group(String);

impl TryFrom<String> for Group {
    type Error = String;

    fn try_from(group: String) -> Result<Self, String> {
        let is_level = !group.contains(|it: char| "/+#".contains(it) || it.is_control());
        let has_room = (1..=GROUP_BYTES_MAX).contains(&group.len());
        // Under this name hosts have their topics.
        (is_level && has_room && group != "STATE").then_some(Self(group)).ok_or_else(|| {
            format!("is no group: write 1 to {GROUP_BYTES_MAX} bytes without \"/\", \"+\", \"#\", and not STATE")
        })
    }
}

impl From<Group> for String {
    fn from(group: Group) -> Self {
        group.0
    }
}

/// A simulated edge node: its group and its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeNode {
    group: String,
    node: String,
}

impl EdgeNode {
    /// The entry of this name.
    pub(super) fn new(options: &Options, name: &str) -> Self {
        Self { group: options.group.0.clone(), node: name.to_owned() }
    }

    /// Its topic of this kind, such as NBIRTH.
    pub fn topic(&self, kind: &str) -> String {
        format!("{NAMESPACE}/{}/{kind}/{}", self.group, self.node)
    }

    /// A device's topic of this kind, such as DDATA.
    pub fn topic_of(&self, kind: &str, device: &str) -> String {
        format!("{}/{device}", self.topic(kind))
    }

    /// What a gateway calls a device, unless its entry says otherwise.
    pub fn sensor_of(&self, device: &str) -> String {
        format!("{}/{}/{device}", self.group, self.node)
    }
}

/// A reading of a device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Its value.
    pub value: f64,
    /// Its time.
    pub at: Timestamp,
}

/// Where a message stands: its time, and its number among those of its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// When it is published.
    pub at: Timestamp,
    /// 0 with the birth of the node, then up to 255 and again from 0 on.
    pub seq: u8,
}

/// Writes the payloads of a node, one after the other.
#[derive(Debug, Default)]
pub struct Writer {
    payload: Message,
    metric: Message,
    inner: [Message; 2],
}

impl Writer {
    /// NBIRTH.
    pub fn node_birth(&mut self, place: Place, bd_seq: u8) -> &[u8] {
        self.begin(place.at);
        self.bd_seq(place.at, bd_seq);
        self.metric.clear();
        self.metric.bytes(1, REBIRTH.as_bytes());
        self.metric.number(3, place.at.millis());
        self.metric.number(4, BOOLEAN);
        self.metric.number(14, 0);
        self.end(Some(place.seq))
    }

    /// DBIRTH of the device with this alias.
    pub fn device_birth(
        &mut self,
        place: Place,
        alias: u64,
        last: Option<Sample>,
        unit: Option<&str>,
    ) -> &[u8] {
        self.begin(place.at);
        self.metric.bytes(1, VALUE.as_bytes());
        self.metric.number(2, alias);
        self.metric.number(3, last.map_or(place.at, |it| it.at).millis());
        self.metric.number(4, DOUBLE);
        if last.is_none() {
            self.metric.number(7, 1);
        }
        if let Some(unit) = unit {
            let [set, value] = &mut self.inner;
            value.clear();
            value.number(1, STRING);
            value.bytes(8, unit.as_bytes());
            set.clear();
            set.bytes(1, b"engUnit");
            set.bytes(2, value.written());
            self.metric.bytes(9, set.written());
        }
        if let Some(last) = last {
            self.metric.double(13, last.value);
        }
        self.end(Some(place.seq))
    }

    /// DDATA of the device with this alias.
    pub fn data(
        &mut self,
        place: Place,
        alias: u64,
        sample: Sample,
        is_historical: bool,
    ) -> &mut Vec<u8> {
        self.begin(place.at);
        self.metric.number(2, alias);
        self.metric.number(3, sample.at.millis());
        if is_historical {
            self.metric.number(5, 1);
        }
        self.metric.double(13, sample.value);
        self.end(Some(place.seq))
    }

    /// NDEATH, which has no number.
    pub fn death(&mut self, at: Timestamp, bd_seq: u8) -> &[u8] {
        self.begin(at);
        self.bd_seq(at, bd_seq);
        self.payload.written()
    }

    fn begin(&mut self, at: Timestamp) {
        self.metric.clear();
        self.payload.clear();
        self.payload.number(1, at.millis());
    }

    /// A whole metric: the number that birth and death of a node have in common.
    fn bd_seq(&mut self, at: Timestamp, bd_seq: u8) {
        self.metric.bytes(1, b"bdSeq");
        self.metric.number(3, at.millis());
        self.metric.number(4, INT64);
        self.metric.number(11, bd_seq.into());
        self.payload.bytes(2, self.metric.written());
    }

    /// Ends a payload with the metric that was begun.
    fn end(&mut self, seq: Option<u8>) -> &mut Vec<u8> {
        self.payload.bytes(2, self.metric.written());
        if let Some(seq) = seq {
            self.payload.number(3, seq.into());
        }
        self.payload.written_mut()
    }
}

/// Whether a command (NCMD) asks for births.
pub fn asks_for_births(command: &[u8]) -> bool {
    let of = |bytes, wanted| {
        let fields = Fields(bytes).filter_map(Result::ok);
        fields.filter(move |it| it.0 == wanted).map(|it: (u32, Field<'_>)| it.1)
    };
    of(command, 2).filter_map(|it| it.bytes().ok()).any(|metric| {
        let is_named = of(metric, 1).any(|it| it.text() == Ok(REBIRTH));
        is_named && of(metric, 14).any(|it| it.is_true() == Ok(true))
    })
}

#[cfg(test)]
mod tests;
