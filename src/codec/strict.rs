//! What strict readers of JSON refuse although its grammar allows it (RFC 8259 §8.2, §6, §9): half a
//! surrogate pair, numbers beyond any range, nesting without end.
//!
//! One such value would make a whole batch unreadable to them, and with it the good readings beside.
//! Ordinary payloads hold neither escapes nor exponents and cost three passes over their bytes, or four
//! if they are long enough for a number of that many digits.

use super::Malformed;
use crate::record::Reason;

/// Arrays and objects inside one another. A deeper payload becomes a dead letter; parsers give up at
/// 100 and more, and an envelope adds three.
pub const DEPTH_MAX: usize = 64;

/// Digits of a number that is in the range of a double (1.8 · 10³⁰⁸) whatever they are.
const DIGITS_MAX: usize = 308;

/// Whether any reader will take `json`, which is valid by the grammar.
pub(super) fn check(json: &str) -> Result<(), Malformed> {
    let wrong = |detail: String| Malformed { reason: Reason::Malformed, detail };
    let bytes = json.as_bytes();
    let opened = bytes.iter().filter(|byte| matches!(byte, b'[' | b'{')).count();
    if opened > DEPTH_MAX && depth(bytes) > DEPTH_MAX {
        return Err(wrong(format!("nested more than {DEPTH_MAX} deep")));
    }
    // Without a way out half-way, so that many bytes are looked at in one step.
    let any = |found: u8, this: u8| found | this;
    let pairs = bytes.iter().zip(bytes.get(1..).unwrap_or_default());
    let begins = |(a, b): (&u8, &u8)| u8::from(a.is_ascii_digit()) & u8::from(b | 0x20 == b'e');
    let exponents = pairs.map(begins).fold(0, any);
    let escapes = bytes.iter().map(|byte| u8::from(*byte == b'\\')).fold(0, any);
    if exponents | escapes == 0 && !has_long_number(bytes) {
        return Ok(());
    }
    match serde_json::from_str::<serde_json::Value>(json) {
        Ok(_) => Ok(()),
        Err(error) => Err(wrong(format!("valid, but refused by most readers: {error}"))),
    }
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
            assert_eq!(check(good), Ok(()), "{good}");
        }
        let (deep, long) = (nested(DEPTH_MAX + 1), format!("[{}]", "9".repeat(400)));
        for bad in [r#""\ud800""#, r#"{"a":"\udc00x"}"#, "1e999999", &deep, &long] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
