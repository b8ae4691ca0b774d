//! What the messages of an entry mean: document in, readings out. Pure.
//!
//! A *document* is what a codec makes of a payload, or of a part of it: JSON text, or plain text. A mapping is made
//! once of an entry's settings, and reads each document in one pass (`walk`): where the value is, or the values,
//! the sensor's id, its time ([`time`]), its tags ([`template`]); the rest stays as `extra`. With `each` a document
//! holds several, each an element of an array or a member of an object (`each`); it is the *message* then, in which
//! pointers with `$` begin. With `transform` a program makes 0 to n objects of a document (`objects`), and each of
//! these is read as a document.
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
use crate::codec::{Malformed, Reading, one_line, text_json};
use crate::record::{Chunk, Reason, Span};
use crate::text;

use self::objects::Objects;
use self::plan::{Defaults, Identity, Kept, Plan, Values};
use self::seek::Sought;
use self::settings::Settings;
use self::several::Templates;
use self::slots::{Slot, Slots};
use self::template::{EACH_MAX, Part};
use self::time::Times;
use self::walk::{Found, Scope, Walk, Wanted};

mod each;
mod fill;
pub mod keys;
mod make;
pub mod mapped;
mod number;
pub mod objects;
pub mod plan;
mod seek;
pub mod settings;
pub mod several;
mod slots;
pub mod template;
pub mod time;
pub mod time_keys;
pub mod time_told;
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
    /// What the sender wrote beside the message and becomes tags, by name; no name twice.
    pub properties: &'a [(&'a str, &'a str)],
    /// When the message was received.
    pub received: Timestamp,
}

/// Bytes of the buffer of a text that is kept for the next one. A longer text has a buffer of its own.
const QUOTED_BYTES_KEPT: usize = 1024;

/// A reading, or why there is none. The texts of a reading are in the chunk.
pub type Read<'a> = Result<Reading<'a>, Malformed>;

/// Takes the readings of a document; with the part of it that each is of, where that is not all. It may end the
/// reading.
pub trait Take: FnMut(&mut Chunk, Option<&str>, Read<'_>) -> ControlFlow<()> {}

impl<F: FnMut(&mut Chunk, Option<&str>, Read<'_>) -> ControlFlow<()>> Take for F {}

/// Reads the documents of one entry.
#[derive(Debug)]
pub struct Mapping {
    levels: Vec<String>,
    plan: Plan,
    times: Times,
    /// Of the document that is read.
    found: Found,
    /// The pointers of which the finds are taken out of the rest: first as in the last document, since most are alike.
    taken: Slots,
    used: Slots,
    /// What the message around the documents holds beside what is used of it: members joined by commas.
    around: Vec<u8>,
    /// The document's time, in the chunk.
    time: Span,
    /// The document has a time that is not used.
    time_unused: bool,
    sensor: String,
    /// A document of text, as JSON: the buffer, for the next one.
    quoted: Vec<u8>,
    /// Documents that were no reading because of `missing` or `mismatch`, since somebody asked.
    skipped: u64,
    objects: Option<Objects>,
    /// A document is a reading: not several, and not what a program makes of it.
    is_plain: bool,
    /// Steps of the program, since somebody asked.
    steps: u32,
}

impl Mapping {
    /// Of an entry with these settings. `levels` names the topic levels that templates may use.
    pub fn new(settings: &Settings, levels: &[String], defaults: &Defaults) -> Self {
        let (mut plan, times) = Plan::new(&settings.of_objects(), levels, defaults);
        let objects = Objects::new(settings, levels);
        plan.needs_levels |= objects.as_ref().is_some_and(Objects::needs_levels);
        Self {
            levels: levels.to_vec(),
            found: Found::new(),
            taken: Slots::all(plan.wanted.slots()),
            used: Slots::none(plan.wanted.slots()),
            around: Vec::new(),
            time: Span::default(),
            sensor: String::new(),
            quoted: Vec::new(),
            time_unused: false,
            skipped: 0,
            is_plain: plan.each.is_none() && objects.is_none(),
            objects,
            steps: 0,
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
                Part::Member(_) | Part::Key(_) => "",
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

    /// Documents that were skipped since it was asked last.
    pub fn skipped(&mut self) -> u64 {
        std::mem::take(&mut self.skipped)
    }

    /// Steps of the entry's `transform` since it was asked last.
    pub fn steps(&mut self) -> u32 {
        std::mem::take(&mut self.steps)
    }

    /// Reads a document, and hands over its readings, in their order.
    pub fn read(
        &mut self,
        document: Document<'_>,
        origin: &Origin<'_>,
        chunk: &mut Chunk,
        take: &mut impl Take,
    ) -> ControlFlow<()> {
        let text = match document {
            Document::Json(json) => return self.read_json(json, origin, chunk, take),
            Document::Text(text) => text,
        };
        let mut quoted = std::mem::take(&mut self.quoted);
        quoted.clear();
        text_json::write(&mut quoted, text);
        let json = str::from_utf8(&quoted).expect("a text in quotes is a text");
        let flow = self.read_json(json, origin, chunk, take);
        if quoted.capacity() <= QUOTED_BYTES_KEPT {
            self.quoted = quoted;
        }
        flow
    }

    fn read_json(
        &mut self,
        json: &str,
        origin: &Origin<'_>,
        chunk: &mut Chunk,
        take: &mut impl Take,
    ) -> ControlFlow<()> {
        let look = Look {
            message: json,
            json,
            marks: Marks::UNKNOWN,
            rest: Span::default(),
            origin,
            keys: &Keys::default(),
        };
        if !self.is_plain {
            return self.read_several(look, chunk, take);
        }
        match self.look(look, chunk) {
            Ok(look) => self.make(&look, chunk, take),
            Err(malformed) => take(chunk, None, Err(malformed)),
        }
    }

    fn read_several(
        &mut self,
        look: Look<'_>,
        chunk: &mut Chunk,
        take: &mut impl Take,
    ) -> ControlFlow<()> {
        let Some(objects) = self.objects.take() else { return self.read_each(look, chunk, take) };
        let flow = self.read_objects(&objects, &look, chunk, take);
        self.objects = Some(objects);
        flow
    }

    /// Finds what is wanted of a document, reads the time, and writes what is left.
    fn look<'a>(&mut self, look: Look<'a>, chunk: &mut Chunk) -> Result<Look<'a>, Malformed> {
        let before = chunk.bytes();
        let (rest, marks) = self.walk(&look, chunk)?;
        strict::check(look.json, marks)?;
        let look = Look { marks, rest, ..look };
        self.judge(&look, chunk);
        if self.used.is(&self.taken) {
            return Ok(look);
        }
        // Something that was found is not used after all, or the other way round.
        std::mem::swap(&mut self.used, &mut self.taken);
        let rest = self.walk_again(&look, before, chunk)?;
        Ok(Look { rest, ..look })
    }

    /// Finds out which finds become a part of the record, and reads the time.
    fn judge(&mut self, look: &Look<'_>, chunk: &mut Chunk) {
        self.used.clear();
        self.read_time(look, chunk);
        self.use_found(look);
    }

    /// Walks over a document of which the chunk had so many bytes before: what was written of it since is of no use.
    fn walk_again(
        &mut self,
        look: &Look<'_>,
        before: usize,
        chunk: &mut Chunk,
    ) -> Result<Span, Malformed> {
        chunk.take_back(before);
        let (rest, _) = self.walk(look, chunk)?;
        self.read_time(look, chunk);
        Ok(rest)
    }

    /// Walks over a document. What is left of it, as it becomes `extra`, and the message's marks.
    fn walk(&mut self, look: &Look<'_>, chunk: &mut Chunk) -> Result<(Span, Marks), Malformed> {
        let Self { plan, found, taken, around, .. } = self;
        let Look { message, json, marks, .. } = *look;
        let before = chunk.bytes();
        let (span, (walked, marks)) = chunk.put_with(|rest| {
            let mut walk = Walk { message, marks, found, taken, rest };
            let walked = run(&mut walk, json, &plan.wanted, Scope::Document);
            let marks = walk.marks;
            if !around.is_empty() {
                put_around(rest, before, around);
            }
            (walked, marks)
        });
        walked.map_err(|error| malformed(message, &error))?;
        let kept = match &plan.kept {
            Kept::Rest => return Ok((span, marks)),
            Kept::Nothing => &[][..],
            Kept::These(all) => all,
        };
        chunk.take_back(before);
        for (name, slot) in kept {
            let Some(raw) = at(*slot, found, message) else { continue };
            let separator = if chunk.bytes() > before { "," } else { "" };
            for text in [separator, name, ":"] {
                chunk.put(text.as_bytes());
            }
            one_line::put(chunk, raw, marks);
        }
        Ok((chunk.since(before), marks))
    }

    /// Reads the first time that is there, and writes it.
    fn read_time(&mut self, look: &Look<'_>, chunk: &mut Chunk) {
        self.time = Span::default();
        self.time_unused = false;
        let Self { plan, times, found, used, time, time_unused, .. } = self;
        let Look { message: json, origin, .. } = *look;
        let Some((slot, raw)) = first(&plan.timestamp, found, json) else { return };
        let Some(text) = scalar(raw) else { return };
        let (span, read) = chunk.put_with(|out| times.read(&text, origin.received, out));
        match read {
            Ok(()) => {
                *time = span;
                used.add([slot]);
            }
            // Nothing was written.
            Err(_) => *time_unused = true,
        }
    }

    /// Notes which finds become a part of the record.
    fn use_found(&mut self, look: &Look<'_>) {
        let Self { plan, found, used, .. } = self;
        let Look { message: json, origin, .. } = *look;
        let value = |slots: &Vec<Slot>| match plan.seek(slots, found, json) {
            Sought::Value(slot, _) => Some(slot),
            Sought::Unlike | Sought::Nothing => None,
        };
        match &plan.values {
            Values::One(slots, _) => used.add(value(slots)),
            Values::Several { all, .. } => used.add(all.iter().filter_map(|it| value(&it.at))),
        }
        if let Identity::Default(slots) = &plan.identity
            && let Some((slot, raw)) = first(slots, found, json)
        {
            let is_used = |id: Cow<'_, str>| origin.named.is_none_or(|named| id == named);
            used.add(scalar(raw).is_some_and(is_used).then_some(slot));
        }
        if plan.has_templates {
            let is_there = |slot| at(slot, found, json).and_then(scalar).is_some();
            used.add(plan.filled(is_there));
        }
    }
}

/// Appends the rest of the message to the rest of a document, which begins there.
fn put_around(rest: &mut Vec<u8>, begin: usize, around: &[u8]) {
    if rest.len() > begin {
        rest.push(b',');
    }
    for part in [&b"\"$\":{"[..], around, b"}"] {
        rest.extend_from_slice(part);
    }
}

/// A look at a document.
#[derive(Debug, Clone, Copy)]
struct Look<'a> {
    /// The message that holds it: the places of what is found are places in it.
    message: &'a str,
    /// The document: the message, or a part of it.
    json: &'a str,
    /// Of the message, once it was walked over.
    marks: Marks,
    /// What is left of it, for `extra`.
    rest: Span,
    origin: &'a Origin<'a>,
    /// The names of the members that it is, by level of `each`.
    keys: &'a Keys<'a>,
}

/// The names of members, by level of `each`; none of an array's elements.
type Keys<'a> = [Option<Cow<'a, str>>; EACH_MAX];

/// Walks over a text, if there is anything to find in it, or to keep.
fn run<'a>(
    walk: &mut Walk<'_, 'a>,
    json: &'a str,
    wanted: &Wanted,
    scope: Scope,
) -> serde_json::Result<()> {
    walk.begin(json, wanted, scope);
    if json.starts_with('{') || json.starts_with('[') && wanted.enters_arrays(scope) {
        return walk.run(json, wanted, scope);
    }
    walk.know();
    serde_json::from_str::<&RawValue>(json).map(|_| ())
}

/// What the first pointer leads to that leads to anything.
fn first<'a>(slots: &[Slot], found: &Found, json: &'a str) -> Option<(Slot, &'a str)> {
    slots.iter().find_map(|slot| at(*slot, found, json).map(|raw| (*slot, raw)))
}

/// What a pointer leads to.
fn at<'a>(slot: Slot, found: &Found, json: &'a str) -> Option<&'a str> {
    json.get(found.get(slot)?.clone()?)
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
        None => text::json_error(json.len(), error),
    };
    Malformed { reason: Reason::Malformed, detail }
}

#[cfg(test)]
mod tests;
