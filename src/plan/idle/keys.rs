//! Keys that nothing can ever use, beside the others of their entry.

use super::{Entry, Idle};
use crate::clock::{self, Timestamp};
use crate::codec::mapping::keys::{Decimal, Mismatch, Type};
use crate::codec::mapping::time_keys::{TimeFormat, Zone};
use crate::mqtt::options::Version;
use crate::source::mqtt::{self, OnExpiry};

/// Topics that are left out and would never come.
pub(super) fn idle_ignores(entry: &Entry<'_>) -> Vec<Idle> {
    let filters = entry.mqtt().map(mqtt::Settings::idle_ignores).unwrap_or_default();
    let text = |filter| format!("{filter} is part of no topic of the entry: it leaves nothing out");
    filters.into_iter().map(|it| ("ignore".to_owned(), text(it))).collect()
}

/// Topics of which every message is left out.
pub(super) fn ignored_topics(entry: &Entry<'_>) -> Vec<Idle> {
    let Some(settings) = entry.mqtt() else { return Vec::new() };
    let ignored = settings.filters().filter_map(|filter| {
        let by = settings.ignore.iter().find(|it| it.covers(filter))?;
        let text = format!(
            "{filter} is left out as a whole by ignore = \"{by}\": none of its messages is a reading; narrow that, or \
             remove the topic"
        );
        Some((settings.topic_key().to_owned(), text))
    });
    ignored.collect()
}

/// Settings of properties that messages of MQTT 3.1.1 do not have.
pub(super) fn properties_of_none(entry: &Entry<'_>) -> Vec<Idle> {
    let Some(settings) = entry.mqtt().filter(|_| entry.version == Version::V3) else {
        return Vec::new();
    };
    let set = [
        ("properties", !settings.properties.is_none()),
        ("expiry", settings.expiry != OnExpiry::default()),
    ];
    let text = "has no effect with version = 3: messages of MQTT 3.1.1 have no properties";
    let keys = set.into_iter().filter(|it| it.1);
    keys.map(|(key, _)| (key.to_owned(), text.to_owned())).collect()
}

/// A zone for times that say their own offset.
pub(super) fn zone_of_offsets(entry: &Entry<'_>) -> Vec<Idle> {
    use TimeFormat::{Rfc2822, Rfc3339, Unix, UnixMs, UnixNs, UnixUs};
    let Some(it) = &entry.mapping.timestamp else { return Vec::new() };
    let has_offset = matches!(it.format, Rfc3339 | Rfc2822 | Unix | UnixMs | UnixUs | UnixNs);
    if !has_offset || it.zone == Zone::default() {
        return Vec::new();
    }
    let format = serde_json::to_value(it.format).expect("a format is a word");
    let text = format!(
        "has no effect with format = {format}: such a time says its own offset; write format = \"auto\" or \"local\", or \
         remove it"
    );
    vec![("timestamp.zone".to_owned(), text)]
}

/// Times of which none is plausible now.
pub(super) fn window_of_no_time(entry: &Entry<'_>) -> Vec<Idle> {
    let Some(it) = &entry.mapping.timestamp else { return Vec::new() };
    let now = clock::now().wall.millis();
    let ahead = u64::try_from(it.plausible.ahead_max.0.as_millis()).unwrap_or(u64::MAX);
    let until = now.saturating_add(ahead);
    let since = u64::try_from(it.plausible.since.second()).unwrap_or_default().saturating_mul(1000);
    if since <= until {
        return Vec::new();
    }
    let text = format!(
        "is later than {}, the last time that is plausible now (ahead_max {}): every time of a sensor is unused; write an \
         earlier day",
        Timestamp::from_millis(until),
        it.plausible.ahead_max
    );
    vec![("timestamp.plausible.since".to_owned(), text)]
}

/// What is set of numbers where none is asked for.
pub(super) fn numbers_of_none(entry: &Entry<'_>) -> Vec<Idle> {
    let it = &entry.mapping;
    let set = [
        ("decimal", it.decimal != Decimal::default()),
        ("mismatch", it.mismatch != Mismatch::default()),
    ];
    let text = "has an effect with type = \"number\" only: write that beside it, or remove it";
    let keys = set.into_iter().filter(|(_, is_set)| *is_set && it.kind == Type::Any);
    keys.map(|(key, _)| (key.to_owned(), text.to_owned())).collect()
}

/// Units of values that are one record.
pub(super) fn units_of_one_record(entry: &Entry<'_>) -> Vec<Idle> {
    let it = &entry.mapping;
    let values = it.values.iter().filter(|(_, value)| !it.split && value.unit.is_some());
    let text =
        "has no effect without split = true: a record of several values has one unit, the entry's";
    values.map(|(name, _)| (format!("values.{name}.unit"), text.to_owned())).collect()
}

/// A quantity of values of which each has its own.
pub(super) fn quantity_of_several(entry: &Entry<'_>) -> Vec<Idle> {
    let it = &entry.mapping;
    if it.quantity.is_none() || !it.split || it.values.is_empty() {
        return Vec::new();
    }
    let text = "has no effect with split = true: the name of each value is its quantity; remove it";
    vec![("quantity".to_owned(), text.to_owned())]
}
