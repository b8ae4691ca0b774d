//! A mapping's settings, made ready: each pointer has a number, each name is JSON text already.

use std::sync::Arc;

use super::keys::{Decimal, Extra, Mismatch, Missing, Type};
use super::settings::Settings;
use super::several::Pointers;
use super::slots::Slot;
use super::template::{Part, Template};
use super::time::Times;
use super::time_keys::Timestamp;
use super::walk::{Scope, Wanted};
use crate::codec::pointer::Pointer;
use crate::codec::text_json;

/// What is looked for in a document, and what is made of it.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) wanted: Wanted,
    /// Where the documents are in the message, if it is not one itself.
    pub(super) each: Option<Each>,
    pub(super) values: Values,
    pub(super) missing: Missing,
    pub(super) kind: Type,
    pub(super) mismatch: Mismatch,
    pub(super) decimal: Decimal,
    pub(super) identity: Identity,
    pub(super) timestamp: Vec<Slot>,
    pub(super) tags: Vec<(String, Vec<Piece>)>,
    pub(super) quantity: Option<Vec<Piece>>,
    pub(super) unit: Option<Vec<Piece>>,
    pub(super) counter: Vec<Slot>,
    pub(super) kept: Kept,
    /// There are templates.
    pub(super) has_templates: bool,
    /// A template has a place for a level of the topic.
    pub(super) needs_levels: bool,
}

/// The arrays and objects of which each element is a document.
#[derive(Debug)]
pub(super) struct Each {
    /// The outermost.
    pub(super) at: Slot,
    /// The others, from the second on: what each wants of an element of the one before it.
    pub(super) inner: Arc<[Wanted]>,
    /// Its text, for whoever asks why nothing is.
    pub(super) shown: Arc<str>,
}

/// What stays as `extra`.
#[derive(Debug)]
pub(super) enum Kept {
    /// What is not used.
    Rest,
    Nothing,
    /// These members: their names are JSON strings.
    These(Vec<(String, Slot)>),
}

/// Which values are read.
#[derive(Debug)]
pub(super) enum Values {
    /// One, at the first of these that is there; with their text, for whoever asks why nothing is.
    One(Vec<Slot>, String),
    /// Several, each a member of the record's value, or a record.
    Several { all: Vec<Named>, split: bool },
}

/// A value of several.
#[derive(Debug)]
pub(super) struct Named {
    /// Its name, a JSON string.
    pub(super) name: String,
    /// Its unit, a JSON string.
    pub(super) unit: Option<String>,
    pub(super) at: Vec<Slot>,
    /// The text of its pointers.
    pub(super) shown: String,
    pub(super) missing: Missing,
}

/// Who the sensor is.
#[derive(Debug)]
pub(super) enum Identity {
    /// Whoever the topic names or, without such a name, the member, or the entry. A member that says the same as the
    /// topic says nothing more.
    Default(Vec<Slot>),
    Templates(Vec<Vec<Piece>>),
}

/// A part of a template.
#[derive(Debug)]
pub(super) enum Piece {
    Text(String),
    /// The place of a topic level among the entry's.
    Level(usize),
    Member(Slot, String),
    Entry,
    /// The name of the member of this level of `each`, or of the last that has names.
    Key(Option<usize>),
}

impl Plan {
    /// The members that fill templates, where these members are there.
    pub(super) fn filled(&self, is_there: impl Fn(Slot) -> bool) -> impl Iterator<Item = Slot> {
        let identity = match &self.identity {
            Identity::Templates(all) => all.as_slice(),
            Identity::Default(_) => &[],
        };
        let member = |it: &Piece| if let Piece::Member(slot, _) = it { Some(*slot) } else { None };
        let is_filled = move |it: &&Vec<Piece>| it.iter().filter_map(member).all(&is_there);
        let identity = identity.iter().find(&is_filled);
        let others = self.tags.iter().map(|(_, it)| it).chain(&self.quantity).chain(&self.unit);
        others.filter(is_filled).chain(identity).flatten().filter_map(member)
    }

    /// Of an entry of which the topic has these levels with names. What the settings leave out is as `defaults` say:
    /// the members of the value, the time and the sensor.
    pub(super) fn new(
        settings: &Settings,
        levels: &[String],
        defaults: &Defaults,
    ) -> (Self, Times) {
        let mut trees = Trees { wanted: Wanted::default(), has_each: settings.each.is_some() };
        let wanted = &mut trees;
        let each = settings.each.as_ref().map(|it| each(it, wanted));
        let timestamp = settings.timestamp.clone();
        let timestamp = timestamp.unwrap_or_else(|| Timestamp {
            from: wanted.default(defaults.timestamp),
            ..Timestamp::at(defaults.timestamp)
        });
        let asks = settings.value.is_some() || !settings.values.is_empty();
        let missing =
            settings.missing.unwrap_or(if asks { Missing::DeadLetter } else { Missing::Whole });
        let values = values(settings, defaults.value, missing, wanted);
        let times_at = wanted.add_all(&timestamp.from);
        let counter = settings.counter.as_ref().map_or(Vec::new(), |it| wanted.add_all(it));
        let identity = match &settings.sensor {
            Some(templates) => {
                let pieces = |it: &Template| pieces(it, levels, wanted);
                Identity::Templates(templates.0.iter().map(pieces).collect())
            }
            None => Identity::Default(wanted.add_all(&wanted.default(defaults.sensor))),
        };
        let mut pieces = |template: &Template| pieces(template, levels, wanted);
        let tags =
            settings.tags.iter().map(|(name, it)| (text_json::quoted(name), pieces(it))).collect();
        let (quantity, unit) =
            (settings.quantity.as_ref().map(&mut pieces), settings.unit.as_ref().map(&mut pieces));
        let times = Times::new(timestamp.format, &timestamp.zone.zone, timestamp.plausible);
        let kept = match &settings.extra {
            Extra::Keep => Kept::Rest,
            Extra::Drop => Kept::Nothing,
            Extra::These(all) => {
                let name = |it: &Pointer| text_json::quoted(it.levels().last().unwrap_or_default());
                Kept::These(all.iter().map(|it| (name(it), wanted.add(it))).collect())
            }
        };
        let (kind, decimal) = (settings.kind, settings.decimal);
        let timestamp = times_at;
        let templates = settings.tags.values().chain(&settings.quantity).chain(&settings.unit);
        let mut templates = templates.chain(settings.sensor.iter().flat_map(|it| &it.0));
        let has_templates = templates.clone().next().is_some();
        let needs_levels = templates.any(|it| it.levels().next().is_some());
        let it = Self {
            wanted: trees.wanted,
            each,
            values,
            missing,
            kind,
            mismatch: settings.mismatch,
            decimal,
            identity,
            timestamp,
            tags,
            quantity,
            unit,
            counter,
            kept,
            has_templates,
            needs_levels,
        };
        (it, times)
    }
}

/// The members that are read unless others are set.
#[derive(Debug, Clone, Copy)]
pub struct Defaults {
    /// Of the value.
    pub value: &'static str,
    /// Of the time.
    pub timestamp: &'static str,
    /// Of the id.
    pub sensor: &'static str,
}

fn shown(pointers: &Pointers) -> String {
    let texts: Vec<String> = pointers.0.iter().map(ToString::to_string).collect();
    texts.join(" or ")
}

/// The trees of an entry's pointers.
struct Trees {
    wanted: Wanted,
    /// A message has several documents: else it is the document.
    has_each: bool,
}

impl Trees {
    fn add(&mut self, pointer: &Pointer) -> Slot {
        let of_message = self.has_each && pointer.is_of_message();
        self.wanted.add(pointer, if of_message { Scope::Message } else { Scope::Document })
    }

    fn add_all(&mut self, pointers: &Pointers) -> Vec<Slot> {
        pointers.0.iter().map(|it| self.add(it)).collect()
    }

    /// A member that is read unless another one is set: of the document, else of the message around it.
    fn default(&self, name: &str) -> Pointers {
        let own = Pointer::to_member(name);
        let around = self.has_each.then(|| own.clone().in_message());
        Pointers(std::iter::once(own).chain(around).collect())
    }
}

fn values(settings: &Settings, default: &str, missing: Missing, wanted: &mut Trees) -> Values {
    if settings.values.is_empty() {
        let own = Pointers(vec![Pointer::to_member(default)]);
        let at = settings.value.as_ref().unwrap_or(&own);
        return Values::One(wanted.add_all(at), shown(at));
    }
    let named = settings.values.iter().map(|(name, it)| Named {
        name: text_json::quoted(name),
        unit: it.unit.as_deref().map(text_json::quoted),
        at: wanted.add_all(&it.from),
        shown: shown(&it.from),
        missing: it.missing.unwrap_or(missing),
    });
    Values::Several { all: named.collect(), split: settings.split }
}

fn each(pointers: &Pointers, trees: &mut Trees) -> Each {
    let (first, others) = pointers.0.split_first().expect("a list of pointers is not empty");
    let inner = |it: &Pointer| {
        let mut wanted = Wanted::default();
        wanted.add(it, Scope::Document);
        wanted
    };
    let texts: Vec<String> = pointers.0.iter().map(|it| format!("\"{it}\"")).collect();
    Each {
        at: trees.wanted.add(first, Scope::Message),
        inner: others.iter().map(inner).collect(),
        shown: texts.join(", ").into(),
    }
}

fn pieces(template: &Template, levels: &[String], wanted: &mut Trees) -> Vec<Piece> {
    let piece = |part: &Part| match part {
        Part::Text(text) => Piece::Text(text.clone()),
        Part::Entry => Piece::Entry,
        Part::Key(level) => Piece::Key(*level),
        Part::Member(pointer) => Piece::Member(wanted.add(pointer), pointer.to_string()),
        Part::Level(name) => {
            let place = levels.iter().position(|it| it == name);
            Piece::Level(place.expect("the settings were checked: each level is in the topic"))
        }
    };
    template.parts.iter().map(piece).collect()
}
