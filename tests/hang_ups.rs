//! An output broker that has no word for a packet that is too large, and hangs up on it or never answers.

use crate::scene::{
    audit, fault, fleet, letters, message, output, readings, subscribed, wait_readings,
};
use crate::support::SOON;
use crate::support::broker::Broker;
use crate::support::gateway::Gateway;

/// Bytes of a PUBLISH above which the broker hangs up.
const BYTES_MAX: usize = 4000;

/// A gateway with batches of up to 100 readings; one reading has been delivered.
fn scene(more: &[&str]) -> (Broker, Broker, Gateway) {
    let (input, sink) = (Broker::start(), Broker::start());
    let own = [output(&sink.url()), "batch.records_max = 100".into()];
    let own: Vec<&str> = own.iter().map(String::as_str).chain(more.iter().copied()).collect();
    let gateway = subscribed(&fleet(&input.url(), &own));
    input.publish_all(readings(1, 1..=1, 1));
    wait_readings(&sink, 1, SOON);
    sink.hang_up_above(Some(BYTES_MAX));
    (input, sink, gateway)
}

/// What a reader of the log must find, and must not.
#[track_caller]
fn assert_cause_is_said(gateway: &Gateway) {
    let text = gateway.text();
    assert!(text.contains("the output broker hangs up when this message is published"), "{text}");
    assert!(!text.contains("another client"), "{text}");
}

#[test]
fn batches_that_are_hung_up_on_pass_in_smaller_parts_with_either_version() {
    for version in ["3", "5"] {
        let version = format!("output.broker.version = {version}");
        let (input, sink, mut gateway) = scene(&[&version]);
        input.publish_all(readings(1, 2..=1000, 1));
        input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 1000);
        let connects = sink.look(|log| log.connects("gw-out"));
        assert!(connects <= 8, "{connects} connections:\n{}", gateway.text());
        assert_cause_is_said(&gateway);
        let name = "output hangs up on large batches";
        let balance = fault(name, 0, &mut gateway, || audit(&sink).judge_load(1, 1000));
        assert_eq!(balance.delivered, 1000);
    }
}

/// The batches were written by a run that knew of no limit.
#[test]
fn so_do_those_that_wait_in_the_spool() {
    let spool = tempfile::tempdir().unwrap();
    let spool = format!("spool.path = \"{}\"\nspool.after = \"100ms\"", spool.path().display());
    let (input, sink, mut gateway) = scene(&[&spool]);
    sink.go_away();
    input.publish_all(readings(1, 2..=1000, 1));
    input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 1000);
    sink.come_back();
    wait_readings(&sink, 1000, SOON);
    assert_cause_is_said(&gateway);
    let name = "output hangs up on large batches of the spool";
    let balance = fault(name, 0, &mut gateway, || audit(&sink).judge_load(1, 1000));
    assert_eq!((balance.delivered, balance.held), (1000, 0));
}

#[test]
fn a_reading_that_passes_in_no_way_becomes_a_dead_letter_and_the_others_follow() {
    let (input, sink, mut gateway) = scene(&["output.broker.version = 3"]);
    let large = format!("{{\"value\":\"{}\",\"n\":1}}", "x".repeat(20_000));
    let message = message("sensors/large/reading", large, 1);
    input.publish_all([message]);
    input.publish_all(readings(1, 2..=10, 1));
    input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 11);
    let letter = sink.look(letters).swap_remove(0);
    assert!(letter["sensorId"] == "large" && letter["sha256"].is_string(), "{letter}");
    assert_cause_is_said(&gateway);
    let name = "output hangs up on one large reading";
    let balance = fault(name, 0, &mut gateway, || audit(&sink).judge_load(1, 10));
    assert_eq!((balance.delivered, balance.dead_lettered), (10, 1));
}

#[test]
fn batches_that_are_never_answered_pass_in_smaller_parts() {
    let (input, sink, mut gateway) = scene(&["output.answer_max = \"1s\""]);
    sink.hang_up_above(None);
    sink.ignore_above(Some(BYTES_MAX));
    input.publish_all(readings(1, 2..=300, 1));
    input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 300);
    let text = gateway.text();
    assert!(
        text.contains("the output broker does not answer when this message is published"),
        "{text}"
    );
    let name = "output never answers large batches";
    let balance = fault(name, 0, &mut gateway, || audit(&sink).judge_load(1, 300));
    assert_eq!(balance.delivered, 300);
}

/// Each hang-up is over a smaller part, and all of them have one cause.
#[test]
fn the_client_id_is_not_suspected_while_a_batch_is_halved_time_and_again() {
    let (input, sink, mut gateway) = scene(&["output.broker.version = 3"]);
    sink.hang_up_above(Some(BYTES_MAX / 8));
    input.publish_all(readings(1, 2..=200, 1));
    input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 200);
    let connects = sink.look(|log| log.connects("gw-out"));
    assert!(connects >= 7, "{connects} connections are too few to tell");
    assert_cause_is_said(&gateway);
    let name = "output hangs up on all but small batches";
    let balance = fault(name, 0, &mut gateway, || audit(&sink).judge_load(1, 200));
    assert_eq!(balance.delivered, 200);
}
