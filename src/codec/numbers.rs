//! `format = "numbers"`: of tests only. A format that refuses records: a value must be a number. What it writes
//! is a JSON text sequence (RFC 7464), which is told from every other format by its first byte.
//!
//! It finds out late, as real formats do: a record that it refuses has left bytes behind.

pub use super::json_record::{ENCODER_BYTES, IS_JSON, json};
use super::{Head, Options, Unwritable, View, json_record};

/// The MIME type of a batch.
pub const CONTENT_TYPE: &str = "application/json-seq";

/// What stands between two records.
pub const SEPARATOR: &[u8] = &[BEGIN];

const BEGIN: u8 = b'\x1e';

/// Writes records.
#[derive(Debug)]
pub struct Encoder(json_record::Encoder);

impl Encoder {
    /// There is nothing to set.
    pub fn new(options: &Options<'_>) -> Self {
        Self(json_record::Encoder::new(options))
    }

    /// Appends a record whose value is a number.
    pub fn record(&mut self, out: &mut Vec<u8>, view: &View<'_>) -> Result<(), Unwritable> {
        self.0.record(out, view)?;
        match serde_json::from_slice::<serde_json::Number>(view.value) {
            Ok(_) => Ok(()),
            Err(_) => Err(Unwritable("the value is no number".to_owned())),
        }
    }
}

/// The payload of a batch; and where in it the records begin.
pub fn batch(_head: &Head<'_>, records: &[u8], mut out: Vec<u8>) -> (usize, Vec<u8>) {
    out.reserve_exact(records.len() + 1);
    out.push(BEGIN);
    out.extend_from_slice(records);
    (1, out)
}

/// The records in such a payload.
pub fn records(payload: &[u8]) -> Vec<&[u8]> {
    let records = payload.strip_prefix(SEPARATOR).filter(|records| !records.is_empty());
    records.into_iter().flat_map(|it| it.split(|byte| *byte == BEGIN)).collect()
}
