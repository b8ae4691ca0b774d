//! A sealed batch as a PUBLISH.
//!
//! Readings go to one topic, dead letters to another. With MQTT 5 the user properties `batch`, `count` and
//! `gateway` say of a message what its text may not.

use bytes::Bytes;

use super::{Measure, dead_letter};
use crate::mqtt::options::Version;
use crate::mqtt::outgoing::{Outgoing, PUBLISH_OVERHEAD_BYTES};
use crate::mqtt::topic::Topic;
use crate::sealed::{Kind, Sealed};

/// How batches are published.
#[derive(Debug, Clone)]
pub struct Messages {
    /// The version that is spoken.
    pub version: Version,
    /// 0 or 1.
    pub qos: u8,
    /// Where readings go.
    pub topic: Topic,
    /// Where dead letters go.
    pub dead_letter_topic: Topic,
}

impl Messages {
    /// The message of a batch.
    pub fn of(&self, sealed: &Sealed) -> Outgoing {
        Outgoing { payload: sealed.text.clone(), ..self.empty(sealed) }
    }

    /// The same without its payload.
    fn empty(&self, sealed: &Sealed) -> Outgoing {
        let content_type = match sealed.kind {
            Kind::Readings { format, .. } => format.content_type(),
            Kind::DeadLetters => dead_letter::CONTENT_TYPE,
        };
        let property = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut properties = Vec::new();
        if !sealed.id.is_empty() {
            properties.push(property("batch", &sealed.id));
            properties.push(property("count", &sealed.count.to_string()));
        }
        properties.push(property("gateway", &sealed.gateway));
        Outgoing {
            topic: self.topic(sealed.is_letters()).clone(),
            qos: self.qos,
            payload: Bytes::new(),
            content_type,
            properties,
        }
    }

    fn topic(&self, letters: bool) -> &Topic {
        if letters { &self.dead_letter_topic } else { &self.topic }
    }
}

impl Measure for Messages {
    fn bytes(&self, sealed: &Sealed) -> usize {
        self.of(sealed).packet_bytes(self.version)
    }

    fn text_bytes_max(&self, like: &Sealed, bytes_max: usize) -> Option<usize> {
        self.empty(like).payload_bytes_max(self.version, bytes_max)
    }

    fn overhead_bytes(&self, gateway: &str, letters: bool) -> usize {
        overhead_bytes(self.topic(letters), gateway)
    }

    fn destination(&self, sealed: &Sealed) -> &str {
        self.topic(sealed.is_letters()).as_str()
    }
}

/// Bytes of a PUBLISH to this topic beside its payload, at most.
pub fn overhead_bytes(topic: &Topic, gateway: &str) -> usize {
    PUBLISH_OVERHEAD_BYTES + topic.as_str().len() + 3 * gateway.len()
}
