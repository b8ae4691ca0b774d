//! `format = "ndjson"`: the records one below the other, each a line (<https://github.com/ndjson/ndjson-spec>).
//! The batch's id, count and gateway are only in the MQTT 5 user properties.

use super::Head;
use super::json_record::BEGIN;
pub use super::json_record::{ENCODER_BYTES, Encoder, IS_JSON, json};

/// The MIME type of a batch.
pub const CONTENT_TYPE: &str = "application/x-ndjson";

/// What stands between two records.
pub const SEPARATOR: &[u8] = b"\n";

/// The payload of a batch: `{…}\n{…}\n`; and where in it the records begin.
pub fn batch(_head: &Head<'_>, records: &[u8], mut out: Vec<u8>) -> (usize, Vec<u8>) {
    out.reserve_exact(records.len() + 1);
    out.extend_from_slice(records);
    out.push(b'\n');
    (0, out)
}

/// The records in such a payload; none where a line is no record.
pub fn records(payload: &[u8]) -> Vec<&[u8]> {
    let lines = payload.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let records: Option<Vec<&[u8]>> =
        lines.map(|line| line.starts_with(BEGIN).then_some(line)).collect();
    records.unwrap_or_default()
}
