//! Text with places that a message fills: `"tasmota-{device}"`, `"{/model}-{/id}"`.
//!
//! | place | what fills it |
//! | --- | --- |
//! | `{device}` | the topic level that is called so in the entry's topic |
//! | `{/id}` | a member of the message, by JSON pointer: text or a number |
//! | `{entry}` | the entry's name |
//! | `{key}` | of several readings of an object, `each`: the name of the member; `{key.1}` that of the first level |
//!
//! A JSON pointer alone, `"/id"`, is short for `"{/id}"`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::codec::places;
use crate::codec::pointer::Pointer;

/// Levels of arrays and objects that `each` may go over, one in the other. More are refused.
pub const EACH_MAX: usize = 3;

/// A template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("minLength" = 1, "examples" = ["tasmota-{device}", "{/model}-{/id}", "/id"]))]
pub struct Template {
    text: String,
    pub(super) parts: Vec<Part>,
}

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Text(String),
    /// A topic level, by its name.
    Level(String),
    Member(Pointer),
    Entry,
    /// The name of a member that `each` goes over: of the last level that is an object, or of this one.
    Key(Option<usize>),
}

impl Template {
    /// Names of the topic levels that it has places for.
    pub fn levels(&self) -> impl Iterator<Item = &str> {
        self.parts
            .iter()
            .filter_map(|it| if let Part::Level(name) = it { Some(&**name) } else { None })
    }

    /// The members of a message that it has places for.
    pub fn members(&self) -> impl Iterator<Item = &Pointer> {
        self.parts.iter().filter_map(|it| if let Part::Member(it) = it { Some(it) } else { None })
    }

    /// Its places that a message may leave without anything.
    pub fn needs(&self) -> impl Iterator<Item = String> {
        self.parts.iter().filter_map(|it| match it {
            Part::Text(_) | Part::Level(_) | Part::Entry => None,
            Part::Member(pointer) => Some(pointer.to_string()),
            Part::Key(level) => Some(format!("{level:?}")),
        })
    }

    /// Whether the topic and the entry fill all of it.
    pub fn is_of_topic(&self) -> bool {
        !self.parts.iter().any(|it| matches!(it, Part::Member(_) | Part::Key(_)))
    }

    /// How many levels of `each` it needs.
    pub fn each_levels(&self) -> usize {
        let levels = self.parts.iter().map(|it| match it {
            Part::Key(level) => level.unwrap_or(0) + 1,
            _ => 0,
        });
        levels.max().unwrap_or_default()
    }
}

/// Whether a word can name a topic level.
pub fn is_name(word: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !word.is_empty()
        && word.len() <= 32
        && word.chars().all(is_letter)
        && !matches!(word, "entry" | "key")
}

impl TryFrom<String> for Template {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.is_empty() {
            return Err("is empty: write a text with places, \"{device}\" or \"{/id}\"".into());
        }
        if is_pointer(&text) && !text.contains('{') {
            let parts = vec![Part::Member(text.clone().try_into()?)];
            return Ok(Self { text, parts });
        }
        let parts = places::parts(&text, Part::Text, |name| {
            Ok(match name {
                "entry" => Part::Entry,
                "key" => Part::Key(None),
                _ if name.starts_with("key.") => Part::Key(Some(key_level(name)?)),
                _ if is_pointer(name) => Part::Member(name.to_owned().try_into()?),
                _ if is_name(name) => Part::Level(name.to_owned()),
                _ => {
                    return Err(format!(
                        "{{{name}}} is no place: write a topic level, {{device}}, or a JSON pointer, {{/id}}"
                    ));
                }
            })
        })?;
        Ok(Self { text, parts })
    }
}

/// Whether a text is meant as a JSON pointer.
fn is_pointer(text: &str) -> bool {
    text.starts_with('/') || text.starts_with("$/")
}

/// The level of `key.1`, from 0.
fn key_level(name: &str) -> Result<usize, String> {
    let level = name.strip_prefix("key.").and_then(|it| it.parse::<usize>().ok());
    let level = level.filter(|it| (1..=EACH_MAX).contains(it)).map(|it| it - 1);
    level.ok_or_else(|| {
        format!("{{{name}}} is no place: the levels of each are {{key.1}} to {{key.{EACH_MAX}}}")
    })
}

impl From<Template> for String {
    fn from(template: Template) -> Self {
        template.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_text_with_places() {
        let template = |text: &str| Template::try_from(text.to_owned());
        let member = |text: &str| Part::Member(text.to_owned().try_into().unwrap());
        let text = |text: &str| Part::Text(text.to_owned());
        for (of, expected) in [
            ("plain", vec![text("plain")]),
            ("/id", vec![member("/id")]),
            ("{/a~1b}-{/c}", vec![member("/a~1b"), text("-"), member("/c")]),
            ("$/id", vec![member("$/id")]),
            ("{$/a}{key}{key.2}", vec![member("$/a"), Part::Key(None), Part::Key(Some(1))]),
            (
                "x{device}y{entry}",
                vec![text("x"), Part::Level("device".into()), text("y"), Part::Entry],
            ),
        ] {
            assert_eq!(template(of).unwrap().parts, expected, "{of}");
            assert_eq!(String::from(template(of).unwrap()), of);
        }
        for bad in [
            "", "{", "a}", "{}", "{a b}", "{device", "{{x}}", "{é}", "{$x}", "{a~/}", "{key.0}",
            "{key.4}", "{key.x}", "$x}",
        ] {
            assert!(template(bad).is_err(), "{bad}");
        }
        assert_eq!(template("{a}{/b}{c}").unwrap().levels().collect::<Vec<_>>(), ["a", "c"]);
        assert!(template("a-{device}-{entry}").unwrap().is_of_topic());
        assert!(!template("/a").unwrap().is_of_topic());
        assert!(!template("{key}").unwrap().is_of_topic());
        for (text, levels) in [("a{/b}", 0), ("{key}", 1), ("{key.3}{key}", 3)] {
            assert_eq!(template(text).unwrap().each_levels(), levels, "{text}");
        }
    }
}
