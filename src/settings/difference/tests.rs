//! Tests of what a reload changes.

use serde_json::json;

use super::*;
use crate::settings::environment::Overrides;
use crate::settings::tests::tree;
use crate::settings::{Files, load, read, schema};

const SENSOR: &str = "sensors.T.simulated = {}\n";

fn settings(text: &str) -> Settings {
    let (settings, problems) = read(tree(text), &Overrides::default());
    assert_eq!(problems, [], "{text}");
    settings
}

fn lines(before: &str, after: &str) -> Vec<String> {
    let [before, after] = [before, after].map(|it| settings(&format!("{SENSOR}{it}")));
    Difference::between(&before, &after).lines()
}

#[test]
fn what_is_applied_comes_in_its_order_and_what_needs_a_restart_is_named() {
    let before = "gateway.id = \"a\"\n[sensors.one.mqtt]\ntopic = \"one\"\n[sensors.two.mqtt]\ntopic = \"two\"\n\
                  [sensors.gone.exec]\ncommand = [\"a\"]\n[sensors.past.mqtt]\ntopic = \"past\"\n";
    let after = "gateway.id = \"b\"\nlog.level = \"debug\"\nbatch.age_max = \"1s\"\n[sensors.one.mqtt]\ntopic = \"1\"\nqos = 0\n\
                 [sensors.two.mqtt]\ntopic = \"two\"\n[sensors.more.mqtt]\ntopic = \"more\"\n";
    assert_eq!(
        lines(before, after),
        [
            "batch.age_max is changed: \"100ms\" → \"1s\"",
            "log.level is changed: \"info\" → \"debug\"",
            "sensors.more is added (mqtt)",
            "sensors.one is changed: mqtt.qos: 1 → 0; mqtt.topic: \"one\" → \"1\"",
            "sensors.gone is removed (exec)",
            "sensors.past is removed: its subscription ends at the broker",
            "gateway.id needs a restart: \"a\" → \"b\"",
        ]
    );
    assert_eq!(lines(before, before), ["nothing has changed"]);
}

#[test]
fn an_entry_of_another_kind_is_changed_and_standard_input_needs_a_restart() {
    let topic = "sensors.a.mqtt.topic = \"t\"\n";
    let changed = lines(topic, "sensors.a.simulated = {}\n");
    assert!(changed.len() == 1 && changed[0].starts_with("sensors.a is changed: "), "{changed:?}");
    let [none, input] = ["", "sensors.in.stdin = {}\n"];
    let other = "sensors.in.stdin.payload = \"text\"\n";
    for (before, after) in [(none, input), (input, none), (input, other)] {
        let lines = lines(before, after);
        assert!(!lines.is_empty(), "{before} {after}");
        let restart = |it: &String| it.starts_with("sensors.in") && it.contains("needs a restart");
        assert!(lines.iter().all(restart), "{lines:?}");
    }
    // One that becomes it cannot, and stays as long.
    let became = lines("sensors.in.mqtt.topic = \"t\"\n", input);
    assert!(
        became.len() > 1 && became.iter().all(|it| it.contains("needs a restart")),
        "{became:?}"
    );
}

#[test]
fn of_the_output_all_is_applied_but_its_kind_its_broker_and_standard_output() {
    let file = |path: &str| format!("output.file.path = \"{path}\"\n");
    for (before, after, expected) in [
        ("", "output.topic = \"b\"", "output.mqtt.topic is changed"),
        ("", "output.format = \"json_array\"", "output.format is changed"),
        ("", "output.window_batches = 3", "output.window_batches is changed"),
        ("", "output.broker.url = \"mqtt://b\"", "output.mqtt.broker.url needs a restart"),
        ("", &file("/a"), "output.file.path needs a restart"),
        (&file("/a"), &file("/b"), "output.file.path is changed"),
        (&file("/a"), &file("-"), "output.file.path needs a restart"),
        ("", "queue.records_max = 999", "queue.records_max is changed"),
        ("", "queue.on_full = \"shed_oldest\"", "queue.on_full is changed"),
        ("", "gateway.sensors_max = 9", "gateway.sensors_max needs a restart"),
    ] {
        let lines = lines(before, after);
        assert!(lines.iter().any(|it| it.starts_with(expected)), "{after}: {lines:?}");
    }
    let input = |more: &str| format!("sensors.in.stdin = {{}}\n{more}");
    let queue = lines(&input(""), &input("queue.records_max = 999"));
    assert!(queue[0].starts_with("queue.records_max needs a restart"), "{queue:?}");
}

#[test]
fn what_is_secret_is_named_and_not_shown() {
    let token = |token: &str| format!("broker.url = \"wss://b/x?token={token}\"\n");
    assert_eq!(lines(&token("s3cret"), &token("other")), ["broker needs a restart"]);
    let id = |id: &str| format!("broker.client_id = \"{id}\"\n");
    assert_eq!(lines(&id("s3cret"), &id("other")), ["broker.client_id needs a restart"]);
    let command = |word: &str| format!("sensors.a.exec.command = [\"c\", \"{word}\"]\n");
    assert_eq!(
        lines(&command("s3cret"), &command("other")),
        ["sensors.a is changed: exec.command"]
    );
    let long =
        lines("log.level = \"info\"", &format!("log.level = \"{}info\"", "info,".repeat(99)));
    assert!(long[0].len() < 200 && long[0].ends_with('…'), "{long:?}");
}

/// A mistake of this file would make each reload one that changes all.
#[test]
fn the_shipped_files_do_not_differ_from_themselves() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples");
    let mut looked_at = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let [one, two] = [(); 2].map(|()| load(&path, std::iter::empty(), Files::Unseen).unwrap());
        assert_eq!(Difference::between(&one, &two).lines(), ["nothing has changed"]);
        looked_at += 1;
    }
    assert!(looked_at > 15);
}

/// Values of which each key takes one at least that is not its default.
fn candidates(schema: &Value) -> Vec<Value> {
    let listed = |key: &str| schema[key].as_array().cloned().unwrap_or_default();
    let words = listed("oneOf").into_iter().filter_map(|it| it.get("const").cloned());
    let mut all: Vec<Value> =
        listed("enum").into_iter().chain(listed("examples")).chain(words).collect();
    all.extend([json!(true), json!(false), json!(1), json!(2), json!(99), json!(0.5)]);
    let texts = [
        "a",
        "/a",
        "7s",
        "3h",
        "77MiB",
        "80KiB",
        "mqtt://other",
        "127.0.0.1:9",
        "debug",
        "{sensor}",
        "text",
        "sparkplug_b",
    ];
    all.extend(texts.map(Value::from));
    all.extend([json!(["a"]), json!(["b"]), json!(["/a"]), json!({"a": "/a"}), json!({"a": "b"})]);
    all.extend([
        json!({"constant": {"value": 7}}),
        json!({"from": "/t"}),
        json!({"duplicate": 0.1}),
        json!({"topic": "b/{x}", "value": "online"}),
        json!({"rate": "1/s", "over": "shed_newest"}),
        json!({"by": "timestamp"}),
    ]);
    all
}

/// A section of the schema: where it is, its keys, and what is beside a key so that it can be read.
fn tables(schema: &Value) -> Vec<(String, Value, Value)> {
    let mut tables = Vec::new();
    let properties = schema["properties"].as_object().unwrap();
    for (section, table) in properties.iter().filter(|(section, _)| *section != "sensors") {
        tables.push((section.clone(), table.clone(), json!({})));
    }
    for kind in schema["properties"]["sensors"]["additionalProperties"]["oneOf"].as_array().unwrap()
    {
        for (kind, table) in kind["properties"].as_object().unwrap() {
            let needs = match kind.as_str() {
                "mqtt" => json!({"topic": "a/{x}"}),
                "exec" => json!({"command": ["a"]}),
                _ => json!({}),
            };
            tables.push((format!("sensors.x.{kind}"), table.clone(), needs));
        }
    }
    tables
}

/// By construction: this looks whether each key makes a difference at all.
#[test]
fn every_key_of_the_schema_that_changes_is_applied_or_named() {
    let schema = schema();
    let mut looked_at = 0;
    let mut untried = Vec::new();
    let mut try_key = |section: &str, needs: &Value, key: &str, of: &Value| {
        let with = |value: Option<&Value>| {
            let mut tree = json!({"sensors": {"T": {"simulated": {}}}});
            super::super::words::put(&mut tree, section, needs.clone());
            if let Some(value) = value {
                super::super::words::put(&mut tree, &format!("{section}.{key}"), value.clone());
            }
            tree
        };
        let (before, _) = read(with(None), &Overrides::default());
        let differs = |value: &Value| {
            let (after, _) = read(with(Some(value)), &Overrides::default());
            // Relations between keys do not matter here; a value that cannot be read leaves the default.
            let differs = after.plan != before.plan || after.log != before.log;
            let is_there = after.plan.sensors.len() == before.plan.sensors.len();
            (differs && is_there).then_some(after)
        };
        let after = candidates(of).iter().find_map(differs);
        let Some(after) = after else { return untried.push(format!("{section}.{key}")) };
        let difference = Difference::between(&before, &after);
        let lines = difference.lines();
        let word = key.rsplit('.').next().unwrap();
        assert!(lines.iter().any(|it| it.contains(word)), "{section}.{key}: {lines:?}");
        // Applying it again changes nothing, but for what needs a restart.
        let again = Difference::between(&difference.target, &after);
        assert_eq!(
            (again.applied.len(), again.restart),
            (0, difference.restart),
            "{section}.{key}"
        );
    };
    for (section, table, needs) in tables(&schema) {
        for (key, of) in table["properties"].as_object().unwrap() {
            let inner = of["properties"].as_object().filter(|_| !section.starts_with("sensors"));
            let single =
                inner.into_iter().flatten().filter(|(_, of)| !of["properties"].is_object());
            for (name, of) in single {
                let beside = match key.as_str() {
                    "file" => json!({"file": {"path": "b"}}),
                    "broker" => json!({"broker": {"url": "mqtt://b"}}),
                    _ => needs.clone(),
                };
                try_key(&section, &beside, &format!("{key}.{name}"), of);
                looked_at += 1;
            }
            if inner.is_none() {
                try_key(&section, &needs, key, of);
                looked_at += 1;
            }
        }
    }
    assert_eq!(untried, [""; 0], "no other value is known");
    assert!(looked_at > 90, "{looked_at}");
}
