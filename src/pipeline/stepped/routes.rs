//! The engine stepped with several routes.

use super::*;
use crate::codec::{Unwritable, View, Whose};
use crate::sink::routing::Routing;
use crate::spool::faulty_disk::Disk;

/// These routes, one of which a function chooses for a record.
#[derive(Debug)]
struct Listed {
    routes: Vec<Route>,
    choose: fn(&View<'_>) -> usize,
}

impl Routing for Listed {
    fn is_one(&self) -> bool {
        false
    }

    fn key(&self, out: &mut Vec<u8>, view: &View<'_>) {
        out.push((self.choose)(view).try_into().unwrap());
    }

    fn route(&self, view: &View<'_>) -> Result<Route, Unwritable> {
        Ok(self.routes[(self.choose)(view)].clone())
    }

    fn named(&self, name: &str) -> Option<Route> {
        self.routes.iter().find(|it| it.as_str() == name).cloned()
    }
}

/// One of these routes, by this function.
pub(super) fn listed(routes: &[&str], choose: fn(&View<'_>) -> usize) -> Router {
    let routes = routes.iter().copied().map(Route::named).collect();
    Router::new(Arc::new(Listed { routes, choose }))
}

/// Three routes, by the value's tens: each sensor changes its own every ten readings.
pub(super) fn by_tens() -> Router {
    listed(&["r0", "r1", "r2"], |view| {
        let digits = view.value.iter().take_while(|it| it.is_ascii_digit());
        let value = digits.fold(0, |value, digit| value * 10 + usize::from(digit - b'0'));
        value / 10 % 3
    })
}

/// Three routes that take turns, for sensors that stay on theirs: `a`, `b` and `c`.
fn by_sensor() -> Router {
    listed(&["r0", "r1", "r2"], |view| {
        let Whose::Counted(json, _) = view.sensor else { panic!("every sensor is counted") };
        SENSORS.iter().position(|it| *it == json.trim_matches('"')).unwrap()
    })
}

fn bench(router: Router, change: impl FnOnce(&mut Plan)) -> Bench {
    let mut plan = small();
    plan.queue.records_max = NonZeroU32::new(200).unwrap();
    change(&mut plan);
    let mut bench = Bench::routed((clock::now(), 7), plan, None, router);
    bench.connect(None, usize::MAX);
    bench
}

impl Bench {
    /// Answers whatever comes; all values, in the order they came.
    pub(super) fn taken(&mut self) -> Vec<u32> {
        let mut values = Vec::new();
        for _ in 0..1000 {
            let Some(first) = self.came.first() else { break };
            let number = first.number;
            values
                .extend(self.records().swap_remove(0).iter().map(|it| it.parse::<u32>().unwrap()));
            self.answer(number, Answer::Taken);
            self.take();
        }
        values
    }
}

/// Each in its order, and all of them.
pub(super) fn judge(values: &[u32], count: u32) {
    for sensor in 0..3 {
        let of: Vec<_> = values.iter().copied().filter(|it| it % 3 == sensor).collect();
        assert_eq!(of, (0..count).filter(|it| it % 3 == sensor).collect::<Vec<_>>());
    }
}

#[test]
fn routes_have_batches_of_their_own() {
    let mut bench = bench(by_sensor(), |plan| {
        plan.output.window_batches = NonZeroU16::new(9).unwrap();
    });
    bench.offer(&some(0..8));
    (0..3).for_each(|_| bench.take());
    assert_eq!(bench.records(), [["0", "3", "6"], ["1", "4", "7"]]);
    assert_eq!(bench.books.gauges.batch_records.get(), 2, "of the third");
    bench.later(Duration::from_secs(1));
    assert_eq!(bench.records()[2], ["2", "5"]);
    assert_eq!(bench.books.metrics.sealed_route.get(), 0, "nobody has changed");
}

#[test]
fn sensors_that_change_their_routes_arrive_in_order() {
    for records_max in [1, 2, 3, 50] {
        let mut bench = bench(by_tens(), |plan| {
            plan.batch.records_max = NonZeroU32::new(records_max).unwrap();
        });
        bench.offer(&some(0..100));
        (0..9).for_each(|_| bench.take());
        let mut values = bench.taken();
        bench.later(Duration::from_secs(1));
        values.extend(bench.taken());
        judge(&values, 100);
        assert_eq!((bench.balance().delivered, bench.balance().held), (100, 0));
    }
}

/// However many batches have to be sealed for one record, or at once.
#[test]
fn no_more_is_sealed_than_there_is_room_for() {
    for window in [1, 2, 3] {
        let mut bench = bench(by_sensor(), |plan| {
            plan.output.window_batches = NonZeroU16::new(window).unwrap();
        });
        let full = |bench: &Bench| bench.came.len() <= usize::from(window);
        bench.offer(&some(0..6));
        bench.take();
        bench.apply(Event::Stalled);
        assert!(full(&bench) && !bench.came.is_empty(), "starved: {:?}", bench.records());
        bench.later(Duration::from_secs(1));
        assert!(full(&bench), "aged: {:?}", bench.records());
        bench.inlet = None;
        bench.apply(Event::Ended);
        assert!(full(&bench), "draining: {:?}", bench.records());
        let mut values = bench.taken();
        assert_eq!(bench.worker.ended(), Some(Ended::Drained));
        values.sort_unstable();
        assert_eq!(values, (0..6).collect::<Vec<_>>());
    }
}

#[test]
fn a_record_waits_where_a_batch_must_be_sealed_before_it_and_there_is_no_room() {
    let mut bench = bench(by_tens(), |plan| {
        plan.output.window_batches = NonZeroU16::new(1).unwrap();
        plan.batch.records_max = NonZeroU32::new(2).unwrap();
    });
    // 12 is of the sensor of 9, and takes the route of 10, whose batch it completes.
    bench.offer(&[9, 10, 12].map(Some));
    bench.take();
    assert_eq!(bench.records(), [["9"]]);
    assert_eq!(bench.books.metrics.sealed_route.get(), 1);
    bench.answer(bench.came[0].number, Answer::Taken);
    assert_eq!(bench.records(), [["10", "12"]]);
    bench.answer(bench.came[0].number, Answer::Taken);
    assert_eq!((bench.balance().delivered, bench.balance().held), (3, 0));
}

#[test]
fn what_is_let_go_of_any_route_is_abandoned() {
    let mut bench = bench(by_sensor(), |_| {});
    bench.offer(&some(0..3));
    bench.take();
    bench.report(sink::Event::Abort);
    assert_eq!(bench.worker.ended(), Some(Ended::Aborted));
    assert_eq!(bench.books.metrics.abandoned.get(), 3);
    assert_eq!(bench.balance().held, 3);
}

/// Killed with the output away: what is on disk is in order.
#[test]
fn routes_come_from_the_spool_in_order() {
    let disk = Disk::default();
    let mut plan = small();
    plan.queue.records_max = NonZeroU32::new(200).unwrap();
    let start = |plan: &Plan| {
        let spool = Some(disk.spool().unwrap());
        Bench::routed((clock::now(), 7), plan.clone(), spool, by_tens())
    };
    let mut bench = start(&plan);
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
    let mut bench = start(&plan);
    bench.connect(None, usize::MAX);
    judge(&bench.taken(), 60);
}
