//! `format = "json"`: one compact object with the batch's id and its records.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Head, text_json};

/// The MIME type of a batch.
pub const CONTENT_TYPE: &str = "application/json";

/// The payload of a batch: `{"gateway":…,"batch":…,"sealedAt":…,"count":…,"records":[…]}`.
pub fn batch(head: &Head<'_>, records: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(records.len() + 160 + head.gateway.len() + head.batch.len());
    out.extend_from_slice(b"{\"gateway\":");
    text_json::write(&mut out, head.gateway);
    out.extend_from_slice(b",\"batch\":");
    text_json::write(&mut out, head.batch);
    out.extend_from_slice(format!(",\"sealedAt\":\"{}\"", head.sealed_at).as_bytes());
    out.extend_from_slice(format!(",\"count\":{},\"records\":[", head.count).as_bytes());
    out.extend_from_slice(records);
    out.extend_from_slice(b"]}");
    out
}

/// The records in such a payload.
pub fn records(payload: &[u8]) -> Vec<&RawValue> {
    serde_json::from_slice::<Envelope<'_>>(payload).map(|it| it.records).unwrap_or_default()
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    records: Vec<&'a RawValue>,
}
