//! Looks once a second at what has changed, ends the steps of the history, and makes events of it for those that stream.
//!
//! - It reads what the engine keeps anyway. The engine waits for nothing here.
//! - While nobody streams, no event is made.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::time::interval;

use super::View;
use super::events::Events;
use super::history::{Step, Steps};
use super::json::written;
use super::lists::{DeadLetter, Warning};
use super::sensors::Sensor;
use super::snapshot::Snapshot;
use crate::clock::{self, Now};
use crate::state::recent::Recent;

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Sensors that may change between two looks, for an event each. If more do, one event says how many.
const SENSORS_CHANGED_MAX: usize = 256;

/// What has happened of late.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) steps: Recent<Step>,
    pub(super) events: Events,
    looked: Mutex<Looked>,
}

/// What was seen at the last look.
#[derive(Debug)]
struct Looked {
    steps: Steps,
    /// Numbers of what comes next.
    letters: u64,
    warnings: u64,
    changed: u64,
    status: Option<Status>,
}

/// The last event `status`.
#[derive(Debug)]
struct Status {
    snapshot: Snapshot,
    event: u64,
    at: Instant,
}

/// More sensors have changed than have events of their own.
#[derive(Debug, Serialize)]
struct Sensors {
    changed: u64,
}

/// Looks as long as the process lives.
pub(super) async fn tend(view: View) {
    let mut looks = interval(LOOK_EVERY);
    loop {
        looks.tick().await;
        view.feed.look(&view, clock::now());
    }
}

impl Feed {
    pub(super) fn new(now: Now) -> Self {
        let steps = Steps::new(now.instant);
        let looked = Looked { steps, letters: 1, warnings: 1, changed: 1, status: None };
        Self { steps: Recent::default(), events: Events::default(), looked: Mutex::new(looked) }
    }

    /// The number of an event `status` that is no older than a look.
    pub(super) fn snapshot(&self, view: &View, now: Now) -> u64 {
        let mut looked = self.lock();
        let recent = looked.status.as_ref().filter(|it| {
            let age = now.instant.saturating_duration_since(it.at);
            age < LOOK_EVERY && self.events.has(it.event)
        });
        match recent {
            Some(status) => status.event,
            None => self.put_status(&mut looked, Snapshot::new(view, now), now),
        }
    }

    fn look(&self, view: &View, now: Now) {
        let mut looked = self.lock();
        let streams = view.seats.streams() > 0;
        if let Some(step) = looked.steps.look(&view.books, now) {
            if streams {
                self.events.put("history", &written(&step));
            }
            self.steps.put(step);
        }
        if streams {
            self.put_news(&looked, view);
            let snapshot = Snapshot::new(view, now);
            if looked.status.as_ref().is_none_or(|it| !it.snapshot.is_as(&snapshot)) {
                self.put_status(&mut looked, snapshot, now);
            }
        }
        looked.letters = view.books.letters.next();
        looked.warnings = view.warnings.next();
        looked.changed = view.books.changed.next();
    }

    fn put_status(&self, looked: &mut Looked, snapshot: Snapshot, now: Now) -> u64 {
        let event = self.events.put("status", &written(&snapshot));
        looked.status = Some(Status { snapshot, event, at: now.instant });
        event
    }

    fn put_news(&self, looked: &Looked, view: &View) {
        self.put_changed(looked.changed, view);
        for (number, letter) in view.books.letters.since(looked.letters) {
            let letter = DeadLetter::new(number, &letter, &view.books.registry);
            self.events.put("dead_letter", &written(&letter));
        }
        for (number, said) in view.warnings.since(looked.warnings) {
            self.events.put("warning", &written(&Warning::new(number, &said)));
        }
    }

    fn put_changed(&self, from: u64, view: &View) {
        let changed = view.books.changed.since(from);
        let count = changed.last().map_or(0, |(last, _)| last + 1 - from);
        if count > SENSORS_CHANGED_MAX as u64 {
            self.events.put("sensors", &written(&Sensors { changed: count }));
            return;
        }
        let row =
            |place: u32| view.books.registry.with_rows(|rows| rows.get(place as usize).cloned());
        for row in changed.iter().filter_map(|(_, it)| row(it.0.0)) {
            self.events.put("sensor", &written(&Sensor::from(&*row)));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Looked> {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::ops::events::{At, Next};
    use crate::ops::tests::view;
    use crate::state::changed::Changed;

    /// The names of the events behind the one before this number, and what they say.
    fn events(view: &View, number: &mut u64) -> Vec<(String, String)> {
        let (mut at, mut events) = (At { number: *number, bytes: 0 }, Vec::new());
        while let Next::Part(part) = view.feed.events.take(&mut at) {
            let text = String::from_utf8(part.to_vec()).unwrap();
            let field =
                |name| text.lines().find_map(|it| it.strip_prefix(name)).unwrap().to_owned();
            events.push((field("event: "), field("data: ")));
        }
        *number = at.number;
        events
    }

    fn names(view: &View, number: &mut u64) -> Vec<String> {
        events(view, number).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn only_what_has_changed_since_the_last_look_becomes_an_event() {
        let view = view();
        let at = |seconds| view.started.later(Duration::from_secs(seconds));
        view.books.changed.put(Changed(view.books.registry.row_of("a", 0).index));
        view.feed.look(&view, at(1));
        let mut number = 1;
        assert_eq!(names(&view, &mut number), [""; 0], "nobody streams");
        let _seat = view.seats.stream();
        assert_eq!([1, 1].map(|it| view.feed.snapshot(&view, at(it))), [1, 1], "one for all");
        view.feed.look(&view, at(2));
        assert_eq!(names(&view, &mut number), ["status"], "what was before is no news");
        view.feed.look(&view, at(3));
        assert_eq!(names(&view, &mut number), [""; 0], "it is only older");
        assert_eq!(view.feed.snapshot(&view, at(4)), 2, "the last one is too old");
        view.books.metrics.received.add(1);
        view.feed.look(&view, at(4));
        assert_eq!(names(&view, &mut number), ["status", "status"]);
        view.feed.look(&view, at(6));
        assert_eq!(names(&view, &mut number), ["history"]);
    }

    #[test]
    fn sensors_that_change_are_told_one_by_one_unless_too_many_do() {
        let view = view();
        let _seat = view.seats.stream();
        view.feed.look(&view, view.started);
        let mut number = 2;
        let change = |sensors: usize| {
            for n in 0..sensors {
                let row = view.books.registry.row_of(&format!("s{n}"), 0);
                row.receive(Timestamp::from_millis(7));
                view.books.changed.put(Changed(row.index));
            }
            view.feed.look(&view, view.started);
        };
        change(SENSORS_CHANGED_MAX);
        let told = events(&view, &mut number);
        let sensors = told.iter().filter(|(name, _)| name == "sensor");
        assert_eq!(sensors.count(), SENSORS_CHANGED_MAX);
        assert!(told[0].1.contains("\"sensorId\":\"s0\""), "{told:?}");
        change(SENSORS_CHANGED_MAX + 1);
        let told = events(&view, &mut number);
        assert_eq!(told[0], ("sensors".to_owned(), "{\"changed\":257}".to_owned()));
        change(5000);
        assert_eq!(events(&view, &mut number)[0].1, "{\"changed\":5000}", "more than are kept");
    }
}
