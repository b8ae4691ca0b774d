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
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::pipeline::plan::Plan;

use self::sections::{Sections, nearest};

mod sections;

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
        text: without_excerpt(&error.to_string()),
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
    let overridden = overrides(environment, &file);
    for (key, text) in &overridden {
        builder = builder.set_override(key, typed(text)).map_err(syntax)?;
    }
    let tree = builder.build().and_then(Config::try_deserialize::<Value>).map_err(syntax)?;
    let (settings, problems) = read(tree, &overridden);
    if problems.is_empty() {
        return Ok(settings);
    }
    Err(Error::Problems { path: path.to_owned(), problems })
}

/// A parser's message without the line of the file that it quotes: there may be a password on it.
fn without_excerpt(text: &str) -> String {
    let quoted = |line: &&str| {
        let start = line.trim_start().trim_start_matches(|c: char| c.is_ascii_digit());
        !start.trim_start().starts_with('|')
    };
    text.lines().filter(quoted).map(str::trim).collect::<Vec<_>>().join(" ").trim().to_owned()
}

/// `SLUICEGATE__BATCH__AGE_MAX=1s` as `batch.age_max`. Names are compared with those of the file
/// without regard to case, so that `SENSORS__TEMP` finds `[sensors.TEMP]`.
fn overrides(
    environment: impl Iterator<Item = (OsString, OsString)>,
    file: &Value,
) -> BTreeMap<String, String> {
    let mut overrides = BTreeMap::new();
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
        overrides.insert(path.join("."), value.to_owned());
    }
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
fn read(tree: Value, overridden: &BTreeMap<String, String>) -> (Settings, Vec<Problem>) {
    let mut problems = Vec::new();
    let Value::Object(mut tree) = tree else { return (Settings::default(), problems) };
    let mut sections = Sections { tree: &mut tree, overridden, problems: &mut problems };
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
            spool: sections.take("spool"),
        },
    };
    settings.plan.sensors = sections.sensors();
    let unknown: Vec<String> = sections.tree.keys().cloned().collect();
    for key in unknown {
        sections.note(&key, format!("is not known; {}", nearest(&key, &SECTIONS)));
    }
    if let Err(error) = crate::telemetry::filter(&settings.log.level) {
        sections.note("log.level", error);
    }
    // What could not be read is at its default here; what is said of a key above it is hearsay.
    let read_well = |key: &str| !problems.iter().any(|it| is_within(&it.key, key));
    let relations = settings.plan.problems().into_iter().filter(|(key, _)| read_well(key));
    let relations: Vec<_> = relations.map(|(key, text)| Problem { key, text }).collect();
    problems.extend(relations);
    (settings, problems)
}

/// Whether `key` is `of` or lies within it.
fn is_within(key: &str, of: &str) -> bool {
    key.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The sections of a file.
const SECTIONS: [&str; 9] =
    ["gateway", "broker", "sensors", "queue", "batch", "output", "spool", "http", "log"];

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
            section("spool", json(serde_json::to_value(&plan.spool))),
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
        read(tree, &BTreeMap::new()).1.iter().map(|it| it.to_string().trim().to_owned()).collect()
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
    fn mistakes_between_sections_and_within_them_are_in_one_report() {
        let text = "[gateway]\nid = \"a b\"\n[broker]\nkeep_alive = \"1s\"\n[batch]\nage_maxx = 1\n\
                    [sensors.T.simulated]\ncount = 0\n[output]\ntopic = \"x\"\n\
                    dead_letter_topic = \"x\"\n";
        let problems = problems(text);
        let keys =
            ["gateway.id", "broker.keep_alive", "batch.age_maxx", "sensors.T", "output.dead"];
        for key in keys {
            assert_eq!(
                problems.iter().filter(|it| it.starts_with(key)).count(),
                1,
                "{problems:#?}"
            );
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
        let found: Vec<_> = found.into_iter().collect();
        let expected = [("batch.age_max", "1s"), ("sensors.TEMP.simulated.count", "7")];
        assert_eq!(found, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn what_is_in_effect_reads_back_the_same() {
        let text = "[sensors.T.simulated]\ncount = 3\n[sensors.m.mqtt]\ntopic = \"a/{sensor}\"\n\
                    payload = { text = {} }\n[broker]\ntls = { ca_file = \"x\" }\nurl = \"mqtts://h\"";
        let parse = |text: &str| {
            let tree = Config::builder().add_source(File::from_str(text, FileFormat::Toml));
            read(tree.build().unwrap().try_deserialize().unwrap(), &BTreeMap::new())
        };
        let (settings, problems) = parse(text);
        assert_eq!(problems, []);
        assert_eq!(parse(&settings.to_toml()), (settings, vec![]));
    }
}
