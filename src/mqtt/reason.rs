//! Reason codes in words.

/// A reason code in words (MQTT 5 §2.4), for those that end a connection or refuse a publish.
pub(super) fn code_in_words(code: u8) -> String {
    let words = match code {
        0x00 => "normal disconnection",
        0x80 => "unspecified error",
        0x81 => "malformed packet",
        0x82 => "protocol error",
        0x83 => "implementation specific error",
        0x87 => "not authorized",
        0x89 => "server busy",
        0x8b => "server shutting down",
        0x8d => "keep alive timeout",
        0x8e => "session taken over: another client uses our client id",
        0x90 => "topic name invalid",
        0x91 => "packet identifier in use",
        0x93 => "receive maximum exceeded",
        0x95 => "packet too large",
        0x96 => "message rate too high",
        0x97 => "quota exceeded",
        0x98 => "administrative action",
        0x99 => "payload format invalid",
        _ => return format!("reason code {code:#04x}"),
    };
    words.to_owned()
}

/// A reason code in words, with what the broker says beside it, where that is its first property
/// (Reason String, MQTT 5 §3.4.2.2.2).
pub(super) fn refused(code: u8, properties: &[u8]) -> String {
    let words = code_in_words(code);
    let [_, 0x1f, high, low, text @ ..] = properties else { return words };
    match text.get(..usize::from(u16::from_be_bytes([*high, *low]))) {
        Some(said) => format!("{words} ({})", String::from_utf8_lossy(said)),
        None => words,
    }
}

/// The library's name of a code in words, with what the broker said beside it.
pub(super) fn reason(code: &str, said: Option<String>) -> String {
    match said {
        Some(said) => format!("{} ({said})", words(code)),
        None => words(code),
    }
}

/// `NotAuthorized` as "not authorized".
pub(super) fn words(code: &str) -> String {
    let mut text = String::new();
    for c in code.chars() {
        if c.is_uppercase() && !text.is_empty() {
            text.push(' ');
        }
        text.extend(c.to_lowercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_become_words() {
        assert_eq!(words("BadUserNamePassword"), "bad user name password");
        assert_eq!(reason("NotAuthorized", Some("no".into())), "not authorized (no)");
    }
}
