//! What the messages of an entry mean: document in, readings out. Pure.
//!
//! A *document* is what a codec makes of a payload, or of a part of it: JSON text, or plain text. A mapping is made
//! once of an entry's settings, and reads each document in one pass (`walk`): where the value is, or the values,
//! the sensor's id, its time ([`time`]), its tags ([`template`]); the rest stays as `extra`.
//!
//! - What the settings ask for and a document has not becomes a dead letter, or what `missing` says.
//! - A time that cannot be read or is not plausible is no fault of the reading: it stays in `extra`, and the time of
//!   receipt stands.

use std::borrow::Cow;
use std::ops::ControlFlow;

use serde_json::value::RawValue;

use crate::clock::Timestamp;
use crate::codec::pointer::Name;
use crate::codec::strict::{self, Marks};
use crate::codec::{Malformed, Reading, text_json};
use crate::record::{Chunk, Reason, Span};

use self::plan::{Defaults, Identity, Plan, Values};
use self::settings::{Settings, Templates};
use self::template::Part;
use self::time::Times;
use self::walk::{Found, Slot, Walk};

mod fill;
mod make;
pub mod mapped;
mod number;
pub mod plan;
pub mod settings;
pub mod template;
pub mod time;
mod walk;

/// What a codec makes of a payload, or of a part of it.
#[derive(Debug, Clone, Copy)]
pub enum Document<'a> {
    /// A JSON text, without white space around it. Whether it is one is judged here.
    Json(&'a str),
    /// Text that is no JSON.
    Text(&'a str),
}

/// Where a document comes from.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// What the topic holds at the entry's named levels, in the order of [`Mapping::new`].
    pub levels: &'a [&'a str],
    /// The id of the sensor, where the topic names it.
    pub named: Option<&'a str>,
    /// The entry's name.
    pub entry: &'a str,
    /// When the message was received.
    pub received: Timestamp,
}

/// Takes the readings of a document, whose texts are in the chunk. It may end the reading.
pub trait Take: FnMut(&mut Chunk, Result<Reading<'_>, Malformed>) -> ControlFlow<()> {}

impl<F: FnMut(&mut Chunk, Result<Reading<'_>, Malformed>) -> ControlFlow<()>> Take for F {}

/// Reads the documents of one entry.
#[derive(Debug)]
pub struct Mapping {
    levels: Vec<String>,
    plan: Plan,
    times: Times,
    /// Of the document that is read.
    found: Found,
    /// The pointers of which the finds are taken out of the rest: first as in the last document, since most are alike.
    taken: Vec<bool>,
    used: Vec<bool>,
    time: Vec<u8>,
    sensor: String,
    /// Documents that were no reading because of `missing = "skip"`, and times that were not used, since somebody
    /// asked.
    counts: Counts,
}

/// What is counted beside the readings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Documents without a value that are no readings.
    pub skipped: u64,
    /// Times of sensors that could not be read, or were not plausible.
    pub times_unused: u64,
}

impl Mapping {
    /// Of an entry with these settings. `levels` names the topic levels that templates may use.
    pub fn new(settings: &Settings, levels: &[String], defaults: &Defaults) -> Self {
        let (plan, times) = Plan::new(settings, levels, defaults);
        Self {
            levels: levels.to_vec(),
            found: Found::new(),
            taken: vec![true; plan.wanted.slots()],
            used: vec![false; plan.wanted.slots()],
            time: Vec::new(),
            sensor: String::new(),
            counts: Counts::default(),
            plan,
            times,
        }
    }

    /// The id that a template of topic levels makes.
    pub fn of_topic(&self, templates: &Templates, levels: &[&str], entry: &str) -> String {
        let parts = templates.0.first().into_iter().flat_map(|it| &it.parts);
        parts.fold(String::new(), |mut text, part| {
            text.push_str(match part {
                Part::Text(it) => it,
                Part::Entry => entry,
                Part::Level(name) => {
                    let place = self.levels.iter().position(|it| it == name);
                    place.and_then(|it| levels.get(it)).copied().unwrap_or_default()
                }
                Part::Member(_) => "",
            });
            text
        })
    }

    /// Whether it fills a place with a level of the topic.
    pub fn needs_levels(&self) -> bool {
        self.plan.needs_levels
    }

    /// Whether several readings may share the text of a document.
    pub const fn splits(&self) -> bool {
        matches!(self.plan.values, Values::Several { split: true, .. })
    }

    /// What was counted since it was asked last.
    pub fn counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// Reads a document, and hands over its readings, in their order.
    pub fn read(
        &mut self,
        document: Document<'_>,
        origin: &Origin<'_>,
        chunk: &mut Chunk,
        take: &mut impl Take,
    ) -> ControlFlow<()> {
        let quoted;
        let json = match document {
            Document::Json(json) => json,
            Document::Text(text) => {
                quoted = text_json::quoted(text);
                &quoted
            }
        };
        match self.look(json, origin, chunk) {
            Ok(look) => self.make(&look, chunk, take),
            Err(malformed) => take(chunk, Err(malformed)),
        }
    }

    /// Finds what is wanted, reads the time, and writes what is left.
    fn look<'a>(
        &mut self,
        json: &'a str,
        origin: &'a Origin<'a>,
        chunk: &mut Chunk,
    ) -> Result<Look<'a>, Malformed> {
        let marks = Marks::of(json);
        let before = chunk.bytes();
        let rest = self.walk(json, marks, chunk).map_err(|error| malformed(json, &error))?;
        strict::check(json, marks)?;
        self.used.fill(false);
        self.time.clear();
        self.read_time(json, origin);
        self.use_found(json, origin);
        if self.used == self.taken {
            return Ok(Look { json, marks, rest, origin });
        }
        // Something that was found is not used after all, or the other way round.
        std::mem::swap(&mut self.used, &mut self.taken);
        chunk.take_back(before);
        let rest = self.walk(json, marks, chunk).map_err(|error| malformed(json, &error))?;
        Ok(Look { json, marks, rest, origin })
    }

    fn walk(&mut self, json: &str, marks: Marks, chunk: &mut Chunk) -> serde_json::Result<Span> {
        let Self { plan, found, taken, .. } = self;
        let enters = json.starts_with('{') || json.starts_with('[') && plan.wanted.enters_arrays();
        if !enters {
            found.clear();
            found.resize(plan.wanted.slots(), None);
            return serde_json::from_str::<&RawValue>(json).map(|_| Span::default());
        }
        let before = chunk.bytes();
        let (span, walked) =
            chunk.put_with(|rest| Walk { json, marks, found, taken, rest }.run(&plan.wanted));
        walked?;
        if plan.keeps_extra {
            return Ok(span);
        }
        chunk.take_back(before);
        Ok(Span::default())
    }

    /// Reads the first time that is there into `time`.
    fn read_time(&mut self, json: &str, origin: &Origin<'_>) {
        let Self { plan, times, found, used, time, counts, .. } = self;
        let Some((slot, raw)) = first(&plan.timestamp, found, json) else { return };
        let Some(text) = scalar(raw) else { return };
        if times.read(&text, origin.received, time).is_ok() {
            set(used, Some(slot));
        } else {
            counts.times_unused += 1;
        }
    }

    /// Notes which finds become a part of the record.
    fn use_found(&mut self, json: &str, origin: &Origin<'_>) {
        let Self { plan, found, used, .. } = self;
        match &plan.values {
            Values::One(slots, _) => set(used, first(slots, found, json).map(|it| it.0)),
            Values::Several { all, .. } => {
                set(used, all.iter().filter_map(|it| Some(first(&it.at, found, json)?.0)));
            }
        }
        if let Identity::Default(slot) = plan.identity {
            let id = at(slot, found, json).and_then(scalar);
            let is_used = id.is_some_and(|id| origin.named.is_none_or(|named| id == named));
            set(used, is_used.then_some(slot));
        }
        if plan.has_templates {
            let is_there = |slot| at(slot, found, json).and_then(scalar).is_some();
            set(used, plan.filled(is_there));
        }
    }
}

/// A look at a document.
#[derive(Debug, Clone, Copy)]
struct Look<'a> {
    json: &'a str,
    marks: Marks,
    /// What is left of it, for `extra`.
    rest: Span,
    origin: &'a Origin<'a>,
}

/// What the first pointer leads to that leads to anything.
fn first<'a>(slots: &[Slot], found: &Found, json: &'a str) -> Option<(Slot, &'a str)> {
    slots.iter().find_map(|slot| at(*slot, found, json).map(|raw| (*slot, raw)))
}

/// What a pointer leads to.
fn at<'a>(slot: Slot, found: &Found, json: &'a str) -> Option<&'a str> {
    json.get(found.get(slot)?.clone()?)
}

fn set(used: &mut [bool], slots: impl IntoIterator<Item = Slot>) {
    for slot in slots {
        *used.get_mut(slot).expect("a pointer's number is below their count") = true;
    }
}

/// The text of a string or a number.
fn scalar(raw: &str) -> Option<Cow<'_, str>> {
    if let Some(content) = raw.strip_prefix('"') {
        let content = content.strip_suffix('"').unwrap_or(content);
        if !content.contains('\\') {
            return Some(Cow::Borrowed(content));
        }
        return serde_json::from_str::<Name<'_>>(raw).ok().map(|it| it.0);
    }
    is_number(raw).then_some(Cow::Borrowed(raw))
}

fn is_number(raw: &str) -> bool {
    raw.starts_with(|c: char| c == '-' || c.is_ascii_digit())
}

fn malformed(json: &str, error: &serde_json::Error) -> Malformed {
    let detail = match strict::not_finite(json) {
        Some(word) => format!("{word} is no number in JSON (null is what says so): {error}"),
        None => error.to_string(),
    };
    Malformed { reason: Reason::Malformed, detail }
}

#[cfg(test)]
mod tests;
