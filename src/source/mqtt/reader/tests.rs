//! Tests of the reader: what becomes of a message, and what of it is kept.

use serde_json::json;

use super::*;
use crate::clock::{self, Timestamp};
use crate::codec::text_json;
use crate::limits::{DEAD_LETTER_HEAD_BYTES_MAX, RECORD_OVERHEAD_BYTES, SENSOR_ID_BYTES_MAX};
use crate::mqtt::topic::TOPIC_BYTES_MAX;
use crate::record::{Body, Record};
use crate::settlement::{Outcome, SourceIndex};
use crate::state::registry::Registry;

const RECORD_BYTES_MAX: usize = 64 * 1024;
const READINGS_MAX: usize = 3;

pub(super) fn context(sensors_max: usize, on_full: OnFull) -> Context {
    Context {
        entry: 0,
        run: "gw-1".into(),
        registry: Arc::new(Registry::new(sensors_max, [("entry", None)])),
        metrics: Arc::default(),
        pace: Arc::default(),
        on_full,
        record_bytes_max: RECORD_BYTES_MAX,
        readings_max: READINGS_MAX,
        folder: None,
        listening: Arc::default(),
    }
}

pub(super) fn reader_of(settings: serde_json::Value, context: &Context) -> Reader {
    let settings = serde_json::from_value(settings).unwrap();
    Reader::new("entry", settings, Version::V5, 9, context)
}

fn reader() -> Reader {
    reader_of(json!({"topic": "sensors/{sensor}/#"}), &context(9, OnFull::Wait))
}

pub(super) fn publish<'a>(topic: &'a [u8], payload: &'a [u8]) -> Publish<'a> {
    Publish {
        dup: false,
        qos: 1,
        retain: false,
        topic,
        packet_id: 1,
        properties: &[],
        payload,
        cut: None,
    }
}

/// The record of a message, and the chunk that it is in.
fn taken(reader: &mut Reader, publish: &Publish<'_>) -> (Record, Chunk) {
    let mut chunk = Chunk::default();
    assert_eq!(reader.take(publish, Token::NONE, (clock::now(), false), &mut chunk), Some(1));
    (chunk.records.pop().unwrap(), chunk)
}

/// Why a message is no reading; its letter holds no more than it tells.
fn letter(reader: &mut Reader, publish: &Publish<'_>) -> Option<(Reason, String)> {
    let (record, chunk) = taken(reader, publish);
    assert_eq!(chunk.bytes(), record.bytes(), "nothing is kept that nobody sees");
    let mut shown = Vec::new();
    text_json::write_bytes(&mut shown, chunk.text(record.topic));
    assert!(serde_json::from_slice::<String>(&shown).is_ok());
    assert!(chunk.text(record.topic).len() <= TOPIC_SHOWN_BYTES_MAX);
    let Body::Unreadable { reason, detail, payload } = record.body else { return None };
    assert!(chunk.text(payload).len() <= DEAD_LETTER_HEAD_BYTES_MAX);
    Some((reason, String::from_utf8(chunk.text(detail).to_vec()).unwrap()))
}

#[test]
fn what_is_no_reading_is_told_with_its_reason_and_no_more_than_its_head() {
    let long_topic = [b"sensors/a/", &[b'x'; TOPIC_SHOWN_BYTES_MAX][..]].concat();
    let longest_topic = vec![b'x'; TOPIC_BYTES_MAX];
    let long_id = [b"sensors/", &[b'x'; SENSOR_ID_BYTES_MAX + 1][..]].concat();
    let rubbish = [b'{'; 2 * DEAD_LETTER_HEAD_BYTES_MAX];
    let oversize = vec![b'1'; RECORD_BYTES_MAX + 1];
    let mut reader = reader();
    for (topic, payload, expected) in [
        (&b"sensors/a"[..], &b"1"[..], None),
        (b"sensors/a", &rubbish, Some(Reason::Malformed)),
        (b"sensors/a", &oversize, Some(Reason::Oversize)),
        (b"others/a", b"1", Some(Reason::Topic)),
        (b"sensors/\xff", b"1", Some(Reason::Topic)),
        (&long_topic, b"1", Some(Reason::Topic)),
        (&longest_topic, b"1", Some(Reason::Topic)),
        (&long_id, b"1", Some(Reason::SensorId)),
        (b"sensors//x", b"1", Some(Reason::SensorId)),
        (b"sensors/a\nb", b"1", Some(Reason::SensorId)),
    ] {
        let told = letter(&mut reader, &publish(topic, payload));
        assert_eq!(told.as_ref().map(|it| it.0), expected, "{told:?}");
    }
}

#[test]
fn an_id_that_is_empty_is_no_id_whatever_may_be_missing() {
    for missing in ["dead_letter", "skip", "whole"] {
        let settings = json!({ "topic": "t", "missing": missing });
        let mut reader = reader_of(settings, &context(9, OnFull::Wait));
        let told = letter(&mut reader, &publish(b"t", br#"{"value":7,"sensorId":""}"#));
        let expected = (Reason::SensorId, "the sensor's id is empty".to_owned());
        assert_eq!(told, Some(expected), "{missing}");
    }
}

/// A text of quotes is twice as long as JSON.
#[test]
fn what_is_too_long_as_json_is_oversize_though_its_payload_was_not() {
    let settings = json!({"topic": "a", "payload": {"text": {}}});
    let mut reader = reader_of(settings, &context(9, OnFull::Wait));
    let text_max = RECORD_BYTES_MAX + RECORD_OVERHEAD_BYTES;
    for (bytes, is_letter) in [(text_max / 2 - 1, false), (text_max / 2, true)] {
        let payload = vec![b'"'; bytes];
        let told = letter(&mut reader, &publish(b"a", &payload));
        let reason = is_letter.then_some(Reason::Oversize);
        assert_eq!(told.as_ref().map(|it| it.0), reason, "{told:?}");
    }
}

#[test]
fn only_what_is_of_qos_0_can_be_shed_and_only_where_nothing_waits() {
    for (on_full, sheddable) in [(OnFull::Wait, false), (OnFull::ShedOldest, true)] {
        let mut reader = reader_of(json!({"topic": "a"}), &context(9, on_full));
        for qos in 0..=2 {
            let (record, _) = taken(&mut reader, &Publish { qos, ..publish(b"a", b"1") });
            assert_eq!(record.arrival.sheddable, qos == 0 && sheddable, "{on_full:?} {qos}");
        }
    }
}

/// Copies of what came before, perhaps before the gateway did.
#[test]
fn the_numbers_of_retained_messages_are_not_judged() {
    let context = context(9, OnFull::Wait);
    let settings = json!({"topic": "a", "value": "/v", "counter": "/n"});
    let mut reader = reader_of(settings, &context);
    for (number, retain, missing) in [(1, false, 0), (9, true, 0), (2, false, 0), (4, false, 1)] {
        let payload = json!({"v": 1, "n": number}).to_string();
        taken(&mut reader, &Publish { retain, ..publish(b"a", payload.as_bytes()) });
        assert_eq!(context.metrics.numbers_missing.get(), missing, "{number}");
    }
}

/// What is remembered of a topic is its sensor, as long as there is a row for it: a shared row has no id.
#[test]
fn a_sensor_without_a_row_is_named_each_time_and_counted() {
    let context = context(1, OnFull::Wait);
    let mut reader = reader_of(json!({"topic": "sensors/{sensor}/#"}), &context);
    taken(&mut reader, &publish(b"sensors/a", b"1"));
    for n in 1..=2 {
        let (record, chunk) = taken(&mut reader, &publish(b"sensors/late", b"1"));
        assert_eq!(chunk.text(record.id), b"late");
        assert_eq!(context.metrics.sensors_overflowed.get(), n);
    }
}

#[test]
fn no_more_topics_are_remembered_than_may_be_whosever_they_are() {
    let mut reader = reader();
    for n in 0..100 {
        taken(&mut reader, &publish(format!("sensors/a/{n}").as_bytes(), b"1"));
    }
    assert_eq!(reader.by_topic.len(), 9);
}

/// A reading of long ago that was delivered.
fn delivered_long_ago(context: &Context, id: &str) {
    let row = context.registry.row_of(id, 0);
    row.receive(Timestamp::from_millis(1));
    context.registry.enter(&context.metrics, &[row.index], Outcome::Delivered);
}

/// The rows that it keeps at hand are those of sensors that are known.
#[test]
fn a_forgotten_sensor_that_is_heard_again_is_counted_anew() {
    let context = context(1, OnFull::Wait);
    let mut reader = reader_of(json!({"topic": "sensors/{sensor}/#"}), &context);
    delivered_long_ago(&context, "old");
    reader.find(b"sensors/old/x").unwrap();
    let (record, _) = taken(&mut reader, &publish(b"sensors/new/x", b"1"));
    assert_eq!((record.sequence, context.registry.sensors()), (1, 1));
    let (record, chunk) = taken(&mut reader, &publish(b"sensors/old/x", b"1"));
    assert_eq!(chunk.text(record.id), b"old", "it shares a row now");
    let balance = context.registry.sums()[0].balance;
    assert_eq!((balance.received, balance.delivered, balance.held), (3, 1, 2));
}

/// A reading of one is not entered in the books of the other.
#[test]
fn a_new_sensor_may_take_the_place_of_one_of_the_same_message() {
    let context = context(2, OnFull::Wait);
    let settings = json!({"topic": "a", "each": "", "sensor": "/id"});
    let mut reader = reader_of(settings, &context);
    reader.find(b"a").unwrap();
    delivered_long_ago(&context, "old");
    let mut chunk = Chunk::default();
    let payload = br#"[{"id":"old","value":1},{"id":"new","value":2}]"#;
    reader.take(&publish(b"a", payload), Token::NONE, (clock::now(), false), &mut chunk);
    let [old, new] = &chunk.records[..] else { panic!("{:?}", chunk.records) };
    assert_eq!((chunk.text(old.id), chunk.text(new.id)), (&b"old"[..], &b""[..]));
    let row = context.registry.row("entry", "new").unwrap();
    assert!(new.sensor == row.index && old.sensor != row.index);
    assert_eq!((new.sequence, row.received()), (1, 1));
}

#[test]
fn rows_of_forgotten_sensors_make_room_for_those_of_others() {
    let context = context(40, OnFull::Wait);
    let mut reader = reader_of(json!({"topic": "sensors/{sensor}/#"}), &context);
    let topic = |n: u32| format!("sensors/s{n}/x").into_bytes();
    for n in 0..80 {
        delivered_long_ago(&context, &format!("s{n}"));
        reader.find(&topic(n)).unwrap();
        let is_remembered = reader.by_topic.get(&topic(n)).is_some();
        let fits = n < 9 || (40..49).contains(&n);
        assert_eq!(is_remembered, fits, "{n}");
    }
    assert_eq!(context.registry.forgotten().0.count, 40);
}

/// The records of a message: each with its ordinal, its sequence, and its value or why it is a dead letter.
fn all_of(reader: &mut Reader, payload: &str, token: Token) -> Vec<(u64, u64, String)> {
    let mut chunk = Chunk::default();
    let count =
        reader.take(&publish(b"a", payload.as_bytes()), token, (clock::now(), false), &mut chunk);
    assert_eq!(count.unwrap() as usize, chunk.records.len());
    // Its records have one topic, of one byte.
    let shared = chunk.records.len().saturating_sub(1);
    assert_eq!(chunk.bytes() + shared, chunk.records.iter().map(Record::bytes).sum::<usize>());
    let text = |span| String::from_utf8(chunk.text(span).to_vec()).unwrap();
    let told = |record: &Record| {
        assert_eq!(text(record.topic), "a");
        let said = match record.body {
            Body::Reading { value, .. } => text(value),
            Body::Unreadable { reason, payload, .. } => {
                format!("{}: {}", reason.as_str(), text(payload))
            }
        };
        (record.token.ordinal, record.sequence, said)
    };
    chunk.records.iter().map(told).collect()
}

#[test]
fn each_line_is_a_record_with_an_ordinal_of_its_own() {
    let context = context(9, OnFull::Wait);
    let mut reader = reader_of(json!({"topic": "a", "payload": {"ndjson": {}}}), &context);
    let token = Token { source: SourceIndex(0), ordinal: 7 };
    let records = all_of(&mut reader, "{\"sensorId\":\"b\",\"value\":1}\n{\n3\n", token);
    let record = |ordinal, sequence, said: &str| (ordinal, sequence, said.to_owned());
    let expected = [record(7, 1, "1"), record(8, 1, "malformed: {"), record(9, 2, "3")];
    assert_eq!(records, expected, "of b, and of the entry itself");
    assert_eq!(all_of(&mut reader, "4", Token::NONE), [record(0, 3, "4")]);
}

/// Nothing is left of what was read of it, in no book either.
#[test]
fn a_message_of_too_many_readings_is_one_dead_letter() {
    let context = context(9, OnFull::Wait);
    let mut reader = reader_of(json!({"topic": "a", "payload": {"ndjson": {}}}), &context);
    let token = Token { source: SourceIndex(0), ordinal: 7 };
    assert_eq!(all_of(&mut reader, "1\n2\n3\n", token).len(), READINGS_MAX);
    let expected = (7, 4, "oversize: 4\n5\n6\n7".to_owned());
    assert_eq!(all_of(&mut reader, "4\n5\n6\n7", token), [expected]);
    let message = publish(b"a", b"1\n2\n3\n4");
    let (_, detail) = letter(&mut reader, &message).unwrap();
    let sha256 = "more than 3 readings (queue.readings_max); 7 bytes; sha256 ";
    assert!(detail.starts_with(sha256), "{detail}");
    assert_eq!(context.registry.sums()[0].balance.received, 5);
}

#[test]
fn several_topics_of_an_entry_are_read_alike_and_ignored_ones_are_no_readings() {
    let context = context(9, OnFull::Wait);
    let settings = json!({
        "topics": ["tele/{device}/+", "stat/{device}/STATUS8"], "ignore": ["tele/+/LWT"],
        "sensor": "tasmota-{device}", "tags": {"device": "{device}"},
    });
    let mut reader = reader_of(settings, &context);
    let mut chunk = Chunk::default();
    for (topic, expected) in
        [("tele/t1/SENSOR", 1), ("stat/t1/STATUS8", 1), ("tele/t1/LWT", 0), ("stat/t1/LWT", 1)]
    {
        let publish = publish(topic.as_bytes(), b"21.5");
        assert_eq!(
            reader.take(&publish, Token::NONE, (clock::now(), false), &mut chunk),
            Some(expected),
            "{topic}"
        );
    }
    let skipped: Vec<_> = context.metrics.messages_skipped.counted().collect();
    assert_eq!(skipped, [Skipped::Ignored]);
    let [first, second, stray] = &chunk.records[..] else { panic!("{:?}", chunk.records) };
    assert_eq!((first.sensor, first.sequence, second.sequence), (second.sensor, 1, 2));
    let Body::Reading { labels, .. } = second.body else { panic!("{second:?}") };
    assert_eq!(chunk.text(labels), br#""tags":{"device":"t1"}"#);
    assert!(matches!(stray.body, Body::Unreadable { reason: Reason::Topic, .. }));
}

/// Its topic is one of the entry's, too.
#[test]
fn a_sensor_that_says_that_it_is_not_there_is_silent_and_what_it_says_is_no_reading() {
    use crate::state::presence::Presence;
    let context = context(9, OnFull::Wait);
    let settings = json!({
        "topic": "z/{device}/#", "sensor": "z-{device}", "retained": "skip",
        "online": {"topic": "z/{device}/availability"},
    });
    let mut reader = reader_of(settings, &context);
    let mut take = |topic: &str, payload: &str, retain: bool| {
        let publish = Publish { retain, ..publish(topic.as_bytes(), payload.as_bytes()) };
        let mut chunk = Chunk::default();
        reader.take(&publish, Token::NONE, (clock::now(), false), &mut chunk).unwrap()
    };
    assert_eq!(take("z/a/t", "1", false), 1);
    let row = context.registry.row("entry", "z-a").unwrap();
    for (payload, expected) in [
        ("offline", Presence::Silent),
        ("", Presence::Silent),
        ("online", Presence::Online),
        ("gone", Presence::Silent),
    ] {
        assert_eq!(take("z/a/availability", payload, true), 0);
        assert_eq!(row.presence(), expected, "{payload}");
    }
    assert!(row.is_gone());
    assert_eq!(take("z/a/t", "2", false), 1, "less than a second after the last one");
    assert_eq!((row.presence(), row.is_gone(), row.received()), (Presence::Online, false, 2));
    assert_eq!(take("z/b/availability", "offline", true), 0);
    let unheard = context.registry.row("entry", "z-b").unwrap();
    assert_eq!((unheard.presence(), unheard.last_received()), (Presence::Silent, None));
    assert_eq!(take("z/b/t", "2", true), 0, "the others that are retained are skipped");
    let skipped: Vec<_> = context.metrics.messages_skipped.counted().collect();
    assert_eq!(skipped, [Skipped::Retained, Skipped::Online]);
    let balance = context.registry.sums()[0].balance;
    assert_eq!((balance.received, balance.held), (2, 2));
}

/// What a message with these user properties gets as labels, and how it came.
fn labelled(settings: serde_json::Value, properties: &[u8], waited: bool) -> (String, Arrival) {
    let mut reader = reader_of(settings, &context(9, OnFull::Wait));
    let mut chunk = Chunk::default();
    let publish = Publish { properties, ..publish(b"a", b"1") };
    assert_eq!(reader.take(&publish, Token::NONE, (clock::now(), waited), &mut chunk), Some(1));
    let record = &chunk.records[0];
    let Body::Reading { labels, .. } = record.body else { panic!("{record:?}") };
    (String::from_utf8(chunk.text(labels).to_vec()).unwrap(), record.arrival)
}

#[test]
fn user_properties_become_tags_if_asked_for() {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let pairs = [pair("unit", "C"), pair("site", "south"), pair("unit", "F"), pair("a\"b", "")];
    let properties = publish::with_user_properties(&pairs);
    for (settings, expected) in [
        (json!({"topic": "a"}), ""),
        (json!({"topic": "a", "properties": "unit"}), r#""tags":{"unit":"C"}"#),
        (
            json!({"topic": "a", "properties": "all", "tags": {"site": "north"}}),
            r#""tags":{"site":"north","unit":"C","a\"b":""}"#,
        ),
    ] {
        assert_eq!(labelled(settings, &properties, false).0, expected);
    }
    let many: Vec<_> = (0..40).map(|it| pair(&it.to_string(), "x")).collect();
    let all = json!({"topic": "a", "properties": "all"});
    let labels = labelled(all.clone(), &publish::with_user_properties(&many), false).0;
    assert_eq!(labels.matches(":\"x\"").count(), PROPERTIES_MAX);
    // What is no property any more ends them, and no text is no tag.
    let broken = [&properties[..10], &[0x26, 0, 1, b'a', 0, 1, 0xff, 0xff][..]].concat();
    assert_eq!(labelled(all, &broken, false).0, r#""tags":{"unit":"C"}"#);
}

#[test]
fn a_reading_says_whether_it_waited_and_when_it_is_of_no_use() {
    let expires = [0x02, 0, 0, 0, 9];
    for (expiry, letter) in [("keep", false), ("dead_letter", true)] {
        let settings = json!({"topic": "a", "expiry": expiry});
        let (_, arrival) = labelled(settings, &expires, true);
        let expected = Arrival {
            waited: true,
            expires_to_letter: letter,
            expiry: Expiry(9),
            ..Arrival::default()
        };
        assert_eq!(arrival, expected);
    }
    assert_eq!(labelled(json!({"topic": "a"}), &[], false).1, Arrival::default());
    for (dup, retain) in [(true, false), (false, true)] {
        let mut reader = reader_of(json!({"topic": "a"}), &context(9, OnFull::Wait));
        let (record, _) = taken(&mut reader, &Publish { dup, retain, ..publish(b"a", b"1") });
        assert!(record.arrival.waited);
    }
}
