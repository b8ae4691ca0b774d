//! How late readings come out: the first ones after a start, and a steady stream.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::audit::{Audit, Auditor, records};
use crate::broker::Mosquitto;
use crate::figures::{Figures, Spread, Target};
use crate::load::{Flow, Load, Pace, Publishers};
use crate::process::{until, until_calm};
use crate::subject::{Gateway, Subject};

const STARTS: usize = 5;

/// Readings a second of the stream, and how many.
const RATE: u64 = 20_000;
const READINGS: u64 = 80_000;
const ROUNDS: usize = 3;

/// Readings of a batch of the stream: the last has waited for none, the first for all of them.
const BATCH: f64 = 500.0;

/// What is known of the first batch.
#[derive(Default)]
struct First(Option<(Instant, Duration)>);

impl Audit for First {
    fn batch(&mut self, payload: &str, now: Instant) {
        if self.0.is_some() {
            return;
        }
        let times = records(payload).map(|it| humantime::parse_rfc3339(it.timestamp).unwrap());
        let age = SystemTime::now().duration_since(times.min().unwrap());
        self.0 = Some((now, age.unwrap_or_default()));
    }
}

/// Ten simulated sensors at 10 Hz and nothing else configured.
pub(crate) fn first_batch(figures: &mut Figures) {
    let (mut after_reading, mut after_start) = (Spread::default(), Spread::default());
    for _ in 0..STARTS {
        let broker = Mosquitto::start();
        let flow = Arc::new(Flow::default());
        let auditor = Auditor::start(broker.port, 1, &flow, First::default());
        let sensors = "[sensors.TEMP.simulated]\ncount = 10\ninterval = \"100ms\"\n";
        let start = Instant::now();
        let _gateway = Gateway::start(&format!("[broker]\n{}\n{sensors}", broker.url()));
        assert!(until(Duration::from_secs(10), || flow.got() > 0), "no batch");
        let (arrived, age) = auditor.finish().0.unwrap();
        after_reading.add(age.as_secs_f64() * 1e3);
        after_start.add((arrived - start).as_secs_f64() * 1e3);
    }
    println!(
        "{STARTS} starts: ms from the first reading {after_reading:.0}, from the start {after_start:.0}"
    );
    let worst = after_reading.quantile(1.0);
    figures.note(
        "first batch after the first reading (worst)",
        worst,
        (0, "ms"),
        Target::AtMost(200.0),
    );
    figures.note(
        "first batch after the start (median)",
        after_start.median(),
        (0, "ms"),
        Target::None,
    );
}

/// From when a reading was due to its arrival in a batch, in milliseconds.
struct Lateness {
    load: Load,
    ms: Vec<f64>,
}

impl Audit for Lateness {
    fn batch(&mut self, payload: &str, now: Instant) {
        for record in records(payload) {
            let late = now.saturating_duration_since(self.load.due(record.number()));
            self.ms.push(late.as_secs_f64() * 1e3);
        }
    }
}

/// A steady stream, far below what the gateway can.
pub(crate) fn trickle(figures: &mut Figures) {
    for qos in [0, 1] {
        let (mut bare, mut gateway) = (Spread::default(), Spread::default());
        let (mut p50, mut p99) = (Spread::default(), Spread::default());
        for _ in 0..ROUNDS {
            bare.add(stream(Subject::Rumqttc, qos).0);
            let (cpu, late) = stream(Subject::Gateway, qos);
            gateway.add(cpu);
            p50.add(late.quantile(0.5));
            p99.add(late.quantile(0.99));
        }
        println!(
            "QoS {qos} at {RATE}/s: us a reading {gateway:.2}, bare rumqttc loop {bare:.2}; ms late p50 {p50:.1}, p99 {p99:.1}"
        );
        let at = format!("QoS {qos} at {RATE}/s:");
        let ratio = gateway.median() / bare.median();
        figures.note(
            format!("{at} processor time / bare rumqttc loop"),
            ratio,
            (2, "x"),
            Target::AtMost(2.5),
        );
        figures.goal(
            format!("{at} processor time a reading"),
            gateway.median(),
            (2, "us"),
            Target::AtMost(3.5),
        );
        // What the filling of a batch takes, and 2 ms.
        let wait = BATCH / RATE as f64 * 1e3;
        figures.goal(
            format!("{at} p50 late"),
            p50.median(),
            (1, "ms"),
            Target::AtMost(0.5 * wait + 2.0),
        );
        figures.goal(
            format!("{at} p99 late"),
            p99.median(),
            (1, "ms"),
            Target::AtMost(0.99 * wait + 2.0),
        );
    }
}

/// Microseconds of processor time a reading, and how late they came, if they came out.
fn stream(subject: Subject, qos: u8) -> (f64, Spread) {
    until_calm();
    let broker = Mosquitto::start();
    let flow = Arc::new(Flow::default());
    let (port, pace) = (broker.port, Pace::Rate(RATE));
    let start = Instant::now() + Duration::from_millis(500);
    let load = Load { port, qos, pace, readings: READINGS, padding: 0, start };
    let mut running = subject.start(&broker, qos, &flow, Lateness { load, ms: Vec::new() });
    thread::sleep(start.saturating_duration_since(Instant::now() + Duration::from_millis(50)));
    let before = running.process.cpu();
    Publishers::start(load, &flow).join();
    until(Duration::from_secs(5), || flow.sent() - flow.got() < running.step);
    let cpu = (running.process.cpu() - before) * 1e6 / READINGS as f64;
    let late = running.auditor.take().map(|auditor| auditor.finish().ms);
    (cpu, late.unwrap_or_default().into_iter().collect())
}
