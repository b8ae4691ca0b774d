//! What may have been lost before the gateway saw it is said: by the broker's own count, by the
//! sensors' own numbers, by a session that is gone.

use std::time::Duration;

use crate::scene::{
    audit, drained, fleet, output, reading, readings, subscribed, violations, wait_readings,
};
use crate::support::broker::Broker;
use crate::support::client::Publisher;
use crate::support::gateway::Gateway;
use crate::support::mosquitto::{Mosquitto, NO_DROP};
use crate::support::wire::ConnectReturnCode;
use crate::support::{SOON, eventually};

/// What all warnings of this kind say.
const LOSS: &str = "possible loss outside the gateway";

/// Shows each value of the counter.
const SHOWN: &str = "log.level = \"info,sluicegate::watch=debug\"";

const NUMBERED: &str = "sensors.fleet.mqtt.payload.json.number = \"/n\"";

/// The last line about the whole run.
#[track_caller]
fn whole_run(gateway: &Gateway) -> String {
    let text = gateway.text();
    let line = text.lines().find(|line| line.contains("in the whole run"));
    line.unwrap_or_else(|| panic!("nothing was said of the whole run:\n{text}")).to_owned()
}

#[test]
fn what_a_broker_drops_is_said_with_its_number() {
    for version in [3, 5] {
        let small = "max_inflight_messages 20\nmax_queued_messages 50\nsys_interval 1\n";
        let (mosquitto, sink) = (Mosquitto::start(small), Broker::start());
        sink.hold_acks("");
        let version = format!("broker.version = {version}");
        let more = [&version, &output(&sink.url()), SHOWN, "broker.window_messages = 20"];
        let mut gateway = subscribed(&fleet(&mosquitto.url(), &more));
        gateway.wait_for_line("dropped messages total=0", SOON);
        Publisher::to(mosquitto.port()).sensors(5).readings(100).run(SOON);
        let line = gateway.wait_for_line(LOSS, SOON);
        for word in [&mosquitto.url(), "config/mosquitto.conf", "sluicegate doctor"] {
            assert!(line.contains(word), "{line}");
        }
        sink.resume_acks("");
        let mut dropped = 0;
        eventually("the count is what has not come", SOON, || {
            dropped = 500 - audit(&sink).distinct();
            gateway.said(&format!("dropped messages total={dropped} "))
        });
        assert!((1..500).contains(&dropped), "{dropped}");
        assert_eq!(drained(&mut gateway).delivered, 500 - dropped);
        let line = whole_run(&gateway);
        assert!(line.contains(&format!("broker_dropped={dropped} numbers_missing=0")), "{line}");
    }
}

#[test]
fn a_broker_that_drops_nothing_is_not_warned_of() {
    let mosquitto = Mosquitto::start(&format!("{NO_DROP}sys_interval 1\n"));
    let sink = Broker::start();
    let more = [&output(&sink.url()), SHOWN, NUMBERED];
    let mut gateway = subscribed(&fleet(&mosquitto.url(), &more));
    gateway.wait_for_line("dropped messages total=0", SOON);
    Publisher::to(mosquitto.port()).sensors(10).readings(200).rate(1000.0).run(SOON);
    wait_readings(&sink, 2000, SOON);
    assert_eq!(drained(&mut gateway).delivered, 2000);
    assert!(!gateway.said(LOSS), "{}", gateway.text());
    let log = mosquitto.log();
    assert!(log.contains("Client gw-watch disconnected."), "{log}");
}

#[test]
fn numbers_that_do_not_come_are_counted_exactly() {
    let (input, sink) = (Broker::start(), Broker::start());
    let mut gateway = subscribed(&fleet(&input.url(), &[&output(&sink.url()), NUMBERED]));
    let send = |sensor: &str, numbers: std::ops::RangeInclusive<u64>| {
        input.publish_all(numbers.map(|n| reading(sensor, n, 1)));
    };
    send("a", 1..=10);
    send("a", 15..=20);
    let line = gateway.wait_for_line(LOSS, SOON);
    for word in ["sensor=\"a\"", "from=11 to=14", "total=4"] {
        assert!(line.contains(word), "{line}");
    }
    // Late: 11 and 12 are still missing.
    send("a", 13..=14);
    // Begins where it is first heard, and anew.
    send("b", 500..=510);
    send("b", 1..=9);
    send("b", 12..=12);
    // Nothing missing.
    send("c", 0..=30);
    send("c", 25..=35);
    let all = 10 + 6 + 2 + 11 + 9 + 1 + 31 + 11;
    input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == all);
    assert_eq!(drained(&mut gateway).delivered, all as u64);
    let line = whole_run(&gateway);
    assert!(line.contains("broker_dropped=0 numbers_missing=4 sessions_lost=0"), "{line}");
    let text = sink.published("gateway/batches")[0].json()["records"][0].to_string();
    assert!(text.contains(r#""extra":{"n":1}"#), "the number stays where it was: {text}");
}

#[test]
fn a_cut_alone_leaves_no_number_missing() {
    for version in [3, 5] {
        let (input, sink) = (Broker::start(), Broker::start());
        let version = format!("broker.version = {version}");
        let more = [&output(&sink.url()), &version, NUMBERED];
        let mut gateway = subscribed(&fleet(&input.url(), &more));
        for round in 0..5 {
            sink.hold_acks("");
            input.publish_all(readings(3, round * 40 + 1..=round * 40 + 40, 1));
            input.drop_connections("gw-in");
            sink.resume_acks("");
            input.wait_until("it comes back", SOON, |log| {
                log.connects("gw-in") as u64 == round + 2 && log.unacked("gw-in") == 0
            });
        }
        input.wait_until("nothing is left", SOON, |log| {
            log.unacked("gw-in") + log.queued("gw-in") == 0
        });
        drained(&mut gateway);
        let verdict = audit(&sink).judge_load(3, 200);
        assert_eq!((verdict.lost, gateway.said(LOSS)), (0, false), "{}", gateway.text());
    }
}

#[test]
fn a_lost_session_and_what_it_held_are_said_in_the_same_words() {
    let (input, sink) = (Broker::start(), Broker::start());
    let mut gateway = subscribed(&fleet(&input.url(), &[&output(&sink.url()), NUMBERED]));
    input.publish_all(readings(1, 1..=10, 1));
    input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 10);
    input.forget_sessions("gw-in");
    let line = gateway.wait_for_line("lost our session", SOON);
    assert!(line.contains(LOSS), "{line}");
    input.wait_until("subscribed again", SOON, |log| log.subscribes("gw-in") == 2);
    input.publish_all(readings(1, 13..=20, 1));
    input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 18);
    drained(&mut gateway);
    let line = whole_run(&gateway);
    assert!(line.contains("numbers_missing=2 sessions_lost=1"), "{line}");
}

/// Once at the connection, once at the subscription.
#[test]
fn a_broker_that_refuses_to_be_watched_is_left_alone() {
    for (version, at_connect) in [(3, true), (5, true), (3, false), (5, false)] {
        let (input, sink) = (Broker::start(), Broker::start());
        if at_connect {
            input.refuse_connects("gw-watch", ConnectReturnCode::NotAuthorized);
        } else {
            input.refuse_subscribes("$SYS", if version == 3 { 0x80 } else { 0x87 });
        }
        let version = format!("broker.version = {version}");
        let more = [&output(&sink.url()), &version, "log.format = \"json\""];
        let mut gateway = subscribed(&fleet(&input.url(), &more));
        let attempts = |log: &crate::support::broker::Log| {
            log.of("gw-watch").map(|client| client.connects.len()).sum::<usize>()
        };
        input.wait_until("attempts", SOON, |log| attempts(log) == 3 && !log.connected("gw-watch"));
        assert!(!input.within(Duration::from_secs(3), |log| attempts(log) > 3), "no end of them");
        input.publish_all(readings(2, 1..=50, 1));
        input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 100);
        assert_eq!(drained(&mut gateway).delivered, 100);
        assert_eq!(violations(&input), [] as [String; 0]);
        let text = gateway.stderr();
        assert!(text.lines().all(|line| line.contains("\"level\":\"INFO\"")), "{text}");
        assert!(!text.contains("watch"), "{text}");
    }
}

#[test]
fn the_watch_can_be_switched_off_and_is_in_the_list_of_clients() {
    let config = |more: &[&str]| fleet("mqtt://127.0.0.1:1", more);
    let check = |config: &str| {
        let mut gateway = Gateway::command("check", config).start();
        assert_eq!(gateway.wait_exit(SOON), 0, "{}", gateway.text());
        gateway.stdout()
    };
    let text = check(&config(&[]));
    for words in ["gw-watch reads $SYS/broker/publish/messages/dropped", "watch connection"] {
        assert!(text.contains(words), "{text}");
    }
    assert!(!check(&config(&["broker.watch = false"])).contains("gw-watch"));
    let (input, sink) = (Broker::start(), Broker::start());
    let off = [&output(&sink.url()), "broker.watch = false"];
    let mut gateway = subscribed(&fleet(&input.url(), &off));
    drained(&mut gateway);
    assert_eq!(input.look(|log| log.of("gw-watch").count()), 0);
}
