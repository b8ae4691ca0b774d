//! `format = "json"`: one compact object with the batch's id and its records.

use serde::Deserialize;
use serde_json::value::RawValue;

pub use super::json_record::{ENCODER_BYTES, Encoder, IS_JSON, json};
use super::{Head, text_json};

/// The MIME type of a batch.
pub const CONTENT_TYPE: &str = "application/json";

/// What stands between two records.
pub const SEPARATOR: &[u8] = b",";

/// The payload of a batch: `{"gateway":…,"batch":…,"sealedAt":…,"count":…,"records":[…]}`;
/// and where in it the records begin.
pub fn batch(head: &Head<'_>, records: &[u8], mut out: Vec<u8>) -> (usize, Vec<u8>) {
    out.reserve_exact(records.len() + 160 + head.gateway.len() + head.batch.len());
    out.extend_from_slice(b"{\"gateway\":");
    text_json::write(&mut out, head.gateway);
    out.extend_from_slice(b",\"batch\":");
    text_json::write(&mut out, head.batch);
    out.extend_from_slice(format!(",\"sealedAt\":\"{}\"", head.sealed_at).as_bytes());
    out.extend_from_slice(format!(",\"count\":{},\"records\":[", head.count).as_bytes());
    let begin = out.len();
    out.extend_from_slice(records);
    out.extend_from_slice(b"]}");
    (begin, out)
}

/// The records in such a payload.
pub fn records(payload: &[u8]) -> Vec<&[u8]> {
    let envelope: Option<Envelope<'_>> = serde_json::from_slice(payload).ok();
    envelope.into_iter().flat_map(|it| it.records).map(|it| it.get().as_bytes()).collect()
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    records: Vec<&'a RawValue>,
}
