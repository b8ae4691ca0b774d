//! The token of `http.token_file`: who has it may ask over HTTP.
//!
//! It is compared in a time that says nothing of it, and it is in no log, error or debug text.

use std::fmt;
use std::io::Read;
use std::path::Path;

use subtle::ConstantTimeEq;

use crate::mqtt::options::{BYTE_ORDER_MARK, open_file};

/// Bytes of a token. A file with more is refused.
const TOKEN_BYTES_MAX: usize = 512;

/// A token.
#[derive(Clone)]
pub struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    /// Reads the token in a file, or says what is wrong.
    pub fn read(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let cannot = |error| format!("cannot read {shown}: {error}");
        let file = open_file(path).map_err(cannot)?;
        let mut text = String::new();
        // With a line break and a mark at the beginning, and one more to see that it is too long.
        let bytes = TOKEN_BYTES_MAX + "\r\n".len() + BYTE_ORDER_MARK.len_utf8() + 1;
        file.take(bytes as u64).read_to_string(&mut text).map_err(cannot)?;
        let token = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&text);
        let token = token.trim_end_matches(['\r', '\n']);
        if token.is_empty() {
            return Err(format!(
                "{shown} is empty: write a token into it, such as openssl rand -hex 32 makes"
            ));
        }
        if token.len() > TOKEN_BYTES_MAX || !token.bytes().all(|it| it.is_ascii_graphic()) {
            return Err(format!(
                "{shown} is not one line of 1 to {TOKEN_BYTES_MAX} visible ASCII characters"
            ));
        }
        Ok(Self(token.to_owned()))
    }

    /// Whether this is it.
    pub fn is(&self, sent: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(sent).into()
    }

    /// The value of `Authorization`.
    pub fn authorization(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::write;

    use super::*;

    #[test]
    fn a_token_is_one_line_and_is_told_to_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let read = |text: &[u8]| {
            write(&path, text).unwrap();
            Token::read(&path)
        };
        for text in ["s3cret", "s3cret\n", "\u{feff}s3cret\r\n"] {
            let token = read(text.as_bytes()).unwrap();
            assert!(token.is(b"s3cret") && !format!("{token:?}").contains("s3cret"));
            assert_eq!(
                ["s3cre", "s3crets", "S3cret", ""].map(|it| token.is(it.as_bytes())),
                [false; 4]
            );
            assert_eq!(token.authorization(), "Bearer s3cret");
        }
        let (most, long) = ("x".repeat(TOKEN_BYTES_MAX), "x".repeat(TOKEN_BYTES_MAX + 1));
        assert!(read(format!("{most}\r\n").as_bytes()).unwrap().is(most.as_bytes()));
        for (text, part) in [
            ("", "is empty: write a token"),
            ("\n", "is empty"),
            ("s3cret two", "is not one line of 1 to 512"),
            ("s3cret\ntwo", "is not one line"),
            (&long, "is not one line"),
        ] {
            let error = read(text.as_bytes()).unwrap_err();
            assert!(error.contains(part) && !error.contains("s3cret"), "{error}");
        }
        assert!(read(&[0xff]).unwrap_err().contains("cannot read"));
        assert!(Token::read(folder.path()).unwrap_err().contains("cannot read"));
    }
}
