//! A topic beside the readings on which a sensor says that it is there (`online`): its availability, or its last will.
//!
//! What comes on it is no reading: it is acknowledged, counted as skipped, and sets the sensor's state. Retained messages
//! count, since that is how the state is told to whoever comes later.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::topics::Topics;
use crate::codec::mapping::several::Templates;
use crate::codec::mapping::template::Template;
use crate::codec::pointer::Pointer;
use crate::mqtt::topic::{Filter, LEVELS_MAX, SENSOR};

/// Bytes of a payload. A longer one says nothing.
const PAYLOAD_BYTES_MAX: usize = 1024;

/// `online`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Online {
    /// The topic on which sensors say whether they are there. It has the levels of the entry's topic of which their ids are
    /// made, under the same names.
    pub topic: Filter,
    /// What a sensor says that is there; another text means that it is not. An empty payload says nothing, nor does one of
    /// more than 1024 bytes.
    #[serde(default = "online")]
    pub value: String,
    /// Where that text is in a payload of JSON: a JSON pointer. A payload that has nothing there says nothing. Absent: it
    /// is the whole payload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<Pointer>,
}

fn online() -> String {
    "online".to_owned()
}

impl Online {
    /// Whether a sensor that says so is there; `None`: it says nothing.
    fn says(&self, payload: &[u8]) -> Option<bool> {
        let text = std::str::from_utf8(payload).ok().map(str::trim);
        let text = text.filter(|it| (1..=PAYLOAD_BYTES_MAX).contains(&it.len()))?;
        let Some(pointer) = &self.pointer else { return Some(text == self.value) };
        let read: Value = serde_json::from_str(text).ok()?;
        let path = pointer.levels().map(|it| it.replace('~', "~0").replace('/', "~1"));
        match read.pointer(&path.fold(String::new(), |path, level| path + "/" + &level))? {
            Value::Null => None,
            Value::String(said) => Some(*said == self.value),
            said => Some(format!("{said}") == self.value),
        }
    }

    /// What is wrong with it in an entry of this topic, whose ids are made by this template.
    pub(super) fn problem(&self, first: &Filter, sensor: Option<&Templates>) -> Option<String> {
        if self.pointer.as_ref().is_some_and(Pointer::is_of_message) {
            return Some(
                "has a pointer into a message around its payload, and there is none: remove the $"
                    .into(),
            );
        }
        if sensor.is_some_and(|it| !it.is_of_topic()) {
            return Some(
                "needs ids that the topic names, and `sensor` takes them from payloads".into(),
            );
        }
        let (ours, theirs) = (self.topic.names(), first.names());
        if let Some(name) = ours.iter().find(|it| !theirs.contains(it)) {
            return Some(format!(
                "{} names {{{name}}}, and {first} does not: write + for it",
                self.topic
            ));
        }
        let of_template = sensor.and_then(|it| it.iter().next()).map(Template::levels);
        let own = first.has_placeholder().then_some(SENSOR).filter(|_| sensor.is_none());
        let mut needed = of_template.into_iter().flatten().chain(own);
        let name = needed.find(|name| !ours.iter().any(|it| it == name))?;
        Some(format!("{} has no level {{{name}}}, of which ids are made", self.topic))
    }
}

/// The topic of an entry whose topics name these levels.
#[derive(Debug)]
pub(super) struct Availability {
    online: Online,
    topics: Topics,
}

impl Availability {
    /// Beside an entry of this topic.
    pub(super) fn new(online: &Online, first: &Filter) -> Self {
        Self { topics: Topics::beside(first, &online.topic), online: online.clone() }
    }

    /// Whether a topic is of it.
    pub(super) fn is_of(&self, topic: &str) -> bool {
        self.topics.match_it(topic)
    }

    /// What its topic has at the levels that the entry's topics name, in their order.
    pub(super) fn levels<'a>(&self, topic: &'a str) -> [&'a str; LEVELS_MAX] {
        self.topics.levels(topic)
    }

    /// The level of `{sensor}`, where there is one.
    pub(super) fn sensor<'a>(&self, topic: &'a str) -> Option<&'a [u8]> {
        self.topics.sensor(topic)
    }

    /// Whether the sensor that says so is there; `None`: it says nothing.
    pub(super) fn says(&self, payload: &[u8]) -> Option<bool> {
        self.online.says(payload)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(settings: &str, payload: &str) -> Option<bool> {
        let online: Online = serde_json::from_str(settings).unwrap();
        online.says(payload.as_bytes())
    }

    #[test]
    fn a_payload_says_that_a_sensor_is_there_or_is_not_or_nothing() {
        let plain = r#"{"topic":"z/{sensor}/availability"}"#;
        let json = r#"{"topic":"z","value":"true","pointer":"/a~1b/0"}"#;
        let long = "x".repeat(PAYLOAD_BYTES_MAX + 1);
        for (settings, payload, expected) in [
            (plain, "online", Some(true)),
            (plain, " online\n", Some(true)),
            (plain, "offline", Some(false)),
            (plain, "Online", Some(false)),
            (plain, "", None),
            (plain, &*long, None),
            (json, r#"{"a/b":[true]}"#, Some(true)),
            (json, r#"{"a/b":["true"]}"#, Some(true)),
            (json, r#"{"a/b":[0]}"#, Some(false)),
            (json, r#"{"a/b":[null]}"#, None),
            (json, r#"{"a/b":[]}"#, None),
            (json, "true", None),
            (json, "{", None),
        ] {
            assert_eq!(said(settings, payload), expected, "{settings} {payload}");
        }
        let online: Online = serde_json::from_str(plain).unwrap();
        assert_eq!(online.says(b"\xff"), None);
    }

    #[test]
    fn its_topic_has_what_ids_are_made_of() {
        let problem = |entry: Value| {
            let settings: super::super::Settings = serde_json::from_value(entry).unwrap();
            settings.topic_problems().pop().map(|(key, text)| format!("{key} {text}"))
        };
        let esphome = |topic: &str| {
            let online = json!({"topic": topic});
            json!({"topic": "{device}/sensor/{name}/state", "sensor": "{device}", "online": online})
        };
        assert_eq!(problem(esphome("{device}/status")), None);
        assert_eq!(problem(json!({"topic": "a", "online": {"topic": "b"}})), None);
        for (entry, words) in [
            (esphome("+/status"), "has no level {device}, of which ids are made"),
            (esphome("{device}/{what}"), "names {what}, and {device}/sensor/{name}/state does not"),
            (json!({"topic": "{sensor}/t", "online": {"topic": "+/s"}}), "has no level {sensor}"),
            (
                json!({"topic": "a/{x}", "sensor": "{/id}", "online": {"topic": "b/{x}"}}),
                "takes them from payloads",
            ),
            (json!({"topic": "a", "online": {"topic": "b", "pointer": "$/a"}}), "remove the $"),
        ] {
            let said = problem(entry).unwrap();
            assert!(said.starts_with("online ") && said.contains(words), "{said}");
        }
    }
}
