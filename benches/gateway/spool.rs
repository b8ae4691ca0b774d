//! The spool: batches a second on disk, what an outage costs, and how soon it is over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sluicegate::clock::Timestamp;
use sluicegate::spool::{Entry, Spool};
use sluicegate::units::DiskSize;

use crate::audit::{Auditor, CountOnly};
use crate::broker::Mosquitto;
use crate::figures::{Figures, Target};
use crate::load::{Flow, Load, Pace, Publishers};
use crate::process::{bytes_written, until, until_calm};
use crate::subject::{Gateway, READINGS, spooling};

/// Bytes of a batch of 500 readings.
const BATCH_BYTES: usize = 50_000;

const APPENDS: u32 = 5000;

/// Readings that come while the output is away: some 200 MB of batches.
const AWAY: u64 = 2_000_000;

const PATIENCE: Duration = Duration::from_mins(3);

/// How long a gateway that has nothing to write writes nothing.
const QUIET: Duration = Duration::from_millis(500);

/// Batches written one by one, each synced.
pub(crate) fn appends(figures: &mut Figures) {
    until_calm();
    let folder = tempfile::tempdir().unwrap();
    let size = DiskSize::bytes(1 << 30);
    let (mut spool, _) = Spool::open(folder.path(), size, Timestamp::from_millis(0)).unwrap();
    let body = Bytes::from(vec![b'7'; BATCH_BYTES]);
    let entry = [Entry { records: 500, head: vec![b'h'; 1000], body }];
    let start = Instant::now();
    for _ in 0..APPENDS {
        spool.append(&entry).unwrap();
    }
    let rate = f64::from(APPENDS) / start.elapsed().as_secs_f64();
    let (start, mut last) = (Instant::now(), None);
    loop {
        let mut keys = Vec::new();
        while keys.len() < 16
            && let Some((key, _)) = spool.next(last).unwrap()
        {
            keys.push(key);
            last = Some(key);
        }
        if keys.is_empty() {
            break;
        }
        spool.remove(&keys).unwrap();
    }
    let read = f64::from(APPENDS) / start.elapsed().as_secs_f64();
    println!("{rate:.0} batches/s written and synced one by one, {read:.0}/s read and removed");
    figures.goal("spool: batches/s written, each synced", rate, (0, "/s"), Target::AtLeast(1500.0));
    figures.note("spool: batches/s read and removed", read, (0, "/s"), Target::AtLeast(rate));
}

/// The output's broker is stopped while readings come, and goes on.
pub(crate) fn outage(figures: &mut Figures) {
    until_calm();
    let (broker, disk) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let output = Mosquitto::start();
    let flow = Arc::new(Flow::default());
    let auditor = Auditor::start(output.port, 1, &flow, CountOnly);
    let mut gateway = Gateway::start(&spooling(&broker, &output.url(), disk.path()));
    broker.until_subscribed(READINGS);
    output.process.signal("STOP");
    let start = Instant::now();
    let load =
        Load { port: broker.port, qos: 1, pace: Pace::Flood, readings: AWAY, padding: 0, start };
    Publishers::start(load, &flow).join();
    let taken = until_quiet(&gateway) - start;
    let before = flow.got();
    output.process.signal("CONT");
    let back = Instant::now();
    assert!(until(PATIENCE, || flow.got() > before), "the first batch");
    let first = back.elapsed().as_secs_f64() * 1e3;
    assert!(until(PATIENCE, || flow.got() >= AWAY), "everything");
    let published = back.elapsed();
    let (peak, bound) = (gateway.process.memory_peak() as f64 / 1e6, gateway.memory_bound());
    let balance = gateway.drained();
    let CountOnly = auditor.finish();
    let rates = [taken, published].map(|time| AWAY as f64 / time.as_secs_f64());
    println!(
        "{AWAY} readings written in {:.1} s, published in {:.1} s; {balance}",
        taken.as_secs_f64(),
        published.as_secs_f64(),
    );
    let name = "spool: readings/s taken while the output is away";
    figures.note(name, rates[0], (0, "/s"), Target::None);
    let ratio = rates[1] / rates[0];
    figures.note("spool: published / taken", ratio, (2, "x"), Target::AtLeast(1.0));
    let name = "spool: first batch after the output is back";
    figures.note(name, first, (0, "ms"), Target::AtMost(1000.0));
    figures.note("spool: peak resident memory", peak, (1, "MB"), Target::AtMost(bound));
}

/// Waits until the gateway writes no more; when it last did.
fn until_quiet(gateway: &Gateway) -> Instant {
    let pid = gateway.process.child.id();
    let (mut written, mut since) = (bytes_written(pid), Instant::now());
    let quiet = until(PATIENCE, || {
        let now = bytes_written(pid);
        if now != written {
            (written, since) = (now, Instant::now());
        }
        since.elapsed() > QUIET
    });
    assert!(quiet, "everything is written");
    since
}
