//! Tests of what the settings ask for: several values, numbers, ids and tags, and what is missing.

use super::*;

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
