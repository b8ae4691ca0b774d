//! What the messages of an entry mean: its keys together, and which of them cannot stand together.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::keys::{Decimal, Extra, Mismatch, Missing, Quantity, Type};
use super::several::{Pointers, Templates};
use super::template::{EACH_MAX, Template};
use super::time_keys::Timestamp;
use crate::codec::transform::Transform;
use crate::limits::TAGS_MAX;

/// Values that an entry may name. More are refused.
pub const VALUES_MAX: usize = 256;

/// Bytes of a tag. A longer one is left out.
pub const TAG_BYTES_MAX: usize = 1024;

/// Members that `extra` may name. More are refused.
pub const EXTRA_MAX: usize = 64;

/// What the messages of an entry mean.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// What makes objects of a document, which is not read itself then.
    pub transform: Option<Transform>,
    /// The arrays and objects of which each element is a document, one in the other.
    pub each: Option<Pointers>,
    /// Where the value is. Absent: the member `value` or, without one, the whole message.
    pub value: Option<Pointers>,
    /// Several values, by name.
    pub values: BTreeMap<String, Quantity>,
    /// Each of the values is a record of its own.
    pub split: bool,
    /// The sensor's id.
    pub sensor: Option<Templates>,
    /// What else a record says of its sensor, by name.
    pub tags: BTreeMap<String, Template>,
    /// The sensor's own time. Absent: the member `timestamp`.
    pub timestamp: Option<Timestamp>,
    /// What to do where the value is not there.
    pub missing: Option<Missing>,
    /// What a value has to be.
    pub kind: Type,
    /// What to do with a value that is not that.
    pub mismatch: Mismatch,
    /// The sign before the decimals of a number that is a text.
    pub decimal: Decimal,
    /// The unit of the value.
    pub unit: Option<Template>,
    /// What is measured.
    pub quantity: Option<Template>,
    /// The sensor's own count of its readings.
    pub counter: Option<Pointers>,
    /// What becomes of the rest.
    pub extra: Extra,
}

impl Settings {
    /// Whether a document may hold several readings.
    pub fn is_many(&self) -> bool {
        self.each.is_some() || self.transform.is_some() || self.split && self.values.len() > 1
    }

    /// As the objects of a `transform` are read, if there is one: what they measure and the unit are members of theirs.
    pub(super) fn of_objects(&self) -> Cow<'_, Self> {
        if self.transform.is_none() {
            return Cow::Borrowed(self);
        }
        let member = |name: &str| {
            Some(Template::try_from(format!("/{name}")).expect("a pointer is a template"))
        };
        Cow::Owned(Self {
            missing: self.missing.or(Some(Missing::DeadLetter)),
            quantity: self.quantity.clone().or_else(|| member("quantity")),
            unit: self.unit.clone().or_else(|| member("unit")),
            ..self.clone()
        })
    }

    /// What does not fit to a `transform`, and what of it does not fit to the topic.
    fn transform_problems(&self, levels: &[String]) -> Vec<(&'static str, String)> {
        let Some(transform) = &self.transform else { return Vec::new() };
        let mut problems = Vec::new();
        for (key, is_there) in [
            ("each", self.each.is_some()),
            ("value", self.value.is_some()),
            ("values", !self.values.is_empty()),
        ] {
            if is_there {
                let text = "stands beside transform, of which each object has its value: let the program do it, \
                            {'value': msg.name}, or remove transform";
                problems.push((key, text.to_owned()));
            }
        }
        for (level, place) in transform.levels() {
            if !levels.iter().any(|it| it == level) {
                let text = format!(
                    "{place}: topic.{level} is no level of the entry's topic: write {{{level}}} there"
                );
                problems.push(("transform", text));
            }
        }
        problems
    }

    /// The keys that cannot stay as they are, and why, for an entry of which the topic names these levels.
    pub fn problems(&self, levels: &[String]) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut wrong = |key: &str, text: String| problems.push((key.to_owned(), text));
        if self.value.is_some() && !self.values.is_empty() {
            wrong("value", "stands beside values: remove one of the two".into());
        }
        for (key, text) in self.transform_problems(levels) {
            wrong(key, text);
        }
        let each = self.each.as_ref().map_or(0, |it| it.0.len());
        let extra = if let Extra::These(all) = &self.extra { all.as_slice() } else { &[] };
        for (key, count, max) in [
            ("values", self.values.len(), VALUES_MAX),
            ("tags", self.tags.len(), TAGS_MAX),
            ("each", each, EACH_MAX),
            ("extra", extra.len(), EXTRA_MAX),
        ] {
            if count > max {
                wrong(key, format!("holds {count}: write {max} at most, others in another entry"));
            }
        }
        if let Some(pointer) = self.each.iter().flat_map(|it| &it.0).find(|it| it.is_of_message()) {
            wrong("each", format!("holds {pointer}: it begins in the message, write it without $"));
        }
        for (at, pointer) in extra.iter().enumerate() {
            let name = pointer.levels().last();
            if name.is_none() {
                wrong(
                    "extra",
                    format!("holds {:?}, the whole message: write \"keep\"", pointer.to_string()),
                );
            } else if let Some(other) = extra.iter().take(at).find(|it| it.levels().last() == name)
            {
                wrong(
                    "extra",
                    format!("holds {other} and {pointer}, which would be members of one name"),
                );
            }
        }
        if self.split && self.values.is_empty() {
            wrong(
                "split",
                "has no values to split: name them, values = { temperature = \"/t\" }".into(),
            );
        }
        let single = [("quantity", &self.quantity), ("unit", &self.unit)];
        let single =
            single.into_iter().filter_map(|(key, it)| Some((key.to_owned(), it.as_ref()?)));
        let sensors = self.sensor.iter().flat_map(|it| &it.0).map(|it| ("sensor".to_owned(), it));
        let tags = self.tags.iter().map(|(name, it)| (format!("tags.{name}"), it));
        for (key, template) in sensors.chain(single).chain(tags) {
            if template.each_levels() > each {
                wrong(
                    &key,
                    "has a place for the name of a member, {key}, and each has no such level: write each = \"\" \
                     to go over the members of the message"
                        .into(),
                );
            }
            for level in template.levels().filter(|it| !levels.iter().any(|level| level == it)) {
                wrong(
                    &key,
                    format!(
                        "has a place for {{{level}}}, which is no level of the entry's topic: write it there, or a \
                         JSON pointer for a member of the message, {{/{level}}}"
                    ),
                );
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::super::mapped::tests::Entry;
    use serde_json::json;

    /// What is wrong with a table, for a topic with a level `device`.
    fn problems(table: serde_json::Value) -> Vec<(String, String)> {
        let entry: Entry = serde_json::from_value(table).unwrap();
        entry.mapping().unwrap().problems(&["device".to_owned()])
    }

    #[test]
    fn what_does_not_fit_together_is_named_with_its_key() {
        let many = |count: usize| {
            let all = (0..count).map(|n| (format!("v{n}"), json!("/x")));
            serde_json::Value::Object(all.collect())
        };
        for (table, key, words) in [
            (json!({"value": "/a", "values": {"t": "/t"}}), "value", "beside values"),
            (json!({"transform": "msg", "value": "/a"}), "value", "beside transform"),
            (json!({"transform": "msg", "values": {"t": "/t"}}), "values", "beside transform"),
            (json!({"transform": "msg", "each": "/a"}), "each", "let the program do it"),
            (
                json!({"transform": "[\n{'value': topic.site}]"}),
                "transform",
                "line 2 column 16: topic.site is no level of the entry's topic: write {site} there",
            ),
            (json!({"split": true}), "split", "no values to split"),
            (json!({"sensor": "{site}"}), "sensor", "{site}, which is no level"),
            (json!({"sensor": ["{device}", "{site}"]}), "sensor", "{/site}"),
            (json!({"tags": {"a": "x{b}"}}), "tags.a", "{b}"),
            (json!({"unit": "{b}"}), "unit", "{b}"),
            (json!({"quantity": "{b}"}), "quantity", "{b}"),
            (
                json!({"values": many(super::VALUES_MAX + 1)}),
                "values",
                "holds 257: write 256 at most",
            ),
            (json!({"tags": many(super::TAGS_MAX + 1)}), "tags", "holds 33: write 32 at most"),
            (json!({"each": ["", "", "", ""]}), "each", "holds 4: write 3 at most"),
            (json!({"each": "$/a"}), "each", "without $"),
            (json!({"sensor": "{key}"}), "sensor", "each has no such level"),
            (json!({"sensor": "{key.2}", "each": "/a"}), "sensor", "each has no such level"),
            (json!({"extra": [""]}), "extra", "the whole message"),
            (json!({"extra": ["/a/x", "$/x"]}), "extra", "/a/x and $/x, which would be"),
        ] {
            let found = problems(table);
            assert!(
                found.len() == 1 && found[0].0 == key && found[0].1.contains(words),
                "{found:?}"
            );
        }
        for table in [
            json!({}),
            json!({"values": many(super::VALUES_MAX), "split": true, "tags": many(super::TAGS_MAX)}),
            json!({"sensor": "{device}-{entry}-{/a}", "unit": "{device}"}),
            json!({"sensor": "{device}-{/a}", "transform": "{'value': topic.device}"}),
            json!({"each": ["/a", ""], "sensor": "{key.2}{key}{$/a}", "extra": ["/a", "/b/c"]}),
        ] {
            assert_eq!(problems(table), []);
        }
    }

    #[test]
    fn a_setting_is_written_as_it_is_read_the_short_form_first() {
        for table in [
            json!({"value": "/a"}),
            json!({"value": ["/a", "/b/0"]}),
            json!({"sensor": ["{/id}", "{entry}"], "payload": "ndjson"}),
            json!({"values": {"t": "/t", "u": {"from": ["/u"], "unit": "C", "missing": "skip"}}}),
            json!({"timestamp": {"from": "/t", "format": "unix_ms", "zone": "Europe/Berlin"}}),
            json!({"timestamp": "/t", "type": "number", "decimal": ",", "extra": "drop"}),
            json!({"each": ["/a", ""], "extra": ["/a", "$/b"], "value": "$/c"}),
            json!({"each": "", "extra": "keep"}),
            json!({"transform": "{'value': msg}", "type": "number"}),
            json!({"timestamp": {"from": "/t", "plausible": {"ahead_max": "1h", "since": "2020-02-29"}}}),
        ] {
            let entry: Entry = serde_json::from_value(table.clone()).unwrap();
            let written = serde_json::to_value(&entry).unwrap();
            let again: Entry = serde_json::from_value(written.clone()).unwrap();
            assert_eq!(again, entry, "{written}");
            for (key, value) in table.as_object().unwrap() {
                let is_short = key != "values" && key != "timestamp" || value.is_string();
                assert!(!is_short || written[key] == *value, "{key}: {written}");
            }
        }
        for (key, bad) in [
            ("timestamp", json!({"from": "/t", "zone": "Middle/Earth"})),
            ("timestamp", json!({"from": "/t", "plausible": {"since": "2020-2-29"}})),
            ("timestamp", json!({"from": "/t", "plausible": {"since": "2021-02-29"}})),
            ("value", json!([])),
            ("values", json!({"t": {"unit": "C"}})),
            ("decimal", json!(";")),
            ("extra", json!("some")),
            ("extra", json!(["a"])),
            ("each", json!("a")),
            ("transform", json!("msg +")),
        ] {
            let read = serde_json::from_value::<Entry>(json!({ key: bad }));
            assert!(read.is_err(), "{key}");
        }
    }
}
