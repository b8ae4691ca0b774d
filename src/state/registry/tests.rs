//! Tests of the registry: whose the rows are, who is forgotten, and what is counted.

use std::time::Duration;

use super::*;
use crate::settlement::Policy;
use crate::state::metrics::Balance;
use crate::state::presence::Presence;
use crate::state::series::Seen;

#[test]
fn missing_numbers_are_counted_by_sensor_and_not_in_a_shared_row() {
    let registry = Registry::new(2, [("fleet", None)]);
    let [a, b] = ["a", "b"].map(|id| registry.row_of(id, 0));
    for number in [1, 2, 5, 6, 9] {
        a.number(number, false);
    }
    assert_eq!(a.number(7, true), Seen::Late);
    b.number(1, false);
    let shared = registry.row_of("c", 0);
    assert_eq!((shared.number(1, false), shared.number(9, false)), (Seen::Known, Seen::Known));
    let missing = [a, b, shared].map(|row| row.numbers_missing());
    assert_eq!(missing, [3, 0, 0]);
}

#[test]
fn sensors_without_a_row_share_their_entrys_and_the_books_close() {
    // A share of one row for each of two, and one for whoever comes first.
    let registry = Registry::new(3, ["fleet", "more"].map(|name| (name, None)));
    let mut received = Vec::new();
    for (id, entry) in [("a", 0), ("b", 0), ("c", 0), ("d", 0), ("a", 0), ("good", 1), ("e", 1)] {
        let row = registry.row_of(id, entry);
        row.receive(Timestamp::from_millis(7));
        received.push((row.id().to_string(), row.entry().unwrap(), row.index));
    }
    let rows: Vec<_> = received.iter().map(|(id, entry, _)| (id.as_str(), *entry)).collect();
    let (others, [a, b]) = ((OVERFLOW, 0), [("a", 0), ("b", 0)]);
    assert_eq!(rows, [a, b, others, others, a, ("good", 1), (OVERFLOW, 1)]);
    assert_eq!((registry.sensors(), registry.crowded()), (3, vec![(0, 2, 2), (1, 1, 1)]));
    let totals = Metrics::default();
    registry.enter(&totals, &[received[0].2, received[2].2], Outcome::Delivered);
    let policy = Policy::KeepLatest;
    registry.enter(&totals, &[received[3].2], Outcome::Shed { policy });
    let sums = registry.sums();
    let told = sums.iter().map(|it| (it.sensors, it.without_row, it.balance.received));
    assert_eq!(told.collect::<Vec<_>>(), [(2, 2, 5), (1, 1, 2), (0, 0, 0)]);
    let Balance { delivered, shed, held, .. } = sums[0].balance;
    assert_eq!((delivered, shed, held), (2, 1, 2));
    assert_eq!((totals.delivered.get(), totals.shed.of(policy).get()), (2, 1));
}

#[test]
fn a_sensor_may_be_called_as_the_shared_row_is() {
    let registry = || Registry::new(2, [("fleet", None)]);
    let (first, fleet) = (registry(), Some("fleet"));
    let (own, spooled) = (first.row_of(OVERFLOW, 0), first.row_left(OVERFLOW, fleet));
    assert_eq!((own.is_shared(), own.index), (false, spooled.index));
    let second = registry();
    assert!(second.row_left(OVERFLOW, fleet).is_shared(), "of an earlier run");
    assert!(!second.row_of(OVERFLOW, 0).is_shared());
}

/// So long ago that it may be forgotten.
fn heard_long_ago(registry: &Registry, id: &str, at: u64, settled: bool) -> Arc<Row> {
    let row = registry.row_of(id, 0);
    row.receive(Timestamp::from_millis(at));
    if settled {
        registry.enter(&Metrics::default(), &[row.index], Outcome::Delivered);
    }
    row
}

#[test]
fn a_new_sensor_takes_the_place_of_the_quietest_of_which_nothing_is_held() {
    // A share of one row for each of two, and two for whoever comes first.
    let registry = Registry::new(4, [("fleet", None), ("more", None)]);
    let held = heard_long_ago(&registry, "held", 1000, false);
    let quiet = heard_long_ago(&registry, "quiet", 2000, true);
    let less = heard_long_ago(&registry, "less quiet", 3000, true);
    let new = registry.row_of("new", 0);
    assert_eq!((new.index, new.id(), new.received()), (quiet.index, "new", 0));
    assert!(quiet.is_forgotten() && !less.is_forgotten() && !held.is_forgotten());
    registry.with_rows(|rows| assert_eq!(rows[new.index.0 as usize].id(), "new"));
    let sum = registry.sums()[0];
    let Balance { received, delivered, held, .. } = sum.balance;
    assert_eq!((received, delivered, held, sum.sensors, sum.without_row), (3, 2, 1, 3, 0));
    assert_eq!(registry.crowded()[0].2, 0, "no reading came of one without a row");
    let (forgotten, renewed) = registry.forgotten();
    assert_eq!((forgotten.count, forgotten.last.unwrap().id()), (1, "quiet"));
    assert_eq!((renewed, registry.forgotten().0.count), (vec![new.index], 0));
    assert!(!registry.row_of("quiet", 0).is_shared() && less.is_forgotten());
    assert!(registry.row_of("another", 0).is_shared(), "one is held, and two are new");
    assert!(!registry.row_of("a", 1).is_shared(), "the share of the other entry");
}

#[test]
fn a_removed_entrys_rows_are_those_of_others_before_one_of_their_own_is_forgotten() {
    let registry = Registry::new(3, [("gone", None), ("fleet", None), ("TEMP", Some(1))]);
    let heard = |id: &str, place: u32, settled: bool| {
        let row = registry.row_of(id, place);
        row.receive(clock::now().wall);
        let outcome = if settled { Outcome::Delivered } else { Outcome::Spooled };
        registry.enter(&Metrics::default(), &[row.index], outcome);
        row
    };
    let (lately, held) = (heard("a", 0, true), heard("a", 1, false));
    assert!(registry.row_of("b", 1).is_shared(), "it is not removed yet");
    registry.end_entry("gone");
    assert_eq!(registry.rows_missing(&[("TEMP", 2), ("more", 1)]), 1);
    let new = registry.row_of("b", 1);
    assert_eq!((new.index, new.entry()), (lately.index, Some(1)));
    new.receive(clock::now().wall);
    assert_eq!(registry.crowded().iter().map(|it| it.1).collect::<Vec<_>>(), [0, 2]);
    assert_eq!(registry.forgotten().0.count, 0, "nobody misses it");
    registry.end_entry("fleet");
    assert!(registry.row_of("TEMP_00", 2).index != held.index && !held.is_forgotten());
    let sums = registry.sums();
    let received: Vec<u64> = sums.iter().map(|it| it.balance.received).collect();
    assert_eq!(received, [1, 2, 0, 0]);
    let names = |names: &[&str]| registry.removed_beside(|name| names.contains(&name));
    assert_eq!((names(&["TEMP"]), names(&["TEMP", "fleet"])), (2, 1));
}

const BEFORE: Before = Before {
    presence: Presence::Silent,
    since: Timestamp::from_millis(9000),
    last_received: Some(Timestamp::from_millis(5000)),
    interval: Some(Duration::from_secs(1)),
};

#[test]
fn what_an_earlier_run_knew_of_a_sensor_is_in_a_row_that_was_left_and_counts_nothing() {
    let registry = Registry::new(4, ["fleet", "more"].map(|name| (name, None)));
    registry.row_of("heard", 0).receive(Timestamp::from_millis(7));
    let recall = |entry: &str, id: &str| registry.recall(entry, id, &BEFORE);
    assert_eq!(recall("fleet", "heard"), Recalled::Heard);
    assert_eq!(["a", "b", "c"].map(|id| recall("fleet", id)), {
        [Recalled::TakenUp, Recalled::TakenUp, Recalled::NoRow]
    });
    assert_eq!((recall("more", "a"), recall("gone", "a")), (Recalled::TakenUp, Recalled::OfNone));
    assert_eq!(registry.forgotten().0.count, 0);
    let a = registry.row("fleet", "a").unwrap();
    let heard = (a.presence(), a.since(), a.first_received(), a.last_received());
    assert_eq!(heard, (BEFORE.presence, Some(BEFORE.since), None, BEFORE.last_received));
    assert_eq!((a.interval(), a.rate(clock::now().wall).to_bits()), (BEFORE.interval, 0));
    let sums = registry.sums();
    let told = sums.iter().map(|it| (it.sensors, it.silent, it.balance.received));
    assert_eq!(told.collect::<Vec<_>>(), [(3, 2, 1), (1, 1, 0), (0, 0, 0)]);
    let every = ExpectedInterval::Every(crate::units::Period(Duration::from_secs(7)));
    registry.expect(0, Some(every));
    assert_eq!(a.interval(), Some(Duration::from_secs(7)), "what is set goes before it");
    registry.expect(0, Some(ExpectedInterval::None));
    assert_eq!(a.interval(), None);
    registry.end_entry("fleet");
    assert_eq!(recall("fleet", "a"), Recalled::OfNone);
}

#[test]
fn a_sensor_that_comes_back_goes_on_with_its_interval_and_begins_its_books() {
    let registry = Registry::new(4, [("fleet", None)]);
    let last_received = Some(Timestamp::from_millis(99_950));
    let before = Before { presence: Presence::Online, last_received, ..BEFORE };
    registry.recall("fleet", "a", &before);
    let (row, at) = (registry.row_of("a", 0), Timestamp::from_millis);
    registry.expect(0, None).begin(at(99_990));
    assert!(row.is_only_recalled());
    // However soon: that is a report of this run.
    assert_eq!(row.receive(at(100_000)), 1);
    assert!(!row.is_only_recalled());
    assert_eq!((row.first_received(), row.since()), (Some(at(100_000)), Some(BEFORE.since)));
    assert_eq!(row.interval(), BEFORE.interval);
    for second in 1..9 {
        row.receive(at(100_000 + second * 60_000));
    }
    let minutes = row.interval().unwrap().as_secs();
    assert!((60..66).contains(&minutes), "it is slower now: {minutes}");
    let none = Before { interval: None, ..before };
    registry.recall("fleet", "b", &none);
    let b = registry.row_of("b", 0);
    assert_eq!(b.interval(), None, "nobody could say, and it was not heard since");
    b.receive(at(200_000));
    b.receive(at(201_500));
    assert_eq!(b.interval(), None, "not yet");
}

/// What it may be told by a clock that was ahead, too.
#[test]
fn a_sensor_that_reports_takes_the_place_of_one_that_is_only_known_and_silent() {
    for last in [5000, u64::MAX >> 9] {
        let registry = Registry::new(1, [("fleet", None)]);
        let last_received = Some(Timestamp::from_millis(last));
        assert_eq!(registry.recall("fleet", "old", &Before { last_received, ..BEFORE }), {
            Recalled::TakenUp
        });
        assert!(!registry.row_of("new", 0).is_shared(), "{last}");
        assert_eq!(registry.recall("fleet", "old", &BEFORE), Recalled::NoRow, "not back again");
    }
}

/// It may be one that the entry has no more.
#[test]
fn of_an_entry_whose_sensors_are_known_only_those_are_taken_up() {
    let registry = Registry::new(9, [("TEMP", Some(1))]);
    registry.row_left("TEMP_09", Some("TEMP"));
    registry.row_of("TEMP_00", 0);
    let recalled = ["TEMP_00", "TEMP_01", "TEMP_09"].map(|id| registry.recall("TEMP", id, &BEFORE));
    assert_eq!(recalled, [Recalled::TakenUp, Recalled::OfNone, Recalled::OfNone]);
    let registry = Registry::new(9, [("fleet", None)]);
    registry.row_left("a", Some("fleet")).recover(1);
    assert_eq!(registry.recall("fleet", "a", &BEFORE), Recalled::TakenUp);
    assert_eq!(registry.sums()[0].balance.received, 1, "what its spool has");
}

/// It was taken of none of the entry's rows.
#[test]
fn a_row_of_a_spool_that_its_entry_never_heard_is_not_given_on() {
    let registry = Registry::new(3, [("gone", None), ("fleet", None)]);
    let left = registry.row_left("left", Some("gone"));
    left.recover(1);
    registry.enter(&Metrics::default(), &[left.index], Outcome::Delivered);
    registry.end_entry("gone");
    assert_eq!(registry.rows_missing(&[("more", 1)]), 1);
    assert!(!registry.row_of("a", 1).is_shared() && registry.row_of("b", 1).is_shared());
    assert!(!left.is_forgotten());
}

#[test]
fn who_reports_in_time_or_has_a_row_for_good_is_not_forgotten() {
    let registry = Registry::new(1, [("fleet", None)]);
    let day = ExpectedInterval::Every(crate::units::Period(Duration::from_hours(24)));
    registry.expect(0, Some(day));
    let row = heard_long_ago(&registry, "daily", 1000, true);
    assert!(registry.row_of("new", 0).is_shared() && !row.is_forgotten());
    let again = Registry::new(1, [("fleet", None)]);
    again.expect(0, Some(day));
    let row = heard_long_ago(&again, "daily", 1000, true);
    row.is_now(Presence::Silent, Timestamp::from_millis(2000));
    assert!(!again.row_of("new", 0).is_shared());
    let simulated = Registry::new(1, [("TEMP", Some(1))]);
    heard_long_ago(&simulated, "TEMP_00", 1000, true);
    assert!(simulated.row_of("TEMP_01", 0).is_shared());
}

#[test]
fn the_same_id_at_two_entries_is_two_sensors() {
    let registry = Registry::new(8, ["fleet", "more"].map(|name| (name, None)));
    let rows = [0, 1, 0].map(|entry| registry.row_of("a", entry));
    let sequences = rows.each_ref().map(|row| row.receive(Timestamp::from_millis(7)));
    assert_eq!((sequences, registry.sensors()), ([1, 1, 2], 2));
    assert_eq!(rows.map(|row| row.entry_json().to_owned()), ["\"fleet\"", "\"more\"", "\"fleet\""]);
}

#[test]
fn an_entry_that_is_added_has_rows_of_what_is_left_and_its_old_ones_again() {
    let registry = Registry::new(3, [("fleet", None)]);
    let first = registry.row_of("a", 0);
    let place = registry.add_entry("more", None);
    let added = registry.row_of("a", place);
    assert_ne!((first.index, place), (added.index, 0));
    assert_eq!((added.entry_name(), added.is_shared()), (Some("more"), false));
    assert_eq!((registry.add_entry("more", None), registry.add_entry("fleet", None)), (1, 0));
    assert_eq!(registry.row_of("a", place).index, added.index);
    assert_eq!(registry.entries(), ["fleet", "more"]);
    added.receive(Timestamp::from_millis(7));
    let received = registry.sums().iter().map(|it| it.balance.received).collect::<Vec<_>>();
    assert_eq!(received, [0, 1, 0]);
}

#[test]
fn a_sensor_of_a_spool_is_of_its_entry_if_there_is_one_still() {
    let registry = Registry::new(4, ["fleet", "more"].map(|name| (name, None)));
    for entry in [Some("fleet"), Some("gone"), None] {
        registry.row_left("b", entry).recover(1);
    }
    let of = || registry.sums().iter().map(|it| it.balance.received).collect::<Vec<_>>();
    assert_eq!((of(), registry.sensors()), (vec![1, 0, 2], 2));
    assert_eq!(registry.crowded(), []);
    registry.row_of("b", 0).receive(Timestamp::from_millis(7));
    registry.row_of("b", 1).receive(Timestamp::from_millis(7));
    assert_eq!((of(), registry.sensors()), (vec![2, 1, 2], 3));
    assert_eq!(registry.sums()[0].last_received, Some(Timestamp::from_millis(7)));
}

/// It may be one that the entry has no more, which would stand in the way of those that it has.
#[test]
fn a_sensor_of_a_spool_takes_none_of_its_entrys_rows_until_it_is_heard() {
    let registry = Registry::new(3, [("TEMP", Some(2))]);
    let old = registry.row_left("TEMP_09", Some("TEMP"));
    let rows = ["TEMP_00", "TEMP_01"].map(|id| registry.row_of(id, 0));
    assert!(rows.iter().all(|row| !row.is_shared()) && !old.is_shared());
    // One of four is the fleet's own, one for any of them.
    let registry = Registry::new(4, [("TEMP", Some(2)), ("fleet", None)]);
    assert!(!registry.row_left("TEMP_00", Some("TEMP")).is_shared());
    assert_eq!(["a", "b"].map(|id| registry.row_of(id, 1).is_shared()), [false, true]);
    registry.row_of("TEMP_00", 0);
    registry.row_of("TEMP_00", 0);
    let shared = ["c", "d"].map(|id| registry.row_of(id, 1).is_shared());
    assert_eq!(shared, [false, true], "its row went back to all, once, when it was heard");
}
