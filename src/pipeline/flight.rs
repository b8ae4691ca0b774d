//! A publication in flight, and how it is split when the broker has come to take less.
//!
//! A batch is sealed to fit what the broker takes. When a later connection takes smaller packets
//! than the one before, a batch that waits in the window no longer fits, and publishing it as it is
//! would end every connection, for ever. It is split then: parts with ids of their own (`….1`,
//! `….2`), the records as they were. The batch settles when all its parts have been answered.

use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::codec::{Format, Head};
use crate::mqtt::packet::Outgoing;
use crate::settlement::{Outcome, Receipts};

/// What a batch is called, to call its parts after it.
#[derive(Debug)]
pub struct BatchName {
    /// The gateway's id.
    pub gateway: String,
    /// The batch's id.
    pub id: String,
    /// When it was sealed.
    pub sealed_at: Timestamp,
    /// How it is written.
    pub format: Format,
}

/// A message, and the batch id it carries.
#[derive(Debug, Clone)]
struct Part {
    id: String,
    message: Arc<Outgoing>,
}

/// What stays until it is acknowledged.
#[derive(Debug)]
pub struct Flight {
    /// One message, or the parts of a batch; `None` for a part that has been answered.
    parts: Vec<Option<Part>>,
    batch: Option<BatchName>,
    receipts: Receipts,
    /// What its records settle as.
    pub outcome: Outcome,
}

impl Flight {
    /// A batch in flight, or (without a name) a dead letter.
    pub fn new(message: Outgoing, batch: Option<BatchName>, receipts: Receipts) -> Self {
        let outcome = if batch.is_some() { Outcome::Delivered } else { Outcome::DeadLettered };
        let id = batch.as_ref().map_or(String::new(), |name| name.id.clone());
        let parts = vec![Some(Part { id, message: Arc::new(message) })];
        Self { parts, batch, receipts, outcome }
    }

    /// Parts that have not been answered, with their places.
    pub fn parts(&self) -> impl Iterator<Item = (u32, &Arc<Outgoing>)> {
        (0..).zip(&self.parts).filter_map(|(at, part)| Some((at, &part.as_ref()?.message)))
    }

    /// One part that has not been answered.
    pub fn part(&self, at: u32) -> Option<&Arc<Outgoing>> {
        Some(&self.parts.get(at as usize)?.as_ref()?.message)
    }

    /// Notes that a part has been answered; true when that was the last.
    pub fn answered(&mut self, at: u32) -> bool {
        if let Some(part) = self.parts.get_mut(at as usize) {
            *part = None;
        }
        self.parts.iter().all(Option::is_none)
    }

    /// Settles its records.
    pub fn settle(self) {
        self.receipts.settle(self.outcome);
    }

    /// Splits it so that no payload is larger than `bytes_max`, as far as records can be parted.
    /// Returns whether it did.
    pub fn split(&mut self, bytes_max: usize) -> bool {
        let Some(name) = &self.batch else { return false };
        let before = self.parts.len();
        let parts = self.parts.iter().flat_map(|part| match part {
            Some(part) if part.message.payload.len() > bytes_max => pieces(name, part, bytes_max),
            other => vec![other.clone()],
        });
        self.parts = parts.collect();
        self.parts.len() > before
    }
}

/// A part in pieces; itself, when it is a single record.
fn pieces(name: &BatchName, whole: &Part, bytes_max: usize) -> Vec<Option<Part>> {
    let records = name.format.records(&whole.message.payload);
    let groups = group(&records, bytes_max.saturating_sub(overhead(name, &whole.id)));
    if groups.len() < 2 {
        return vec![Some(whole.clone())];
    }
    let piece = |(at, records): (u32, _)| Some(piece(name, whole, at, records));
    (1..).zip(groups).map(piece).collect()
}

fn overhead(name: &BatchName, id: &str) -> usize {
    let id = format!("{id}.4294967295");
    let (gateway, sealed_at) = (&name.gateway, name.sealed_at);
    name.format.overhead_bytes(&Head { gateway, batch: &id, sealed_at, count: usize::MAX })
}

/// Neighbouring records together, as many as `bytes_max` holds; at least one.
fn group<'a>(
    records: &'a [&'a serde_json::value::RawValue],
    bytes_max: usize,
) -> Vec<&'a [&'a serde_json::value::RawValue]> {
    let mut groups = Vec::new();
    let (mut begin, mut bytes) = (0, 0);
    for (at, record) in records.iter().enumerate() {
        let more = record.get().len() + 1;
        if at > begin && bytes + more > bytes_max {
            groups.push(records.get(begin..at).unwrap_or_default());
            (begin, bytes) = (at, 0);
        }
        bytes += more;
    }
    groups.push(records.get(begin..).unwrap_or_default());
    groups
}

fn piece(
    name: &BatchName,
    whole: &Part,
    at: u32,
    records: &[&serde_json::value::RawValue],
) -> Part {
    let id = format!("{}.{at}", whole.id);
    let text = records.iter().map(|it| it.get()).collect::<Vec<_>>().join(",");
    let count = records.len();
    let head = Head { gateway: &name.gateway, batch: &id, sealed_at: name.sealed_at, count };
    let payload = Bytes::from(name.format.batch(&head, text.as_bytes()));
    let properties = batch_properties(&head);
    let message = Outgoing { payload, properties, ..Outgoing::clone(&whole.message) };
    Part { message: Arc::new(message), id }
}

/// The MQTT 5 user properties of a batch.
pub fn batch_properties(head: &Head<'_>) -> Vec<(String, String)> {
    let property = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    vec![
        property("batch", head.batch),
        property("count", &head.count.to_string()),
        property("gateway", head.gateway),
    ]
}
