//! What the keys of a mapping may be: a word, a short form, or a table.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::several::{Pointers, several};
use crate::codec::pointer::Pointer;

/// One value of several that a message holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Value", into = "Value")]
#[schemars(with = "QuantityShape")]
pub struct Quantity {
    /// Where it is.
    pub from: Pointers,
    /// Its unit.
    pub unit: Option<String>,
    /// What to do where it is not there; absent: what the entry does.
    pub missing: Option<Missing>,
}

/// The long form of a [`Quantity`].
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct QuantityTable {
    /// Where it is.
    from: Pointers,
    /// Its unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unit: Option<String>,
    /// What to do where it is not there; absent: what the entry does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    missing: Option<Missing>,
}

/// The shapes of a [`Quantity`], for the schema.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum QuantityShape {
    Pointers(Pointers),
    Table(QuantityTable),
}

/// A value that is a table, or the `from` of one.
pub(super) fn table<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    let value = match value {
        Value::Object(_) => value,
        from => serde_json::json!({ "from": from }),
    };
    serde_json::from_value(value).map_err(|error| error.to_string())
}

impl TryFrom<Value> for Quantity {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let QuantityTable { from, unit, missing } = table(value)?;
        Ok(Self { from, unit, missing })
    }
}

impl From<Quantity> for Value {
    fn from(Quantity { from, unit, missing }: Quantity) -> Self {
        if unit.is_none() && missing.is_none() {
            return from.into();
        }
        serde_json::to_value(QuantityTable { from, unit, missing }).expect("a table of texts")
    }
}

/// What to do with a message that has nothing where its value should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// It becomes a dead letter, `missing`.
    DeadLetter,
    /// It is no reading: acknowledged, and counted as a message.
    Skip,
    /// The whole message is the value.
    Whole,
}

/// What a value has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Type {
    /// Any JSON value, as it was sent.
    #[default]
    Any,
    /// A number. A text that is one, with a unit behind it or not, becomes one; `null` is no value, and what becomes of
    /// anything else is `mismatch`.
    Number,
}

/// What to do with a value that is not what it has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mismatch {
    /// It is a dead letter, `malformed`.
    #[default]
    DeadLetter,
    /// It is no value: of several the others count, and it stays in `extra`; a message without another one is no
    /// reading, and counted as a message.
    Skip,
}

/// What becomes of what a message holds beside what is read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Value", into = "Value")]
#[schemars(with = "ExtraShape")]
pub enum Extra {
    /// It stays in the record, as `extra`.
    #[default]
    Keep,
    /// It is dropped.
    Drop,
    /// What these lead to stays, by their last names.
    These(Vec<Pointer>),
}

/// The words of [`Extra`].
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ExtraWord {
    /// It stays in the record, as `extra`.
    Keep,
    /// It is dropped.
    Drop,
}

/// The shapes of [`Extra`], for the schema.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum ExtraShape {
    Word(ExtraWord),
    These(Vec<Pointer>),
}

impl TryFrom<Value> for Extra {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let shape = "write \"keep\", \"drop\", or what is kept, [\"/rssi\", \"/battery\"]";
        match &value {
            Value::Array(_) => {
                several(value, "\"/rssi\"", "[\"/rssi\", \"/battery\"]").map(Self::These)
            }
            Value::String(word) if word == "keep" => Ok(Self::Keep),
            Value::String(word) if word == "drop" => Ok(Self::Drop),
            Value::String(word) => Err(format!("{word:?} is not known: {shape}")),
            _ => Err(format!("is not a list: {shape}")),
        }
    }
}

impl From<Extra> for Value {
    fn from(extra: Extra) -> Self {
        match extra {
            Extra::Keep => "keep".into(),
            Extra::Drop => "drop".into(),
            Extra::These(all) => all.into_iter().map(String::from).collect(),
        }
    }
}

/// The sign before the decimals of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Decimal {
    /// `21.5`.
    #[default]
    #[serde(rename = ".")]
    Point,
    /// `21,5`; a point before it groups digits: `1.234,5`.
    #[serde(rename = ",")]
    Comma,
}
