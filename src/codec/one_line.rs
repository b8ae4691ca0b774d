//! JSON in one line: a batch is one line, so that whoever reads line by line finds it whole.
//!
//! White space between tokens is insignificant (RFC 8259 §2), and a line break can stand nowhere else: in a
//! string it is an escape. Text without a line break stays as it is, byte for byte.

use super::strict::Marks;
use crate::record::{Chunk, Span};

/// Appends JSON text, part of one that has these marks; without the white space between its tokens,
/// where there is a line break.
pub(super) fn write(out: &mut Vec<u8>, json: &str, marks: Marks) {
    if !marks.has_break() || !Marks::of(json).has_break() {
        return out.extend_from_slice(json.as_bytes());
    }
    let (mut text, mut escaped) = (false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => text = !text,
            b' ' | b'\t' | b'\n' | b'\r' if !text => continue,
            _ => {}
        }
        out.push(byte);
    }
}

/// Puts JSON text into a chunk in one line.
pub(super) fn put(chunk: &mut Chunk, json: &str, marks: Marks) -> Span {
    chunk.put_with(|out| write(out, json, marks)).0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn written(json: &str) -> String {
        let mut out = Vec::new();
        write(&mut out, json, Marks::of(json));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn white_space_goes_only_where_there_is_a_line_break_and_never_out_of_a_string() {
        for (json, expected) in [
            ("[1,  2]", "[1,  2]"),
            ("{\r\n \"a b\\\" \\\\\" :\t[1 ,2 ]\n}", r#"{"a b\" \\":[1,2]}"#),
            ("\" \\n \"", "\" \\n \""),
            ("-1.50\n", "-1.50"),
            ("[1,\r 2]", "[1,2]"),
        ] {
            assert_eq!(written(json), expected, "{json:?}");
        }
    }

    proptest! {
        #[test]
        fn the_value_is_the_same_in_one_line(texts in prop::collection::vec(".{0,9}", 1..5)) {
            let value = Value::from(texts.clone());
            let value = serde_json::json!({ "a \\\" b": [value, { texts[0].clone(): null }] });
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            prop_assert_eq!(written(&pretty), value.to_string());
        }
    }
}
