//! Readings that became dead letters.

use super::*;

/// A dead letter of sensor "a", with this payload.
fn letter(payload: &str) -> String {
    let payload = serde_json::to_string(payload).unwrap();
    format!(r#"{{"reason":"malformed","sensorId":"a","payload":{payload}}}"#)
}

/// Takes dead letters of 7 to 9, the last one twice, as after a lost connection.
fn take_letters(audit: &mut Audit) {
    for number in [7, 8, 9, 9] {
        let text = letter(&format!(r#"{{"value":oops,"number":{number}}}"#));
        audit.take_letter(&publish(text.as_bytes(), &[]));
    }
}

/// All readings of three sensors, except these of "a".
fn without(numbers: &[u64]) -> Stream {
    let mut stream = Stream::new(Format::Json, true);
    for (_, readings) in &mut stream.batches {
        readings.retain(|it| it.0 != 0 || !numbers.contains(&it.1));
    }
    stream
}

#[test]
fn a_reading_that_became_a_dead_letter_is_not_lost() {
    let stream = without(&[7, 8, 9, 20]);
    let mut after = stream.audit();
    take_letters(&mut after);
    let mut before = Stream { batches: Vec::new(), ..stream.clone() }.audit();
    take_letters(&mut before);
    for (id, readings) in &stream.batches {
        let payload = stream.payload(id, readings);
        before.take_batch(&publish(&payload, &stream.properties(id)), AT);
    }
    for audit in [before, after] {
        for expectation in [report(READINGS), Expectation::Unknown] {
            let verdict = judge(&audit, "number", &expectation, EARLY);
            assert_eq!((verdict.dead_lettered, found(&verdict)), (3, [1, 0, 0, 0, 0, 0]));
            assert_eq!(verdict.verdict, Judgement::Faulty);
            let worst = &verdict.worst[0];
            assert_eq!((worst.missing, worst.dead_lettered), (1, 3));
            assert_eq!(worst.gaps, [(20, 20)]);
            assert_eq!((verdict.sensors, verdict.dead_letters["malformed"]), (3, 4));
        }
    }
}

#[test]
fn a_dead_letter_without_a_number_leaves_it_open_which_reading_it_was() {
    let stream = without(&[7, 8]);
    for (letters, outcome, lost, dead) in [
        (1, Judgement::Faulty, 1, 1),
        (2, Judgement::Inconclusive, 0, 2),
        (9, Judgement::Inconclusive, 0, 2),
    ] {
        for member in ["number", "none: the sequence stands in"] {
            let mut audit = Audit::new(Rules {
                member: member.into(),
                format: Format::Json,
                sensors_max: 100,
                late_ms: None,
                batch_bytes_max: 1 << 20,
            });
            for (id, readings) in &stream.batches {
                audit.take_batch(&publish(&stream.payload(id, readings), &[]), AT);
            }
            for _ in 0..letters {
                audit.take_letter(&publish(letter("oops").as_bytes(), &[]));
            }
            let verdict = judge(&audit, member, &report(READINGS), EARLY);
            assert_eq!((verdict.verdict, verdict.lost), (outcome, Some(lost)), "{letters}");
            assert_eq!(verdict.dead_lettered, dead);
            assert!(verdict.notes[0].contains("show no number"), "{:?}", verdict.notes);
        }
    }
    // If no number is missing, they stand for no reading of a sensor.
    let mut audit = Stream::new(Format::Json, true).audit();
    audit.take_letter(&publish(letter("oops").as_bytes(), &[]));
    let verdict = judge(&audit, "number", &report(READINGS), EARLY);
    assert_eq!((verdict.verdict, verdict.dead_lettered), (Judgement::Clean, 0));
}

/// The second entry's reading 2 became a dead letter, and the first one's reading 2 is missing.
#[test]
fn a_letter_that_names_its_entry_is_of_that_entrys_sensor() {
    let record = |entry: &str, n: u64| {
        format!(r#"{{"sensorId":"a","value":{{"number":{n}}},"timestamp":0,"entry":"{entry}"}}"#)
    };
    let dead = letter(r#"{"value":oops,"number":2}"#);
    for (dead, gaps) in [
        (dead.replace("payload", r#"entry":"more","payload"#), vec![("a", vec![(2, 2)])]),
        // An older gateway's is of the first.
        (dead, vec![("a (more)", vec![(2, 2)])]),
    ] {
        let mut audit = Audit::new(Stream::rules());
        for n in [1, 3] {
            let payload = format!("[{},{}]", record("fleet", n), record("more", n));
            audit.take_batch(&publish(payload.as_bytes(), &[]), AT);
        }
        audit.take_letter(&publish(dead.as_bytes(), &[]));
        let verdict = judge(&audit, "number", &Expectation::Unknown, EARLY);
        let found = verdict.worst.into_iter().map(|it| (it.sensor, it.gaps));
        let gaps: Vec<_> = gaps.into_iter().map(|(id, gaps)| (id.to_owned(), gaps)).collect();
        assert_eq!(found.collect::<Vec<_>>(), gaps, "{dead}");
    }
}

#[test]
fn letters_of_many_sensors_under_the_name_of_their_entry_are_no_gaps() {
    for expectation in [report(READINGS), Expectation::Unknown] {
        let mut audit = Stream::new(Format::Json, true).audit();
        for number in [5, 9] {
            let text = letter(&format!(r#"{{"number":{number},oops"#));
            let text = text.replace(r#""sensorId":"a""#, r#""sensorId":"fleet""#);
            audit.take_letter(&publish(text.as_bytes(), &[]));
        }
        let verdict = judge(&audit, "number", &expectation, EARLY);
        assert_eq!((verdict.verdict, found(&verdict)), (Judgement::Clean, [0; 6]));
        assert_eq!((verdict.sensors, verdict.dead_lettered), (3, 2));
        assert_eq!(verdict.notes, [""; 0]);
    }
}
