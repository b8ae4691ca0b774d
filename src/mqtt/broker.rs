//! The settings of a broker: its address, our login there, and how long to wait for it.

use std::num::NonZeroU16;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::options::{BrokerUrl, Options, Tls, Version};
use crate::units::Period;

/// `[broker]` and `[output.mqtt.broker]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Broker {
    /// The broker's address: `mqtt://host:1883`, `mqtts://host:8883` (TLS), `ws://host:80/mqtt`,
    /// `wss://host:443/mqtt` (WebSocket); port and path may be left out. Or `embedded`: a broker in this
    /// process, on loopback, for trying things out, which keeps nothing when the gateway stops.
    pub url: BrokerUrl,
    /// Port of the embedded broker, on loopback. If it is in use, a free one is used and logged. 0: any free port.
    pub embedded_port: u16,
    /// Version of the protocol: 5, or 3 for MQTT 3.1.1.
    pub version: Version,
    /// Messages that may be unacknowledged at a time. With MQTT 5 the gateway asks for it (Receive Maximum;
    /// default 16384); with MQTT 3.1.1 it is what the broker allows (default 20, raised when it sends more).
    /// All entries together never ask for more than `queue.records_max`. At the limit the broker holds further
    /// messages, and drops those beyond its own limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_messages: Option<NonZeroU16>,
    /// The prefix of the client ids at this broker, in place of `gateway.id`: 1 to 256 bytes without blanks.
    /// After a change the old sessions, with the messages in them, stay at the broker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// A file with one word: the prefix of the client ids, in place of `client_id`, where client ids must be
    /// secret. It is read at start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id_file: Option<PathBuf>,
    /// The user name for the broker. Absent: none is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The file that holds the password, which is read at each connect; line breaks at its end are ignored. A
    /// password stands nowhere else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Keep Alive: the longest time between two packets of the gateway, 2s to 65535s. A broker that does not
    /// answer for as long is disconnected and connected to again.
    pub keep_alive: Period,
    /// The longest time for an attempt to connect: name look-up, TCP, TLS, WebSocket, CONNACK; at least 1s.
    /// Each step may take half of it, and so may a SUBACK; a step that takes longer is logged, and the attempt
    /// is repeated.
    pub connect_timeout: Period,
    /// How long the broker keeps the sessions, with the messages in them, while the gateway is away: 1s to 365d
    /// (MQTT 5; with 3.1.1 the broker decides). After it they are lost. Of `[broker]` only.
    pub session_expiry: Period,
    /// Files for TLS, all PEM. Without `ca_file` the system's certificates are trusted.
    pub tls: Tls,
    /// Whether an additional client reads how many messages the broker has dropped
    /// (`$SYS/broker/publish/messages/dropped` of Mosquitto); the log warns when that grows. Only with an MQTT
    /// entry. Of `[broker]` only.
    pub watch: bool,
}

impl Default for Broker {
    fn default() -> Self {
        let (host, port) = ("localhost".to_owned(), 1883);
        let url = BrokerUrl::Remote { tls: false, websocket: None, host, port };
        Self {
            url,
            embedded_port: 1883,
            version: Version::V5,
            window_messages: None,
            client_id: None,
            client_id_file: None,
            username: None,
            password_file: None,
            keep_alive: Period::millis(30_000),
            connect_timeout: Period::millis(30_000),
            session_expiry: Period::millis(86_400_000),
            tls: Tls::default(),
            watch: true,
        }
    }
}

impl Broker {
    /// Receive Maximum of an intake. A broker with a short queue does not drop messages in flight, so a large
    /// window saves readings in a burst. It is limited so that a lost acknowledgement can still be recognised
    /// ([`super::ledger::recognises`]).
    pub fn window(&self) -> u16 {
        let unset = match self.version {
            Version::V5 => 16_384,
            Version::V3 => 20,
        };
        self.window_messages.map_or(unset, NonZeroU16::get)
    }

    /// The prefix of our client ids at this broker.
    pub fn ids_begin<'a>(&'a self, gateway: &'a str) -> &'a str {
        self.client_id.as_deref().unwrap_or(gateway)
    }

    /// The options of one of our clients at this broker.
    pub fn options(&self, gateway: &str, name: &str) -> Options {
        let client_id = format!("{}-{name}", self.ids_begin(gateway));
        Options {
            url: self.url.clone(),
            version: self.version,
            client_id,
            username: self.username.clone(),
            password_file: self.password_file.clone(),
            keep_alive: self.keep_alive.0,
            connect_timeout: self.connect_timeout.0,
            session_expiry: self.session_expiry.0,
            tls: self.tls.clone(),
        }
    }
}
