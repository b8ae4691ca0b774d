//! Text from outside, made safe for an error, a log line or a report.
//!
//! A peer that sends a reason, a topic or a sensor id must not be able to write log lines, to colour the
//! terminal, or to change the direction of writing. So control characters and invisible ones are written as
//! Rust's escapes, and no text is longer than [`SHOWN_BYTES_MAX`]. This is done where such a text enters. The
//! log escapes its text fields a second time, which changes nothing.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::path::Path;

/// Bytes of a text from outside that are shown. The rest is cut off, and the whole length is written behind it.
pub const SHOWN_BYTES_MAX: usize = 256;

/// Whether a character must not be shown as it is: control characters, line and paragraph separators,
/// those that change the direction of writing, and those that cannot be seen (Unicode's `Cf`).
pub const fn is_unsafe(c: char) -> bool {
    matches!(
        c,
        '\0'..='\x1f'
            | '\x7f'..='\u{9f}'
            | '\u{ad}'
            | '\u{600}'..='\u{605}'
            | '\u{61c}'
            | '\u{6dd}'
            | '\u{70f}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// What is wrong with JSON text of so many bytes. A text that was cut is said to be: a parser's own words do not say so.
pub fn json_error(bytes: usize, error: &serde_json::Error) -> String {
    if error.is_eof() {
        return format!("the text ends early, at byte {bytes}: {error}");
    }
    error.to_string()
}

/// A text, made safe and cut.
pub fn shown(text: &str) -> Cow<'_, str> {
    if text.len() <= SHOWN_BYTES_MAX && !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let (head, rest) = text.split_at(text.floor_char_boundary(SHOWN_BYTES_MAX));
    let shown = escaped(head);
    if rest.is_empty() {
        return Cow::Owned(shown);
    }
    Cow::Owned(format!("{shown}… ({} bytes)", text.len()))
}

/// A text, made safe, of any length.
pub fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unsafe(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// A line of JSON, made safe with JSON's own escapes: its values stay the same.
pub fn json(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    for c in line.chars() {
        if is_unsafe(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(shown, "\\u{unit:04x}").expect("a string takes all");
            }
        } else {
            shown.push(c);
        }
    }
    shown
}

/// A path, made safe and cut.
pub fn from_path(path: &Path) -> String {
    shown(&path.to_string_lossy()).into_owned()
}

/// Bytes that should be UTF-8, made safe and cut.
pub fn from_bytes(bytes: &[u8]) -> String {
    // The part that is cut off need not be decoded.
    let head = bytes.get(..SHOWN_BYTES_MAX + 4).unwrap_or(bytes);
    if head.len() == bytes.len() {
        return shown(&String::from_utf8_lossy(bytes)).into_owned();
    }
    let head = String::from_utf8_lossy(head);
    let end = head.floor_char_boundary(SHOWN_BYTES_MAX);
    let head = head.get(..end).expect("a character ends there");
    format!("{}… ({} bytes)", shown(head), bytes.len())
}

/// A writer that escapes unsafe characters, for a text of any length.
#[derive(Debug)]
pub struct Escaping<W>(pub W);

impl<W: Write> Write for Escaping<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(is_unsafe) {
            let (before, from) = rest.split_at(at);
            self.0.write_str(before)?;
            let mut chars = from.chars();
            if let Some(c) = chars.next() {
                write!(self.0, "{}", c.escape_default())?;
            }
            rest = chars.as_str();
        }
        self.0.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_forge_a_line_is_written_as_an_escape() {
        for (text, expected) in [
            ("no\r\n2026 ERROR forged", "no\\r\\n2026 ERROR forged"),
            ("\x1b[31mred", "\\u{1b}[31mred"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("a\u{202e}b\u{2066}\u{61c}\u{200f}", "a\\u{202e}b\\u{2066}\\u{61c}\\u{200f}"),
            ("\u{2028}\u{2029}\u{feff}", "\\u{2028}\\u{2029}\\u{feff}"),
            ("Füllstand °C 温度", "Füllstand °C 温度"),
        ] {
            assert_eq!(shown(text), expected);
            assert_eq!(from_bytes(text.as_bytes()), expected);
            assert_eq!(shown(&shown(text)), expected, "twice is as once");
        }
        assert_eq!(from_bytes(b"d\xe9j\xe0"), "d\u{fffd}j\u{fffd}");
    }

    #[test]
    fn json_keeps_its_values_and_forges_nothing() {
        let value = serde_json::json!({ "a\u{202e}": "\x1b[31m\n\u{9b}\u{e0001}é" });
        let shown = json(&value.to_string());
        assert!(!shown.contains(is_unsafe), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }

    #[test]
    fn a_long_text_is_cut_and_its_length_said() {
        let long = "é".repeat(40_000);
        for shown in [shown(&long).into_owned(), from_bytes(long.as_bytes())] {
            assert!(shown.starts_with("éé") && shown.ends_with("… (80000 bytes)"), "{shown}");
            assert!(shown.len() < SHOWN_BYTES_MAX + 32);
        }
        let whole = "x".repeat(SHOWN_BYTES_MAX);
        assert_eq!(shown(&whole), whole);
    }
}
