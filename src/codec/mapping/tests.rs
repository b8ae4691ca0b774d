//! Tests of reading documents, through the codec of JSON.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::settings::{Decimal, Extra, Missing, Quantity, Type};
use super::several::Pointers;
use super::*;
use crate::codec::{Input, Payload};

/// What is counted beside the readings of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counts {
    skipped: u64,
    times_unused: u64,
}

/// A document's readings: value, timestamp, extra, sensor, labels.
type Parts = [String; 5];

/// What is read with these settings; the topic names its sensor, or has these levels.
fn read(
    settings: &Settings,
    named: Option<&str>,
    topic: &[(&str, &str)],
    payload: &[u8],
) -> (Vec<Result<Parts, Malformed>>, Counts) {
    let all_names: Vec<String> = topic.iter().map(|it| it.0.to_owned()).collect();
    let levels: Vec<&str> = topic.iter().map(|it| it.1).collect();
    let mut mapping = Payload::default().mapping(settings, &all_names);
    let received = Timestamp::from_millis(1_795_332_650_692);
    let origin = Origin { levels: &levels, named, entry: "entry", properties: &[], received };
    let (mut chunk, mut all, mut times_unused) = (Chunk::default(), Vec::new(), 0);
    let mut take = |chunk: &mut Chunk, _: Option<&str>, read: Read<'_>| {
        let text = |span| String::from_utf8(chunk.text(span).to_vec()).unwrap();
        times_unused += read.as_ref().map_or(0, |it| u64::from(it.time_unused));
        all.push(read.map(|it| {
            let sensor = it.sensor.unwrap_or_default().to_owned();
            [text(it.value), text(it.timestamp), text(it.extra), sensor, text(it.labels)]
        }));
        ControlFlow::Continue(())
    };
    let input = Input { payload, received, bytes_max: payload.len() };
    let ended = Payload::default().decoder().decode(input, &mut |_, document| match document {
        Ok(document) => mapping.read(document, &origin, &mut chunk, &mut take),
        Err(malformed) => take(&mut chunk, None, Err(malformed)),
    });
    assert!(ended.is_continue());
    (all, Counts { skipped: mapping.skipped(), times_unused })
}

/// (value, timestamp, extra, sensor)
fn decode(payload: &[u8]) -> Result<[String; 4], Malformed> {
    decode_with(&Settings::default(), payload)
}

fn decode_with(settings: &Settings, payload: &[u8]) -> Result<[String; 4], Malformed> {
    decode_named(settings, None, payload)
}

fn decode_named(
    settings: &Settings,
    named: Option<&str>,
    payload: &[u8],
) -> Result<[String; 4], Malformed> {
    let (mut all, _) = read(settings, named, &[], payload);
    assert_eq!(all.len(), 1);
    all.swap_remove(0).map(|[value, timestamp, extra, sensor, _]| [value, timestamp, extra, sensor])
}

fn pointers(text: &str) -> Pointers {
    serde_json::from_value(text.into()).unwrap()
}

/// The settings of a table.
fn settings(table: serde_json::Value) -> Settings {
    serde_json::from_value::<mapped::tests::Entry>(table).unwrap().mapping().unwrap()
}

#[test]
fn objects_give_their_parts_and_the_rest() {
    for (payload, expected) in [
        (
            r#"{"value":21.50,"timestamp":"2026-01-01T00:00:00Z","sensorId":"S","unit":"C","x":[1, 2]}"#,
            ["21.50", "\"2026-01-01T00:00:00Z\"", r#""unit":"C","x":[1, 2]"#, "S"],
        ),
        (
            r#" {"value":{"a": 1},"timestamp":1732269000} "#,
            [r#"{"a": 1}"#, "\"2024-11-22T09:50:00Z\"", "", ""],
        ),
        (
            r#"{"t":71.5,"timestamp":"1732269000"}"#,
            [r#"{"t":71.5,"timestamp":"1732269000"}"#, "\"2024-11-22T09:50:00Z\"", "", ""],
        ),
        (r#"{"value":1,"timestamp":5}"#, ["1", "", r#""timestamp":5"#, ""]),
        (r#"{"value":null,"sensorId":12}"#, ["null", "", "", "12"]),
        (r#"{"value":1,"timestamp":{}}"#, ["1", "", r#""timestamp":{}"#, ""]),
        (r#"{"v\u0061lue":1,"a\"b":2}"#, ["1", "", r#""a\"b":2"#, ""]),
        ("{}", ["{}", "", "", ""]),
    ] {
        assert_eq!(decode(payload.as_bytes()).unwrap(), expected, "{payload}");
    }
}

#[test]
fn plain_values_pass_as_they_are_and_words_become_text() {
    for (payload, value) in [
        ("21.50", "21.50"),
        ("-1e-7\n", "-1e-7"),
        ("[1, 2]", "[1, 2]"),
        ("true", "true"),
        ("\"open\"", "\"open\""),
        ("open", "\"open\""),
        ("21,5", "\"21,5\""),
        ("NaN", "\"NaN\""),
        ("12345678901234567890.123456789", "12345678901234567890.123456789"),
    ] {
        assert_eq!(decode(payload.as_bytes()).unwrap()[0], value, "{payload}");
    }
}

#[test]
fn what_is_no_reading_says_why() {
    for (payload, reason, detail) in [
        (&b""[..], Reason::Empty, "empty"),
        (b" \n", Reason::Empty, "empty"),
        (br#"{"value":"#, Reason::Malformed, "line 1 column"),
        (br#"{"value":1}x"#, Reason::Malformed, "trailing"),
        (b"\"open", Reason::Malformed, "EOF"),
        (b"[1,", Reason::Malformed, "line 1"),
        (b"\xff\xfe", Reason::Malformed, "byte 1"),
        (br#"{"value":"\ud800"}"#, Reason::Malformed, "refused by most readers"),
        (b"1e999999", Reason::Malformed, "refused by most readers"),
        (br#"{"a":x}"#, Reason::Malformed, "expected value at line 1 column 6"),
        (br#"{"value":NaN}"#, Reason::Malformed, "NaN is no number in JSON"),
        (b"[1,-Infinity]", Reason::Malformed, "-Infinity is no number in JSON"),
        (br#"{"n":{"x":nan}}"#, Reason::Malformed, "line 1 column"),
    ] {
        let malformed = decode(payload).unwrap_err();
        assert_eq!(malformed.reason, reason, "{payload:?}");
        assert!(malformed.detail.contains(detail), "{payload:?}: {}", malformed.detail);
    }
}

#[test]
fn pointers_reach_into_nested_objects_and_what_they_find_is_not_left_there() {
    let settings = settings(serde_json::json!({
        "value": "/data/0/temp", "timestamp": "/at", "sensor": "/device/id",
    }));
    let payload = br#"{"data":[{"temp":3,"hum":4},5],"at":1732269000,"device":{"id":"D"}}"#;
    let [value, timestamp, extra, sensor] = decode_with(&settings, payload).unwrap();
    assert_eq!((value.as_str(), sensor.as_str()), ("3", "D"));
    assert_eq!(timestamp, "\"2024-11-22T09:50:00Z\"");
    assert_eq!(extra, r#""data":[{"hum":4},5]"#);
}

#[test]
fn a_pointer_that_somebody_wrote_finds_the_value_or_there_is_no_reading() {
    let with = |value: &str| Settings { value: Some(pointers(value)), ..Settings::default() };
    for (value, payload, expected) in [
        ("/data/t", r#"{"data":{"t":1}}"#, Ok("1")),
        ("/data/t", r#"{"data":{"t":null}}"#, Ok("null")),
        ("/data/t", r#"{"data":{"u":1}}"#, Err("at /data/t")),
        ("/data/t", r#"{"data":7,"value":8}"#, Err("has nothing there")),
        ("/data/t", "7", Err("is no object")),
        ("/data/t", "[7]", Err("has nothing there")),
        ("/data/t", "open", Err("is no object")),
        ("/value", r#"{"temperature":71.5}"#, Err("at /value")),
        ("/a~1b", "{}", Err("at /a~1b")),
    ] {
        match (decode_with(&with(value), payload.as_bytes()), expected) {
            (Ok(read), Ok(expected)) => assert_eq!(read[0], expected, "{payload}"),
            (Err(malformed), Err(words)) => {
                assert_eq!(malformed.reason, Reason::Missing, "{payload}");
                assert!(malformed.detail.contains(words), "{payload}: {}", malformed.detail);
            }
            (read, _) => panic!("{payload}: {read:?}"),
        }
    }
    let malformed = decode_with(&with("/data/t"), b"{\"data\":").unwrap_err();
    assert_eq!(malformed.reason, Reason::Malformed, "what cannot be read");
}

#[test]
fn an_id_that_yields_to_the_topics_is_kept_where_it_is_another_one() {
    let settings = Settings::default();
    for (payload, extra) in [
        (r#"{"value":1,"sensorId":"other","u":2}"#, r#""sensorId":"other","u":2"#),
        (r#"{"value":1,"sensorId":"s7","u":2}"#, r#""u":2"#),
        (r#"{"value":1,"sensorId":7}"#, r#""sensorId":7"#),
        (r#"{"value":1,"sensorId":{"x":1}}"#, r#""sensorId":{"x":1}"#),
    ] {
        let read = decode_named(&settings, Some("s7"), payload.as_bytes()).unwrap();
        assert_eq!((read[2].as_str(), read[3].as_str()), (extra, ""), "{payload}");
    }
}

#[test]
fn what_has_a_line_break_becomes_one_line_and_nothing_else_changes() {
    for (payload, expected) in [
        (
            "{\n \"value\": {\"a\": [1,\n 2]},\n \"x\": {\"b\" :\r\n3} }",
            [r#"{"a":[1,2]}"#, r#""x":{"b":3}"#],
        ),
        ("{\n \"value\": {\"a\" : 1}, \"x\": [1,  2]\n}", [r#"{"a" : 1}"#, r#""x":[1,  2]"#]),
        ("{\"t\": 1,\n\"u\": \"a b\"}", [r#"{"t":1,"u":"a b"}"#, ""]),
        ("[ 1,\n2 ]", ["[1,2]", ""]),
    ] {
        let [value, _, extra, _] = decode(payload.as_bytes()).unwrap();
        assert_eq!([value.as_str(), extra.as_str()], expected, "{payload:?}");
    }
}

#[test]
fn a_number_is_read_and_stays_where_it_is() {
    let number = |path: &str, payload: &str| {
        let settings = Settings { counter: Some(pointers(path)), ..Settings::default() };
        let without = decode(payload.as_bytes()).unwrap();
        assert_eq!(decode_with(&settings, payload.as_bytes()).unwrap(), without, "{payload}");
        let mut mapping = Payload::default().mapping(&settings, &[]);
        let received = Timestamp::from_millis(0);
        let origin = Origin { levels: &[], named: None, entry: "entry", properties: &[], received };
        let mut number = None;
        let mut take = |_: &mut Chunk, _: Option<&str>, read: Read<'_>| {
            number = read.unwrap().number;
            ControlFlow::Continue(())
        };
        let document = Document::Json(payload);
        assert!(mapping.read(document, &origin, &mut Chunk::default(), &mut take).is_continue());
        number
    };
    for (path, payload, expected) in [
        ("/n", r#"{"value":1,"n":7}"#, Some(7)),
        ("/n", r#"{"value":1,"n": 18446744073709551615 ,"u":"C"}"#, Some(u64::MAX)),
        ("/meta/n", r#"{"value":1,"meta":{"n":0}}"#, Some(0)),
        ("/value", r#"{"value":12}"#, Some(12)),
        ("/n", r#"{"t":71.5,"n":3}"#, Some(3)),
        ("/n", r#"{"value":1,"n":-1}"#, None),
        ("/n", r#"{"value":1,"n":7.0}"#, None),
        ("/n", r#"{"value":1,"n":"7"}"#, Some(7)),
        ("/n", r#"{"value":1}"#, None),
        ("/n", "7", None),
    ] {
        assert_eq!(number(path, payload), expected, "{payload}");
    }
}

#[test]
fn several_values_are_one_object_or_a_record_each() {
    let values = serde_json::json!({
        "temperature": { "from": ["/BME280/Temperature", "/StatusSNS/BME280/Temperature"], "unit": "C" },
        "humidity": { "from": "/BME280/Humidity", "missing": "skip" },
    });
    let one = settings(
        serde_json::json!({ "values": values, "timestamp": ["/Time", "/StatusSNS/Time"] }),
    );
    let each = settings(serde_json::json!({ "values": values, "split": true, "extra": "drop" }));
    let payload = br#"{"Time":"2026-11-03T19:34:28","BME280":{"Temperature":21.7,"Humidity":66.6,"DewPoint":15}}"#;
    let [value, timestamp, extra, _] = decode_with(&one, payload).unwrap();
    assert_eq!(value, r#"{"humidity":66.6,"temperature":21.7}"#);
    assert_eq!((&*timestamp, &*extra), ("\"2026-11-03T19:34:28Z\"", r#""BME280":{"DewPoint":15}"#));
    let parts = |it: &Result<Parts, Malformed>| {
        it.clone().map(|[value, _, extra, _, labels]| (value, labels, extra))
    };
    let (all, _) = read(&each, None, &[], payload);
    let own = |value: &str, labels: &str| Ok((value.to_owned(), labels.to_owned(), String::new()));
    let expected = [
        own("66.6", r#""quantity":"humidity""#),
        own("21.7", r#""quantity":"temperature","unit":"C""#),
    ];
    assert_eq!(all.iter().map(parts).collect::<Vec<_>>(), expected);
    // The second way to write it, and one value that is not there.
    let payload = br#"{"StatusSNS":{"Time":1732269000,"BME280":{"Temperature":20}}}"#;
    let [value, timestamp, extra, _] = decode_with(&one, payload).unwrap();
    assert_eq!((&*value, &*timestamp), (r#"{"temperature":20}"#, "\"2024-11-22T09:50:00Z\""));
    assert_eq!(extra, "");
    assert_eq!(read(&each, None, &[], payload).0.len(), 1);
    // What must be there is not: the whole reading, or its own record, is a dead letter.
    let payload = br#"{"BME280":{"Humidity":66.6}}"#;
    let missing = decode_with(&one, payload).unwrap_err();
    let detail = "no temperature at /BME280/Temperature or /StatusSNS/BME280/Temperature: the message has nothing there";
    assert_eq!((missing.reason, &*missing.detail), (Reason::Missing, detail));
    let (all, _) = read(&each, None, &[], payload);
    assert!(all[0].is_ok() && all[1].as_ref().unwrap_err().reason == Reason::Missing, "{all:?}");
}

#[test]
fn a_message_without_a_value_is_what_missing_says() {
    let with = |missing: Option<Missing>| Settings {
        missing,
        value: Some(pointers("/t")),
        ..Settings::default()
    };
    let payload = br#"{"batt":52,"sensorId":"S"}"#;
    let outcome = |missing| read(&with(missing), None, &[], payload);
    assert_eq!(outcome(None).0[0].as_ref().unwrap_err().reason, Reason::Missing);
    assert_eq!(outcome(Some(Missing::Skip)), (vec![], Counts { skipped: 1, times_unused: 0 }));
    let whole = [
        String::from_utf8(payload.to_vec()).unwrap(),
        String::new(),
        String::new(),
        "S".into(),
        String::new(),
    ];
    assert_eq!(outcome(Some(Missing::Whole)).0, [Ok(whole)]);
    let all = BTreeMap::from([(
        "t".to_owned(),
        Quantity { from: pointers("/t"), unit: None, missing: Some(Missing::Skip) },
    )]);
    for split in [false, true] {
        let none = Settings { values: all.clone(), split, ..Settings::default() };
        assert_eq!(
            read(&none, None, &[], payload),
            (vec![], Counts { skipped: 1, times_unused: 0 })
        );
    }
}

#[test]
fn templates_make_the_id_and_the_tags_of_levels_members_and_constants() {
    let settings = settings(serde_json::json!({
        "value": "/t", "sensor": "{/model}-{/id}-{device}",
        "tags": { "site": "{site}", "plant": "north", "channel": "{/channel}", "of": "{entry}" },
        "quantity": "temperature", "unit": "/u",
    }));
    let levels = [("device", "d1"), ("site", "hall \"7\"")];
    let payload = br#"{"model":"Nexus-TH","id":90,"t":21.7,"u":"C","rest":1}"#;
    let (all, _) = read(&settings, None, &levels, payload);
    let [value, _, extra, sensor, labels] = all[0].clone().unwrap();
    assert_eq!((&*value, &*extra, &*sensor), ("21.7", r#""rest":1"#, "Nexus-TH-90-d1"));
    let expected = r#""tags":{"of":"entry","plant":"north","site":"hall \"7\""},"quantity":"temperature","unit":"C""#;
    assert_eq!(labels, expected);
    // Where no topic names it, the source leaves it to the mapping.
    let constant = Settings {
        sensor: Some(serde_json::from_value("radio-{entry}".into()).unwrap()),
        ..Settings::default()
    };
    assert_eq!(decode_named(&constant, None, b"1").unwrap()[3], "radio-entry");
    assert_eq!(decode_named(&constant, Some("radio-entry"), b"1").unwrap()[3], "", "it is known");
    let several = Settings {
        sensor: Some(
            serde_json::from_value(serde_json::json!(["{/a}-{/b}", "/c", "{entry}"])).unwrap(),
        ),
        ..Settings::default()
    };
    for (payload, sensor, extra) in [
        (r#"{"value":1,"a":1,"b":2,"c":3}"#, "1-2", r#""c":3"#),
        (r#"{"value":1,"a":1,"c":3}"#, "3", r#""a":1"#),
        (r#"{"value":1,"a":1}"#, "entry", r#""a":1"#),
    ] {
        let found = decode_with(&several, payload.as_bytes()).unwrap();
        assert_eq!((&*found[3], &*found[2]), (sensor, extra), "{payload}");
    }
    let (all, _) = read(&settings, None, &levels, br#"{"model":"Nexus-TH","t":21.7}"#);
    let missing = all[0].clone().unwrap_err();
    assert_eq!(
        (missing.reason, missing.detail.contains("no sensor at /id")),
        (Reason::Missing, true)
    );
}

#[test]
fn a_value_that_has_to_be_a_number_is_one_or_there_is_no_reading() {
    let number = |payload: &str, decimal| {
        let number = Settings { kind: Type::Number, decimal, ..Settings::default() };
        let (mut all, _) = read(&number, None, &[], payload.as_bytes());
        all.swap_remove(0).map(|[value, _, _, _, labels]| (value, labels)).map_err(|it| it.detail)
    };
    for (payload, decimal, expected, labels) in [
        (r#"{"value":21.50}"#, Decimal::Point, "21.50", ""),
        (r#"{"value":"317.3988"}"#, Decimal::Point, "317.3988", ""),
        ("21,5 °C", Decimal::Comma, "21.5", r#""unit":"°C""#),
        ("+5", Decimal::Point, "5", ""),
    ] {
        let expected = Ok((expected.to_owned(), labels.to_owned()));
        assert_eq!(number(payload, decimal), expected, "{payload}");
    }
    for payload in ["unavailable", "null", "true", "[1]", r#"{"value":"open"}"#, "21,5"] {
        let detail = number(payload, Decimal::Point).unwrap_err();
        assert!(detail.contains("is no number"), "{payload}: {detail}");
    }
}

#[test]
fn a_time_that_is_not_used_stays_in_extra_and_is_counted() {
    for (payload, extra) in [
        (r#"{"value":1,"timestamp":"yesterday","u":2}"#, r#""timestamp":"yesterday","u":2"#),
        (r#"{"value":1,"timestamp":12}"#, r#""timestamp":12"#),
    ] {
        let (all, counts) = read(&Settings::default(), None, &[], payload.as_bytes());
        let [_, timestamp, found, ..] = all[0].clone().unwrap();
        assert_eq!((&*timestamp, &*found, counts.times_unused), ("", extra, 1), "{payload}");
    }
    let dropped = Settings { extra: Extra::Drop, ..Settings::default() };
    assert_eq!(decode_with(&dropped, br#"{"value":1,"u":2}"#).unwrap()[2], "");
}

/// Documents of different shapes one after the other: the guess from the last one is only a guess.
#[test]
fn what_the_last_document_had_does_not_change_what_the_next_one_gives() {
    let shapes = [
        r#"{"value":1,"timestamp":"2026-11-03T19:34:28Z","u":1}"#,
        r#"{"value":1,"timestamp":"yesterday","u":1}"#,
        r#"{"t":1,"u":1}"#,
        r#"{"value":1,"sensorId":{},"u":1}"#,
        "[1]",
        "open",
    ];
    let mut mapping = Payload::default().mapping(&Settings::default(), &[]);
    let received = Timestamp::from_millis(1_795_332_650_692);
    let origin = Origin { levels: &[], named: None, entry: "entry", properties: &[], received };
    for (one, other) in shapes.iter().flat_map(|one| shapes.iter().map(move |other| (one, other))) {
        for json in [one, other] {
            let mut chunk = Chunk::default();
            let mut extra = String::new();
            let mut take = |chunk: &mut Chunk, _: Option<&str>, read: Read<'_>| {
                extra = String::from_utf8(chunk.text(read.unwrap().extra).to_vec()).unwrap();
                ControlFlow::Continue(())
            };
            let document =
                if *json == "open" { Document::Text(json) } else { Document::Json(json) };
            assert!(mapping.read(document, &origin, &mut chunk, &mut take).is_continue());
            assert_eq!(extra, decode(json.as_bytes()).unwrap()[2], "{one} {other}");
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_give_a_reading_of_valid_json_or_an_error(
        payload in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        if let Ok([value, timestamp, extra, _]) = decode(&payload) {
            prop_assert!(serde_json::from_str::<serde_json::Value>(&value).is_ok());
            prop_assert!(timestamp.is_empty() || serde_json::from_str::<&RawValue>(&timestamp).is_ok());
            let extra = ["{", &extra, "}"].concat();
            prop_assert!(serde_json::from_str::<&RawValue>(&extra).is_ok());
        }
    }

    #[test]
    fn any_json_value_passes_byte_for_byte(value in "[0-9]{1,9}(\\.[0-9]{1,9})?|\"[a-z ]{0,9}\"") {
        if let Ok([read, ..]) = decode(value.as_bytes()) {
            let json = serde_json::from_str::<&RawValue>(&value).is_ok();
            prop_assert!(!json || read == value);
        }
    }
}

/// What is read of each of several readings: value, timestamp, extra, sensor, labels; or the part and why it is none.
fn read_each(table: serde_json::Value, payload: &str) -> Vec<Result<Parts, (String, String)>> {
    let mut mapping = Payload::default().mapping(&settings(table), &[]);
    let received = Timestamp::from_millis(1_795_332_650_692);
    let origin = Origin { levels: &[], named: None, entry: "entry", properties: &[], received };
    let (mut chunk, mut all) = (Chunk::default(), Vec::new());
    let mut take = |chunk: &mut Chunk, part: Option<&str>, read: Read<'_>| {
        let text = |span| String::from_utf8(chunk.text(span).to_vec()).unwrap();
        let sensor = |it: &Reading<'_>| it.sensor.unwrap_or_default().to_owned();
        let parts = |it: Reading<'_>| [it.value, it.timestamp, it.extra, it.labels].map(text);
        let read = read.map(|it| (sensor(&it), parts(it)));
        let read = read.map(|(id, [value, time, extra, labels])| [value, time, extra, id, labels]);
        all.push(read.map_err(|it| (part.unwrap_or("all").to_owned(), it.detail)));
        ControlFlow::Continue(())
    };
    assert!(mapping.read(Document::Json(payload), &origin, &mut chunk, &mut take).is_continue());
    all
}

#[track_caller]
fn each_is(table: serde_json::Value, payload: &str, expected: &[[&str; 5]]) {
    let read = read_each(table, payload);
    let read: Vec<Parts> = read.into_iter().map(Result::unwrap).collect();
    assert_eq!(read, expected, "{payload}");
}

#[test]
fn each_element_of_an_array_is_a_reading() {
    let time = "\"2024-11-22T09:50:00Z\"";
    each_is(
        serde_json::json!({"each": "/values", "value": "/v", "sensor": "{$/site}-{/id}"}),
        r#"{"site":"n","rssi":-7,"timestamp":1732269000,"values":[{"id":"a","v":1,"q":true},{"id":"b","v":2,"timestamp":1732269001}]}"#,
        &[
            ["1", time, r#""q":true,"$":{"rssi":-7}"#, "n-a", ""],
            ["2", "\"2024-11-22T09:50:01Z\"", r#""$":{"rssi":-7}"#, "n-b", ""],
        ],
    );
    // An array that is the message, of plain values; the member that is not used stays.
    each_is(
        serde_json::json!({"each": ""}),
        r#"[1, {"value":2,"sensorId":"s","x":3}]"#,
        &[["1", "", "", "", ""], ["2", "", r#""x":3"#, "s", ""]],
    );
    each_is(
        serde_json::json!({"each": "/samples"}),
        r#"{"rssi":-7,"samples":[1,{"x":2}]}"#,
        &[
            ["1", "", r#""$":{"rssi":-7}"#, "", ""],
            [r#"{"x":2}"#, "", r#""$":{"rssi":-7}"#, "", ""],
        ],
    );
    // What the first reading does not use of the message stays with each.
    each_is(
        serde_json::json!({"each": "/a", "timestamp": ["/t", "$/t"]}),
        r#"{"t":1732269000,"a":[{"t":1732269000,"value":1},{"value":2}]}"#,
        &[
            ["1", time, r#""$":{"t":1732269000}"#, "", ""],
            ["2", time, r#""$":{"t":1732269000}"#, "", ""],
        ],
    );
}

#[test]
fn each_member_of_an_object_is_a_reading_and_its_name_fills_templates() {
    each_is(
        serde_json::json!({"each": "", "quantity": "{key}", "type": "number"}),
        r#"{"temperature":21.5,"humidity":"40 %"}"#,
        &[
            ["21.5", "", "", "", r#""quantity":"temperature""#],
            ["40", "", "", "", r#""quantity":"humidity","unit":"%""#],
        ],
    );
    let gateway = r#"{"Device A":[{"ts":1732269000000,"values":{"t":42}},{"ts":1732269001000,"values":{"t":43}}],"B\u0022":[]}"#;
    each_is(
        serde_json::json!({"each": ["", ""], "sensor": "{key}", "timestamp": "/ts", "values": {"t": "/values/t"}}),
        gateway,
        &[
            [r#"{"t":42}"#, "\"2024-11-22T09:50:00.000Z\"", "", "Device A", ""],
            [r#"{"t":43}"#, "\"2024-11-22T09:50:01.000Z\"", "", "Device A", ""],
        ],
    );
    each_is(
        serde_json::json!({"each": ["/d", "/v"], "sensor": "{key.1}", "quantity": "{key}", "extra": ["$/at"]}),
        r#"{"at":7,"d":{"one":{"v":{"t":1}},"two":{"v":{"t":2}}}}"#,
        &[
            ["1", "", r#""at":7"#, "one", r#""quantity":"t""#],
            ["2", "", r#""at":7"#, "two", r#""quantity":"t""#],
        ],
    );
}

#[test]
fn an_element_that_is_no_reading_is_a_dead_letter_by_itself() {
    let read = |table, payload: &str| {
        let told = |read: Result<Parts, (String, String)>| match read {
            Ok(parts) => parts[0].clone(),
            Err((part, detail)) => format!("{part}: {detail}"),
        };
        read_each(table, payload).into_iter().map(told).collect::<Vec<_>>()
    };
    let table = || serde_json::json!({"each": "/a", "value": "/v"});
    assert_eq!(
        read(table(), r#"{"a":[{"v":1},{"w":2},{"v":3}]}"#),
        [
            "1",
            r#"{"w":2}: no value at /v: the message has nothing there (number 2 of each = "/a")"#,
            "3",
        ]
    );
    for (payload, expected) in [
        (r#"{"b":1}"#, Some("all: no array or object at \"/a\": the message has nothing there")),
        (r#"{"a":1}"#, Some("all: what is at \"/a\" is neither an array nor an object")),
        (r#"{"a":[]}"#, None),
        (r#"{"a":[1}"#, Some("all: expected `,` or `]` at line 1 column 8")),
    ] {
        let expected: Vec<_> = expected.into_iter().map(str::to_owned).collect();
        assert_eq!(read(table(), payload), expected, "{payload}");
    }
    let nested = serde_json::json!({"each": ["", "/a"]});
    let told = r#"{"b":1}: no array or object at "", "/a": the message has nothing there"#;
    assert_eq!(read(nested, r#"[{"a":[1,2]},{"b":1}]"#), ["1", "2", told]);
    let whole = serde_json::json!({"each": "/a", "missing": "whole"});
    assert_eq!(read(whole, r#"{"b":1}"#), [r#"{"b":1}"#]);
}

#[test]
fn what_is_kept_of_the_rest_can_be_named() {
    let table = serde_json::json!({"extra": ["/radio/rssi", "/none", "/b"]});
    let payload = b"{\"value\":1,\"b\":[1,\n2],\"radio\":{\"rssi\":-7,\"snr\":2}}";
    let [value, _, extra, _] = decode_with(&settings(table), payload).unwrap();
    assert_eq!((&*value, &*extra), ("1", r#""rssi":-7,"b":[1,2]"#));
    // A message that is the value is not left beside it.
    let whole = decode_with(&settings(serde_json::json!({"value": ""})), br#"{"a":1}"#).unwrap();
    assert_eq!([&*whole[0], &*whole[2]], [r#"{"a":1}"#, ""]);
}

#[test]
fn what_is_no_number_is_a_dead_letter_or_skipped_and_null_is_nothing() {
    let one = |more: serde_json::Value, payload: &str| {
        let mut table = serde_json::json!({"value": ["/t", "/u"], "type": "number"});
        table.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (read, counts) = read(&settings(table), None, &[], payload.as_bytes());
        let told = |it: Result<Parts, Malformed>| match it {
            Ok(parts) => format!("{} {}", parts[0], parts[2]),
            Err(malformed) => malformed.reason.as_str().to_owned(),
        };
        (read.into_iter().map(told).collect::<Vec<_>>().join(", "), counts.skipped)
    };
    let (none, skip) = (serde_json::json!({}), serde_json::json!({"mismatch": "skip"}));
    let both = serde_json::json!({"mismatch": "skip", "missing": "skip"});
    for (more, payload, expected) in [
        (&none, r#"{"t":"unavailable"}"#, ("malformed", 0)),
        (&skip, r#"{"t":"unavailable"}"#, ("", 1)),
        (&skip, r#"{"t":null}"#, ("missing", 0)),
        (&both, r#"{"t":null}"#, ("", 1)),
        (&none, r#"{"t":null,"u":"5 m"}"#, (r#"5 "t":null"#, 0)),
        (&skip, r#"{"t":{"u":1}}"#, ("", 1)),
        (&skip, r#"{"t":"7"}"#, ("7 ", 0)),
    ] {
        assert_eq!(one(more.clone(), payload), (expected.0.to_owned(), expected.1), "{payload}");
    }
    let several =
        serde_json::json!({"values": {"a": "/a", "b": "/b"}, "type": "number", "mismatch": "skip"});
    for (split, expected) in [(false, "{\"a\":1}"), (true, "1")] {
        let mut table = several.clone();
        table["split"] = split.into();
        let (mut read, _) = read(&settings(table), None, &[], br#"{"a":1,"b":"off"}"#);
        let [value, _, extra, ..] = read.remove(0).unwrap();
        assert_eq!((&*value, &*extra, read.len()), (expected, r#""b":"off""#, 0));
    }
    // A message that is no structure is what the empty pointer leads to.
    let whole = settings(serde_json::json!({"value": "", "type": "number"}));
    assert_eq!(decode_with(&whole, b"21.5 C").unwrap()[0], "21.5");
}

#[test]
fn a_tag_that_is_too_long_is_left_out() {
    let table = serde_json::json!({"tags": {"a": "{/a}{/a}", "b": "{/b}"}, "unit": "{/a}{/a}"});
    let half = "x".repeat(settings::TAG_BYTES_MAX / 2);
    for (more, expected) in [("", true), ("y", false)] {
        let payload = format!(r#"{{"value":1,"a":"{half}{more}","b":"c"}}"#);
        let (mut read, _) = read(&settings(table.clone()), None, &[], payload.as_bytes());
        let labels = read.remove(0).unwrap()[4].clone();
        assert_eq!(labels.contains("xx"), expected);
        assert!(labels.contains(r#""b":"c""#));
    }
}
