//! Reason codes in words.

/// Why a broker says it ends a connection (MQTT 5 §3.14.2.1), for the codes that brokers send.
pub(super) fn disconnect_reason(code: u8) -> String {
    let words = match code {
        0x00 => "normal disconnection",
        0x81 => "malformed packet",
        0x82 => "protocol error",
        0x87 => "not authorized",
        0x89 => "server busy",
        0x8b => "server shutting down",
        0x8d => "keep alive timeout",
        0x8e => "session taken over: another client uses our client id",
        0x93 => "receive maximum exceeded",
        0x95 => "packet too large",
        0x96 => "message rate too high",
        0x97 => "quota exceeded",
        0x98 => "administrative action",
        _ => return format!("reason code {code:#04x}"),
    };
    words.to_owned()
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
