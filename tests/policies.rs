//! What an entry's policies leave out (`deduplicate`, `filter`, `quota`): it is acknowledged, counted for its sensor by policy,
//! and leaves no gap; a sensor that floods takes nothing from the others; the books close.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use crate::scene::{
    BATCHES, LONG, drained, fleet, gateway, letters, message, output, reading, records, subscribed,
};
use crate::support::SOON;
use crate::support::broker::{Broker, Log, Message};
use crate::support::gateway::Gateway;
use crate::support::http::Http;

/// A gateway of which the entry `fleet` has these keys, with the broker of its sensors and that of its output.
fn started(keys: &[&str]) -> (Broker, Broker, Gateway) {
    let (input, sink) = (Broker::start(), Broker::start());
    let keys: Vec<String> = keys.iter().map(|key| format!("sensors.fleet.mqtt.{key}")).collect();
    let output = output(&sink.url());
    let more: Vec<&str> = keys.iter().map(String::as_str).chain([output.as_str()]).collect();
    let config = fleet(&input.url(), &more);
    let gateway =
        Gateway::with_config(&config).env("SLUICEGATE__HTTP__LISTEN", "127.0.0.1:0").start();
    gateway.wait_for_line("subscribed", SOON);
    (input, sink, gateway)
}

/// The values that were delivered of each sensor, whose sequence has no gap.
fn delivered(log: &Log) -> BTreeMap<String, Vec<Value>> {
    let mut sensors: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for record in log.on(BATCHES).flat_map(records) {
        let values = sensors.entry(record["sensorId"].as_str().unwrap().to_owned()).or_default();
        values.push(record["value"].clone());
        assert_eq!(record["sequence"], values.len(), "{record}");
    }
    sensors
}

fn shed(http: Http, policy: &str) -> Option<f64> {
    http.metric(&format!("sluicegate_readings_shed_total{{policy=\"{policy}\"}}"))
}

fn raw(sensor: &str, payload: &str) -> Message {
    message(&format!("sensors/{sensor}/reading"), payload.to_owned(), 1)
}

#[test]
fn what_is_left_out_is_acknowledged_and_counted_by_sensor_and_policy() {
    let (input, sink, mut gateway) = started(&[
        "counter = \"/n\"",
        "deduplicate = { by = \"counter\" }",
        "filter = { deadband = 0.5 }",
        "quota = { rate = \"2/d\", over = \"shed_newest\" }",
    ]);
    let http = Http::of(&gateway);
    let of = |sensor: &str, readings: &[(f64, u32)]| {
        let payload = |(value, n): &(f64, u32)| json!({"value": value, "n": n}).to_string();
        let all: Vec<Message> = readings.iter().map(|it| raw(sensor, &payload(it))).collect();
        all
    };
    let a = [(1.0, 1), (1.0, 1), (1.5, 2), (2.0, 3), (9.0, 4), (9.0, 5), (2.0, 3)];
    let b = [(1.0, 1), (1.25, 2)];
    input.publish_all([of("a", &a), of("b", &b)].concat());
    input.wait_until("all acknowledgements", SOON, |log| log.acks("gw-in") == 9);
    let sensor = http.json("/api/sensors/fleet/a");
    let told = ["received", "delivered", "shed", "held"].map(|it| sensor[it].as_u64().unwrap());
    assert_eq!(told, [7, 2, 5, 0]);
    let by = json!({"deduplicate": 2, "filter": 1, "quota": 2});
    assert_eq!((&sensor["shedBy"], &sensor["lastValue"]), (&by, &json!(2.0)));
    assert_eq!(http.json("/api/sensors/fleet/b")["shedBy"], json!({"filter": 1}));
    let counts = ["deduplicate", "filter", "quota"].map(|it| shed(http, it));
    assert_eq!(counts, [Some(2.0); 3]);
    let line = gateway.wait_for_line("sensors send more than the quota of 2/d", SOON);
    assert!(line.contains("sensor=a") && line.contains("entry=\"fleet\""), "{line}");
    assert!(!gateway.said("readings shed on purpose by"), "that is the queue's");
    let balance = drained(&mut gateway);
    assert_eq!((balance.received, balance.delivered, balance.shed), (9, 3, 6));
    let expected: BTreeMap<String, Vec<Value>> =
        [("a", vec![json!(1.0), json!(2.0)]), ("b", vec![json!(1.0)])]
            .map(|(sensor, values)| (sensor.to_owned(), values))
            .into();
    assert_eq!(sink.look(delivered), expected);
}

/// 20,000 readings of one sensor, and between them 50 of each of 99 others.
#[test]
fn a_sensor_that_floods_takes_nothing_from_the_others() {
    const OTHERS: usize = 99;
    const READINGS: u64 = 50;
    const FLOOD: u64 = 400;
    const ALL: u64 = READINGS * (FLOOD + OTHERS as u64);
    for over in ["shed_newest", "keep_latest"] {
        let quota = format!("quota = {{ rate = \"50/s\", burst = 100, over = \"{over}\" }}");
        let (input, sink, mut gateway) = started(&[&quota]);
        for n in 1..=READINGS {
            let flood = (0..FLOOD).map(|it| reading("flood", (n - 1) * FLOOD + it + 1, 1));
            let others = (0..OTHERS).map(|it| reading(&format!("s{it}"), n, 1));
            input.publish_all(flood.chain(others).collect::<Vec<_>>());
        }
        input.wait_until("all acknowledgements", LONG, |log| log.acks("gw-in") as u64 == ALL);
        let balance = drained(&mut gateway);
        let mut sensors = sink.look(delivered);
        let flood = sensors.remove("flood").unwrap();
        let every: Vec<Value> = (1..=READINGS).map(Value::from).collect();
        assert_eq!(sensors.len(), OTHERS, "{over}");
        assert!(sensors.values().all(|it| *it == every), "{over}: in order, each once");
        let total = READINGS * FLOOD;
        assert_eq!((balance.received, balance.shed), (ALL, total - flood.len() as u64), "{over}");
        assert!((100..total / 2).contains(&(flood.len() as u64)), "{over}: {}", flood.len());
        assert!(flood.windows(2).all(|it| it[0].as_u64() < it[1].as_u64()), "{over}: in order");
        let last = flood.last().unwrap() == total;
        assert!(last || over == "shed_newest", "the latest was kept: {:?}", flood.last());
    }
}

#[test]
fn a_reading_that_waits_for_its_turn_is_not_lost_with_a_kill() {
    let quota = "quota = { rate = \"1/s\", over = \"keep_latest\" }";
    let (input, sink, mut gateway) = started(&[quota]);
    input.publish_all((1..=3).map(|n| reading("a", n, 1)));
    // The first is delivered and the second left out; the third waits for a second.
    input.wait_until("two acknowledgements", SOON, |log| log.acks("gw-in") >= 2);
    let config = fs::read_to_string(gateway.config_path()).unwrap();
    gateway.signal("KILL");
    gateway.wait_exit(SOON);
    let mut again = subscribed(&config);
    input.wait_until("the third acknowledgement", SOON, |log| log.acks("gw-in") >= 3);
    drained(&mut again);
    let mut values: Vec<Value> =
        sink.look(|log| log.on(BATCHES).flat_map(records).map(|it| it["value"].clone()).collect());
    values.dedup();
    assert_eq!(values, [1, 3]);
}

/// Of the first there is no other copy, and a kill would take it along.
#[test]
fn a_repeat_that_is_to_be_acknowledged_repeats_none_that_may_be_lost() {
    for policy in ["deduplicate = { by = \"counter\" }", "filter = { deadband = 0 }"] {
        let (input, sink, mut gateway) = started(&["counter = \"/n\"", policy]);
        sink.hold_acks("");
        input.publish_all([reading("a", 1, 0)]);
        sink.wait_until("the first is on its way", SOON, |log| log.held_acks("gw-out") == 1);
        input.publish_all([reading("a", 1, 1)]);
        sink.wait_until("and so is the second", SOON, |log| log.held_acks("gw-out") == 2);
        input.publish_all([reading("a", 1, 1)]);
        assert_eq!(input.look(|log| log.acks("gw-in")), 0, "{policy}");
        sink.resume_acks("");
        input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 2);
        let balance = drained(&mut gateway);
        assert_eq!((balance.received, balance.delivered, balance.shed), (3, 2, 1), "{policy}");
    }
}

#[test]
fn what_waits_goes_out_when_the_gateway_stops() {
    let quota = "quota = { rate = \"1/s\", over = \"keep_latest\" }";
    let (input, sink, mut gateway) = started(&[quota]);
    input.publish_all((1..=3).map(|n| reading("a", n, 1)));
    input.wait_until("two acknowledgements", SOON, |log| log.acks("gw-in") >= 2);
    let balance = drained(&mut gateway);
    assert_eq!((balance.received, balance.delivered, balance.shed), (3, 2, 1));
    assert_eq!(sink.look(delivered)["a"], [1, 3]);
    input.wait_until("its acknowledgement", SOON, |log| log.acks("gw-in") == 3);
}

#[test]
fn what_is_over_the_quota_can_be_a_dead_letter() {
    let quota = "quota = { rate = \"1/h\", over = \"dead_letter\" }";
    let (input, sink, mut gateway) = started(&[quota]);
    input.publish_all((1..=3).map(|n| reading("a", n, 1)));
    input.wait_until("all acknowledgements", SOON, |log| log.acks("gw-in") == 3);
    let balance = drained(&mut gateway);
    assert_eq!((balance.delivered, balance.dead_lettered, balance.shed), (1, 2, 0));
    let told = sink.look(letters);
    let told: Vec<_> = told.iter().map(|it| [&it["reason"], &it["payload"]]).collect();
    assert_eq!(told, [[&json!("quota"), &json!("2")], [&json!("quota"), &json!("3")]]);
}

#[test]
fn lines_are_left_out_too_and_the_last_one_is_kept() {
    let sink = Broker::start();
    let lines = "i=1; while [ $i -le 200 ]; do echo $i; i=$((i+1)); done; echo 200; echo 200";
    let config = gateway(
        &sink.url(),
        &[
            &format!("sensors.piped.exec.command = [\"sh\", \"-c\", \"{lines}\"]"),
            "sensors.piped.exec.restart = \"on_failure\"",
            "sensors.piped.exec.filter = { deadband = 0 }",
            "sensors.piped.exec.quota = { rate = \"5/s\", over = \"keep_latest\" }",
        ],
    );
    let mut gateway = Gateway::start(&config);
    let (code, balance) = gateway.wait_balance(SOON);
    let text = gateway.text();
    assert_eq!((code, balance.received, balance.held), (0, 202, 0), "{text}");
    assert_eq!(balance.shed, 202 - balance.delivered);
    assert!((6..100).contains(&balance.delivered), "{text}");
    let values = sink.look(delivered).remove("piped").unwrap();
    let numbers: Vec<u64> = values.iter().map(|it| it.as_u64().unwrap()).collect();
    assert!(numbers.starts_with(&[1, 2, 3, 4, 5]) && numbers.ends_with(&[200]), "{numbers:?}");
    assert!(numbers.is_sorted(), "{numbers:?}");
}

#[test]
fn check_names_what_makes_no_sense_and_adds_up_what_is_remembered() {
    let key = |key: &str| format!("sensors.fleet.mqtt.{key}");
    for (line, words) in [
        (key("deduplicate = { by = \"counter\" }"), "the entry has none: write counter"),
        (key("filter = { }"), "leaves nothing out"),
        (key("filter = { deadband = -1 }"), "write a number, 0 or more"),
        (key("quota = { rate = \"50\", over = \"shed_newest\" }"), "is no rate"),
        (
            key("quota = { rate = \"50/s\" }"),
            "over: is missing: write \"shed_newest\" or \"keep_latest\" or",
        ),
        (key("quota = { rate = \"1/min\", over = \"keep_latest\" }"), "less than one a second"),
        (key("filter = { deadband = nan, min_interval = \"1s\" }"), "write a number, 0 or more"),
        ("sensors.made.simulated.quota = { }".to_owned(), "is not known"),
    ] {
        let config = fleet("mqtt://127.0.0.1:1883", &[&line]);
        let mut gateway = Gateway::command("check", &config).start();
        let code = gateway.wait_exit(SOON);
        let text = gateway.text();
        assert!(code == 64 && text.contains(words), "{code} {line}:\n{text}");
    }
    let all = [
        key("quota = { rate = \"50/s\", over = \"keep_latest\" }"),
        key("filter = { deadband = 0.5 }"),
        key("deduplicate = { by = \"timestamp\" }"),
    ];
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let config = fleet("mqtt://127.0.0.1:1883", &all);
    let mut gateway = Gateway::command("check", &config).start();
    assert_eq!(gateway.wait_exit(SOON), 0);
    assert!(gateway.text().contains("policies of entries (quota, deduplicate, filter)"));
}
