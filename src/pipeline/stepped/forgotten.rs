//! The engine stepped with sensors that are forgotten: another one has their row.

use super::*;
use crate::record::Span;

/// Publishes a reading of this sensor, of two minutes ago, and has it answered; the batch.
fn delivered(bench: &mut Bench, id: &str) -> String {
    let now = bench.now;
    bench.now.wall = now.wall.earlier(Duration::from_mins(2));
    let row = bench.books.registry.row_of(id, 0);
    let (mut chunk, none) = (Chunk::default(), Span::default());
    let value = chunk.put(b"7");
    let body = Body::Reading { value, timestamp: none, labels: none, extra: none };
    chunk.records.push(bench.record(&row, body));
    assert!(bench.offer_chunk(&mut chunk));
    bench.take();
    bench.now = now;
    bench.later(Duration::from_secs(9));
    let batch = bench.came.first().expect("it was published");
    let (number, text) = (batch.number, String::from_utf8(batch.message.payload.to_vec()).unwrap());
    bench.answer(number, Answer::Taken);
    bench.later(Duration::from_secs(1));
    text
}

#[test]
fn a_record_is_of_the_sensor_that_has_its_row_now() {
    let mut bench = Bench::connected(|plan| {
        let kind = serde_json::from_str(r#"{"mqtt":{"topic":"a"}}"#).unwrap();
        plan.sensors.insert("fleet".into(), kind);
        plan.gateway.sensors_max = 1.try_into().unwrap();
    });
    for id in ["old", "new"] {
        let batch = delivered(&mut bench, id);
        assert!(batch.contains(&format!("\"sensorId\":\"{id}\",\"sequence\":1,")), "{batch}");
    }
    assert_eq!(bench.books.registry.forgotten().0.count, 1);
    let balance = bench.balance();
    assert_eq!((balance.received, balance.delivered, balance.held), (2, 2, 0));
    assert_eq!(bench.books.difference(), None);
}
