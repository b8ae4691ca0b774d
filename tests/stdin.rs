//! `[sensors.<name>.stdin]`: the lines of standard input as readings.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use crate::scene::{drained, ended};
use crate::support::SOON;
use crate::support::broker::Broker;
use crate::support::gateway::{Gateway, Launch};
use crate::support::{eventually, thread};

/// A gateway that takes standard input and appends batches to a file in `folder`.
fn to_file(folder: &Path) -> Launch {
    let path = folder.join("out").display().to_string();
    Gateway::with_config(&format!("[output.file]\npath = {path:?}\n[sensors.piped.stdin]\n"))
}

/// The records that came out.
fn records(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("out")).unwrap_or_default();
    let batches = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    batches.flat_map(|batch| batch["records"].as_array().unwrap().clone()).collect()
}

#[test]
fn what_is_piped_into_it_is_delivered_and_it_ends_with_the_input() {
    let folder = tempfile::tempdir().unwrap();
    let (input, mut end) = std::io::pipe().unwrap();
    let mut gateway = to_file(folder.path()).input(input).start();
    end.write_all(b"1\n2\n").unwrap();
    drop(end);
    let balance = ended(&mut gateway);
    assert_eq!((balance.received, balance.delivered), (2, 2), "{}", gateway.text());
    let records = records(folder.path());
    let seen: Vec<_> = records.iter().map(|it| (&it["sensorId"], &it["value"])).collect();
    let piped = Value::from("piped");
    assert_eq!(seen, [(&piped, &1.into()), (&piped, &2.into())]);
    gateway.wait_for_line("standard input has ended", SOON);
}

#[test]
fn a_file_is_read_as_a_pipe_is_and_rubbish_becomes_dead_letters() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in");
    let long = "x".repeat(70_000);
    fs::write(&path, format!("1\n\n{{\"value\":\n{long}\n{{\"value\":2,\"sensorId\":\"a\"}}\n3"))
        .unwrap();
    let mut gateway = to_file(folder.path()).input(File::open(&path).unwrap()).start();
    let balance = ended(&mut gateway);
    assert_eq!((balance.delivered, balance.dead_lettered), (3, 2), "{}", gateway.text());
    let values = records(folder.path()).into_iter().map(|it| it["value"].clone());
    assert_eq!(values.collect::<Vec<_>>(), [1, 2, 3]);
}

/// The output takes nothing: no more is read than the queue has places, and a pipe's buffer.
#[test]
fn who_writes_without_end_waits_at_the_pipe_while_the_queue_is_full() {
    let sink = Broker::start();
    sink.hold_acks("");
    let config = format!(
        "broker.url = {:?}\n[queue]\nrecords_max = 1000\n[sensors.piped.stdin]\n",
        sink.url()
    );
    let (input, mut end) = std::io::pipe().unwrap();
    let mut gateway = Gateway::with_config(&config).input(input).start();
    let lines = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&lines);
    let writer = thread("writer", move || {
        // Until nobody reads any more.
        while end.write_all(b"1\n").is_ok() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let written = || lines.load(Ordering::Relaxed);
    let mut before = 0;
    // The queue, the buffers of the program, and the system's of the pipe, of two bytes each.
    let most = 1000 + (16 << 10) / 2 + (64 << 10) / 2 + 2000;
    eventually("a writer that waits", SOON, || {
        let now = written();
        assert!(now <= most, "{now} lines were taken");
        std::mem::replace(&mut before, now) == now && now > 1000
    });
    sink.resume_acks("");
    eventually("more lines", SOON, || written() > 200_000);
    let peak = gateway.memory_peak();
    let balance = drained(&mut gateway);
    assert!(balance.closes() && balance.delivered > 150_000, "{balance:?}");
    assert!(peak < 64 << 20, "{peak} bytes");
    writer.join().unwrap();
}

#[test]
fn a_gateway_whose_input_is_silent_stops_when_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (input, mut end) = std::io::pipe().unwrap();
    let mut gateway = to_file(folder.path()).input(input).start();
    end.write_all(b"1\n").unwrap();
    eventually("the reading", SOON, || !records(folder.path()).is_empty());
    assert_eq!(drained(&mut gateway).delivered, 1);
}

#[test]
fn an_input_that_cannot_be_lines_is_refused_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let terminal = File::options().read(true).write(true).open("/dev/ptmx").unwrap();
    let directory = File::open(folder.path()).unwrap();
    for (input, said) in [
        (terminal, "sensors.piped: standard input is a terminal"),
        (directory, "sensors.piped: standard input cannot be read: Is a directory"),
    ] {
        let mut gateway = to_file(folder.path()).input(input).start();
        assert_eq!(gateway.wait_exit(SOON), 64, "{}", gateway.text());
        assert!(gateway.stderr().contains(said), "{}", gateway.stderr());
    }
}

#[test]
fn two_entries_for_standard_input_are_one_too_many() {
    let config = "[output.file]\npath = \"-\"\n[sensors.a.stdin]\n[sensors.b.stdin]\n";
    let mut gateway = Gateway::command("check", config).start();
    assert_eq!(gateway.wait_exit(SOON), 64);
    let said = "sensors.b.stdin: is read by sensors.a.stdin already: remove one of the two";
    assert!(gateway.stderr().contains(said), "{}", gateway.stderr());
}
