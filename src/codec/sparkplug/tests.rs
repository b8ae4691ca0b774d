//! Messages of nodes, read: births, data, deaths, types, and what is none.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::samples::*;
use super::*;
use crate::clock::Timestamp;
use crate::codec::decode::Makes;
use crate::codec::samples::bytes;
use crate::record::Reason;
use crate::units::{Period, Size};

const NODE: &str = "spBv1.0/G/NDATA/N";
const DEVICE: &str = "spBv1.0/G/DDATA/N/D";

fn decoder() -> Decoder {
    Options { rebirth: true, ..Options::default() }.decoder()
}

fn input<'a>(topic: &'a str, payload: &'a [u8]) -> Input<'a> {
    let received = Timestamp::from_millis(1_700_000_000_000);
    Input { payload, topic: topic.as_bytes(), received, bytes_max: 65_536 }
}

/// The documents of a message, or why a part is none.
fn documents(decoder: &mut Decoder, topic: &str, payload: &[u8]) -> Vec<Result<Value, Malformed>> {
    let mut all = Vec::new();
    let ended = decoder.decode(input(topic, payload), &mut |_, document| {
        all.push(document.map(|document| match document {
            Document::Json(json) => serde_json::from_str(json).unwrap(),
            Document::Text(_) => panic!("a document of Sparkplug is JSON"),
        }));
        ControlFlow::Continue(())
    });
    assert_eq!(ended, ControlFlow::Continue(()));
    all
}

/// A message that comes: when it may be read, and what it is.
fn comes(decoder: &mut Decoder, topic: &str, hex: &str) -> (Turn, Vec<Result<Value, Malformed>>) {
    let payload = bytes(hex);
    let turn = decoder.turn(&input(topic, &payload), false);
    (turn, documents(decoder, topic, &payload))
}

/// Name and value of each document.
fn values(all: Vec<Result<Value, Malformed>>) -> Vec<(String, Value)> {
    let read = |it: Result<Value, Malformed>| {
        let it = it.unwrap();
        (it["name"].as_str().unwrap().to_owned(), it["value"].clone())
    };
    all.into_iter().map(read).collect()
}

#[test]
fn a_birth_says_what_the_aliases_of_data_mean() {
    let mut decoder = decoder();
    let (turn, births) = comes(&mut decoder, "spBv1.0/G/NBIRTH/N", NBIRTH);
    assert_eq!(turn, Turn::Ends(Line::of("G/N", "")));
    let births: Vec<Value> = births.into_iter().map(Result::unwrap).collect();
    assert_eq!(
        births,
        [
            json!({"sensorId": "G/N", "type": "NBIRTH", "group": "G", "node": "N", "name": "online", "value": true,
                   "timestamp": 1_700_000_000_000_u64}),
            json!({"sensorId": "G/N", "type": "NBIRTH", "group": "G", "node": "N", "name": "bdSeq", "value": 4,
                   "timestamp": 1_700_000_000_000_u64, "dataType": "UInt64"}),
            json!({"sensorId": "G/N", "type": "NBIRTH", "group": "G", "node": "N", "name": "Node Control/Rebirth",
                   "value": false, "timestamp": 1_700_000_000_000_u64, "dataType": "Boolean"}),
            json!({"sensorId": "G/N", "type": "NBIRTH", "group": "G", "node": "N", "name": "load", "value": 0.5,
                   "unit": "%", "timestamp": 1_700_000_000_000_u64, "dataType": "Float",
                   "properties": {"quality": 192, "engUnit": "%"}}),
        ]
    );
    let (_, births) = comes(&mut decoder, "spBv1.0/G/DBIRTH/N/D", DBIRTH);
    let expected = [
        ("online", json!(true)),
        ("Inputs/Temperature", json!(-215)),
        ("Inputs/Door", json!(true)),
    ];
    assert_eq!(values(births), expected.map(|it| (it.0.to_owned(), it.1)));

    let (turn, data) = comes(&mut decoder, DEVICE, DDATA);
    assert_eq!(turn, Turn::Behind(Line::of("G/N", "D")));
    let data: Vec<Value> = data.into_iter().map(Result::unwrap).collect();
    assert_eq!(
        data,
        [
            json!({"sensorId": "G/N/D", "type": "DDATA", "group": "G", "node": "N", "device": "D",
                   "name": "Inputs/Temperature", "value": -3, "unit": "dC", "timestamp": 1_700_000_000_900_u64,
                   "dataType": "Int32"}),
            json!({"sensorId": "G/N/D", "type": "DDATA", "group": "G", "node": "N", "device": "D",
                   "name": "Inputs/Door", "value": null, "timestamp": 1_700_000_001_000_u64, "dataType": "Boolean"}),
        ]
    );
    let (_, data) = comes(&mut decoder, NODE, NDATA);
    let data = data.into_iter().next().unwrap().unwrap();
    assert_eq!((&data["historical"], &data["unit"]), (&json!(true), &json!("%")));
    assert_eq!(decoder.missing(), 0);
    assert_eq!(decoder.request(), None);
}

#[test]
fn what_no_birth_explains_waits_and_is_a_dead_letter_in_the_end() {
    let mut decoder = decoder();
    let (turn, data) = comes(&mut decoder, DEVICE, DDATA);
    assert_eq!(turn, Turn::Waits(Line::of("G/N", "D")));
    let [Err(malformed)] = &data[..] else { panic!("{data:?}") };
    assert_eq!(malformed.reason, Reason::Alias);
    // What is null needs no type, but a name.
    assert_eq!(malformed.detail, "alias 7, alias 8: no birth of G/N/D says what it is");
    let request = decoder.request().unwrap();
    assert_eq!(request.topic, "spBv1.0/G/NCMD/N");
    let asked = values(documents(&mut decoder, &request.topic, &request.payload));
    assert_eq!(asked, [("Node Control/Rebirth".to_owned(), json!(true))]);
    comes(&mut decoder, DEVICE, DDATA);
    assert_eq!(decoder.request(), None, "it was asked a moment ago");

    comes(&mut decoder, "spBv1.0/G/NBIRTH/N", NBIRTH);
    comes(&mut decoder, "spBv1.0/G/DBIRTH/N/D", DBIRTH);
    // One that is known, and a text that says itself what it is.
    let (turn, data) = comes(&mut decoder, DEVICE, DDATA_UNKNOWN);
    assert_eq!((turn, decoder.missing()), (Turn::Waits(Line::of("G/N", "D")), 3));
    let (good, bad): (Vec<_>, Vec<_>) = data.into_iter().partition(Result::is_ok);
    assert_eq!(values(good), [("fresh".to_owned(), json!("x"))]);
    assert_eq!(bad.len(), 1);

    let options = Options { birth_wait: Period(Duration::ZERO), ..Options::default() };
    let (turn, _) = comes(&mut options.decoder(), DEVICE, DDATA);
    assert_eq!(turn, Turn::Behind(Line::of("G/N", "D")), "nothing waits where it is told not to");
}

#[test]
fn births_of_an_earlier_run_say_what_data_means_and_nothing_of_what_was_lost() {
    let mut decoder = decoder();
    let mut learn = |topic: &str, hex: &str| {
        decoder.learn(&input(topic, &bytes(hex))).map(|note| note.is_birth)
    };
    assert_eq!(learn("spBv1.0/G/NBIRTH/N", NBIRTH), Some(true));
    assert_eq!(learn("spBv1.0/G/DBIRTH/N/D", DBIRTH), Some(true));
    assert_eq!(learn("spBv1.0/G/DBIRTH/N/E", DBIRTH), Some(true));
    assert_eq!(learn("spBv1.0/G/DDEATH/N/E", DDEATH), Some(false));
    assert_eq!([learn(NODE, NDATA), learn("spBv1.0/G/NBIRTH/N", "0a")], [None, None]);
    assert_eq!(decoder.births.devices("G/N"), ["D"]);

    // The numbers of the births are 0 and 1, and this one has 3: what came between is not known.
    assert_eq!(comes(&mut decoder, NODE, NDATA).0, Turn::Behind(Line::of("G/N", "")));
    assert_eq!(decoder.missing(), 0);
    assert!(decoder.request().is_some(), "the node may have been born anew meanwhile");
    assert!(decoder.births.is_unsure("G/N"), "the request may be lost");
    comes(&mut decoder, DEVICE, DDATA_UNKNOWN);
    assert_eq!(decoder.missing(), 1);
    comes(&mut decoder, "spBv1.0/G/NBIRTH/N", NBIRTH);
    assert!(!decoder.births.is_unsure("G/N"));
}

/// As after a broker's restart, with all that was not acknowledged.
#[test]
fn messages_that_come_again_are_no_gap() {
    let mut decoder = decoder();
    comes(&mut decoder, "spBv1.0/G/NBIRTH/N", NBIRTH);
    let mut seq = |number: u8, again| {
        let payload = [0x18, number & 0x7f | 0x80, number >> 7];
        decoder.turn(&input(NODE, &payload), again);
        decoder.missing()
    };
    let first: u64 = (1..=250).map(|number| seq(number, false)).sum();
    let again: u64 = (5..=250).map(|number| seq(number, true)).sum();
    assert_eq!((first, again), (0, 0));
    assert_eq!((seq(251, false), seq(253, false)), (0, 1));
}

#[test]
fn a_message_that_is_not_read_was_not_lost() {
    let mut decoder = decoder();
    comes(&mut decoder, "spBv1.0/G/NBIRTH/N", NBIRTH);
    decoder.pass(&input("spBv1.0/G/DBIRTH/N/D", &bytes(DBIRTH)));
    decoder.pass(&input(DEVICE, &bytes(DDATA)));
    comes(&mut decoder, NODE, NDATA);
    assert_eq!(decoder.missing(), 0, "numbers 0 to 3");
    decoder.pass(&input(DEVICE, &bytes(DDATA_UNKNOWN)));
    assert_eq!(decoder.missing(), 1, "and 5: so 4 is missing");
    // Of one that is cut, or rubbish, or packed the number is not known.
    for (seq, cut) in [("1814", "12ff"), ("1828", "0a"), ("183c", "")] {
        decoder.pass(&input(DEVICE, &bytes(cut)));
        comes(&mut decoder, DEVICE, seq);
        assert_eq!(decoder.missing(), 0, "{seq}");
    }
    comes(&mut decoder, DEVICE, "0a");
    comes(&mut decoder, DEVICE, "1850");
    assert_eq!(decoder.missing(), 0);
    for topic in ["spBv1.0/G/DCMD/N/D", "spBv1.0/STATE/N", "other"] {
        decoder.pass(&input(topic, b""));
    }
    comes(&mut decoder, DEVICE, "1852");
    assert_eq!(decoder.missing(), 1);
}

#[test]
fn a_metric_is_told_from_a_payload() {
    for payload in [NBIRTH, DBIRTH, DDATA, ALL, DDATA_UNKNOWN, DDEATH] {
        let payload = bytes(payload);
        assert!(!is_metric(&payload));
        let read = Payload::read(&payload).unwrap();
        assert!(read.metrics().all(|(metric, _)| is_metric(metric)));
    }
    assert!(!is_metric(b"\x12"));
}

/// It is a reading of the same sensor.
#[test]
fn a_command_passes_no_data_that_waits() {
    let (turn, _) = comes(&mut decoder(), "spBv1.0/G/DCMD/N/D", DBIRTH);
    assert_eq!(turn, Turn::Behind(Line::of("G/N", "D")));
}

#[test]
fn a_death_ends_the_life_of_a_device_and_that_of_a_node_those_of_all_its_devices() {
    let mut decoder = decoder();
    comes(&mut decoder, "spBv1.0/G/NBIRTH/N", NBIRTH);
    comes(&mut decoder, "spBv1.0/G/DBIRTH/N/D", DBIRTH);
    comes(&mut decoder, "spBv1.0/G/DBIRTH/N/E", DBIRTH);
    assert_eq!(decoder.says(), Some(true));
    let (turn, death) = comes(&mut decoder, "spBv1.0/G/DDEATH/N/D", DDEATH);
    assert_eq!(turn, Turn::Ends(Line::of("G/N", "D")));
    assert_eq!(values(death), [("online".to_owned(), json!(false))]);
    assert_eq!(decoder.says(), Some(false));
    assert_eq!(comes(&mut decoder, DEVICE, DDATA).0, Turn::Waits(Line::of("G/N", "D")));

    // The will of a connection before the last birth comes late.
    let (_, death) = comes(&mut decoder, "spBv1.0/G/NDEATH/N", NDEATH_STALE);
    let [Ok(death)] = &death[..] else { panic!("{death:?}") };
    assert_eq!((&death["value"], &death["stale"]), (&json!(3), &json!(true)));
    assert_eq!(decoder.says(), None);
    assert_eq!(comes(&mut decoder, NODE, NDATA).0, Turn::Behind(Line::of("G/N", "")));

    let (turn, death) = comes(&mut decoder, "spBv1.0/G/NDEATH/N", NDEATH);
    assert_eq!(turn, Turn::Ends(Line::of("G/N", "").whole()));
    let whose: Vec<_> = death.into_iter().map(|it| it.unwrap()["sensorId"].clone()).collect();
    assert_eq!(whose, ["G/N", "G/N/E", "G/N"], "its bdSeq, its device, and itself");
    assert_eq!(comes(&mut decoder, NODE, NDATA).0, Turn::Waits(Line::of("G/N", "")));
}

#[test]
fn each_data_type_is_read_as_it_is_meant() {
    let all = values(comes(&mut decoder(), "spBv1.0/G/NBIRTH/N", ALL).1);
    let value = |name: &str| all.iter().find(|it| it.0 == name).unwrap().1.clone();
    for (name, expected) in [
        ("Int8", json!(-1)),
        ("Int8 of a byte", json!(-1)),
        ("Int16", json!(-32768)),
        ("Int32", json!(-2_147_483_648_i64)),
        ("Int64", json!(i64::MIN)),
        ("UInt8", json!(255)),
        ("UInt16", json!(65535)),
        ("UInt32", json!(u32::MAX)),
        ("UInt32 as long", json!(u32::MAX)),
        ("UInt64", json!(u64::MAX)),
        ("Float", json!(0.1)),
        ("Double", json!(0.1)),
        ("NaN", json!(null)),
        ("Boolean", json!(true)),
        ("String", json!("a\"b")),
        ("DateTime", json!(1_700_000_000_123_u64)),
        ("Text", json!("t")),
        ("UUID", json!("4f1b")),
        ("Bytes", json!("AP8=")),
        ("File", json!("YWJj")),
        ("null", json!(null)),
        ("Int8Array", json!([-17, 123])),
        ("Int16Array", json!([-30000, 32211])),
        ("Int32Array", json!([-1, 315_338_746])),
        ("Int64Array", json!([-4_270_929_666_821_191_986_i64, -3_601_064_768_563_266_876_i64])),
        ("UInt8Array", json!([23, 250])),
        ("UInt16Array", json!([30, 53896])),
        ("UInt32Array", json!([52, 3_293_969_225_u32])),
        ("UInt64Array", json!([5245, 16_444_743_074_749_521_625_u64])),
        ("FloatArray", json!([1.23, 89.341])),
        ("DoubleArray", json!([12.354_213, 1_022.912_321_3])),
        (
            "BooleanArray",
            json!([false, false, true, true, false, true, false, false, true, true, false, true]),
        ),
        ("StringArray", json!(["ABC", "hello"])),
        ("DateTimeArray", json!([1_256_102_875_335_u64, 1_656_107_875_000_u64])),
        (
            "DataSet",
            json!({"columns": ["a", "b"], "types": ["Int32", "String"], "rows": [[-5, "x"], [6, "y"]]}),
        ),
        (
            "Template",
            json!({"version": "1.0", "templateRef": "Motor", "isDefinition": false, "parameters": {"rated": -7},
                   "metrics": {"rpm": 1500, "alias 3": true}}),
        ),
    ] {
        assert_eq!(value(name), expected, "{name}");
    }
    let all = comes(&mut decoder(), "spBv1.0/G/NBIRTH/N", ALL).1;
    let of = |name: &str| all.iter().flatten().find(|it| it["name"] == name).unwrap();
    assert_eq!(
        of("Properties")["properties"],
        json!({"low": 1.5, "none": null, "set": {"deep": true}, "list": [{"i": -1}]})
    );
    assert_eq!(
        of("File")["metadata"],
        json!({"isMultiPart": false, "contentType": "text/plain", "size": 3, "fileName": "a.txt"})
    );
}

#[test]
fn what_is_no_sparkplug_is_a_dead_letter_that_says_why() {
    for (topic, payload, reason, part) in [
        ("tele/x", "", Reason::Topic, "spBv1.0/group/kind/node"),
        (NODE, "0a", Reason::Malformed, "ends within a number"),
        (NODE, "0f", Reason::Malformed, "no field begins"),
        (NODE, "0b", Reason::Malformed, "a group"),
        (NODE, "0d00", Reason::Malformed, "ends within a field"),
        (NODE, "0a00", Reason::Malformed, "another type"),
        (NODE, COMPRESSED, Reason::Malformed, "compressed"),
        // A metric with a name that is not UTF-8, and one with an array that ends too early.
        (NODE, "12030a01ff", Reason::Malformed, "not UTF-8"),
        (NODE, "12090a0161201782010100", Reason::Malformed, "ends within"),
        ("spBv1.0/STATE/scada", "41", Reason::Malformed, "a host's state"),
    ] {
        let all = comes(&mut decoder(), topic, payload).1;
        let [Err(malformed)] = &all[..] else { panic!("{topic} {payload}: {all:?}") };
        assert_eq!(malformed.reason, reason, "{payload}");
        assert!(malformed.detail.contains(part), "{payload}: {}", malformed.detail);
    }
    let state =
        documents(&mut decoder(), "spBv1.0/STATE/scada", br#"{"online":true,"timestamp":7}"#);
    let expected = json!({"sensorId": "STATE/scada", "type": "STATE", "node": "scada", "name": "online", "value": true,
                          "timestamp": 7});
    assert_eq!(state, [Ok(expected)]);
}

#[test]
fn a_data_set_has_so_many_columns_at_most() {
    let set = |columns: usize| {
        let mut set = vec![0x1a];
        prost::encoding::encode_varint(columns as u64, &mut set);
        set.extend(vec![3; columns]);
        let (mut metric, mut payload) = (b"\x0a\x01a\x20\x10\x8a\x01".to_vec(), vec![0x12]);
        prost::encoding::encode_varint(set.len() as u64, &mut metric);
        metric.extend(set);
        prost::encoding::encode_varint(metric.len() as u64, &mut payload);
        payload.extend(metric);
        documents(&mut decoder(), NODE, &payload).remove(0)
    };
    assert_eq!(set(1024).unwrap()["value"]["types"].as_array().unwrap().len(), 1024);
    assert!(set(1025).unwrap_err().detail.contains("more than 1024 columns"));
}

proptest! {
    /// Bytes that are near to a payload, in any order of messages: nothing panics, and what is kept has its bound.
    #[test]
    fn any_bytes_are_read(
        messages in prop::collection::vec((0_usize..8, 0_usize..6, any::<prop::sample::Index>(), any::<u8>()), 1..20),
    ) {
        let mut decoder = Options { state_bytes_max: Size::bytes(4096), ..Options::default() }.decoder();
        for (kind, sample, at, byte) in messages {
            let word = ["NBIRTH", "DBIRTH", "NDATA", "DDATA", "NDEATH", "DDEATH", "NCMD", "DCMD"][kind];
            let device = if word.starts_with('D') { "/D" } else { "" };
            let topic = format!("spBv1.0/G/{word}/N{device}");
            let mut payload = bytes([NBIRTH, DBIRTH, DDATA, ALL, DDATA_UNKNOWN, NDEATH][sample]);
            let at = at.index(payload.len());
            payload[at] = byte;
            decoder.turn(&input(&topic, &payload), false);
            documents(&mut decoder, &topic, &payload);
            prop_assert!(decoder.births.are_within());
        }
    }
}
