//! `[status]`: where notices go.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::mqtt::topic::{TOPIC_BYTES_MAX, Topic, TopicError};
use crate::mqtt::topic_pattern::TopicPattern;

/// `[status]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The topic of a retained message about each sensor that was heard: whether it is online, late or silent. It is sent
    /// at each change, to the output's broker, or to `[broker]` where the output is no topic. At the start the gateway
    /// reads these messages back, so a sensor that does not come back after a restart is late and silent as any other one:
    /// its user needs the right to subscribe to this topic and to read it. It needs the place `{sensor}`, and `{entry}`
    /// beside several entries. Absent: none are sent, and a restart forgets who was silent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<TopicPattern>,
    /// The topic of a retained message about the gateway: online, draining or offline. Its broker sends the last one
    /// itself if the connection ends without a word. `{gateway}` stands for `gateway.id`. Absent: none is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_topic: Option<GatewayTopic>,
}

/// The place of a gateway's id.
const GATEWAY: &str = "{gateway}";

/// A topic that may have the place `{gateway}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(
    with = "String",
    extend("minLength" = 1, "maxLength" = TOPIC_BYTES_MAX),
    extend("pattern" = "^([^+#{}\\u0000]|\\{gateway\\})+$"),
    extend("examples" = ["gateway/status/{gateway}"])
)]
pub struct GatewayTopic(String);

impl GatewayTopic {
    /// That of the gateway of this id, which is a part of one level.
    pub fn of(&self, id: &str) -> Topic {
        Topic::made(&self.0.replace(GATEWAY, id)).expect("a gateway's id has no wildcard")
    }
}

impl TryFrom<String> for GatewayTopic {
    type Error = TopicError;

    fn try_from(text: String) -> Result<Self, TopicError> {
        let filled = text.replace(GATEWAY, "gw");
        if filled.contains(['{', '}']) {
            return Err(TopicError::Place(
                "has another place than {gateway}, or a brace alone".into(),
            ));
        }
        Topic::try_from(filled)?;
        Ok(Self(text))
    }
}

impl From<GatewayTopic> for String {
    fn from(topic: GatewayTopic) -> Self {
        topic.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateways_topic_has_its_id_and_no_other_place() {
        let topic = |text: &str| GatewayTopic::try_from(text.to_owned());
        let made = |text: &str| topic(text).unwrap().of("gw-1").to_string();
        assert_eq!(made("status/{gateway}"), "status/gw-1");
        assert_eq!(made("status/all"), "status/all");
        for (text, words) in [
            ("", "is empty"),
            ("a/{sensor}", "another place"),
            ("a/{gateway", "another place"),
            ("a/+/{gateway}", "wildcard"),
            (&format!("{{gateway}}{}", "x".repeat(TOPIC_BYTES_MAX)), "bytes"),
        ] {
            let said = topic(text).unwrap_err().to_string();
            assert!(said.contains(words), "{text}: {said}");
        }
    }
}
