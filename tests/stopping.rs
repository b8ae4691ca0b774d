//! Signals and ends: what the gateway has taken is delivered, or stays with the broker, and the
//! exit code says which.

use crate::scene::{
    BATCHES, LONG, audit, drained, ended, fleet, gateway, output, readings, records, report,
    subscribed, violations,
};
use crate::support::broker::Broker;
use crate::support::client::{Collector, Publisher};
use crate::support::gateway::{Balance, Gateway};
use crate::support::mosquitto::{Mosquitto, NO_DROP};
use crate::support::{SOON, eventually};

/// Two runs, the first one stopped in the middle of a load: everything comes out.
fn stopped_in_the_middle(signal: &str, version: u8) {
    let mosquitto = Mosquitto::start(NO_DROP);
    let collector = Collector::start(mosquitto.port());
    let version = format!("broker.version = {version}");
    let config = fleet(&mosquitto.url(), &[&version, "broker.window_messages = 2000"]);
    let mut first = subscribed(&config);
    let load = Publisher::to(mosquitto.port()).sensors(50).readings(1000).window(500).start();
    collector.wait_readings(10_000, LONG);
    first.signal(signal);
    let before = ended(&mut first);
    assert!(first.said("draining"));
    let mut second = subscribed(&config);
    assert_eq!(load.join(LONG).total(), 50_000);
    collector.wait_readings(50_000, LONG);
    let after = drained(&mut second);
    let verdict = collector.audit().judge_load(50, 1000);
    report(&format!("SIG{signal} in the middle: {before:?}, {after:?}, {verdict:?}"));
    assert_eq!((verdict.lost, verdict.reordered, verdict.strange), (0, 0, 0));
    assert_eq!(before.delivered + after.delivered, 50_000 + verdict.duplicated);
    assert_eq!(verdict.duplicated, 0, "a drain acknowledges all that it delivered");
}

#[test]
fn a_sigterm_in_the_middle_of_a_load_drains_and_the_next_run_takes_the_rest() {
    stopped_in_the_middle("TERM", 5);
}

#[test]
fn a_sigint_does_the_same_also_with_mqtt_3() {
    stopped_in_the_middle("INT", 3);
}

#[test]
fn a_gateway_whose_terminal_is_closed_drains() {
    let (input, sink) = (Broker::start(), Broker::start());
    let config = fleet(&input.url(), &[&output(&sink.url())]);
    let mut terminal = Gateway::with_config(&config).on_terminal().start();
    terminal.wait_for_line("subscribed", SOON);
    sink.hold_acks("");
    input.publish_all(readings(5, 1..=4, 1));
    eventually("all is held", SOON, || audit(&sink).distinct() == 20);
    terminal.signal("KILL");
    terminal.wait_exit(SOON);
    sink.resume_acks("");
    input.wait_until("it goes", SOON, |log| log.acks("gw-in") == 20 && !log.connected("gw-in"));
}

#[test]
fn a_sighup_without_a_terminal_reads_the_configuration_again_and_stops_nothing() {
    let input = Broker::start();
    let mut gateway = subscribed(&fleet(&input.url(), &[]));
    for times in 1..=2 {
        gateway.signal("HUP");
        eventually("the file is read again", SOON, || {
            gateway.count("the configuration was read again by=\"SIGHUP\"") == times
        });
    }
    input.publish_all(readings(5, 1..=4, 1));
    input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 20);
    assert!(gateway.runs() && !gateway.said("draining"), "{}", gateway.text());
    assert_eq!(input.look(|log| log.connects("gw-in")), 1);
    assert_eq!(drained(&mut gateway).delivered, 20);
}

#[test]
fn a_run_under_nohup_outlives_its_terminal() {
    let input = Broker::start();
    let mut gateway = Gateway::with_config(&fleet(&input.url(), &[])).nohup().start();
    gateway.wait_for_line("subscribed", SOON);
    gateway.signal("HUP");
    // Had it been taken for a stop, the second round would not be acknowledged.
    for round in 1..=2 {
        input.publish_all(readings(5, 40 * round - 39..=40 * round, 1));
        let acks = 200 * usize::try_from(round).unwrap();
        input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == acks);
    }
    assert_eq!(drained(&mut gateway).delivered, 400);
    assert!(!gateway.said("second stop request"), "{}", gateway.text());
}

#[test]
fn a_drain_delivers_what_is_held_and_acknowledges_it() {
    let (input, sink) = (Broker::start(), Broker::start());
    sink.hold_acks("");
    let more =
        ["batch.records_max = 20", "output.window_batches = 2", "gateway.shutdown_grace = \"30s\""];
    let output = output(&sink.url());
    let mut gateway = subscribed(&fleet(&input.url(), &[&more[..], &[&output]].concat()));
    input.publish_all(readings(5, 1..=40, 1));
    input.wait_until("all is sent", SOON, |log| log.unacked("gw-in") == 200);
    sink.wait_until("the window is full", SOON, |log| log.held_acks("gw-out") == 2);
    gateway.signal("TERM");
    gateway.wait_for_line("draining", SOON);
    input.publish_all(readings(5, 41..=60, 1));
    sink.resume_acks("");
    let balance = ended(&mut gateway);
    // At the moment of the signal the last bytes may still have been on their way.
    let acks = input.look(|log| log.acks("gw-in")) as u64;
    assert_eq!((balance.received, balance.delivered), (acks, acks));
    assert!(acks > 0 && acks <= 200, "{acks}");
    let log = input.client("gw-in");
    assert_eq!((log.violations.len(), log.disconnects.len()), (0, 1));
    assert_eq!(audit(&sink).distinct(), acks);
}

/// 100 readings are held, the output withholds, and the gateway has been told to stop.
fn draining(input: &Broker, sink: &Broker, more: &[&str]) -> (Gateway, String) {
    input.set_window(300);
    sink.hold_acks("");
    let output = output(&sink.url());
    let own = [output.as_str(), "broker.window_messages = 300"];
    let config = fleet(&input.url(), &[&own[..], more].concat());
    let gateway = subscribed(&config);
    input.publish_all(readings(5, 1..=20, 1));
    eventually("all is held", SOON, || audit(sink).distinct() == 100);
    gateway.signal("TERM");
    gateway.wait_for_line("draining", SOON);
    (gateway, config)
}

const PATIENT: &str = "gateway.shutdown_grace = \"30s\"";

#[test]
fn a_connection_cut_during_the_drain_comes_back_to_acknowledge_what_settles() {
    for version in ["broker.version = 3", "broker.version = 5"] {
        let (input, sink) = (Broker::start(), Broker::start());
        let (mut gateway, config) = draining(&input, &sink, &[version, PATIENT]);
        for connects in 2..=3 {
            input.drop_connections("gw-in");
            input.publish_all(readings(5, connects * 10 + 1..=connects * 10 + 10, 1));
            input.wait_until("it comes back", SOON, |log| log.connects("gw-in") as u64 == connects);
        }
        sink.resume_acks("");
        assert_eq!(ended(&mut gateway).delivered, 100);
        input.wait_until("its end", SOON, |log| !log.connected("gw-in"));
        let log = input.client("gw-in");
        assert_eq!((log.acks.len(), log.queued, log.subscribes.len()), (100, 100, 1));
        assert_eq!((violations(&input), log.acks_out_of_order), (vec![], 0));
        let mut next = subscribed(&config);
        input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 200);
        assert_eq!(drained(&mut next).received, 100, "only what came later");
        audit(&sink).assert_exactly(5, 40);
    }
}

#[test]
fn what_settles_while_the_link_is_down_during_the_drain_is_acknowledged_when_it_is_back() {
    let (input, sink) = (Broker::start(), Broker::start());
    let (mut gateway, _) = draining(&input, &sink, &[PATIENT]);
    input.go_away();
    gateway.wait_for_line("connection lost", SOON);
    sink.resume_acks("");
    sink.wait_until("all is settled", SOON, |log| log.held_acks("") == 0);
    input.come_back();
    assert_eq!(ended(&mut gateway).delivered, 100);
    input.wait_until("its end", SOON, |log| !log.connected("gw-in"));
    assert_eq!(input.look(|log| (log.acks("gw-in"), log.queued("gw-in"))), (100, 0));
}

#[test]
fn a_drain_does_not_wait_for_a_broker_that_stays_away_longer_than_its_grace() {
    let (input, sink) = (Broker::start(), Broker::start());
    let (mut gateway, _) = draining(&input, &sink, &["gateway.shutdown_grace = \"2s\""]);
    input.go_away();
    gateway.wait_for_line("connection lost", SOON);
    sink.resume_acks("");
    gateway.wait_for_line("could not be acknowledged", SOON);
    assert_eq!(ended(&mut gateway).delivered, 100);
}

#[test]
fn a_session_lost_during_the_drain_leaves_nothing_to_acknowledge() {
    let (input, sink) = (Broker::start(), Broker::start());
    let (mut gateway, _) = draining(&input, &sink, &[PATIENT]);
    input.forget_sessions("gw-in");
    gateway.wait_for_line("lost our session", SOON);
    input.wait_until("it goes", SOON, |log| log.connects("gw-in") == 2 && !log.connected("gw-in"));
    sink.resume_acks("");
    assert_eq!(ended(&mut gateway).delivered, 100);
    let log = input.client("gw-in");
    assert_eq!((log.acks.len(), log.subscribes.len()), (0, 1));
}

/// Held readings of each kind of source, and the output withholds: what ends such a gateway?
fn held(input: &Broker, sink: &Broker, source: &str, grace: &str) -> Gateway {
    sink.hold_acks("");
    let grace = format!("gateway.shutdown_grace = \"{grace}\"");
    let output = output(&sink.url());
    let small = ["queue.records_max = 100", "batch.records_max = 20", "output.window_batches = 2"];
    let sensors = match source {
        "simulated" => "sensors.S.simulated = { count = 5, interval = 0 }",
        _ => "sensors.fleet.mqtt.topic = \"sensors/{sensor}/reading\"",
    };
    let more = [&small[..], &[&grace, &output, sensors]].concat();
    let gateway = Gateway::start(&gateway(&input.url(), &more));
    if source != "simulated" {
        gateway.wait_for_line("subscribed", SOON);
        input.publish_all(readings(5, 1..=100, u8::from(source != "QoS 0")));
    }
    sink.wait_until("the window is full", SOON, |log| log.held_acks("gw-out") == 2);
    gateway
}

#[track_caller]
fn assert_unsettled(mut gateway: Gateway, what: &str) -> Balance {
    let (code, balance) = gateway.wait_balance(SOON);
    let text = gateway.text();
    report(&format!("{what}: {balance:?}"));
    assert_eq!(code, 75, "{what}: {balance:?}\n{text}");
    assert!(balance.closes() && balance.held > 0, "{what}: {balance:?}\n{text}");
    balance
}

/// A second signal, whichever it is, ends it at once.
fn stopped_twice(source: &str) {
    for signals in [["TERM", "TERM"], ["INT", "TERM"]] {
        let (input, sink) = (Broker::start(), Broker::start());
        let gateway = held(&input, &sink, source, "60s");
        gateway.signal(signals[0]);
        gateway.wait_for_line("draining", SOON);
        gateway.signal(signals[1]);
        gateway.wait_for_line("second stop request", SOON);
        assert_unsettled(gateway, source);
        assert_eq!(input.look(|log| log.acks("gw-in")), 0);
    }
}

#[test]
fn a_second_signal_lets_go_of_qos_1_readings_and_says_so() {
    stopped_twice("QoS 1");
}

#[test]
fn a_second_signal_lets_go_of_qos_0_readings_and_says_so() {
    stopped_twice("QoS 0");
}

#[test]
fn a_second_signal_lets_go_of_simulated_readings_and_says_so() {
    stopped_twice("simulated");
}

/// The end of the grace ends it too.
fn grace_over(source: &str) {
    let (input, sink) = (Broker::start(), Broker::start());
    let gateway = held(&input, &sink, source, "300ms");
    gateway.signal("TERM");
    gateway.wait_for_line("grace is over", SOON);
    assert_unsettled(gateway, source);
    assert_eq!(input.look(|log| log.acks("gw-in")), 0);
}

#[test]
fn a_grace_that_is_over_lets_go_of_qos_1_readings_and_says_so() {
    grace_over("QoS 1");
}

#[test]
fn a_grace_that_is_over_lets_go_of_qos_0_readings_and_says_so() {
    grace_over("QoS 0");
}

#[test]
fn a_grace_that_is_over_lets_go_of_simulated_readings_and_says_so() {
    grace_over("simulated");
}

#[test]
fn what_was_let_go_is_delivered_by_the_next_run() {
    let (input, sink) = (Broker::start(), Broker::start());
    let gateway = held(&input, &sink, "QoS 1", "60s");
    gateway.signal("TERM");
    gateway.wait_for_line("draining", SOON);
    gateway.signal("TERM");
    assert_unsettled(gateway, "first run");
    sink.resume_acks("");
    let mut next = subscribed(&fleet(&input.url(), &[&output(&sink.url())]));
    input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 500);
    assert_eq!(drained(&mut next).delivered, 500);
    let verdict = audit(&sink).judge_load(5, 100);
    assert_eq!((verdict.lost, verdict.reordered, verdict.strange), (0, 0, 0));
}

#[test]
fn a_gateway_without_its_output_broker_stops_when_told_and_keeps_nothing_acknowledged() {
    let (input, sink) = (Broker::start(), Broker::start());
    sink.hold_acks("");
    let more = [output(&sink.url()), "gateway.shutdown_grace = \"300ms\"".to_owned()];
    let gateway = subscribed(&fleet(&input.url(), &[&more[0], &more[1]]));
    input.publish_all(readings(5, 1..=10, 1));
    eventually("all is held", SOON, || audit(&sink).distinct() == 50);
    sink.go_away();
    gateway.wait_for_line("connection lost", SOON);
    gateway.signal("TERM");
    assert_unsettled(gateway, "no output broker");
    assert_eq!(input.look(|log| log.acks("gw-in")), 0);
}

#[test]
fn a_gateway_without_its_input_broker_stops_at_once() {
    let (input, sink) = (Broker::start(), Broker::start());
    input.go_away();
    let mut gateway = Gateway::start(&fleet(&input.url(), &[&output(&sink.url())]));
    gateway.wait_for_line("cannot connect", SOON);
    assert_eq!(drained(&mut gateway), Balance::default());
}

#[test]
fn a_gateway_with_nothing_to_do_stops_at_once() {
    let broker = Broker::start();
    let mut gateway = subscribed(&fleet(&broker.url(), &[]));
    assert_eq!(drained(&mut gateway), Balance::default());
    assert_eq!(violations(&broker), [] as [String; 0]);
    for who in ["gw-in", "gw-out"] {
        assert_eq!(broker.client(who).disconnects.len(), 1, "{who} says DISCONNECT");
    }
}

#[test]
fn a_signal_before_the_first_connection_stops_the_gateway() {
    let broker = Broker::start();
    broker.stall_writes("gw");
    let mut gateway = Gateway::start(&fleet(&broker.url(), &[]));
    broker.wait_until("CONNECT", SOON, |log| log.connects("gw") > 0);
    assert_eq!(drained(&mut gateway), Balance::default());
}

#[test]
fn finite_sensors_end_the_run_when_the_last_batch_is_confirmed() {
    let sink = Broker::start();
    sink.hold_acks("");
    let sensor = "sensors.S.simulated = { count = 3, interval = \"1ms\", readings = 7 }";
    let mut gateway = Gateway::start(&gateway(&sink.url(), &[sensor]));
    gateway.wait_for_line("every source has ended", SOON);
    sink.wait_until("the last batch", SOON, |log| log.count(BATCHES) > 0);
    eventually("all readings", SOON, || {
        sink.published(BATCHES).iter().map(|it| it.json()["count"].as_u64().unwrap()).sum::<u64>()
            == 21
    });
    assert!(gateway.runs(), "the last batch is not confirmed yet");
    sink.resume_acks("");
    let balance = ended(&mut gateway);
    assert_eq!(balance, Balance { received: 21, delivered: 21, ..Balance::default() });
}

#[test]
fn two_simulated_entries_do_not_make_the_same_values() {
    let sink = Broker::start();
    let more = ["sensors.A.simulated.readings = 5", "sensors.B.simulated.readings = 5"];
    let more =
        [&more[..], &["sensors.A.simulated.interval = 0", "sensors.B.simulated.interval = 0"]];
    let mut gateway = Gateway::start(&gateway(&sink.url(), &more.concat()));
    assert_eq!(ended(&mut gateway).delivered, 10);
    let records: Vec<_> = sink.published(BATCHES).iter().flat_map(records).collect();
    let values = |sensor: &str| {
        let of = records.iter().filter(|it| it["sensorId"] == sensor);
        of.map(|it| it["value"].to_string()).collect::<Vec<_>>()
    };
    assert_eq!((values("A").len(), values("B").len()), (5, 5));
    assert_ne!(values("A"), values("B"));
}

#[test]
fn a_signal_while_finite_sensors_drain_is_the_first_one() {
    let sink = Broker::start();
    sink.hold_acks("");
    let sensor = "sensors.S.simulated = { readings = 1 }";
    let more = [sensor, "gateway.shutdown_grace = \"60s\""];
    let mut gateway = Gateway::start(&gateway(&sink.url(), &more));
    sink.wait_until("the batch", SOON, |log| log.held_acks("gw-out") == 1);
    gateway.signal("TERM");
    gateway.wait_for_line("draining", SOON);
    sink.resume_acks("");
    assert_eq!(ended(&mut gateway).delivered, 1);
}
