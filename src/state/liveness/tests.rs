//! Which sensors are told to be late or silent, over hours that take no time.

use std::collections::BTreeMap;
use std::time::Instant;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::clock;
use crate::state::metrics::Counter;
use crate::state::registry::{Before, Recalled};
use crate::units::{ExpectedInterval, Period};

struct Scene {
    books: Books,
    liveness: Liveness,
    now: Now,
    /// When each sensor reports next.
    next: BTreeMap<u32, Instant>,
    rng: SmallRng,
}

impl Scene {
    fn new(expected: Option<ExpectedInterval>) -> Self {
        let (books, now) = (Books::of_entries(200, &["fleet"]), clock::now());
        books.registry.expect(0, expected).begin(now.wall);
        Self {
            books,
            liveness: Liveness::new(now),
            now,
            next: BTreeMap::new(),
            rng: SmallRng::seed_from_u64(7),
        }
    }

    /// Time passes; each of these sensors reports so often, give or take a fifth.
    fn pass(&mut self, time: Duration, sensors: std::ops::Range<u32>, every: Duration) {
        let end = self.now.later(time);
        while self.now.instant < end.instant {
            for sensor in sensors.clone() {
                self.report(sensor, every);
            }
            self.liveness.look(&self.books, self.now);
            self.now = self.now.later(Duration::from_secs(1));
        }
    }

    /// A sensor reports, if it is time.
    fn report(&mut self, sensor: u32, every: Duration) {
        let now = self.now.instant;
        let begins = now + every.mul_f64(self.rng.random_range(0.0..1.0));
        let next = self.next.entry(sensor).or_insert(begins);
        while *next <= now {
            let pause = every.mul_f64(self.rng.random_range(0.8..1.2));
            *next = (*next + pause).max(now + every / 2);
            self.books.registry.row_of(&format!("s{sensor}"), 0).receive(self.now.wall);
        }
    }

    /// How many became online again, late, silent.
    fn changed(&self) -> [u64; 3] {
        let metrics = &self.books.metrics.sensors_changed;
        [Presence::Online, Presence::Late, Presence::Silent].map(|it| Counter::get(metrics.of(it)))
    }

    fn listening(&self) -> Arc<super::super::listening::Listening> {
        self.books.registry.expect(0, None)
    }
}

impl Scene {
    /// The gateway has stopped, and starts after so long; it knows what it has told of its sensors.
    fn restarted(self, after: Duration, expected: Option<ExpectedInterval>) -> Self {
        let now = self.now.later(after);
        let scene = Self { now, liveness: Liveness::new(now), ..Self::new(expected) };
        scene.books.registry.notices.want();
        scene.listening().end(clock::now().wall);
        self.books.registry.with_rows(|rows| {
            for row in rows {
                let (last_received, interval) = (row.last_received(), row.interval());
                let (presence, since) = (row.presence(), row.since().unwrap());
                let before = Before { presence, since, last_received, interval };
                let recalled = scene.books.registry.recall("fleet", row.id(), &before);
                assert_eq!(recalled, Recalled::TakenUp);
            }
        });
        scene.books.registry.expect(0, expected).begin(now.wall);
        scene
    }

    /// Notices that are due, and are taken.
    fn notices(&self) -> usize {
        std::iter::from_fn(|| self.books.registry.notices.take()).count()
    }
}

const EVERY: Duration = Duration::from_secs(20);
const MINUTES: Duration = Duration::from_mins(1);

#[test]
fn of_a_hundred_sensors_those_that_stop_are_told_and_no_other() {
    let mut scene = Scene::new(None);
    scene.pass(30 * MINUTES, 0..100, EVERY);
    assert_eq!(scene.changed(), [0; 3]);
    scene.pass(2 * EVERY, 3..100, EVERY);
    assert_eq!(scene.changed(), [0, 3, 0], "within two intervals");
    scene.pass(2 * EVERY, 3..100, EVERY);
    assert_eq!(scene.changed(), [0, 3, 3]);
    scene.pass(10 * MINUTES, 3..100, EVERY);
    assert_eq!(scene.changed(), [0, 3, 3], "once");
    let silent = scene.books.registry.sums()[0];
    assert_eq!((silent.silent, silent.late), (3, 0));
    scene.pass(MINUTES, 0..100, EVERY);
    assert_eq!(scene.changed(), [3, 3, 3]);
    scene.pass(2 * EVERY + EVERY / 2, 1..100, EVERY);
    assert_eq!(scene.changed(), [3, 4, 3], "and again");
}

/// Three sensors end while the gateway does not run.
#[test]
fn what_does_not_come_back_after_a_restart_is_silent_once_and_nothing_else_is() {
    let mut scene = Scene::new(None);
    scene.pass(30 * MINUTES, 0..100, EVERY);
    scene = scene.restarted(MINUTES, None);
    scene.pass(EVERY, 3..100, EVERY);
    assert_eq!(scene.changed(), [0; 3], "within an interval");
    scene.pass(4 * EVERY, 3..100, EVERY);
    assert_eq!(scene.changed(), [0, 3, 3]);
    for _ in 0..3 {
        let since = scene.books.registry.row("fleet", "s0").unwrap().since();
        scene = scene.restarted(MINUTES, None);
        scene.pass(10 * MINUTES, 3..100, EVERY);
        assert_eq!(scene.changed(), [0; 3]);
        let row = scene.books.registry.row("fleet", "s0").unwrap();
        assert_eq!((row.presence(), row.since()), (Presence::Silent, since));
        assert_eq!(scene.books.registry.sums()[0].silent, 3);
        assert_eq!(scene.notices(), 97, "of those that were heard");
    }
    scene.pass(MINUTES, 0..100, EVERY);
    assert_eq!(scene.changed(), [3, 0, 0], "they come back");
}

#[test]
fn what_is_known_of_before_is_missed_from_the_moment_at_which_its_entry_listens() {
    let every = Some(ExpectedInterval::Every(Period(EVERY)));
    let mut scene = Scene::new(every);
    scene.pass(2 * MINUTES, 0..3, EVERY);
    scene = scene.restarted(Duration::from_hours(9), every);
    let listening = Arc::clone(&scene.books.registry.expect(0, every));
    listening.end(scene.now.wall);
    scene.pass(10 * MINUTES, 0..0, EVERY);
    assert_eq!((scene.changed(), scene.notices()), ([0; 3], 0), "it does not listen");
    listening.begin(scene.now.wall);
    scene.pass(EVERY + EVERY / 2, 0..0, EVERY);
    assert_eq!(scene.changed(), [0; 3]);
    scene.pass(EVERY, 0..0, EVERY);
    assert_eq!(scene.changed(), [0, 3, 0]);
    scene.pass(2 * EVERY, 0..0, EVERY);
    assert_eq!((scene.changed(), scene.notices()), ([0, 3, 3], 3));
}

/// The broker is away, or the gateway has no room: nothing can come.
#[test]
fn an_outage_silences_nobody() {
    let mut scene = Scene::new(None);
    for _ in 0..3 {
        scene.pass(2 * MINUTES, 0..100, EVERY);
        scene.listening().end(scene.now.wall);
        scene.pass(5 * MINUTES, 0..0, EVERY);
        scene.listening().begin(scene.now.wall);
    }
    scene.pass(10 * MINUTES, 0..100, EVERY);
    assert_eq!(scene.changed(), [0; 3]);
    scene.pass(2 * EVERY, 1..100, EVERY);
    assert_eq!(scene.changed(), [0, 1, 0], "what was learned before holds");
}

#[test]
fn a_clock_that_is_set_or_a_process_that_stood_still_silences_nobody() {
    let mut scene = Scene::new(None);
    scene.pass(2 * MINUTES, 0..100, EVERY);
    for (by_wall, back) in [(3600, false), (3600, true), (0, false)] {
        let by = Duration::from_secs(by_wall);
        let wall = if back { scene.now.wall.earlier(by) } else { scene.now.later(by).wall };
        scene.now = Now { wall, ..scene.now };
        if by_wall == 0 {
            scene.now = scene.now.later(10 * MINUTES);
        }
        scene.liveness.look(&scene.books, scene.now);
        scene.pass(10 * MINUTES, 0..100, EVERY);
        assert_eq!(scene.changed(), [0; 3], "{by_wall} {back}");
    }
    scene.pass(4 * EVERY, 1..100, EVERY);
    assert_eq!(scene.changed()[1..], [1, 1]);
}

/// Its last reading is in the future then.
#[test]
fn a_sensor_that_stops_when_the_clock_is_set_back_is_told_all_the_same() {
    let mut scene = Scene::new(None);
    scene.pass(30 * MINUTES, 0..100, EVERY);
    scene.now = Now { wall: scene.now.wall.earlier(Duration::from_hours(1)), ..scene.now };
    scene.pass(4 * EVERY, 1..100, EVERY);
    assert_eq!(scene.changed(), [0, 1, 1]);
}

#[test]
fn an_interval_that_is_set_counts_from_the_first_reading_and_none_never() {
    let every = ExpectedInterval::Every(Period(EVERY));
    for (expected, late) in [(Some(every), 1), (Some(ExpectedInterval::None), 0), (None, 0)] {
        let mut scene = Scene::new(expected);
        scene.pass(2 * EVERY, 0..1, Duration::from_hours(1));
        scene.books.registry.row_of("once", 0).receive(scene.now.wall);
        scene.pass(2 * EVERY, 0..0, EVERY);
        assert_eq!(scene.changed()[1], late, "{expected:?}");
    }
}

/// A report of several readings, and a sensor that sends ten in a second.
#[test]
fn bursts_make_no_sensor_late_and_a_fast_one_is_noticed_soon() {
    let mut scene = Scene::new(None);
    for _ in 0..20 {
        for _ in 0..3 {
            scene.pass(Duration::from_secs(2), 0..1, Duration::from_millis(900));
        }
        scene.pass(2 * MINUTES, 0..0, EVERY);
    }
    assert_eq!(scene.changed(), [0; 3]);
    scene.pass(20 * MINUTES, 0..0, EVERY);
    assert_eq!(scene.changed(), [0, 1, 1]);
    let mut scene = Scene::new(None);
    scene.pass(MINUTES, 0..1, Duration::from_millis(100));
    scene.pass(Duration::from_secs(3), 0..0, EVERY);
    assert_eq!(scene.changed(), [0, 1, 0]);
}

/// It would stand in the way of those that are due.
#[test]
fn a_sensor_that_reports_once_a_day_is_looked_at_now_and_then() {
    let day = Duration::from_hours(24);
    let mut scene = Scene::new(Some(ExpectedInterval::Every(Period(day))));
    scene.pass(Duration::from_secs(2), 0..1, day / 100_000);
    scene.pass(Duration::from_hours(36).saturating_sub(MINUTES), 0..0, day);
    assert_eq!(scene.changed(), [0; 3]);
    scene.pass(2 * MINUTES, 0..0, day);
    assert_eq!(scene.changed(), [0, 1, 0]);
    let places: usize = scene.liveness.slots.iter().map(Vec::len).sum();
    assert_eq!(places, 1);
}

/// As its availability, or a death of Sparkplug, has it.
#[test]
fn a_sensor_that_says_that_it_is_not_there_is_told_at_once_and_once() {
    let mut scene = Scene::new(Some(ExpectedInterval::None));
    scene.pass(2 * MINUTES, 0..2, EVERY);
    let row = scene.books.registry.row("fleet", "s0").unwrap();
    for _ in 0..3 {
        row.told(false, scene.now.wall);
    }
    scene.pass(Duration::from_secs(1), 0..0, EVERY);
    assert_eq!(scene.changed(), [0, 0, 1]);
    scene.pass(MINUTES, 0..0, EVERY);
    assert_eq!(scene.changed(), [0, 0, 1], "it stays so");
    row.told(true, scene.now.wall);
    scene.pass(Duration::from_secs(1), 0..0, EVERY);
    assert_eq!(scene.changed(), [1, 0, 1]);
    let fresh = scene.books.registry.row_of("fresh", 0);
    fresh.told(true, scene.now.wall);
    scene.pass(Duration::from_secs(1), 0..0, EVERY);
    assert_eq!(scene.changed(), [1, 0, 1], "nothing has changed");
    assert_eq!(fresh.since(), Some(scene.now.wall.earlier(Duration::from_secs(1))));
    fresh.told(false, scene.now.wall);
    scene.pass(Duration::from_secs(1), 0..0, EVERY);
    assert_eq!(scene.changed(), [1, 0, 2]);
}

/// Its row is that of a sensor that was forgotten, which may have a place of its own.
#[test]
fn a_sensor_in_the_place_of_another_one_is_watched_and_each_once() {
    let every = ExpectedInterval::Every(Period(EVERY));
    let now = clock::now();
    let mut scene = Scene { books: Books::of_entries(2, &["fleet"]), ..Scene::new(None) };
    scene.now = now;
    scene.books.registry.expect(0, Some(every)).begin(now.wall);
    let registry = Arc::clone(&scene.books.registry);
    for id in ["a", "b"] {
        let row = registry.row_of(id, 0);
        row.receive(Timestamp::from_millis(1000));
        registry.enter(&scene.books.metrics, &[row.index], crate::settlement::Outcome::Delivered);
    }
    scene.pass(5 * MINUTES, 0..0, EVERY);
    assert_eq!(scene.changed(), [0, 2, 2]);
    for id in ["c", "d"] {
        assert!(!registry.row_of(id, 0).is_shared());
        registry.row_of(id, 0).receive(scene.now.wall);
    }
    scene.pass(2 * EVERY, 0..0, EVERY);
    assert_eq!(scene.changed(), [0, 4, 2]);
    assert_eq!(scene.books.metrics.sensors_forgotten.get(), 2);
    scene.pass(MINUTES, 0..0, EVERY);
    assert_eq!(scene.changed(), [0, 4, 4]);
    let places: usize = scene.liveness.slots.iter().map(Vec::len).sum();
    assert_eq!(places, 1, "the row that is shared: those that are silent have none");
}

/// It has a place on the wheel each time it returns.
#[test]
fn a_sensor_that_comes_and_goes_is_looked_at_once_at_a_time() {
    let mut scene = Scene::new(Some(ExpectedInterval::None));
    let row = scene.books.registry.row_of("flaps", 0);
    row.receive(scene.now.wall);
    for _ in 0..20 {
        for is_there in [false, true] {
            row.told(is_there, scene.now.wall);
            scene.pass(Duration::from_secs(1), 0..0, EVERY);
        }
    }
    scene.pass(3 * MINUTES, 0..0, EVERY);
    let places: usize = scene.liveness.slots.iter().map(Vec::len).sum();
    assert_eq!(places, 1);
}
