//! The entries that run become others, as a reload wants it, unit by unit; and the queue, with all of them.
//!
//! - Nothing changes before all is checked: the new entries beside the settings that stay, and the bounds of the old
//!   and the new ones together against `gateway.memory_max`.
//! - What is new begins first. Then what has changed takes nothing new, delivers what it holds and tells its broker;
//!   its connection is closed and its session *kept*. Only when it has ended the new one begins, and resumes that
//!   session: the broker has held what came in between, and sends again what was read and not taken. That is what a
//!   restart does, for one unit. So nothing is lost, and a sensor's readings keep their order: those of the old unit
//!   are in the queue before the new one has connected.
//! - What is no more is removed last. Its session ends at the broker.
//! - An entry that is added to a session of several, or removed from it, changes the session. One that moves to another
//!   session is taken by both for a moment.
//! - Other settings of the queue change every entry: a window is asked for when a session connects, and what is taken into
//!   the queue is bounded where it is read. Room that is no more goes when all have begun anew.
//! - An entry that is the same is not touched. Its session keeps the window that it was given, although there may be
//!   more sessions now; what it may hold beyond its share counts against `gateway.memory_max`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Next, Removal, Sources, Unit, read_ahead, units_of};
use crate::assembly::changes::{Refused, Reply, Wanted};
use crate::clock;
use crate::phase::Phase;
use crate::plan::Plan;
use crate::source::Kind;

/// Former subscriptions of a session that its unit ends. Beyond it the oldest stay in the session, and what comes of them
/// becomes a dead letter that says so.
const FORMER_MAX: usize = 256;

/// Entries that may have been removed in a run: the books of each are kept. Beyond it a change of the entries is refused.
const REMOVED_MAX: usize = 1024;

/// A change of all entries that is not over.
#[derive(Debug)]
pub(super) struct Becoming {
    /// The units that are no more, until all others have begun.
    gone: Vec<String>,
    /// The output is becoming another one, too.
    with_output: bool,
    /// What these have to deliver.
    grace: Duration,
    reply: Reply,
}

/// Why settings are refused that would be accepted at a start.
const COUNT_TOGETHER: &str = ", since the old settings and the new ones count together until what was taken with the old \
                              ones is delivered";

impl Sources {
    /// The plan with what is wanted, if it can be.
    pub(super) fn judge(&self, wanted: &Wanted) -> Result<Plan, Refused> {
        if self.becoming.is_some() || self.units.values().any(|it| it.removal.is_some()) {
            return Err(Refused::Busy);
        }
        let mut plan = Plan::clone(&self.plan);
        plan.sensors.clone_from(&wanted.sensors);
        (plan.queue, plan.batch, plan.output) = (wanted.queue, wanted.batch, wanted.output.clone());
        plan.gateway.memory_max = wanted.memory_max;
        plan.gateway.shutdown_grace = wanted.shutdown_grace;
        let mut both = plan.clone();
        both.hold_also(&self.plan);
        let anew = plan.queue != self.plan.queue;
        let ends = |(name, kind): &(&String, &Kind)| {
            let anew = anew && !matches!(kind, Kind::Simulated(_));
            anew || plan.sensors.get(*name) != Some(*kind)
        };
        for (name, kind) in self.plan.sensors.iter().filter(ends) {
            // No entry has a name with a blank.
            both.sensors.insert(format!("{name} before"), kind.clone());
        }
        self.accept(&plan, &both)?;
        Ok(plan)
    }

    /// Whether a plan is accepted: without a problem, and with a bound on memory, also while `both` run, that is allowed.
    pub(super) fn accept(&self, plan: &Plan, both: &Plan) -> Result<(), Refused> {
        let mut both = both.clone();
        if let Some((_, larger)) = &self.larger {
            both.hold_also(larger);
        }
        let share = both.intake_bounds();
        let more = self.units.values().map(|it| share.bytes_below(&it.bounds)).sum();
        let memory = both.above_memory_max_with(more).map(|(key, text)| {
            let is_sum = plan.above_memory_max().is_none();
            (key.to_owned(), format!("{text}{}", if is_sum { COUNT_TOGETHER } else { "" }))
        });
        let problems = plan.problems().into_iter().chain(memory).chain(self.too_many(plan));
        let problems: Vec<String> = problems.map(|(key, text)| format!("{key}: {text}")).collect();
        if problems.is_empty() { Ok(()) } else { Err(Refused::Settings(problems)) }
    }

    /// What a plan asks for that this run has no room for.
    fn too_many(&self, plan: &Plan) -> impl Iterator<Item = (String, String)> {
        let registry = &self.shared.registry;
        let removed = registry.removed_beside(|name| plan.sensors.contains_key(name));
        let names = (removed > REMOVED_MAX).then(|| {
            let text = format!("{removed} entries have been removed in this run, and {REMOVED_MAX} are the most: restart the gateway");
            ("sensors".to_owned(), text)
        });
        let needs = plan.sensors.iter();
        let needs = needs.filter_map(|(name, kind)| Some((name.as_str(), kind.known_sensors()?)));
        let missing = registry.rows_missing(&needs.collect::<Vec<_>>());
        let rows = (missing > 0).then(|| {
            let text = format!("leaves no row for {missing} of the simulated sensors, since other sensors have them: restart the gateway, or raise it");
            ("gateway.sensors_max".to_owned(), text)
        });
        names.into_iter().chain(rows)
    }

    /// The oldest reading that is held has been here since then; `None`: none is. What was taken with the limits before the
    /// last change may be delivered by now.
    pub fn holds_since(&mut self, oldest: Option<Instant>) {
        let is_over = |at: Instant| oldest.is_none_or(|since| since > at);
        self.larger.take_if(|(at, _)| is_over(*at) && !self.shared.queue.owes());
    }

    /// Makes this the plan.
    pub(super) fn become_these(&mut self, plan: Plan, reply: Reply, grace: Duration) {
        let old = Arc::clone(&self.plan);
        self.set_plan(plan);
        let new = Arc::clone(&self.plan);
        let mut limits = Plan { sensors: BTreeMap::new(), ..Plan::clone(&new) };
        limits.hold_also(&old);
        self.larger.iter().for_each(|(_, larger)| limits.hold_also(larger));
        self.larger = Some((clock::now().instant, Box::new(limits)));
        let anew = old.queue != new.queue;
        if anew {
            self.shared.queue.prepare(new.queue);
            self.ahead = read_ahead(&new);
        }
        let [before, mut after] = [&old, &new].map(|it| units_of(it));
        let gone = before.keys().filter(|unit| !after.contains_key(*unit)).cloned().collect();
        let is_new = |unit: &String, entries: &Vec<String>| {
            let is_other = |name: &String| old.sensors.get(name) != new.sensors.get(name);
            before.get(unit) != Some(entries) || entries.iter().any(is_other)
        };
        // What nobody has changed begins anew where it runs and asks for a window: what is made up is read from nowhere.
        let is_read = |name: &String| !matches!(new.sensors.get(name), Some(Kind::Simulated(_)));
        after.retain(|unit, entries| {
            let asks = anew && self.units.contains_key(unit) && entries.iter().any(is_read);
            is_new(unit, entries) || asks
        });
        let (changed, added): (BTreeMap<_, _>, BTreeMap<_, _>) =
            after.into_iter().partition(|(unit, _)| before.contains_key(unit));
        for (unit, entries) in added {
            self.begin(unit, entries, Vec::new(), true);
        }
        for (unit, entries) in changed {
            let was = before.get(&unit).map(Vec::as_slice).unwrap_or_default();
            let former = self.former(&unit, (&old, was), &entries);
            self.replace(unit, entries, former, grace);
        }
        // Those that had ended by themselves, or had failed.
        let runs =
            |name: &String| self.units.values().any(|it| !it.rests && it.entries.contains(name));
        let over: Vec<String> = old.sensors.keys().filter(|name| !runs(name)).cloned().collect();
        self.end_entries(&over);
        let with_output = !old.is_same_downstream(&new);
        self.becoming = Some(Becoming { gone, with_output, grace, reply });
        self.go_on();
    }

    /// The output is as it is to be.
    pub fn output_has_become(&mut self) {
        self.becoming.iter_mut().for_each(|it| it.with_output = false);
        self.go_on();
    }

    /// What these entries of an old plan subscribed to, and their unit was to end, that the new entries do not subscribe to.
    pub(super) fn former(
        &self,
        unit: &str,
        (old, was): (&Plan, &[String]),
        entries: &[String],
    ) -> Vec<String> {
        let wanted = subscriptions(&self.plan, entries);
        let earlier = self.units.get(unit).map(|it| it.former.clone()).unwrap_or_default();
        let wanted: BTreeSet<String> = wanted.into_iter().collect();
        let mut seen = BTreeSet::new();
        let all = earlier.into_iter().chain(subscriptions(old, was));
        let ends = |it: &String| !wanted.contains(it) && seen.insert(it.clone());
        let mut former: Vec<String> = all.filter(ends).collect();
        former.drain(..former.len().saturating_sub(FORMER_MAX));
        former
    }

    /// Lets a unit end, and these entries begin in its place.
    fn replace(
        &mut self,
        unit: String,
        entries: Vec<String>,
        former: Vec<String>,
        grace: Duration,
    ) {
        let Some(it) = self.units.get_mut(&unit).filter(|it| !it.rests) else {
            // It has ended by itself, or has failed.
            self.units.remove(&unit);
            self.forget_standing(&unit);
            return self.begin(unit, entries, former, true);
        };
        it.lead.replace();
        let next = Next { entries, former, _inlet: self.shared.queue.inlet() };
        let until = Some(clock::now().instant + grace);
        it.removal = Some(Removal { until, reply: None, next: Some(next) });
    }

    /// Removes what is no more once all that has changed has begun anew, and answers when that has ended.
    pub(super) fn go_on(&mut self) {
        let Some(becoming) = &mut self.becoming else { return };
        if self.units.values().any(Unit::is_replaced) {
            return;
        }
        let (grace, with_output) = (becoming.grace, becoming.with_output);
        for name in std::mem::take(&mut becoming.gone) {
            match self.units.get_mut(&name).filter(|it| !it.rests) {
                // It follows the gateway, and its session stays for the next run.
                Some(_) if self.phase > Phase::Running => {}
                Some(unit) => unit.remove(grace, None),
                None => {
                    self.units.remove(&name);
                    self.forget_standing(&name);
                }
            }
        }
        if with_output || self.units.values().any(|it| it.removal.is_some()) {
            return;
        }
        // Whoever waits for room has begun with these settings.
        self.shared.queue.resize(self.plan.queue);
        let made = if self.phase > Phase::Running { Err(Refused::Stopped) } else { Ok(()) };
        if let Some(becoming) = self.becoming.take() {
            // Nobody may wait for the answer.
            drop(becoming.reply.send(made));
        }
    }
}

impl Unit {
    /// Whether others will begin in its place.
    fn is_replaced(&self) -> bool {
        self.removal.as_ref().is_some_and(|it| it.next.is_some())
    }
}

/// What these entries of a plan subscribe to.
fn subscriptions(plan: &Plan, entries: &[String]) -> Vec<String> {
    let of_these = plan.intakes().filter(|(name, _)| entries.iter().any(|it| it == name));
    of_these.flat_map(|(_, settings)| settings.all_subscriptions()).collect()
}
