//! Tests of what policies leave out, and of what they let wait.

use std::time::Duration;

use serde_json::json;

use super::tests::{context, publish, reader_of};
use super::*;
use crate::clock::{self, Timestamp};
use crate::codec::sparkplug::wire::Message as Written;
use crate::record::Body;
use crate::settlement::{Outcome, Policy, SourceIndex};
use crate::state::metrics::Metrics;

/// A reader, the way back of its next message, and what it has made.
struct Scene {
    reader: Reader,
    context: Context,
    now: Now,
    ordinal: u64,
    chunk: Chunk,
}

impl Scene {
    fn of(policies: &serde_json::Value) -> Self {
        let mut settings = json!({"topic": "s/{sensor}", "counter": "/n"});
        settings.as_object_mut().unwrap().extend(policies.as_object().unwrap().clone());
        let context = context(9, OnFull::Wait);
        let reader = reader_of(settings, &context);
        Self { reader, context, now: clock::now(), ordinal: 1, chunk: Chunk::default() }
    }

    /// Of an entry with a quota of one a second. It has heard `a` twice, long ago: the first reading was delivered, and the
    /// second one waits. There is one row, which `b` has taken since.
    fn of_a_forgotten_sensor() -> Self {
        let context = context(1, OnFull::Wait);
        let settings =
            json!({"topic": "s/{sensor}", "quota": {"rate": "1/s", "over": "keep_latest"}});
        let reader = reader_of(settings, &context);
        let now = Now { wall: Timestamp::from_millis(1000), ..clock::now() };
        let mut scene = Self { reader, context, now, ordinal: 1, chunk: Chunk::default() };
        scene.take("a", "1");
        scene.take("a", "2");
        scene.deliver();
        scene.take("b", "3");
        assert!(scene.context.registry.row("entry", "a").is_none(), "there is one row");
        scene
    }

    /// What it has made was delivered, and is forgotten here.
    fn deliver(&mut self) {
        let sensors: Vec<_> = self.chunk.records.iter().map(|it| it.sensor).collect();
        self.context.registry.enter(self.metrics(), &sensors, Outcome::Delivered);
        self.records();
    }

    fn token(&self) -> Token {
        Token { source: SourceIndex(0), ordinal: self.ordinal }
    }

    /// How many readings the message waits for.
    fn take(&mut self, sensor: &str, payload: &str) -> u32 {
        self.take_at(&format!("s/{sensor}"), payload.as_bytes())
    }

    fn take_at(&mut self, topic: &str, payload: &[u8]) -> u32 {
        let it = publish(topic.as_bytes(), payload);
        let made = self.reader.take(&it, self.token(), (self.now, false), &mut self.chunk);
        let made = made.expect("no message waits for another");
        self.ordinal += u64::from(made);
        made
    }

    /// Of each record: its value, or why it is none, its sequence, and the ordinal.
    fn records(&mut self) -> Vec<(String, u64, u64)> {
        let chunk = std::mem::take(&mut self.chunk);
        let told = |body| match body {
            Body::Reading { value, .. } => String::from_utf8(chunk.text(value).to_vec()).unwrap(),
            Body::Unreadable { reason, .. } => reason.as_str().to_owned(),
        };
        let of = |it: &crate::record::Record| (told(it.body), it.sequence, it.token.ordinal);
        chunk.records.iter().map(of).collect()
    }

    fn wait(&mut self, millis: u64) {
        self.now = self.now.later(Duration::from_millis(millis));
        self.reader.expire(self.now.instant);
        while let Some(taken) = self.reader.take_due(&mut self.chunk) {
            assert!((taken.made, taken.work, taken.without.is_none()) == (1, 0, true));
        }
    }

    fn metrics(&self) -> &Metrics {
        &self.context.metrics
    }

    /// What a sensor's row has received, and what of it was left out.
    fn row(&self, sensor: &str) -> (u64, Vec<(&'static str, u64)>) {
        let row = self.context.registry.row("entry", sensor).unwrap();
        let balance = row.balance();
        assert_eq!(balance.shed, row.left_out().map(|it| it.1).sum::<u64>());
        (balance.received, row.left_out().map(|(policy, count)| (policy.as_str(), count)).collect())
    }
}

fn of(texts: &[(&str, u64, u64)]) -> Vec<(String, u64, u64)> {
    texts
        .iter()
        .map(|(text, sequence, ordinal)| ((*text).to_owned(), *sequence, *ordinal))
        .collect()
}

#[test]
fn what_is_left_out_is_counted_for_its_sensor_and_has_no_sequence_and_no_way_back() {
    let mut scene = Scene::of(&json!({
        "deduplicate": {"by": "counter"},
        "filter": {"deadband": 0.5},
        "quota": {"rate": "3/h", "over": "shed_newest"},
    }));
    let made: Vec<u32> = [
        r#"{"value":1,"n":1}"#,
        r#"{"value":1,"n":1}"#,
        r#"{"value":1.5,"n":2}"#,
        r#"{"value":2,"n":3}"#,
        r#"{"value":3,"n":4}"#,
        r#"{"value":4,"n":5}"#,
    ]
    .iter()
    .map(|payload| scene.take("a", payload))
    .collect();
    assert_eq!(made, [1, 0, 0, 1, 1, 0]);
    let records = scene.records();
    assert_eq!(records, of(&[("1", 1, 1), ("2", 2, 2), ("3", 3, 3)]));
    assert_eq!(scene.row("a"), (6, vec![("deduplicate", 1), ("filter", 1), ("quota", 1)]));
    let metrics = scene.metrics();
    let shed = [Policy::Deduplicate, Policy::Filter, Policy::Quota];
    assert_eq!(shed.map(|it| metrics.shed.of(it).get()), [1, 1, 1]);
    // Records are counted when they are offered.
    assert_eq!((metrics.received.get(), metrics.numbers_missing.get()), (3, 0));
}

#[test]
fn a_repeat_is_no_sign_that_a_sensor_counts_anew() {
    let mut scene = Scene::of(&json!({"deduplicate": {"by": "counter"}}));
    for n in [1, 2, 3, 4, 5, 1, 2, 6] {
        scene.take("a", &format!(r#"{{"value":7,"n":{n}}}"#));
    }
    assert_eq!(scene.metrics().numbers_missing.get(), 0);
    assert_eq!(scene.records().len(), 6);
}

#[test]
fn text_of_what_is_left_out_takes_no_room() {
    let mut scene = Scene::of(&json!({"filter": {"deadband": 0}}));
    scene.take("a", r#"{"value":1,"beside":"it"}"#);
    let bytes = scene.chunk.bytes();
    for _ in 0..9 {
        scene.take("a", r#"{"value":1,"beside":"it"}"#);
    }
    assert_eq!(scene.chunk.bytes(), bytes);
}

#[test]
fn of_a_message_of_several_readings_those_that_are_left_out_have_no_place() {
    let mut scene = Scene::of(&json!({
        "payload": "ndjson",
        "filter": {"deadband": 0},
    }));
    let first = "{\"value\":1,\"sensorId\":\"x\"}\n{\"value\":2}\n";
    assert_eq!(scene.take("a", &first.replace(",\"sensorId\":\"x\"", "")), 2);
    assert_eq!(scene.take("a", "{\"value\":2}\n{\"value\":3}\n{rubbish\n"), 2);
    let records = scene.records();
    assert_eq!(records, of(&[("1", 1, 1), ("2", 2, 2), ("3", 3, 3), ("malformed", 4, 4)]));
}

#[test]
fn each_quantity_of_a_sensor_is_compared_with_itself() {
    let mut scene = Scene::of(&json!({
        "values": {"t": "/t", "h": "/h"},
        "split": true,
        "filter": {"deadband": 1},
    }));
    let made = [(20, 50), (20, 55), (25, 55)]
        .map(|(t, h)| scene.take("a", &format!(r#"{{"t":{t},"h":{h}}}"#)));
    assert_eq!(made, [2, 1, 1]);
    let values: Vec<String> = scene.records().into_iter().map(|it| it.0).collect();
    assert_eq!(values, ["50", "20", "55", "25"]);
}

#[test]
fn what_is_over_the_quota_can_be_a_dead_letter() {
    let quota = json!({"quota": {"rate": "1/h", "over": "dead_letter"}});
    let mut scene = Scene::of(&quota);
    assert_eq!([scene.take("a", "1"), scene.take("a", "2"), scene.take("b", "3")], [1, 1, 1]);
    let chunk = &scene.chunk;
    let Body::Unreadable { detail, payload, .. } = chunk.records[1].body else { panic!() };
    let texts = [detail, payload].map(|it| String::from_utf8_lossy(chunk.text(it)).into_owned());
    assert_eq!(texts, ["the sensor sends more than the quota of 1/h", "2"]);
    assert_eq!(scene.records(), of(&[("1", 1, 1), ("quota", 2, 2), ("3", 1, 3)]));
    assert_eq!(scene.metrics().shed.total(), 0);
}

#[test]
fn the_latest_reading_waits_for_its_turn_and_a_superseded_one_settles() {
    let mut scene = Scene::of(&json!({"quota": {"rate": "1/s", "over": "keep_latest"}}));
    assert!(scene.reader.may_wait());
    for value in ["1", "2", "3", "4"] {
        assert_eq!(scene.take("a", value), 1, "each has a place in the ledger");
    }
    assert_eq!(scene.records(), of(&[("1", 1, 1)]));
    let runs: Vec<Run> = scene.reader.superseded().collect();
    let run = |first| Run { source: SourceIndex(0), first, count: 1 };
    assert_eq!(runs, [run(2), run(3)]);
    assert_eq!(scene.row("a"), (3, vec![("quota", 2)]), "the last one is not decided yet");
    assert!(scene.reader.has_waiting(&(4..5)) && !scene.reader.has_waiting(&(2..4)));
    assert_eq!(scene.reader.waits_until(), Some(scene.now.instant + Duration::from_secs(1)));
    scene.wait(999);
    assert_eq!(scene.records(), []);
    scene.wait(1);
    assert_eq!(scene.records(), of(&[("4", 2, 4)]));
    assert_eq!((scene.row("a").0, scene.reader.waits_until()), (4, None));
}

#[test]
fn what_waits_is_given_up_with_its_ordinals_or_released() {
    let mut scene = Scene::of(&json!({"quota": {"rate": "1/s", "over": "keep_latest"}}));
    for sensor in ["a", "a", "b", "b"] {
        scene.take(sensor, "1");
    }
    let waiting = |scene: &Scene| scene.context.registry.sums()[0].waiting;
    assert_eq!(waiting(&scene), 2);
    let (mut ordinals, count) = scene.reader.clear();
    assert_eq!(waiting(&scene), 0);
    ordinals.sort_unstable();
    assert_eq!((ordinals, count), (vec![2, 4], 2));
    scene.take("a", "2");
    assert_eq!(scene.reader.end_waiting(scene.now.instant), []);
    scene.records();
    scene.wait(0);
    assert_eq!(scene.records(), of(&[("2", 2, 5)]));
}

#[test]
fn a_reading_of_a_sensor_that_was_forgotten_meanwhile_is_of_the_sensor_it_has_become() {
    let mut scene = Scene::of_a_forgotten_sensor();
    scene.deliver();
    scene.wait(1000);
    let record = scene.chunk.records[0];
    let is_shared = |rows: &[Arc<Row>]| rows[record.sensor.0 as usize].is_shared();
    assert!(scene.context.registry.with_rows(is_shared), "and none is left for it");
    assert_eq!(scene.chunk.text(record.id), b"a");
}

/// Else the books would not close: the row of its own is not counted any more.
#[test]
fn a_reading_of_a_sensor_that_was_forgotten_may_be_superseded() {
    let mut scene = Scene::of_a_forgotten_sensor();
    scene.take("a", "4");
    assert_eq!(scene.reader.superseded().count(), 1);
    let registry = &scene.context.registry;
    let shed: u64 = registry.with_rows(|rows| rows.iter().map(|row| row.balance().shed).sum());
    assert_eq!((shed, scene.metrics().shed.total()), (1, 1));
}

/// Who is gone sends no more: what is left out of that would never be told.
#[test]
fn a_death_is_taken_whatever_the_sensor_has_sent_before() {
    let mut scene = Scene::of(&json!({
        "topic": "spBv1.0/#",
        "counter": null,
        "payload": "sparkplug_b",
        "filter": {"deadband": 0},
        "quota": {"rate": "1/h", "over": "shed_newest"},
    }));
    let mut payload = Written::default();
    payload.number(3, 0);
    let mut come = |kind: &str| scene.take_at(&format!("spBv1.0/G/{kind}/N"), payload.written());
    assert_eq!(["NBIRTH", "NBIRTH", "NDEATH", "NDEATH"].map(&mut come), [1, 0, 1, 1]);
    let values: Vec<_> = scene.records().into_iter().map(|it| it.0).collect();
    assert_eq!(values, ["true", "false", "false"]);
}

#[test]
fn what_goes_out_before_its_turn_is_counted_and_what_has_its_turn_is_not() {
    let mut scene = Scene::of(&json!({"quota": {"rate": "1/s", "over": "keep_latest"}}));
    for sensor in ["a", "a", "b", "b", "c", "c"] {
        scene.take(sensor, "1");
    }
    scene.wait(1000);
    for sensor in ["a", "b"] {
        scene.take(sensor, "2");
    }
    scene.reader.release(scene.now.instant);
    scene.take("c", "2");
    assert_eq!((scene.metrics().quota_turns_cut.get(), scene.records().len()), (2, 6));
}

#[test]
fn readings_that_are_known_too_short_are_counted() {
    let deduplicate = json!({"by": "counter", "window": "60s", "readings_max": 4});
    let mut scene = Scene::of(&json!({ "deduplicate": deduplicate }));
    for n in 1..4 {
        scene.take("a", &format!(r#"{{"value":7,"n":{n}}}"#));
    }
    for (n, unknown) in [(4, 0), (5, 2), (6, 2), (7, 4)] {
        scene.take("a", &format!(r#"{{"value":7,"n":{n}}}"#));
        assert_eq!(scene.metrics().repeats_unknown.get(), unknown, "{n}");
    }
}

#[test]
fn after_the_queue_has_shed_a_reading_and_after_a_lost_session_what_comes_is_news() {
    let mut scene = Scene::of(&json!({"filter": {"deadband": 0}}));
    assert_eq!([scene.take("a", "1"), scene.take("a", "1")], [1, 0]);
    let sensor = scene.chunk.records[0].sensor;
    let policy = Policy::ShedOldest;
    scene.context.registry.enter(scene.metrics(), &[sensor], Outcome::Shed { policy });
    assert_eq!([scene.take("a", "1"), scene.take("a", "1")], [1, 0]);
    scene.reader.begin_anew(scene.now.instant);
    assert_eq!([scene.take("a", "1"), scene.take("a", "1")], [1, 0]);
}

#[test]
fn a_message_that_is_left_out_is_a_sign_of_life_and_its_value_is_shown() {
    let mut scene = Scene::of(&json!({"filter": {"min_interval": "1h"}}));
    scene.take("a", "1");
    scene.wait(60_000);
    scene.take("a", "2");
    let row = scene.context.registry.row("entry", "a").unwrap();
    assert_eq!(row.last_received(), Some(scene.now.wall));
    assert_eq!(row.last_value().unwrap().0, "2");
}
