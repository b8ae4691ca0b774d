//! Tests of intakes that share a desk.

use super::*;
use crate::queue::OnFull;

/// Two intakes of one queue with one place.
fn two(on_full: OnFull) -> [Scene; 2] {
    let settings =
        queue::Settings { records_max: 1.try_into().unwrap(), on_full, ..Default::default() };
    let (queue, desk) = (Queue::new(settings), Arc::default());
    ["a/{sensor}", "b/{sensor}"].map(|topic| {
        let entries = [("fleet", json!({"topic": topic}))];
        scene_at(Version::V5, &entries, settings, (&queue, &desk)).subscribed()
    })
}

/// One message is in the queue, and one waits for room.
fn first_waits(on_full: OnFull) -> [Scene; 2] {
    let [mut first, second] = two(on_full);
    let waits = first.send(&[message(1, "a/x", "1"), message(2, "a/x", "2")]);
    assert_eq!(waits, Step::Wait { reads: false, until: None });
    [first, second]
}

fn value(scene: &mut Scene) -> String {
    let [(_, value)] = &scene.take(Outcome::Delivered)[..] else { panic!("one has a place") };
    value.clone()
}

/// For as long as there is something to do.
fn go_on(scene: &mut Scene) {
    while Peer::wake(&mut scene.intake) {
        scene.step();
    }
}

/// Each would hold records that have no room: they would add up.
#[test]
fn while_the_records_of_one_wait_for_room_the_others_make_none() {
    let [mut first, mut second] = first_waits(OnFull::Wait);
    let waits = Step::Wait { reads: false, until: None };
    assert_eq!(second.send(&[message(1, "b/x", "3"), message(2, "b/x", "4")]), waits);
    assert!(!Peer::wake(&mut second.intake));
    assert_eq!((second.step(), second.intake.metrics.messages.get()), (waits, 0));
    assert_eq!(second.intake.ledger.open(), 0, "they are still the broker's");
    let mut values = Vec::new();
    for _ in 0..4 {
        values.push(value(&mut first));
        go_on(&mut first);
        go_on(&mut second);
    }
    assert_eq!(values, ["1", "2", "3", "4"]);
    for mut it in [first, second] {
        assert_eq!(it.peer.heard(), [1, 2].map(Heard::PubAck));
    }
}

#[test]
fn who_goes_on_reading_does_so_behind_those_who_wait() {
    let [mut first, mut second] = first_waits(OnFull::Wait);
    second.send(&[message(1, "b/x", "3")]);
    assert!(!Peer::wake(&mut second.intake));
    first.send(&[message(3, "a/x", "5")]);
    let mut values = Vec::new();
    for _ in 0..4 {
        values.push(value(&mut first));
        go_on(&mut first);
        go_on(&mut second);
    }
    assert_eq!(values, ["1", "2", "3", "5"]);
}

#[test]
fn records_of_one_that_is_away_or_has_ended_keep_nobody_waiting() {
    for ends in [false, true] {
        let [mut first, mut second] = first_waits(OnFull::Wait);
        second.send(&[message(1, "b/x", "3")]);
        first.intake.handle_disconnected(first.now, Err(Error::Closed)).unwrap();
        assert_eq!(value(&mut first), "1");
        if ends {
            first.intake.stop_taking();
        } else {
            assert!(!Peer::wake(&mut first.intake), "it stays away");
        }
        assert_eq!(value(&mut first), "2");
        assert!(Peer::wake(&mut second.intake));
        second.step();
        assert_eq!(value(&mut first), "3");
    }
}

/// It would keep the desk that nobody else could have.
#[test]
fn who_loses_its_connection_in_the_line_leaves_it() {
    for has_come in [false, true] {
        let [mut first, mut second] = first_waits(OnFull::Wait);
        second.send(&[message(1, "b/x", "3")]);
        assert!(!Peer::wake(&mut second.intake));
        for comes in [has_come, !has_come] {
            if comes {
                value(&mut first);
                go_on(&mut first);
                Peer::wake(&mut second.intake);
            } else {
                second.intake.handle_disconnected(second.now, Err(Error::Closed)).unwrap();
            }
        }
        first.send(&[message(3, "a/x", "5")]);
        go_on(&mut first);
        assert_eq!(first.intake.metrics.messages.get(), 3, "{has_come}");
    }
}

/// A policy that sheds is for what is too old to wait.
#[test]
fn what_may_be_shed_waits_for_nobody() {
    let [mut first, mut second] = first_waits(OnFull::ShedNewest);
    let it = Message { qos: 0, ..message(0, "b/x", "0") };
    let step = second.send(&[it, it]);
    assert!(matches!(step, Step::Wait { reads: true, .. }), "{step:?}");
    assert_eq!(second.intake.metrics.shed.total(), 2);
    let step = second.send(&[it, message(1, "b/x", "3"), it]);
    assert!(matches!(step, Step::Wait { reads: false, .. }), "{step:?}");
    assert_eq!((second.intake.metrics.shed.total(), second.intake.ledger.open()), (3, 0));
    assert!(second.intake.has_offered_all());
    for expected in ["1", "2", "3"] {
        assert_eq!(value(&mut first), expected);
        go_on(&mut first);
        go_on(&mut second);
    }
    assert_eq!(second.intake.metrics.shed.total(), 4);
}

/// Its payload is gone when it is put back: what is known of it is not.
#[test]
fn a_message_that_was_read_past_waits_as_the_others_do() {
    let [mut first, mut second] = first_waits(OnFull::Wait);
    let large = "x".repeat(2 * BUFFER_BYTES);
    second.send(&[message(1, "b/x", &large), message(2, "b/x", "3")]);
    assert_eq!(second.intake.metrics.messages.get(), 0);
    let mut wake = || {
        go_on(&mut first);
        go_on(&mut second);
        let chunk = first.offered().unwrap();
        let record = chunk.records[0];
        let mut settled = Settled::default();
        settled.add(record.token, record.sensor, record.bytes());
        first.queue.release(&settled, Outcome::Delivered);
        record.body
    };
    let bodies: [Body; 4] = std::array::from_fn(|_| wake());
    let is_letter = |it: &Body| matches!(it, Body::Unreadable { .. });
    assert_eq!(bodies.each_ref().map(is_letter), [false, false, true, false]);
    assert_eq!(second.intake.metrics.messages.get(), 2);
}
