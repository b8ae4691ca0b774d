//! Bytes of a program, and the numbers in them.

use super::meter::Meter;
use super::numbers::{finite, place};
use super::value::Value;

/// What is made of bytes.
type Made<'a> = Result<Value<'a>, String>;

/// Bytes.
pub(super) fn bytes<'v>(it: &'v Value<'_>) -> Result<&'v [u8], String> {
    if let Value::Bytes(it) = it {
        Ok(it)
    } else {
        Err(format!("{} is no bytes: write hex(…) or base64.decode(…)", it.kind()))
    }
}

/// The bytes of a text of hexadecimal digits, two for each.
pub(super) fn of_hex<'a>(text: &str, meter: &mut Meter) -> Made<'a> {
    meter.make(text.len() / 2)?;
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|it| u8::try_from(it).ok());
    let byte = |pair: &[u8; 2]| Some(digit(&pair[0])? << 4 | digit(&pair[1])?);
    let (pairs, rest) = text.as_bytes().as_chunks();
    let bytes: Option<Vec<u8>> = pairs.iter().map(byte).collect();
    let bytes = bytes.filter(|_| rest.is_empty());
    let bytes = bytes.ok_or_else(|| format!("{} is not hexadecimal", crate::text::shown(text)))?;
    Ok(Value::Bytes(bytes.into()))
}

/// A number of a few bytes, and how many bits they have.
type Word = (u64, u32);

/// The number of so many bytes from a place on, the highest first.
pub(super) fn big_endian(
    it: &Value<'_>,
    at: &Value<'_>,
    count: &Value<'_>,
) -> Result<Word, String> {
    part(it, at, count).map(|it| word(it.iter().copied()))
}

/// The same, the lowest first.
pub(super) fn little_endian(
    it: &Value<'_>,
    at: &Value<'_>,
    count: &Value<'_>,
) -> Result<Word, String> {
    part(it, at, count).map(|it| word(it.iter().rev().copied()))
}

fn part<'v>(it: &'v Value<'_>, at: &Value<'_>, count: &Value<'_>) -> Result<&'v [u8], String> {
    let (it, at, count) = (bytes(it)?, place(at)?, place(count)?);
    if !(1..=8).contains(&count) {
        return Err(format!("a number of {count} bytes: write 1 to 8"));
    }
    let part = it.get(at..).and_then(|it| it.get(..count));
    part.ok_or_else(|| format!("no {count} bytes at {at}: there are {}", it.len()))
}

fn word(bytes: impl Iterator<Item = u8>) -> Word {
    bytes.fold((0, 0), |(word, bits), byte| (word << 8 | u64::from(byte), bits + 8))
}

/// It, without a sign.
pub(super) fn uint<'a>((word, _): Word) -> Made<'a> {
    i64::try_from(word).map(Value::Int).map_err(|_| format!("{word} is beyond 2^63"))
}

/// It, of which the highest bit is the sign.
pub(super) const fn signed<'a>((word, bits): Word) -> Value<'a> {
    // The sign goes to the top and comes down again.
    let unused = u64::BITS - bits;
    Value::Int((word << unused).cast_signed() >> unused)
}

/// It, as a float of IEEE 754.
pub(super) fn float<'a>((word, bits): Word) -> Made<'a> {
    let number = match (bits, u32::try_from(word)) {
        // A float as a person writes it: of few digits, not those of its double.
        (32, Ok(word)) => ryu::Buffer::new().format(f32::from_bits(word)).parse().ok(),
        (64, _) => Some(f64::from_bits(word)),
        _ => return Err(format!("a float of {} bytes: write 4 or 8", bits / 8)),
    };
    number.and_then(finite).ok_or_else(|| "the bytes are no finite number".to_owned())
}
