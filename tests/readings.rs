//! A message that holds several readings is acknowledged when all of them are safe, whatever batches carry
//! them, and what is no reading among them stops none of the others.

use std::collections::BTreeSet;

use serde_json::json;

use crate::scene::{
    LONG, audit, drained, fault, gateway, letters, message, output, subscribed, wait_readings,
};
use crate::support::broker::{Broker, Message};
use crate::support::gateway::Gateway;
use crate::support::http::Http;
use crate::support::{SOON, within};

/// Readings of a message.
const LINES: u64 = 50;

/// Batches are smaller than messages, and no multiple of them.
const SMALL: &str = "batch.records_max = 20";

/// A message with the next readings of two sensors, in turn.
fn lines(nth: u64) -> String {
    let numbers = nth * LINES / 2 + 1..=(nth + 1) * LINES / 2;
    let line = |sensor: &str, n| json!({"sensorId": sensor, "value": n, "n": n}).to_string() + "\n";
    numbers.map(|n| line("s00000", n) + &line("s00001", n)).collect()
}

fn messages(count: u64) -> impl Iterator<Item = Message> {
    (0..count).map(|nth| message("plant/lines", lines(nth), 1))
}

fn config(url: &str, more: &[&str]) -> String {
    let topic = "sensors.fleet.mqtt.topic = \"plant/#\"";
    let payload = "sensors.fleet.mqtt.payload.ndjson = {}";
    gateway(url, &[&[topic, payload, SMALL], more].concat())
}

fn scene(more: &[&str]) -> (Broker, Broker, Gateway) {
    let (input, sink) = (Broker::start(), Broker::start());
    let output = output(&sink.url());
    let gateway = subscribed(&config(&input.url(), &[&[output.as_str()], more].concat()));
    (input, sink, gateway)
}

#[test]
fn a_message_is_acknowledged_when_the_last_of_its_batches_is() {
    let (input, sink) = (Broker::start(), Broker::start());
    let config = config(&input.url(), &[&output(&sink.url())]);
    let launch = Gateway::with_config(&config).env("SLUICEGATE__HTTP__LISTEN", "127.0.0.1:0");
    let mut gateway = launch.start();
    gateway.wait_for_line("subscribed", SOON);
    let http = Http::of(&gateway);
    let delivered = || http.metric("sluicegate_readings_delivered_total");
    sink.hold_acks("gw-out");
    input.publish_all(messages(1));
    wait_readings(&sink, LINES, SOON);
    for expected in [20.0, 40.0] {
        assert_eq!(sink.release_some_acks("gw-out", 1), 1);
        assert!(within(SOON, || delivered() == Some(expected)), "{expected}: {:?}", delivered());
        assert_eq!(input.look(|log| log.acks("gw-in")), 0, "a batch with readings of it is open");
    }
    assert_eq!(sink.resume_acks("gw-out"), 1);
    input.wait_until("an acknowledgement", SOON, |log| log.acks("gw-in") == 1);
    assert_eq!(http.metric("sluicegate_messages_total"), Some(1.0));
    let balance = drained(&mut gateway);
    assert_eq!((balance.received, balance.delivered), (LINES, LINES));
}

/// The queue has room for less than a message, the window for a few.
#[test]
fn messages_of_many_readings_survive_cuts_of_both_links() {
    const MESSAGES: u64 = 200;
    let more = ["queue.records_max = 60", "queue.readings_max = 50", "broker.window_messages = 4"];
    let (input, sink, mut gateway) = scene(&more);
    input.publish_all(messages(MESSAGES));
    for part in 1..=4 {
        wait_readings(&sink, part * MESSAGES * LINES / 5, LONG);
        input.drop_connections("gw-in");
        sink.drop_connections("gw-out");
    }
    wait_readings(&sink, MESSAGES * LINES, LONG);
    input.wait_until("acknowledgements", LONG, |log| {
        log.unacked("gw-in") + log.queued("gw-in") == 0
    });
    let verdict = || audit(&sink).judge_load(2, MESSAGES * LINES / 2);
    // What was acknowledged and not heard comes again: a window for each cut.
    let repeats_max = 4 * 4 * LINES;
    let name = "both links cut, 50 readings a message";
    let balance = fault(name, repeats_max, &mut gateway, verdict);
    assert_eq!(balance.received, balance.delivered);
}

#[test]
fn messages_of_many_readings_survive_a_kill() {
    const MESSAGES: u64 = 200;
    let window = ["broker.window_messages = 8", "batch.age_max = \"1ms\""];
    let (input, sink, first) = scene(&window);
    input.publish_all(messages(MESSAGES));
    wait_readings(&sink, MESSAGES * LINES / 4, LONG);
    first.signal("KILL");
    let mut gateway =
        subscribed(&config(&input.url(), &[&[output(&sink.url()).as_str()], &window[..]].concat()));
    wait_readings(&sink, MESSAGES * LINES, LONG);
    input.wait_until("acknowledgements", LONG, |log| {
        log.unacked("gw-in") + log.queued("gw-in") == 0
    });
    let verdict = || audit(&sink).judge_load(2, MESSAGES * LINES / 2);
    fault("kill -9, 50 readings a message", 8 * LINES, &mut gateway, verdict);
}

/// Messages of `each`: so many readings of two sensors in turn, 50, 0, 1 or 49 in each. One element more of the large ones
/// is a dead letter by itself.
fn arrays(readings: u64) -> (Vec<Message>, Vec<String>) {
    let mut all = (2..readings + 2).map(|it| (format!("s0000{}", it % 2), it / 2));
    let (mut messages, mut rubbish) = (Vec::new(), Vec::new());
    for size in [50, 0, 1, 49].into_iter().cycle() {
        let readings = all.by_ref().take(size);
        let mut elements: Vec<String> =
            readings.map(|(id, n)| json!({"id": id, "v": n, "n": n}).to_string()).collect();
        if elements.len() < size {
            return (messages, rubbish);
        }
        if size > 1 {
            rubbish.push(json!({"id": "s00000", "rubbish": messages.len()}).to_string());
            elements.insert(size / 2, rubbish[rubbish.len() - 1].clone());
        }
        let payload = format!(r#"{{"readings":[{}]}}"#, elements.join(","));
        messages.push(message("plant/lines", payload, 1));
    }
    unreachable!("the sizes go on for ever")
}

/// The lines of an entry that reads these.
const EACH: [&str; 5] = [
    "sensors.fleet.mqtt.each = \"/readings\"",
    "sensors.fleet.mqtt.value = \"/v\"",
    "sensors.fleet.mqtt.sensor = \"/id\"",
    "queue.records_max = 60",
    "queue.readings_max = 51",
];

/// A gateway that reads arrays, between brokers that are there.
fn of_arrays((input, sink): (&Broker, &Broker), more: &[&str]) -> Gateway {
    let own = ["sensors.fleet.mqtt.topic = \"plant/#\"", SMALL, &output(&sink.url())];
    subscribed(&gateway(&input.url(), &[&own, &EACH[..], more].concat()))
}

/// Every element has come: as a reading, or as a dead letter by itself.
#[track_caller]
fn assert_all_came((input, sink): (&Broker, &Broker), readings: u64, rubbish: &[String]) {
    wait_readings(sink, readings, LONG);
    input.wait_until("acknowledgements", LONG, |log| {
        log.unacked("gw-in") + log.queued("gw-in") == 0
    });
    let payload = |it: &serde_json::Value| it["payload"].as_str().unwrap().to_owned();
    let came: BTreeSet<String> = sink.look(letters).iter().map(payload).collect();
    assert_eq!(came, rubbish.iter().cloned().collect(), "each is a letter, and nothing else is");
}

#[test]
fn arrays_of_readings_survive_cuts_of_both_links() {
    const READINGS: u64 = 10_000;
    let (input, sink) = (Broker::start(), Broker::start());
    let mut gateway = of_arrays((&input, &sink), &["broker.window_messages = 4"]);
    let (messages, rubbish) = arrays(READINGS);
    input.publish_all(messages);
    for part in 1..=4 {
        wait_readings(&sink, part * READINGS / 5, LONG);
        input.drop_connections("gw-in");
        sink.drop_connections("gw-out");
    }
    assert_all_came((&input, &sink), READINGS, &rubbish);
    let verdict = || audit(&sink).judge_load(2, READINGS / 2);
    let name = "both links cut, arrays of 0, 1 and 50 readings";
    let balance = fault(name, 4 * 4 * LINES, &mut gateway, verdict);
    assert!(balance.dead_lettered >= rubbish.len() as u64, "{balance:?}");
}

#[test]
fn arrays_of_readings_survive_a_kill() {
    const READINGS: u64 = 10_000;
    let (input, sink) = (Broker::start(), Broker::start());
    let window = ["broker.window_messages = 8", "batch.age_max = \"1ms\""];
    let first = of_arrays((&input, &sink), &window);
    let (messages, rubbish) = arrays(READINGS);
    input.publish_all(messages);
    wait_readings(&sink, READINGS / 4, LONG);
    first.signal("KILL");
    let mut gateway = of_arrays((&input, &sink), &window);
    assert_all_came((&input, &sink), READINGS, &rubbish);
    let verdict = || audit(&sink).judge_load(2, READINGS / 2);
    fault("kill -9, arrays of 0, 1 and 50 readings", 8 * LINES, &mut gateway, verdict);
}

/// Nothing settles that would say so.
#[test]
fn a_message_without_readings_is_acknowledged_at_once() {
    let input = Broker::start();
    input.publish("plant/a", "1\n2", 1, true);
    input.publish("plant/b", "1", 1, true);
    let skip = "sensors.fleet.mqtt.retained = \"skip\"";
    // With MQTT 5 the broker is asked not to send them.
    let mut gateway = subscribed(&config(&input.url(), &[skip, "broker.version = 3"]));
    input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 2);
    let balance = drained(&mut gateway);
    assert_eq!(balance.received, 0, "they are no readings");
}

#[test]
fn a_line_that_is_no_reading_stops_no_other() {
    let (input, sink, mut gateway) = scene(&["queue.readings_max = 5"]);
    let good = r#"{"sensorId":"s00000","value":1,"n":1}"#;
    let [torn, empty, many] = ["{\"value\":", "\n \r\n", "1\n2\n3\n4\n5\n6\n"];
    for payload in [format!("{good}\r\n{torn}\n\n"), empty.into(), many.into()] {
        input.publish_all([message("plant/lines", payload, 1)]);
    }
    input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 3);
    let told = sink.look(letters);
    let told: Vec<_> = told.iter().map(|it| [&it["reason"], &it["payload"]]).collect();
    let expected = [
        json!("malformed"),
        json!(torn),
        json!("empty"),
        json!(empty),
        json!("oversize"),
        json!(many),
    ];
    assert_eq!(told.concat().into_iter().cloned().collect::<Vec<_>>(), expected);
    assert_eq!(audit(&sink).records(), 1);
    let balance = drained(&mut gateway);
    assert_eq!((balance.received, balance.delivered, balance.dead_lettered), (4, 1, 3));
}

#[test]
fn a_message_that_never_has_room_is_refused_before_the_start() {
    let config = config("mqtt://localhost:1", &["queue.records_max = 500"]);
    let mut gateway = Gateway::command("check", &config).start();
    assert_eq!(gateway.wait_exit(SOON), 64);
    let text = gateway.text();
    assert!(text.contains("queue.readings_max: is above queue.records_max = 500"), "{text}");
}
