//! The topics of an entry: what it subscribes to, and what of that it leaves out.
//!
//! Each topic is a subscription of its own. A message says on which topic it came, so the topics of one entry must
//! not overlap: it would come twice. They name the same levels, so that a template means the same on all of them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::codec::mapping::several::{OneOrMany, one_or_many, several};
use crate::mqtt::topic::{Filter, LEVELS_MAX};

/// Topics of an entry, and those that it leaves out, at most. More are refused.
pub const TOPICS_MAX: usize = 16;

/// One filter, or several.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Value", into = "Value")]
#[schemars(with = "OneOrMany<Filter>")]
pub struct Filters(pub(super) Vec<Filter>);

impl Filters {
    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Filter> {
        self.0.iter()
    }
}

impl TryFrom<Value> for Filters {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        several(value, "\"plant/+/temperature\"", "[\"plant/+\", \"yard/+\"]").map(Self)
    }
}

impl From<Filters> for Value {
    fn from(filters: Filters) -> Self {
        one_or_many(filters.0)
    }
}

impl Filters {
    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The topics of an entry.
#[derive(Debug)]
pub(super) struct Topics {
    all: Vec<Topic>,
    ignored: Vec<Filter>,
}

/// One of them.
#[derive(Debug)]
struct Topic {
    filter: Filter,
    /// The place of each of its names among those of the first topic.
    places: Vec<usize>,
}

impl Topics {
    /// These, without those.
    pub(super) fn new(filters: &[&Filter], ignored: &[Filter]) -> Self {
        let names = filters.first().map(|it| it.names()).unwrap_or_default();
        let place = |name: &String| names.iter().position(|it| it == name);
        let topic = |filter: &&Filter| Topic {
            filter: Filter::clone(filter),
            places: filter.names().iter().filter_map(place).collect(),
        };
        Self { all: filters.iter().map(topic).collect(), ignored: ignored.to_vec() }
    }

    /// Another topic, with its levels in the order of the first one's names.
    pub(super) fn beside(first: &Filter, other: &Filter) -> Self {
        let mut topics = Self::new(&[first, other], &[]);
        topics.all.remove(0);
        topics
    }

    /// The topic that a name matches.
    fn of(&self, name: &str) -> Option<&Topic> {
        self.all.iter().find(|it| it.filter.matches(name))
    }

    /// Whether one of them matches.
    pub(super) fn match_it(&self, name: &str) -> bool {
        self.of(name).is_some()
    }

    /// Whether it is left out.
    pub(super) fn ignore(&self, name: &str) -> bool {
        self.ignored.iter().any(|it| it.matches(name))
    }

    /// What a topic that matches has at the named levels, in the order of the first topic's names.
    pub(super) fn levels<'a>(&self, name: &'a str) -> [&'a str; LEVELS_MAX] {
        let Some(topic) = self.of(name) else { return [""; LEVELS_MAX] };
        let found = topic.filter.levels(name);
        let mut levels = [""; LEVELS_MAX];
        for (level, place) in found.into_iter().zip(&topic.places) {
            *levels.get_mut(*place).expect("a filter has few names") = level;
        }
        levels
    }

    /// The level of `{sensor}`, where there is one.
    pub(super) fn sensor<'a>(&self, name: &'a str) -> Option<&'a [u8]> {
        self.of(name)?.filter.sensor(name.as_bytes())
    }
}

/// The names of a topic's levels, in the order of letters.
fn names(filter: &Filter) -> Vec<String> {
    let mut names = filter.names();
    names.sort();
    names
}

/// What is wrong with the topics of an entry: the key, and the text.
pub(super) fn problems(filters: &[&Filter], ignored: &[Filter]) -> Vec<(&'static str, String)> {
    let mut problems = Vec::new();
    let Some(first) = filters.first() else {
        let text = "is missing: give a topic such as \"plant/boiler/temperature\"";
        return vec![("topic", text.to_owned())];
    };
    for (key, count) in [("topics", filters.len()), ("ignore", ignored.len())] {
        if count > TOPICS_MAX {
            let text =
                format!("holds {count}: write {TOPICS_MAX} at most, or join some with a wildcard");
            problems.push((key, text));
        }
    }
    for (at, filter) in filters.iter().enumerate() {
        let before = filters.iter().take(at);
        if let Some(other) = before.into_iter().find(|it| it.overlaps(filter)) {
            let text =
                format!("{other} and {filter} may match the same message, which would come twice");
            problems.push(("topics", text));
        }
        if names(filter) != names(first) {
            let text = format!(
                "{first} and {filter} name different levels: name the same ones in each topic"
            );
            problems.push(("topics", text));
        }
    }
    problems
}

/// Those of `ignored` that can match no message of the topics.
pub(super) fn idle<'a>(
    filters: &[&Filter],
    ignored: &'a [Filter],
) -> impl Iterator<Item = &'a Filter> {
    ignored.iter().filter(|it| !filters.iter().any(|filter| filter.overlaps(it)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(texts: &[&str]) -> Vec<Filter> {
        texts.iter().map(|it| Filter::try_from((*it).to_owned()).unwrap()).collect()
    }

    #[test]
    fn a_level_is_found_by_its_name_whichever_topic_it_is_of() {
        let all = filters(&["tele/{site}/{sensor}/SENSOR", "{sensor}/of/{site}"]);
        let topics = Topics::new(&all.iter().collect::<Vec<_>>(), &filters(&["tele/+/lwt/#"]));
        for (name, levels, sensor) in [
            ("tele/north/t1/SENSOR", ["north", "t1"], "t1"),
            ("t2/of/south", ["south", "t2"], "t2"),
        ] {
            assert_eq!(topics.levels(name)[..2], levels);
            assert_eq!(topics.sensor(name), Some(sensor.as_bytes()));
            assert!(topics.match_it(name) && !topics.ignore(name));
        }
        assert!(!topics.match_it("t2/of") && topics.ignore("tele/x/lwt"));
    }

    #[test]
    fn topics_that_do_not_fit_together_are_named() {
        let many: Vec<String> = (0..=TOPICS_MAX).map(|n| format!("t/{n}")).collect();
        let many: Vec<&str> = many.iter().map(|it| &**it).collect();
        for (texts, ignored, expected) in [
            (&[][..], &[][..], Some(("topic", "is missing"))),
            (&["a/{x}/b", "a/+/c"], &[], Some(("topics", "name different levels"))),
            (&["a/{x}", "a/{x}/b", "a/+"], &[], Some(("topics", "a/{x} and a/+ may match"))),
            (&many, &[], Some(("topics", "holds 17: write 16 at most"))),
            (&["#"], &many, Some(("ignore", "holds 17"))),
            (&["a/{x}/{y}", "b/{y}/{x}"], &["a/lwt"], None),
        ] {
            let all = filters(texts);
            let found = problems(&all.iter().collect::<Vec<_>>(), &filters(ignored));
            match expected {
                Some((key, words)) => {
                    assert!(
                        found.iter().any(|it| it.0 == key && it.1.contains(words)),
                        "{found:?}"
                    );
                }
                None => assert_eq!(found, []),
            }
        }
        let (all, ignored) = (filters(&["a/+", "b/#"]), filters(&["c/d", "b/c", "+/x"]));
        let idle: Vec<String> =
            idle(&all.iter().collect::<Vec<_>>(), &ignored).map(ToString::to_string).collect();
        assert_eq!(idle, ["c/d"]);
    }
}
