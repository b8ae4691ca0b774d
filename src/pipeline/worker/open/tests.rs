//! Open batches of several routes.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::clock;
use crate::codec::Whose;
use crate::record::{Arrival, Body, Span};
use crate::sealed::Kind;
use crate::settlement::Token;
use crate::units::{Period, Size};

const AGE: Duration = Duration::from_millis(100);

/// Open batches and what was sealed of them, as the worker does it.
struct Side {
    now: Now,
    open: OpenBatches,
    encoder: Encoder,
    sealed: Vec<(Seal, InFlight)>,
    next: u32,
}

impl Side {
    fn new(routes_max: usize, records_max: u32, bytes_max: u32) -> Self {
        let mut plan = Plan::default();
        plan.batch.records_max = NonZeroU32::new(records_max).unwrap();
        plan.batch.bytes_max = Size::bytes(bytes_max);
        plan.batch.age_max = Period(AGE);
        plan.batch.routes_max = u16::try_from(routes_max).unwrap().try_into().unwrap();
        let books = Arc::new(plan.books(Arc::default()));
        let encoder = plan.output.encoder();
        let open = OpenBatches::new(Arc::new(plan), books, Route::output());
        Self { now: clock::now(), open, encoder, sealed: Vec::new(), next: 0 }
    }

    fn seal(&mut self, at: usize, reason: Seal) {
        let flight = self.open.seal(at, self.now, "b", Vec::new()).unwrap();
        self.sealed.push((reason, flight));
    }

    /// The next record of a sensor: its value is its number and so many bytes.
    fn add(&mut self, sensor: u32, route: u32, bytes: usize) {
        let (route, sensor) = (Route::named(&format!("r{route}")), SensorIndex(sensor));
        let value = format!("[{},\"{}\"]", self.next, "x".repeat(bytes));
        self.next += 1;
        let view = View {
            sensor: Whose::Uncounted(b"s"),
            entry: "",
            value: value.as_bytes(),
            timestamp: b"1",
            received: self.now.wall,
            labels: b"",
            topic: b"",
            extra: b"",
            arrival: Arrival::default(),
            expires: None,
        };
        let none = Span::default();
        let record = Record {
            sensor,
            id: none,
            sequence: 1,
            received: self.now.wall,
            token: Token::NONE,
            topic: none,
            arrival: Arrival::default(),
            body: Body::Reading { value: none, timestamp: none, labels: none, extra: none },
        };
        loop {
            if let Err(first) = self.open.turn_to(&route, sensor) {
                self.seal(first, Seal::Route);
                continue;
            }
            self.open.write(&mut self.encoder, &view).unwrap();
            match self.open.keep(&record, self.now.instant) {
                Ok(None) => return,
                Ok(Some(full)) => return self.seal(self.open.at(), full),
                Err(heavy) => self.seal(self.open.at(), heavy),
            }
        }
    }

    fn later(&mut self, by: Duration) {
        self.now = self.now.later(by);
        while let Some((at, due)) = self.open.due(self.now.instant) {
            self.seal(at, due);
        }
    }

    fn drain(&mut self) {
        while let Some(at) = self.open.oldest() {
            self.seal(at, Seal::Draining);
        }
    }

    fn reasons(&self) -> Vec<Seal> {
        self.sealed.iter().map(|(reason, _)| *reason).collect()
    }

    fn open_routes(&self) -> usize {
        self.open.batches.iter().filter(|it| !it.batcher.is_empty()).count()
    }
}

fn route_of(flight: &InFlight) -> String {
    match &flight.sealed().kind {
        Kind::Readings { route, .. } => route.as_str().to_owned(),
        Kind::DeadLetters { .. } => panic!("no readings"),
    }
}

/// The numbers of the records of a batch, as they stand in its text.
fn numbers(flight: &InFlight) -> Vec<u64> {
    let sealed = flight.sealed();
    let record = |it: &[u8]| serde_json::from_slice::<serde_json::Value>(it).unwrap();
    let records = sealed.places.as_ref().unwrap().of(&sealed.text);
    records.into_iter().map(|it| record(it)["value"][0].as_u64().unwrap()).collect()
}

#[test]
fn each_route_fills_a_batch_of_its_own() {
    let mut side = Side::new(4, 3, 1000);
    (0..9).for_each(|n| side.add(n, n % 3, 1));
    let routes: Vec<_> = side.sealed.iter().map(|(_, it)| route_of(it)).collect();
    assert_eq!(
        (routes, side.reasons()),
        (["r0", "r1", "r2"].map(Into::into).into(), vec![Seal::Full; 3])
    );
    assert_eq!(numbers(&side.sealed[1].1), [1, 4, 7]);
    assert!(side.open.is_empty());
}

#[test]
fn a_sensor_that_changes_its_route_has_its_older_batch_sealed_before() {
    let mut side = Side::new(4, 10, 1000);
    side.add(1, 0, 1);
    side.add(2, 0, 1);
    side.add(3, 1, 1);
    assert_eq!(side.reasons(), [], "nobody has changed");
    side.add(1, 1, 1);
    assert_eq!(side.reasons(), [Seal::Route]);
    assert_eq!(
        (route_of(&side.sealed[0].1), numbers(&side.sealed[0].1)),
        ("r0".into(), vec![0, 1])
    );
    side.add(2, 0, 1);
    assert_eq!((side.sealed.len(), side.open_routes()), (1, 2), "its older one is sealed");
}

/// The one of the last record is used, however long it has been.
#[test]
fn for_one_route_too_many_the_least_recently_used_is_sealed() {
    let mut side = Side::new(2, 10, 1000);
    side.add(1, 1, 1);
    side.add(2, 2, 1);
    side.add(1, 1, 1);
    side.add(3, 3, 1);
    assert_eq!((side.reasons(), route_of(&side.sealed[0].1)), (vec![Seal::Route], "r2".into()));
    assert_eq!(side.open_routes(), 2);
    let mut side = Side::new(1, 10, 1000);
    (0..3).for_each(|n| side.add(n, n, 1));
    assert_eq!(side.reasons(), [Seal::Route; 2], "one place is enough");
}

#[test]
fn each_batch_ages_by_itself() {
    let mut side = Side::new(4, 10, 1000);
    side.add(1, 1, 1);
    side.later(AGE / 2);
    side.add(2, 2, 1);
    assert_eq!(side.open.deadline(), Some(side.now.instant + AGE / 2), "of the first");
    side.later(AGE / 2);
    assert_eq!((side.reasons(), side.open_routes()), (vec![Seal::Aged], 1));
    side.later(AGE / 2);
    assert_eq!((side.reasons(), side.open_routes()), (vec![Seal::Aged; 2], 0));
}

/// Else a record would cost more than where there are no routes.
#[test]
fn with_one_route_nothing_is_remembered_of_sensors() {
    let mut side = Side::new(4, 3, 1000);
    (0..100).for_each(|n| side.add(n, 7, 1));
    assert_eq!((side.open.batches.len(), side.open.holders.len()), (1, 0));
}

proptest! {
    #[test]
    fn routes_lose_nothing_keep_their_bounds_and_each_sensors_order(
        records in prop::collection::vec((0_u32..6, 0_u32..5, 0_usize..120, 0_u64..40), 1..150),
        // How often a sensor is where it does not belong.
        wander in 1_u32..12,
        routes_max in 1_usize..5,
        records_max in 1_u32..9,
        bytes_max in 60_u32..500,
    ) {
        let mut side = Side::new(routes_max, records_max, bytes_max);
        let mut sensors = Vec::new();
        for (n, (sensor, other, bytes, pause)) in (0..).zip(&records) {
            let route = if n % wander == 0 { *other } else { sensor % 4 };
            side.add(*sensor, route, *bytes);
            sensors.push((*sensor, route));
            prop_assert!(side.open_routes() <= routes_max);
            prop_assert!(side.open.batches.len() <= routes_max);
            side.later(Duration::from_millis(*pause));
            let oldest = side.open.opened();
            prop_assert!(oldest.is_none_or(|it| it + AGE > side.now.instant), "older than its age");
        }
        side.drain();
        prop_assert!(side.open.is_empty() && side.open.records() == 0);
        let mut last: BTreeMap<u32, u64> = BTreeMap::new();
        let mut came = Vec::new();
        for (_, flight) in &side.sealed {
            let (numbers, route) = (numbers(flight), route_of(flight));
            prop_assert!(numbers.len() <= records_max as usize);
            let body: usize = flight.sealed().places.as_ref().unwrap().ends.last().map_or(0, |it| *it as usize);
            prop_assert!(body <= bytes_max as usize || numbers.len() == 1);
            for (number, sensor) in numbers.iter().zip(flight.sensors()) {
                let (of, chosen) = sensors[usize::try_from(*number).unwrap()];
                prop_assert_eq!((sensor.0, &route), (of, &format!("r{chosen}")));
                let before = last.insert(of, *number);
                prop_assert!(before < Some(*number), "sensor {} out of order", of);
            }
            came.extend(numbers);
        }
        came.sort_unstable();
        prop_assert_eq!(came, (0..records.len() as u64).collect::<Vec<_>>());
    }
}
