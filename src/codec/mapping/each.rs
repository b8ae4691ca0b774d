//! Several readings of one message: the elements of an array, or the members of an object, each a document.
//!
//! The message is walked over once, for what its documents want of it and for what it holds beside them, which is
//! the member `"$"` of each one's `extra`. Then each element is read like a message of its own. An element that can be
//! no reading is a dead letter by itself.
//!
//! What the documents take out of the message is what the first of them uses: it is walked over twice at most,
//! however many there are.

use std::ops::ControlFlow;

use super::make::nothing_at;
use super::plan::Kept;
use super::slots::Slots;
use super::walk::{Found, Scope, Walk, Wanted};
use super::{Keys, Look, Mapping, Read, Take, at, malformed, run};
use crate::codec::strict::{self, Marks};
use crate::codec::{Malformed, members};
use crate::record::{Chunk, Reason, Span};

impl Mapping {
    /// Reads the documents of a message.
    pub(super) fn read_each(
        &mut self,
        look: Look<'_>,
        chunk: &mut Chunk,
        take: &mut impl Take,
    ) -> ControlFlow<()> {
        let look = match self.look_around(&look) {
            Ok(marks) => Look { marks, ..look },
            Err(malformed) => return take(chunk, None, Err(malformed)),
        };
        let each = self.plan.each.as_ref().expect("there are several");
        let Some(container) = at(each.at, &self.found, look.message) else {
            let malformed = nothing_at(&each.shown, "array or object", look.message);
            return self.miss_all(malformed, look, chunk, take);
        };
        let mut elements = Elements {
            others: std::sync::Arc::clone(&each.inner),
            shown: std::sync::Arc::clone(&each.shown),
            mapping: self,
            look,
            is_first: true,
            count: 0,
            chunk,
            take,
        };
        elements.read(container, 0, &Keys::default())?;
        if elements.count == 0 { self.skip() } else { ControlFlow::Continue(()) }
    }

    /// Finds what is wanted of the message, and writes what is left of it. Its marks.
    fn look_around(&mut self, look: &Look<'_>) -> Result<Marks, Malformed> {
        let marks = self.walk_around(look)?;
        strict::check(look.message, marks)?;
        Ok(marks)
    }

    fn walk_around(&mut self, look: &Look<'_>) -> Result<Marks, Malformed> {
        let Self { plan, found, taken, around, .. } = self;
        let Look { message, marks, .. } = *look;
        let each = plan.each.as_ref().expect("there are several");
        taken.add([each.at]);
        around.clear();
        let mut walk = Walk { message, marks, found, taken, rest: around };
        run(&mut walk, message, &plan.wanted, Scope::Message)
            .map_err(|error| malformed(message, &error))?;
        let marks = walk.marks;
        if !matches!(plan.kept, Kept::Rest) {
            around.clear();
        }
        Ok(marks)
    }

    /// What `missing` says of a message without documents.
    fn miss_all(
        &mut self,
        malformed: Malformed,
        look: Look<'_>,
        chunk: &mut Chunk,
        take: &mut impl Take,
    ) -> ControlFlow<()> {
        self.plan.wanted.clear(Scope::Document, &mut self.found);
        self.around.clear();
        self.time = Span::default();
        self.time_unused = false;
        self.sensor.clear();
        self.miss(malformed, &look, chunk, take)
    }

    /// Looks at a document of several.
    fn look_at_element<'a>(
        &mut self,
        look: Look<'a>,
        is_first: bool,
        chunk: &mut Chunk,
    ) -> Result<Look<'a>, Malformed> {
        let before = chunk.bytes();
        let (rest, _) = self.walk(&look, chunk)?;
        self.judge(&look, chunk);
        let each = self.plan.each.as_ref().expect("there are several");
        self.used.add([each.at]);
        let mut is_left = false;
        for (slot, of_message) in (0..).zip(self.plan.wanted.of_message()) {
            let is_taken = self.taken.has(slot);
            if *of_message && !is_first {
                self.used.set(slot, is_taken);
            }
            is_left |= *of_message && self.used.has(slot) != is_taken;
        }
        if self.used.is(&self.taken) {
            return Ok(Look { rest, ..look });
        }
        std::mem::swap(&mut self.used, &mut self.taken);
        if is_left {
            self.walk_around(&look)?;
        }
        let rest = self.walk_again(&look, before, chunk)?;
        Ok(Look { rest, ..look })
    }
}

/// Goes over the documents of a message.
struct Elements<'e, 'a, T> {
    mapping: &'e mut Mapping,
    /// Of the message.
    look: Look<'a>,
    /// What is wanted of an element to find the ones in it, by level.
    others: std::sync::Arc<[Wanted]>,
    /// The places of all levels.
    shown: std::sync::Arc<str>,
    is_first: bool,
    count: usize,
    chunk: &'e mut Chunk,
    take: &'e mut T,
}

impl<'a, T: Take> Elements<'_, 'a, T> {
    /// Goes over the elements of an array, or the members of an object, at this level.
    fn read(&mut self, container: &'a str, level: usize, keys: &Keys<'a>) -> ControlFlow<()> {
        if !container.starts_with(['{', '[']) {
            let detail = format!("what is at {} is neither an array nor an object", self.shown);
            let malformed = Malformed { reason: Reason::Missing, detail };
            self.count += 1;
            return (self.take)(self.chunk, None, Err(malformed));
        }
        let mut ended = ControlFlow::Continue(());
        let walked = members::each(container, |name, element| {
            let mut keys = keys.clone();
            *keys.get_mut(level).expect("the settings were checked: there are few levels") = name;
            ended = self.enter(element, level, &keys);
            ended
        });
        assert!(walked.is_ok() || ended.is_break(), "a text that was walked over is JSON");
        ended
    }

    /// Reads an element, or goes over the ones in it.
    fn enter(&mut self, element: &'a str, level: usize, keys: &Keys<'a>) -> ControlFlow<()> {
        let others = std::sync::Arc::clone(&self.others);
        let Some(wanted) = others.get(level) else { return self.element(element, keys) };
        let (mut found, mut rest, none) = (Found::new(), Vec::new(), Slots::default());
        let Look { message, marks, .. } = self.look;
        let mut walk = Walk { message, marks, found: &mut found, taken: &none, rest: &mut rest };
        let walked = run(&mut walk, element, wanted, Scope::Document);
        walked.expect("a part of a text that was walked over is JSON");
        if let Some(container) = at(0, &found, message) {
            return self.read(container, level + 1, keys);
        }
        self.count += 1;
        let malformed = nothing_at(&self.shown, "array or object", element);
        (self.take)(self.chunk, Some(element), Err(malformed))
    }

    fn element(&mut self, element: &'a str, keys: &Keys<'a>) -> ControlFlow<()> {
        self.count += 1;
        let Self { mapping, look, is_first, count, chunk, take, shown, .. } = self;
        let place = |mut it: Malformed| {
            it.detail = format!("{} (number {count} of each = {shown})", it.detail);
            it
        };
        let mut take = |chunk: &mut Chunk, _: Option<&str>, read: Read<'_>| {
            take(chunk, Some(element), read.map_err(place))
        };
        let look = Look { json: element, keys, ..*look };
        let looked = mapping.look_at_element(look, std::mem::take(is_first), chunk);
        match looked {
            Ok(look) => mapping.make(&look, chunk, &mut take),
            Err(malformed) => take(chunk, None, Err(malformed)),
        }
    }
}
