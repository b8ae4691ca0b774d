//! What a program computes with. What is of the message stays its text, and is looked at where it is needed: nothing is
//! copied that a program does not ask for, and a number that is passed on keeps its digits.

use std::borrow::Cow;
use std::ops::{ControlFlow, Deref};
use std::rc::Rc;

use super::meter::Meter;
use crate::codec::members;
use crate::codec::pointer::Name;

/// A value.
#[derive(Debug, Clone)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    /// A number of the message, as it is written there. It is a double where it is computed with.
    Number(&'a str),
    Text(Text<'a>),
    Bytes(Rc<[u8]>),
    /// An array or an object of the message.
    Raw(&'a str),
    List(Rc<[Self]>),
    Map(Rc<[(Text<'a>, Self)]>),
}

/// A text, of the message or the program, or made.
#[derive(Debug, Clone)]
pub(super) enum Text<'a> {
    Of(&'a str),
    Made(Rc<str>),
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Of(text) => text,
            Self::Made(text) => text,
        }
    }
}

/// Where an element stands: its place in a list, or its name in a map.
#[derive(Debug, Clone)]
pub(super) enum Key<'a> {
    At(i64),
    Name(Text<'a>),
}

impl<'a> From<Key<'a>> for Value<'a> {
    fn from(key: Key<'a>) -> Self {
        match key {
            Key::At(place) => Self::Int(place),
            Key::Name(name) => Self::Text(name),
        }
    }
}

impl<'a> Value<'a> {
    /// A text that is made, and counted.
    pub(super) fn made(text: &str, meter: &mut Meter) -> Result<Self, String> {
        meter.make(text.len())?;
        Ok(Self::Text(Text::Made(text.into())))
    }

    pub(super) fn bytes(bytes: &[u8], meter: &mut Meter) -> Result<Self, String> {
        meter.make(bytes.len())?;
        Ok(Self::Bytes(bytes.into()))
    }

    /// Of a JSON text.
    pub(super) fn of_json(json: &'a str, meter: &mut Meter) -> Result<Self, String> {
        Ok(match json.as_bytes().first() {
            Some(b'{' | b'[') => Self::Raw(json),
            Some(b'"') => {
                let content = json.get(1..json.len() - 1).unwrap_or_default();
                meter.read(content.len())?;
                if !content.contains('\\') {
                    return Ok(Self::Text(Text::Of(content)));
                }
                // What is behind an escape is not longer.
                meter.make(content.len())?;
                let Name(text) = serde_json::from_str(json).map_err(|it| it.to_string())?;
                Self::Text(Text::Made(text.into()))
            }
            Some(b't') => Self::Bool(true),
            Some(b'f') => Self::Bool(false),
            Some(b'n') | None => Self::Null,
            Some(_) => Self::Number(json),
        })
    }

    /// It is read as a whole, if it is a text or a number of the message.
    pub(super) fn read(&self, meter: &mut Meter) -> Result<(), String> {
        match self {
            Self::Text(text) => meter.read(text.len()),
            Self::Number(digits) => meter.read(digits.len()),
            _ => Ok(()),
        }
    }

    /// What it is, in a word for people.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a truth value",
            Self::Int(_) | Self::Double(_) | Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::Bytes(_) => "bytes",
            _ if self.is_list() => "a list",
            _ => "a map",
        }
    }

    /// Whether it has members with names.
    pub(super) fn is_map(&self) -> bool {
        matches!(self, Self::Map(_)) || matches!(self, Self::Raw(json) if json.starts_with('{'))
    }

    pub(super) fn is_list(&self) -> bool {
        matches!(self, Self::List(_)) || matches!(self, Self::Raw(json) if json.starts_with('['))
    }

    /// Goes over the elements of a list, or the members of a map, until one breaks or fails.
    pub(super) fn each<C: Metered, E: From<String>>(
        &self,
        context: &mut C,
        take: impl FnMut(&mut C, Key<'a>, Self) -> Result<ControlFlow<()>, E>,
    ) -> Result<(), E> {
        match self {
            Self::List(items) => {
                let items = (0..).map(Key::At).zip(items.iter().cloned());
                each_of(items, context, take)
            }
            Self::Map(members) => {
                let members =
                    members.iter().map(|(name, value)| (Key::Name(name.clone()), value.clone()));
                each_of(members, context, take)
            }
            Self::Raw(json) => Self::each_part(json, context, take),
            _ => Err(E::from(format!("{} is neither a list nor a map", self.kind()))),
        }
    }

    fn each_part<C: Metered, E: From<String>>(
        json: &'a str,
        context: &mut C,
        mut take: impl FnMut(&mut C, Key<'a>, Self) -> Result<ControlFlow<()>, E>,
    ) -> Result<(), E> {
        let (mut ended, mut place) = (Ok(()), 0);
        let walked = members::each(json, |name, raw| {
            let read = Self::part((name, place), raw, context.meter()).map_err(E::from);
            place += 1;
            let taken = read.and_then(|(key, value)| take(context, key, value));
            taken.unwrap_or_else(|error| {
                ended = Err(error);
                ControlFlow::Break(())
            })
        });
        // Where it broke the rest was not looked at, which the parser calls an error; the text is JSON.
        drop(walked);
        ended
    }

    /// An element or a member of a JSON text: its name, or its place.
    fn part(
        (name, place): (Option<Cow<'a, str>>, i64),
        raw: &'a str,
        meter: &mut Meter,
    ) -> Result<(Key<'a>, Self), String> {
        meter.step()?;
        meter.read(raw.len())?;
        let key = match name {
            Some(name) => Key::read(name, meter)?,
            None => Key::At(place),
        };
        Ok((key, Self::of_json(raw, meter)?))
    }

    /// A member of a map; of two of one name the last.
    pub(super) fn member(&self, name: &str, meter: &mut Meter) -> Result<Option<Self>, String> {
        if !self.is_map() {
            return Err(format!("{} has no members", self.kind()));
        }
        if let Self::Map(members) = self {
            meter.read(members.len() * name.len().max(STEP_OF_NAME))?;
            return Ok(members.iter().find(|it| *it.0 == *name).map(|it| it.1.clone()));
        }
        let Self::Raw(json) = self else { return Ok(None) };
        meter.read(json.len())?;
        let mut found = None;
        let walked = members::each(json, |key, raw| {
            if key.is_some_and(|key| key == name) {
                found = Some(raw);
            }
            ControlFlow::Continue(())
        });
        walked.map_err(|it| it.to_string())?;
        found.map(|raw| Self::of_json(raw, meter)).transpose()
    }

    /// An element of a list.
    pub(super) fn element(&self, place: usize, meter: &mut Meter) -> Result<Option<Self>, String> {
        match self {
            Self::List(items) => Ok(items.get(place).cloned()),
            Self::Raw(json) if json.starts_with('[') => {
                // Those before it are read over.
                meter.read(json.len())?;
                let (mut found, mut at) = (None, 0);
                let walked = members::each(json, |_, raw| {
                    found = found.or((at == place).then_some(raw));
                    at += 1;
                    ControlFlow::Continue(())
                });
                walked.map_err(|it| it.to_string())?;
                found.map(|raw| Self::of_json(raw, meter)).transpose()
            }
            _ => Err(format!("{} has no places", self.kind())),
        }
    }

    /// The text of a text or a number.
    pub(super) fn as_text(&self) -> Option<Cow<'_, str>> {
        Some(match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Number(text) => Cow::Borrowed(text),
            Self::Int(number) => Cow::Owned(number.to_string()),
            Self::Double(number) => Cow::Owned(number_text(*number)),
            _ => return None,
        })
    }
}

/// Bytes that comparing a name counts as, at least.
const STEP_OF_NAME: usize = 4;

/// Goes over what was made.
fn each_of<'a, C: Metered, E: From<String>>(
    all: impl Iterator<Item = (Key<'a>, Value<'a>)>,
    context: &mut C,
    mut take: impl FnMut(&mut C, Key<'a>, Value<'a>) -> Result<ControlFlow<()>, E>,
) -> Result<(), E> {
    for (key, value) in all {
        context.meter().step()?;
        if take(context, key, value)?.is_break() {
            break;
        }
    }
    Ok(())
}

/// Whoever counts.
pub(super) trait Metered {
    fn meter(&mut self) -> &mut Meter;
}

impl Metered for Meter {
    fn meter(&mut self) -> &mut Meter {
        self
    }
}

impl<'a> Key<'a> {
    fn read(name: Cow<'a, str>, meter: &mut Meter) -> Result<Self, String> {
        Ok(Self::Name(match name {
            Cow::Borrowed(name) => {
                meter.read(name.len())?;
                Text::Of(name)
            }
            Cow::Owned(name) => {
                meter.make(name.len())?;
                Text::Made(name.into())
            }
        }))
    }
}

/// A double as JSON: a whole one without a point.
pub(super) fn number_text(number: f64) -> String {
    /// Doubles below have a place for each whole number.
    const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() < WHOLE_MAX {
        return format!("{number:.0}");
    }
    ryu::Buffer::new().format(number).to_owned()
}
