//! The engine stepped with readings that are of no use any more.

use serde_json::Value;

use super::*;
use crate::record::Expiry;

/// Takes a reading that is of use for so many seconds, and then perhaps a dead letter, so many milliseconds after its
/// receipt; then lets it go.
fn taken_after((seconds, letter): (u32, bool), millis: u64) -> (Bench, Vec<Value>) {
    let mut bench = Bench::connected(|_| ());
    let row = bench.books.registry.row_left("a", None);
    let mut chunk = Chunk::default();
    let (value, none) = (chunk.put(b"7"), Span::default());
    let body = Body::Reading { value, timestamp: none, labels: none, extra: none };
    let mut record = bench.record(&row, body);
    record.arrival.expiry = Expiry(seconds);
    record.arrival.expires_to_letter = letter;
    chunk.records.push(record);
    assert!(bench.offer_chunk(&mut chunk));
    bench.later(Duration::from_millis(millis));
    bench.take();
    bench.later(Duration::from_secs(9));
    let read = |it: &Publication| serde_json::from_slice(&it.message.payload).unwrap();
    let came = bench.came.iter().map(read).collect();
    while let Some(first) = bench.came.first() {
        bench.answer(first.number, Answer::Taken);
    }
    (bench, came)
}

#[test]
fn what_is_of_no_use_any_more_is_marked_or_becomes_a_dead_letter() {
    for (expiry, millis, expected) in [
        ((u32::MAX, true), 5000, None),
        ((1, false), 0, Some(false)),
        ((1, false), 1000, Some(true)),
        ((1, true), 0, Some(false)),
        ((u32::MAX - 1, true), 5000, Some(false)),
    ] {
        let (bench, came) = taken_after(expiry, millis);
        let record = &came[0]["records"][0];
        assert_eq!(record["expiresAt"].is_string(), expected.is_some(), "{record}");
        assert_eq!(record["expired"].as_bool(), expected.filter(|it| *it), "{record}");
        assert_eq!((bench.balance().delivered, bench.balance().held), (1, 0));
    }
    let (bench, came) = taken_after((1, true), 1000);
    assert_eq!((came.len(), &came[0]["reason"]), (1, &"expired".into()));
    assert!(came[0]["detail"].as_str().unwrap().starts_with("it expired at "), "{came:?}");
    let balance = bench.balance();
    assert_eq!((balance.received, balance.dead_lettered, balance.held), (1, 1, 0));
}
