//! MQTT inside WebSocket, with and without TLS, in front of a real Mosquitto.

use crate::scene::{LONG, drained, fleet, report, subscribed};
use crate::support::SOON;
use crate::support::client::{Collector, Publisher};
use crate::support::gateway::Gateway;
use crate::support::mosquitto::{Mosquitto, NO_DROP};
use crate::support::websocket::Bridge;
use crate::tls::certificates;

/// 20,000 readings through a gateway that reaches its broker at `url`.
fn through(mosquitto: &Mosquitto, url: &str, more: &[&str]) {
    let collector = Collector::start(mosquitto.port());
    let mut gateway = subscribed(&fleet(url, more));
    let load = Publisher::to(mosquitto.port()).sensors(20).readings(1000).window(500).run(LONG);
    collector.wait_readings(20_000, LONG);
    assert_eq!((load.total(), drained(&mut gateway).delivered), (20_000, 20_000));
    collector.audit().assert_exactly(20, 1000);
}

#[test]
fn readings_and_batches_travel_inside_websocket() {
    for version in ["broker.version = 3", "broker.version = 5"] {
        let mosquitto = Mosquitto::start(NO_DROP);
        let bridge = Bridge::to(mosquitto.port(), None);
        through(&mosquitto, &format!("ws://127.0.0.1:{}/mqtt", bridge.port()), &[version]);
        report(&format!("{version}: {} pings answered", bridge.pongs()));
        assert!(bridge.pongs() > 0);
    }
}

#[test]
fn readings_and_batches_travel_inside_websocket_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let mosquitto = Mosquitto::start(NO_DROP);
    let bridge = Bridge::to(mosquitto.port(), Some(folder.path()));
    let ca = format!("broker.tls.ca_file = \"{}/ca.pem\"", folder.path().display());
    through(&mosquitto, &format!("wss://localhost:{}", bridge.port()), &[&ca]);
}

#[test]
fn an_address_that_speaks_no_mqtt_over_websocket_is_said() {
    let mosquitto = Mosquitto::start(NO_DROP);
    let bridge = Bridge::to(mosquitto.port(), None);
    for url in [
        format!("ws://127.0.0.1:{}/other", bridge.port()),
        format!("ws://127.0.0.1:{}/mqtt", mosquitto.port()),
    ] {
        let gateway = Gateway::start(&fleet(&url, &[]));
        let line = gateway.wait_for_line("cannot connect", SOON);
        assert!(line.contains("no MQTT over WebSocket there"), "{line}");
        assert!(line.contains("write mqtt://"), "{line}");
    }
}
