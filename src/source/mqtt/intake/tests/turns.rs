//! Tests of entries whose messages wait for others.

use super::*;
use crate::codec::sparkplug::wire::Message as Written;
use crate::queue::OnFull;

/// A payload of Sparkplug with this number, of metrics with a name, an alias, or both: integers.
fn payload(seq: u8, metrics: &[(&str, u8)]) -> Vec<u8> {
    let mut payload = Written::default();
    payload.number(3, seq.into());
    for (name, alias) in metrics {
        let mut metric = Written::default();
        metric.number(2, (*alias).into());
        metric.number(10, 7);
        if !name.is_empty() {
            // Its type is Int32.
            metric.number(4, 3);
            metric.bytes(1, name.as_bytes());
        }
        payload.bytes(2, metric.written());
    }
    payload.written().to_vec()
}

const BIRTH: &str = "spBv1.0/G/NBIRTH/N";
const DATA: &str = "spBv1.0/G/NDATA/N";

fn settings() -> serde_json::Value {
    json!({"topic": "spBv1.0/#", "payload": "sparkplug_b"})
}

fn plant(places: u32) -> Scene {
    scene(&[("plant", settings())], places).subscribed()
}

fn of<'a>(packet_id: u16, topic: &'a str, payload: &'a [u8]) -> Message<'a> {
    Message { payload, qos: u8::from(packet_id > 0), ..message(packet_id, topic, "") }
}

/// Data of the node.
fn data(packet_id: u16, payload: &[u8]) -> Message<'_> {
    of(packet_id, DATA, payload)
}

/// How many readings and dead letters wait in the queue, taken out of it. Then they settle.
fn made(scene: &mut Scene) -> (usize, usize) {
    let Some(chunk) = scene.offered() else { return (0, 0) };
    let mut settled = Settled::default();
    chunk.records.iter().for_each(|it| settled.add(it.token, it.sensor, it.bytes()));
    scene.queue.release(&settled, Outcome::Delivered);
    let readings = chunk.records.iter().filter(|it| matches!(it.body, Body::Reading { .. }));
    let readings = readings.count();
    (readings, chunk.records.len() - readings)
}

/// It would wait for what the broker does not send before it is acknowledged.
#[test]
fn what_takes_the_whole_window_waits_no_longer() {
    let it = payload(9, &[("", 1)]);
    let all: Vec<_> = (1..=20).map(|id| data(id, &it)).collect();
    let mut scene = plant(999);
    let now = scene.now.instant;
    assert_ne!(scene.send(&all[..19]), Step::Wait { reads: true, until: Some(now) });
    assert_eq!(scene.send(&all[19..]), Step::Wait { reads: true, until: Some(now) });
    assert_eq!(made(&mut scene), (0, 0));
    assert_ne!(scene.step(), Step::Wait { reads: true, until: Some(now) });
    assert_eq!(made(&mut scene), (0, 20));
    scene.step();
    assert_eq!(scene.peer.heard(), (1..=20).map(Heard::PubAck).collect::<Vec<_>>());
}

#[test]
fn what_no_birth_comes_for_waits_its_time_and_no_longer() {
    let it = payload(9, &[("", 1)]);
    let mut scene = plant(999);
    scene.send(&[data(1, &it)]);
    for letters in [0, 1] {
        scene.now = scene.now.later(Duration::from_secs(15));
        scene.step();
        assert_eq!(made(&mut scene), (0, letters));
    }
}

/// The broker may allow more, and the birth come in time.
#[test]
fn what_takes_a_window_that_is_only_assumed_waits_a_while() {
    let it = payload(9, &[("", 1)]);
    let all: Vec<_> = (1..=9).map(|id| data(id, &it)).collect();
    let mut scene = plant(999);
    scene.send(&all);
    scene.now = scene.now.later(WINDOW_SILENCE);
    let until = Some(scene.now.instant + STUCK_SILENCE);
    assert_eq!(scene.step(), Step::Wait { reads: true, until });
    assert_eq!(scene.intake.window, 9);
    scene.now = scene.now.later(STUCK_SILENCE);
    scene.step();
    scene.step();
    assert_eq!(made(&mut scene), (0, 9));
}

/// It settles by itself, and makes room.
#[test]
fn what_waits_behind_a_message_that_is_on_its_way_waits_on() {
    let (birth, it) = (payload(0, &[("a", 1)]), payload(9, &[("", 2)]));
    let mut all = vec![of(1, BIRTH, &birth)];
    all.extend((2..=20).map(|id| data(id, &it)));
    let mut scene = plant(999);
    scene.send(&all);
    for _ in 0..3 {
        scene.now = scene.now.later(STUCK_SILENCE);
        scene.step();
    }
    assert_eq!(made(&mut scene), (2, 0), "the birth");
    assert_eq!(made(&mut scene), (0, 0));
}

#[test]
fn what_is_due_is_read_in_as_many_bytes_as_a_chunk_may_have() {
    let (name, it) = ("x".repeat(600), payload(9, &[("", 1)]));
    let birth = payload(0, &[(&name, 1)]);
    let mut scene = plant(1);
    scene.send(&vec![data(0, &it); 50]);
    assert_eq!(scene.intake.metrics.messages_waited.get(), 50);
    scene.send(&[of(1, BIRTH, &birth)]);
    let (mut bytes, mut came) = (0, (0, 0));
    for _ in 0..60 {
        bytes = bytes.max(scene.intake.chunk.bytes());
        let (readings, letters) = made(&mut scene);
        came = (came.0 + readings, came.1 + letters);
        Peer::wake(&mut scene.intake);
        scene.step();
    }
    assert_eq!(came, (52, 0));
    assert!((4096..4096 + 2048).contains(&bytes), "{bytes}");
}

/// What waits in the entry may be due at any time.
#[test]
fn an_entry_reads_nothing_while_another_has_the_desk() {
    let settings = queue::Settings { records_max: 1.try_into().unwrap(), ..Default::default() };
    let (queue, desk) = (Queue::new(settings), Arc::default());
    let of = |entry| scene_at(Version::V5, &[entry], settings, (&queue, &desk)).subscribed();
    let mut first = of(("fleet", json!({"topic": "s/{sensor}"})));
    let mut second = of(("plant", self::settings()));
    let it = payload(9, &[("", 1)]);
    second.send(&[data(0, &it)]);
    first.send(&[message(1, "s/a", "1"), message(2, "s/a", "2")]);
    let step = second.send(&[data(0, &it)]);
    assert_eq!(step, Step::Wait { reads: false, until: None });
    assert_eq!(second.intake.metrics.messages_waited.get(), 1);
    // It ends before it has the desk: what has no other copy is counted.
    second.intake.stop_taking();
    let metrics = &second.intake.metrics;
    assert_eq!((metrics.received.get(), metrics.abandoned.get()), (1, 1));
}

#[test]
fn what_waits_at_the_end_is_read_or_left_to_the_broker_unless_its_session_ends_too() {
    let it = payload(9, &[("", 1)]);
    for (is_removed, letters) in [(false, 1), (true, 2)] {
        let mut scene = plant(999);
        scene.send(&[data(1, &it), data(0, &it)]);
        if is_removed {
            scene.lead.remove();
        } else {
            scene.lead.enter(Phase::Draining);
        }
        scene.step();
        assert_eq!(made(&mut scene), (0, letters), "{is_removed}");
        let ends = if is_removed { Step::CloseForGood } else { Step::Close };
        assert_eq!(scene.step(), ends, "nothing is waited for");
        let heard = scene.peer.heard();
        assert_eq!(heard.contains(&Heard::PubAck(1)), is_removed, "{heard:?}");
    }
}

/// Nobody else has it.
#[test]
fn what_waits_when_the_session_is_lost_is_read_and_not_acknowledged() {
    let (birth, it) = (payload(0, &[("a", 1)]), payload(1, &[("", 1)]));
    let mut scene = plant(999);
    scene.send(&[data(1, &it)]);
    scene.intake.handle_disconnected(scene.now, Err(Error::Closed)).unwrap();
    scene.connect(false);
    scene.peer.heard();
    scene.send(&[of(1, BIRTH, &birth)]);
    assert_eq!(made(&mut scene), (3, 0));
    scene.step();
    assert_eq!(scene.peer.heard(), [Heard::PubAck(1)]);
}

/// Ordinals are reserved for as many as it may have.
#[test]
fn a_message_of_too_many_readings_that_has_waited_is_one_dead_letter() {
    let names: Vec<String> = (1..=10).map(|it| format!("m{it}")).collect();
    let born: Vec<_> = names.iter().map(String::as_str).zip(1..).collect();
    let birth = payload(0, &born);
    let it = payload(1, &(1..=10).map(|alias| ("", alias)).collect::<Vec<_>>());
    let one = payload(2, &[("", 1)]);
    let mut scene = plant(999);
    scene.send(&[data(1, &it), data(2, &one), of(3, BIRTH, &birth)]);
    assert_eq!(made(&mut scene), (1, 2), "the birth has too many, too");
    scene.step();
    assert_eq!(scene.peer.heard(), [1, 2, 3].map(Heard::PubAck));
}

#[test]
fn messages_that_an_entry_does_not_read_are_no_gap() {
    let settings = json!({"topic": "spBv1.0/#", "payload": "sparkplug_b", "ignore": "spBv1.0/+/DDATA/+/noisy"});
    let mut scene = scene(&[("plant", settings)], 99).subscribed();
    let long = "x".repeat(2000);
    scene.send(&[
        of(1, BIRTH, &payload(0, &[("a", 1)])),
        of(2, "spBv1.0/G/DDATA/N/noisy", &payload(1, &[("b", 1)])),
        of(3, DATA, &payload(2, &[(&long, 1)])),
        of(4, DATA, &payload(3, &[("", 1)])),
    ]);
    assert_eq!(scene.intake.metrics.numbers_missing.get(), 0);
    scene.send(&[of(5, DATA, &payload(5, &[("", 1)]))]);
    assert_eq!(scene.intake.metrics.numbers_missing.get(), 1);
}

/// There are two of them, and each may grow to its bound.
#[test]
fn who_waits_for_the_desk_keeps_no_chunk_without_records() {
    let settings = queue::Settings {
        records_max: 1.try_into().unwrap(),
        on_full: OnFull::ShedNewest,
        ..Default::default()
    };
    let (queue, desk) = (Queue::new(settings), Arc::default());
    let of = |topic| {
        let entry = ("fleet", json!({"topic": topic, "retained": "skip"}));
        scene_at(Version::V5, &[entry], settings, (&queue, &desk)).subscribed()
    };
    let [mut first, mut second] = [of("a/{sensor}"), of("b/{sensor}")];
    first.send(&[message(1, "a/x", "1"), message(2, "a/x", "2")]);
    // It leaves a chunk with memory behind.
    second.send(&[Message { qos: 0, ..message(0, "b/x", "0") }]);
    // The first of these makes no record.
    let skipped = Message { qos: 0, retain: true, ..message(0, "b/x", "0") };
    let step = second.send(&[skipped, message(1, "b/x", "3")]);
    assert!(matches!(step, Step::Wait { reads: false, .. }), "{step:?}");
    assert_eq!(second.intake.chunk.capacity_bytes(), 0);
}
