//! What of an entry is warned of, and what is not.

use serde_json::{Value, json};

use super::*;

/// The keys that are warned of, of an entry `x` of MQTT.
fn warned(settings: &Value) -> Vec<Idle> {
    let mut mqtt = json!({"topic": "a/{device}"});
    mqtt.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    let mut plan = Plan::default();
    plan.sensors.insert("x".into(), serde_json::from_value(json!({"mqtt": mqtt})).unwrap());
    assert_eq!(plan.problems(), [], "{settings}");
    plan.idle()
}

/// One warning, of this key and with these words.
#[track_caller]
fn one(settings: &Value, key: &str, words: &str) {
    let found = warned(settings);
    let [(at, text)] = &found[..] else { panic!("{settings}: {found:?}") };
    assert_eq!(*at, format!("sensors.x.mqtt.{key}"), "{text}");
    assert!(text.contains(words), "{text}");
}

#[track_caller]
fn none(settings: &Value) {
    assert_eq!(warned(settings), [], "{settings}");
}

#[test]
fn a_topic_that_is_left_out_as_a_whole_is_warned_of() {
    one(
        &json!({"ignore": "a/+"}),
        "topic",
        "a/{device} is left out as a whole by ignore = \"a/+\"",
    );
    one(&json!({"ignore": ["a/x", "b/c"]}), "ignore", "b/c is part of no topic");
    none(&json!({"ignore": ["a/x", "+/y"]}));
}

#[test]
fn members_of_a_payload_that_has_none_are_warned_of() {
    for codec in ["text", "raw"] {
        let of = |key: &str, value: Value| json!({"payload": codec, key: value});
        for (settings, key) in [
            (of("value", json!("/x")), "value"),
            (of("values", json!({"t": ["", "/x"]})), "values.t"),
            (of("sensor", json!("{/id}")), "sensor"),
            (of("tags", json!({"a": "/b"})), "tags.a"),
            (of("unit", json!("/u")), "unit"),
            (of("timestamp", json!("/t")), "timestamp"),
            (of("counter", json!("/n")), "counter"),
            (of("each", json!("")), "each"),
            (of("extra", json!(["/r"])), "extra"),
        ] {
            let found = warned(&settings);
            let mine = found.iter().find(|it| it.0 == format!("sensors.x.mqtt.{key}"));
            let text = &mine.unwrap_or_else(|| panic!("{settings}: {found:?}")).1;
            assert!(text.contains(&format!("{codec:?}")) && text.contains("remove it"), "{text}");
        }
        none(&of("value", json!("")));
        none(&of("sensor", json!("{device}-{entry}")));
    }
    none(&json!({"payload": "cbor", "value": "/x"}));
}

#[test]
fn fields_that_a_resolved_record_of_senml_has_no_more_are_warned_of() {
    let of = |key: &str, value: Value| json!({"payload": "senml", key: value});
    one(&of("value", json!("/v")), "value", "its \"v\" becomes /value; write that");
    one(&of("sensor", json!("{/n}")), "sensor", "becomes /sensorId");
    one(&of("timestamp", json!("/timestamp/s")), "timestamp", "/timestamp of a record of SenML is");
    one(&of("each", json!("/value")), "each", "is a single value");
    none(&of("value", json!("/value")));
    none(&of("tags", json!({"place": "/place/hall"})));
}

#[test]
fn places_in_the_objects_of_a_program_are_not_warned_of_as_its_codecs() {
    let entry = |codec: &str| {
        json!({
            "payload": codec,
            "transform": "[{'n': 'a', 't': 1, 'value': {'v': 2}}]",
            "sensor": "/n",
            "timestamp": "/t",
            "counter": "/bver",
            "tags": {"v": "/value/v"},
            "extra": ["/u"],
        })
    };
    let found = ["text", "raw", "senml"].map(|it| warned(&entry(it)));
    assert_eq!(found.concat(), []);
}

#[test]
fn a_place_behind_one_that_is_there_whenever_it_is_is_warned_of() {
    one(&json!({"value": ["/a", "/a"]}), "value", "has \"/a\" behind \"/a\"");
    one(&json!({"value": ["/a", "/a/b"]}), "value", "has \"/a/b\" behind \"/a\"");
    one(&json!({"values": {"t": ["", "/t"]}}), "values.t", "has \"/t\" behind \"\"");
    one(&json!({"timestamp": ["/t", "/u", "/t"]}), "timestamp", "the first counts");
    one(&json!({"counter": ["$/n", "/n"]}), "counter", "has \"/n\" behind \"$/n\"");
    none(&json!({"value": ["/a/b", "/a", "/ab"]}));
    none(&json!({"each": "/r", "value": ["/n", "$/n"]}));
    none(&json!({"each": ["", ""], "value": "/v"}));
}

#[test]
fn a_template_behind_one_that_is_filled_whenever_it_is_is_warned_of() {
    one(&json!({"sensor": ["{entry}", "{/id}"]}), "sensor", "has \"{/id}\" behind \"{entry}\"");
    one(&json!({"sensor": ["{device}", "x"]}), "sensor", "has \"x\" behind");
    one(&json!({"sensor": ["/id", "{/id}-{/b}"]}), "sensor", "has \"{/id}-{/b}\" behind \"/id\"");
    none(&json!({"sensor": ["{/id}-{/b}", "/id", "{entry}"]}));
    none(&json!({"each": "", "sensor": ["{key.1}", "{/id}", "{device}"]}));
}

#[test]
fn what_times_never_use_is_warned_of() {
    let timestamp = |more: Value| {
        let mut table = json!({"from": "/t"});
        table.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"timestamp": table})
    };
    for format in ["rfc3339", "rfc2822", "unix", "unix_ms", "unix_us", "unix_ns"] {
        let set = timestamp(json!({"format": format, "zone": "Europe/Berlin"}));
        one(&set, "timestamp.zone", &format!("no effect with format = {format:?}"));
        none(&timestamp(json!({"format": format})));
    }
    for format in ["auto", "local", "time_of_day"] {
        none(&timestamp(json!({"format": format, "zone": "Europe/Berlin"})));
    }
    let since = json!({"plausible": {"since": "2999-01-01"}});
    one(&timestamp(since), "timestamp.plausible.since", "(ahead_max 1day): every time of a sensor");
    none(&timestamp(json!({"plausible": {"since": "2020-01-01", "ahead_max": "0s"}})));
}

#[test]
fn what_is_set_of_numbers_alone_is_warned_of_elsewhere() {
    one(&json!({"decimal": ","}), "decimal", "with type = \"number\" only");
    one(&json!({"mismatch": "skip"}), "mismatch", "with type = \"number\" only");
    none(&json!({"decimal": ",", "mismatch": "skip", "type": "number"}));
}

#[test]
fn units_and_quantities_that_no_record_has_are_warned_of() {
    let values = json!({"t": {"from": "/t", "unit": "C"}, "u": "/u"});
    one(&json!({"values": values}), "values.t.unit", "without split = true");
    none(&json!({"values": values, "split": true}));
    let both = json!({"values": values, "split": true, "quantity": "/q"});
    one(&both, "quantity", "the name of each value is its quantity");
    none(&json!({"values": {"u": "/u"}, "quantity": "/q"}));
}

#[test]
fn properties_that_messages_of_mqtt_3_do_not_have_are_warned_of() {
    let keys = |version| {
        let entry = json!({"mqtt": {"topic": "a", "properties": "all", "expiry": "dead_letter"}});
        let mut plan = Plan::default();
        plan.broker.version = version;
        plan.sensors.insert("x".into(), serde_json::from_value(entry).unwrap());
        plan.idle().into_iter().map(|it| it.0).collect::<Vec<_>>()
    };
    let expected = ["sensors.x.mqtt.properties", "sensors.x.mqtt.expiry"];
    assert_eq!(keys(Version::V3), expected);
    assert_eq!(keys(Version::V5), [""; 0]);
}
