//! The JSON Schema of the configuration tells the truth, and what is made from it is up to date: the file for
//! editors and the reference of the keys. After a change of the settings run this with `RENEW=1` and look at
//! what it wrote.

use std::fs;
use std::path::{Path, PathBuf};

use boon::{Compiler, SchemaIndex, Schemas};
use config::{Config, File, FileFormat};
use serde_json::Value;
use sluicegate::settings::{Files, Settings, load, schema};

use crate::support::SOON;
use crate::support::gateway::Gateway;

fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn reference() -> String {
    fs::read_to_string(shipped("config/sluicegate.toml")).unwrap()
}

fn json(toml: &str) -> Value {
    let file = Config::builder().add_source(File::from_str(toml, FileFormat::Toml)).build();
    file.and_then(Config::try_deserialize).unwrap()
}

/// The schema at work.
struct Validator(Schemas, SchemaIndex);

impl Validator {
    fn new() -> Self {
        let (mut compiler, mut schemas) = (Compiler::new(), Schemas::new());
        compiler.add_resource("memory:schema", schema()).unwrap();
        let index = compiler.compile("memory:schema", &mut schemas).unwrap();
        Self(schemas, index)
    }

    /// Whether a file is valid, or why it is not.
    fn judge(&self, toml: &str) -> Result<(), String> {
        self.0.validate(&json(toml), self.1).map_err(|error| error.to_string())
    }
}

/// Read by the program, or its report.
fn read(toml: &str) -> Result<Settings, String> {
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    fs::write(&file, toml).unwrap();
    load(file.path(), std::iter::empty(), Files::Unseen).map_err(|error| error.to_string())
}

#[test]
fn the_command_prints_it_and_needs_no_file() {
    let mut gateway = Gateway::bare().arg("schema").start();
    assert_eq!(gateway.wait_exit(SOON), 0, "{}", gateway.text());
    assert_eq!(serde_json::from_str::<Value>(&gateway.stdout()).unwrap(), schema());
}

#[test]
fn every_shipped_file_is_valid_and_names_the_schema() {
    let validator = Validator::new();
    for (folder, schema, least) in [("config", "./", 4), ("config/examples", "../", 15)] {
        let files = fs::read_dir(shipped(folder)).unwrap().map(|entry| entry.unwrap().path());
        let is_toml = |it: &PathBuf| it.extension().is_some_and(|it| it == "toml");
        let files: Vec<_> = files.filter(is_toml).collect();
        assert!(files.len() >= least, "{files:?}");
        let first = format!("#:schema {schema}sluicegate.schema.json\n");
        for path in files {
            let text = fs::read_to_string(&path).unwrap();
            assert_eq!(validator.judge(&text), Ok(()), "{}", path.display());
            assert!(text.starts_with(&first), "{}", path.display());
        }
    }
}

/// Of what is in vain: nobody should copy that.
#[test]
fn no_shipped_file_has_a_setting_that_is_warned_of() {
    for folder in ["config", "config/examples"] {
        let files = fs::read_dir(shipped(folder)).unwrap().map(|entry| entry.unwrap().path());
        for path in files.filter(|it| it.extension().is_some_and(|it| it == "toml")) {
            let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_sluicegate"));
            let output = command.arg("check").arg("--config").arg(&path).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            let (_, warnings) = text.split_once("# Warnings\n").unwrap_or_default();
            // Of files of this machine, or of its brokers, the shipped ones know nothing.
            let own = warnings.lines().find(|it| it.contains("sensors.") || it.contains("output."));
            assert_eq!((output.status.code(), own), (Some(0), None), "{}", path.display());
        }
    }
}

/// Lines for a file, by whether schema and program take them.
const TAKEN: [&str; 32] = [
    "gateway.memory_max = \"1.5 gb\"",
    "gateway.memory_max = 300000000",
    "gateway.shutdown_grace = 0",
    "gateway.shutdown_grace = \"0\"",
    "gateway.start_grace = \"1h 30m\"",
    "gateway.start_grace = \"2min 5 secs\"",
    "broker.url = \"tcp://b\"",
    "broker.url = \"wss://b.example/x?token=a\"",
    "broker.url = \"mqtt://[::1]:1884\"",
    "broker.version = 3",
    "broker.tls = {}",
    "http.listen = \"off\"",
    "http.listen = \"[::1]:8080\"",
    "http.hosts = [\"a\", \"b.example\"]",
    "http.hosts = \"a, b.example\"",
    "output.qos = 0",
    "output.format = \"json_array\"",
    "output.broker.url = \"mqtt://other\"",
    "output.mqtt = { topic = \"a\", broker.url = \"mqtt://other\" }",
    "output = { topic = \"a\", mqtt.qos = 0 }",
    "spool.bytes_max = \"1TiB\"",
    "log.format = \"json\"",
    "sensors.a.mqtt = { topic = \"a/+/{sensor}/#\", group = \"g\", payload = { text = {} } }",
    "sensors.a.mqtt = { topic = \"a\", payload = { json = {} }, value = \"/a/b\" }",
    "sensors.a.mqtt = { topic = \"a/{x}\", payload = \"ndjson\", value = [\"/a/0\", \"\"], sensor = \"s-{x}\" }",
    "sensors.a.exec = { command = [\"a\"], values = { t = \"/t\", h = { from = [\"/h\"], unit = \"%\" } } }",
    "sensors.a.mqtt = { topic = \"a\", timestamp = { from = \"/t\", zone = \"UTC\", format = \"unix_ms\" } }",
    "sensors.a.simulated.model = { sine = { period = 0.5 } }",
    "sensors.a.simulated.payload = \"sparkplug_b\"",
    "sensors.a.simulated.payload = { sparkplug_b = {} }",
    "sensors.a.simulated.payload = { sparkplug_b = { group = \"Werk 1\" } }",
    "sensors.a.simulated = { count = 3, seed = 9223372036854775807, readings = 1 }",
];
const REFUSED: [&str; 45] = [
    "oops = 1",
    "sensors.a.simulated.payload = { sparkplug_b = { group = \"a/b\" } }",
    "sensors.a.simulated.payload = { sparkplug_b = { group = \"STATE\" } }",
    "sensors.a.simulated.payload = { json = {} }",
    "gateway.idd = \"a\"",
    "gateway.id = 5",
    "gateway.id = \"a b\"",
    "gateway.memory_max = \"lots\"",
    "gateway.memory_max = 0",
    "gateway.memory_max = \"0MiB\"",
    "gateway.shutdown_grace = 5",
    "gateway.shutdown_grace = \"5\"",
    "gateway.sensors_max = 0",
    "broker.url = \"http://b\"",
    "broker.url = \"mqtt://u@b\"",
    "broker.url = \"mqtt://b/path\"",
    "broker.version = 4",
    "broker.window_messages = 65536",
    "broker.tls = { ca = \"x\" }",
    "broker.watch = \"yes\"",
    "http.listen = \"localhost\"",
    "http.hosts = [5]",
    "http.hosts = [\"a:80\"]",
    "queue.on_full = \"drop\"",
    "queue = 5",
    "batch.age_max = true",
    "output.qos = 2",
    "output.format = \"xml\"",
    "output.topic = \"a/+\"",
    "output.mqtt.topic = \"a/+\"",
    "output.mqtt.format = \"json\"",
    "output.broker = 5",
    "output.dead_letters_percent_max = 101",
    "sensors.a.mqtt = {}",
    "sensors.a.mqtt = { topic = \"a/#/b\" }",
    "sensors.a.mqtt = { topic = \"a\", qos = 3 }",
    "sensors.a.mqtt = { topic = \"a\", group = \"a/b\" }",
    "sensors.a.mqtt = { topic = \"a\", value = \"a\" }",
    "sensors.a.mqtt = { topic = \"a\", payload = \"jsno\" }",
    "sensors.a.mqtt = { topic = \"a\", missing = \"drop\" }",
    "sensors.a.mqtt = { topic = \"a\", timestamp = { from = \"/t\", format = \"iso\" } }",
    "sensors.a.modbus = {}",
    "sensors.\"a b\".simulated = {}",
    "sensors.a.simulated.count = 0",
    "sensors.a.simulated.model = { sine = { period = 0.0 } }",
];

#[test]
fn what_the_schema_takes_and_refuses_the_program_does_too() {
    let validator = Validator::new();
    let cases = TAKEN.map(|it| (it, true)).into_iter().chain(REFUSED.map(|it| (it, false)));
    for (line, taken) in cases {
        let toml = format!("sensors.s.simulated.count = 1\n{line}\n");
        let judged = validator.judge(&toml);
        assert_eq!(judged.is_ok(), taken, "the schema: {line}: {judged:?}");
        let read = read(&toml);
        assert_eq!(read.is_ok(), taken, "the program: {line}: {read:?}");
    }
}

/// A key of the schema: its section, its name there, dotted, what it may be and what it is for.
struct Key<'a> {
    section: String,
    name: String,
    schema: &'a Value,
    said: String,
}

/// The kinds of sensors: name, what an entry of this kind is, its settings.
fn kinds(schema: &Value) -> impl Iterator<Item = (&str, &Value, &Value)> {
    let kinds = schema["properties"]["sensors"]["additionalProperties"]["oneOf"].as_array();
    kinds.unwrap().iter().map(|kind| {
        let (name, settings) = kind["properties"].as_object().unwrap().iter().next().unwrap();
        (name.as_str(), kind, settings)
    })
}

/// The sections of `[output]`, each for a kind of sink. Its other tables are short forms.
fn kinds_of_output(output: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let tables = output["properties"].as_object().unwrap().iter();
    let tables = tables.filter(|(_, schema)| schema["properties"].is_object() && !is_short(schema));
    tables.map(|(name, schema)| (name.as_str(), schema))
}

/// Whether a key is another's short form, which the reference names once for all.
fn is_short(schema: &Value) -> bool {
    text(schema).starts_with("Short for ")
}

/// Every key, section by section. What stands below `output.mqtt.broker` stands below `broker`.
fn keys(schema: &Value) -> Vec<Key<'_>> {
    let mut keys = Vec::new();
    let sections = schema["properties"].as_object().unwrap();
    for (section, within) in sections.iter().filter(|(section, _)| *section != "sensors") {
        below(section, "", within, None, &mut keys);
        for (name, within) in kinds_of_output(within).filter(|_| section == "output") {
            below(&format!("output.{name}"), "", within, None, &mut keys);
        }
    }
    for (kind, _, settings) in kinds(schema) {
        below(&format!("sensors.<name>.{kind}"), "", settings, None, &mut keys);
    }
    assert!(keys.len() > 60, "{}", keys.len());
    keys
}

/// The keys of a table, and those below them. Of one of several tables `said` tells what it is.
fn below<'a>(
    section: &str,
    parent: &str,
    table: &'a Value,
    said: Option<&str>,
    keys: &mut Vec<Key<'a>>,
) {
    for (name, schema) in table["properties"].as_object().into_iter().flatten() {
        let name = format!("{parent}{name}");
        let said = said.map_or_else(|| text(schema), str::to_owned);
        keys.push(Key { section: section.to_owned(), name: name.clone(), schema, said });
        match (section, &*name) {
            // The same as [broker], and as the payload of `mqtt`. Sections of their own.
            ("output", _)
            | ("output.mqtt", "broker")
            | ("sensors.<name>.exec" | "sensors.<name>.stdin", "payload") => continue,
            _ => {}
        }
        let parent = format!("{name}.");
        below(section, &parent, schema, None, keys);
        for choice in schema["oneOf"].as_array().into_iter().flatten() {
            below(section, &parent, choice, choice["description"].as_str(), keys);
        }
    }
}

/// The name in the heading of a section, commented out or not.
fn heading(line: &str) -> Option<&str> {
    line.strip_prefix("# ").unwrap_or(line).strip_prefix('[')?.strip_suffix(']')
}

/// The lines of the reference by section, as the schema names it.
fn sections(text: &str) -> Vec<(String, Vec<&str>)> {
    let mut sections: Vec<(String, Vec<&str>)> = Vec::new();
    for line in text.lines() {
        if let Some(name) = heading(line) {
            let mut levels: Vec<_> = name.split('.').collect();
            if let ["sensors", name, _] = &mut levels[..] {
                *name = "<name>";
            }
            sections.push((levels.join("."), Vec::new()));
        } else if let Some((_, lines)) = sections.last_mut() {
            lines.push(line);
        }
    }
    sections
}

/// The key of a line of the reference, commented out or not.
fn key_of(line: &str) -> Option<&str> {
    let (key, _) = line.strip_prefix("# ").unwrap_or(line).split_once(" = ")?;
    key.chars().all(|c| c.is_ascii_lowercase() || c == '_').then_some(key)
}

#[test]
fn the_reference_has_every_key_of_the_schema_and_no_other() {
    let (text, schema) = (reference(), schema());
    let (sections, keys) = (sections(&text), keys(&schema));
    for key in keys.iter().filter(|it| !is_short(it.schema)) {
        let (_, lines) = sections.iter().find(|(name, _)| *name == key.section).unwrap();
        let there = match key.name.rsplit_once('.') {
            // Inside an inline table.
            Some((_, name)) => lines.iter().any(|line| line.contains(&format!("{name} = "))),
            None if key.schema["properties"].is_object() && key.section.starts_with("output") => {
                text.contains(&format!("# [{}.{}]", key.section, key.name))
            }
            None => lines.iter().any(|line| key_of(line) == Some(&key.name)),
        };
        assert!(there, "{}.{} is missing in config/sluicegate.toml", key.section, key.name);
    }
    for (section, lines) in &sections {
        for name in lines.iter().filter_map(|line| key_of(line)) {
            // With the keys of [broker].
            let of = if section == "output.mqtt.broker" { "broker" } else { section };
            let known = keys.iter().any(|key| (&*key.section, &*key.name) == (of, name));
            assert!(known, "{section}.{name}");
        }
    }
}

#[test]
fn a_key_that_is_commented_out_shows_its_default() {
    // Built without the embedded broker, the program refuses it.
    let text = reference().replace("url = \"embedded\"", "url = \"mqtt://localhost\"");
    let schema = schema();
    let keys = keys(&schema);
    let before = read(&text).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    let (mut section, mut looked_at, mut is_commented) = (String::new(), 0, false);
    let mut closed = None;
    for at in 0..lines.len() {
        let line = lines[at];
        section = sections(line).pop().map_or(section, |(name, _)| name);
        if let Some(name) = heading(line) {
            // Each key of this one has a default: the heading is uncommented with a key.
            closed = (name == "output.mqtt").then_some(at);
            is_commented = line.starts_with('#') && closed.is_none();
        }
        let Some(open) = line.strip_prefix("# ").filter(|_| !is_commented) else { continue };
        // The default of `tls` is an empty table, which shows nothing.
        let of = |key: &&Key<'_>| {
            key.section == section && Some(&*key.name) == key_of(open) && key.name != "tls"
        };
        if keys.iter().find(of).is_some_and(|key| key.schema.get("default").is_some()) {
            lines[at] = open;
            let mut tried = lines.clone();
            if let Some(at) = closed {
                tried[at] = tried[at].strip_prefix("# ").unwrap();
            }
            assert_eq!(read(&tried.join("\n")).as_ref(), Ok(&before), "{section}: {line}");
            lines[at] = line;
            looked_at += 1;
        }
    }
    assert!(looked_at > 25, "{looked_at}");
}

#[test]
fn every_key_has_a_text() {
    for key in keys(&schema()) {
        let text = &key.said;
        assert!(text.ends_with('.') && text.len() > 8, "{}.{}: {text:?}", key.section, key.name);
    }
}

/// A value as TOML has it.
fn toml(value: &Value) -> String {
    match value {
        Value::Object(table) if table.is_empty() => "{}".into(),
        Value::Object(table) => {
            let entries = table.iter().map(|(key, value)| format!("{key} = {}", toml(value)));
            format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
        }
        value => value.to_string(),
    }
}

fn listed(values: &[&Value], between: &str) -> String {
    values.iter().map(|it| format!("`{}`", toml(it))).collect::<Vec<_>>().join(between)
}

/// What may be written, in a few words.
fn values(schema: &Value) -> String {
    let range = || match (schema.get("minimum"), schema.get("maximum")) {
        (Some(least), Some(most)) => format!(", {least} to {most}"),
        (Some(least), None) => format!(", {least} or more"),
        _ => schema.get("exclusiveMinimum").map_or(String::new(), |it| format!(", above {it}")),
    };
    if let Some(values) = schema["enum"].as_array() {
        return listed(&Vec::from_iter(values), " or ");
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let words: Vec<_> = choices.iter().filter_map(|it| it.get("const")).collect();
        return if words.is_empty() {
            "one of the tables below".into()
        } else {
            listed(&words, ", ")
        };
    }
    if let Some(examples) = schema["examples"].as_array() {
        return format!("such as {}", listed(&Vec::from_iter(examples), ", "));
    }
    match schema["type"].as_str() {
        Some("integer") => format!("whole number{}", range()),
        Some("number") => format!("number{}", range()),
        Some("boolean") => "`true` or `false`".into(),
        Some("object") => "table".into(),
        _ => "text".into(),
    }
}

/// The text of a key, with that of each of its words.
fn text(schema: &Value) -> String {
    let mut text = schema["description"].as_str().unwrap_or_default().to_owned();
    for choice in schema["oneOf"].as_array().into_iter().flatten() {
        if let (Some(word), Some(said)) = (choice.get("const"), choice["description"].as_str()) {
            text.extend(["<br>`", &toml(word), "`: ", said]);
        }
    }
    text
}

/// The reference of the keys, for people.
fn page(schema: &Value) -> String {
    let head = "<!-- Made from what `sluicegate schema` prints, by tests/schema.rs: change the comments of the \
                settings in src/, then run it with RENEW=1. -->\n\n# Every key\n\n";
    let mut page = format!("{head}{}\n\n<!-- begin: keys -->\n", text(schema));
    let mut section = "";
    let keys = keys(schema);
    for Key { section: of, name, schema: key, said: what } in &keys {
        if of != section {
            section = of;
            let said = text(match of.split_once('.') {
                Some(("output", kind)) => &schema["properties"]["output"]["properties"][kind],
                Some(_) => kinds(schema).find(|(kind, ..)| of.ends_with(kind)).unwrap().1,
                None => &schema["properties"][section],
            });
            page.extend(["\n## `[", section, "]`\n\n", &said, "\n\n"]);
            page += "| key | value | default | what it does |\n| --- | --- | --- | --- |\n";
        }
        let default = key.get("default").map_or(String::new(), |it| listed(&[it], ""));
        page.extend(["| `", name, "` | ", &values(key), " | ", &default, " | ", what, " |\n"]);
    }
    page + "\n<!-- end: keys -->\n"
}

/// Held equal to what the program says, or renewed.
#[track_caller]
fn up_to_date(path: &str, text: &str) {
    let path = shipped(path);
    if crate::support::number_from_environment::<u8>("RENEW").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    } else {
        let found = fs::read_to_string(&path).unwrap_or_default();
        assert!(found == text, "{} is out of date: run this test with RENEW=1", path.display());
    }
}

#[test]
fn the_file_for_editors_and_the_page_of_keys_are_up_to_date() {
    let schema = schema();
    up_to_date("config/sluicegate.schema.json", &format!("{schema:#}\n"));
    up_to_date("docs/configuration-keys.md", &page(&schema));
}
