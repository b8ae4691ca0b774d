//! What reading a message costs: codec and mapping, beside the bare parser in the same run.
//!
//! ```text
//! cargo bench --bench codecs --no-default-features              # everything, a minute
//! cargo bench --bench codecs --no-default-features -- each      # the rows whose name contains this
//! ```
//!
//! *Ours* is what an entry does with a payload: it unpacks it, reads it, and writes the texts of its readings into the
//! chunk, what the mapping does not use among them (`extra`). *By hand* is what somebody would write with the same
//! parser for messages of this one shape (`by_hand`). *Tree* is what somebody would write who has pointers, as the
//! mapping does, and not the shape. The three take turns, and the fastest turn of each counts: what else runs on the
//! machine only makes one slower. Allocations are counted, of a message like those before it.

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

#[path = "codecs/by_hand.rs"]
mod by_hand;
#[path = "codecs/ours.rs"]
mod ours;
#[path = "codecs/payloads.rs"]
mod payloads;
#[path = "codecs/rows.rs"]
mod rows;

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::rows::Row;

/// How much longer than by hand it may take.
const TIMES_MAX: f64 = 1.5;

/// How long one of those who take turns reads.
const TURN: Duration = Duration::from_millis(1);

/// Turns of each.
const ROUNDS: usize = 151;

/// Reads a payload.
type Read<'r> = &'r mut dyn FnMut(&[u8]);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --all-targets` starts benchmarks too, without this argument.
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("a benchmark; run it with: cargo bench --bench codecs");
        return;
    }
    let filter = arguments.iter().find(|it| !it.starts_with("--")).map_or("", String::as_str);
    println!("The target is {TIMES_MAX} x by hand, and no more allocations.\n");
    println!(
        "{:<32}{:>7}{:>10}{:>11}{:>16}{:>9}{:>14}",
        "", "bytes", "ours", "by hand", "ours / by hand", "/ tree", "allocations"
    );
    for row in rows::all().into_iter().filter(|row| row.name.contains(filter)) {
        measure(row);
    }
}

fn measure(row: Row) {
    let Row { name, payload, mut ours, mut by_hand, mut tree } = row;
    let (mut out, mut of_tree) = (by_hand::Out::default(), Vec::new());
    by_hand(&payload, &mut out);
    assert_eq!(ours.values(&payload), String::from_utf8(out.values.clone()).unwrap(), "{name}");
    let ours = &mut |payload: &[u8]| ours.read(payload);
    let by_hand = &mut |payload: &[u8]| {
        out.clear();
        by_hand(payload, &mut out);
    };
    let allocated = [allocations(ours, &payload), allocations(by_hand, &payload)];
    let calls = [calls(ours, &payload), calls(by_hand, &payload)];
    let mut fastest = [f64::INFINITY; 3];
    for _ in 0..ROUNDS {
        let of_tree = tree.as_mut().map_or(f64::INFINITY, |tree| {
            let read = &mut |payload: &[u8]| {
                of_tree.clear();
                tree(payload, &mut of_tree);
            };
            turn(read, &payload, calls[0] / 2 + 1)
        });
        let round = [turn(ours, &payload, calls[0]), turn(by_hand, &payload, calls[1]), of_tree];
        fastest.iter_mut().zip(round).for_each(|(fastest, it)| *fastest = fastest.min(it));
    }
    let [ours, by_hand, of_tree] = fastest;
    let to_tree = tree.map_or(String::new(), |_| format!("{:.2} x", ours / of_tree));
    let is_met = ours / by_hand <= TIMES_MAX && allocated[0] <= allocated[1];
    println!(
        "{name:<32}{:>7}{ours:>7.0} ns{by_hand:>8.0} ns{:>14.2} x{to_tree:>9}{:>14}  {}",
        payload.len(),
        ours / by_hand,
        format!("{} ({})", allocated[0], allocated[1]),
        if is_met { "met" } else { "missed" },
    );
}

/// Allocations of a message that is like those before it.
fn allocations(read: Read<'_>, payload: &[u8]) -> u64 {
    read(payload);
    allocation_counter::measure(|| read(payload)).count_total
}

/// How often it is read in a turn.
fn calls(read: Read<'_>, payload: &[u8]) -> u32 {
    let mut calls = 1;
    loop {
        let time = turn(read, payload, calls) * f64::from(calls);
        if time * 2.0 > TURN.as_nanos() as f64 {
            return calls;
        }
        calls *= 2;
    }
}

/// Nanoseconds that reading it takes.
fn turn(read: Read<'_>, payload: &[u8], calls: u32) -> f64 {
    let start = Instant::now();
    for _ in 0..calls {
        read(black_box(payload));
    }
    start.elapsed().as_nanos() as f64 / f64::from(calls)
}
