//! The whole configuration: file, environment, checks; all mistakes in one report.
//!
//! The file's text goes through the `config` crate; the environment's overrides are set in what
//! comes out. Each section is then read by the part that owns it. A value that cannot be read is
//! noted with its key and left out, and the section is read again without it, until it reads: so
//! one report names every mistake, and the variable where it comes from one. Relations between
//! sections are checked at the end, by the plan; then, where they will be used, the files that it
//! names.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use config::{Config, File, FileFormat};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::pipeline::plan::Plan;

use self::environment::Overrides;
use self::sections::Sections;
use self::words::nearest;

pub use self::environment::PREFIX;

mod environment;
mod files;
mod sections;
mod words;

/// Where the file is looked for, in this order, when none is given.
pub const FILES: [&str; 2] = ["config/sluicegate.toml", "/etc/sluicegate/sluicegate.toml"];

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
    /// The environment variable that set the key.
    pub variable: Option<String>,
}

/// Whether the files that the settings name are looked at: by who is going to use all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Files {
    /// One that cannot be used is a mistake.
    Examined,
    /// Whoever uses one will see.
    Unseen,
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
    #[error("{}: {}\n{}", path.display(), count(problems), lines(problems))]
    Problems {
        /// Its path.
        path: PathBuf,
        /// All of them.
        problems: Vec<Problem>,
    },
}

fn count(problems: &[Problem]) -> String {
    let from_environment = problems.iter().all(|it| it.variable.is_some());
    let place = if from_environment { "what the environment sets" } else { "the configuration" };
    match problems.len() {
        1 => format!("1 mistake in {place}"),
        mistakes => format!("{mistakes} mistakes in {place}"),
    }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.variable {
            Some(variable) => write!(f, "  {variable} ({}): {}", self.key, self.text),
            None => write!(f, "  {}: {}", self.key, self.text),
        }
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
    files: Files,
) -> Result<Settings, Error> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::Unreadable { path: path.to_owned(), error })?;
    let format = match path.extension().and_then(|it| it.to_str()) {
        Some("json") => FileFormat::Json,
        Some("yaml" | "yml") => FileFormat::Yaml,
        _ => FileFormat::Toml,
    };
    let file = Config::builder().add_source(File::from_str(&text, format)).build();
    let file = file.and_then(Config::try_deserialize::<Value>);
    let mut tree = file.map_err(|error| Error::Syntax {
        path: path.to_owned(),
        text: syntax(&error.to_string()),
    })?;
    let overrides = Overrides::find(environment, &tree);
    overrides.apply(&mut tree);
    let (settings, mut problems) = read(tree, &overrides);
    if files == Files::Examined {
        problems.extend(files::problems(&settings.plan).map(|it| overrides.blame(it)));
    }
    if problems.is_empty() {
        return Ok(settings);
    }
    Err(Error::Problems { path: path.to_owned(), problems })
}

/// A parser's message without the line of the file that it quotes: there may be a password on it.
fn syntax(text: &str) -> String {
    if text.starts_with("invalid type: ") {
        return "holds no sections such as [gateway] and [sensors.<name>.<kind>]".into();
    }
    let quoted = |line: &&str| {
        let start = line.trim_start().trim_start_matches(|c: char| c.is_ascii_digit());
        !start.trim_start().starts_with('|')
    };
    let text = text.lines().filter(quoted).map(str::trim).collect::<Vec<_>>().join(" ");
    text.trim().replace("EOF while", "the file ends while")
}

/// Reads all sections; notes every mistake.
fn read(tree: Value, overrides: &Overrides) -> (Settings, Vec<Problem>) {
    let mut problems = Vec::new();
    let Value::Object(mut tree) = tree else { return (Settings::default(), problems) };
    let mut sections = Sections { tree: &mut tree, overrides, problems: &mut problems };
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
    let relations: Vec<_> =
        relations.map(|(key, text)| Problem { key, text, variable: None }).collect();
    problems.extend(relations);
    (settings, problems.into_iter().map(|it| overrides.blame(it)).collect())
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

    /// The mistakes of a text, as TOML, one a line.
    pub(super) fn problems(text: &str) -> Vec<String> {
        let tree = Config::builder().add_source(File::from_str(text, FileFormat::Toml));
        let tree = tree.build().unwrap().try_deserialize().unwrap();
        read(tree, &Overrides::default())
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
}
