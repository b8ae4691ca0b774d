//! Dead letters in parts: several as smaller arrays, one alone shortened.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::{Fit, Part, group};
use crate::mqtt::outgoing::Outgoing;
use crate::sink::dead_letter::{self, Head};
use crate::sink::shortened;

/// Brackets around the letters.
const OVERHEAD_BYTES: usize = 2;

/// The letters of a part in parts that fit; nothing, if they cannot be made smaller. One of several that
/// cannot stays as it is.
pub(super) fn fitting(whole: &Part, message: &Outgoing, fit: Fit<'_>) -> Vec<Part> {
    let Some(letters) = several(message) else { return shorter(whole, message, fit) };
    let longest = with_head(message, &format!("{}.4294967295", whole.id), letters.len());
    let groups = group(&letters, fit.room(&longest).saturating_sub(OVERHEAD_BYTES));
    let mut parts = pieces(whole, &groups, message);
    for part in &mut parts {
        let large = part.message.clone().filter(|it| part.records == 1 && !fit.takes(it));
        if let Some(smaller) = large.and_then(|it| shorter(part, &it, fit).pop()) {
            *part = smaller;
        }
    }
    parts
}

/// The letters of a part in two parts; a single one shortened.
pub(super) fn halves(whole: &Part, message: &Outgoing, fit: Fit<'_>) -> Vec<Part> {
    let Some(letters) = several(message) else { return shorter(whole, message, fit) };
    let (first, second) = letters.split_at(letters.len() / 2);
    pieces(whole, &[first, second], message)
}

/// The letters of a message that carries more than one.
fn several(message: &Outgoing) -> Option<Vec<&RawValue>> {
    dead_letter::letters(&message.payload).filter(|letters| letters.len() > 1)
}

/// Parts of these letters. One alone keeps its id as its batch's.
fn pieces(whole: &Part, groups: &[&[&RawValue]], message: &Outgoing) -> Vec<Part> {
    let mut first = whole.first;
    let mut part = |(at, letters): (u32, &&[&RawValue])| {
        let id = format!("{}.{at}", whole.id);
        let alone = match letters {
            [letter] => dead_letter::alone(letter.get()),
            _ => None,
        };
        let (payload, id) = alone.unwrap_or_else(|| (array(letters), id));
        let records = letters.len();
        let message = Outgoing { payload: payload.into(), ..with_head(message, &id, records) };
        let message = Some(Arc::new(message));
        let part = Part { id, message, first, records, outcome: whole.outcome };
        first += records;
        part
    };
    (1..).zip(groups).map(&mut part).collect()
}

/// A message like this one, of so many letters that are not in it yet.
fn with_head(like: &Outgoing, batch: &str, count: usize) -> Outgoing {
    let gateway = like.properties.last().map_or("", |(_, gateway)| gateway);
    let head = Head { gateway, batch, count };
    dead_letter::message((&like.topic, like.qos), head, Bytes::new())
}

fn array(letters: &[&RawValue]) -> String {
    format!("[{}]", letters.iter().map(|it| it.get()).collect::<Vec<_>>().join(","))
}

/// A dead letter made to fit, or half as large, as far as it keeps length and digest; nothing, where it
/// cannot be made smaller, or must be smaller still.
fn shorter(part: &Part, message: &Outgoing, fit: Fit<'_>) -> Vec<Part> {
    let (bytes, room) = (message.payload.len(), fit.room(message));
    let wanted = if bytes > room { room } else { bytes / 2 };
    let letter = shortened::shortened(&message.payload, wanted);
    let letter = letter.or_else(|| shortened::least(&message.payload));
    let Some(payload) = letter.filter(|it| it.len() <= room) else { return Vec::new() };
    let message = Outgoing { payload: Bytes::from(payload), ..Outgoing::clone(message) };
    let (id, outcome) = (part.id.clone(), part.outcome);
    let message = Some(Arc::new(message));
    vec![Part { id, message, first: part.first, records: part.records, outcome }]
}
