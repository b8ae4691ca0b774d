//! What can be no reading goes to the dead-letter topic with its reason, is acknowledged and
//! counted, and does not disturb the good readings beside it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::scene::{
    LETTERS, audit, drained, fault, fleet, letters, message, output, reading, readings, subscribed,
    wait_readings,
};
use crate::support::SOON;
use crate::support::broker::{Broker, Message};
use crate::support::client::{Collector, Publisher};
use crate::support::gateway::Balance;
use crate::support::mosquitto::{Mosquitto, NO_DROP};

const TOPIC: &str = "sensors/bad/reading";

/// Payloads that are no readings, each with the reason it must get.
fn rubbish() -> Vec<(Vec<u8>, &'static str)> {
    vec![
        (b"{\"value\":".to_vec(), "malformed"),
        (b"".to_vec(), "empty"),
        (b" \r\n".to_vec(), "empty"),
        (b"\xff\xfe\x00binary".to_vec(), "malformed"),
        (b"[1,".to_vec(), "malformed"),
        (b"\"open".to_vec(), "malformed"),
        (b"{\"value\":1}{".to_vec(), "malformed"),
        (b"{\"value\":\"\\ud800\"}".to_vec(), "malformed"),
        (b"1e999999".to_vec(), "malformed"),
        (("[".repeat(100) + &"]".repeat(100)).into_bytes(), "malformed"),
        (vec![b'7'; (64 << 10) + 1], "oversize"),
        (vec![b'x'; 1 << 20], "oversize"),
        (vec![0xfe; 3 << 20], "oversize"),
    ]
}

/// Three good readings around each bad one.
fn mixed(bad: &[(Vec<u8>, &str)], qos: u8) -> Vec<Message> {
    let mut all = Vec::new();
    for (n, (payload, _)) in (1..).zip(bad) {
        all.extend(readings(3, n..=n, qos));
        all.push(message(TOPIC, payload.clone(), qos));
    }
    all
}

#[test]
fn rubbish_becomes_dead_letters_and_the_good_readings_beside_it_arrive_in_order() {
    for version in [3, 5] {
        for qos in [0, 1] {
            let (input, sink) = (Broker::start(), Broker::start());
            let lines = [format!("broker.version = {version}"), output(&sink.url())];
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            let mut gateway = subscribed(&fleet(&input.url(), &lines));
            let bad = rubbish();
            let count = bad.len();
            input.publish_all(mixed(&bad, qos));
            sink.wait_until("dead letters", SOON, |log| letters(log).len() == count);
            wait_readings(&sink, 3 * count as u64, SOON);
            if qos == 1 {
                input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 4 * count);
            }
            let balance = drained(&mut gateway);
            let (good, dead) = (3 * count as u64, count as u64);
            let received = good + dead;
            let expected =
                Balance { received, delivered: good, dead_lettered: dead, ..Balance::default() };
            assert_eq!(balance, expected, "version {version}, QoS {qos}");
            audit(&sink).assert_exactly(3, count as u64);
            let came = sink.look(letters);
            for (letter, (payload, reason)) in came.iter().zip(&bad) {
                assert_letter(letter, payload, reason);
            }
            let log = input.client("gw-in");
            assert_eq!((log.connects.len(), log.acks_out_of_order, log.oversize), (1, 0, 0));
            assert_eq!(log.violations, [] as [String; 0]);
        }
    }
}

#[track_caller]
fn assert_letter(letter: &Value, payload: &[u8], reason: &str) {
    assert_eq!(letter["reason"], reason, "{letter}");
    assert_eq!((&letter["sensorId"], &letter["topic"]), (&"bad".into(), &TOPIC.into()));
    assert_eq!((&letter["gateway"], &letter["entry"]), (&"gw".into(), &"fleet".into()));
    assert!(letter["receivedAt"].as_str().unwrap().ends_with('Z'));
    assert!(!letter["detail"].as_str().unwrap().is_empty());
    let text = letter["payload"].as_str().map(|text| text.as_bytes().to_vec());
    let shown =
        text.unwrap_or_else(|| STANDARD.decode(letter["payloadBase64"].as_str().unwrap()).unwrap());
    if reason == "oversize" {
        assert!(!shown.is_empty() && payload.starts_with(&shown) && shown.len() <= 4096);
        let detail = letter["detail"].as_str().unwrap();
        assert!(
            detail.contains(&payload.len().to_string()) && detail.contains("sha256"),
            "{detail}"
        );
    } else {
        assert_eq!(shown, payload);
    }
}

/// The bad reading with this number.
fn spoilt(n: u64) -> Vec<u8> {
    match n % 4 {
        0 => vec![b'7'; (64 << 10) + 1],
        1 => format!("{{\"n\":{n}, oops").into_bytes(),
        2 => Vec::new(),
        _ => b"\xff\xfe\x00binary".to_vec(),
    }
}

#[test]
fn one_bad_reading_in_ten_through_a_real_broker() {
    let mosquitto = Mosquitto::start(NO_DROP);
    let collector = Collector::start(mosquitto.port());
    let mut gateway = subscribed(&fleet(&mosquitto.url(), &[]));
    let good = Publisher::to(mosquitto.port()).sensors(9).readings(500).name("good").start();
    let bad = Publisher::to(mosquitto.port()).sensors(1).readings(500).name("bad");
    let bad = bad.topic(|_, _| TOPIC.to_owned());
    let bad = bad.payload(|_, n| spoilt(n)).start();
    assert_eq!((good.join(SOON).total(), bad.join(SOON).total()), (4500, 500));
    collector.wait_readings(4500, SOON);
    collector.wait_until("the dead letters", SOON, |all| all.dead_letters.len() == 500);
    let name = "one in ten is malformed, empty, oversize or not UTF-8";
    let balance = fault(name, 0, &mut gateway, || collector.audit().judge_load(9, 500));
    let expected =
        Balance { received: 5000, delivered: 4500, dead_lettered: 500, ..Balance::default() };
    assert_eq!(balance, expected);
    let letters = collector.dead_letters();
    let reasons: Vec<String> =
        letters.iter().map(|it| it.json()["reason"].as_str().unwrap().to_owned()).collect();
    let expected: Vec<&str> =
        (1..=500).map(|n| ["oversize", "malformed", "empty", "malformed"][n % 4]).collect();
    assert_eq!(reasons, expected, "dead letters of one sensor keep their order too");
    let numbers = letters.iter().filter_map(|it| it.json()["payload"].as_str().map(str::to_owned));
    let numbers: Vec<String> = numbers.filter(|it| it.contains("oops")).collect();
    let expected: Vec<String> =
        (1..=500).step_by(4).map(|n| format!("{{\"n\":{n}, oops")).collect();
    assert_eq!(numbers, expected);
}

#[test]
fn a_dead_letter_is_not_acknowledged_upstream_before_its_broker_took_it() {
    let (input, sink) = (Broker::start(), Broker::start());
    sink.hold_acks("");
    let mut gateway = subscribed(&fleet(&input.url(), &[&output(&sink.url())]));
    input.publish_all([message(TOPIC, "{", 1), reading("good", 1, 1)]);
    sink.wait_until("both are published", SOON, |log| log.held_acks("gw-out") == 2);
    assert_eq!(input.look(|log| log.acks("gw-in")), 0);
    sink.resume_acks("");
    input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 2);
    assert_eq!(drained(&mut gateway).dead_lettered, 1);
    let letter = sink.published(LETTERS)[0].acknowledged.unwrap();
    assert!(letter < input.client("gw-in").acks[0].order);
}

#[test]
fn nothing_but_rubbish_flows_through_and_is_bounded() {
    let (input, sink) = (Broker::start(), Broker::start());
    let small = ["queue.records_max = 100", "batch.records_max = 50"];
    let output = output(&sink.url());
    let mut gateway = subscribed(&fleet(&input.url(), &[&small[..], &[&output]].concat()));
    input.publish_all((0..5000).map(|n| message(TOPIC, format!("{{{n}"), 1)));
    input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 5000);
    gateway.wait_for_line("messages that can be no reading", SOON);
    let balance = drained(&mut gateway);
    assert_eq!((balance.received, balance.dead_lettered), (5000, 5000));
    let unacked = input.look(|log| log.unacked_max("gw-in"));
    assert!(unacked <= 100, "{unacked}");
}

/// Two sessions, no spool: the one whose letters are refused waits, the other goes on.
#[test]
fn a_dead_letter_topic_that_is_forbidden_holds_back_only_the_session_of_the_letters() {
    let (input, sink) = (Broker::start(), Broker::start());
    let other = "sensors.other.mqtt.topic = \"other/{sensor}/reading\"";
    let output = output(&sink.url());
    // The share of the dead letters would be told first.
    let share = "output.dead_letters_percent_max = 100";
    let more = [output.as_str(), other, share, "batch.records_max = 10"];
    let mut gateway = subscribed(&fleet(&input.url(), &more));
    input.wait_until("both subscribe", SOON, |log| log.subscribes("gw-in") == 2);
    let good = |n: u64| {
        let Message { payload, .. } = reading("s00000", n, 1);
        message("other/s00000/reading", payload, 1)
    };
    // A refusal before anything was delivered would be taken for a mistake in the settings.
    input.publish_all([good(1)]);
    wait_readings(&sink, 1, SOON);
    sink.answer_publishes(LETTERS, 0x87, usize::MAX);
    for n in 2..=300 {
        input.publish_all([message(TOPIC, "{", 1), good(n)]);
        wait_readings(&sink, n, SOON);
    }
    gateway.wait_for_line("the output refuses gateway/dead-letters: not authorized", SOON);
    input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in-other") == 300);
    assert_eq!(input.look(|log| log.acks("gw-in-fleet")), 0);
    sink.answer_normally();
    input.wait_until("all acknowledgements", SOON, |log| log.acks("gw-in-fleet") == 299);
    let name = "the output broker forbids the dead-letter topic, without a spool";
    let balance = fault(name, 0, &mut gateway, || audit(&sink).judge_load(1, 300));
    assert_eq!((balance.delivered, balance.dead_lettered), (300, 299));
}

/// The output answers only when it is told to: nothing but the order counts.
#[test]
fn a_flood_of_malformed_messages_does_not_delay_good_readings() {
    let (input, sink) = (Broker::start(), Broker::start());
    sink.hold_acks("");
    let output = output(&sink.url());
    let more = [output.as_str(), "batch.records_max = 100"];
    let mut gateway = subscribed(&fleet(&input.url(), &more));
    input.publish_all((0..4000).map(|_| message(TOPIC, "{", 1)));
    input.publish_all(readings(1, 1..=10, 1));
    wait_readings(&sink, 10, SOON);
    assert_eq!(input.look(|log| log.acks("gw-in")), 0, "nothing was answered");
    sink.resume_acks("");
    input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 4010);
    let line = gateway.wait_for_line("sensor=\"bad\"", SOON);
    assert!(line.contains("entry=\"fleet\"") && line.contains("malformed"), "{line}");
    let name = "a flood of malformed messages before good readings";
    let balance = fault(name, 0, &mut gateway, || audit(&sink).judge_load(1, 10));
    assert_eq!((balance.delivered, balance.dead_lettered), (10, 4000));
}

#[test]
fn sensor_ids_that_cannot_stand_in_an_envelope_become_dead_letters() {
    let (input, sink) = (Broker::start(), Broker::start());
    let mut gateway = subscribed(&fleet(&input.url(), &[&output(&sink.url())]));
    let long = format!("sensors/{}/reading", "x".repeat(300));
    let topics = ["sensors//reading", "sensors/a\u{1}b/reading", &long, "sensors/ok/reading"];
    input.publish_all(topics.iter().map(|topic| message(topic, r#"{"value":1,"n":1}"#, 1)));
    input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 4);
    let balance = drained(&mut gateway);
    assert_eq!((balance.delivered, balance.dead_lettered), (1, 3));
    let reasons: Vec<Value> = sink.look(letters).iter().map(|it| it["reason"].clone()).collect();
    assert_eq!(reasons, ["sensor_id"; 3]);
}

/// MQTT forbids it; some brokers let it through.
#[test]
fn a_topic_that_is_not_utf8_makes_a_dead_letter_and_the_rest_flows_on() {
    let (input, sink) = (Broker::start(), Broker::start());
    let more = [output(&sink.url()), "broker.version = 3".to_owned()];
    let mut gateway = subscribed(&fleet(&input.url(), &more.each_ref().map(String::as_str)));
    input.publish_all(readings(5, 1..=10, 1));
    wait_readings(&sink, 50, SOON);
    // PUBLISH, QoS 0: the topic sensors/\xff/reading and the payload 7.
    let topic = b"sensors/\xff/reading";
    let mut packet = vec![0x30, 3 + u8::try_from(topic.len()).unwrap(), 0, 17];
    packet.extend_from_slice(topic);
    packet.push(b'7');
    input.send_raw("gw-in", &packet);
    sink.wait_until("the dead letter", SOON, |log| log.count(LETTERS) == 1);
    let letter = sink.published(LETTERS)[0].json();
    assert_eq!(letter["reason"], "topic", "{letter}");
    input.publish_all(readings(5, 11..=20, 1));
    wait_readings(&sink, 100, SOON);
    let name = "a topic that is not UTF-8";
    let balance = fault(name, 0, &mut gateway, || audit(&sink).judge_load(5, 20));
    assert_eq!((balance.delivered, balance.dead_lettered), (100, 1));
    assert_eq!(gateway.count("connection lost"), 0, "{}", gateway.text());
}
