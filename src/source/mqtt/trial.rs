//! What an entry makes of a message, without a broker and with nothing running: for `sluicegate explain`.

use std::sync::Arc;

use super::Settings;
use super::reader::Reader;
use crate::clock::Now;
use crate::mqtt::options::Version;
use crate::mqtt::publish::Publish;
use crate::queue::OnFull;
use crate::record::Chunk;
use crate::settlement::Token;
use crate::source::Context;
use crate::state::metrics::Metrics;
use crate::state::registry::Registry;

/// The limits of a message.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// `queue.record_bytes_max`.
    pub record_bytes_max: usize,
    /// `queue.readings_max`.
    pub readings_max: usize,
}

/// What was made of one message.
#[derive(Debug)]
pub struct Trial {
    /// The records, those that are dead letters among them.
    pub chunk: Chunk,
    /// Their sensors.
    pub registry: Arc<Registry>,
    /// What was counted.
    pub metrics: Arc<Metrics>,
}

/// What the entry of this name makes of a message that comes now.
pub fn trial(
    name: &str,
    settings: &Settings,
    limits: Limits,
    (topic, payload, retain): (&str, &[u8], bool),
    properties: &[u8],
    now: Now,
) -> Trial {
    // As many sensors as there can be readings: each has a row.
    let registry = Arc::new(Registry::new(limits.readings_max + 1, [(name, None)]));
    let metrics: Arc<Metrics> = Arc::default();
    let context = Context {
        entry: 0,
        run: "".into(),
        registry: Arc::clone(&registry),
        metrics: Arc::clone(&metrics),
        pace: Arc::default(),
        on_full: OnFull::Wait,
        record_bytes_max: limits.record_bytes_max,
        readings_max: limits.readings_max,
        folder: None,
    };
    let topic = topic.as_bytes();
    let publish =
        Publish { dup: false, qos: 1, retain, topic, packet_id: 1, properties, payload, cut: None };
    let mut reader = Reader::new(name, settings.clone(), Version::V5, 0, &context);
    let mut chunk = Chunk::default();
    reader.take(&publish, Token::NONE, (now, false), &mut chunk);
    // Nothing else comes.
    reader.waiting().end_all();
    while reader.take_due(&mut chunk).is_some() {}
    Trial { chunk, registry, metrics }
}
