//! Sensors that do not come back after a restart are told to be silent, once: the gateway reads back what its broker keeps
//! of them (`[status] topic`).

use std::time::Duration;

use serde_json::Value;

use crate::notices::{STATUS, kept, wait_for};
use crate::scene::{LETTERS, drained, fleet, gateway, output, reading};
use crate::support::broker::{Broker, Kind, Log};
use crate::support::client::{Options, Session};
use crate::support::gateway::Gateway;
use crate::support::http::Http;
use crate::support::mosquitto::{Mosquitto, NO_DROP};
use crate::support::{SOON, now, pause, within};

/// Each sensor is to report so often.
const EVERY: &str = "sensors.fleet.mqtt.expected_interval = \"1s\"";

/// What the gateway says when it has read its notices back.
const READ: &str = "an earlier run has told of these sensors";

/// A gateway that is subscribed, and where it is asked.
fn started(config: &str) -> (Gateway, Http) {
    let gateway =
        Gateway::with_config(config).env("SLUICEGATE__HTTP__LISTEN", "127.0.0.1:0").start();
    gateway.wait_for_line("subscribed", SOON);
    let http = Http::of(&gateway);
    (gateway, http)
}

/// Until this is so, these sensors report.
fn reporting(input: &Broker, sensors: &[&str], mut is_so: impl FnMut() -> bool) -> bool {
    let mut n = 0;
    within(SOON, || {
        n += 1;
        input.publish_all(sensors.iter().map(|sensor| reading(sensor, n, 0)));
        pause(Duration::from_millis(200));
        is_so()
    })
}

fn changed(http: Http) -> [Option<f64>; 3] {
    ["online", "late", "silent"]
        .map(|state| http.metric(&format!("sluicegate_sensors_changed_total{{state=\"{state}\"}}")))
}

fn topic(sensor: &str) -> String {
    format!("gateway/status/fleet/{sensor}")
}

#[test]
fn a_sensor_that_does_not_come_back_after_a_restart_is_told_once() {
    let (input, broker) = (Broker::start(), Mosquitto::start(NO_DROP));
    let config = fleet(&input.url(), &[&[EVERY, &output(&broker.url())], &STATUS[..]].concat());
    let (mut gateway, _) = started(&config);
    let all = || ["a", "b", "c"].iter().all(|it| kept(broker.port()).contains_key(&topic(it)));
    assert!(reporting(&input, &["a", "b", "c"], all), "{}", gateway.text());
    drained(&mut gateway);
    let before = kept(broker.port()).remove(&topic("c")).unwrap();
    assert_eq!(before["state"], "online");

    let (mut gateway, http) = started(&config);
    let told = || gateway.said("a sensor is silent");
    assert!(reporting(&input, &["a", "b"], told), "{}", gateway.text());
    let line = gateway.wait_for_line("a sensor is silent", SOON);
    assert!(line.contains("sensor=\"c\""), "{line}");
    let silent = wait_for(broker.port(), &topic("c"), "silent");
    assert_eq!(silent["lastReceivedAt"], before["lastReceivedAt"]);
    let row = http.json("/api/sensors/fleet/c");
    assert_eq!((&row["state"], &row["received"]), (&"silent".into(), &0.into()));
    assert_eq!(row["lastReceivedAt"], before["lastReceivedAt"]);
    assert_eq!((&row["firstReceivedAt"], &row["readingsPerSecond"]), (&Value::Null, &0.0.into()));
    assert_eq!(changed(http), [0.0, 1.0, 1.0].map(Some), "{}", gateway.text());
    assert_eq!(http.metric("sluicegate_entry_sensors_silent{entry=\"fleet\"}"), Some(1.0));
    drained(&mut gateway);

    for _ in 0..2 {
        let (mut gateway, http) = started(&config);
        // Longer than three intervals behind what it has read: time in which more would be told.
        let mut end = None;
        let looked = || {
            let is_read = gateway.said(READ);
            let end = end.get_or_insert_with(|| now() + Duration::from_secs(6));
            is_read && now() > *end
        };
        assert!(reporting(&input, &["a", "b"], looked), "{}", gateway.text());
        let line = gateway.wait_for_line(READ, SOON);
        assert!(line.contains("silent=1"), "{line}");
        assert_eq!(changed(http), [0.0; 3].map(Some), "{}", gateway.text());
        let row = http.json("/api/sensors/fleet/c");
        assert_eq!((&row["state"], &row["since"]), (&"silent".into(), &silent["since"]));
        assert_eq!(http.json("/api/sensors")["total"], 3);
        assert_eq!(kept(broker.port())[&topic("c")], silent);
        drained(&mut gateway);
    }

    let (mut gateway, http) = started(&config);
    let is_known = || http.json("/api/sensors?state=silent")["total"] == 1;
    assert!(within(SOON, is_known), "{}", gateway.text());
    input.publish_all([reading("c", 1, 0)]);
    wait_for(broker.port(), &topic("c"), "online");
    assert_eq!(drained(&mut gateway).received, 1);
}

#[test]
fn what_is_kept_of_an_entry_that_is_gone_is_taken_back_at_the_start() {
    let (input, broker) = (Broker::start(), Mosquitto::start(NO_DROP));
    let output = output(&broker.url());
    let (mut first, _) = started(&fleet(&input.url(), &[&[&*output], &STATUS[..]].concat()));
    input.publish_all([reading("a", 1, 1)]);
    wait_for(broker.port(), &topic("a"), "online");
    drained(&mut first);
    let other = "sensors.other.mqtt.topic = \"other/{sensor}\"";
    let config = gateway(&input.url(), &[&[other, &*output], &STATUS[..]].concat());
    let (mut second, http) = started(&config);
    let is_gone = || !kept(broker.port()).contains_key(&topic("a"));
    assert!(within(SOON, is_gone), "{}", second.text());
    let line = second.wait_for_line(READ, SOON);
    assert!(line.contains("sensors=0") && line.contains("taken_back=1"), "{line}");
    assert_eq!(http.json("/api/sensors")["total"], 0);
    drained(&mut second);
}

/// This broker grants such a subscription, and sends nothing.
#[test]
fn a_gateway_that_may_not_read_its_notices_says_so_and_goes_on() {
    let rules = format!(
        "user gw\ntopic read sensors/#\ntopic write gateway/batches\ntopic write {LETTERS}\n\
         topic write gateway/status/#\nuser sensor\ntopic write sensors/#\ntopic read gateway/#\n"
    );
    let setup = Mosquitto::with(NO_DROP).user("gw", "secret").user("sensor", "secret").acl(&rules);
    let broker = setup.start();
    let login = ["broker.username = \"gw\"", "broker.password_file = \"password\""];
    let config = fleet(&broker.url(), &[&login[..], &STATUS].concat());
    let mut gateway = Gateway::with_config(&config).file("password", "secret").start();
    gateway.wait_for_line("subscribed", SOON);
    let options = Options::new(broker.port(), "sensor").login("sensor", "secret");
    let mut sensor = Session::open(&options).unwrap();
    sensor.write_publish("sensors/a/reading", b"{\"value\":1}".to_vec(), 0);
    sensor.flush().unwrap();
    let line = gateway.wait_for_line("cannot read its own notices", SOON);
    assert!(line.contains("topic=\"gateway/status/+/+\""), "{line}");
    assert!(!gateway.said("the broker refuses a notice"), "{}", gateway.text());
    assert_eq!(drained(&mut gateway).received, 1);
}

#[test]
fn a_broker_that_ends_the_connection_over_it_is_asked_once() {
    let (input, sink) = (Broker::start(), Broker::start());
    sink.drop_after("status", Kind::Subscribe, 1);
    let config = fleet(&input.url(), &[&[&*output(&sink.url())], &STATUS[..]].concat());
    let (mut gateway, _) = started(&config);
    gateway.wait_for_line("cannot read its own notices", SOON);
    input.publish_all([reading("a", 1, 1)]);
    let is_told = |log: &Log| log.on(&topic("a")).any(|it| it.acknowledged.is_some());
    sink.wait_until("the notice", SOON, is_told);
    let log = sink.client("status");
    assert_eq!((log.connects.len(), log.subscribes.len()), (2, 1), "{}", gateway.text());
    assert_eq!(log.violations, [""; 0]);
    drained(&mut gateway);
}
