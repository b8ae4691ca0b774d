//! The limits of queue and batches, and the output, changed while the gateway runs.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::scene::{LONG, audit, drained, fleet, reading, report};
use crate::support::broker::Broker;
use crate::support::client::{Collector, Publisher};
use crate::support::gateway::Gateway;
use crate::support::http::Http;
use crate::support::mosquitto::{Mosquitto, NO_DROP};
use crate::support::{SOON, eventually};

/// Changes of the test under load.
const CHANGES: usize = 24;

/// A fleet with a socket to ask it, and these lines.
fn config(url: &str, lines: &[&str]) -> String {
    fleet(url, &[&["gateway.control = \"control\"", "batch.age_max = \"20ms\""], lines].concat())
}

fn started(config: &str) -> Gateway {
    let gateway =
        Gateway::with_config(config).env("SLUICEGATE__HTTP__LISTEN", "127.0.0.1:0").start();
    gateway.wait_for_line("subscribed", SOON);
    gateway
}

/// Runs `sluicegate reload` with this configuration in place of the one before.
fn reload(gateway: &Gateway, config: &str) -> (i32, String) {
    fs::write(gateway.config_path(), config).unwrap();
    ask(gateway.folder())
}

fn ask(folder: &Path) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluicegate"));
    command.args(["reload", "--config", "sluicegate.toml"]);
    let Output { status, stdout, stderr } = command.current_dir(folder).output().unwrap();
    (status.code().unwrap(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

#[test]
fn limits_and_topics_change_under_load_and_nothing_is_lost_or_comes_twice() {
    let mosquitto = Mosquitto::start(NO_DROP);
    let collector = Collector::at(mosquitto.port()).output("out/+").start();
    let at_round = |round: usize| {
        let records = [500, 20, 700][round % 3];
        let topic = ["out/a", "out/b"][(round / 2) % 2];
        let places = [16_384, 800][(round / 3) % 2];
        let window = [16, 2][round % 2];
        config(
            &mosquitto.url(),
            &[
                &format!("batch.records_max = {records}"),
                &format!("output.topic = \"{topic}\""),
                &format!("queue.records_max = {places}"),
                &format!("output.window_batches = {window}"),
            ],
        )
    };
    let mut gateway = started(&at_round(0));
    let load = Publisher::to(mosquitto.port()).sensors(50).readings(1_000_000).rate(5000.0).start();
    for round in 1..=CHANGES {
        load.wait_acknowledged(500 * round as u64, LONG);
        let (code, said) = reload(&gateway, &at_round(round));
        assert!(code == 0 && said.contains("output.window_batches is changed"), "{code}: {said}");
        assert!(!said.contains("restart"), "{said}");
    }
    let published = load.stop();
    collector.wait_readings(published.total(), LONG);
    let http = Http::of(&gateway);
    let (windows, places) = (2.0, f64::from([16_384, 800][(CHANGES / 3) % 2]));
    let limit = |name: &str| http.metric(name);
    assert_eq!(limit("sluicegate_window_batches_max"), Some([16.0, windows][CHANGES % 2]));
    assert_eq!(limit("sluicegate_queue_records_max"), Some(places));
    let balance = drained(&mut gateway);
    let verdict = collector.audit().judge_report(&published);
    let topics: std::collections::BTreeSet<String> =
        collector.batches().into_iter().map(|it| it.topic).collect();
    report(&format!(
        "{CHANGES} changes of limits and output: {balance:?}, {verdict:?}, {topics:?}"
    ));
    assert_eq!((verdict.lost, verdict.reordered, verdict.strange), (0, 0, 0));
    assert_eq!(verdict.duplicated, 0, "what was on its way was answered before");
    assert_eq!((balance.received, balance.dead_lettered), (balance.delivered, 0));
    assert_eq!(topics.len(), 2, "{topics:?}");
    assert!(!gateway.said("before all has been answered"), "{}", gateway.text());
}

#[test]
fn an_output_that_is_refused_is_mended_by_another_topic_at_once() {
    let (input, sink) = (Broker::start(), Broker::start());
    let with = |topic: &str| {
        let broker = format!("output.broker.url = \"{}\"", sink.url());
        config(&input.url(), &[&broker, &format!("output.topic = \"{topic}\"")])
    };
    sink.answer_publishes("wrong", 0x87, usize::MAX);
    let mut gateway = started(&with("wrong"));
    input.publish_all((1..=20).map(|n| reading("a", n, 1)));
    gateway.wait_for_line("refused", SOON);
    let (code, said) = reload(&gateway, &with("gateway/batches"));
    assert!(code == 0 && said.contains("output.mqtt.topic is changed: \"wrong\""), "{said}");
    eventually("all is delivered", SOON, || audit(&sink).distinct() == 20);
    assert!(!gateway.said("before all has been answered"), "{}", gateway.text());
    drained(&mut gateway);
    let verdict = audit(&sink).judge([("a", 20)]);
    assert_eq!((verdict.lost, verdict.reordered), (0, 0));
}

/// What is not answered when the grace is over goes to the new topic, too.
#[test]
fn an_output_that_is_silent_is_changed_when_the_grace_is_over() {
    let (input, sink) = (Broker::start(), Broker::start());
    let with = |topic: &str| {
        let broker = format!("output.broker.url = \"{}\"", sink.url());
        let topic = format!("output.topic = \"{topic}\"");
        config(&input.url(), &[&broker, &topic, "gateway.shutdown_grace = \"1s\""])
    };
    let mut gateway = started(&with("old"));
    sink.hold_acks("");
    input.publish_all((1..=20).map(|n| reading("a", n, 1)));
    sink.wait_until("all is out", SOON, |log| log.count("old") > 0);
    let (code, said) = reload(&gateway, &with("gateway/batches"));
    assert_eq!(code, 0, "{said}");
    assert!(gateway.said("the output changes before all has been answered"), "{}", gateway.text());
    eventually("all is published again", SOON, || audit(&sink).distinct() == 20);
    sink.resume_acks("");
    input.wait_until("all is acknowledged", SOON, |log| log.acks("gw-in") >= 20);
    assert_eq!(drained(&mut gateway).delivered, 20);
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let input = Broker::start();
    let good = config(&input.url(), &[]);
    let mut gateway = started(&good);
    for (line, expected) in [
        ("batch.bytes_max = \"250MiB\"", "gateway.memory_max: is"),
        ("output.topic = \"sensors/a/reading\"", "matches"),
        ("queue.records_max = 0", "too small"),
    ] {
        let (code, said) = reload(&gateway, &format!("{good}{line}\n"));
        assert!(code == 64 && said.contains(expected), "{line}: {code} {said}");
    }
    assert_eq!(reload(&gateway, &good), (0, "nothing has changed\n".to_owned()));
    input.publish_all([reading("a", 1, 1)]);
    eventually("it is delivered", SOON, || audit(&input).distinct() == 1);
    assert_eq!(input.look(|log| log.connects("gw-out")), 1);
    assert_eq!(drained(&mut gateway).delivered, 1);
}

/// Messages of many readings, of which a full queue has room for a part: the rest comes again, and is counted once.
#[test]
fn what_a_full_queue_had_no_room_for_when_an_entry_changes_comes_again_and_the_books_close() {
    let (input, sink) = (Broker::start(), Broker::start());
    let with = |places: u32| {
        let lines = [
            "sensors.fleet.mqtt.payload = \"ndjson\"".to_owned(),
            format!("output.broker.url = \"{}\"", sink.url()),
            format!("queue.records_max = {places}"),
            "batch.records_max = 50".to_owned(),
            "queue.readings_max = 200".to_owned(),
            "gateway.shutdown_grace = \"2s\"".to_owned(),
        ];
        config(&input.url(), &lines.each_ref().map(String::as_str))
    };
    let mut gateway = started(&with(300));
    sink.hold_acks("");
    let message = |message: u64| {
        let lines = (1..=200).map(|n| format!("{{\"value\":1,\"n\":{}}}", message * 200 + n));
        crate::scene::message("sensors/a/reading", lines.collect::<Vec<_>>().join("\n"), 1)
    };
    input.publish_all((0..8).map(message));
    let http = Http::of(&gateway);
    eventually("the queue is full", SOON, || {
        http.metric("sluicegate_queue_records").is_some_and(|it| it >= 290.0)
    });
    for places in [250, 1000, 200] {
        let (code, said) = reload(&gateway, &with(places));
        assert_eq!(code, 0, "{said}");
    }
    sink.resume_acks("");
    eventually("all is delivered", LONG, || audit(&sink).distinct() == 1600);
    eventually("nothing is held", SOON, || http.metric("sluicegate_readings_held") == Some(0.0));
    let rows = http.json("/api/sensors")["sensors"].clone();
    assert_eq!(rows[0]["held"], 0, "{rows}");
    let balance = drained(&mut gateway);
    report(&format!("three changes of a full queue: {balance:?}"));
    assert_eq!(balance.received, balance.delivered);
}
