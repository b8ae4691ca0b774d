//! Every reading comes out once and in order, at both qualities of service and protocol versions,
//! through a real Mosquitto.

use std::time::Duration;

use crate::scene::{LONG, drained, ended, fleet, mean, report, subscribed};
use crate::support::client::{Audit, Collector, Counter, Publisher};
use crate::support::gateway::{Balance, Gateway};
use crate::support::http::Http;
use crate::support::mosquitto::{Mosquitto, NO_DROP, STOCK};
use crate::support::{SOON, within};

const SENSORS: usize = 100;
const READINGS: u64 = 1000;
const TOTAL: u64 = SENSORS as u64 * READINGS;

/// Runs 100,000 readings of this quality of service through one Mosquitto.
fn hundred_thousand(qos: u8, more: &[&str]) -> (Audit, Balance) {
    let mosquitto = Mosquitto::start(NO_DROP);
    let collector = Collector::start(mosquitto.port());
    let mut gateway = subscribed(&fleet(&mosquitto.url(), more));
    let load = Publisher::to(mosquitto.port()).sensors(SENSORS).readings(READINGS);
    let load = load.connections(4).window(250).qos(qos).run(LONG);
    assert_eq!(load.total(), TOTAL);
    collector.wait_readings(TOTAL, LONG);
    let balance = drained(&mut gateway);
    let audit = collector.audit();
    report(&format!("QoS {qos}: sent in {:?}, {} batches, {balance:?}", load.took, audit.batches));
    (audit, balance)
}

#[track_caller]
fn assert_all_once((audit, balance): (Audit, Balance)) {
    audit.assert_exactly(SENSORS, READINGS);
    assert_eq!(audit.repeated_batches, 0);
    let expected = Balance { received: TOTAL, delivered: TOTAL, ..Balance::default() };
    assert_eq!(balance, expected);
}

#[test]
fn a_hundred_thousand_qos_1_readings_come_out_once_and_in_order() {
    assert_all_once(hundred_thousand(1, &[]));
}

#[test]
fn a_hundred_thousand_qos_1_readings_come_out_once_and_in_order_with_mqtt_3() {
    let version = ["broker.version = 3", "broker.window_messages = 1000"];
    assert_all_once(hundred_thousand(1, &version));
}

#[test]
fn a_hundred_thousand_qos_0_readings_come_out_once_and_in_order_when_the_queue_waits() {
    assert_all_once(hundred_thousand(0, &["queue.on_full = \"wait\""]));
}

#[test]
fn a_hundred_thousand_qos_0_readings_come_out_once_and_in_order_with_mqtt_3() {
    assert_all_once(hundred_thousand(0, &["broker.version = 3", "sensors.fleet.mqtt.qos = 0"]));
}

/// As fast as the load comes: what is shed depends on the machine, what becomes of the rest does not.
#[test]
fn of_a_hundred_thousand_qos_0_readings_each_policy_delivers_in_order_what_it_does_not_shed() {
    for policy in ["shed_newest", "shed_oldest", "keep_latest"] {
        let mosquitto = Mosquitto::start(NO_DROP);
        let collector = Collector::start(mosquitto.port());
        let policy = format!("queue.on_full = \"{policy}\"");
        let config = fleet(&mosquitto.url(), &[&policy, "queue.records_max = 1000"]);
        let launch = Gateway::with_config(&config).env("SLUICEGATE__HTTP__LISTEN", "127.0.0.1:0");
        let mut gateway = launch.start();
        gateway.wait_for_line("subscribed", SOON);
        let http = Http::of(&gateway);
        let load = Publisher::to(mosquitto.port()).sensors(SENSORS).readings(READINGS);
        assert_eq!(load.connections(4).qos(0).run(LONG).total(), TOTAL);
        let all = f64::from(u32::try_from(TOTAL).unwrap());
        let received = || http.metric("sluicegate_readings_received_total");
        assert!(within(LONG, || received() == Some(all)), "{policy}: {:?}", received());
        let balance = drained(&mut gateway);
        assert_eq!((balance.received, balance.delivered + balance.shed), (TOTAL, TOTAL));
        collector.wait_readings(balance.delivered, LONG);
        let verdict = collector.audit().judge_load(SENSORS, READINGS);
        report(&format!("{policy}: {balance:?}, {verdict:?}"));
        let found = (verdict.lost, verdict.reordered, verdict.duplicated, verdict.strange);
        assert_eq!(found, (balance.shed, 0, 0, 0), "{policy}");
    }
}

#[test]
fn nothing_is_shed_while_the_output_keeps_up_whatever_the_policy() {
    for policy in ["shed_newest", "shed_oldest", "keep_latest"] {
        let policy = format!("queue.on_full = \"{policy}\"");
        let mosquitto = Mosquitto::start(NO_DROP);
        let collector = Collector::start(mosquitto.port());
        let mut gateway = subscribed(&fleet(&mosquitto.url(), &[&policy]));
        let load = Publisher::to(mosquitto.port()).sensors(10).readings(200).qos(0);
        let load = load.rate(2000.0).run(LONG);
        collector.wait_readings(2000, LONG);
        let balance = drained(&mut gateway);
        assert_eq!((load.total(), balance.shed, balance.delivered), (2000, 0, 2000), "{policy}");
        collector.audit().assert_exactly(10, 200);
    }
}

#[test]
fn a_broker_that_allows_20_in_flight_does_not_starve_the_gateway() {
    // With `age_max = "5s"` a gateway that waited for full batches would need over an hour.
    let mosquitto = Mosquitto::start(&format!("{STOCK}max_queued_messages 0\n"));
    let collector = Collector::start(mosquitto.port());
    let more = ["broker.version = 3", "batch.age_max = \"5s\""];
    let mut gateway = subscribed(&fleet(&mosquitto.url(), &more));
    let load = Publisher::to(mosquitto.port()).sensors(20).readings(1000).window(500).start();
    let load = load.join(LONG);
    collector.wait_readings(20_000, LONG);
    let (first, last) = collector.look(|all| (all.batches[0].at, all.batches.last().unwrap().at));
    let audit = collector.audit();
    let size = mean(&audit.sizes);
    report(&format!(
        "window 20: 20,000 readings in {:?} (sent in {:?}), {size:.1} a batch",
        last - first,
        load.took
    ));
    assert_eq!(drained(&mut gateway).delivered, 20_000);
    audit.assert_exactly(20, 1000);
    assert!(size > 10.0, "{size} readings a batch");
}

#[test]
fn a_trickle_comes_out_as_batches_and_not_as_single_readings() {
    for version in [3, 5] {
        let mosquitto = Mosquitto::start(STOCK);
        let collector = Collector::start(mosquitto.port());
        let version = format!("broker.version = {version}");
        let more = [version.as_str(), "batch.age_max = \"100ms\""];
        let mut gateway = subscribed(&fleet(&mosquitto.url(), &more));
        let load = Publisher::to(mosquitto.port()).sensors(10).readings(30).rate(100.0);
        assert_eq!(load.run(LONG).total(), 300);
        collector.wait_readings(300, LONG);
        assert_eq!(drained(&mut gateway).delivered, 300);
        let audit = collector.audit();
        audit.assert_exactly(10, 30);
        let size = mean(&audit.sizes);
        report(&format!("100 readings/s, {version}: {size:.1} a batch"));
        assert!(size > 5.0 && size < 20.0, "{size} readings a batch with {version}");
    }
}

#[test]
fn simulated_sensors_and_subscriptions_share_one_queue_and_their_books_close() {
    let mosquitto = Mosquitto::start(NO_DROP);
    let collector = Collector::start(mosquitto.port());
    let more = [
        "sensors.SIM.simulated = { count = 10, interval = \"1ms\", readings = 300 }",
        "sensors.FAST.simulated = { count = 2, interval = 0, readings = 5000 }",
    ];
    let mut gateway = subscribed(&fleet(&mosquitto.url(), &more));
    Publisher::to(mosquitto.port()).sensors(10).readings(500).run(LONG);
    let total = 10 * 300 + 2 * 5000 + 10 * 500;
    let sum = |all: &Audit| all.sizes.iter().sum::<usize>();
    collector.wait_until("all readings", LONG, |all| sum(&all.audit) >= total);
    let balance = drained(&mut gateway);
    assert_eq!((balance.received, balance.delivered), (total as u64, total as u64));
    let batches = collector.batches();
    let all = Audit::of(Counter::Sequence, batches.iter().map(|batch| batch.payload.as_slice()));
    let expected = (0..10).map(|index| (format!("SIM_{index:02}"), 300));
    let expected = expected.chain((0..2).map(|index| (format!("FAST_{index:02}"), 5000)));
    let expected = expected.chain((0..10).map(|index| (format!("s{index:05}"), 500)));
    let verdict = all.judge(expected);
    assert!(verdict.is_clean(), "{verdict:?}");
}

#[test]
fn finite_simulated_sensors_end_the_run_with_an_exact_balance() {
    let mosquitto = Mosquitto::start(NO_DROP);
    let collector = Collector::at(mosquitto.port());
    let collector = collector.counter(Counter::Sequence).start();
    let sensors = "sensors.T.simulated = { count = 100, interval = 0, readings = 500 }";
    let mut gateway = Gateway::start(&crate::scene::gateway(&mosquitto.url(), &[sensors]));
    let balance = ended(&mut gateway);
    let expected = Balance { received: 50_000, delivered: 50_000, ..Balance::default() };
    assert_eq!(balance, expected);
    let last = gateway.stdout();
    let line = "received 50000 = delivered 50000 + dead-lettered 0 + shed 0 + held 0\n";
    assert_eq!(last, line, "standard output is the balance and nothing else");
    collector.wait_readings(50_000, LONG);
    let verdict = collector.audit().judge((0..100).map(|index| (format!("T_{index:02}"), 500)));
    assert!(verdict.is_clean(), "{verdict:?}");
}

#[test]
fn two_gateways_of_a_group_share_the_readings() {
    let mosquitto = Mosquitto::start(NO_DROP);
    let collector = Collector::start(mosquitto.port());
    let config = |id: &str| {
        let text = fleet(&mosquitto.url(), &["sensors.fleet.mqtt.group = \"gateways\""]);
        text.replace("gateway.id = \"gw\"", &format!("gateway.id = \"{id}\""))
    };
    let mut gateways = ["gw-a", "gw-b"].map(|id| subscribed(&config(id)));
    let load = Publisher::to(mosquitto.port()).sensors(50).readings(400).window(500);
    assert_eq!(load.run(LONG).total(), 20_000);
    collector.wait_readings(20_000, LONG);
    let [a, b] = gateways.each_mut().map(drained);
    let verdict = collector.audit().judge_load(50, 400);
    // Two gateways in parallel keep no order between them: only what each takes is in order.
    assert_eq!((verdict.lost, verdict.duplicated_before, verdict.strange), (0, 0, 0));
    assert_eq!(a.delivered + b.delivered, 20_000);
    assert!(a.delivered > 0 && b.delivered > 0, "{a:?}, {b:?}");
}

#[test]
fn the_first_batch_does_not_wait_for_a_second_reading() {
    let mosquitto = Mosquitto::start(STOCK);
    let collector = Collector::start(mosquitto.port());
    let mut gateway = subscribed(&fleet(&mosquitto.url(), &[]));
    let load = Publisher::to(mosquitto.port()).sensors(1).readings(1);
    load.run(Duration::from_secs(10));
    collector.wait_readings(1, Duration::from_secs(10));
    assert_eq!(drained(&mut gateway).delivered, 1);
}
