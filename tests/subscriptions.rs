//! An intake's subscription: there at each connection, whatever became of it at the broker, and no reading
//! twice or late for it.

use crate::scene::{BATCHES, drained, fleet, output, readings, subscribed, wait_readings};
use crate::sessions::client;
use crate::support::broker::Broker;
use crate::support::client::{Collector, Publisher};
use crate::support::gateway::Gateway;
use crate::support::mosquitto::{Mosquitto, NO_DROP};
use crate::support::proxy::{Cut, Proxy};
use crate::support::{SOON, eventually};

/// A gateway that is subscribed, with these settings.
fn gateway(input: &Broker, sink: &Broker, more: &[&str]) -> Gateway {
    let output = output(&sink.url());
    subscribed(&fleet(&input.url(), &[more, &[&output]].concat()))
}

/// The readings that came marked as retained.
fn retained(sink: &Broker) -> usize {
    let batches = sink.published(BATCHES);
    batches
        .iter()
        .map(|it| String::from_utf8_lossy(&it.payload).matches("\"retained\":true").count())
        .sum()
}

/// Waits until `n` readings of QoS 1, beside `more` that have no number, are published and acknowledged.
#[track_caller]
fn wait_all(input: &Broker, sink: &Broker, n: u64, more: u64) {
    wait_readings(sink, n, SOON);
    input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") as u64 == n + more);
}

/// With MQTT 3.1.1: asked for again when it has been silent for two keep-alives.
const SILENT: &[&str] = &["broker.keep_alive = \"2s\""];

#[test]
fn a_session_that_has_lost_its_subscription_is_not_deaf() {
    for (version, more) in
        [(5, &[][..]), (3, &["sensors.fleet.mqtt.retained = \"skip\""]), (3, SILENT)]
    {
        let (input, sink) = (Broker::start(), Broker::start());
        let version = format!("broker.version = {version}");
        let mut gateway = gateway(&input, &sink, &[more, &[&version]].concat());
        input.publish_all(readings(1, 1..=5, 1));
        wait_all(&input, &sink, 5, 0);
        assert_eq!(input.lose_subscriptions("gw-in"), 1);
        input.wait_until("it asks again", SOON, |log| log.subscribes("gw-in") == 2);
        assert!(input.client("gw-in").connects.last().unwrap().session_present);
        input.publish_all(readings(1, 6..=10, 1));
        wait_all(&input, &sink, 10, 0);
        assert_eq!(gateway.said("has been silent for long"), more == SILENT);
        assert_eq!(drained(&mut gateway).received, 10, "{version} {more:?}");
    }
}

#[test]
fn what_is_retained_does_not_come_again_to_a_session_that_is_resumed() {
    for version in [3, 5] {
        let (input, sink) = (Broker::start(), Broker::start());
        input.publish("sensors/r/reading", r#"{"value":7}"#, 1, true);
        let version = format!("broker.version = {version}");
        let mut gateway = gateway(&input, &sink, &[&version]);
        for round in 1..=3 {
            input.publish_all(readings(1, round..=round, 1));
            wait_all(&input, &sink, round, 1);
            input.drop_connections("gw-in");
            input.wait_until("it comes back", SOON, |log| {
                log.connects("gw-in") as u64 == round + 1 && log.connected("gw-in")
            });
        }
        input.publish_all(readings(1, 4..=4, 1));
        wait_all(&input, &sink, 4, 1);
        assert_eq!(drained(&mut gateway).received, 5, "four readings and one retained");
        assert_eq!(retained(&sink), 1);
    }
}

/// Mosquitto itself: subscribing again brings nothing that it had retained.
#[test]
fn mosquitto_sends_nothing_again_for_a_subscription_that_is_there() {
    let mosquitto = Mosquitto::start(NO_DROP);
    let (collector, proxy) = (Collector::start(mosquitto.port()), Proxy::to(mosquitto.port()));
    let kept = r#"-t sensors/r/reading -q 1 -r -m {"value":7,"n":1}"#;
    client("mosquitto_pub", mosquitto.port(), kept);
    let alone = ["broker.watch = false", "log.level = \"debug\""];
    let mut gateway = subscribed(&fleet(&proxy.url(), &alone));
    for round in 1..=3 {
        proxy.cut(Cut::Reset);
        eventually("subscribed again", SOON, || gateway.count("subscribed again") == round);
    }
    Publisher::to(mosquitto.port()).sensors(5).readings(20).run(SOON);
    collector.wait_readings(101, SOON);
    assert_eq!(drained(&mut gateway).received, 101);
}

/// The answer to SUBSCRIBE is waited for by nobody, as long as the session brings something.
#[test]
fn readings_of_a_resumed_session_do_not_wait_for_the_subscription() {
    let (input, sink) = (Broker::start(), Broker::start());
    let patience = ["broker.connect_timeout = \"2s\"", "broker.keep_alive = \"2s\""];
    let mut gateway = gateway(&input, &sink, &patience);
    input.publish_all(readings(1, 1..=1, 1));
    wait_all(&input, &sink, 1, 0);
    input.mute_subacks("gw-in");
    input.drop_connections("gw-in");
    input.wait_until("it asks again", SOON, |log| log.subscribes("gw-in") == 2);
    // Twice as long as an answer may take.
    for n in 2..=11 {
        crate::support::pause(std::time::Duration::from_millis(200));
        input.publish_all(readings(1, n..=n, 1));
        wait_all(&input, &sink, n, 0);
    }
    assert!(!gateway.said("no answer to SUBSCRIBE"), "{}", gateway.text());
    assert_eq!(input.look(|log| log.connects("gw-in")), 2);
    // Pings are answered, and are no sign of a subscription.
    gateway.wait_for_line("no answer to SUBSCRIBE within 1s", SOON);
    input.answer_subscribes("gw-in");
    input.publish_all(readings(1, 12..=12, 1));
    wait_all(&input, &sink, 12, 0);
    assert_eq!(drained(&mut gateway).received, 12);
}

#[test]
fn a_lower_grant_is_said_with_its_consequence_and_not_at_each_connect() {
    let (input, sink) = (Broker::start(), Broker::start());
    input.grant_at_most("sensors", 0);
    let mut gateway = gateway(&input, &sink, &[]);
    let line = gateway.wait_for_line("granted a lower QoS", SOON);
    assert!(line.contains("granted=0") && line.contains("are lost there"), "{line}");
    for round in 2..=4 {
        input.drop_connections("gw-in");
        input.wait_until("it asks again", SOON, |log| log.subscribes("gw-in") == round);
    }
    input.publish_all(readings(1, 1..=1, 0));
    wait_readings(&sink, 1, SOON);
    assert_eq!(gateway.count("granted a lower QoS"), 1, "{}", gateway.text());
    drained(&mut gateway);
}
