//! `sluicegate explain`: what comes of a message, tried without a broker; and what families of devices send.

use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

mod entries;

/// Runs it with these settings of an entry `x`.
fn explain(settings: &str, arguments: &[&str], input: &[u8]) -> Output {
    explain_file(&format!("[sensors.x.mqtt]\n{settings}\n"), arguments, input)
}

/// Runs it with these entries.
fn explain_file(entries: &str, arguments: &[&str], input: &[u8]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sluicegate.toml");
    std::fs::write(&file, format!("[gateway]\nid = \"gw\"\n{entries}")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluicegate"));
    command.args(["explain", "--config"]).arg(&file).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    if let Err(error) = std::io::Write::write_all(&mut child.stdin.take().unwrap(), input) {
        assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe, "it has ended without reading");
    }
    child.wait_with_output().unwrap()
}

/// The records and the dead letters' reasons of a message, and the exit code.
fn outcome(settings: &str, topic: &str, payload: &[u8]) -> (Vec<Value>, Vec<String>, i32) {
    let output = explain(settings, &["--json", "--topic", topic], payload);
    let text = String::from_utf8_lossy(&output.stdout);
    let told: Value = serde_json::from_str(&text)
        .unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)));
    let empty = Vec::new();
    let entry = told["entries"].as_array().unwrap().first();
    let list = |name: &str| entry.and_then(|it| it[name].as_array()).unwrap_or(&empty).clone();
    let record = |it: &Value| serde_json::from_str(it.as_str().unwrap()).unwrap();
    let reason = |it: &Value| it["reason"].as_str().unwrap().to_owned();
    let records = list("records").iter().map(record).collect();
    let letters = list("deadLetters").iter().map(reason).collect();
    (records, letters, output.status.code().unwrap())
}

/// The one record of a message.
#[track_caller]
fn record(settings: &str, topic: &str, payload: &str) -> Value {
    let (mut records, letters, code) = outcome(settings, topic, payload.as_bytes());
    assert_eq!((records.len(), letters.len(), code), (1, 0, 0), "{payload}: {letters:?}");
    records.remove(0)
}

const TASMOTA: &str = r#"
topics = ["tele/{device}/SENSOR", "stat/{device}/STATUS8"]
ignore = ["tele/+/LWT"]
sensor = "tasmota-{device}"
tags = { device = "{device}", site = "north" }
timestamp = { from = ["/Time", "/StatusSNS/Time"], zone = "Europe/Berlin" }
values.temperature = { from = ["/BME280/Temperature", "/StatusSNS/BME280/Temperature"], unit = "C", missing = "skip" }
values.humidity = ["/BME280/Humidity", "/StatusSNS/BME280/Humidity"]
"#;

const STATUS: &str =
    r#"{"StatusSNS":{"Time":"2026-11-03T19:35:00","BME280":{"Temperature":20.1,"Humidity":60.5}}}"#;

#[test]
fn a_message_is_shown_as_it_would_be_published() {
    let payload = r#"{"Time":"2026-11-03T19:34:28","BME280":{"Temperature":21.7,"Humidity":66.6,"DewPoint":15.2},"TempUnit":"C"}"#;
    let mut told = record(TASMOTA, "tele/t1/SENSOR", payload);
    assert!(told["receivedAt"].take().is_string());
    let expected = json!({
        "sensorId": "tasmota-t1", "sequence": 1, "value": {"humidity": 66.6, "temperature": 21.7},
        "timestamp": "2026-11-03T18:34:28Z", "receivedAt": null, "entry": "x",
        "tags": {"device": "t1", "site": "north"}, "topic": "tele/t1/SENSOR",
        "extra": {"BME280": {"DewPoint": 15.2}, "TempUnit": "C"},
    });
    assert_eq!(told, expected);
    let (records, letters, code) =
        outcome(&format!("split = true\n{TASMOTA}"), "tele/t1/SENSOR", payload.as_bytes());
    let own = |it: &Value| [it["value"].clone(), it["quantity"].clone(), it["unit"].clone()];
    let own: Vec<_> = records.iter().map(own).collect();
    let expected = [
        [json!(66.6), json!("humidity"), Value::Null],
        [json!(21.7), json!("temperature"), json!("C")],
    ];
    assert_eq!((own.as_slice(), letters.len(), code), (&expected[..], 0, 0));
}

#[test]
fn lines_for_people_say_who_takes_it_why_not_and_what_helps() {
    let told = |settings: &str, arguments: &[&str], input: &[u8]| {
        let output = explain(settings, arguments, input);
        let text = [output.stdout, output.stderr].concat();
        (String::from_utf8(text).unwrap(), output.status.code().unwrap())
    };
    let (text, code) =
        told(TASMOTA, &["--topic", "tele/t1/SENSOR", "--payload", r#"{"a":1}"#], b"");
    assert_eq!(code, 1, "{text}");
    for words in [
        "sensors.x takes it (tele/{device}/SENSOR)",
        "dead letter, missing: no humidity at /BME280/Humidity or /StatusSNS/BME280/Humidity",
        "to make a reading of it: let `value`",
        "its settings\n  topics = [\"tele/{device}/SENSOR\", \"stat/{device}/STATUS8\"]",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let (text, code) = told(TASMOTA, &["--topic", "tele/t1/STATE", "--payload", "1"], b"");
    assert_eq!(code, 2, "{text}");
    assert!(
        text.starts_with(
            "no entry takes a message on tele/t1/STATE\n  the nearest: sensors.x takes tele/"
        ),
        "{text}"
    );
    let settings = TASMOTA.replace("stat/{device}/STATUS8", "tele/{device}/LWT");
    let (text, code) = told(&settings, &["--topic", "tele/t1/LWT", "--payload", "Online"], b"");
    assert!(code == 2 && text.contains("no reading: its topic is one of"), "{text}");
    let (mut records, ..) = outcome(TASMOTA, "stat/t1/STATUS8", STATUS.as_bytes());
    let status = records.remove(0);
    assert_eq!(status["value"], json!({"humidity": 60.5, "temperature": 20.1}));
    assert_eq!(status["timestamp"], json!("2026-11-03T18:35:00Z"));
    let (text, code) =
        told("topic = \"t\"\nretained = \"skip\"", &["--topic", "t", "--retained"], b"1");
    assert!(code == 2 && text.contains("no reading: it was retained"), "{text}");
    let (text, code) = told("topic = \"t\"", &["--topic", "t/+"], b"1");
    assert!(code == 64 && text.contains("the topic holds the wildcard"), "{text}");
    let (text, code) = told("topic = \"t\"", &["--topic", "t", "--format", "xml"], b"1");
    assert!(code == 64 && text.contains("json or json_array or ndjson"), "{text}");
}

#[test]
fn user_properties_are_tried_with_a_message() {
    let settings = "topic = \"t\"\nproperties = [\"unit\"]";
    let arguments = ["--topic", "t", "--json", "--property", "unit=C=K", "--property", "x=y"];
    let output = explain(settings, &arguments, b"1");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let record = told["entries"][0]["records"][0].as_str().unwrap();
    let record: Value = serde_json::from_str(record).unwrap();
    assert_eq!(record["tags"], json!({"unit": "C=K"}));
    let output = explain(settings, &["--topic", "t", "--property", "unit"], b"");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(64) && said.contains("NAME=VALUE"), "{said}");
}

#[test]
fn a_payload_may_be_a_number_below_zero() {
    let output = explain("topic = \"t\"", &["--topic", "t", "--payload", "-5.2"], b"");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.code() == Some(0) && text.contains("\"value\":-5.2"), "{text}");
}

#[test]
fn a_dead_letter_is_explained_by_the_message_in_it() {
    let letter = json!({
        "gateway": "gw", "reason": "missing", "detail": "no value at /t", "sensorId": "x", "entry": "x",
        "topic": "t", "receivedAt": "2026-11-22T11:21:04.260Z", "payload": "{\"u\":1}",
    });
    let output =
        explain("topic = \"t\"\nvalue = \"/t\"", &["--dead-letter"], letter.to_string().as_bytes());
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("dead letter, missing: no value at /t"), "{text}");
    let output =
        explain("topic = \"t\"\nvalue = \"/u\"", &["--dead-letter"], letter.to_string().as_bytes());
    assert_eq!(output.status.code(), Some(0), "the mapping was mended");
    let of_one = format!("[{letter}]");
    let output = explain("topic = \"t\"\nvalue = \"/u\"", &["--dead-letter"], of_one.as_bytes());
    assert_eq!(output.status.code(), Some(0), "as a topic with several carries it");
    for (text, words) in [
        ("{}", "this is no dead letter of a gateway"),
        (r#"{"topic":"t","detail":"9999 bytes, cut here; sha256","payload":"x"}"#, "shows a part"),
        (r#"{"topic":"t","detail":"d"}"#, "neither `payload` nor"),
        (&format!("[{letter},{letter}]"), "these are 2 dead letters: give one of them"),
        (&format!("{letter}\n{letter}"), "trailing characters"),
        ("[]", "these are 0 dead letters"),
        ("7", "it is no JSON object with topic, reason and payload"),
    ] {
        let output = explain("topic = \"t\"", &["--dead-letter"], text.as_bytes());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(64) && said.contains(words), "{said}");
    }
}

/// Times as fleets send them, under one key.
#[test]
fn one_form_of_time_comes_out_whatever_came() {
    for (sent, expected) in [
        ("1732269000", Some("2024-11-22T09:50:00Z")),
        ("1732269000123", Some("2024-11-22T09:50:00.123Z")),
        ("1732269000123456789", Some("2024-11-22T09:50:00.123456789Z")),
        ("1732269000.5", Some("2024-11-22T09:50:00.5Z")),
        ("\"1732269000\"", Some("2024-11-22T09:50:00Z")),
        ("\"2026-11-03T19:34:28\"", Some("2026-11-03T19:34:28Z")),
        ("\"2026-11-03 19:34:28\"", Some("2026-11-03T19:34:28Z")),
        ("\"Tue, 03 Nov 2026 19:34:28 GMT\"", Some("2026-11-03T19:34:28Z")),
        ("\"2023-01-10T22:55:31+0100\"", Some("2023-01-10T21:55:31Z")),
        ("\"yesterday\"", None),
        ("\"\"", None),
        ("\"2026-13-45T99:00:00Z\"", None),
        ("\"1970-01-01T00:00:12Z\"", None),
        ("\"2099-01-01T00:00:00Z\"", None),
        ("null", None),
        ("true", None),
    ] {
        let told = record("topic = \"t\"", "t", &format!(r#"{{"value":1,"timestamp":{sent}}}"#));
        let kept = &told["extra"]["timestamp"];
        if let Some(expected) = expected {
            assert_eq!((&told["timestamp"], kept), (&json!(expected), &Value::Null));
            continue;
        }
        assert!(told["receivedAt"].is_null() && told["timestamp"].is_string(), "{told}");
        assert_eq!(kept, &serde_json::from_str::<Value>(sent).unwrap(), "it is not lost");
    }
}

#[test]
fn families_of_devices_are_five_lines_each() {
    let cases = [
        // rtl_433: two models, one id.
        (
            "topic = \"rtl_433/+/events\"\nvalue = \"/temperature_C\"\nsensor = \"{/model}-{/id}\"\nunit = \"C\"",
            "rtl_433/hall/events",
            r#"{"model":"Nexus-TH","id":90,"temperature_C":21.7}"#,
            json!({"sensorId": "Nexus-TH-90", "value": 21.7, "unit": "C"}),
        ),
        // Shelly 1PM.
        (
            "topic = \"{device}/status/switch:0\"\nvalue = \"/apower\"\nsensor = \"shelly-{device}\"",
            "shelly1pm-1/status/switch:0",
            r#"{"id":0,"apower":375.0,"voltage":230.1}"#,
            json!({"sensorId": "shelly-shelly1pm-1", "value": 375.0}),
        ),
        // AI-on-the-edge: a number as text, a local offset without a colon.
        (
            "topic = \"{device}/main/json\"\nsensor = \"{device}\"\ntype = \"number\"",
            "watermeter/main/json",
            r#"{"value":"317.3988","timestamp":"2023-01-10T22:55:31+0100"}"#,
            json!({"sensorId": "watermeter", "value": 317.3988, "timestamp": "2023-01-10T21:55:31Z"}),
        ),
        // Zigbee2MQTT: a device that moved, and its unit.
        (
            "topic = \"zigbee2mqtt/{device}\"\nvalue = \"/temperature\"\nsensor = \"zigbee-{device}\"\nmissing = \"skip\"",
            "zigbee2mqtt/kitchen",
            r#"{"battery":97,"temperature":20.1,"linkquality":90}"#,
            json!({"sensorId": "zigbee-kitchen", "value": 20.1}),
        ),
        // LoRaWAN by The Things Stack: into arrays.
        (
            "topic = \"v3/{app}/devices/{device}/up\"\nsensor = \"{/end_device_ids/device_id}\"\n\
             value = \"/uplink_message/decoded_payload/temperature\"\ncounter = \"/uplink_message/f_cnt\"\n\
             timestamp = \"/received_at\"\ntags = { rssi = \"/uplink_message/rx_metadata/0/rssi\" }\nextra = \"drop\"",
            "v3/app@ttn/devices/eui-1/up",
            r#"{"end_device_ids":{"device_id":"eui-1"},"received_at":"2026-11-03T18:34:28.123456789Z",
                "uplink_message":{"f_cnt":7,"decoded_payload":{"temperature":4.5},"rx_metadata":[{"rssi":-87}]}}"#,
            json!({
                "sensorId": "eui-1", "value": 4.5, "timestamp": "2026-11-03T18:34:28.123456789Z",
                "tags": {"rssi": "-87"},
            }),
        ),
        // ebusd, EMS-ESP, a script: a number with a unit.
        (
            "topic = \"ebusd/{circuit}/{name}\"\nsensor = \"{circuit}-{name}\"\ntype = \"number\"\ndecimal = \",\"",
            "ebusd/bai/FlowTemp",
            "21,5 °C",
            json!({"sensorId": "bai-FlowTemp", "value": 21.5, "unit": "°C"}),
        ),
    ];
    for (settings, topic, payload, expected) in cases {
        let told = record(settings, topic, payload);
        for (member, value) in expected.as_object().unwrap() {
            assert_eq!(&told[member], value, "{member}: {told}");
        }
    }
    // Availability between temperatures is no reading.
    let settings = "topic = \"zigbee2mqtt/{device}\"\nvalue = \"/temperature\"\nmissing = \"skip\"";
    assert_eq!(outcome(settings, "zigbee2mqtt/kitchen", b"online"), (vec![], vec![], 2));
}

/// Readings of one message that share a large rest: the queue's bound on a message holds for all together.
#[test]
fn a_message_whose_readings_have_too_much_text_together_is_one_dead_letter_that_says_so() {
    let names = ["a", "b", "c", "d", "e"];
    let values = names.map(|it| format!("values.{it} = \"/{it}\"")).join("\n");
    let payload =
        json!({"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "rest": "x".repeat(30_000)}).to_string();
    let settings = |more: &str| format!("topic = \"t\"\nsplit = true\n{more}\n{values}");
    let (records, letters, _) = outcome(&settings(""), "t", payload.as_bytes());
    assert_eq!((records.len(), letters), (0, vec!["oversize".to_owned()]));
    let output = explain(&settings(""), &["--topic", "t"], payload.as_bytes());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("readings have more text together than queue.record_bytes_max = 65536"),
        "{text}"
    );
    let (records, letters, code) = outcome(&settings("extra = \"drop\""), "t", payload.as_bytes());
    assert_eq!((records.len(), letters.len(), code), (5, 0, 0));
}

/// Bytes that happen to be UTF-8 are no text.
#[test]
fn what_is_binary_is_a_dead_letter_always() {
    let sparkplug = b"\x08\x64\x12\x07\n\x01t \x03P\x07\x18\x01";
    for payload in [&sparkplug[..], b"\x15", b"2\x001\x00.\x005\x00", b"\xff\xfe"] {
        for codec in ["json", "text"] {
            let settings = format!("topic = \"t\"\npayload = \"{codec}\"");
            let (records, letters, code) = outcome(&settings, "t", payload);
            assert_eq!((records.len(), &letters[..], code), (0, &["malformed".to_owned()][..], 1));
        }
    }
    let settings = "topic = \"t\"";
    for (payload, value) in [
        (&b"\xef\xbb\xbf{\"value\":21.5}"[..], json!(21.5)),
        (b"21.5\0", json!(21.5)),
        (b"{\"value\":15}\0", json!(15)),
    ] {
        assert_eq!(outcome(settings, "t", payload).0[0]["value"], value);
    }
}

/// Bytes that happen to be UTF-8 are base64 like others.
#[test]
fn a_raw_payload_is_base64_whatever_it_looks_like() {
    let settings = "topic = \"t\"\npayload = \"raw\"";
    for (payload, value) in [
        (&b"\x08\x64\x12\x07\n\x01t \x03P\x07\x18\x01"[..], "CGQSBwoBdCADUAcYAQ=="),
        (b"21.5", "MjEuNQ=="),
        (b"", ""),
    ] {
        let (records, letters, code) = outcome(settings, "t", payload);
        assert_eq!((&records[0]["value"], letters.len(), code), (&json!(value), 0, 0));
    }
    // A payload within its bound of which the text is not: a dead letter, which says that it shows a part.
    let output = explain(settings, &["--topic", "t"], &vec![0xff; 60_000]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("dead letter, oversize: more than 65536 bytes as JSON"), "{text}");
    assert!(text.contains("; 60000 bytes, cut here") && text.contains("payloadBase64"), "{text}");
}

/// Small devices have no room for text.
#[test]
fn a_payload_in_binary_is_read_as_the_json_that_it_stands_for() {
    let settings =
        |codec: &str| format!("topic = \"t\"\npayload = \"{codec}\"\nvalue = \"/temperature\"");
    // {"temperature": 21.5 (half), "timestamp": 1(1732269000), "raw": h'ff00', 7: null}
    let payload = b"\xa4\x6btemperature\xf9\x4d\x60\x69timestamp\xc1\x1a\x67\x40\x53\xc8\x63raw\x42\xff\x00\x07\xf6";
    let cbor = &payload[..];
    // The same in MessagePack; its timestamp is an extension, its bytes are base64 with padding.
    let messagepack = b"\x84\xabtemperature\xca\x41\xac\x00\x00\xa9timestamp\xd6\xff\x67\x40\x53\xc8\xa3raw\xc4\x02\xff\x00\x07\xc0";
    for (codec, payload, raw) in [("cbor", cbor, "_wA"), ("messagepack", messagepack, "/wA=")] {
        let settings = settings(codec);
        let (records, letters, code) = outcome(&settings, "t", payload);
        assert_eq!((letters.len(), code), (0, 0));
        let told = [&records[0]["value"], &records[0]["timestamp"], &records[0]["extra"]];
        let extra = json!({"raw": raw, "7": null});
        let expected = [json!(21.5), json!("2024-11-22T09:50:00Z"), extra];
        assert_eq!(told, expected.each_ref());
        for payload in [&payload[..payload.len() - 1], b"{\"temperature\":1}", b"21.5"] {
            let (records, letters, code) = outcome(&settings, "t", payload);
            assert_eq!((records.len(), &letters[..], code), (0, &["malformed".to_owned()][..], 1));
        }
    }
}

/// As Python's gzip packs it: a JSON text, and three lines of which one is none.
#[test]
fn a_packed_payload_is_unpacked_and_its_dead_letter_is_as_it_came() {
    let gzip = |plain: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, plain).unwrap();
        encoder.finish().unwrap()
    };
    let letters = |settings: &str, payload: &[u8]| {
        let output = explain(settings, &["--json", "--topic", "t"], payload);
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        let letter = |it: &Value| serde_json::from_str(it["published"].as_str().unwrap()).unwrap();
        let all: Vec<Value> =
            told["entries"][0]["deadLetters"].as_array().unwrap().iter().map(letter).collect();
        all
    };
    for word in ["auto", "gzip"] {
        let settings = format!("topic = \"t\"\ncompression = \"{word}\"");
        let (records, _, code) = outcome(&settings, "t", &gzip(b"\xef\xbb\xbf{\"value\":21.5}"));
        assert_eq!((&records[0]["value"], code), (&json!(21.5), 0));
        let whole = gzip(b"{\"value\":");
        let letter = letters(&settings, &whole).remove(0);
        let base64 = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &whole);
        assert_eq!((&letter["payloadBase64"], &letter["payload"]), (&json!(base64), &Value::Null));
        let settings = format!("{settings}\npayload = \"ndjson\"");
        let lines = gzip(b"1\n{\n3");
        let (records, reasons, _) = outcome(&settings, "t", &lines);
        assert_eq!((records.len(), reasons), (2, vec!["malformed".to_owned()]));
        assert_eq!(letters(&settings, &lines).remove(0)["payload"], "{");
        let bomb = gzip(&vec![b' '; 1 << 20]);
        let letter = letters(&settings, &bomb).remove(0);
        assert_eq!(letter["reason"], "oversize");
        let detail = letter["detail"].as_str().unwrap();
        assert!(detail.starts_with("unpacks to more than 65536 bytes"), "{detail}");
    }
    let settings = "topic = \"t\"\ncompression = \"zlib\"";
    assert_eq!(outcome(settings, "t", b"21.5").1, ["malformed"]);
    assert_eq!(outcome("topic = \"t\"\ncompression = \"auto\"", "t", b"21.5").0[0]["value"], 21.5);
}

/// RFC 8428 §5.1.5, with a time that is relative, and a record that is none.
#[test]
fn a_pack_of_senml_needs_no_mapping() {
    let pack = r#"[{"bn":"urn:dev:ow:10e2073a01080063:","bu":"Cel","bt":1732269000,"n":"temp","v":23.1},
        {"n":"label","u":"","vs":"Machine Room"},{"n":"open","vb":1},{"n":"hall","t":5.5,"v":21,"place":"north"}]"#;
    let (records, letters, code) =
        outcome("topic = \"t\"\npayload = \"senml\"", "t", pack.as_bytes());
    assert_eq!((&letters[..], code), (&["malformed".to_owned()][..], 1));
    let own = |it: &Value| {
        ["sensorId", "value", "unit", "timestamp", "extra"].map(|member| it[member].clone())
    };
    let id = |name: &str| json!(format!("urn:dev:ow:10e2073a01080063:{name}"));
    let at = json!("2024-11-22T09:50:00Z");
    let expected = [
        [id("temp"), json!(23.1), json!("Cel"), at.clone(), Value::Null],
        [id("label"), json!("Machine Room"), json!(""), at, Value::Null],
        [
            id("hall"),
            json!(21),
            json!("Cel"),
            json!("2024-11-22T09:50:05.5Z"),
            json!({"place": "north"}),
        ],
    ];
    assert_eq!(records.iter().map(own).collect::<Vec<_>>(), expected);
}
