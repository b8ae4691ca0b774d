//! Topic names and filters, checked when made (MQTT 5 §4.7, the same in 3.1.1).

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::limits::TOPIC_MADE_BYTES_MAX;

/// The name of the level that gives the sensor's id, unless the entry says otherwise.
pub const SENSOR: &str = "sensor";

/// Levels of a filter that have names. More are refused.
pub const LEVELS_MAX: usize = 8;

/// A topic's longest length in bytes (MQTT 5 §1.5.4).
pub const TOPIC_BYTES_MAX: usize = 65_535;

/// What is wrong with a topic or filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    #[error("is empty; give a topic such as \"plant/boiler/temperature\"")]
    Empty,
    #[error("has {0} bytes; MQTT allows 65535")]
    TooLong(usize),
    /// U+0000 is forbidden.
    #[error("holds a NUL character, which MQTT forbids")]
    Nul,
    #[error("holds the wildcard {0:?}; a message has one exact topic")]
    Wildcard(char),
    /// A wildcard that is not a whole level.
    #[error("has {0:?} inside the level {1:?}; a wildcard stands alone between slashes")]
    PartialWildcard(char, String),
    /// `#` before the end.
    #[error("has \"#\" before its last level; it can only be the last")]
    HashNotLast,
    #[error("names {{{0}}} more than once; give the levels different names")]
    TwoPlaceholders(String),
    #[error(
        "has braces in the level {0:?}; a placeholder is a whole level with a name of letters, digits and _, \
         {{sensor}}"
    )]
    Placeholder(String),
    #[error("has more than {LEVELS_MAX} levels with names; write + where the name is not used")]
    Placeholders,
    /// A place of a topic to publish to that nothing fills.
    #[error("{0}")]
    Place(String),
    #[error(
        "has {0} bytes with one for each place; topics with places have {TOPIC_MADE_BYTES_MAX} at most"
    )]
    TooLongToMake(usize),
    /// A topic to publish to has no placeholder.
    #[error(
        "has braces in the level {0:?}; what is published goes to one exact topic, without {{sensor}}"
    )]
    Brace(String),
    /// MQTT takes a blank as part of the topic.
    #[error("begins or ends with a blank, which would be part of it; remove the blank")]
    Blank,
    /// Some brokers take it for a shared subscription.
    #[error(
        "begins with \"$queue/\", which some brokers take for a shared subscription; write the filter \
         alone and group = \"…\" beside it"
    )]
    Queue,
    /// The group has a key of its own.
    #[error("begins with \"$share\"; write the filter alone and group = \"…\" beside it")]
    Share,
    /// A group that cannot stand in a shared subscription.
    #[error("is not usable as a group: it is empty or holds one of / + #")]
    Group,
}

/// A topic to publish to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(
    extend("minLength" = 1, "maxLength" = TOPIC_BYTES_MAX),
    extend("pattern" = "^[^+#{}\\u0000]+$", "examples" = ["gateway/batches"])
)]
pub struct Topic(Arc<str>);

impl Topic {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// One that names of sensors have made: braces and blanks are a part of it. `None` where MQTT has no such topic.
    pub fn made(text: &str) -> Option<Self> {
        let is_usable = (1..=TOPIC_BYTES_MAX).contains(&text.len());
        (is_usable && !text.contains(['+', '#', '\0'])).then(|| Self(text.into()))
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Topic {
    type Error = TopicError;

    fn try_from(text: String) -> Result<Self, TopicError> {
        check_length(&text)?;
        if let Some(wildcard) = text.chars().find(|c| matches!(c, '+' | '#')) {
            return Err(TopicError::Wildcard(wildcard));
        }
        match text.split('/').find(|level| level.contains(['{', '}'])) {
            Some(level) => Err(TopicError::Brace(level.to_owned())),
            None => Ok(Self(text.into())),
        }
    }
}

impl From<Topic> for String {
    fn from(topic: Topic) -> Self {
        topic.0.to_string()
    }
}

/// What to subscribe to. Levels in braces have a name, and match as `+` does; `{sensor}` gives the sensor's id.
///
/// ```
/// use sluicegate::mqtt::topic::Filter;
/// let filter = Filter::try_from("sensors/{sensor}/reading".to_owned())?;
/// assert_eq!(filter.subscription(None), "sensors/+/reading");
/// assert_eq!(filter.subscription(Some("g")), "$share/g/sensors/+/reading");
/// assert_eq!(filter.sensor(b"sensors/TEMP_07/reading"), Some(&b"TEMP_07"[..]));
/// # Ok::<(), sluicegate::mqtt::topic::TopicError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(
    extend("minLength" = 1, "maxLength" = TOPIC_BYTES_MAX),
    extend("pattern" = "^(([^/+#{}\\u0000]*|\\+|\\{[A-Za-z0-9_]{1,32}\\})/)*([^/+#{}\\u0000]*|\\+|\\{[A-Za-z0-9_]{1,32}\\}|#)$"),
    extend("examples" = ["sensors/{sensor}/reading", "plant/+/temperature", "plant/#"])
)]
pub struct Filter {
    text: Arc<str>,
    /// The names of levels, and which those are.
    names: Arc<[(Box<str>, usize)]>,
}

impl Filter {
    /// The filter as it stands in SUBSCRIBE.
    pub fn subscription(&self, group: Option<&str>) -> String {
        let plain = |level| if placeholder(level).is_some() { "+" } else { level };
        let filter: Vec<&str> = self.text.split('/').map(plain).collect();
        let filter = filter.join("/");
        match group {
            Some(group) => format!("$share/{group}/{filter}"),
            None => filter,
        }
    }

    /// The sensor's id in a topic that matches: the level of `{sensor}`. `None` if the filter has no such
    /// level.
    pub fn sensor<'a>(&self, topic: &'a [u8]) -> Option<&'a [u8]> {
        let level = self.names.iter().find(|(name, _)| **name == *SENSOR)?.1;
        topic.split(|byte| *byte == b'/').nth(level)
    }

    /// The names of its levels, in their order.
    pub fn names(&self) -> Vec<String> {
        self.names.iter().map(|(name, _)| name.to_string()).collect()
    }

    /// What a topic that matches has at the named levels, in the order of the names.
    pub fn levels<'a>(&self, topic: &'a str) -> [&'a str; LEVELS_MAX] {
        let mut found = [""; LEVELS_MAX];
        let mut levels = topic.split('/').enumerate();
        for (place, (_, wanted)) in found.iter_mut().zip(self.names.iter()) {
            *place = levels.find(|(at, _)| at == wanted).map_or("", |(_, level)| level);
        }
        found
    }

    /// Whether a topic matches (MQTT 5 §4.7.1, §4.7.2).
    pub fn matches(&self, topic: &str) -> bool {
        let mut levels = topic.split('/');
        if topic.starts_with('$') && self.text.starts_with(['+', '#', '{']) {
            return false;
        }
        for wanted in self.text.split('/') {
            if wanted == "#" {
                return true;
            }
            match levels.next() {
                Some(level) if is_any(wanted) || wanted == level => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }

    /// The filter with the levels of a topic where it takes any: what it would be like if it matched.
    pub fn filled(&self, topic: &str) -> String {
        let mut levels = topic.split('/');
        let fill = |wanted| {
            let level = levels.next();
            if is_any(wanted) { level.unwrap_or(wanted) } else { wanted }
        };
        self.text.split('/').map(fill).collect::<Vec<_>>().join("/")
    }

    /// Whether there may be a topic that both match.
    pub fn overlaps(&self, other: &Self) -> bool {
        let is_any = |level: &str| is_any(level) || level == "#";
        let (mut ours, mut theirs) = (self.text.split('/'), other.text.split('/'));
        let mut is_first = true;
        loop {
            let (our, their) = match (ours.next(), theirs.next()) {
                (None, None) => return true,
                // "a/#" matches "a", too.
                (our, their) if our == Some("#") || their == Some("#") => {
                    let level = our.filter(|it| *it != "#").or(their.filter(|it| *it != "#"));
                    return !(is_first && level.is_some_and(|it| it.starts_with('$')));
                }
                (Some(our), Some(their)) => (our, their),
                (Some(_), None) | (None, Some(_)) => return false,
            };
            let of_system = is_first && (our.starts_with('$') || their.starts_with('$'));
            if our != their && (of_system || !is_any(our) && !is_any(their)) {
                return false;
            }
            is_first = false;
        }
    }

    /// Whether each topic that the other matches is matched by this one, too.
    pub fn covers(&self, other: &Self) -> bool {
        let (mut ours, mut theirs) = (self.text.split('/'), other.text.split('/'));
        let mut is_first = true;
        loop {
            let (our, their) = (ours.next(), theirs.next());
            // A wildcard at the beginning matches no topic of the broker's own (MQTT 5 §4.7.2).
            let is_hidden = is_first && their.is_some_and(|it| it.starts_with('$'));
            match (our, their) {
                (None, None) => return true,
                (Some("#"), _) => return !is_hidden,
                (Some(our), Some(their)) if our == their => {}
                (Some(our), Some(their)) if is_any(our) && their != "#" && !is_hidden => {}
                _ => return false,
            }
            is_first = false;
        }
    }

    /// Whether the filter has a `{sensor}` level, so several sensors can match.
    pub fn has_placeholder(&self) -> bool {
        self.names.iter().any(|(name, _)| **name == *SENSOR)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for Filter {
    type Error = TopicError;

    fn try_from(text: String) -> Result<Self, TopicError> {
        check_length(&text)?;
        if text.starts_with("$share/") {
            return Err(TopicError::Share);
        }
        if text.starts_with("$queue/") {
            return Err(TopicError::Queue);
        }
        let levels = text.split('/').count();
        let mut names: Vec<(Box<str>, usize)> = Vec::new();
        for (at, level) in text.split('/').enumerate() {
            match level {
                "+" => {}
                "#" if at + 1 == levels => {}
                "#" => return Err(TopicError::HashNotLast),
                _ => match placeholder(level) {
                    Some(name) if names.iter().any(|(it, _)| **it == *name) => {
                        return Err(TopicError::TwoPlaceholders(name.to_owned()));
                    }
                    Some(name) => names.push((name.into(), at)),
                    None => check_level(level)?,
                },
            }
        }
        if names.len() > LEVELS_MAX {
            return Err(TopicError::Placeholders);
        }
        Ok(Self { text: text.into(), names: names.into() })
    }
}

impl From<Filter> for String {
    fn from(filter: Filter) -> Self {
        filter.text.to_string()
    }
}

/// The name of a shared subscription's group (MQTT 5 §4.8.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^[^/+#\\u0000]+$", "examples" = ["gateways"]))]
pub struct Group(Arc<str>);

impl Group {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Group {
    type Error = TopicError;

    fn try_from(text: String) -> Result<Self, TopicError> {
        let usable = !text.is_empty() && !text.contains(['/', '+', '#', '\0']);
        if usable { Ok(Self(text.into())) } else { Err(TopicError::Group) }
    }
}

impl From<Group> for String {
    fn from(group: Group) -> Self {
        group.0.to_string()
    }
}

/// The name of a level in braces.
fn placeholder(level: &str) -> Option<&str> {
    let name = level.strip_prefix('{')?.strip_suffix('}')?;
    let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_name = (1..=32).contains(&name.len()) && name.chars().all(is_letter);
    (is_name && !matches!(name, "entry" | "key")).then_some(name)
}

/// Whether any level matches.
fn is_any(level: &str) -> bool {
    level == "+" || placeholder(level).is_some()
}

fn check_length(text: &str) -> Result<(), TopicError> {
    match text.len() {
        0 => Err(TopicError::Empty),
        bytes if bytes > TOPIC_BYTES_MAX => Err(TopicError::TooLong(bytes)),
        _ if text.contains('\0') => Err(TopicError::Nul),
        _ if text.trim().len() < text.len() => Err(TopicError::Blank),
        _ => Ok(()),
    }
}

fn check_level(level: &str) -> Result<(), TopicError> {
    if let Some(wildcard) = level.chars().find(|c| matches!(c, '+' | '#')) {
        return Err(TopicError::PartialWildcard(wildcard, level.to_owned()));
    }
    if level.contains(['{', '}']) {
        return Err(TopicError::Placeholder(level.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::RngExt;

    fn filter(text: &str) -> Result<Filter, TopicError> {
        Filter::try_from(text.to_owned())
    }

    #[test]
    fn filters_are_checked_when_made() {
        for good in ["a", "a/b", "+", "#", "a/+/b/#", "/", "{sensor}", "$SYS/x", "a//b", "é/ü"] {
            assert!(filter(good).is_ok(), "{good}");
        }
        for (bad, error) in [
            ("", TopicError::Empty),
            ("a/#/b", TopicError::HashNotLast),
            ("a/b+/c", TopicError::PartialWildcard('+', "b+".into())),
            ("a/{i d}/b", TopicError::Placeholder("{i d}".into())),
            ("a/{entry}/b", TopicError::Placeholder("{entry}".into())),
            ("a/x{id}/b", TopicError::Placeholder("x{id}".into())),
            ("{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}", TopicError::Placeholders),
            ("{sensor}/{sensor}", TopicError::TwoPlaceholders("sensor".into())),
            ("$share/g/a", TopicError::Share),
            ("$queue/a", TopicError::Queue),
            ("a/b ", TopicError::Blank),
            ("\ta", TopicError::Blank),
            ("a\0b", TopicError::Nul),
        ] {
            assert_eq!(filter(bad), Err(error), "{bad}");
        }
    }

    #[test]
    fn the_placeholder_gives_the_sensor_and_nothing_else_does() {
        let sensors = filter("a/+/{sensor}/#").unwrap();
        assert_eq!(sensors.sensor(b"a/x/S1/t/u"), Some(&b"S1"[..]));
        assert_eq!(sensors.sensor(b"a/x"), None);
        assert_eq!(filter("a/+").unwrap().sensor(b"a/x"), None);
        let named = filter("{site}/+/{device}/#").unwrap();
        assert_eq!(named.subscription(None), "+/+/+/#");
        assert_eq!(
            (named.names(), named.has_placeholder()),
            (vec!["site".into(), "device".into()], false)
        );
        assert_eq!(named.levels("north/x/d1/t")[..3], ["north", "d1", ""]);
        assert_eq!(named.levels("north")[..2], ["north", ""]);
    }

    #[test]
    fn filters_match_as_the_standard_says() {
        for (filter_text, topic, matches) in [
            ("a/b", "a/b", true),
            ("a/b", "a/b/c", false),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("a/+", "a", false),
            ("a/+", "a/", true),
            ("+/{sensor}/x", "a/b/x", true),
            ("#", "$SYS/x", false),
            ("+/x", "$SYS/x", false),
            ("$SYS/#", "$SYS/x", true),
        ] {
            assert_eq!(
                filter(filter_text).unwrap().matches(topic),
                matches,
                "{filter_text} {topic}"
            );
        }
    }

    /// Matching as the standard defines it, level by level (§4.7.1).
    fn wanted(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            (["#"], _) | ([], []) => true,
            ([level, filter @ ..], [name, topic @ ..]) => {
                let is_any = *level == "+" || placeholder(level).is_some();
                (is_any || level == name) && wanted(filter, topic)
            }
            _ => false,
        }
    }

    #[test]
    fn any_text_is_a_filter_that_matches_as_the_standard_says_or_an_error() {
        let samples = [
            "a/b/c",
            "a/+/{sensor}/#",
            "+/+/+",
            "#",
            "/",
            "$SYS/broker/x",
            "$share/g/a",
            "{sensor}",
            "sensors/TEMP_07/reading",
            "sensors/{sensor}/reading",
            "a//b",
            "a/b/{id}",
            "é/ü/\u{0}",
        ];
        let mut matched = [0_u64; 2];
        crate::fuzz::fuzz(60_000, &samples, |bytes, rng| {
            let text = String::from_utf8_lossy(bytes).into_owned();
            // A topic that may match: the filter with its wildcards filled in, or any sample.
            let topic = if rng.random() {
                text.replace("{sensor}", "s").replace('+', "p").replace('#', "q/r")
            } else {
                samples[rng.random_range(0..samples.len())].to_owned()
            };
            assert!(
                Topic::try_from(topic.clone()).is_ok_and(|it| it.as_str() == topic) || {
                    topic.is_empty()
                        || topic.len() > TOPIC_BYTES_MAX
                        || topic.contains(['+', '#', '\0', '{', '}'])
                        || topic.trim() != topic
                }
            );
            let group = Group::try_from(text.clone());
            assert!(group.is_err() || !text.contains('/'));
            let Ok(filter) = Filter::try_from(text.clone()) else { return };
            assert_eq!(filter.to_string(), text);
            assert_eq!(String::from(filter.clone()), text);
            let asked = filter.subscription(None);
            assert!(!asked.contains(['{', '}']) && self::filter(&asked).is_ok(), "{asked}");
            let split = |text| str::split(text, '/').collect::<Vec<_>>();
            // Matching allocates nothing, however long the topic.
            let looked = allocation_counter::measure(|| {
                std::hint::black_box((filter.matches(&topic), filter.sensor(bytes)));
            });
            assert_eq!(looked.count_total, 0);
            let hidden = topic.starts_with('$') && ["+", "#"].contains(&split(&asked)[0]);
            let expected = !hidden && wanted(&split(&text), &split(&topic));
            assert_eq!(filter.matches(&topic), expected, "{topic:?}");
            matched[usize::from(expected)] += 1;
            let sensor = filter.sensor(topic.as_bytes());
            assert!(!expected || sensor.is_some() == filter.has_placeholder());
            assert!(filter.sensor(bytes).is_none_or(|it| !it.contains(&b'/')));
        });
        assert!(matched.iter().all(|it| *it > 1000), "both happen: {matched:?}");
    }

    #[test]
    fn filters_overlap_where_a_topic_matches_both() {
        for (one, other, expected) in [
            ("a/b", "a/b", true),
            ("a/b", "a/c", false),
            ("a/+", "+/b", true),
            ("a/{sensor}", "a/+", true),
            ("a/+/c", "a/b/d", false),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("a/#", "b/#", false),
            ("a/b", "a", false),
            ("#", "a/b", true),
            ("#", "$SYS/a", false),
            ("+/a", "$SYS/a", false),
            ("$SYS/#", "$SYS/a", true),
            ("#", "+/a", true),
        ] {
            let [one, other] = [one, other].map(|it| filter(it).unwrap());
            assert_eq!(one.overlaps(&other), expected, "{one} {other}");
            assert_eq!(other.overlaps(&one), expected, "{other} {one}");
        }
    }

    proptest! {
        /// As far as a topic shows it.
        #[test]
        fn filters_that_both_match_a_topic_overlap(
            one in prop::collection::vec(prop::sample::select(LEVELS), 1..4),
            other in prop::collection::vec(prop::sample::select(LEVELS), 1..4),
            topic in prop::collection::vec(prop::sample::select(&["a", "b", "$"][..]), 1..4),
        ) {
            let (one, other) = (filter(&one.join("/")), filter(&other.join("/")));
            let (Ok(one), Ok(other)) = (one, other) else { return Ok(()) };
            let topic = topic.join("/");
            prop_assert!(!(one.matches(&topic) && other.matches(&topic)) || one.overlaps(&other));
        }
    }

    #[test]
    fn a_filter_covers_one_of_which_it_matches_each_topic() {
        for (one, other, expected) in [
            ("a/b", "a/b", true),
            ("a/+", "a/b", true),
            ("a/b", "a/+", false),
            ("a/+", "a/{sensor}", true),
            ("a/{sensor}", "a/+", true),
            ("a/+", "a/#", false),
            ("a/+/#", "a/#", false),
            ("a/#", "a", true),
            ("a/#", "a/#", true),
            ("a/#", "a/+/c", true),
            ("#", "+/a", true),
            ("#", "$SYS/a", false),
            ("+/a", "$SYS/a", false),
            ("$SYS/#", "$SYS/a", true),
            ("a", "a/b", false),
        ] {
            let [one, other] = [one, other].map(|it| filter(it).unwrap());
            assert_eq!(one.covers(&other), expected, "{one} {other}");
        }
    }

    const LEVELS: &[&str] = &["a", "b", "$", "+", "#"];

    #[test]
    fn a_topic_has_no_wildcard() {
        assert!(Topic::try_from("gateway/batches".to_owned()).is_ok());
        assert_eq!(Topic::try_from("a/+".to_owned()), Err(TopicError::Wildcard('+')));
        let brace = TopicError::Brace("{sensor}".into());
        assert_eq!(Topic::try_from("out/{sensor}".to_owned()), Err(brace));
        assert_eq!(Topic::try_from("out ".to_owned()), Err(TopicError::Blank));
        assert_eq!(Group::try_from("a/b".to_owned()), Err(TopicError::Group));
    }
}
