//! `/api/entries`: each configured entry with what it is, how its session stands, and its books.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::View;
use super::snapshot::{self, Listed, Session};
use crate::clock::Now;
use crate::source::Kind;
use crate::text;

/// Topics of an entry that are shown.
const TOPICS_SHOWN_MAX: usize = 4;

/// The body of `/api/entries`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Entries {
    entries: Vec<Entry>,
}

/// An entry.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    #[serde(flatten)]
    sums: snapshot::Entry,
    /// `mqtt`, `simulated`, …. Absent where it was removed and something of it is still held, and for `(others)`: sensors of no entry,
    /// which a spool has named.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    /// Its topics with MQTT, the first four.
    topics: Vec<String>,
    /// Its topics that are not shown.
    topics_left_out: usize,
    /// The connection that carries it, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<Session>,
    /// Those of this run, by reason.
    dead_letters: BTreeMap<&'static str, u64>,
}

/// The body of `/api/entries`.
pub(super) fn entries(view: &View, now: Now) -> String {
    let sessions: BTreeMap<_, _> = view.sessions().into_iter().collect();
    let (plan, letters) = (view.plan.get(), view.books.tally.by_entry());
    let mut entries = Vec::new();
    for Listed { place, name, sum } in view.entries() {
        let kind = plan.sensors.get(&name);
        let (topics, topics_left_out) = kind.map(topics).unwrap_or_default();
        let session = kind.map(|kind| session_name(&name, kind));
        let session = session.and_then(|name| Some((sessions.get(&name)?.clone(), name)));
        let reasons = place.map(|place| letters.range((place, "")..(place + 1, "")));
        entries.push(Entry {
            kind: kind.map(Kind::name),
            topics,
            topics_left_out,
            session: session.map(|(seen, name)| Session::new(name, seen, now)),
            dead_letters: reasons
                .into_iter()
                .flatten()
                .map(|((_, reason), count)| (*reason, *count))
                .collect(),
            sums: snapshot::Entry::new(name, &sum),
        });
    }
    super::json::written(&Entries { entries })
}

/// As `/api/status` names it.
fn session_name(entry: &str, kind: &Kind) -> String {
    let session = if let Kind::Mqtt(it) = kind { it.session_of(entry) } else { entry };
    format!("sensors.{session}")
}

/// The first topics, and how many there are more.
fn topics(kind: &Kind) -> (Vec<String>, usize) {
    let Kind::Mqtt(settings) = kind else { return Default::default() };
    let shown = settings.filters().take(TOPICS_SHOWN_MAX);
    let shown: Vec<_> = shown.map(|it| text::shown(&it.to_string()).into_owned()).collect();
    let left_out = settings.filters().count() - shown.len();
    (shown, left_out)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::ops::tests::view;
    use crate::settlement::Outcome;
    use crate::state::tally::Cause;
    use crate::state::waiting::Part;

    #[test]
    fn an_entry_tells_its_session_its_topics_and_its_dead_letters_by_reason() {
        let view = view();
        let tally = &view.books.tally;
        for (reason, entry) in [("malformed", 0), ("empty", 0), ("malformed", 0), ("oversize", 1)] {
            tally.note(Cause::new(reason, "s", Some(entry), b"", b"a"));
        }
        let standing = view.books.standings.session("fleet", view.started.instant);
        standing.usable(view.started.instant);
        let mut waiting = Part::new(view.books.registry.waiting(1));
        waiting.set(3);
        let told: Value = serde_json::from_str(&entries(&view, view.started)).unwrap();
        let [fleet, made, others] = told["entries"].as_array().unwrap().as_slice() else {
            panic!("{told}");
        };
        assert_eq!((&fleet["kind"], &fleet["topics"][0]), (&"mqtt".into(), &"a".into()));
        assert_eq!(
            (&fleet["session"]["name"], &fleet["session"]["usable"]),
            (&"sensors.fleet".into(), &true.into())
        );
        assert_eq!(fleet["deadLetters"], serde_json::json!({"malformed": 2, "empty": 1}));
        assert_eq!((&made["kind"], made.get("session")), (&"simulated".into(), None));
        assert_eq!(made["deadLetters"], serde_json::json!({"oversize": 1}));
        assert_eq!([fleet, made, others].map(|it| it["waiting"].as_u64().unwrap()), [0, 3, 0]);
        assert_eq!((&others["name"], others.get("kind")), (&"(others)".into(), None));
    }

    #[test]
    fn an_entry_that_was_removed_is_told_until_nothing_of_it_is_held() {
        let view = view();
        let (registry, now) = (&view.books.registry, view.started);
        let names = || {
            let told: Value = serde_json::from_str(&entries(&view, now)).unwrap();
            let all = told["entries"].as_array().unwrap().clone();
            all.iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let row = registry.row_of("a", 0);
        row.receive(now.wall);
        registry.end_entry("fleet");
        assert_eq!(names(), ["fleet", "made", "(others)"], "one is held");
        registry.enter(&view.books.metrics, &[row.index], Outcome::Delivered);
        assert_eq!(names(), ["made", "(others)"]);
        registry.end_entry("made");
        assert_eq!(names(), ["(others)"], "nothing ever came of it");
        // It begins again, and goes on from what it had.
        registry.add_entry("fleet", None);
        assert_eq!(names(), ["fleet", "(others)"]);
        assert_eq!(view.entries()[0].sum.balance.delivered, 1);
    }
}
