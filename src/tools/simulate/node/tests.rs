//! A node stepped by hand: the order of its messages, and their numbers.

use std::sync::Arc;

use serde_json::json;

use super::super::report::Counts;
use super::super::schedule::{Schedule, Turns};
use super::super::sensors::Sensor;
use super::*;
use crate::codec::sparkplug::wire::{Field, Fields};
use crate::source::simulated::{Settings, Values};

/// A node with two devices, of which each has a reading every 10 ms.
fn node(more: &serde_json::Value) -> Node {
    let mut entry = json!({ "payload": "sparkplug_b", "count": 2, "unit": "C" });
    entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let settings: Settings = serde_json::from_value(entry).unwrap();
    let (shared, edge) = (Shared::new(&settings, "T", 1), settings.edge_node("T").unwrap());
    let interval = Duration::from_millis(10);
    let turns = Turns { phase: Duration::ZERO, interval, readings: None };
    let names: Vec<Box<str>> = vec!["T_00".into(), "T_01".into()];
    let sensor = |(index, name): (u32, &str)| Sensor {
        id: edge.sensor_of(name).into(),
        topic: edge.topic_of("DDATA", name).into(),
        entry: 0,
        values: Values::new(&shared, index),
        counts: Counts::default(),
    };
    let all = (0..).zip(names.iter().map(AsRef::as_ref)).map(sensor).collect();
    let schedule = Schedule::by_interval(vec![turns; 2]);
    Node::new(edge.clone(), Sensors::new(all, schedule, &Arc::default()), names)
}

/// The field of this number.
fn field(message: &[u8], wanted: u32) -> Option<Field<'_>> {
    Fields(message).find_map(|it| it.ok().filter(|it| it.0 == wanted)).map(|it| it.1)
}

/// The same, of the first metric of a payload.
fn of_metric(payload: &[u8], wanted: u32) -> Option<Field<'_>> {
    field(field(payload, 2)?.bytes().unwrap(), wanted)
}

/// What is published so many milliseconds after the start: kind and device, and `seq`.
fn published(node: &mut Node, start: Now, after: u64) -> Vec<(String, u64)> {
    let mut all = Vec::new();
    while let Offer::Message(message) = node.next(start, Duration::from_millis(after)) {
        let plain = node.plain(&message);
        let levels: Vec<&str> = plain.topic.split('/').collect();
        assert_eq!(levels[..2], ["spBv1.0", "simulated"]);
        let kind = [&levels[2..3], &levels[4..]].concat().join(" ");
        all.push((kind, field(plain.payload, 3).unwrap().number().unwrap()));
        node.took(message);
    }
    all
}

fn bd_seq(will: &Will) -> u64 {
    of_metric(&will.payload, 11).unwrap().number().unwrap()
}

fn counted(kinds: &[&str], first: u64) -> Vec<(String, u64)> {
    (first..).zip(kinds).map(|(seq, kind)| ((*kind).to_owned(), seq)).collect()
}

const BIRTHS: [&str; 3] = ["NBIRTH", "DBIRTH T_00", "DBIRTH T_01"];
const DATA: [&str; 2] = ["DDATA T_00", "DDATA T_01"];

fn greet(node: &mut Node) {
    node.greet(&super::super::recorded::tests::greeting(None, true));
}

#[test]
fn births_come_first_on_each_connection_and_where_a_host_asks() {
    let (mut node, start) = (node(&json!({})), clock::now());
    assert_eq!(bd_seq(&node.will().unwrap()), 0);
    greet(&mut node);
    let (all, first) = ([&BIRTHS[..], &DATA].concat(), published(&mut node, start, 0));
    assert_eq!(first, counted(&all, 0));
    assert_eq!(published(&mut node, start, 10), counted(&DATA, 5));
    let edge = node.edge.clone();
    let mut host = Writer::default();
    node.command(host.node_birth(Place { at: start.wall, seq: 0 }, 0));
    assert_eq!(published(&mut node, start, 11), [], "that asked for nothing");
    // Births that are asked for have the number of the connection, and begin to count anew.
    let mut asks = host.node_birth(Place { at: start.wall, seq: 0 }, 0).to_vec();
    let at = asks.len() - 3;
    assert_eq!(asks[at], 0, "the value of Node Control/Rebirth");
    asks[at] = 1;
    node.command(&asks);
    assert_eq!(published(&mut node, start, 20), counted(&all, 0));
    // The next connection: one birth later.
    assert_eq!(bd_seq(&node.will().unwrap()), 1);
    greet(&mut node);
    assert_eq!(published(&mut node, start, 25), counted(&BIRTHS, 0));
    let farewell = node.farewell().unwrap();
    assert_eq!((farewell.topic, farewell.qos), (&*edge.topic("NDEATH"), 1));
    let topic = Topic::made(farewell.topic).unwrap();
    let death = Will { topic, payload: farewell.payload.to_vec(), retain: false };
    assert_eq!(bd_seq(&death), 1, "that of its birth");
}

#[test]
fn numbers_count_to_255_and_begin_again() {
    let (mut node, start) = (node(&json!({})), clock::now());
    for bd_seq_expected in (0..=255).chain([0, 1]) {
        assert_eq!(bd_seq(&node.will().unwrap()), bd_seq_expected);
    }
    greet(&mut node);
    let numbers: Vec<u64> = published(&mut node, start, 3000).into_iter().map(|it| it.1).collect();
    let expected: Vec<u64> = (0..numbers.len() as u64).map(|it| it % 256).collect();
    assert!(numbers.len() > 600 && numbers == expected, "{numbers:?}");
}

#[test]
fn a_reading_that_is_older_than_the_birth_is_history() {
    let (mut node, start) = (node(&json!({})), clock::now());
    let history = |node: &mut Node, after: u64| {
        let (mut all, after) = (Vec::new(), Duration::from_millis(after));
        while let Offer::Message(message) = node.next(start, after) {
            if let What::Data(_) = message.what {
                all.push(of_metric(node.plain(&message).payload, 5).is_some());
            }
        }
        all
    };
    node.will();
    greet(&mut node);
    assert_eq!(history(&mut node, 0), [false; 2]);
    assert_eq!(history(&mut node, 10), [false; 2]);
    // It was away for 25 ms: what was due at 20 and 30 is late, what is due at 35 is not there yet.
    node.will();
    greet(&mut node);
    assert_eq!(history(&mut node, 35), [true; 4]);
    assert_eq!(history(&mut node, 40), [false; 2]);
}

#[test]
fn a_birth_has_the_last_value_and_null_before_the_first() {
    let (mut node, start) =
        (node(&json!({ "model": { "constant": { "value": 7.5 } } })), clock::now());
    let value = |node: &mut Node, after: u64| {
        let mut last = None;
        while let Offer::Message(message) = node.next(start, Duration::from_millis(after)) {
            if let What::Birth(Birth::Device(0)) = message.what {
                let value = of_metric(node.plain(&message).payload, 13);
                last = Some(value.map(|it| it.double().unwrap()));
            }
        }
        last.expect("it is born")
    };
    node.will();
    greet(&mut node);
    assert_eq!(value(&mut node, 0), None);
    node.will();
    greet(&mut node);
    assert_eq!(value(&mut node, 0), Some(7.5));
}

#[test]
fn a_planted_fault_is_in_the_message() {
    let entry = json!({ "faults": { "malformed": 1.0 } });
    let (mut node, start) = (node(&entry), clock::now());
    node.will();
    greet(&mut node);
    let mut spoilt = 0;
    while let Offer::Message(message) = node.next(start, Duration::ZERO) {
        let is_data = matches!(message.what, What::Data(_));
        let payload = node.plain(&message).payload;
        assert_eq!(payload.starts_with(b"\xff"), is_data);
        spoilt += usize::from(is_data);
        node.took(message);
    }
    assert_eq!(spoilt, 2);
    assert_eq!(
        node.into_sensors().all.iter().map(|it| it.counts.planted.malformed).sum::<u64>(),
        2
    );
}
