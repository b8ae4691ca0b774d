//! What leaves: `verify` reads each format back, through a real broker.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::scene::{BATCHES, LONG, drained, fleet, gateway, message, subscribed};
use crate::support::broker::Broker;
use crate::support::client::Publisher;
use crate::support::gateway::Gateway;
use crate::support::http::Http;
use crate::support::mosquitto::{Mosquitto, STOCK};
use crate::support::{SOON, eventually};

/// Readings whose number is in their value, through a gateway with these lines: what `verify` says.
fn verified(more: &[&str]) -> Value {
    let broker = Mosquitto::start(STOCK);
    let config = fleet(&broker.url(), more);
    let mut verification =
        Gateway::command("verify", &config).arg("--json").arg("--number").arg("n").start();
    verification.wait_for_line("listening", SOON);
    let launch = Gateway::with_config(&config).env("SLUICEGATE__HTTP__LISTEN", "127.0.0.1:0");
    let mut gateway = launch.start();
    gateway.wait_for_line("subscribed", SOON);
    let load = Publisher::to(broker.port()).sensors(3).readings(100);
    load.payload(|_, n| format!(r#"{{"n":{n},"t":21.5,"on":true}}"#).into_bytes()).run(LONG);
    // Text in a field of numbers: no reading of another format minds.
    let odd = Publisher::to(broker.port()).sensors(1).readings(1).name("odd");
    odd.payload(|_, _| br#"{"n":101,"t":"warm"}"#.to_vec()).run(LONG);
    let all = || Http::of(&gateway).metric("sluicegate_readings_received_total") == Some(301.0);
    eventually("all readings", LONG, all);
    let balance = drained(&mut gateway);
    assert_eq!(balance.delivered + balance.dead_lettered, 301);
    verification.signal("TERM");
    assert_eq!(verification.wait_exit(LONG), 0, "{}", verification.text());
    serde_json::from_str(verification.stdout().trim()).unwrap()
}

#[test]
fn verify_reads_each_format_back() {
    for (lines, letters) in [
        (&["output.format = \"ndjson\""][..], json!({})),
        (&["output.format = \"influx\""], json!({"format": 1})),
        (&["output.format = \"cbor\""], json!({})),
        (&["output.format = \"cbor\"", "output.compression = \"gzip\""], json!({})),
        (&["output.compression = \"gzip\""], json!({})),
        (&["output.compression = \"zstd\"", "output.topic = \"x/{sensor}\""], json!({})),
        (
            &[
                "broker.version = 3",
                "output.compression = \"zstd\"",
                "output.compression_suffix = true",
                "output.format = \"json_array\"",
            ],
            json!({}),
        ),
    ] {
        let verdict = verified(lines);
        let told = ["sensors", "lost", "duplicated", "reordered", "unnumbered", "unreadable"]
            .map(|name| verdict[name].clone());
        assert_eq!(told, [3, 0, 0, 0, 0, 0].map(|it| json!(it)), "{lines:?}: {verdict}");
        assert_eq!(verdict["deadLetters"], letters, "{lines:?}");
    }
}

#[test]
fn a_batch_of_line_protocol_is_what_a_database_reads() {
    let broker = Broker::start();
    let lines = [
        "sensors.weather.mqtt = { topic = \"tele/{device}/SENSOR\", sensor = \"{device}\", tags = { site = \"n 1\" } }",
        "output.format = \"influx\"",
        "output.influx.measurement = \"plant,{entry}\"",
    ];
    let mut gateway = subscribed(&gateway(&broker.url(), &lines));
    let payload = r#"{"timestamp":"2026-11-22T07:30:50.5Z","value":{"BME":{"T":21,"P":null},"ok":true,"s":"a\"b"}}"#;
    broker.publish_all([
        message("tele/d=1/SENSOR", payload, 1),
        message("tele/d=1/SENSOR", "[1]", 1),
    ]);
    broker.wait_until("the batch", SOON, |log| log.count(BATCHES) == 1);
    let balance = drained(&mut gateway);
    assert_eq!((balance.delivered, balance.dead_lettered), (1, 1));
    let batch = broker.published(BATCHES).swap_remove(0);
    let expected = "plant\\,weather,sensor=d\\=1,site=n\\ 1 BME_T=21,ok=true,s=\"a\\\"b\" 1795332650500000000\n";
    assert_eq!(String::from_utf8_lossy(&batch.payload), expected);
    let properties = batch.properties.as_ref().unwrap();
    assert_eq!(properties.content_type.as_deref(), Some("text/plain; charset=utf-8"));
}

/// As another program has it.
#[test]
fn a_compressed_batch_is_what_gzip_reads_and_its_topic_ends_so_where_that_is_asked_for() {
    let broker = Broker::start();
    let lines = [
        "sensors.a.mqtt.topic = \"a\"",
        "output.compression = \"gzip\"",
        "output.compression_suffix = true",
    ];
    let mut gateway = subscribed(&gateway(&broker.url(), &lines));
    broker.publish_all([message("a", "21.5", 1)]);
    broker.wait_until("the batch", SOON, |log| log.count("gateway/batches.gz") == 1);
    drained(&mut gateway);
    let batch = broker.published("gateway/batches.gz").swap_remove(0);
    assert_eq!(batch.property("encoding"), Some("gzip"));
    let mut gzip = Command::new("gzip")
        .arg("-dc")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    gzip.stdin.take().unwrap().write_all(&batch.payload).unwrap();
    let read = gzip.wait_with_output().unwrap().stdout;
    let read: Value = serde_json::from_slice(&read).unwrap();
    assert_eq!(read["records"][0]["value"], json!(21.5));
}
