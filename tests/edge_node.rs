//! `simulate` as an edge node of Sparkplug B: what it publishes comes out of a gateway by name and value, whatever
//! happens to its connection.

use std::time::Duration;

use serde_json::{Value, json};

use crate::scene::{drained, ended, fleet, gateway, output, records};
use crate::support::SOON;
use crate::support::broker::Broker;
use crate::support::client::{Collection, Collector, Options, Session};
use crate::support::gateway::{Gateway, Launch};
use crate::support::http::Http;
use crate::support::mosquitto::{Mosquitto, NO_DROP};
use crate::support::proxy::{Cut, Proxy};

/// A gateway that reads nodes, and has metrics.
fn host(url: &str, payload: &str) -> Gateway {
    let entry = [
        "sensors.plant.mqtt.topic = \"spBv1.0/#\"",
        "sensors.plant.mqtt.ignore = \"spBv1.0/+/NCMD/#\"",
        &format!("sensors.plant.mqtt.payload = {payload}"),
    ];
    let host = Gateway::with_config(&gateway(url, &entry));
    let host = host.env("SLUICEGATE__HTTP__LISTEN", "127.0.0.1:0").start();
    host.wait_for_line("subscribed", SOON);
    host
}

/// A simulation of an edge node at the broker at `url`.
fn node(url: &str, keys: &str, more: &[&str]) -> Launch {
    let entry = format!("sensors.oven.simulated = {{ payload = \"sparkplug_b\", {keys} }}");
    Gateway::command("simulate", &gateway(url, &[&[&*entry], more].concat()))
}

/// Of a sensor: each quantity and its value, in order.
fn of(all: &Collection, sensor: &str) -> Vec<Value> {
    let batches =
        all.batches.iter().map(|it| serde_json::from_slice::<Value>(&it.payload).unwrap());
    let records = batches.flat_map(|it| it["records"].as_array().unwrap().clone());
    let own = records.filter(|it| it["sensorId"] == sensor);
    own.map(|it| json!([it["quantity"], it["value"]])).collect()
}

fn is_online(told: &[Value]) -> Option<&Value> {
    told.iter().rev().find(|it| it[0] == "online").map(|it| &it[1])
}

/// The values that a gateway makes of the same entry by itself, by sensor.
fn values_without_mqtt(entry: &str, sensor: &str) -> Vec<Value> {
    let sink = Broker::start();
    let entry = format!("sensors.oven.simulated = {{ {entry} }}");
    let mut alone = Gateway::start(&gateway(&sink.url(), &[&entry, &output(&sink.url())]));
    ended(&mut alone);
    let batches = sink.published(crate::scene::BATCHES);
    let all = batches.iter().flat_map(records).filter(|it| it["sensorId"] == sensor);
    all.map(|it| it["value"].clone()).collect()
}

#[test]
fn a_node_is_read_by_name_and_value_and_verify_finds_all_of_it() {
    let mosquitto = Mosquitto::start(NO_DROP);
    let (url, collector) = (mosquitto.url(), Collector::start(mosquitto.port()));
    let mut host = host(&url, "\"sparkplug_b\"");
    let entry = "count = 3, readings = 200, interval = \"1ms\", seed = 7, unit = \"C\"";
    let folder = tempfile::tempdir().unwrap();
    let sent = folder.path().join("sent.json").display().to_string();
    let verify = Gateway::command("verify", &fleet(&url, &[])).arg("--json").arg("--idle");
    let mut verifier = verify.arg("1").arg("--expect").arg(&sent).start();
    verifier.wait_for_line("listening", SOON);
    let mut node = node(&url, entry, &[]).arg("--report").arg(&sent).start();
    assert_eq!(node.wait_exit(SOON), 0, "{}", node.text());
    assert!(node.stdout().contains("600 of 600 readings of 3 sensors"), "{}", node.text());
    let last = "simulated/oven/oven_02";
    let dies = |all: &Collection| is_online(&of(all, last)) == Some(&json!(false));
    collector.wait_until("the end of the node", SOON, dies);
    let of_node = collector.look(|all| of(all, "simulated/oven"));
    let expected = [
        json!(["online", true]),
        json!(["bdSeq", 0]),
        json!(["Node Control/Rebirth", false]),
        json!(["bdSeq", 0]),
        json!(["online", false]),
    ];
    assert_eq!(of_node, expected);
    for device in ["oven_00", "oven_01", "oven_02"] {
        let told = collector.look(|all| of(all, &format!("simulated/oven/{device}")));
        let mut expected = vec![json!(["online", true]), json!(["value", null])];
        let values = values_without_mqtt(&format!("payload = \"sparkplug_b\", {entry}"), device);
        assert_eq!(values.len(), 200);
        expected.extend(values.into_iter().map(|it| json!(["value", it])));
        expected.push(json!(["online", false]));
        assert_eq!(told, expected, "{device}");
    }
    let units = collector.look(|all| {
        let batches =
            all.batches.iter().map(|it| String::from_utf8_lossy(&it.payload).into_owned());
        batches.map(|it| it.matches("\"quantity\":\"value\",\"unit\":\"C\"").count()).sum::<usize>()
    });
    assert_eq!(units, 603);
    let http = Http::of(&host);
    assert_eq!(http.metric("sluicegate_numbers_missing_total"), Some(0.0));
    assert_eq!(verifier.wait_exit(SOON), 0, "{}", verifier.text());
    let verdict: Value = serde_json::from_str(verifier.stdout().trim()).unwrap();
    assert_eq!((&verdict["verdict"], &verdict["expected"]), (&json!("clean"), &json!(600)));
    let balance = drained(&mut host);
    assert_eq!((balance.received, balance.dead_lettered), (5 + 3 * 203, 0));
}

#[test]
fn a_node_that_is_killed_is_told_to_be_dead_by_its_will() {
    for version in [5, 3] {
        let mosquitto = Mosquitto::start(NO_DROP);
        let (url, collector) = (mosquitto.url(), Collector::start(mosquitto.port()));
        let mut host = host(&url, "\"sparkplug_b\"");
        let version = format!("broker.version = {version}");
        let mut node = node(&url, "interval = \"20ms\"", &[&version]).start();
        let device = "simulated/oven/oven";
        let lives = |all: &Collection| of(all, device).len() > 4;
        collector.wait_until("it lives", SOON, lives);
        assert_eq!(collector.look(|all| is_online(&of(all, device)).cloned()), Some(json!(true)));
        node.signal("KILL");
        node.wait_exit(SOON);
        let dies = |all: &Collection| is_online(&of(all, device)) == Some(&json!(false));
        collector.wait_until("its will", SOON, dies);
        let balance = drained(&mut host);
        assert_eq!(balance.dead_lettered, 0, "{}", host.text());
    }
}

#[test]
fn a_node_whose_connection_breaks_is_born_again_with_the_next_number() {
    let mosquitto = Mosquitto::start(NO_DROP);
    let (url, collector) = (mosquitto.url(), Collector::start(mosquitto.port()));
    let mut host = host(&url, "\"sparkplug_b\"");
    let proxy = Proxy::to(mosquitto.port());
    let mut node = node(&proxy.url(), "interval = \"20ms\"", &[]).start();
    let device = "simulated/oven/oven";
    let came = |all: &Collection, after: usize| {
        let told = of(all, device);
        let born = told.iter().rposition(|it| it[0] == "online").filter(|it| *it >= after);
        born.is_some_and(|at| told[at][1] == true && told.len() > at + 4)
    };
    collector.wait_until("it lives", SOON, |all| came(all, 0));
    proxy.cut(Cut::Reset);
    collector.wait_until("it lives again", SOON, |all| came(all, 2));
    let numbers = collector.look(|all| {
        let told = of(all, "simulated/oven").into_iter().filter(|it| it[0] == "bdSeq");
        told.map(|it| it[1].as_u64().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(numbers, [0, 0, 1], "a birth, its death, the next birth");
    // The birth has the last value, and no reading of the device needs another one.
    let told = collector.look(|all| of(all, device));
    let again = told.iter().rposition(|it| it[0] == "online").unwrap();
    assert!(told[again + 1][1].is_f64(), "{told:?}");
    node.signal("TERM");
    node.wait_exit(SOON);
    let dies = |all: &Collection| is_online(&of(all, device)) == Some(&json!(false));
    collector.wait_until("its end", SOON, dies);
    assert_eq!(drained(&mut host).dead_lettered, 0, "{}", host.text());
}

#[test]
fn a_node_is_born_again_where_a_gateway_asks_that_came_later() {
    for version in [5, 3] {
        let mosquitto = Mosquitto::start(NO_DROP);
        let (url, collector) = (mosquitto.url(), Collector::start(mosquitto.port()));
        let mut witness = Session::open(&Options::new(mosquitto.port(), "witness")).unwrap();
        witness.subscribe(&["spBv1.0/simulated/DDATA/#"]).unwrap();
        let version = format!("broker.version = {version}");
        let mut node = node(&url, "interval = \"20ms\"", &[&version]).start();
        assert!(witness.next_publish(SOON).unwrap().is_some(), "its births are over");
        let mut host = host(&url, "{ sparkplug_b = { rebirth = true } }");
        let device = "simulated/oven/oven";
        let reads = |all: &Collection| {
            let told = of(all, device);
            let born = told.iter().position(|it| it[0] == "online");
            born.is_some_and(|at| told.len() > at + 4)
        };
        collector.wait_until("its readings", SOON, reads);
        let http = Http::of(&host);
        assert_eq!(http.metric("sluicegate_births_asked_total"), Some(1.0));
        assert_eq!(http.metric("sluicegate_numbers_missing_total"), Some(0.0));
        node.signal("TERM");
        assert_eq!(node.wait_exit(SOON), 0, "{}", node.text());
        assert_eq!(drained(&mut host).dead_lettered, 0, "{}", host.text());
    }
}

#[test]
fn templates_and_nodes_stand_beside_each_other() {
    let broker = Broker::start();
    let template = "sensors.T.simulated = { count = 5, readings = 40, interval = 0 }";
    let launch = node(&broker.url(), "count = 2, readings = 40, interval = 0", &[template]);
    let mut simulation = launch.start();
    assert_eq!(simulation.wait_exit(SOON), 0, "{}", simulation.text());
    assert!(simulation.stdout().contains("280 of 280 readings of 7 sensors"));
    let (of_node, of_templates): (Vec<_>, Vec<_>) = broker
        .look(|log| log.published.iter().cloned().partition(|it| it.topic.starts_with("spBv1.0/")));
    assert_eq!((of_node.len(), of_templates.len()), (1 + 2 + 80 + 1, 200));
    let clients = |of: &[crate::support::broker::Published]| {
        let all: std::collections::BTreeSet<_> = of.iter().map(|it| it.client.clone()).collect();
        all.len()
    };
    assert_eq!((clients(&of_node), clients(&of_templates)), (1, 4));
    let (last, before) = of_node.split_last().unwrap();
    assert_eq!((&*last.topic, last.qos), ("spBv1.0/simulated/NDEATH/oven", 1));
    assert!(before.iter().all(|it| it.qos == 0) && of_templates.iter().all(|it| it.qos == 1));
    assert_eq!(crate::scene::violations(&broker), [""; 0]);
}

#[test]
fn a_node_that_may_not_be_commanded_says_so_and_goes_on() {
    let broker = Broker::start();
    broker.refuse_subscribes("NCMD", 0x87);
    let mut node = node(&broker.url(), "readings = 5, interval = \"1ms\"", &[]).start();
    assert_eq!(node.wait_exit(SOON), 0, "{}", node.text());
    let said = node.wait_for_line("nobody can command the node", SOON);
    let topic = said.contains("topic=\"spBv1.0/simulated/NCMD/oven\"");
    assert!(topic && said.contains("not authorized"), "{said}");
    assert!(node.stdout().contains("5 of 5 readings of 1 sensors"), "{}", node.text());
}

#[test]
fn more_nodes_than_connections_are_refused() {
    let entry = |at| format!("sensors.n{at}.simulated.payload = \"sparkplug_b\"\n");
    let entries: String = (0..257).map(entry).collect();
    let config = gateway("mqtt://localhost:1", &[&entries]);
    let mut simulation = Gateway::command("simulate", &config).start();
    assert_eq!(simulation.wait_exit(SOON), 64, "{}", simulation.text());
    let text = simulation.text();
    assert!(text.contains("has 257 simulated entries of Sparkplug B, a connection each"), "{text}");
}

#[test]
fn explain_shows_the_birth_and_what_becomes_of_it() {
    let entries = [
        "sensors.oven.simulated = { payload = \"sparkplug_b\", unit = \"C\", model.constant.value = 7.5 }",
        "sensors.plant.mqtt = { topic = \"spBv1.0/#\", payload = \"sparkplug_b\" }",
    ];
    let explain = Gateway::command("explain", &gateway("mqtt://localhost:1", &entries));
    let explain = explain.arg("--entry").arg("oven");
    let mut explain = explain.arg("--topic").arg("spBv1.0/simulated/DBIRTH/oven/oven").start();
    assert_eq!(explain.wait_exit(SOON), 0, "{}", explain.text());
    let text = explain.stdout();
    assert!(text.starts_with("`sluicegate simulate` publishes\n  08"), "{text}");
    assert!(text.contains("\"value\":7.5,"), "{text}");
    assert!(text.contains("\"quantity\":\"value\",\"unit\":\"C\""), "{text}");
}

#[test]
fn a_group_that_is_no_level_is_refused_by_check() {
    let config = gateway(
        "mqtt://localhost:1",
        &["sensors.oven.simulated.payload = { sparkplug_b = { group = \"a/b\" } }"],
    );
    let mut check = Gateway::command("check", &config).start();
    assert_eq!(check.wait_exit(Duration::from_secs(20)), 64);
    let text = check.text();
    let key = text.contains("sensors.oven.simulated.payload");
    assert!(key && text.contains("is no group: write 1 to 64 bytes without"), "{text}");
}
