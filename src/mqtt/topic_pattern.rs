//! A topic to publish to, or one with places that a record fills: `"plants/{tag.site}/{sensor}"`.
//!
//! What fills a place is percent-encoded where MQTT gives it a meaning or forbids it: `/`, `+`, `#`, `$`, control
//! characters, U+0000, what is no character (MQTT 5 §1.5.4); and `%` itself. So a place is a part of one level,
//! whatever a sensor is called, and no two names become one.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::topic::{Filter, TOPIC_BYTES_MAX, Topic, TopicError};
use crate::codec::Unwritable;
use crate::codec::pattern::{Filling, Pattern};
use crate::limits::TOPIC_MADE_BYTES_MAX;

/// What fills a place for which a record has nothing.
const ABSENT: &str = "_";

/// A topic, or one for each filling of its places.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(
    with = "String",
    extend("minLength" = 1, "maxLength" = TOPIC_BYTES_MAX),
    extend("pattern" = "^([^+#{}\\u0000]|\\{(entry|sensor|quantity|tag\\.[^{}]+)\\})+$"),
    extend("examples" = ["gateway/batches", "plants/{tag.site}/{sensor}"])
)]
pub struct TopicPattern {
    pattern: Pattern,
    plain: Topic,
    /// Where it has places: what matches all topics that they may make.
    filter: Option<Filter>,
}

impl TopicPattern {
    /// Whether it stands for several topics.
    pub fn has_places(&self) -> bool {
        self.filter.is_some()
    }

    /// The topic of what fills no place: itself, where it has none.
    pub fn plain(&self) -> &Topic {
        &self.plain
    }

    /// What to subscribe to: each place as `+`.
    pub fn filter(&self) -> Result<Filter, TopicError> {
        let own = || Filter::try_from(self.plain.to_string());
        self.filter.clone().map_or_else(own, Ok)
    }

    /// It with each place as `+`: what matches this as a topic matches all topics that it may make.
    pub fn open(&self) -> String {
        let filter = self.filter.as_ref().map(|it| it.subscription(None));
        filter.unwrap_or_else(|| self.plain.to_string())
    }

    /// Bytes of a topic of it, at most.
    pub fn bytes_max(&self) -> usize {
        if self.has_places() { TOPIC_MADE_BYTES_MAX } else { self.plain.as_str().len() }
    }

    /// The topic that this makes.
    pub fn fill(&self, of: &Filling<'_>) -> Result<String, Unwritable> {
        let mut topic = String::new();
        self.pattern.fill(of, &mut topic, ABSENT, encode);
        if topic.len() <= TOPIC_MADE_BYTES_MAX {
            return Ok(topic);
        }
        let bytes = topic.len();
        Err(Unwritable(format!(
            "its topic would have {bytes} bytes, and {TOPIC_MADE_BYTES_MAX} are the most"
        )))
    }

    /// Its places.
    pub fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// Whether a topic may be one of it.
    pub fn may_make(&self, topic: &str) -> bool {
        self.filter.as_ref().is_some_and(|it| Topic::made(topic).is_some() && it.matches(topic))
    }

    /// Whether one topic may be of both.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (&self.filter, &other.filter) {
            (None, None) => self.plain == other.plain,
            (Some(one), None) => one.matches(other.plain.as_str()),
            (None, Some(other)) => other.matches(self.plain.as_str()),
            (Some(one), Some(other)) => one.overlaps(other),
        }
    }

    /// Whether a subscription may match a topic of it.
    pub fn is_matched_by(&self, filter: &Filter) -> bool {
        match &self.filter {
            Some(own) => filter.overlaps(own),
            None => filter.matches(self.plain.as_str()),
        }
    }
}

/// Appends what fills a place.
fn encode(out: &mut String, text: &str) {
    for c in text.chars() {
        if matches!(c, '/' | '+' | '#' | '%' | '$') || c.is_control() || is_noncharacter(c) {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                let digit = |it: u8| char::from_digit(it.into(), 16).unwrap_or('0');
                out.extend(
                    ['%', digit(byte >> 4), digit(byte & 15)].map(|it| it.to_ascii_uppercase()),
                );
            }
        } else {
            out.push(c);
        }
    }
}

/// Whether Unicode has it for no character: brokers may close the connection over one.
fn is_noncharacter(c: char) -> bool {
    matches!(c, '\u{fdd0}'..='\u{fdef}') || u32::from(c) & 0xfffe == 0xfffe
}

impl fmt::Display for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.pattern.as_str())
    }
}

impl TryFrom<String> for TopicPattern {
    type Error = TopicError;

    fn try_from(text: String) -> Result<Self, TopicError> {
        if text.is_empty() {
            return Err(TopicError::Empty);
        }
        let pattern = Pattern::try_from(text).map_err(TopicError::Place)?;
        let plain = Topic::try_from(pattern.with(ABSENT))?;
        if !pattern.has_places() {
            return Ok(Self { pattern, plain, filter: None });
        }
        if plain.as_str().len() > TOPIC_MADE_BYTES_MAX {
            return Err(TopicError::TooLongToMake(plain.as_str().len()));
        }
        // A level that holds a place is any level.
        let levels = pattern.with("+");
        let any = |level| if str::contains(level, '+') { "+" } else { level };
        let levels: Vec<&str> = levels.split('/').map(any).collect();
        let filter = Some(Filter::try_from(levels.join("/"))?);
        Ok(Self { pattern, plain, filter })
    }
}

impl From<TopicPattern> for String {
    fn from(topic: TopicPattern) -> Self {
        topic.pattern.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn topic(text: &str) -> TopicPattern {
        TopicPattern::try_from(text.to_owned()).unwrap()
    }

    fn filled(text: &str, sensor: &str) -> Result<String, Unwritable> {
        topic(text).fill(&Filling::of_letter(Some("fleet"), sensor))
    }

    #[test]
    fn what_fills_a_place_is_a_part_of_one_level() {
        for (sensor, expected) in [
            ("TEMP 07", "a/TEMP 07/x-fleet"),
            ("a/b", "a/a%2Fb/x-fleet"),
            ("$1+#%", "a/%241%2B%23%25/x-fleet"),
            ("\u{0}\n\u{85}\u{ffff}é{", "a/%00%0A%C2%85%EF%BF%BFé{/x-fleet"),
            ("", "a/_/x-fleet"),
        ] {
            assert_eq!(filled("a/{sensor}/x-{entry}", sensor).as_deref(), Ok(expected));
        }
        assert_eq!(filled("a/{tag.site}", "s").as_deref(), Ok("a/_"), "dead letters have no tags");
    }

    #[test]
    fn a_topic_that_would_be_too_long_is_not_made() {
        let room = TOPIC_MADE_BYTES_MAX - 2;
        assert!(filled("a/{sensor}", &"x".repeat(room)).is_ok());
        let Err(Unwritable(said)) = filled("a/{sensor}", &"x".repeat(room + 1)) else { panic!() };
        assert_eq!(said, "its topic would have 1025 bytes, and 1024 are the most");
    }

    #[test]
    fn what_cannot_be_a_topic_is_refused() {
        for (text, words) in [
            ("", "is empty"),
            ("a/+/{sensor}", "wildcard"),
            ("a/{sensor}/#", "wildcard"),
            ("a/{id}", "no place"),
            ("a/{sensor", "without its }"),
            ("$share/{sensor}/a", "$share"),
            (" {sensor}", "blank"),
            ("a\0{sensor}", "NUL"),
            (&format!("{}{{sensor}}", "x".repeat(TOPIC_MADE_BYTES_MAX)), "1025 bytes"),
        ] {
            let said = TopicPattern::try_from(text.to_owned()).unwrap_err().to_string();
            assert!(said.contains(words), "{text}: {said}");
        }
        assert!(topic(&"x".repeat(TOPIC_BYTES_MAX)).bytes_max() == TOPIC_BYTES_MAX, "as it is");
    }

    #[test]
    fn it_is_listened_to_and_compared_with_its_places_open() {
        let made = topic("plants/{tag.site}/x-{sensor}");
        assert_eq!(made.filter().unwrap().subscription(None), "plants/+/+");
        assert_eq!(made.plain().as_str(), "plants/_/x-_");
        assert!(made.may_make("plants/north/x-1") && !made.may_make("plants/x-1"));
        assert!(!made.may_make("plants/a+/x"), "no topic");
        assert!(!topic("a").may_make("a"), "it makes none");
        for (one, other, expected) in [
            ("a", "a", true),
            ("a", "b", false),
            ("a/{sensor}", "a/dead", true),
            ("a/dead", "a/{sensor}", true),
            ("a/{sensor}/x", "a/dead", false),
            ("a/{sensor}", "{entry}/b", true),
            ("a/{sensor}", "b/{sensor}", false),
        ] {
            assert_eq!(topic(one).overlaps(&topic(other)), expected, "{one} {other}");
        }
        let filter = |text: &str| Filter::try_from(text.to_owned()).unwrap();
        let ignored = |text: &str| filter(text).matches(&made.open());
        assert!(ignored("plants/+/+") && ignored("plants/#"), "all of them");
        assert!(!ignored("plants/north/+") && !ignored("plants/+/x-1"), "some of them");
        for (subscribed, published, expected) in [
            ("a/#", "a", true),
            ("a/+", "a", false),
            ("a/+", "a/{sensor}", true),
            ("a/b", "a/{sensor}", true),
            ("a/b/c", "a/{sensor}", false),
            ("{sensor}/reading", "x/{entry}", true),
        ] {
            let found = topic(published).is_matched_by(&filter(subscribed));
            assert_eq!(found, expected, "{subscribed} {published}");
        }
    }

    proptest! {
        #[test]
        fn every_sensor_has_a_topic_of_its_own_that_the_filter_matches(
            sensor in "\\PC{1,9}|[/+#%$\u{0}-\u{9f}\u{fdd0}\u{ffff}a]{1,9}",
            other in "[/+#%$2F\u{0}a]{1,9}",
        ) {
            let text = "a/{sensor}/b";
            let made = filled(text, &sensor).unwrap();
            prop_assert!(Topic::made(&made).is_some() && topic(text).may_make(&made), "{made}");
            prop_assert_eq!(made.split('/').count(), 3);
            let other_made = filled(text, &other).unwrap();
            prop_assert_eq!(made == other_made, sensor == other);
        }
    }
}
