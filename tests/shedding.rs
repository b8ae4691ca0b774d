//! What happens to QoS 0 readings when the output stands still and the queue is full: each policy
//! loses what it says, counts it, and loses nothing else.

use crate::scene::{BATCHES, audit, drained, fleet, output, reading, readings, report, subscribed};
use crate::support::SOON;
use crate::support::broker::Broker;
use crate::support::client::Audit;
use crate::support::gateway::{Balance, Gateway};
use crate::support::http::Http;

const SENSORS: usize = 10;
const READINGS: u64 = 500;
const TOTAL: u64 = SENSORS as u64 * READINGS;
const PLACES: u64 = 200;

/// Sends 5000 readings into a queue of 200 places while the output stands still, and one at QoS 1
/// behind them; then lets the output go on until the last has come.
fn stopped_output(version: u8, policy: &str) -> (Audit, Balance) {
    let (input, sink) = (Broker::start(), Broker::start());
    sink.hold_acks("");
    let sheds = policy != "wait";
    let counted = format!("sluicegate_readings_shed_total{{policy=\"{policy}\"}}");
    let (policy, version) =
        (format!("queue.on_full = \"{policy}\""), format!("broker.version = {version}"));
    let (places, output) = (format!("queue.records_max = {PLACES}"), output(&sink.url()));
    let small = ["batch.records_max = 50", "output.window_batches = 2"];
    let more = [&[policy.as_str(), &version, &places, &output], &small[..]].concat();
    let launch = Gateway::with_config(&fleet(&input.url(), &more));
    let mut gateway = launch.env("SLUICEGATE__HTTP__LISTEN", "127.0.0.1:0").start();
    gateway.wait_for_line("subscribed", SOON);
    input.publish_all(readings(SENSORS, 1..=READINGS, 0));
    sink.wait_until("the window is full", SOON, |log| log.held_acks("gw-out") == 2);
    if sheds {
        gateway.wait_for_line(&format!("readings shed on purpose by {policy}"), SOON);
    }
    input.publish_all([reading("marker", 1, 1)]);
    sink.resume_acks("");
    sink.wait_until("the marker", SOON, |log| {
        log.on(BATCHES).any(|batch| String::from_utf8_lossy(&batch.payload).contains("\"marker\""))
    });
    input.wait_until("its acknowledgement", SOON, |log| log.acks("gw-in") == 1);
    let shed = Http::of(&gateway).metric(&counted);
    let balance = drained(&mut gateway);
    assert_eq!(shed, sheds.then(|| u32::try_from(balance.shed).unwrap().into()), "{counted}");
    assert!(balance.closes() && balance.received == TOTAL + 1, "{balance:?}");
    let audit = audit(&sink);
    report(&format!("{policy}, {version}: {balance:?}"));
    assert_eq!(audit.records(), balance.delivered);
    let reordered: u64 = audit.sensors.values().map(|sensor| sensor.reordered).sum();
    let duplicated: u64 =
        audit.sensors.values().map(|sensor| sensor.records_before - sensor.distinct()).sum();
    assert_eq!((reordered, duplicated, audit.unnumbered), (0, 0, 0));
    assert_eq!(balance.shed > 0, sheds, "{balance:?}");
    (audit, balance)
}

/// Whether reading `n` of every sensor came out.
fn every_sensor_has(audit: &Audit, n: u64) -> bool {
    (0..SENSORS).all(|index| {
        let sensor = audit.sensors.get(&format!("s{index:05}"));
        sensor.is_some_and(|sensor| !sensor.lost(READINGS).contains(&n))
    })
}

#[test]
fn the_policy_wait_loses_nothing_and_stops_reading() {
    for version in [3, 5] {
        let (audit, balance) = stopped_output(version, "wait");
        assert_eq!((balance.delivered, balance.shed), (TOTAL + 1, 0));
        assert_eq!(audit.judge_load(SENSORS, READINGS).lost, 0);
    }
}

#[test]
fn the_policy_shed_newest_keeps_what_came_first() {
    for version in [3, 5] {
        let (audit, _) = stopped_output(version, "shed_newest");
        assert!(every_sensor_has(&audit, 1) && every_sensor_has(&audit, PLACES / SENSORS as u64));
    }
}

#[test]
fn the_policy_shed_oldest_keeps_what_came_last() {
    for version in [3, 5] {
        let (audit, _) = stopped_output(version, "shed_oldest");
        let kept = (READINGS - 2..=READINGS).all(|n| every_sensor_has(&audit, n));
        assert!(kept, "{}", audit.faults(READINGS));
    }
}

#[test]
fn the_policy_keep_latest_keeps_the_last_reading_of_every_sensor() {
    for version in [3, 5] {
        let (audit, _) = stopped_output(version, "keep_latest");
        assert!(every_sensor_has(&audit, READINGS), "{}", audit.faults(READINGS));
    }
}

#[test]
fn qos_1_readings_are_never_shed() {
    let (input, sink) = (Broker::start(), Broker::start());
    sink.hold_acks("");
    let output = output(&sink.url());
    let more = ["queue.on_full = \"shed_oldest\"", "queue.records_max = 100", &output];
    let small = ["batch.records_max = 20", "output.window_batches = 2"];
    let mut gateway = subscribed(&fleet(&input.url(), &[&more[..], &small].concat()));
    // In turn, so that the QoS 0 readings around them are shed.
    for n in 1..=300 {
        input.publish_all(readings(2, n..=n, 1));
        input.publish_all([reading("lossy", n, 0)]);
    }
    sink.wait_until("the window is full", SOON, |log| log.held_acks("gw-out") == 2);
    sink.resume_acks("");
    input.wait_until("all acknowledgements", SOON, |log| log.acks("gw-in") == 600);
    let balance = drained(&mut gateway);
    let mut audit = audit(&sink);
    let lossy = audit.sensors.remove("lossy").map_or(0, |sensor| sensor.distinct());
    audit.assert_exactly(2, 300);
    assert_eq!(balance.received, 900);
    assert_eq!(balance.shed, 300 - lossy);
}
