//! Reads sections so that one report names every mistake.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::environment::Overrides;
use super::spelling::Spelling;
use super::words::{self, Read, Refused};
use super::{PROBLEMS_MAX, Problem, is_within};
use crate::source;

/// The sections that are not yet read, and the problems of those that are.
pub(super) struct Sections<'a> {
    pub(super) tree: &'a mut Map<String, Value>,
    pub(super) overrides: &'a Overrides,
    pub(super) problems: &'a mut Vec<Problem>,
    /// What was read and has no effect: key, and remedy.
    pub(super) warnings: Vec<(String, String)>,
    /// How the file spells the keys of the output.
    pub(super) spelling: Spelling,
}

impl Sections<'_> {
    pub(super) fn note(&mut self, key: &str, text: impl AsRef<str>) {
        if self.problems.len() < PROBLEMS_MAX {
            let (key, text) = (self.spelling.of(key), self.spelling.of(text.as_ref()));
            self.problems.push(Problem { key, text, ..Problem::default() });
        }
    }

    /// Reads a section; its defaults if it is absent or wrong.
    pub(super) fn take<T: DeserializeOwned + Default>(&mut self, name: &str) -> T {
        let value = self.tree.remove(name).unwrap_or_else(|| Value::Object(Map::new()));
        self.parse(name, value).unwrap_or_default()
    }

    pub(super) fn sensors(&mut self) -> BTreeMap<String, source::Kind> {
        let entries = match self.tree.remove("sensors") {
            None => return BTreeMap::new(),
            Some(Value::Object(entries)) => entries,
            Some(value) => {
                let found = words::kind(&value);
                self.note("sensors", format!("{found}: write sections [sensors.<name>.<kind>]"));
                return BTreeMap::new();
            }
        };
        let mut sensors = BTreeMap::new();
        for (name, value) in entries {
            let key = format!("sensors.{name}");
            let is_kind = |name: &String| source::Kind::NAMES.contains(&name.as_str());
            let found = match &value {
                Value::Object(kinds) if is_kind(&name) && !kinds.keys().any(is_kind) => {
                    let text = format!("is a kind without a name: write [sensors.<name>.{name}]");
                    self.note(&key, text);
                    continue;
                }
                Value::Object(kinds) if kinds.len() == 1 => None,
                Value::Object(kinds) if kinds.is_empty() => Some("has no kind".into()),
                Value::Object(kinds) => Some(format!("holds {} at once", kinds.len())),
                value => Some(words::kind(value)),
            };
            if let Some(found) = found {
                self.note(&key, format!("{found}: write {}", source::Kind::sections(&key)));
            } else if let Some(kind) = self.parse(&key, value) {
                sensors.insert(name, kind);
            }
        }
        sensors
    }

    /// Reads a value as what it is.
    pub(super) fn parse<T: DeserializeOwned>(&mut self, key: &str, value: Value) -> Option<T> {
        self.parse_by(key, value, &words::read::<T>)
    }

    /// Reads a value. A part that cannot be read is noted and removed, and the rest is read again.
    pub(super) fn parse_by<T>(
        &mut self,
        key: &str,
        mut value: Value,
        read: &Read<'_, T>,
    ) -> Option<T> {
        let full = |path: &str| format!("{key}.{path}").trim_end_matches('.').to_owned();
        let mut removed = Vec::new();
        let mut lists = Vec::new();
        take_lists(&mut value, "", &mut lists);
        loop {
            let (path, said) = match read(&value) {
                Ok(read) => return Some(read),
                Err(refused) => refused,
            };
            let refusal = |value: &Value| read(value).err();
            let refused = Refused { key, value: &value, read: &refusal };
            let (path, mut text) = refused.explain(&path, &said);
            if removed.contains(&path) {
                // It is missing only because it was wrong and removed.
                return None;
            }
            // A table that is read as a whole is refused at its own place.
            let list = lists.iter().position(|(place, _)| is_within(place, &path));
            if let Some(at) = list.filter(|_| said.starts_with(WANTS_LIST)) {
                let (path, list) = lists.swap_remove(at);
                words::put(&mut value, &path, list);
                continue;
            }
            if list.is_some() {
                text = text.replacen("is true", "is a list", 1);
            }
            let place = full(&path);
            let text_there = self.overrides.text(&self.spelling.of(&place));
            if words::wants_text(&said) && replace(&mut value, &path, text_there) {
                continue;
            }
            // It is empty only because its content was wrong and removed.
            let follows = removed.iter().any(|it| is_within(it, &path) || path.is_empty());
            if !(follows && said.ends_with("map with a single key")) {
                self.note(&place, text);
            }
            // Once no more problems are noted, stop.
            let full = self.problems.len() >= PROBLEMS_MAX;
            if full || path.is_empty() || !words::remove(&mut value, &path) {
                return None;
            }
            removed.push(path);
        }
    }
}

/// How a setting that is a list begins its refusal of another value.
const WANTS_LIST: &str = "is not a list: ";

/// Replaces each list by `true`, which no setting accepts, and notes where: serde would read a list as a
/// section, its members as values of the keys in their order. A list is put back where a setting expects one.
fn take_lists(value: &mut Value, path: &str, found: &mut Vec<(String, Value)>) {
    match value {
        Value::Array(_) => {
            found.push((path.to_owned(), std::mem::replace(value, Value::Bool(true))));
        }
        Value::Object(map) => {
            for (key, value) in map {
                take_lists(value, &words::joined(path, key), found);
            }
        }
        _ => {}
    }
}

/// Replaces a number by the text of the environment variable that it came from. False if it was no number, or
/// already is its text.
fn replace(value: &mut Value, path: &str, text: Option<&str>) -> bool {
    match (words::at(value, path), text) {
        (Some(place), Some(text)) if !place.is_string() => {
            words::put(value, path, Value::from(text));
            true
        }
        _ => false,
    }
}
