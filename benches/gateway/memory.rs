//! Memory: with nothing to do, and with an output that takes nothing.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::audit::{Auditor, CountOnly};
use crate::broker::Mosquitto;
use crate::figures::{Figures, Target};
use crate::load::{Flow, Load, Pace, Publishers};
use crate::process::until;
use crate::subject::{Gateway, READINGS, fleet};

/// Readings published while the output's broker is stopped.
const READINGS_MAX: u64 = 200_000;

/// Readings that come out before it is stopped: the output's connection is then at work.
const BEFORE: u64 = 1000;

const PATIENCE: Duration = Duration::from_secs(45);

const IDLE: Duration = Duration::from_secs(5);

/// The output's broker is stopped while readings keep coming, and goes on afterwards.
pub(crate) fn stopped_output(figures: &mut Figures) {
    let (broker, output) = (Mosquitto::start(), Mosquitto::start());
    let flow = Arc::new(Flow::default());
    let auditor = Auditor::start(output.port, 1, &flow, CountOnly);
    let config = fleet(&broker, 1).replace("\"warn\"", "\"info\"");
    let mut gateway = Gateway::start(&format!("{config}[output.broker]\n{}\n", output.url()));
    broker.until_subscribed(READINGS);
    let publish = |readings, start| {
        let load =
            Load { port: broker.port, qos: 1, pace: Pace::Flood, readings, padding: 0, start };
        Publishers::start(load, &flow)
    };
    publish(BEFORE, Instant::now()).join();
    assert!(until(Duration::from_secs(5), || flow.got() == BEFORE), "the first batches");
    let before = gateway.process.memory();
    output.process.signal("STOP");
    let publishers = publish(READINGS_MAX, Instant::now());
    let quarters: Vec<f64> = [1, 2, 4]
        .map(|quarters| {
            let published = || flow.sent() >= BEFORE + READINGS_MAX * quarters / 4;
            assert!(until(PATIENCE, published), "published");
            gateway.process.memory() as f64 / 1e6
        })
        .into();
    publishers.join();
    // All are at the broker: the gateway has what it can hold.
    thread::sleep(Duration::from_secs(1));
    let (held, peak) = (flow.sent() - flow.got(), gateway.process.memory_peak() as f64 / 1e6);
    output.process.signal("CONT");
    let start = Instant::now();
    until(PATIENCE, || flow.got() >= flow.sent());
    let (drained, missing) = (start.elapsed(), flow.sent().saturating_sub(flow.got()));
    println!(
        "resident before {:.1} MB; with 25, 50, 100 % published {quarters:.1?} MB",
        before as f64 / 1e6
    );
    println!(
        "peak {peak:.1} MB with {held} readings waiting; {missing} missing {:.1} s after it went on",
        drained.as_secs_f64()
    );
    println!("resident afterwards {:.1} MB", gateway.process.memory() as f64 / 1e6);
    println!("{}", gateway.drained());
    let CountOnly = auditor.finish();
    let bound = gateway.memory_bound();
    println!("the bound it printed: {bound:.1} MB");
    figures.note("output stopped: peak resident memory", peak, (1, "MB"), Target::AtMost(bound));
    let growth = quarters[2] - quarters[0];
    figures.note(
        "output stopped: growth from 25 to 100 % published",
        growth,
        (1, "MB"),
        Target::AtMost(1.0),
    );
    figures.note(
        "output stopped: readings missing afterwards",
        missing as f64,
        (0, ""),
        Target::AtMost(0.0),
    );
}

/// Connected and subscribed, and nothing comes.
pub(crate) fn idle(figures: &mut Figures) {
    let broker = Mosquitto::start();
    let gateway = Gateway::start(&fleet(&broker, 1));
    broker.until_subscribed(READINGS);
    thread::sleep(Duration::from_millis(200));
    let before = gateway.process.cpu();
    thread::sleep(IDLE);
    let cpu = 100.0 * (gateway.process.cpu() - before) / IDLE.as_secs_f64();
    let (memory, threads) = (gateway.process.memory() as f64 / 1e6, gateway.process.threads());
    println!("{memory:.1} MB, {cpu:.1} % of a processor, {threads} threads");
    figures.note("idle: resident memory", memory, (1, "MB"), Target::AtMost(15.0));
    figures.note("idle: processor time", cpu, (1, "%"), Target::None);
    figures.note("idle: threads", threads as f64, (0, ""), Target::None);
}
