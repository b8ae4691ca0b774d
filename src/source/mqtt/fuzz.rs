//! Any topic, and any id in a payload, is a sensor or a dead letter: what is remembered of sensors stays
//! within what is counted for them, however many and however long the names that somebody invents.

use std::sync::Arc;

use serde_json::json;

use super::Settings;
use super::reader::Reader;
use crate::clock;
use crate::fuzz::fuzz;
use crate::limits::{SENSOR_ID_BYTES_MAX, TOPIC_REMEMBERED_BYTES_MAX};
use crate::mqtt::options::Version;
use crate::mqtt::publish::Publish;
use crate::mqtt::topic::TOPIC_BYTES_MAX;
use crate::queue::OnFull;
use crate::record::Chunk;
use crate::settlement::Token;
use crate::source::Context;
use crate::state::registry::{Registry, SENSOR_BYTES};

const SENSORS_MAX: usize = 1000;

/// What is counted for them, and for the row that those beyond share.
const REMEMBERED_BYTES: u64 = (SENSORS_MAX as u64 + 1) * SENSOR_BYTES;

/// How many times longer a payload is as JSON, in a buffer that grows and its old self.
const GROWTH: u64 = 3 * 6;

/// A reader, and what it keeps.
struct Remembering {
    reader: Reader,
    registry: Arc<Registry>,
    bytes: i64,
}

impl Remembering {
    fn new(settings: serde_json::Value) -> Self {
        let settings: Settings = serde_json::from_value(settings).unwrap();
        let registry = Arc::new(Registry::new(SENSORS_MAX, [("entry", None)]));
        let context = Context {
            entry: 0,
            run: "gw-1".into(),
            registry: Arc::clone(&registry),
            metrics: Arc::default(),
            pace: Arc::default(),
            on_full: OnFull::Wait,
            record_bytes_max: 64 * 1024,
            readings_max: 9,
            folder: None,
            listening: Arc::default(),
        };
        let reader = Reader::new("entry", settings, Version::V5, SENSORS_MAX, &context);
        Self { reader, registry, bytes: 0 }
    }

    /// Takes a message; the id that its record has beside its row.
    fn take(&mut self, topic: &[u8], payload: &[u8]) -> String {
        let publish = Publish {
            dup: false,
            qos: 0,
            retain: false,
            topic,
            packet_id: 0,
            properties: &[],
            payload,
            cut: None,
        };
        let (now, mut id) = (clock::now(), String::with_capacity(SENSOR_ID_BYTES_MAX));
        let took = allocation_counter::measure(|| {
            let mut chunk = Chunk::default();
            assert_eq!(self.reader.take(&publish, Token::NONE, (now, false), &mut chunk), Some(1));
            assert_eq!(chunk.records.len(), 1);
            id.push_str(std::str::from_utf8(chunk.text(chunk.records[0].id)).unwrap());
        });
        let for_a_moment = GROWTH * payload.len() as u64 + REMEMBERED_BYTES;
        assert!(took.bytes_max <= for_a_moment, "{took:?}");
        self.bytes += took.bytes_current;
        assert!(self.bytes <= i64::try_from(REMEMBERED_BYTES).unwrap(), "{} bytes", self.bytes);
        id
    }

    fn is_full(&self) -> bool {
        self.registry.with_rows(<[_]>::len) == SENSORS_MAX + 1
    }
}

fn by_topic() -> Remembering {
    Remembering::new(json!({"topic": "sensors/{sensor}/#"}))
}

fn by_id() -> Remembering {
    Remembering::new(json!({"topic": "#", "value": "/value", "sensor": "/id"}))
}

fn naming(id: &str) -> Vec<u8> {
    json!({"id": id, "value": 1}).to_string().into()
}

#[test]
fn any_name_is_a_sensor_or_a_dead_letter_within_what_is_counted() {
    let long = "x".repeat(SENSOR_ID_BYTES_MAX);
    let samples = [
        "sensors/TEMP_07/reading".to_owned(),
        format!("sensors/{long}/reading"),
        format!("sensors/{long}/{long}{long}"),
        "sensors//reading".to_owned(),
        "sensors/\u{e9}\u{1}/x".to_owned(),
    ];
    let (mut by_topic, mut by_id) = (by_topic(), by_id());
    fuzz(20_000, &samples, |bytes, _| {
        let topic = bytes.get(..TOPIC_BYTES_MAX).unwrap_or(bytes);
        by_topic.take(topic, b"1");
        by_id.take(b"t", &naming(&String::from_utf8_lossy(topic)));
    });
    assert!(by_topic.is_full() && by_id.is_full());
}

#[test]
fn the_longest_names_are_what_is_counted() {
    let (mut by_topic, mut by_id) = (by_topic(), by_id());
    for n in 0..10 * SENSORS_MAX {
        // As JSON, each quote has two bytes.
        let id = format!("{n:\"<SENSOR_ID_BYTES_MAX$}");
        // As long as a topic is remembered.
        let named_bytes = TOPIC_REMEMBERED_BYTES_MAX - "sensors//reading".len();
        let named = format!("{n:\"<named_bytes$}");
        by_topic.take(format!("sensors/{named}/reading").as_bytes(), b"1");
        by_id.take(b"t", &naming(&id));
    }
    assert!(by_topic.is_full() && by_id.is_full());
    let counted = i64::try_from(REMEMBERED_BYTES).unwrap();
    assert!(by_topic.bytes > counted / 4 * 3, "{} bytes", by_topic.bytes);
}

/// Whoever fills the rows: a record says whose it is, and takes no memory from those who have a row.
#[test]
fn without_a_row_left_a_record_keeps_its_own_id() {
    let (mut by_topic, mut by_id) = (by_topic(), by_id());
    by_id.take(b"t", b"{}");
    for n in 0..2 * SENSORS_MAX {
        by_topic.take(format!("sensors/{n}/x").as_bytes(), b"1");
        by_id.take(b"t", &naming(&n.to_string()));
    }
    assert_eq!(by_topic.take(b"sensors/late/x", b"1"), "late");
    assert_eq!(by_topic.take(b"sensors/late/x", b"{"), "late", "a dead letter's");
    assert_eq!(by_topic.take(b"elsewhere", b"1"), "entry", "the entry's own");
    assert_eq!(by_topic.take(b"sensors/7/x", b"1"), "", "the row has it");
    assert_eq!(by_id.take(b"t", &naming("l\"ate")), "l\"ate");
    assert_eq!(by_id.take(b"t", b"{}"), "", "the row of the entry has it");
}

#[test]
fn names_that_are_too_long_are_not_kept() {
    let (mut by_topic, mut by_id) = (by_topic(), by_id());
    for n in 0..SENSORS_MAX {
        let long = format!("{n:x<4096}");
        by_topic.take(format!("sensors/{long}/reading").as_bytes(), b"1");
        by_topic.take(format!("sensors/{n}/{n:x<1000}").as_bytes(), b"1");
        by_id.take(b"t", &naming(&long));
    }
    assert!(by_topic.is_full());
    assert_eq!(by_id.registry.with_rows(<[_]>::len), 1, "the entry's own");
}
