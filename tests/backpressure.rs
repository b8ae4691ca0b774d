//! A slow or stopped output slows the input, and nothing else: nothing is acknowledged early,
//! memory stays flat, connections stay alive, and afterwards everything comes in order.

use std::collections::HashMap;
use std::time::Duration;

use crate::scene::{
    BATCHES, LONG, audit, drained, fleet, gateway, output, readings, records, report, subscribed,
    violations, wait_readings,
};
use crate::support::broker::{Broker, Order, Overrun};
use crate::support::client::Publisher;
use crate::support::gateway::Gateway;
use crate::support::mosquitto::{Mosquitto, NO_DROP};
use crate::support::{SOON, seed, within};

const SMALL: [&str; 3] =
    ["batch.records_max = 50", "output.window_batches = 4", "batch.age_max = \"20ms\""];

/// A gateway between two scripted brokers.
fn between(input: &Broker, sink: &Broker, more: &[&str]) -> Gateway {
    let output = output(&sink.url());
    subscribed(&fleet(&input.url(), &[more, &[&output]].concat()))
}

/// Every acknowledgement upstream must be younger than that of the batch downstream.
#[track_caller]
fn assert_acknowledged_late(input: &Broker, sink: &Broker) {
    let mut settled = HashMap::new();
    for batch in sink.published(BATCHES) {
        for record in records(&batch) {
            let key = (record["topic"].to_string(), record["extra"]["n"].to_string());
            if let Some(order) = batch.acknowledged {
                settled.entry(key).or_insert(order);
            }
        }
    }
    let log = input.client("gw-in");
    assert!(!log.acks.is_empty() && log.acks_out_of_order == 0);
    for ack in &log.acks {
        let payload: serde_json::Value = serde_json::from_slice(&ack.payload).unwrap();
        let key = (format!("{:?}", ack.topic), payload["n"].to_string());
        let batch = settled.get(&key).copied();
        assert!(batch.is_some_and(|batch| batch < ack.order), "{key:?} was acknowledged early");
    }
}

#[test]
fn nothing_is_acknowledged_upstream_before_its_batch_is_acknowledged_downstream() {
    for version in [3, 5] {
        let (input, sink) = (Broker::start(), Broker::start());
        input.set_window(300);
        sink.hold_acks("");
        let version = format!("broker.version = {version}");
        let more = [&SMALL[..], &[&version, "broker.window_messages = 300"]].concat();
        let mut gateway = between(&input, &sink, &more);
        input.publish_all(readings(10, 1..=200, 1));
        sink.wait_until("the window is full", SOON, |log| log.held_acks("gw-out") == 4);
        assert_eq!(input.look(|log| log.acks("gw-in")), 0);
        let mut released = 0;
        while audit(&sink).distinct() < 2000 {
            let before = sink.look(|log| log.count(BATCHES));
            released += sink.release_some_acks("", 1);
            // The next batch, or none because all has been published.
            sink.within(Duration::from_secs(2), |log| log.count(BATCHES) > before);
        }
        assert!(released > 0);
        sink.resume_acks("");
        input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 2000);
        assert_eq!(drained(&mut gateway).delivered, 2000);
        audit(&sink).assert_exactly(10, 200);
        assert_acknowledged_late(&input, &sink);
        assert_eq!(violations(&input), [] as [String; 0]);
    }
}

#[test]
fn no_more_is_taken_unacknowledged_than_the_window_allows() {
    let (input, sink) = (Broker::start(), Broker::start());
    sink.hold_acks("");
    let more = [&SMALL[..], &["broker.window_messages = 120"]].concat();
    let mut gateway = between(&input, &sink, &more);
    let connect = &input.client("gw-in").connects[0].connect;
    assert_eq!(connect.properties.as_ref().unwrap().receive_maximum, Some(120));
    input.publish_all(readings(10, 1..=100, 1));
    input.wait_until("the window is full", SOON, |log| log.unacked("gw-in") == 120);
    sink.wait_until("all of it is published", SOON, |log| {
        log.on(BATCHES).map(|batch| records(batch).len()).sum::<usize>() == 120
    });
    sink.resume_acks("");
    input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 1000);
    assert_eq!(drained(&mut gateway).delivered, 1000);
    assert_eq!(input.look(|log| log.unacked_max("gw-in")), 120);
    audit(&sink).assert_exactly(10, 100);
}

#[test]
fn all_subscriptions_together_ask_for_no_more_than_the_queue_holds() {
    let broker = Broker::start();
    let sensors = ["a", "b", "c"].map(|name| format!("sensors.{name}.mqtt.topic = \"{name}\""));
    let lines: Vec<&str> = sensors.iter().map(String::as_str).collect();
    let more = [&lines[..], &["queue.records_max = 600", "batch.records_max = 100"]].concat();
    let mut gateway = Gateway::start(&gateway(&broker.url(), &more));
    broker.wait_until("subscriptions", SOON, |log| log.subscribes("gw-in") == 3);
    let asked: u16 = ["gw-in-a", "gw-in-b", "gw-in-c"]
        .map(|who| broker.client(who).connects[0].connect.properties.clone().unwrap())
        .iter()
        .map(|properties| properties.receive_maximum.unwrap())
        .sum();
    assert!(asked <= 600 && asked > 500, "{asked}");
    drained(&mut gateway);
}

#[test]
fn acknowledgements_downstream_in_any_order_leave_upstream_in_order() {
    for order in [Order::Reversed, Order::Shuffled(seed())] {
        let (input, sink) = (Broker::start(), Broker::start());
        sink.hold_acks("");
        let more = ["batch.records_max = 50", "broker.window_messages = 800"];
        let mut gateway = between(&input, &sink, &more);
        input.publish_all(readings(10, 1..=400, 1));
        while input.look(|log| log.acks("gw-in")) < 4000 {
            let held = sink.within(SOON, |log| log.held_acks("gw-out") >= 8);
            assert!(held || audit(&sink).distinct() == 4000, "no further batch");
            sink.release_acks("", order);
            let all = audit(&sink).distinct() == 4000;
            input.within(Duration::from_millis(500), |log| !all || log.acks("gw-in") == 4000);
        }
        sink.resume_acks("");
        assert_eq!(drained(&mut gateway).delivered, 4000);
        audit(&sink).assert_exactly(10, 400);
        assert_eq!(audit(&sink).repeated_batches, 0);
        assert_acknowledged_late(&input, &sink);
    }
}

/// The bound in bytes that a gateway prints at its start: `memory_bound="39.6 MiB"`.
fn printed_bound(gateway: &Gateway) -> u64 {
    let line = gateway.wait_for_line("memory_bound", SOON);
    let (_, rest) = line.split_once("memory_bound=\"").unwrap_or_else(|| panic!("{line}"));
    let (number, _) = rest.split_once(" MiB").unwrap_or_else(|| panic!("{line}"));
    let (whole, tenth) = number.split_once('.').unwrap();
    (whole.parse::<u64>().unwrap() * 10 + tenth.parse::<u64>().unwrap()) * (1 << 20) / 10
}

#[test]
fn memory_is_flat_and_below_the_printed_bound_while_the_output_stands_still() {
    for qos in [0, 1] {
        let (mosquitto, sink) = (Mosquitto::start(NO_DROP), Broker::start());
        sink.hold_acks("");
        let output = output(&sink.url());
        let mut gateway = subscribed(&fleet(&mosquitto.url(), &[&output]));
        let bound = printed_bound(&gateway);
        let load = |name: &str, readings: u64| {
            let load = Publisher::to(mosquitto.port()).sensors(50).readings(readings);
            load.qos(qos).name(name).payload(|_, n| {
                format!(r#"{{"value":{n},"n":{n},"pad":"{}"}}"#, "x".repeat(100)).into_bytes()
            })
        };
        load("first", 400).run(LONG);
        sink.wait_until("batches wait", SOON, |log| log.held_acks("gw-out") >= 8);
        let before = gateway.memory();
        load("second", 600).topic(|sensor, _| format!("sensors/{sensor}-2/reading")).run(LONG);
        let growth = gateway.memory().saturating_sub(before);
        let peak = gateway.memory_peak();
        let mib = |bytes: u64| bytes / (1 << 20);
        report(&format!(
            "QoS {qos}: {} MiB, grew by {} KiB, peak {} MiB, bound {} MiB",
            mib(before),
            growth / 1024,
            mib(peak),
            mib(bound)
        ));
        assert!(peak < bound, "peak {peak}, bound {bound}");
        assert!(growth < 4 << 20, "grew by {growth} bytes");
        sink.resume_acks("");
        wait_readings(&sink, 50_000, LONG);
        let balance = drained(&mut gateway);
        assert_eq!((balance.received, balance.delivered), (50_000, 50_000));
    }
}

#[test]
fn connections_stay_alive_while_everything_waits() {
    let (input, sink) = (Broker::start(), Broker::start());
    sink.hold_acks("");
    let small = ["queue.records_max = 200", "batch.records_max = 50", "broker.keep_alive = \"2s\""];
    let output = [output(&sink.url()), "output.broker.keep_alive = \"2s\"".to_owned()];
    let more = [&small[..], &[&output[0], &output[1]]].concat();
    let mut gateway = subscribed(&fleet(&input.url(), &more));
    // QoS 0 has no window: the gateway has to stop reading, PINGRESP among it.
    input.publish_all(readings(10, 1..=300, 0));
    input.publish_all(readings(10, 301..=350, 1));
    sink.wait_until("batches wait", SOON, |log| log.held_acks("gw-out") >= 2);
    let (pings_in, pings_out) =
        (input.look(|log| log.pings("gw-in")), sink.look(|log| log.pings("gw-out")));
    // A ping comes after three quarters of the keep-alive: seven of them are five keep-alives.
    input.wait_until("pings of the intake", SOON * 2, |log| log.pings("gw-in") >= pings_in + 7);
    sink.wait_until("pings of the sink", SOON * 2, |log| log.pings("gw-out") >= pings_out + 7);
    assert_eq!(
        (input.look(|log| log.connects("gw-in")), sink.look(|log| log.connects("gw-out"))),
        (1, 1)
    );
    assert_eq!(input.look(|log| log.acks("gw-in")), 0);
    sink.resume_acks("");
    wait_readings(&sink, 3500, SOON);
    assert_eq!(drained(&mut gateway).delivered, 3500);
    audit(&sink).assert_exactly(10, 350);
    assert_eq!(
        (input.look(|log| log.connects("gw-in")), sink.look(|log| log.connects("gw-out"))),
        (1, 1)
    );
}

#[test]
fn a_broker_that_exceeds_the_window_costs_no_reading_and_no_order() {
    for how in [Overrun::By(700), Overrun::PerAck(20)] {
        for version in [3, 5] {
            let (input, sink) = (Broker::start(), Broker::start());
            input.set_window(100);
            input.overrun("gw-in", how);
            sink.hold_acks("");
            let version = format!("broker.version = {version}");
            let window = ["broker.window_messages = 100", "queue.records_max = 250"];
            let more = [&SMALL[..], &window, &[&version]].concat();
            let mut gateway = between(&input, &sink, &more);
            input.publish_all(readings(10, 1..=500, 1));
            sink.wait_until("batches wait", SOON, |log| log.held_acks("gw-out") >= 2);
            sink.resume_acks("");
            input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 5000);
            assert_eq!(drained(&mut gateway).delivered, 5000);
            audit(&sink).assert_exactly(10, 500);
            let peak = input.look(|log| log.unacked_max("gw-in"));
            assert!(peak > 100, "the broker did not exceed the window: {peak}");
            assert_acknowledged_late(&input, &sink);
        }
    }
}

/// A broker that once sent more than it allows, and then keeps to 20 again.
#[test]
fn a_window_that_was_exceeded_once_does_not_starve_the_gateway_later() {
    let (input, sink) = (Broker::start(), Broker::start());
    input.overrun("gw-in", Overrun::By(300));
    let more = ["broker.version = 3", "batch.age_max = \"3s\""];
    let mut gateway = between(&input, &sink, &more);
    input.publish_all(readings(10, 1..=100, 1));
    input.wait_until("the burst is acknowledged", SOON, |log| log.acks("gw-in") == 1000);
    input.respect_windows("gw-in");
    input.publish_all(readings(10, 101..=300, 1));
    // 100 windows of 20; at one for each `age_max` it would take five minutes.
    input.wait_until("acknowledgements", SOON * 2, |log| log.acks("gw-in") == 3000);
    assert_eq!(drained(&mut gateway).delivered, 3000);
    audit(&sink).assert_exactly(10, 300);
}

#[test]
fn simulated_sensors_wait_while_the_output_stands_still() {
    let sink = Broker::start();
    sink.hold_acks("");
    let sensor = "sensors.S.simulated = { count = 4, interval = 0, readings = 2000 }";
    let more = [&SMALL[..], &[sensor, "queue.records_max = 300"]].concat();
    let mut gateway = Gateway::start(&gateway(&sink.url(), &more));
    sink.wait_until("the window is full", SOON, |log| log.held_acks("gw-out") == 4);
    let more_come = within(Duration::from_millis(300), || sink.look(|log| log.count(BATCHES)) > 4);
    assert!(!more_come, "more batches than the window allows");
    sink.resume_acks("");
    let balance = crate::scene::ended(&mut gateway);
    assert_eq!((balance.received, balance.delivered), (8000, 8000));
}
