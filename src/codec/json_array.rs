//! `format = "json_array"`: the bare array of records. The batch's id, count and gateway are only
//! in the MQTT 5 user properties.

use serde_json::value::RawValue;

use super::Head;

/// The MIME type of a batch.
pub const CONTENT_TYPE: &str = "application/json";

/// The payload of a batch: `[…]`.
pub fn batch(_head: &Head<'_>, records: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(records.len() + 2);
    out.push(b'[');
    out.extend_from_slice(records);
    out.push(b']');
    out
}

/// The records in such a payload.
pub fn records(payload: &[u8]) -> Vec<&RawValue> {
    serde_json::from_slice(payload).unwrap_or_default()
}
