//! Lines as the protocol has them, refusals, and what is remembered.

use super::*;
use crate::clock;
use crate::record::Arrival;
use proptest::prelude::*;
use serde_json::{Value, json};

fn view<'a>(value: &'a str, labels: &'a str, timestamp: &'a str) -> View<'a> {
    View {
        sensor: Whose::Counted("\"a 1\"", 7),
        entry: "\"weather\"",
        value: value.as_bytes(),
        timestamp: timestamp.as_bytes(),
        received: clock::Timestamp::from_millis(1_763_796_650_601),
        labels: labels.as_bytes(),
        topic: b"t",
        extra: b"\"x\":1",
        arrival: Arrival::default(),
        expires: None,
    }
}

fn encoder(settings: &str) -> Encoder {
    Encoder::new(&Options { influx: &serde_json::from_str(settings).unwrap() })
}

fn line_of(encoder: &mut Encoder, view: &View<'_>) -> Result<String, String> {
    let mut out = Vec::new();
    let written = encoder.record(&mut out, view).map_err(|Unwritable(why)| why);
    written.map(|()| String::from_utf8(out).unwrap())
}

fn line(value: &str, labels: &str, timestamp: &str) -> Result<String, String> {
    line_of(&mut encoder("{}"), &view(value, labels, timestamp))
}

const TAGS: &str = r#""tags":{"site":"n,o=r th","b":"","time":"x"},"quantity":"temp","unit":"C""#;

#[test]
fn a_record_is_a_line() {
    let at = "1763796650601000007";
    for (value, labels, timestamp, expected) in [
        ("21.5", "", "", format!(r"weather,sensor=a\ 1 value=21.5 {at}")),
        ("21", TAGS, "", format!(r"weather,sensor=a\ 1,site=n\,o\=r\ th temp=21 {at}")),
        (
            "true",
            "",
            "\"2025-11-22T07:30:50.25Z\"",
            r"weather,sensor=a\ 1 value=true 1763796650250000000".into(),
        ),
        (
            "1e3",
            "",
            "\"2025-11-22T07:30:50.1234567891234Z\"",
            r"weather,sensor=a\ 1 value=1e3 1763796650123456789".into(),
        ),
        (
            "\"a\\\"b\\\\c d\\n,=é\"",
            "",
            "",
            format!(r#"weather,sensor=a\ 1 value="a\"b\\c d\\n,=é" {at}"#),
        ),
        (
            r#"{"t":-1.50,"on":false,"no":null,"all":[1],"in":{"a b":1,"c":{"d":"x"}},"time":5}"#,
            TAGS,
            "",
            format!(
                r#"weather,sensor=a\ 1,site=n\,o\=r\ th t=-1.50,on=false,in_a\ b=1,in_c_d="x" {at}"#
            ),
        ),
    ] {
        assert_eq!(line(value, labels, timestamp).unwrap(), expected);
    }
}

#[test]
fn the_parts_of_a_line_are_made_by_settings() {
    let settings = r#"{"measurement":"m {quantity},x","tags":{"s":"{entry}/{sensor}","site":"s"},"field":"f={tag.b}"}"#;
    let mut encoder = encoder(settings);
    let written = line_of(&mut encoder, &view("1", TAGS, "\"2025-11-22T07:30:50Z\"")).unwrap();
    assert_eq!(written, r"m\ temp\,x,s=weather/a\ 1,site=s f\=none=1 1763796650000000000");
    let written = line_of(&mut encoder, &view("1", "", "\"2025-11-22T07:30:50Z\"")).unwrap();
    assert_eq!(written, r"m\ none\,x,s=weather/a\ 1,site=s f\=none=1 1763796650000000000");
}

#[test]
fn a_field_keeps_its_type_and_whole_numbers_are_floats() {
    let mut encoder = encoder("{}");
    let mut told = |value: &str| line_of(&mut encoder, &view(value, "", "")).map(drop);
    assert_eq!([told("21"), told("21.5"), told("-3e2")], [Ok(()), Ok(()), Ok(())]);
    let said = "the field value has been a number before, and is text here: a field has one type";
    assert_eq!(told("\"off\""), Err(said.to_owned()));
    assert_eq!(told(r#"{"value":true}"#).unwrap_err(), said.replace("text", "true or false"));
    assert_eq!([told("22"), told(r#"{"state":"off"}"#)], [Ok(()), Ok(())], "the others go on");
    let other = View { entry: "\"doors\"", ..view("\"open\"", "", "") };
    assert!(line_of(&mut encoder, &other).is_ok(), "of another measurement");
}

#[test]
fn what_line_protocol_cannot_say_is_refused() {
    for (value, labels, timestamp, words) in [
        ("null", "", "", "no number, no text"),
        ("[1]", "", "", "no number, no text"),
        (r#"{"a":null,"time":1}"#, "", "", "no number, no text"),
        ("1e999", "", "", "1e999 is no float"),
        ("1", r#""tags":{"p":"C:\\"}"#, "", "backslash"),
        ("1", r#""tags":{"p":"a\\ b"}"#, "", "backslash"),
        (r#"{"a\\":1}"#, "", "", "backslash"),
        ("1", "", "\"2500-01-01T00:00:00Z\"", "1677 to 2262"),
    ] {
        let said = line(value, labels, timestamp).unwrap_err();
        assert!(said.contains(words), "{value}: {said}");
    }
    assert!(
        line("1", r#""tags":{"p":"C:\\x"}"#, "").unwrap().contains(r",p=C:\x,sensor"),
        "as it is"
    );
    let comment = line_of(&mut encoder(r##"{"measurement":"#a"}"##), &view("1", "", ""));
    assert!(comment.unwrap_err().contains("comment"));
}

#[test]
fn a_series_that_is_known_costs_no_allocation() {
    let (mut encoder, mut out) = (encoder("{}"), Vec::with_capacity(4096));
    let view = view(r#"{"t":1.5,"on":true}"#, TAGS, "\"2025-11-22T07:30:50.25Z\"");
    encoder.record(&mut out, &view).unwrap();
    let info = allocation_counter::measure(|| encoder.record(&mut out, &view).unwrap());
    assert_eq!(info.count_total, 0);
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut encoder = encoder("{}");
    for number in 0..FIELDS_REMEMBERED_MAX + 10 {
        let (value, sensor) = (format!(r#"{{"f{number}":1}}"#), format!("\"s{number}\""));
        let view = View { sensor: Whose::Counted(&sensor, 1), ..view(&value, "", "") };
        line_of(&mut encoder, &view).unwrap();
    }
    assert_eq!(encoder.kinds.len(), FIELDS_REMEMBERED_MAX);
    assert!(encoder.series.len() <= SERIES_REMEMBERED_MAX);
}

fn names() -> impl Strategy<Value = String> {
    "[a-z,= \"é{#n]{1,6}"
}

proptest! {
    #[test]
    fn what_was_written_is_read_back(
        sensor in names(),
        tags in prop::collection::btree_map(names(), names(), 0..3),
        text in "\\PC{0,9}|[\"\\\\ ,=\n]{1,6}",
        numbers in prop::collection::btree_map(names(), any::<i32>(), 1..4),
    ) {
        let labels = json!({ "tags": tags }).to_string();
        let labels = labels.trim_start_matches('{').strip_suffix('}').unwrap();
        let mut value: serde_json::Map<_, _> =
            numbers.iter().map(|(name, it)| (name.clone(), json!(f64::from(*it) / 64.0))).collect();
        value.insert("text".to_owned(), json!(text));
        let (json, id) = (Value::from(value.clone()).to_string(), json!(sensor).to_string());
        let view = View { sensor: Whose::Counted(&id, 7), ..view(&json, labels, "") };
        let written = line_of(&mut encoder("{}"), &view).unwrap();
        prop_assert_eq!(records(format!("{written}\n{written}\n").as_bytes()).len(), 2);
        let read: Value = serde_json::from_slice(&super::json(written.as_bytes())).unwrap();
        prop_assert_eq!(&read["sensorId"], &json!(sensor));
        prop_assert_eq!(&read["entry"], "weather");
        prop_assert_eq!(&read["timestamp"], 1_763_796_650_601_u64);
        value.insert("text".to_owned(), json!(text.replace('\n', "\\n")));
        prop_assert_eq!(&read["value"], &Value::from(value));
        let told: BTreeMap<String, String> =
            serde_json::from_value(read.get("tags").cloned().unwrap_or(json!({}))).unwrap();
        prop_assert_eq!(told, tags);
    }
}
