//! The scripted broker's connections and sessions: refused, lost, shared, silent, in order.

use std::time::Duration;

use super::{SHORT, delivered, puback, publish_numbers, send, subscriber};
use crate::support::broker::{Broker, Kind, Limits, Message};
use crate::support::client::{Options, Session};
use crate::support::wire::{
    ConnectReturnCode, DisconnectReasonCode, Packet, PublishProperties, QoS, SubscribeReasonCode,
};
use crate::support::{SOON, eventually, now};

#[test]
fn connects_are_refused_with_a_reason() {
    let broker = Broker::start();
    broker.require_login("gateway", "secret");
    let code = |options: &Options| Session::knock(options).unwrap().1.code;
    let plain = Options::new(broker.port(), "plain");
    assert_eq!(code(&plain), ConnectReturnCode::BadUserNamePassword);
    assert_eq!(code(&plain.clone().v3()), ConnectReturnCode::BadUserNamePassword);
    let good = plain.login("gateway", "secret");
    assert_eq!(code(&good), ConnectReturnCode::Success);
    broker.refuse_connects("plain", ConnectReturnCode::ServerUnavailable);
    assert_eq!(code(&good), ConnectReturnCode::ServerUnavailable);
    assert!(Session::open(&good).is_err());
    broker.accept_connects("plain");
    assert_eq!(code(&good), ConnectReturnCode::Success);
    broker.look(|log| {
        assert_eq!((log.connects("plain"), log.refused("plain")), (2, 4));
        let connected = log.clients["plain"].connects.last().unwrap();
        assert_eq!(connected.login.as_ref().unwrap().username, "gateway");
        assert!(connected.connect.clean_start && !connected.session_present);
    });
}

#[test]
fn subscriptions_are_refused_lowered_and_shared() {
    let broker = Broker::start();
    broker.refuse_subscribes("secret", 0x87);
    broker.grant_at_most("low", 0);
    let mut five = Session::open(&Options::new(broker.port(), "five")).unwrap();
    let low = SubscribeReasonCode::Success(QoS::AtMostOnce);
    let denied = SubscribeReasonCode::NotAuthorized;
    assert_eq!(five.subscribe(&["secret/#", "low"]).unwrap(), [denied, low]);
    let mut three = Session::open(&Options::new(broker.port(), "three").v3()).unwrap();
    assert_eq!(three.subscribe(&["secret/#"]).unwrap(), [SubscribeReasonCode::Failure]);
    broker.publish("low", "1", 1, false);
    assert_eq!(delivered(&mut five), [(0, false, "1".to_owned())]);
    broker.accept_subscribes("");
    five.subscribe(&["$share/g/in/+"]).unwrap();
    three.subscribe(&["$share/g/in/+"]).unwrap();
    publish_numbers(&broker, "in/a", 0..10);
    assert_eq!((delivered(&mut five).len(), delivered(&mut three).len()), (5, 5));
    assert_eq!(broker.look(|log| log.subscribes("five")), 2);
    let first = broker.client("five").subscribes.remove(0);
    assert_eq!((first.codes[0], first.filters[0].path.as_str()), (0x87, "secret/#"));
}

#[test]
fn filters_match_as_the_protocol_says() {
    let broker = Broker::start();
    let filters = ["a/+/c", "a/#", "+/b/c", "a/b", "#", "übung/+"];
    let expected = [
        ("a/b/c", vec![0, 1, 2, 4]),
        ("a", vec![1, 4]),
        ("a/b", vec![1, 3, 4]),
        ("a/x/d", vec![1, 4]),
        ("übung/1", vec![4, 5]),
        ("$SYS/a", vec![]),
    ];
    let mut sessions: Vec<Session> = (filters.iter().zip(0..))
        .map(|(filter, n)| subscriber(&Options::new(broker.port(), &format!("c{n}")), filter))
        .collect();
    for (topic, takers) in expected {
        broker.publish(topic, "1", 0, false);
        for session in &mut sessions {
            session.ping(SOON).unwrap();
        }
        let mut got = |n: &usize| sessions[*n].next_publish(SHORT / 20).unwrap().is_some();
        let all: Vec<usize> = (0..filters.len()).filter(|n| got(n)).collect();
        assert_eq!(all, takers, "{topic}");
    }
}

#[test]
fn retained_messages_and_properties_arrive() {
    let broker = Broker::start();
    broker.publish("state", "kept", 1, true);
    let properties = PublishProperties {
        user_properties: vec![("batch".to_owned(), "b-1".to_owned())],
        ..PublishProperties::default()
    };
    let mut reader = subscriber(&Options::new(broker.port(), "reader"), "#");
    let publish = reader.next_publish(SOON).unwrap().unwrap();
    assert!(publish.retain);
    let (topic, payload) = ("live".to_owned(), "{}".into());
    let properties = Some(properties);
    broker.publish_all([Message { topic, payload, qos: 1, retain: false, properties }]);
    let publish = reader.next_publish(SOON).unwrap().unwrap();
    assert!(!publish.retain);
    assert_eq!(publish.properties.as_ref().unwrap().user_properties[0].1, "b-1");
    reader.write(&Packet::Publish(publish));
    reader.flush().unwrap();
    broker.wait_until("it came back", SOON, |log| log.count("live") == 1);
    let back = broker.published("live").remove(0);
    assert_eq!((back.property("batch"), back.json()), (Some("b-1"), serde_json::json!({})));
}

#[test]
fn connections_drop_when_told_to() {
    let broker = Broker::start();
    let options = Options::new(broker.port(), "load");
    let mut load = Session::open(&options).unwrap();
    broker.drop_after("load", Kind::Publish, 3);
    (0..2).for_each(|_| {
        send(&mut load, "a", "x");
        assert!(puback(&mut load).is_some());
    });
    load.ping(SOON).unwrap();
    send(&mut load, "a", "x");
    assert!(load.receive(SOON).is_err());
    broker.look(|log| {
        let acknowledged: Vec<bool> = log.on("a").map(|p| p.acknowledged.is_some()).collect();
        assert_eq!(acknowledged, [true, true, false]);
    });
    broker.drop_after("", Kind::Connect, 1);
    assert!(Session::open(&options).is_err());
    let mut load = Session::open(&options).unwrap();
    assert_eq!(broker.disconnect("load", DisconnectReasonCode::ServerShuttingDown), 1);
    assert!(matches!(load.receive(SOON).unwrap(), Some(Packet::Disconnect(_))));
    assert!(load.receive(SOON).is_err());
}

#[test]
fn the_broker_goes_away_and_comes_back_with_its_sessions() {
    let broker = Broker::start();
    let options = Options::new(broker.port(), "reader").persistent();
    let mut reader = subscriber(&options, "in");
    broker.go_away();
    assert!(reader.receive(SOON).is_err());
    eventually("the port is closed", SOON, || Session::open(&options).is_err());
    broker.publish("in", "meanwhile", 1, false);
    broker.come_back();
    let mut opened = None;
    eventually("the port is open", SOON, || {
        opened = Session::open(&options).ok();
        opened.is_some()
    });
    let mut reader = opened.unwrap();
    assert!(reader.session_present());
    assert_eq!(delivered(&mut reader).len(), 1);
}

#[test]
fn what_connack_announces_is_enforced() {
    let broker = Broker::start();
    let limits = Limits {
        retain_available: Some(1),
        receive_maximum: Some(2),
        max_packet_size: Some(100),
        server_keep_alive: Some(7),
        maximum_qos: Some(1),
        session_expiry: Some(7),
    };
    broker.announce(limits);
    broker.hold_acks("");
    let (mut load, ack) = Session::knock(&Options::new(broker.port(), "load")).unwrap();
    let properties = ack.properties.unwrap();
    assert_eq!((properties.receive_max, properties.max_packet_size), (Some(2), Some(100)));
    assert_eq!((properties.server_keep_alive, properties.max_qos), (Some(7), Some(1)));
    (0..3).for_each(|_| _ = send(&mut load, "a", "x"));
    assert!(matches!(load.receive(SOON).unwrap(), Some(Packet::Disconnect(_))));
    let mut load = Session::open(&Options::new(broker.port(), "load")).unwrap();
    send(&mut load, "a", &"x".repeat(200));
    assert!(matches!(load.receive(SOON).unwrap(), Some(Packet::Disconnect(_))));
    assert_eq!(broker.look(|log| log.violations().len()), 2);
}

#[test]
fn stalls_and_silence() {
    let broker = Broker::start();
    let mut options = Options::new(broker.port(), "shy");
    options.keep_alive = 1;
    options.max_packet_size = Some(60);
    let mut shy = subscriber(&options, "in");
    broker.enforce_keep_alive(false);
    broker.stall_writes("shy");
    broker.publish("in", "1", 1, false);
    assert_eq!(delivered(&mut shy), []);
    broker.resume_writes("shy");
    assert_eq!(delivered(&mut shy).len(), 1);
    broker.publish("in", "x".repeat(100), 1, false);
    assert_eq!(delivered(&mut shy), []);
    broker.stall_reads("shy");
    assert!(shy.ping(SHORT).is_err());
    assert_eq!(broker.look(|log| log.pings("shy")), 0);
    broker.resume_reads("shy");
    broker.wait_until("the ping is read", SOON, |log| log.pings("shy") == 1);
    assert!(matches!(shy.receive(SOON).unwrap(), Some(Packet::PingResp(_))));
    broker.mute_pings("");
    assert!(shy.ping(SHORT).is_err());
    broker.answer_pings("");
    shy.ping(SOON).unwrap();
    broker.send_raw("shy", &[0xd0, 0]);
    assert!(matches!(shy.receive(SOON).unwrap(), Some(Packet::PingResp(_))));
    let since = now();
    broker.enforce_keep_alive(true);
    assert!(shy.receive(SOON).is_err());
    assert!(now() - since < Duration::from_secs(5));
    let log = broker.client("shy");
    assert_eq!((log.oversize, log.violations.len(), log.pings), (1, 1, 3));
}

#[test]
fn the_log_orders_everything_across_brokers() {
    let (input, output) = (Broker::start(), Broker::start());
    let mut source = subscriber(&Options::new(input.port(), "source"), "in");
    let mut sink = Session::open(&Options::new(output.port(), "sink")).unwrap();
    input.publish("in", "1", 1, false);
    let id = source.next_publish(SOON).unwrap().unwrap().pkid;
    send(&mut sink, "out", "[1]");
    assert!(puback(&mut sink).is_some());
    source.ack(id).unwrap();
    input.wait_until("the ack", SOON, |log| log.acks("source") == 1);
    let (source, sink) = (input.client("source"), output.client("sink"));
    let published = output.published("out").remove(0);
    let (delivered, ack) = (&source.delivered[0], &source.acks[0]);
    assert_eq!((delivered.topic.as_str(), &delivered.payload[..]), ("in", &b"1"[..]));
    assert_eq!((delivered.id, delivered.dup, ack.id), (id, false, id));
    let (connect, subscribe) = (&source.connects[0], &source.subscribes[0]);
    let orders = [
        connect.order,
        subscribe.order,
        delivered.order,
        published.order,
        published.acknowledged.unwrap(),
        ack.order,
    ];
    assert!(orders.is_sorted(), "{orders:?}");
    let connections = [subscribe.connection, delivered.connection, ack.connection];
    assert_eq!(connections, [connect.connection; 3]);
    assert_eq!(published.connection, sink.connects[0].connection);
    assert_eq!((published.client.as_str(), published.qos, published.id), ("sink", 1, 1));
    assert!(!published.dup && !published.retain && published.property("batch").is_none());
}
