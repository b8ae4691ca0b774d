//! Settings that are one text or a list of texts: JSON pointers, templates, filters.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::template::Template;
use crate::codec::pointer::Pointer;

/// One JSON pointer, or several: the first one that finds something counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Value", into = "Value")]
#[schemars(with = "OneOrMany<Pointer>")]
pub struct Pointers(pub(super) Vec<Pointer>);

/// A text or a list of them, for the schema.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl Pointers {
    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Pointer> {
        self.0.iter()
    }
}

impl TryFrom<Value> for Pointers {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        several(value, "\"/value\"", "[\"/value\", \"/data/t\"]").map(Self)
    }
}

impl From<Pointers> for Value {
    fn from(pointers: Pointers) -> Self {
        one_or_many(pointers.0)
    }
}

/// One template, or several: the first one counts of which all places are filled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Value", into = "Value")]
#[schemars(with = "OneOrMany<Template>")]
pub struct Templates(pub(super) Vec<Template>);

impl Templates {
    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Template> {
        self.0.iter()
    }

    /// Whether the topic and the entry fill all of it.
    pub fn is_of_topic(&self) -> bool {
        self.0.first().is_some_and(Template::is_of_topic)
    }
}

impl TryFrom<Value> for Templates {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        several(value, "\"tasmota-{device}\"", "[\"{/id}\", \"{entry}\"]").map(Self)
    }
}

impl From<Templates> for Value {
    fn from(templates: Templates) -> Self {
        one_or_many(templates.0)
    }
}

/// A text, or a list of texts.
pub(crate) fn several<T: TryFrom<String, Error: ToString>>(
    value: Value,
    one: &str,
    many: &str,
) -> Result<Vec<T>, String> {
    let read = |text: String| T::try_from(text).map_err(|error| error.to_string());
    let shape = format!("write {one}, or several, {many}");
    match value {
        Value::String(text) => Ok(vec![read(text)?]),
        Value::Array(list) if list.is_empty() => Err(format!("is empty: {shape}")),
        Value::Array(list) => {
            let text = |it: Value| match it {
                Value::String(text) => read(text),
                _ => Err(format!("holds something that is no text: {shape}")),
            };
            list.into_iter().map(text).collect()
        }
        _ => Err(format!("is not a list: {shape}")),
    }
}

pub(crate) fn one_or_many<T: Into<String>>(all: Vec<T>) -> Value {
    let mut texts: Vec<Value> = all.into_iter().map(|it| Value::String(it.into())).collect();
    if texts.len() == 1 { texts.remove(0) } else { Value::Array(texts) }
}
