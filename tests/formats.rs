//! What a consumer sees: whose reading it is, what it says byte for byte, and what the batch says
//! of itself.

use serde_json::{Value, json};

use crate::scene::{
    BATCHES, audit, drained, fleet, gateway, letters, message, output, readings, records,
    subscribed, violations, wait_readings,
};
use crate::support::SOON;
use crate::support::broker::{Broker, Published};
use crate::support::client::{Audit, Collector, Options, Session};
use crate::support::gateway::Gateway;
use crate::support::http::Http;
use crate::support::mosquitto::{Mosquitto, STOCK};
use crate::support::wire::{Packet, Publish, QoS, Version};

/// Publishes these messages through a gateway with these sensors: the batches.
fn batches(sensors: &[&str], messages: &[(&str, &str)]) -> Vec<Published> {
    let broker = Broker::start();
    let mut gateway = subscribed(&gateway(&broker.url(), sensors));
    let entries = sensors.iter().filter(|line| line.contains(".topic =")).count();
    broker.wait_until("subscriptions", SOON, |log| log.subscribes("gw-in") == entries);
    broker.publish_all(
        messages.iter().map(|(topic, payload)| message(topic, payload.as_bytes().to_vec(), 1)),
    );
    broker.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == messages.len());
    drained(&mut gateway);
    assert_eq!(violations(&broker), [] as [String; 0]);
    broker.published(BATCHES)
}

/// The records in the order in which they came.
fn all_records(batches: &[Published]) -> Vec<Value> {
    batches.iter().flat_map(records).collect()
}

fn texts(batches: &[Published]) -> String {
    batches.iter().map(|batch| String::from_utf8_lossy(&batch.payload).into_owned()).collect()
}

const ONE: &str = "sensors.boiler.mqtt.topic = \"plant/boiler\"";

#[test]
fn a_value_is_passed_on_byte_for_byte() {
    let values = [
        "21.50",
        "1e3",
        "-0.0",
        "12345678901234567890.1234567890123456789",
        "null",
        "true",
        r#"" spaced \u00e9 \/ ""#,
        r#"[1,  2,{"a" : null}]"#,
        r#"{ "deep" : {"x":[ ]} }"#,
    ];
    for value in values {
        let plain = batches(&[ONE], &[("plant/boiler", value)]);
        let wrapped = batches(&[ONE], &[("plant/boiler", &format!(r#"{{"value": {value} }}"#))]);
        let expected = format!(r#""value":{value},"#);
        assert!(texts(&plain).contains(&expected), "{value}: {}", texts(&plain));
        assert!(texts(&wrapped).contains(&expected), "{value}: {}", texts(&wrapped));
    }
}

#[test]
fn the_same_id_at_two_entries_is_two_sensors() {
    let entries = ["a", "b"].map(|it| format!("sensors.{it}.mqtt.topic = \"{it}/{{sensor}}\""));
    let out = batches(
        &entries.each_ref().map(String::as_str),
        &[("a/x", "1"), ("b/x", "2"), ("a/x", "3")],
    );
    let told = |it: &Value| ["entry", "sensorId", "sequence", "value"].map(|name| it[name].clone());
    let mut told: Vec<_> = all_records(&out).iter().map(told).collect();
    told.sort_by_key(|it| it[3].as_u64());
    let expected = [("a", 1, 1), ("b", 1, 2), ("a", 2, 3)];
    assert_eq!(
        told,
        expected.map(|(entry, n, value)| [json!(entry), json!("x"), json!(n), json!(value)])
    );
}

#[test]
fn words_and_numbers_in_words_become_text() {
    let out = batches(&[ONE], &[("plant/boiler", "open"), ("plant/boiler", "21,5 °C")]);
    let values: Vec<Value> = all_records(&out).iter().map(|it| it["value"].clone()).collect();
    assert_eq!(values, [json!("open"), json!("21,5 °C")]);
}

#[test]
fn a_sensors_own_time_id_and_other_members_are_kept() {
    let sent = r#"{"unit":"C","value":1.50,"timestamp":"2026-11-22T07:30:50+01:00","sensorId":"T7","raw":1.00}"#;
    let out = batches(
        &[ONE],
        &[("plant/boiler", sent), ("plant/boiler", r#"{"value":2,"timestamp":1732250000123}"#)],
    );
    let all = all_records(&out);
    assert_eq!((&all[0]["sensorId"], &all[0]["value"]), (&json!("T7"), &json!(1.5)));
    assert_eq!(all[0]["timestamp"], "2026-11-22T06:30:50Z");
    assert!(all[0]["receivedAt"].as_str() > all[0]["timestamp"].as_str(), "{}", all[0]);
    assert_eq!(all[0]["topic"], "plant/boiler");
    assert!(texts(&out).contains(r#""extra":{"unit":"C","raw":1.00}"#), "{}", texts(&out));
    assert_eq!(
        (&all[1]["sensorId"], &all[1]["timestamp"]),
        (&json!("boiler"), &json!("2024-11-22T04:33:20.123Z"))
    );
    assert_eq!((&all[0]["sequence"], &all[1]["sequence"]), (&json!(1), &json!(1)));
}

#[test]
fn a_reading_without_a_time_gets_that_of_its_receipt() {
    let out = batches(&[ONE], &[("plant/boiler", "1")]);
    let (sealed, batch) = (out[0].json()["sealedAt"].clone(), all_records(&out));
    let (sealed, received) = (sealed.as_str().unwrap(), batch[0]["timestamp"].as_str().unwrap());
    assert_eq!((sealed.len(), received.len()), (24, 24), "{sealed} {received}");
    assert!(received <= sealed && received.starts_with("20") && received.ends_with('Z'));
}

#[test]
fn an_object_without_a_value_is_the_value() {
    let out = batches(&[ONE], &[("plant/boiler", r#"{"temperature":71.5,"unit":"C"}"#)]);
    assert!(texts(&out).contains(r#""value":{"temperature":71.5,"unit":"C"},"#));
}

#[test]
fn pointers_say_where_the_parts_of_a_payload_are() {
    let at = r#"value = "/data/t", timestamp = "/at", sensor = "/dev/id""#;
    // The second as version 0.1 wrote it.
    for mapping in [at.to_owned(), format!("payload = {{ json = {{ {at} }} }}")] {
        let sensor = format!(r#"sensors.x.mqtt = {{ topic = "x", {mapping} }}"#);
        let broker = Broker::start();
        let mut gateway = subscribed(&gateway(&broker.url(), &[&sensor]));
        broker.publish("x", r#"{"data":{"t":3.10},"at":1732250000,"dev":{"id":"D"}}"#, 1, false);
        broker.wait_until("the batch", SOON, |log| log.count(BATCHES) == 1);
        assert_eq!(gateway.said("has moved: write value in"), mapping != at, "{}", gateway.text());
        drained(&mut gateway);
        let record = &records(&broker.published(BATCHES)[0])[0];
        let expected = (&json!("D"), &json!("2024-11-22T04:33:20Z"));
        assert_eq!((&record["sensorId"], &record["timestamp"]), expected);
        assert!(texts(&broker.published(BATCHES)).contains("\"value\":3.10,"));
    }
}

/// A message that is no reading by `missing` is acknowledged, counted as one, and of no book.
#[test]
fn what_an_entry_skips_is_acknowledged_and_no_reading() {
    let broker = Broker::start();
    let sensor = r#"sensors.x.mqtt = { topic = "x", value = "/t", missing = "skip" }"#;
    let config = gateway(&broker.url(), &[sensor]);
    let launch = Gateway::with_config(&config).env("SLUICEGATE__HTTP__LISTEN", "127.0.0.1:0");
    let mut gateway = launch.start();
    let http = Http::of(&gateway);
    broker.wait_until("the subscription", SOON, |log| log.subscribes("gw-in") == 1);
    for payload in ["online", r#"{"t":1,"timestamp":"soon"}"#, r#"{"u":2}"#] {
        broker.publish("x", payload, 1, false);
    }
    broker.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 3);
    let skipped = "sluicegate_messages_skipped_total{reason=\"missing\"}";
    let of_entry = "sluicegate_entry_times_unused_total{entry=\"x\"}";
    let names = [skipped, "sluicegate_times_unused_total", of_entry];
    assert_eq!(names.map(|name| http.metric(name)), [Some(2.0), Some(1.0), Some(1.0)]);
    let balance = drained(&mut gateway);
    assert_eq!((balance.received, balance.delivered), (1, 1));
}

#[test]
fn a_value_that_is_not_where_somebody_said_is_a_dead_letter_counted_by_entry() {
    let broker = Broker::start();
    let sensors = [
        r#"sensors.x.mqtt = { topic = "x", payload = { json = { value = "/data/t" } } }"#,
        r#"sensors.y.mqtt = { topic = "y" }"#,
    ];
    let config = gateway(&broker.url(), &sensors);
    let launch = Gateway::with_config(&config).env("SLUICEGATE__HTTP__LISTEN", "127.0.0.1:0");
    let mut gateway = launch.start();
    let http = Http::of(&gateway);
    broker.wait_until("subscriptions", SOON, |log| log.subscribes("gw-in") == 2);
    for (topic, payload) in [
        ("x", r#"{"data":{"t":1}}"#),
        ("x", r#"{"data":{"u":1}}"#),
        ("x", "7"),
        ("y", r#"{"u":2}"#),
        ("x", r#"{"data":{"t":NaN}}"#),
    ] {
        broker.publish(topic, payload, 1, false);
    }
    broker.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 5);
    let count = |entry: &str, reason: &str| {
        let labels = format!("entry=\"{entry}\",reason=\"{reason}\"");
        http.metric(&format!("sluicegate_entry_dead_letters_total{{{labels}}}"))
    };
    let counts = [("x", "missing"), ("x", "malformed"), ("y", "missing")];
    let counts = counts.map(|(entry, reason)| count(entry, reason));
    assert_eq!(counts, [Some(2.0), Some(1.0), Some(0.0)]);
    assert_eq!(drained(&mut gateway).dead_lettered, 3);
    let (all, letters) = (all_records(&broker.published(BATCHES)), broker.look(letters));
    let values: Vec<&Value> = all.iter().map(|it| &it["value"]).collect();
    assert!(values.len() == 2 && values.contains(&&json!(1)) && values.contains(&&json!({"u": 2})));
    let told: Vec<_> = letters.iter().map(|it| it["reason"].as_str().unwrap()).collect();
    assert_eq!(told, ["missing", "missing", "malformed"]);
    assert!(letters[0]["detail"].as_str().unwrap().contains("/data/t"), "{}", letters[0]);
    assert!(
        letters[2]["detail"].as_str().unwrap().starts_with("NaN is no number"),
        "{}",
        letters[2]
    );
}

#[test]
fn a_batch_is_one_line_and_what_wraps_a_payload_is_left_out() {
    let pretty = "\u{feff}{\n  \"value\": {\n    \"t\": [1, 2]\n  },\n  \"u\": [\n \"a b\"]\n}\n\0";
    let out = batches(&[ONE], &[("plant/boiler", pretty), ("plant/boiler", "21.5\0")]);
    let text = texts(&out);
    assert!(!text.contains('\n') && !text.contains("\\u0000"), "{text}");
    assert!(text.contains(r#""value":{"t":[1,2]}"#) && text.contains(r#""value":21.5"#), "{text}");
    assert!(text.contains(r#""extra":{"u":["a b"]}"#), "{text}");
}

#[test]
fn the_payload_codec_text_takes_json_for_text() {
    let sensor = r#"sensors.x.mqtt = { topic = "x", payload = { text = {} } }"#;
    let broker = Broker::start();
    let mut gateway = subscribed(&gateway(&broker.url(), &[sensor]));
    broker.publish("x", r#"{"value":1}"#, 1, false);
    broker.wait_until("the batch", SOON, |log| log.count(BATCHES) == 1);
    drained(&mut gateway);
    let record = &records(&broker.published(BATCHES)[0])[0];
    assert_eq!(record["value"], r#"{"value":1}"#);
}

#[test]
fn a_topic_level_names_the_sensor_and_filters_match_as_in_mqtt() {
    let sensors = [
        "sensors.fleet.mqtt.topic = \"site/{sensor}/t\"",
        "sensors.plus.mqtt.topic = \"plant/+/temp\"",
        "sensors.hash.mqtt.topic = \"hall/#\"",
    ];
    let messages = [
        ("site/a b/t", "1"),
        ("site/é/t", r#"{"value":2,"sensorId":"other"}"#),
        ("plant/1/temp", "3"),
        ("plant/2/temp", r#"{"value":4,"sensorId":"p2"}"#),
        ("hall", "5"),
        ("hall/x/y", "6"),
    ];
    let out = batches(&sensors, &messages);
    assert!(texts(&out).contains(r#""extra":{"sensorId":"other"}"#), "{}", texts(&out));
    let mut got: Vec<(i64, String, String)> = all_records(&out)
        .iter()
        .map(|it| {
            let text = |name: &str| it[name].as_str().unwrap().to_owned();
            (it["value"].as_i64().unwrap(), text("sensorId"), text("topic"))
        })
        .collect();
    got.sort();
    let ids = ["a b", "é", "plus", "p2", "hash", "hash"];
    let expected: Vec<_> = (1..)
        .zip(ids.iter().zip(&messages))
        .map(|(n, (id, (topic, _)))| (n, (*id).to_owned(), (*topic).to_owned()))
        .collect();
    assert_eq!(got, expected);
}

#[test]
fn a_sensor_beyond_sensors_max_keeps_its_id_and_takes_none_from_another_entry() {
    // A share of one row for each entry, and two for whoever comes first: the entry's own is one, too.
    let sensors = [
        "sensors.m.mqtt.topic = \"many/#\"",
        "sensors.good.mqtt.topic = \"good/{sensor}/t\"",
        "gateway.sensors_max = 4",
    ];
    let broker = Broker::start();
    let mut gateway = subscribed(&gateway(&broker.url(), &sensors));
    broker.wait_until("subscriptions", SOON, |log| log.subscribes("gw-in") == 2);
    let messages = [
        ("many/x", r#"{"value":1,"sensorId":"first"}"#),
        ("many/x", r#"{"value":2,"sensorId":"second"}"#),
        ("many/x", r#"{"value":3,"sensorId":"third","unit":"C"}"#),
        ("many/x", r#"{"value":4,"sensorId":"first"}"#),
        ("good/a/t", "5"),
        ("good/a/t", "6"),
        ("good/\"b/t", "7"),
        ("good/c/t", "{"),
    ];
    for (count, (topic, payload)) in (1..).zip(messages) {
        broker.publish(topic, payload, 1, false);
        broker.wait_until("the acknowledgement", SOON, |log| log.acks("gw-in") == count);
    }
    gateway
        .wait_for_line("entry m has 3 sensors, all that gateway.sensors_max = 4 leaves it", SOON);
    gateway.wait_for_line("entry good has 1 sensors", SOON);
    gateway.wait_for_line("degraded: entry", SOON);
    drained(&mut gateway);
    let all = all_records(&broker.published(BATCHES));
    let got: Vec<_> =
        all.iter().map(|it| (it["sensorId"].as_str(), it["sequence"].as_u64())).collect();
    let expected = [
        ("first", Some(1)),
        ("second", Some(1)),
        ("third", None),
        ("first", Some(2)),
        ("a", Some(1)),
        ("a", Some(2)),
        ("\"b", None),
    ];
    assert_eq!(got, expected.map(|(id, sequence)| (Some(id), sequence)));
    assert_eq!((&all[2]["extra"], all[2].get("sequence")), (&json!({"unit": "C"}), None));
    assert_eq!(broker.look(letters)[0]["sensorId"], "c");
    assert_eq!(violations(&broker), [] as [String; 0]);
}

/// Their records stay apart also where they wait on disk, and the next run's books close.
#[test]
fn sensors_beyond_sensors_max_go_through_the_spool() {
    let (input, sink, disk) = (Broker::start(), Broker::start(), tempfile::tempdir().unwrap());
    let lines = [
        output(&sink.url()),
        format!("spool.path = \"{}\"", disk.path().display()),
        "gateway.sensors_max = 1".to_owned(),
    ];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let mut first = subscribed(&fleet(&input.url(), &lines));
    sink.hold_acks("gw-out");
    input.publish_all(readings(3, 1..=2, 1));
    input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 6);
    first.signal("KILL");
    first.wait_exit(SOON);
    sink.resume_acks("gw-out");
    let mut second = subscribed(&fleet(&input.url(), &lines));
    wait_readings(&sink, 6, SOON);
    assert_eq!(drained(&mut second).delivered, 6);
    audit(&sink).assert_exactly(3, 2);
}

#[test]
fn an_entry_whose_topics_name_the_sensors_takes_no_place_of_sensors_max() {
    let sensors = ["sensors.fleet.mqtt.topic = \"site/{sensor}/t\"", "gateway.sensors_max = 2"];
    let all = all_records(&batches(&sensors, &[("site/a/t", "1"), ("site/b/t", "2")]));
    let ids: Vec<&Value> = all.iter().map(|it| &it["sensorId"]).collect();
    assert_eq!(ids, [&json!("a"), &json!("b")]);
}

#[test]
fn sequences_count_every_sensor_from_one() {
    let sensors = ["sensors.fleet.mqtt.topic = \"site/{sensor}/t\""];
    let messages = [("site/a/t", "1"), ("site/b/t", "2"), ("site/a/t", "3"), ("site/a/t", "4")];
    let all = all_records(&batches(&sensors, &messages));
    let got: Vec<_> = all
        .iter()
        .map(|it| (it["sensorId"].as_str().unwrap(), it["sequence"].as_u64().unwrap()))
        .collect();
    assert_eq!(got, [("a", 1), ("b", 1), ("a", 2), ("a", 3)]);
}

#[test]
fn a_batch_says_who_sealed_it_and_how_much_is_in_it() {
    let out = batches(&[ONE], &[("plant/boiler", "1"), ("plant/boiler", "2")]);
    let mut ids = Vec::new();
    for batch in &out {
        let json = batch.json();
        let count = json["count"].as_u64().unwrap();
        let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
        assert_eq!(keys.len(), 5, "{keys:?}");
        assert_eq!((json["gateway"].as_str(), batch.property("gateway")), (Some("gw"), Some("gw")));
        assert_eq!(json["batch"].as_str(), batch.property("batch"));
        assert_eq!(batch.property("count"), Some(count.to_string().as_str()));
        assert_eq!(records(batch).len() as u64, count);
        let properties = batch.properties.as_ref().unwrap();
        assert_eq!(properties.content_type.as_deref(), Some("application/json"));
        assert!(json["batch"].as_str().unwrap().starts_with("gw-"));
        assert_eq!((batch.qos, batch.retain, batch.dup), (1, false, false));
        ids.push(json["batch"].to_string());
    }
    ids.dedup();
    assert_eq!(ids.len(), out.len());
}

#[test]
fn the_format_json_array_is_the_bare_array() {
    let out = batches(&[ONE, "output.format = \"json_array\""], &[("plant/boiler", "1")]);
    let array = out[0].json();
    assert_eq!((array[0]["value"].as_i64(), array.as_array().unwrap().len()), (Some(1), 1));
    assert_eq!(out[0].property("count"), Some("1"));
    assert!(out[0].property("batch").unwrap().starts_with("gw-"));
}

#[test]
fn the_format_ndjson_is_a_line_for_each_record() {
    let settings = [ONE, "output.format = \"ndjson\"", "batch.records_max = 2"];
    let out =
        batches(&settings, &[("plant/boiler", "1"), ("plant/boiler", "{\n\"value\": [2,\n3]}")]);
    let text = std::str::from_utf8(&out[0].payload).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["value"], &lines[1]["value"]), (&1.into(), &json!([2, 3])));
    assert!(lines.len() == 2 && text.ends_with('\n'), "{text}");
    assert_eq!(out[0].property("count"), Some("2"));
    let properties = out[0].properties.as_ref().unwrap();
    assert_eq!(properties.content_type.as_deref(), Some("application/x-ndjson"));
}

#[test]
fn a_batch_with_mqtt_3_has_no_properties_and_the_same_content() {
    let out = batches(&[ONE, "broker.version = 3"], &[("plant/boiler", "1")]);
    assert!(out[0].properties.is_none());
    assert_eq!(out[0].json()["count"], 1);
}

#[test]
fn a_qos_2_subscription_asks_for_qos_1_and_says_so() {
    let broker = Broker::start();
    let config = gateway(&broker.url(), &[ONE, "sensors.boiler.mqtt.qos = 2"]);
    let mut gateway = subscribed(&config);
    assert_eq!(broker.client("gw-in").subscribes[0].filters[0].qos, QoS::AtLeastOnce);
    assert_eq!(gateway.count("qos = 2 is granted as 1"), 1);
    broker.publish("plant/boiler", "1", 1, false);
    broker.wait_until("the acknowledgement", SOON, |log| log.acks("gw-in") == 1);
    assert_eq!(drained(&mut gateway).delivered, 1);
}

#[test]
fn a_lower_quality_of_service_than_asked_for_is_said() {
    let broker = Broker::start();
    broker.grant_at_most("plant", 0);
    let gateway = subscribed(&gateway(&broker.url(), &[ONE]));
    gateway.wait_for_line("granted a lower QoS", SOON);
}

#[test]
fn retained_messages_are_marked_or_skipped() {
    for version in [3, 5] {
        for (retained, expected) in [("accept", vec![true, false]), ("skip", vec![false])] {
            let mosquitto = Mosquitto::start(STOCK);
            let mut session = Session::open(&Options::new(mosquitto.port(), "device")).unwrap();
            let id = session.fresh_id();
            session.write(&retained_publish(id));
            session.flush().unwrap();
            assert!(matches!(session.receive(SOON).unwrap(), Some(Packet::PubAck(_))));
            let collector = Collector::start(mosquitto.port());
            let lines = [
                ONE.to_owned(),
                format!("sensors.boiler.mqtt.retained = \"{retained}\""),
                format!("broker.version = {version}"),
            ];
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            let launch = Gateway::with_config(&gateway(&mosquitto.url(), &lines));
            let mut gateway = launch.env("SLUICEGATE__HTTP__LISTEN", "127.0.0.1:0").start();
            gateway.wait_for_line("subscribed", SOON);
            session.write_publish("plant/boiler", b"2".to_vec(), 1);
            session.flush().unwrap();
            let sum = |all: &Audit| all.sizes.iter().sum::<usize>();
            collector.wait_until("the readings", SOON, |all| sum(&all.audit) >= expected.len());
            let skipped = "sluicegate_messages_skipped_total{reason=\"retained\"}";
            let skipped = Http::of(&gateway).metric(skipped);
            let balance = drained(&mut gateway);
            // With MQTT 5 the broker is asked to send none.
            let came = retained == "skip" && version == 3;
            assert_eq!(skipped, Some(if came { 1.0 } else { 0.0 }), "{retained}, {version}");
            let records: Vec<Value> = collector
                .batches()
                .iter()
                .flat_map(|batch| batch.json()["records"].as_array().unwrap().clone())
                .collect();
            let marked: Vec<bool> = records.iter().map(|it| it["retained"] == true).collect();
            assert_eq!(marked, expected, "{retained} with version {version}");
            let count = expected.len() as u64;
            assert_eq!((balance.received, balance.delivered), (count, count));
        }
    }
}

fn retained_publish(id: u16) -> Packet {
    Packet::Publish(Publish {
        qos: QoS::AtLeastOnce,
        retain: true,
        topic: "plant/boiler".into(),
        pkid: id,
        payload: "1".into(),
        ..Publish::default()
    })
}

#[test]
fn the_protocol_version_is_the_configured_one() {
    for (number, version) in [(3, Version::V3), (5, Version::V5)] {
        let broker = Broker::start();
        let line = format!("broker.version = {number}");
        let mut gateway = subscribed(&gateway(&broker.url(), &[ONE, &line]));
        for who in ["gw-in-boiler", "gw-out"] {
            broker.wait_until("both clients", SOON, |log| log.connected(who));
            assert_eq!(broker.client(who).connects[0].version, version);
        }
        drained(&mut gateway);
    }
}
