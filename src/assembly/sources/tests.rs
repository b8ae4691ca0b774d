//! Tests of what runs: units whose tasks do as the test says.

use std::pin::pin;
use std::task::Waker;

use serde_json::json;
use tokio::sync::oneshot;
use tokio::task::yield_now;

use super::*;
use crate::assembly::changes::Wanted;
use crate::phase::PhaseReceiver;
use crate::queue::Queue;
use crate::state::registry::Registry;
use crate::unusable::Unusable;

const GRACE: Duration = Duration::from_mins(1);

fn kind(settings: serde_json::Value) -> Kind {
    serde_json::from_value(settings).unwrap()
}

fn failure() -> Failure {
    let error = Unusable { reason: "it is in use".into(), may_mend: false };
    Failure { place: "sensors.a".into(), error }
}

/// Rows of sensors.
const ROWS: usize = 10_010;

/// Without an entry.
fn sources() -> Sources {
    let mut plan = Plan::default();
    plan.gateway.start_grace = serde_json::from_value(json!("0s")).unwrap();
    let shared = Shared {
        queue: Queue::new(plan.queue),
        registry: Arc::new(Registry::new(ROWS, [] as [(&str, Option<usize>); 0])),
        metrics: Arc::default(),
        pace: Arc::default(),
        standings: Standings::new(clock::now().instant),
        certificates: Arc::default(),
    };
    let (plan, units, run) = (Arc::new(plan), BTreeMap::new(), "gw-1".into());
    let (left, roll_call, phase) = (None, None, Phase::Running);
    Sources {
        current: Current::new(Arc::clone(&plan)),
        plan,
        shared,
        run,
        seed: 1,
        left,
        roll_call,
        ahead: 1024.into(),
        desk: Arc::default(),
        units,
        phase,
        becoming: None,
        larger: None,
    }
}

impl Sources {
    /// Adds a unit of entries that has one task: it ends when it is to close, or fails at once.
    fn with(&mut self, unit: &str, entries: &[&str], added: bool, fails: bool) -> PhaseReceiver {
        let mut plan = Plan::clone(&self.plan);
        for name in entries {
            plan.sensors.insert((*name).to_owned(), kind(json!({"simulated": {}})));
        }
        self.plan = Arc::new(plan);
        let (lead, phase) = phase::start();
        let mut tasks = Tasks::default();
        let mut watch = phase.clone();
        tasks.start(async move {
            if fails {
                return Err(failure());
            }
            watch.reached(Phase::Closing).await;
            Ok(())
        });
        let entries = entries.iter().map(|name| (*name).to_owned()).collect();
        let (bounds, former) = (self.plan.intake_bounds(), Vec::new());
        let (rests, removal) = (false, None);
        let it = Unit { entries, lead, tasks, bounds, former, added, rests, removal };
        self.units.insert(unit.to_owned(), it);
        phase
    }

    fn ask(&mut self, change: Change) -> oneshot::Receiver<Result<(), Refused>> {
        let (reply, answer) = oneshot::channel();
        self.change(change, reply, GRACE);
        answer
    }

    /// What is answered at once.
    fn answer(&mut self, change: Change) -> String {
        match self.ask(change).try_recv() {
            Ok(Ok(())) => "done".into(),
            Ok(Err(refused)) => refused.to_string(),
            Err(error) => panic!("{error}"),
        }
    }

    /// The next that ends, once the tasks have done what they can.
    async fn soon(&mut self) -> Poll<Option<Result<Ended, Panicked>>> {
        for _ in 0..9 {
            yield_now().await;
        }
        pin!(self.next()).poll(&mut task::Context::from_waker(Waker::noop()))
    }

    fn troubles(&self) -> Vec<Option<String>> {
        let sessions = self.shared.standings.sessions();
        sessions.iter().map(|(_, it)| it.seen().trouble).collect()
    }
}

fn remove(name: &str) -> Change {
    Change::Remove(name.into())
}

fn add(name: &str, settings: serde_json::Value) -> Change {
    Change::Add(name.into(), Box::new(kind(settings)))
}

#[tokio::test]
async fn what_is_removed_has_its_grace_and_is_answered_when_it_has_ended() {
    let mut it = sources();
    let [a, _b] = ["a", "b"].map(|name| it.with(name, &[name], false, false));
    let before = clock::now().instant;
    let mut answer = it.ask(remove("a"));
    assert!(a.is_removed() && !it.plan.sensors.contains_key("a"), "its settings count no more");
    assert_eq!(it.answer(remove("a")), "sensors.a does not run");
    assert_eq!(it.answer(remove("b")), "sensors.b is the last one: stop the gateway");
    let until = it.deadline().unwrap();
    assert!(until >= before + GRACE);
    it.end_overdue(before);
    assert!(!a.is(Phase::Closing) && it.soon().await.is_pending());
    assert!(answer.try_recv().is_err(), "it delivers what it holds");
    it.end_overdue(until);
    assert!(a.is(Phase::Closing) && it.deadline().is_none());
    assert!(matches!(it.soon().await, Poll::Ready(Some(Ok(Ok(()))))));
    assert!(it.soon().await.is_pending(), "the other one goes on");
    answer.try_recv().unwrap().unwrap();
}

#[tokio::test]
async fn a_gateway_that_drains_takes_no_change_and_all_follow_it() {
    let mut it = sources();
    let phases = ["a", "b"].map(|name| it.with(name, &[name], false, false));
    it.enter(Phase::Draining);
    for change in [add("c", json!({"simulated": {}})), remove("a")] {
        assert_eq!(it.answer(change), "the gateway is draining");
    }
    it.enter(Phase::Closing);
    assert!(phases.iter().all(|it| it.is(Phase::Closing)));
    let (ended, left) = it.finish(GRACE).await;
    assert_eq!((ended.len(), left), (2, 0));
}

#[tokio::test]
async fn what_was_added_and_fails_rests_until_it_is_removed_or_added_again() {
    let mut it = sources();
    let steady = it.with("b", &["b"], false, false);
    let failed = it.with("session a", &["a"], true, true);
    assert!(matches!(it.soon().await, Poll::Ready(Some(Ok(Ok(()))))), "it ends nothing");
    assert!(failed.is(Phase::Closing) && !steady.is(Phase::Draining));
    assert_eq!(it.troubles(), [Some("it is in use".to_owned())]);
    assert!(it.soon().await.is_pending());
    assert_eq!(it.answer(remove("b")), "sensors.b is the last one: stop the gateway");
    assert_eq!(it.answer(add("a", json!({"simulated": {}}))), "done");
    assert_eq!(it.troubles(), [], "it is no session now");
    assert_eq!(it.units.keys().collect::<Vec<_>>(), ["a", "b"]);
    it.with("session c", &["c"], true, true);
    assert!(matches!(it.soon().await, Poll::Ready(Some(Ok(Ok(()))))));
    assert_eq!(it.answer(remove("c")), "done");
    assert!(it.troubles().is_empty() && !it.plan.sensors.contains_key("c"));
    assert_eq!(it.answer(remove("c")), "sensors.c does not run");
}

#[tokio::test]
async fn sources_are_over_when_only_what_rests_is_left() {
    let mut it = sources();
    it.with("a", &["a"], true, true);
    it.with("b", &["b"], false, false);
    assert!(matches!(it.soon().await, Poll::Ready(Some(Ok(Ok(()))))));
    it.enter(Phase::Closing);
    assert!(matches!(it.soon().await, Poll::Ready(Some(Ok(Ok(()))))));
    assert!(matches!(it.soon().await, Poll::Ready(None)));
    assert_eq!(it.units.keys().collect::<Vec<_>>(), ["a"]);
}

#[tokio::test]
async fn what_has_not_ended_in_time_is_counted() {
    let mut it = sources();
    it.with("a", &["a"], false, false);
    let (ended, left) = it.finish(Duration::ZERO).await;
    assert_eq!((ended.len(), left), (0, 1));
}

#[tokio::test]
async fn what_fails_from_the_start_ends_the_gateway_unless_it_is_removed() {
    let mut it = sources();
    it.with("a", &["a"], false, true);
    it.with("b", &["b"], false, false);
    assert!(matches!(it.soon().await, Poll::Ready(Some(Ok(Err(_))))));
    assert!(it.soon().await.is_pending());
    it.with("session a", &["a"], false, true);
    it.shared.standings.session("a", clock::now().instant);
    let mut answer = it.ask(remove("a"));
    assert!(matches!(it.soon().await, Poll::Ready(Some(Ok(Ok(()))))));
    assert!(it.soon().await.is_pending());
    answer.try_recv().unwrap().unwrap();
    assert!(it.troubles().is_empty(), "its session is forgotten");
}

#[tokio::test]
async fn entries_of_one_session_cannot_be_changed_one_by_one() {
    let mut it = sources();
    it.with("session plant", &["a", "b"], false, false);
    it.with("c", &["c"], false, false);
    let more = json!({"mqtt": {"topic": "d", "session": "plant"}});
    for (change, name) in [(remove("a"), "a"), (add("d", more), "d")] {
        let refused = it.answer(change);
        assert!(refused.starts_with(&format!("sensors.{name} shares its session")), "{refused}");
    }
}

/// Whoever has added it may see it later.
#[tokio::test]
async fn what_is_added_is_tried_for_ever() {
    let mut it = sources();
    it.with("b", &["b"], false, false);
    let command = json!({"exec": {"command": ["/no/such/program"]}});
    assert_eq!(it.answer(add("command", command)), "done");
    assert!(it.soon().await.is_pending());
    assert!(!it.units["command"].rests);
}

/// A reload that wants these entries, all simulated, of so many sensors.
fn wanted(entries: &[(&str, u32)]) -> Wanted {
    let entry = |(name, count): &(&str, u32)| {
        ((*name).to_owned(), kind(json!({"simulated": {"count": count, "interval": "1h"}})))
    };
    let plan = Plan::default();
    Wanted {
        sensors: entries.iter().map(entry).collect(),
        queue: plan.queue,
        batch: plan.batch,
        output: plan.output,
        memory_max: plan.gateway.memory_max,
        shutdown_grace: plan.gateway.shutdown_grace,
    }
}

fn become_these(entries: &[(&str, u32)]) -> Change {
    Change::Become(Box::new(wanted(entries)))
}

/// With these entries, the unit of each one that ends when it is to close.
fn running(entries: &[(&str, u32)]) -> (Sources, Vec<PhaseReceiver>) {
    let mut it = sources();
    let phases = entries.iter().map(|(name, _)| it.with(name, &[name], false, false)).collect();
    let mut plan = Plan::clone(&it.plan);
    plan.sensors = wanted(entries).sensors;
    it.plan = Arc::new(plan);
    (it, phases)
}

#[tokio::test]
async fn what_is_new_begins_first_what_has_changed_in_its_place_and_what_is_gone_ends_last() {
    let (mut it, phases) = running(&[("changed", 1), ("gone", 1), ("same", 1)]);
    let [changed, gone, same] = &phases[..] else { panic!("three") };
    let mut answer = it.ask(become_these(&[("added", 1), ("changed", 2), ("same", 1)]));
    assert!(it.units.contains_key("added"));
    assert!(changed.is(Phase::Draining) && !changed.is_removed(), "its session is kept");
    assert!(!gone.is(Phase::Draining) && !same.is(Phase::Draining));
    assert_eq!(
        it.answer(become_these(&[("same", 1)])),
        "an earlier change is not over: ask again in a while"
    );
    it.end_overdue(it.deadline().unwrap());
    assert!(matches!(it.soon().await, Poll::Ready(Some(Ok(Ok(()))))));
    assert!(it.soon().await.is_pending());
    assert!(it.units["changed"].removal.is_none(), "it has begun anew");
    assert!(gone.is_removed() && answer.try_recv().is_err());
    it.end_overdue(it.deadline().unwrap());
    assert!(matches!(it.soon().await, Poll::Ready(Some(Ok(Ok(()))))));
    assert!(it.soon().await.is_pending());
    answer.try_recv().unwrap().unwrap();
    assert!(!same.is(Phase::Draining));
    assert_eq!(it.units.keys().collect::<Vec<_>>(), ["added", "changed", "same"]);
    let mut same = it.ask(become_these(&[("added", 1), ("changed", 2), ("same", 1)]));
    same.try_recv().unwrap().unwrap();
    assert_eq!(it.deadline(), None, "nothing ends");
}

#[tokio::test]
async fn other_settings_of_the_queue_change_every_entry_that_reads_and_of_batches_none() {
    let (mut it, phases) = running(&[("made", 1), ("read", 1), ("over", 1)]);
    let mut next = wanted(&[("made", 1)]);
    for name in ["read", "over"] {
        let command = kind(json!({"exec": {"command": ["cat"], "restart": "on_failure"}}));
        next.sensors.insert(name.to_owned(), command);
    }
    it.plan = Arc::new(Plan { sensors: next.sensors.clone(), ..Plan::clone(&it.plan) });
    // It has ended by itself.
    it.units.remove("over");
    next.batch.records_max = std::num::NonZeroU32::new(9).unwrap();
    let mut answer = it.ask(Change::Become(Box::new(next.clone())));
    assert!(answer.try_recv().is_err() && it.deadline().is_none(), "the output is not there yet");
    assert_eq!(it.current.get().batch, next.batch);
    it.output_has_become();
    answer.try_recv().unwrap().unwrap();
    next.queue.records_max = std::num::NonZeroU32::new(9).unwrap();
    let mut answer = it.ask(Change::Become(Box::new(next)));
    let [made, read, _over] = &phases[..] else { panic!("three") };
    assert!(read.is(Phase::Draining) && read.is_survived() && !read.is_removed());
    assert!(!made.is(Phase::Draining), "it is read from nowhere");
    it.end_overdue(clock::now().instant + GRACE);
    assert!(answer.try_recv().is_err());
    assert!(matches!(it.soon().await, Poll::Ready(Some(Ok(Ok(()))))));
    assert!(it.soon().await.is_pending(), "it has begun anew");
    answer.try_recv().unwrap().unwrap();
    assert_eq!(it.units.keys().collect::<Vec<_>>(), ["made", "read"], "what was over stays so");
}

#[tokio::test]
async fn what_was_taken_with_larger_limits_counts_until_it_is_delivered() {
    let (mut it, _) = running(&[("a", 1)]);
    let roomy = crate::units::Size::bytes(1 << 30);
    let mut large = Wanted { memory_max: roomy, ..wanted(&[("a", 1)]) };
    large.queue.bytes_max = crate::units::Size::bytes(40 << 20);
    let change = |wanted: &Wanted| Change::Become(Box::new(wanted.clone()));
    assert_eq!(it.answer(change(&large)), "done");
    let small = Wanted { memory_max: roomy, ..wanted(&[("a", 1)]) };
    it.holds_since(Some(clock::now().instant));
    assert_eq!(it.answer(change(&small)), "done");
    let tight = crate::units::Size::bytes(u32::try_from(it.plan.budget().total()).unwrap());
    let lowered = Wanted { memory_max: tight, ..small };
    let before = clock::now().instant.checked_sub(Duration::from_mins(1));
    it.holds_since(before);
    let refused = it.answer(change(&lowered));
    assert!(refused.contains("the old settings and the new ones count together"), "{refused}");
    it.holds_since(Some(clock::now().instant));
    assert_eq!(it.answer(change(&lowered)), "done");
}

#[tokio::test]
async fn while_the_only_entry_is_replaced_the_sources_are_not_over() {
    let (mut it, phases) = running(&[("only", 1)]);
    let mut answer = it.ask(become_these(&[("only", 2)]));
    it.end_overdue(it.deadline().unwrap());
    drop(phases);
    assert!(matches!(it.soon().await, Poll::Ready(Some(Ok(Ok(()))))));
    assert!(it.soon().await.is_pending(), "it has begun anew");
    answer.try_recv().unwrap().unwrap();
    // One that has failed rests; it is no more, and answered at once.
    it.with("rests", &["rests"], true, true);
    assert!(matches!(it.soon().await, Poll::Ready(Some(Ok(Ok(()))))));
    assert_eq!(it.answer(become_these(&[("only", 2)])), "done");
    assert_eq!(it.units.keys().collect::<Vec<_>>(), ["only"]);
}

#[tokio::test]
async fn a_plan_that_is_refused_changes_nothing() {
    let (mut it, phases) = running(&[("many", 10_000), ("same", 1)]);
    let both = wanted(&[("many", 10_001), ("same", 1)]);
    let alone = Plan { sensors: both.sensors.clone(), ..Plan::default() }.budget().total();
    let tight = serde_json::from_value(json!(alone + (1 << 20))).unwrap();
    let sum = Change::Become(Box::new(Wanted { memory_max: tight, ..both.clone() }));
    let names = wanted(&[("a b", 1), ("c.d", 1)]);
    for (change, expected) in [
        (sum, &["gateway.memory_max: is", "but the limits add up to"][..]),
        (Change::Become(Box::new(names)), &["sensors.a b: the name", "; sensors.c.d: the name"]),
        (become_these(&[]), &["sensors: there is no sensor"]),
    ] {
        let refused = it.answer(change);
        assert!(expected.iter().all(|it| refused.contains(it)), "{refused}");
    }
    assert_eq!(it.answer(Change::Try(Box::new(both))), "done");
    assert!(phases.iter().all(|it| !it.is(Phase::Draining)) && it.deadline().is_none());
    assert_eq!(it.plan.sensors, wanted(&[("many", 10_000), ("same", 1)]).sensors);
}

#[tokio::test]
async fn a_gateway_that_drains_in_the_middle_of_a_change_begins_nothing_and_says_so() {
    let (mut it, phases) = running(&[("changed", 1), ("gone", 1)]);
    let mut answer = it.ask(become_these(&[("changed", 2)]));
    it.enter(Phase::Closing);
    for _ in 0..2 {
        assert!(matches!(it.soon().await, Poll::Ready(Some(Ok(Ok(()))))));
    }
    assert!(matches!(it.soon().await, Poll::Ready(None)));
    assert!(phases.iter().all(|it| !it.is_removed()), "their sessions are for the next run");
    let refused = answer.try_recv().unwrap().unwrap_err().to_string();
    assert!(
        refused.starts_with("the gateway was stopped in the middle of the change"),
        "{refused}"
    );
}

#[tokio::test]
async fn former_subscriptions_of_a_session_are_ended_until_they_are_wanted_again() {
    let mut it = sources();
    let topics = |topics: &[&str]| {
        let mut wanted = wanted(&[("made", 1)]);
        let settings = json!({"mqtt": {"topics": topics, "session": "plant"}});
        wanted.sensors.insert("a".into(), kind(settings));
        wanted
    };
    let mut seen = Vec::new();
    for of in [&["a/+"][..], &["b/+", "c"], &["c", "a/+"], &["d"]] {
        let wanted = topics(of);
        it.judge(&wanted).unwrap();
        let former = it.units.get("session plant").map(|unit| unit.former.clone());
        let mut plan = Plan::clone(&it.plan);
        plan.sensors = wanted.sensors;
        let old = std::mem::replace(&mut it.plan, Arc::new(plan));
        let now = it.former("session plant", (&old, &["a".to_owned()]), &["a".to_owned()]);
        it.with("session plant", &[], true, false);
        it.units.get_mut("session plant").unwrap().former.clone_from(&now);
        seen.push((former.unwrap_or_default(), now));
    }
    let now: Vec<&[String]> = seen.iter().map(|(_, now)| &now[..]).collect();
    assert_eq!(now, [&[][..], &["a/+"], &["b/+"], &["b/+", "c", "a/+"]]);
}

#[tokio::test]
async fn sensors_that_would_have_no_row_and_names_without_end_are_refused() {
    let mut it = sources();
    it.with("a", &["a"], false, false);
    let said = it.answer(add("many", json!({"simulated": {"count": ROWS}})));
    assert!(said.starts_with("gateway.sensors_max: leaves no row for 1 of the"), "{said}");
    for number in 0..=1024 {
        let name = format!("x{number}");
        it.shared.registry.add_entry(&name, None);
        it.shared.registry.end_entry(&name);
    }
    let said = it.answer(add("b", json!({"mqtt": {"topic": "b"}})));
    assert!(said.starts_with("sensors: 1025 entries have been removed in this run"), "{said}");
}

#[tokio::test]
async fn of_former_subscriptions_the_newest_are_ended() {
    let mut it = sources();
    it.with("session plant", &["a"], false, false);
    let former = |numbers: std::ops::Range<u32>| numbers.map(|it| format!("f{it}/#")).collect();
    it.units.get_mut("session plant").unwrap().former = former(0..300);
    let ended: Vec<String> = it.former("session plant", (&Plan::default(), &[]), &[]);
    let newest: Vec<String> = former(44..300);
    assert_eq!(ended, newest);
}
