//! Closed loop: as many readings as come out, at most [`WINDOW`] on their way.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::audit::CountOnly;
use crate::broker::Mosquitto;
use crate::figures::{Figures, Spread, Target};
use crate::load::{Flow, Load, Pace, Publishers};
use crate::process::{Usage, until, until_calm};
use crate::subject::Subject;

/// Readings on their way, at most.
const WINDOW: u64 = 20_000;

const ROUNDS: usize = 3;

/// Not counted: connections, first batches, memory that is touched for the first time.
const WARM_UP: Duration = Duration::from_millis(700);

const MEASURED: Duration = Duration::from_secs(3);

/// What was measured of one subject.
#[derive(Default)]
struct Series {
    rate: Spread,
    cpu_us: Spread,
    broker_us: Spread,
    peak_mb: Spread,
    others: Spread,
    lost: u64,
}

/// Throughput and processor time of all subjects, at both QoS.
pub(crate) fn measure(figures: &mut Figures) {
    let subjects = Subject::all();
    println!(
        "The bare subscribers have no output and acknowledge at once, which favours them; the"
    );
    println!("gateway publishes batches and withholds every acknowledgement until theirs.");
    for qos in [0, 1] {
        let mut all: Vec<Series> = subjects.iter().map(|_| Series::default()).collect();
        for _ in 0..ROUNDS {
            for (subject, series) in subjects.iter().zip(&mut all) {
                sample(*subject, qos, series);
            }
        }
        print(qos, &subjects, &all);
        compare(qos, &subjects, &all, figures);
    }
}

fn sample(subject: Subject, qos: u8, series: &mut Series) {
    until_calm();
    let broker = Mosquitto::start();
    let flow = Arc::new(Flow::default());
    let running = subject.start(&broker, qos, &flow, CountOnly);
    let (port, pace, start) = (broker.port, Pace::Window(WINDOW), Instant::now());
    let publishers =
        Publishers::start(Load { port, qos, pace, readings: u64::MAX, padding: 0, start }, &flow);
    thread::sleep(WARM_UP);
    let look = || {
        let usage = Usage::now(&[&running.process, &broker.process]);
        (Instant::now(), flow.got(), running.process.cpu(), broker.process.cpu(), usage)
    };
    let before = look();
    thread::sleep(MEASURED);
    let after = look();
    publishers.stop();
    let missing = || flow.sent() - flow.got();
    until(Duration::from_secs(5), || missing() < running.step);
    let count = (after.1 - before.1) as f64;
    let us = |seconds: f64| seconds * 1e6 / count;
    series.rate.add(count / (after.0 - before.0).as_secs_f64());
    series.cpu_us.add(us(after.2 - before.2));
    series.broker_us.add(us(after.3 - before.3));
    series.peak_mb.add(running.process.memory_peak() as f64 / 1e6);
    series.others.add(after.4.others_since(&before.4));
    series.lost += if missing() < running.step { 0 } else { missing() };
}

fn print(qos: u8, subjects: &[Subject], all: &[Series]) {
    println!(
        "\nQoS {qos:<14}{:>29}{:>20}{:>18}{:>9}{:>7}{:>9}",
        "readings/s", "us a reading", "the broker's us", "peak MB", "lost", "others %"
    );
    for (subject, it) in subjects.iter().zip(all) {
        println!(
            "{:<18}{:>29.0}{:>20.2}{:>18.1}{:>9.1}{:>7}{:>9.0}",
            subject.name(),
            it.rate,
            it.cpu_us,
            it.broker_us,
            it.peak_mb.quantile(1.0),
            it.lost,
            it.others.quantile(1.0)
        );
    }
}

fn compare(qos: u8, subjects: &[Subject], all: &[Series], figures: &mut Figures) {
    let of = |wanted: Subject| {
        let mut pairs = subjects.iter().zip(all);
        pairs.find(|(subject, _)| **subject == wanted).map(|(_, series)| series)
    };
    let Some(gateway) = of(Subject::Gateway) else { return };
    for bare in [Subject::Rumqttc, Subject::MosquittoSub] {
        let Some(series) = of(bare) else { continue };
        let ratio = gateway.rate.median() / series.rate.median();
        let name = format!("QoS {qos} throughput / {}", bare.name());
        figures.note(name, ratio, (2, "x"), Target::AtLeast(0.9));
    }
    if let Some(series) = of(Subject::Rumqttc) {
        let ratio = gateway.cpu_us.median() / series.cpu_us.median();
        let name = format!("QoS {qos} processor time a reading / bare rumqttc loop");
        figures.note(name, ratio, (2, "x"), Target::AtMost(2.5));
    }
    let name = format!("QoS {qos} processor time a reading at full rate");
    figures.goal(name, gateway.cpu_us.median(), (2, "us"), Target::AtMost(1.0));
    let name = format!("QoS {qos} peak resident memory at full rate");
    figures.goal(name, gateway.peak_mb.quantile(1.0), (1, "MB"), Target::AtMost(15.0));
    figures.note(
        format!("QoS {qos} readings lost"),
        gateway.lost as f64,
        (0, ""),
        Target::AtMost(0.0),
    );
}
