//! Reads lines back: for `verify`, and for the dead letter of a line that is too large.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::SENSOR;

/// The lines in a batch; none where one is no line.
pub fn records(payload: &[u8]) -> Vec<&[u8]> {
    let lines = payload.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let read = |line| std::str::from_utf8(line).ok().and_then(Line::of).map(|_| line);
    lines.map(read).collect::<Option<Vec<_>>>().unwrap_or_default()
}

/// A line as a record of JSON; empty where it names no sensor, or is none.
pub fn json(record: &[u8]) -> Cow<'_, [u8]> {
    let line = std::str::from_utf8(record).ok().and_then(Line::of);
    line.and_then(|it| it.json()).unwrap_or_default().into_bytes().into()
}

/// A line: what stands before the fields, these, and the time.
#[derive(Debug)]
struct Line<'a> {
    begin: &'a str,
    fields: &'a str,
    nanoseconds: i64,
}

impl<'a> Line<'a> {
    fn of(line: &'a str) -> Option<Self> {
        let (begin, rest) = split(line, ' ', false)?;
        let (fields, time) = split(rest, ' ', true)?;
        let nanoseconds = time.parse().ok()?;
        (!begin.is_empty() && fields.contains('=')).then_some(Self { begin, fields, nanoseconds })
    }

    fn json(&self) -> Option<String> {
        let mut parts = pieces(self.begin, false);
        let measurement = plain(parts.next()?);
        let (mut sensor, mut tags) = (None, Map::new());
        for part in parts {
            let (name, text) = split(part, '=', false)?;
            match plain(name) {
                name if name == SENSOR => sensor = Some(plain(text)),
                name => drop(tags.insert(name, plain(text).into())),
            }
        }
        let mut value = Map::new();
        for field in pieces(self.fields, true) {
            let (name, text) = split(field, '=', false)?;
            value.insert(plain(name), field_value(text)?);
        }
        let mut record = Map::from_iter([
            ("sensorId".to_owned(), Value::from(sensor?)),
            ("entry".to_owned(), measurement.into()),
            ("value".to_owned(), value.into()),
            ("timestamp".to_owned(), (self.nanoseconds / 1_000_000).into()),
        ]);
        if !tags.is_empty() {
            record.insert("tags".to_owned(), tags.into());
        }
        Some(Value::from(record).to_string())
    }
}

/// The value of a field.
fn field_value(text: &str) -> Option<Value> {
    match text.strip_prefix('"') {
        Some(quoted) => Some(unquoted(quoted.strip_suffix('"')?).into()),
        None => serde_json::from_str(text).ok(),
    }
}

/// What stands before and behind the first such character that is not escaped and, among fields, not in quotes. Only the
/// value of a field has quotes: in a name they are a part of it.
fn split(text: &str, at: char, is_of_fields: bool) -> Option<(&str, &str)> {
    let (mut escaped, mut quoted, mut is_value) = (false, false, false);
    for (index, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' if is_of_fields && is_value => quoted = !quoted,
            _ if quoted => {}
            _ if c == at => return Some((text.get(..index)?, text.get(index + 1..)?)),
            '=' => is_value = true,
            ',' => is_value = false,
            _ => {}
        }
    }
    None
}

/// The parts between commas.
fn pieces(text: &str, is_of_fields: bool) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let (piece, behind) =
            split(rest?, ',', is_of_fields).map_or((rest?, None), |it| (it.0, Some(it.1)));
        rest = behind;
        Some(piece)
    })
}

/// A name without its escapes.
fn plain(text: &str) -> String {
    without(text, &[',', '=', ' '])
}

fn unquoted(text: &str) -> String {
    without(text, &['"', '\\'])
}

/// A text without the backslashes before these.
fn without(text: &str, special: &[char]) -> String {
    let (mut plain, mut rest) = (String::new(), text.chars().peekable());
    while let Some(c) = rest.next() {
        let escapes = c == '\\' && rest.peek().is_some_and(|it| special.contains(it));
        plain.extend(if escapes { rest.next() } else { Some(c) });
    }
    plain
}
