//! Every lever of the scripted broker, with a plain client on the other end.

use super::{delivered, puback, publish_numbers, send, subscriber};
use crate::support::SOON;
use crate::support::broker::{Broker, Order, Overrun};
use crate::support::client::{Options, Session};
use crate::support::wire::{PubAckReason, Version};

#[test]
fn both_versions_get_what_they_subscribed_to() {
    let broker = Broker::start();
    let mut five = subscriber(&Options::new(broker.port(), "five"), "plant/+/temperature");
    let mut three = subscriber(&Options::new(broker.port(), "three").v3(), "plant/#");
    let mut load = Session::open(&Options::new(broker.port(), "load").v3()).unwrap();
    let id = send(&mut load, "plant/boiler/temperature", "71.5");
    assert_eq!(puback(&mut load), Some((id, PubAckReason::Success)));
    broker.publish("plant/boiler/pressure", "2", 0, false);
    assert_eq!(delivered(&mut five), [(1, false, "71.5".to_owned())]);
    let both = [(1, false, "71.5".to_owned()), (0, false, "2".to_owned())];
    assert_eq!(delivered(&mut three), both);
    broker.look(|log| {
        assert_eq!(log.clients["five"].connects[0].version, Version::V5);
        assert_eq!(log.clients["three"].connects[0].version, Version::V3);
        assert_eq!(log.count("plant/boiler/temperature"), 1);
        assert_eq!(log.delivered("three"), 2);
        assert!(log.violations().is_empty());
    });
}

#[test]
fn withheld_acks_come_out_in_the_order_wanted() {
    let broker = Broker::start();
    let mut load = Session::open(&Options::new(broker.port(), "load")).unwrap();
    broker.hold_acks("load");
    let ids: Vec<u16> = (0..6).map(|_| send(&mut load, "a", "x")).collect();
    broker.wait_until("six acks are held", SOON, |log| log.held_acks("load") == 6);
    assert_eq!(puback(&mut load), None);
    assert_eq!(broker.release_some_acks("", 1), 1);
    assert_eq!(puback(&mut load), Some((ids[0], PubAckReason::Success)));
    assert_eq!(broker.release_acks("load", Order::Reversed), 5);
    let rest: Vec<u16> = (0..5).map(|_| puback(&mut load).unwrap().0).collect();
    assert_eq!(rest, [ids[5], ids[4], ids[3], ids[2], ids[1]]);
    let more: Vec<u16> = (0..20).map(|_| send(&mut load, "a", "x")).collect();
    broker.wait_until("the next are held too", SOON, |log| log.held_acks("load") == 20);
    assert_eq!(broker.release_acks("load", Order::Shuffled(7)), 20);
    let mut shuffled: Vec<u16> = (0..20).map(|_| puback(&mut load).unwrap().0).collect();
    assert_ne!(shuffled, more);
    shuffled.sort_unstable();
    assert_eq!(shuffled, more);
    send(&mut load, "a", "x");
    broker.wait_until("one more is held", SOON, |log| log.held_acks("load") == 1);
    assert_eq!(broker.resume_acks("load"), 1);
    assert!(puback(&mut load).is_some());
    broker.look(|log| assert!(log.on("a").all(|publish| publish.acknowledged.is_some())));
}

#[test]
fn released_in_order_means_as_received() {
    let broker = Broker::start();
    let mut load = Session::open(&Options::new(broker.port(), "load").v3()).unwrap();
    broker.hold_acks("");
    let ids: Vec<u16> = (0..3).map(|_| send(&mut load, "a", "x")).collect();
    broker.wait_until("three acks are held", SOON, |log| log.held_acks("") == 3);
    broker.release_acks("", Order::AsReceived);
    let released: Vec<u16> = (0..3).map(|_| puback(&mut load).unwrap().0).collect();
    assert_eq!(released, ids);
}

#[test]
fn publishes_are_answered_with_the_reason_wanted() {
    let broker = Broker::start();
    let mut load = Session::open(&Options::new(broker.port(), "load")).unwrap();
    let mut reader = subscriber(&Options::new(broker.port(), "reader"), "#");
    broker.answer_publishes("out/#", 0x97, 1);
    send(&mut load, "out/a", "refused");
    send(&mut load, "other", "taken");
    send(&mut load, "out/a", "taken too");
    let reasons: Vec<_> = (0..3).map(|_| puback(&mut load).unwrap().1).collect();
    assert_eq!(
        reasons,
        [PubAckReason::QuotaExceeded, PubAckReason::Success, PubAckReason::Success]
    );
    let payloads: Vec<String> = delivered(&mut reader).into_iter().map(|(.., text)| text).collect();
    assert_eq!(payloads, ["taken", "taken too"]);
    broker.answer_publishes("#", 0x10, usize::MAX);
    broker.answer_normally();
    send(&mut load, "out/a", "again");
    assert_eq!(puback(&mut load).unwrap().1, PubAckReason::Success);
}

#[test]
fn a_resumed_session_gets_the_same_ids_in_order_with_dup() {
    for v3 in [false, true] {
        let broker = Broker::start();
        let options = Options::new(broker.port(), "reader").persistent();
        let options = if v3 { options.v3() } else { options };
        let mut reader = subscriber(&options, "in/#");
        publish_numbers(&broker, "in/a", 0..5);
        let first = delivered(&mut reader);
        assert_eq!(first.iter().map(|(id, ..)| *id).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        reader.ack(2).unwrap();
        broker.wait_until("the ack arrived", SOON, |log| log.acks("reader") == 1);
        assert_eq!(broker.drop_connections("reader"), 1);
        broker.wait_until("it is gone", SOON, |log| !log.connected("reader"));
        publish_numbers(&broker, "in/a", 5..7);
        let mut reader = Session::open(&options).unwrap();
        assert!(reader.session_present());
        let again = delivered(&mut reader);
        let ids: Vec<_> = again.iter().map(|(id, dup, text)| (*id, *dup, text.as_str())).collect();
        let redelivered = [(1, true, "0"), (3, true, "2"), (4, true, "3"), (5, true, "4")];
        assert_eq!(ids[..4], redelivered);
        assert!(ids[4..].iter().all(|(id, dup, _)| !dup && ![1, 3, 4, 5].contains(id)));
        assert_eq!((ids[4].2, ids[5].2), ("5", "6"));
        let log = broker.client("reader");
        assert_eq!((log.acks[0].id, log.acks_out_of_order), (2, 1));
        assert_eq!((&log.acks[0].payload[..], log.acks[0].topic.as_str()), (&b"1"[..], "in/a"));
    }
}

#[test]
fn a_lost_session_is_lost() {
    let broker = Broker::start();
    let options = Options::new(broker.port(), "reader").persistent();
    let mut reader = subscriber(&options, "in");
    publish_numbers(&broker, "in", 0..3);
    assert_eq!(delivered(&mut reader).len(), 3);
    assert_eq!(broker.forget_sessions("reader"), 1);
    let mut reader = Session::open(&options).unwrap();
    assert!(!reader.session_present());
    assert_eq!(delivered(&mut reader), []);
}

#[test]
fn the_window_is_respected_unless_overrun() {
    let broker = Broker::start();
    let mut five = subscriber(&Options::new(broker.port(), "five").receive_maximum(3), "in");
    let mut three = subscriber(&Options::new(broker.port(), "three").v3(), "in");
    publish_numbers(&broker, "in", 0..50);
    assert_eq!(delivered(&mut five).len(), 3);
    assert_eq!(delivered(&mut three).len(), 20);
    five.ack(1).unwrap();
    assert_eq!(delivered(&mut five).len(), 1);
    broker.overrun("five", Overrun::By(4));
    assert_eq!(delivered(&mut five).len(), 4);
    broker.respect_windows("five");
    broker.overrun("three", Overrun::PerAck(20));
    three.ack(1).unwrap();
    assert_eq!(delivered(&mut three).len(), 21);
    broker.look(|log| {
        assert_eq!((log.unacked("five"), log.unacked_max("five")), (7, 7));
        assert_eq!((log.unacked("three"), log.queued("three")), (40, 9));
    });
    broker.set_window(2);
    let mut late = subscriber(&Options::new(broker.port(), "late").v3(), "in");
    publish_numbers(&broker, "in", 0..5);
    assert_eq!(delivered(&mut late).len(), 2);
}
