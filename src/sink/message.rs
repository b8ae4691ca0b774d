//! A sealed batch as a PUBLISH.
//!
//! Readings go to one topic, dead letters to another; or each route to its own, where a topic has places. The name of
//! such a route is that of all readings or all dead letters, and the topic. With MQTT 5 the user properties `batch`, `count` and
//! `gateway` say of a message what its text may not; `encoding` how it is compressed, because MQTT has a content type and
//! no content encoding.

use bytes::Bytes;

use super::packed::Compression;
use super::routing::Routing;
use super::{Measure, dead_letter};
use crate::codec::pattern::Filling;
use crate::codec::{Unwritable, View};
use crate::mqtt::options::Version;
use crate::mqtt::outgoing::{Outgoing, PUBLISH_OVERHEAD_BYTES};
use crate::mqtt::topic::Topic;
use crate::mqtt::topic_pattern::TopicPattern;
use crate::sealed::{Kind, Route, Sealed};

/// How batches are published.
#[derive(Debug, Clone)]
pub struct Messages {
    /// The version that is spoken.
    pub version: Version,
    /// 0 or 1.
    pub qos: u8,
    /// Where readings go.
    pub topic: TopicPattern,
    /// Where dead letters go.
    pub dead_letter_topic: TopicPattern,
    /// The broker keeps the last batch of a topic.
    pub retain: bool,
    /// Seconds after which the broker may drop a batch that it has not delivered (MQTT 5).
    pub expiry: Option<u32>,
    /// How batches are compressed; dead letters, which are for people, are not.
    pub compression: Compression,
    /// What ends the topic of a batch for that.
    pub suffix: &'static str,
}

impl Messages {
    /// The message of a batch.
    pub fn of(&self, sealed: &Sealed) -> Outgoing {
        let packed = self.compression_of(sealed).pack(&sealed.text).map(Bytes::from);
        let payload = packed.unwrap_or_else(|| sealed.text.clone());
        Outgoing { payload, ..self.empty(sealed) }
    }

    /// The same without its payload.
    fn empty(&self, sealed: &Sealed) -> Outgoing {
        let content_type = match sealed.kind {
            Kind::Readings { format, .. } => format.content_type(),
            Kind::DeadLetters { .. } => dead_letter::CONTENT_TYPE,
        };
        let property = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut properties = Vec::new();
        if !sealed.id.is_empty() {
            properties.push(property("batch", &sealed.id));
            properties.push(property("count", &sealed.count.to_string()));
        }
        properties.push(property("gateway", &sealed.gateway));
        if let Some(encoding) = self.compression_of(sealed).encoding() {
            properties.push(property("encoding", encoding));
        }
        Outgoing {
            topic: self.topic(sealed),
            qos: self.qos,
            payload: Bytes::new(),
            content_type,
            properties,
            retain: self.retain && !sealed.is_letters(),
            expiry: self.expiry.filter(|_| !sealed.is_letters()),
        }
    }

    fn compression_of(&self, sealed: &Sealed) -> Compression {
        if sealed.is_letters() { Compression::None } else { self.compression }
    }

    fn pattern(&self, letters: bool) -> &TopicPattern {
        if letters { &self.dead_letter_topic } else { &self.topic }
    }

    /// The topic that a batch goes to: what its route names, if these settings make such topics.
    fn topic(&self, sealed: &Sealed) -> Topic {
        let pattern = self.pattern(sealed.is_letters());
        let made = made(pattern, sealed);
        if !self.suffix.is_empty() && !sealed.is_letters() {
            let topic = made.unwrap_or_else(|| pattern.plain().as_str());
            let topic = Topic::made(&format!("{topic}{}", self.suffix));
            return topic.expect("its length was checked with the suffix");
        }
        made.and_then(Topic::made).unwrap_or_else(|| pattern.plain().clone())
    }
}

/// The topic of a batch's route, where there are several.
fn made<'a>(pattern: &TopicPattern, sealed: &'a Sealed) -> Option<&'a str> {
    pattern.has_places().then(|| Route::place_in(sealed.route().as_str()))?
}

impl Routing for Messages {
    fn is_one(&self) -> bool {
        !self.topic.has_places()
    }

    fn text(&self) -> String {
        // No topic has a line break.
        format!("{}\n{}", self.topic, self.dead_letter_topic)
    }

    fn key(&self, out: &mut Vec<u8>, view: &View<'_>) {
        self.topic.pattern().key(out, view);
    }

    fn route(&self, view: &View<'_>) -> Result<Route, Unwritable> {
        Ok(Route::output_at(&self.topic.fill(&Filling::of(view))?))
    }

    /// Of the topic that it was sealed for, as long as that may be one of these settings. One topic for all takes all.
    /// What was sealed for one topic goes to the topic with its places empty.
    fn named(&self, name: &str) -> Option<Route> {
        let place = Route::is_output(name).then(|| Route::place_in(name))?;
        match place.filter(|_| self.topic.has_places()) {
            Some(topic) => self.topic.may_make(topic).then(|| Route::named(name)),
            None => Some(Route::output()),
        }
    }

    fn letter_route(&self, entry: Option<&str>, sensor: &str) -> Route {
        let of = Filling::of_letter(entry, sensor);
        let topic = Some(&self.dead_letter_topic).filter(|it| it.has_places());
        let topic = topic.and_then(|it| it.fill(&of).ok());
        topic.map_or_else(Route::dead_letters, |topic| Route::dead_letters_at(&topic))
    }

    fn letter_route_named(&self, name: &str) -> Route {
        let topic = Route::place_in(name).filter(|it| self.dead_letter_topic.may_make(it));
        topic.map_or_else(Route::dead_letters, Route::dead_letters_at)
    }
}

impl Measure for Messages {
    fn bytes(&self, sealed: &Sealed) -> usize {
        self.of(sealed).packet_bytes(self.version)
    }

    /// Compressing it is only tried where it has to be.
    fn takes(&self, sealed: &Sealed, bytes_max: usize) -> bool {
        let text_bytes_max = self.text_bytes_max(sealed, bytes_max);
        text_bytes_max.is_some_and(|max| sealed.text.len() <= max)
            || self.compression_of(sealed) != Compression::None && self.bytes(sealed) <= bytes_max
    }

    fn text_bytes_max(&self, like: &Sealed, bytes_max: usize) -> Option<usize> {
        let payload = self.empty(like).payload_bytes_max(self.version, bytes_max)?;
        payload.checked_sub(self.compression_of(like).growth_bytes(payload))
    }

    fn overhead_bytes(&self, gateway: &str, letters: bool) -> usize {
        overhead_bytes(self.pattern(letters), gateway) + self.suffix.len()
    }

    fn destination<'a>(&'a self, sealed: &'a Sealed) -> &'a str {
        let pattern = self.pattern(sealed.is_letters());
        made(pattern, sealed).unwrap_or_else(|| pattern.plain().as_str())
    }
}

/// Bytes of a PUBLISH to this topic beside its payload, at most.
pub fn overhead_bytes(topic: &TopicPattern, gateway: &str) -> usize {
    PUBLISH_OVERHEAD_BYTES + topic.bytes_max() + 3 * gateway.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::codec::Format;
    use crate::sink::packed::unpacked;

    fn messages(topic: &str, compression: Compression, suffix: &'static str) -> Messages {
        let pattern = |text: &str| TopicPattern::try_from(text.to_owned()).unwrap();
        Messages {
            version: Version::V5,
            qos: 1,
            topic: pattern(topic),
            dead_letter_topic: pattern("gateway/dead-letters"),
            retain: false,
            expiry: None,
            compression,
            suffix,
        }
    }

    fn sealed(text: &str, kind: Kind) -> Sealed {
        let (gateway, id, text) = ("gw".to_owned(), "b-1".to_owned(), text.to_owned().into());
        Sealed { gateway, id, kind, count: 1, text, places: None }
    }

    fn readings(text: &str) -> Sealed {
        let (route, format, sealed_at) =
            (Route::output_at("a/s"), Format::Json, Timestamp::from_millis(0));
        sealed(text, Kind::Readings { route, format, sealed_at })
    }

    #[test]
    fn a_batch_is_compressed_and_says_so_and_a_dead_letter_is_not() {
        let text = "x".repeat(5000);
        let letters = sealed(&text, Kind::DeadLetters { route: Route::dead_letters() });
        for (compression, name) in [(Compression::Gzip, "gzip"), (Compression::Zstd, "zstd")] {
            for (suffix, topic) in [("", "a/s"), (".packed", "a/s.packed")] {
                let messages = messages("a/{sensor}", compression, suffix);
                let message = messages.of(&readings(&text));
                let unpacked = unpacked(&message.payload, text.len()).unwrap().unwrap();
                assert_eq!((message.topic.as_str(), unpacked), (topic, text.clone().into()));
                let encoding = ("encoding".to_owned(), name.to_owned());
                assert_eq!(message.properties.last(), Some(&encoding));
                assert_eq!(message.content_type, "application/json", "of what is inside");
                let message = messages.of(&letters);
                assert_eq!(message.payload, text);
                assert!(!message.properties.iter().any(|(name, _)| name == "encoding"));
                assert_eq!(message.topic.as_str(), "gateway/dead-letters");
            }
        }
        let plain = messages("a/{sensor}", Compression::None, "");
        assert_eq!(plain.of(&readings(&text)).payload, text);
    }

    #[test]
    fn what_fits_is_judged_by_the_compressed_size() {
        let (large, messages) = (readings(&"x".repeat(5000)), messages("a", Compression::Zstd, ""));
        let bytes = messages.bytes(&large);
        assert!(bytes < 300 && messages.takes(&large, bytes) && !messages.takes(&large, bytes - 1));
        // Without trying, where it fits anyway.
        let room = messages.text_bytes_max(&large, 2000).unwrap();
        let growth = Compression::Zstd.growth_bytes(room);
        let empty =
            Messages { compression: Compression::None, ..messages.clone() }.bytes(&readings(""));
        assert!(empty + room + growth <= 2000 && room > 1600, "{room}");
        assert_eq!(messages.text_bytes_max(&large, 100), None);
    }
}
