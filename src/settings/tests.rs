//! Tests of reading the configuration.

use super::*;

/// The mistakes of a text, as TOML, one a line.
pub(super) fn problems(text: &str) -> Vec<String> {
    let tree = Config::builder().add_source(File::from_str(text, FileFormat::Toml));
    let tree = tree.build().unwrap().try_deserialize().unwrap();
    read(tree, &Overrides::default()).1.iter().map(|it| it.to_string().trim().to_owned()).collect()
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
        "sensors.y: \"modbus\" is not known; known are: simulated, mqtt",
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
        records_max = 9000
        [sensors.all.mqtt]
        topic = "gateway/+"
        "#,
    );
    for key in ["gateway.memory_max", "gateway.id", "batch.records_max", "sensors.all.mqtt.topic"] {
        assert!(problems.iter().any(|it| it.starts_with(key)), "{key}: {problems:#?}");
    }
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
fn a_section_that_is_left_empty_is_at_its_defaults() {
    let tree = serde_json::json!({"queue": null, "sensors": {"x": {"simulated": null}}});
    let (settings, problems) = read(tree, &Overrides::default());
    assert_eq!(problems, []);
    assert_eq!(settings.plan.queue, crate::queue::Settings::default());
    assert_eq!(settings.plan.simulated().count(), 1);
}
