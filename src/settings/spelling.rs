//! How a file spells the keys of `[output.mqtt]`: there, or in `[output]` itself.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{Problem, words};
use crate::sink;

/// The section whose keys have a short form.
pub(super) const LONG: &str = "output.mqtt.";

/// The section where the short forms stand.
pub(super) const SHORT: &str = "output.";

/// How a file spells the keys of `[output.mqtt]`.
#[derive(Debug, Clone, Default)]
pub(super) struct Spelling {
    /// It has that section.
    is_long: bool,
    /// The keys that stand in `[output]`.
    short: BTreeSet<String>,
}

impl Spelling {
    /// The spelling of a file.
    pub(super) fn in_file(file: &Value) -> Self {
        let section = |path: &str| words::at(file, path).and_then(Value::as_object);
        let long = section("output.mqtt");
        let is_long = words::at(file, "output.mqtt").is_some_and(|it| !it.is_null());
        let keys = words::keys::<sink::mqtt::Settings>().into_iter();
        let stands = |key: &String, of: Option<&Map<String, Value>>| {
            of.is_some_and(|it| it.contains_key(key))
        };
        let short = keys.filter(|key| stands(key, section("output")) && !stands(key, long));
        Self { is_long, short: short.collect() }
    }

    /// A problem whose key and text are spelt as in the file.
    pub(super) fn problem(&self, problem: Problem) -> Problem {
        Problem { key: self.of(&problem.key), text: self.of(&problem.text), ..problem }
    }

    /// A text in which each key of `[output.mqtt]` is spelt as in the file.
    pub(super) fn of(&self, text: &str) -> String {
        let mut parts = text.split(LONG);
        let mut spelt = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let is_long = self.is_long && !self.short.contains(first(part));
            spelt.extend([if is_long { LONG } else { SHORT }, part]);
        }
        spelt
    }
}

/// The key that a dotted path begins with, whatever follows in a text.
fn first(path: &str) -> &str {
    let end = path.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    path.get(..end.unwrap_or(path.len())).unwrap_or(path)
}

/// The other spelling of a key, if the file has its key in that one only.
pub(super) fn as_spelt_in(file: &Value, key: &str) -> Option<String> {
    let (rest, this, other) = match key.strip_prefix(LONG) {
        Some(rest) => (rest, LONG, SHORT),
        None => (key.strip_prefix(SHORT)?, SHORT, LONG),
    };
    let stands = |section: &str| words::at(file, &format!("{section}{}", first(rest))).is_some();
    let is_key = || words::keys::<sink::mqtt::Settings>().iter().any(|it| it == first(rest));
    (stands(other) && !stands(this) && is_key()).then(|| format!("{other}{rest}"))
}
