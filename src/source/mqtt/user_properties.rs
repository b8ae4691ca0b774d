//! Which user properties of a message become tags (MQTT 5 §3.3.2.3.7).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::codec::mapping::several::{one_or_many, several};

/// User properties of a message that become tags. Further ones are left out.
pub(super) const PROPERTIES_MAX: usize = 32;

/// The word for all of them.
const ALL: &str = "all";

/// Which user properties become tags.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Value", into = "Value")]
#[schemars(with = "Shape")]
pub enum Properties {
    /// None of them.
    #[default]
    None,
    /// All, up to 32.
    All,
    /// Those of these names.
    These(Vec<String>),
}

/// The shapes, for the schema.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum Shape {
    /// `"all"`, or one name.
    Name(String),
    /// Names.
    Names(Vec<String>),
}

impl Properties {
    /// Whether nothing is kept.
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }

    /// Whether the property of this name is kept.
    pub(super) fn keep(&self, name: &str) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::These(names) => names.iter().any(|it| it == name),
        }
    }
}

impl TryFrom<Value> for Properties {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        if value == ALL {
            return Ok(Self::All);
        }
        let names: Vec<String> = several(value, "\"all\"", "[\"unit\", \"trace\"]")?;
        if names.len() > PROPERTIES_MAX {
            let count = names.len();
            return Err(format!("holds {count}: write {PROPERTIES_MAX} at most, or \"all\""));
        }
        Ok(Self::These(names))
    }
}

impl From<Properties> for Value {
    fn from(properties: Properties) -> Self {
        match properties {
            Properties::None => Self::Array(Vec::new()),
            Properties::All => ALL.into(),
            Properties::These(names) => one_or_many(names),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn all_are_kept_or_those_that_are_named() {
        for (value, kept) in [
            (json!("all"), ["a", "b"].as_slice()),
            (json!("a"), &["a"]),
            (json!(["b", "c"]), &["b"]),
        ] {
            let properties: Properties = serde_json::from_value(value.clone()).unwrap();
            let found: Vec<_> = ["a", "b"].into_iter().filter(|it| properties.keep(it)).collect();
            assert_eq!(found, kept);
            assert_eq!(serde_json::to_value(properties).unwrap(), value);
        }
        assert!(!Properties::default().keep("a"));
        let many: Vec<String> = (0..=PROPERTIES_MAX).map(|it| it.to_string()).collect();
        for bad in [json!([]), json!(7), json!(many)] {
            assert!(serde_json::from_value::<Properties>(bad).is_err());
        }
    }
}
