//! What a reading looks like when `sluicegate simulate` publishes it: a text with places, or a message of an edge node.
//!
//! In a text only a word in braces is a place. All other braces are themselves, so JSON is written as it is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::sparkplug::Options;

/// Bytes of a template, at most. Longer ones are refused.
const TEMPLATE_BYTES_MAX: usize = 4096;

/// The word of Sparkplug B.
const SPARKPLUG_B: &str = "sparkplug_b";

/// What `sluicegate simulate` publishes of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Value", into = "Value")]
#[schemars(with = "Shape")]
pub enum Published {
    /// Each reading as a text.
    Template(Template),
    /// The messages of an edge node of Sparkplug B.
    SparkplugB(Options),
}

/// The shapes of what is [`Published`], for the schema.
#[derive(JsonSchema)]
#[schemars(untagged, rename = "simulated payload")]
#[expect(dead_code, reason = "only its schema is used")]
enum Shape {
    Word(Word),
    Text(Template),
    Table(Table),
}

/// What is published in another form than a text, for the schema.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case", rename = "simulated payload's word")]
#[expect(dead_code, reason = "only its schema is used")]
enum Word {
    /// The messages of an edge node of Sparkplug B.
    SparkplugB,
}

/// The same, with its options.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename = "simulated payload's table")]
#[expect(dead_code, reason = "only its schema is used")]
struct Table {
    sparkplug_b: Options,
}

impl TryFrom<Value> for Published {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let choice = || {
            format!(
                "is no payload: write a text with {{value}}, \"{SPARKPLUG_B}\", or \
                 {{ {SPARKPLUG_B} = {{ group = \"plant\" }} }}"
            )
        };
        match value {
            Value::String(word) if word == SPARKPLUG_B => Ok(Self::SparkplugB(Options::default())),
            Value::String(text) => Template::try_from(text).map(Self::Template),
            Value::Object(mut table) if table.len() == 1 => {
                let options = table.remove(SPARKPLUG_B).ok_or_else(choice)?;
                let read = serde_json::from_value(options).map_err(|error| error.to_string());
                read.map(Self::SparkplugB)
            }
            _ => Err(choice()),
        }
    }
}

impl From<Published> for Value {
    fn from(published: Published) -> Self {
        match published {
            Published::Template(template) => template.text.into(),
            Published::SparkplugB(options) if options == Options::default() => SPARKPLUG_B.into(),
            Published::SparkplugB(options) => serde_json::json!({ SPARKPLUG_B: options }),
        }
    }
}

/// A payload with places: `{value}`, `{time}`, `{epoch}`, `{number}`, `{sensor}`, `{unit}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("maxLength" = TEMPLATE_BYTES_MAX, "examples" = ["{\"t\":{value}}"]))]
pub struct Template {
    text: String,
    /// The text before each place, and the place.
    pieces: Vec<(String, Place)>,
    /// The text behind the last one.
    rest: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Value,
    Time,
    Epoch,
    Number,
    Sensor,
    Unit,
}

const PLACES: [(&str, Place); 6] = [
    ("value", Place::Value),
    ("time", Place::Time),
    ("epoch", Place::Epoch),
    ("number", Place::Number),
    ("sensor", Place::Sensor),
    ("unit", Place::Unit),
];

/// What fills the places.
#[derive(Debug, Clone, Copy)]
pub struct Fill<'a> {
    /// The value's text.
    pub value: &'a str,
    /// RFC 3339.
    pub time: &'a str,
    /// The same in milliseconds since 1970.
    pub epoch: u64,
    /// The sensor's own number.
    pub number: u64,
    /// The sensor's id.
    pub sensor: &'a str,
}

impl TryFrom<String> for Template {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.len() > TEMPLATE_BYTES_MAX {
            let bytes = text.len();
            return Err(format!("has {bytes} bytes: write {TEMPLATE_BYTES_MAX} at most"));
        }
        let (mut pieces, mut before, mut left) = (Vec::new(), String::new(), text.as_str());
        while let Some((plain, rest)) = left.split_once('{') {
            before.push_str(plain);
            let word = rest.split_once('}').filter(|it| is_word(it.0));
            let Some((word, rest)) = word else {
                before.push('{');
                left = rest;
                continue;
            };
            let known = PLACES.iter().find(|it| it.0 == word);
            let place =
                known.ok_or_else(|| format!("{{{word}}} is no place: write {}", places()))?;
            pieces.push((std::mem::take(&mut before), place.1));
            left = rest;
        }
        if !pieces.iter().any(|it| it.1 == Place::Value) {
            return Err("has no {value}: write where it stands, such as '{\"t\":{value}}'".into());
        }
        before.push_str(left);
        Ok(Self { text, pieces, rest: before })
    }
}

impl From<Template> for String {
    fn from(template: Template) -> Self {
        template.text
    }
}

impl Template {
    /// The payload where none is set; `unit` is a JSON string.
    pub(super) fn usual(unit: Option<&str>) -> Self {
        let unit = unit.map_or_else(String::new, |_| ",\"unit\":\"{unit}\"".to_owned());
        let text = format!(
            "{{\"value\":{{value}},\"timestamp\":\"{{time}}\",\"number\":{{number}}{unit}}}"
        );
        Self::try_from(text).expect("it has a place for the value")
    }

    /// Writes the payload of a reading; `unit` is what stands in a JSON string.
    pub(super) fn write(&self, out: &mut Vec<u8>, fill: &Fill<'_>, unit: &str) {
        let mut number = itoa::Buffer::new();
        for (before, place) in &self.pieces {
            out.extend_from_slice(before.as_bytes());
            let text = match place {
                Place::Value => fill.value,
                Place::Time => fill.time,
                Place::Epoch => number.format(fill.epoch),
                Place::Number => number.format(fill.number),
                Place::Sensor => fill.sensor,
                Place::Unit => unit,
            };
            out.extend_from_slice(text.as_bytes());
        }
        out.extend_from_slice(self.rest.as_bytes());
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|it| it.is_ascii_alphabetic() || it == b'_')
}

fn places() -> String {
    PLACES.map(|(word, _)| format!("{{{word}}}")).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const FILL: Fill<'_> = Fill {
        value: "21.5",
        time: "2026-11-22T07:30:50.601Z",
        epoch: 1_795_332_650_601,
        number: 7,
        sensor: "T_01",
    };

    fn written(template: &str) -> String {
        let mut out = Vec::new();
        Template::try_from(template.to_owned()).unwrap().write(&mut out, &FILL, "C");
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn places_are_filled_and_all_other_braces_stay() {
        let tasmota = r#"{"Time":"{time}","BME280":{"Temperature":{value}},"n":[{}]}"#;
        let expected =
            r#"{"Time":"2026-11-22T07:30:50.601Z","BME280":{"Temperature":21.5},"n":[{}]}"#;
        assert_eq!(written(tasmota), expected);
        let all = "{sensor}/{number}/{epoch}: {value} {unit} {{value}}{";
        assert_eq!(written(all), "T_01/7/1795332650601: 21.5 C {21.5}{");
    }

    #[test]
    fn a_template_that_cannot_be_meant_is_refused_with_its_remedy() {
        let long = format!("{{value}}{}", "x".repeat(TEMPLATE_BYTES_MAX));
        for (template, word) in [
            ("{valu}", "{valu} is no place: write {value}, {time}"),
            ("{}", "has no {value}: write"),
            ("", "has no {value}: write"),
            (&long, "has 4103 bytes: write 4096 at most"),
        ] {
            let error = Template::try_from(template.to_owned()).unwrap_err();
            assert!(error.contains(word), "{template}: {error}");
        }
    }

    #[test]
    fn an_edge_node_is_a_word_or_a_table() {
        let payload = |payload: Value| serde_json::from_value::<Published>(payload);
        for (wrong, word) in [
            (json!({ "sparkplug_b": { "group": "a/b" } }), "is no group: write"),
            (json!({ "sparkplug_b": { "node": "a" } }), "unknown field `node`"),
            (json!({ "json": {} }), "is no payload: write a text with {value}, \"sparkplug_b\""),
            (json!(7), "is no payload: write"),
        ] {
            let error = payload(wrong).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        let plain = payload(json!("sparkplug_b")).unwrap();
        assert_eq!(Value::from(plain), "sparkplug_b");
        let other = json!({ "sparkplug_b": { "group": "Plant" } });
        assert_eq!(Value::from(payload(other.clone()).unwrap()), other);
    }
}
