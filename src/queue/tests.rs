//! Tests of the queue.

use super::*;
use crate::clock::{self, Timestamp};
use crate::record::{Arrival, Body, Chunk, Record, Span};
use crate::settlement::{SensorIndex, Token};
use proptest::prelude::*;
use std::time::Duration;

fn queue(records_max: u32, bytes_max: u32, on_full: OnFull) -> Queue {
    let bound = |n| NonZeroU32::new(n).unwrap();
    let (records_max, bytes_max) = (bound(records_max), Size(bound(bytes_max)));
    Queue::new(Settings { records_max, bytes_max, on_full, ..Settings::default() })
}

fn add(chunk: &mut Chunk, sensor: u32, sequence: u64, sheddable: bool, bytes: usize) {
    let value = chunk.put(&vec![b'1'; bytes]);
    chunk.records.push(Record {
        sensor: SensorIndex(sensor),
        id: Span::default(),
        sequence,
        received: Timestamp::default(),
        token: Token::NONE,
        topic: Span::default(),
        arrival: Arrival { sheddable, ..Arrival::default() },
        body: Body::Reading {
            value,
            timestamp: Span::default(),
            labels: Span::default(),
            extra: Span::default(),
        },
    });
}

fn now_or_never(records: bool) -> Want {
    let deadline = Some(clock::now().instant);
    let (fill_records, fill_bytes) = (1000, 1);
    Want { records, fill_records, fill_bytes, hold: Duration::ZERO, stalled: true, deadline }
}

fn settled(records: &[Record]) -> Settled {
    let mut settled = Settled::default();
    for it in records {
        settled.add(it.token, it.sensor, it.bytes());
    }
    settled
}

#[test]
fn places_are_held_until_release_and_not_until_taken() {
    let queue = queue(2, 100, OnFull::Wait);
    let (inlet, mut outlet) = (queue.inlet(), queue.outlet::<&str>());
    let mut chunk = Chunk::default();
    (1..=3).for_each(|n| add(&mut chunk, 0, n, false, 5));
    assert!(!inlet.try_offer(&mut chunk, &mut Vec::new()));
    assert_eq!((chunk.records.len(), queue.held()), (1, 2));
    let Event::Offered(taken, _) = outlet.next(now_or_never(true)) else { panic!() };
    assert!(!inlet.try_offer(&mut chunk, &mut Vec::new()), "still held");
    queue.release(&settled(&taken.records), Outcome::Delivered);
    assert!(inlet.try_offer(&mut chunk, &mut Vec::new()));
    assert_eq!(queue.held(), 1);
}

#[test]
fn mail_goes_behind_records_that_are_due_and_the_end_is_told_once() {
    let queue = queue(2, 100, OnFull::Wait);
    let (inlet, mut outlet) = (queue.inlet(), queue.outlet::<&str>());
    let reports = outlet.reports();
    let mut chunk = Chunk::default();
    add(&mut chunk, 0, 1, false, 5);
    inlet.try_offer(&mut chunk, &mut Vec::new());
    reports.send("first");
    reports.send("second");
    drop(inlet);
    assert!(matches!(outlet.next(now_or_never(false)), Event::Reported("first")));
    assert!(matches!(outlet.next(now_or_never(true)), Event::Offered(..)));
    assert!(matches!(outlet.next(now_or_never(true)), Event::Reported("second")));
    assert!(matches!(outlet.next(now_or_never(true)), Event::Ended));
    assert!(matches!(outlet.next(now_or_never(true)), Event::Deadline));
}

/// Else what settles for it later would be kept for ever.
#[test]
fn a_source_that_has_ended_is_told_nothing_more() {
    let queue = queue(2, 100, OnFull::Wait);
    let (first, second) = (queue.settlements(), queue.settlements());
    assert_eq!(queue.shared.told(), 2);
    drop(first);
    assert_eq!(queue.shared.told(), 1);
    drop(second);
    assert_eq!(queue.shared.told(), 0);
}

/// In a shared row each is taken for another sensor's.
#[test]
fn keep_latest_gives_up_no_sensor_for_another_one_of_its_row() {
    let queue = queue(3, 100, OnFull::KeepLatest);
    let (inlet, mut outlet, mut shed) = (queue.inlet(), queue.outlet::<&str>(), Vec::new());
    for (sensor, sequence, id) in [(0, 1, "x"), (0, 2, "y"), (1, 1, ""), (1, 2, "")] {
        let mut chunk = Chunk::default();
        add(&mut chunk, sensor, sequence, true, 4);
        chunk.records[0].id = chunk.put(id.as_bytes());
        inlet.try_offer(&mut chunk, &mut shed);
    }
    let Event::Offered(taken, _) = outlet.next(now_or_never(true)) else { panic!() };
    let kept: Vec<_> = taken.records.iter().map(|it| (it.sensor.0, it.sequence)).collect();
    assert_eq!((kept, shed), (vec![(0, 1), (0, 2), (1, 2)], vec![SensorIndex(1)]));
}

#[tokio::test]
async fn an_offer_waits_for_room_and_says_that_it_does() {
    let queue = queue(4, 100, OnFull::Wait);
    let (inlet, mut outlet) = (queue.inlet(), queue.outlet::<&str>());
    let mut chunk = Chunk::default();
    (1..=9).for_each(|n| add(&mut chunk, 0, n, false, 5));
    let mut taken = Vec::new();
    let mut offer = Box::pin(inlet.offer(&mut chunk));
    let mut offered = false;
    while taken.len() < 9 {
        tokio::select! {
            biased;
            () = &mut offer, if !offered => offered = true,
            () = std::future::ready(()) => {
                if let Event::Offered(chunk, _) = outlet.next(now_or_never(true)) {
                    queue.release(&settled(&chunk.records), Outcome::Delivered);
                    taken.extend(chunk.records.iter().map(|it| it.sequence));
                }
            }
        }
    }
    assert_eq!(taken, (1..=9).collect::<Vec<_>>());
    assert!(offered && !queue.shared.stalled());
}

#[derive(Debug, Clone)]
enum Step {
    Offer { sensor: u32, sheddable: bool, bytes: usize },
    Take,
    Release,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let offer = (0_u32..4, prop::bool::weighted(0.8), 1_usize..30)
        .prop_map(|(sensor, sheddable, bytes)| Step::Offer { sensor, sheddable, bytes });
    let step = prop_oneof![6 => offer, 1 => Just(Step::Take), 1 => Just(Step::Release)];
    prop::collection::vec(step, 1..150)
}

fn policies() -> impl Strategy<Value = OnFull> {
    prop_oneof![Just(OnFull::ShedNewest), Just(OnFull::ShedOldest), Just(OnFull::KeepLatest)]
}

proptest! {
    /// Whatever is offered, taken and released: the bounds hold, what is not shed comes out
    /// once and in order for each sensor, only what may be shed is, and the count agrees.
    #[test]
    fn the_bounds_hold_and_only_the_policy_loses(steps in steps(), policy in policies()) {
        let queue = queue(8, 120, policy);
        let (inlet, mut outlet) = (queue.inlet(), queue.outlet::<&str>());
        let (mut offered, mut out) = (0_usize, Vec::<Record>::new());
        let (mut shed, mut unreleased) = (Vec::new(), Vec::new());
        let mut sequence = 0;
        for step in steps {
            match step {
                Step::Offer { sensor, sheddable, bytes } => {
                    sequence += 1;
                    let mut chunk = Chunk::default();
                    add(&mut chunk, sensor, sequence, sheddable, bytes);
                    let before = shed.len();
                    let all = inlet.try_offer(&mut chunk, &mut shed);
                    prop_assert!(all || !sheddable, "only what may not be shed has to wait");
                    if policy == OnFull::ShedNewest && shed.len() > before {
                        prop_assert_eq!(&shed[before..], &[SensorIndex(sensor)]);
                    }
                    offered += usize::from(all);
                }
                Step::Take => if let Event::Offered(chunk, _) = outlet.next(Want { fill_records: 3, ..now_or_never(true) }) {
                    unreleased.extend(chunk.records.iter().copied());
                    out.extend(chunk.records.iter().copied());
                    outlet.recycle(chunk);
                },
                Step::Release => {
                    queue.release(&settled(&unreleased), Outcome::Delivered);
                    unreleased.clear();
                }
            }
            prop_assert!(queue.held() <= 8);
            let state = queue.shared.lock();
            let bytes: usize = unreleased.iter().map(Record::bytes).sum();
            prop_assert!(state.buffer.bytes() + bytes <= 120);
            prop_assert_eq!(state.buffer.records() + unreleased.len(), usize::try_from(queue.held()).unwrap());
            prop_assert_eq!(offered, out.len() + shed.len() + state.buffer.records());
        }
        for sensor in 0..4 {
            let sequences: Vec<u64> = out.iter()
                .filter(|it| it.sensor == SensorIndex(sensor)).map(|it| it.sequence).collect();
            prop_assert!(sequences.is_sorted_by(|a, b| a < b), "{:?}", sequences);
        }
    }

    #[test]
    fn keep_latest_keeps_the_last_reading_of_each_sensor(sensors in prop::collection::vec(0_u32..5, 1..200)) {
        let queue = queue(5, 100, OnFull::KeepLatest);
        let (inlet, mut outlet) = (queue.inlet(), queue.outlet::<&str>());
        let mut last = std::collections::BTreeMap::new();
        let mut shed = Vec::new();
        for (sequence, &sensor) in (1..).zip(&sensors) {
            let mut chunk = Chunk::default();
            add(&mut chunk, sensor, sequence, true, 4);
            inlet.try_offer(&mut chunk, &mut shed);
            last.insert(sensor, sequence);
        }
        let Event::Offered(taken, _) = outlet.next(now_or_never(true)) else { panic!() };
        for (sensor, sequence) in last {
            let kept = taken.records.iter().any(|it| it.sensor.0 == sensor && it.sequence == sequence);
            prop_assert!(kept, "sensor {sensor}");
        }
        prop_assert_eq!(taken.records.len() + shed.len(), sensors.len());
    }
}

#[tokio::test]
async fn a_queue_of_other_settings_grows_at_once_and_shrinks_once_nobody_waits_for_more() {
    let queue = queue(8, 1000, OnFull::Wait);
    let (inlet, mut outlet) = (queue.inlet(), queue.outlet::<&str>());
    let mut chunk = Chunk::default();
    (1..=8).for_each(|n| add(&mut chunk, 0, n, false, 5));
    inlet.offer(&mut chunk).await;
    // Two places, of which there will be one.
    (9..=10).for_each(|n| add(&mut chunk, 0, n, false, 5));
    let waits = inlet.claim(&chunk);
    let settings = |records_max| Settings {
        records_max: NonZeroU32::new(records_max).unwrap(),
        bytes_max: Size::bytes(1000),
        ..Settings::default()
    };
    queue.prepare(settings(1));
    let Event::Offered(taken, _) = outlet.next(now_or_never(true)) else { panic!() };
    queue.release(&settled(&taken.records), Outcome::Delivered);
    inlet.put(waits.await, &mut chunk);
    queue.resize(settings(1));
    assert_eq!((queue.held(), queue.held_bytes()), (2, 10));
    add(&mut chunk, 0, 11, false, 5);
    assert!(!inlet.try_offer(&mut chunk, &mut Vec::new()));
    let Event::Offered(taken, _) = outlet.next(now_or_never(true)) else { panic!() };
    queue.release(&settled(&taken.records), Outcome::Delivered);
    assert!(inlet.try_offer(&mut chunk, &mut Vec::new()));
    add(&mut chunk, 0, 12, false, 5);
    assert!(!inlet.try_offer(&mut chunk, &mut Vec::new()), "one place is all");
    queue.prepare(settings(3));
    assert!(inlet.try_offer(&mut chunk, &mut Vec::new()), "before anybody begins anew");
    assert_eq!((queue.held(), queue.held_bytes()), (2, 10));
}

#[test]
fn a_policy_that_comes_later_knows_what_waits_already() {
    let queue = queue(3, 1000, OnFull::Wait);
    let (inlet, mut outlet) = (queue.inlet(), queue.outlet::<&str>());
    let (mut chunk, mut shed) = (Chunk::default(), Vec::new());
    for (sensor, n) in [(0, 1), (1, 1), (1, 2)] {
        add(&mut chunk, sensor, n, true, 1);
    }
    assert!(inlet.try_offer(&mut chunk, &mut shed));
    let on_full = OnFull::KeepLatest;
    let records_max = NonZeroU32::new(3).unwrap();
    queue.prepare(Settings { records_max, on_full, ..Settings::default() });
    add(&mut chunk, 2, 1, true, 1);
    assert!(inlet.try_offer(&mut chunk, &mut shed));
    assert_eq!(shed, [SensorIndex(1)], "it has a later one, and sensor 0 is older and has none");
    let Event::Offered(taken, _) = outlet.next(now_or_never(true)) else { panic!() };
    let kept: Vec<_> = taken.records.iter().map(|it| (it.sensor.0, it.sequence)).collect();
    assert_eq!(kept, [(0, 1), (1, 2), (2, 1)]);
}
