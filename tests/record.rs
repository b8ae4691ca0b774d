//! `sluicegate record`: what came is in the file as it was, bounded; and `simulate --recording` publishes it again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::scene::{LONG, gateway, message, violations};
use crate::support::broker::{Broker, Kind};
use crate::support::client::{Options, Session};
use crate::support::gateway::{Gateway, Launch};
use crate::support::mosquitto::{Mosquitto, NO_DROP};
use crate::support::wire::{Packet, Publish, PublishProperties, QoS, Version};
use crate::support::{SOON, eventually};

/// What a configuration has to have.
const ENTRY: &str = "sensors.x.mqtt.topic = \"a\"";

/// A recorder of all topics of the broker at `url`.
fn recorder(url: &str, out: &Path) -> Launch {
    let launch = Gateway::command("record", &gateway(url, &[ENTRY]));
    launch.arg("--topic").arg("#").arg("--out").arg(out)
}

fn player(url: &str, recording: &Path) -> Launch {
    let launch = Gateway::command("simulate", &gateway(url, &[ENTRY]));
    launch.arg("--speed").arg("0").arg("--recording").arg(recording)
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "half a line at the end");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Publishes with QoS 1, and waits until the broker has it.
fn publish(
    session: &mut Session,
    topic: &str,
    payload: &[u8],
    retain: bool,
    properties: &[(&str, &str)],
) {
    let pair = |it: &(&str, &str)| (it.0.to_owned(), it.1.to_owned());
    let user_properties = properties.iter().map(pair).collect();
    let pkid = session.fresh_id();
    session.write(&Packet::Publish(Publish {
        qos: QoS::AtLeastOnce,
        retain,
        topic: Bytes::copy_from_slice(topic.as_bytes()),
        pkid,
        payload: Bytes::copy_from_slice(payload),
        properties: Some(PublishProperties { user_properties, ..PublishProperties::default() }),
        ..Publish::default()
    }));
    session.flush().unwrap();
    assert!(matches!(session.receive(SOON).unwrap(), Some(Packet::PubAck(_))));
}

fn open(mosquitto: &Mosquitto, name: &str) -> Session {
    Session::open(&Options::new(mosquitto.port(), name)).unwrap()
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fleet.ndjson");
    (folder, path)
}

#[test]
fn what_was_recorded_is_published_again_with_its_topics_and_payloads_in_order() {
    let (from, to) = (Mosquitto::start(NO_DROP), Mosquitto::start(NO_DROP));
    let (_folder, path) = folder();
    let mut sensors = open(&from, "sensors");
    publish(&mut sensors, "plant/état", b"on", true, &[]);
    let mut recorder = recorder(&from.url(), &path).arg("--qos").arg("1").start();
    recorder.wait_for_line("listening", SOON);
    eventually("the retained message", SOON, || !lines(&path).is_empty());
    let binary: Vec<u8> = (0..=255).collect();
    let json = br#"{"t":21.50,"a":"\u00e9\n"}"#;
    let too_long = vec![b'x'; 1_200_000];
    let properties = [("room", "north"), ("room", "é")];
    publish(&mut sensors, "plant/a", json, false, &properties);
    publish(&mut sensors, "plant/b", &binary, false, &[]);
    publish(&mut sensors, "plant/long", &too_long, false, &[]);
    // As many bytes in base64 are too many, too.
    publish(&mut sensors, "plant/long", &vec![0xff; 900_000], false, &[]);
    publish(&mut sensors, "plant/a", b"", false, &[]);
    for n in 0..300 {
        publish(&mut sensors, &format!("plant/{}", n % 7), format!("{n}").as_bytes(), false, &[]);
    }
    eventually("all lines", SOON, || lines(&path).len() == 304);
    recorder.signal("INT");
    assert_eq!(recorder.wait_exit(SOON), 0, "{}", recorder.text());
    let told = recorder.stdout();
    assert!(told.starts_with("record: 304 messages in "), "{told}");
    assert!(told.contains("\n2 more were left out") && !told.contains("lost"), "{told}");
    assert!(recorder.stderr().contains("too long for a line"), "{}", recorder.stderr());
    let lines = lines(&path);
    assert_eq!((&lines[0]["topic"], &lines[0]["retained"]), (&"plant/état".into(), &true.into()));
    assert_eq!(lines[1]["payload"].as_str().unwrap().as_bytes(), json);
    assert_eq!(lines[1]["userProperties"], json!([["room", "north"], ["room", "é"]]));
    assert!(lines[2]["payload"].is_null() && lines[2]["payloadBase64"].is_string());
    assert_eq!(lines[3]["payload"], "");
    let time = |it: &Value| it["receivedAt"].as_str().unwrap().to_owned();
    assert!(lines.windows(2).all(|two| time(&two[0]) <= time(&two[1]) && two[0]["qos"] == 1));

    let mut taker = open(&to, "taker");
    taker.subscribe(&["#"]).unwrap();
    let mut player = player(&to.url(), &path).start();
    let mut came = Vec::new();
    while came.len() < 304 {
        let it = taker.next_publish(SOON).unwrap().expect("all of them come");
        taker.ack(it.pkid).unwrap();
        came.push(it);
    }
    assert_eq!(player.wait_exit(SOON), 0, "{}", player.text());
    assert!(
        player.stdout().starts_with("simulate: 304 of 304 messages of "),
        "{}",
        player.stdout()
    );
    let first: [(&str, &[u8]); 4] =
        [("plant/état", b"on"), ("plant/a", json), ("plant/b", &binary), ("plant/a", b"")];
    for (it, (topic, payload)) in came.iter().zip(first) {
        assert_eq!((&it.topic[..], &it.payload[..]), (topic.as_bytes(), payload));
    }
    for (n, it) in came[4..].iter().enumerate() {
        let expected = (format!("plant/{}", n % 7), format!("{n}"));
        assert_eq!(
            (&it.topic[..], &it.payload[..]),
            (expected.0.as_bytes(), expected.1.as_bytes())
        );
    }
    let came_with = &came[1].properties.as_ref().unwrap().user_properties;
    assert_eq!(came_with[..], properties.map(|(name, value)| (name.to_owned(), value.to_owned())));
    // What the one broker had retained is retained by the other.
    let mut late = open(&to, "late");
    late.subscribe(&["#"]).unwrap();
    let kept = late.next_publish(SOON).unwrap().unwrap();
    assert_eq!((&kept.payload[..], kept.retain), (&b"on"[..], true));
}

#[test]
fn a_line_of_a_recording_is_explained_as_the_message_that_it_is() {
    let mosquitto = Mosquitto::start(NO_DROP);
    let (_folder, path) = folder();
    let entry = "sensors.x.mqtt = { topic = \"plant/{sensor}\", properties = [\"room\"] }";
    let config = gateway(&mosquitto.url(), &[entry]);
    // The topics are those of the configuration.
    let launch = Gateway::command("record", &config).arg("--out").arg(&path);
    let mut recorder = launch.arg("--count").arg("1").start();
    recorder.wait_for_line("listening", SOON);
    let mut sensors = open(&mosquitto, "sensors");
    publish(&mut sensors, "other/a", b"1", false, &[]);
    publish(&mut sensors, "plant/a", b"{\"value\":21.5}", false, &[("room", "north")]);
    assert_eq!(recorder.wait_exit(SOON), 0, "{}", recorder.text());
    let launch = Gateway::command("explain", &config).arg("--recorded");
    let mut explained = launch.input(fs::File::open(&path).unwrap()).start();
    assert_eq!(explained.wait_exit(SOON), 0, "{}", explained.text());
    let told = explained.stdout();
    assert!(told.contains("21.5") && told.contains(r#""room":"north""#), "{told}");
}

#[test]
fn a_full_file_is_renamed_and_what_is_left_is_published_in_order() {
    let mosquitto = Mosquitto::start(NO_DROP);
    let (folder, path) = folder();
    let launch = recorder(&mosquitto.url(), &path).arg("--qos").arg("1").arg("--count").arg("40");
    let launch = launch.arg("--bytes-max").arg("1MiB").arg("--files").arg("2");
    let mut recorder = launch.start();
    recorder.wait_for_line("listening", SOON);
    let mut sensors = open(&mosquitto, "sensors");
    for n in 0..40 {
        publish(&mut sensors, "a", format!("{n:060000}").as_bytes(), false, &[]);
    }
    assert_eq!(recorder.wait_exit(SOON), 0, "{}", recorder.text());
    let bytes = |path: &Path| fs::metadata(path).unwrap().len();
    let older = folder.path().join("fleet.ndjson.1");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    assert!(bytes(&path) <= 1 << 20 && bytes(&older) <= 1 << 20);
    let left = lines(&older).len() + lines(&path).len();
    let told = recorder.stdout();
    assert!(told.contains("\n1 older file beside it: "), "{told}");
    let gone = format!("\n{} of the messages are gone with the oldest files", 40 - left);
    assert!((10..40).contains(&left) && told.contains(&gone), "{told}");

    let broker = Broker::start();
    let mut player = player(&broker.url(), &path).start();
    assert_eq!(player.wait_exit(SOON), 0, "{}", player.text());
    let number = |it: &[u8]| std::str::from_utf8(it).unwrap().parse::<usize>().unwrap();
    let came: Vec<_> = broker.published("a").iter().map(|it| number(&it.payload)).collect();
    assert_eq!(came, (40 - left..40).collect::<Vec<_>>());
}

#[test]
fn a_broker_that_was_away_is_found_again_and_what_is_missing_is_said() {
    let mut mosquitto = Mosquitto::start(NO_DROP);
    let (_folder, path) = folder();
    let mut recorder = recorder(&mosquitto.url(), &path).start();
    recorder.wait_for_line("listening", SOON);
    publish(&mut open(&mosquitto, "sensors"), "a", b"1", false, &[]);
    eventually("the first line", SOON, || lines(&path).len() == 1);
    mosquitto.crash();
    mosquitto.restart();
    recorder.wait_for_line("what was published meanwhile is missing", LONG);
    publish(&mut open(&mosquitto, "sensors"), "a", b"2", false, &[]);
    eventually("the second line", SOON, || lines(&path).len() == 2);
    recorder.signal("TERM");
    assert_eq!(recorder.wait_exit(SOON), 75, "{}", recorder.text());
    let told = recorder.stdout();
    assert!(told.contains("record: 2 messages") && told.contains("lost once, for "), "{told}");
}

#[test]
fn what_is_there_is_not_touched_unless_that_is_asked_for() {
    let broker = Broker::start();
    let (_folder, path) = folder();
    fs::write(&path, "mine\n").unwrap();
    let mut refused = recorder(&broker.url(), &path).start();
    assert_eq!(refused.wait_exit(SOON), 64);
    assert!(refused.stderr().contains("--force"), "{}", refused.stderr());
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine\n");
    let launch = recorder(&broker.url(), &path).arg("--force").arg("--for").arg("100ms");
    let mut empty = launch.start();
    assert_eq!(empty.wait_exit(SOON), 75, "nothing came: {}", empty.text());
    assert_eq!(fs::read_to_string(&path).unwrap(), "");
}

#[test]
fn a_disk_that_takes_no_more_ends_a_recording_with_a_whole_line() {
    let mosquitto = Mosquitto::start(NO_DROP);
    let (_folder, path) = folder();
    let mut recorder = recorder(&mosquitto.url(), &path).file_limit(8).start();
    recorder.wait_for_line("listening", SOON);
    let mut sensors = open(&mosquitto, "sensors");
    publish(&mut sensors, "a", &[b'x'; 700], false, &[]);
    eventually("the first line", SOON, || lines(&path).len() == 1);
    for _ in 0..20 {
        publish(&mut sensors, "a", &[b'x'; 700], false, &[]);
    }
    assert_eq!(recorder.wait_exit(SOON), 74, "{}", recorder.text());
    let told = recorder.stdout();
    let count = lines(&path).len();
    assert!((1..10).contains(&count), "{count}");
    assert!(told.starts_with(&format!("record: {count} messages ")), "{told}");
    assert!(
        told.contains("cannot be written: ") && told.contains("ends with a whole line"),
        "{told}"
    );
}

#[test]
fn a_recorder_takes_no_session_of_a_gateway_and_acknowledges_at_once() {
    for (version, wire) in [(5, Version::V5), (3, Version::V3)] {
        let broker = Broker::start();
        let (_folder, path) = folder();
        let config = gateway(&broker.url(), &[ENTRY, &format!("broker.version = {version}")]);
        let taker = crate::scene::subscribed(&config);
        let launch = Gateway::command("record", &config).arg("--qos").arg("1");
        let mut recorder = launch.arg("--out").arg(&path).start();
        recorder.wait_for_line("listening", SOON);
        broker.publish_all((0..50).map(|n| message("a", format!("{n}"), 1)));
        eventually("all lines", SOON, || lines(&path).len() == 50);
        broker.wait_until("all acknowledged", SOON, |log| {
            log.of("gw-record-").any(|it| it.acks.len() == 50)
        });
        recorder.signal("INT");
        assert_eq!(recorder.wait_exit(SOON), 0, "{}", recorder.text());
        let log = broker.client("gw-record-");
        assert_eq!((log.connects.len(), log.connects[0].version), (1, wire));
        assert!(log.connects[0].connect.clean_start && !log.connected);
        let is_steady = broker.look(|log| log.of("gw-").all(|it| it.connects.len() == 1));
        assert!(is_steady, "{}", taker.text());
        assert_eq!(violations(&broker), [""; 0]);
    }
}

#[test]
fn a_playback_whose_connection_is_cut_loses_nothing_and_keeps_its_order() {
    for version in [5, 3] {
        let broker = Broker::start();
        let (_folder, path) = folder();
        let line = |n: u32| {
            let topic = format!("t/{}", n % 3);
            format!(
                "{}\n",
                json!({"receivedAt": "2026-11-22T07:30:50Z", "topic": topic, "payload": n.to_string()})
            )
        };
        fs::write(&path, (0..500).map(line).collect::<String>() + "half").unwrap();
        let version = format!("broker.version = {version}");
        let config = gateway(&broker.url(), &[ENTRY, &version]);
        let launch = Gateway::command("simulate", &config).arg("--recording").arg(&path);
        broker.drop_after("", Kind::Publish, 100);
        let mut player = launch.arg("--window").arg("16").start();
        assert_eq!(player.wait_exit(SOON), 0, "{}", player.text());
        let told = player.stdout();
        assert!(
            told.contains("500 of 500 messages") && told.contains("\n1 lines are no message"),
            "{told}"
        );
        let came = broker.look(|log| log.published.clone());
        let number = |it: &[u8]| std::str::from_utf8(it).unwrap().parse::<u32>().unwrap();
        let mut highest = None;
        for it in &came {
            let n = number(&it.payload);
            assert!(n <= highest.map_or(0, |it: u32| it + 1), "{n} after {highest:?}");
            assert!(it.topic == format!("t/{}", n % 3) && (it.dup || Some(n) > highest));
            highest = highest.max(Some(n));
        }
        assert_eq!(highest, Some(499));
        assert!(came.len() > 500, "something went again");
        assert_eq!(violations(&broker), [""; 0]);
    }
}

#[test]
fn arguments_that_contradict_each_other_are_refused() {
    let run = |arguments: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_sluicegate")).args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for (arguments, words) in [
        (&["simulate", "--recording", "f", "--rate", "1"][..], "--rate"),
        (&["simulate", "--speed", "2"], "--recording"),
        (&["simulate", "--recording", "f", "--speed=-1"], "--speed"),
        (&["record", "--out", "f", "--bytes-max", "1KiB"], "write 1MiB or more"),
        (&["record", "--out", "f", "--files", "1"], "--files"),
        (&["record", "--out", "f", "--for", "10"], "has no unit"),
        (&["record", "--out", "f", "--topic", "a/#/b"], "--topic"),
    ] {
        let (code, said) = run(arguments);
        assert!(code == Some(64) && said.contains(words), "{arguments:?}: {said}");
    }
    let folder = tempfile::tempdir().unwrap();
    let mut nothing =
        Gateway::command("record", &gateway("mqtt://127.0.0.1:1", &["sensors.x.simulated = {}"]))
            .arg("--out")
            .arg(folder.path().join("out"))
            .start();
    assert_eq!(nothing.wait_exit(SOON), 64);
    assert!(nothing.stderr().contains("name one with --topic"), "{}", nothing.stderr());
    assert!(!folder.path().join("out").exists());
}
