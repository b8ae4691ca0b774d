//! Tests of an intake that waits in the queue's line, beside another source.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{self, Waker};

use super::*;

fn is_ready(waits: Pin<&mut impl Future>) -> bool {
    waits.poll(&mut task::Context::from_waker(Waker::noop())).is_ready()
}

/// A reading is in the queue, which is full, and one waits for room.
fn waiting() -> Scene {
    let mut scene = fleet(1).subscribed();
    let it = Message { qos: 0, ..message(0, "s/a", "1") };
    scene.send(&[it, it]);
    assert!(!Peer::wake(&mut scene.intake), "nothing has settled");
    scene
}

/// Of QoS 0 nothing else would wake it.
#[test]
fn room_is_for_who_has_waited_longest() {
    let mut scene = waiting();
    let other = scene.queue.inlet();
    let mut place = pin!(other.place(1));
    assert!(!is_ready(place.as_mut()));
    scene.step();
    scene.take(Outcome::Delivered);
    assert!(!is_ready(place.as_mut()), "it is the intake's");
    assert!(Peer::wake(&mut scene.intake), "and it knows");
    scene.step();
    assert!(scene.intake.has_offered_all());
    assert_eq!(scene.intake.metrics.received.get(), 2);
    scene.take(Outcome::Delivered);
    assert!(is_ready(place.as_mut()));
}

/// Nothing else may make the room.
#[test]
fn what_settles_while_there_is_no_room_is_acknowledged() {
    let mut scene = fleet(4).subscribed();
    let messages: Vec<_> = (1..=8).map(|id| message(id, "s/a", "1")).collect();
    scene.send(&messages);
    scene.take(Outcome::Delivered);
    assert_eq!(scene.step(), Step::Wait { reads: false, until: None });
    assert_eq!(scene.peer.heard(), [1, 2, 3, 4].map(Heard::PubAck));
}

/// The others would wait for ever.
#[test]
fn who_is_away_takes_its_place_and_who_has_ended_leaves_the_line() {
    for ends in [false, true] {
        let mut scene = waiting();
        if ends {
            scene.lead.enter(Phase::Closing);
            assert_eq!(scene.step(), Step::Close);
        } else {
            scene.intake.handle_disconnected(scene.now, Err(Error::Closed)).unwrap();
        }
        scene.take(Outcome::Delivered);
        if !ends {
            assert!(!Peer::wake(&mut scene.intake), "it needs no connection to put it there");
            assert_eq!(scene.take(Outcome::Delivered).len(), 1);
        }
        assert!(is_ready(pin!(scene.queue.inlet().place(1))));
        let metrics = &scene.intake.metrics;
        let counted = (metrics.received.get(), metrics.abandoned.get());
        assert_eq!(counted, if ends { (2, 1) } else { (2, 0) });
    }
}

/// Of QoS 0 there is no other copy.
#[test]
fn what_has_room_when_the_drain_begins_without_a_connection_is_offered() {
    let mut scene = waiting();
    scene.intake.handle_disconnected(scene.now, Err(Error::Closed)).unwrap();
    scene.take(Outcome::Delivered);
    scene.lead.enter(Phase::Draining);
    assert!(!scene.intake.is_wanted());
    assert_eq!(scene.take(Outcome::Delivered).len(), 1);
    let metrics = &scene.intake.metrics;
    assert_eq!((metrics.received.get(), metrics.abandoned.get()), (2, 0));
}

/// The broker still has it, and sends it again to the next run.
#[test]
fn what_never_had_room_is_not_waited_for() {
    let mut scene = fleet(1).subscribed();
    scene.send(&[message(1, "s/a", "1"), message(2, "s/a", "2")]);
    assert!(!Peer::wake(&mut scene.intake));
    scene.lead.enter(Phase::Closing);
    assert!(!scene.intake.is_wanted());
    assert_eq!(scene.step(), Step::Close);
    assert_eq!(scene.take(Outcome::Delivered).len(), 1);
    scene.step();
    assert_eq!(scene.peer.heard(), [Heard::PubAck(1)]);
    assert!(!scene.intake.waits());
}

#[test]
fn what_is_shed_is_counted_once() {
    let (records_max, on_full) = (1.try_into().unwrap(), queue::OnFull::ShedNewest);
    let settings = queue::Settings { records_max, on_full, ..queue::Settings::default() };
    let mut scene =
        scene_of(Version::V5, &[("fleet", json!({"topic": "s/+"}))], settings).subscribed();
    for shed in [1, 3] {
        let it = Message { qos: 0, ..message(0, "s/a", "1") };
        scene.send(&[it, it]);
        assert_eq!(scene.intake.metrics.shed.total(), shed);
    }
}
