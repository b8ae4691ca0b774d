//! Places in messages where nothing can ever be, or that another one always goes before.

use std::collections::BTreeSet;

use super::{Entry, Idle};
use crate::codec::Codec;
use crate::codec::mapping::keys::Extra;
use crate::codec::mapping::several::{Pointers, Templates};
use crate::codec::mapping::template::Template;
use crate::codec::pointer::Pointer;

impl Entry<'_> {
    /// Lists of which the first place counts that finds something.
    fn alternatives(&self) -> Vec<(String, &Pointers)> {
        let it = &self.mapping;
        let values = it.values.iter().map(|(name, it)| (format!("values.{name}"), &it.from));
        let single = [
            ("value", it.value.as_ref()),
            ("timestamp", it.timestamp.as_ref().map(|it| &it.from)),
            ("counter", it.counter.as_ref()),
        ];
        let single = single.into_iter().filter_map(|(key, it)| Some((key.to_owned(), it?)));
        values.chain(single).collect()
    }

    fn templates(&self) -> Vec<(String, &Template)> {
        let it = &self.mapping;
        let sensors =
            it.sensor.iter().flat_map(Templates::iter).map(|it| ("sensor".to_owned(), it));
        let tags = it.tags.iter().map(|(name, it)| (format!("tags.{name}"), it));
        let single = [("quantity", it.quantity.as_ref()), ("unit", it.unit.as_ref())];
        let single = single.into_iter().filter_map(|(key, it)| Some((key.to_owned(), it?)));
        sensors.chain(tags).chain(single).collect()
    }

    /// Every place in a message that is read.
    fn places(&self) -> Vec<(String, &Pointer)> {
        let each = self.mapping.each.iter().map(|it| ("each".to_owned(), it));
        let lists = each.chain(self.alternatives());
        let lists = lists.flat_map(|(key, all)| all.iter().map(move |it| (key.clone(), it)));
        let templates = self.templates().into_iter();
        let templates =
            templates.flat_map(|(key, it)| it.members().map(move |it| (key.clone(), it)));
        let extra = if let Extra::These(all) = &self.mapping.extra { &**all } else { &[] };
        let extra = extra.iter().map(|it| ("extra".to_owned(), it));
        lists.chain(templates).chain(extra).collect()
    }
}

/// Places in payloads that are one text.
pub(super) fn members_of_none(entry: &Entry<'_>) -> Vec<Idle> {
    let word = match entry.codec {
        _ if entry.has_objects() => return Vec::new(),
        Codec::Text(_) => "text",
        Codec::Raw(_) => "raw",
        _ => return Vec::new(),
    };
    let in_vain = |(key, pointer): (String, &Pointer)| {
        let is_inside = key == "each" || pointer.levels().next().is_some();
        let text = || {
            format!(
                "has {:?}, and a payload of \"{word}\" is one text, without members: nothing is ever there; write \
                 payload = \"json\", or remove it",
                pointer.to_string()
            )
        };
        is_inside.then(|| (key, text()))
    };
    entry.places().into_iter().filter_map(in_vain).collect()
}

/// What a field of `SenML` becomes in a record that is resolved.
const RESOLVED: [(&str, &str); 15] = [
    ("n", "/sensorId"),
    ("bn", "/sensorId"),
    ("v", "/value"),
    ("vs", "/value"),
    ("vb", "/value"),
    ("vd", "/value"),
    ("bv", "/value"),
    ("u", "/unit"),
    ("bu", "/unit"),
    ("t", "/timestamp"),
    ("bt", "/timestamp"),
    ("s", "/sum"),
    ("bs", "/sum"),
    ("ut", "/updateTime"),
    ("bver", "nothing"),
];

/// Places in records of `SenML` that are gone when they are resolved, or lead into a single value.
pub(super) fn fields_of_senml(entry: &Entry<'_>) -> Vec<Idle> {
    if entry.has_objects() || !matches!(entry.codec, Codec::Senml(_)) {
        return Vec::new();
    }
    let in_vain = |(key, pointer): (String, &Pointer)| {
        let mut levels = pointer.levels();
        let first = levels.next()?;
        let is_inside = key == "each" || levels.next().is_some();
        if let Some((_, becomes)) = RESOLVED.iter().find(|it| it.0 == first) {
            let text = format!(
                "has {pointer}, and a record of SenML is resolved: its \"{first}\" becomes {becomes}; write that, or \
                 remove it"
            );
            return Some((key, text));
        }
        let is_one = RESOLVED.iter().any(|it| it.1.strip_prefix('/') == Some(first));
        let text = || {
            format!("has {pointer}, and /{first} of a record of SenML is a single value: remove it")
        };
        (is_inside && is_one).then(|| (key, text()))
    };
    entry.places().into_iter().filter_map(in_vain).collect()
}

/// Places behind one that is there whenever they are.
pub(super) fn later_places(entry: &Entry<'_>) -> Vec<Idle> {
    let has_each = entry.mapping.each.is_some();
    let begins = |later: &Pointer, earlier: &Pointer| {
        let is_of_one = !has_each || later.is_of_message() == earlier.is_of_message();
        let mut levels = later.levels();
        is_of_one && earlier.levels().all(|it| levels.next() == Some(it))
    };
    let mut idle = Vec::new();
    for (key, all) in entry.alternatives() {
        for (at, later) in all.iter().enumerate() {
            let Some(earlier) = all.iter().take(at).find(|it| begins(later, it)) else { continue };
            let [later, earlier] = [later, earlier].map(ToString::to_string);
            let text = format!(
                "has {later:?} behind {earlier:?}, which is there whenever that is, and the first counts: put it before, \
                 or remove it"
            );
            idle.push((key.clone(), text));
        }
    }
    idle
}

/// Templates of the sensor behind one that is filled whenever they are.
pub(super) fn later_templates(entry: &Entry<'_>) -> Vec<Idle> {
    let all: Vec<&Template> = entry.mapping.sensor.iter().flat_map(Templates::iter).collect();
    let needs = |it: &Template| it.needs().collect::<BTreeSet<String>>();
    let mut idle = Vec::new();
    for (at, later) in all.iter().enumerate() {
        let is_before = |it: &&&Template| needs(it).is_subset(&needs(later));
        let Some(earlier) = all.iter().take(at).find(is_before) else { continue };
        let [later, earlier] = [later, earlier].map(|it| String::from((**it).clone()));
        let text = format!(
            "has {later:?} behind {earlier:?}, which is filled whenever that is, and the first counts: put it before, or \
             remove it"
        );
        idle.push(("sensor".to_owned(), text));
    }
    idle
}
