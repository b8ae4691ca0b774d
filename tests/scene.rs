//! What the tests of the promises have in common: configurations, readings, ends.
//!
//! A configuration is a list of lines with dotted keys, so each test names only what it is about.

use std::fs;
use std::panic::Location;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;

use crate::support::SOON;
use crate::support::broker::{Broker, Log, Message, Published};
use crate::support::client::{Audit, Counter, Verdict};
use crate::support::gateway::{Balance, Gateway};

/// Long enough for a load of 100,000 readings on a busy machine.
pub(crate) const LONG: Duration = Duration::from_mins(2);

/// The topic of the batches.
pub(crate) const BATCHES: &str = "gateway/batches";

/// The topic of the dead letters.
pub(crate) const LETTERS: &str = "gateway/dead-letters";

/// A gateway called "gw" that takes `sensors/<id>/reading` from the broker at `url`.
pub(crate) fn fleet(url: &str, more: &[&str]) -> String {
    let topic = "sensors.fleet.mqtt.topic = \"sensors/{sensor}/reading\"";
    gateway(url, &[&[topic], more].concat())
}

/// A gateway called "gw" at the broker at `url`.
pub(crate) fn gateway(url: &str, more: &[&str]) -> String {
    let own = ["gateway.id = \"gw\"".to_owned(), format!("broker.url = \"{url}\"")];
    own.iter()
        .map(String::as_str)
        .chain(more.iter().copied())
        .fold(String::new(), |text, line| text + line + "\n")
}

/// The line that sends the batches to a broker of their own.
pub(crate) fn output(url: &str) -> String {
    format!("output.broker.url = \"{url}\"")
}

/// Starts a gateway with this configuration and waits until it is subscribed.
#[track_caller]
pub(crate) fn subscribed(config: &str) -> Gateway {
    let gateway = Gateway::start(config);
    gateway.wait_for_line("subscribed", SOON);
    gateway
}

/// Stops the gateway with SIGTERM: it must have drained, with books that close.
#[track_caller]
pub(crate) fn drained(gateway: &mut Gateway) -> Balance {
    gateway.signal("TERM");
    ended(gateway)
}

/// Waits for the end of a gateway that drains: exit code 0, nothing held, books that close.
#[track_caller]
pub(crate) fn ended(gateway: &mut Gateway) -> Balance {
    let (code, balance) = gateway.wait_balance(SOON * 2);
    let text = gateway.text();
    assert!(code == 0 && balance.held == 0 && balance.closes(), "{code}, {balance:?}:\n{text}");
    balance
}

/// Readings `numbers` of `sensors` sensors, in turn, as the load publisher makes them.
pub(crate) fn readings(
    sensors: usize,
    numbers: std::ops::RangeInclusive<u64>,
    qos: u8,
) -> Vec<Message> {
    let of = move |n| (0..sensors).map(move |index| reading(&format!("s{index:05}"), n, qos));
    numbers.flat_map(of).collect()
}

/// One reading.
pub(crate) fn reading(sensor: &str, n: u64, qos: u8) -> Message {
    let payload = Bytes::from(format!(r#"{{"value":{n},"n":{n}}}"#));
    message(&format!("sensors/{sensor}/reading"), payload, qos)
}

/// Any message.
pub(crate) fn message(topic: &str, payload: impl Into<Bytes>, qos: u8) -> Message {
    let payload = payload.into();
    Message { topic: topic.to_owned(), payload, qos, retain: false, properties: None }
}

/// An audit of the batches that a scripted broker was sent.
pub(crate) fn audit(output: &Broker) -> Audit {
    let payloads = output.published(BATCHES).into_iter().map(|batch| batch.payload);
    Audit::of(Counter::Member("n"), payloads)
}

/// Waits until a scripted broker was sent so many different readings.
#[track_caller]
pub(crate) fn wait_readings(output: &Broker, count: u64, deadline: Duration) {
    let mut audit = Audit::new(Counter::Member("n"));
    let mut seen = 0;
    output.wait_until(&format!("{count} readings"), deadline, |log| {
        for published in log.published.iter().skip(seen) {
            if published.topic == BATCHES {
                audit.add(&published.payload);
            }
        }
        seen = log.published.len();
        audit.distinct() >= count
    });
}

/// What the clients of a scripted broker did against the protocol.
pub(crate) fn violations(broker: &Broker) -> Vec<String> {
    broker.look(Log::violations)
}

/// The dead letters that a scripted broker was sent, each by itself.
pub(crate) fn letters(log: &Log) -> Vec<serde_json::Value> {
    let messages = log.published.iter().filter(|it| it.topic == LETTERS).map(Published::json);
    messages
        .flat_map(|message| match message {
            serde_json::Value::Array(letters) => letters,
            letter => vec![letter],
        })
        .collect()
}

/// The records of a batch.
pub(crate) fn records(batch: &Published) -> Vec<serde_json::Value> {
    batch.json()["records"].as_array().unwrap().clone()
}

/// Ends a gateway that went through a fault, and puts what became of the readings into the table that
/// `tests/run` prints: lost, out of order, repeated (after repeated batches were set aside by their ids)
/// and how many may be, the peak of memory, and the test's file. Fails where it is not as promised: also where the books
/// do not close, memory was out of the printed bound, or the log cannot be read.
#[track_caller]
pub(crate) fn fault(
    name: &str,
    repeats_max: u64,
    gateway: &mut Gateway,
    verdict: impl FnOnce() -> Verdict,
) -> Balance {
    let (peak, bound) = (gateway.memory_peak(), printed_bound(gateway));
    let balance = drained(gateway);
    let Verdict { lost, reordered, duplicated, strange, .. } = verdict();
    let mebibytes = peak >> 20;
    let row = format!(
        "| {name} | {lost} | {reordered} | {duplicated} | {repeats_max} | {mebibytes} | {} |",
        shown_by(Location::caller().file())
    );
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("faults");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(name.replace([' ', '/', ','], "-")), format!("{row}\n")).unwrap();
    report(&row);
    assert_eq!((lost, reordered, strange), (0, 0, 0), "{name}");
    assert!(duplicated <= repeats_max, "{name}: {duplicated} repeated, {repeats_max} may be");
    assert!(peak < bound, "{name}: {peak} bytes, the bound is {bound}");
    assert_readable(&gateway.stderr());
    balance
}

/// A test's file, as the page with the table links it.
fn shown_by(file: &str) -> String {
    format!("[{}](../{file})", file.trim_start_matches("tests/"))
}

/// The bound on memory that the gateway printed, in bytes.
#[track_caller]
pub(crate) fn printed_bound(gateway: &Gateway) -> u64 {
    let line = gateway.wait_for_line("memory_bound", SOON);
    let (_, bound) = line.split_once("memory_bound=\"").unwrap();
    let (mebibytes, _) = bound.split_once('.').unwrap();
    mebibytes.parse::<u64>().unwrap() << 20
}

/// Warnings and errors of one run, whatever happens to it for some minutes.
const ALARMS_MAX: usize = 100;

/// Bytes of a line.
const LINE_MAX: usize = 500;

/// What only a programmer understands.
const JARGON: [&str; 9] =
    ["panicked", "Some(", "None", "Ok(", "Err(", "Os {", "Custom {", "kind: ", "\\u{"];

/// Fails unless a log is one that somebody can read who was woken for it: a date, a level and a sentence
/// in each line, not too many of them, and nothing of the program's insides.
#[track_caller]
pub(crate) fn assert_readable(log: &str) {
    let mut alarms = 0;
    for line in log.lines() {
        let mut words = line.split_whitespace();
        let date = words.next().is_some_and(|it| humantime::parse_rfc3339(it).is_ok());
        let level = words.next().unwrap_or_default();
        alarms += usize::from(level != "INFO");
        let level = ["INFO", "WARN", "ERROR"].contains(&level);
        assert!(date && level && words.count() > 1 && line.len() <= LINE_MAX, "{line}");
        let jargon = JARGON.iter().find(|it| line.contains(*it));
        assert!(jargon.is_none() && !line.chars().any(char::is_control), "{jargon:?}: {line}");
    }
    assert!(alarms <= ALARMS_MAX, "{alarms} warnings and errors:\n{log}");
}

/// Prints a figure beside a test's result (`cargo test -- --nocapture`).
#[expect(clippy::print_stdout, reason = "shown by the test harness")]
pub(crate) fn report(text: &str) {
    println!("{text}");
}

/// The mean of the sizes of batches.
#[expect(clippy::cast_precision_loss, reason = "batches are small and not that many")]
pub(crate) fn mean(sizes: &[usize]) -> f64 {
    sizes.iter().sum::<usize>() as f64 / sizes.len().max(1) as f64
}
