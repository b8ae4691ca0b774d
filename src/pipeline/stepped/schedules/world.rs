//! Everything there is in a schedule, and what can happen to it.

use std::collections::BTreeSet;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::super::routes::by_tens;
use super::super::*;
use super::intake::{self, Between, Intake, Seen};
use super::output::Output;
use super::upstream::Upstream;
use super::values::{Form, message};
use crate::spool::faulty_disk::Fault;

/// Both brokers, the disk, and the process of today.
pub(super) struct World {
    pub(super) random: SmallRng,
    /// How messages hold their readings.
    form: Form,
    disk: Disk,
    bench: Bench,
    /// There is one route, or each sensor changes its own.
    router: Router,
    pub(super) output: Output,
    upstream: Upstream,
    intake: Intake,
    /// Publications of today's connection that the output took and has not answered.
    taken: Vec<Number>,
    /// The value of the next reading.
    next: u32,
    /// What has settled.
    safe: BTreeSet<u32>,
    /// What is lost outside of the gateway, or was killed with it after that.
    gone: BTreeSet<u32>,
    /// What came again and could not be known.
    again: BTreeSet<u32>,
    alike: bool,
    crashes: u16,
    /// Of the processes before.
    seen: Seen,
    refusals: bool,
    disordered: bool,
}

/// The settings of all processes.
fn plan(form: Form) -> Plan {
    let mut plan = small();
    plan.batch.records_max = NonZeroU32::new(4).unwrap();
    plan.sensors.insert("fleet".to_owned(), intake::entry(form));
    plan
}

/// The `nth` process, which starts then.
fn start(form: Form, disk: &Disk, (now, nth): (Now, u16), router: &Router) -> Bench {
    Bench::routed((now, nth), plan(form), Some(disk.spool().unwrap()), router.clone())
}

/// What is between the intake and all else.
macro_rules! between {
    ($world:expr) => {
        &mut Between {
            upstream: &mut $world.upstream,
            bench: &mut $world.bench,
            output: &$world.output,
            safe: &mut $world.safe,
        }
    };
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let disk = Disk::default();
        let mut random = SmallRng::seed_from_u64(seed);
        let (refusals, alike) = (random.random_bool(0.3), random.random_bool(0.5));
        let upstream = Upstream::new(&mut random);
        let one = random.random_bool(0.5);
        let form = if random.random_bool(0.5) { Form::Lines } else { Form::Elements };
        let router = if one { Router::new(plan(form).measure()) } else { by_tens() };
        let wall = Timestamp::from_millis(1_763_796_650_692);
        let now = Now { wall, ..clock::now() };
        let bench = start(form, &disk, (now, 0), &router);
        let intake = Intake::new((form, upstream.window), alike, &plan(form), &bench);
        let mut world = Self {
            form,
            bench,
            router,
            random,
            disk,
            output: Output::default(),
            intake,
            upstream,
            taken: Vec::new(),
            next: 0,
            safe: BTreeSet::new(),
            gone: BTreeSet::new(),
            again: BTreeSet::new(),
            alike,
            crashes: 0,
            seen: Seen::default(),
            refusals,
            disordered: false,
        };
        world.link();
        world
    }

    pub(super) fn step(&mut self) {
        match self.random.random_range(0..200) {
            0..30 => self.publish(),
            30..60 => self.read(),
            60..90 => self.bench.take(),
            90..108 => self.take_in(),
            108..134 => self.answer(),
            134..142 => self.refuse(),
            142..150 => self.cut(),
            150..160 => self.connect(),
            160..170 => self.later(),
            170..174 => self.break_disk(),
            174..180 => self.disk.heal(),
            180..184 => self.unlink(),
            184..195 => self.link(),
            195 => self.lose_session(),
            196 => self.upstream.back_up(),
            197 => self.restore_session(),
            198 => self.change(),
            _ => self.crash(),
        }
        self.settle();
        if self.intake.has_offered_all() {
            assert_eq!(self.bench.books.difference(), None);
        }
    }

    /// Sensors publish; not much more than is read.
    fn publish(&mut self) {
        if self.upstream.is_behind() {
            return self.read();
        }
        for _ in 0..self.random.random_range(1..6) {
            if !self.upstream.publish(self.next) {
                self.gone.insert(self.next);
            }
            self.next += 1;
        }
    }

    /// The intake reads what has come.
    fn read(&mut self) {
        if !self.upstream.is_linked() && self.random.random_bool(0.5) {
            self.link();
        }
        let count = self.random.random_range(1..8);
        let again = self.intake.read(count, between!(self));
        self.again.extend(again);
    }

    fn unlink(&mut self) {
        if self.upstream.is_linked() {
            self.upstream.cut(&mut self.random);
            self.intake.disconnected(self.bench.now);
        }
    }

    fn link(&mut self) {
        self.unlink();
        let wary = self.random.random_bool(0.3);
        self.intake.connect(wary, between!(self));
    }

    fn lose_session(&mut self) {
        self.unlink();
        let lost = self.upstream.lose(&mut self.random);
        self.miss(lost);
    }

    /// The broker is set back in time. Where all messages are alike, nobody could tell.
    fn restore_session(&mut self) {
        if self.alike {
            return;
        }
        self.unlink();
        if let Some(lost) = self.upstream.restore(&mut self.random) {
            self.intake.set_back = true;
            // What was lost with a later session comes behind what came on it.
            self.disordered = true;
            self.gone.retain(|value| !self.upstream.holds(*value));
            self.miss(lost);
        }
    }

    /// Notes which of these nobody has any more.
    fn miss(&mut self, values: impl IntoIterator<Item = u32>) {
        let (upstream, intake, safe) = (&self.upstream, &self.intake, &self.safe);
        let kept = |it: &u32| upstream.holds(*it) || intake.holds(*it) || safe.contains(it);
        self.gone.extend(values.into_iter().filter(|it| !kept(it)));
    }

    /// The output takes publications, in the order they came.
    fn take_in(&mut self) {
        let count = self.random.random_range(1..3);
        let new = self.bench.came.iter().filter(|it| !self.taken.contains(&it.number));
        for it in new.take(count).cloned().collect::<Vec<_>>() {
            self.output.take(&it.message);
            self.taken.push(it.number);
        }
    }

    /// The output answers one that it took; in any order.
    fn answer(&mut self) {
        if self.taken.is_empty() {
            return self.take_in();
        }
        let number = self.taken.swap_remove(self.random.random_range(0..self.taken.len()));
        self.bench.answer(number, Answer::Taken);
    }

    fn refuse(&mut self) {
        let new = |it: &&Publication| !self.taken.contains(&it.number);
        // A dead letter that is refused as too large no longer says whose it is.
        let batch = |it: &&Publication| it.message.topic.as_str() == "gateway/batches";
        let first = self.bench.came.iter().filter(batch).find(new);
        if let Some(number) = first.map(|it| it.number).filter(|_| self.refusals) {
            self.disordered = true;
            let code = [0x97, 0x95, 0x80][self.random.random_range(0..3)];
            self.bench.answer(number, refusal(code));
        }
    }

    fn cut(&mut self) {
        self.taken.clear();
        self.bench.disconnect();
    }

    fn connect(&mut self) {
        self.cut();
        let small = self.refusals && self.random.random_bool(0.3);
        // A batch that was parted on one connection and crashed has other ids on the next.
        self.disordered |= small;
        let in_flight_max = [1, 2, 99][self.random.random_range(0..3)];
        self.bench.connect(small.then_some(1200), in_flight_max);
    }

    fn later(&mut self) {
        let millis = [50, 500, 1500, 20_000][self.random.random_range(0..4)];
        self.bench.now = self.bench.now.later(Duration::from_millis(millis));
        if self.random.random_bool(0.1) {
            // Somebody sets the clock back.
            let now = self.bench.now.wall.millis();
            self.bench.now.wall = Timestamp::from_millis(self.random.random_range(0..=now));
        }
        self.bench.apply(Event::Deadline);
        // Once more: what became old in between may be judged then.
        self.bench.apply(Event::Deadline);
        let deadline = self.bench.worker.want().deadline;
        assert!(deadline.is_none_or(|at| at > self.bench.now.instant), "the worker never rests");
    }

    /// Other settings come, and perhaps another sink: when it can, or in the middle of all.
    fn change(&mut self) {
        // The route of each sensor is none that settings make.
        if !self.router.routing().is_one() {
            return;
        }
        let replaced = self.random.random_bool(0.5).then(|| self.random.random_range(1..99));
        let before = self.bench.current.get();
        let told = self.bench.change(|plan| {
            let random = &mut self.random;
            plan.batch.records_max = NonZeroU32::new(random.random_range(1..6)).unwrap();
            plan.output.window_batches = NonZeroU16::new(random.random_range(1..5)).unwrap();
            plan.queue.records_max = NonZeroU32::new(random.random_range(20..40)).unwrap();
            if let Some(seconds) = replaced {
                let sink = format!(r#"{{"mqtt":{{"answer_max":"{seconds}s"}}}}"#);
                plan.output.sink = serde_json::from_str(&sink).unwrap();
            }
        });
        if self.bench.current.get().output.sink != before.output.sink {
            for _ in 0..self.random.random_range(0..20) {
                self.take_in();
                self.answer();
                self.settle();
            }
            // All is answered, or the grace is over.
            drop(told);
            self.cut();
            self.bench.report(sink::Event::Replaced);
        }
    }

    fn break_disk(&mut self) {
        let fault = match self.random.random_range(0..4) {
            0 => Fault::Write(self.random.random_range(0..12)),
            1 => Fault::Sync(self.random.random_range(0..4)),
            2 => Fault::Read,
            _ => Fault::Space(self.random.random_range(0..400_000)),
        };
        self.disk.break_with(fault);
    }

    /// The process is killed, and the power fails with it.
    fn crash(&mut self) {
        self.observe();
        self.unlink();
        self.crashes += 1;
        self.taken.clear();
        self.disk.unplug();
        let now = self.bench.now.later(Duration::from_secs(1));
        self.bench = Bench::new(|_| {});
        self.disk.crash(&mut self.random);
        self.bench = start(self.form, &self.disk, (now, self.crashes), &self.router);
        let (form, window) = (self.form, self.upstream.window);
        let fresh = Intake::new((form, window), self.alike, &plan(form), &self.bench);
        let killed = std::mem::replace(&mut self.intake, fresh);
        self.seen.add(killed.seen);
        self.miss(killed.held());
    }

    fn observe(&mut self) {
        self.intake.observe(between!(self));
    }

    /// What has settled is acknowledged to the sensors' broker: soon, or later than other things.
    fn settle(&mut self) {
        self.observe();
        if self.upstream.is_linked() && self.random.random_bool(0.7) {
            self.intake.step(between!(self));
        }
        if self.random.random_bool(0.5) {
            self.upstream.hear(self.random.random_range(1..6));
        }
    }

    /// Everything works again: everything arrives.
    pub(super) fn finish(&mut self) {
        self.disk.heal();
        for _ in 0..3000 {
            if self.bench.came.is_empty() || self.random.random_bool(0.02) {
                self.cut();
                self.bench.connect(None, 99);
            }
            if !self.upstream.is_linked() || self.random.random_bool(0.02) {
                self.link();
            }
            self.read();
            self.bench.take();
            self.take_in();
            self.answer();
            self.bench.now = self.bench.now.later(Duration::from_millis(300));
            self.bench.apply(Event::Deadline);
            self.settle();
            let balance = self.bench.books.balance();
            if self.upstream.is_done() && balance.held == 0 && balance.spooled == 0 {
                break;
            }
        }
        self.judge();
    }

    /// What it has come to.
    pub(super) fn seen(&self) -> Seen {
        let mut seen = self.seen;
        seen.add(self.intake.seen);
        seen.gone += self.gone.len() as u64;
        seen
    }

    fn judge(&self) {
        let balance = self.bench.books.balance();
        let missing: Vec<u32> = (0..self.next)
            .filter(|value| !self.output.has(*value) && !self.gone.contains(value))
            .collect();
        assert!(missing.is_empty(), "lost: {missing:?}, {balance:?}");
        let heard = self.upstream.heard();
        assert!(heard.iter().all(|value| self.output.has(*value)), "lost and acknowledged");
        assert!(self.upstream.is_done(), "never acknowledged");
        // A broker that was set back may not know any more what is held for it.
        assert!(self.intake.set_back || !self.intake.waits(), "waits for nothing");
        let held = self.intake.held();
        assert!(held.is_empty(), "never settled: {held:?}");
        if !self.disordered {
            for values in &self.output.order {
                assert!(values.is_sorted(), "out of order: {values:?}");
            }
        }
        if self.crashes == 0 && !self.disordered {
            let mut once =
                self.output.ids.iter().filter(|(says, _)| !self.again.contains(&message(**says)));
            let twice = once.find(|(_, ids)| ids.len() > 1);
            assert_eq!(twice, None, "repeated under another id without a crash");
        }
    }
}
