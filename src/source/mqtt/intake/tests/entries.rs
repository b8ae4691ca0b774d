//! Tests of the entries of one session: their subscriptions, and what of them concerns the session.

use super::*;
use crate::limits::TOPIC_REMEMBERED_BYTES_MAX;

/// An answer is waited for as long as a step may take, whatever else has a later time.
#[test]
fn a_session_looks_again_when_the_first_of_its_subscriptions_is_due() {
    let mut scene = two();
    scene.connect(false);
    scene.peer.grant(1, 1);
    let within = scene.intake.session.options().step_max();
    let until = Some(scene.now.instant + within);
    assert_eq!(scene.step(), Step::Wait { reads: true, until });
    scene.now = scene.now.later(within / 2);
    let until = Some(scene.now.instant + within);
    let step = scene.send(&[message(1, "pumps/a", "1")]);
    assert_eq!(step, Step::Wait { reads: true, until }, "other things come");
    scene.now = scene.now.later(within);
    let ended = scene.peer.step(scene.now, &mut scene.intake);
    assert!(matches!(ended, Err(Error::NoAnswer { to: "SUBSCRIBE", .. })), "{ended:?}");
}

/// What was retained comes again with each SUBSCRIBE.
#[test]
fn with_mqtt_3_a_resumed_session_is_asked_for_again_when_it_has_been_silent() {
    let settings = queue::Settings::default();
    let mut scene =
        scene_of(Version::V3, &[("fleet", json!({"topic": "s/+"}))], settings).subscribed();
    scene.cut();
    let Step::Wait { until: Some(until), .. } = scene.step() else { panic!() };
    assert_eq!(scene.peer.heard(), []);
    scene.now = scene.now.later(until - scene.now.instant);
    scene.step();
    assert_eq!(scene.peer.heard(), [Heard::Subscribe(1)]);
}

#[test]
fn a_time_in_which_nothing_is_read_is_none_in_which_an_answer_was_missing() {
    let mut scene = fleet(4);
    scene.connect(false);
    let messages: Vec<_> = (1..=8).map(|id| message(id, "s/a", "1")).collect();
    scene.send(&messages);
    let within = scene.intake.session.options().step_max();
    scene.now = scene.now.later(within);
    scene.take(Outcome::Abandoned);
    for _ in 0..2 {
        assert!(Peer::wake(&mut scene.intake));
        scene.step();
    }
    assert!(scene.intake.has_offered_all());
    scene.now = scene.now.later(within);
    let ended = scene.peer.step(scene.now, &mut scene.intake);
    assert!(matches!(ended, Err(Error::NoAnswer { .. })), "{ended:?}");
}

#[test]
fn a_refused_subscription_ends_an_intake_that_never_worked_unless_the_code_may_pass() {
    for (code, ends) in [(0x87, true), (0x97, false)] {
        let mut scene = two();
        scene.connect(false);
        scene.peer.grant(3, code);
        let refused = scene.peer.step(scene.now, &mut scene.intake).unwrap_err();
        let is_final = matches!(refused, Error::SubscriptionRefused { .. });
        assert_eq!(is_final, ends, "{refused:?}");
        let ended = scene.intake.handle_disconnected(scene.now, Err(refused));
        assert_eq!(ended.is_err(), ends, "{ended:?}");
    }
    let mut scene = two();
    let greeting = Greeting { packet_bytes_max: Some(9), ..stepped::greeting(false) };
    let mut out = Outbound::new(Version::V5);
    let refused = scene.intake.handle_connected(scene.now, greeting, &mut out);
    assert!(matches!(refused, Err(Error::Refused { permanent: true, .. })), "{refused:?}");
}

#[test]
fn what_is_removed_unsubscribes_once_and_its_session_ends_with_it() {
    let mut scene = two().subscribed();
    scene.send(&[message(1, "pumps/a", "1")]);
    scene.lead.remove();
    assert!(matches!(scene.step(), Step::Wait { .. }));
    assert_eq!(scene.peer.heard(), [2, 4].map(Heard::Unsubscribe));
    scene.take(Outcome::Delivered);
    assert_eq!(scene.step(), Step::CloseForGood);
    assert_eq!(scene.peer.heard(), [Heard::PubAck(1)]);
    assert!(scene.intake.is_wanted(), "its session is not yet ended");
    scene.lead.enter(Phase::Closing);
    assert!(!scene.intake.is_wanted());
}

#[test]
fn one_entry_of_a_group_or_of_qos_1_is_enough_for_its_session() {
    let entry = |qos: u8| json!({"topic": format!("a{qos}/+"), "qos": qos});
    let mut of_group = entry(0);
    of_group["group"] = "g".into();
    let alone = scene(&[("a", entry(0)), ("b", entry(1))], 9);
    let shared = scene(&[("a", of_group), ("b", entry(0))], 9);
    let members = [&alone, &shared].map(|it| &it.intake.members);
    assert_eq!(members.map(Members::own_their_session), [true, false]);
    assert_eq!(members.map(Members::acknowledge), [true, false]);
}

/// Topics are the sensors' choice.
#[test]
fn whose_a_topic_is_is_remembered_of_so_many_and_of_none_that_is_long() {
    let mut scene = two().subscribed();
    let topics = ["x".repeat(TOPIC_REMEMBERED_BYTES_MAX), "y".into(), "z".into()];
    for (topic, remembered) in topics.iter().zip([0, 1, 2]) {
        scene.send(&[Message { qos: 0, ..message(0, &format!("boilers/{topic}"), "1") }]);
        assert_eq!(scene.intake.members.remembered(), remembered);
    }
    for n in 0..20 {
        scene.send(&[Message { qos: 0, ..message(0, &format!("boilers/{n}"), "1") }]);
        scene.take(Outcome::Delivered);
        Peer::wake(&mut scene.intake);
    }
    assert_eq!(scene.intake.members.remembered(), 9);
    for n in 0..9 {
        scene.send(&[Message { qos: 0, ..message(0, &format!("pumps/{n}"), "1") }]);
        scene.take(Outcome::Delivered);
    }
    assert_eq!(scene.intake.members.of(b"pumps/1").0.remembered(), 4, "half of them");
}

/// Its dead letter says so.
#[test]
fn a_message_of_no_entry_is_of_the_first() {
    let mut scene = two();
    for topic in [&b"other"[..], b"boilers/\xff", b"pumps/\xff"] {
        assert_eq!(scene.intake.members.of(topic).0.name(), "boilers");
    }
}

/// Else sensors would be told to be silent that nobody could hear.
#[test]
fn an_entry_listens_while_it_is_subscribed_and_has_room() {
    let listens = |scene: &mut Scene| {
        let later = scene.now.later(Duration::from_secs(2)).wall;
        scene.intake.members.readers()[0].listening().since(later).is_some()
    };
    let mut scene = fleet(1);
    scene.connect(false);
    scene.step();
    assert!(!listens(&mut scene), "its subscription is not granted");
    let mut scene = fleet(1).subscribed();
    assert!(listens(&mut scene));
    scene.send(&[message(1, "s/a", "1"), message(2, "s/a", "2")]);
    assert!(!listens(&mut scene), "one waits for room");
    scene.take(Outcome::Delivered);
    while Peer::wake(&mut scene.intake) {
        scene.step();
    }
    assert!(listens(&mut scene));
    scene.intake.handle_disconnected(scene.now, Err(Error::Closed)).unwrap();
    assert!(!listens(&mut scene), "it is away");
    scene.connect(true);
    scene.step();
    assert!(listens(&mut scene));
    scene.lead.enter(Phase::Draining);
    scene.step();
    assert!(!listens(&mut scene), "it takes no more");
}

/// The broker has it from before.
#[test]
fn a_retained_message_is_no_sign_of_life() {
    let mut scene = fleet(9).subscribed();
    scene.send(&[Message { retain: true, ..message(1, "s/a", "1") }, message(2, "s/b", "2")]);
    let heard = |id| scene.intake.registry.row("fleet", id).unwrap().last_received();
    assert_eq!((heard("a"), heard("b")), (None, Some(scene.now.wall)));
}

#[test]
fn what_sensors_say_of_themselves_has_a_subscription_of_its_own_and_makes_no_reading() {
    let online = json!({"topic": "z/{sensor}/availability"});
    let entry = json!({"topic": "z/{sensor}/t", "online": online, "qos": 0, "group": "g"});
    let mut scene = scene(&[("other", json!({"topic": "y/+"})), ("z", entry)], 4).subscribed();
    let said = [message(1, "z/a/availability", "offline"), message(2, "y/a", "1")];
    scene.send(&said);
    assert_eq!(scene.offered().unwrap().records.len(), 1);
    assert_eq!(scene.peer.heard(), [Heard::PubAck(1)], "nothing waits for it");
    let row = scene.intake.registry.row("z", "a").unwrap();
    assert_eq!(row.presence(), crate::state::presence::Presence::Silent);
    scene.connect(false);
    assert_eq!(scene.peer.heard(), [1, 3, 5].map(Heard::Subscribe));
}
