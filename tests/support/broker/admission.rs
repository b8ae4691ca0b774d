//! CONNECT and SUBSCRIBE at the scripted broker: what is accepted, refused, granted, announced.

use super::link::Fate;
use super::log::{Connected, Subscribed};
use super::session::Session;
use super::state::{State, matches};
use crate::support::order;
use crate::support::wire::{
    ConnAck, ConnAckProperties, Connect, ConnectReturnCode, Disconnect, DisconnectReasonCode,
    Login, Packet, QoS, SubAck, Subscribe, SubscribeReasonCode, Version,
};

impl State {
    pub(super) fn on_connect(&mut self, id: u64, mut connect: Connect, login: Option<Login>) {
        if connect.client_id.is_empty() {
            connect.client_id = format!("anonymous-{id}");
        }
        if self.levers.assigns_ids {
            connect.client_id = format!("assigned-{id}-{}", connect.client_id);
        }
        let client = connect.client_id.clone();
        if let Some(link) = self.links.get_mut(&id)
            && self.levers.only_v3
            && link.version == Version::V5
        {
            return link.end(Fate::Finish);
        }
        if self.links.get(&id).is_none_or(|link| !link.client.is_empty()) {
            return self.violation(id, "second CONNECT", Some(DisconnectReasonCode::ProtocolError));
        }
        let refusal = self.refusal(&client, login.as_ref());
        if refusal.is_none() {
            self.take_over(id, &client);
        }
        let limits = self.levers.limits;
        let window = self.levers.window;
        let link = self.links.get_mut(&id).unwrap();
        link.client.clone_from(&client);
        let kept = self.sessions.contains_key(&client) && !connect.clean_start;
        let session_present = refusal.is_none() && kept;
        let code = refusal.unwrap_or(ConnectReturnCode::Success);
        let mut properties = connack_properties();
        properties.session_expiry_interval = limits.session_expiry;
        properties.receive_max = limits.receive_maximum;
        properties.max_packet_size = limits.max_packet_size;
        properties.server_keep_alive = limits.server_keep_alive;
        properties.max_qos = limits.maximum_qos;
        properties.retain_available = limits.retain_available;
        properties.assigned_client_identifier = self.levers.assigns_ids.then(|| client.clone());
        let answer = ConnAck { session_present, code, properties: Some(properties) };
        link.send(&Packet::ConnAck(answer));
        link.keep_alive = connect.keep_alive;
        if link.version == Version::V5 {
            link.keep_alive = limits.server_keep_alive.unwrap_or(connect.keep_alive);
        }
        let accepted = refusal.is_none();
        if accepted {
            if !kept {
                self.sessions.insert(client.clone(), Session::default());
            }
            let session = self.sessions.get_mut(&client).unwrap();
            session.attach(link, &connect, window);
        } else {
            link.end(Fate::Finish);
        }
        let (connection, version) = (id, link.version);
        let log = self.log.client(&client);
        log.connected |= accepted;
        log.connects.push(Connected {
            order: order(),
            connection,
            version,
            connect,
            login,
            session_present,
            accepted,
        });
        self.pump(&client);
    }

    fn refusal(&self, client: &str, login: Option<&Login>) -> Option<ConnectReturnCode> {
        let login_fits = self.levers.login.is_none() || self.levers.login.as_ref() == login;
        let rule = self.levers.refuse_connect.of(client).copied();
        rule.or((!login_fits).then_some(ConnectReturnCode::BadUserNamePassword))
    }

    /// Ends another connection of the same client.
    fn take_over(&mut self, id: u64, client: &str) {
        let old = self.links.values().find(|link| link.client == client && link.id != id);
        if let Some(old) = old.map(|link| link.id) {
            let reason = DisconnectReasonCode::SessionTakenOver;
            let link = self.links.get_mut(&old).unwrap();
            link.send(&Packet::Disconnect(Disconnect::new(reason)));
            link.end(Fate::Finish);
            if let Some(session) = self.sessions.get_mut(client) {
                session.detach();
            }
        }
    }

    pub(super) fn on_subscribe(&mut self, id: u64, subscribe: Subscribe) {
        let levers = &self.levers;
        let Some(link) = self.links.get_mut(&id) else { return };
        let Some(session) = self.sessions.get_mut(&link.client) else { return };
        let client = link.client.clone();
        let identifier = subscribe.properties.as_ref().and_then(|properties| properties.id);
        let mut codes = Vec::new();
        let mut retained = Vec::new();
        for filter in &subscribe.filters {
            if let Some(code) = levers.refuse_subscribe.of(&filter.path) {
                codes.push(*code);
                continue;
            }
            let granted = levers.grant.of(&filter.path).copied().unwrap_or(1);
            let granted = granted.min(filter.qos as u8);
            codes.push(granted);
            if let Some(filter) = session.subscribe(filter, granted, identifier) {
                let fitting = self.retained.values().filter(|kept| matches(&filter, &kept.topic));
                retained.extend(fitting.cloned().map(|kept| (kept, granted)));
            }
        }
        let reasons = codes.iter().map(|code| subscribe_reason(*code)).collect();
        let ack = SubAck { pkid: subscribe.pkid, return_codes: reasons, properties: None };
        if !self.levers.mute_subacks.applies(&client) {
            link.send(&Packet::SubAck(ack));
        }
        for (message, granted) in retained {
            session.queue(&message, granted, true, &[]);
        }
        let filters = subscribe.filters;
        let entry = Subscribed { order: order(), connection: id, filters, codes };
        self.log.client(&client).subscribes.push(entry);
        self.pump(&client);
    }
}

fn connack_properties() -> ConnAckProperties {
    ConnAckProperties {
        session_expiry_interval: None,
        receive_max: None,
        max_qos: None,
        retain_available: None,
        max_packet_size: None,
        assigned_client_identifier: None,
        topic_alias_max: None,
        reason_string: None,
        user_properties: Vec::new(),
        wildcard_subscription_available: None,
        subscription_identifiers_available: None,
        shared_subscription_available: None,
        server_keep_alive: None,
        response_information: None,
        server_reference: None,
        authentication_method: None,
        authentication_data: None,
    }
}

fn subscribe_reason(code: u8) -> SubscribeReasonCode {
    match code {
        0 => SubscribeReasonCode::Success(QoS::AtMostOnce),
        1 => SubscribeReasonCode::Success(QoS::AtLeastOnce),
        0x80 => SubscribeReasonCode::Unspecified,
        0x83 => SubscribeReasonCode::ImplementationSpecific,
        0x87 => SubscribeReasonCode::NotAuthorized,
        0x8f => SubscribeReasonCode::TopicFilterInvalid,
        0x97 => SubscribeReasonCode::QuotaExceeded,
        0x9e => SubscribeReasonCode::SharedSubscriptionsNotSupported,
        _ => SubscribeReasonCode::Failure,
    }
}
