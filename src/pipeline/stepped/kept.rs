//! The engine stepped with a spool that holds what this run cannot publish.

use super::routes::{by_tens, judge, listed};
use super::*;
use crate::spool::Entry;
use crate::spool::faulty_disk::Fault;

/// A batch as an earlier run has left it: a reading of each of these sensors.
fn left(id: &str, sensors: &[&str], more: &str) -> Entry {
    let runs: Vec<_> = (0..sensors.len()).map(|at| (at, 1)).collect();
    let (sensors, runs) = (serde_json::json!(sensors), serde_json::json!(runs));
    let batch = format!(r#"{{"gateway":"gw-1","id":"{id}","sealedAt":0,{more}}}"#);
    let head = format!(r#"{{"version":2,"batch":{batch},"sensors":{sensors},"runs":{runs}}}"#);
    entry(head, id, runs.as_array().unwrap().len())
}

/// A dead letter of `a`.
fn letter(id: &str) -> Entry {
    entry(format!(r#"{{"letters":"{id}","sensors":["a"],"runs":[[0,1]]}}"#), id, 1)
}

/// Of a version of tomorrow.
fn newer(id: &str) -> Entry {
    entry(r#"{"version":3,"cells":[["a",1]]}"#.to_owned(), id, 1)
}

fn entry(head: String, id: &str, records: usize) -> Entry {
    let body = format!(r#"{{"records":[{{"value":"{id}"}}]}}"#);
    let (records, body) = (u32::try_from(records).unwrap(), body.into_bytes().into());
    Entry { records, head: head.into_bytes(), body }
}

const JSON: &str = r#""format":"json","route":"output""#;
const AVRO: &str = r#""format":"avro","route":"output""#;
const ELSEWHERE: &str = r#""format":"json","route":"elsewhere""#;
const NO_ROUTE: &str = r#""format":"json""#;

fn on(disk: &Disk, entries: &[Entry]) -> Bench {
    disk.spool().unwrap().append(entries).unwrap();
    let mut plan = small();
    plan.batch.records_max = NonZeroU32::new(1).unwrap();
    let mut bench = Bench::on_disk(disk, plan);
    bench.connect(None, usize::MAX);
    bench
}

impl Bench {
    /// Whatever comes is answered; its text.
    fn published(&mut self) -> Vec<String> {
        let mut texts = Vec::new();
        while let Some(first) = self.came.first().cloned() {
            texts.push(String::from_utf8(first.message.payload.to_vec()).unwrap());
            self.answer(first.number, Answer::Taken);
            self.take();
        }
        self.later(Duration::from_secs(2));
        texts
    }

    /// Which of these ids and values were published, in order.
    fn ids(&mut self) -> Vec<String> {
        let value = |text: &String| {
            let json: serde_json::Value = serde_json::from_str(text).unwrap();
            json["records"][0]["value"].to_string().replace('"', "")
        };
        self.published().iter().map(value).collect()
    }

    fn kept(&self) -> String {
        self.books.gauges.spool_kept().unwrap()
    }
}

/// What may go is what no reading of an earlier one waits for.
#[test]
fn a_batch_that_is_not_known_is_kept_with_those_of_its_sensors_behind_it_and_others_go_on() {
    for (unknown, why) in [
        (AVRO, "this version does not know their format \"avro\": run the version"),
        (ELSEWHERE, "the settings have no route \"elsewhere\": run with the settings"),
    ] {
        let disk = Disk::default();
        let mut bench = on(
            &disk,
            &[
                left("1", &["a"], JSON),
                left("2", &["a", "b"], unknown),
                left("3", &["c"], NO_ROUTE),
                left("4", &["b", "d"], JSON),
                left("5", &["d"], JSON),
                letter("6"),
                left("7", &["e"], JSON),
            ],
        );
        let told = bench.kept();
        assert!(told.contains("1 batches with 2 readings") && told.contains(why), "{told}");
        assert_eq!(bench.ids(), ["1", "3", "6", "7"]);
        let told = bench.kept();
        assert!(told.contains("2 batches with 3 readings of the same sensors wait"), "{told}");
        // `c` does not wait, `a` does behind its older reading.
        bench.offer(&[Some(2)]);
        bench.take();
        assert_eq!((bench.ids(), bench.books.metrics.spooled.get()), (vec!["2".to_owned()], 0));
        bench.offer(&[Some(0)]);
        bench.take();
        assert_eq!((bench.ids(), bench.books.metrics.spooled.get()), (vec![], 1));
        let balance = bench.balance();
        assert_eq!((balance.received, balance.delivered), (11, 4));
        assert_eq!((balance.held, balance.spooled), (6, 6));
        assert_eq!(bench.books.metrics.spool_unreadable.get(), 0);
        assert_eq!(disk_entries(bench, &disk), 4, "2, 4, 5 and the value of a");
    }
}

/// How many a next run finds.
fn disk_entries(bench: Bench, disk: &Disk) -> u64 {
    drop(bench);
    disk.spool().unwrap().entries()
}

/// Nobody can say whose they are.
#[test]
fn behind_a_newer_version_everything_is_kept() {
    let disk = Disk::default();
    let entries = [left("1", &["a"], JSON), newer("2"), left("3", &["b"], JSON), letter("4")];
    let mut bench = on(&disk, &entries);
    let told = bench.kept();
    let why = "they are of version 3, and this program knows up to 2: run the version that wrote";
    assert!(told.contains("1 batches with 1 readings") && told.contains(why), "{told}");
    assert_eq!(bench.ids(), ["1"]);
    bench.offer(&[2].map(Some));
    bench.take();
    assert_eq!(bench.ids(), [""; 0]);
    bench.later(Duration::from_secs(1));
    assert_eq!((bench.balance().held, bench.balance().spooled), (4, 4), "the new one, too");
    assert_eq!(disk_entries(bench, &disk), 4);
}

#[test]
fn a_run_whose_sources_have_ended_ends_although_something_is_kept() {
    let disk = Disk::default();
    let mut bench = on(&disk, &[left("1", &["a"], AVRO)]);
    bench.offer(&[0, 1].map(Some));
    (0..2).for_each(|_| bench.take());
    bench.inlet = None;
    bench.apply(Event::Ended);
    assert_eq!(bench.ids(), ["1"], "the value of b");
    assert_eq!(bench.worker.ended(), Some(Ended::Drained));
    assert_eq!((bench.balance().delivered, bench.balance().spooled), (1, 2));
}

/// And the disk fails: what waits for it is in memory, and must not go out either.
#[test]
fn an_output_that_is_silent_gets_nothing_that_must_wait() {
    let disk = Disk::default();
    let mut bench = on(&disk, &[left("1", &["a"], AVRO)]);
    bench.offer(&[Some(1)]);
    bench.take();
    bench.later(AFTER);
    assert_eq!((bench.came.len(), bench.balance().spooled), (1, 2), "stuck");
    disk.break_with(Fault::Write(0));
    bench.offer(&[Some(0)]);
    bench.take();
    bench.later(AFTER);
    assert_eq!(bench.books.gauges.spool_waiting.get(), 1, "the value of a");
    assert_eq!(bench.came.len(), 1);
    disk.heal();
    bench.later(Duration::from_secs(20));
    assert_eq!(bench.ids(), ["1"], "the value of b");
    assert_eq!((bench.balance().delivered, bench.balance().spooled), (1, 2));
}

/// It is lost, and nothing waits for it any more.
#[test]
fn a_file_that_is_damaged_keeps_nothing() {
    let disk = Disk::default();
    let mut bench = on(&disk, &[left("1", &["a", "b"], AVRO), left("2", &["b"], JSON)]);
    assert_eq!(bench.ids(), [""; 0]);
    disk.break_with(Fault::Write(0));
    bench.offer(&[Some(0)]);
    bench.take();
    disk.erase();
    disk.heal();
    bench.later(Duration::from_secs(20));
    assert_eq!(bench.books.metrics.spool_unreadable.get(), 3);
    assert_eq!(bench.books.gauges.spool_kept(), None);
    assert_eq!(bench.ids(), ["0"]);
    assert_eq!((bench.balance().delivered, bench.balance().held), (1, 3));
}

/// A run without the routes, between two that have them.
#[test]
fn what_was_kept_is_published_in_order_by_a_run_that_can() {
    let disk = Disk::default();
    let mut plan = small();
    plan.queue.records_max = NonZeroU32::new(200).unwrap();
    let start = |router: &Router| {
        let spool = Some(disk.spool().unwrap());
        Bench::routed((clock::now(), 7), plan.clone(), spool, router.clone())
    };
    let mut bench = start(&by_tens());
    bench.connect(None, usize::MAX);
    bench.disconnect();
    bench.later(AFTER);
    bench.offer(&some(0..60));
    for _ in 0..60 {
        bench.take();
        bench.later(AFTER);
    }
    assert_eq!(bench.balance().spooled, 60);
    drop(bench);
    let mut bench = start(&listed(&["output"], |_| 0));
    bench.connect(None, usize::MAX);
    bench.offer(&some(60..66));
    for _ in 0..3 {
        bench.take();
        bench.later(AFTER);
    }
    assert_eq!((bench.came.len(), bench.balance().spooled), (0, 66));
    drop(bench);
    let mut bench = start(&listed(&["r0", "r1", "r2", "output"], |_| 0));
    bench.connect(None, usize::MAX);
    judge(&bench.taken(), 66);
    assert_eq!((bench.balance().held, bench.books.gauges.spool_kept()), (0, None));
}
