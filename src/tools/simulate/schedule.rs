//! Decides which reading is due, and when. Pure: the time is an argument.
//!
//! Schedules are absolute: a reading that was sent late (the window was full, the broker was away) does not
//! delay the next one. All readings that became due meanwhile are sent, in order, so the numbers of a sensor
//! have no gaps. Nothing is stored for a reading that is not due or not made.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

/// The times of one sensor's readings.
#[derive(Debug, Clone, Copy)]
pub struct Turns {
    /// When its first reading is due, after the start.
    pub phase: Duration,
    /// Time between two of its readings; 0: as fast as they go.
    pub interval: Duration,
    /// How many readings it makes; `None` is no end.
    pub readings: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The sensor's index in the schedule.
    pub sensor: usize,
    /// Counts the sensor's readings from 1, those too that a planted fault leaves out.
    pub number: u64,
    /// When it became due, after the start.
    pub at: Duration,
}

/// The answer to "what now?".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// This reading is due now.
    Reading(Due),
    /// Nothing is due before this time, after the start.
    Wait(Duration),
    /// All sensors have made all their readings.
    Over,
}

/// How the next sensor is chosen.
#[derive(Debug)]
enum Order {
    /// In turn, at a rate in readings per second, from a first moment on.
    InTurn { waiting: VecDeque<usize>, made: u64, first: Duration, per_second: Option<f64> },
    /// By the time when they are due. Of those due at the same time, the one that has waited longer.
    ByTime { waiting: BinaryHeap<Reverse<(Duration, u64, usize)>>, queued: u64 },
}

#[derive(Debug)]
pub struct Schedule {
    sensors: Vec<(Turns, u64)>,
    order: Order,
}

impl Schedule {
    pub fn by_interval(sensors: Vec<Turns>) -> Self {
        let mut waiting = BinaryHeap::with_capacity(sensors.len());
        for (index, turns) in sensors.iter().enumerate() {
            if turns.readings != Some(0) {
                waiting.push(Reverse((turns.phase, index as u64, index)));
            }
        }
        let queued = sensors.len() as u64;
        Self::new(sensors, Order::ByTime { waiting, queued })
    }

    /// All sensors in turn, at `per_second` readings together, the first due at `first`. Without a rate: as
    /// fast as they are asked for.
    pub fn in_turn(sensors: Vec<Turns>, per_second: Option<f64>, first: Duration) -> Self {
        let all = sensors.iter().enumerate();
        let waiting = all.filter(|it| it.1.readings != Some(0)).map(|it| it.0).collect();
        Self::new(sensors, Order::InTurn { waiting, made: 0, first, per_second })
    }

    fn new(sensors: Vec<Turns>, order: Order) -> Self {
        Self { sensors: sensors.into_iter().map(|turns| (turns, 0)).collect(), order }
    }

    /// The next reading, if it is due at `now`; it then counts as made.
    pub fn next(&mut self, now: Duration) -> Next {
        let (sensor, at) = match &self.order {
            Order::InTurn { waiting, made, first, per_second } => {
                let Some(sensor) = waiting.front() else { return Next::Over };
                (*sensor, per_second.map_or(now, |rate| *first + nth(*made, rate)))
            }
            Order::ByTime { waiting, .. } => {
                let Some(Reverse((at, _, sensor))) = waiting.peek() else { return Next::Over };
                (*sensor, *at)
            }
        };
        if at > now { Next::Wait(at) } else { self.make(sensor, at, now) }
    }

    /// Moves the sensor's next reading, if it has one. It looks at all sensors, and has no effect in turn.
    pub fn put_off(&mut self, sensor: usize, at: Duration) {
        if let Order::ByTime { waiting, queued } = &mut self.order {
            let before = waiting.len();
            waiting.retain(|Reverse(it)| it.2 != sensor);
            if waiting.len() < before {
                waiting.push(Reverse((at, *queued, sensor)));
                *queued += 1;
            }
        }
    }

    /// The sensor makes no more readings.
    pub fn end(&mut self, sensor: usize) {
        match &mut self.order {
            Order::InTurn { waiting, .. } => waiting.retain(|it| *it != sensor),
            Order::ByTime { waiting, .. } => waiting.retain(|Reverse(it)| it.2 != sensor),
        }
    }

    fn make(&mut self, sensor: usize, at: Duration, now: Duration) -> Next {
        let (turns, made) = self.sensors.get_mut(sensor).expect("who waits is in the schedule");
        *made += 1;
        let more = turns.readings.is_none_or(|readings| *made < readings);
        match &mut self.order {
            Order::InTurn { waiting, made, .. } => {
                *made += 1;
                waiting.pop_front();
                if more {
                    waiting.push_back(sensor);
                }
            }
            Order::ByTime { waiting, queued } => {
                waiting.pop();
                if more {
                    // A sensor without an interval is due again at once, behind the waiting ones.
                    let next = Some(turns.interval).filter(|it| !it.is_zero());
                    let next = next.map_or(now, |interval| at + interval);
                    waiting.push(Reverse((next, *queued, sensor)));
                    *queued += 1;
                }
            }
        }
        Next::Reading(Due { sensor, number: *made, at })
    }
}

/// When reading `n` (from 0) is due at a rate.
#[expect(clippy::cast_precision_loss, reason = "2^53 readings are further than anyone waits")]
fn nth(n: u64, per_second: f64) -> Duration {
    Duration::try_from_secs_f64(n as f64 / per_second).unwrap_or(Duration::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn turns(phase: u64, interval: u64, readings: Option<u64>) -> Turns {
        let ms = Duration::from_millis;
        Turns { phase: ms(phase), interval: ms(interval), readings }
    }

    /// Takes everything that is due until `end`, each reading as soon as it is due.
    fn all(schedule: &mut Schedule, end: Duration) -> Vec<Due> {
        let (mut now, mut made) = (Duration::ZERO, Vec::new());
        loop {
            match schedule.next(now) {
                Next::Reading(due) => made.push(due),
                Next::Wait(until) if until <= end => now = until,
                Next::Wait(_) | Next::Over => return made,
            }
        }
    }

    #[test]
    fn each_sensor_keeps_its_own_interval() {
        let sensors = vec![turns(0, 100, None), turns(30, 50, Some(3))];
        let mut schedule = Schedule::by_interval(sensors);
        let made = all(&mut schedule, Duration::from_millis(200));
        let made: Vec<_> =
            made.iter().map(|it| (it.at.as_millis(), it.sensor, it.number)).collect();
        assert_eq!(
            made,
            [(0, 0, 1), (30, 1, 1), (80, 1, 2), (100, 0, 2), (130, 1, 3), (200, 0, 3)]
        );
        assert_eq!(schedule.next(Duration::ZERO), Next::Wait(Duration::from_millis(300)));
    }

    #[test]
    fn a_reading_is_put_off_and_a_sensor_ends() {
        let sensors = vec![turns(0, 100, None), turns(0, 100, Some(1))];
        let mut schedule = Schedule::by_interval(sensors.clone());
        let ms = Duration::from_millis;
        assert!(matches!(schedule.next(ms(0)), Next::Reading(Due { sensor: 0, .. })));
        schedule.put_off(0, ms(30));
        assert!(matches!(schedule.next(ms(0)), Next::Reading(Due { sensor: 1, .. })));
        schedule.put_off(1, ms(10));
        assert_eq!(schedule.next(ms(0)), Next::Wait(ms(30)), "the other one has made all of its");
        schedule.end(0);
        assert_eq!(schedule.next(ms(500)), Next::Over);
        let mut schedule = Schedule::in_turn(sensors, None, ms(0));
        schedule.end(0);
        assert!(matches!(schedule.next(ms(0)), Next::Reading(Due { sensor: 1, .. })));
        assert_eq!(schedule.next(ms(0)), Next::Over);
    }

    #[test]
    fn a_sensor_without_an_interval_does_not_starve_the_others() {
        let sensors = vec![turns(0, 0, None), turns(10, 10, None), turns(0, 0, None)];
        let mut schedule = Schedule::by_interval(sensors);
        let now = Duration::from_millis(35);
        let mut made = [0; 3];
        for _ in 0..30 {
            let Next::Reading(due) = schedule.next(now) else { panic!("there is always one") };
            made[due.sensor] += 1;
        }
        assert_eq!(made[1], 3, "what has fallen due");
        assert!(made[0] >= 13 && made[2] >= 13, "{made:?}");
    }

    #[test]
    fn a_rate_is_kept_from_the_start_on_whatever_was_late() {
        let sensors = vec![turns(0, 0, None); 3];
        let mut schedule = Schedule::in_turn(sensors, Some(1000.0), Duration::from_millis(2));
        assert_eq!(schedule.next(Duration::ZERO), Next::Wait(Duration::from_millis(2)));
        // Half a second late: 499 readings have become due, and no more.
        let now = Duration::from_millis(500);
        let mut made = 0;
        while let Next::Reading(due) = schedule.next(now) {
            assert_eq!(due.at, Duration::from_millis(2 + made));
            assert_eq!((due.sensor as u64, due.number), (made % 3, made / 3 + 1));
            made += 1;
        }
        assert_eq!(made, 499);
    }

    proptest! {
        #[test]
        fn numbers_have_no_gaps_and_every_reading_is_made(
            sensors in prop::collection::vec((0_u64..50, 0_u64..20, 0_u64..30), 1..8),
            rate in prop::option::of(1.0_f64..10_000.0),
            in_turn in any::<bool>(),
        ) {
            let turns: Vec<_> = sensors.iter().map(|it| turns(it.0, it.1, Some(it.2))).collect();
            let mut schedule = if in_turn {
                Schedule::in_turn(turns, rate, Duration::ZERO)
            } else {
                Schedule::by_interval(turns)
            };
            let made = all(&mut schedule, Duration::MAX);
            prop_assert!(made.is_sorted_by_key(|it| it.at));
            for (index, (_, _, readings)) in sensors.iter().enumerate() {
                let numbers: Vec<_> =
                    made.iter().filter(|it| it.sensor == index).map(|it| it.number).collect();
                prop_assert_eq!(numbers, (1..=*readings).collect::<Vec<_>>());
            }
        }
    }
}
