//! How the gateway is doing: one word, the reason in words, and one log line at each change.
//!
//! Judged by progress, not by a TCP state: a gateway that holds readings and has settled none for a
//! while is degraded, however well it is connected. It looks once a second.

use std::time::{Duration, Instant};

use super::board::{Health, Status};
use super::books::Books;
use super::crowd::Crowd;
use super::share::{self, Share};
use crate::repeat::Repeated;
use crate::state::metrics::Balance;
use crate::state::standing::Seen;
use crate::units::Percent;

/// Held readings that have seen no settlement for this long, beyond what a batch may wait to be full,
/// mean "degraded"; so does a broker that has been away for as long.
pub const PROGRESS_PAUSE_MAX: Duration = Duration::from_secs(5);

/// A reading that has waited for this long, beyond what a batch may wait, means "degraded" even while
/// others settle: the output is slower than the sensors.
pub const OLDEST_AGE_MAX: Duration = Duration::from_secs(30);

/// How often it is looked; ten times as often until it is ready for the first time.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The settings that it judges by.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// What a batch may wait to be full: `batch.age_max`.
    pub age_max: Duration,
    /// `output.dead_letters_percent_max`.
    pub dead_letters_percent_max: Percent,
    /// `gateway.sensors_max`.
    pub sensors_max: u32,
}

/// Judges from one look to the next.
#[derive(Debug)]
pub struct Monitor {
    /// What a batch may wait to be full.
    age_max: Duration,
    health: Health,
    settled: u64,
    progress: Instant,
    shed: u64,
    shed_said: Repeated,
    dead_lettered: u64,
    letters_said: Repeated,
    share: Share,
    crowd: Crowd,
}

impl Monitor {
    /// Begins at `now`.
    pub fn new(limits: Limits, now: Instant) -> Self {
        Self {
            age_max: limits.age_max,
            health: Health::Starting,
            settled: 0,
            progress: now,
            shed: 0,
            shed_said: Repeated::default(),
            dead_lettered: 0,
            letters_said: Repeated::default(),
            share: Share::new(limits.dead_letters_percent_max, now),
            crowd: Crowd::new(limits.sensors_max),
        }
    }

    /// It judges by these limits from now on. That of sensors stays.
    pub fn judge_by(&mut self, limits: Limits) {
        self.age_max = limits.age_max;
        self.share.judge_by(limits.dead_letters_percent_max);
    }

    /// Looks at the books; says what has changed, and puts it up.
    pub fn look(&mut self, books: &Books, draining: bool, now: Instant) -> Health {
        let (health, reason) = self.judge(books, draining, now);
        if health != self.health {
            say(books, health, reason.as_deref().unwrap_or_default());
            self.health = health;
        }
        self.say_losses(books, now);
        books.board.put_up(Status { health, reason, looked: now });
        health
    }

    fn judge(&mut self, books: &Books, draining: bool, now: Instant) -> (Health, Option<String>) {
        let pause = self.pause(books, now);
        if draining {
            let held = books.balance().held;
            return (Health::Draining, Some(format!("a stop was asked for; {held} readings held")));
        }
        let spool = [books.gauges.spool_trouble(), books.gauges.spool_kept()];
        if let Some(trouble) = spool.into_iter().flatten().next() {
            return (Health::Degraded, Some(trouble));
        }
        if let Some(waits) = self.waits_for(books, now) {
            return waits;
        }
        let told = [self.share.judge(books, now), self.crowd.judge(books, now)];
        let balance = books.balance();
        let refusal = books.gauges.refusal();
        let reason = if let Some(refusal) = refusal
            && now.saturating_duration_since(refusal.since) >= PROGRESS_PAUSE_MAX
        {
            refusal.to_string()
        } else if pause >= PROGRESS_PAUSE_MAX + self.age_max {
            let (held, seconds) = (balance.held, pause.as_secs());
            format!("{held} readings are held and none has been delivered for {seconds} s")
        } else if let Some(age) = books.oldest_age(now)
            && age >= OLDEST_AGE_MAX + self.age_max
        {
            let seconds = age.as_secs();
            format!(
                "the oldest reading has waited {seconds} s: the output is slower than the sensors"
            )
        } else if let Some(told) = told.into_iter().flatten().next() {
            told
        } else {
            return (Health::Ready, None);
        };
        (Health::Degraded, Some(reason))
    }

    /// How long readings have been held and none has settled.
    fn pause(&mut self, books: &Books, now: Instant) -> Duration {
        let balance = books.balance();
        // What is shed is no progress of the output.
        let settled = balance.delivered + balance.dead_lettered;
        // What is lost in the spool stays held, and nothing will come of it.
        let held = balance.held.saturating_sub(books.metrics.spool_unreadable.get());
        if settled > self.settled || held == 0 {
            (self.settled, self.progress) = (settled, now);
        }
        now.saturating_duration_since(self.progress)
    }

    /// The first broker that is not there, if one is missing.
    fn waits_for(&self, books: &Books, now: Instant) -> Option<(Health, Option<String>)> {
        let output = std::iter::once(("the output".to_owned(), books.standings.output.seen()));
        let sessions = books.standings.sessions().into_iter();
        let sessions = sessions.map(|(name, it)| (format!("sensors.{name}"), it.seen()));
        output.chain(sessions).find_map(|(name, seen)| self.misses(&name, &seen, now))
    }

    fn misses(&self, name: &str, seen: &Seen, now: Instant) -> Option<(Health, Option<String>)> {
        let away = now.saturating_duration_since(seen.since);
        if seen.usable || (self.health == Health::Ready && away < PROGRESS_PAUSE_MAX) {
            return None;
        }
        let never = self.health == Health::Starting;
        let health = if never { Health::Starting } else { Health::Degraded };
        let trouble = seen.trouble.as_deref().unwrap_or("no answer yet");
        let seconds = away.as_secs();
        Some((health, Some(format!("{name} has been away for {seconds} s: {trouble}"))))
    }

    /// Says what was shed, and what was no reading, since the last time.
    fn say_losses(&mut self, books: &Books, now: Instant) {
        let balance = books.balance();
        // What an entry's policies leave out is wished, or said where it is found (`source::policed`).
        let by_queue = books.metrics.shed.total_of(|it| !it.is_of_entry());
        let shed = by_queue - self.shed;
        if shed > 0 && self.shed_said.due(now).is_some() {
            self.shed = by_queue;
            let policies = books.metrics.shed.counted().filter(|it| !it.is_of_entry());
            let policies: Vec<_> =
                policies.map(|it| format!("{} = \"{}\"", it.key(), it.as_str())).collect();
            let policies = policies.join(", ");
            tracing::warn!(shed, total = by_queue, "readings shed on purpose by {policies}");
        }
        let letters = balance.dead_lettered - self.dead_lettered;
        if letters > 0 && self.letters_said.due(now).is_some() {
            self.dead_lettered = balance.dead_lettered;
            let last = books.tally.last();
            let last = last.as_ref();
            tracing::warn!(
                letters,
                total = balance.dead_lettered,
                reason = last.map(|it| it.reason),
                detail = last.map(|it| it.detail.as_str()),
                entry = last.and_then(|it| share::entry(books, it)),
                sensor = last.map(|it| &*it.sensor),
                topic = last.map(|it| it.topic.as_str()),
                "messages that can be no reading went to the dead-letter topic: the last one, and why"
            );
        }
    }
}

fn say(books: &Books, health: Health, reason: &str) {
    let Balance { held, spooled, .. } = books.balance();
    match health {
        Health::Degraded => tracing::warn!(held, spooled, "degraded: {reason}"),
        Health::Ready => tracing::info!("ready: readings are delivered as they come"),
        Health::Starting | Health::Draining => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const AFTER: Duration = Duration::from_mins(1);

    struct Scene {
        books: Books,
        monitor: Monitor,
        start: Instant,
    }

    /// A gateway with one MQTT entry, both connections usable, and something delivered.
    fn scene() -> Scene {
        let start = clock::now().instant;
        let limits = Limits {
            age_max: Duration::from_millis(100),
            dead_letters_percent_max: Percent(5),
            sensors_max: 9,
        };
        let books = Books::of_entries(9, &["fleet"]);
        let scene = Scene { books, monitor: Monitor::new(limits, start), start };
        scene.books.standings.output.usable(start);
        scene.fleet().usable(start);
        scene
    }

    impl Scene {
        /// The entry's connection.
        fn fleet(&self) -> std::sync::Arc<crate::state::standing::Standing> {
            self.books.standings.session("fleet", self.start)
        }

        /// What is seen so many seconds after the start.
        fn look(&mut self, seconds: u64) -> (Health, String) {
            let now = self.start + Duration::from_secs(seconds);
            self.monitor.look(&self.books, false, now);
            let status = self.books.board.status();
            (status.health, status.reason.unwrap_or_default())
        }
    }

    #[test]
    fn what_is_lost_in_the_spool_is_nothing_to_wait_for() {
        let mut scene = scene();
        scene.books.recovered("a", None, 7);
        scene.books.metrics.spool_unreadable.add(5);
        assert_eq!(scene.look(6).0, Health::Degraded);
        scene.books.metrics.spool_unreadable.add(2);
        assert_eq!(scene.look(16).0, Health::Ready);
    }

    #[test]
    fn readings_that_are_held_without_progress_are_told_with_their_number() {
        let mut scene = scene();
        assert_eq!(scene.look(0).0, Health::Ready);
        scene.books.recovered("a", None, 7);
        assert_eq!(scene.look(4).0, Health::Ready);
        let (health, reason) = scene.look(6);
        assert_eq!(health, Health::Degraded);
        assert_eq!(reason, "7 readings are held and none has been delivered for 6 s");
        scene.books.metrics.delivered.add(1);
        assert_eq!(scene.look(7).0, Health::Ready, "slow, but moving");
    }

    /// The output takes nothing, and what comes is shed.
    #[test]
    fn what_is_shed_is_no_progress() {
        let mut scene = scene();
        scene.books.recovered("a", None, 7);
        let policy = crate::settlement::Policy::ALL[0];
        for second in 0..7 {
            let health = scene.look(second).0;
            assert_eq!(health == Health::Degraded, second > 5, "{second}");
            scene.books.metrics.received.one();
            scene.books.metrics.shed.of(policy).one();
        }
    }

    #[test]
    fn a_batch_that_may_wait_long_is_no_stall() {
        let mut scene = scene();
        scene.monitor.age_max = AFTER;
        scene.books.recovered("a", None, 7);
        assert_eq!(scene.look(64).0, Health::Ready);
        assert_eq!(scene.look(66).0, Health::Degraded);
    }

    #[test]
    fn an_output_that_is_slower_than_the_sensors_is_told_by_the_oldest_reading() {
        let mut scene = scene();
        scene.books.gauges.look(Some(scene.start), scene.start);
        scene.books.metrics.recovered.add(100);
        for second in 0..40 {
            scene.books.metrics.delivered.add(1);
            let (health, reason) = scene.look(second);
            let late = Duration::from_secs(second) >= OLDEST_AGE_MAX + scene.monitor.age_max;
            assert_eq!(health == Health::Degraded, late, "{second}: {reason}");
        }
        assert!(scene.look(40).1.contains("has waited 40 s"));
    }

    #[test]
    fn a_broker_that_is_away_is_named_with_what_it_said() {
        let mut scene = scene();
        scene.look(0);
        let start = scene.start;
        let at = |seconds| start + Duration::from_secs(seconds);
        scene.fleet().lost(at(1), &"taken over");
        assert_eq!(scene.look(5).0, Health::Ready, "it may be back at once");
        let (health, reason) = scene.look(6);
        assert_eq!(health, Health::Degraded);
        assert!(reason.starts_with("sensors.fleet has been away for 5 s: "), "{reason}");
        scene.books.standings.output.lost(at(6), &"taken over");
        assert!(scene.look(12).1.starts_with("the output has been away"), "what matters most");
        scene.books.standings.output.usable(at(13));
        scene.fleet().usable(at(13));
        assert_eq!(scene.look(13), (Health::Ready, String::new()));
    }

    #[test]
    fn a_topic_that_is_refused_for_long_is_told_with_the_refusal() {
        let mut scene = scene();
        scene.look(0);
        let start = scene.start;
        scene.books.gauges.refused("gateway/dead-letters", "not authorized".into(), start);
        assert_eq!(scene.look(4).0, Health::Ready, "it may pass");
        let at = start + Duration::from_secs(4);
        scene.books.gauges.refused("gateway/dead-letters", "not authorized".into(), at);
        let expected = "the output refuses gateway/dead-letters: not authorized";
        assert_eq!(scene.look(5), (Health::Degraded, expected.to_owned()));
        scene.books.gauges.nothing_refused();
        assert_eq!(scene.look(6).0, Health::Ready);
        scene.books.gauges.nobody_subscribes("gateway/batches", start);
        assert!(scene.look(6).1.starts_with("nobody subscribes to gateway/batches: "));
    }

    #[test]
    fn it_is_starting_until_every_broker_was_there_once() {
        let mut scene = scene();
        scene.fleet().lost(scene.start, &"taken over");
        assert_eq!(scene.look(1).0, Health::Starting);
        assert_eq!(scene.look(100).0, Health::Starting, "however long");
        scene.fleet().usable(scene.start);
        assert_eq!(scene.look(101).0, Health::Ready);
        scene.monitor.look(&scene.books, true, scene.start + AFTER * 2);
        assert_eq!(scene.books.board.status().health, Health::Draining);
    }
}
