//! Reading sections so that one report names every mistake.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{PROBLEMS_MAX, Problem};
use crate::source;

/// The sections that are left to read, and what was wrong with those that were.
pub(super) struct Sections<'a> {
    pub(super) tree: &'a mut Map<String, Value>,
    /// What the environment set: dotted keys and their texts.
    pub(super) overridden: &'a BTreeMap<String, String>,
    pub(super) problems: &'a mut Vec<Problem>,
}

impl Sections<'_> {
    pub(super) fn note(&mut self, key: &str, text: String) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem { key: key.to_owned(), text });
        }
    }

    /// A section, or its defaults where it is absent or wrong.
    pub(super) fn take<T: DeserializeOwned + Default>(&mut self, name: &str) -> T {
        let value = self.tree.remove(name).unwrap_or_else(|| Value::Object(Map::new()));
        self.parse(name, value).unwrap_or_default()
    }

    pub(super) fn sensors(&mut self) -> BTreeMap<String, source::Kind> {
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
            let full = full.collect::<Vec<_>>().join(".");
            if replace(&mut value, &path, self.overridden.get(&full)) {
                continue;
            }
            self.note(&full, text);
            if path.is_empty() || !remove(&mut value, &path) {
                return None;
            }
            removed.push(path);
        }
    }
}

/// Puts the text of an environment variable in place of the number that it looked like. False if it
/// was no number, or already is its text.
fn replace(value: &mut Value, path: &str, text: Option<&String>) -> bool {
    let place = path.split('.').try_fold(value, |at, key| at.get_mut(key));
    match (place, text) {
        (Some(place), Some(text)) if !place.is_string() => {
            *place = Value::from(text.as_str());
            true
        }
        _ => false,
    }
}

/// Turns serde's words into ours. A key that is unknown or missing is named itself, not only its
/// table.
fn explain(path: &str, text: &str) -> (String, String) {
    if let Some(name) = text.strip_prefix("missing field `").and_then(|it| it.strip_suffix('`')) {
        let key = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        return (key, "is missing".to_owned());
    }
    // The value itself is not repeated: it may be a password in the wrong place.
    if let Some((kind, wanted)) =
        text.strip_prefix("invalid type: ").and_then(|it| it.rsplit_once(", expected "))
    {
        let kind = kind.split([' ', '`']).next().unwrap_or(kind);
        return (path.to_owned(), format!("is of type {kind}, expected {wanted}"));
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
pub(super) fn nearest(name: &str, known: &[&str]) -> String {
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
