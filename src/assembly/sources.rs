//! The sources that run: all entries of the plan from the start, and each that is added or removed while the
//! others run. A reload makes all of them others at once (`becoming`).
//!
//! A *unit* is what begins and ends together: an entry, or the entries of one MQTT session. Each has a phase of
//! its own, which follows the gateway's. What is removed takes nothing new, delivers what it holds, and leaves
//! nothing behind at its broker. What it holds when its grace is over is delivered all the same; its broker is
//! not told.
//!
//! What fails among the entries of the start ends the gateway: `gateway.start_grace` is over, and whoever has
//! started it is there to see it. What is added later must not: it is tried for ever, and if that is no use (its
//! client id is in use) it rests, as lost as it was, until it is removed or added again. Health names it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::{Duration, Instant};

use tokio::time::timeout;

use self::becoming::Becoming;
use super::Shared;
use super::changes::{Change, Refused, Reply};
use crate::clock;
use crate::limits::{LARGE_BUFFERS_MAX, READ_BYTES};
use crate::mqtt::left::LeftSessions;
use crate::mqtt::read_buffer::{LargeBuffers, ReadAhead};
use crate::mqtt::roll_call::RollCall;
use crate::phase::{self, Phase, PhaseSender};
use crate::plan::Plan;
use crate::plan::current::Current;
use crate::queue::Inlet;
use crate::source::mqtt::Bounds;
use crate::source::mqtt::desk::Desk;
use crate::source::{self, Context, Ended, Entry, Failure, Kind};
use crate::state::standing::Standings;
use crate::tasks::{Panicked, Tasks};

mod becoming;
mod left_behind;

/// The sources that run.
#[derive(Debug)]
pub struct Sources {
    /// Of the entries that run.
    plan: Arc<Plan>,
    /// The same, for whoever looks from outside.
    current: Current,
    shared: Shared,
    run: Arc<str>,
    seed: u64,
    left: Option<Arc<LeftSessions>>,
    roll_call: Option<Arc<RollCall>>,
    /// What all MQTT connections share: read buffers, and where records are made.
    ahead: ReadAhead,
    desk: Arc<Desk>,
    units: BTreeMap<String, Unit>,
    phase: Phase,
    /// The entries are becoming others.
    becoming: Option<Becoming>,
    /// When the limits were changed last, and the larger ones of those before: what was taken with them is held for a while.
    larger: Option<(Instant, Box<Plan>)>,
}

/// What begins and ends together.
#[derive(Debug)]
struct Unit {
    entries: Vec<String>,
    lead: PhaseSender,
    tasks: Tasks<Ended>,
    /// Those that each of its sessions was given.
    bounds: Bounds,
    /// What it is to unsubscribe from: an earlier configuration subscribed to it in its session.
    former: Vec<String>,
    /// It began while the gateway ran.
    added: bool,
    /// It has failed, and rests.
    rests: bool,
    removal: Option<Removal>,
}

#[derive(Debug)]
struct Removal {
    /// Then it ends, whatever it holds.
    until: Option<Instant>,
    reply: Option<Reply>,
    /// What begins in its place.
    next: Option<Next>,
}

#[derive(Debug)]
struct Next {
    entries: Vec<String>,
    former: Vec<String>,
    /// Without any inlet the worker would take all sources to have ended.
    _inlet: Inlet,
}

impl Sources {
    /// Starts the tasks of all entries of the plan; their inlets exist when it returns.
    pub(super) fn start(
        current: &Current,
        (run, seed): (&Arc<str>, u64),
        (left, roll_call): (Option<Arc<LeftSessions>>, Option<Arc<RollCall>>),
        shared: Shared,
    ) -> Self {
        let (plan, current, run) = (current.get(), current.clone(), Arc::clone(run));
        let (units, phase) = (BTreeMap::new(), Phase::Running);
        let ahead = read_ahead(&plan);
        let (desk, becoming, larger) = (Arc::default(), None, None);
        let mut it = Self {
            plan,
            current,
            shared,
            run,
            seed,
            left,
            roll_call,
            ahead,
            desk,
            units,
            phase,
            becoming,
            larger,
        };
        it.say_left_behind();
        for (name, entries) in units_of(&it.plan) {
            it.begin(name, entries, Vec::new(), false);
        }
        it
    }

    /// Starts a unit of these entries of the plan, in the place of one with these former subscriptions.
    fn begin(&mut self, name: String, entries: Vec<String>, former: Vec<String>, added: bool) {
        let (lead, phase) = phase::start();
        lead.enter(self.phase);
        let start = clock::now().instant;
        let mut tasks = Tasks::default();
        let start_grace = (!added).then_some(self.plan.gateway.start_grace.0);
        let broker = self.broker(&former);
        let bounds = broker.bounds;
        for entry in &entries {
            let kind = self.plan.sensors.get(entry).expect("the plan has the entry");
            let context = self.context(entry, kind);
            // Entries must not all do the same.
            let seed = self.seed ^ u64::from(context.entry) << 40;
            let entry = Entry {
                name: entry,
                queue: &self.shared.queue,
                phase: &phase,
                context,
                start,
                start_grace,
                seed,
                broker: &broker,
            };
            kind.start(&entry, &mut tasks);
        }
        drop(broker);
        let (rests, removal) = (false, None);
        let unit = Unit { entries, lead, tasks, bounds, former, added, rests, removal };
        self.units.insert(name, unit);
    }

    fn context(&self, name: &str, kind: &Kind) -> Context {
        let (shared, queue) = (&self.shared, &self.plan.queue);
        let entry = shared.registry.add_entry(name, kind.known_sensors());
        Context {
            entry,
            listening: shared.registry.expect(entry, kind.expected_interval()),
            run: Arc::clone(&self.run),
            registry: Arc::clone(&shared.registry),
            metrics: Arc::clone(&shared.metrics),
            pace: Arc::clone(&shared.pace),
            on_full: queue.on_full,
            record_bytes_max: queue.record_bytes_max.get(),
            readings_max: queue.readings_max.get() as usize,
            folder: self.plan.spool.path.as_deref().map(Arc::from),
        }
    }

    /// It is this plan from now on.
    fn set_plan(&mut self, plan: Plan) {
        self.plan = Arc::new(plan);
        self.current.set(Arc::clone(&self.plan));
    }

    /// The readings' broker, as entries reach it that come in the place of others.
    fn broker<'a>(&'a self, former: &'a [String]) -> source::mqtt::Broker<'a> {
        source::mqtt::Broker {
            options: Box::new(|name| self.plan.intake_options(name)),
            left: self.left.clone(),
            roll_call: self.roll_call.clone(),
            standings: &self.shared.standings,
            desk: Arc::clone(&self.desk),
            ahead: self.ahead.clone(),
            bounds: self.plan.intake_bounds(),
            sessions: self.plan.sessions(),
            former,
            joining: RefCell::default(),
        }
    }

    /// All follow the gateway.
    pub fn enter(&mut self, phase: Phase) {
        self.phase = self.phase.max(phase);
        for unit in self.units.values() {
            unit.lead.enter(phase);
        }
    }

    /// Adds or removes an entry; the reply says what became of it. What is removed has this time to deliver.
    pub fn change(&mut self, change: Change, reply: Reply, grace: Duration) {
        let refused = match change {
            _ if self.phase > Phase::Running => Refused::Draining,
            Change::Add(name, kind) => match self.add(name, *kind) {
                // Nobody may wait for the answer.
                Ok(()) => return drop(reply.send(Ok(()))),
                Err(refused) => refused,
            },
            Change::Remove(name) if self.forget(&name) => return drop(reply.send(Ok(()))),
            Change::Remove(name) => match self.removable(&name) {
                Ok(unit) => {
                    unit.remove(grace, Some(reply));
                    return self.forget_settings(&name);
                }
                Err(refused) => refused,
            },
            Change::Try(wanted) => match self.judge(&wanted) {
                Ok(_) => return drop(reply.send(Ok(()))),
                Err(refused) => refused,
            },
            Change::Become(wanted) => match self.judge(&wanted) {
                Ok(plan) => return self.become_these(plan, reply, grace),
                Err(refused) => refused,
            },
        };
        drop(reply.send(Err(refused)));
    }

    fn add(&mut self, name: String, kind: Kind) -> Result<(), Refused> {
        let unit = unit_of(&name, &kind);
        if self.units.values().any(|it| !it.rests && it.entries.contains(&name)) {
            return Err(Refused::Runs(name));
        }
        if self.units.get(&unit).is_some_and(|it| !it.entries.contains(&name)) {
            return Err(Refused::Shared(name));
        }
        let mut plan = Plan::clone(&self.plan);
        plan.sensors.insert(name.clone(), kind);
        self.accept(&plan, &plan)?;
        self.forget(&name);
        self.set_plan(plan);
        self.begin(unit, vec![name], Vec::new(), true);
        Ok(())
    }

    /// Forgets an entry that rests. Whether it did.
    fn forget(&mut self, name: &str) -> bool {
        let mut units = self.units.iter();
        let unit = units.find(|(_, it)| it.rests && it.entries.iter().any(|it| it == name));
        let Some(unit) = unit.map(|(unit, _)| unit.clone()) else { return false };
        self.units.remove(&unit);
        self.forget_standing(&unit);
        self.forget_settings(name);
        true
    }

    fn forget_settings(&mut self, name: &str) {
        let mut plan = Plan::clone(&self.plan);
        plan.sensors.remove(name);
        self.set_plan(plan);
    }

    /// The unit of an entry that can be removed.
    fn removable(&mut self, name: &str) -> Result<&mut Unit, Refused> {
        let runs = self.units.values().filter(|it| it.removal.is_none() && !it.rests).count();
        let mut units = self.units.values_mut().filter(|it| it.removal.is_none());
        let unit = units.find(|it| it.entries.iter().any(|it| it == name));
        match unit {
            None => Err(Refused::Unknown(name.to_owned())),
            Some(unit) if unit.entries.len() > 1 => Err(Refused::Shared(name.to_owned())),
            Some(_) if runs < 2 => Err(Refused::Last(name.to_owned())),
            Some(unit) => Ok(unit),
        }
    }

    /// What a stop has to deliver what is held: `gateway.shutdown_grace`.
    pub fn grace(&self) -> Duration {
        self.plan.gateway.shutdown_grace.0
    }

    /// When a removal is over that has not ended by itself.
    pub fn deadline(&self) -> Option<Instant> {
        self.units.values().filter_map(|it| it.removal.as_ref()?.until).min()
    }

    /// Ends the removals that are over.
    pub fn end_overdue(&mut self, now: Instant) {
        for unit in self.units.values_mut() {
            let removal = unit.removal.as_mut();
            if removal.and_then(|it| it.until.take_if(|until| *until <= now)).is_some() {
                unit.lead.enter(Phase::Closing);
            }
        }
    }

    /// Waits for the next task to end: its result, or that it panicked. `None` when no source is left.
    ///
    /// # Cancel safety
    /// No result is lost.
    pub async fn next(&mut self) -> Option<Result<Ended, Panicked>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut task::Context<'_>) -> Poll<Option<Result<Ended, Panicked>>> {
        loop {
            let mut over = Vec::new();
            if let Some(ended) = self.poll_units(cx, &mut over) {
                return Poll::Ready(Some(ended));
            }
            if over.is_empty() {
                break;
            }
            // Others may begin in their place, and are polled next.
            for name in over {
                self.end(&name);
            }
        }
        let all = self.units.values().all(|it| it.rests);
        if all { Poll::Ready(None) } else { Poll::Pending }
    }

    /// The next task of a unit that has ended, and the units of which all have.
    fn poll_units(
        &mut self,
        cx: &mut task::Context<'_>,
        over: &mut Vec<String>,
    ) -> Option<Result<Ended, Panicked>> {
        for (name, unit) in &mut self.units {
            match unit.tasks.poll_next(cx) {
                Poll::Ready(Some(Ok(Err(failure)))) if unit.removal.is_some() => {
                    // Nobody wants it any more, or not as it was.
                    tracing::warn!("while it was removed or changed: {failure}");
                    return Some(Ok(Ok(())));
                }
                Poll::Ready(Some(Ok(Err(failure)))) if unit.added => {
                    unit.rest(name, &failure, &self.shared.standings);
                    return Some(Ok(Ok(())));
                }
                Poll::Ready(Some(ended)) => return Some(ended),
                Poll::Ready(None) if unit.rests => {}
                Poll::Ready(None) => over.push(name.clone()),
                Poll::Pending => {}
            }
        }
        None
    }

    /// The last task of a unit has ended.
    fn end(&mut self, name: &str) {
        let unit = self.units.remove(name);
        let Some(Unit { removal: Some(removal), entries, .. }) = unit else { return };
        self.end_entries(&entries);
        self.forget_standing(name);
        if let Some(next) = removal.next.filter(|_| self.phase == Phase::Running) {
            self.begin(name.to_owned(), next.entries, next.former, true);
        }
        if let Some(reply) = removal.reply {
            // Nobody may wait for it.
            drop(reply.send(Ok(())));
        }
        self.go_on();
    }

    /// Those of these entries that are no more have ended: so have their sensors.
    fn end_entries(&self, entries: &[String]) {
        for entry in entries.iter().filter(|it| !self.plan.sensors.contains_key(*it)) {
            self.shared.registry.end_entry(entry);
        }
    }

    /// Forgets how the connection of a unit stood, if it had one.
    fn forget_standing(&self, unit: &str) {
        if let Some(session) = unit.strip_prefix(SESSION) {
            self.shared.standings.remove(session);
        }
    }

    /// Waits until all tasks have ended, for at most `within`. Returns their results, and how many did not end.
    pub async fn finish(mut self, within: Duration) -> (Vec<Result<Ended, Panicked>>, usize) {
        let mut ended = Vec::new();
        let all = async {
            while let Some(result) = self.next().await {
                ended.push(result);
            }
        };
        // Out of time: the remaining tasks are counted.
        drop(timeout(within, all).await);
        let left = self.units.values().map(|unit| unit.tasks.left()).sum();
        (ended, left)
    }
}

impl Unit {
    /// It takes nothing new, delivers what it holds for this time, and leaves nothing at its broker.
    fn remove(&mut self, grace: Duration, reply: Option<Reply>) {
        self.lead.remove();
        let until = Some(clock::now().instant + grace);
        self.removal = Some(Removal { until, reply, next: None });
    }

    /// It has failed, and the others go on.
    fn rest(&mut self, name: &str, failure: &Failure, standings: &Standings) {
        tracing::error!("{failure}; it was added while others run, and they go on");
        self.rests = true;
        self.lead.enter(Phase::Closing);
        if let Some(session) = name.strip_prefix(SESSION) {
            let now = clock::now().instant;
            standings.session(session, now).lost(now, &failure.error);
        }
    }
}

/// The read buffers of all connections of a plan.
fn read_ahead(plan: &Plan) -> ReadAhead {
    let large = Arc::new(LargeBuffers::new(LARGE_BUFFERS_MAX, plan.read_buffer_bytes()));
    ReadAhead::sharing(READ_BYTES, &large)
}

/// What the names of MQTT sessions among the units begin with: no entry has a name with a blank.
const SESSION: &str = "session ";

/// The unit that an entry begins and ends with.
fn unit_of(name: &str, kind: &Kind) -> String {
    match kind {
        Kind::Mqtt(settings) => format!("{SESSION}{}", settings.session_of(name)),
        _ => name.to_owned(),
    }
}

/// The units of a plan, with their entries.
fn units_of(plan: &Plan) -> BTreeMap<String, Vec<String>> {
    let mut units: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, kind) in &plan.sensors {
        units.entry(unit_of(name, kind)).or_default().push(name.clone());
    }
    units
}

#[cfg(test)]
mod tests;
