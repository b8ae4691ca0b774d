//! `sluicegate tail`: a line for each record and dead letter that a gateway delivers, whatever the format, and nothing that
//! a terminal obeys.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::floods::publish;
use crate::scene::{BATCHES, LETTERS, LONG, fleet, gateway, message, subscribed};
use crate::support::SOON;
use crate::support::broker::Broker;
use crate::support::eventually;
use crate::support::gateway::{Gateway, Launch};
use crate::support::mosquitto::{Mosquitto, STOCK};

const SENSOR: &str = "sensors.x.simulated = {}";

/// A batch with one record of each of these sensors, which have this value.
fn batch(id: &str, sensors: &[&str], value: &str) -> String {
    let record = |sensor: &&str| {
        format!(
            r#"{{"sensorId":"{sensor}","sequence":1,"value":{value},"timestamp":"2026-11-22T07:30:50.601Z","entry":"fleet","tags":{{"site":"{sensor}-site"}},"unit":"°C"}}"#
        )
    };
    let records = sensors.iter().map(record).collect::<Vec<_>>().join(",");
    format!(r#"{{"gateway":"g","batch":"{id}","count":1,"records":[{records}]}}"#)
}

fn letter(sensor: &str) -> String {
    format!(
        r#"{{"gateway":"g","reason":"malformed","detail":"no JSON","sensorId":"{sensor}","entry":"fleet","topic":"t","receivedAt":"2026-11-22T07:30:50.655Z","payload":"\u001b[31m{{"}}"#
    )
}

/// A tail of the broker at `url`, which listens.
#[track_caller]
fn tail(url: &str, args: &[&str]) -> Gateway {
    let launch = Gateway::command("tail", &gateway(url, &[SENSOR]));
    let tail = args.iter().fold(launch, Launch::arg).start();
    tail.wait_for_line("listening", SOON);
    tail
}

/// What it wrote until its end.
#[track_caller]
fn ended(tail: &mut Gateway, code: i32) -> String {
    assert_eq!(tail.wait_exit(LONG), code, "{}", tail.text());
    tail.stdout()
}

#[test]
fn each_format_and_compression_of_a_gateway_is_shown() {
    for lines in [
        &["output.compression = \"zstd\""][..],
        &["output.format = \"json_array\"", "broker.version = 3", "output.compression = \"gzip\""],
        &["output.format = \"ndjson\""],
        &["output.format = \"influx\""],
        &["output.format = \"cbor\"", "output.topic = \"x/{sensor}\""],
    ] {
        let broker = Mosquitto::start(STOCK);
        let config = fleet(&broker.url(), &[lines, &["batch.age_max = \"10ms\""]].concat());
        let arguments = |json: &[&str]| {
            let launch = Gateway::command("tail", &config).arg("--count").arg("3");
            let tail = json.iter().fold(launch, Launch::arg).start();
            tail.wait_for_line("listening", SOON);
            tail
        };
        let (mut tail, mut json) = (arguments(&[]), arguments(&["--json"]));
        let _gateway = subscribed(&config);
        for payload in [r#"{"value":21.5}"#, r#"{"value":"#, r#"{"value":22.5}"#] {
            let status = Command::new("mosquitto_pub")
                .args(["-p", &broker.port().to_string(), "-q", "1", "-t", "sensors/boiler/reading"])
                .args(["-m", payload])
                .status();
            assert!(status.unwrap().success());
        }
        let shown = ended(&mut tail, 0);
        let count = |text: &str| shown.lines().filter(|it| it.contains(text)).count();
        assert_eq!(count("fleet/boiler"), 3, "{lines:?}: {shown}");
        assert_eq!([count("21.5"), count("DEAD LETTER malformed: ")], [1, 1], "{lines:?}: {shown}");
        let shown = ended(&mut json, 0);
        let all: Vec<Value> = shown.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
        let letters: Vec<_> = all.iter().filter(|it| it["reason"] == "malformed").collect();
        assert_eq!(letters[0]["payload"], "{\"value\":", "{lines:?}");
        assert!(all.iter().all(|it| it["sensorId"] == "boiler") && all.len() == 3, "{shown}");
    }
}

#[test]
fn what_is_asked_for_is_shown_until_a_signal_and_no_terminal_obeys_it() {
    let broker = Broker::start();
    let url = broker.url();
    let mut all = tail(&url, &["--follow"]);
    let mut of_sensor = tail(&url, &["--sensor", "a", "--sensor", "c", "--count", "2"]);
    let mut of_tag = tail(&url, &["--entry", "fleet", "--tag", "site=b-site", "-f"]);
    let mut letters = tail(&url, &["--dead-letters", "--count", "1", "--json"]);
    let mut none = tail(&url, &["--entry", "other", "--for", "1s"]);
    let publish = |topic, text: String| broker.publish_all([message(topic, text, 1)]);
    publish(BATCHES, batch("g-1", &["a", "b"], "\"\\u001b[2J\u{202e}\""));
    publish(LETTERS, letter("c"));
    publish(BATCHES, "?\u{1b}[31m".into());
    let told = ended(&mut of_sensor, 0);
    assert!(told.contains("fleet/a ") && told.contains("fleet/c ") && told.lines().count() == 2);
    let told: Value = serde_json::from_str(&ended(&mut letters, 0)).unwrap();
    assert_eq!((&told["sensorId"], &told["payload"]), (&json!("c"), &json!("\u{1b}[31m{")));
    assert_eq!(ended(&mut none, 75), "", "nothing came that was asked for");
    all.wait_for_line("UNREADABLE no batch: ?\\u{1b}[31m", SOON);
    for it in [&all, &of_tag] {
        it.wait_for_line("fleet/b ", SOON);
        it.signal("INT");
    }
    let told = ended(&mut of_tag, 0);
    assert!(told.contains("°C  site=b-site") && told.lines().count() == 1, "{told}");
    let told = ended(&mut all, 0);
    let is_obeyed = |it: char| (it.is_control() && it != '\n') || it == '\u{202e}';
    assert!(told.lines().count() == 4 && !told.contains(is_obeyed), "{told:?}");
}

#[test]
fn a_connection_that_was_lost_is_told_and_a_refusal_ends_it() {
    let broker = Broker::start();
    let mut tail = tail(&broker.url(), &["--count", "1"]);
    broker.drop_connections("tail");
    tail.wait_for_line("listening again", SOON);
    broker.publish_all([message(BATCHES, batch("g-1", &["a"], "1"), 1)]);
    assert!(ended(&mut tail, 0).contains("fleet/a "));
    broker.refuse_subscribes("#", 0x87);
    broker.refuse_subscribes(BATCHES, 0x87);
    let mut refused = Gateway::command("tail", &gateway(&broker.url(), &[SENSOR])).start();
    assert_eq!(ended(&mut refused, 64), "");
    assert!(refused.stderr().contains(BATCHES), "{}", refused.stderr());
}

#[test]
fn a_reader_that_does_not_read_costs_no_memory_and_is_told_what_it_missed() {
    let broker = Broker::start();
    let launch = Gateway::command("tail", &gateway(&broker.url(), &[SENSOR]));
    let mut tail = launch.arg("--follow").arg("--json").start_unread_whole();
    broker.wait_until("its subscriptions", SOON, |log| log.subscribes("tail") >= 2);
    let before = tail.memory();
    let value = format!("\"{}\"", "x".repeat(100_000));
    let text = batch("g-1", &["a", "b", "c", "d"], &value);
    let packet = publish(BATCHES, 0, 0, false, text.as_bytes());
    let packet_bytes = packet.len();
    broker.flood("tail", packet);
    let flooded = || broker.look(|log| log.flooded("tail"));
    eventually("a flood of 100 MB is taken", LONG, || flooded() > 100_000_000);
    broker.end_flood("tail");
    tail.read_on();
    let told = || {
        let text = tail.text();
        let shown = text.lines().filter(|it| it.contains("\"sensorId\"")).count();
        let left_out = |it: &str| it.strip_prefix("{\"leftOut\":")?.strip_suffix('}')?.parse().ok();
        let left_out: Vec<usize> = text.lines().filter_map(left_out).collect();
        (shown, left_out.iter().sum::<usize>())
    };
    eventually("each is shown or said to be left out", LONG, || {
        told().0 + told().1 == flooded() / packet_bytes * 4
    });
    assert!(told().1 > 0, "a flood of 100 MB fits nowhere");
    let grown = tail.memory_peak().saturating_sub(before) >> 20;
    assert!(grown < 40, "{grown} MiB more: the flood has 100");
    tail.signal("TERM");
    assert_eq!(tail.wait_exit(SOON), 0);
}

/// Runs a line of a shell with the program as $0.
#[track_caller]
fn shell(line: &str, arguments: &[&str], folder: &Path) -> String {
    let mut command = Command::new("bash");
    command.args(["-c", line, env!("CARGO_BIN_EXE_sluicegate")]).args(arguments);
    let output = command.current_dir(folder).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_reader_that_has_what_it_wants_ends_it_though_nothing_more_comes() {
    let (broker, folder) = (Broker::start(), tempfile::tempdir().unwrap());
    fs::write(folder.path().join("t.toml"), gateway(&broker.url(), &[SENSOR])).unwrap();
    let line =
        "timeout 60 \"$0\" tail --config t.toml -f --dead-letters | head -1; echo ${PIPESTATUS[0]}";
    let shown = crate::support::thread("shell", {
        let path = folder.path().to_owned();
        move || shell(line, &[], &path)
    });
    broker.wait_until("its subscription", SOON, |log| log.subscribes("tail") >= 1);
    broker.publish_all([message(LETTERS, letter("a"), 1)]);
    let told = shown.join().unwrap();
    assert!(told.contains("fleet/a ") && told.ends_with("\n0\n"), "{told}");
}

#[test]
fn files_are_shown_from_their_end_and_a_pipe_that_ends_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let line = |n: usize| batch(&format!("g-{n}"), &[&format!("s{n}")], "1") + "\n";
    put("out.2", &(line(1) + &line(2)));
    put("out.1", &(line(3) + &line(4)));
    put("out", &(line(5) + "{\"batch\":\"half"));
    put("out.dead-letters", &(letter("dead") + "\n"));
    let shown = |count: &str| {
        let line = "\"$0\" tail --file out --count \"$1\"; echo $?";
        let text = shell(line, &[count], folder.path());
        let sensor = |it: &str| {
            it.split("fleet/").nth(1).and_then(|it| it.split_whitespace().next().map(str::to_owned))
        };
        assert!(text.ends_with("\n0\n"), "{text}");
        text.lines().filter_map(sensor).collect::<Vec<_>>()
    };
    assert_eq!(shown("1"), ["dead"]);
    assert_eq!(shown("3"), ["s4", "s5", "dead"]);
    assert_eq!(shown("100"), ["s1", "s2", "s3", "s4", "s5", "dead"]);
    let many: String = (0..20_000).map(line).collect();
    put("many", &many);
    let line = "\"$0\" tail --file many --count 20000 | head -1; echo ${PIPESTATUS[0]}";
    let told = shell(line, &[], folder.path());
    assert!(told.contains("fleet/s0 ") && told.ends_with("\n0\n"), "{told}");
    let line = "\"$0\" tail --file many --count 20000 | tail -1; echo ${PIPESTATUS[0]}";
    assert!(shell(line, &[], folder.path()).contains("fleet/s19999 "), "nothing is left out");
    let told = shell("\"$0\" tail --file none 2>&1; echo $?", &[], folder.path());
    assert!(told.contains("none: there is no file") && told.ends_with("64\n"), "{told}");
}

#[test]
fn what_is_written_to_a_file_is_followed_through_its_rotation() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    let append = |text: &str| {
        let file = OpenOptions::new().create(true).append(true).open(&path);
        file.unwrap().write_all(text.as_bytes()).unwrap();
    };
    let line = |n: usize| batch(&format!("g-{n}"), &[&format!("s{n}")], "1") + "\n";
    append(&line(1));
    let mut tail = Gateway::bare().arg("tail").arg("--follow").arg("--file").arg(&path).start();
    tail.wait_for_line("fleet/s1 ", SOON);
    let whole = line(2);
    let (half, rest) = whole.split_at(30);
    append(half);
    append(rest);
    tail.wait_for_line("fleet/s2 ", SOON);
    // Twice, before it looks again.
    append(&line(3));
    fs::rename(&path, folder.path().join("out.2")).unwrap();
    fs::write(folder.path().join("out.1"), line(4)).unwrap();
    append(&line(5));
    tail.wait_for_line("fleet/s5 ", SOON);
    tail.signal("TERM");
    let shown = ended(&mut tail, 0);
    assert_eq!(shown.lines().count(), 5, "{shown}");
    assert!(!shown.contains("UNREADABLE"));
}
