//! JSON text of a payload in binary: written token by token into a buffer that is used again, without a tree.
//!
//! It is bounded: its bytes by [`Input::bytes_max`], since a payload of few bytes may unfold to many, and its depth as
//! that of JSON is ([`super::strict`]). At a bound the payload is malformed. The separators are the writer's: whoever
//! reads the payload says where items are, and JSON comes out.

use base64::Engine;

use super::strict::DEPTH_MAX;
use super::{Input, Malformed};
use crate::record::Reason;

/// Bytes of an integer in binary. A longer one has more digits than most readers of JSON count to.
const INTEGER_BYTES_MAX: usize = 128;

/// Digits that one step of a long division makes.
const STEP_DIGITS: usize = 9;
const STEP: u64 = 1_000_000_000;

/// Steps that make all digits of the longest integer, and of one more.
const STEPS_MAX: usize = 35;

/// Writes JSON text.
#[derive(Debug, Default)]
pub(super) struct JsonWriter {
    json: String,
    bytes_max: usize,
    depth: usize,
    /// An item is before the next one.
    is_behind: bool,
}

impl JsonWriter {
    /// Begins the text of a payload.
    pub(super) fn begin(&mut self, input: &Input<'_>) {
        self.json.clear();
        self.bytes_max = input.bytes_max;
        (self.depth, self.is_behind) = (0, false);
    }

    /// What was written.
    pub(super) fn json(&self) -> &str {
        &self.json
    }

    fn push(&mut self, text: &str) -> Result<(), Malformed> {
        self.room(text.len())?;
        self.json.push_str(text);
        Ok(())
    }

    /// Asks for room for so many bytes.
    fn room(&self, bytes: usize) -> Result<(), Malformed> {
        if bytes <= self.bytes_max.saturating_sub(self.json.len()) {
            return Ok(());
        }
        let detail = format!("more than {} bytes as JSON (queue.record_bytes_max)", self.bytes_max);
        Err(Malformed { reason: Reason::Oversize, detail })
    }

    /// Begins an item of an array, a key, or the whole.
    fn item(&mut self) -> Result<(), Malformed> {
        if std::mem::replace(&mut self.is_behind, true) { self.push(",") } else { Ok(()) }
    }

    /// A number, `true`, `false` or `null`.
    pub(super) fn word(&mut self, word: &str) -> Result<(), Malformed> {
        self.item()?;
        self.push(word)
    }

    /// An integer.
    pub(super) fn integer(&mut self, number: impl itoa::Integer) -> Result<(), Malformed> {
        self.word(itoa::Buffer::new().format(number))
    }

    /// A number with the fewest digits that say which one of its width it is; what is not finite is `null`: JSON has
    /// no word for it.
    pub(super) fn float(&mut self, number: impl ryu::Float + Into<f64>) -> Result<(), Malformed> {
        let is_finite = number.into().is_finite();
        let mut buffer = ryu::Buffer::new();
        self.word(if is_finite { buffer.format_finite(number) } else { "null" })
    }

    /// An integer of any size, most significant byte first: `bytes`, or if it is negative -1 - `bytes`.
    pub(super) fn long_integer(
        &mut self,
        bytes: &[u8],
        is_negative: bool,
    ) -> Result<(), Malformed> {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let bytes = bytes.get(zeros..).unwrap_or_default();
        if bytes.len() > INTEGER_BYTES_MAX {
            let detail =
                format!("an integer of {} bytes; at most {INTEGER_BYTES_MAX}", bytes.len());
            return Err(Malformed::because(detail));
        }
        // A step's digits, the least significant first; the last step adds the 1 of a negative number.
        let mut steps = [0_u64; STEPS_MAX];
        let mut used = 1;
        let ends = [u64::from(is_negative)].into_iter().filter(|it| *it > 0).map(|it| (1, it));
        for (factor, add) in bytes.iter().map(|byte| (256, u64::from(*byte))).chain(ends) {
            let mut carry = add;
            for step in steps.iter_mut().take(used) {
                let sum = *step * factor + carry;
                (*step, carry) = (sum % STEP, sum / STEP);
            }
            if let Some(next) = steps.get_mut(used).filter(|_| carry > 0) {
                *next = carry;
                used += 1;
            }
        }
        self.word(if is_negative { "-" } else { "" })?;
        let mut buffer = itoa::Buffer::new();
        for (at, step) in steps.iter().take(used).rev().enumerate() {
            let digits = buffer.format(*step);
            let zeros = if at == 0 { 0 } else { STEP_DIGITS - digits.len() };
            self.push("00000000".get(..zeros).unwrap_or_default())?;
            self.push(digits)?;
        }
        Ok(())
    }

    /// The exponent of the number that was just written.
    pub(super) fn exponent(&mut self, exponent: i64) -> Result<(), Malformed> {
        self.push("e")?;
        self.push(itoa::Buffer::new().format(exponent))
    }

    /// A text.
    pub(super) fn text(&mut self, text: &str) -> Result<(), Malformed> {
        self.word("\"")?;
        self.escaped(text)?;
        self.push("\"")
    }

    /// Texts that are not empty as one, with `/` between them.
    pub(super) fn joined(&mut self, texts: &[&str]) -> Result<(), Malformed> {
        self.word("\"")?;
        for (at, text) in texts.iter().filter(|it| !it.is_empty()).enumerate() {
            self.push(if at > 0 { "/" } else { "" })?;
            self.escaped(text)?;
        }
        self.push("\"")
    }

    fn escaped(&mut self, text: &str) -> Result<(), Malformed> {
        let mut rest = text;
        while let Some(at) = rest.bytes().position(|it| it < 0x20 || matches!(it, b'"' | b'\\')) {
            // What is escaped is one byte long.
            let (plain, escaped) = rest.split_at(at);
            let (escaped, behind) = escaped.split_at(1);
            self.push(plain)?;
            self.escape(escaped)?;
            rest = behind;
        }
        self.push(rest)
    }

    fn escape(&mut self, character: &str) -> Result<(), Malformed> {
        match character {
            "\"" => self.push("\\\""),
            "\\" => self.push("\\\\"),
            "\n" => self.push("\\n"),
            "\r" => self.push("\\r"),
            "\t" => self.push("\\t"),
            _ => {
                let byte = character.bytes().next().unwrap_or_default();
                let digit = |it: u8| char::from_digit(it.into(), 16).expect("half a byte");
                self.room(6)?;
                self.json.push_str("\\u00");
                self.json.extend([digit(byte >> 4), digit(byte & 15)]);
                Ok(())
            }
        }
    }

    /// Bytes as text in base64.
    pub(super) fn base64(&mut self, bytes: &[u8], engine: &impl Engine) -> Result<(), Malformed> {
        self.word("\"")?;
        self.room(bytes.len().div_ceil(3).saturating_mul(4))?;
        engine.encode_string(bytes, &mut self.json);
        self.push("\"")
    }

    /// Bytes as text in base16, in capitals (RFC 4648 §8).
    pub(super) fn base16(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        self.word("\"")?;
        self.room(2 * bytes.len())?;
        let digit = |it: u8| char::from_digit(it.into(), 16).expect("half a byte");
        let digits = bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]);
        self.json.extend(digits.map(|it| it.to_ascii_uppercase()));
        self.push("\"")
    }

    /// Opens an array (`[`) or an object (`{`).
    pub(super) fn open(&mut self, bracket: &str) -> Result<(), Malformed> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            let detail = format!("nested more than {DEPTH_MAX} deep");
            return Err(Malformed::because(detail));
        }
        self.word(bracket)?;
        self.is_behind = false;
        Ok(())
    }

    /// Closes it (`]` or `}`).
    pub(super) fn close(&mut self, bracket: &str) -> Result<(), Malformed> {
        self.depth = self.depth.saturating_sub(1);
        self.is_behind = true;
        self.push(bracket)
    }

    /// Where the next key begins, for [`Self::key`].
    pub(super) fn key_at(&mut self) -> Result<usize, Malformed> {
        self.item()?;
        self.is_behind = false;
        Ok(self.json.len())
    }

    /// Makes a key of the item that was written at this place, and awaits its value. A key of JSON is a text, so a
    /// number or a word is put between quotes.
    pub(super) fn key(&mut self, at: usize) -> Result<(), Malformed> {
        match self.json.as_bytes().get(at) {
            Some(b'"') => {}
            Some(b'[' | b'{') => {
                let detail = "a key that is an array or an object".to_owned();
                return Err(Malformed::because(detail));
            }
            _ => {
                self.room(2)?;
                self.json.insert(at, '"');
                self.json.push('"');
            }
        }
        self.is_behind = false;
        self.push(":")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;
    use serde_json::Value;

    fn writer(bytes_max: usize) -> JsonWriter {
        let mut writer = JsonWriter::default();
        writer.begin(&Input {
            payload: b"",
            topic: b"",
            received: Timestamp::from_millis(0),
            bytes_max,
        });
        writer
    }

    /// Some value, written by this writer.
    fn write(writer: &mut JsonWriter, value: &Value) -> Result<(), Malformed> {
        match value {
            Value::Null => writer.word("null"),
            Value::Bool(it) => writer.word(if *it { "true" } else { "false" }),
            Value::Number(it) => writer.float(it.as_f64().unwrap()),
            Value::String(it) => writer.text(it),
            Value::Array(all) => {
                writer.open("[")?;
                all.iter().try_for_each(|it| write(writer, it))?;
                writer.close("]")
            }
            Value::Object(all) => {
                writer.open("{")?;
                for (name, value) in all {
                    let at = writer.key_at()?;
                    writer.text(name)?;
                    writer.key(at)?;
                    write(writer, value)?;
                }
                writer.close("}")
            }
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(|it| Value::from(f64::from(it) / 8.0)),
            "\\PC*|[\\x00-\\x7f]{0,9}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("\\PC{0,3}", inner, 0..4)
                    .prop_map(|it| Value::Object(it.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_it_was(value in values()) {
            let mut whole = writer(1 << 20);
            write(&mut whole, &value).unwrap();
            let read: Value = serde_json::from_str(whole.json()).unwrap();
            prop_assert_eq!(read, value);
        }

        /// It is never longer than its bound, and refused by no other one.
        #[test]
        fn nothing_is_written_beyond_the_bound(value in values(), less in 0_usize..50) {
            let mut whole = writer(1 << 20);
            write(&mut whole, &value).unwrap();
            let bytes_max = whole.json().len().saturating_sub(less);
            let mut bounded = writer(bytes_max);
            let written = write(&mut bounded, &value);
            prop_assert!(bounded.json().len() <= bytes_max);
            prop_assert_eq!(written.is_ok(), whole.json().len() <= bytes_max);
            if let Err(malformed) = written {
                prop_assert_eq!(malformed.reason, Reason::Oversize);
            }
        }

        #[test]
        fn an_integer_of_any_size_has_its_digits(number in any::<u128>(), is_negative in any::<bool>()) {
            let mut it = writer(1024);
            it.long_integer(&number.to_be_bytes(), is_negative).unwrap();
            let expected = match number.checked_add(1) {
                Some(one_more) if is_negative => format!("-{one_more}"),
                None if is_negative => "-340282366920938463463374607431768211456".to_owned(),
                _ => number.to_string(),
            };
            prop_assert_eq!(it.json(), expected);
        }
    }

    #[test]
    fn the_longest_integer_is_written_and_a_longer_one_refused() {
        let mut it = writer(1024);
        it.long_integer(&[0xff; INTEGER_BYTES_MAX], true).unwrap();
        // 2 to the power of 1024.
        assert!(it.json().starts_with("-17976931348623159077293051907890247336179769789423065727"));
        assert!(it.json().ends_with("624224137216") && it.json().len() == 310, "{}", it.json());
        let mut it = writer(1024);
        let mut padded = vec![0; 99];
        padded.extend([1; INTEGER_BYTES_MAX]);
        it.long_integer(&padded, false).unwrap();
        assert!(writer(1024).long_integer(&[1; INTEGER_BYTES_MAX + 1], false).is_err());
    }

    #[test]
    fn a_key_is_a_text_whatever_it_was() {
        let mut it = writer(100);
        it.open("{").unwrap();
        for _ in 0..2 {
            let at = it.key_at().unwrap();
            it.integer(-7).unwrap();
            it.key(at).unwrap();
            it.base16(b"\x0a\xff").unwrap();
        }
        let at = it.key_at().unwrap();
        it.base64(b"\xff", &STANDARD).unwrap();
        it.key(at).unwrap();
        it.float(f32::NAN).unwrap();
        it.close("}").unwrap();
        assert_eq!(it.json(), r#"{"-7":"0AFF","-7":"0AFF","/w==":null}"#);
        let at = it.key_at().unwrap();
        it.open("[").unwrap();
        assert!(it.key(at).is_err());
    }

    #[test]
    fn it_is_nested_as_deep_as_json_may_be() {
        let mut it = writer(1024);
        for _ in 0..DEPTH_MAX {
            it.open("[").unwrap();
        }
        assert_eq!(it.open("[").unwrap_err().reason, Reason::Malformed);
    }
}
