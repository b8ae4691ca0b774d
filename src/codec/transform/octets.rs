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

/// So many bytes from a place on, the lowest last.
fn word(
    it: &Value<'_>,
    at: &Value<'_>,
    count: &Value<'_>,
    is_little: bool,
) -> Result<(u64, u32), String> {
    let (it, at, count) = (bytes(it)?, place(at)?, place(count)?);
    if !(1..=8).contains(&count) {
        return Err(format!("a number of {count} bytes: write 1 to 8"));
    }
    let word = it
        .get(at..)
        .and_then(|it| it.get(..count))
        .ok_or_else(|| format!("no {count} bytes at {at}: there are {}", it.len()))?;
    let shifted = |word: u64, byte: &u8| word << 8 | u64::from(*byte);
    let word =
        if is_little { word.iter().rev().fold(0, shifted) } else { word.iter().fold(0, shifted) };
    Ok((word, 8 * u32::try_from(count).unwrap_or_default()))
}

pub(super) fn uint(
    it: &Value<'_>,
    at: &Value<'_>,
    count: &Value<'_>,
    is_little: bool,
) -> Result<i64, String> {
    let (word, _) = word(it, at, count, is_little)?;
    i64::try_from(word).map_err(|_| format!("{word} is beyond 2^63"))
}

pub(super) fn signed<'a>(
    it: &Value<'_>,
    at: &Value<'_>,
    count: &Value<'_>,
    is_little: bool,
) -> Made<'a> {
    let (word, bits) = word(it, at, count, is_little)?;
    let unused = u64::BITS - bits;
    // The sign goes to the top and comes down again.
    Ok(Value::Int((word << unused).cast_signed() >> unused))
}

pub(super) fn float<'a>(
    it: &Value<'_>,
    at: &Value<'_>,
    count: &Value<'_>,
    is_little: bool,
) -> Made<'a> {
    let (word, bits) = word(it, at, count, is_little)?;
    let number = match (bits, u32::try_from(word)) {
        // A float as a person writes it: of few digits, not those of its double.
        (32, Ok(word)) => ryu::Buffer::new().format(f32::from_bits(word)).parse().ok(),
        (64, _) => Some(f64::from_bits(word)),
        _ => return Err(format!("a float of {} bytes: write 4 or 8", bits / 8)),
    };
    number.and_then(finite).ok_or_else(|| "the bytes are no finite number".to_owned())
}
