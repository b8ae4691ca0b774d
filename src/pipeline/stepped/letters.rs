//! Dead letters, stepped: in batches of their own, beside the readings.

use serde_json::Value;

use super::*;
use crate::mqtt::options::Version;
use crate::mqtt::outgoing::Outgoing;

const REFUSED: u8 = 0x87;

fn is_letter(it: &Publication) -> bool {
    it.message.topic.as_str() == "gateway/dead-letters"
}

fn property<'a>(message: &'a Outgoing, name: &str) -> Option<&'a str> {
    message.properties.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
}

/// Each letter's id: its member in an array, the batch's where it travels alone.
fn ids(message: &Outgoing) -> Vec<String> {
    match serde_json::from_slice(&message.payload).unwrap() {
        Value::Array(all) => all.iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect(),
        alone => {
            assert!(alone.get("id").is_none());
            vec![property(message, "batch").unwrap().to_owned()]
        }
    }
}

impl Bench {
    pub(super) fn letters(&self) -> Vec<Publication> {
        self.came.iter().filter(|it| is_letter(it)).cloned().collect()
    }

    /// Answers everything that has come: batches are taken, letters refused.
    fn refuse_letters(&mut self) -> usize {
        let mut batches = 0;
        while let Some(first) = self.came.first().cloned() {
            let refusal = refusal(REFUSED);
            batches += usize::from(!is_letter(&first));
            self.answer(first.number, if is_letter(&first) { refusal } else { Answer::Taken });
        }
        batches
    }
}

#[test]
fn one_letter_is_an_object_and_several_are_an_array_with_their_ids() {
    let mut bench = Bench::connected(|_| {});
    bench.offer(&[None; 4]);
    bench.take();
    bench.take();
    bench.later(Duration::from_secs(1));
    let letters = bench.letters();
    let counts: Vec<_> = letters.iter().map(|it| property(&it.message, "count")).collect();
    assert_eq!(counts, [Some("3"), Some("1")], "batch.records_max is 3");
    let all: Value = serde_json::from_slice(&letters[0].message.payload).unwrap();
    let alone: Value = serde_json::from_slice(&letters[1].message.payload).unwrap();
    assert_eq!((all.as_array().unwrap().len(), &alone["payload"]), (3, &"{".into()));
    let batch = property(&letters[0].message, "batch").unwrap();
    let expected: Vec<_> = (1..4).map(|n| format!("{batch}/{n}")).collect();
    assert_eq!(ids(&letters[0].message), expected);
    bench.disconnect();
    bench.connect(None, usize::MAX);
    let again: Vec<_> = bench.letters().iter().map(|it| it.message.payload.clone()).collect();
    assert_eq!(again, letters.iter().map(|it| it.message.payload.clone()).collect::<Vec<_>>());
    for it in &letters {
        bench.answer(it.number, Answer::Taken);
    }
    assert_eq!((bench.balance().dead_lettered, bench.balance().held), (4, 0));
}

#[test]
fn letters_that_are_too_many_for_a_packet_are_split_and_keep_their_ids() {
    let mut bench = Bench::connected(|_| {});
    bench.offer(&[None; 3]);
    bench.take();
    let whole = bench.letters().swap_remove(0);
    let mut expected = ids(&whole.message);
    bench.answer(whole.number, refusal(0x95));
    let parts = bench.letters();
    assert_eq!(parts.iter().flat_map(|it| ids(&it.message)).collect::<Vec<_>>(), expected);
    let counts: Vec<_> = parts.iter().map(|it| property(&it.message, "count").unwrap()).collect();
    assert_eq!(counts, ["1", "2"]);
    bench.answer(parts[0].number, Answer::Taken);
    bench.answer(parts[1].number, refusal(0x95));
    expected.remove(0);
    let rest = bench.letters();
    assert_eq!(rest.iter().flat_map(|it| ids(&it.message)).collect::<Vec<_>>(), expected);
    // One that is too large even alone goes without its payload.
    bench.answer(rest[0].number, refusal(0x95));
    assert!(!String::from_utf8_lossy(&bench.letters()[1].message.payload).contains("payload"));
    while let Some(first) = bench.came.first() {
        bench.answer(first.number, Answer::Taken);
    }
    assert_eq!((bench.balance().dead_lettered, bench.balance().held), (3, 0));
}

/// A connection that takes small packets only.
#[test]
fn letters_fit_the_brokers_packets_also_on_a_later_connection() {
    let mut bench = Bench::connected(|plan| plan.batch.records_max = NonZeroU32::new(9).unwrap());
    bench.offer(&[None; 9]);
    bench.take();
    let expected = ids(&bench.letters()[0].message);
    bench.disconnect();
    bench.connect(Some(1200), usize::MAX);
    bench.offer(&[None; 9]);
    bench.take();
    bench.later(Duration::from_secs(1));
    let parts = bench.letters();
    assert!(parts.iter().all(|it| it.message.packet_bytes(Version::V5) <= 1200), "{parts:?}");
    let came: Vec<_> = parts.iter().flat_map(|it| ids(&it.message)).collect();
    assert_eq!((&came[..9], came.len()), (&expected[..], 18));
}

#[test]
fn a_flood_of_letters_is_in_front_of_a_reading_by_no_batch() {
    let mut bench = Bench::connected(|plan| {
        plan.queue.records_max = NonZeroU32::new(2000).unwrap();
    });
    bench.offer(&[None; 1000]);
    bench.offer(&some(0..3));
    for _ in 0..1000 {
        bench.take();
    }
    assert_eq!(bench.letters().len(), 64, "as many as may be in flight");
    assert!(bench.records().contains(&texts(0..3)), "nothing was answered yet");
    while let Some(first) = bench.came.first() {
        bench.answer(first.number, Answer::Taken);
        bench.later(Duration::from_millis(10));
    }
    let balance = bench.balance();
    assert_eq!((balance.delivered, balance.dead_lettered, balance.held), (3, 1000, 0));
}

/// The topic is forbidden, and there is no spool: more publications than a span allows, and more batches
/// of letters than may be in flight.
#[test]
fn letters_that_are_refused_for_good_hold_back_no_reading() {
    let mut bench = Bench::connected(|plan| {
        plan.queue.records_max = NonZeroU32::new(500).unwrap();
    });
    bench.offer(&some(0..3));
    bench.take();
    bench.answer(bench.came[0].number, Answer::Taken);
    let mut delivered = 1;
    for round in 1..=150 {
        bench.offer(&[None]);
        bench.offer(&some(round * 3..round * 3 + 3));
        bench.take();
        bench.take();
        delivered += bench.refuse_letters();
        bench.later(Duration::from_millis(200));
    }
    assert_eq!(delivered, 151, "every batch of readings");
    let balance = bench.balance();
    assert_eq!((balance.delivered, balance.dead_lettered, balance.held), (453, 0, 150));
    let refusal = bench.books.gauges.refusal().unwrap();
    assert_eq!(refusal.topic, "gateway/dead-letters");
    // It is allowed after all.
    for _ in 0..300 {
        while let Some(first) = bench.came.first() {
            bench.answer(first.number, Answer::Taken);
        }
        bench.later(Duration::from_secs(6));
    }
    let balance = bench.balance();
    assert_eq!((balance.dead_lettered, balance.held), (150, 0));
    assert_eq!(bench.books.gauges.refusal(), None);
}

#[test]
fn letters_keep_their_ids_through_the_spool() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::on_folder(&folder, small());
    bench.connect(None, usize::MAX);
    bench.offer(&[None; 3]);
    bench.take();
    let expected = ids(&bench.letters()[0].message);
    bench.disconnect();
    bench.later(AFTER);
    assert_eq!(bench.balance().spooled, 3);
    drop(bench);
    let mut bench = Bench::on_folder(&folder, small());
    bench.connect(None, usize::MAX);
    let letters = bench.letters();
    assert_eq!(ids(&letters[0].message), expected);
    bench.answer(letters[0].number, Answer::Taken);
    assert_eq!((bench.balance().dead_lettered, bench.balance().held), (3, 0));
}
