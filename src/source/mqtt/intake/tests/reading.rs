//! Tests of what an intake reads at once, and of messages with several readings, or with QoS 2.

use super::*;

fn lines(places: u32) -> Scene {
    scene(&[("fleet", json!({"topic": "s/+", "payload": {"ndjson": {}}}))], places).subscribed()
}

/// A chunk is held beside the queue: its bound is in the budget.
#[test]
fn no_more_readings_are_read_at_once_than_a_chunk_may_hold() {
    let nine = "1\n".repeat(9);
    for (payload, messages, expected) in [("1", 150, 100), (nine.as_str(), 50, 12 * 9)] {
        let mut scene = lines(1);
        let it = Message { qos: 0, ..message(0, "s/a", payload) };
        scene.send(&vec![it; messages]);
        assert_eq!(scene.intake.chunk.records.len(), expected - 1, "one has a place");
    }
}

/// Nothing would wake it for the rest.
#[test]
fn all_that_has_arrived_is_read_where_there_is_room() {
    let mut scene = fleet(999).subscribed();
    scene.send(&vec![Message { qos: 0, ..message(0, "s/a", "1") }; 150]);
    assert_eq!(scene.intake.metrics.received.get(), 150);
}

#[test]
fn readings_of_qos_0_belong_to_no_message_that_is_acknowledged() {
    let mut scene = lines(9);
    scene.send(&[
        message(1, "s/a", "1"),
        Message { qos: 0, ..message(0, "s/a", "2\n3\n") },
        message(2, "s/a", "4\n5\n"),
    ]);
    assert_eq!(scene.take(Outcome::Delivered).len(), 5);
    scene.step();
    assert_eq!(scene.peer.heard(), [1, 2].map(Heard::PubAck));
}

/// From a subscription that somebody else made in our session.
#[test]
fn a_message_of_qos_2_is_acknowledged_in_two_steps() {
    let mut scene = fleet(9).subscribed();
    scene.send(&[Message { qos: 2, ..message(1, "s/a", "1") }]);
    scene.take(Outcome::Delivered);
    scene.step();
    assert_eq!(scene.peer.heard(), [Heard::PubRec(1)]);
    scene.peer.release(1);
    scene.step();
    assert_eq!(scene.peer.heard(), [Heard::PubComp(1)]);
}

/// A connection is served in between: its answers leave, and its pings.
#[test]
fn a_slow_program_gives_the_connection_its_turn_after_each_message() {
    let transform = "cel.bind(all, lists.range(999), {'value': msg})";
    let mut scene =
        scene(&[("slow", json!({"topic": "s/+", "transform": transform}))], 99).subscribed();
    let first = scene.send(&vec![Message { qos: 0, ..message(0, "s/a", "1") }; 9]);
    let now = scene.now.instant;
    assert_eq!(first, Step::Wait { reads: true, until: Some(now) }, "and it goes on at once");
    assert_eq!(scene.intake.metrics.received.get(), 1);
    for received in 2..=9 {
        scene.step();
        assert_eq!(scene.intake.metrics.received.get(), received);
    }
    assert_ne!(scene.step(), Step::Wait { reads: true, until: Some(now) }, "nothing is left");
}
