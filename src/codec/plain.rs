//! Reads the members of a JSON object that is written as most are, in one pass over its bytes.
//!
//! A text is *plain* where nothing in it needs a closer look: objects and arrays few levels deep, strings without escapes,
//! numbers without exponents and of few digits, and no line break. Every strict reader takes it. Whatever else there is,
//! wrong text among it, is not refused here: it is not plain, and `serde_json` reads it.
//!
//! Measured (callgrind): 70 bytes with three members take some 700 instructions here, and 1,390 where `serde_json` finds
//! the members and another pass finds that all readers take them.

use crate::word::word;

/// Arrays and objects inside one another, in a plain text.
const LEVELS_MAX: usize = 8;

/// Bytes of a number in a plain text.
const NUMBER_BYTES_MAX: usize = 64;

/// Hands over the members of an object, in their order: name and value, as they are written. `false`: `take` has refused
/// one, or the text is not plain; then what was handed over counts for nothing.
pub(super) fn members<'a>(json: &'a str, mut take: impl FnMut(&'a str, &'a str) -> bool) -> bool {
    read(json, &mut take).is_some()
}

fn read<'a>(json: &'a str, take: &mut impl FnMut(&'a str, &'a str) -> bool) -> Option<()> {
    let part = |from: &[u8], to: &[u8]| json.get(json.len() - from.len()..json.len() - to.len());
    let mut rest = token(json.as_bytes(), b'{')?;
    if token(rest, b'}') == Some(&[]) {
        return Some(());
    }
    loop {
        let name = token(rest, b'"')?;
        let behind = string(name)?;
        let name = part(name, behind)?.strip_suffix('"')?;
        let value = blank(token(behind, b':')?);
        let behind = self::value(value, LEVELS_MAX - 1)?;
        if !take(name, part(value, behind)?) {
            return None;
        }
        match token(behind, b',') {
            Some(others) => rest = others,
            None => return token(behind, b'}')?.is_empty().then_some(()),
        }
    }
}

/// What is behind white space.
fn blank(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    text
}

/// What is behind this byte, before which white space may stand.
fn token(text: &[u8], byte: u8) -> Option<&[u8]> {
    match text {
        // As most senders write it.
        [first, rest @ ..] if *first == byte => Some(rest),
        _ => blank(text).strip_prefix(&[byte]),
    }
}

/// What is behind a value, in which there are so many levels at most.
fn value(text: &[u8], levels: usize) -> Option<&[u8]> {
    match text {
        [b'"', rest @ ..] => string(rest),
        [b'-' | b'0'..=b'9', ..] => number(text),
        [b'{', rest @ ..] => items(rest, b'}', levels.checked_sub(1)?),
        [b'[', rest @ ..] => items(rest, b']', levels.checked_sub(1)?),
        [b't', b'r', b'u', b'e', rest @ ..]
        | [b'f', b'a', b'l', b's', b'e', rest @ ..]
        | [b'n', b'u', b'l', b'l', rest @ ..] => Some(rest),
        _ => None,
    }
}

/// What is behind the elements of an array, or the members of an object, and the bracket that closes it.
fn items(text: &[u8], close: u8, levels: usize) -> Option<&[u8]> {
    if let Some(rest) = token(text, close) {
        return Some(rest);
    }
    let mut rest = text;
    loop {
        if close == b'}' {
            rest = token(string(token(rest, b'"')?)?, b':')?;
        }
        let behind = value(blank(rest), levels)?;
        match token(behind, b',') {
            Some(others) => rest = others,
            None => return token(behind, close),
        }
    }
}

/// Bytes that are looked at in one step.
const STEP: usize = size_of::<u64>();

/// A word of which each byte is this one.
const fn all(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; STEP])
}

/// Of each byte of a word, its highest bit where it is below a limit of at most 128. What is above the first such byte
/// stands for nothing: a subtraction borrows from there.
const fn below(word: u64, limit: u8) -> u64 {
    word.wrapping_sub(all(limit)) & !word & all(0x80)
}

/// The lowest byte that is not 0 stands for the first byte that ends plain text in a string: a quote, a backslash, or a
/// control character (RFC 8259 §7).
const fn ends_string(word: u64) -> u64 {
    below(word ^ all(b'"'), 1) | below(word ^ all(b'\\'), 1) | below(word, b' ')
}

/// The lowest byte that is not 0 stands for the first byte that is no digit.
const fn ends_digits(word: u64) -> u64 {
    // A digit without the bits of `0` is below 10.
    let digits = word ^ all(b'0');
    let above_nine = (digits & all(0x7f)) + all(0x80 - 10);
    (above_nine | digits) & all(0x80)
}

/// The text from the first such byte on. What stands behind the last byte, zeros, ends it.
fn until(mut text: &[u8], ends: impl Fn(u64) -> u64) -> &[u8] {
    loop {
        let found = ends(word(text));
        if found != 0 {
            return text.get(found.trailing_zeros() as usize / STEP..).unwrap_or_default();
        }
        text = text.get(STEP..).unwrap_or_default();
    }
}

/// What is behind the quote that ends a string, of which the first one was read.
fn string(text: &[u8]) -> Option<&[u8]> {
    until(text, ends_string).strip_prefix(b"\"")
}

/// What is behind a number without an exponent.
fn number(text: &[u8]) -> Option<&[u8]> {
    let unsigned = text.strip_prefix(b"-").unwrap_or(text);
    let whole = match unsigned {
        [b'0', rest @ ..] => rest,
        _ => digits(unsigned)?,
    };
    let rest = match whole {
        [b'.', rest @ ..] => digits(rest)?,
        _ => whole,
    };
    let is_plain =
        text.len() - rest.len() <= NUMBER_BYTES_MAX && !matches!(rest, [b'e' | b'E', ..]);
    is_plain.then_some(rest)
}

/// What is behind one digit or more.
fn digits(text: &[u8]) -> Option<&[u8]> {
    let rest = until(text, ends_digits);
    (rest.len() < text.len()).then_some(rest)
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::codec::members;
    use crate::codec::strict::{self, Marks};

    /// The members of a plain text.
    fn read(json: &str) -> Option<Vec<(&str, &str)>> {
        let mut found = Vec::new();
        members(json, |name, value| {
            found.push((name, value));
            true
        })
        .then_some(found)
    }

    #[test]
    fn the_members_of_a_plain_object_are_handed_over_as_they_are_written() {
        for (json, expected) in [
            ("{}", &[][..]),
            ("{ \t}", &[]),
            (r#"{"a":1,"b":"x"}"#, &[("a", "1"), ("b", "\"x\"")]),
            (r#"{ "a" :	-0.50 , "a":null }"#, &[("a", "-0.50"), ("a", "null")]),
            (
                r#"{"a b":[ 1, {"c":[]} ],"°C":{ }}"#,
                &[("a b", r#"[ 1, {"c":[]} ]"#), ("°C", "{ }")],
            ),
            (r#"{"":true,"12345678":false}"#, &[("", "true"), ("12345678", "false")]),
            (r#"{"123456789":0,"ü234567":""}"#, &[("123456789", "0"), ("ü234567", "\"\"")]),
        ] {
            assert_eq!(read(json).as_deref(), Some(expected), "{json}");
        }
    }

    #[test]
    fn what_is_wrong_or_needs_a_closer_look_is_not_plain() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(LEVELS_MAX), "]".repeat(LEVELS_MAX));
        let long = format!("{{\"a\":{}}}", "9".repeat(NUMBER_BYTES_MAX + 1));
        for json in [
            "",
            "{",
            "[]",
            "1",
            "{}x",
            "{} ",
            "{,}",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1,}"#,
            r#"{"a":1 2}"#,
            r#"{"a":01}"#,
            r#"{"a":1.}"#,
            r#"{"a":.5}"#,
            r#"{"a":-}"#,
            r#"{"a":+1}"#,
            r#"{"a":1e5}"#,
            r#"{"a":1.5E5}"#,
            r#"{"a":nul}"#,
            r#"{"a":nulls}"#,
            r#"{"a":"b}"#,
            r#"{"a":"\u0041"}"#,
            r#"{"a\"":1}"#,
            r#"{"a":[1,]}"#,
            r#"{"a":[1}"#,
            r#"{"a":{"b":1]}"#,
            r#"{"a":{"b"}}"#,
            r#"{"a":{1:2}}"#,
            "{\"a\":\n1}",
            "{\"a\":\"\t\"}",
            "{\"a\":\"1234567\u{1f}\"}",
            r#"{"a":1"b":2}"#,
            r#"{"a":1]"#,
            r"{a:1}",
            r#"{"a":"1234567\""}"#,
            &deep,
            &long,
        ] {
            assert_eq!(read(json), None, "{json}");
        }
        assert_eq!(read(&deep.replacen("[]", "", 1)).map(|it| it.len()), Some(1));
    }

    /// Puts each byte at each place among others, and looks for the first that ends them.
    fn finds(fillers: &[u8], ends: impl Fn(u64) -> u64, is_end: impl Fn(u8) -> bool) {
        let places = (0..=u8::MAX).flat_map(|byte| (0..STEP).map(move |at| (byte, at)));
        let all = places.flat_map(|it| fillers.iter().map(move |filler| (it, *filler)));
        for ((byte, at), filler) in all {
            let mut step = [filler; STEP];
            step[at] = byte;
            let found = ends(u64::from_le_bytes(step)).trailing_zeros() as usize / STEP;
            assert_eq!(found == at, is_end(byte), "{byte:#x} at {at} among {filler:#x}: {found}");
            assert!(found == at || found == STEP, "{byte:#x} at {at} among {filler:#x}: {found}");
        }
    }

    #[test]
    fn each_byte_that_ends_a_string_or_a_number_is_found_at_each_place() {
        let is_end = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
        finds(b" x\x7f\x80\xff!#[]", ends_string, is_end);
        finds(b"0123456789", ends_digits, |byte| !byte.is_ascii_digit());
    }

    /// JSON, as it is written by somebody, and what becomes of it where bytes change.
    fn texts() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[ -~]{0,20}".prop_map(Value::from),
            ".{0,9}".prop_map(Value::from),
        ];
        let value = leaf.prop_recursive(10, 40, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z]{0,9}", inner, 0..4)
                    .prop_map(|it| it.into_iter().collect::<Value>()),
            ]
        });
        let members = prop::collection::btree_map("[a-z ]{0,17}", value, 0..5);
        let edits = prop::collection::vec(
            (any::<prop::sample::Index>(), r#"[-+.,:{}\[\]"\\ 0-9eE\n\t]?"#),
            0..3,
        );
        (members, any::<bool>(), edits).prop_map(|(members, pretty, edits)| {
            let value: Value = members.into_iter().collect();
            let text = if pretty { format!("{value:#}") } else { value.to_string() };
            edits.into_iter().fold(text, |text, (at, with)| edited(&text, at, &with))
        })
    }

    /// A text with one letter replaced.
    fn edited(text: &str, at: prop::sample::Index, with: &str) -> String {
        let mut letters: Vec<char> = text.chars().collect();
        let at = at.index(letters.len());
        letters.splice(at..=at, with.chars());
        if letters.is_empty() {
            letters.push(' ');
        }
        letters.into_iter().collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn what_is_plain_the_library_takes_and_finds_the_same(text in texts()) {
            let Some(found) = read(&text) else { return Ok(()) };
            let mut expected = Vec::new();
            let walked = members::each(&text, |name, value| {
                expected.push((name.unwrap().into_owned(), value));
                ControlFlow::Continue(())
            });
            prop_assert!(walked.is_ok(), "{text}");
            let found: Vec<_> = found.iter().map(|it| (it.0.to_owned(), it.1)).collect();
            prop_assert_eq!(found, expected);
            let marks = Marks::of(&text);
            prop_assert!(strict::check(&text, marks).is_ok() && !marks.has_break(), "{text}");
        }
    }
}
