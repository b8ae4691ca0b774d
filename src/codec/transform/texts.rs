//! Texts of a program: their parts, and the times that they are.

use std::ops::ControlFlow;

use jiff::fmt::strtime;

use super::meter::Meter;
use super::numbers::place;
use super::value::{Text, Value};
use crate::text::shown;

/// What is made of a text.
type Made<'a> = Result<Value<'a>, String>;

pub(super) fn text<'v, 'a>(it: &'v Value<'a>) -> Result<&'v Text<'a>, String> {
    if let Value::Text(it) = it { Ok(it) } else { Err(format!("{} is no text", it.kind())) }
}

/// Characters from one place up to another.
pub(super) fn part<'a>(
    it: &Value<'a>,
    from: &Value<'_>,
    to: Option<&Value<'_>>,
    meter: &mut Meter,
) -> Made<'a> {
    let text = text(it)?;
    let begin = place(from)?;
    let end = to.map(place).transpose()?;
    let at = |place: usize| {
        let ends = std::iter::once(text.len());
        text.char_indices().map(|it| it.0).chain(ends).nth(place)
    };
    let end = end.map_or(Some(text.len()), at);
    let range = at(begin).zip(end).and_then(|(begin, end)| text.get(begin..end));
    let range = range.ok_or_else(|| format!("the text of {} has no such part", text.len()))?;
    Value::made(range, meter)
}

pub(super) fn replace<'a>(
    it: &Value<'a>,
    from: &Value<'_>,
    to: &Value<'_>,
    meter: &mut Meter,
) -> Made<'a> {
    let (it, from, to) = (text(it)?, text(from)?, text(to)?);
    let count = it.matches(&**from).count();
    // Counted before it is made: each find may become longer.
    meter.make(it.len().saturating_add(count.saturating_mul(to.len())))?;
    Ok(Value::Text(Text::Made(it.replace(&**from, to).into())))
}

pub(super) fn split<'a>(it: &Value<'a>, by: &Value<'_>, meter: &mut Meter) -> Made<'a> {
    let (it, by) = (text(it)?, text(by)?);
    let mut parts = Vec::new();
    match it {
        // A part of a text of the message is one, too.
        Text::Of(it) => {
            for part in it.split(&**by) {
                meter.make(size_of::<Value<'_>>())?;
                parts.push(Value::Text(Text::Of(part)));
            }
        }
        Text::Made(it) => {
            for part in it.split(&**by) {
                meter.make(size_of::<Value<'_>>())?;
                parts.push(Value::made(part, meter)?);
            }
        }
    }
    Ok(Value::List(parts.into()))
}

pub(super) fn join<'a>(all: &Value<'a>, by: &str, meter: &mut Meter) -> Made<'a> {
    let mut joined = String::new();
    let mut is_first = true;
    all.each(meter, |meter, _, item| {
        let item = text(&item)?;
        let by = if std::mem::take(&mut is_first) { "" } else { by };
        meter.write(by.len() + item.len())?;
        joined.push_str(by);
        joined.push_str(item);
        Ok::<_, String>(ControlFlow::Continue(()))
    })?;
    Value::made(&joined, meter)
}

/// A time of this form, as RFC 3339: without an offset where the form has none.
pub(super) fn time<'a>(it: &Value<'_>, format: &Value<'_>, meter: &mut Meter) -> Made<'a> {
    let (it, format) = (text(it)?, text(format)?);
    let wrong = |error: jiff::Error| {
        // It holds the rest of the text.
        let error = error.to_string();
        format!("no time of the form {}: {}", shown(format), shown(&error))
    };
    let time = strtime::parse(&**format, &**it).map_err(wrong)?;
    let written = match time.to_timestamp() {
        Ok(time) => time.to_string(),
        Err(_) => match time.to_datetime() {
            Ok(time) => time.to_string(),
            Err(_) => time.to_date().map_err(wrong)?.at(0, 0, 0, 0).to_string(),
        },
    };
    Value::made(&written, meter)
}

/// Whether a time can be of this form: whether one that is written so is read again.
pub(super) fn is_form(form: &str) -> bool {
    let time = jiff::Timestamp::UNIX_EPOCH.to_zoned_datetime(jiff::tz::TimeZone::UTC);
    strtime::format(form, &time).is_ok_and(|text| {
        strtime::parse(form, &text)
            .is_ok_and(|it| it.to_date().is_ok() || it.to_timestamp().is_ok())
    })
}
