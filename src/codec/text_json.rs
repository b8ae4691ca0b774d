//! Text as a JSON string (RFC 8259 §7).

/// Appends `text` as a JSON string. Bytes that are not UTF-8 become U+FFFD.
pub fn write_bytes(out: &mut Vec<u8>, text: &[u8]) {
    if is_plain(text) {
        quote(out, text);
    } else {
        escape(out, &String::from_utf8_lossy(text));
    }
}

/// Appends `text` as a JSON string.
pub fn write(out: &mut Vec<u8>, text: &str) {
    if is_plain(text.as_bytes()) {
        quote(out, text.as_bytes());
    } else {
        escape(out, text);
    }
}

/// Appends what stands between the quotes of `text` as a JSON string.
pub fn write_inside(out: &mut Vec<u8>, text: &str) {
    if is_plain(text.as_bytes()) {
        out.extend_from_slice(text.as_bytes());
    } else {
        let begin = out.len();
        escape(out, text);
        out.pop();
        out.remove(begin);
    }
}

fn quote(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    out.extend_from_slice(text);
    out.push(b'"');
}

fn escape(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a string can be written to memory");
}

/// Bytes that are looked at in one step.
const BLOCK: usize = 16;

/// Whether it is ASCII of which nothing needs an escape, as most names and topics are.
fn is_plain(text: &[u8]) -> bool {
    // Whole blocks, the last of which may overlap the one before it.
    match text.last_chunk::<BLOCK>() {
        Some(end) => is_plain_block(end) && text.as_chunks().0.iter().all(is_plain_block),
        None => text.iter().fold(0, |found, byte| found | mark(*byte)) == 0,
    }
}

/// Without a way out half-way, so that it is a few instructions for all of them.
fn is_plain_block(bytes: &[u8; BLOCK]) -> bool {
    bytes.iter().fold(0, |found, byte| found | mark(*byte)) == 0
}

/// 1 for a byte that is not plain.
fn mark(byte: u8) -> u8 {
    let is = u8::from;
    is(byte < 0x20) | is(byte >= 0x80) | is(byte == b'"') | is(byte == b'\\')
}

/// `text` as a JSON string.
pub fn quoted(text: &str) -> String {
    let mut out = Vec::new();
    write(&mut out, text);
    String::from_utf8(out).expect("a text in quotes is a text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_become_a_json_string() {
        for (bytes, expected) in [
            (&b"plain"[..], "\"plain\""),
            (b"a\"b\\c\n", r#""a\"b\\c\n""#),
            (b"\xff", "\"\u{fffd}\""),
            ("é".as_bytes(), "\"é\""),
            (b"sensors/boiler/north/temperature", "\"sensors/boiler/north/temperature\""),
            (b"sensors/boiler/no\x1fth/temperature", "\"sensors/boiler/no\\u001fth/temperature\""),
            (b"sensors/boiler/north/temperat\xffre", "\"sensors/boiler/north/temperat\u{fffd}re\""),
            ("sensors/boiler/north/é".as_bytes(), "\"sensors/boiler/north/é\""),
            (b"\x7f\x20", "\"\x7f \""),
        ] {
            let mut out = Vec::new();
            write_bytes(&mut out, bytes);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
