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

/// Whether a refusal with this code may pass by itself: the broker is busy, or a limit of its own is
/// reached, or it does not say more than that it could not (MQTT 5 §2.4).
pub(super) const fn is_passing(code: u8) -> bool {
    matches!(code, 0x80 | 0x83 | 0x88 | 0x89 | 0x97 | 0x9c | 0x9d | 0x9f)
}

/// What to do about a refused connection.
pub(super) const fn remedy(code: u8) -> Option<&'static str> {
    Some(match code {
        0x84 => "set version to the other one",
        0x85 => {
            "the client id begins with broker.client_id (gateway.id if unset): set another, or allow this one at the broker"
        }
        0x86 => "check username, and what is in password_file",
        0x87 => {
            "check username and password_file, and that the broker lets this user in with this \
             client id"
        }
        0x8a => "lift the ban at the broker, or find out what it was for",
        0x9c | 0x9d => "set url to the broker that it names, if it does not come back by itself",
        0x88 | 0x89 | 0x97 | 0x9f => "check the broker's load and its limits on connections",
        _ => return None,
    })
}

/// The code of MQTT 5 that says the same as one of 3.1.1's CONNACK (3.1.1 §3.2.2.3).
pub(super) const fn of_version_3(code: u8) -> u8 {
    match code {
        1 => 0x84,
        2 => 0x85,
        3 => 0x88,
        4 => 0x86,
        5 => 0x87,
        _ => 0x80,
    }
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
