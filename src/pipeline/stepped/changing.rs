//! The engine stepped while its settings change.

use serde_json::Value;
use tokio::sync::oneshot;

use super::*;
use crate::codec::Format;
use crate::units::Period;

impl Bench {
    /// The engine's part of a change: the plan that runs is another one, and the worker is told.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Plan)) -> oneshot::Receiver<()> {
        let mut plan = Plan::clone(&self.current.get());
        change(&mut plan);
        self.books.queue.prepare(plan.queue);
        self.books.queue.resize(plan.queue);
        self.messages = plan.mqtt_output().unwrap().messages(&plan.broker);
        self.current.set(Arc::new(plan));
        let (tell, told) = oneshot::channel();
        self.report(sink::Event::Changed(tell));
        told
    }

    /// The same with another sink, whose address is of no matter here.
    fn change_sink(&mut self) -> oneshot::Receiver<()> {
        self.change(|plan| {
            plan.output.sink = serde_json::from_str(r#"{"mqtt":{"topic":"other"}}"#).unwrap();
        })
    }

    /// The new sink has connected in the place of the old one.
    fn replace(&mut self) {
        self.disconnect();
        self.report(sink::Event::Replaced);
        self.connect(None, usize::MAX);
    }
}

fn is_told(told: &mut oneshot::Receiver<()>) -> bool {
    told.try_recv().is_ok()
}

#[test]
fn what_is_open_is_sealed_as_it_is_and_the_next_batch_has_the_new_limits_and_format() {
    let mut bench = Bench::connected(|plan| {
        plan.batch.records_max = NonZeroU32::new(10).unwrap();
        plan.output.window_batches = NonZeroU16::new(2).unwrap();
    });
    bench.offer(&some(0..12));
    bench.take();
    assert_eq!(bench.records(), [texts(0..10)], "two are open");
    let mut told = bench.change(|plan| {
        plan.batch.records_max = NonZeroU32::new(2).unwrap();
        plan.output.window_batches = NonZeroU16::new(3).unwrap();
        plan.output.format = Format::JsonArray;
    });
    assert!(is_told(&mut told));
    bench.offer(&some(12..16));
    bench.take();
    bench.take();
    let came = |it: &Publication| serde_json::from_slice::<Value>(&it.message.payload).unwrap();
    let came: Vec<Value> = bench.came.iter().map(came).collect();
    assert!(came[0].is_object() && came[1].is_object(), "sealed in the old format: {came:?}");
    let counts: Vec<_> = came[1..].iter().map(|it| it.as_array().map(Vec::len)).collect();
    assert_eq!(counts, [None, Some(2)], "three in the window: {came:?}");
    assert_eq!(bench.books.metrics.sealed_changed.get(), 1);
    while let Some(first) = bench.came.first() {
        bench.answer(first.number, Answer::Taken);
        bench.take();
    }
    assert_eq!((bench.balance().delivered, bench.balance().held), (16, 0));
}

#[test]
fn a_sink_is_replaced_when_all_is_answered_and_nothing_is_published_twice() {
    let mut bench = Bench::connected(|plan| plan.batch.records_max = NonZeroU32::new(2).unwrap());
    bench.offer(&[Some(0), Some(1), Some(2), None]);
    bench.take();
    bench.take();
    let mut told = bench.change_sink();
    let came = bench.came.clone();
    assert_eq!(came.len(), 3, "a batch, what was open, and the dead letter");
    bench.offer(&some(4..6));
    bench.take();
    bench.later(Duration::from_secs(5));
    assert_eq!(bench.came.len(), 3, "nothing new to the old one");
    for it in &came {
        assert!(!is_told(&mut told), "{it:?}");
        bench.answer(it.number, Answer::Taken);
    }
    assert!(is_told(&mut told));
    bench.take();
    bench.later(Duration::from_secs(5));
    assert!(bench.came.is_empty(), "still the old one");
    bench.replace();
    bench.take();
    assert_eq!(bench.records(), [texts(4..6)], "only what is new");
    assert_eq!(bench.books.metrics.batches_resent.get(), 0);
    bench.answer(bench.came[0].number, Answer::Taken);
    assert_eq!(bench.balance().held, 0);
}

#[test]
fn a_sink_that_is_away_or_refuses_is_replaced_at_once_and_the_next_gets_all_in_order() {
    for refuses in [false, true] {
        let mut bench = Bench::proved();
        bench.offer(&some(3..9));
        bench.take();
        if refuses {
            bench.answer(bench.came[0].number, refusal(0x87));
        } else {
            bench.disconnect();
        }
        assert!(is_told(&mut bench.change_sink()), "{refuses}");
        bench.replace();
        let all: Vec<String> = bench.records().concat();
        assert_eq!(all, texts(3..9), "{refuses}");
    }
}

#[test]
fn what_has_no_answer_when_the_grace_is_over_goes_to_the_new_sink() {
    let mut bench = Bench::proved();
    bench.offer(&some(3..6));
    bench.take();
    let mut told = bench.change_sink();
    assert!(!is_told(&mut told));
    bench.replace();
    assert_eq!(bench.records().concat(), texts(3..6));
}

#[test]
fn a_new_sink_that_fails_does_not_end_the_gateway_and_the_spool_is_written() {
    let error = || crate::unusable::Unusable { reason: "no".into(), may_mend: false };
    let disk = Disk::default();
    let mut bench = Bench::on_disk(&disk, small());
    bench.connect(None, usize::MAX);
    bench.offer(&some(0..3));
    bench.take();
    bench.answer(bench.came[0].number, Answer::Taken);
    bench.change_sink();
    bench.disconnect();
    bench.report(sink::Event::Replaced);
    bench.report(sink::Event::Failed(error()));
    bench.offer(&some(3..6));
    bench.take();
    bench.later(Duration::from_mins(1));
    assert_eq!(bench.balance().spooled, 3, "{:?}", bench.balance());
    let mut first = Bench::connected(|_| {});
    let failed = Event::Reported(sink::Event::Failed(error()));
    assert!(first.worker.apply_all(first.now, std::iter::once(failed)).is_err(), "at the start");
}

#[test]
fn with_a_spool_what_is_sealed_goes_on_being_written_while_the_sink_is_replaced() {
    let disk = Disk::default();
    let mut bench = Bench::on_disk(&disk, small());
    bench.connect(None, usize::MAX);
    bench.offer(&some(0..9));
    bench.take();
    bench.later(Duration::from_mins(1));
    bench.take();
    assert!(bench.balance().spooled >= 6, "the output is silent: {:?}", bench.balance());
    let mut told = bench.change_sink();
    assert!(is_told(&mut told), "all that is on its way is on disk");
    bench.offer(&some(9..12));
    bench.take();
    bench.later(Duration::from_secs(1));
    bench.later(Duration::from_secs(1));
    assert_eq!(bench.balance().spooled, 12, "{:?}", bench.balance());
    bench.replace();
    let mut values = Vec::new();
    for _ in 0..20 {
        values.extend(bench.records().concat());
        while let Some(first) = bench.came.first() {
            bench.answer(first.number, Answer::Taken);
            values.extend(bench.records().concat());
        }
        bench.later(Duration::from_secs(1));
    }
    assert_eq!(bench.balance().held, 0, "{:?}", bench.balance());
    values.dedup();
    assert!(texts(0..12).iter().all(|it| values.contains(it)), "{values:?}");
}

#[test]
fn a_topic_that_a_later_sink_is_refused_does_not_end_the_gateway() {
    let mut bench = Bench::connected(|plan| plan.gateway.start_grace = Period::millis(0));
    bench.change_sink();
    bench.replace();
    bench.offer(&some(0..3));
    bench.take();
    // The gateway would have ended with the first: `answer` unwraps that.
    bench.answer(bench.came[0].number, refusal(0x87));
    bench.later(Duration::from_mins(10));
    assert_eq!(bench.records(), [texts(0..3)], "it is tried again");
}

#[test]
fn a_connection_that_comes_when_the_sink_may_be_replaced_is_given_nothing() {
    let mut bench = Bench::proved();
    bench.offer(&some(3..6));
    bench.take();
    bench.disconnect();
    assert!(is_told(&mut bench.change_sink()));
    bench.connect(None, usize::MAX);
    assert!(bench.came.is_empty(), "it would come twice");
    bench.replace();
    assert_eq!(bench.records(), [texts(3..6)]);
}

#[test]
fn what_was_sealed_for_a_topic_before_is_published_there_also_through_the_spool() {
    let disk = Disk::default();
    let topic = |plan: &mut Plan, topic: &str| {
        let sink = format!(r#"{{"mqtt":{{"topic":"{topic}"}}}}"#);
        plan.output.sink = serde_json::from_str(&sink).unwrap();
    };
    let mut plan = small();
    topic(&mut plan, "a/{sensor}");
    let mut bench = Bench::on_disk(&disk, plan);
    bench.connect(None, usize::MAX);
    bench.offer(&some(0..6));
    bench.take();
    // Nothing is on disk yet; what is open goes there, behind what is in the window.
    bench.change(|plan| topic(plan, "b/{sensor}"));
    for batches in 1..=9 {
        bench.change(|plan| plan.batch.records_max = NonZeroU32::new(batches).unwrap());
    }
    bench.disconnect();
    bench.report(sink::Event::Replaced);
    bench.later(Duration::from_mins(1));
    assert_eq!(bench.balance().spooled, 6, "{:?}", bench.balance());
    bench.connect(None, usize::MAX);
    let mut topics = std::collections::BTreeSet::new();
    for _ in 0..20 {
        while let Some(first) = bench.came.first() {
            topics.insert(first.message.topic.as_str().to_owned());
            bench.answer(first.number, Answer::Taken);
        }
        bench.later(Duration::from_secs(1));
    }
    assert_eq!(bench.balance().held, 0, "{:?}", bench.balance());
    assert!(topics.iter().all(|it| it.starts_with("a/")), "{topics:?}");
}
