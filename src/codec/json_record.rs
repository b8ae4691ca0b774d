//! A record as a JSON object, as all formats of JSON write it. They differ in what stands around the records.

use std::borrow::Cow;

use super::{Options, Unwritable, View, Whose, text_json};
use crate::clock::Timestamp;

/// What each record begins with.
pub(super) const BEGIN: &[u8] = b"{\"sensorId\":";

/// Half a record is told from a whole one.
pub const IS_JSON: bool = true;

/// Bytes that an encoder remembers: none to speak of.
pub const ENCODER_BYTES: u64 = 0;

/// A record as JSON: as it is.
pub fn json(record: &[u8]) -> Cow<'_, [u8]> {
    record.into()
}

/// Writes records. Remembers the text of the last millisecond: records that came together cost one formatting.
#[derive(Debug, Default)]
pub struct Encoder {
    millis: Option<Timestamp>,
    text: String,
}

impl Encoder {
    /// There is nothing to set.
    pub fn new(_options: &Options<'_>) -> Self {
        Self::default()
    }

    /// Appends one record. None is refused: its parts are JSON text already.
    pub fn record(&mut self, out: &mut Vec<u8>, view: &View<'_>) -> Result<(), Unwritable> {
        out.extend_from_slice(BEGIN);
        match view.sensor {
            Whose::Counted(json, sequence) => {
                out.extend_from_slice(json.as_bytes());
                out.extend_from_slice(b",\"sequence\":");
                out.extend_from_slice(itoa::Buffer::new().format(sequence).as_bytes());
            }
            Whose::Uncounted(id) => text_json::write_bytes(out, id),
        }
        out.extend_from_slice(b",\"value\":");
        out.extend_from_slice(view.value);
        out.extend_from_slice(b",\"timestamp\":");
        if view.timestamp.is_empty() {
            out.extend_from_slice(self.stamp(view.received).as_bytes());
        } else {
            out.extend_from_slice(view.timestamp);
            out.extend_from_slice(b",\"receivedAt\":");
            out.extend_from_slice(self.stamp(view.received).as_bytes());
        }
        if !view.entry.is_empty() {
            out.extend_from_slice(b",\"entry\":");
            out.extend_from_slice(view.entry.as_bytes());
        }
        if !view.labels.is_empty() {
            out.push(b',');
            out.extend_from_slice(view.labels);
        }
        if !view.topic.is_empty() {
            out.extend_from_slice(b",\"topic\":");
            text_json::write_bytes(out, view.topic);
        }
        arrival(out, view);
        if !view.extra.is_empty() {
            out.extend_from_slice(b",\"extra\":{");
            out.extend_from_slice(view.extra);
            out.push(b'}');
        }
        out.push(b'}');
        Ok(())
    }

    fn stamp(&mut self, at: Timestamp) -> &str {
        if self.millis != Some(at) {
            self.millis = Some(at);
            self.text = format!("\"{at}\"");
        }
        &self.text
    }
}

/// How it came.
fn arrival(out: &mut Vec<u8>, view: &View<'_>) {
    if view.arrival.retained {
        out.extend_from_slice(b",\"retained\":true");
    }
    if view.arrival.waited {
        out.extend_from_slice(b",\"waited\":true");
    }
    if let Some((at, is_past)) = view.expires {
        out.extend_from_slice(format!(",\"expiresAt\":\"{at}\"").as_bytes());
        if is_past {
            out.extend_from_slice(b",\"expired\":true");
        }
    }
}
