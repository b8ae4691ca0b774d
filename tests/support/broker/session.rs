//! One client's session in the scripted broker: subscriptions, queue, in-flight window.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;

use super::levers::Overrun;
use super::link::Link;
use super::log::{ClientLog, Delivered};
use super::state::matches;
use crate::support::order;
use crate::support::wire::RetainForwardRule as Rule;
use crate::support::wire::{Connect, Filter, Packet, Publish, PublishProperties, QoS, Version};

/// A message on its way through the broker.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) properties: Option<PublishProperties>,
}

impl Message {
    pub(super) fn received(publish: &Publish) -> Self {
        Self {
            topic: String::from_utf8_lossy(&publish.topic).into_owned(),
            payload: Bytes::copy_from_slice(&publish.payload),
            qos: publish.qos as u8,
            retain: publish.retain,
            properties: publish.properties.clone(),
        }
    }
}

#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) filter: String,
    granted: u8,
    identifier: Option<usize>,
    keep_retain: bool,
}

impl Subscription {
    /// The group and the filter of a shared subscription.
    fn shared(&self) -> Option<(&str, &str)> {
        self.filter.strip_prefix("$share/")?.split_once('/')
    }
}

/// A message that waits, with the packet id it already has if it was sent before.
#[derive(Debug)]
pub(super) struct Waiting {
    id: Option<u16>,
    message: Message,
}

#[derive(Debug, Default)]
pub(super) struct Session {
    pub(super) link: Option<u64>,
    pub(super) persistent: bool,
    pub(super) subscriptions: Vec<Subscription>,
    pub(super) queue: VecDeque<Waiting>,
    pub(super) inflight: VecDeque<(u16, Message)>,
    ids: BTreeSet<u16>,
    last_id: u16,
    window: usize,
    credit: usize,
    size_max: Option<u32>,
}

impl Session {
    pub(super) fn attach(&mut self, link: &Link, connect: &Connect, window: usize) {
        let properties = connect.properties.as_ref();
        self.link = Some(link.id);
        self.persistent = match link.version {
            Version::V3 => !connect.clean_start,
            Version::V5 => properties.and_then(|all| all.session_expiry_interval).unwrap_or(0) > 0,
        };
        let asked = properties.and_then(|all| all.receive_maximum).map(usize::from);
        self.window = asked.unwrap_or(window);
        self.size_max = properties.and_then(|all| all.max_packet_size);
        self.credit = 0;
    }

    /// The connection is over: what was in flight is to be sent again, in order, first.
    pub(super) fn detach(&mut self) {
        self.link = None;
        for (id, message) in self.inflight.drain(..).rev() {
            self.queue.push_front(Waiting { id: Some(id), message });
        }
        self.queue.retain(|waiting| waiting.message.qos > 0);
    }

    /// Adds a subscription; the filter whose retained messages are to be sent, if any.
    pub(super) fn subscribe(
        &mut self,
        filter: &Filter,
        granted: u8,
        identifier: Option<usize>,
    ) -> Option<String> {
        let known = self.subscriptions.iter().any(|sub| sub.filter == filter.path);
        self.subscriptions.retain(|sub| sub.filter != filter.path);
        let subscription = Subscription {
            filter: filter.path.clone(),
            granted,
            identifier,
            keep_retain: filter.preserve_retain,
        };
        let shared = subscription.shared().is_some();
        self.subscriptions.push(subscription);
        let wanted = match filter.retain_forward_rule {
            Rule::OnEverySubscribe => true,
            Rule::OnNewSubscribe => !known,
            Rule::Never => false,
        };
        (wanted && !shared).then(|| filter.path.clone())
    }

    /// Queues the message if a subscription of this session's own asks for it.
    pub(super) fn offer(&mut self, message: &Message) -> bool {
        let fitting = self
            .subscriptions
            .iter()
            .filter(|sub| sub.shared().is_none() && matches(&sub.filter, &message.topic));
        let mut granted = None;
        let mut retain = false;
        let mut identifiers = Vec::new();
        for subscription in fitting {
            granted = granted.max(Some(subscription.granted));
            retain |= subscription.keep_retain && message.retain;
            identifiers.extend(subscription.identifier);
        }
        let Some(granted) = granted else { return false };
        self.queue(message, granted, retain, &identifiers);
        true
    }

    /// The groups through which this session may get a message on `topic`.
    pub(super) fn groups(&self, topic: &str) -> Vec<(&str, u8)> {
        let shared = self.subscriptions.iter().filter_map(|sub| {
            let (_, filter) = sub.shared()?;
            matches(filter, topic).then_some((sub.filter.as_str(), sub.granted))
        });
        shared.collect()
    }

    /// Puts a message at the end; one of `QoS` 0 only while the client is connected.
    pub(super) fn queue(&mut self, message: &Message, granted: u8, retain: bool, ids: &[usize]) {
        let mut message = Message { retain, qos: message.qos.min(granted), ..message.clone() };
        if !ids.is_empty() {
            let properties = message.properties.get_or_insert_default();
            properties.subscription_identifiers = ids.to_vec();
        }
        if message.qos > 0 || self.link.is_some() {
            self.queue.push_back(Waiting { id: None, message });
        }
    }

    /// Takes a message out of flight: where it stood, and the message.
    pub(super) fn acknowledge(&mut self, id: u16) -> Option<(usize, Message)> {
        let position = self.inflight.iter().position(|(sent, _)| *sent == id)?;
        self.ids.remove(&id);
        self.inflight.remove(position).map(|(_, message)| (position, message))
    }

    pub(super) fn credit(&mut self, rule: Option<Overrun>) {
        if let Some(Overrun::PerAck(more)) = rule {
            self.credit += more;
        }
    }

    /// Sends from the queue while the window has room; with `late`, nothing that was sent before, and with
    /// `unmarked` without DUP.
    pub(super) fn pump(
        &mut self,
        link: &mut Link,
        rule: Option<Overrun>,
        (late, unmarked): (bool, bool),
        log: &mut ClientLog,
    ) {
        let window = match rule {
            Some(Overrun::By(more)) => self.window + more,
            Some(Overrun::PerAck(_)) | None => self.window,
        };
        let next = |queue: &VecDeque<Waiting>| queue.iter().position(|it| !late || it.id.is_none());
        while let Some(at) = next(&self.queue) {
            let waiting = &self.queue[at];
            let room = self.inflight.len() < window;
            if waiting.message.qos > 0 && !room && self.credit == 0 {
                break;
            }
            let Some(waiting) = self.queue.remove(at) else { break };
            self.credit = self.credit.saturating_sub(usize::from(waiting.message.qos > 0 && !room));
            self.send(link, waiting, unmarked, log);
        }
    }

    fn send(&mut self, link: &mut Link, waiting: Waiting, unmarked: bool, log: &mut ClientLog) {
        let Waiting { id, message } = waiting;
        let dup = id.is_some() && !unmarked;
        let id = id.unwrap_or_else(|| if message.qos > 0 { self.fresh_id() } else { 0 });
        let packet = Publish {
            dup,
            qos: if message.qos > 0 { QoS::AtLeastOnce } else { QoS::AtMostOnce },
            retain: message.retain,
            topic: Bytes::copy_from_slice(message.topic.as_bytes()),
            pkid: id,
            payload: message.payload.clone(),
            properties: message.properties.clone(),
        };
        if self.size_max.is_some_and(|max| packet.size() > max as usize) {
            log.oversize += 1;
            return;
        }
        link.send(&Packet::Publish(packet));
        log.delivered.push(Delivered {
            order: order(),
            connection: link.id,
            id,
            dup,
            topic: message.topic.clone(),
            payload: message.payload.clone(),
        });
        if id > 0 {
            self.ids.insert(id);
            self.inflight.push_back((id, message));
        }
    }

    fn fresh_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if !self.ids.contains(&self.last_id) {
                return self.last_id;
            }
        }
    }
}
