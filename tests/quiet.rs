//! A run that nothing disturbs has nothing to complain about.

use crate::scene::{drained, fleet, output, readings, subscribed};
use crate::support::SOON;
use crate::support::broker::Broker;
use crate::support::client::{Collector, Publisher};
use crate::support::gateway::Gateway;
use crate::support::mosquitto::{Mosquitto, NO_DROP};

/// Times that both links are cut.
const CUTS: usize = 10;

/// Lines of one kind that a log may have of them: one for each ten seconds that they take, and some more.
const LINES_MAX: usize = 6;

#[test]
fn an_undisturbed_run_logs_nothing_above_info() {
    for version in [3, 5] {
        let mosquitto = Mosquitto::start(NO_DROP);
        let collector = Collector::start(mosquitto.port());
        let version = format!("broker.version = {version}");
        let mut gateway =
            subscribed(&fleet(&mosquitto.url(), &[&version, "log.format = \"json\""]));
        Publisher::to(mosquitto.port()).sensors(10).readings(300).rate(1500.0).run(SOON);
        collector.wait_readings(3000, SOON);
        assert_eq!(drained(&mut gateway).delivered, 3000);
        assert_only_info(&gateway);
        for client in ["gw-in-fleet", "gw-out"] {
            let goodbye = format!("Client {client} disconnected.");
            assert!(mosquitto.log().contains(&goodbye), "{}", mosquitto.log());
        }
    }
}

/// Every line is JSON and none is above "info".
#[track_caller]
fn assert_only_info(gateway: &Gateway) {
    let text = gateway.stderr();
    assert!(text.lines().count() >= 3, "{text}");
    for line in text.lines() {
        let json: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_eq!(json["level"], "INFO", "{line}");
        assert!(json["timestamp"].is_string() && json["message"].is_string(), "{line}");
    }
}

#[test]
fn simulated_sensors_run_quietly_and_end() {
    let mosquitto = Mosquitto::start(NO_DROP);
    let _collector = Collector::start(mosquitto.port());
    let more = [
        "sensors.T.simulated = { count = 10, interval = \"10ms\", readings = 20 }",
        "log.format = \"json\"",
    ];
    let mut gateway = Gateway::start(&crate::scene::gateway(&mosquitto.url(), &more));
    assert_eq!(crate::scene::ended(&mut gateway).delivered, 200);
    assert_only_info(&gateway);
}

/// Links that come and go write no more lines than one that does so once in a while, of good news too.
#[test]
fn connections_that_come_and_go_write_few_lines() {
    let (input, sink) = (Broker::start(), Broker::start());
    let mut gateway = subscribed(&fleet(&input.url(), &[&output(&sink.url())]));
    for cut in 1..=CUTS {
        sink.hold_acks("gw-out");
        input.publish_all(readings(1, cut as u64..=cut as u64, 1));
        sink.wait_until("a batch", SOON, |log| log.published.len() > cut - 1);
        sink.drop_connections("gw-out");
        sink.resume_acks("gw-out");
        input.wait_until("acknowledgement", SOON, |log| log.acks("gw-in") == cut);
        input.forget_sessions("gw-in");
        input.wait_until("a return", SOON, |log| log.subscribes("gw-in") > cut);
    }
    drained(&mut gateway);
    for line in ["connected", "connection lost", "subscribed", "publishing again", "session"] {
        let lines = gateway.count(line);
        assert!(lines <= LINES_MAX, "{lines} x {line}:\n{}", gateway.text());
    }
}
