//! What an earlier run has told is read back: the test is the broker that has kept it.

use std::time::Duration;

use super::*;
use crate::mqtt::stepped::{Message, Peer};
use crate::notices::recalled::{QUIET, TIME_MAX, TRIES_MAX};

const SUBSCRIBE: u8 = 0x82;
const UNSUBSCRIBE: u8 = 0xa2;

/// What is kept of a sensor of which nothing has come for long.
fn kept(entry: &str, sensor: &str, state: &str) -> Said {
    let topic = format!("s/{entry}/{sensor}");
    let payload = format!(
        r#"{{"gateway":"gw-1","entry":"{entry}","sensorId":"{sensor}","state":"{state}","since":"1970-01-01T00:00:09.000Z","lastReceivedAt":"1970-01-01T00:00:05.000Z","intervalSeconds":1.07,"new":[1]}}"#
    );
    (topic, payload)
}

impl Scene {
    /// Connects with a new session; the subscription of this is granted.
    fn begin(&mut self) {
        self.connect(greeting(false));
        let (asked, _) = self.asked(SUBSCRIBE).expect("it subscribes");
        let [high, low] = asked.to_be_bytes();
        self.hear(&[0x90, 4, high, low, 0, 0]);
        // Its notices so far are taken.
        self.answered(0);
    }

    /// The packet id of what it has asked for, and the filter that is in it.
    fn asked(&mut self, first: u8) -> Option<(u16, String)> {
        let (_, others) = self.sent();
        let packet = others.into_iter().find(|it| it[0] == first)?;
        let text = String::from_utf8_lossy(&packet[7..]).into_owned();
        Some((u16::from_be_bytes([packet[2], packet[3]]), text))
    }

    fn comes(&mut self, (topic, payload): &Said, retain: bool) {
        let (topic, payload) = (topic.as_str(), payload.as_bytes());
        let message = Message { packet_id: 0, qos: 0, dup: false, retain, topic, payload };
        self.hear(&Peer::written(Version::V5, &message));
        self.step().unwrap();
    }

    /// What is known of a sensor of the entry "fleet".
    fn known(&self, sensor: &str) -> Option<(Presence, u64, u64)> {
        let row = self.registry.row("fleet", sensor)?;
        let millis = |at: Option<Timestamp>| at.map_or(0, Timestamp::millis);
        Some((row.presence(), millis(row.since()), millis(row.last_received())))
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.later(time);
        self.step().unwrap();
    }
}

#[test]
fn what_an_earlier_run_has_told_is_known_again_and_is_no_news() {
    let mut scene = scene();
    scene.connect(greeting(false));
    let (packet_id, filter) = scene.asked(SUBSCRIBE).unwrap();
    assert!(packet_id > 0 && filter.starts_with("s/+/+"), "{filter}");
    // It may come before SUBACK.
    scene.comes(&kept("fleet", "a", "silent"), true);
    scene.comes(&kept("fleet", "b", "online"), true);
    assert_eq!(scene.known("a"), Some((Presence::Silent, 9000, 5000)));
    assert_eq!(scene.known("b"), Some((Presence::Online, 9000, 5000)));
    let row = scene.registry.row("fleet", "a").unwrap();
    assert_eq!((row.received(), row.interval()), (0, Some(Duration::from_millis(1070))));
    assert_eq!(states(&scene.answered(0)), [("s/gw-1", "online")], "the broker has the others");
    scene.disconnect();
    scene.connect(greeting(false));
    let said = scene.answered(0);
    let expected = kept("fleet", "a", "silent").1.replace(",\"new\":[1]", "");
    assert_eq!(said[1].1, expected, "it may have lost them");
    scene.registry.end_entry("fleet");
    assert_eq!(scene.answered(0).len(), 2, "taken back");
}

#[test]
fn what_is_none_of_our_notices_is_left_alone() {
    let mut scene = scene();
    scene.begin();
    let (topic, payload) = kept("fleet", "a", "silent");
    let other = |from: &str, to: &str| (topic.clone(), payload.replace(from, to));
    for said in [
        (topic.clone(), String::new()),
        (topic.clone(), "silent".into()),
        (topic.clone(), "[{}]".into()),
        (topic.clone(), payload.replace('}', "")),
        ("s/fleet/b".into(), payload.clone()),
        other("gw-1", "gw-2"),
        other("\"silent\"", "\"dead\""),
        other("1970-01-01T00:00:09.000Z", "yesterday"),
        kept("fleet", &"x".repeat(129), "silent"),
        kept("fleet", "", "silent"),
        kept("fleet", "(others)", "silent"),
    ] {
        scene.comes(&said, true);
    }
    scene.comes(&(topic, payload), false);
    assert_eq!(scene.registry.sensors(), 0);
    assert!(scene.published().is_empty());
    // That of a sensor which is called so can be told apart.
    scene.comes(&kept("fleet", "b", "silent"), true);
    assert_eq!(scene.registry.sensors(), 1);
}

#[test]
fn the_notice_of_a_sensor_that_no_entry_has_any_more_is_taken_back() {
    let mut scene = scene_of("s/{entry}/{sensor}", {
        Registry::new(9, [("fleet", None), ("gone", None), ("TEMP", Some(1))])
    });
    scene.registry.end_entry("gone");
    scene.registry.row_of("TEMP_00", 2);
    scene.begin();
    for (entry, sensor) in
        [("old", "a"), ("gone", "b"), ("TEMP", "TEMP_00"), ("TEMP", "TEMP_01"), ("old", "(others)")]
    {
        scene.comes(&kept(entry, sensor, "online"), true);
    }
    let expected = ["s/old/a", "s/gone/b", "s/TEMP/TEMP_01", "s/old/(others)"];
    assert_eq!(scene.published(), expected.map(|it| (0, (it.to_owned(), String::new()))));
    assert_eq!(scene.registry.row("TEMP", "TEMP_00").unwrap().since().unwrap().millis(), 9000);
    // And that of the gateway.
    assert_eq!((scene.registry.sensors(), scene.notifier.about.metrics.notices.get()), (1, 1 + 4));
}

/// The topic may be that of another entry's sensor.
#[test]
fn a_notice_that_a_sensor_of_another_entry_has_now_is_not_taken_back() {
    let mut scene = scene_of("s/{sensor}", Registry::new(9, [("fleet", None)]));
    scene.is("a", Presence::Online);
    scene.begin();
    for sensor in ["a", "b"] {
        let (_, payload) = kept("old", sensor, "silent");
        scene.comes(&(format!("s/{sensor}"), payload), true);
    }
    assert_eq!(scene.published(), [(0, ("s/b".to_owned(), String::new()))]);
}

#[test]
fn a_sensor_that_was_heard_before_is_as_it_was_heard() {
    let mut scene = scene();
    scene.is("a", Presence::Late);
    let told = scene.registry.row_of("b", 0);
    told.told(true, Timestamp::from_millis(2000));
    scene.begin();
    for sensor in ["a", "b", "c"] {
        scene.comes(&kept("fleet", sensor, "silent"), true);
    }
    assert_eq!(scene.known("a"), Some((Presence::Late, 2000, 1000)));
    assert_eq!(scene.known("b"), Some((Presence::Online, 2000, 5000)), "it says so itself");
    scene.registry.row_of("c", 0).receive(Timestamp::from_millis(7000));
    assert_eq!(scene.known("c"), Some((Presence::Online, 7000, 7000)));
}

#[test]
fn what_has_no_row_left_is_left_out_and_takes_none_from_others() {
    let mut scene = scene_of("s/{entry}/{sensor}", Registry::new(2, [("fleet", None)]));
    scene.is("a", Presence::Silent);
    scene.begin();
    for sensor in ["b", "c", "d"] {
        scene.comes(&kept("fleet", sensor, "silent"), true);
    }
    let known = ["a", "b", "c", "d"].map(|it| scene.known(it).is_some());
    assert_eq!(known, [true, true, false, false]);
    assert!(scene.published().is_empty(), "their notices stay");
    assert!(!scene.registry.row_of("new", 0).is_shared(), "what reports goes before what does not");
    assert!(scene.known("a").is_some() != scene.known("b").is_some());
}

#[test]
fn it_unsubscribes_when_nothing_comes_any_more_and_no_session_keeps_the_subscription() {
    let mut scene = scene();
    assert!(scene.notifier.attempt().hello.clean_start);
    scene.begin();
    let almost = QUIET.saturating_sub(Duration::from_millis(1));
    for sensor in ["a", "b"] {
        scene.pass(almost);
        scene.comes(&kept("fleet", sensor, "online"), true);
    }
    scene.pass(almost);
    assert_eq!(scene.asked(UNSUBSCRIBE), None);
    let Ok(Step::Wait { until: Some(until), .. }) = scene.step() else { panic!() };
    assert!(until <= scene.now.instant + Duration::from_millis(1));
    // What others publish is not waited for.
    scene.comes(&kept("fleet", "c", "online"), false);
    scene.pass(Duration::from_millis(1));
    let (packet_id, filter) = scene.asked(UNSUBSCRIBE).unwrap();
    assert!(filter.ends_with("s/+/+"), "{filter}");
    assert!(scene.notifier.attempt().hello.clean_start, "the broker may not have heard it");
    scene.comes(&kept("fleet", "d", "online"), true);
    assert_eq!(scene.known("d"), None, "it is over");
    let [high, low] = packet_id.to_be_bytes();
    scene.hear(&[0xb0, 4, high, low, 0, 0]);
    scene.step().unwrap();
    assert!(!scene.notifier.attempt().hello.clean_start);
    scene.disconnect();
    scene.connect(greeting(true));
    assert_eq!(scene.asked(SUBSCRIBE), None, "once in a run");
}

#[test]
fn it_ends_after_a_minute_although_more_comes() {
    let mut scene = scene();
    scene.begin();
    for second in 1..TIME_MAX.as_secs() {
        scene.pass(Duration::from_secs(1));
        scene.comes(&kept("fleet", &second.to_string(), "online"), true);
        // Its own notices are answered.
        scene.answered(0);
    }
    scene.pass(Duration::from_secs(1));
    assert!(scene.asked(UNSUBSCRIBE).is_some());
    scene.disconnect();
    assert!(scene.notifier.attempt().hello.clean_start, "it was not confirmed");
    scene.connect(greeting(false));
    assert_eq!(scene.asked(SUBSCRIBE), None);
    assert!(!scene.notifier.attempt().hello.clean_start);
}

#[test]
fn who_may_not_read_them_is_asked_once_and_gives_notice_all_the_same() {
    for how in ["refused", "ended", "unanswered"] {
        let mut scene = scene();
        scene.is("a", Presence::Late);
        scene.connect(greeting(false));
        let (packet_id, _) = scene.asked(SUBSCRIBE).unwrap();
        let [high, low] = packet_id.to_be_bytes();
        match how {
            "refused" => scene.hear(&[0x90, 4, high, low, 0, 0x87]),
            "ended" => scene.disconnect(),
            _ => {
                scene.answered(0);
                scene.pass(TIME_MAX);
                assert!(scene.asked(UNSUBSCRIBE).is_some());
                scene.disconnect();
            }
        }
        if how != "refused" {
            assert!(scene.notifier.attempt().hello.clean_start, "it may have been granted");
            scene.connect(greeting(false));
        }
        scene.is("a", Presence::Silent);
        scene.step().unwrap();
        let (said, others) = scene.sent();
        assert_eq!(states(&[said[1].1.clone()]), [("s/fleet/a", "silent")], "{how}");
        assert!(others.is_empty(), "{how}: {others:x?}");
        scene.comes(&kept("fleet", "b", "silent"), true);
        assert_eq!(scene.known("b"), None, "{how}: nothing is read any more");
        assert!(!scene.notifier.attempt().hello.clean_start, "{how}");
    }
}

#[test]
fn a_connection_that_ends_on_the_way_is_followed_by_another_try_but_not_for_ever() {
    let mut scene = scene();
    for _ in 0..TRIES_MAX {
        assert!(scene.notifier.attempt().hello.clean_start);
        scene.begin();
        scene.disconnect();
    }
    assert!(scene.notifier.attempt().hello.clean_start);
    scene.connect(greeting(false));
    assert_eq!(scene.asked(SUBSCRIBE), None);
    assert!(!scene.notifier.attempt().hello.clean_start);
}

/// A thousand sensors of an entry that there is no more.
#[test]
fn no_more_is_read_than_can_be_answered() {
    let mut scene = scene();
    scene.begin();
    let is_full = |step: &Step| !matches!(step, Step::Wait { reads: true, .. });
    for turn in 0.. {
        assert!(turn < 99, "it reads on and on: {}", scene.out.backlog());
        let step = scene.step().unwrap();
        if is_full(&step) {
            break;
        }
        for sensor in 0..20 {
            let (topic, payload) = kept("old", &format!("{sensor}{}", "x".repeat(99)), "online");
            let (topic, payload) = (topic.as_str(), payload.as_bytes());
            let message =
                Message { packet_id: 0, qos: 0, dup: false, retain: true, topic, payload };
            let bytes = Peer::written(Version::V5, &message);
            if scene.inbound.space().len() > bytes.len() {
                scene.hear(&bytes);
            }
        }
    }
    assert!(scene.out.backlog() < NOTICE_BYTES + 1024, "{}", scene.out.backlog());
    scene.out.take();
    let step = scene.step().unwrap();
    assert!(!is_full(&step), "it goes on once they are written");
}

#[test]
fn without_notices_of_sensors_nothing_is_read() {
    let mut scene = scene();
    scene.notifier.about.settings.topic = None;
    let Scene { notifier, .. } = scene;
    let Notifier { options, about, phase, .. } = notifier;
    let mut notifier = Notifier::new(options, about, None, phase, 1);
    assert!(!notifier.attempt().hello.clean_start);
    let mut out = Outbound::new(Version::V5);
    notifier.handle_connected(clock::now(), greeting(true), &mut out).unwrap();
    assert_eq!(out.backlog(), 0);
}
