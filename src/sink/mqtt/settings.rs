//! `[output.mqtt]`: the topics that batches and dead letters are published to, and how.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Bounds, MqttSink, READ_BUFFER_BYTES};
use crate::limits::WRITE_BUFFER_BYTES_MAX;
use crate::mqtt::broker::Broker;
use crate::mqtt::options::Version;
use crate::mqtt::session::Session;
use crate::mqtt::topic::Topic;
use crate::sink::message::Messages;
use crate::sink::{Declared, Measure, ReadBack, Start, Surroundings};
use crate::tasks::Tasks;
use crate::units::Period;

/// `[output.mqtt]`. Its keys may also stand in `[output]` itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where batches are published.
    pub topic: Topic,
    /// 1: a reading is settled by the broker's PUBACK. 0: when it is written to the socket; it may get lost.
    pub qos: OutputQos,
    /// The longest time for a PUBACK, at least 1s. After it the gateway reconnects and publishes everything
    /// unacknowledged again, with the same ids; after the third time for the same batch, in smaller parts.
    pub answer_max: Period,
    /// What happens to a batch that the broker accepts while nobody subscribes to its topic, if the broker
    /// reports that (MQTT 5, `qos = 1`). Dead letters are never held for it.
    pub without_subscriber: WithoutSubscriber,
    /// Where messages that are no reading are published, with the reason.
    pub dead_letter_topic: Topic,
    /// A broker of its own for the output, with the keys of `[broker]`. Absent: batches go to `[broker]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker: Option<Box<Broker>>,
}

impl Default for Settings {
    fn default() -> Self {
        let topic = |text: &str| Topic::try_from(text.to_owned()).expect("a valid topic");
        Self {
            topic: topic("gateway/batches"),
            qos: OutputQos(1),
            answer_max: Period::millis(60_000),
            without_subscriber: WithoutSubscriber::default(),
            dead_letter_topic: topic("gateway/dead-letters"),
            broker: None,
        }
    }
}

impl Settings {
    /// The broker that batches go to: its own, or that of the readings.
    pub fn broker<'a>(&'a self, readings: &'a Broker) -> &'a Broker {
        self.broker.as_deref().unwrap_or(readings)
    }

    /// How batches are published.
    pub fn messages(&self, readings: &Broker) -> Messages {
        let (topic, dead_letter_topic) = (self.topic.clone(), self.dead_letter_topic.clone());
        Messages {
            version: self.broker(readings).version,
            qos: self.qos.0,
            topic,
            dead_letter_topic,
        }
    }
}

impl Declared for Settings {
    fn measure(&self, around: &Surroundings<'_>) -> Arc<dyn Measure> {
        Arc::new(self.messages(around.broker))
    }

    fn batch_bytes_most(&self) -> usize {
        BATCH_BYTES_MOST
    }

    fn bytes_max(&self, batch_bytes: u64, around: &Surroundings<'_>) -> u64 {
        // What is written and not yet sent, in a buffer that grows: with its old copy while it moves.
        let written = 2 * (WRITE_BUFFER_BYTES_MAX as u64 + batch_bytes);
        written + self.broker(around.broker).url.stream_bytes() as u64
    }

    fn destination(&self, around: &Surroundings<'_>) -> String {
        let options = self.broker(around.broker).options(around.gateway, CLIENT);
        let (client, url, version) = (&options.client_id, &options.url, options.version);
        let Self { topic, dead_letter_topic, qos: OutputQos(qos), .. } = self;
        format!(
            "{client} publishes batches to {topic} and dead letters to {dead_letter_topic} at {url} \
             (MQTT {version}, QoS {qos})"
        )
    }

    fn start(&self, start: Start<'_>, tasks: &mut Tasks<()>) {
        let Start { around, channel_max, reports, standing, metrics, phase, seed, .. } = start;
        let options = self.broker(around.broker).options(around.gateway, CLIENT);
        let session = Session::new(options, READ_BUFFER_BYTES, seed)
            .with_status(standing)
            .beside(start.roll_call)
            .patient(Some(start.start_grace));
        let messages = self.messages(around.broker);
        let bounds = Bounds { channel_max, answer_max: self.answer_max.0 };
        let sink = MqttSink::new(session, messages, bounds, reports, metrics, phase);
        tasks.start(sink.run());
    }

    fn read_back(&self) -> ReadBack<'_> {
        ReadBack::Topics { batches: &self.topic, dead_letters: &self.dead_letter_topic }
    }

    fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if self.topic == self.dead_letter_topic {
            let text = "is the same as output.mqtt.topic: write another, for others read it";
            problems.push(("dead_letter_topic", text.to_owned()));
        }
        if self.answer_max.0.as_secs() < 1 {
            problems.push(("answer_max", "must be at least 1s".to_owned()));
        }
        problems
    }

    fn warnings(&self, around: &Surroundings<'_>) -> Vec<(&'static str, String)> {
        if self.without_subscriber == WithoutSubscriber::Deliver {
            return Vec::new();
        }
        let text = if self.broker(around.broker).version == Version::V3 {
            "\"hold\" has no effect with version = 3: MQTT 3.1.1 has no word for a topic that nobody \
             subscribes to, and such batches count as delivered; use version = 5"
        } else if self.qos.0 == 0 {
            "\"hold\" has no effect with output.mqtt.qos = 0: nothing is answered, and batches count as \
             delivered when they are written; use output.mqtt.qos = 1"
        } else {
            return Vec::new();
        };
        vec![("without_subscriber", text.to_owned())]
    }

    fn holds_without_subscriber(&self) -> bool {
        self.without_subscriber == WithoutSubscriber::Hold
    }
}

/// MQTT 5 §1.5.5 limits a packet to 268,435,455 bytes; the rest is for its header and properties.
const BATCH_BYTES_MOST: usize = 268_000_000;

/// What the name of the output's client ends with.
pub const CLIENT: &str = "out";

/// QoS of what is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "u8", into = "u8")]
#[schemars(extend("enum" = [0, 1]))]
pub struct OutputQos(pub u8);

impl TryFrom<u8> for OutputQos {
    type Error = String;

    fn try_from(qos: u8) -> Result<Self, String> {
        match qos {
            0 | 1 => Ok(Self(qos)),
            _ => Err(format!("{qos} cannot be used: write 1, or 0 to deliver at most once")),
        }
    }
}

impl From<OutputQos> for u8 {
    fn from(qos: OutputQos) -> Self {
        qos.0
    }
}

/// What happens to a batch that the output broker accepts while nobody subscribes to its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WithoutSubscriber {
    /// It counts as delivered, as in the standard, and the log warns: nobody gets it.
    #[default]
    Deliver,
    /// It is kept and published again, like a refused one. Meanwhile nothing new is published, sources wait (or
    /// the spool takes it), and the gateway is degraded.
    Hold,
}
