//! The scripted broker as a state that packets change: sessions, windows, retained messages,
//! faults. It does no input or output; `server.rs` moves the bytes.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::levers::{Kind, Levers, Order};
use super::link::{Fate, Link, Wakers};
use super::log::{Acknowledged, Log, Published};
use super::session::{Message, Session};
use crate::support::wire::{
    Disconnect, DisconnectReasonCode, Packet, PingResp, PubAckReason, Publish, QoS, UnsubAck,
    UnsubAckReason, Version,
};
use crate::support::{Random, order};

/// What clients do against the protocol and is kept, of each.
const VIOLATIONS_MAX: usize = 100;

/// The broker.
#[derive(Debug)]
pub(super) struct State {
    pub(super) levers: Levers,
    pub(super) log: Log,
    pub(super) links: BTreeMap<u64, Link>,
    pub(super) listening: bool,
    pub(super) sessions: BTreeMap<String, Session>,
    pub(super) retained: BTreeMap<String, Message>,
    next_link: u64,
    turn: usize,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            levers: Levers::new(),
            log: Log::default(),
            links: BTreeMap::new(),
            listening: true,
            sessions: BTreeMap::new(),
            retained: BTreeMap::new(),
            next_link: 1,
            turn: 0,
        }
    }

    /// A TCP connection was accepted.
    pub(super) fn open(&mut self) -> (u64, Arc<Wakers>) {
        let id = self.next_link;
        self.next_link += 1;
        let wakers = Arc::new(Wakers::default());
        self.links.insert(id, Link::new(id, Arc::clone(&wakers)));
        (id, wakers)
    }

    /// The connection is over. Whether it must be reset.
    pub(super) fn close(&mut self, id: u64) -> bool {
        let Some(link) = self.links.remove(&id) else { return true };
        if let Some(session) = self.sessions.get_mut(&link.client)
            && session.link == Some(id)
        {
            session.detach();
            let log = self.log.client(&link.client);
            (log.connected, log.unacked, log.held_acks) = (false, 0, 0);
            log.queued = session.queue.len();
            if !session.persistent {
                log.queued = 0;
                self.sessions.remove(&link.client);
            }
        }
        link.fate == Fate::Reset
    }

    /// Whether the connection may be read from now, and how long it may stay silent.
    pub(super) fn reading(&self, id: u64) -> Option<(bool, Option<Duration>)> {
        let link = self.links.get(&id)?;
        let stalled = !link.client.is_empty() && self.levers.stall_reads.applies(&link.client);
        let patience = (self.levers.enforce_keep_alive && link.keep_alive > 0)
            .then(|| Duration::from_millis(u64::from(link.keep_alive) * 1500));
        (link.fate == Fate::Open).then_some((!stalled, patience))
    }

    /// The bytes to write now; `None` when the connection is to be closed.
    pub(super) fn output(&mut self, id: u64) -> Option<Bytes> {
        let link = self.links.get_mut(&id)?;
        if self.levers.stall_writes.applies(&link.client) && link.fate == Fate::Open {
            return Some(Bytes::new());
        }
        for index in link.acking.drain(..) {
            self.log.published[index].acknowledged = Some(order());
        }
        let mut bytes = mem::take(&mut link.out).freeze();
        let greeted = link.fate == Fate::Open && self.sessions.contains_key(&link.client);
        if bytes.is_empty()
            && greeted
            && let Some(flood) = self.levers.floods.of(&link.client)
        {
            bytes = flood.clone();
            self.log.client(&link.client).flooded += bytes.len();
        }
        (link.fate == Fate::Open || (link.fate == Fate::Finish && !bytes.is_empty()))
            .then_some(bytes)
    }

    /// A packet arrived.
    pub(super) fn receive(&mut self, id: u64, packet: Packet) {
        let kind = match &packet {
            Packet::Connect(..) => Kind::Connect,
            Packet::Subscribe(_) => Kind::Subscribe,
            Packet::Publish(_) => Kind::Publish,
            Packet::PubAck(_) => Kind::PubAck,
            Packet::PingReq(_) => Kind::PingReq,
            _ => Kind::Any,
        };
        match packet {
            Packet::Connect(connect, _, login) => self.on_connect(id, connect, login),
            Packet::Publish(publish) => self.on_publish(id, publish),
            Packet::PubAck(ack) => self.on_puback(id, ack.pkid),
            Packet::Subscribe(subscribe) => self.on_subscribe(id, subscribe),
            Packet::Unsubscribe(packet) => {
                let reasons = vec![UnsubAckReason::Success; packet.filters.len()];
                let Some((link, session)) = self.parts(id) else { return };
                session.subscriptions.retain(|sub| !packet.filters.contains(&sub.filter));
                let ack = UnsubAck { pkid: packet.pkid, reasons, properties: None };
                link.send(&Packet::UnsubAck(ack));
            }
            Packet::PingReq(_) => {
                let Some(link) = self.links.get_mut(&id) else { return };
                self.log.client(&link.client).pings += 1;
                if !self.levers.mute_pings.applies(&link.client) {
                    link.send(&Packet::PingResp(PingResp));
                }
            }
            Packet::Disconnect(packet) => {
                let Some(link) = self.links.get_mut(&id) else { return };
                self.log.client(&link.client).disconnects.push(packet.reason_code);
                link.end(Fate::Finish);
            }
            other => self.violation(id, &format!("sent {other:?}"), None),
        }
        if let Some(link) = self.links.get_mut(&id)
            && self.levers.drop_now(&link.client, kind)
        {
            link.end(Fate::Reset);
        }
    }

    fn parts(&mut self, id: u64) -> Option<(&mut Link, &mut Session)> {
        let link = self.links.get_mut(&id)?;
        let session = self.sessions.get_mut(&link.client)?;
        (session.link == Some(id)).then_some((link, session))
    }

    /// Notes a violation; with a reason, the client is told and disconnected.
    pub(super) fn violation(&mut self, id: u64, text: &str, reason: Option<DisconnectReasonCode>) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let violations = &mut self.log.client(&link.client).violations;
        if violations.len() < VIOLATIONS_MAX {
            violations.push(text.to_owned());
        }
        if let Some(reason) = reason {
            link.send(&Packet::Disconnect(Disconnect::new(reason)));
            link.end(Fate::Finish);
        }
    }

    fn on_publish(&mut self, id: u64, publish: Publish) {
        let limits = self.levers.limits;
        let Some((link, _)) = self.parts(id) else { return };
        let (client, v5) = (link.client.clone(), link.version == Version::V5);
        let unanswered = link.held.len();
        let too_many = limits.receive_maximum.is_some_and(|max| unanswered >= usize::from(max));
        let size = publish.size();
        if v5 && publish.qos != QoS::AtMostOnce && too_many {
            let text = format!("publish {} is beyond the Receive Maximum", publish.pkid);
            let reason = DisconnectReasonCode::ReceiveMaximumExceeded;
            return self.violation(id, &text, Some(reason));
        }
        if v5 && limits.max_packet_size.is_some_and(|max| size > max as usize) {
            let text = format!("publish {} of {size} bytes is too large", publish.pkid);
            return self.violation(id, &text, Some(DisconnectReasonCode::PacketTooLarge));
        }
        if self.levers.hangs_up_above.is_some_and(|max| size > max) {
            return self.end_link(id, Fate::Reset);
        }
        if self.levers.ignores_above.is_some_and(|max| size > max) {
            return;
        }
        if v5 && publish.retain && limits.retain_available == Some(0) {
            let reason = DisconnectReasonCode::RetainNotSupported;
            return self.violation(id, "publish to be retained", Some(reason));
        }
        if publish.qos == QoS::ExactlyOnce {
            let reason = DisconnectReasonCode::QoSNotSupported;
            return self.violation(id, "publish with QoS 2", Some(reason));
        }
        let message = Message::received(&publish);
        let acknowledges = publish.qos == QoS::AtLeastOnce;
        let reason =
            if acknowledges { self.levers.answer(&message.topic) } else { PubAckReason::Success };
        let index = self.log.publish(Published {
            order: order(),
            client: client.clone(),
            connection: id,
            topic: message.topic.clone(),
            payload: message.payload.clone(),
            qos: publish.qos as u8,
            id: publish.pkid,
            dup: publish.dup,
            retain: publish.retain,
            properties: publish.properties,
            acknowledged: None,
        });
        if acknowledges {
            let link = self.links.get_mut(&id).unwrap();
            if self.levers.hold_acks.applies(&client) {
                link.held.push((publish.pkid, index, reason));
                self.log.client(&client).held_acks += 1;
            } else {
                link.answer(publish.pkid, index, reason);
            }
        }
        // Only 3.1.1 and the reasons below 0x80 mean that the message was taken.
        if !v5 || matches!(reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers) {
            self.route(&message);
        }
    }

    fn on_puback(&mut self, id: u64, packet: u16) {
        let Some((link, session)) = self.parts(id) else { return };
        let client = link.client.clone();
        let found = session.acknowledge(packet);
        let log = self.log.client(&client);
        let Some((position, message)) = found else {
            log.violations.push(format!("PUBACK of {packet}, which is not in flight"));
            return;
        };
        log.acks_out_of_order += usize::from(position > 0);
        log.acks.push(Acknowledged {
            order: order(),
            connection: id,
            id: packet,
            topic: message.topic,
            payload: message.payload,
        });
        let rule = self.levers.overrun.of(&client).copied();
        self.sessions.get_mut(&client).unwrap().credit(rule);
        self.pump(&client);
    }

    /// Gives a message to every session that subscribed to it.
    pub(super) fn route(&mut self, message: &Message) {
        if message.retain && message.payload.is_empty() {
            self.retained.remove(&message.topic);
        } else if message.retain {
            self.retained.insert(message.topic.clone(), message.clone());
        }
        let mut takers = Vec::new();
        let mut groups: BTreeMap<String, Vec<(String, u8)>> = BTreeMap::new();
        for (client, session) in &mut self.sessions {
            let room = self.levers.absent_max.of(client).copied().unwrap_or(usize::MAX);
            if session.link.is_none() && session.queue.len() >= room {
                continue;
            }
            if session.offer(message) {
                takers.push(client.clone());
            }
            for (group, granted) in session.groups(&message.topic) {
                groups.entry(group.to_owned()).or_default().push((client.clone(), granted));
            }
        }
        for mut members in groups.into_values() {
            if members.iter().any(|(client, _)| self.sessions[client].link.is_some()) {
                members.retain(|(client, _)| self.sessions[client].link.is_some());
            }
            self.turn += 1;
            let (client, granted) = members.swap_remove(self.turn % members.len());
            let session = self.sessions.get_mut(&client).unwrap();
            session.queue(message, granted, false, &[]);
            takers.push(client);
        }
        for client in takers {
            self.pump(&client);
        }
    }

    /// Sends what the window of a client has room for.
    pub(super) fn pump(&mut self, client: &str) {
        let Some(session) = self.sessions.get_mut(client) else { return };
        let log = self.log.client(client);
        if let Some(link) = session.link.and_then(|id| self.links.get_mut(&id)) {
            let how = (self.levers.late.applies(client), self.levers.unmarked.applies(client));
            session.pump(link, self.levers.overrun.of(client).copied(), how, log);
        }
        log.unacked = session.inflight.len();
        log.unacked_max = log.unacked_max.max(log.unacked);
        log.queued = session.queue.len();
    }

    pub(super) fn pump_all(&mut self) {
        for client in self.sessions.keys().cloned().collect::<Vec<_>>() {
            self.pump(&client);
        }
    }

    /// Sends the PUBACKs withheld from the clients; how many.
    pub(super) fn release(&mut self, who: &str, order: Order, at_most: usize) -> usize {
        let mut released = 0;
        for link in self.links.values_mut().filter(|link| link.client.contains(who)) {
            let count = link.held.len().min(at_most - released);
            let mut held: Vec<_> = link.held.drain(..count).collect();
            match order {
                Order::AsReceived => {}
                Order::Reversed => held.reverse(),
                Order::Shuffled(seed) => Random::new(seed).shuffle(&mut held),
            }
            released += held.len();
            self.log.client(&link.client).held_acks -= held.len();
            for (id, index, reason) in held {
                link.answer(id, index, reason);
            }
        }
        released
    }

    pub(super) fn end_link(&mut self, id: u64, fate: Fate) {
        if let Some(link) = self.links.get_mut(&id) {
            link.end(fate);
        }
    }

    /// Ends the connections of the clients; how many.
    pub(super) fn end(&mut self, who: &str, fate: Fate) -> usize {
        let links = self.links.values_mut();
        let mut count = 0;
        for link in links.filter(|link| link.client.contains(who) && link.fate == Fate::Open) {
            link.end(fate);
            count += 1;
        }
        count
    }

    /// Loses the sessions of the clients, and their connections.
    pub(super) fn forget(&mut self, who: &str) -> usize {
        self.end(who, Fate::Reset);
        let before = self.sessions.len();
        self.sessions.retain(|client, _| !client.contains(who));
        for (_, log) in self.log.clients.iter_mut().filter(|(client, _)| client.contains(who)) {
            (log.connected, log.unacked, log.queued, log.held_acks) = (false, 0, 0, 0);
        }
        before - self.sessions.len()
    }

    /// Ends the subscriptions of the clients, and their connections; how many subscriptions there were.
    pub(super) fn unsubscribe(&mut self, who: &str) -> usize {
        self.end(who, Fate::Reset);
        let sessions = self.sessions.iter_mut().filter(|(client, _)| client.contains(who));
        sessions.map(|(_, session)| session.subscriptions.drain(..).count()).sum()
    }

    /// Lets every connection look at the levers again.
    pub(super) fn wake_all(&self) {
        self.links.values().for_each(|link| link.wakers.all());
    }
}

/// Whether `topic` is what `filter` asks for. (The library's function panics on a topic whose first
/// letter is not ASCII.)
pub(super) fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') != filter.starts_with('$') {
        return false;
    }
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        if wanted == "#" {
            return true;
        }
        match levels.next() {
            Some(level) if wanted == "+" || wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}
