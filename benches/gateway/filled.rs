//! A spool with 1 GiB in it: memory while it fills, a start on it after `kill -9`, and its replay.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::fs::Advice;

use crate::audit::Auditor;
use crate::broker::Mosquitto;
use crate::figures::{Figures, Target};
use crate::load::{Flow, Load, Pace, Publishers};
use crate::order::Order;
use crate::process::{until, until_calm, until_every};
use crate::subject::{Gateway, NAP, READINGS, spooling};

/// What the spool says that it holds.
const FILLED: u64 = 1 << 30;

/// The file doubles when it grows, and a part of it is not for entries: half of this is too little.
const BYTES_MAX: &str = "2GiB";

/// Free bytes on the disk: the file, and room for everyone else.
const ROOM: u64 = 4 << 30;

/// Readings of 4 KiB, so that filling takes seconds.
const PADDING: usize = 4000;

/// Readings on their way from the sensors to the spool, so that the broker does not hold the rest.
const WINDOW: u64 = 10_000;

const PATIENCE: Duration = Duration::from_mins(2);

/// Filled with the output away, killed, started again, replayed.
pub(crate) fn measure(figures: &mut Figures) {
    let disk = tempfile::tempdir().unwrap();
    let room = room(disk.path());
    if room < ROOM {
        let place = disk.path().display();
        println!("left out: {} MB free at {place}, {} needed", room >> 20, ROOM >> 20);
        return;
    }
    until_calm();
    let (broker, mut output) = (Mosquitto::start(), Mosquitto::start());
    output.end();
    let config = spooling(&broker, &output.url(), disk.path());
    let config = format!("{config}bytes_max = \"{BYTES_MAX}\"\n");
    let gateway = Gateway::start(&config);
    broker.until_subscribed(READINGS);
    let start = Instant::now();
    let sent = fill(&gateway, broker.port);
    let filled = start.elapsed().as_secs_f64();
    let bytes = gateway.metric("sluicegate_spool_bytes") as f64;
    let batches = gateway.metric("sluicegate_spool_batches");
    let peak = gateway.process.memory_peak() as f64 / 1e6;
    println!(
        "{:.2} GiB, {sent} readings in {batches} batches, in {filled:.1} s: {:.0} MB/s",
        bytes / FILLED as f64,
        bytes / 1e6 / filled,
    );
    let name = "spool with 1 GiB: peak resident memory";
    figures.note(name, peak, (1, "MB"), Target::AtMost(gateway.memory_bound()));
    // kill -9
    drop(gateway);
    output.again();
    uncached(disk.path());
    replay(&config, output.port, sent, figures);
}

/// Fills it; readings published, all of which are in the spool.
fn fill(gateway: &Gateway, port: u16) -> u64 {
    let flow = Arc::new(Flow::default());
    let (pace, start) = (Pace::Window(WINDOW), Instant::now());
    let load = Load { port, qos: 1, pace, readings: u64::MAX, padding: PADDING, start };
    let publishers = Publishers::start(load, &flow);
    let filled = until_every(NAP, PATIENCE, || {
        flow.got.store(gateway.metric("sluicegate_readings_spooled_total"), Ordering::Release);
        gateway.metric("sluicegate_spool_bytes") >= FILLED
    });
    assert!(filled, "1 GiB within {PATIENCE:?}");
    publishers.stop();
    let spooled = || gateway.metric("sluicegate_readings_spooled_total") == flow.sent();
    assert!(until(PATIENCE, spooled), "everything is in the spool");
    flow.sent()
}

/// Starts a gateway on it, with the output there.
fn replay(config: &str, port: u16, sent: u64, figures: &mut Figures) {
    let flow = Arc::new(Flow::default());
    let auditor = Auditor::start(port, 1, &flow, Order::new());
    let start = Instant::now();
    let mut gateway = Gateway::start(config);
    assert!(until(PATIENCE, || flow.got() > 0), "the first batch");
    let first = start.elapsed().as_secs_f64();
    assert!(until(PATIENCE, || flow.got() >= sent), "everything");
    let all = start.elapsed().as_secs_f64();
    gateway.until_zero("sluicegate_spool_batches");
    let (peak, bound) = (gateway.process.memory_peak() as f64 / 1e6, gateway.memory_bound());
    let balance = gateway.drained();
    flow.until_quiet();
    let order = auditor.finish();
    let missing = order.missing(sent);
    println!(
        "started again: first batch after {first:.2} s, everything after {all:.1} s; {missing} missing, {} out of order, {} repeated; {balance}",
        order.disordered, order.repeated,
    );
    let name = "spool with 1 GiB:";
    let figure = format!("{name} first batch of a start after kill -9");
    figures.note(figure, first, (2, "s"), Target::None);
    let figure = format!("{name} all of it published after");
    figures.note(figure, all, (1, "s"), Target::None);
    let figure = format!("{name} peak resident memory of its replay");
    figures.note(figure, peak, (1, "MB"), Target::AtMost(bound));
    let wrong = (missing + order.disordered) as f64;
    figures.note(format!("{name} missing or out of order"), wrong, (0, ""), Target::AtMost(0.0));
}

fn room(folder: &Path) -> u64 {
    let disk = rustix::fs::statvfs(folder).unwrap();
    disk.f_bavail * disk.f_frsize
}

/// Lets the machine forget what it remembers of the files there, as if it had been started.
fn uncached(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let file = File::open(entry.unwrap().path()).unwrap();
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    }
}
