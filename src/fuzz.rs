//! Fuzzing in plain tests: good samples, spoilt at random, and random bytes; so many rounds from a seed.
//!
//! The rounds of a test are the same on every run. To look further, set `FUZZ_SEED` (a number), and
//! `FUZZ_TIMES` for so many times the rounds. A round that panics is printed with its seed and bytes.
//!
//! What a round may take of memory is told by whoever knows: [`allocated`] measures it.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// Bytes that lengths, signs and ends are made of.
const EDGES: [u8; 12] = [0, 1, 2, 4, 0x0a, b'"', b'/', b'{', 0x7f, 0x80, 0xc0, 0xff];

/// How often a sample is spoilt, at most.
const CHANGES_MAX: u32 = 6;

/// Bytes that a round is given, at most: beyond, doubling upon doubling would take all the time.
const BYTES_MAX: usize = 1 << 18;

/// A number out of the environment.
fn number(name: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "a switch of tests, not a setting")]
    std::env::var(name).ok()?.parse().ok()
}

/// Gives `check` spoilt samples and random bytes, `rounds` of them.
///
/// # Panics
/// When `check` does; the message has what is needed to repeat it.
pub(crate) fn fuzz<S: AsRef<[u8]>>(
    rounds: u64,
    samples: &[S],
    mut check: impl FnMut(&[u8], &mut SmallRng),
) {
    let first = number("FUZZ_SEED").unwrap_or(1);
    for round in 0..rounds * number("FUZZ_TIMES").unwrap_or(1) {
        // Each round has a seed of its own: one can be repeated without those before it.
        let seed = first + round;
        let mut rng = SmallRng::seed_from_u64(seed);
        let bytes = spoilt(samples, &mut rng);
        let checked = catch_unwind(AssertUnwindSafe(|| check(&bytes, &mut rng)));
        assert!(checked.is_ok(), "to repeat it: FUZZ_SEED={seed}; it was given {}", shown(&bytes));
    }
}

/// What `act` returns, and the most bytes that it had allocated at once, on this thread.
pub(crate) fn allocated<T>(act: impl FnOnce() -> T) -> (T, u64) {
    let mut returned = None;
    let measured = allocation_counter::measure(|| returned = Some(act()));
    (returned.expect("it has returned"), measured.bytes_max)
}

/// One of the samples as it is or spoilt, or random bytes.
fn spoilt<S: AsRef<[u8]>>(samples: &[S], rng: &mut SmallRng) -> Vec<u8> {
    let sample = |rng: &mut SmallRng| match samples.len() {
        0 => Vec::new(),
        len => samples[rng.random_range(0..len)].as_ref().to_vec(),
    };
    if rng.random_ratio(1, 16) {
        return (0..rng.random_range(0..300)).map(|_| rng.random()).collect();
    }
    let mut bytes = sample(rng);
    for _ in 0..rng.random_range(0..=CHANGES_MAX) {
        let other = sample(rng);
        spoil(&mut bytes, &other, rng);
    }
    bytes.truncate(BYTES_MAX);
    bytes
}

/// A range of at most so many bytes.
fn range(bytes: &[u8], max: usize, rng: &mut SmallRng) -> std::ops::Range<usize> {
    let start = rng.random_range(0..=bytes.len());
    start..start + rng.random_range(0..=max.min(bytes.len() - start))
}

/// One change.
fn spoil(bytes: &mut Vec<u8>, other: &[u8], rng: &mut SmallRng) {
    let at = rng.random_range(0..=bytes.len());
    let short = range(bytes, 16, rng);
    match rng.random_range(0..10) {
        0 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
        1 if at < bytes.len() => bytes[at] = rng.random(),
        2 if at < bytes.len() => bytes[at] = EDGES[rng.random_range(0..EDGES.len())],
        3 => drop(bytes.drain(short)),
        4 => {
            let new: Vec<u8> = short.map(|_| rng.random()).collect();
            bytes.splice(at..at, new);
        }
        5 => bytes.truncate(at),
        6 => {
            // Doubled: nesting, lists, and whatever may come once.
            let long = range(bytes, bytes.len(), rng);
            let copy = bytes[long].to_vec();
            bytes.splice(at..at, copy);
        }
        7 => {
            let piece = range(other, other.len(), rng);
            bytes.splice(at..at, other[piece].iter().copied());
        }
        8 => bytes.extend_from_slice(other),
        _ => {
            let digits = bytes.iter().position(u8::is_ascii_digit).unwrap_or(at);
            let new = ["0", "-1", "65536", "4294967296", "1e999", "18446744073709551616"];
            let new = new[rng.random_range(0..new.len())];
            bytes.splice(digits..digits, new.bytes());
        }
    }
}

fn shown(bytes: &[u8]) -> String {
    let mut text = format!("{} bytes: ", bytes.len());
    for byte in bytes.iter().take(600) {
        write!(text, "{}", byte.escape_ascii()).unwrap();
    }
    text
}
