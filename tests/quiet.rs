//! A run that nothing disturbs has nothing to complain about.

use crate::scene::{drained, fleet, subscribed};
use crate::support::SOON;
use crate::support::client::{Collector, Publisher};
use crate::support::gateway::Gateway;
use crate::support::mosquitto::{Mosquitto, NO_DROP};

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
