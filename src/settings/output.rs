//! `[output]`: what every sink has, and the settings of one sink, `[output.<kind>]`.
//!
//! A sink is a topic unless another kind is named. The keys of `[output.mqtt]` may also stand in `[output]`
//! itself: the short form. Both spellings are read as one, and a variable of either replaces the key of the file
//! in either. A report names a key as the file spells it.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Map, Value};

use super::sections::Sections;
use super::spelling::{LONG, SHORT};
use super::words;
use crate::plan::Output;
use crate::sink;

impl Sections<'_> {
    pub(super) fn output(&mut self) -> Output {
        let mut own = match self.tree.remove("output") {
            Some(Value::Object(own)) => own,
            Some(value) => return self.parse("output", value).unwrap_or_default(),
            None => Map::new(),
        };
        let short_keys = words::keys::<sink::mqtt::Settings>();
        let short_keys: Vec<_> = short_keys.iter().map(String::as_str).collect();
        let mut kinds = taken(&mut own, sink::Kind::NAMES);
        // In JSON, null stands for what is absent.
        kinds.retain(|_, settings| !settings.is_null());
        let short = taken(&mut own, &short_keys);
        let sink = self.sink(kinds, short);
        let more = [&short_keys, sink::Kind::NAMES].concat();
        let read = |value: &Value| {
            let read = words::read::<Output>(value);
            read.map_err(|(path, said)| (path, words::knowing(said, &more)))
        };
        let output = self.parse_by("output", Value::Object(own), &read).unwrap_or_default();
        Output { sink, ..output }
    }

    /// Reads the section of the sink, and the keys in their short form.
    fn sink(&mut self, mut kinds: Map<String, Value>, short: Map<String, Value>) -> sink::Kind {
        if kinds.len() > 1 {
            let names: Vec<_> = kinds.keys().map(|name| format!("[output.{name}]")).collect();
            let names = names.join(" and ");
            self.note("output", format!("holds {names}: batches go to one of them; keep that one"));
            return sink::Kind::default();
        }
        if let Some(name) = kinds.keys().find(|it| *it != "mqtt") {
            let text = format!("has no effect beside [output.{name}]: batches go there alone");
            let idle = short.keys().map(|key| (format!("{SHORT}{key}"), text.clone()));
            self.warnings.extend(idle);
            let _ineffective: Option<sink::mqtt::Settings> =
                self.parse("output", Value::Object(short));
        } else {
            let long = kinds.entry("mqtt").or_insert_with(|| Value::Object(Map::new()));
            self.join(long, short);
        }
        self.parse("output", Value::Object(kinds)).unwrap_or_default()
    }

    /// Adds keys in their short form to those of `[output.mqtt]`.
    fn join(&mut self, long: &mut Value, short: Map<String, Value>) {
        let Some(long) = long.as_object_mut() else { return };
        for (key, value) in short {
            if long.contains_key(&key) {
                let text = format!("stands in [output] too: remove this one, or {SHORT}{key}");
                self.note(&format!("{LONG}{key}"), text);
            } else {
                long.insert(key, value);
            }
        }
    }
}

/// Takes these keys out of a table.
fn taken(from: &mut Map<String, Value>, keys: &[&str]) -> Map<String, Value> {
    keys.iter().filter_map(|key| from.remove_entry(*key)).collect()
}

/// `[output]` as it is written, and its schema.
#[derive(Serialize)]
pub(super) struct Written<'a> {
    #[serde(flatten)]
    pub(super) own: &'a Output,
    #[serde(flatten)]
    pub(super) sink: &'a sink::Kind,
}

impl JsonSchema for Written<'_> {
    fn schema_name() -> Cow<'static, str> {
        "Output".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = Output::json_schema(generator);
        let kinds = sink::Kind::json_schema(generator).to_value();
        let mut sections = Map::new();
        for kind in kinds.get("oneOf").and_then(Value::as_array).into_iter().flatten() {
            for (name, settings) in tables(kind) {
                let said = kind.get("description").cloned().unwrap_or_default();
                sections.insert(name.clone(), described(settings, said));
            }
        }
        let short: Vec<_> = sections.get("mqtt").into_iter().flat_map(tables).collect();
        let short = short.into_iter().map(|(key, settings)| {
            (
                key.clone(),
                described(&words_alone(settings), format!("Short for `{LONG}{key}`.").into()),
            )
        });
        let short: Map<String, Value> = short.collect();
        if let Some(Value::Object(properties)) = schema.get_mut("properties") {
            properties.extend(sections.into_iter().chain(short));
        }
        schema
    }
}

/// The keys of a table, with their schemas.
fn tables(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema.get("properties").and_then(Value::as_object).into_iter().flatten()
}

/// The same schema with this text.
fn described(schema: &Value, said: Value) -> Value {
    let mut schema = schema.clone();
    words::put(&mut schema, "description", said);
    schema
}

/// Words without what is said of each.
fn words_alone(schema: &Value) -> Value {
    let mut schema = schema.clone();
    let choices = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    let words: Vec<Value> = choices.filter_map(|it| it.get("const").cloned()).collect();
    if !words.is_empty() {
        words::remove(&mut schema, "oneOf");
        words::put(&mut schema, "enum", words.into());
    }
    schema
}

#[cfg(test)]
mod tests {
    use crate::settings::environment::Overrides;
    use crate::settings::tests::{problems, tree};
    use crate::settings::{Settings, read};

    const SENSOR: &str = "sensors.T.simulated = {}\n";

    /// Read without a mistake, with these variables.
    fn settings(text: &str, variables: &[(&str, &str)]) -> Settings {
        let (settings, problems) = read_with(text, variables);
        assert_eq!(problems, [""; 0], "{text}");
        settings
    }

    fn read_with(text: &str, variables: &[(&str, &str)]) -> (Settings, Vec<String>) {
        let mut tree = tree(&format!("{SENSOR}{text}"));
        let variables = variables.iter().map(|(name, text)| (name.into(), text.into()));
        let overrides = Overrides::find(variables, &tree);
        overrides.apply(&mut tree);
        let (settings, problems) = read(tree, &overrides);
        (settings, problems.iter().map(|it| it.to_string().trim().to_owned()).collect())
    }

    fn topic(settings: &Settings) -> &str {
        settings.plan.mqtt_output().unwrap().topic.plain().as_str()
    }

    #[test]
    fn the_keys_of_a_topic_stand_in_their_section_or_in_that_of_the_output() {
        let long = "[output]\nformat = \"ndjson\"\n[output.mqtt]\ntopic = \"a\"\nqos = 0\n\
                    [output.mqtt.broker]\nurl = \"mqtt://other\"";
        let short = "[output]\nformat = \"ndjson\"\ntopic = \"a\"\nqos = 0\n\
                     [output.broker]\nurl = \"mqtt://other\"";
        let mixed = "[output]\nformat = \"ndjson\"\nqos = 0\n[output.mqtt]\ntopic = \"a\"\n\
                     [output.broker]\nurl = \"mqtt://other\"";
        let read = settings(long, &[]);
        assert_eq!(
            (topic(&read), read.plan.output_broker().url.to_string().as_str()),
            ("a", "mqtt://other:1883")
        );
        assert_eq!(settings(short, &[]), read);
        assert_eq!(settings(mixed, &[]), read);
        assert!(read.to_toml().contains("[output.mqtt]\ntopic = \"a\""), "{}", read.to_toml());
        // Without a section it is a topic, and null is none.
        assert_eq!(topic(&settings("", &[])), "gateway/batches");
        let null =
            serde_json::json!({"output": {"file": null}, "sensors": {"T": {"simulated": {}}}});
        assert_eq!(crate::settings::read(null, &Overrides::default()).1, []);
    }

    #[test]
    fn a_mistake_names_the_key_as_it_is_spelt_and_the_nearest_of_either_section() {
        for (text, expected) in [
            ("output.topc = \"a\"", "output.topc: is not known; did you mean \"topic\"?"),
            ("output.mqtt.topc = \"a\"", "output.mqtt.topc: is not known; did you mean \"topic\"?"),
            ("output.formt = \"json\"", "output.formt: is not known; did you mean \"format\"?"),
            ("output.fil.path = \"a\"", "output.fil: is not known; did you mean \"file\"?"),
            (
                "output.xyz = 1",
                "output.xyz: is not known; known are: format, influx, window_batches, dead_letters_percent_max, topic, qos",
            ),
            ("output.topic = 5", "output.topic: is a number: give a topic"),
            ("output.mqtt.topic = 5", "output.mqtt.topic: is a number: give a topic"),
            ("output.mqtt = 5", "output.mqtt: is a number: write it as a section, [output.mqtt]"),
            (
                "output.broker = 5",
                "output.broker: is a number: write it as a section, [output.broker]",
            ),
            (
                "output.mqtt.broker = 5",
                "output.mqtt.broker: is a number: write it as a section, [output.mqtt.broker]",
            ),
            ("output = 5", "output: is a number: write it as a section, [output]"),
            ("output.answer_max = 0", "output.answer_max: must be at least 1s"),
            ("output.expiry = \"900ms\"", "output.expiry: must be at least 1s"),
            ("output.mqtt.answer_max = 0", "output.mqtt.answer_max: must be at least 1s"),
            (
                "output.dead_letter_topic = \"gateway/batches\"",
                "output.dead_letter_topic: is the same as output.topic: write",
            ),
            (
                "output.mqtt.dead_letter_topic = \"gateway/batches\"",
                "output.mqtt.dead_letter_topic: is the same as output.mqtt.topic: write",
            ),
            (
                "output.topic = \"a\"\noutput.mqtt.dead_letter_topic = \"a\"",
                "output.mqtt.dead_letter_topic: is the same as output.topic: write",
            ),
            ("output.broker.keep_alive = \"1s\"", "output.broker.keep_alive: must be"),
            ("output.mqtt.broker.keep_alive = \"1s\"", "output.mqtt.broker.keep_alive: must be"),
            ("output.file = {}", "output.file.path: is missing: write the path of a file"),
        ] {
            let problems = problems(&format!("{SENSOR}{text}"));
            assert!(
                problems.len() == 1 && problems[0].starts_with(expected),
                "{text}: {problems:#?}"
            );
        }
    }

    #[test]
    fn one_key_twice_and_two_sinks_at_once_are_mistakes() {
        let twice = "output.topic = \"a\"\noutput.mqtt.topic = \"b\"";
        let said = "output.mqtt.topic: stands in [output] too: remove this one, or output.topic";
        assert_eq!(problems(&format!("{SENSOR}{twice}")), [said]);
        let both = "output.mqtt.topic = \"a\"\noutput.file.path = \"b\"";
        let said = "output: holds [output.file] and [output.mqtt]: batches go to one of them; keep that one";
        assert_eq!(problems(&format!("{SENSOR}{both}")), [said]);
        let (_, said) =
            read_with("output.mqtt.qos = 1", &[("SLUICEGATE__OUTPUT__FILE__PATH", "b")]);
        assert!(
            said.concat().contains("set by the environment: SLUICEGATE__OUTPUT__FILE__PATH"),
            "{said:?}"
        );
    }

    #[test]
    fn a_variable_of_either_spelling_replaces_the_key_of_the_file_in_either() {
        let (short, long) = ("SLUICEGATE__OUTPUT__TOPIC", "SLUICEGATE__OUTPUT__MQTT__TOPIC");
        for text in ["", "output.topic = \"a\"", "output.mqtt.topic = \"a\"", "output.mqtt.qos = 0"]
        {
            for variable in [short, long] {
                assert_eq!(topic(&settings(text, &[(variable, "b")])), "b", "{text} {variable}");
            }
        }
        let url = ("SLUICEGATE__OUTPUT__BROKER__URL", "mqtt://b");
        let read = settings("output.mqtt.broker.username = \"u\"", &[url]);
        assert_eq!(read.plan.output_broker().url.to_string(), "mqtt://b:1883");
        assert_eq!(read.plan.output_broker().username.as_deref(), Some("u"));
        let (_, said) = read_with("", &[(short, "a"), (long, "b")]);
        assert!(said.len() == 1 && said[0].contains("stands in [output] too"), "{said:?}");
        let (_, said) = read_with("output.mqtt.topic = \"a\"", &[(short, "a/+")]);
        assert!(
            said.len() == 1
                && said[0].starts_with("SLUICEGATE__OUTPUT__TOPIC (output.mqtt.topic): "),
            "{said:?}"
        );
    }

    #[test]
    fn keys_of_a_topic_beside_a_file_are_warned_of_and_still_read() {
        let file = "output.file.path = \"a\"\n";
        let read = settings(&format!("{file}output.qos = 0\noutput.format = \"ndjson\""), &[]);
        let said = "has no effect beside [output.file]: batches go there alone";
        assert_eq!(read.warnings, [("output.qos".to_owned(), said.to_owned())]);
        assert_eq!(settings(file, &[]).warnings, []);
        let wrong = problems(&format!("{SENSOR}{file}output.qos = 7"));
        assert!(
            wrong.len() == 1 && wrong[0].starts_with("output.qos: 7 cannot be used"),
            "{wrong:?}"
        );
    }

    #[test]
    fn a_warning_names_the_key_as_it_is_spelt() {
        let warned = |text: &str| settings(text, &[]).warnings.swap_remove(0).0;
        assert_eq!(
            warned("output.without_subscriber = \"hold\"\noutput.qos = 0"),
            "output.without_subscriber"
        );
        assert_eq!(
            warned("output.mqtt = { without_subscriber = \"hold\", qos = 0 }"),
            "output.mqtt.without_subscriber"
        );
    }
}
