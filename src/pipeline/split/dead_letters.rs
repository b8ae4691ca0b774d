//! Dead letters in parts: several as smaller arrays, one alone shortened.

use super::{Fit, Part, ends, group, longest_id};
use crate::sealed::{Places, Sealed, place};
use crate::sink::dead_letter;
use crate::sink::shortened;

/// Brackets around the dead letters.
const OVERHEAD_BYTES: usize = 2;

/// Bytes of the comma between two.
const BETWEEN: usize = 1;

/// The dead letters of a batch in parts that fit; nothing, if they cannot be made smaller. One of several that
/// cannot stays as it is.
pub(super) fn fitting(whole: &Sealed, first: usize, fit: Fit<'_>) -> Vec<Part> {
    let Some(letters) = several(whole) else { return shorter(whole, first, fit) };
    let longest = whole.like(longest_id(whole), letters.len());
    let groups = group(&letters, fit.room(&longest).saturating_sub(OVERHEAD_BYTES), BETWEEN);
    let mut parts = pieces(whole, first, &groups);
    for part in &mut parts {
        let large = part.sealed.clone().filter(|it| part.records == 1 && !fit.takes(it));
        if let Some(smaller) = large.and_then(|it| shorter(&it, part.first, fit).pop()) {
            *part = smaller;
        }
    }
    parts
}

/// The dead letters of a batch in two parts; a single one shortened.
pub(super) fn halves(whole: &Sealed, first: usize, fit: Fit<'_>) -> Vec<Part> {
    let Some(letters) = several(whole) else { return shorter(whole, first, fit) };
    let (before, behind) = letters.split_at(letters.len() / 2);
    pieces(whole, first, &[before, behind])
}

/// The dead letters of a batch that carries more than one.
fn several(whole: &Sealed) -> Option<Vec<&[u8]>> {
    let letters = match &whole.places {
        Some(places) => Some(places.of(&whole.text)),
        None => dead_letter::letters(&whole.text),
    };
    letters.filter(|letters| letters.len() > 1)
}

/// Parts of these dead letters. One alone keeps its id as its batch's.
fn pieces(whole: &Sealed, mut first: usize, groups: &[&[&[u8]]]) -> Vec<Part> {
    let mut part = |(at, letters): (u32, &&[&[u8]])| {
        let alone = match letters {
            [letter] => dead_letter::alone(letter),
            _ => None,
        };
        let count = letters.len();
        let sealed = match alone {
            Some((text, id)) => Sealed { text: text.into(), ..whole.like(id, count) },
            None => array(whole.like(format!("{}.{at}", whole.id), count), letters),
        };
        let part = Part::new(sealed, first);
        first += count;
        part
    };
    (1..).zip(groups).map(&mut part).collect()
}

/// A batch like this one, of these dead letters.
fn array(like: Sealed, letters: &[&[u8]]) -> Sealed {
    let places = Some(Places { begin: 1, ends: ends(letters, BETWEEN), between: place(BETWEEN) });
    let text = [b"[", &letters.join(&b',')[..], b"]"].concat().into();
    Sealed { text, places, ..like }
}

/// A dead letter made to fit, or half as large, as far as it keeps length and digest; nothing, where it
/// cannot be made smaller, or must be smaller still.
fn shorter(whole: &Sealed, first: usize, fit: Fit<'_>) -> Vec<Part> {
    let (bytes, room) = (whole.text.len(), fit.room(whole));
    let wanted = if bytes > room { room } else { bytes / 2 };
    let letter = shortened::shortened(&whole.text, wanted);
    let letter = letter.or_else(|| shortened::least(&whole.text));
    let Some(text) = letter.filter(|it| it.len() <= room) else { return Vec::new() };
    let sealed = Sealed { text: text.into(), ..whole.like(whole.id.clone(), whole.count) };
    vec![Part::new(sealed, first)]
}
