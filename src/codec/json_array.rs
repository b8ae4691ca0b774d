//! `format = "json_array"`: the bare array of records. The batch's id, count and gateway are only
//! in the MQTT 5 user properties.

use serde_json::value::RawValue;

use super::Head;
pub use super::json_record::{ENCODER_BYTES, Encoder, IS_JSON, json};

/// The MIME type of a batch.
pub const CONTENT_TYPE: &str = "application/json";

/// What stands between two records.
pub const SEPARATOR: &[u8] = b",";

/// The payload of a batch: `[…]`; and where in it the records begin.
pub fn batch(_head: &Head<'_>, records: &[u8], mut out: Vec<u8>) -> (usize, Vec<u8>) {
    out.reserve_exact(records.len() + 2);
    out.push(b'[');
    out.extend_from_slice(records);
    out.push(b']');
    (1, out)
}

/// The records in such a payload.
pub fn records(payload: &[u8]) -> Vec<&[u8]> {
    let records: Vec<&RawValue> = serde_json::from_slice(payload).unwrap_or_default();
    records.into_iter().map(|it| it.get().as_bytes()).collect()
}
