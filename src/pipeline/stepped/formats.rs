//! The engine stepped with a format that refuses records.

use serde_json::Value;

use super::*;
use crate::codec::Format;

/// What is no number, for a format that writes numbers only.
const REFUSED: u32 = 99;

fn numbers_only(records_max: u32) -> Bench {
    Bench::connected(|plan| {
        plan.output.format = Format::Numbers;
        plan.output.window_batches = NonZeroU16::new(8).unwrap();
        plan.batch.records_max = NonZeroU32::new(records_max).unwrap();
    })
}

impl Bench {
    /// The values of all batches that came, as a reader of the format finds them.
    fn numbers(&self) -> Vec<u64> {
        let batches = self.came.iter().filter(|it| it.message.topic.as_str() == "gateway/batches");
        let value = |record: &[u8]| {
            let record: Value = serde_json::from_slice(record).unwrap();
            record["value"].as_u64().unwrap()
        };
        batches
            .flat_map(|it| Format::Numbers.records(&it.message.payload).into_iter().map(value))
            .collect()
    }

    /// The dead letters that came: alone, or in an array.
    fn refused(&self) -> Vec<Value> {
        let letters = self.letters().into_iter();
        let all =
            letters.flat_map(|it| match serde_json::from_slice(&it.message.payload).unwrap() {
                Value::Array(all) => all,
                alone => vec![alone],
            });
        all.collect()
    }

    fn take_all(&mut self) {
        while let Some(first) = self.came.first() {
            self.answer(first.number, Answer::Taken);
        }
    }
}

#[test]
fn a_record_that_the_format_refuses_is_a_dead_letter_with_the_reason() {
    let mut bench = numbers_only(3);
    assert!(bench.offer_large(REFUSED, 5));
    bench.take();
    bench.later(Duration::from_secs(1));
    let letters = bench.refused();
    assert_eq!((letters.len(), bench.came.len()), (1, 1), "no batch of nothing");
    let letter = &letters[0];
    assert_eq!((&letter["reason"], &letter["sensorId"]), (&"format".into(), &"a".into()));
    let detail = r#"the value is no number: output.format = "numbers" cannot write it"#;
    assert_eq!((&letter["detail"], &letter["payload"]), (&detail.into(), &"\"99xxxxx\"".into()));
    bench.take_all();
    assert_eq!((bench.balance().dead_lettered, bench.balance().held), (1, 0));
}

/// Whichever of six are refused: no byte of them is in a batch, and the others arrive in their order.
#[test]
fn the_records_beside_one_that_is_refused_go_on() {
    for (pattern, records_max) in (0_u32..64).flat_map(|it| [(it, 1), (it, 2), (it, 9)]) {
        let mut bench = numbers_only(records_max);
        for value in 0..6 {
            let offered = if pattern & (1 << value) == 0 {
                bench.offer(&[Some(value)])
            } else {
                bench.offer_large(value, 3)
            };
            assert!(offered);
        }
        (0..6).for_each(|_| bench.take());
        bench.later(Duration::from_secs(1));
        let fine: Vec<u64> = (0..6).filter(|it| pattern & (1 << it) == 0).collect();
        assert_eq!(bench.numbers(), fine, "{pattern:b}, {records_max}");
        assert_eq!(bench.refused().len(), 6 - fine.len(), "{pattern:b}, {records_max}");
        bench.take_all();
        let balance = bench.balance();
        assert_eq!((balance.received, balance.held), (6, 0));
        assert_eq!(balance.delivered, fine.len() as u64);
    }
}
