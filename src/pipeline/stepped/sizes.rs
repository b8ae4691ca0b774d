//! The engine stepped with an output that takes small packets only.

use super::*;
use crate::mqtt::options::Version;

/// A gateway of single records at an output that has said its limit, if it has one.
fn limited(packet_bytes_max: Option<u32>) -> Bench {
    let mut bench = Bench::new(|plan| plan.batch.records_max = NonZeroU32::new(1).unwrap());
    bench.connect(packet_bytes_max, usize::MAX);
    bench
}

impl Bench {
    /// Answers as the sink does: what is too large is refused, and nothing else. The topics of what was
    /// taken.
    fn answer_within(&mut self, bytes_max: usize) -> Vec<Publication> {
        let mut taken = Vec::new();
        while let Some(publication) = self.came.first().cloned() {
            let bytes = publication.message.packet_bytes(Version::V5);
            if bytes > bytes_max {
                let refusal = NotTaken::too_large(bytes, bytes_max).into();
                self.answer(publication.number, Answer::Refused(refusal));
            } else {
                self.answer(publication.number, Answer::Taken);
                taken.push(publication);
            }
        }
        taken
    }
}

fn is_letter(publication: &Publication) -> bool {
    publication.message.topic.as_str() == "gateway/dead-letters"
}

/// Bytes of the packet of the first reading of a bench, alone in its batch.
fn alone() -> u32 {
    let mut bench = limited(None);
    bench.offer(&some(0..1));
    bench.take();
    u32::try_from(bench.came[0].message.packet_bytes(Version::V5)).unwrap()
}

#[test]
fn a_reading_that_fits_a_packet_of_its_own_travels_as_a_reading() {
    let alone = alone();
    for (bytes_max, letter) in [(alone, false), (alone - 1, true)] {
        let mut bench = limited(Some(bytes_max));
        bench.offer(&some(0..1));
        bench.take();
        assert_eq!(bench.came.iter().map(is_letter).collect::<Vec<_>>(), [letter], "{bytes_max}");
        assert_eq!(bench.answer_within(bytes_max as usize).len(), 1);
    }
}

/// Sealed before the limit was known, as those that are in the spool are.
#[test]
fn so_does_one_that_was_sealed_with_others() {
    let mut bench = Bench::new(|plan| plan.batch.records_max = NonZeroU32::new(3).unwrap());
    bench.connect(None, usize::MAX);
    bench.offer(&some(0..3));
    bench.take();
    // Parts have longer ids, and are named twice.
    bench.connect(Some(alone() + 4), usize::MAX);
    assert_eq!(bench.records(), [["0"], ["1"], ["2"]]);
}

/// Whatever the limit is: a letter tells which value it was, or the reading is held and arrives later.
#[test]
fn no_limit_however_small_settles_a_value_that_nothing_tells_of() {
    let digest = "5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9";
    let (mut letters, mut held) = (0, 0);
    for bytes_max in 20..alone() {
        let mut bench = limited(Some(bytes_max));
        bench.offer(&[Some(0)]);
        bench.take();
        bench.later(Duration::from_secs(20));
        let taken = bench.answer_within(bytes_max as usize);
        let balance = bench.balance();
        if taken.is_empty() {
            assert_eq!((balance.held, balance.dead_lettered), (1, 0), "{bytes_max}");
            bench.connect(None, usize::MAX);
            assert_eq!(
                bench.answer_within(usize::MAX).iter().filter(|it| is_letter(it)).count(),
                0
            );
            assert_eq!(bench.balance().delivered, 1, "{bytes_max}");
            held += 1;
            continue;
        }
        assert_eq!((taken.len(), balance.dead_lettered), (1, 1), "{bytes_max}");
        let letter: serde_json::Value = serde_json::from_slice(&taken[0].message.payload).unwrap();
        assert_eq!((&letter["reason"], &letter["sensorId"]), (&"oversize".into(), &"a".into()));
        let whole = letter["payload"] == "0";
        assert!(whole || (letter["sha256"] == digest && letter["bytes"] == 1), "{letter}");
        letters += 1;
    }
    assert!(letters > 50 && held > 50, "{letters} {held}");
}

/// It was sealed as a batch, or is a dead letter already, when the limit came.
#[test]
fn what_was_sealed_before_keeps_length_and_digest_or_is_held_too() {
    for bytes_max in (20..900).step_by(7) {
        let mut bench = limited(None);
        bench.offer(&[Some(0), None]);
        bench.offer_large(2, 3000);
        for _ in 0..4 {
            bench.take();
        }
        assert_eq!(bench.came.len(), 3);
        bench.connect(Some(bytes_max), usize::MAX);
        let mut taken = bench.answer_within(bytes_max as usize);
        bench.later(Duration::from_secs(20));
        taken.extend(bench.answer_within(bytes_max as usize));
        for publication in taken.iter().filter(|it| is_letter(it)) {
            let letter: serde_json::Value =
                serde_json::from_slice(&publication.message.payload).unwrap();
            let whole = letter["reason"] == "malformed" && letter["payload"] == "{";
            assert!(whole || letter["sha256"].is_string(), "{bytes_max}: {letter}");
        }
        bench.connect(None, usize::MAX);
        bench.answer_within(usize::MAX);
        let balance = bench.balance();
        assert_eq!(
            (balance.held, balance.delivered + balance.dead_lettered),
            (0, 3),
            "{bytes_max}"
        );
    }
}

/// And it is as it was where nothing is compressed.
#[test]
fn a_reading_that_fits_compressed_is_published_and_no_dead_letter() {
    for (compression, letters) in [("zstd", 0), ("gzip", 0), ("none", 1)] {
        let mut bench = Bench::new(|plan| {
            let settings = format!(r#"{{"compression":"{compression}"}}"#);
            plan.output.sink = sink::Kind::Mqtt(serde_json::from_str(&settings).unwrap());
        });
        bench.connect(Some(2000), usize::MAX);
        bench.offer_large(0, 5000);
        bench.take();
        bench.later(Duration::from_secs(1));
        let taken = bench.answer_within(2000);
        assert_eq!(taken.iter().filter(|it| is_letter(it)).count(), letters, "{compression}");
        assert_eq!((taken.len(), bench.balance().held), (1, 0));
    }
}
