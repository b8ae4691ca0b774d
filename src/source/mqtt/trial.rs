//! What an entry makes of a message, without a broker and with nothing running: for `sluicegate explain`.

use super::Settings;
use super::reader::Reader;
use crate::clock::Now;
use crate::mqtt::options::Version;
use crate::mqtt::publish::Publish;
use crate::source::trial::{Limits, Trial, telling};

/// What the entry of this name makes of a message that comes now, behind these.
pub fn trial(
    (name, settings): (&str, &Settings),
    limits: Limits,
    (topic, payload, retain): (&str, &[u8], bool),
    properties: &[u8],
    before: &[(String, Vec<u8>)],
    now: Now,
) -> Trial {
    let (mut trial, context) = Trial::begin(name, limits);
    let topic = topic.as_bytes();
    let publish =
        Publish { dup: false, qos: 1, retain, topic, packet_id: 1, properties, payload, cut: None };
    // What is left out of several is no question of one.
    let alone = Settings { quota: None, deduplicate: None, filter: None, ..settings.clone() };
    let mut reader = Reader::new(name, alone, Version::V5, 0, &context);
    for (topic, payload) in before {
        reader.learn(topic, payload, now);
    }
    let told = settings.payload.times_told(&settings.mapping().unwrap_or_default());
    let Trial { chunk, times, .. } = &mut trial;
    reader.take_seen(&publish, now, chunk, Some(&mut telling(&told, times, now.wall)));
    trial
}
