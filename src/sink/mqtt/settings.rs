//! `[output.mqtt]`: the topics that batches and dead letters are published to, and how.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Bounds, MqttSink, READ_BUFFER_BYTES};
use crate::limits::{TOPIC_MADE_BYTES_MAX, WRITE_BUFFER_BYTES_MAX};
use crate::mqtt::broker::Broker;
use crate::mqtt::options::Version;
use crate::mqtt::session::Session;
use crate::mqtt::topic::TOPIC_BYTES_MAX;
use crate::mqtt::topic_pattern::TopicPattern;
use crate::sink::message::Messages;
use crate::sink::packed::Compression;
use crate::sink::{Declared, Measure, ReadBack, Start, Surroundings};
use crate::tasks::Tasks;
use crate::units::Period;

/// `[output.mqtt]`. Its keys may also stand in `[output]` itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where batches are published. With places, such as `plants/{tag.site}/{sensor}`, each topic has batches of its
    /// own. What fills a place is percent-encoded (`/ + # % $` and control characters), and `_` where a reading has
    /// nothing. See `batch.routes_max`.
    pub topic: TopicPattern,
    /// 1: a reading is settled by the broker's PUBACK. 0: when it is written to the socket; it may get lost.
    pub qos: OutputQos,
    /// The longest time for a PUBACK, at least 1s. After it the gateway reconnects and publishes everything
    /// unacknowledged again, with the same ids; after the third time for the same batch, in smaller parts.
    pub answer_max: Period,
    /// What happens to a batch that the broker accepts while nobody subscribes to its topic, if the broker
    /// reports that (MQTT 5, `qos = 1`). Dead letters are never held for it.
    pub without_subscriber: WithoutSubscriber,
    /// Where messages that are no reading are published, with the reason. It may have the same places; dead letters
    /// have no tags.
    pub dead_letter_topic: TopicPattern,
    /// The broker keeps the last batch of each topic for whoever subscribes later. Dead letters are never retained.
    pub retain: bool,
    /// How long the broker keeps a batch for a subscriber that is away, in whole seconds, at least 1s (MQTT 5: message
    /// expiry interval). It counts from when the batch is published: time in the spool is not part of it. Unset: for
    /// ever. Dead letters do not expire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiry: Option<Period>,
    /// How batches are compressed when they are published. Readers learn it from the user property `encoding` (MQTT 5),
    /// or from the first bytes. Dead letters are not compressed, and the spool is not.
    pub compression: Compression,
    /// With `compression`, the topic of a batch ends with `.gz` or `.zst`: for readers of MQTT 3.1.1, which has no
    /// properties.
    pub compression_suffix: bool,
    /// A broker of its own for the output, with the keys of `[broker]`. Absent: batches go to `[broker]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker: Option<Box<Broker>>,
}

impl Default for Settings {
    fn default() -> Self {
        let topic = |text: &str| TopicPattern::try_from(text.to_owned()).expect("a valid topic");
        Self {
            topic: topic("gateway/batches"),
            qos: OutputQos(1),
            answer_max: Period::millis(60_000),
            without_subscriber: WithoutSubscriber::default(),
            dead_letter_topic: topic("gateway/dead-letters"),
            retain: false,
            expiry: None,
            compression: Compression::None,
            compression_suffix: false,
            broker: None,
        }
    }
}

impl Settings {
    /// The broker that batches go to: its own, or that of the readings.
    pub fn broker<'a>(&'a self, readings: &'a Broker) -> &'a Broker {
        self.broker.as_deref().unwrap_or(readings)
    }

    fn suffix(&self) -> &'static str {
        if self.compression_suffix { self.compression.suffix() } else { "" }
    }

    /// Where batches are published: the topic with what ends it for their compression.
    pub fn published(&self) -> TopicPattern {
        let text = format!("{}{}", self.topic, self.suffix());
        // What is then too long is a problem of its own.
        TopicPattern::try_from(text).unwrap_or_else(|_| self.topic.clone())
    }

    /// How batches are published.
    pub fn messages(&self, readings: &Broker) -> Messages {
        let (topic, dead_letter_topic) = (self.topic.clone(), self.dead_letter_topic.clone());
        Messages {
            version: self.broker(readings).version,
            qos: self.qos.0,
            topic,
            dead_letter_topic,
            retain: self.retain,
            compression: self.compression,
            suffix: self.suffix(),
            expiry: self.expiry.map(|it| u32::try_from(it.0.as_secs()).unwrap_or(u32::MAX)),
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
        // Once in its task, and once where it is found out whether a batch fits.
        let packed = 2 * self.compression.bytes_max(batch_bytes);
        written + packed + self.broker(around.broker).url.stream_bytes() as u64
    }

    fn destination(&self, around: &Surroundings<'_>) -> String {
        let options = self.broker(around.broker).options(around.gateway, CLIENT);
        let (client, url, version) = (&options.client_id, &options.url, options.version);
        let Self { dead_letter_topic, qos: OutputQos(qos), .. } = self;
        let topic = self.published();
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
            .patient(start.start_grace);
        let messages = self.messages(around.broker);
        let bounds = Bounds { channel_max, answer_max: self.answer_max.0 };
        let sink = MqttSink::new(session, messages, bounds, reports, metrics, phase);
        tasks.start(sink.run());
    }

    fn read_back(&self) -> ReadBack<'_> {
        let dead_letters = self.dead_letter_topic.clone();
        ReadBack::Topics { batches: self.published(), dead_letters }
    }

    fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        let room = if self.topic.has_places() { TOPIC_MADE_BYTES_MAX } else { TOPIC_BYTES_MAX };
        if self.topic.plain().as_str().len() + self.suffix().len() > room {
            let text = format!("has more than {room} bytes with {:?} at its end", self.suffix());
            problems.push(("topic", text));
        }
        if self.compression_suffix && self.compression == Compression::None {
            let text = "stands without output.mqtt.compression: write \"gzip\" or \"zstd\" there, or remove it";
            problems.push(("compression_suffix", text.to_owned()));
        }
        let topic = self.published();
        if topic == self.dead_letter_topic {
            let text = "is the same as output.mqtt.topic: write another, for others read it";
            problems.push(("dead_letter_topic", text.to_owned()));
        } else if topic.overlaps(&self.dead_letter_topic) {
            let text = format!(
                "may be a topic of output.mqtt.topic ({topic}): write another, for others read it"
            );
            problems.push(("dead_letter_topic", text));
        }
        if self.expiry.is_some_and(|it| it.0.as_secs() < 1) {
            problems.push(("expiry", "must be at least 1s".to_owned()));
        }
        if self.answer_max.0.as_secs() < 1 {
            problems.push(("answer_max", "must be at least 1s".to_owned()));
        }
        problems
    }

    fn warnings(&self, around: &Surroundings<'_>) -> Vec<(&'static str, String)> {
        let mut warnings = Vec::new();
        let is_v3 = self.broker(around.broker).version == Version::V3;
        if is_v3 && self.expiry.is_some() {
            let text = "has no effect with version = 3: MQTT 3.1.1 has no word for it, and the broker keeps batches \
                        by its own settings; use version = 5";
            warnings.push(("expiry", text.to_owned()));
        }
        warnings.extend(
            self.hold_without_effect(is_v3).map(|it| ("without_subscriber", it.to_owned())),
        );
        warnings
    }

    fn holds_without_subscriber(&self) -> bool {
        self.without_subscriber == WithoutSubscriber::Hold
    }
}

impl Settings {
    /// Why nothing is held.
    fn hold_without_effect(&self, is_v3: bool) -> Option<&'static str> {
        if self.without_subscriber == WithoutSubscriber::Deliver {
            return None;
        }
        let text = if is_v3 {
            "\"hold\" has no effect with version = 3: MQTT 3.1.1 has no word for a topic that nobody \
             subscribes to, and such batches count as delivered; use version = 5"
        } else if self.qos.0 == 0 {
            "\"hold\" has no effect with output.mqtt.qos = 0: nothing is answered, and batches count as \
             delivered when they are written; use output.mqtt.qos = 1"
        } else {
            return None;
        };
        Some(text)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topic_ends_with_how_a_batch_is_compressed_if_asked_for() {
        for (compression, asked, suffix) in [
            ("gzip", true, ".gz"),
            ("zstd", true, ".zst"),
            ("none", true, ""),
            ("gzip", false, ""),
            ("zstd", false, ""),
        ] {
            let settings =
                serde_json::json!({"compression": compression, "compression_suffix": asked});
            let settings: Settings = serde_json::from_value(settings).unwrap();
            assert_eq!(settings.messages(&Broker::default()).suffix, suffix, "{compression}");
        }
    }
}
