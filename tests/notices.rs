//! What a broker keeps of the gateway and of each sensor (`[status]`): whoever comes later reads how they do, also of a
//! gateway that is gone.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::scene::{BATCHES, LETTERS, drained, fleet, gateway, reading};
use crate::support::broker::Broker;
use crate::support::client::{Options, Session};
use crate::support::gateway::Gateway;
use crate::support::http::Http;
use crate::support::mosquitto::{Mosquitto, NO_DROP};
use crate::support::{SOON, eventually, within};

pub(crate) const STATUS: [&str; 2] = [
    "status.topic = \"gateway/status/{entry}/{sensor}\"",
    "status.gateway_topic = \"gateway/status/{gateway}\"",
];

/// What the broker keeps below `gateway/status`, by topic. All of it comes at once.
pub(crate) fn kept(port: u16) -> BTreeMap<String, Value> {
    let mut session = Session::open(&Options::new(port, "reader")).unwrap();
    session.subscribe(&["gateway/status/#"]).unwrap();
    let mut kept = BTreeMap::new();
    while let Some(it) = session.next_publish(Duration::from_millis(200)).unwrap() {
        let topic = String::from_utf8(it.topic.to_vec()).unwrap();
        if it.payload.is_empty() {
            // It is taken back just now.
            kept.remove(&topic);
        } else {
            kept.insert(topic, serde_json::from_slice(&it.payload).unwrap());
        }
    }
    kept
}

/// Waits until what the broker keeps on this topic has this state.
#[track_caller]
pub(crate) fn wait_for(port: u16, topic: &str, state: &str) -> Value {
    let mut last = BTreeMap::new();
    let came = within(SOON, || {
        last = kept(port);
        last.get(topic).is_some_and(|it| it["state"] == state)
    });
    assert!(came, "{topic} is not {state}: {last:?}");
    last.remove(topic).unwrap()
}

#[test]
fn a_broker_keeps_how_each_sensor_and_the_gateway_do() {
    let (input, broker) = (Broker::start(), Mosquitto::start(NO_DROP));
    let every = "sensors.fleet.mqtt.expected_interval = \"1s\"";
    let output = format!("output.broker.url = \"{}\"", broker.url());
    let config = fleet(&input.url(), &[&[every, &*output], &STATUS[..]].concat());
    let mut gateway = Gateway::start(&config);
    gateway.wait_for_line("subscribed", SOON);
    input.publish_all([reading("a", 1, 1)]);
    let notice = wait_for(broker.port(), "gateway/status/fleet/a", "online");
    assert_eq!((&notice["sensorId"], &notice["intervalSeconds"]), (&"a".into(), &1.0.into()));
    let own = wait_for(broker.port(), "gateway/status/gw", "online");
    assert_eq!(own["version"], env!("CARGO_PKG_VERSION"));
    let silent = wait_for(broker.port(), "gateway/status/fleet/a", "silent");
    assert_eq!(silent["lastReceivedAt"], notice["lastReceivedAt"]);
    input.publish_all([reading("a", 2, 1)]);
    wait_for(broker.port(), "gateway/status/fleet/a", "online");
    let balance = drained(&mut gateway);
    assert_eq!((balance.received, balance.delivered), (2, 2), "no notice is a reading");
    let left = kept(broker.port());
    assert_eq!(left["gateway/status/gw"]["state"], "offline");
    assert_eq!(left["gateway/status/fleet/a"]["state"], "online", "the last that is known");
}

#[test]
fn a_gateway_that_is_killed_is_offline() {
    let broker = Mosquitto::start(NO_DROP);
    let mut gateway = Gateway::start(&fleet(&broker.url(), &STATUS));
    wait_for(broker.port(), "gateway/status/gw", "online");
    gateway.signal("KILL");
    gateway.wait_exit(SOON);
    wait_for(broker.port(), "gateway/status/gw", "offline");
}

/// This one keeps nothing on disk.
#[test]
fn a_broker_that_comes_back_empty_is_told_again_and_what_changed_meanwhile_is_one_notice() {
    let (input, mut broker) = (Broker::start(), Mosquitto::start(NO_DROP));
    let every = "sensors.fleet.mqtt.expected_interval = \"1s\"";
    let output = format!("output.broker.url = \"{}\"", broker.url());
    let config = fleet(&input.url(), &[&[every, &*output], &STATUS[..]].concat());
    let gateway =
        Gateway::with_config(&config).env("SLUICEGATE__HTTP__LISTEN", "127.0.0.1:0").start();
    gateway.wait_for_line("subscribed", SOON);
    let http = Http::of(&gateway);
    input.publish_all([reading("a", 1, 0), reading("b", 1, 0)]);
    for id in ["a", "b"] {
        wait_for(broker.port(), &format!("gateway/status/fleet/{id}"), "online");
    }
    broker.stop();
    eventually("both are silent", SOON, || http.json("/api/sensors?state=silent")["total"] == 2);
    broker.restart();
    for id in ["a", "b"] {
        wait_for(broker.port(), &format!("gateway/status/fleet/{id}"), "silent");
    }
    wait_for(broker.port(), "gateway/status/gw", "online");
}

#[test]
fn notices_that_are_forbidden_are_told_and_stop_no_reading() {
    let rules = format!(
        "user gw\ntopic read sensors/#\ntopic write gateway/batches\ntopic write {LETTERS}\n"
    );
    let rules = rules + "user sensor\ntopic write sensors/#\ntopic read gateway/batches\n";
    let setup = Mosquitto::with(NO_DROP).user("gw", "secret").user("sensor", "secret").acl(&rules);
    let broker = setup.start();
    let login = ["broker.username = \"gw\"", "broker.password_file = \"password\""];
    let config = fleet(&broker.url(), &[&login[..], &STATUS].concat());
    let mut gateway = Gateway::with_config(&config).file("password", "secret").start();
    gateway.wait_for_line("the broker refuses a notice (status)", SOON);
    let mut sensor =
        Session::open(&Options::new(broker.port(), "sensor").login("sensor", "secret")).unwrap();
    sensor.subscribe(&[BATCHES]).unwrap();
    sensor.write_publish("sensors/a/reading", b"{\"value\":1}".to_vec(), 0);
    sensor.flush().unwrap();
    let batch = sensor.next_publish(SOON).unwrap();
    assert!(batch.is_some(), "its batch: {}\n{}", gateway.text(), broker.log());
    let balance = drained(&mut gateway);
    assert_eq!((balance.received, balance.delivered), (1, 1));
}

#[test]
fn topics_that_would_mix_notices_with_others_are_refused() {
    let refused = |lines: &[&str]| {
        let mut gateway = Gateway::start(&gateway("mqtt://127.0.0.1:9", lines));
        assert_eq!(gateway.wait_exit(SOON), 64);
        gateway.text()
    };
    let (a, b) = ("sensors.a.mqtt.topic = \"x/{sensor}\"", "sensors.b.mqtt.topic = \"y\"");
    for (topic, words) in [
        ("s", "has no {sensor}: sensors would share a notice"),
        ("s/{sensor}", "has no {entry}: sensors would share a notice"),
        ("s/{entry}/{sensor}/{quantity}", "has {quantity}, which a sensor has none of"),
        ("x/{entry}{sensor}", "what it publishes would come back as readings"),
        ("gateway/{entry}{sensor}", "may be the same as gateway/batches"),
    ] {
        let text = refused(&[a, b, &format!("status.topic = \"{topic}\"")]);
        assert!(text.contains(words), "{topic}: {text}");
    }
    let text = refused(&[a, b, STATUS[0], "status.gateway_topic = \"gateway/status/a/b\""]);
    assert!(text.contains("may be the same as gateway/status/a/b"), "{text}");
    let text = refused(&[a, b, "status.gateway_topic = \"y\""]);
    assert!(text.contains("y matches y, which this gateway publishes"), "{text}");
}
