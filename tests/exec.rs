//! `[sensors.<name>.exec]`: the lines of a command as readings.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::scene::{drained, ended};
use crate::support::SOON;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::http::Http;

/// A gateway that takes the lines of this shell script and appends batches to a file in `folder`.
fn gateway_of(folder: &Path, script: &str, more: &str) -> String {
    let path = folder.join("out").display().to_string();
    format!(
        "gateway.id = \"gw\"\n[output.file]\npath = {path:?}\n[batch]\nage_max = \"20ms\"\n\
         [sensors.meter.exec]\ncommand = [\"sh\", \"-c\", {script:?}]\n{more}\n"
    )
}

/// The records in whole lines: the last one may be on its way.
fn records(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("out")).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let batches = whole.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    batches.flat_map(|batch| batch["records"].as_array().unwrap().clone()).collect()
}

#[test]
fn each_line_is_a_reading_and_rubbish_a_dead_letter() {
    let folder = tempfile::tempdir().unwrap();
    let script = "echo 1; echo; echo '{\"value\":2,\"sensorId\":\"pump\"}'; echo '{\"value\":'; \
                  head -c 70000 /dev/zero | tr '\\0' x; echo; printf 3";
    let config = gateway_of(folder.path(), script, "restart = \"on_failure\"");
    let mut gateway = Gateway::start(&config);
    let balance = ended(&mut gateway);
    assert_eq!((balance.delivered, balance.dead_lettered), (3, 2), "{}", gateway.text());
    let records = records(folder.path());
    let seen: Vec<_> = records.iter().map(|it| (&it["sensorId"], &it["value"])).collect();
    let (meter, pump) = (Value::from("meter"), Value::from("pump"));
    assert_eq!(seen, [(&meter, &1.into()), (&pump, &2.into()), (&meter, &3.into())]);
    let letters = fs::read_to_string(folder.path().join("out.dead-letters")).unwrap();
    assert!(letters.contains("malformed") && letters.contains("70000 bytes"), "{letters}");
}

#[test]
fn a_line_says_whose_it_is_as_the_entry_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let script = "echo '{\"model\":\"Nexus\",\"id\":90,\"t\":21.7}'; echo '{\"t\":1}'";
    let more = "restart = \"on_failure\"\nvalue = \"/t\"\nsensor = [\"{/model}-{/id}\", \"radio-{entry}\"]\ntags = { site = \"north\" }";
    let mut gateway = Gateway::start(&gateway_of(folder.path(), script, more));
    assert_eq!(ended(&mut gateway).delivered, 2, "{}", gateway.text());
    let told = records(folder.path());
    let ids: Vec<&Value> = told.iter().map(|it| &it["sensorId"]).collect();
    assert_eq!(ids, ["Nexus-90", "radio-meter"]);
    assert!(told.iter().all(|it| it["tags"]["site"] == "north"), "{told:?}");
}

#[test]
fn a_command_that_ends_is_started_again_and_what_it_complains_of_is_logged() {
    let folder = tempfile::tempdir().unwrap();
    let config = gateway_of(folder.path(), "echo 1; echo 'no antenna' >&2; exit 3", "");
    let mut gateway = Gateway::start(&config);
    eventually("three starts", SOON, || records(folder.path()).len() >= 3);
    gateway.wait_for_line("standard error: no antenna", SOON);
    gateway.wait_for_line("sh ended (exit status: 3); it is started again", SOON);
    assert_eq!(gateway.count("it is started again"), 1, "the same is not said each time");
    drained(&mut gateway);
    let config = gateway_of_nothing();
    let mut gateway = Gateway::start(&config);
    gateway.wait_for_line("/none/program cannot be started", SOON);
    drained(&mut gateway);
}

#[test]
fn a_command_that_was_never_there_ends_the_gateway_after_its_start_grace() {
    let launch = Gateway::with_config(&gateway_of_nothing());
    let mut gateway = launch.env("SLUICEGATE__GATEWAY__START_GRACE", "0s").start();
    assert_eq!(gateway.wait_exit(SOON), 77, "{}", gateway.text());
    let said = "sensors.meter: /none/program cannot be started: No such file or directory";
    assert!(gateway.stderr().contains(said), "{}", gateway.stderr());
}

fn gateway_of_nothing() -> String {
    "[output.file]\npath = \"-\"\n[sensors.meter.exec]\ncommand = [\"/none/program\"]\n".to_owned()
}

#[test]
fn what_a_command_has_started_ends_with_the_gateway() {
    let folder = tempfile::tempdir().unwrap();
    let script =
        "trap '' TERM; sh -c 'echo $$; exec sleep 1000' & echo $$; while :; do sleep 0.1; done";
    let config = gateway_of(folder.path(), script, "");
    let mut gateway = Gateway::start(&config);
    eventually("both ids", SOON, || records(folder.path()).len() == 2);
    drained(&mut gateway);
    all_gone(folder.path());
    // It leaves one behind that holds none of its pipes.
    let folder = tempfile::tempdir().unwrap();
    let script = "sleep 1000 > /dev/null 2>&1 & echo $!";
    let mut gateway =
        Gateway::start(&gateway_of(folder.path(), script, "restart = \"on_failure\""));
    ended(&mut gateway);
    all_gone(folder.path());
}

/// The processes whose ids are the values.
fn all_gone(folder: &Path) {
    let records = records(folder);
    assert!(!records.is_empty());
    for record in records {
        let process = format!("/proc/{}/stat", record["value"]);
        let gone = || fs::read_to_string(&process).map_or(true, |stat| stat.contains(") Z "));
        eventually("the end of the process", SOON, gone);
    }
}

#[test]
fn a_command_that_writes_without_end_waits_for_room() {
    let folder = tempfile::tempdir().unwrap();
    let config = gateway_of(folder.path(), "yes 1", "[queue]\nrecords_max = 1000");
    let mut gateway = Gateway::start(&config);
    eventually("some batches", SOON, || records(folder.path()).len() >= 20_000);
    let peak = gateway.memory_peak();
    let balance = drained(&mut gateway);
    assert_eq!(records(folder.path()).len() as u64, balance.delivered);
    assert!(peak < 64 << 20, "{peak} bytes");
}

#[test]
fn lines_without_end_on_standard_error_are_few_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let config =
        gateway_of(folder.path(), "n=0; while :; do n=$((n+1)); echo $n >&2; echo $n; done", "");
    let mut gateway = Gateway::start(&config);
    eventually("some batches", SOON, || records(folder.path()).len() >= 5000);
    drained(&mut gateway);
    let said = gateway.count("standard error: ");
    assert!((1..=3).contains(&said), "{said} lines:\n{}", gateway.text());
}

/// The books close where nobody takes what was read.
#[test]
fn what_was_read_and_not_taken_is_held_at_an_abort() {
    let config = "gateway.id = \"gw\"\ngateway.shutdown_grace = \"1s\"\nbroker.url = \"mqtt://127.0.0.1:1\"\n\
                  [queue]\nrecords_max = 500\n[sensors.meter.exec]\ncommand = [\"yes\", \"1\"]\n";
    let launch = Gateway::with_config(config).env("SLUICEGATE__HTTP__LISTEN", "127.0.0.1:0");
    let mut gateway = launch.start();
    let http = Http::of(&gateway);
    // It waits for room for a quarter of the queue.
    let held = || http.metric("sluicegate_readings_held").unwrap();
    eventually("a full queue", SOON, || held() > 375.0);
    let received = http.metric("sluicegate_readings_received_total");
    assert_eq!(received, Some(held()), "the books close");
    let status = http.json("/api/status")["balance"]["held"].as_u64();
    gateway.signal("TERM");
    let (code, balance) = gateway.wait_balance(SOON);
    assert_eq!((code, balance.delivered), (75, 0), "{}", gateway.text());
    let waited = Some(balance.held) > status;
    assert!(waited && balance.closes(), "{balance:?}");
}

#[test]
fn a_command_without_a_program_is_refused() {
    let config = "[output.file]\npath = \"-\"\n[sensors.meter.exec]\ncommand = []\n";
    let mut gateway = Gateway::command("check", config).start();
    assert_eq!(gateway.wait_exit(SOON), 64);
    let said = "sensors.meter.exec.command: is empty: write the program and its arguments";
    assert!(gateway.stderr().contains(said), "{}", gateway.stderr());
}
