//! What a node writes is what the gateway's own codec reads.

use std::ops::ControlFlow;

use serde_json::{Value, json};

use super::*;
use crate::codec::mapping::Document;
use crate::codec::turn::Turn;
use crate::codec::{Decoder, Input, Payload};

const AT: Timestamp = Timestamp::from_millis(1_795_332_650_601);

fn edge() -> EdgeNode {
    let options: Options = serde_json::from_value(json!({ "group": "Plant" })).unwrap();
    EdgeNode::new(&options, "oven")
}

/// When a message may be read, and its documents.
fn read(decoder: &mut Decoder, topic: &str, payload: &[u8]) -> (Turn, Vec<Value>) {
    let input = Input { payload, topic: topic.as_bytes(), received: AT, bytes_max: 65_536 };
    let (turn, mut all) = (decoder.turn(&input, false), Vec::new());
    let ended = decoder.decode(input, &mut |_, document| {
        let Document::Json(json) = document.unwrap() else { panic!("it is JSON") };
        all.push(serde_json::from_str(json).unwrap());
        ControlFlow::Continue(())
    });
    assert_eq!(ended, ControlFlow::Continue(()));
    (turn, all)
}

#[test]
fn what_a_node_writes_is_read_by_name_value_and_unit() {
    let (edge, mut writer) = (edge(), Writer::default());
    let mut decoder = Payload::try_from(json!("sparkplug_b")).unwrap().decoder();
    let place = |seq| Place { at: AT, seq };
    let (_, births) = read(&mut decoder, &edge.topic("NBIRTH"), writer.node_birth(place(0), 255));
    let of = |all: &[Value]| -> Vec<Value> {
        all.iter().map(|it| json!([it["name"], it["value"], it["dataType"]])).collect()
    };
    let expected = [
        json!(["online", true, null]),
        json!(["bdSeq", 255, "Int64"]),
        json!(["Node Control/Rebirth", false, "Boolean"]),
    ];
    assert_eq!(of(&births), expected);
    assert_eq!(births[1]["timestamp"], AT.millis());
    for (device, unit, last) in [("T_00", Some("°C"), None), ("T_01", None, Some(-1.25))] {
        let alias = u64::from(last.is_some());
        let earlier = Timestamp::from_millis(AT.millis() - 7);
        let sample = last.map(|value| Sample { value, at: earlier });
        let birth = writer.device_birth(place(1 + u8::from(last.is_some())), alias, sample, unit);
        let (_, births) = read(&mut decoder, &edge.topic_of("DBIRTH", device), birth);
        assert_eq!(of(&births)[1], json!(["value", last, "Double"]), "{device}");
        assert_eq!(births[1]["unit"].as_str(), unit);
        assert_eq!(births[1]["timestamp"], last.map_or(AT, |_| earlier).millis());
        assert_eq!(births[1]["sensorId"], edge.sensor_of(device));
        let sample = Sample { value: 21.5, at: AT };
        let data = writer.data(place(2 + u8::from(last.is_some())), alias, sample, last.is_some());
        let (turn, data) = read(&mut decoder, &edge.topic_of("DDATA", device), data);
        assert!(matches!(turn, Turn::Behind(_)), "its alias is known: {turn:?}");
        assert_eq!(of(&data), [json!(["value", 21.5, "Double"])]);
        assert_eq!(
            (data[0]["unit"].as_str(), data[0]["timestamp"].as_u64()),
            (unit, Some(AT.millis()))
        );
        assert_eq!(data[0]["historical"], last.map_or(Value::Null, |_| json!(true)));
    }
    // Nothing is missing between them: T_01's birth took the number of T_00's data.
    assert_eq!(decoder.missing(), 0);
    // A death with another number is that of an earlier birth.
    for (bd_seq, is_end) in [(254, false), (255, true)] {
        let (_, deaths) = read(&mut decoder, &edge.topic("NDEATH"), writer.death(AT, bd_seq));
        let is_told = deaths.iter().any(|it| it["name"] == "online" && it["value"] == false);
        assert_eq!(is_told, is_end, "{bd_seq}: {deaths:?}");
    }
}

#[test]
fn a_host_is_understood_that_asks_for_births() {
    // What a gateway with rebirth = true publishes.
    let asks = json!({ "sparkplug_b": { "rebirth": true } });
    let mut decoder = Payload::try_from(asks).unwrap().decoder();
    let (edge, mut writer) = (edge(), Writer::default());
    let sample = Sample { value: 1.0, at: AT };
    let data = writer.data(Place { at: AT, seq: 7 }, 0, sample, false).clone();
    let topic = edge.topic_of("DDATA", "T");
    let payload = &*data;
    let input = Input { payload, topic: topic.as_bytes(), received: AT, bytes_max: 65_536 };
    assert!(matches!(decoder.turn(&input, false), Turn::Waits(_)));
    let request = decoder.request().unwrap();
    assert_eq!(request.topic, edge.topic("NCMD"));
    assert!(asks_for_births(&request.payload));
    // A birth has the same metric, and is false.
    let birth = writer.node_birth(Place { at: AT, seq: 0 }, 0);
    for other in [birth, &data, b"", b"\xff\xff", b"\x12\x7f"] {
        assert!(!asks_for_births(other), "{other:?}");
    }
}

#[test]
fn a_group_that_is_no_level_of_a_topic_is_refused_with_its_remedy() {
    for group in ["", "a/b", "+", "a#", "STATE", "a\u{7}", &"x".repeat(65)] {
        let error = Group::try_from(group.to_owned()).unwrap_err();
        assert!(error.contains(": write 1 to 64 bytes"), "{error}");
    }
    assert!(Group::try_from("Werk 1 (Süd)".to_owned()).is_ok());
}
