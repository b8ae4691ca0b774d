//! Settings that are valid and in vain: places where nothing can ever be ([`places`]), keys that nothing can ever use
//! ([`keys`]), and places of the output that no entry fills ([`output`]).
//!
//! A rule warns only of what no message can change. Each is a function of the list below, and looks at one entry; those of
//! the output look at all.

use super::Plan;
use crate::codec::Codec;
use crate::codec::mapping::settings::Settings;
use crate::mqtt::options::Version;
use crate::source::{Kind, mqtt};

mod keys;
mod output;
mod places;
#[cfg(test)]
mod tests;

/// An entry that has payloads, as the rules see it.
struct Entry<'p> {
    kind: &'p Kind,
    codec: &'p Codec,
    mapping: Settings,
    version: Version,
}

/// A key of the entry's section, and what of it is in vain, with the remedy.
type Idle = (String, String);

/// What each entry is asked.
const RULES: [fn(&Entry<'_>) -> Vec<Idle>; 12] = [
    keys::idle_ignores,
    keys::ignored_topics,
    keys::properties_of_none,
    places::members_of_none,
    places::fields_of_senml,
    places::later_places,
    places::later_templates,
    keys::zone_of_offsets,
    keys::window_of_no_time,
    keys::numbers_of_none,
    keys::units_of_one_record,
    keys::quantity_of_several,
];

impl Plan {
    /// What is in vain: key, and why, with the remedy.
    pub(super) fn idle(&self) -> Vec<Idle> {
        let mut idle = Vec::new();
        for (name, kind) in &self.sensors {
            let (Some(mapping), Some(payload)) = (kind.mapping(), kind.payload()) else { continue };
            let version = self.broker.version;
            let entry = Entry { kind, codec: &payload.0, mapping, version };
            let of = |(key, text)| (format!("sensors.{name}.{}.{key}", kind.name()), text);
            idle.extend(RULES.iter().flat_map(|rule| rule(&entry)).map(of));
        }
        idle.extend(self.places_of_the_output());
        idle
    }
}

impl Entry<'_> {
    fn mqtt(&self) -> Option<&mqtt::Settings> {
        if let Kind::Mqtt(settings) = self.kind { Some(settings) } else { None }
    }

    /// Whether places are those of a program's objects, and not of what the codec reads.
    const fn has_objects(&self) -> bool {
        self.mapping.transform.is_some()
    }
}
