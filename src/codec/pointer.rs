//! JSON pointers (RFC 6901): where something is in a JSON text.

use std::borrow::Cow;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A JSON pointer: `"/data/0/t"` is the member `t` of the first element of the member `data`, and `""` the whole text.
/// Where a message has several readings, it begins in the one that is read, and with `$` before it in the message:
/// `"$/time"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^\\$?(/.*)?$", "examples" = ["/value", "/data/0/t", "$/time"]))]
pub struct Pointer {
    of_message: bool,
    levels: Vec<String>,
}

impl Pointer {
    /// To a member of the object itself.
    pub(super) fn to_member(name: &str) -> Self {
        Self { of_message: false, levels: vec![name.to_owned()] }
    }

    /// The same in the message.
    pub(super) fn in_message(self) -> Self {
        Self { of_message: true, ..self }
    }

    /// Whether it begins in the message, and not in the reading.
    pub const fn is_of_message(&self) -> bool {
        self.of_message
    }

    /// The names of members, and the places of elements, from the outermost on.
    pub fn levels(&self) -> impl Iterator<Item = &str> {
        self.levels.iter().map(String::as_str)
    }
}

impl TryFrom<String> for Pointer {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (of_message, pointer) = match text.strip_prefix('$') {
            Some(pointer) => (true, pointer),
            None => (false, &*text),
        };
        if pointer.is_empty() {
            return Ok(Self { of_message, levels: Vec::new() });
        }
        let rest = pointer.strip_prefix('/');
        let rest = rest.ok_or_else(|| format!("{text:?} is no JSON pointer: write \"/value\""))?;
        let level = |it: &str| {
            // A tilde is the first character of an escape, and of nothing else (§3).
            let is_escaped = it.split('~').skip(1).all(|it| it.starts_with(['0', '1']));
            let unescaped = it.replace("~1", "/").replace("~0", "~");
            is_escaped.then_some(unescaped).ok_or_else(|| {
                format!("{text:?} is no JSON pointer: write ~0 for ~ and ~1 for / in a name")
            })
        };
        Ok(Self { of_message, levels: rest.split('/').map(level).collect::<Result<_, _>>()? })
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from(self.clone()))
    }
}

impl From<Pointer> for String {
    fn from(pointer: Pointer) -> Self {
        let escaped = pointer.levels.iter().map(|it| it.replace('~', "~0").replace('/', "~1"));
        let begin = if pointer.of_message { "$" } else { "" };
        escaped.fold(begin.to_owned(), |text, level| text + "/" + &level)
    }
}

/// A member's name, borrowed where it holds no escape.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Name<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_the_standards() {
        for (text, levels) in [
            ("", &[][..]),
            ("/", &[""]),
            ("/a/0/b", &["a", "0", "b"]),
            ("/a~1b/m~0n/~01", &["a/b", "m~n", "~1"]),
            ("/ /é", &[" ", "é"]),
            ("$", &[]),
            ("$/$", &["$"]),
        ] {
            let pointer = Pointer::try_from(text.to_owned()).unwrap();
            assert_eq!(pointer.levels().collect::<Vec<_>>(), levels, "{text}");
            assert_eq!(pointer.to_string(), text);
            assert_eq!(pointer.is_of_message(), text.starts_with('$'));
        }
        for bad in ["value", "#/a", "/a~b", "/~", "$a", "$$/a"] {
            assert!(Pointer::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
