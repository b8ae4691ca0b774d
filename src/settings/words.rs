//! Puts in words what is wrong with a value, and what would be right, for the author of the file.
//!
//! serde's errors name the types of this program. The remedy comes from the type itself: it is given a value of
//! the right shape that it refuses for certain, and its own refusal names the remedy. So there is no table of
//! keys beside the types. A value is not repeated unless it is a number or an unknown word: it may be a
//! password in the wrong place.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// Reads a value. If it is refused: the dotted path of the place, and serde's text.
pub(super) fn read<T: DeserializeOwned>(value: &Value) -> Result<T, (String, String)> {
    serde_path_to_error::deserialize::<_, T>(value).map_err(|error| {
        let path = error.path().to_string();
        (if path == "." { String::new() } else { path }, error.inner().to_string())
    })
}

/// Reads a value; if it is refused, the place and the text.
pub(super) type Read<'a, T> = dyn Fn(&Value) -> Result<T, (String, String)> + 'a;

/// serde's text for an unknown key, with more keys that are known.
pub(super) fn knowing(mut said: String, more: &[&str]) -> String {
    if said.starts_with("unknown field") {
        said.extend(more.iter().flat_map(|key| [", `", *key, "`"]));
    }
    said
}

/// The keys of a section.
pub(super) fn keys<T: DeserializeOwned>() -> Vec<String> {
    let refused = read::<T>(&json!({"?": true})).err();
    let said = refused.map(|it| it.1).unwrap_or_default();
    names(&said).into_iter().map(str::to_owned).collect()
}

/// What serde expects where one of several words, or tables, is to be.
const CHOICES: [&str; 2] = ["string or map", "map with a single key"];

pub(super) struct Refused<'a> {
    pub(super) key: &'a str,
    pub(super) value: &'a Value,
    /// Reads a value as this section; if that is refused, the place and the text.
    pub(super) read: &'a dyn Fn(&Value) -> Option<(String, String)>,
}

impl Refused<'_> {
    /// The place to name, which may be above or below serde's, and the text.
    pub(super) fn explain(&self, path: &str, said: &str) -> (String, String) {
        let name = said.strip_prefix("missing field `").and_then(|it| it.strip_suffix('`'));
        if let Some(name) = name {
            let path = joined(path, name);
            let remedy = self.missing(&path);
            let text = remedy.map_or_else(|| "is missing".into(), |it| format!("is missing: {it}"));
            return (path, text);
        }
        if let Some(expected) = expectation(said) {
            return self.mismatch(path, expected);
        }
        unknown(path, said)
    }

    /// The remedy of a key that is not there.
    fn missing(&self, path: &str) -> Option<String> {
        let (place, said) = self.refusal(path, Value::Null)?;
        match expectation(&said).filter(|_| place.starts_with(path)) {
            Some(expected) if CHOICES.contains(&expected) => Some(self.choices(path).1),
            Some(expected) => Some(self.remedy(path, expected)),
            // A table that is read as a whole is refused as a whole.
            None => remedy_in(&said).filter(|_| path.starts_with(&place)),
        }
    }

    /// The problem of a value of another kind than its type.
    fn mismatch(&self, path: &str, expected: &str) -> (String, String) {
        let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
        let is_word = at(self.value, parent).is_some_and(Value::is_string);
        match expected {
            "struct variant" | "newtype variant" if is_word => {
                (parent.into(), format!("is only a word: write {{ {name} = {{}} }}"))
            }
            "unit" => (parent.into(), self.choice(parent)),
            it if CHOICES.contains(&it) => (path.into(), self.choice(path)),
            _ => {
                let remedy = self.remedy(path, expected);
                (path.into(), format!("{}: {remedy}", self.finding(path, expected)))
            }
        }
    }

    /// The problem of a value where one of several words, or tables, is expected.
    fn choice(&self, path: &str) -> String {
        let (takes_table, remedy) = self.choices(path);
        let found = at(self.value, path).map_or("is empty".into(), |value| match value {
            Value::Object(map) if takes_table && map.is_empty() => "is empty".into(),
            Value::Object(map) if takes_table => format!("holds {} at once", map.len()),
            value => kind(value),
        });
        format!("{found}: {remedy}")
    }

    /// Whether one of several tables is expected there, or one of several words; and which.
    fn choices(&self, path: &str) -> (bool, String) {
        let said = self.ask(path, json!("?")).unwrap_or_default();
        let known = names(&said);
        let first = known.first().copied().unwrap_or_default();
        let takes_table = self.ask(path, json!(first)).is_some_and(|it| it.contains("variant"));
        let remedy = if takes_table {
            format!("write {{ {first} = {{}} }}, or another one of {}", known.join(", "))
        } else {
            format!("write \"{}\"", known.join("\" or \""))
        };
        (takes_table, remedy)
    }

    /// The problem of a value of the wrong kind or range.
    fn finding(&self, path: &str, expected: &str) -> String {
        match (at(self.value, path), range(expected)) {
            (Some(Value::Null), _) if expected == "f64" => "is not a finite number".into(),
            (Some(Value::Number(number)), Some((min, _))) => match number.as_f64() {
                Some(it) if it.fract() != 0.0 => format!("{number} is not a whole number"),
                Some(it) if it <= 0.0 && (it < 0.0 || min > 0) => format!("{number} is too small"),
                _ => format!("{number} is too large"),
            },
            (Some(value), _) => kind(value),
            (None, _) => "is missing".into(),
        }
    }

    fn remedy(&self, path: &str, expected: &str) -> String {
        let asked = |probes: &[Value]| {
            probes.iter().find_map(|probe| remedy_in(&self.ask(path, probe.clone())?))
        };
        if let Some((min, max)) = range(expected) {
            let is_large = at(self.value, path).is_some_and(|it| it.as_f64() > Some(1.5));
            let probes = if is_large { [max, min] } else { [min, max] };
            return asked(&probes.map(Value::from)).unwrap_or_else(|| match max {
                u64::MAX => format!("write a whole number, {min} or more"),
                _ => format!("write a whole number from {min} to {max}"),
            });
        }
        match expected {
            "f64" => asked(&[json!(-1.0)]).unwrap_or("write a number such as 1.5".into()),
            "a string" => asked(&[json!("")]).unwrap_or("write text in quotes".into()),
            "path string" => "write the path of a file, in quotes".into(),
            _ if expected.starts_with("struct ") => {
                let key = [self.key, path].join(".");
                format!("write it as a section, [{}]", key.trim_matches('.'))
            }
            _ => format!("{expected} is needed"),
        }
    }

    /// How `probe` would be refused at `path`.
    fn ask(&self, path: &str, probe: Value) -> Option<String> {
        let (place, said) = self.refusal(path, probe)?;
        place.starts_with(path).then_some(said)
    }

    /// What is refused with `probe` at `path`, and why.
    fn refusal(&self, path: &str, probe: Value) -> Option<(String, String)> {
        let mut value = self.value.clone();
        put(&mut value, path, probe);
        (self.read)(&value)
    }
}

/// The kind or range that was expected.
fn expectation(said: &str) -> Option<&str> {
    let found = said.strip_prefix("invalid type: ").or(said.strip_prefix("invalid value: "));
    found.and_then(|it| it.rsplit_once(", expected ")).map(|(_, expected)| expected)
}

/// Whether text would be right where a value of another kind was found.
pub(super) fn wants_text(said: &str) -> bool {
    let texts = ["a string", "path string", "string or map"];
    expectation(said).is_some_and(|it| texts.contains(&it))
}

/// The problem of an unknown key, or an unknown word as a value.
fn unknown(path: &str, said: &str) -> (String, String) {
    let unknown = said
        .strip_prefix("unknown field `")
        .or_else(|| said.strip_prefix("unknown variant `"))
        .and_then(|rest| rest.split_once('`'));
    let Some((name, _)) = unknown else { return (path.to_owned(), said.to_owned()) };
    let nearest = nearest(name, &names(said));
    if said.starts_with("unknown variant") {
        return (path.to_owned(), format!("{name:?} is not known; {nearest}"));
    }
    // serde_path_to_error mostly ends the path with the unknown key itself.
    let ends = path == name || path.ends_with(&format!(".{name}"));
    let path = if ends { path.to_owned() } else { joined(path, name) };
    (path, format!("is not known; {nearest}"))
}

/// The names that serde lists, in backticks after the unknown one.
fn names(said: &str) -> Vec<&str> {
    let rest = said.split_once('`').and_then(|(_, rest)| rest.split_once('`'));
    rest.map_or_else(Vec::new, |(_, rest)| rest.split('`').skip(1).step_by(2).collect())
}

/// The end of a refusal, which holds the remedy.
fn remedy_in(said: &str) -> Option<String> {
    let start = said.find("write ").or(said.find("give "))?;
    said.get(start..).map(str::to_owned)
}

/// The range of a type of whole numbers.
fn range(expected: &str) -> Option<(u64, u64)> {
    let (least, name) = match expected.strip_prefix("a nonzero ") {
        Some(name) => (1, name),
        None => (0, expected),
    };
    let greatest = match name {
        "u8" => u8::MAX.into(),
        "u16" => u16::MAX.into(),
        "u32" => u32::MAX.into(),
        "u64" => u64::MAX,
        _ => return None,
    };
    Some((least, greatest))
}

/// The kind of a value, in words.
pub(super) fn kind(value: &Value) -> String {
    match value {
        Value::Null => "is empty".into(),
        Value::Bool(it) => format!("is {it}"),
        Value::Number(_) => "is a number".into(),
        Value::String(_) => "is text".into(),
        Value::Array(_) => "is a list".into(),
        Value::Object(_) => "is a table".into(),
    }
}

/// The known name nearest to `name`; all of them if none is near.
pub(super) fn nearest(name: &str, known: &[&str]) -> String {
    let likeness = |it: &&&str| (strsim::jaro_winkler(name, it) * 1000.0).round();
    let best = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match best {
        Some(best) if likeness(&best) >= 800.0 => format!("did you mean \"{best}\"?"),
        Some(_) => format!("known are: {}", known.join(", ")),
        None => "nothing is known there".into(),
    }
}

/// A dotted path with a key below it.
pub(super) fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// The value at a dotted path.
pub(super) fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').filter(|it| !it.is_empty()).try_fold(value, |at, key| at.get(key))
}

/// Puts a value at a dotted path; replaces what is in its way.
pub(super) fn put(value: &mut Value, path: &str, new: Value) {
    let mut place = value;
    for key in path.split('.').filter(|it| !it.is_empty()) {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        let map = place.as_object_mut().expect("it was made one");
        place = map.entry(key).or_insert(Value::Null);
    }
    *place = new;
}

/// Removes the value at a dotted path. False if there is none.
pub(super) fn remove(value: &mut Value, path: &str) -> bool {
    let (parents, last) = path.rsplit_once('.').unwrap_or(("", path));
    let mut parents = parents.split('.').filter(|it| !it.is_empty());
    let parent = parents.try_fold(value, |at, key| at.get_mut(key));
    parent.and_then(Value::as_object_mut).is_some_and(|it| it.remove(last).is_some())
}

#[cfg(test)]
mod tests {
    use crate::settings::tests::problems;

    /// Words of the program that no message may contain.
    const JARGON: [&str; 16] = [
        "struct", "variant", "enum", "unit", "u8", "u16", "u32", "u64", "f64", "nonzero",
        "integer", "sequence", "map", "string", "expected", "invalid",
    ];

    /// The only mistake in a TOML text.
    fn mistake(text: &str) -> String {
        let problems = problems(&format!("{text}\n[sensors.T.simulated]\n"));
        assert_eq!(problems.len(), 1, "{text}: {problems:#?}");
        let problem = problems.concat();
        for word in problem.split(|c: char| !c.is_ascii_alphanumeric()) {
            assert!(!JARGON.contains(&word), "{text}: {word} in {problem}");
        }
        problem
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_told_the_right_one() {
        for (text, expected) in [
            ("queue.records_max = 0", "0 is too small: write a whole number from 1 to 4294967295"),
            ("queue.records_max = -1", "-1 is too small: write a whole number from 1"),
            ("queue.records_max = 5000000000", "5000000000 is too large: write a whole number"),
            ("queue.records_max = 1.5", "1.5 is not a whole number: write a whole number"),
            ("queue.records_max = \"many\"", "is text: write a whole number"),
            (
                "broker.window_messages = 70000",
                "70000 is too large: write a whole number from 1 to",
            ),
            ("broker.version = \"3.1.1\"", "is text: write 5, or 3 for MQTT 3.1.1"),
            ("output.qos = -1", "-1 is too small: write 1, or 0 to deliver at most once"),
            ("output.topic = 5", "is a number: give a topic such as"),
            ("broker.url = 5", "is a number: write \"mqtt://host:1883\""),
            ("broker.url = \"http://h\"", "http is not known: write mqtt://"),
            ("broker.username = 5", "is a number: write text in quotes"),
            ("broker.password_file = true", "is true: write the path of a file, in quotes"),
            ("broker.tls = 5", "is a number: write it as a section, [broker.tls]"),
            (
                "http.listen = \"x\"",
                "x is no address with a port: write one such as 127.0.0.1:8080",
            ),
            ("queue = 5", "is a number: write it as a section, [queue]"),
            ("[[queue]]\nrecords_max = 1", "is a list: write it as a section, [queue]"),
            ("queue.on_full = []", "is a list: write \"wait\" or \"shed_newest\""),
            ("queue.on_full = {}", "is a table: write \"wait\" or"),
            ("output.format = { json = {} }", "is a table: write \"json\" or \"json_array\""),
            ("batch.age_max = -1", "-1 is not a duration: write \"100ms\" or \"10s\""),
            ("batch.age_max = []", "is not a duration: write"),
            ("batch.bytes_max = true", "is not a size: write \"64MiB\""),
        ] {
            let problem = mistake(text);
            let key = text.trim_matches('[').split([' ', ']']).next().unwrap_or_default();
            assert!(problem.starts_with(&format!("{key}: {expected}")), "{text}: {problem}");
        }
    }

    #[test]
    fn a_word_where_a_table_is_to_be_is_told_the_table() {
        for (text, expected) in [
            (
                "mqtt.payload = \"jsno\"",
                "payload: is no codec: write \"json\", \"ndjson\", \"text\", \"raw\", \"cbor\", \"messagepack\", \"senml\" or \"sparkplug_b\"",
            ),
            ("mqtt.payload = 7", "payload: is no codec: write \"json\""),
            (
                "mqtt.payload = {}",
                "payload: is empty: write \"json\", \"ndjson\", \"text\", \"raw\", \"cbor\", \"messagepack\", \"senml\" or \"sparkplug_b\"",
            ),
            (
                "mqtt.payload = { text = 1 }",
                "payload: the options of text are a table: write \"text\"",
            ),
            ("mqtt.payload = { text = { a = 1 } }", "payload: a is no option of text"),
            ("mqtt.payload = { json = {}, text = {} }", "payload: holds 2 at once: write \"json\""),
            ("simulated.model = \"gaussian\"", "model: is only a word: write { gaussian = {} }"),
            ("simulated.model = {}", "model: is empty: write { gaussian = {} }, or another one"),
            ("simulated.model.sine.period = 0", "period: 0 is no period: write how many readings"),
            ("simulated.model.sine.amplitude = nan", "amplitude: is not a finite number: write 0"),
            ("simulated.model.constant = {}", "value: is missing: write a number such as"),
            ("simulated.count = 5000000000", "count: 5000000000 is too large: write 1000000 at"),
            ("mqtt = {}", "topic: is missing: give a topic such as"),
            ("mqtt.topic = [\"a\"]", "topic: is a list: give a topic such as"),
            (
                "simulated = 5",
                "simulated: is a number: write it as a section, [sensors.x.simulated",
            ),
        ] {
            let topic =
                if text.starts_with("mqtt.p") { "sensors.x.mqtt.topic = \"t\"\n" } else { "" };
            let problem = mistake(&format!("{topic}sensors.x.{text}"));
            assert!(problem.contains(&format!(".{expected}")), "{text}: {problem}");
        }
    }

    #[test]
    fn a_key_that_is_missing_is_told_with_what_to_write() {
        for (text, expected) in [
            (
                "sensors.x.mqtt.quota.rate = \"5/s\"",
                "quota.over: is missing: write \"shed_newest\" or \"keep_latest\" or \"dead_letter\"",
            ),
            (
                "sensors.x.mqtt.quota.over = \"dead_letter\"",
                "quota.rate: is missing: write how many readings in which time",
            ),
            (
                "sensors.x.mqtt.deduplicate = {}",
                "deduplicate.by: is missing: write \"counter\" or \"timestamp\"",
            ),
            (
                "sensors.x.mqtt.online.value = \"1\"",
                "online.topic: is missing: give a topic such as",
            ),
            (
                "sensors.x.mqtt.timestamp = { format = \"unix_ms\" }",
                "timestamp.from: is missing: write ",
            ),
            (
                "sensors.x.mqtt.values = { t = { unit = \"C\" } }",
                "values.t.from: is missing: write ",
            ),
            ("sensors.x.exec.restart = \"always\"", "exec.command: is missing: write "),
            ("sensors.x.simulated.model.replay = {}", "replay.file: is missing: write "),
            ("output.file.rotate_bytes = \"1MiB\"", "output.file.path: is missing: write "),
        ] {
            let topic = if text.contains(".mqtt.") { "sensors.x.mqtt.topic = \"t\"\n" } else { "" };
            let problem = mistake(&format!("{topic}{text}"));
            assert!(problem.contains(expected), "{text}: {problem}");
        }
    }

    #[test]
    fn a_sensor_without_a_kind_or_a_name_is_told_both() {
        for (text, expected) in [
            (
                "sensors.x = {}",
                "sensors.x: has no kind: write [sensors.x.simulated] or [sensors.x.mqtt] or",
            ),
            ("sensors.x = 5", "sensors.x: is a number: write [sensors.x.simulated] or"),
            ("sensors.x = { mqtt = {}, simulated = {} }", "sensors.x: holds 2 at once: write"),
            ("sensors.mqtt = { topic = \"a\", qos = 1 }", "sensors.mqtt: is a kind without a name"),
            (
                "sensors.stdin = {}",
                "sensors.stdin: is a kind without a name: write [sensors.<name>.stdin]",
            ),
        ] {
            let problem = mistake(text);
            assert!(problem.starts_with(expected), "{text}: {problem}");
        }
        let list = problems("sensors = []");
        assert!(list.concat().starts_with("sensors: is a list: write sections"), "{list:?}");
    }
}
