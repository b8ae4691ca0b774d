//! `[output.file]`: batches and dead letters as lines of files, answered when they are on the disk.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::scene::{drained, ended, fleet, message, readings, subscribed};
use crate::support::SOON;
use crate::support::broker::Broker;
use crate::support::client::{Audit, Counter};
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::http::Http;

fn to_file(path: &Path) -> String {
    format!("output.file.path = \"{}\"", path.display())
}

/// The batches in the whole lines of a file. A kill may have torn the last one.
fn audit(path: &Path) -> Audit {
    let text = fs::read_to_string(path).unwrap();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    Audit::of(Counter::Member("n"), whole.lines())
}

#[test]
fn what_was_acknowledged_is_in_the_file_after_a_kill_and_dead_letters_are_in_theirs() {
    let (input, folder) = (Broker::start(), tempfile::tempdir().unwrap());
    let path = folder.path().join("batches");
    let config = fleet(&input.url(), &[&to_file(&path), "batch.records_max = 7"]);
    let gateway = subscribed(&config);
    input.publish_all(readings(10, 1..=30, 1));
    input.publish_all([message("sensors/bad/reading", "{\"value\":", 1)]);
    input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") >= 100);
    gateway.signal("KILL");
    let acknowledged = input.look(|log| log.acks("gw-in")) as u64;
    assert!(
        audit(&path).distinct() >= acknowledged.min(300),
        "on the disk before they are acknowledged"
    );
    let mut gateway = subscribed(&config);
    input.publish_all(readings(10, 31..=40, 1));
    input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") >= 401);
    drained(&mut gateway);
    assert!(!gateway.said("cannot be written"), "{}", gateway.text());
    let audit = audit(&path);
    let verdict = audit.judge_load(10, 40);
    assert_eq!((verdict.lost, verdict.reordered), (0, 0), "{}", audit.faults(40));
    let letters = fs::read_to_string(folder.path().join("batches.dead-letters")).unwrap();
    let letter: Value = serde_json::from_str(letters.lines().next().unwrap()).unwrap();
    assert_eq!((&letter["reason"], &letter["sensorId"]), (&"malformed".into(), &"bad".into()));
}

#[test]
fn what_cannot_be_written_is_held_and_health_says_why() {
    let (input, folder) = (Broker::start(), tempfile::tempdir().unwrap());
    let (there, away) = (folder.path().join("there"), folder.path().join("away"));
    fs::create_dir(&there).unwrap();
    let path = there.join("batches");
    let mut gateway = {
        let config = fleet(&input.url(), &[&to_file(&path)]);
        Gateway::with_config(&config).env("SLUICEGATE__HTTP__LISTEN", "127.0.0.1:0").start()
    };
    gateway.wait_for_line("subscribed", SOON);
    let http = Http::of(&gateway);
    http.wait_health("ready", SOON);
    input.publish_all(readings(10, 1..=1, 1));
    input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 10);
    fs::rename(&there, &away).unwrap();
    input.publish_all(readings(10, 2..=2, 1));
    let why = http.wait_health("degraded", SOON);
    assert!(why.contains(&path.display().to_string()), "{why}");
    assert_eq!(
        input.look(|log| log.acks("gw-in")),
        10,
        "nothing that is not on the disk is acknowledged"
    );
    fs::rename(&away, &there).unwrap();
    input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 20);
    assert_eq!(drained(&mut gateway).delivered, 20);
    assert_eq!(audit(&path).distinct(), 20);
}

/// A limit of the file's size does what a full disk does: it takes a part of a line.
#[test]
fn a_disk_that_is_full_leaves_whole_lines_and_nothing_is_lost() {
    let (input, folder) = (Broker::start(), tempfile::tempdir().unwrap());
    let path = folder.path().join("batches");
    let config = fleet(&input.url(), &[&to_file(&path), "batch.records_max = 7"]);
    let mut gateway = Gateway::with_file_limit(&config, 20).start();
    gateway.wait_for_line("subscribed", SOON);
    input.publish_all(readings(10, 1..=40, 1));
    gateway.wait_for_line("the output cannot be written", SOON);
    gateway.lift_file_limit();
    input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 400);
    assert_eq!(drained(&mut gateway).delivered, 400);
    let audit = audit(&path);
    let verdict = audit.judge_load(10, 40);
    assert_eq!((verdict.lost, verdict.reordered, audit.unreadable), (0, 0, 0));
}

#[test]
fn a_file_that_is_renamed_is_made_anew_and_a_large_one_is_rotated() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("batches");
    let config = format!(
        "gateway.id = \"gw\"\nsensors.T.simulated = {{ interval = \"10ms\", readings = 400 }}\n\
         batch.records_max = 5\noutput.format = \"ndjson\"\n{}\n\
         output.file.rotate_bytes = \"4KiB\"\noutput.file.files_max = 1000\n",
        to_file(&path)
    );
    let mut gateway = Gateway::start(&config);
    eventually("a rotated file", SOON, || folder.path().join("batches.1").exists());
    let moved = folder.path().join("moved");
    eventually("a file to move", SOON, || fs::rename(&path, &moved).is_ok());
    assert_eq!(ended(&mut gateway).delivered, 400);
    let mut values = Vec::new();
    for entry in fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        assert!(fs::metadata(&path).unwrap().len() < 8192, "{}", path.display());
        let text = fs::read_to_string(&path).unwrap();
        let number = |line: &str| {
            let record: Value = serde_json::from_str(line).unwrap();
            record["sequence"].as_u64().unwrap()
        };
        values.extend(text.lines().map(number));
    }
    values.sort_unstable();
    assert_eq!(values, (1..=400).collect::<Vec<u64>>());
}

#[test]
fn standard_output_is_the_readers_and_the_balance_goes_to_standard_error() {
    let config = "gateway.id = \"gw\"\nsensors.T.simulated = { interval = \"1ms\", readings = 20 }\n\
                  output.file.path = \"-\"\n";
    let mut gateway = Gateway::start(config);
    assert_eq!(gateway.wait_exit(SOON), 0, "{}", gateway.text());
    let audit = Audit::of(Counter::Sequence, gateway.stdout().lines());
    assert_eq!((audit.distinct(), audit.unreadable), (20, 0), "{}", gateway.stdout());
    let balance = "received 20 = delivered 20 + dead-lettered 0 + shed 0 + held 0";
    assert!(gateway.stderr().contains(balance), "{}", gateway.stderr());
}

#[test]
fn what_is_set_wrongly_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none/batches");
    let config = format!("sensors.T.simulated.interval = \"1s\"\n{}\n", to_file(&path));
    let mut gateway = Gateway::command("check", &config).start();
    assert_eq!(gateway.wait_exit(SOON), 64);
    assert!(gateway.stderr().contains("there is no such folder: make it"), "{}", gateway.stderr());
    let one =
        format!("{}\noutput.file.dead_letter_path = \"/tmp/x\"", "output.file.path = \"/tmp/x\"");
    let config = format!("sensors.T.simulated.interval = \"1s\"\noutput.qos = 0\n{one}\n");
    let mut gateway = Gateway::command("check", &config).start();
    assert_eq!(gateway.wait_exit(SOON), 64);
    assert!(gateway.stderr().contains("is the same as output.file.path"), "{}", gateway.stderr());
    let config =
        "sensors.T.simulated.interval = \"1s\"\noutput.qos = 0\noutput.file.path = \"-\"\n";
    let mut gateway = Gateway::command("check", config).start();
    assert_eq!(gateway.wait_exit(SOON), 0, "{}", gateway.text());
    let said = "output.qos: has no effect beside [output.file]";
    assert!(gateway.stdout().contains(said), "{}", gateway.stdout());
    for (command, said) in [
        ("doctor", "no broker is used"),
        ("verify", "cannot be read again: name a file with --file"),
    ] {
        let mut gateway = Gateway::command(command, config).start();
        assert_eq!(gateway.wait_exit(SOON), 64, "{}", gateway.text());
        assert!(gateway.stderr().contains(said), "{}", gateway.stderr());
    }
}

#[test]
fn a_file_that_could_never_be_opened_ends_the_gateway_after_its_start_grace() {
    let folder = tempfile::tempdir().unwrap();
    let config = format!("sensors.T.simulated.interval = \"1s\"\n{}\n", to_file(folder.path()));
    let launch = Gateway::with_config(&config);
    let mut gateway = launch.env("SLUICEGATE__GATEWAY__START_GRACE", "0s").start();
    assert_eq!(gateway.wait_exit(SOON), 77, "{}", gateway.text());
    for said in ["the output cannot be opened: ", "is no plain file"] {
        assert!(gateway.stderr().contains(said), "{}", gateway.stderr());
    }
}
