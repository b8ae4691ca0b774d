//! Settings from environment variables, and which variable a mistake comes from.
//!
//! `SLUICEGATE__BATCH__AGE_MAX=1s` sets `batch.age_max`. Names are compared with those of the file
//! without regard to case, so that `SENSORS__TEMP` finds `[sensors.TEMP]`.

use std::collections::BTreeMap;
use std::ffi::OsString;

use serde_json::Value;

use super::{Problem, SECTIONS, is_within, spelling, words};

/// The prefix of an overriding environment variable; `__` stands between keys.
pub const PREFIX: &str = "SLUICEGATE__";

/// Keys of a variable's name that are used. No setting lies deeper, so what is cut off belongs to an unknown
/// key. Values as deep as a name can be long would overflow the stack.
const KEYS_MAX: usize = 16;

/// A variable's name and text.
#[derive(Debug, PartialEq, Eq)]
struct Variable {
    name: String,
    text: String,
}

/// All overrides, by dotted key.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Overrides(BTreeMap<String, Variable>);

impl Overrides {
    /// Finds the overrides among `environment`, for a file with the content `file`.
    pub(super) fn find(
        environment: impl Iterator<Item = (OsString, OsString)>,
        file: &Value,
    ) -> Self {
        let mut overrides = BTreeMap::new();
        for (name, text) in environment {
            let (Some(name), Some(text)) = (name.to_str(), text.to_str()) else { continue };
            let Some(keys) = name.strip_prefix(PREFIX) else { continue };
            let mut at = Some(file);
            let mut path = Vec::new();
            for key in keys.split("__").filter(|it| !it.is_empty()).take(KEYS_MAX) {
                let known = at.and_then(Value::as_object);
                let same = known.and_then(|it| it.keys().find(|it| it.eq_ignore_ascii_case(key)));
                let key = same.cloned().unwrap_or_else(|| key.to_ascii_lowercase());
                at = known.and_then(|it| it.get(&key));
                path.push(key);
            }
            let variable = Variable { name: name.to_owned(), text: text.to_owned() };
            if !path.is_empty() {
                overrides.insert(path.join("."), variable);
            }
        }
        for key in overrides.keys().cloned().collect::<Vec<_>>() {
            let other = spelling::as_spelt_in(file, &key).filter(|it| !overrides.contains_key(it));
            if let Some(other) = other
                && let Some(variable) = overrides.remove(&key)
            {
                overrides.insert(other, variable);
            }
        }
        Self(overrides)
    }

    /// Sets them in the content of the file.
    pub(super) fn apply(&self, tree: &mut Value) {
        for (key, variable) in &self.0 {
            words::put(tree, key, typed(&variable.text));
        }
    }

    /// The text that a variable sets for `key`.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(|it| it.text.as_str())
    }

    /// Adds to a problem the variables that it comes from: the one that sets its key, and those that set keys
    /// in its text.
    pub(super) fn blame(&self, mut problem: Problem) -> Problem {
        for (key, variable) in &self.0 {
            if *key == problem.key {
                problem.variable = Some(variable.name.clone());
            } else if is_within(key, &problem.key) || names(&problem.text, key) {
                let note = format!(" ({key} is set by the environment: {})", variable.name);
                problem.text.push_str(&note);
            }
        }
        problem
    }
}

/// Variables with one underscore in place of two, which therefore set nothing. Only those whose rest is a key:
/// Kubernetes sets `SLUICEGATE_PORT` and the like for a service of that name.
pub(super) fn misspelt(environment: &[(OsString, OsString)]) -> Vec<(String, String)> {
    let names = environment.iter().filter_map(|(name, _)| name.to_str());
    let found = names.filter_map(|name| {
        let rest = name.strip_prefix(PREFIX.trim_end_matches("__"))?.strip_prefix('_')?;
        let rest = rest.to_ascii_lowercase();
        let key = SECTIONS.iter().find_map(|section| {
            let below = rest.strip_prefix(section)?.strip_prefix('_')?;
            let below = below.strip_prefix('_').unwrap_or(below).replace("__", ".");
            super::is_key(section, &below).then(|| format!("{section}.{below}"))
        })?;
        let right = format!("{PREFIX}{}", key.replace('.', "__").to_ascii_uppercase());
        Some((name.to_owned(), format!("sets nothing: write {right} to set {key}")))
    });
    found.collect()
}

/// Whether a text mentions a key.
fn names(text: &str, key: &str) -> bool {
    let inside = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    key.contains('.') && text.split(|c| !inside(c)).any(|word| word.trim_end_matches('.') == key)
}

/// A variable's value: a boolean or a number if it looks like one, else text.
fn typed(text: &str) -> Value {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn found(variables: &[(&str, &str)], file: &Value) -> Overrides {
        Overrides::find(variables.iter().map(|(k, v)| (k.into(), v.into())), file)
    }

    #[test]
    fn the_environment_overrides_and_finds_names_whatever_their_case() {
        let mut file = serde_json::json!({"sensors": {"TEMP": {"simulated": {"count": 1}}}});
        let variables = [
            ("SLUICEGATE__SENSORS__TEMP__SIMULATED__COUNT", "7"),
            ("SLUICEGATE__BATCH__AGE_MAX", "1s"),
            ("OTHER", "x"),
            ("SLUICEGATE__", "x"),
        ];
        found(&variables, &file).apply(&mut file);
        let expected = serde_json::json!({
            "sensors": {"TEMP": {"simulated": {"count": 7}}}, "batch": {"age_max": "1s"}
        });
        assert_eq!(file, expected);
    }

    #[test]
    fn one_underscore_too_few_is_told_where_the_rest_is_a_key() {
        let told = |name: &str| misspelt(&[(name.into(), "x".into())]);
        for (name, right) in [
            ("SLUICEGATE_BROKER__URL", "SLUICEGATE__BROKER__URL to set broker.url"),
            ("SLUICEGATE_BROKER_URL", "SLUICEGATE__BROKER__URL"),
            ("SLUICEGATE_HTTP_LISTEN", "SLUICEGATE__HTTP__LISTEN"),
            ("SLUICEGATE_SPOOL__PATH", "SLUICEGATE__SPOOL__PATH"),
            ("SLUICEGATE_BROKER__TLS__CA_FILE", "SLUICEGATE__BROKER__TLS__CA_FILE"),
            ("SLUICEGATE_LOG_LEVEL", "SLUICEGATE__LOG__LEVEL"),
        ] {
            let told = told(name);
            assert!(told.len() == 1 && told[0].1.contains(right), "{name}: {told:?}");
        }
        for name in [
            "SLUICEGATE_PORT",
            "SLUICEGATE_SERVICE_HOST",
            "SLUICEGATE_BROKER_PORT",
            "SLUICEGATE_GATEWAY_PORT_8080_TCP",
            "SLUICEGATE_HTTP_SERVICE_HOST",
            "SLUICEGATE_VERSION",
            "SLUICEGATE__BROKER__URL",
        ] {
            assert_eq!(told(name), [], "{name}");
        }
    }

    #[test]
    fn a_name_as_long_as_the_system_allows_is_a_mistake_like_another() {
        let (mut file, name) = (Value::Null, format!("{PREFIX}LOG{}", "__A".repeat(43_000)));
        let overrides = found(&[(&name, "1")], &file);
        overrides.apply(&mut file);
        let (_, problems) = super::super::read(file, &overrides);
        let key = format!("log{}", ".a".repeat(KEYS_MAX - 1));
        assert!(problems.iter().any(|it| it.text.contains(&key)), "{problems:?}");
    }

    #[test]
    fn a_mistake_names_the_variables_that_it_comes_from() {
        let variables = [("SLUICEGATE__QUEUE__RECORDS_MAX", "10"), ("SLUICEGATE__QUEUE", "x")];
        let overrides = found(&variables, &Value::Null);
        let blamed = |key: &str, text: &str| {
            let (key, text) = (key.to_owned(), text.to_owned());
            overrides.blame(Problem { key, text, ..Problem::default() }).to_string()
        };
        let own = blamed("queue.records_max", "is wrong");
        assert_eq!(own, "  SLUICEGATE__QUEUE__RECORDS_MAX (queue.records_max): is wrong");
        let named = blamed("batch.records_max", "is above queue.records_max = 10: raise it");
        assert!(named.ends_with("environment: SLUICEGATE__QUEUE__RECORDS_MAX)"), "{named}");
        let other = "is not queue.records_maxx";
        assert_eq!(blamed("batch.records_max", other), format!("  batch.records_max: {other}"));
    }
}
