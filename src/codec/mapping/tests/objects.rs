//! Readings of the objects that a `transform` makes.

use serde_json::json;

use super::*;

/// Value, timestamp, extra, sensor and labels of each reading; the detail where there is none.
fn readings(table: serde_json::Value, payload: &str) -> Vec<Result<Parts, Malformed>> {
    read(&settings(table), None, &[("device", "d1")], payload.as_bytes()).0
}

#[track_caller]
fn one(table: serde_json::Value, payload: &str, expected: [&str; 5]) {
    let mut all = readings(table, payload);
    assert_eq!((all.len(), all.pop().unwrap().unwrap()), (1, expected.map(str::to_owned)));
}

#[test]
fn an_object_has_all_that_a_reading_may_have() {
    let program = "{'value': msg.v, 'timestamp': msg.at, 'sensorId': 's-' + topic.device, 'tags': {'site': \
                   msg.site}, 'quantity': 'temperature', 'unit': 'C', 'battery': 3.0}";
    one(
        json!({"transform": program}),
        r#"{"v":21.50,"at":1732269000,"site":"north","more":1}"#,
        [
            "21.50",
            "\"2024-11-22T09:50:00Z\"",
            r#""battery":3"#,
            "s-d1",
            r#""tags":{"site":"north"},"quantity":"temperature","unit":"C""#,
        ],
    );
}

#[test]
fn an_object_is_read_by_the_rules_of_the_other_keys() {
    let program = "{'value': msg, 'timestamp': '2026-07-01 12:00:00', 'sensorId': 7, 'tags': {'a': 'x'}, 'n': 1}";
    let table = json!({
        "transform": program,
        "type": "number",
        "decimal": ",",
        "sensor": "{device}-{/sensorId}",
        "tags": {"a": "{device}", "b": "{/n}"},
        "timestamp": {"from": "/timestamp", "zone": "Europe/Berlin"},
        "unit": "K",
        "extra": "drop",
    });
    one(
        table.clone(),
        "21,5",
        ["21.5", "\"2026-07-01T10:00:00Z\"", "", "d1-7", r#""tags":{"a":"d1","b":"1"},"unit":"K""#],
    );
    let error = readings(table, "off").pop().unwrap().unwrap_err();
    assert_eq!(error.reason, Reason::Malformed);
    assert_eq!(error.detail, "\"off\" is no number (the entry's `type`) (object 1 of transform)");
}

#[test]
fn a_message_of_which_no_object_is_made_is_skipped() {
    let table = json!({"transform": "has(msg.v) ? {'value': msg.v} : null"});
    let (all, counts) = read(&settings(table.clone()), None, &[], br#"{"w":1}"#);
    assert_eq!((all.len(), counts.skipped), (0, 1));
    let (all, counts) = read(&settings(table), None, &[], br#"{"v":1}"#);
    assert_eq!((all.len(), counts.skipped), (1, 0));
}

#[test]
fn each_object_lives_or_dies_by_itself() {
    let table = json!({"transform": "msg.map(it, {'value': it.v, 'sensorId': it.id})"});
    let all = readings(table, r#"[{"v":1,"id":"a"},{"id":"b"},{"v":2,"id":"c"},{"v":3}]"#);
    let values: Vec<Option<&str>> =
        all.iter().map(|it| it.as_ref().ok().map(|it| &*it[0])).collect();
    assert_eq!(values, [Some("1"), None, Some("2"), None]);
    assert_eq!(all[1].as_ref().unwrap_err().reason, Reason::Transform);
    let without = json!({"transform": "msg.map(it, it)"});
    let all = readings(without, r#"[{"value":1},{"t":2}]"#);
    assert_eq!(all[0].as_ref().unwrap()[0], "1");
    let error = all[1].as_ref().unwrap_err();
    assert_eq!(error.reason, Reason::Missing);
    assert_eq!(
        error.detail,
        "no value at /value: the message has nothing there (object 2 of transform)"
    );
    let skipped = json!({"transform": "msg.map(it, it)", "missing": "skip"});
    assert_eq!(readings(skipped, r#"[{"value":1},{"t":2}]"#).len(), 1);
}

#[test]
fn a_document_that_most_readers_refuse_is_refused_before_the_program() {
    let table = json!({"transform": "{'value': 1}"});
    for payload in [r#"{"a":"\ud800"}"#, r#"{"a":1e400}"#, r#"{"a":"#, r#"{"a":nan}"#] {
        let error = readings(table.clone(), payload).pop().unwrap().unwrap_err();
        assert_eq!(error.reason, Reason::Malformed, "{payload}");
    }
}

#[test]
fn plain_text_is_what_a_program_takes_apart() {
    let table = json!({"transform": "msg.split(';').map(it, {'value': it})", "type": "number", "mismatch": "skip"});
    let all = readings(table, "37.0;36.5;off");
    let values: Vec<&str> = all.iter().map(|it| &*it.as_ref().unwrap()[0]).collect();
    assert_eq!(values, ["37.0", "36.5"]);
}

#[test]
fn what_the_sender_wrote_beside_the_message_gives_way_to_an_objects_tags() {
    let table = json!({"transform": "{'value': 1, 'tags': {'a': 'object'}}"});
    let mut mapping = Payload::default().mapping(&settings(table), &[]);
    let received = Timestamp::from_millis(0);
    let properties = &[("a", "sender"), ("b", "sender")][..];
    let origin = Origin { levels: &[], named: None, entry: "e", properties, received };
    let mut labels = String::new();
    let mut take = |chunk: &mut Chunk, _: Option<&str>, read: Read<'_>| {
        labels = String::from_utf8(chunk.text(read.unwrap().labels).to_vec()).unwrap();
        ControlFlow::Continue(())
    };
    let mut chunk = Chunk::default();
    let flow = mapping.read(Document::Json("1"), &origin, &mut chunk, &mut take);
    assert!(flow.is_continue() && mapping.steps() > 3 && mapping.steps() == 0);
    assert_eq!(labels, r#""tags":{"a":"object","b":"sender"}"#);
    let many = "{'value': 1, 'tags': msg}";
    let all: Vec<String> = (0..40).map(|n| format!("\"t{n}\":{n}")).collect();
    let all = readings(json!({"transform": many}), &format!("{{{}}}", all.join(",")));
    let labels = &all[0].as_ref().unwrap()[4];
    assert!(labels.contains("t31") && !labels.contains("t32"), "32 at most: {labels}");
}
