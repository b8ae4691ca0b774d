//! Text with places that a record fills when it leaves: `"plants/{tag.site}/{sensor}"`.
//!
//! | place | what fills it |
//! | --- | --- |
//! | `{entry}` | the name of the record's entry |
//! | `{sensor}` | the sensor's id |
//! | `{quantity}` | the record's quantity |
//! | `{tag.site}` | its tag `site` |
//!
//! For what a record does not have another word is written, so that a place is never empty. That word, and how a text
//! is escaped, is the affair of whoever writes it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{View, Whose, places};

/// Ends a name in a key: a byte that stands in no UTF-8.
const END: u8 = 0xff;

/// What a tag's place begins with.
const TAG: &str = "tag.";

/// A text with places.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(
    with = "String",
    extend("pattern" = "^([^{}]|\\{(entry|sensor|quantity|tag\\.[^{}]+)\\})+$"),
    extend("examples" = ["{entry}", "{tag.site}-{quantity}"])
)]
pub struct Pattern {
    text: String,
    parts: Vec<Part>,
}

/// A part of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Entry,
    Sensor,
    Quantity,
    Tag(String),
}

/// What a record fills places with.
#[derive(Debug, Default)]
pub struct Filling<'a> {
    entry: Cow<'a, str>,
    sensor: Cow<'a, str>,
    labels: Labels,
}

/// What a record says beside its value.
#[derive(Debug, Default, Deserialize)]
pub struct Labels {
    /// By name.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Empty where there is none.
    #[serde(default)]
    pub quantity: String,
}

impl Labels {
    /// Reads `"tags":{…},"quantity":…,"unit":…`.
    pub fn read(labels: &[u8]) -> Self {
        serde_json::from_slice(&[b"{", labels, b"}"].concat()).unwrap_or_default()
    }
}

impl<'a> Filling<'a> {
    /// What this record fills them with.
    pub fn of(view: &View<'a>) -> Self {
        let sensor = match view.sensor {
            Whose::Counted(json, _) => plain(json),
            Whose::Uncounted(id) => String::from_utf8_lossy(id),
        };
        Self { entry: plain(view.entry), sensor, labels: Labels::read(view.labels) }
    }

    /// What a dead letter fills them with: it has no tags.
    pub fn of_letter(entry: Option<&'a str>, sensor: &'a str) -> Self {
        let (entry, sensor) = (entry.unwrap_or_default().into(), sensor.into());
        Self { entry, sensor, labels: Labels::default() }
    }
}

/// The text of a JSON string; empty where there is none.
fn plain(json: &str) -> Cow<'_, str> {
    match json.strip_prefix('"').and_then(|it| it.strip_suffix('"')) {
        Some(text) if !text.contains('\\') => text.into(),
        _ => serde_json::from_str::<String>(json).unwrap_or_default().into(),
    }
}

impl Pattern {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a record has anything to fill.
    pub fn has_places(&self) -> bool {
        self.parts.iter().any(|it| !matches!(it, Part::Text(_)))
    }

    /// The tags that it has places for.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|it| if let Part::Tag(it) = it { Some(&**it) } else { None })
    }

    /// Whether it has a place for the entry.
    pub fn has_entry(&self) -> bool {
        self.parts.contains(&Part::Entry)
    }

    /// Whether it has a place for the quantity.
    pub fn has_quantity(&self) -> bool {
        self.parts.contains(&Part::Quantity)
    }

    /// Appends it, its places filled: with what a record has, escaped, or with this word.
    pub fn fill(
        &self,
        of: &Filling<'_>,
        out: &mut String,
        absent: &str,
        escape: impl Fn(&mut String, &str),
    ) {
        for part in &self.parts {
            let filling = match part {
                Part::Text(text) => {
                    out.push_str(text);
                    continue;
                }
                Part::Entry => &of.entry,
                Part::Sensor => &of.sensor,
                Part::Quantity => &*of.labels.quantity,
                Part::Tag(name) => of.labels.tags.get(name).map_or("", String::as_str),
            };
            if filling.is_empty() { out.push_str(absent) } else { escape(out, filling) }
        }
    }

    /// It, with this in place of each place.
    pub fn with(&self, each: &str) -> String {
        let parts = self.parts.iter().map(|it| if let Part::Text(text) = it { text } else { each });
        parts.collect()
    }

    /// Appends what of a record fills it: with the same text here, it is filled alike.
    pub fn key(&self, out: &mut Vec<u8>, view: &View<'_>) {
        let asks = |wanted: fn(&Part) -> bool| self.parts.iter().any(wanted);
        if asks(|it| *it == Part::Entry) {
            out.extend_from_slice(view.entry.as_bytes());
            out.push(END);
        }
        if asks(|it| *it == Part::Sensor) {
            out.extend_from_slice(match view.sensor {
                Whose::Counted(json, _) => json.as_bytes(),
                Whose::Uncounted(id) => id,
            });
            out.push(END);
        }
        if asks(|it| matches!(it, Part::Quantity | Part::Tag(_))) {
            out.extend_from_slice(view.labels);
        }
    }
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.is_empty() {
            return Err("is empty: write a text, perhaps with {sensor}".into());
        }
        let parts = places::parts(&text, Part::Text, |name| {
            Ok(match name {
                "entry" => Part::Entry,
                "sensor" => Part::Sensor,
                "quantity" => Part::Quantity,
                _ => match name.strip_prefix(TAG).filter(|it| !it.is_empty()) {
                    Some(tag) if !tag.contains('{') => Part::Tag(tag.to_owned()),
                    _ => return Err(no_place(name)),
                },
            })
        })?;
        Ok(Self { text, parts })
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.text
    }
}

fn no_place(name: &str) -> String {
    format!(
        "holds {{{name}}}, which is no place: write {{entry}}, {{sensor}}, {{quantity}} or {{tag.name}}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::record::Arrival;

    fn pattern(text: &str) -> Result<Pattern, String> {
        Pattern::try_from(text.to_owned())
    }

    pub(super) fn view<'a>(sensor: Whose<'a>, entry: &'a str, labels: &'a str) -> View<'a> {
        View {
            sensor,
            entry,
            value: b"1",
            timestamp: b"",
            received: Timestamp::from_millis(0),
            labels: labels.as_bytes(),
            topic: b"",
            extra: b"",
            arrival: Arrival::default(),
            expires: None,
        }
    }

    const LABELS: &str = r#""tags":{"site":"no\"rth","a.b":"x"},"quantity":"t","unit":"C""#;

    #[test]
    fn places_are_filled_and_never_empty() {
        let all = "{entry}/{sensor}-{tag.site}.{tag.a.b}{quantity}";
        let whole = view(Whose::Counted("\"a\\\"b\"", 1), "\"fleet\"", LABELS);
        let bare = view(Whose::Uncounted(b"S1"), "", "");
        for (of, expected) in [(&whole, "fleet/a\"b-no\"rth.xt"), (&bare, "_/S1-_.__")] {
            let mut out = String::new();
            pattern(all).unwrap().fill(&Filling::of(of), &mut out, "_", String::push_str);
            assert_eq!(out, expected);
        }
        let mut out = String::new();
        let letter = Filling::of_letter(None, "S1");
        pattern(all).unwrap().fill(&letter, &mut out, "_", |out, it| out.push_str(&it.repeat(2)));
        assert_eq!(out, "_/S1S1-_.__", "only what fills is escaped");
        assert_eq!(pattern(all).unwrap().with("+"), "+/+-+.++");
    }

    #[test]
    fn records_that_differ_in_what_fills_a_pattern_have_different_keys() {
        let key = |text: &str, of: &View<'_>| {
            let mut out = Vec::new();
            pattern(text).unwrap().key(&mut out, of);
            out
        };
        let one = view(Whose::Counted("\"a\"", 1), "\"e\"", LABELS);
        let later = View { sensor: Whose::Counted("\"a\"", 2), value: b"2", ..one };
        let others = [
            ("{entry}", View { entry: "\"f\"", ..one }),
            ("{sensor}", View { sensor: Whose::Counted("\"b\"", 1), ..one }),
            ("{sensor}", View { sensor: Whose::Uncounted(b"a"), ..one }),
            ("{quantity}", View { labels: b"", ..one }),
            ("{tag.site}", View { labels: b"", ..one }),
        ];
        for (text, other) in others {
            assert_eq!(key(text, &one), key(text, &later), "{text}");
            assert_ne!(key(text, &one), key(text, &other), "{text}");
        }
        assert!(key("plain", &one).is_empty() && !pattern("plain").unwrap().has_places());
        assert_eq!(key("{entry}", &one), key("{entry}", &others[1].1), "of what it asks for");
    }

    #[test]
    fn what_is_no_place_is_named() {
        for (text, words) in [
            ("a{id}", "{id}, which is no place"),
            ("{tag.}", "{tag.}, which"),
            ("{tag.{x}", "no place"),
            ("{}", "{}, which"),
            ("a}", "} without its {"),
            ("a{b", "{ without its }"),
        ] {
            let said = pattern(text).unwrap_err();
            assert!(said.contains(words), "{text}: {said}");
        }
    }
}
