//! Tests of reading documents, through the codec of JSON.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::keys::{Decimal, Extra, Missing, Quantity, Type};
use super::several::Pointers;
use super::*;
use crate::codec::{Input, Payload};

mod each;
mod objects;
mod values;

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
    let input = Input { payload, topic: b"", received, bytes_max: payload.len() };
    let ended = Payload::default().decoder().decode(input, &mut |_, document| match document {
        Ok(document) => mapping.read(document, &origin, &mut chunk, &mut take),
        Err(malformed) => take(&mut chunk, None, Err(malformed)),
    });
    assert!(ended.is_continue());
    (all, Counts { skipped: mapping.skipped(), times_unused })
}

#[test]
fn a_message_like_the_last_one_costs_no_allocation() {
    let each = Settings {
        each: Some(Pointers::try_from(serde_json::Value::from("/all")).unwrap()),
        ..Settings::default()
    };
    for (word, settings, message) in [
        ("json", Settings::default(), r#"{"value":21.5,"device":"70b3d57ed005e5a8"}"#),
        ("json", each, r#"{"all":[{"value":1},{"value":2}],"device":"70b3d57ed005e5a8"}"#),
        ("text", Settings::default(), "the door is open"),
        ("raw", Settings::default(), "\u{1}\u{2}"),
    ] {
        let codec = Payload::try_from(serde_json::Value::from(word)).unwrap();
        let (mut mapping, mut decoder) = (codec.mapping(&settings, &[]), codec.decoder());
        let received = Timestamp::from_millis(1_795_332_650_692);
        let origin =
            Origin { levels: &[], named: Some("s"), entry: "e", properties: &[], received };
        let input = Input { payload: message.as_bytes(), topic: b"", received, bytes_max: 1024 };
        let mut chunk = Chunk::default();
        let mut read = || {
            chunk.clear();
            let mut values = 0;
            let mut take = |_: &mut Chunk, _: Option<&str>, read: Read<'_>| {
                values += usize::from(read.is_ok());
                ControlFlow::Continue(())
            };
            let ended = decoder.decode(input, &mut |_, document| {
                mapping.read(document.unwrap(), &origin, &mut chunk, &mut take)
            });
            assert!(ended.is_continue() && values > 0, "{message}");
        };
        read();
        assert_eq!(allocation_counter::measure(read).count_total, 0, "{word}: {message}");
    }
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
