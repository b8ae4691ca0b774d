//! The ground of every check: the broker, what the settings need of it, the size of the probe, and its names.

use std::time::Duration;

use super::client::Client;
use super::verdict::Software;
use crate::mqtt::Error;
use crate::mqtt::options::{Options, Version};
use crate::mqtt::outgoing::Hello;
use crate::mqtt::topic::Topic;
use crate::plan::{Broker, Plan};
use crate::sink;

/// Messages of the capacity probe beyond the window, at most.
pub const MESSAGES_MAX: u32 = 100_000;

/// Bytes of a message of the capacity probe, at most.
pub const MESSAGE_BYTES_MAX: u32 = 64 * 1024;

/// Bytes of all messages of a capacity probe together, at most: the probe is refused above.
pub const PROBE_BYTES_MAX: u64 = 256 << 20;

/// Seconds of a whole run, at most.
pub const SECONDS_MAX: u64 = 3600;

/// After this time without a message a client is taken to get no more.
pub const QUIET: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub struct Probe {
    /// The prefix of the probe's topics, in place of a random one below `sluicegate-doctor/`.
    pub topic_prefix: Option<Topic>,
    /// QoS 1 messages beyond the window in the capacity probe.
    pub messages: u32,
    pub message_bytes: u32,
    /// The largest packet that is tried.
    pub packet_bytes_max: u32,
    /// A bound on the whole run.
    pub within: Duration,
    /// Publish an empty message to each output topic.
    pub output: bool,
}

/// What the gateway does at the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Role {
    /// The gateway subscribes there.
    pub(super) input: bool,
    /// The gateway publishes there.
    pub(super) output: bool,
}

#[derive(Debug)]
pub(super) struct Scene<'a> {
    pub(super) plan: &'a Plan,
    /// The section with the broker's settings: `broker` or `output.broker`.
    pub(super) key: &'static str,
    pub(super) broker: &'a Broker,
    pub(super) role: Role,
    pub(super) probe: &'a Probe,
    /// The prefix of every topic of the probe.
    pub(super) prefix: Topic,
    /// The prefix of every client id of the probe.
    pub(super) id: String,
    /// The program of the broker, once that is known.
    pub(super) software: Software,
    /// The broker supports MQTT 5, whatever the settings ask for.
    pub(super) knows_v5: bool,
    /// A client of ours may have logged in; false once it is known that none did.
    pub(super) entered: bool,
}

impl Scene<'_> {
    /// The options of the probe's client `who`.
    pub(super) fn options(&self, who: &str) -> Options {
        let options = match self.key {
            "broker" => self.plan.intake_options(""),
            _ => self.plan.output_options(),
        };
        Options { client_id: format!("{}-{who}", self.id), ..options }
    }

    /// What the gateway publishes there, if it does.
    pub(super) fn output(&self) -> Option<&sink::mqtt::Settings> {
        self.plan.mqtt_output().filter(|_| self.role.output)
    }

    /// Connects the probe's client `who` for this connection only.
    pub(super) async fn client(&self, who: &str) -> Result<Client, Error> {
        Client::open(&self.options(who), &super::client::passing()).await
    }

    pub(super) fn topic(&self, leaf: &str) -> Topic {
        Topic::try_from(format!("{}/{leaf}", self.prefix)).expect("a level below a checked topic")
    }

    /// Receive Maximum of an intake; `None` if the gateway only publishes there: then the consumers of the
    /// batches get the broker's default.
    pub(super) fn window(&self) -> Option<u16> {
        self.role.input.then(|| self.plan.window_each())
    }

    /// The CONNECT of an intake, with a session that lasts this long.
    pub(super) fn intake_hello(&self, clean_start: bool, session_seconds: u32) -> Hello {
        Hello {
            clean_start,
            session_expiry: Some(session_seconds),
            receive_max: self.window(),
            packet_bytes_max: None,
            will: None,
        }
    }

    pub(super) fn is_v5(&self) -> bool {
        self.broker.version == Version::V5
    }

    /// The full key of a setting of this broker.
    pub(super) fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.key)
    }
}

/// How to give an account the permission that it lacks for these topics.
pub(super) fn permission(software: &Software, access: &str, topic: &str) -> String {
    let (general, key) = (format!("permit this account to use {topic}"), "acl_file");
    software.change(
        &general,
        &format!("{key}, with the line \"topic {access} {topic}\" below the user"),
    )
}

/// A scene at a broker that is Mosquitto 2.0.11, for the tests of what judges.
#[cfg(test)]
pub(super) fn with_scene<T>(role: Role, look: impl FnOnce(&mut Scene<'_>) -> T) -> T {
    let plan = Plan::default();
    let probe = Probe {
        topic_prefix: None,
        messages: 1,
        message_bytes: 16,
        packet_bytes_max: 1024,
        within: Duration::from_secs(15),
        output: false,
    };
    let prefix = Topic::try_from("p".to_owned()).expect("a topic");
    let mut scene = Scene {
        plan: &plan,
        key: "broker",
        broker: &plan.broker,
        role,
        probe: &probe,
        prefix,
        id: "gw".to_owned(),
        software: Software::Mosquitto(2, 0, 11),
        knows_v5: true,
        entered: true,
    };
    look(&mut scene)
}
