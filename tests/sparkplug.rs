//! Sparkplug B: what publishers of others send comes out by name and type; what needs a birth waits for it, is never
//! passed by another message of its device, and is a dead letter in the end; births outlast the gateway.
//!
//! `tests/data/sparkplug/` has the messages of three publishers as Mosquitto passed them on (`mosquitto_sub -t
//! 'spBv1.0/#' -F '%t %x'`): `pysparkplug` 0.3.2, which leaves out data types; `mqtt_spb_wrapper` 2.1.2, whose device has
//! no node; `sparkplug-client` of Eclipse Tahu, which leaves out names.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::scene::{LETTERS, drained, gateway, letters, message, output, records, subscribed};
use crate::support::broker::{Broker, Log, Message};
use crate::support::client::{Collector, Options, Session};
use crate::support::gateway::Gateway;
use crate::support::http::Http;
use crate::support::mosquitto::{Mosquitto, NO_DROP};
use crate::support::{SOON, within};

/// The messages of a publisher.
fn captured(name: &str, qos: u8) -> Vec<Message> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/sparkplug").join(name);
    let text = fs::read_to_string(path).unwrap();
    let all = text.lines().map(|line| {
        let (topic, hex) = line.split_once(' ').unwrap();
        let digits: Vec<_> = hex.chars().map(|it| it.to_digit(16).unwrap()).collect();
        let bytes = digits.chunks(2).map(|it| u8::try_from(it[0] * 16 + it[1]).unwrap());
        message(topic, bytes.collect::<Vec<_>>(), qos)
    });
    all.collect()
}

fn tahu(qos: u8) -> Vec<Message> {
    captured("tahu.txt", qos)
}

/// What a consumer sees of a record: whose it is, what, and its value.
fn told(record: &Value) -> Value {
    let mut told = json!([record["sensorId"], record["quantity"], record["value"]]);
    if !record["unit"].is_null() {
        told.as_array_mut().unwrap().push(record["unit"].clone());
    }
    told
}

fn all_told(log: &Log) -> Vec<Value> {
    let batches = log.published.iter().filter(|it| it.topic == crate::scene::BATCHES);
    batches.flat_map(records).map(|it| told(&it)).collect()
}

/// A gateway with an entry of this payload between two brokers.
fn scene(payload: &str, more: &[&str]) -> (Broker, Broker, Gateway) {
    let (input, sink) = (Broker::start(), Broker::start());
    let gateway = started(&config(&input, &sink, payload, more));
    (input, sink, gateway)
}

/// Starts a gateway with metrics, and waits until it is subscribed.
fn started(config: &str) -> Gateway {
    let gateway =
        Gateway::with_config(config).env("SLUICEGATE__HTTP__LISTEN", "127.0.0.1:0").start();
    gateway.wait_for_line("subscribed", SOON);
    gateway
}

fn config(input: &Broker, sink: &Broker, payload: &str, more: &[&str]) -> String {
    let topic = "sensors.plant.mqtt.topic = \"spBv1.0/#\"";
    let payload = format!("sensors.plant.mqtt.payload = {payload}");
    let own = [topic, &payload, &output(&sink.url())];
    gateway(&input.url(), &[&own[..], more].concat())
}

/// What Tahu's messages say, from the birth of its device on.
fn device_of_tahu() -> [Value; 7] {
    let oven = "Plant/oven-line/oven";
    [
        json!([oven, "online", true]),
        json!([oven, "Zone 1/Temperature", -5, "C"]),
        json!([oven, "door", false]),
        json!([oven, "Zone 1/Temperature", -6, "C"]),
        json!([oven, "Zone 1/Temperature", -7, "C"]),
        json!([oven, "Zone 1/Temperature", -8, "C"]),
        json!([oven, "online", false]),
    ]
}

#[test]
fn what_publishers_of_others_send_leaves_by_name_and_type() {
    let mosquitto = Mosquitto::start(NO_DROP);
    let collector = Collector::start(mosquitto.port());
    let entry = [
        "sensors.plant.mqtt.topic = \"spBv1.0/#\"",
        "sensors.plant.mqtt.payload = \"sparkplug_b\"",
    ];
    let mut gateway = subscribed(&gateway(&mosquitto.url(), &entry));
    let mut node = Session::open(&Options::new(mosquitto.port(), "node")).unwrap();
    for name in ["pysparkplug.txt", "mqtt-spb-wrapper.txt", "tahu.txt"] {
        for message in captured(name, 0) {
            node.write_publish(&message.topic, message.payload.to_vec(), 0);
        }
    }
    node.flush().unwrap();
    let (line, press, robot, oven) =
        ("Plant/press-line", "Plant/press-line/press", "Plant/cell/robot", "Plant/oven-line");
    let mut expected = vec![
        json!([line, "online", true]),
        json!([line, "load", 0.5]),
        json!([line, "mode", "auto"]),
        json!([line, "bdSeq", 0]),
        json!([press, "online", true]),
        json!([press, "temperature", -21]),
        json!([press, "count", 9_223_372_036_854_775_813_u64]),
        json!([press, "running", true]),
        json!([press, "temperature", -20]),
        json!([line, "load", 0.5]),
        json!([press, "temperature", -19]),
        json!([line, "load", 1.5]),
        json!([press, "temperature", -18]),
        json!([line, "load", 2.5]),
        json!([press, "count", 7]),
        json!([press, "running", false]),
        json!([press, "online", false]),
        json!([robot, "online", true]),
        json!([robot, "ATTR/maker", "x"]),
        json!([robot, "DATA/angle", 12.5]),
        json!([robot, "DATA/parts", 3]),
        json!([robot, "angle", -0.0]),
        json!([robot, "parts", 0]),
        json!([robot, "angle", -1.5]),
        json!([robot, "parts", -1]),
        json!([robot, "angle", -3.0]),
        json!([robot, "parts", -2]),
        json!([robot, "bdSeq", 1]),
        json!([robot, "online", false]),
        json!([oven, "online", true]),
        json!([oven, "load", 0.25]),
        json!([oven, "bdSeq", 0]),
    ];
    expected.extend(device_of_tahu());
    let came = |all: &crate::support::client::Collection| -> Vec<Value> {
        let batches =
            all.batches.iter().map(|it| serde_json::from_slice::<Value>(&it.payload).unwrap());
        batches
            .flat_map(|it| it["records"].as_array().unwrap().iter().map(told).collect::<Vec<_>>())
            .collect()
    };
    collector.wait_until("the records", SOON, |all| came(all).len() >= expected.len());
    assert_eq!(collector.look(came), expected);
    let balance = drained(&mut gateway);
    assert_eq!(
        (balance.received, balance.delivered),
        (expected.len() as u64, expected.len() as u64)
    );
    assert!(!gateway.said("possible loss"), "{}", gateway.text());
}

#[test]
fn data_before_a_birth_waits_for_it_and_is_acknowledged_when_it_is_delivered() {
    let (input, sink, mut gateway) = scene("\"sparkplug_b\"", &[]);
    let [node, device, rest @ ..] = &tahu(1)[..] else { panic!("it has a birth") };
    // Data, and behind it what could be read without the birth.
    input.publish_all(rest.iter().take(3).cloned());
    let http = Http::of(&gateway);
    let waited = || http.metric("sluicegate_messages_waited_total");
    assert!(within(SOON, || waited() == Some(3.0)), "{:?}", waited());
    assert_eq!(input.look(|log| log.acks("gw-in")), 0, "nothing of them is delivered");
    // A connection that breaks changes nothing: what is held is known again.
    input.drop_connections("gw-in");
    input.wait_until("it is back", SOON, |log| log.connects("gw-in") == 2);
    input.publish_all([node.clone(), device.clone()]);
    input.wait_until("all is acknowledged", SOON, |log| log.acks("gw-in") == 5);
    let oven = "Plant/oven-line/oven";
    let mut expected: Vec<_> = device_of_tahu()[3..6].to_vec();
    expected.extend(device_of_tahu()[..3].iter().cloned());
    let of_device = |log: &Log| {
        let all = all_told(log).into_iter();
        all.filter(|it| it[0] == oven).collect::<Vec<_>>()
    };
    assert_eq!(sink.look(of_device), expected, "in the order they came");
    assert_eq!(input.client("gw-in").acks_out_of_order, 0);
    let balance = drained(&mut gateway);
    assert_eq!((balance.received, balance.delivered), (9, 9));
}

#[test]
fn what_no_birth_came_for_in_time_is_a_dead_letter() {
    let (input, sink, mut gateway) = scene("{ sparkplug_b = { birth_wait = \"1s\" } }", &[]);
    input.publish_all(tahu(1).into_iter().skip(2).take(3));
    sink.wait_until("the dead letters", SOON, |log| letters(log).len() == 3);
    let all = sink.look(letters);
    for letter in &all {
        assert_eq!(letter["reason"], "alias");
        let detail = letter["detail"].as_str().unwrap();
        assert!(
            detail.contains("alias 10: no birth of Plant/oven-line/oven says what it is"),
            "{detail}"
        );
    }
    input.wait_until("they are acknowledged", SOON, |log| log.acks("gw-in") == 3);
    let balance = drained(&mut gateway);
    assert_eq!((balance.received, balance.dead_lettered), (3, 3), "{}", gateway.text());
}

#[test]
fn what_waits_when_the_gateway_stops_is_a_dead_letter_or_stays_with_the_broker() {
    for qos in [0, 1] {
        let (input, sink, mut gateway) = scene("\"sparkplug_b\"", &[]);
        input.publish_all(tahu(qos).into_iter().skip(2).take(3));
        let http = Http::of(&gateway);
        let waited = || http.metric("sluicegate_messages_waited_total");
        assert!(within(SOON, || waited() == Some(3.0)), "{:?}", waited());
        let balance = drained(&mut gateway);
        let letters = sink.look(|log| letters(log).len());
        let expected = if qos == 0 { (3, 3, 3) } else { (0, 0, 0) };
        assert_eq!((balance.received, balance.dead_lettered, letters), expected, "QoS {qos}");
        assert_eq!(input.look(|log| log.acks("gw-in")), 0);
    }
}

/// Also one that is killed: births are beside the spool.
#[test]
fn births_outlast_the_gateway() {
    let (input, sink, disk) = (Broker::start(), Broker::start(), tempfile::tempdir().unwrap());
    let spool = format!("spool.path = \"{}\"", disk.path().display());
    let config = config(&input, &sink, "\"sparkplug_b\"", &[&spool]);
    let mut first = subscribed(&config);
    let all = tahu(1);
    input.publish_all(all.iter().take(2).cloned());
    input.wait_until("the births", SOON, |log| log.acks("gw-in") == 2);
    let file = disk.path().join("births-plant.ndjson");
    let lines = || fs::read_to_string(&file).map_or(0, |text| text.lines().count());
    assert!(within(SOON, || lines() == 3), "{} lines", lines());
    first.signal("KILL");
    first.wait_exit(SOON);
    let mut second = started(&config);
    // The node goes on meanwhile, and counts: that is no gap that was seen.
    input.publish_all(all.iter().skip(4).cloned());
    input.wait_until("the data", SOON, |log| log.acks("gw-in") >= 4);
    sink.wait_until("the records", SOON, |log| all_told(log).len() >= 8);
    assert_eq!(sink.look(all_told)[6..], device_of_tahu()[5..]);
    let http = Http::of(&second);
    assert_eq!(http.metric("sluicegate_numbers_missing_total"), Some(0.0));
    assert!(within(SOON, || lines() == 2), "the device has died: {} lines", lines());
    drained(&mut second);
}

#[test]
fn a_node_is_asked_for_its_birth_where_that_is_wanted() {
    let payload = "{ sparkplug_b = { rebirth = true } }";
    let (input, _sink, mut gateway) =
        scene(payload, &["sensors.plant.mqtt.ignore = \"spBv1.0/+/NCMD/#\""]);
    input.publish_all(tahu(0).into_iter().skip(2).take(3));
    let asked = |log: &Log| {
        log.published.iter().filter(|it| it.topic == "spBv1.0/Plant/NCMD/oven-line").count()
    };
    input.wait_until("a request", SOON, |log| asked(log) == 1);
    input.publish_all(tahu(0));
    let http = Http::of(&gateway);
    let delivered = || http.metric("sluicegate_readings_delivered_total");
    assert!(within(SOON, || delivered() >= Some(13.0)), "{:?}", delivered());
    assert_eq!(input.look(asked), 1, "once in a while");
    assert_eq!(http.metric("sluicegate_births_asked_total"), Some(1.0));
    drained(&mut gateway);
}

#[test]
fn a_gap_in_the_numbers_of_a_node_is_said_as_possible_loss() {
    let (input, sink, mut gateway) = scene("\"sparkplug_b\"", &[]);
    let all = tahu(0);
    input.publish_all([&all[0], &all[1], &all[4]].into_iter().cloned());
    sink.wait_until("the records", SOON, |log| all_told(log).len() == 7);
    let line = gateway.wait_for_line("possible loss outside the gateway", SOON);
    assert!(line.contains("missing=2") && line.contains("DDATA/oven-line/oven"), "{line}");
    assert_eq!(Http::of(&gateway).metric("sluicegate_numbers_missing_total"), Some(2.0));
    drained(&mut gateway);
    assert_eq!(sink.look(|log| log.published.iter().filter(|it| it.topic == LETTERS).count()), 0);
}

#[test]
fn explain_shows_what_data_is_behind_its_birth() {
    let folder = tempfile::tempdir().unwrap();
    let all = tahu(0);
    let file = |at: usize| {
        let path = folder.path().join(at.to_string());
        fs::write(&path, &all[at].payload).unwrap();
        path.display().to_string()
    };
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples/sparkplug.toml");
    let explain = |more: &[String]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sluicegate"));
        command.args(["explain", "--topic", &all[2].topic, "--file", &file(2), "--config"]);
        let output = command.arg(&config).args(more).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, text) = explain(&["--before".to_owned(), format!("{}={}", all[1].topic, file(1))]);
    assert!(
        code == Some(0) && text.contains("\"quantity\":\"Zone 1/Temperature\",\"unit\":\"C\""),
        "{text}"
    );
    let (code, text) = explain(&[]);
    assert!(
        code == Some(1) && text.contains("no birth of Plant/oven-line/oven says what it is"),
        "{text}"
    );
    assert!(text.contains("--before"), "{text}");
}
