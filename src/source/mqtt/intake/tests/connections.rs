//! Tests of what an intake does across its connections, and by its clock.

use super::*;
use crate::limits::RECONNECT_PAUSE;

/// Two messages are held, and a new one is the first that comes on the next connection: somebody else has
/// acknowledged them.
fn robbed(scene: &mut Scene, first: u16) -> Result<Step, Error> {
    scene.send(&[message(first, "s/a", "1"), message(first + 1, "s/a", "2")]);
    scene.cut();
    scene.peer.publish(&message(first + 2, "s/a", "3"));
    scene.peer.step(scene.now, &mut scene.intake)
}

#[test]
fn what_is_missing_twice_ends_an_intake_unless_it_is_of_a_group_or_drains() {
    let (alone, group) = (json!({"topic": "s/+"}), json!({"topic": "s/+", "group": "g"}));
    for (entry, is_sign) in [(alone, true), (group, false)] {
        let mut scene = scene(&[("fleet", entry)], 20).subscribed();
        assert!(robbed(&mut scene, 1).is_ok());
        assert_eq!(scene.intake.is_suspicious(), is_sign);
        let ended = robbed(&mut scene, 11);
        assert_eq!(matches!(ended, Err(Error::TakenOver)), is_sign, "{ended:?}");
    }
    let mut scene = fleet(9).subscribed();
    let ended = scene.intake.handle_disconnected(scene.now, Err(Error::TakenOver));
    assert!(matches!(ended, Err(Error::IdInUse { .. })), "{ended:?}");
    scene.lead.enter(Phase::Draining);
    let ended = scene.intake.handle_disconnected(scene.now, Err(Error::TakenOver));
    assert!(matches!(ended, Ok(None)), "the next run has begun: {ended:?}");
}

/// Else it would acknowledge what is the other one's by now.
#[test]
fn an_intake_that_suspects_another_acknowledges_nothing_for_a_while_unless_it_drains() {
    for drains in [false, true] {
        let mut scene = fleet(20).subscribed();
        robbed(&mut scene, 1).unwrap();
        scene.send(&[message(4, "s/a", "4")]);
        scene.take(Outcome::Delivered);
        scene.cut();
        scene.peer.heard();
        let step = scene.send(&[Message { dup: true, ..message(3, "s/a", "3") }]);
        let until = Some(scene.now.instant + HOLD_MAX);
        assert_eq!((step, scene.peer.heard()), (Step::Wait { reads: true, until }, vec![]));
        if drains {
            scene.lead.enter(Phase::Draining);
        } else {
            scene.now = scene.now.later(HOLD_MAX);
        }
        scene.step();
        assert_eq!(scene.peer.heard(), [Heard::PubAck(3)]);
    }
}

/// A broker can have more of them under way than its window has messages.
#[test]
fn as_many_acknowledgements_are_remembered_as_the_bounds_allow() {
    let mut scene = fleet(9).subscribed();
    for id in 1..=90 {
        scene.send(&[message(id, "s/a", "1")]);
        scene.take(Outcome::Delivered);
        scene.step();
    }
    scene.cut();
    for (id, is_known) in [(51, true), (50, false)] {
        scene.send(&[Message { dup: true, ..message(id, "s/a", "1") }]);
        assert_eq!(scene.take(Outcome::Delivered).is_empty(), is_known, "{id}");
    }
}

#[test]
fn connections_are_counted_and_one_that_ended_waits_for_nothing() {
    let mut scene = fleet(99).subscribed();
    let values: Vec<String> = (1..=20).map(|value| value.to_string()).collect();
    let messages: Vec<_> = (1..).zip(&values).map(|(id, it)| message(id, "s/a", it)).collect();
    scene.send(&messages);
    assert_eq!(scene.standing.unacknowledged(), 20);
    scene.take(Outcome::Delivered);
    assert!(scene.is_stalled(), "the window is used up");
    let ended = scene.intake.handle_disconnected(scene.now, Err(Error::Closed));
    assert!(matches!(ended, Ok(Some(_))), "{ended:?}");
    assert!(!scene.is_stalled());
    assert!(!Peer::wake(&mut scene.intake), "the pause goes on, though something has settled");
    scene.connect(true);
    assert!(Peer::wake(&mut scene.intake), "something has settled");
    let metrics = &scene.intake.metrics;
    assert_eq!((metrics.connections.get(), metrics.disconnections.get()), (2, 1));
    assert!(!Peer::wake(&mut scene.intake));
    scene.lead.enter(Phase::Draining);
    assert!(Peer::wake(&mut scene.intake), "it is to drain");
    scene.step();
    assert!(!Peer::wake(&mut scene.intake), "and then nothing changes before it is to close");
    scene.lead.enter(Phase::Closing);
    assert!(Peer::wake(&mut scene.intake));
    scene.connect(false);
    assert_eq!(scene.intake.metrics.sessions_lost.get(), 1);
}

/// One that carries what it is for, and lasts: the SUBACK, readings, or in a drain what is sent again.
#[test]
fn after_a_good_connection_the_next_attempt_follows_soon() {
    for (version, has_message, drains) in
        [(Version::V5, false, false), (Version::V3, true, false), (Version::V5, true, true)]
    {
        let entry = [("fleet", json!({"topic": "s/+"}))];
        let mut scene = scene_of(version, &entry, queue::Settings::default()).subscribed();
        scene.send(&[message(1, "s/a", "1")]);
        if drains {
            scene.lead.enter(Phase::Draining);
        }
        for _ in 0..5 {
            scene.cut();
            if !has_message {
                scene.peer.grant(1, 1);
            }
            let repeats = [Message { dup: true, ..message(1, "s/a", "1") }];
            scene.send(&repeats[..usize::from(has_message)]);
            scene.now = scene.now.later(RECONNECT_PAUSE.1);
            let ended = Err(Error::Ended("busy".into()));
            let pause = scene.intake.handle_disconnected(scene.now, ended).unwrap().unwrap();
            assert!(pause <= RECONNECT_PAUSE.0, "{version:?} {has_message} {drains}: {pause:?}");
        }
    }
}

/// A slow trickle must not be sealed in batches of one, nor may a small window wait for more.
#[test]
fn a_broker_that_is_silent_with_a_good_number_unacknowledged_is_taken_to_allow_no_more() {
    let values: Vec<String> = (1..=21).map(|value| value.to_string()).collect();
    let messages: Vec<_> = (1..).zip(&values).map(|(id, it)| message(id, "s/a", it)).collect();
    for (sent, is_window) in [(WINDOW_LEAST - 1, false), (WINDOW_LEAST, true), (19, true)] {
        let mut scene = fleet(99).subscribed();
        let step = scene.send(&messages[..sent]);
        let until = is_window.then_some(scene.now.instant + WINDOW_SILENCE);
        let Step::Wait { reads: true, until: said } = step else { panic!("{step:?}") };
        assert!(until.is_none_or(|until| said == Some(until)), "{sent}: {said:?}");
        assert!(!scene.is_stalled());
        scene.now = scene.now.later(WINDOW_SILENCE);
        scene.step();
        assert_eq!((scene.intake.window == sent, scene.is_stalled()), (is_window, is_window));
        scene.lead.enter(Phase::Draining);
        scene.step();
        assert!(!scene.is_stalled(), "nothing more is wanted");
    }
    let mut scene = fleet(99).subscribed();
    scene.send(&messages);
    assert_eq!(scene.intake.window, 21, "more came than was asked for");
    let mut scene = fleet(99).subscribed();
    scene.send(&messages[..9]);
    scene.now = scene.now.later(WINDOW_SILENCE * 3 / 4);
    scene.send(&messages[9..10]);
    scene.now = scene.now.later(WINDOW_SILENCE / 4);
    scene.step();
    assert_eq!(scene.intake.window, 20, "more has come");
    let mut scene = fleet(99).subscribed();
    scene.send(&messages[..9]);
    assert!(!scene.is_stalled());
    scene.send(&messages[9..10]);
    scene.take(Outcome::Delivered);
    for part in [3, 1] {
        scene.now = scene.now.later(WINDOW_SILENCE * part / 4);
        scene.step();
    }
    assert_eq!(scene.intake.window, 20, "something has settled: it may be at work");
}

/// Each of which a broken broker can ask for.
#[test]
fn while_answers_are_not_written_nothing_is_read_and_no_answer_is_missed() {
    for phase in [Phase::Running, Phase::Draining] {
        let mut scene = fleet(9);
        scene.connect(false);
        scene.send(&[message(1, "s/a", "1")]);
        scene.lead.enter(phase);
        let mut inbound = Inbound::new(Version::V5, BUFFER_BYTES);
        let mut out = Outbound::new(Version::V5);
        while out.backlog() < ANSWERS_BYTES_MAX {
            out.ping();
        }
        let now = scene.now.later(scene.intake.session.options().step_max());
        let step = scene.intake.advance(now, &mut inbound, &mut out);
        assert!(matches!(step, Ok(Step::Wait { reads: false, until: None })), "{step:?}");
    }
}

/// Each is a few bytes of what has been read at once.
#[test]
fn what_is_asked_for_at_once_is_answered_piece_by_piece() {
    for phase in [Phase::Running, Phase::Draining] {
        let mut scene = fleet(9).subscribed();
        scene.send(&[message(1, "s/a", "1")]);
        scene.lead.enter(phase);
        (1..=2000).for_each(|id| scene.peer.release(id));
        let mut answered = Vec::new();
        while answered.len() < 2000 {
            scene.step();
            let heard = scene.peer.heard();
            let pieces = 1..=ANSWERS_BYTES_MAX / 4;
            assert!(pieces.contains(&heard.len()), "{phase:?}: {} at once", heard.len());
            answered.extend(heard);
        }
        assert!(answered.into_iter().eq((1..=2000).map(Heard::PubComp)), "{phase:?}");
    }
}

#[test]
fn with_a_small_window_the_thread_does_not_rest() {
    for (qos, expected) in [(1, true), (0, false)] {
        let mut scene = scene(&[("fleet", json!({"topic": "s/+", "qos": qos}))], 9);
        scene.connect(false);
        let is_held = matches!(scene.intake.current, Some(Current { _no_rest: Some(_), .. }));
        assert_eq!(is_held, expected, "QoS {qos}");
    }
}
