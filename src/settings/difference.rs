//! What a reload changes: the settings that run, compared with those that the file has now.
//!
//! - [`Difference::between`] makes a *target*: the running settings with every key of the new ones that can be applied
//!   while the gateway runs. This is the only place that says which keys those are.
//! - What differs between the running settings and the target is applied. What still differs between the target and
//!   the new settings needs a restart. So each key that differs is in one of the two lists, whatever keys there will be.
//! - Settings are compared as they are written, key by key, and then as a whole: what is not written (the query of an
//!   address) is named by its section.
//!
//! Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use super::Settings;
use crate::plan::{Output, Plan};
use crate::source::Kind;
use crate::{sink, text};

/// Bytes of a value that are shown.
const VALUE_BYTES_MAX: usize = 80;

/// What a reload does, and what it cannot do.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The settings that run once all is applied.
    pub target: Settings,
    /// What is applied while the gateway runs.
    pub applied: Vec<Step>,
    /// Keys that count from the next start on.
    pub restart: Vec<Changed>,
}

/// What is applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// An entry more.
    Added { entry: String, kind: &'static str },
    /// An entry with other settings: its keys.
    Changed { entry: String, keys: Vec<Changed> },
    /// An entry less.
    Removed { entry: String, kind: &'static str },
    /// A key that belongs to no entry.
    Set(Changed),
}

/// A key with two values, as they are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    pub key: String,
    /// `None`: they are not shown.
    values: Option<(String, String)>,
}

impl Difference {
    /// Between the settings that run and those that are wanted.
    pub fn between(running: &Settings, wanted: &Settings) -> Self {
        let target = target(running, wanted);
        let mut applied = steps(running, &target);
        // In the order in which they are made.
        applied.sort_by_key(Step::rank);
        let restart = changed(&target, wanted);
        Self { target, applied, restart }
    }

    /// In words, a line each.
    pub fn lines(&self) -> Vec<String> {
        if self.applied.is_empty() && self.restart.is_empty() {
            return vec!["nothing has changed".into()];
        }
        let restart = |it: &Changed| format!("{} needs a restart{}", it.key, it.shown());
        self.applied.iter().map(Step::to_string).chain(self.restart.iter().map(restart)).collect()
    }
}

/// The running settings, with all of the wanted ones that can be applied while the gateway runs.
fn target(running: &Settings, wanted: &Settings) -> Settings {
    let mut target = running.clone();
    target.warnings.clone_from(&wanted.warnings);
    target.log.level.clone_from(&wanted.log.level);
    target.plan.gateway.memory_max = wanted.plan.gateway.memory_max;
    target.plan.gateway.shutdown_grace = wanted.plan.gateway.shutdown_grace;
    target.plan.batch = wanted.plan.batch;
    if !running.plan.sensors.values().chain(wanted.plan.sensors.values()).any(is_input) {
        // Every entry begins anew with it.
        target.plan.queue = wanted.plan.queue;
    }
    target.plan.output = output(&running.plan.output, &wanted.plan.output);
    let (old, new) = (&running.plan.sensors, &wanted.plan.sensors);
    // Standard input cannot be read again from where another task has left it.
    let is_kept = |name: &String| [old, new].iter().any(|it| it.get(name).is_some_and(is_input));
    let (kept, others) = (
        old.iter().filter(|(name, _)| is_kept(name)),
        new.iter().filter(|(name, _)| !is_kept(name)),
    );
    target.plan.sensors =
        kept.chain(others).map(|(name, kind)| (name.clone(), kind.clone())).collect();
    target
}

/// The running output, with all of the wanted one that can be applied while the gateway runs: not another kind of sink, not
/// another broker, which other clients use too, and not standard output, which decides where the log goes.
fn output(running: &Output, wanted: &Output) -> Output {
    let mut target = wanted.clone();
    match (&running.sink, &mut target.sink) {
        (sink::Kind::Mqtt(old), sink::Kind::Mqtt(new)) => new.broker.clone_from(&old.broker),
        (old @ sink::Kind::File(_), new @ sink::Kind::File(_)) => {
            let is_standard = |it: &sink::Kind| it.declared().is_standard_output();
            if is_standard(old) || is_standard(new) {
                new.clone_from(old);
            }
        }
        (old, new) => new.clone_from(old),
    }
    target
}

const fn is_input(kind: &Kind) -> bool {
    matches!(kind, Kind::Stdin(_))
}

/// What is done to come from one to the other.
fn steps(running: &Settings, target: &Settings) -> Vec<Step> {
    let (old, new) = (&running.plan.sensors, &target.plan.sensors);
    let mut steps = Vec::new();
    let mut entries: BTreeMap<String, Vec<Changed>> = BTreeMap::new();
    for it in changed(running, target) {
        let entry = it.key.strip_prefix("sensors.").and_then(|it| it.split('.').next());
        match entry.map(str::to_owned) {
            Some(entry) => entries.entry(entry).or_default().push(it),
            None => steps.push(Step::Set(it)),
        }
    }
    steps.extend(entries.into_iter().map(|(entry, keys)| {
        match (old.get(&entry), new.get(&entry)) {
            (None, Some(kind)) => Step::Added { entry, kind: kind.name() },
            (Some(kind), None) => Step::Removed { entry, kind: kind.name() },
            _ => Step::Changed { entry, keys },
        }
    }));
    steps
}

/// All keys that differ.
fn changed(before: &Settings, after: &Settings) -> Vec<Changed> {
    let [old, new] = [before, after].map(leaves);
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut changed: Vec<Changed> = keys
        .into_iter()
        .filter(|key| old.get(*key) != new.get(*key))
        .map(|key| Changed::new(key, old.get(key), new.get(key)))
        .collect();
    for (section, is_same) in sections(before, after) {
        if !is_same && !changed.iter().any(|it| super::is_within(&it.key, &section)) {
            changed.push(Changed { key: section, values: None });
        }
    }
    changed
}

/// The sections and the entries, and whether they are the same.
fn sections(before: &Settings, after: &Settings) -> Vec<(String, bool)> {
    let Settings { plan, log, warnings: _ } = before;
    let Plan { gateway, broker, sensors, queue, batch, output, spool, status, http } = plan;
    let other = &after.plan;
    let mut sections = vec![
        ("gateway".to_owned(), *gateway == other.gateway),
        ("broker".into(), *broker == other.broker),
        ("queue".into(), *queue == other.queue),
        ("batch".into(), *batch == other.batch),
        ("output".into(), *output == other.output),
        ("spool".into(), *spool == other.spool),
        ("status".into(), *status == other.status),
        ("http".into(), *http == other.http),
        ("log".into(), *log == after.log),
    ];
    let names: BTreeSet<&String> = sensors.keys().chain(other.sensors.keys()).collect();
    sections.extend(
        names
            .into_iter()
            .map(|name| (format!("sensors.{name}"), sensors.get(name) == other.sensors.get(name))),
    );
    sections
}

/// The value of each key, dotted.
fn leaves(settings: &Settings) -> BTreeMap<String, Value> {
    let mut leaves = BTreeMap::new();
    let written = serde_json::to_value(settings.written());
    collect("", written.expect("settings that were read can be written"), &mut leaves);
    leaves
}

fn collect(key: &str, value: Value, leaves: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(table) if !table.is_empty() => {
            for (name, value) in table {
                collect(&super::words::joined(key, &name), value, leaves);
            }
        }
        value => {
            leaves.insert(key.to_owned(), value);
        }
    }
}

impl Changed {
    fn new(key: &str, before: Option<&Value>, after: Option<&Value>) -> Self {
        // A client id may be secret, and so may what a command is given.
        let is_secret = key.ends_with(".client_id") || key.contains(".exec.");
        let shown = |value: Option<&Value>| {
            let text = value.map_or_else(|| "not set".to_owned(), ToString::to_string);
            let end = text.floor_char_boundary(VALUE_BYTES_MAX);
            match text.split_at(end) {
                (head, "") => text::escaped(head),
                (head, _) => format!("{}…", text::escaped(head)),
            }
        };
        let values = (!is_secret).then(|| (shown(before), shown(after)));
        Self { key: key.to_owned(), values }
    }

    /// Its values, behind a colon.
    fn shown(&self) -> String {
        let pair = self.values.as_ref().map(|(before, after)| format!(": {before} → {after}"));
        pair.unwrap_or_default()
    }
}

impl Step {
    /// Its place in the order: what is added, changed, removed.
    const fn rank(&self) -> u8 {
        match self {
            Self::Set(_) => 0,
            Self::Added { .. } => 1,
            Self::Changed { .. } => 2,
            Self::Removed { .. } => 3,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added { entry, kind } => write!(f, "sensors.{entry} is added ({kind})"),
            Self::Changed { entry, keys } => {
                let prefix = format!("sensors.{entry}.");
                let key = |it: &Changed| {
                    format!("{}{}", it.key.strip_prefix(&prefix).unwrap_or(&it.key), it.shown())
                };
                let keys: Vec<String> = keys.iter().map(key).collect();
                write!(f, "sensors.{entry} is changed: {}", keys.join("; "))
            }
            Self::Removed { entry, kind: "mqtt" } => {
                write!(f, "sensors.{entry} is removed: its subscription ends at the broker")
            }
            Self::Removed { entry, kind } => write!(f, "sensors.{entry} is removed ({kind})"),
            Self::Set(changed) => write!(f, "{} is changed{}", changed.key, changed.shown()),
        }
    }
}

#[cfg(test)]
mod tests;
