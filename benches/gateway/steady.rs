//! The output comes back while readings go on coming: whether the spool is published faster than it
//! is written, and what that does to the intake.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::audit::Auditor;
use crate::broker::Mosquitto;
use crate::figures::{Figures, Target};
use crate::gate::{Gate, Way};
use crate::load::{Flow, Load, Pace, Publishers};
use crate::order::Order;
use crate::process::{Usage, until, until_calm};
use crate::subject::{Gateway, READINGS, spooling};

/// Readings a second, all the time.
const RATE: u64 = 20_000;

/// So many come out before the output goes away.
const BEFORE: u64 = RATE;

/// How long it stays away.
const AWAY: Duration = Duration::from_secs(12);

/// The intake is looked at for so long after the output's return, or until the spool is empty.
const LOOK: Duration = Duration::from_secs(4);

const PATIENCE: Duration = Duration::from_mins(1);

/// Where everything is at one moment.
struct Counts {
    at: Instant,
    sent: u64,
    taken: u64,
    got: u64,
}

impl Counts {
    fn now(gateway: &Gateway, flow: &Flow) -> Self {
        let (at, sent) = (Instant::now(), flow.sent());
        let taken = gateway.metric("sluicegate_readings_received_total");
        Self { at, sent, taken, got: flow.got() }
    }
}

/// Output away, readings at a steady rate, output back.
pub(crate) fn measure(figures: &mut Figures) {
    until_calm();
    let (broker, output) = (Mosquitto::start(), Mosquitto::start());
    let (gate, disk) = (Gate::before(output.port), tempfile::tempdir().unwrap());
    let flow = Arc::new(Flow::default());
    let auditor = Auditor::start(output.port, 1, &flow, Order::new());
    let mut gateway = Gateway::start(&spooling(&broker, &gate.url(), disk.path()));
    broker.until_subscribed(READINGS);
    let (port, pace, start) = (broker.port, Pace::Rate(RATE), Instant::now());
    let load = Load { port, qos: 1, pace, readings: u64::MAX, padding: 0, start };
    let publishers = Publishers::start(load, &flow);
    assert!(until(PATIENCE, || flow.got() >= BEFORE), "the first batches");
    gate.set(Way::Refused);
    gateway.lives(AWAY);
    let usage =
        |gateway: &Gateway| Usage::now(&[&gateway.process, &broker.process, &output.process]);
    let (before, used) = (Counts::now(&gateway, &flow), usage(&gateway));
    let spooled = gateway.metric("sluicegate_spool_readings");
    let back = gate.set(Way::Open);
    let empty = gateway.until_zero("sluicegate_spool_batches");
    let emptied = Counts::now(&gateway, &flow);
    gateway.lives((back + LOOK).saturating_duration_since(Instant::now()));
    let (after, others) = (Counts::now(&gateway, &flow), usage(&gateway).others_since(&used));
    publishers.stop();
    let sent = flow.sent();
    assert!(until(PATIENCE, || flow.got() >= sent), "everything");
    gateway.until_zero("sluicegate_readings_held");
    let balance = gateway.drained();
    flow.until_quiet();
    let order = auditor.finish();
    let missing = order.missing(sent);
    let empty = (empty - back).as_secs_f64();
    let published = (emptied.got - before.got) as f64;
    let taken = (emptied.taken - before.taken) as f64;
    println!(
        "{spooled} readings in the spool after {} s at {RATE}/s; in {empty:.2} s {published} published, {taken} taken",
        AWAY.as_secs()
    );
    let seconds = (after.at - before.at).as_secs_f64();
    let offered = (after.sent - before.sent) as f64;
    let kept = (after.taken - before.taken) as f64 / offered;
    println!(
        "intake of {seconds:.1} s from its return: {:.0}/s offered, {:.1} % taken; others {others:.0} %",
        offered / seconds,
        100.0 * kept
    );
    println!(
        "{missing} missing, {} out of order, {} repeated; {balance}",
        order.disordered, order.repeated,
    );
    let name = format!("spool, {RATE}/s going on:");
    figures.note(format!("{name} empty after"), empty, (2, "s"), Target::None);
    let ratio = published / taken;
    figures.note(
        format!("{name} published / taken till then"),
        ratio,
        (2, "x"),
        Target::AtLeast(1.0),
    );
    figures.note(
        format!("{name} taken / offered meanwhile"),
        kept,
        (3, "x"),
        Target::AtLeast(0.99),
    );
    let wrong = (missing + order.disordered) as f64;
    figures.note(format!("{name} missing or out of order"), wrong, (0, ""), Target::AtMost(0.0));
}
