//! The whole configuration: file, environment, checks; all mistakes in one report.
//!
//! The file's text and the overrides go through the `config` crate. Each section is then read by
//! the part that owns it. A value that cannot be read is noted with its key and left out, and the
//! section is read again without it, until it reads: so one report names every mistake, in the
//! words of the type that refused it. Relations between sections are checked at the end, by the
//! plan.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use config::{Config, File, FileFormat};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::pipeline::plan::Plan;
use crate::source;

/// Where the file is looked for, in this order, when none is given.
pub const FILES: [&str; 2] = ["config/sluicegate.toml", "/etc/sluicegate/sluicegate.toml"];

/// What begins the name of an overriding environment variable; `__` stands between keys.
pub const PREFIX: &str = "SLUICEGATE__";

/// Mistakes that are reported at once; a file with more has them in turn.
const PROBLEMS_MAX: usize = 100;

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,sluicegate::mqtt=debug`.
    pub level: String,
    /// How a line looks.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Text }
    }
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[http]`: reserved, so that one file serves this version and the next.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Where the next version will serve health and metrics. This one serves none and says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<std::net::SocketAddr>,
}

/// All settings.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settings {
    /// What the engine is built from.
    pub plan: Plan,
    /// `[log]`.
    pub log: Log,
    /// `[http]`.
    pub http: Http,
}

/// A mistake in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key, dotted.
    pub key: String,
    /// What is wrong, and what would be right.
    pub text: String,
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no file.
    #[error("no configuration: none of {} exists; name one with --config FILE", FILES.join(", "))]
    NoFile,
    /// The file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Unreadable {
        /// Its path.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is not in its own format.
    #[error("{}: {text}", path.display())]
    Syntax {
        /// Its path.
        path: PathBuf,
        /// Where and what.
        text: String,
    },
    /// The file has mistakes.
    #[error("{}: {} in the configuration\n{}", path.display(), count(problems.len()), lines(problems))]
    Problems {
        /// Its path.
        path: PathBuf,
        /// All of them.
        problems: Vec<Problem>,
    },
}

fn count(mistakes: usize) -> String {
    if mistakes == 1 { "1 mistake".into() } else { format!("{mistakes} mistakes") }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  {}: {}", self.key, self.text)
    }
}

/// The file to use: the given one, or the first that exists.
pub fn find(given: Option<&Path>) -> Result<PathBuf, Error> {
    if let Some(path) = given {
        return Ok(path.to_owned());
    }
    let exists = FILES.iter().map(Path::new).find(|path| path.exists());
    exists.map(Path::to_owned).ok_or(Error::NoFile)
}

/// Reads the file at `path`, with the overrides among `environment`.
pub fn load(
    path: &Path,
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Settings, Error> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::Unreadable { path: path.to_owned(), error })?;
    let syntax = |error: config::ConfigError| Error::Syntax {
        path: path.to_owned(),
        text: error.to_string(),
    };
    let format = match path.extension().and_then(|it| it.to_str()) {
        Some("json") => FileFormat::Json,
        Some("yaml" | "yml") => FileFormat::Yaml,
        _ => FileFormat::Toml,
    };
    let builder = Config::builder().add_source(File::from_str(&text, format));
    let file =
        builder.clone().build().and_then(Config::try_deserialize::<Value>).map_err(syntax)?;
    let mut builder = builder;
    for (key, value) in overrides(environment, &file) {
        builder = builder.set_override(key, value).map_err(syntax)?;
    }
    let tree = builder.build().and_then(Config::try_deserialize::<Value>).map_err(syntax)?;
    let (settings, problems) = read(tree);
    if problems.is_empty() {
        return Ok(settings);
    }
    Err(Error::Problems { path: path.to_owned(), problems })
}

/// `SLUICEGATE__BATCH__AGE_MAX=1s` as `batch.age_max`. Names are compared with those of the file
/// without regard to case, so that `SENSORS__TEMP` finds `[sensors.TEMP]`.
fn overrides(
    environment: impl Iterator<Item = (OsString, OsString)>,
    file: &Value,
) -> Vec<(String, config::Value)> {
    let mut overrides = Vec::new();
    for (name, value) in environment {
        let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else { continue };
        let Some(keys) = name.strip_prefix(PREFIX) else { continue };
        let mut at = Some(file);
        let mut path = Vec::new();
        for key in keys.split("__") {
            let known = at.and_then(Value::as_object);
            let same = known.and_then(|it| it.keys().find(|it| it.eq_ignore_ascii_case(key)));
            let key = same.cloned().unwrap_or_else(|| key.to_ascii_lowercase());
            at = known.and_then(|it| it.get(&key));
            path.push(key);
        }
        overrides.push((path.join("."), typed(value)));
    }
    overrides.sort_by(|a, b| a.0.cmp(&b.0));
    overrides
}

/// An environment variable's value: a boolean or a number where it looks like one.
fn typed(text: &str) -> config::Value {
    if let Ok(value) = text.parse::<bool>() {
        return value.into();
    }
    if let Ok(value) = text.parse::<i64>() {
        return value.into();
    }
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => value.into(),
        _ => text.into(),
    }
}

/// Reads all sections; notes every mistake.
fn read(tree: Value) -> (Settings, Vec<Problem>) {
    let mut problems = Vec::new();
    let Value::Object(mut tree) = tree else { return (Settings::default(), problems) };
    let mut sections = Sections { tree: &mut tree, problems: &mut problems };
    let mut settings = Settings {
        log: sections.take("log"),
        http: sections.take("http"),
        plan: Plan {
            gateway: sections.take("gateway"),
            broker: sections.take("broker"),
            sensors: BTreeMap::new(),
            queue: sections.take("queue"),
            batch: sections.take("batch"),
            output: sections.take("output"),
        },
    };
    settings.plan.sensors = sections.sensors();
    if sections.tree.remove("spool").is_some() {
        let text = "this version has no disk spool: remove the section; what is not settled stays \
                    unacknowledged in the broker's session";
        sections.note("spool", text.into());
    }
    let unknown: Vec<String> = sections.tree.keys().cloned().collect();
    for key in unknown {
        sections.note(&key, format!("is not known; {}", nearest(&key, &SECTIONS)));
    }
    if let Err(error) = crate::telemetry::filter(&settings.log.level) {
        sections.note("log.level", error);
    }
    // Relations only make sense between values that are there.
    if problems.is_empty() {
        let relations = settings.plan.problems();
        problems.extend(relations.into_iter().map(|(key, text)| Problem { key, text }));
    }
    (settings, problems)
}

/// The sections of a file.
const SECTIONS: [&str; 8] =
    ["gateway", "broker", "sensors", "queue", "batch", "output", "http", "log"];

struct Sections<'a> {
    tree: &'a mut Map<String, Value>,
    problems: &'a mut Vec<Problem>,
}

impl Sections<'_> {
    fn note(&mut self, key: &str, text: String) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem { key: key.to_owned(), text });
        }
    }

    /// A section, or its defaults where it is absent or wrong.
    fn take<T: DeserializeOwned + Default>(&mut self, name: &str) -> T {
        let value = self.tree.remove(name).unwrap_or_else(|| Value::Object(Map::new()));
        self.parse(name, value).unwrap_or_default()
    }

    fn sensors(&mut self) -> BTreeMap<String, source::Kind> {
        let entries = match self.tree.remove("sensors") {
            None => return BTreeMap::new(),
            Some(Value::Object(entries)) => entries,
            Some(_) => {
                self.note("sensors", "is no table: write [sensors.<name>.<kind>]".into());
                return BTreeMap::new();
            }
        };
        let mut sensors = BTreeMap::new();
        for (name, value) in entries {
            let key = format!("sensors.{name}");
            let kinds = value.as_object().map_or(0, Map::len);
            if kinds != 1 {
                let text =
                    "needs exactly one kind: [sensors.<name>.simulated] or [sensors.<name>.mqtt]";
                self.note(&key, text.into());
            } else if let Some(kind) = self.parse(&key, value) {
                sensors.insert(name, kind);
            }
        }
        sensors
    }

    /// Reads a value; what cannot be read is noted and left out, and the rest is read again.
    fn parse<T: DeserializeOwned>(&mut self, key: &str, mut value: Value) -> Option<T> {
        let mut removed = Vec::new();
        loop {
            let error = match serde_path_to_error::deserialize::<_, T>(&value) {
                Ok(read) => return Some(read),
                Err(error) => error,
            };
            let path = error.path().to_string();
            let path = if path == "." { "" } else { &path };
            let (path, text) = explain(path, &error.inner().to_string());
            if removed.contains(&path) {
                // It is only missing because it was wrong.
                return None;
            }
            let full = [key, &path].into_iter().filter(|it| !it.is_empty());
            self.note(&full.collect::<Vec<_>>().join("."), text);
            if path.is_empty() || !remove(&mut value, &path) {
                return None;
            }
            removed.push(path);
        }
    }
}

/// Turns serde's words into ours. A key that is unknown or missing is named itself, not only its
/// table.
fn explain(path: &str, text: &str) -> (String, String) {
    if let Some(name) = text.strip_prefix("missing field `").and_then(|it| it.strip_suffix('`')) {
        let key = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        return (key, "is missing".to_owned());
    }
    let unknown = text
        .strip_prefix("unknown field `")
        .or_else(|| text.strip_prefix("unknown variant `"))
        .and_then(|rest| rest.split_once('`'));
    let Some((name, rest)) = unknown else { return (path.to_owned(), text.to_owned()) };
    let known: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
    if text.starts_with("unknown variant") {
        return (path.to_owned(), format!("{name:?} is not known; {}", nearest(name, &known)));
    }
    // serde_path_to_error ends the path with the unknown key itself in most cases.
    let ends = path == name || path.ends_with(&format!(".{name}"));
    let path = match path {
        "" => name.to_owned(),
        _ if ends => path.to_owned(),
        _ => format!("{path}.{name}"),
    };
    (path, format!("is not known; {}", nearest(name, &known)))
}

/// The known name that is most like `name`, or all of them.
fn nearest(name: &str, known: &[&str]) -> String {
    let likeness = |it: &&&str| (strsim::jaro_winkler(name, it) * 1000.0).round();
    let best = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match best {
        Some(best) if likeness(&best) >= 800.0 => format!("did you mean \"{best}\"?"),
        Some(_) => format!("known are: {}", known.join(", ")),
        None => "nothing is known there".into(),
    }
}

/// Removes the value at a dotted path. False if there is none.
fn remove(value: &mut Value, path: &str) -> bool {
    let (parents, last) = path.rsplit_once('.').unwrap_or(("", path));
    let mut parents = parents.split('.').filter(|it| !it.is_empty());
    let parent = parents.try_fold(value, |at, key| at.get_mut(key));
    parent.and_then(Value::as_object_mut).is_some_and(|it| it.remove(last).is_some())
}

impl Settings {
    /// The effective configuration as TOML, without any secret: a password is only ever named by
    /// its file.
    pub fn to_toml(&self) -> String {
        let section = |name: &str, value: Value| (name.to_owned(), value);
        let json = |value: serde_json::Result<Value>| value.unwrap_or(Value::Null);
        let plan = &self.plan;
        let sections = Map::from_iter([
            section("gateway", json(serde_json::to_value(&plan.gateway))),
            section("broker", json(serde_json::to_value(&plan.broker))),
            section("sensors", json(serde_json::to_value(&plan.sensors))),
            section("queue", json(serde_json::to_value(plan.queue))),
            section("batch", json(serde_json::to_value(plan.batch))),
            section("output", json(serde_json::to_value(&plan.output))),
            section("http", json(serde_json::to_value(&self.http))),
            section("log", json(serde_json::to_value(&self.log))),
        ]);
        let mut out = String::new();
        for name in SECTIONS {
            if let Some(Value::Object(table)) = sections.get(name) {
                write_table(&mut out, name, table);
            }
        }
        out
    }
}

/// Writes a table: its own values first, then the tables in it.
fn write_table(out: &mut String, name: &str, table: &Map<String, Value>) {
    let values = table.iter().filter(|(_, value)| !value.is_object() && !value.is_null());
    let lines: Vec<String> = values.map(|(key, value)| format!("{key} = {value}\n")).collect();
    let tables = table.iter().filter_map(|(key, value)| Some((key, value.as_object()?)));
    if !lines.is_empty() || table.is_empty() && name.contains('.') {
        out.extend(["[", name, "]\n", &lines.concat(), "\n"]);
    }
    for (key, inner) in tables {
        write_table(out, &format!("{name}.{key}"), inner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let tree = Config::builder().add_source(File::from_str(text, FileFormat::Toml));
        let tree = tree.build().unwrap().try_deserialize().unwrap();
        read(tree).1.iter().map(|it| it.to_string().trim().to_owned()).collect()
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
            "sensors.x.mqtt.topic: is missing",
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
        for key in
            ["gateway.memory_max", "gateway.id", "batch.records_max", "sensors.all.mqtt.topic"]
        {
            assert!(problems.iter().any(|it| it.starts_with(key)), "{key}: {problems:#?}");
        }
    }

    #[test]
    fn the_environment_overrides_and_finds_names_whatever_their_case() {
        let file = serde_json::json!({"sensors": {"TEMP": {"simulated": {"count": 1}}}});
        let variables = [
            ("SLUICEGATE__SENSORS__TEMP__SIMULATED__COUNT", "7"),
            ("SLUICEGATE__BATCH__AGE_MAX", "1s"),
            ("OTHER", "x"),
        ];
        let found = overrides(variables.iter().map(|(k, v)| (k.into(), v.into())), &file);
        let found: Vec<_> =
            found.into_iter().map(|(key, value)| (key, value.to_string())).collect();
        let expected = [("batch.age_max", "1s"), ("sensors.TEMP.simulated.count", "7")];
        assert_eq!(found, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn what_is_in_effect_reads_back_the_same() {
        let text = "[sensors.T.simulated]\ncount = 3\n[sensors.m.mqtt]\ntopic = \"a/{sensor}\"\n\
                    payload = { text = {} }\n[broker]\ntls = { ca_file = \"x\" }\nurl = \"mqtts://h\"";
        let parse = |text: &str| {
            let tree = Config::builder().add_source(File::from_str(text, FileFormat::Toml));
            read(tree.build().unwrap().try_deserialize().unwrap())
        };
        let (settings, problems) = parse(text);
        assert_eq!(problems, []);
        assert_eq!(parse(&settings.to_toml()), (settings, vec![]));
    }
}
