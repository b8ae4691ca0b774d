//! The fields of a protobuf message (its encoding: protobuf.dev/programming-guides/encoding), read one after the other and
//! borrowed: nothing is set aside for what a payload claims, and no tree is built of it. And a message that is written so.

use prost::bytes::Buf;
use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};

use crate::codec::Malformed;

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Field<'a> {
    Number(u64),
    Four([u8; 4]),
    Eight([u8; 8]),
    Bytes(&'a [u8]),
}

/// The fields of a message, by number, until one cannot be read.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Field<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.0.is_empty()).then(|| {
            let read = self.read();
            if read.is_err() {
                self.0 = &[];
            }
            read
        })
    }
}

impl<'a> Fields<'a> {
    /// A number at the start of what is left.
    pub(crate) fn varint(rest: &mut &[u8]) -> Result<u64, Malformed> {
        decode_varint(rest)
            .map_err(|_| wrong("it ends within a number, or has one that is too large"))
    }

    fn read(&mut self) -> Result<(u32, Field<'a>), Malformed> {
        let rest = &mut self.0;
        let (number, wire) =
            decode_key(rest).map_err(|_| wrong("no field begins where one should"))?;
        let short = || wrong("it ends within a field");
        let field = match wire {
            WireType::Varint => Field::Number(Self::varint(rest)?),
            WireType::ThirtyTwoBit => Field::Four(*take(rest).ok_or_else(short)?),
            WireType::SixtyFourBit => Field::Eight(*take(rest).ok_or_else(short)?),
            WireType::LengthDelimited => {
                let bytes = Self::varint(rest)?;
                let bytes = usize::try_from(bytes).ok().and_then(|it| rest.split_at_checked(it));
                let (bytes, behind) = bytes.ok_or_else(short)?;
                *rest = behind;
                Field::Bytes(bytes)
            }
            WireType::StartGroup | WireType::EndGroup => return Err(wrong("it has a group")),
        };
        Ok((number, field))
    }
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (taken, _) = rest.split_first_chunk()?;
    rest.advance(N);
    Some(taken)
}

impl<'a> Field<'a> {
    /// A number that is not negative.
    pub(crate) fn number(self) -> Result<u64, Malformed> {
        if let Self::Number(number) = self { Ok(number) } else { Err(unlike()) }
    }

    pub(crate) fn is_true(self) -> Result<bool, Malformed> {
        Ok(self.number()? != 0)
    }

    pub(crate) fn bytes(self) -> Result<&'a [u8], Malformed> {
        if let Self::Bytes(bytes) = self { Ok(bytes) } else { Err(unlike()) }
    }

    pub(crate) fn text(self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| wrong("a text is not UTF-8"))
    }

    pub(crate) fn float(self) -> Result<f32, Malformed> {
        if let Self::Four(bytes) = self { Ok(f32::from_le_bytes(bytes)) } else { Err(unlike()) }
    }

    pub(crate) fn double(self) -> Result<f64, Malformed> {
        if let Self::Eight(bytes) = self { Ok(f64::from_le_bytes(bytes)) } else { Err(unlike()) }
    }
}

fn unlike() -> Malformed {
    wrong("a field has another type than in Sparkplug")
}

/// Why a payload is none of Sparkplug.
pub(crate) fn wrong(what: &str) -> Malformed {
    Malformed::because(format!("no Sparkplug B: {what}"))
}

/// A message that is written, field by field. It keeps its buffer for the next one.
#[derive(Debug, Default)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    /// Begins the next one.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// A varint: an integer or a truth value.
    pub(crate) fn number(&mut self, field: u32, value: u64) {
        encode_key(field, WireType::Varint, &mut self.0);
        encode_varint(value, &mut self.0);
    }

    /// A double.
    pub(crate) fn double(&mut self, field: u32, value: f64) {
        encode_key(field, WireType::SixtyFourBit, &mut self.0);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// A text, bytes or a message.
    pub(crate) fn bytes(&mut self, field: u32, bytes: &[u8]) {
        encode_key(field, WireType::LengthDelimited, &mut self.0);
        encode_varint(bytes.len() as u64, &mut self.0);
        self.0.extend_from_slice(bytes);
    }

    /// What is written.
    pub(crate) fn written(&self) -> &[u8] {
        &self.0
    }

    /// The same, to be spoilt.
    pub(crate) const fn written_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}
