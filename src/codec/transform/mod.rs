//! `transform`: a program of an entry, which makes objects of a document where the keys of a mapping cannot say it. Pure.
//!
//! The language is CEL (<https://cel.dev>): no loops but over what is there. Each object is read by the mapping as a
//! document of its own, so there is one way in which a record is made.
//!
//! - *A program ends.* CEL is bounded, but by powers of the message's size: with the evaluator of the `cel` crate two
//!   nested macros over 2,000 elements took a second, and `msg.map(x, msg)` over as many made 190 MiB of a message of 8
//!   KiB. So the crate reads the grammar (`program`), and the tree is run here (`run`), where each node and each
//!   16 bytes that are read or copied are a step (`meter`). [`STEPS_MAX`] steps bound the time of a document,
//!   [`BYTES_MAX`] bytes what it makes. At a limit the rest of the document is one dead letter.
//! - *Nobody waits.* A source decodes in the task that reads its connection, so steps are bounded there, too: they
//!   are counted as records, and after as many as a chunk has others have their turn.
//! - *A mistake has a place*: line and column of the program. Names and functions, and how many arguments these have, are
//!   looked at when it is read.
//! - *Nothing is copied that need not be*: what is of the message stays its text (`value`). A number that is passed on is
//!   so byte for byte.

use std::borrow::Cow;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::meter::{BYTES_MAX, STEPS_MAX};
pub use self::run::Scene;

use self::json::write_text;
use self::meter::Meter;
use self::program::{Kind, Node};
use self::run::{Fault, Run};
use self::value::{Key, Value};
use super::Malformed;
use crate::limits::TAGS_MAX;
use crate::record::Reason;

mod functions;
mod json;
mod meter;
mod numbers;
mod octets;
mod program;
mod run;
mod texts;
mod value;

/// A program.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("examples" = ["msg.history.map(it, {'value': it.temperature, 'timestamp': it.time})"]))]
pub struct Transform {
    source: String,
    program: Arc<Node>,
}

/// An object that a program has made.
#[derive(Debug)]
pub struct Object<'o> {
    /// It, as a document: without its tags.
    pub json: &'o str,
    /// Its tags, by name.
    pub tags: &'o [(Cow<'o, str>, Cow<'o, str>)],
}

impl Transform {
    /// The names of the topic levels that it uses, and where.
    pub fn levels(&self) -> Vec<(&str, String)> {
        let mut levels = Vec::new();
        self.program.visit(&mut |node| {
            if let Kind::Level(name) = &node.kind {
                levels.push((&**name, self.place(node.at)));
            }
        });
        levels
    }

    /// Hands over each object that it makes of a document, or why one is not made, until `take` breaks. The steps that
    /// it took.
    pub fn run(
        &self,
        scene: Scene<'_>,
        take: &mut dyn FnMut(Result<Object<'_>, Malformed>) -> ControlFlow<()>,
    ) -> (u32, ControlFlow<()>) {
        self.run_within(Meter::new(STEPS_MAX, BYTES_MAX), scene, take)
    }

    /// The same, within these limits.
    fn run_within(
        &self,
        meter: Meter,
        scene: Scene<'_>,
        take: &mut dyn FnMut(Result<Object<'_>, Malformed>) -> ControlFlow<()>,
    ) -> (u32, ControlFlow<()>) {
        let mut run = Run::new(scene, meter);
        let mut json = Vec::new();
        let mut flow = ControlFlow::Continue(());
        let mut number = 0;
        let ended = run.objects(&self.program, &mut |meter, made| {
            number += 1;
            json.clear();
            let mut tags = Vec::new();
            let made = made.map_err(|fault| self.malformed(&fault, number));
            let written = made.and_then(|made| {
                write(&made, &mut json, &mut tags, meter)
                    .map_err(|what| self.malformed(&Fault::from(what), number))
            });
            flow = match written {
                Ok(()) => {
                    let json = std::str::from_utf8(&json).expect("JSON is text");
                    take(Ok(Object { json, tags: &tags }))
                }
                Err(malformed) => take(Err(malformed)),
            };
            flow
        });
        assert!(ended == flow || run.has_ended(), "only a limit ends it beside who takes");
        (run.steps(), flow)
    }

    fn malformed(&self, fault: &Fault, number: usize) -> Malformed {
        let place = fault.at.map_or(String::new(), |at| format!("{}: ", self.place(at)));
        let detail = format!("transform, {place}{} (object {number})", fault.what);
        Malformed { reason: Reason::Transform, detail }
    }

    /// Where a byte of the program is, for people.
    fn place(&self, at: usize) -> String {
        place(&self.source, at)
    }
}

fn place(source: &str, at: usize) -> String {
    let before = source.char_indices().take_while(|it| it.0 < at);
    let (line, column) =
        before.fold(
            (1, 1),
            |(line, column), (_, letter)| {
                if letter == '\n' { (line + 1, 1) } else { (line, column + 1) }
            },
        );
    format!("line {line} column {column}")
}

/// Writes an object as a document, and takes its tags out.
fn write<'a>(
    made: &Value<'a>,
    out: &mut Vec<u8>,
    tags: &mut Vec<(Cow<'a, str>, Cow<'a, str>)>,
    meter: &mut Meter,
) -> Result<(), String> {
    if !made.is_map() {
        return Err(format!("it makes {}: write {{'value': …}}", made.kind()));
    }
    out.push(b'{');
    made.each(meter, |meter, name, value| {
        let Key::Name(name) = name else { return Ok(ControlFlow::Break(())) };
        if *name == *"tags" {
            write_tags(&value, tags, meter)?;
            return Ok(ControlFlow::Continue(()));
        }
        if out.len() > 1 {
            out.push(b',');
        }
        write_text(out, &name, meter)?;
        out.push(b':');
        json::write(&value, out, meter)?;
        Ok::<_, String>(ControlFlow::Continue(()))
    })?;
    out.push(b'}');
    Ok(())
}

/// The tags of an object, [`TAGS_MAX`] at most; texts and numbers count, as where a template makes them.
fn write_tags<'a>(
    of: &Value<'a>,
    tags: &mut Vec<(Cow<'a, str>, Cow<'a, str>)>,
    meter: &mut Meter,
) -> Result<(), String> {
    if !of.is_map() {
        return Err(format!("its tags are {}: write {{'name': 'text'}}", of.kind()));
    }
    of.each(meter, |meter, name, value| {
        let Key::Name(name) = name else { return Ok(ControlFlow::Break(())) };
        let Some(text) = value.as_text() else { return Ok(ControlFlow::Continue(())) };
        meter.read(tags.len() * name.len())?;
        if !tags.iter().any(|it| *it.0 == *name) {
            meter.make(name.len() + text.len())?;
            tags.push((Cow::Owned(name.to_string()), Cow::Owned(text.into_owned())));
        }
        let is_full = tags.len() == TAGS_MAX;
        Ok::<_, String>(if is_full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })
}

impl TryFrom<String> for Transform {
    type Error = String;

    fn try_from(source: String) -> Result<Self, String> {
        match program::read(&source) {
            Ok(program) => Ok(Self { program: Arc::new(program), source }),
            Err(mistake) => Err(format!("{}: {}", place(&source, mistake.at), mistake.what)),
        }
    }
}

impl From<Transform> for String {
    fn from(transform: Transform) -> Self {
        transform.source
    }
}

impl PartialEq for Transform {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Transform {}

impl fmt::Debug for Transform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Transform").field(&self.source).finish()
    }
}

#[cfg(test)]
mod tests;
