//! Tests of what runs: units whose tasks do as the test says.

use std::pin::pin;
use std::task::Waker;

use serde_json::json;
use tokio::sync::oneshot;
use tokio::task::yield_now;

use super::*;
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

/// Without an entry.
fn sources() -> Sources {
    let mut plan = Plan::default();
    plan.gateway.start_grace = serde_json::from_value(json!("0s")).unwrap();
    let shared = Shared {
        queue: Queue::new(plan.queue),
        registry: Arc::new(Registry::new(9, [] as [(&str, Option<usize>); 0])),
        metrics: Arc::default(),
        pace: Arc::default(),
        standings: Standings::new(clock::now().instant),
    };
    let (plan, units, run) = (Arc::new(plan), BTreeMap::new(), "gw-1".into());
    let (left, roll_call, phase) = (None, None, Phase::Running);
    Sources {
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
        let it = Unit { entries, lead, tasks, added, rests: false, removal: None };
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
