//! One sensor that floods beside others that do not: what the others see of it, with a quota and without one.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::audit::{Audit, Auditor, records};
use crate::broker::Mosquitto;
use crate::figures::{Figures, Spread, Target};
use crate::load::{Flow, Load, Pace, Publishers};
use crate::process::{Usage, until, until_calm};
use crate::subject::{Gateway, READINGS, fleet};
use crate::wire;

/// Readings a second of the others together, each of another sensor, and how many.
const RATE: u64 = 99;
const OTHERS: u64 = RATE * 10;

/// Readings a second of the sensor that floods, in pieces, with at most so many unacknowledged.
const FLOOD_RATE: u64 = 50_000;
const PIECE: u64 = 50;
const IN_FLIGHT: u64 = 1000;

/// The digits at the end of its id: no other has them.
const FLOODING: u64 = 99_999;

const QUOTA: &str = "quota = { rate = \"50/s\", burst = 100, over = \"shed_newest\" }";

/// How long it waits for room before it looks whether it is to stop.
const PAUSE: Duration = Duration::from_millis(100);

const PATIENCE: Duration = Duration::from_secs(20);

/// How late the readings of the others come, in milliseconds.
struct Others {
    load: Load,
    ms: Vec<f64>,
    flooding: u64,
}

impl Audit for Others {
    fn batch(&mut self, payload: &str, now: Instant) {
        for record in records(payload) {
            if record.sensor == FLOODING {
                self.flooding += 1;
                continue;
            }
            let late = now.saturating_duration_since(self.load.due(record.number()));
            self.ms.push(late.as_secs_f64() * 1e3);
        }
    }
}

/// A sensor that floods until it is told to stop.
struct Flood {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Flood {
    fn start(port: u16) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        Self { stop, thread: thread::spawn(move || flood(port, &told)) }
    }

    /// How many readings it has published.
    fn end(self) -> u64 {
        self.stop.store(true, Ordering::Release);
        self.thread.join().unwrap()
    }
}

fn flood(port: u16, stop: &AtomicBool) -> u64 {
    let mut stream = wire::connect(port, "bench-flood");
    let acked = Arc::new(AtomicU64::new(0));
    let (mut answers, counted) = (stream.try_clone().unwrap(), Arc::clone(&acked));
    thread::spawn(move || {
        let (mut buffer, mut bytes) = (vec![0; 64 * 1024], 0);
        while let Ok(more @ 1..) = answers.read(&mut buffer) {
            bytes += more;
            counted.store((bytes / wire::PUBACK_BYTES) as u64, Ordering::Release);
        }
    });
    let (topic, begun) = (format!("sensors/TEMP_{FLOODING}/reading"), Instant::now());
    let (mut sent, mut out) = (0, Vec::new());
    while !stop.load(Ordering::Acquire) {
        let may = || {
            let due = (begun.elapsed().as_secs_f64() * FLOOD_RATE as f64) as u64;
            sent + PIECE <= due.min(acked.load(Ordering::Acquire) + IN_FLIGHT)
        };
        if !until(PAUSE, may) {
            continue;
        }
        out.clear();
        for _ in 0..PIECE {
            sent += 1;
            let id = (sent % u64::from(u16::MAX)) as u16 + 1;
            out.extend_from_slice(&wire::publish(&topic, 1, id, b"{\"value\":50.000}"));
        }
        stream.write_all(&out).unwrap();
    }
    until(PATIENCE, || acked.load(Ordering::Acquire) == sent);
    stream.write_all(&wire::DISCONNECT).unwrap();
    sent
}

/// The others alone, beside the flood, and beside the flood with a quota.
pub(crate) fn measure(figures: &mut Figures) {
    let [alone, open, limited] = [
        ("alone", false, ""),
        ("beside the flood", true, ""),
        ("the same, with a quota", true, QUOTA),
    ]
    .map(|(name, floods, quota)| run(name, floods, quota));
    for (name, late) in [("alone", &alone), ("beside a flood", &open), ("with a quota", &limited)] {
        figures.note(
            format!("99 sensors at 1/s, {name}: p99 late"),
            late.quantile(0.99),
            (1, "ms"),
            Target::None,
        );
    }
    let ratio = limited.quantile(0.99) / alone.quantile(0.99);
    figures.goal("p99 with a quota / alone", ratio, (2, "x"), Target::AtMost(1.5));
}

/// How late the others came.
fn run(name: &str, floods: bool, quota: &str) -> Spread {
    until_calm();
    let broker = Mosquitto::start();
    let flow = Arc::new(Flow::default());
    let start = Instant::now() + Duration::from_secs(1);
    let (port, pace) = (broker.port, Pace::Rate(RATE));
    let load = Load { port, qos: 1, pace, readings: OTHERS, padding: 0, start };
    let others = Others { load, ms: Vec::new(), flooding: 0 };
    let auditor = Auditor::start(port, 1, &flow, others);
    let config =
        fleet(&broker, 1).replace("qos = 1\n[batch]", &format!("qos = 1\n{quota}\n[batch]"));
    let mut gateway = Gateway::start(&config);
    broker.until_subscribed(READINGS);
    let (usage, before) = (Usage::now(&[&gateway.process, &broker.process]), gateway.process.cpu());
    let flood = floods.then(|| Flood::start(port));
    let publishers = Publishers::start(load, &flow);
    publishers.join();
    let sent = flood.map_or(0, Flood::end);
    flow.until_quiet();
    let seconds = start.elapsed().as_secs_f64();
    let cpu = 100.0 * (gateway.process.cpu() - before) / seconds;
    let strange = Usage::now(&[&gateway.process, &broker.process]).others_since(&usage);
    let balance = gateway.drained();
    let Others { ms, flooding, .. } = auditor.finish();
    let missing = OTHERS - ms.len() as u64;
    let late: Spread = ms.into_iter().collect();
    let [p50, p99, max] = [0.5, 0.99, 1.0].map(|part| late.quantile(part));
    println!(
        "{name}: {missing} missing, ms late p50 {p50:.1}, p99 {p99:.1}, max {max:.1}; the flood {:.0}/s, {flooding} of \
         it came out; {cpu:.0} % of a processor, others {strange:.0} %; {balance}",
        sent as f64 / seconds
    );
    assert_eq!(missing, 0, "{name}");
    late
}
