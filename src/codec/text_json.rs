//! Text as a JSON string (RFC 8259 §7).

/// Appends `text` as a JSON string. Bytes that are not UTF-8 become U+FFFD.
pub fn write_bytes(out: &mut Vec<u8>, text: &[u8]) {
    match std::str::from_utf8(text) {
        Ok(text) => write(out, text),
        Err(_) => write(out, &String::from_utf8_lossy(text)),
    }
}

/// Appends `text` as a JSON string.
pub fn write(out: &mut Vec<u8>, text: &str) {
    if text.bytes().all(|byte| byte >= 0x20 && !matches!(byte, b'"' | b'\\')) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        serde_json::to_writer(out, text).expect("a string can be written to memory");
    }
}

/// `text` as a JSON string.
pub fn quoted(text: &str) -> String {
    let mut out = Vec::new();
    write(&mut out, text);
    String::from_utf8_lossy(&out).into_owned()
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
        ] {
            let mut out = Vec::new();
            write_bytes(&mut out, bytes);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
