//! The intake's session at the broker: resumed, lost, restored, and never acknowledged across.

use crate::scene::{
    audit, drained, fault, fleet, output, reading, readings, report, subscribed, violations,
    wait_readings,
};
use crate::support::broker::{Broker, Connected, Limits};
use crate::support::client::{Collector, Options, Publisher, Session};
use crate::support::gateway::Gateway;
use crate::support::mosquitto::{Mosquitto, NO_DROP};
use crate::support::proxy::{Cut, Proxy, Way};
use crate::support::wire::ConnectReturnCode;
use crate::support::{SOON, eventually};

const NONE: [String; 0] = [];

#[test]
fn a_resumed_session_repeats_nothing_that_is_still_held() {
    for version in [3, 5] {
        let (input, sink) = (Broker::start(), Broker::start());
        input.set_window(300);
        sink.hold_acks("");
        let version_is_5 = version == 5;
        let version = format!("broker.version = {version}");
        let more = [output(&sink.url()), version, "broker.window_messages = 300".to_owned()];
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        let mut gateway = subscribed(&fleet(&input.url(), &more));
        input.publish_all(readings(5, 1..=100, 1));
        input.wait_until("the window is full", SOON, |log| log.unacked("gw-in") == 300);
        // With MQTT 3.1.1 what is retained would come again with each.
        let subscribes = |connects: usize| if version_is_5 { connects } else { 1 };
        for cuts in 2..=5 {
            input.drop_connections("gw-in");
            input.wait_until("it comes back", SOON, |log| {
                let all_sent = log.connects("gw-in") == cuts && log.unacked("gw-in") == 300;
                all_sent && log.subscribes("gw-in") == subscribes(cuts)
            });
        }
        sink.resume_acks("");
        input.wait_until("nothing is left", SOON, |log| {
            log.unacked("gw-in") + log.queued("gw-in") == 0
        });
        let what = format!("input link cut 4 times, window full, {}", more[1]);
        let balance = fault(&what, 0, &mut gateway, || audit(&sink).judge_load(5, 100));
        assert_eq!((balance.received, balance.delivered), (500, 500));
        let log = input.client("gw-in");
        assert_eq!((log.violations.as_slice(), log.acks_out_of_order), (&NONE[..], 0));
        let resumed = log.connects.iter().filter(|it| it.session_present).count();
        assert_eq!((resumed, log.subscribes.len()), (4, subscribes(5)));
    }
}

/// Some brokers resend what is unacknowledged without DUP (Aedes, `FlashMQ`).
#[test]
fn repeats_without_dup_are_known_by_id_and_content() {
    for version in [3, 5] {
        let (input, sink) = (Broker::start(), Broker::start());
        input.set_window(300);
        input.repeat_unmarked("");
        sink.hold_acks("");
        let own = [output(&sink.url()), format!("broker.version = {version}")];
        let window = "broker.window_messages = 300";
        let mut gateway = subscribed(&fleet(&input.url(), &[&own[0], &own[1], window]));
        input.publish_all(readings(5, 1..=100, 1));
        for cuts in 1..=4 {
            input.wait_until("the window is full", SOON, |log| {
                log.connects("gw-in") == cuts && log.unacked("gw-in") == 300
            });
            if cuts < 4 {
                input.drop_connections("gw-in");
            }
        }
        assert!(input.look(|log| log.of("gw-in").all(|it| it.delivered.iter().all(|it| !it.dup))));
        sink.resume_acks("");
        input.wait_until("nothing is left", SOON, |log| {
            log.unacked("gw-in") + log.queued("gw-in") == 0
        });
        let name = format!("input broker repeats without DUP, version {version}");
        let balance = fault(&name, 0, &mut gateway, || audit(&sink).judge_load(5, 100));
        assert_eq!((balance.received, balance.delivered), (500, 500));
        assert_eq!(violations(&input), NONE);
    }
}

/// The broker sends again what is held, and before that what was acknowledged to deaf ears.
#[test]
fn lost_acknowledgements_do_not_make_held_readings_come_twice() {
    let (input, sink) = (Broker::start(), Broker::start());
    let proxy = Proxy::to(input.port());
    sink.hold_acks("");
    let small = ["batch.records_max = 50", "broker.window_messages = 300"];
    let output = output(&sink.url());
    let mut gateway = subscribed(&fleet(&proxy.url(), &[&small[..], &[&output]].concat()));
    input.publish_all(readings(5, 1..=60, 1));
    wait_readings(&sink, 300, SOON);
    // 50 acknowledgements are written, and lie unread when the connection breaks.
    input.stall_reads("gw-in");
    let before = proxy.bytes(Way::ToBroker);
    sink.release_some_acks("", 1);
    proxy.wait_until("acknowledgements", SOON, |now| now.bytes_to_broker >= before + 50 * 4);
    input.drop_connections("gw-in");
    input.resume_reads("gw-in");
    input.wait_until("all is sent again", SOON, |log| log.delivered("gw-in") == 600);
    sink.resume_acks("");
    input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 300);
    assert_eq!(drained(&mut gateway).received, 350, "only the 50 may be taken again");
    let verdict = audit(&sink).judge_load(5, 60);
    assert_eq!((verdict.lost, verdict.reordered, verdict.duplicated), (0, 0, 50));
}

#[test]
fn a_lost_session_is_subscribed_again_and_acknowledged_only_for_what_it_sent() {
    for version in [3, 5] {
        let (input, sink) = (Broker::start(), Broker::start());
        input.set_window(300);
        sink.hold_acks("");
        let version = format!("broker.version = {version}");
        let more = [output(&sink.url()), version, "broker.window_messages = 300".to_owned()];
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        let mut gateway = subscribed(&fleet(&input.url(), &more));
        input.publish_all(readings(5, 1..=40, 1));
        input.wait_until("all is sent", SOON, |log| log.unacked("gw-in") == 200);
        eventually("all is held", SOON, || audit(&sink).distinct() == 200);
        input.forget_sessions("gw-in");
        gateway.wait_for_line("lost our session", SOON);
        input.wait_until("subscribed again", SOON, |log| log.subscribes("gw-in") == 2);
        input.publish_all(readings(5, 41..=100, 1));
        sink.resume_acks("");
        input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 300);
        let what = format!("input broker loses our session, {}", more[1]);
        let balance = fault(&what, 0, &mut gateway, || audit(&sink).judge_load(5, 100));
        assert_eq!((balance.received, balance.delivered), (500, 500));
        audit(&sink).assert_exactly(5, 100);
        assert_eq!(violations(&input), NONE);
        assert!(input.client("gw-in").acks.iter().all(|ack| ack.connection > 1));
    }
}

#[test]
fn a_session_lost_while_the_queue_is_full_fills_it_no_further() {
    let (input, sink) = (Broker::start(), Broker::start());
    sink.hold_acks("");
    // A gateway that has stopped reading notices a lost link by its next ping.
    let small = ["queue.records_max = 200", "batch.records_max = 50", "broker.keep_alive = \"2s\""];
    let output = output(&sink.url());
    let mut gateway = subscribed(&fleet(&input.url(), &[&small[..], &[&output]].concat()));
    input.publish_all(readings(5, 1..=40, 1));
    eventually("all is held", SOON, || audit(&sink).distinct() == 200);
    for round in 1..=3 {
        input.forget_sessions("gw-in");
        input.wait_until("subscribed again", SOON, |log| log.subscribes("gw-in") == round + 1);
        let from = 40 * round as u64 + 1;
        input.publish_all(readings(5, from..=from + 39, 1));
        input.wait_until("the window is full", SOON, |log| log.unacked("gw-in") == 200);
    }
    sink.resume_acks("");
    input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 200);
    let balance = drained(&mut gateway);
    // What the lost sessions had sent and we had not read went with them.
    assert!(balance.received >= 400 && balance.received == balance.delivered, "{balance:?}");
    let audit = audit(&sink);
    let duplicated: u64 =
        audit.sensors.values().map(|sensor| sensor.records_before - sensor.distinct()).sum();
    let reordered: u64 = audit.sensors.values().map(|sensor| sensor.reordered).sum();
    assert_eq!((duplicated, reordered), (0, 0));
    let last_round =
        (121..=160).all(|n| audit.sensors.values().all(|sensor| !sensor.lost(160).contains(&n)));
    assert!(last_round, "{}", audit.faults(160));
}

#[test]
fn a_link_cut_before_the_subscription_leaves_no_gateway_that_hears_nothing() {
    let (input, sink) = (Broker::start(), Broker::start());
    let proxy = Proxy::to(input.port());
    // How long is CONNECT? The broker refuses once; then the gateway is kept out.
    input.refuse_connects("gw-in", ConnectReturnCode::ServerBusy);
    // The bytes of another client would be counted and cut.
    let more = [output(&sink.url()), "broker.watch = false".to_owned()];
    let mut gateway = Gateway::start(&fleet(&proxy.url(), &[&more[0], &more[1]]));
    input.wait_until("a refused attempt", SOON, |log| log.refused("gw-in") > 0);
    proxy.refuse();
    eventually("the proxy is quiet", SOON, || proxy.traffic().open == 0);
    let traffic = proxy.traffic();
    let connect = traffic.bytes_to_broker / input.look(|log| log.refused("gw-in")) as u64;
    input.accept_connects("gw-in");
    proxy.cut_after(Way::ToBroker, connect + 1);
    proxy.accept();
    proxy.wait_until("the cut inside SUBSCRIBE", SOON, |now| now.cuts == traffic.cuts + 1);
    input.wait_until("it comes back", SOON, |log| log.connects("gw-in") == 2);
    assert!(input.client("gw-in").connects.last().unwrap().session_present);
    gateway.wait_for_line("subscribed", SOON);
    input.publish_all(readings(1, 1..=10, 1));
    wait_readings(&sink, 10, SOON);
    assert_eq!(drained(&mut gateway).delivered, 10);
}

/// A broker whose disk was restored: our session is there, with other messages under ids we hold.
#[test]
fn a_restored_session_with_other_messages_under_known_ids_is_served() {
    let (old, new, sink) = (Broker::start(), Broker::start(), Broker::start());
    let options = Options::new(new.port(), "gw-in-fleet").persistent();
    let mut session = Session::open(&options).unwrap();
    session.subscribe(&["sensors/+/reading"]).unwrap();
    new.publish_all((1..=5).map(|n| reading("other", n, 1)));
    new.wait_until("five in flight", SOON, |log| log.unacked("gw-in") == 5);
    drop(session);
    new.wait_until("the client is gone", SOON, |log| !log.connected("gw-in"));

    sink.hold_acks("");
    let proxy = Proxy::to(old.port());
    let mut gateway = subscribed(&fleet(&proxy.url(), &[&output(&sink.url())]));
    old.publish_all(readings(1, 1..=5, 1));
    eventually("five are held", SOON, || audit(&sink).distinct() == 5);
    proxy.retarget(new.port());
    proxy.cut(Cut::Reset);
    new.wait_until("five are sent again", SOON, |log| log.delivered("gw-in") == 10);
    new.publish_all((6..=10).map(|n| reading("other", n, 1)));
    sink.resume_acks("");
    new.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 10);
    assert_eq!(drained(&mut gateway).delivered, 15);
    assert_eq!(violations(&new), NONE);
    let all = audit(&sink).judge([("s00000", 5), ("other", 10)]);
    assert!(all.is_clean(), "{all:?}");
}

#[test]
fn what_is_left_unacknowledged_comes_again_to_the_next_run() {
    let (input, sink) = (Broker::start(), Broker::start());
    sink.hold_acks("");
    let out = output(&sink.url());
    let config = fleet(&input.url(), &[&out]);
    let gateway = subscribed(&config);
    input.publish_all(readings(5, 1..=40, 1));
    eventually("all is held", SOON, || audit(&sink).distinct() == 200);
    gateway.signal("KILL");
    input.wait_until("the end is noticed", SOON, |log| !log.connected("gw-in"));
    assert_eq!(input.look(|log| (log.acks("gw-in"), log.queued("gw-in"))), (0, 200));
    sink.resume_acks("");
    let mut next = subscribed(&config);
    input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 200);
    let balance = drained(&mut next);
    assert_eq!((balance.received, balance.delivered), (200, 200));
    let verdict = audit(&sink).judge_load(5, 40);
    report(&format!("killed with 200 held: {verdict:?}"));
    assert_eq!((verdict.lost, verdict.reordered), (0, 0));
    assert_eq!(verdict.duplicated, 200, "what the first run published and nobody acknowledged");
}

#[test]
fn a_group_that_is_added_later_does_not_bring_every_reading_twice() {
    let mosquitto = Mosquitto::start(NO_DROP);
    let collector = Collector::start(mosquitto.port());
    let plain = fleet(&mosquitto.url(), &[]);
    drained(&mut subscribed(&plain));
    let shared = fleet(&mosquitto.url(), &["sensors.fleet.mqtt.group = \"g\""]);
    let mut gateway = subscribed(&shared);
    Publisher::to(mosquitto.port()).sensors(5).readings(100).run(SOON);
    collector.wait_readings(500, SOON);
    assert_eq!(drained(&mut gateway).received, 500);
    collector.audit().assert_exactly(5, 100);
}

/// Runs one of Mosquitto's clients to its end.
pub(crate) fn client(program: &str, port: u16, arguments: &str) {
    let mut command = std::process::Command::new(program);
    command.args(["-p", &port.to_string(), "-V", "5"]).args(arguments.split_whitespace());
    let done = command.output();
    let done = done.expect("Mosquitto's clients are missing: apt-get install mosquitto-clients");
    // mosquitto_sub -W ends with 27 when its time is up.
    assert!(matches!(done.status.code(), Some(0 | 27)), "{program}: {done:?}");
}

/// Another program has subscribed with QoS 2 in what is our session.
#[test]
fn messages_of_qos_2_in_our_session_are_taken_and_do_not_wedge_it() {
    let mosquitto = Mosquitto::start(NO_DROP);
    let port = mosquitto.port();
    client("mosquitto_sub", port, "-i gw-in-fleet -c -x 600 -q 2 -t sensors/+/reading -W 1");
    let publish = |qos: u8, n: u64| {
        let payload = format!(r#"{{"value":{n},"n":{n}}}"#);
        client("mosquitto_pub", port, &format!("-t sensors/a/reading -q {qos} -m {payload}"));
    };
    // More than the window: each must be completed to make room for the next.
    (1..=12).for_each(|n| publish(2, n));
    publish(1, 13);
    let collector = Collector::start(port);
    let config = fleet(&mosquitto.url(), &["broker.window_messages = 5"]);
    let mut gateway = subscribed(&config);
    collector.wait_readings(13, SOON);
    assert_eq!(drained(&mut gateway).delivered, 13);
    assert_eq!(gateway.count("connection lost"), 0, "{}", gateway.text());
    // Nothing is left in the session.
    let mut next = subscribed(&config);
    publish(1, 14);
    collector.wait_readings(14, SOON);
    assert_eq!(drained(&mut next).received, 1);
}

#[test]
fn what_settled_while_the_link_was_down_is_acknowledged_when_it_is_asked_for_again() {
    for version in [3, 5] {
        let (input, sink) = (Broker::start(), Broker::start());
        input.set_window(20);
        sink.hold_acks("");
        let version = format!("broker.version = {version}");
        let more = [output(&sink.url()), version, "broker.window_messages = 20".to_owned()];
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        let mut gateway = subscribed(&fleet(&input.url(), &more));
        input.publish_all(readings(5, 1..=20, 1));
        input.wait_until("the window is full", SOON, |log| log.unacked("gw-in") == 20);
        eventually("all is held", SOON, || audit(&sink).distinct() == 20);
        input.go_away();
        gateway.wait_for_line("connection lost", SOON);
        sink.resume_acks("");
        sink.wait_until("all is settled", SOON, |log| log.held_acks("") == 0);
        input.come_back();
        input.wait_until("nothing is left", SOON, |log| {
            log.connected("gw-in") && log.unacked("gw-in") + log.queued("gw-in") == 0
        });
        let balance = drained(&mut gateway);
        assert_eq!((balance.received, balance.delivered), (100, 100));
    }
}

#[test]
fn packets_that_nobody_asked_for_do_not_end_an_intake() {
    for version in [3, 5] {
        let (input, sink) = (Broker::start(), Broker::start());
        let version = format!("broker.version = {version}");
        let mut gateway = subscribed(&fleet(&input.url(), &[&output(&sink.url()), &version]));
        // PUBACK, PUBREC, PUBCOMP, PINGRESP.
        input.send_raw("gw-in", &[0x40, 2, 0, 9, 0x50, 2, 0, 9, 0x70, 2, 0, 9, 0xd0, 0]);
        input.publish_all(readings(5, 1..=20, 1));
        input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 100);
        assert_eq!(drained(&mut gateway).delivered, 100);
        assert_eq!(gateway.count("connection lost"), 0, "{}", gateway.text());
    }
}

#[test]
fn a_session_that_is_lost_at_each_connect_is_not_said_each_time() {
    const ROUNDS: usize = 6;
    let (input, sink) = (Broker::start(), Broker::start());
    let mut gateway = subscribed(&fleet(&input.url(), &[&output(&sink.url())]));
    for round in 1..=ROUNDS {
        input.forget_sessions("gw-in");
        input.wait_until("it is back", SOON, |log| log.subscribes("gw-in") > round);
    }
    assert!(gateway.said("lost our session"), "{}", gateway.text());
    assert!(gateway.count("lost our session") < ROUNDS / 2, "{}", gateway.text());
    drained(&mut gateway);
}

/// The broker goes on filling it, and nobody fetches that.
#[test]
fn a_session_whose_entry_was_removed_while_the_gateway_was_stopped_is_named_once() {
    const LEFT: &str = "a session that no entry has now";
    let (input, sink, disk) = (Broker::start(), Broker::start(), tempfile::tempdir().unwrap());
    let spool = format!("spool.path = \"{}\"", disk.path().display());
    let (output, old) = (output(&sink.url()), "sensors.old.mqtt.topic = \"old/{sensor}\"");
    let list = disk.path().join("sessions.json");
    let mut both = Gateway::start(&fleet(&input.url(), &[&output, &spool, old]));
    let lists = |name: &str| std::fs::read_to_string(&list).is_ok_and(|it| it.contains(name));
    eventually("both are written", SOON, || lists("\"old\"") && lists("\"fleet\""));
    drained(&mut both);
    let config = fleet(&input.url(), &[&output, &spool]);
    let mut one = subscribed(&config);
    let line = one.wait_for_line(LEFT, SOON);
    let command = format!("mosquitto_sub -h 127.0.0.1 -p {} -i gw-in-old -t x -E", input.port());
    assert!(line.contains(&command) && line.contains("session=\"old\""), "{line}");
    assert_eq!(one.count(LEFT), 1, "{}", one.text());
    eventually("it is forgotten", SOON, || !lists("\"old\"") && lists("\"fleet\""));
    drained(&mut one);
    let mut again = subscribed(&config);
    drained(&mut again);
    assert!(!again.said(LEFT) && !again.said("possible loss"), "{}", again.text());
}

/// A session that an earlier run left, known by the file beside the spool.
#[test]
fn a_session_that_is_lost_between_two_runs_is_said_as_possible_loss() {
    const GONE: &str = "has not the session that an earlier run left";
    let (input, sink, disk) = (Broker::start(), Broker::start(), tempfile::tempdir().unwrap());
    let spool = format!("spool.path = \"{}\"", disk.path().display());
    let config = fleet(&input.url(), &[&output(&sink.url()), &spool]);
    let list = disk.path().join("sessions.json");

    let mut first = subscribed(&config);
    eventually("it is written", SOON, || list.exists());
    drained(&mut first);
    let text = std::fs::read_to_string(&list).unwrap();
    assert!(text.contains("\"fleet\"") && !text.contains("gw-in-fleet"), "{text}");

    let mut second = subscribed(&config);
    drained(&mut second);
    assert!(!second.said("possible loss"), "it is there: {}", second.text());

    input.forget_sessions("gw-in");
    let mut third = subscribed(&config);
    let line = third.wait_for_line("possible loss outside the gateway", SOON);
    assert!(line.contains(GONE) && line.contains("WARN"), "{line}");
    input.publish_all(readings(1, 1..=5, 1));
    wait_readings(&sink, 5, SOON);
    drained(&mut third);
    assert!(third.said("sessions_lost=1"), "{}", third.text());

    // Rubbish is said, and nothing else comes of it.
    std::fs::write(&list, "rubbish\n").unwrap();
    input.forget_sessions("gw-in");
    let mut fourth = subscribed(&config);
    fourth.wait_for_line("sessions that earlier runs left cannot be read", SOON);
    eventually("it is written anew", SOON, || std::fs::read_to_string(&list).unwrap() == text);
    drained(&mut fourth);
    assert!(!fourth.said("possible loss"), "{}", fourth.text());
}

#[test]
fn a_session_without_a_subscription_is_no_loss_nor_is_one_of_a_run_that_remembers_nothing() {
    let (input, sink, disk) = (Broker::start(), Broker::start(), tempfile::tempdir().unwrap());
    let spool = format!("spool.path = \"{}\"", disk.path().display());
    let out = output(&sink.url());
    let never = "gateway.start_grace = \"0s\"";
    input.refuse_subscribes("sensors", 0x87);
    let mut refused = Gateway::start(&fleet(&input.url(), &[&out, &spool, never]));
    assert_eq!(refused.wait_exit(SOON), 77, "{}", refused.text());
    // Each of them without a session: the one before never had a subscription.
    input.refuse_subscribes("sensors", 0x97);
    let mut put_off = Gateway::start(&fleet(&input.url(), &[&out, &spool]));
    for round in 1..=2 {
        input.wait_until("it asks again", SOON, |log| log.subscribes("gw-in") > round);
        input.forget_sessions("gw-in");
    }
    input.accept_subscribes("sensors");
    put_off.wait_for_line("subscribed", SOON);
    drained(&mut put_off);
    input.forget_sessions("gw-in");
    let mut without = subscribed(&fleet(&input.url(), &[&out]));
    drained(&mut without);
    for run in [refused, put_off, without] {
        assert!(!run.said("possible loss"), "{}", run.text());
    }
}

#[test]
fn how_long_a_session_is_to_be_kept_is_asked_for_and_a_shorter_time_is_said_once() {
    let (input, sink) = (Broker::start(), Broker::start());
    input.announce(Limits { session_expiry: Some(60), ..Limits::default() });
    let expiry = "broker.session_expiry = \"2h\"";
    let mut gateway = subscribed(&fleet(&input.url(), &[&output(&sink.url()), expiry]));
    for round in 2..=3 {
        input.drop_connections("gw-in");
        input.wait_until("it is back", SOON, |log| log.subscribes("gw-in") == round);
    }
    drained(&mut gateway);
    let connects = input.client("gw-in").connects;
    let asked = |it: &Connected| it.connect.properties.as_ref().unwrap().session_expiry_interval;
    assert!(connects.iter().all(|it| asked(it) == Some(7200)), "{connects:?}");
    let line = gateway.wait_for_line("keeps our session for a shorter time", SOON);
    assert!(line.contains("kept_seconds=60") && line.contains("asked_seconds=7200"), "{line}");
    assert_eq!(gateway.count("keeps our session for a shorter time"), 1, "{}", gateway.text());
}
