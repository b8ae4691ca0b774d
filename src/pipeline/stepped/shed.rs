//! The books of a message of which a policy sheds a part: queue, registry and ledger of one reading each.

use std::sync::Arc;

use crate::clock;
use crate::mqtt::ledger::{Entered, Ledger};
use crate::plan::Plan;
use crate::record::{Arrival, Body, Chunk, Record, Span};
use crate::settlement::{Outcome, Share};
use crate::settlement::{Policy, Receipts, SourceIndex, Token};
use crate::state::books::Books;

const KEEP_LATEST: Outcome = Outcome::Shed { policy: Policy::KeepLatest };
const SHED_NEWEST: Outcome = Outcome::Shed { policy: Policy::ShedNewest };

/// Readings of one message, taken and held.
fn held(books: &Books, first: u64, count: u64) -> Receipts {
    let (row, now) = (books.registry.row_of("a", 0), clock::now().wall);
    let mut receipts = Receipts::new(Arc::new(books.clone()));
    let (mut chunk, none) = (Chunk::default(), Span::default());
    for ordinal in first..first + count {
        let token = Token { source: SourceIndex(0), ordinal };
        chunk.records.push(Record {
            sensor: row.index,
            id: none,
            sequence: row.receive(now),
            received: now,
            token,
            topic: none,
            arrival: Arrival::default(),
            body: Body::Reading { value: none, timestamp: none, labels: none, extra: none },
        });
        receipts.add(token, row.index, 0);
    }
    books.metrics.received.add(count);
    assert!(books.queue.inlet().try_offer(&mut chunk, &mut Vec::new()));
    receipts
}

#[test]
fn a_message_of_which_a_policy_sheds_a_part_is_acknowledged_and_the_books_close() {
    for (outcomes, by_policy) in [
        ([Outcome::Delivered, KEEP_LATEST, SHED_NEWEST], [1, 0, 3]),
        ([KEEP_LATEST, SHED_NEWEST, Outcome::DeadLettered], [3, 0, 2]),
        ([KEEP_LATEST; 3], [0, 0, 6]),
    ] {
        let mut plan = Plan::default();
        let kind = serde_json::from_str(r#"{"mqtt":{"topic":"a"}}"#).unwrap();
        plan.sensors.insert("fleet".into(), kind);
        let books = plan.books(Arc::default());
        let settlements = books.queue.settlements();
        let mut ledger = Ledger::new(20, 20);
        let Entered::New(first) = ledger.enter(7, false, 1) else { panic!("it is new") };
        ledger.readings(6);
        let receipts = held(&books, first, 6);
        assert_eq!((books.balance().held, books.difference()), (6, None));
        let shares = [(2, outcomes[0]), (3, outcomes[1]), (1, outcomes[2])];
        receipts.settle_shares(&shares.map(|(records, outcome)| Share { records, outcome }));
        let mut settled = Vec::new();
        settlements.take(&mut settled);
        for (run, outcome) in settled {
            ledger.settle(run, outcome);
        }
        let mut acknowledged = Vec::new();
        ledger.acknowledge(|packet_id, _| acknowledged.push(packet_id));
        assert_eq!(acknowledged, [7]);
        let balance = books.balance();
        let of_queue = Policy::ALL.iter().filter(|it| !it.is_of_entry());
        let found = of_queue.map(|it| books.metrics.shed.of(*it).get());
        assert_eq!(found.collect::<Vec<_>>(), by_policy, "{outcomes:?}");
        assert_eq!(balance.shed, by_policy.iter().sum::<u64>());
        assert_eq!((balance.received, balance.held), (6, 0));
        assert_eq!(books.difference(), None);
    }
}
