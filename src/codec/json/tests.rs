//! Tests of reading JSON payloads.

use super::*;
use proptest::prelude::*;

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
    let mut chunk = Chunk::default();
    let reading = settings.decode(payload, named, &mut chunk)?;
    let text = |span| String::from_utf8(chunk.text(span).to_vec()).unwrap();
    let sensor = reading.sensor.map(Cow::into_owned).unwrap_or_default();
    Ok([text(reading.value), text(reading.timestamp), text(reading.extra), sensor])
}

#[test]
fn objects_give_their_parts_and_the_rest() {
    for (payload, expected) in [
        (
            r#"{"value":21.50,"timestamp":"2026-01-01T00:00:00Z","sensorId":"S","unit":"C","x":[1, 2]}"#,
            ["21.50", "\"2026-01-01T00:00:00Z\"", r#""unit":"C","x":[1, 2]"#, "S"],
        ),
        (r#" {"value":{"a": 1},"timestamp":5} "#, [r#"{"a": 1}"#, "5", "", ""]),
        (r#"{"t":71.5,"timestamp":7}"#, [r#"{"t":71.5,"timestamp":7}"#, "7", "", ""]),
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
fn pointers_reach_into_nested_objects() {
    let pointer = |text: &str| Pointer::try_from(text.to_owned()).unwrap();
    let settings = Settings {
        value: Some(pointer("/data/temp")),
        timestamp: pointer("/at"),
        sensor: pointer("/device/id"),
        number: None,
    };
    let payload = br#"{"data":{"temp":3,"hum":4},"at":9,"device":{"id":"D"}}"#;
    let [value, timestamp, extra, sensor] = decode_with(&settings, payload).unwrap();
    assert_eq!((value.as_str(), timestamp.as_str(), sensor.as_str()), ("3", "9", "D"));
    assert_eq!(extra, r#""data":{"temp":3,"hum":4},"device":{"id":"D"}"#);
    assert!(Pointer::try_from("value".to_owned()).is_err());
}

#[test]
fn a_pointer_that_somebody_wrote_finds_the_value_or_there_is_no_reading() {
    let pointer = |text: &str| Pointer::try_from(text.to_owned()).unwrap();
    let with = |value: &str| Settings { value: Some(pointer(value)), ..Settings::default() };
    for (value, payload, expected) in [
        ("/data/t", r#"{"data":{"t":1}}"#, Ok("1")),
        ("/data/t", r#"{"data":{"t":null}}"#, Ok("null")),
        ("/data/t", r#"{"data":{"u":1}}"#, Err("at /data/t")),
        ("/data/t", r#"{"data":7,"value":8}"#, Err("has nothing there")),
        ("/data/t", "7", Err("is no object")),
        ("/data/t", "[7]", Err("is no object")),
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
    let unset: Settings = serde_json::from_str("{}").unwrap();
    assert_eq!((serde_json::to_value(&unset).unwrap().get("value"), &unset.value), (None, &None));
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
        let number = Some(Pointer::try_from(path.to_owned()).unwrap());
        let settings = Settings { number, ..Settings::default() };
        let without = decode(payload.as_bytes()).unwrap();
        assert_eq!(decode_with(&settings, payload.as_bytes()).unwrap(), without, "{payload}");
        let mut chunk = Chunk::default();
        settings.decode(payload.as_bytes(), None, &mut chunk).unwrap().number
    };
    for (path, payload, expected) in [
        ("/n", r#"{"value":1,"n":7}"#, Some(7)),
        ("/n", r#"{"value":1,"n": 18446744073709551615 ,"u":"C"}"#, Some(u64::MAX)),
        ("/meta/n", r#"{"value":1,"meta":{"n":0}}"#, Some(0)),
        ("/value", r#"{"value":12}"#, Some(12)),
        ("/n", r#"{"t":71.5,"n":3}"#, Some(3)),
        ("/n", r#"{"value":1,"n":-1}"#, None),
        ("/n", r#"{"value":1,"n":7.0}"#, None),
        ("/n", r#"{"value":1,"n":"7"}"#, None),
        ("/n", r#"{"value":1}"#, None),
        ("/n", "7", None),
    ] {
        assert_eq!(number(path, payload), expected, "{payload}");
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
