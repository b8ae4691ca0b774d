//! The sessions of the MQTT entries: which entries each carries, and whether they can be together.

use std::collections::BTreeMap;

use super::Plan;
use crate::limits::SOURCES_MAX;
use crate::source::mqtt::Settings;

/// Entries of one session: each message of it is looked for among their topics once.
const SESSION_ENTRIES_MAX: usize = 1024;

impl Plan {
    /// The sessions of the MQTT entries, with the names of the entries that each carries.
    pub fn sessions(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut sessions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, settings) in self.intakes() {
            sessions.entry(settings.session_of(name)).or_default().push(name);
        }
        sessions
    }

    /// A message says on which topic it came, and not by which subscription: in a session it is of one entry.
    pub(super) fn check_sessions(&self, wrong: &mut impl FnMut(&str, String)) {
        if self.sessions().len() > SOURCES_MAX {
            let text = format!(
                "more than {SOURCES_MAX} sessions of MQTT entries: join some entries with a wildcard, or by \
                 one session"
            );
            wrong("sensors", text);
        }
        for (session, names) in self.sessions() {
            let (entries, last) = (names.len(), names.last().copied().unwrap_or_default());
            if entries > SESSION_ENTRIES_MAX {
                let text = format!(
                    "{session} carries {entries} entries: give it {SESSION_ENTRIES_MAX} at most, or join some \
                     entries with a wildcard"
                );
                wrong(&format!("sensors.{last}.mqtt.session"), text);
            }
        }
        let usable = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        let mut before: Vec<(&str, &Settings)> = Vec::new();
        for (name, settings) in self.intakes() {
            let session = settings.session_of(name);
            if session.is_empty() || session.len() > 64 || !session.chars().all(usable) {
                let text =
                    format!("{session:?} is not usable: 1 to 64 letters, digits, \"-\" or \"_\"");
                wrong(&format!("sensors.{name}.mqtt.session"), text);
            }
            let others = before.iter().filter(|(other, it)| it.session_of(other) == session);
            let mut pairs = others.flat_map(|(other, it)| {
                let theirs = it.subscribed();
                theirs
                    .flat_map(move |it| settings.subscribed().map(move |topic| (other, it, topic)))
            });
            if let Some((other, it, topic)) = pairs.find(|(_, it, topic)| it.overlaps(topic)) {
                let text = format!(
                    "{topic} and the topic of sensors.{other} ({it}) may match the same message, and session \
                     {session} carries both: only one of them would take it; give one a session of its own"
                );
                wrong(&format!("sensors.{name}.mqtt.{}", settings.topic_key()), text);
            }
            before.push((name, settings));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(entries: &[(&str, &str, Option<&str>)]) -> Plan {
        let mut plan = Plan::default();
        for (name, topic, session) in entries {
            let mut settings = serde_json::json!({"topic": topic});
            if let Some(session) = session {
                settings["session"] = (*session).into();
            }
            let kind = serde_json::from_value(serde_json::json!({"mqtt": settings})).unwrap();
            plan.sensors.insert((*name).to_owned(), kind);
        }
        plan
    }

    #[test]
    fn entries_of_one_session_cost_what_one_entry_does() {
        let names: Vec<String> = (0..40).map(|entry| format!("e{entry}")).collect();
        let topics: Vec<String> = names.iter().map(|name| format!("{name}/+")).collect();
        let of = |session| {
            let entries = names.iter().zip(&topics).map(|(name, it)| (&**name, &**it, session));
            plan(&entries.collect::<Vec<_>>())
        };
        let (apart, together) = (of(None), of(Some("all")));
        assert_eq!((apart.sessions().len(), together.sessions().len()), (40, 1));
        assert_eq!(together.problems(), []);
        let one = plan(&[("e0", "e0/+", None)]);
        let [one, apart, together] = [one, apart, together].map(|it| it.budget().total());
        assert!(together < one + (1 << 20), "but for their rows and pages: {together}, {one}");
        assert!(apart > one + (4 << 20), "{apart}, {one}");
    }

    #[test]
    fn a_session_has_a_bound() {
        let names: Vec<String> = (0..=SESSION_ENTRIES_MAX).map(|it| format!("e{it:04}")).collect();
        let entries = names.iter().map(|it| (&**it, &**it, Some("s"))).collect::<Vec<_>>();
        assert_eq!(plan(&entries[1..]).problems(), []);
        assert_eq!(plan(&entries).problems()[0].0, "sensors.e1024.mqtt.session");
    }

    #[test]
    fn what_two_entries_take_needs_two_sessions() {
        for (topic, session, is_wrong) in
            [("a/+", Some("s"), true), ("a/+", None, false), ("b/+", Some("s"), false)]
        {
            let plan = plan(&[("one", "a/b", Some("s")), ("two", topic, session)]);
            let problems = plan.problems();
            let told = problems.iter().map(|it| it.0.as_str()).collect::<Vec<_>>();
            let expected: &[&str] = if is_wrong { &["sensors.two.mqtt.topic"] } else { &[] };
            assert_eq!(told, expected, "{topic} {session:?}: {problems:?}");
        }
        let named = plan(&[("one", "a", Some("a b"))]).problems();
        assert_eq!(named[0].0, "sensors.one.mqtt.session");
    }
}
