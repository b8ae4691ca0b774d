//! The publisher, the collector and the audit: what they say must be true, also when it is bad.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::broker::Broker;
use crate::support::client::{Audit, Collector, Counter, Options, Publisher, Session, Verdict};
use crate::support::wire::Version;
use crate::support::{Random, SOON, eventually, within};

/// Batches of 10 as the gateway writes them: two sensors, 50 readings each, in turn.
fn batches() -> Vec<Vec<Value>> {
    let records: Vec<Value> = (0..100)
        .map(|place| {
            let (sensor, n) = (format!("s{:05}", place % 2), place / 2 + 1);
            json!({"sensorId": sensor, "sequence": n, "value": 1.5, "extra": {"n": n}})
        })
        .collect();
    records.chunks(10).map(<[Value]>::to_vec).collect()
}

fn audit(batches: &[Vec<Value>]) -> Audit {
    let payloads = batches.iter().enumerate().map(|(index, records)| {
        let id = format!("gw-{index}");
        json!({"gateway": "gw", "batch": id, "count": records.len(), "records": records})
    });
    Audit::of(Counter::Member("n"), payloads.map(|batch| batch.to_string()))
}

#[test]
fn the_audit_accepts_what_is_right() {
    let audit = audit(&batches());
    audit.assert_exactly(2, 50);
    assert_eq!((audit.batches, audit.distinct(), audit.records()), (10, 100, 100));
    assert_eq!(audit.sizes, [10; 10]);
    assert_eq!(audit.faults(50), "");
}

#[test]
fn the_audit_finds_a_lost_reading() {
    let mut planted = batches();
    planted[3].remove(4);
    let audit = audit(&planted);
    assert_eq!(audit.judge_load(2, 50), Verdict { lost: 1, ..Verdict::default() });
    assert_eq!(audit.sensors["s00000"].lost(50), [18]);
    assert!(audit.faults(50).contains("lost 1 [18]"));
}

#[test]
fn the_audit_finds_the_first_and_the_last_reading_lost() {
    let mut planted = batches();
    planted[0].remove(0);
    planted[9].pop();
    let audit = audit(&planted);
    assert_eq!(audit.judge_load(2, 50), Verdict { lost: 2, ..Verdict::default() });
    assert_eq!(
        (audit.sensors["s00000"].lost(50), audit.sensors["s00001"].lost(50)),
        (vec![1], vec![50])
    );
    assert!(audit.sensors["s00001"].lost(49).is_empty());
}

#[test]
fn the_audit_finds_a_missing_sensor_and_a_strange_one() {
    let audit = audit(&batches());
    let verdict = audit.judge([("s00000", 50), ("s00007", 50)]);
    assert_eq!(verdict, Verdict { lost: 50, strange: 50, ..Verdict::default() });
}

#[test]
fn the_audit_finds_a_repeated_reading() {
    let mut planted = batches();
    let record = planted[0][0].clone();
    planted[9].push(record);
    let expected = Verdict { duplicated: 1, duplicated_before: 1, ..Verdict::default() };
    assert_eq!(audit(&planted).judge_load(2, 50), expected);
}

#[test]
fn the_audit_sets_a_repeated_batch_aside() {
    let once = batches();
    let text =
        |index: usize| json!({"batch": format!("b{index}"), "records": once[index]}).to_string();
    let order = [0, 1, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9];
    let audit = Audit::of(Counter::Sequence, order.map(text));
    let verdict = audit.judge_load(2, 50);
    assert_eq!(verdict, Verdict { duplicated_before: 20, ..Verdict::default() });
    assert!(verdict.is_clean());
    assert_eq!(audit.repeated_batches, 2);
}

#[test]
fn the_audit_finds_two_readings_swapped() {
    let mut planted = batches();
    planted[5].swap(2, 4);
    let expected = Verdict { reordered: 1, ..Verdict::default() };
    assert_eq!(audit(&planted).judge_load(2, 50), expected);
}

#[test]
fn the_audit_finds_what_is_no_batch() {
    let mut audit = Audit::new(Counter::Value);
    audit.add(b"rubbish");
    audit.add(br#"{"batch": "b", "count": 3, "records": []}"#);
    audit.add(br#"[{"sensorId": "a", "value": 1}, {"sensorId": "a", "value": "text"}]"#);
    assert_eq!((audit.unreadable, audit.miscounted, audit.unnumbered), (1, 1, 1));
    assert_eq!(audit.judge([("a", 1)]).strange, 3);
}

#[test]
fn the_publisher_is_acknowledged_and_numbers_its_readings() {
    let broker = Broker::start();
    let publisher = Publisher::to(broker.port()).sensors(7).connections(3).readings(40);
    let report = publisher.run(SOON);
    assert_eq!((report.sent, report.resent, report.refused), (280, 0, 0));
    assert_eq!(report.acknowledged, [40; 7]);
    assert_eq!(broker.look(|log| log.count("sensors/s00006/reading")), 40);
    let last = broker.published("sensors/s00006/reading").pop().unwrap().json();
    assert_eq!((&last["sensorId"], &last["n"]), (&json!("s00006"), &json!(40)));
}

#[test]
fn the_publisher_sends_again_what_was_not_acknowledged() {
    let broker = Broker::start();
    broker.hold_acks("");
    let running = Publisher::to(broker.port()).sensors(2).readings(100).window(30).start();
    broker.wait_until("the window is full", SOON, |log| log.held_acks("load") == 30);
    eventually("the readings are counted", SOON, || running.sent() == 30);
    assert_eq!(running.acknowledged(), 0);
    broker.release_some_acks("", 10);
    running.wait_acknowledged(10, SOON);
    broker.wait_until("the window is full again", SOON, |log| log.held_acks("load") == 30);
    broker.drop_connections("load");
    broker.resume_acks("");
    let report = running.join(SOON);
    assert_eq!((report.sent, report.resent, report.total()), (200, 30, 200));
    assert_eq!(report.reconnects, 1);
    assert!(report.took < SOON);
}

#[test]
fn the_publisher_keeps_to_its_rate_and_stops() {
    let broker = Broker::start();
    let publisher = Publisher::to(broker.port()).qos(0).rate(500.0).readings(100_000);
    let running = publisher.version(Version::V3).name("slow").start();
    broker.wait_until("half a second's worth", SOON, |log| log.published.len() >= 250);
    let report = running.stop();
    assert!(report.total() >= 250 && report.total() < 5000, "{} sent", report.total());
}

#[test]
fn refused_publishes_are_not_acknowledged() {
    let broker = Broker::start();
    broker.answer_publishes("own/#", 0x87, 5);
    let publisher = Publisher::to(broker.port()).sensors(1).readings(20).login("a", "b");
    let publisher = publisher.topic(|sensor, _| format!("own/{sensor}"));
    let report = publisher.payload(|_, n| n.to_string().into_bytes()).run(SOON);
    assert_eq!((report.refused, report.total()), (5, 15));
    assert_eq!(&broker.published("own/s00000")[19].payload[..], b"20");
}

#[test]
fn the_collector_takes_everything_also_across_a_cut() {
    let broker = Broker::start();
    let collect = Collector::at(broker.port()).output("out").dead_letters("dead");
    let collect = collect.counter(Counter::Value).version(Version::V3).login("a", "b");
    let collector = collect.name("taker").start();
    let batch = |n: u32| json!([{"sensorId": "s00000", "value": n}]).to_string();
    (1..=50).for_each(|n| broker.publish("out", batch(n), 1, false));
    broker.drop_connections("taker");
    (51..=100).for_each(|n| broker.publish("out", batch(n), 1, false));
    broker.publish("dead", r#"{"reason":"malformed"}"#, 1, false);
    collector.wait_readings(100, SOON);
    collector.wait_until("the dead letter", SOON, |all| all.dead_letters.len() == 1);
    assert_eq!(collector.dead_letters()[0].json()["reason"], "malformed");
    let batches = collector.batches();
    assert!(batches.iter().all(|batch| batch.qos == 1 && !batch.retain && batch.topic == "out"));
    assert!(batches.iter().all(|batch| batch.properties.is_none()));
    assert!(batches.windows(2).all(|pair| pair[0].at <= pair[1].at));
    // What the cut repeated came with DUP; nothing else is wrong.
    let verdict = collector.audit().judge([("s00000", 100)]);
    let dup = batches.iter().filter(|batch| batch.dup).count() as u64;
    assert_eq!((verdict.lost, verdict.reordered, verdict.strange), (0, 0, 0));
    assert!(verdict.duplicated <= dup);
}

#[test]
fn an_audit_can_be_held_against_a_report() {
    let broker = Broker::start();
    let collector = Collector::start(broker.port());
    let payload = |sensor: &str, n: u64| {
        json!([{"sensorId": sensor, "extra": {"n": n}}]).to_string().into_bytes()
    };
    let publisher = Publisher::to(broker.port()).sensors(3).readings(30).payload(payload);
    let report = publisher.topic(|_, _| "gateway/batches".to_owned()).run(SOON);
    collector.wait_readings(90, SOON);
    assert!(collector.audit().judge_report(&report).is_clean());
    collector.audit().assert_exactly(3, 30);
}

#[test]
fn random_choices_are_repeatable() {
    let (mut one, mut two) = (Random::new(5), Random::new(5));
    let range = Duration::from_millis(10)..Duration::from_millis(20);
    let times: Vec<_> = (0..100).map(|_| one.duration(range.clone())).collect();
    assert!(times.iter().all(|time| range.contains(time) && *time == two.duration(range.clone())));
    assert!(!within(Duration::from_millis(10), || false));
    let mut order: Vec<u8> = (0..50).collect();
    one.shuffle(&mut order);
    assert!(!order.is_sorted());
}

#[test]
fn a_client_that_says_nothing_gets_nothing() {
    let broker = Broker::start();
    assert!(broker.url().ends_with(&broker.port().to_string()));
    let mut quiet = Session::open(&Options::new(broker.port(), "quiet")).unwrap();
    broker.publish("a", "1", 1, false);
    assert!(quiet.next_publish(Duration::from_millis(50)).unwrap().is_none());
    quiet.ping(SOON).unwrap();
}
