//! Many entries: an ordinary house, and connections that all stop in the middle of a packet.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::scene::{LONG, drained, gateway, message, output, printed_bound, report};
use crate::support::broker::Broker;
use crate::support::client::{Collector, Publisher};
use crate::support::gateway::Gateway;
use crate::support::mosquitto::{Mosquitto, NO_DROP};
use crate::support::{SOON, eventually, now};

const ENTRIES: usize = 40;
const TOPICS: usize = 4;

/// Forty families of devices, each with four topics, at the broker at `url`; all else is as it is without a word.
fn house(url: &str) -> String {
    let topic = |entry, topic| format!("\"house/family-{entry}/{topic}\"");
    let mut text = gateway(url, &[]);
    for entry in 0..ENTRIES {
        let topics: Vec<String> = (0..TOPICS).map(|it| topic(entry, it)).collect();
        writeln!(text, "sensors.family-{entry}.mqtt.topics = [{}]", topics.join(", ")).unwrap();
    }
    text
}

#[test]
fn forty_entries_of_four_topics_run_within_the_default_bound_on_memory() {
    let mosquitto = Mosquitto::start(NO_DROP);
    let collector = Collector::start(mosquitto.port());
    let config = house(&mosquitto.url());
    let mut gateway = Gateway::start(&config);
    gateway.wait_for_line("ready: readings are delivered as they come", SOON);
    let topic = |sensor: &str, _| {
        let place: usize = sensor.trim_start_matches('s').parse().unwrap();
        format!("house/family-{}/{}", place / TOPICS, place % TOPICS)
    };
    let all = ENTRIES * TOPICS;
    Publisher::to(mosquitto.port()).sensors(all).readings(50).topic(topic).run(LONG);
    let readings = 50 * all as u64;
    collector.wait_readings(readings, LONG);
    let (peak, bound) = (gateway.memory_peak(), printed_bound(&gateway));
    report(&format!("{ENTRIES} entries: peak {} MiB, bound {} MiB", peak >> 20, bound >> 20));
    assert!(peak < bound && bound < 256 << 20, "peak {peak}, bound {bound}");
    assert_eq!(drained(&mut gateway).delivered, readings);
    let mut topics = BTreeSet::new();
    for batch in collector.batches() {
        let records = batch.json();
        let records = records["records"].as_array().unwrap();
        topics.extend(records.iter().map(|it| it["topic"].as_str().unwrap().to_owned()));
    }
    assert_eq!(topics.len(), all);
    let lines = gateway.text().lines().count();
    assert!(lines < 20, "{lines} lines of a quiet run:\n{}", gateway.text());
}

#[test]
fn check_says_of_many_entries_what_they_have_in_common() {
    let mut check = Gateway::command("check", &house("mqtt://127.0.0.1:1")).start();
    assert_eq!(check.wait_exit(SOON), 0, "{}", check.text());
    let text = check.stdout();
    let (_, told) = text.split_once("# Memory:").unwrap();
    let lines = told.lines().count();
    assert!(lines < 30, "{lines} lines:\n{told}");
    for part in [
        "intake connections (40 × ",
        "40 clients, gw-in-family-0 to gw-in-family-9, subscribe to 160 topics of 40 entries at \
         mqtt://127.0.0.1:1 (MQTT 5, ",
    ] {
        assert!(told.contains(part), "{part} in:\n{told}");
    }
}

/// The beginning of a PUBLISH that has `bytes` behind its header.
fn beginning(topic: &str, bytes: usize) -> Vec<u8> {
    let mut packet = vec![0x30];
    let mut left = bytes;
    while left > 0x7f {
        packet.push(u8::try_from(left & 0x7f | 0x80).unwrap());
        left >>= 7;
    }
    packet.push(u8::try_from(left).unwrap());
    packet.extend(u16::try_from(topic.len()).unwrap().to_be_bytes());
    packet.extend(topic.bytes());
    packet.push(0);
    packet
}

/// Connections with a large packet that is not complete, and the bytes of it that come.
const STUCK: usize = 12;
const STUCK_BYTES: usize = 1 << 20;

/// They share four large buffers: who has one is cut off, and then it is the next one's.
#[test]
fn connections_that_stop_in_the_middle_of_a_packet_share_little_memory_and_stop_no_other() {
    let (input, sink) = (Broker::start(), Broker::start());
    let names: Vec<String> = (10..10 + STUCK).map(|it| format!("stuck-{it}")).collect();
    let entry = |name: &str| format!("sensors.{name}.mqtt.topic = \"{name}/{{sensor}}\"");
    let mut lines = vec![output(&sink.url()), entry("calm")];
    lines.extend(names.iter().map(|name| entry(name)));
    let own = [
        "broker.keep_alive = \"2s\"",
        "queue.record_bytes_max = \"1MiB\"",
        "batch.bytes_max = \"2MiB\"",
        "gateway.memory_max = \"1GiB\"",
    ];
    lines.extend(own.map(str::to_owned));
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let mut gateway = Gateway::start(&gateway(&input.url(), &lines));
    let connects = |who: &str| input.look(|log| log.connects(who));
    input.wait_until("all", SOON, |log| log.subscribes("gw-in") == STUCK + 1);
    let (before, start) = (gateway.memory(), now());
    let mut half = beginning("stuck/x", STUCK_BYTES + 1000);
    half.resize(STUCK_BYTES, b'x');
    // Else its answers would be bytes of the packet.
    input.mute_pings("gw-in-stuck");
    input.send_raw("gw-in-stuck", &half);
    let mut number = 0;
    let mut calm = || {
        number += 1;
        input.publish("calm/s", format!(r#"{{"value":{number}}}"#), 1, false);
        input.wait_until("readings of the others", SOON, |log| log.acks("gw-in-calm") == number);
    };
    eventually("each is cut off", LONG, || {
        calm();
        names.iter().all(|name| connects(&format!("gw-in-{name}")) > 1)
    });
    input.answer_pings("gw-in-stuck");
    // Whoever waits for a large buffer is not cut off: there are three rounds of four, and each takes a keep-alive.
    assert!(start.elapsed().as_secs() >= 5, "after {:?}", start.elapsed());
    let growth = gateway.memory_peak().saturating_sub(before);
    report(&format!("{STUCK} connections within a packet of 1 MiB: {} KiB more", growth >> 10));
    assert!(growth < 8 << 20, "grew by {growth} bytes");
    assert_eq!(connects("gw-in-calm"), 1);
    let whole = format!(r#"{{"value":1,"pad":"{}"}}"#, "x".repeat(STUCK_BYTES - 100));
    input.publish_all(names.iter().map(|name| message(&format!("{name}/s"), whole.clone(), 1)));
    input.wait_until("all", LONG, |log| {
        log.unacked("gw-in") + log.queued("gw-in") == 0 && log.acks("gw-in-stuck") == STUCK
    });
    let balance = drained(&mut gateway);
    assert_eq!(balance.delivered, (STUCK + number) as u64);
}
