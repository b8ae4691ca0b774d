//! Tests of simulated sensors.

use super::amounts::{NotNegative, Period};
use super::*;
use crate::pace::Pace;
use crate::queue::{self, Event, Queue, Want};
use crate::state::metrics::Metrics;
use crate::state::registry::Registry;

fn settings(text: &str) -> Settings {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_late_reading_does_not_push_the_next_one_later() {
    let start = clock::now().instant;
    let settings = settings(r#"{"count":4,"interval":"100ms"}"#);
    let mut sensor = Sensor::new(&Shared::new(&settings, "T", 0), 1, start);
    let ms = Duration::from_millis;
    assert_eq!(sensor.due, start + ms(25));
    assert_eq!((sensor.schedule(start + ms(110)), sensor.due), (0, start + ms(125)));
    assert_eq!((sensor.schedule(start + ms(460)), sensor.due), (2, start + ms(425)));
}

/// A reading: value, time and labels.
type Made = [String; 3];

/// What the gateway takes of the first sensor of an entry, which ends by itself.
fn taken(entry: &str) -> Vec<Made> {
    let settings = settings(entry);
    let of_queue = queue::Settings::default();
    let queue = Queue::new(of_queue);
    let context = Context {
        entry: 0,
        run: "gw-1".into(),
        registry: Arc::new(Registry::new(1, [("T", None)])),
        metrics: Arc::new(Metrics::default()),
        pace: Arc::new(Pace::default()),
        on_full: of_queue.on_full,
        record_bytes_max: of_queue.record_bytes_max.get(),
        readings_max: 1,
        folder: None,
        listening: Arc::default(),
    };
    let sensor = Sensor::new(&Shared::new(&settings, "T", 0), 0, clock::now().instant);
    let run = sensor.run("T", queue.inlet(), &context);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run);
    let want = Want {
        records: true,
        fill_records: 1,
        fill_bytes: 1,
        hold: Duration::ZERO,
        stalled: false,
        deadline: None,
    };
    let (mut outlet, mut made) = (queue.outlet::<std::convert::Infallible>(), Vec::new());
    loop {
        let chunk = match outlet.next(want) {
            Event::Offered(chunk, _) => chunk,
            Event::Ended => break,
            _ => continue,
        };
        for record in &chunk.records {
            let Body::Reading { value, timestamp, labels, .. } = record.body else { continue };
            let text = |span| String::from_utf8(chunk.text(span).to_vec()).unwrap();
            made.push([value, timestamp, labels].map(text));
        }
    }
    assert_eq!(context.metrics.received.get(), made.len() as u64);
    made
}

#[test]
fn a_record_has_the_unit_of_its_entry_and_as_many_digits() {
    let entry = r#""interval":0,"readings":2,"model":{"constant":{"value":21.449}}"#;
    let plain = ["21.45".to_owned(), String::new(), String::new()];
    assert_eq!(taken(&format!("{{{entry}}}")), [plain.clone(), plain]);
    let with_unit = taken(&format!(r#"{{{entry},"unit":"\"C","decimals":0}}"#));
    assert_eq!(with_unit[0], ["21", "", r#""unit":"\"C""#]);
}

#[track_caller]
fn made(turn: Turn) -> (f64, Planted) {
    let Turn::Made(value, planted) = turn else { panic!("{turn:?}") };
    (value, planted)
}

#[test]
fn what_is_planted_comes_through_the_queue_and_again_alike() {
    let entry = |faults: &str| {
        format!(r#"{{"interval":0,"readings":400,"seed":3,"decimals":0,"faults":{{{faults}}}}}"#)
    };
    let clean = taken(&entry(""));
    let twice = taken(&entry(r#""duplicate":0.1"#));
    assert_eq!(taken(&entry(r#""duplicate":0.1"#)), twice);
    assert!((420..460).contains(&twice.len()), "{}", twice.len());
    let same = twice.windows(2).filter(|two| two[0] == two[1]).count();
    assert!(same >= twice.len() - 400, "each is followed by itself");
    let dropped = taken(&entry(r#""dropout":0.1"#));
    assert!((340..380).contains(&dropped.len()), "{}", dropped.len());
    let mut left = clean.iter();
    assert!(dropped.iter().all(|it| left.any(|one| one == it)), "the others are as they were");
    let late = taken(&entry(r#""delayed":0.1,"delayed_by":"1h""#));
    let (late, others): (Vec<_>, Vec<_>) = late.into_iter().partition(|it| !it[1].is_empty());
    assert!((20..60).contains(&late.len()) && others.len() + late.len() == 400);
    for [_, time, _] in &late {
        let time = Timestamp::parse(time.trim_matches('"')).unwrap();
        let ago = clock::now().wall.millis() - time.millis();
        assert!((3_600_000..3_660_000).contains(&ago), "{ago} ms");
    }
}

#[test]
fn a_file_is_replayed_to_its_end_at_its_own_pace() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("recorded.csv");
    let line = |n: u32| format!("{},{n}.25\n", 1000 + n);
    std::fs::write(&file, format!("t,level\n{}", (0..20).map(line).collect::<String>())).unwrap();
    let replay = format!(r#""file":{file:?},"value":"level","time":"t","speed":100"#);
    let entry = format!(r#"{{"interval":"1h","model":{{"replay":{{{replay}}}}}}}"#);
    assert_eq!(settings(&entry).problems(), []);
    let began = clock::now().instant;
    let made: Vec<_> = taken(&entry).into_iter().map(|[value, ..]| value).collect();
    let took = clock::now().instant - began;
    assert_eq!(made, (0..20).map(|n| format!("{n}.25")).collect::<Vec<_>>());
    // 19 seconds, a hundred times as fast; the last pause stands behind the last reading, too.
    assert!(took >= Duration::from_millis(190), "{took:?}");
    let many = settings(&entry.replace("\"interval\"", "\"count\":257,\"interval\""));
    assert!(many.problems()[0].1.contains("is above 256"));
    let gone = settings(&entry.replace("recorded.csv", "gone.csv")).problems();
    assert!(gone[0].0 == "model.replay.file" && gone[0].1.contains("gone.csv"), "{gone:?}");
}

#[test]
fn a_payload_says_what_it_is_told_and_a_malformed_one_is_no_text() {
    let fill = Fill { value: "1.5", time: "now", epoch: 5, number: 7, sensor: "T" };
    let written = |entry: &str, planted| {
        let mut out = Vec::new();
        Shared::new(&settings(entry), "T", 0).write(&mut out, &fill, planted);
        out
    };
    let none = Planted::default();
    let usual = written("{}", none);
    assert_eq!(usual, br#"{"value":1.5,"timestamp":"now","number":7}"#);
    let unit = written(r#"{"unit":"\"C"}"#, none);
    assert_eq!(unit, br#"{"value":1.5,"timestamp":"now","number":7,"unit":"\"C"}"#);
    let own = r#"{"payload":"{sensor}={value}{unit}","unit":"C"}"#;
    assert_eq!(written(own, none), b"T=1.5C");
    let entry = settings(r#"{"faults":{"malformed":1}}"#);
    let planted = made(Values::new(&Shared::new(&entry, "T", 0), 0).turn()).1;
    assert_eq!(written(own, planted), b"\xff=1.5C");
    assert!(std::str::from_utf8(&written("{}", planted)).is_err());
}

/// The first values of a sensor of an entry.
fn values(settings: &str, (name, index): (&str, u32), seed: u64) -> Vec<f64> {
    let mut values = Values::new(&Shared::new(&self::settings(settings), name, seed), index);
    std::iter::repeat_with(|| made(values.turn()).0).take(20).collect()
}

const MODELS: [&str; 6] = [
    r#""gaussian":{}"#,
    r#""sine":{"period":40}"#,
    r#""random_walk":{"start":1,"step":0.5,"min":0,"max":2}"#,
    r#""square":{"noise":0.1}"#,
    r#""step":{"levels":[1,2,3],"lasting":2,"noise":0.1}"#,
    r#""constant":{"value":3.25}"#,
];

#[test]
fn the_same_seed_gives_the_same_values_and_every_model_works() {
    for model in MODELS {
        let entry = format!(r#"{{"seed":7,"model":{{{model}}}}}"#);
        assert_eq!(values(&entry, ("T", 3), 1), values(&entry, ("T", 3), 2), "{model}");
    }
    let settings = settings("{}");
    let mut values = Values::new(&Shared::new(&settings, "T", 1), 0);
    let mean =
        std::iter::repeat_with(|| made(values.turn()).0).take(10_000).sum::<f64>() / 10_000.0;
    assert!((mean - 50.0).abs() < 1.0, "{mean}");
}

#[test]
fn no_two_sensors_move_in_step_whatever_their_entries_share() {
    for model in MODELS.into_iter().filter(|it| !it.contains("constant")) {
        let entry = format!(r#"{{"seed":7,"count":9,"model":{{{model}}}}}"#);
        let one = values(&entry, ("T", 0), 0);
        let others = [(("T", 1), &entry), (("T", 8), &entry), (("U", 0), &entry)];
        for (which, entry) in others {
            let other = values(entry, which, 0);
            let apart: Vec<_> = one.iter().zip(&other).map(|(a, b)| a - b).collect();
            assert!(apart.iter().any(|it| it.abs() > 0.05), "{model}: {which:?}");
            // They are not one shape at two heights, either.
            let moves = apart.windows(2).any(|two| (two[0] - two[1]).abs() > 0.01);
            assert!(moves, "{model}: {which:?}: {apart:?}");
        }
        let next_seed = values(&entry.replace("\"seed\":7", "\"seed\":8"), ("T", 0), 0);
        assert_ne!(next_seed, values(&entry, ("T", 1), 0), "{model}: a seed is no index");
    }
}

/// Written down: another version of a library must not make others.
#[test]
fn the_values_of_a_seed_stay_what_they_are() {
    assert_eq!(values(r#"{"seed":1}"#, ("TEMP", 0), 0)[..4], [59.38, 59.28, 39.72, 58.72]);
}

#[test]
fn ids_have_as_many_digits_as_are_needed() {
    let ten = settings(r#"{"count":10}"#);
    assert_eq!((ten.sensor_id("T", 0), ten.sensor_id("T", 9)), ("T_00".into(), "T_09".into()));
    assert_eq!(settings(r#"{"count":1001}"#).sensor_id("T", 7), "T_0007");
    assert_eq!(settings("{}").sensor_id("T", 0), "T");
    assert!(serde_json::from_str::<Settings>(r#"{"count":0}"#).is_err());
}

#[test]
fn a_model_that_makes_no_values_is_refused_with_its_remedy() {
    for model in [
        r#"{"gaussian":{"std_dev":-1}}"#,
        r#"{"sine":{"period":0}}"#,
        r#"{"sine":{"period":-100}}"#,
        r#"{"sine":{"amplitude":-0.5}}"#,
        r#"{"random_walk":{"step":-1}}"#,
        r#"{"square":{"duty":1.5}}"#,
        r#"{"sine":{"phase":-0.5}}"#,
        r#"{"step":{"lasting":0.5}}"#,
        r#"{"step":{"levels":[]}}"#,
        r#"{"step":{"levels":["a"]}}"#,
        r#"{"step":{"levels":7}}"#,
    ] {
        let error = serde_json::from_str::<Model>(model).unwrap_err().to_string();
        assert!(error.contains(": write "), "{model}: {error}");
    }
    assert!(Period::try_from(f64::INFINITY).is_err() && Period::try_from(f64::NAN).is_err());
    assert!(NotNegative::try_from(f64::NAN).is_err());
    for entry in [r#"{"decimals":10}"#, r#"{"unit":""}"#, r#"{"unit":"a\u0007"}"#] {
        let error = serde_json::from_str::<Settings>(entry).unwrap_err().to_string();
        assert!(error.contains(": write "), "{entry}: {error}");
    }
}

#[test]
fn a_walk_that_begins_outside_its_bounds_is_refused_with_its_remedy() {
    for (walk, key) in [
        (r#"{"start":5,"max":4}"#, "model.random_walk.start"),
        (r#"{"start":5,"min":6}"#, "model.random_walk.start"),
        (r#"{"min":3,"max":2}"#, "model.random_walk.min"),
    ] {
        let entry = settings(&format!(r#"{{"model":{{"random_walk":{walk}}}}}"#));
        let problems = entry.problems();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].0 == key && problems[0].1.contains(": write "), "{problems:?}");
    }
    assert_eq!(settings(r#"{"model":{"random_walk":{"min":0,"max":50}}}"#).problems(), []);
}

#[tokio::test]
async fn sensors_that_wait_for_the_queue_end_when_the_gateway_drains_and_listen_again() {
    let settings = settings(r#"{"count":3,"interval":"1ms","model":{"constant":{"value":21.45}}}"#);
    let records_max = std::num::NonZeroU32::new(2).unwrap();
    let of_queue = queue::Settings { records_max, ..queue::Settings::default() };
    let (queue, registry) = (Queue::new(of_queue), Arc::new(Registry::new(3, [("T", Some(3))])));
    let metrics = Arc::new(Metrics::default());
    let context = Context {
        entry: 0,
        run: "gw-1".into(),
        registry: Arc::clone(&registry),
        metrics: Arc::clone(&metrics),
        pace: Arc::new(Pace::default()),
        on_full: of_queue.on_full,
        record_bytes_max: 1,
        readings_max: 1,
        folder: None,
        listening: Arc::default(),
    };
    let shared = Shared::new(&settings, "T", 0);
    let mut tasks = Tasks::default();
    for index in 0..3 {
        let sensor = Sensor::new(&shared, index, clock::now().instant);
        tasks.start(sensor.run(&format!("T_{index}"), queue.inlet(), &context));
    }
    let all_wait = async {
        while queue.held() < 2 || metrics.ticks_missed.get() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tasks.run_until(all_wait).await;
    assert_eq!((metrics.received.get(), queue.held()), (2, 2), "what is counted is there");
    assert_eq!(queue.held_bytes(), 2 * 5, "and nothing was claimed beside it");
}

#[test]
fn a_task_that_panics_is_not_taken_for_one_that_has_ended() {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut tasks = Tasks::default();
            tasks.start(async { panic!("as it must not") });
            tasks.run_until(std::future::pending()).await;
        });
    };
    let panic = std::panic::catch_unwind(run).unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"as it must not"));
}
