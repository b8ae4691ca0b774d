//! What can be set for a subscription.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::availability::{Availability, Online};
use super::topics::{self, Filters, TOPICS_MAX};
use super::user_properties::Properties;
use crate::codec::Payload;
use crate::codec::compression::Compression;
use crate::codec::mapping::mapped::mapped;
use crate::mqtt::topic::{Filter, Group};

mapped! {
/// `[sensors.<name>.mqtt]`.
#[schemars(extend("oneOf" = [{"required": ["topic"]}, {"required": ["topics"]}]))]
pub struct Settings {
    /// What to subscribe to. A level in braces has a name, which templates may use; `{sensor}` takes the sensor's
    /// id from it; `+` and `#` as usual. Where the topics of two entries overlap, each of them takes the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<Filter>,
    /// Several topics on one connection instead, at most 16. They must not overlap, and name the same levels.
    #[serde(default, skip_serializing_if = "Filters::is_empty")]
    #[schemars(extend("maxItems" = TOPICS_MAX))]
    pub topics: Filters,
    /// Topics of these that are left out, at most 16: their messages are acknowledged, counted as messages, and
    /// never readings.
    #[serde(default, skip_serializing_if = "Filters::is_empty")]
    #[schemars(extend("maxItems" = TOPICS_MAX))]
    pub ignore: Filters,
    /// 0, 1 or 2, which is granted as 1: at least once. With 0 the broker may lose readings before we see
    /// them.
    #[serde(default)]
    pub qos: Qos,
    /// Shares the readings with the other gateways of this group: an MQTT shared subscription. When it or the
    /// topic is changed while the gateway is stopped, the session's old subscription goes on beside the new one until
    /// the session is deleted; a reload ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Group>,
    /// The session that carries the subscription: its client id is the prefix, `-in-` and this name. Entries of
    /// one session share its connection and its window, so many entries cost what one does; their topics must
    /// not overlap. Absent: one of its own, called as the entry. When it is changed while the gateway is stopped,
    /// the old session stays at the broker, with the messages in it, until it expires or is deleted; a reload deletes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^[A-Za-z0-9_-]{1,64}$"))]
    pub session: Option<String>,
    /// What to do with messages that the broker had retained. They come with a new subscription; with MQTT
    /// 3.1.1 also at each start, and when a resumed session was silent for two keep-alives.
    #[serde(default)]
    pub retained: Retained,
    /// A topic on which each sensor says whether it is there: `{ topic = "zigbee2mqtt/{sensor}/availability", value =
    /// "online" }`, a retained message or a last will. One that says it is not there is silent at once, until it says
    /// otherwise or something comes of it; and unless `expected_interval` is set, no sensor of the entry is silent
    /// because nothing comes. What comes on it is acknowledged and no reading, also where it is one of the entry's topics.
    /// Absent: only readings tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub online: Option<Online>,
    /// How payloads are packed; they are unpacked before they are read, to `queue.record_bytes_max` at most. Absent: they
    /// are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// MQTT 5 user properties of the messages that are kept as tags: a list of names, at most 32, or `"all"`, of which
    /// the first 32 are kept. Of a name that comes twice, the first counts; a tag of `tags` goes before one of its name.
    #[serde(default, skip_serializing_if = "Properties::is_none")]
    pub properties: Properties,
    /// What to do with messages of which the sender said for how long they are of use (MQTT 5 message expiry), and
    /// that were not put into a batch by then. Records say it in either case: `"expiresAt"`.
    #[serde(default)]
    pub expiry: OnExpiry,
}
}

impl Settings {
    /// What it subscribes to: one at least, once the settings are checked.
    pub fn filters(&self) -> impl Iterator<Item = &Filter> + Clone {
        self.topic.iter().chain(&self.topics.0)
    }

    /// All that it subscribes to: these, and `online`.
    pub fn subscribed(&self) -> impl Iterator<Item = &Filter> + Clone {
        self.filters().chain(self.online.iter().map(|it| &it.topic))
    }

    /// Where its sensors say whether they are there.
    pub(super) fn availability(&self) -> Option<Availability> {
        let (online, first) = self.online.as_ref().zip(self.filters().next())?;
        Some(Availability::new(online, first))
    }

    /// Whether any of its messages is to be acknowledged.
    pub(super) fn are_acknowledged(&self) -> bool {
        self.qos.granted() > 0 || self.online.is_some()
    }

    /// The key that holds them.
    pub const fn topic_key(&self) -> &'static str {
        if self.topic.is_some() { "topic" } else { "topics" }
    }

    /// The filters as they stand in SUBSCRIBE.
    pub fn subscriptions(&self) -> impl Iterator<Item = String> {
        let group = self.group.as_ref().map(Group::as_str);
        self.filters().map(move |it| it.subscription(group))
    }

    /// The same with that of `online`, which no group shares.
    pub fn all_subscriptions(&self) -> impl Iterator<Item = String> {
        let online = self.online.iter().map(|it| it.topic.subscription(None));
        self.subscriptions().chain(online)
    }

    /// The names of the topics' levels.
    pub fn levels(&self) -> Vec<String> {
        self.filters().next().map(Filter::names).unwrap_or_default()
    }

    /// Whether it takes messages of a topic.
    pub fn takes(&self, topic: &str) -> bool {
        self.subscribed().any(|it| it.matches(topic)) && !self.ignores(topic)
    }

    /// Whether it leaves the messages of a topic out.
    pub fn ignores(&self, topic: &str) -> bool {
        self.ignore.0.iter().any(|it| it.matches(topic))
    }

    /// The keys of topics that cannot stay as they are, and why.
    pub fn topic_problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = topics::problems(&self.filters().collect::<Vec<_>>(), &self.ignore.0);
        if self.topic.is_some() && !self.topics.is_empty() {
            problems.push(("topic", "stands beside topics: remove one of the two".into()));
        }
        if let Some((online, first)) = self.online.as_ref().zip(self.filters().next()) {
            let problem = online.problem(first, self.sensor.as_ref());
            problems.extend(problem.map(|text| ("online", text)));
        }
        problems
    }

    /// What is left out in vain.
    pub fn idle_ignores(&self) -> Vec<String> {
        let filters: Vec<_> = self.filters().collect();
        topics::idle(&filters, &self.ignore.0).map(ToString::to_string).collect()
    }

    /// The name of the session that carries the subscription of the entry `name`.
    pub fn session_of<'a>(&'a self, name: &'a str) -> &'a str {
        self.session.as_deref().unwrap_or(name)
    }

    /// None: whoever publishes is one.
    #[expect(clippy::unused_self, reason = "the shape of every kind")]
    pub(in crate::source) fn known_sensors(&self) -> Option<usize> {
        None
    }

    /// How payloads are read.
    #[expect(clippy::unnecessary_wraps, reason = "the shape of every kind")]
    pub(in crate::source) fn payload(&self) -> Option<&Payload> {
        Some(&self.payload)
    }
}

/// A subscription's quality of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "u8", into = "u8")]
#[schemars(extend("enum" = [0, 1, 2]))]
pub struct Qos(u8);

impl Default for Qos {
    fn default() -> Self {
        Self(1)
    }
}

impl TryFrom<u8> for Qos {
    type Error = String;

    fn try_from(qos: u8) -> Result<Self, String> {
        if qos <= 2 { Ok(Self(qos)) } else { Err(format!("{qos} is no QoS: write 0, 1 or 2")) }
    }
}

impl From<Qos> for u8 {
    fn from(qos: Qos) -> Self {
        qos.0
    }
}

impl Qos {
    /// What we ask for.
    pub fn granted(self) -> u8 {
        self.0.min(1)
    }

    /// Whether more was wished than we ask for.
    pub fn is_lowered(self) -> bool {
        self.0 > 1
    }
}

/// What to do with messages that are of no use any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnExpiry {
    /// They are delivered, marked `"expired":true`.
    #[default]
    Keep,
    /// They become dead letters, `expired`.
    DeadLetter,
}

/// What to do with retained messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Retained {
    /// Take them, marked `"retained":true`.
    #[default]
    Accept,
    /// Leave them: they are acknowledged and counted.
    Skip,
}
