//! Makes the readings of a document that was looked at.

use std::borrow::Cow;
use std::ops::ControlFlow;

use super::keys::{Missing, Type};
use super::number::number;
use super::plan::{Kept, Named, Values};
use super::seek::Sought;
use super::{Look, Mapping, Take, first, is_number, put_around, scalar};
use crate::codec::{Malformed, Reading, one_line, text_json};
use crate::record::{Chunk, Reason, Span};
use crate::text;

/// One value: its JSON text, and the JSON strings of what is measured and of its unit.
#[derive(Debug)]
pub(super) struct One<'a> {
    pub(super) value: Span,
    pub(super) name: Option<&'a str>,
    pub(super) unit: Option<Cow<'a, str>>,
}

impl Mapping {
    /// Makes the readings.
    pub(super) fn make(
        &mut self,
        look: &Look<'_>,
        chunk: &mut Chunk,
        take: &mut impl Take,
    ) -> ControlFlow<()> {
        match self.name(look) {
            Ok(()) => {}
            // It is there, and nobody can be called so.
            Err(malformed) if malformed.reason == Reason::SensorId => {
                return take(chunk, None, Err(malformed));
            }
            Err(malformed) => return self.miss(malformed, look, chunk, take),
        }
        let read = match &self.plan.values {
            Values::One(slots, shown) => match self.plan.seek(slots, &self.found, look.message) {
                // As most are.
                Sought::Value(_, raw) if self.is_as_sent(raw) => {
                    let value = one_line::put(chunk, raw, look.marks);
                    let one = One { value, name: None, unit: None };
                    return self.hand_over(&one, look.rest, look, chunk, take);
                }
                Sought::Value(_, raw) => self.value(raw, look, chunk).map(Some),
                Sought::Unlike => Ok(None),
                Sought::Nothing if self.plan.missing == Missing::DeadLetter => {
                    Err(nothing_at(shown, "value", look.json))
                }
                Sought::Nothing => return self.do_without(look, chunk, take),
            },
            Values::Several { all, split: false } => self.object(all, look, chunk),
            Values::Several { split: true, .. } => return self.split(look, chunk, take),
        };
        match read {
            Ok(Some(one)) => self.hand_over(&one, look.rest, look, chunk, take),
            Ok(None) => self.skip(),
            Err(malformed) => take(chunk, None, Err(malformed)),
        }
    }

    /// What `missing` says of a document that lacks what is asked for.
    pub(super) fn miss(
        &mut self,
        malformed: Malformed,
        look: &Look<'_>,
        chunk: &mut Chunk,
        take: &mut impl Take,
    ) -> ControlFlow<()> {
        if self.plan.missing == Missing::DeadLetter {
            return take(chunk, None, Err(malformed));
        }
        self.do_without(look, chunk, take)
    }

    /// The same where `missing` does not ask for a dead letter.
    fn do_without(
        &mut self,
        look: &Look<'_>,
        chunk: &mut Chunk,
        take: &mut impl Take,
    ) -> ControlFlow<()> {
        if self.plan.missing == Missing::Skip || self.plan.skips(look.json) {
            return self.skip();
        }
        match self.value(look.json, look, chunk) {
            Ok(one) => {
                let extra = self.beside(look, chunk);
                self.hand_over(&one, extra, look, chunk, take)
            }
            Err(malformed) => take(chunk, None, Err(malformed)),
        }
    }

    /// What a record has as `extra` of which the whole document is the value.
    fn beside(&self, look: &Look<'_>, chunk: &mut Chunk) -> Span {
        let around = &self.around;
        match self.plan.kept {
            Kept::Rest if around.is_empty() => Span::default(),
            Kept::Rest => {
                let begin = chunk.bytes();
                chunk.put_with(|rest| put_around(rest, begin, around)).0
            }
            Kept::Nothing | Kept::These(_) => look.rest,
        }
    }

    pub(super) fn skip(&mut self) -> ControlFlow<()> {
        self.skipped += 1;
        ControlFlow::Continue(())
    }

    /// Whether the record has a value as it was sent.
    fn is_as_sent(&self, raw: &str) -> bool {
        self.plan.kind == Type::Any || is_number(raw)
    }

    /// A value as the record has it.
    fn value(
        &self,
        raw: &str,
        look: &Look<'_>,
        chunk: &mut Chunk,
    ) -> Result<One<'static>, Malformed> {
        if self.is_as_sent(raw) {
            let value = one_line::put(chunk, raw, look.marks);
            return Ok(One { value, name: None, unit: None });
        }
        let wrong = || Malformed {
            reason: Reason::Malformed,
            detail: format!("{} is no number (the entry's `type`)", text::shown(head(raw))),
        };
        let text = scalar(raw).ok_or_else(wrong)?;
        let (value, unit) = number(&text, self.plan.decimal).ok_or_else(wrong)?;
        let unit = (!unit.is_empty()).then(|| Cow::Owned(text_json::quoted(unit)));
        Ok(One { value: chunk.put(value.as_bytes()), name: None, unit })
    }

    /// Several values as one object; `None` where none of them is there and that is no fault.
    fn object(
        &self,
        all: &[Named],
        look: &Look<'_>,
        chunk: &mut Chunk,
    ) -> Result<Option<One<'static>>, Malformed> {
        let begin = chunk.bytes();
        let mut before = &b"{"[..];
        for named in all {
            let raw = match self.plan.seek(&named.at, &self.found, look.message) {
                Sought::Value(_, raw) => raw,
                Sought::Unlike => continue,
                Sought::Nothing if named.missing == Missing::Skip => continue,
                Sought::Nothing => return Err(nothing_at(&named.shown, &named.name, look.json)),
            };
            for text in [before, named.name.as_bytes(), b":"] {
                chunk.put(text);
            }
            self.value(raw, look, chunk)?;
            before = b",";
        }
        if before == b"{" {
            return Ok(None);
        }
        chunk.put(b"}");
        Ok(Some(One { value: chunk.since(begin), name: None, unit: None }))
    }

    /// Several values, each a reading: one that is missing, or is none, does not stop the others.
    fn split(
        &mut self,
        look: &Look<'_>,
        chunk: &mut Chunk,
        take: &mut impl Take,
    ) -> ControlFlow<()> {
        let Values::Several { all, .. } = &self.plan.values else {
            unreachable!("only several values are split")
        };
        let mut is_any = false;
        for named in all {
            let made = match self.plan.seek(&named.at, &self.found, look.message) {
                Sought::Value(_, raw) => self.value(raw, look, chunk),
                Sought::Unlike => continue,
                Sought::Nothing if named.missing == Missing::Skip => continue,
                Sought::Nothing => Err(nothing_at(&named.shown, &named.name, look.json)),
            };
            is_any = true;
            match made {
                Ok(one) => {
                    let unit = named.unit.as_deref().map(Cow::Borrowed).or(one.unit);
                    let one = One { value: one.value, name: Some(&named.name), unit };
                    self.hand_over(&one, look.rest, look, chunk, take)?;
                }
                Err(malformed) => take(chunk, None, Err(malformed))?,
            }
        }
        if is_any { ControlFlow::Continue(()) } else { self.skip() }
    }

    fn hand_over(
        &self,
        one: &One<'_>,
        extra: Span,
        look: &Look<'_>,
        chunk: &mut Chunk,
        take: &mut impl Take,
    ) -> ControlFlow<()> {
        let (labels, quantity) = self.labels(one, look, chunk);
        let number = first(&self.plan.counter, &self.found, look.message);
        let number = number.and_then(|(_, raw)| scalar(raw)?.parse().ok());
        let sensor = (!self.sensor.is_empty()).then_some(&*self.sensor);
        let (value, timestamp, time_unused) = (one.value, self.time, self.time_unused);
        take(
            chunk,
            None,
            Ok(Reading { value, timestamp, extra, labels, quantity, sensor, number, time_unused }),
        )
    }
}

/// Why a document lacks what the entry asks for.
pub(super) fn nothing_at(shown: &str, key: &str, json: &str) -> Malformed {
    let is_structure = json.starts_with(['{', '[']);
    let but = if is_structure { "has nothing there" } else { "is no object" };
    let detail = format!("no {} at {shown}: the message {but}", key.trim_matches('"'));
    Malformed { reason: Reason::Missing, detail }
}

/// Bytes of a value that a detail shows.
const HEAD_BYTES_MAX: usize = 64;

fn head(raw: &str) -> &str {
    raw.get(..raw.floor_char_boundary(HEAD_BYTES_MAX)).unwrap_or(raw)
}
