//! The engine stepped with an output that hangs up on large packets, and has no word for it.

use super::*;
use crate::mqtt::options::Version;

impl Bench {
    /// An output that takes packets of so many bytes, one answer after the other, and hangs up on any
    /// other; until everything is taken, or for so many connections. Returns what was taken, and how many
    /// times it hung up.
    fn hang_up_above(&mut self, bytes_max: usize, connections: usize) -> (Vec<Publication>, usize) {
        let mut taken = Vec::new();
        for hung_up in 0..connections {
            let fits = |it: &&Publication| it.message.packet_bytes(Version::V3) <= bytes_max;
            while let Some(first) = self.came.first().filter(fits).cloned() {
                self.answer(first.number, Answer::Taken);
                taken.push(first);
            }
            if self.came.is_empty() {
                return (taken, hung_up);
            }
            self.hang_up();
            self.connect(None, usize::MAX);
        }
        (taken, connections)
    }
}

fn values(taken: &[Publication]) -> Vec<String> {
    let bench = Bench { came: taken.to_vec(), ..Bench::new(|_| {}) };
    bench.records().into_iter().flatten().collect()
}

/// One that has taken a batch of three small readings.
fn proved(records_max: u32) -> Bench {
    let mut bench = Bench::connected(|plan| {
        plan.batch.records_max = NonZeroU32::new(records_max).unwrap();
        plan.queue.records_max = NonZeroU32::new(200).unwrap();
    });
    bench.offer(&some(0..records_max));
    bench.take();
    let taken = bench.hang_up_above(usize::MAX, 1).0;
    assert_eq!(values(&taken).len(), records_max as usize);
    bench
}

#[test]
fn batches_that_are_hung_up_on_are_halved_until_they_pass_and_the_size_is_remembered() {
    let mut bench = proved(16);
    bench.offer(&some(16..64));
    while bench.worker.want().records && bench.came.len() < 2 {
        bench.take();
    }
    assert_eq!(bench.records().iter().map(Vec::len).collect::<Vec<_>>(), [16, 16]);
    let bytes_max = bench.came[0].message.packet_bytes(Version::V3) / 3;
    let (mut taken, hung_up) = bench.hang_up_above(bytes_max, 100);
    // Twice together; then alone, whole and halved.
    assert!(hung_up <= 6, "{hung_up}");
    bench.take();
    bench.later(Duration::from_secs(5));
    let (more, hung_up) = bench.hang_up_above(bytes_max, 100);
    taken.extend(more);
    assert_eq!(hung_up, 0, "what came later is no larger than what passed");
    assert!(taken.iter().all(|it| it.message.packet_bytes(Version::V3) <= bytes_max));
    assert_eq!(values(&taken), (16..64).map(|it| it.to_string()).collect::<Vec<_>>(), "in order");
    assert_eq!((bench.balance().delivered, bench.balance().held), (64, 0));
    assert_eq!(bench.books.gauges.refusal(), None, "it is over");
}

#[test]
fn one_is_on_its_way_at_a_time_until_it_is_known_which_one_it_is() {
    let mut bench = proved(3);
    bench.offer(&some(3..9));
    bench.take();
    bench.take();
    for _ in 0..2 {
        assert_eq!(bench.came.len(), 2);
        bench.hang_up();
        bench.connect(None, usize::MAX);
    }
    let refusal = bench.books.gauges.refusal().unwrap();
    assert!(
        refusal.topic == "gateway/batches" && refusal.to_string().contains("hangs up"),
        "{refusal:?}"
    );
    assert_eq!(bench.records(), [["3", "4", "5"]]);
    bench.answer(bench.came[0].number, Answer::Taken);
    assert_eq!(bench.records(), [["6", "7", "8"]], "it was not the size");
    bench.offer(&some(9..12));
    bench.take();
    assert_eq!(bench.came.len(), 2, "together again");
}

#[test]
fn another_oldest_one_each_time_is_no_reason_to_make_any_smaller() {
    let mut bench = proved(3);
    for first in (3..30).step_by(3) {
        bench.offer(&some(first..first + 3));
        bench.take();
        assert_eq!(bench.records(), [[first, first + 1, first + 2].map(|it| it.to_string())]);
        bench.hang_up();
        bench.connect(None, usize::MAX);
        bench.answer(bench.came[0].number, Answer::Taken);
    }
    assert_eq!(bench.balance().delivered, 30);
}

/// A reading that passes in no way becomes a dead letter of a size that passes, and the next ones follow.
#[test]
fn a_reading_that_is_hung_up_on_alone_becomes_a_dead_letter_that_passes() {
    let mut bench = proved(3);
    bench.offer_large(7, 6000);
    bench.take();
    bench.later(Duration::from_secs(5));
    bench.offer(&some(10..13));
    bench.take();
    let (taken, hung_up) = bench.hang_up_above(3000, 100);
    let topics: Vec<_> = taken.iter().map(|it| it.message.topic.as_str().to_owned()).collect();
    assert_eq!(topics, ["gateway/dead-letters", "gateway/batches"], "after {hung_up}");
    let letter: serde_json::Value = serde_json::from_slice(&taken[0].message.payload).unwrap();
    assert!(letter["sha256"].is_string() && letter["payload"].is_string(), "{letter}");
    let balance = bench.balance();
    assert_eq!((balance.delivered, balance.dead_lettered, balance.held), (6, 1, 0));
}

/// The broker has said that it is the size, however small it is.
#[test]
fn a_small_reading_that_is_called_too_large_becomes_a_dead_letter() {
    let mut bench = proved(3);
    bench.offer(&[Some(3)]);
    bench.take();
    bench.later(Duration::from_secs(5));
    while bench.came.first().is_some_and(|it| !is_letter(it)) {
        bench.end_over(sink::Why::TooLarge);
        bench.connect(None, usize::MAX);
    }
    bench.answer(bench.came[0].number, Answer::Taken);
    let balance = bench.balance();
    assert_eq!((balance.delivered, balance.dead_lettered, balance.held), (3, 1, 0));
}

/// It may be the topic, or the broker: nothing tells that a smaller one would pass.
#[test]
fn a_reading_is_held_where_its_size_is_no_reason() {
    let mut bench = proved(3);
    bench.offer(&[Some(3)]);
    bench.take();
    bench.later(Duration::from_secs(5));
    let (taken, hung_up) = bench.hang_up_above(0, 30);
    assert_eq!(
        (taken.len(), hung_up, bench.records()),
        (0, 30, vec![vec!["3".to_owned()]]),
        "small"
    );

    let mut bench = Bench::connected(|_| {});
    bench.offer_large(7, 6000);
    bench.take();
    bench.later(Duration::from_secs(5));
    let (taken, hung_up) = bench.hang_up_above(3000, 30);
    assert_eq!((taken.len(), hung_up, bench.balance().held), (0, 30, 1), "nothing was ever taken");
}

/// Silence may have a cause behind the broker: what waits becomes smaller, and no dead letter.
#[test]
fn what_is_never_answered_is_halved_and_a_single_reading_is_held() {
    let mut bench = proved(16);
    bench.offer(&some(16..32));
    bench.take();
    bench.offer_large(7, 6000);
    bench.take();
    bench.later(Duration::from_secs(5));
    let bytes_max = bench.came[0].message.packet_bytes(Version::V3) / 2;
    let (mut taken, mut silences) = (Vec::new(), 0);
    while silences < 30 {
        let fits = |it: &&Publication| it.message.packet_bytes(Version::V3) <= bytes_max;
        while let Some(first) = bench.came.first().filter(fits).cloned() {
            bench.answer(first.number, Answer::Taken);
            taken.push(first);
        }
        bench.end_over(sink::Why::Silent);
        bench.connect(None, usize::MAX);
        silences += 1;
    }
    assert_eq!(values(&taken), (16..32).map(|it| it.to_string()).collect::<Vec<_>>(), "in order");
    let refusal = bench.books.gauges.refusal().unwrap().to_string();
    assert!(refusal.contains("does not answer"), "{refusal}");
    let balance = bench.balance();
    assert_eq!((balance.delivered, balance.dead_lettered, balance.held), (32, 0, 1));
}

/// A broker that waits for what is behind it answers no batch, whatever its size.
#[test]
fn small_batches_are_not_halved_for_silence() {
    let mut bench = proved(3);
    bench.offer(&some(3..6));
    bench.take();
    for _ in 0..10 {
        bench.end_over(sink::Why::Silent);
        bench.connect(None, usize::MAX);
        assert_eq!(bench.records(), [["3", "4", "5"]]);
    }
}

#[test]
fn a_size_that_was_learned_is_tried_again_later() {
    let mut bench = proved(16);
    bench.offer(&some(16..32));
    bench.take();
    let bytes_max = bench.came[0].message.packet_bytes(Version::V3) - 1;
    bench.hang_up_above(bytes_max, 100);
    let next = |bench: &mut Bench, first| {
        bench.offer(&some(first..first + 16));
        bench.take();
        bench.later(Duration::from_secs(5));
        let batches = bench.came.len();
        bench.hang_up_above(usize::MAX, 1);
        batches
    };
    assert!(next(&mut bench, 32) > 1);
    bench.later(Duration::from_mins(1));
    assert_eq!(next(&mut bench, 48), 1, "on the same connection");
}

impl Bench {
    /// The broker ends the connection in words, and has not answered the oldest publication.
    fn forbid(&mut self) {
        self.end_over(sink::Why::Forbidden("not authorized".into()));
        self.connect(None, usize::MAX);
    }

    /// An output that forbids the dead letters' topic without a word, for so many connections. Returns how many
    /// readings it took.
    fn end_over_letters(&mut self, why: &sink::Why, connections: usize) -> usize {
        let mut readings = 0;
        for _ in 0..connections {
            while let Some(first) = self.came.first().filter(|it| !is_letter(it)).cloned() {
                readings += values(std::slice::from_ref(&first)).len();
                self.answer(first.number, Answer::Taken);
            }
            if self.came.is_empty() {
                break;
            }
            self.end_over(why.clone());
            self.connect(None, usize::MAX);
        }
        readings
    }
}

fn is_letter(it: &Publication) -> bool {
    it.message.topic.as_str() == "gateway/dead-letters"
}

/// An unreadable message, and three readings behind it.
fn hung_up_on_a_letter() -> Bench {
    let mut bench = proved(3);
    bench.offer(&[None]);
    bench.take();
    bench.later(Duration::from_secs(1));
    assert!(is_letter(&bench.came[0]));
    bench.offer(&some(3..6));
    bench.take();
    bench
}

#[test]
fn nothing_waits_behind_a_dead_letter_that_is_hung_up_on_or_never_answered() {
    for why in [sink::Why::HungUp, sink::Why::Silent] {
        let mut bench = hung_up_on_a_letter();
        assert_eq!(bench.end_over_letters(&why, 6), 3);
        assert_eq!((bench.balance().delivered, bench.balance().held), (6, 1));
        let refusal = bench.books.gauges.refusal().unwrap();
        assert_eq!(refusal.topic, "gateway/dead-letters");
        // Those that come later wait with it.
        bench.offer(&[None, Some(6), Some(7), Some(8)]);
        bench.take();
        bench.later(Duration::from_secs(1));
        assert_eq!(bench.end_over_letters(&why, 1), 3);
        assert!(bench.came.is_empty(), "no letter is tried so soon: {:?}", bench.came);
        assert_eq!((bench.balance().delivered, bench.balance().held), (9, 2));
        assert!(bench.books.gauges.refusal().is_some(), "it is not over because readings pass");
    }
}

#[test]
fn a_dead_letter_that_was_hung_up_on_is_tried_again_alone_and_the_others_follow() {
    let mut bench = hung_up_on_a_letter();
    bench.end_over_letters(&sink::Why::HungUp, 6);
    bench.offer(&[None, Some(6), Some(7), Some(8)]);
    bench.take();
    bench.later(Duration::from_secs(59));
    assert_eq!(bench.came.len(), 1, "the readings are on their way: {:?}", bench.came);
    bench.later(Duration::from_mins(1));
    assert_eq!(bench.came.len(), 1, "not beside the readings");
    bench.answer(bench.came[0].number, Answer::Taken);
    assert!(bench.came.len() == 1 && is_letter(&bench.came[0]), "{:?}", bench.came);
    bench.offer(&some(9..12));
    bench.take();
    assert_eq!(bench.came.len(), 1, "nothing beside it");
    // It fails again, however the connection ends.
    bench.disconnect();
    bench.connect(None, usize::MAX);
    assert_eq!(bench.records(), [["9", "10", "11"]]);
    bench.answer(bench.came[0].number, Answer::Taken);
    bench.later(Duration::from_secs(119));
    assert!(bench.came.is_empty(), "twice as long now");
    bench.later(Duration::from_secs(2));
    assert!(bench.came.len() == 1 && is_letter(&bench.came[0]), "{:?}", bench.came);
    while let Some(first) = bench.came.first() {
        bench.answer(first.number, Answer::Taken);
    }
    let balance = bench.balance();
    assert_eq!((balance.delivered, balance.dead_lettered, balance.held), (12, 2, 0));
    assert_eq!(bench.books.gauges.refusal(), None, "it is over");
    // All is as before.
    bench.offer(&[None]);
    bench.take();
    bench.later(Duration::from_secs(1));
    assert!(bench.came.len() == 1 && is_letter(&bench.came[0]));
}

/// MQTT 5 has a word for it, and so it takes two connections to know.
#[test]
fn nothing_waits_behind_a_dead_letter_over_which_the_connection_is_ended_in_words() {
    let mut bench = hung_up_on_a_letter();
    bench.forbid();
    assert_eq!(bench.came.len(), 2, "once may be chance: {:?}", bench.came);
    bench.forbid();
    assert_eq!(bench.records(), [["3", "4", "5"]]);
    bench.answer(bench.came[0].number, Answer::Taken);
    assert_eq!((bench.balance().delivered, bench.balance().held), (6, 1));
    let refusal = bench.books.gauges.refusal().unwrap().to_string();
    assert!(refusal.contains("dead-letters") && refusal.contains("not authorized"), "{refusal}");
    // Of readings it is as before: they wait.
    bench.offer(&some(6..9));
    bench.take();
    for _ in 0..5 {
        bench.forbid();
        assert_eq!(bench.records(), [["6", "7", "8"]]);
    }
}
