//! The whole configuration: file, environment, checks; all mistakes in one report.
//!
//! The `config` crate parses the file. The overrides of the environment are set in its result. Each section is
//! then read by the module that owns it. A value that cannot be read is noted with its key and removed, and the
//! section is read again, until it can be read. So one report names every mistake (the first hundred), and the
//! environment variable that a mistake comes from. At the end the plan checks how the sections fit together;
//! then the files that the configuration names are checked, if they will be used.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use config::{Config, File, FileFormat};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::plan::http::Http;
use crate::plan::{Broker, Gateway, Plan};
use crate::{batch, notices, queue, source, spool};

use self::environment::Overrides;
use self::sections::Sections;
use self::spelling::Spelling;
use self::words::nearest;

pub use self::difference::Difference;
pub use self::environment::PREFIX;
pub use self::files::FILE_BYTES_MAX;
pub use self::report::{Error, Problem};
pub use self::schema::schema;

pub mod difference;
mod environment;
mod files;
mod nested;
mod output;
mod report;
mod schema;
mod sections;
mod spelling;
mod words;

/// Where the file is looked for, in this order, when none is given.
pub const FILES: [&str; 2] = ["config/sluicegate.toml", "/etc/sluicegate/sluicegate.toml"];

/// Mistakes that are reported at once. The others are reported after these are mended.
const PROBLEMS_MAX: usize = 100;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, `off`, or a filter such as `info,sluicegate::mqtt=debug`.
    pub level: String,
    /// The format of a line.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Text }
    }
}

/// The format of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// All settings.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settings {
    /// The settings of the engine.
    pub plan: Plan,
    pub log: Log,
    /// What is valid and will surprise: key or variable, and remedy.
    pub warnings: Vec<(String, String)>,
}

/// The configuration of Sluicegate. Durations (`100ms`, `10s`, `1h`) and sizes (`64MiB`) are text. Every key can
/// be overridden by an environment variable: `SLUICEGATE__BATCH__AGE_MAX=1s` sets `age_max` in `[batch]`.
// The sections are written in this order.
#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Sluicegate")]
struct Written<'a> {
    /// The gateway as a whole: its id, its bounds, how it starts and stops.
    gateway: &'a Gateway,
    /// The broker where readings come from, and where batches go unless `[output.mqtt.broker]` says otherwise.
    broker: &'a Broker,
    /// The sensors: `[sensors.<name>.<kind>]`, any number. A name has 1 to 64 of `A-Z a-z 0-9 - _`.
    #[schemars(extend("propertyNames" = {"pattern": "^[A-Za-z0-9_-]{1,64}$"}))]
    sensors: &'a BTreeMap<String, source::Kind>,
    /// Bounds of what is held between arrival and settlement.
    queue: queue::Settings,
    /// When a batch is sealed: at the first of these limits, when no more readings can come before it is
    /// settled, or when the gateway drains.
    batch: batch::Settings,
    /// Where batches and dead letters go, and how: the keys of every output, and the section of one of them, else
    /// of `[output.mqtt]`. The keys of that section may stand here too.
    output: output::Written<'a>,
    /// A file on disk for batches that the output does not take.
    spool: &'a spool::Settings,
    /// Retained messages that say how each sensor and the gateway do.
    status: &'a notices::Settings,
    /// Health, metrics and status over HTTP.
    http: &'a Http,
    /// The log, on standard error.
    log: &'a Log,
}

impl Settings {
    /// The effective configuration as TOML, without any secret: a password is only named by its file.
    pub fn to_toml(&self) -> String {
        let written = toml::to_string(&self.written());
        written.expect("settings that were read from text can be written as text")
    }

    fn written(&self) -> Written<'_> {
        let Plan { gateway, broker, sensors, queue, batch, output, spool, status, http } =
            &self.plan;
        let (queue, batch, log) = (*queue, *batch, &self.log);
        let output = output::Written { own: output, sink: &output.sink };
        Written { gateway, broker, sensors, queue, batch, output, spool, status, http, log }
    }
}

/// Whether the files that the settings name are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Files {
    /// Checked: a file that cannot be used is a mistake.
    Examined,
    /// Not checked: the command that uses a file will report it.
    Unseen,
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
    let mut tree = parsed(path)?;
    let environment: Vec<_> = environment.collect();
    let misspelt = environment::misspelt(&environment);
    let overrides = Overrides::find(environment.into_iter(), &tree);
    overrides.apply(&mut tree);
    let moved = nested::raise(&mut tree);
    let spelling = Spelling::in_file(&tree);
    let (mut settings, mut problems) = read(tree, &overrides);
    settings.warnings.splice(0..0, misspelt.into_iter().chain(moved));
    let no_ids = files::take_client_ids(&mut settings.plan);
    if files == Files::Examined {
        let unusable = no_ids.into_iter().chain(files::problems(&settings.plan));
        problems.extend(unusable.map(|it| overrides.blame(spelling.problem(it))));
    }
    if problems.is_empty() {
        return Ok(settings);
    }
    Err(Error::Problems { path: path.to_owned(), problems })
}

/// `gateway.control`, whatever else is wrong with the file or what `environment` overrides.
pub fn control(
    path: &Path,
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Option<PathBuf>, Error> {
    let file = parsed(path);
    let mut tree = file.as_ref().map_or(Value::Null, Value::clone);
    Overrides::find(environment, &tree).apply(&mut tree);
    let control = words::at(&tree, "gateway.control").and_then(Value::as_str).map(PathBuf::from);
    // Without the key, a file that cannot be read says more.
    if control.is_none() { file.map(|_| None) } else { Ok(control) }
}

/// The content of a file.
fn parsed(path: &Path) -> Result<Value, Error> {
    let format = match path.extension().and_then(|it| it.to_str()) {
        Some("json") => FileFormat::Json,
        Some("yaml" | "yml") => return Err(Error::Yaml { path: path.to_owned() }),
        _ => FileFormat::Toml,
    };
    let text = files::text(path)?;
    let file = Config::builder().add_source(File::from_str(&text, format)).build();
    let file = file.and_then(Config::try_deserialize::<Value>);
    file.map_err(|error| Error::Syntax { path: path.to_owned(), text: syntax(&error.to_string()) })
}

/// A parser's message without the line of the file that it quotes: that may hold a password.
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

/// Reads all sections; returns every mistake.
fn read(tree: Value, overrides: &Overrides) -> (Settings, Vec<Problem>) {
    let mut problems = Vec::new();
    let spelling = Spelling::in_file(&tree);
    let Value::Object(mut tree) = tree else { unreachable!("`config` reads a file as a table") };
    let mut sections = Sections {
        tree: &mut tree,
        overrides,
        problems: &mut problems,
        warnings: Vec::new(),
        spelling,
    };
    let mut settings = Settings {
        log: sections.take("log"),
        plan: Plan {
            gateway: sections.take("gateway"),
            broker: sections.take("broker"),
            sensors: BTreeMap::new(),
            queue: sections.take("queue"),
            batch: sections.take("batch"),
            output: sections.output(),
            spool: sections.take("spool"),
            status: sections.take("status"),
            http: sections.take("http"),
        },
        warnings: Vec::new(),
    };
    settings.plan.sensors = sections.sensors();
    let unknown: Vec<String> = sections.tree.keys().cloned().collect();
    for key in unknown {
        sections.note(&key, format!("is not known; {}", nearest(&key, &SECTIONS)));
    }
    if let Err(error) = crate::telemetry::filter(&settings.log.level) {
        sections.note("log.level", error);
    }
    let Sections { warnings, spelling, .. } = sections;
    let surprising = settings.plan.warnings().into_iter();
    let surprising = surprising.map(|(key, text)| (spelling.of(&key), spelling.of(&text)));
    settings.warnings = warnings.into_iter().chain(surprising).collect();
    // A section that could not be read has its defaults here: a check that mentions one of its keys says
    // nothing.
    let read_well = |key: &str| !problems.iter().any(|it| is_within(&it.key, key));
    let problem = |(key, text)| spelling.problem(Problem { key, text, ..Problem::default() });
    let relations = settings.plan.problems().into_iter().map(problem);
    let relations = relations.filter(|it| read_well(&it.key));
    let memory = above_memory_max(&settings.plan).filter(|it| read_well(&it.key));
    let relations: Vec<_> = relations.chain(memory).collect();
    problems.extend(relations);
    (settings, problems.into_iter().map(|it| overrides.blame(it)).collect())
}

/// The problem if the bound in bytes is above what the user allows, with its parts line by line.
fn above_memory_max(plan: &Plan) -> Option<Problem> {
    plan.above_memory_max().map(|(key, text)| Problem {
        key: key.into(),
        text: format!("{text}: raise it, or lower one of these"),
        below: plan.budget().to_string().lines().map(str::to_owned).collect(),
        ..Problem::default()
    })
}

/// Whether a section has this key. An unknown key is refused as unknown, whatever its value.
fn is_key(section: &str, below: &str) -> bool {
    let mut tree = Value::Null;
    words::put(&mut tree, &words::joined(section, below), Value::Bool(true));
    let key = format!("{section}.");
    let unknown = |it: &Problem| it.key.starts_with(&key) && it.text.starts_with("is not known");
    let relevant = read(tree, &Overrides::default()).1;
    !relevant.iter().any(unknown)
}

/// Whether `key` is `of` or lies in it.
fn is_within(key: &str, of: &str) -> bool {
    key.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The sections of a file.
const SECTIONS: [&str; 10] =
    ["gateway", "broker", "sensors", "queue", "batch", "output", "spool", "status", "http", "log"];

#[cfg(test)]
mod tests;
