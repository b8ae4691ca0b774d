//! Tests of reading the configuration.

use super::*;

/// A TOML text as a tree.
pub(super) fn tree(text: &str) -> Value {
    let tree = Config::builder().add_source(File::from_str(text, FileFormat::Toml));
    tree.build().unwrap().try_deserialize().unwrap()
}

/// The mistakes in a TOML text, one per line.
pub(super) fn problems(text: &str) -> Vec<String> {
    read(tree(text), &Overrides::default())
        .1
        .iter()
        .map(|it| it.to_string().trim().to_owned())
        .collect()
}

#[test]
fn every_mistake_is_reported_once_with_its_key_and_remedy() {
    let problems = problems(
        r#"
        oops = 1
        [batch]
        age_maxx = "1s"
        records_max = 0
        [queue]
        bytes_max = "lots"
        on_full = "drop"
        [broker]
        keep_alive = 30
        [sensors.boiler.mqtt]
        topic = "a/\#/b"
        [sensors.x.mqtt]
        qos = 1
        [sensors.y.modbus]
        [log]
        level = "loud,="
        "#
        .replace("\\#", "#")
        .as_str(),
    );
    for expected in [
        "batch.age_maxx: is not known; did you mean \"age_max\"?",
        "queue.bytes_max: \"lots\" is not a size: write \"64MiB\"",
        "queue.on_full: \"drop\" is not known; known are: wait, shed_newest, shed_oldest, keep_latest",
        "broker.keep_alive: 30 has no unit: write \"30ms\" or \"30s\"",
        "sensors.boiler.mqtt.topic: has \"#\" before its last level; it can only be the last",
        "sensors.x.mqtt.topic: is missing: give a topic such as \"plant/boiler/temperature\"",
        "sensors.y: \"modbus\" is not known; known are: simulated, mqtt, exec, stdin",
    ] {
        assert_eq!(problems.iter().filter(|it| *it == expected).count(), 1, "{problems:#?}");
    }
    assert!(problems.iter().any(|it| it.starts_with("batch.records_max: ")), "{problems:#?}");
    assert!(problems.iter().any(|it| it.starts_with("oops: is not known")), "{problems:#?}");
    assert!(problems.iter().any(|it| it.starts_with("log.level: ")), "{problems:#?}");
    assert_eq!(problems.len(), 10, "{problems:#?}");
}

#[test]
fn mistakes_between_sections_and_within_them_are_in_one_report() {
    let text = "[gateway]\nid = \"a b\"\n[broker]\nkeep_alive = \"1s\"\n[batch]\nage_maxx = 1\n\
                [sensors.T.simulated]\ncount = 0\n[output]\ntopic = \"x\"\n\
                dead_letter_topic = \"x\"\n";
    let problems = problems(text);
    let keys = ["gateway.id", "broker.keep_alive", "batch.age_maxx", "sensors.T", "output.dead"];
    for key in keys {
        assert_eq!(problems.iter().filter(|it| it.starts_with(key)).count(), 1, "{problems:#?}");
    }
    assert_eq!(problems.len(), keys.len(), "{problems:#?}");
}

#[test]
fn relations_between_sections_are_checked() {
    let problems = problems(
        r#"
        [gateway]
        memory_max = "1MiB"
        id = "a b"
        [batch]
        records_max = 20000
        [sensors.all.mqtt]
        topic = "gateway/+"
        "#,
    );
    for key in ["gateway.memory_max", "gateway.id", "batch.records_max", "sensors.all.mqtt.topic"] {
        assert!(problems.iter().any(|it| it.starts_with(key)), "{key}: {problems:#?}");
    }
}

/// `config/sluicegate.toml` says how many entries fit with the default limits.
#[test]
fn as_many_entries_fit_into_the_default_memory_as_the_shipped_file_says() {
    let shipped = include_str!("../../config/sluicegate.toml");
    let (before, _) = shipped.split_once(" fit.").expect("it says so");
    let fit: usize = before.rsplit(' ').next().unwrap().parse().unwrap();
    let refused = |entries: usize| {
        let entry = |n| format!("[sensors.e{n}.mqtt]\ntopic = \"e{n}/{{sensor}}\"\n");
        let problems = problems(&(0..entries).map(entry).collect::<String>());
        problems.iter().any(|it| it.starts_with("gateway.memory_max"))
    };
    let fits = (fit..fit + 99).find(|entries| refused(entries + 1));
    assert_eq!((refused(fit), fits), (false, Some(fit)));
}

/// Else nobody could try them beside a spool.
#[test]
fn all_policies_fit_into_the_default_memory_beside_a_spool() {
    let text = "[spool]\npath = \"/tmp/spool\"\n[sensors.all.mqtt]\ntopic = \"s/{sensor}\"\ncounter = \"/n\"\n\
                filter = { deadband = 1 }\ndeduplicate = { by = \"counter\" }\n\
                quota = { rate = \"1/s\", over = \"keep_latest\" }\n";
    assert_eq!(problems(text), [""; 0]);
}

#[test]
fn what_is_in_effect_reads_back_the_same() {
    let text = "[sensors.T.simulated]\ncount = 3\n[sensors.m.mqtt]\ntopic = \"a/{sensor}\"\n\
                payload = { text = {} }\n[broker]\ntls = { ca_file = \"x\" }\nurl = \"mqtts://h\"";
    let parse = |text: &str| {
        let tree = Config::builder().add_source(File::from_str(text, FileFormat::Toml));
        read(tree.build().unwrap().try_deserialize().unwrap(), &Overrides::default())
    };
    let (settings, problems) = parse(text);
    assert_eq!(problems, []);
    assert_eq!(parse(&settings.to_toml()), (settings, vec![]));
}

#[test]
fn a_section_that_is_null_in_json_is_told_what_to_write() {
    let tree = serde_json::json!({"queue": null, "sensors": {"x": {"simulated": null}}});
    let (_, problems) = read(tree, &Overrides::default());
    let keys: Vec<_> = problems.iter().map(|it| it.key.as_str()).collect();
    assert_eq!(keys, ["queue", "sensors.x.simulated"], "{problems:?}");
    assert!(problems.iter().all(|it| it.text.contains("write it as a section")), "{problems:?}");
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(300))]

    /// Any text in place of texts, and numbers of any size.
    #[test]
    fn what_is_printed_is_accepted_and_printed_again_the_same(
        texts in proptest::collection::vec("\\PC{1,12}|[\\x00-\\x7f]{1,8}", 4),
        (seed, mean, spread) in (0..=i64::MAX as u64, -1e300..1e300_f64, 0.0..1e-300_f64),
        host in "[a-z]{1,9}",
    ) {
        let tree = serde_json::json!({
            "broker": {
                "username": texts[0], "password_file": texts[1], "client_id": host,
                "url": "mqtts://h", "tls": {"ca_file": texts[3]},
            },
            "output": {"broker": {"url": "ws://h/mqtt/x", "username": texts[3]}},
            "sensors": {
                "T-1": {"simulated": {
                    "seed": seed, "model": {"gaussian": {"mean": mean, "std_dev": spread}}
                }},
                "t": {"simulated": {}},
                "a": {"mqtt": {"topic": "a", "payload": {"text": {}}}},
                "b": {"mqtt": {"topic": "b/{sensor}", "value": "/\u{7f}\"~1"}},
            },
            "spool": {"path": texts[2], "replay_rate": 5},
            "http": {"hosts": [host]},
        });
        let (settings, problems) = read(tree, &Overrides::default());
        proptest::prop_assert_eq!(&problems, &[]);
        let printed = settings.to_toml();
        let file = Config::builder().add_source(File::from_str(&printed, FileFormat::Toml)).build();
        let tree = file.and_then(Config::try_deserialize::<Value>);
        let (again, problems) = read(tree.unwrap(), &Overrides::default());
        proptest::prop_assert_eq!(&problems, &[]);
        proptest::prop_assert_eq!(again.to_toml(), printed);
        proptest::prop_assert_eq!(again, settings);
    }
}

#[test]
fn a_number_that_toml_cannot_write_is_refused() {
    let tree = serde_json::json!({"sensors": {"x": {"simulated": {"seed": u64::MAX}}}});
    let (_, problems) = read(tree, &Overrides::default());
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].key, "sensors.x.simulated.seed");
}
