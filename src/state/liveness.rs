//! Finds out which sensors keep silent, once a second.
//!
//! A wheel has a slot for each of the next seconds, and each sensor a place in the slot of the second in which it would
//! be late. What is in the slot that has come is looked at, and nothing else: a sensor that was heard meanwhile gets a
//! later place. One that is silent has none, until it is heard.
//!
//! - Nothing is said of the time in which its entry did not listen ([`Listening`]): an outage silences nobody. The same
//!   holds where the clock was set, or the process did not run.
//! - Each change is counted, and logged, at most one of its kind in a while.
//!
//! [`Listening`]: super::listening::Listening

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::books::Books;
use super::changed::Changed;
use super::presence::Presence;
use super::registry::{Forgotten, Row};
use crate::clock::{Now, Timestamp};
use crate::repeat::Repeated;
use crate::settlement::SensorIndex;

/// Slots of the wheel: what is due later is looked at in between.
const SLOTS: usize = 128;

/// A sensor of which nobody can say when it would be late is looked at again after so many seconds.
const LOOK_AGAIN: u64 = 10;

/// Clocks that differ by more, or looks that are further apart, mean that time was lost.
const SKIPPED_MIN: Duration = Duration::from_secs(5);

/// Finds out which sensors keep silent.
#[derive(Debug)]
pub struct Liveness {
    slots: Vec<Vec<SensorIndex>>,
    /// The second of the next slot, counted from the start.
    next: u64,
    start: Now,
    last: Now,
    /// Rows that have had a place.
    known: usize,
    said: [Repeated; 3],
    forgotten_said: Repeated,
}

impl Liveness {
    /// Begins at `now`.
    pub fn new(now: Now) -> Self {
        let slots = vec![Vec::new(); SLOTS];
        Self {
            slots,
            next: 0,
            start: now,
            last: now,
            known: 0,
            said: Default::default(),
            forgotten_said: Repeated::default(),
        }
    }

    /// Looks at those that are due; counts and logs what has changed.
    pub fn look(&mut self, books: &Books, now: Now) {
        self.look_at_clocks(books, now);
        let changed = books.registry.changed();
        let (forgotten, renewed) = books.registry.forgotten();
        self.say_forgotten(books, &forgotten, now);
        books.registry.with_rows(|rows| {
            let second = self.second(now);
            let row = |index: SensorIndex| rows.get(index.0 as usize);
            for row in rows.iter().skip(self.known) {
                self.put(row, second + 1);
            }
            self.known = rows.len();
            for row in renewed.into_iter().filter_map(row) {
                self.put(row, second + 1);
            }
            for row in changed.into_iter().filter_map(row) {
                row.is_seen();
                self.has_changed(books, row, row.presence(), (None, now));
                self.put(row, second + 1);
            }
            let slots = self.due(second);
            let due = slots.iter().flat_map(|(second, slot)| {
                let rows = slot.iter().filter_map(|it| row(*it));
                rows.filter(|row| row.look_at().load(Ordering::Relaxed) == *second)
            });
            for row in due {
                self.look_at(books, row, now);
            }
        });
    }

    fn look_at(&mut self, books: &Books, row: &Arc<Row>, now: Now) {
        row.measure_rate(now.wall);
        if row.since().is_some() && !row.is_only_recalled() {
            books.registry.notices.introduce(row);
        }
        let Judged { again, changed } = judge(row, now.wall);
        if let Some((presence, quiet)) = changed {
            row.is_now(presence, now.wall);
            self.has_changed(books, row, presence, (Some(quiet), now));
        }
        if let Some(pause) = again {
            self.put(row, self.second(now) + pause.max(1));
        }
    }

    fn look_at_clocks(&mut self, books: &Books, now: Now) {
        let passed = now.instant.saturating_duration_since(self.last.instant);
        let by_wall = Duration::from_millis(now.wall.millis().abs_diff(self.last.wall.millis()));
        let is_back = now.wall < self.last.wall;
        if is_back || passed > SKIPPED_MIN || by_wall.abs_diff(passed) > SKIPPED_MIN {
            books.registry.restart(now.wall);
        }
        self.last = now;
    }

    fn second(&self, now: Now) -> u64 {
        now.instant.saturating_duration_since(self.start.instant).as_secs()
    }

    /// Gives a sensor a place at this second, or before. Another one that it has counts no more.
    fn put(&mut self, row: &Row, second: u64) {
        let second = second.clamp(self.next, self.next + SLOTS as u64 - 1);
        row.look_at().store(short(second), Ordering::Relaxed);
        if let Some(slot) = self.slots.get_mut(slot_of(second)) {
            slot.push(row.index);
        }
    }

    /// Those of all slots up to this second, each with the second of its place.
    fn due(&mut self, second: u64) -> Vec<(u32, Vec<SensorIndex>)> {
        let mut due = Vec::new();
        while self.next <= second {
            let slot = self.slots.get_mut(slot_of(self.next));
            let slot = slot.expect("there is a slot for each second");
            // With its memory: all sensors may be in one slot now, and in another one then.
            due.push((short(self.next), std::mem::take(slot)));
            self.next += 1;
        }
        due
    }

    /// Counts and logs the sensors that were forgotten.
    fn say_forgotten(&mut self, books: &Books, forgotten: &Forgotten, now: Now) {
        let Some(row) = forgotten.last.as_deref() else { return };
        books.metrics.sensors_forgotten.add(forgotten.count);
        let Some(left_out) = self.forgotten_said.due(now.instant) else { return };
        let quiet = row.last_received().map(|at| now.wall.millis().saturating_sub(at.millis()));
        tracing::warn!(
            entry = row.entry_name(),
            sensor = row.id(),
            quiet = quiet.map(Duration::from_millis).map(shown),
            received = row.received(),
            sensors = forgotten.count,
            left_out,
            "no row was left for a new sensor: the quietest was forgotten, and its books are those of (others); raise \
             gateway.sensors_max, or find out who invents ids"
        );
    }

    /// It is something else: because nothing has come of it for so long, or by what has come.
    fn has_changed(
        &mut self,
        books: &Books,
        row: &Arc<Row>,
        is: Presence,
        (quiet, now): (Option<Duration>, Now),
    ) {
        books.metrics.sensors_changed.of(is).one();
        books.registry.notices.put(row);
        books.changed.put(Changed(row.index));
        let [online, late, silent] = &mut self.said;
        let said = match is {
            Presence::Online => online,
            Presence::Late => late,
            Presence::Silent => silent,
        };
        let Some(left_out) = said.due(now.instant) else { return };
        let entry = row.entry_name().unwrap_or_default();
        let (sensor, every) = (row.id(), row.interval().map(shown));
        let why = match quiet {
            Some(quiet) => format!("nothing has come of it for {}", shown(quiet)),
            None => "it says that it is not there".to_owned(),
        };
        match is {
            Presence::Online => tracing::info!(entry, sensor, left_out, "a sensor is heard again"),
            Presence::Late => {
                tracing::info!(entry, sensor, every, left_out, "a sensor is late: {why}");
            }
            Presence::Silent => {
                tracing::warn!(entry, sensor, every, left_out, "a sensor is silent: {why}");
            }
        }
    }
}

/// For people.
fn shown(time: Duration) -> String {
    humantime::format_duration(Duration::from_secs(time.as_secs())).to_string()
}

/// As a row keeps it.
fn short(second: u64) -> u32 {
    u32::try_from(second & u64::from(u32::MAX)).expect("it is cut")
}

fn slot_of(second: u64) -> usize {
    usize::try_from(second % SLOTS as u64).expect("there are few slots")
}

/// What a look at a sensor tells.
struct Judged {
    /// In how many seconds to look at it again, if at all.
    again: Option<u64>,
    /// What it is now, if that is something else, and for how long nothing has come of it.
    changed: Option<(Presence, Duration)>,
}

fn judge(row: &Row, now: Timestamp) -> Judged {
    let later = |seconds| Judged { again: Some(seconds), changed: None };
    let Some((last, interval)) = row.last_received().zip(row.interval()) else {
        return later(LOOK_AGAIN);
    };
    let Some(listened) = row.listened_since(now) else { return later(LOOK_AGAIN) };
    // The clock may have been set back since.
    let heard = if last > now { listened } else { last.max(listened) };
    let quiet = Duration::from_millis(now.millis().saturating_sub(heard.millis()));
    let until = |presence: Presence| {
        let left = presence.after(interval).saturating_sub(quiet);
        left.as_secs() + u64::from(left.subsec_nanos() > 0)
    };
    let (late, silent) = (until(Presence::Late), until(Presence::Silent));
    match row.presence() {
        Presence::Silent => Judged { again: None, changed: None },
        _ if silent == 0 => Judged { again: None, changed: Some((Presence::Silent, quiet)) },
        Presence::Online if late == 0 => {
            Judged { again: Some(silent), changed: Some((Presence::Late, quiet)) }
        }
        Presence::Online => later(late),
        Presence::Late => later(silent),
    }
}

#[cfg(test)]
mod tests;
