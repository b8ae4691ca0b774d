//! What is easily got wrong, and what is then said.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use bytes::Bytes;

use crate::scene::{drained, fleet, gateway, output};
use crate::support::client::{Collector, Options, Session};
use crate::support::gateway::{Balance, Gateway, Launch};
use crate::support::http::Http;
use crate::support::mosquitto::{Mosquitto, STOCK};
use crate::support::proxy::{Cut, Proxy};
use crate::support::wire::{Packet, Publish, PublishProperties, QoS};
use crate::support::{SOON, eventually, thread};

fn check(more: &[&str]) -> Launch {
    Gateway::command("check", &fleet("mqtt://127.0.0.1:1", more))
}

/// Ends within time, with this code; all that it said.
#[track_caller]
fn said(launch: Launch, code: i32) -> String {
    let mut gateway = launch.start();
    let ended = gateway.wait_exit(SOON);
    assert_eq!(ended, code, "{}", gateway.text());
    gateway.text()
}

#[test]
fn a_setting_that_cannot_be_meant_is_told_with_what_is_to_be_written() {
    for (line, words) in [
        (
            "output.topic = \"out/{device}\"",
            "output.topic: holds {device}, which is no place: write {entry}",
        ),
        ("output.dead_letter_topic = \"x/{id\"", "output.dead_letter_topic: has a { without its }"),
        ("output.topic = \"sensors/{sensor}/{entry}\"", "come back as readings"),
        (
            "output.topic = \"gateway/{sensor}\"",
            "output.dead_letter_topic: may be a topic of output.topic",
        ),
        ("output.topic = \"out \"", "output.topic: begins or ends with a blank"),
        ("sensors.b.mqtt.topic = \" a\"", "sensors.b.mqtt.topic: begins or ends with a blank"),
        ("sensors.b.mqtt.topic = \"$queue/a\"", "begins with \"$queue/\""),
        ("output.broker.url = \"mqtt://a:1,mqtt://b:1\"", "output.broker.url: names several"),
        ("output.broker.url = \"mqtt://::1:1883\"", "write an IPv6 address in brackets"),
        (
            "gateway.sensors_max = 1\nsensors.b.mqtt.topic = \"b\"",
            "gateway.sensors_max: is below the 0 simulated sensors and one for each of 2 other entries",
        ),
        ("spool.path = \"\"", "spool.path: is empty: write a path, or leave the key out"),
        ("broker.client_id_file = \"nowhere\"", "broker.client_id_file: nowhere: does not exist"),
    ] {
        let text = said(check(&[line]), 64);
        assert!(text.contains(words) && text.contains("1 mistake"), "{line}: {text}");
    }
    let text = said(check(&[]).env("SLUICEGATE__SPOOL__PATH", ""), 64);
    assert!(text.contains("SLUICEGATE__SPOOL__PATH (spool.path): is empty"), "{text}");
}

#[test]
fn a_variable_with_one_underscore_too_few_is_warned_of() {
    let text = said(check(&[]).env("SLUICEGATE_BROKER__URL", "mqtt://other"), 0);
    let words = "SLUICEGATE_BROKER__URL: sets nothing: write SLUICEGATE__BROKER__URL";
    assert!(text.contains("# Warnings") && text.contains(words), "{text}");
    let kubernetes = check(&[]).env("SLUICEGATE_PORT", "tcp://10.0.0.1:8080");
    let text = said(kubernetes.env("SLUICEGATE_SERVICE_HOST", "10.0.0.1"), 0);
    assert!(!text.contains("Warnings"), "{text}");
}

#[test]
fn a_pipe_is_no_file_and_nobody_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe.toml");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let path = pipe.display();
    let tls = |key: &str| format!("broker.tls.{key} = \"{path}\"");
    let more = [
        "broker.username = \"u\"".to_owned(),
        format!("broker.password_file = \"{path}\""),
        format!("broker.client_id_file = \"{path}\""),
        tls("ca_file"),
    ];
    let more: Vec<&str> = more.iter().map(String::as_str).collect();
    let text = said(Gateway::command("check", &fleet("mqtts://127.0.0.1:1", &more)), 64);
    for key in ["password_file", "client_id_file", "tls.ca_file"] {
        assert!(text.contains(&format!("broker.{key}: {path}: is a pipe")), "{text}");
    }
    let text = said(Gateway::bare().arg("check").arg("--config").arg(&pipe), 64);
    assert!(text.contains("a pipe, a socket or a device"), "{text}");
}

#[test]
fn a_password_that_everyone_can_read_is_warned_of_and_used() {
    let mosquitto = Mosquitto::with(STOCK).user("gateway", "right").start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("password");
    fs::write(&path, "\u{feff}right\r\n").unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    let file = format!("broker.password_file = \"{}\"", path.display());
    let config = fleet(&mosquitto.url(), &["broker.username = \"gateway\"", &file]);
    let mut gateway = Gateway::start(&config);
    gateway.wait_for_line("subscribed", SOON);
    gateway.wait_for_line("broker.password_file: ", SOON);
    assert!(gateway.text().contains("can be read by every user"), "{}", gateway.text());
    drained(&mut gateway);
}

#[test]
fn a_broker_that_hangs_up_at_connect_is_asked_with_another_version() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    // Ends with the test's process.
    drop(thread("old broker", move || {
        for stream in listener.incoming() {
            let read = stream.unwrap().read(&mut [0; 1024]);
            assert!(read.is_ok_and(|count| count > 0), "a CONNECT");
        }
    }));
    let gateway = Gateway::start(&fleet(&format!("mqtt://127.0.0.1:{port}"), &[]));
    gateway.wait_for_line("set version = 3", SOON);
}

/// A broker that has taken MQTT 5 and hangs up at CONNECT now is restarting, or what lies before it is.
#[test]
fn a_broker_that_was_there_is_not_suspected_of_its_version() {
    let mosquitto = Mosquitto::with(STOCK).start();
    let proxy = Proxy::to(mosquitto.port());
    let gateway = Gateway::start(&fleet(&proxy.url(), &[]));
    gateway.wait_for_line("ready", SOON);
    proxy.refuse();
    proxy.cut(Cut::Reset);
    gateway.wait_for_line("cannot connect", SOON);
    // Both connections were cut: which one is told depends on which was first.
    gateway.wait_for_line("has been away for 5 s: ", SOON);
    assert_eq!(gateway.count("version = 3"), 0, "{}", gateway.text());
}

/// A message with the user properties of a batch.
fn batch_of(gateway: &str, batch: &str, id: u16) -> Packet {
    let user_properties = [("gateway", gateway), ("batch", batch)]
        .map(|(name, value)| (name.into(), value.into()))
        .to_vec();
    Packet::Publish(Publish {
        qos: QoS::AtLeastOnce,
        topic: "edge/batches".into(),
        pkid: id,
        payload: Bytes::from(format!(r#"{{"n":{id}}}"#)),
        properties: Some(PublishProperties { user_properties, ..PublishProperties::default() }),
        ..Publish::default()
    })
}

/// The output goes to the readings' broker by another way in, and a wildcard takes all of it.
#[test]
fn what_comes_back_of_our_own_output_is_not_taken_and_no_loop() {
    let mosquitto = Mosquitto::start(STOCK);
    let (proxy, collector) = (Proxy::to(mosquitto.port()), Collector::start(mosquitto.port()));
    let lines = ["sensors.all.mqtt.topic = \"#\"", &output(&proxy.url())];
    let launch = Gateway::with_config(&gateway(&mosquitto.url(), &lines));
    let mut gateway = launch.env("SLUICEGATE__HTTP__LISTEN", "127.0.0.1:0").start();
    gateway.wait_for_line("subscribed", SOON);
    let http = Http::of(&gateway);
    let mut session = Session::open(&Options::new(mosquitto.port(), "device")).unwrap();
    let mut count = 0;
    let mut loops = |what: &str| {
        count += 1;
        let name = "sluicegate_messages_skipped_total{reason=\"loop\"}";
        eventually(what, SOON, || http.metric(name) == Some(f64::from(count)));
    };
    // A batch that comes back and becomes a dead letter, and that comes back.
    session.write_publish("plant/a", b"1".to_vec(), 1);
    session.flush().unwrap();
    loops("the first batch is back");
    loops("its dead letter is back");
    session.write_publish("plant/b", b"{".to_vec(), 1);
    session.flush().unwrap();
    loops("a dead letter is back");
    // Another gateway's batch, and one of an earlier run of this one: its readings are nowhere else.
    for (gateway, batch) in [("edge", "edge-18f3c2a70007-1"), ("gw", "gw-18f3c2a70007-1")] {
        let id = session.fresh_id();
        session.write(&batch_of(gateway, batch, id));
        session.flush().unwrap();
        loops("a batch is back");
    }
    let settled = || http.metric("sluicegate_unacknowledged_messages{entry=\"all\"}") == Some(0.0);
    eventually("all is acknowledged", SOON, settled);
    assert_eq!(gateway.count("our own output comes back by the subscription to #"), 1);
    let Balance { received, delivered, dead_lettered, .. } = drained(&mut gateway);
    assert_eq!((received, delivered, dead_lettered), (5, 3, 2));
    let letters = collector.dead_letters();
    let reasons: Vec<_> = letters.iter().map(|it| it.json()["reason"].clone()).collect();
    assert_eq!(reasons, ["loop", "malformed"]);
    assert_eq!(collector.batches().len(), 3);
}
