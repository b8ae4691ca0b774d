//! Tests of the spool on a disk that fails, loses writes and changes bytes.

use std::collections::VecDeque;
use std::sync::Once;

use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::faulty_disk::{Disk, Fault, offset, uncounted};
use super::file::CACHE_BYTES;
use super::{Entry, Error, Key, Spool};
use crate::fuzz::allocated;

/// Bytes for opening, and for using a spool of small entries: the engine's cache, and little more.
const MEMORY_BYTES_MAX: u64 = CACHE_BYTES as u64 + (1 << 20);

/// An entry of the large file.
const LARGE_BYTES: usize = 1 << 20;

fn entry(n: u64, bytes: usize) -> Entry {
    let body: Vec<u8> = (0..bytes as u64).map(|at| (at * 7 + n).to_le_bytes()[0]).collect();
    let head = n.to_le_bytes().repeat(bytes % 4);
    Entry { records: u32::try_from(n).unwrap() + 1, head, body: body.into() }
}

/// All entries of the spool, by `next`; corrupt entries are removed and counted.
fn all(spool: &mut Spool) -> Result<(VecDeque<(Key, Entry)>, usize), Error> {
    let (mut found, mut corrupt, mut after) = (VecDeque::new(), 0, None);
    loop {
        match spool.next(after) {
            Ok(None) => return Ok((found, corrupt)),
            Ok(Some((key, entry))) => {
                after = Some(key);
                found.push_back((key, entry));
            }
            Err(Error::Corrupt { key, .. }) => {
                corrupt += 1;
                spool.remove(&[key])?;
            }
            Err(error) => return Err(error),
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Append(Vec<usize>),
    Remove(usize),
    Break(Fault),
    Heal,
    Reopen,
    Crash(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let sizes = prop_oneof![4 => 0_usize..300, 2 => 0_usize..9000, 1 => 0_usize..60_000];
    let fault = prop_oneof![
        (0_u32..12).prop_map(Fault::Write),
        (0_u32..4).prop_map(Fault::Sync),
        (0_usize..1_500_000).prop_map(Fault::Space),
    ];
    let step = prop_oneof![
        8 => prop::collection::vec(sizes, 1..5).prop_map(Step::Append),
        5 => (0_usize..6).prop_map(Step::Remove),
        3 => fault.prop_map(Step::Break),
        3 => Just(Step::Heal),
        1 => Just(Step::Reopen),
        2 => any::<u64>().prop_map(Step::Crash),
    ];
    prop::collection::vec(step, 1..60)
}

/// Entries that must be in the spool, and entries that may be.
#[derive(Debug, Default)]
struct Model {
    kept: VecDeque<(Key, Entry)>,
    /// Keys whose removal failed.
    unsure: Vec<Key>,
    /// Appends that failed since the last one that did not: after a crash, opening may find one of them.
    failed: Vec<Vec<Entry>>,
    last: Option<Key>,
    entries: u64,
}

impl Model {
    fn append(&mut self, spool: &mut Spool, sizes: &[usize]) {
        let new = self.entries..;
        let entries: Vec<Entry> = new.zip(sizes).map(|(n, bytes)| entry(n, *bytes)).collect();
        self.entries += entries.len() as u64;
        match spool.append(&entries) {
            Ok(first) => {
                assert!(self.last < Some(first), "keys grow");
                self.last = Some(first.plus(entries.len() as u64 - 1));
                self.kept.extend((0..).map(|n| first.plus(n)).zip(entries));
                self.failed.clear();
            }
            Err(Error::Disk(_)) => self.failed.push(entries),
            Err(error) => panic!("{error}"),
        }
    }

    fn remove(&mut self, spool: &mut Spool, count: usize) {
        let keys: Vec<Key> = self.kept.iter().take(count).map(|it| it.0).collect();
        match spool.remove(&keys) {
            Ok(()) => drop(self.kept.drain(..keys.len())),
            Err(Error::Disk(_)) => self.unsure.extend(keys),
            Err(error) => panic!("{error}"),
        }
    }

    /// Compares with the spool, and takes its entries for the expected ones.
    fn check(&mut self, spool: &mut Spool, crashed: bool) {
        let (mut found, corrupt) = all(spool).expect("the disk is whole");
        assert_eq!(corrupt, 0);
        let records: u64 = found.iter().map(|it| u64::from(it.1.records)).sum();
        assert_eq!((spool.entries(), spool.records()), (found.len() as u64, records));
        let known = found.iter().take_while(|it| Some(it.0) <= self.last).count();
        let more: Vec<Entry> = found.iter().skip(known).map(|it| it.1.clone()).collect();
        assert!(
            more.is_empty() || crashed && self.failed.contains(&more),
            "only what was appended"
        );
        let mut kept = std::mem::take(&mut self.kept);
        kept.retain(|it| !self.unsure.contains(&it.0) || found.iter().any(|other| other.0 == it.0));
        assert!(kept.iter().eq(found.iter().take(known)), "all that was acknowledged, in order");
        self.last = self.last.max(found.back().map(|it| it.0));
        self.kept = std::mem::take(&mut found);
        self.unsure.clear();
        self.failed.clear();
    }
}

fn run(steps: Vec<Step>) {
    let disk = Disk::default();
    let mut spool = disk.spool().unwrap();
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Append(sizes) => model.append(&mut spool, &sizes),
            Step::Remove(count) => model.remove(&mut spool, count),
            Step::Break(fault) => disk.state().fault = Some(fault),
            Step::Heal => {
                disk.state().fault = None;
                model.check(&mut spool, false);
            }
            Step::Reopen => {
                disk.state().fault = None;
                drop(spool);
                spool = disk.spool().unwrap();
                // Closing does not report whether the last append failed.
                model.check(&mut spool, true);
            }
            Step::Crash(seed) => {
                disk.state().gone = true;
                drop(spool);
                disk.state().crash(&mut SmallRng::seed_from_u64(seed));
                spool = disk.spool().unwrap();
                model.check(&mut spool, true);
            }
        }
    }
    disk.state().fault = None;
    model.check(&mut spool, false);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever fails: acknowledged entries are there in order, and no others.
    #[test]
    fn nothing_acknowledged_is_lost_and_nothing_else_appears(steps in steps()) {
        run(steps);
    }
}

/// A file with entries of several sizes.
fn sample() -> Vec<u8> {
    let disk = Disk::default();
    let mut spool = disk.spool().unwrap();
    for n in 0..12 {
        spool.append(&[entry(n, 30), entry(n, 3000 * offset(n))]).unwrap();
    }
    spool.remove(&[Key(1), Key(2), Key(9)]).unwrap();
    drop(spool);
    std::mem::take(&mut disk.state().live)
}

fn damage(file: &mut Vec<u8>, random: &mut SmallRng) {
    let at = random.random_range(0..file.len());
    // Half of all changes are where most pointers are.
    let at = if random.random() { at % 40_000 } else { at };
    let end = (at + random.random_range(1..300)).min(file.len());
    match random.random_range(0..5) {
        0 => file[at] ^= 1 << random.random_range(0..8),
        1 => random.fill(&mut file[at..end]),
        2 => file[at..end].fill(0),
        3 => file[at..end].fill(0xFF),
        _ => file.truncate(at),
    }
}

/// Runs `act` within this much memory. When the engine panics it formats a backtrace if that is enabled: that
/// memory is not counted.
#[track_caller]
fn within<T>(bytes_max: u64, act: impl FnOnce() -> T) -> T {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| uncounted(|| tell(panic))));
    });
    let (done, peak) = allocated(act);
    assert!(peak <= bytes_max, "{peak} bytes");
    done
}

/// Opens the bytes on the disk, whatever they are.
#[track_caller]
fn opened(disk: &Disk) -> Result<Spool, Error> {
    within(MEMORY_BYTES_MAX, || disk.spool())
}

/// Uses a spool of small entries in every way. Only the kinds of errors that the caller expects may occur.
#[track_caller]
fn use_up(spool: &mut Spool) -> Result<(), Error> {
    within(MEMORY_BYTES_MAX, || {
        spool.heads(|_, _, _| {})?;
        spool.append(&[entry(1, 5000)])?;
        let (found, _) = all(spool)?;
        let keys: Vec<Key> = found.iter().map(|it| it.0).collect();
        spool.remove(&keys)
    })
}

fn expected(error: &Error) -> bool {
    matches!(error, Error::Damaged { .. } | Error::Foreign { .. } | Error::Disk(_))
}

#[test]
fn a_damaged_file_is_told_apart_and_never_a_panic() {
    let whole = sample();
    for seed in 0..3000 {
        let mut random = SmallRng::seed_from_u64(seed);
        let disk = Disk::default();
        let mut file = whole.clone();
        for _ in 0..random.random_range(1..4) {
            if !file.is_empty() {
                damage(&mut file, &mut random);
            }
        }
        disk.state().live = file;
        let result = opened(&disk).and_then(|mut spool| use_up(&mut spool));
        assert!(result.as_ref().err().is_none_or(expected), "seed {seed}: {result:?}");
    }
}

#[test]
fn a_file_that_rots_while_it_is_open_is_never_a_panic() {
    let whole = sample();
    for seed in 0..1000 {
        let mut random = SmallRng::seed_from_u64(seed);
        let disk = Disk::default();
        disk.state().live = whole.clone();
        let mut spool = disk.spool().unwrap();
        for _ in 0..3 {
            damage(&mut disk.state().live, &mut random);
            let result = use_up(&mut spool);
            assert!(result.as_ref().err().is_none_or(expected), "seed {seed}: {result:?}");
            if disk.state().live.is_empty() {
                break;
            }
        }
    }
}

#[test]
fn random_bytes_are_no_spool() {
    for seed in 0..500 {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut file = vec![0; random.random_range(1..200_000)];
        random.fill(&mut file[..]);
        if seed % 2 == 0 {
            // A file that begins like one: the magic number or a part of it.
            let whole = [b'r', b'e', b'd', b'b', 0x1A, 0x0A, 0xA9, 0x0D, 0x0A];
            let len = file.len().min(whole.len());
            file[..len].copy_from_slice(&whole[..len]);
        }
        let disk = Disk::default();
        disk.state().live = file;
        let result = opened(&disk);
        assert!(result.as_ref().is_err_and(expected), "seed {seed}: {result:?}");
    }
}

/// Changes a length in the header, or bytes at random.
fn lengthen(file: &mut [u8], random: &mut SmallRng) {
    let lengths = [1, 1 << 16, 1 << 24, 1 << 30, 1 << 31, u32::MAX];
    let at = random.random_range(0..400);
    file[at..at + 4].copy_from_slice(&lengths[random.random_range(0..6)].to_le_bytes());
}

/// Whatever the lengths in its header and pages say: a file that is larger than the engine's cache is opened
/// within that memory, and one entry is read at a time.
#[test]
fn a_damaged_file_takes_no_more_memory_than_a_good_one() {
    let disk = Disk::default();
    let mut spool = disk.spool().unwrap();
    for n in 0..12 {
        spool.append(&[entry(n, LARGE_BYTES)]).unwrap();
    }
    drop(spool);
    let whole = std::mem::take(&mut disk.state().live);
    assert!(whole.len() > 3 * CACHE_BYTES);
    let mut found = [0; 2];
    for seed in 0..300 {
        let mut random = SmallRng::seed_from_u64(seed);
        let disk = Disk::default();
        disk.state().live = whole.clone();
        match seed % 2 {
            _ if seed == 0 => {}
            0 => lengthen(&mut disk.state().live, &mut random),
            _ => damage(&mut disk.state().live, &mut random),
        }
        let result = opened(&disk).and_then(|mut spool| read_through(&mut spool));
        assert!(matches!(result, Ok(12)) || result.as_ref().is_err_and(expected), "{result:?}");
        found[usize::from(result.is_err())] += 1;
    }
    assert!(found.iter().all(|it| *it > 50), "both happen: {found:?}");
}

/// Reads one entry after the other and keeps none. Returns their number.
fn read_through(spool: &mut Spool) -> Result<u64, Error> {
    let (mut after, mut entries) = (None, 0);
    let next = |spool: &mut Spool, after| Ok(spool.next(after)?.map(|it| it.0));
    let bytes_max = MEMORY_BYTES_MAX + 2 * LARGE_BYTES as u64;
    while let Some(key) = within(bytes_max, || next(spool, after))? {
        (after, entries) = (Some(key), entries + 1);
    }
    Ok(entries)
}

/// What is logged of a full spool names the one that has to be mended.
#[test]
fn the_disk_bounds_the_spool_where_it_leaves_less_than_the_settings() {
    let disk = Disk::default();
    let spool = opened(&disk).unwrap();
    let room = spool.room();
    for (left, is_disk) in [(1000, true), (room - 1, true), (room, false), (u64::MAX / 2, false)] {
        disk.leave(super::DISK_RESERVE_BYTES + left);
        assert_eq!((spool.is_bound_by_disk(), spool.room()), (is_disk, room.min(left)), "{left}");
    }
}
