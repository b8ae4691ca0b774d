//! Values as JSON text, counted before it is written.

use super::meter::Meter;
use super::value::Value;
use crate::codec::text_json;

/// Appends the JSON text of a value.
pub(super) fn write(value: &Value<'_>, out: &mut Vec<u8>, meter: &mut Meter) -> Result<(), String> {
    meter.step()?;
    match value {
        Value::Null => put(out, "null", meter),
        Value::Bool(true) => put(out, "true", meter),
        Value::Bool(false) => put(out, "false", meter),
        Value::Int(_) | Value::Double(_) | Value::Number(_) => {
            put(out, &value.as_text().unwrap_or_default(), meter)
        }
        Value::Raw(json) => put(out, json, meter),
        Value::Text(text) => write_text(out, text, meter),
        Value::Bytes(_) => {
            Err("bytes are no value of an object: write base64.encode(…), or string(…)".into())
        }
        Value::List(items) => {
            put(out, "[", meter)?;
            let mut before = "";
            for item in &**items {
                put(out, std::mem::replace(&mut before, ","), meter)?;
                write(item, out, meter)?;
            }
            put(out, "]", meter)
        }
        Value::Map(members) => {
            put(out, "{", meter)?;
            let mut before = "";
            for (name, value) in &**members {
                put(out, std::mem::replace(&mut before, ","), meter)?;
                write_text(out, name, meter)?;
                put(out, ":", meter)?;
                write(value, out, meter)?;
            }
            put(out, "}", meter)
        }
    }
}

fn put(out: &mut Vec<u8>, text: &str, meter: &mut Meter) -> Result<(), String> {
    meter.write(text.len())?;
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

/// Bytes that a character becomes longer by its escape, at most.
const ESCAPE_BYTES: usize = 5;

/// Appends a text as a JSON string.
pub(super) fn write_text(out: &mut Vec<u8>, text: &str, meter: &mut Meter) -> Result<(), String> {
    let is_escaped = |byte: &u8| *byte < 0x20 || matches!(byte, b'"' | b'\\');
    let escapes = text.bytes().filter(|it| is_escaped(it)).count();
    meter.write(text.len() + ESCAPE_BYTES * escapes)?;
    text_json::write(out, text);
    Ok(())
}
