//! What the scripted broker saw and sent, in order: the evidence of a test.
//!
//! Every entry carries an `order` from one counter for all brokers of the process, so that "this
//! acknowledgement came after that one" can be checked across an input and an output broker.

use std::collections::BTreeMap;
use std::fmt::Write;

use bytes::Bytes;

use crate::support::wire::{
    Connect, DisconnectReasonCode, Filter, Login, PublishProperties, Version,
};

/// A publish that a client sent.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    pub(crate) order: u64,
    pub(crate) client: String,
    pub(crate) connection: u64,
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    pub(crate) qos: u8,
    pub(crate) id: u16,
    pub(crate) dup: bool,
    pub(crate) retain: bool,
    pub(crate) properties: Option<PublishProperties>,
    /// When its PUBACK was handed to the socket, if it was.
    pub(crate) acknowledged: Option<u64>,
}

impl Published {
    /// The payload as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.payload).unwrap()
    }

    /// A user property of MQTT 5.
    pub(crate) fn property(&self, name: &str) -> Option<&str> {
        let properties = self.properties.as_ref()?;
        let found = properties.user_properties.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// A publish that the broker sent to a subscriber.
#[derive(Clone, Debug)]
pub(crate) struct Delivered {
    pub(crate) order: u64,
    pub(crate) connection: u64,
    pub(crate) id: u16,
    pub(crate) dup: bool,
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
}

/// A PUBACK of a subscriber, with what it acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Acknowledged {
    pub(crate) order: u64,
    pub(crate) connection: u64,
    pub(crate) id: u16,
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
}

/// A CONNECT with all its options.
#[derive(Clone, Debug)]
pub(crate) struct Connected {
    pub(crate) order: u64,
    pub(crate) connection: u64,
    pub(crate) version: Version,
    pub(crate) connect: Connect,
    pub(crate) login: Option<Login>,
    pub(crate) session_present: bool,
    /// False if the broker refused it.
    pub(crate) accepted: bool,
}

/// A SUBSCRIBE and the codes it was answered with.
#[derive(Clone, Debug)]
pub(crate) struct Subscribed {
    pub(crate) order: u64,
    pub(crate) connection: u64,
    pub(crate) filters: Vec<Filter>,
    pub(crate) codes: Vec<u8>,
}

/// Everything about one client id.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientLog {
    pub(crate) connects: Vec<Connected>,
    pub(crate) subscribes: Vec<Subscribed>,
    pub(crate) delivered: Vec<Delivered>,
    pub(crate) acks: Vec<Acknowledged>,
    pub(crate) disconnects: Vec<DisconnectReasonCode>,
    pub(crate) pings: usize,
    pub(crate) connected: bool,
    /// Deliveries sent on the present connection and not yet acknowledged, and their peak.
    pub(crate) unacked: usize,
    pub(crate) unacked_max: usize,
    /// Messages that wait in the session.
    pub(crate) queued: usize,
    /// Acknowledgements that were not for the oldest delivery.
    pub(crate) acks_out_of_order: usize,
    /// Messages larger than the client's Maximum Packet Size: not sent, as brokers do.
    pub(crate) oversize: usize,
    /// PUBACKs that are being withheld from this client.
    pub(crate) held_acks: usize,
    /// Bytes of a flood that were handed to the socket.
    pub(crate) flooded: usize,
    /// What no well-behaved client does.
    pub(crate) violations: Vec<String>,
}

/// The whole record of one broker.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) clients: BTreeMap<String, ClientLog>,
    pub(crate) published: Vec<Published>,
    topics: BTreeMap<String, usize>,
}

impl Log {
    pub(super) fn client(&mut self, id: &str) -> &mut ClientLog {
        if !self.clients.contains_key(id) {
            self.clients.insert(id.to_owned(), ClientLog::default());
        }
        self.clients.get_mut(id).unwrap()
    }

    /// The index of the entry.
    pub(super) fn publish(&mut self, entry: Published) -> usize {
        *self.topics.entry(entry.topic.clone()).or_default() += 1;
        self.published.push(entry);
        self.published.len() - 1
    }

    /// The clients whose id contains `who`.
    pub(crate) fn of<'a>(&'a self, who: &'a str) -> impl Iterator<Item = &'a ClientLog> {
        self.clients.iter().filter(move |(id, _)| id.contains(who)).map(|(_, log)| log)
    }

    /// How many publishes came on exactly this topic.
    pub(crate) fn count(&self, topic: &str) -> usize {
        self.topics.get(topic).copied().unwrap_or(0)
    }

    /// The publishes on exactly this topic, in order.
    pub(crate) fn on<'a>(&'a self, topic: &'a str) -> impl Iterator<Item = &'a Published> {
        self.published.iter().filter(move |entry| entry.topic == topic)
    }

    /// How many connections were accepted.
    pub(crate) fn connects(&self, who: &str) -> usize {
        self.of(who).map(|log| log.connects.iter().filter(|c| c.accepted).count()).sum()
    }

    /// How many CONNECTs were refused.
    pub(crate) fn refused(&self, who: &str) -> usize {
        self.of(who).map(|log| log.connects.iter().filter(|c| !c.accepted).count()).sum()
    }

    pub(crate) fn connected(&self, who: &str) -> bool {
        self.of(who).any(|log| log.connected)
    }

    pub(crate) fn subscribes(&self, who: &str) -> usize {
        self.of(who).map(|log| log.subscribes.len()).sum()
    }

    pub(crate) fn delivered(&self, who: &str) -> usize {
        self.of(who).map(|log| log.delivered.len()).sum()
    }

    pub(crate) fn acks(&self, who: &str) -> usize {
        self.of(who).map(|log| log.acks.len()).sum()
    }

    pub(crate) fn pings(&self, who: &str) -> usize {
        self.of(who).map(|log| log.pings).sum()
    }

    pub(crate) fn flooded(&self, who: &str) -> usize {
        self.of(who).map(|log| log.flooded).sum()
    }

    /// Deliveries in flight now.
    pub(crate) fn unacked(&self, who: &str) -> usize {
        self.of(who).map(|log| log.unacked).sum()
    }

    /// The most deliveries that were in flight to one client.
    pub(crate) fn unacked_max(&self, who: &str) -> usize {
        self.of(who).map(|log| log.unacked_max).max().unwrap_or(0)
    }

    pub(crate) fn queued(&self, who: &str) -> usize {
        self.of(who).map(|log| log.queued).sum()
    }

    pub(crate) fn held_acks(&self, who: &str) -> usize {
        self.of(who).map(|log| log.held_acks).sum()
    }

    /// What clients did against the protocol, each with the client's id.
    pub(crate) fn violations(&self) -> Vec<String> {
        let clients = self.clients.iter();
        clients
            .flat_map(|(id, log)| log.violations.iter().map(move |text| format!("{id}: {text}")))
            .collect()
    }

    /// One line for each client, for the message of a failed wait.
    pub(crate) fn summary(&self) -> String {
        let mut text = format!("{} publishes {:?}", self.published.len(), self.topics);
        for (id, log) in &self.clients {
            write!(
                text,
                "\n  {id}: connected {}, connects {}, subscribes {}, delivered {}, acks {}, \
                 unacked {} (max {}), queued {}, held acks {}, pings {}, violations {:?}",
                log.connected,
                log.connects.len(),
                log.subscribes.len(),
                log.delivered.len(),
                log.acks.len(),
                log.unacked,
                log.unacked_max,
                log.queued,
                log.held_acks,
                log.pings,
                log.violations,
            )
            .unwrap();
        }
        text
    }
}
