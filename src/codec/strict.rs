//! What strict readers of JSON refuse although its grammar allows it (RFC 8259 §8.2, §6, §9): half a
//! surrogate pair, numbers beyond any range, nesting without end.
//!
//! One such value would make a whole batch unreadable to them, and with it the good readings beside.
//! Ordinary payloads hold neither escapes nor exponents and cost one pass over their bytes (`Marks`);
//! long ones, in which more could be, cost two more.

use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::Malformed;
use crate::record::Reason;

/// Arrays and objects inside one another. A deeper payload becomes a dead letter; parsers give up at
/// 100 and more, and an envelope adds three.
pub const DEPTH_MAX: usize = 64;

/// Digits of a number that is in the range of a double (1.8 · 10³⁰⁸) whatever they are.
pub(super) const DIGITS_MAX: usize = 308;

/// What is known of JSON text, by one pass over it or by having read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Marks(u8);

impl Marks {
    const BREAK: u8 = 1;
    const ESCAPE: u8 = 2;
    const EXPONENT: u8 = 4;
    const OTHER: u8 = 8;

    /// Of a text that is plain, as far as it was read.
    pub(super) const PLAIN: Self = Self(0);

    /// Of a text that nobody has looked at: it may have any.
    pub(super) const UNKNOWN: Self = Self(u8::MAX);

    /// Of this text, which is not plain, whatever else it has.
    pub(super) fn of_other(json: &str) -> Self {
        Self(Self::of(json).0 | Self::OTHER)
    }

    /// Whether the text may be plain.
    pub(super) const fn may_be_plain(self) -> bool {
        matches!(self, Self::PLAIN | Self::UNKNOWN)
    }

    /// Of this text.
    pub(super) fn of(json: &str) -> Self {
        let bytes = json.as_bytes();
        let last = bytes.last().map_or(0, |last| mark(*last, 0));
        // Whole blocks, the last of which may overlap the one before it: a found mark stays found.
        let found = match bytes.last_chunk::<BLOCK>() {
            Some(end) => {
                bytes.windows(BLOCK).step_by(BLOCK - 1).fold(block(end), |found, these| {
                    these.try_into().map_or(found, |these| found | block(these))
                })
            }
            None => bytes.windows(2).fold(0, |found, pair| match pair {
                [this, next] => found | mark(*this, *next),
                _ => found,
            }),
        };
        Self(found | last)
    }

    /// Whether it has a line break.
    pub(super) fn has_break(self) -> bool {
        self.0 & Self::BREAK != 0
    }
}

/// Bytes that are looked at in one step, and the one behind them.
const BLOCK: usize = 17;

/// The marks of a block, but for its last byte. Without a way out half-way, so that it is a few
/// instructions for all of them.
fn block(bytes: &[u8; BLOCK]) -> u8 {
    let pairs = bytes.iter().zip(bytes.iter().skip(1));
    pairs.fold(0, |found, (this, next)| found | mark(*this, *next))
}

/// The mark of a byte and the one behind it.
fn mark(this: u8, next: u8) -> u8 {
    let is = |is: bool, mark: u8| u8::from(is) * mark;
    is(matches!(this, b'\n' | b'\r'), Marks::BREAK)
        | is(this == b'\\', Marks::ESCAPE)
        | is(this.is_ascii_digit(), Marks::EXPONENT) & is(next | 0x20 == b'e', Marks::EXPONENT)
}

/// Whether any reader will take `json`, which is valid by the grammar and has these marks.
pub(super) fn check(json: &str, marks: Marks) -> Result<(), Malformed> {
    let wrong = |detail: String| Malformed { reason: Reason::Malformed, detail };
    let bytes = json.as_bytes();
    // Each level opens with a byte and closes with one.
    if bytes.len() > 2 * DEPTH_MAX && opened(bytes) > DEPTH_MAX && depth(bytes) > DEPTH_MAX {
        return Err(wrong(format!("nested more than {DEPTH_MAX} deep")));
    }
    if marks.0 & (Marks::EXPONENT | Marks::ESCAPE) == 0 && !has_long_number(bytes) {
        return Ok(());
    }
    match serde_json::from_str::<Readable>(json) {
        Ok(Readable) => Ok(()),
        Err(error) => Err(wrong(format!("valid, but refused by most readers: {error}"))),
    }
}

/// A value of which every number and every string is read, as a reader does who keeps them, and nothing is kept.
struct Readable;

impl<'de> Deserialize<'de> for Readable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Readable {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
}

/// Brackets that open an array or an object, those in strings among them.
fn opened(json: &[u8]) -> usize {
    // So short that a byte can count them: many are counted in one step.
    let counts = json.chunks(128).map(|bytes| {
        let opens = bytes.iter().map(|byte| u8::from(matches!(byte, b'[' | b'{')));
        usize::from(opens.sum::<u8>())
    });
    counts.sum()
}

/// Whether there are more digits in a row than some readers can count to.
fn has_long_number(json: &[u8]) -> bool {
    let mut runs = json.split(|byte| !byte.is_ascii_digit());
    json.len() > DIGITS_MAX && runs.any(|run| run.len() > DIGITS_MAX)
}

/// The first word outside of strings that stands for no finite number: `NaN`, `Infinity` or `inf`, in any
/// case and with any sign, as many languages print them. JSON has no such values (RFC 8259 §6).
pub(super) fn not_finite(json: &str) -> Option<&str> {
    let (mut text, mut escaped) = (false, false);
    let mut words = json.split(|c: char| {
        match c {
            _ if escaped => escaped = false,
            '\\' if text => escaped = true,
            '"' => text = !text,
            _ => return text || !(c.is_ascii_alphanumeric() || matches!(c, '+' | '-')),
        }
        true
    });
    words.find(|word| {
        let word = word.trim_start_matches(['+', '-']);
        ["nan", "inf", "infinity"].iter().any(|it| word.eq_ignore_ascii_case(it))
    })
}

fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut text, mut escaped) = (false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if text => escaped = true,
            b'"' => text = !text,
            b'[' | b'{' if !text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_for_no_number_is_found_outside_of_strings_only() {
        for (json, word) in [
            (r#"{"value":NaN}"#, Some("NaN")),
            (r#"{"a":"NaN","value":-Infinity,"b":1}"#, Some("-Infinity")),
            ("[1, nan]", Some("nan")),
            (r#"{"value":-nan(ind)}"#, Some("-nan")),
            (r#"{"a\"nan":"inf","b":Nano,"c":[}"#, None),
            ("{\"inf", None),
        ] {
            assert_eq!(not_finite(json), word, "{json}");
        }
    }

    #[test]
    fn what_some_readers_refuse_is_refused() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        let brackets_in_text = format!("\"{}\"", "[".repeat(1000));
        for good in [
            r#"{"a":"\u00e9\ud83d\ude00\n","b":[1e3,-2.5E-7]}"#,
            "true",
            &nested(DEPTH_MAX),
            &brackets_in_text,
            &"9".repeat(DIGITS_MAX),
            &format!("0.{}", "1".repeat(1000)),
            &format!("[{}]", vec!["[]"; 1000].join(",")),
        ] {
            assert_eq!(check(good, Marks::of(good)), Ok(()), "{good}");
        }
        let (deep, long) = (nested(DEPTH_MAX + 1), format!("[{}]", "9".repeat(400)));
        for bad in [r#""\ud800""#, r#"{"a":"\udc00x"}"#, "1e999999", &deep, &long] {
            assert!(check(bad, Marks::of(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_looks_like_an_exponent_and_is_none_costs_no_allocation() {
        let json = r#"{"device":"70b3d57ed005e5a8","values":[1,-2,3e2,true,null,{"a":0.5}]}"#;
        let checked =
            allocation_counter::measure(|| assert_eq!(check(json, Marks::of(json)), Ok(())));
        assert_eq!((Marks::of(json).0, checked.count_total), (Marks::EXPONENT, 0));
    }

    #[test]
    fn a_mark_is_found_at_every_place_of_a_text_of_any_length() {
        let marks = [
            ("\n", Marks::BREAK),
            ("\r", Marks::BREAK),
            ("\\", Marks::ESCAPE),
            ("7E", Marks::EXPONENT),
        ];
        for length in 2..70 {
            let plain = "x".repeat(length);
            assert_eq!(Marks::of(&plain).0, 0, "{length}");
            let places = (0..length).flat_map(|at| marks.map(|it| (at, it)));
            for (at, (text, mark)) in places.filter(|(at, (text, _))| at + text.len() <= length) {
                let mut marked = plain.clone();
                marked.replace_range(at..at + text.len(), text);
                assert_eq!(Marks::of(&marked).0, mark, "{text:?} at {at} of {length}");
            }
        }
    }
}
