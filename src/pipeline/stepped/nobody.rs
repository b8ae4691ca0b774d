//! The engine stepped with an output that nobody subscribes to.

use super::*;
use crate::sink::{Kind, mqtt};
use crate::units::Period;

fn holding() -> Kind {
    let without_subscriber = mqtt::WithoutSubscriber::Hold;
    Kind::Mqtt(mqtt::Settings { without_subscriber, ..mqtt::Settings::default() })
}

#[test]
fn a_batch_that_nobody_subscribes_to_is_held_where_that_is_set_and_never_ends_the_gateway() {
    let mut bench = Bench::connected(|plan| {
        plan.output.sink = holding();
        plan.gateway.start_grace = Period::millis(0);
    });
    bench.offer(&some(0..6));
    bench.take();
    let (first, second) = (bench.came[0].number, bench.came[1].number);
    for n in 0..3 {
        bench.answer(first, Answer::TakenByNobody);
        if n == 0 {
            bench.answer(second, Answer::Taken);
        }
        assert_eq!((bench.balance().held, bench.balance().delivered), (3, 3));
        assert!(!bench.worker.want().records, "nothing new meanwhile");
        assert_eq!(bench.worker.ended(), None);
        bench.later(Duration::from_secs(10));
        assert_eq!(bench.came.iter().map(|it| it.number).collect::<Vec<_>>(), [first]);
    }
    let refusal = bench.books.gauges.refusal().unwrap().to_string();
    assert!(refusal.starts_with("nobody subscribes to gateway/batches"), "{refusal}");
    bench.answer(first, Answer::Taken);
    assert_eq!((bench.balance().held, bench.balance().delivered), (0, 6));
    assert_eq!(bench.books.gauges.refusal(), None);
    assert_eq!(bench.books.metrics.batches_without_subscriber.get(), 3);
    // Dead letters are told to whoever listens.
    bench.offer(&[None; 3]);
    bench.take();
    let letter = bench.letters()[0].number;
    bench.answer(letter, Answer::TakenByNobody);
    assert_eq!(bench.balance().dead_lettered, 3);
}

/// The topic may be written then: what was refused before was not refused for as long as it takes.
#[test]
fn a_batch_that_nobody_subscribes_to_begins_the_grace_of_the_start_anew() {
    let mut bench = Bench::connected(|plan| {
        plan.output.sink = holding();
        plan.gateway.start_grace = Period::millis(30_000);
    });
    bench.offer(&some(0..3));
    bench.take();
    let first = bench.came[0].number;
    let forbidden = || refusal(0x87);
    for answer in [forbidden(), Answer::TakenByNobody, forbidden()] {
        bench.answer(first, answer);
        bench.later(Duration::from_secs(20));
    }
    bench.answer(first, Answer::Taken);
    assert_eq!((bench.balance().held, bench.balance().delivered), (0, 3));
}
