//! Tests of messages with several readings: `each`.

use super::*;

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
