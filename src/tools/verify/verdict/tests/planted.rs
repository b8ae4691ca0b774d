//! Faults that a simulation planted are told from the gateway's.

use super::*;

/// The report of a simulation that planted these in sensor "a".
fn planted(planted: Planted) -> Expectation {
    let Expectation::Report(mut report) = report(READINGS) else { unreachable!() };
    report.sensors.get_mut("a").unwrap().planted = planted;
    Expectation::Report(report)
}

/// All readings, and these numbers of "a" once more.
fn twice(numbers: &[u64]) -> Stream {
    let mut stream = Stream::new(Format::Json, true);
    let again = numbers.iter().map(|number| (0, *number)).collect();
    stream.batches.push(("gw-1-again".into(), again));
    stream
}

#[test]
fn as_many_repeats_as_were_planted_are_expected_and_no_more_and_no_fewer() {
    let copies = planted(Planted { duplicate: 3, ..Planted::default() });
    for (numbers, lost, duplicated) in
        [(&[5, 6, 7][..], 0, 0), (&[5, 6, 7, 8], 0, 1), (&[5, 6], 1, 0), (&[5, 5, 5], 0, 0)]
    {
        let verdict = judge(&twice(numbers).audit(), "number", &copies, EARLY);
        assert_eq!(found(&verdict), [lost, duplicated, 0, 0, 0, 0], "{numbers:?}");
        let clean = lost + duplicated == 0;
        assert_eq!(verdict.verdict == Judgement::Clean, clean, "{numbers:?}");
        assert!(verdict.to_string().contains("duplicate 3"), "{verdict}");
    }
    let verdict = judge(&twice(&[5, 6, 7]).audit(), "number", &report(READINGS), EARLY);
    assert_eq!(found(&verdict), [0, 3, 0, 0, 0, 0], "nothing was planted");
}

#[test]
fn a_planted_payload_without_a_number_needs_no_guess() {
    let missing = [7, 8];
    let mut stream = Stream::new(Format::Json, true);
    for (_, readings) in &mut stream.batches {
        readings.retain(|it| it.0 != 0 || !missing.contains(&it.1));
    }
    let mut audit = stream.audit();
    for _ in missing {
        let letter = br#"{"reason":"malformed","sensorId":"a","payload":"?"}"#;
        audit.take_letter(&publish(letter, &[]));
    }
    for (malformed, judgement) in [(2, Judgement::Clean), (1, Judgement::Inconclusive)] {
        let report = planted(Planted { malformed, ..Planted::default() });
        let verdict = judge(&audit, "number", &report, EARLY);
        assert_eq!(verdict.verdict, judgement, "{malformed}: {verdict}");
        assert_eq!((verdict.dead_lettered, verdict.lost), (2, Some(0)));
    }
}

#[test]
fn a_planted_payload_that_came_as_a_reading_is_told() {
    let report = planted(Planted { malformed: 2, ..Planted::default() });
    let verdict = judge(&Stream::new(Format::Json, true).audit(), "number", &report, EARLY);
    assert!(verdict.notes[0].starts_with("2 payloads"), "{:?}", verdict.notes);
}

#[test]
fn times_that_were_planted_too_early_are_of_this_simulation() {
    let audit = Stream::new(Format::Json, true).audit();
    let mut report = Report::begin(AT, 1);
    for (delayed_ms, notes) in [(0, 1), (100, 0)] {
        report.delayed_ms = delayed_ms;
        let expectation = Expectation::Report(report.clone());
        let told = notes_of(&audit, &expectation);
        assert_eq!(told.iter().filter(|it| it.contains("earlier one")).count(), notes);
    }
}

fn notes_of(audit: &Audit, expectation: &Expectation) -> Vec<String> {
    judge(audit, "number", expectation, EARLY).notes
}
