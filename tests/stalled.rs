//! A reader that reads nothing stops nothing: a pager that waits, a full pipe to a log collector, a broker
//! that asks and takes no answer.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use crate::scene::{drained, fleet, output, readings, wait_readings};
use crate::support::SOON;
use crate::support::broker::Broker;
use crate::support::gateway::{Gateway, Launch};

/// Many times what a pipe and the log's own buffers hold, at a line for each.
const READINGS: u64 = 10_000;

/// A gateway that logs a line for each reading.
fn talkative(input: &Broker, sink: &Broker, format: &str) -> Launch {
    let output = output(&sink.url());
    let format = format!("log.format = \"{format}\"");
    let more = [&output, "log.level = \"debug\"", &format, "batch.records_max = 1"];
    Gateway::with_config(&fleet(&input.url(), &more))
}

/// All readings go through it, whoever reads its log.
fn through(input: &Broker, sink: &Broker) {
    input.wait_until("a subscription", SOON, |log| log.subscribes("gw-in") > 0);
    input.publish_all(readings(10, 1..=READINGS / 10, 1));
    wait_readings(sink, READINGS, SOON * 2);
}

#[test]
fn readings_are_delivered_and_a_signal_drains_while_nobody_reads_the_log() {
    let (input, sink) = (Broker::start(), Broker::start());
    let mut gateway = talkative(&input, &sink, "text").start_unread();
    through(&input, &sink);
    assert_eq!(drained(&mut gateway).delivered, READINGS);
}

/// The balance has nowhere to go; the exit code says the same.
#[test]
fn nor_does_it_stay_when_nobody_reads_its_balance() {
    let (input, sink) = (Broker::start(), Broker::start());
    let mut gateway = talkative(&input, &sink, "text").start_unread_whole();
    through(&input, &sink);
    gateway.signal("TERM");
    assert_eq!(gateway.wait_exit(SOON), 0);
}

#[test]
fn lines_that_were_dropped_are_counted_where_they_are_missing() {
    for format in ["text", "json"] {
        let (input, sink) = (Broker::start(), Broker::start());
        let mut gateway = talkative(&input, &sink, format).start_unread();
        through(&input, &sink);
        gateway.read_on();
        let line = gateway.wait_for_line("log lines were dropped", SOON);
        assert_eq!(drained(&mut gateway).delivered, READINGS);
        let dropped: u64 = match serde_json::from_str::<serde_json::Value>(&line) {
            Ok(json) => json["dropped"].as_u64().unwrap(),
            Err(_) => line.split(' ').find_map(|word| word.parse().ok()).unwrap(),
        };
        let sealed = gateway.count("sealed") as u64;
        let all = READINGS..READINGS + 100;
        assert!(all.contains(&(sealed + dropped)), "{sealed} + {dropped}: {line}");
        assert!(gateway.said("draining"), "what comes after is logged");
        if format == "json" {
            let text = gateway.stderr();
            let parsed = text.lines().map(serde_json::from_str::<serde_json::Value>);
            assert!(parsed.into_iter().all(|line| line.is_ok()), "{text}");
        }
    }
}

#[test]
fn who_reads_gets_every_line_to_the_last() {
    let (input, sink) = (Broker::start(), Broker::start());
    let mut gateway = talkative(&input, &sink, "text").start();
    gateway.wait_for_line("subscribed", SOON);
    // Few enough at a time that a slow reader keeps up.
    for from in 0..10 {
        input.publish_all(readings(1, from * 50 + 1..=from * 50 + 50, 1));
        wait_readings(&sink, from * 50 + 50, SOON);
    }
    assert_eq!(drained(&mut gateway).delivered, 500);
    assert_eq!(gateway.count("sealed"), 500);
    assert!(!gateway.said("dropped"), "{}", gateway.stderr());
}

/// Bytes of PUBRELs that a broken broker sends; each is answered with as many.
const ASKED_BYTES: usize = 128 << 20;

/// More than the sockets between the two hold, and far less than all of it.
const TAKEN_BYTES_MAX: usize = ASKED_BYTES / 2;

/// It sends PUBREL after PUBREL, and reads none of the answers.
#[test]
fn a_broker_that_takes_no_answers_is_not_read_from_and_takes_no_memory() {
    let (listener, sink) = (TcpListener::bind(("127.0.0.1", 0)).unwrap(), Broker::start());
    let url = format!("mqtt://{}", listener.local_addr().unwrap());
    let more = [&output(&sink.url()), "broker.watch = false", "broker.keep_alive = \"60s\""];
    let gateway = Gateway::start(&fleet(&url, &more));
    let (mut broker, _) = listener.accept().unwrap();
    broker.set_write_timeout(Some(Duration::from_secs(3))).unwrap();
    let mut heard = [0; 4096];
    assert!(broker.read(&mut heard).unwrap() > 0, "CONNECT");
    broker.write_all(&[0x20, 3, 0, 0, 0]).unwrap();
    assert!(broker.read(&mut heard).unwrap() > 0, "SUBSCRIBE");
    broker.write_all(&[0x90, 4, 0, 1, 0, 1]).unwrap();
    gateway.wait_for_line("subscribed", SOON);
    let asked = [0x62, 2, 0, 7].repeat(16 * 1024);
    let mut taken = 0;
    while taken < ASKED_BYTES {
        if let Err(error) = broker.write_all(&asked) {
            assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
            break;
        }
        taken += asked.len();
    }
    assert!(taken < TAKEN_BYTES_MAX, "{taken} bytes were taken");
    let peak = gateway.memory_peak();
    assert!(peak < 64 << 20, "{peak} bytes");
}
