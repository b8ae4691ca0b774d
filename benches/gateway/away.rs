//! How soon the first batch comes out when an output is back that was away for long: so long that
//! the pauses between attempts have grown to their longest.
//!
//! All cases and rounds run side by side, each with a broker, a gateway and a few sensors of its own,
//! and the outputs come back one after the other.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::audit::{Auditor, CountOnly};
use crate::broker::Mosquitto;
use crate::figures::{Figures, Spread, Target};
use crate::gate::{Gate, Way};
use crate::load::Flow;
use crate::process::{until, until_calm};
use crate::subject::Gateway;

const ROUNDS: u32 = 3;

/// How long an output is away at least, and how much longer the next one.
const AWAY: Duration = Duration::from_secs(12);
const STAGGER: Duration = Duration::from_millis(430);

/// Readings that came out before: about a second of them.
const STOOD: u64 = 100;

const PATIENCE: Duration = Duration::from_secs(30);

/// How an output is away.
#[derive(Clone, Copy)]
enum How {
    /// Its process has ended.
    Ended,
    /// Who connects is hung up at once.
    HungUp,
}

/// The cases.
const CASES: [(&str, How, bool); 4] = [
    ("ended broker, spool", How::Ended, true),
    ("ended broker, no spool", How::Ended, false),
    ("hung up at once, spool", How::HungUp, true),
    ("hung up at once, no spool", How::HungUp, false),
];

/// All cases.
pub(crate) fn measure(figures: &mut Figures) {
    until_calm();
    let mut away = AWAY;
    let rounds: Vec<_> = (0..ROUNDS)
        .map(|_| {
            CASES.map(|(_, how, spool)| {
                away += STAGGER;
                let away = away;
                thread::spawn(move || round(how, spool, away))
            })
        })
        .collect();
    let mut firsts = CASES.map(|_| Spread::default());
    for round in rounds {
        for (thread, spread) in round.into_iter().zip(&mut firsts) {
            spread.add(thread.join().unwrap().as_secs_f64() * 1e3);
        }
    }
    for ((name, ..), spread) in CASES.iter().zip(firsts) {
        println!("{name}: ms from its return to the first batch {spread:.0}");
        let name = format!("output away, {name}: first batch (worst)");
        figures.note(name, spread.quantile(1.0), (0, "ms"), Target::AtMost(1000.0));
    }
}

/// From the return of an output that was `away` for so long to the first batch.
fn round(how: How, spool: bool, away: Duration) -> Duration {
    let (mut broker, disk) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let gate = Gate::before(broker.port);
    let flow = Arc::new(Flow::default());
    let auditor = Auditor::start(broker.port, 1, &flow, CountOnly);
    let url = if matches!(how, How::Ended) { broker.url() } else { gate.url() };
    let spool = if spool {
        format!("[spool]\npath = \"{}\"\n", disk.path().display())
    } else {
        String::new()
    };
    let mut gateway = Gateway::start(&format!(
        "[http]\nlisten = \"off\"\n[broker]\n{url}\n\
         [sensors.TEMP.simulated]\ncount = 10\ninterval = \"100ms\"\n{spool}"
    ));
    assert!(until(PATIENCE, || flow.got() >= STOOD), "the first batches");
    let (before, back, auditor) = match how {
        How::Ended => {
            let CountOnly = auditor.finish();
            broker.end();
            gateway.lives(away);
            let (before, back) = (flow.got(), broker.again());
            // If the gateway is faster, its next batch is the first that is seen.
            (before, back, Auditor::start(broker.port, 1, &flow, CountOnly))
        }
        How::HungUp => {
            gate.set(Way::HungUp);
            gateway.lives(away);
            (flow.got(), gate.set(Way::Open), auditor)
        }
    };
    assert!(until(PATIENCE, || flow.got() > before), "a batch after its return");
    let first = back.elapsed();
    let (status, balance) = gateway.drain();
    assert!(status.is_some_and(|it| it.success()), "{balance}");
    let CountOnly = auditor.finish();
    first
}
