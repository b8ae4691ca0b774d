//! Brokers that say small limits in CONNACK: readings get through, and no connection begins anew for ever.

use bytes::Bytes;
use serde_json::json;

use crate::scene::{
    BATCHES, audit, fault, fleet, letters, message, output, readings, subscribed, violations,
};
use crate::support::SOON;
use crate::support::broker::{Broker, Limits, Message};
use crate::support::client::{Audit, Counter};
use crate::support::gateway::Gateway;
use crate::support::http::Http;

const NONE: [String; 0] = [];

fn window(messages: u16) -> Limits {
    Limits { receive_maximum: Some(messages), ..Limits::default() }
}

fn packets(bytes: u32) -> Limits {
    Limits { max_packet_size: Some(bytes), ..Limits::default() }
}

/// Of both brokers; the loads are small enough for one publication at a time.
#[test]
fn small_limits_in_connack_let_readings_through_without_a_reconnect() {
    for (name, limits) in [
        ("Receive Maximum 1", window(1)),
        ("Receive Maximum 2", window(2)),
        ("Maximum Packet Size 512", packets(512)),
    ] {
        let (input, sink) = (Broker::start(), Broker::start());
        input.announce(limits);
        sink.announce(limits);
        let own = [&output(&sink.url()), "batch.records_max = 10"];
        let mut gateway = subscribed(&fleet(&input.url(), &own));
        input.publish_all(readings(5, 1..=100, 1));
        input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 500);
        let name = format!("brokers say {name}");
        let balance = fault(&name, 0, &mut gateway, || audit(&sink).judge_load(5, 100));
        assert_eq!((balance.received, balance.delivered), (500, 500), "{name}");
        for (broker, who) in [(&input, "gw-in"), (&sink, "gw-out")] {
            assert_eq!(broker.look(|log| log.connects(who)), 1, "{name}: {who}");
            assert_eq!(violations(broker), NONE, "{name}");
        }
    }
}

/// Not even a subscription fits: an endless reconnect would say nothing.
#[test]
fn a_subscription_that_no_packet_holds_is_said_with_number_and_remedy() {
    let (input, sink) = (Broker::start(), Broker::start());
    input.announce(packets(20));
    let mut gateway = Gateway::start(&fleet(&input.url(), &[&output(&sink.url())]));
    let line =
        gateway.wait_for_line("it takes packets of 20 bytes, and our subscription has", SOON);
    assert!(line.contains("raise the broker's maximum packet size"), "{line}");
    assert_eq!(input.look(|log| log.subscribes("gw-in")), 0);
    input.announce(Limits::default());
    gateway.wait_for_line("subscribed", SOON);
    input.publish_all(readings(5, 1..=20, 1));
    input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 100);
    let name = "input broker takes no packet that holds a subscription";
    fault(name, 0, &mut gateway, || audit(&sink).judge_load(5, 20));
}

/// A reading with a short value and its number, and one that no small packet holds.
fn short_and_long() -> Vec<Message> {
    let long = format!(r#"{{"value":"{}","n":1}}"#, "x".repeat(300));
    let mut all = readings(5, 1..=20, 1);
    all.push(message("sensors/long/reading", long, 1));
    all
}

/// What a packet holds goes through as a reading, and what it does not as a letter that shows which value
/// it was.
#[test]
fn readings_get_through_small_packets_as_they_are_or_as_letters_with_their_value() {
    for (bytes, fits) in [(256, false), (300, false), (400, true)] {
        let (input, sink) = (Broker::start(), Broker::start());
        input.announce(packets(bytes));
        sink.announce(packets(bytes));
        let mut gateway = subscribed(&fleet(&input.url(), &[&output(&sink.url())]));
        input.publish_all(short_and_long());
        input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 101);
        let letters = sink.look(letters);
        let name = format!("output broker takes packets of {bytes}");
        let balance = fault(&name, 0, &mut gateway, || {
            // A letter shows the value, which counts up as the reading's own number does.
            let shown = letters.iter().filter_map(|letter| {
                let n: u64 = letter["payload"].as_str()?.parse().ok()?;
                let record =
                    json!({ "sensorId": letter["sensorId"], "value": n, "extra": { "n": n } });
                Some(Bytes::from(json!([record]).to_string()))
            });
            let batches = sink.published(BATCHES).into_iter().map(|batch| batch.payload);
            let all: Vec<_> = batches.chain(shown).collect();
            Audit::of(Counter::Member("n"), all).judge_load(5, 20)
        });
        let delivered = if fits { 100 } else { 0 };
        assert_eq!((balance.delivered, balance.dead_lettered), (delivered, 101 - delivered));
        for letter in &letters {
            let (length, digest) = (letter["bytes"].as_u64(), letter["sha256"].as_str());
            let long = letter["sensorId"] == "long";
            assert_eq!(length.is_some_and(|it| it > 300), long, "{letter}");
            assert_eq!(digest.map(str::len), Some(64), "{letter}");
        }
        let connects =
            (input.look(|it| it.connects("gw-in")), sink.look(|it| it.connects("gw-out")));
        assert_eq!(connects, (1, 1));
        assert_eq!([violations(&input), violations(&sink)], [NONE, NONE]);
    }
}

/// Where not even the least letter fits, everything is held, and health says why.
#[test]
fn what_no_packet_holds_is_held_and_said_until_one_does() {
    let (input, sink) = (Broker::start(), Broker::start());
    sink.announce(packets(128));
    let config = fleet(&input.url(), &[&output(&sink.url())]);
    let launch = Gateway::with_config(&config).env("SLUICEGATE__HTTP__LISTEN", "127.0.0.1:0");
    let mut gateway = launch.start();
    gateway.wait_for_line("subscribed", SOON);
    let http = Http::of(&gateway);
    input.publish_all(readings(5, 1..=20, 1));
    let reason = http.wait_health("degraded", SOON);
    assert!(reason.contains("the broker takes 128"), "{reason}");
    assert_eq!(input.look(|log| log.acks("gw-in")), 0);
    assert_eq!(sink.look(|log| log.published.len()), 0);
    sink.announce(Limits::default());
    sink.drop_connections("gw-out");
    input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 100);
    let name = "output broker takes no packet that holds a letter";
    let balance = fault(name, 0, &mut gateway, || audit(&sink).judge_load(5, 20));
    assert_eq!((balance.delivered, balance.dead_lettered), (100, 0));
}
