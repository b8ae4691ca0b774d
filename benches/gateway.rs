//! What the gateway reaches and costs, beside baselines measured in the same run.
//!
//! ```text
//! cargo bench --bench gateway                 # everything, four to six minutes
//! cargo bench --bench gateway -- throughput   # the sections whose name contains this
//! ```
//!
//! Needs the program `mosquitto`; `mosquitto_sub` is a second baseline where it is installed. Every
//! run has a broker of its own on a free port of 127.0.0.1, which drops nothing. Publishers, broker,
//! gateway and consumer share one machine, so absolute figures say little: look at the ratios, and
//! at processor time per reading. What is compared takes turns, and medians are shown with their
//! range. A measurement waits a moment for a calm machine; "others" is what strangers used of one
//! processor all the same: disbelieve a run where it is large.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement: it prints, it reads clocks, and what cannot go on stops it"
)]

#[path = "gateway/audit.rs"]
mod audit;
#[path = "gateway/away.rs"]
mod away;
#[path = "gateway/bare.rs"]
mod bare;
#[path = "gateway/broker.rs"]
mod broker;
#[path = "gateway/burst.rs"]
mod burst;
#[path = "gateway/figures.rs"]
mod figures;
#[path = "gateway/filled.rs"]
mod filled;
#[path = "gateway/flood.rs"]
mod flood;
#[path = "gateway/gate.rs"]
mod gate;
#[path = "gateway/latency.rs"]
mod latency;
#[path = "gateway/load.rs"]
mod load;
#[path = "gateway/memory.rs"]
mod memory;
#[path = "gateway/order.rs"]
mod order;
#[path = "gateway/process.rs"]
mod process;
#[path = "gateway/simulated.rs"]
mod simulated;
#[path = "gateway/spool.rs"]
mod spool;
#[path = "gateway/steady.rs"]
mod steady;
#[path = "gateway/subject.rs"]
mod subject;
#[path = "gateway/throughput.rs"]
mod throughput;
#[path = "gateway/viewers.rs"]
mod viewers;
#[path = "gateway/wire.rs"]
mod wire;

use std::time::Instant;

use crate::figures::Figures;

/// Measures something, prints it, and notes what the last table shows.
type Section = fn(&mut Figures);

/// The sections by name, in the order they run.
const SECTIONS: [(&str, Section); 14] = [
    ("throughput", throughput::measure),
    ("memory", memory::stopped_output),
    ("idle", memory::idle),
    ("burst", burst::measure),
    ("first-batch", latency::first_batch),
    ("trickle", latency::trickle),
    ("flood", flood::measure),
    ("simulated", simulated::measure),
    ("viewers", viewers::measure),
    ("spool-appends", spool::appends),
    ("spool-outage", spool::outage),
    ("spool-under-load", steady::measure),
    ("spool-filled", filled::measure),
    ("spool-away", away::measure),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, port, qos] = arguments.as_slice()
        && flag == bare::FLAG
    {
        return bare::count(port.parse().unwrap(), qos.parse().unwrap());
    }
    // `cargo test --all-targets` starts benchmarks too, without this argument.
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("a benchmark; run it with: cargo bench --bench gateway");
        return;
    }
    let filter = arguments.iter().find(|it| !it.starts_with("--")).map_or("", String::as_str);
    let start = Instant::now();
    let mut figures = Figures::default();
    for (name, section) in SECTIONS {
        if name.contains(filter) {
            println!("\n== {name}");
            process::until_calm();
            section(&mut figures);
        }
    }
    figures.print();
    println!("\n{:.0} s in all", start.elapsed().as_secs_f64());
}
