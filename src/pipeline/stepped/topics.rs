//! The engine stepped with topics that records make.

use super::*;
use crate::spool::faulty_disk::Disk;

/// The output's topics are these.
fn plan(topic: &str, dead_letter_topic: &str) -> Plan {
    let mut plan = small();
    plan.output.window_batches = NonZeroU16::new(20).unwrap();
    plan.queue.records_max = NonZeroU32::new(200).unwrap();
    let settings = serde_json::json!({"topic": topic, "dead_letter_topic": dead_letter_topic});
    plan.output.sink = sink::Kind::Mqtt(serde_json::from_value(settings).unwrap());
    plan
}

const SITES: &str = "plants/{tag.site}/{sensor}";
const LETTERS: &str = "dead/{sensor}/{tag.site}";

impl Bench {
    /// Offers a reading of the sensor whose turn it is, with this tag.
    fn offer_tagged(&mut self, value: u32, site: &str) {
        let mut chunk = Chunk::default();
        let row = self.books.registry.row_left(SENSORS[value as usize % 3], None);
        let text = chunk.put(value.to_string().as_bytes());
        let labels = chunk.put(format!(r#""tags":{{"site":"{site}"}}"#).as_bytes());
        let (timestamp, extra) = (Span::default(), Span::default());
        let body = Body::Reading { value: text, timestamp, labels, extra };
        let record = self.record(&row, body);
        chunk.records.push(record);
        assert!(self.offer_chunk(&mut chunk));
        self.take();
    }

    /// The topic and the values of each batch that came.
    fn told(&self) -> Vec<(String, Vec<String>)> {
        let topics = self.came.iter().map(|it| it.message.topic.to_string());
        topics.zip(self.records()).collect()
    }
}

fn told(expected: &[(&str, &[&str])]) -> Vec<(String, Vec<String>)> {
    let texts = |it: &[&str]| it.iter().copied().map(str::to_owned).collect();
    expected.iter().map(|(topic, values)| ((*topic).to_owned(), texts(values))).collect()
}

#[test]
fn a_reading_goes_to_the_topic_that_it_makes_and_a_sensor_stays_in_order() {
    let mut bench = Bench::start(plan(SITES, LETTERS), None);
    bench.connect(None, usize::MAX);
    for (value, site) in [(0, "n"), (1, "n"), (3, "n"), (6, r#"s/\"1"#), (9, "n"), (4, "")] {
        bench.offer_tagged(value, site);
    }
    bench.later(Duration::from_secs(1));
    let expected: &[(&str, &[&str])] = &[
        ("plants/n/a", &["0", "3"]),
        ("plants/s%2F\"1/a", &["6"]),
        ("plants/n/b", &["1"]),
        ("plants/n/a", &["9"]),
        ("plants/_/b", &["4"]),
    ];
    let mut came = bench.told();
    // Batches of different sensors are in no order.
    came.sort_by_key(|it| it.0.ends_with('b'));
    let mut expected = told(expected);
    expected.sort_by_key(|it| it.0.ends_with('b'));
    assert_eq!(came, expected);
}

#[test]
fn a_reading_whose_topic_would_be_too_long_becomes_a_dead_letter_and_the_others_go_on() {
    let mut bench = Bench::start(plan(SITES, LETTERS), None);
    bench.connect(None, usize::MAX);
    bench.offer_tagged(0, "n");
    bench.offer_tagged(3, &"x".repeat(1020));
    bench.offer_tagged(6, "n");
    bench.later(Duration::from_secs(1));
    let letter = bench.came.iter().find(|it| it.message.topic.as_str() == "dead/a/_").unwrap();
    let letter: serde_json::Value = serde_json::from_slice(&letter.message.payload).unwrap();
    let detail = "its topic would have 1029 bytes, and 1024 are the most";
    assert_eq!((&letter["reason"], &letter["detail"]), (&"format".into(), &detail.into()));
    let batches = bench.told().into_iter().filter(|it| it.0 == "plants/n/a");
    assert_eq!(batches.map(|it| it.1.concat()).collect::<Vec<_>>(), ["06"]);
}

#[test]
fn dead_letters_of_different_topics_are_in_different_batches() {
    let mut bench = Bench::start(plan(SITES, LETTERS), None);
    bench.connect(None, usize::MAX);
    for next in [0, 0, 1, 0] {
        bench.next = next;
        bench.offer(&[None]);
        bench.take();
    }
    bench.later(Duration::from_secs(1));
    let came: Vec<_> = bench
        .came
        .iter()
        .map(|it| (it.message.topic.as_str(), it.message.payload.starts_with(b"[")))
        .collect();
    assert_eq!(came, [("dead/a/_", true), ("dead/b/_", false), ("dead/a/_", false)]);
}

/// The batches that a run with this topic finds on the disk of one that was killed.
fn replayed(before: &str, after: &str) -> (Vec<(String, Vec<String>)>, Option<String>) {
    let disk = Disk::default();
    let mut bench = Bench::on_disk(&disk, plan(before, LETTERS));
    bench.connect(None, usize::MAX);
    bench.disconnect();
    bench.later(AFTER);
    for (value, site) in [(0, "n"), (3, "n"), (6, "s")] {
        bench.offer_tagged(value, site);
        bench.later(AFTER);
    }
    bench.offer(&[None]);
    bench.take();
    (0..3).for_each(|_| bench.later(AFTER));
    assert_eq!(bench.balance().spooled, 4);
    drop(bench);
    let mut bench = Bench::on_disk(&disk, plan(after, LETTERS));
    bench.connect(None, usize::MAX);
    bench.later(AFTER);
    let kept = bench.books.gauges.spool_kept();
    let is_letter = |it: &Publication| it.message.topic.as_str() == "dead/a/_";
    assert_eq!(bench.came.iter().filter(|it| is_letter(it)).count(), 1, "{:?}", bench.told());
    bench.came.retain(|it| !is_letter(it));
    (bench.told(), kept)
}

#[test]
fn what_comes_from_the_spool_goes_to_the_topic_that_it_was_sealed_for() {
    let expected =
        |topics: [&str; 3]| told(&[(topics[0], &["0"]), (topics[1], &["3"]), (topics[2], &["6"])]);
    let made = ["plants/n/a", "plants/n/a", "plants/s/a"];
    assert_eq!(replayed(SITES, SITES), (expected(made), None));
    // As long as these settings may make it.
    assert_eq!(replayed(SITES, "plants/{entry}/{sensor}"), (expected(made), None));
    assert_eq!(replayed(SITES, "all"), (expected(["all"; 3]), None), "one topic takes all");
    assert_eq!(replayed("all", SITES), (expected(["plants/_/_"; 3]), None));
    let (came, kept) = replayed(SITES, "others/{sensor}");
    assert!(came.is_empty() && kept.unwrap().contains("no route \"output:plants/n/a\""));
}
