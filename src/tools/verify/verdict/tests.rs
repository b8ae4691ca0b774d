//! Streams with planted faults: the verdict finds each fault and no other.

use super::*;
use crate::codec::{Format, Head, samples};
use crate::mqtt::publish::Publish;
use crate::tools::verify::audit::Rules;
use proptest::prelude::*;
use std::fmt::Write as _;

mod letters;
mod planted;

/// Batches of readings of sensors "a", "b" …, into which a test puts faults.
#[derive(Clone)]
struct Stream {
    /// Batch id, and its readings: sensor, number (0: none).
    batches: Vec<(String, Vec<(usize, u64)>)>,
    format: Format,
    named: bool,
}

const SENSORS: usize = 3;
const READINGS: u64 = 40;

impl Stream {
    fn new(format: Format, named: bool) -> Self {
        let all: Vec<_> = (1..=READINGS).flat_map(|n| (0..SENSORS).map(move |s| (s, n))).collect();
        let chunks = all.chunks(10).enumerate();
        let batches = chunks.map(|(at, it)| (format!("gw-1-{at}"), it.to_vec())).collect();
        Self { batches, format, named }
    }

    fn rules() -> Rules {
        Rules {
            member: "number".into(),
            format: Format::Json,
            sensors_max: 100,
            late_ms: Some(50),
            batch_bytes_max: 1 << 20,
        }
    }

    fn audit(&self) -> Audit {
        let mut audit = Audit::new(Self::rules());
        for (id, readings) in &self.batches {
            audit.take_batch(&publish(&self.payload(id, readings), &self.properties(id)), AT);
        }
        audit
    }

    fn properties(&self, id: &str) -> Vec<u8> {
        let mut properties = b"\x26\x00\x05batch".to_vec();
        properties.extend_from_slice(&u16::try_from(id.len()).unwrap().to_be_bytes());
        properties.extend_from_slice(id.as_bytes());
        if self.named { properties } else { Vec::new() }
    }

    fn payload(&self, id: &str, readings: &[(usize, u64)]) -> Vec<u8> {
        let records = readings.iter().map(|(sensor, number)| self.record(*sensor, *number));
        let text = records.collect::<Vec<_>>().join(self.format.separator());
        let head = Head { gateway: "gw", batch: id, sealed_at: AT, count: readings.len() };
        self.format.batch(&head, &text, Vec::new()).1
    }

    fn record(&self, sensor: usize, number: u64) -> Vec<u8> {
        let (name, mut text) = (char::from(b"abc"[sensor]), String::new());
        if !self.format.is_json() {
            // The number is in the value.
            let member = if number > 0 { "number" } else { "other" };
            let value = format!(r#"{{"{member}":{number}}}"#);
            return samples::record(self.format, &format!("\"{name}\""), &value);
        }
        write!(text, r#"{{"sensorId":"{name}","sequence":{number},"value":1"#).unwrap();
        text.push_str(r#","timestamp":"2025-11-22T07:30:50.601Z""#);
        if number > 0 {
            write!(text, r#","extra":{{"number":{number}}}"#).unwrap();
        }
        text.push('}');
        text.into_bytes()
    }

    fn judge(&self) -> Verdict {
        judge(&self.audit(), "number", &report(READINGS), EARLY)
    }
}

/// A hundred milliseconds after the readings.
const AT: Timestamp = Timestamp::from_millis(1_763_796_650_701);
/// When the readings were taken.
const TAKEN: Timestamp = Timestamp::from_millis(1_763_796_650_601);
const EARLY: Hearing = Hearing {
    since: Some(Timestamp::from_millis(1)),
    losses: 0,
    doubts: Vec::new(),
    half: None,
    notes: Vec::new(),
};

fn report(acknowledged: u64) -> Expectation {
    let mut report = Report::begin(TAKEN, 1);
    let tally = Counts { sent: acknowledged, acknowledged, ..Counts::default() };
    for name in ["a", "b", "c"] {
        report.sensors.insert(name.into(), tally);
    }
    report.ended = Some(AT.to_string());
    Expectation::Report(report)
}

fn publish<'a>(payload: &'a [u8], properties: &'a [u8]) -> Publish<'a> {
    Publish {
        dup: false,
        qos: 1,
        retain: false,
        topic: b"t",
        packet_id: 1,
        properties,
        payload,
        cut: None,
    }
}

/// All ways in which a batch can carry its id: formats, and MQTT 5 or 3.1.1.
fn streams() -> impl Iterator<Item = Stream> {
    let named = |named| move |format: &Format| Stream::new(*format, named);
    Format::ALL.iter().map(named(true)).chain(Format::ALL.iter().map(named(false)))
}

/// Lost, duplicated, reordered, unnumbered, unreadable, repeated batches.
fn found(verdict: &Verdict) -> [u64; 6] {
    let Verdict { duplicated, reordered, unnumbered, unreadable, repeated_batches, .. } = verdict;
    let lost = verdict.lost.unwrap();
    [lost, *duplicated, *reordered, *unnumbered, *unreadable, *repeated_batches]
}

#[test]
fn a_whole_stream_is_clean() {
    for stream in streams() {
        let verdict = stream.judge();
        assert_eq!((verdict.verdict, found(&verdict)), (Judgement::Clean, [0; 6]));
        assert_eq!((verdict.records, verdict.sensors, verdict.expected), (120, 3, Some(120)));
        assert_eq!(verdict.notes, [""; 0]);
        assert_eq!((verdict.late, verdict.latency_ms.unwrap().max), (120, 100));
    }
}

#[test]
fn each_planted_fault_is_found_and_nothing_else() {
    for stream in streams() {
        let mut lost = stream.clone();
        lost.batches[4].1.remove(3);
        lost.batches[11].1.pop();
        assert_eq!(found(&lost.judge()), [2, 0, 0, 0, 0, 0]);

        let mut lost_batch = stream.clone();
        lost_batch.batches.remove(0);
        assert_eq!(found(&lost_batch.judge()), [10, 0, 0, 0, 0, 0]);

        let mut duplicated = stream.clone();
        let again = duplicated.batches[2].1[5];
        duplicated.batches[7].1.push(again);
        assert_eq!(found(&duplicated.judge()), [0, 1, 0, 0, 0, 0]);

        let mut reordered = stream.clone();
        reordered.batches[3].1.swap(2, 5);
        assert_eq!(reordered.batches[3].1[2].0, reordered.batches[3].1[5].0, "one sensor's");
        assert_eq!(found(&reordered.judge()), [0, 0, 1, 0, 0, 0]);

        let mut late_batch = stream.clone();
        late_batch.batches.swap(5, 6);
        assert_eq!(found(&late_batch.judge()), [0, 0, 10, 0, 0, 0]);

        let mut repeated = stream.clone();
        let again = repeated.batches[5].clone();
        repeated.batches.insert(8, again.clone());
        repeated.batches.push(again);
        let verdict = repeated.judge();
        assert_eq!((verdict.verdict, found(&verdict)), (Judgement::Clean, [0, 0, 0, 0, 0, 2]));

        let mut unnumbered = stream.clone();
        unnumbered.batches[1].1.push((0, 0));
        assert_eq!(found(&unnumbered.judge()), [0, 0, 0, 1, 0, 0]);
        for faulty in [lost, lost_batch, duplicated, reordered, late_batch, unnumbered] {
            assert_eq!(faulty.judge().verdict, Judgement::Faulty);
        }
    }
}

#[test]
fn what_is_no_batch_is_unreadable_and_dead_letters_are_counted_by_reason() {
    let mut audit = Stream::new(Format::Json, true).audit();
    for payload in [&b"hello"[..], b"{}", b""] {
        audit.take_batch(&publish(payload, &[]), AT);
    }
    let cut = crate::mqtt::publish::Cut { bytes: 9, sha256: [0; 32] };
    audit.take_batch(&Publish { cut: Some(cut), ..publish(b"[{}]", &[]) }, AT);
    audit.take_batch(&Publish { retain: true, ..publish(b"old", &[]) }, AT);
    for payload in [r#"{"reason":"malformed"}"#, r#"{"reason":"oversize"}"#, "?", "?"] {
        audit.take_letter(&publish(payload.as_bytes(), &[]));
    }
    (0..100).for_each(|n| {
        audit.take_letter(&publish(format!(r#"{{"reason":"r{n}"}}"#).as_bytes(), &[]));
    });
    let verdict = judge(&audit, "number", &report(READINGS), EARLY);
    assert_eq!(found(&verdict), [0, 0, 0, 0, 4, 0]);
    assert_eq!(verdict.verdict, Judgement::Faulty);
    assert_eq!(verdict.dead_letters["(unreadable)"], 2);
    assert_eq!((verdict.dead_letters.len(), verdict.dead_letters["(others)"]), (65, 39));
}

#[test]
fn without_an_expectation_gaps_count_and_what_came_before_does_not() {
    let mut stream = Stream::new(Format::Json, true);
    stream.batches.remove(5);
    stream.batches.remove(0);
    let audit = stream.audit();
    let verdict = judge(&audit, "number", &Expectation::Unknown, EARLY);
    assert_eq!(found(&verdict), [10, 0, 0, 0, 0, 0]);
    assert_eq!(verdict.expected, None);
    assert!(verdict.notes[0].contains("3 sensors begin above 1"), "{:?}", verdict.notes);
    let gaps: u64 = verdict.worst.iter().map(|it| it.missing).sum();
    assert_eq!((gaps, &verdict.worst[0].gaps[..]), (10, &[(17, 20)][..]));
}

#[test]
fn the_sequence_stands_in_until_the_first_number() {
    let mut stream = Stream::new(Format::Json, true);
    let unnumbered = |stream: &Stream| {
        let mut audit = Audit::new(Rules {
            member: "n".into(),
            format: Format::Json,
            sensors_max: 100,
            late_ms: None,
            batch_bytes_max: 1 << 20,
        });
        for (id, readings) in &stream.batches {
            audit.take_batch(&publish(&stream.payload(id, readings), &[]), AT);
        }
        judge(&audit, "n", &Expectation::Unknown, EARLY)
    };
    let verdict = unnumbered(&stream);
    assert_eq!((verdict.verdict, &*verdict.numbers), (Judgement::Clean, "sequence"));
    assert!(verdict.notes[0].contains("sequence was used"));
    stream.batches.remove(3);
    assert_eq!(found(&unnumbered(&stream)), [10, 0, 0, 0, 0, 0]);
    // Ten records by sequence, then one with a number.
    let mut audit = Audit::new(Rules {
        member: "number".into(),
        format: Format::Json,
        sensors_max: 100,
        late_ms: None,
        batch_bytes_max: 1 << 20,
    });
    let bare = br#"[{"sensorId":"a","sequence":1,"value":1},{"sensorId":"a","sequence":2}]"#;
    audit.take_batch(&publish(bare, &[]), AT);
    audit.take_batch(&publish(br#"[{"sensorId":"a","value":{"number":1}}]"#, &[]), AT);
    let verdict = judge(&audit, "number", &Expectation::Unknown, EARLY);
    assert_eq!((found(&verdict), &*verdict.numbers), ([0, 0, 0, 2, 0, 0], "number"));
    assert_eq!(verdict.untimed, 3);
}

/// A sensor for which the gateway had no row.
/// Each counts from 1.
#[test]
fn the_same_id_at_two_entries_is_judged_as_two_sensors() {
    let record = |entry: &str, n: u64| {
        format!(r#"{{"sensorId":"a","sequence":{n},"value":1,"timestamp":0,"entry":"{entry}"}}"#)
    };
    let mut audit = Audit::new(Stream::rules());
    for (batch, n) in (1..=3).enumerate() {
        let payload = format!("[{},{}]", record("fleet", n), record("more", n));
        audit.take_batch(&publish(payload.as_bytes(), &[]), AT);
        assert_eq!(audit.batches, batch as u64 + 1);
    }
    let (of, more) = (&audit.sensors["a"], &audit.sensors["a (more)"]);
    for sensor in [of, more] {
        assert_eq!((sensor.records, sensor.duplicated, sensor.reordered), (3, 0, 0));
    }
    assert_eq!(audit.sensors.len(), 2);
}

#[test]
fn a_record_without_number_and_sequence_is_a_doubt_and_no_fault() {
    let stream = Stream::new(Format::Json, true);
    let mut audit = Audit::new(Rules {
        member: "number".into(),
        format: Format::Json,
        sensors_max: 9,
        late_ms: None,
        batch_bytes_max: 1 << 20,
    });
    let take = |audit: &mut Audit, id: &str, more: &str| {
        let record = format!(r#"[{{"sensorId":"a","value":1{more},"timestamp":1763796650601}}]"#);
        audit.take_batch(&publish(record.as_bytes(), &stream.properties(id)), AT);
    };
    take(&mut audit, "1", r#","sequence":1"#);
    take(&mut audit, "2", "");
    let verdict = judge(&audit, "number", &Expectation::Unknown, EARLY);
    assert_eq!((verdict.verdict, verdict.unjudged), (Judgement::Inconclusive, 1));
    assert!(verdict.notes.iter().any(|it| it.contains("gateway.sensors_max")), "{verdict:?}");
    take(&mut audit, "3", r#","sequence":"x""#);
    assert_eq!((audit.unnumbered, audit.unsequenced), (1, 1), "a sequence that is none");
    take(&mut audit, "4", r#","extra":{"number":1}"#);
    assert_eq!((audit.unnumbered, audit.unsequenced), (3, 0), "others have numbers");
}

#[test]
fn what_may_not_have_been_heard_is_not_called_lost() {
    let mut stream = Stream::new(Format::Json, true);
    let whole = stream.audit();
    stream.batches.remove(5);
    let holed = stream.audit();
    let nothing = Audit::new(Rules {
        member: "number".into(),
        format: Format::Json,
        sensors_max: 1,
        late_ms: None,
        batch_bytes_max: 1 << 20,
    });
    let deaf = || Hearing { losses: 1, ..EARLY };
    let late = || Hearing { since: Some(Timestamp::from_millis(u64::MAX)), ..EARLY };
    let open = || {
        let Expectation::Report(mut report) = report(READINGS) else { panic!("it is one") };
        report.ended = None;
        Expectation::Report(report)
    };
    let unreadable = || Expectation::Unreadable("cannot read the report".into());
    for (audit, expectation, hearing, word) in [
        (&holed, report(READINGS), deaf(), "connection was lost 1 times"),
        (&whole, report(READINGS), deaf(), "connection was lost"),
        (&holed, Expectation::Unknown, deaf(), "connection was lost"),
        (&holed, report(READINGS), late(), "start it first"),
        (&holed, open(), EARLY, "had not ended"),
        (&whole, unreadable(), EARLY, "cannot read the report"),
        (&nothing, report(READINGS), EARLY, "nothing came"),
        (&nothing, Expectation::Unknown, EARLY, "nothing came"),
    ] {
        let verdict = judge(audit, "number", &expectation, hearing);
        assert_eq!((verdict.verdict, verdict.lost), (Judgement::Inconclusive, None), "{word}");
        assert!(verdict.notes[0].contains(word), "{word}: {:?}", verdict.notes);
        assert!(!verdict.to_string().contains("lost  "), "{verdict}");
    }
    for (expectation, hearing) in [(report(READINGS), late()), (open(), EARLY)] {
        let verdict = judge(&whole, "number", &expectation, hearing);
        assert_eq!(verdict.verdict, Judgement::Clean, "nothing is missing");
    }
    // What has arrived counts, whatever the verifier missed.
    let again = stream.batches[2].1[5];
    stream.batches[7].1.push(again);
    let verdict = judge(&stream.audit(), "number", &report(READINGS), deaf());
    assert_eq!((verdict.verdict, verdict.lost, verdict.duplicated), (Judgement::Faulty, None, 1));
}

#[test]
fn sensors_beyond_the_bound_are_not_judged_and_it_shows() {
    let stream = Stream::new(Format::Json, true);
    let rules = Rules {
        member: "number".into(),
        format: Format::Json,
        sensors_max: 2,
        late_ms: None,
        batch_bytes_max: 1 << 20,
    };
    let mut audit = Audit::new(rules);
    for (id, readings) in &stream.batches {
        audit.take_batch(&publish(&stream.payload(id, readings), &[]), AT);
    }
    let verdict = judge(&audit, "number", &Expectation::Unknown, EARLY);
    assert_eq!((verdict.sensors, verdict.unjudged), (2, 40));
    assert_eq!((verdict.verdict, verdict.lost), (Judgement::Inconclusive, None));
}

#[test]
fn readings_of_an_earlier_simulation_are_pointed_out() {
    let stream = Stream::new(Format::Json, true);
    let Expectation::Report(mut report) = report(READINGS) else { panic!("it is one") };
    report.started = Some(AT.to_string());
    let verdict = judge(&stream.audit(), "number", &Expectation::Report(report), EARLY);
    assert_eq!(verdict.verdict, Judgement::Clean);
    assert!(verdict.notes[0].contains("of an earlier one"), "{:?}", verdict.notes);
}

#[test]
fn refused_readings_need_not_come_and_unacknowledged_ones_may() {
    let stream = Stream::new(Format::Json, true);
    let mut audit = stream.audit();
    let with = |tally| {
        let Expectation::Report(mut report) = report(READINGS) else { panic!("it is one") };
        report.sensors.insert("a".into(), tally);
        Expectation::Report(report)
    };
    // More arrived than was acknowledged: no fault.
    let fewer = Counts { sent: 50, acknowledged: 30, ..Counts::default() };
    assert_eq!(judge(&audit, "number", &with(fewer), EARLY).verdict, Judgement::Clean);
    // 45 sent, 5 refused: 40 must be there.
    let refused = Counts { sent: 45, acknowledged: 40, refused: 5, ..Counts::default() };
    assert_eq!(judge(&audit, "number", &with(refused), EARLY).verdict, Judgement::Clean);
    let more = Counts { sent: 45, acknowledged: 41, refused: 4, ..Counts::default() };
    let verdict = judge(&audit, "number", &with(more), EARLY);
    assert_eq!((verdict.lost, verdict.worst[0].gaps[0]), (Some(1), (41, 45)));
    // A sensor without a report is judged by its gaps.
    audit.take_batch(&publish(br#"[{"sensorId":"x","value":{"number":3}}]"#, &[]), AT);
    let verdict = judge(&audit, "number", &report(READINGS), EARLY);
    assert_eq!(verdict.verdict, Judgement::Clean);
    assert!(verdict.notes[0].contains("1 sensors are not in the report"));
}

#[test]
fn a_verdict_prints_as_a_table_and_as_json() {
    let mut stream = Stream::new(Format::Json, true);
    stream.batches[4].1.remove(3);
    let mut audit = stream.audit();
    audit.take_letter(&publish(br#"{"reason":"malformed"}"#, &[]));
    let verdict = judge(&audit, "number", &report(READINGS), EARLY);
    let table = verdict.to_string();
    for line in [
        "verify: FAULTY",
        "records              119  of 3 sensors, by number",
        "lost                   1",
        "dead-lettered          0",
        "dead letters           1  malformed 1",
        "latency ms    p50 100, p90 100, p99 100, p99.9 100, max 100",
    ] {
        assert!(table.contains(line), "{line:?} is not in\n{table}");
    }
    assert!(table.trim_end().ends_with(" 15"), "the missing number:\n{table}");
    let json = serde_json::to_value(&verdict).unwrap();
    assert_eq!((&json["verdict"], &json["lost"]), (&"faulty".into(), &1.into()));
    assert_eq!(json["worst"][0]["gaps"][0][0], 15);
    assert_eq!(
        (&json["latencyMs"]["p999"], &json["deadLetters"]["malformed"]),
        (&100.into(), &1.into())
    );
}

proptest! {
    /// Random losses and repeats of single readings, compared with a plain count.
    #[test]
    fn losses_and_repeats_are_counted_exactly(
        dropped in prop::collection::btree_set((0..SENSORS, 1..=READINGS), 0..20),
        doubled in prop::collection::btree_set((0..SENSORS, 1..=READINGS), 0..20),
    ) {
        let mut stream = Stream::new(Format::Json, true);
        for (_, readings) in &mut stream.batches {
            readings.retain(|it| !dropped.contains(it));
        }
        stream.batches.retain(|it| !it.1.is_empty());
        let doubled: Vec<_> = doubled.difference(&dropped).copied().collect();
        if !doubled.is_empty() {
            stream.batches.push(("gw-1-again".into(), doubled.clone()));
        }
        let (lost, twice) = (dropped.len() as u64, doubled.len() as u64);
        prop_assert_eq!(found(&stream.judge()), [lost, twice, 0, 0, 0, 0]);
    }
}

/// The names of sensors and reasons come from outside.
#[test]
fn names_that_others_chose_forge_no_line_and_take_no_memory() {
    let mut audit = Stream::new(Format::Json, true).audit();
    let name = "x\nverify: clean\x1b[2J\u{202e}";
    let records: Vec<_> = [1, 1]
        .map(|n| serde_json::json!({ "sensorId": name, "sequence": n, "extra": { "number": n } }))
        .into();
    audit.take_batch(&publish(&serde_json::to_vec(&records).unwrap(), &[]), AT);
    let reason = format!("{name}{}", "x".repeat(1 << 20));
    let letter = serde_json::json!({ "reason": reason });
    audit.take_letter(&publish(&serde_json::to_vec(&letter).unwrap(), &[]));
    assert!(audit.dead_letters.keys().all(|it| it.len() < 512));
    let text = judge(&audit, "number", &report(READINGS), EARLY).to_string();
    assert_eq!(text.lines().filter(|line| line.starts_with("verify: ")).count(), 1, "{text}");
    let unsafe_at = text.replace('\n', "").find(crate::text::is_unsafe);
    assert!(unsafe_at.is_none() && text.contains("x\\nverify"), "{text}");
}
