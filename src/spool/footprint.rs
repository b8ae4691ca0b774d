//! The bytes that entries occupy in the file, so that a bound on their sum is a bound on the disk.
//!
//! The storage engine keeps rows in leaves of one page. A larger row has its own run of pages, a power of two
//! of them. Appended rows fill one leaf after the other. [`Packing`] follows that: a row that fits behind the
//! last one costs its bytes, any other row a new leaf. The reserve covers the rest: inner nodes (1 % of the
//! leaves), the copies that a transaction makes of the nodes it changes, leaves that are partly empty because
//! their first rows were removed, and holes between runs.

/// Bytes of a page of the file.
const PAGE_BYTES: u64 = 4096;

/// Bytes that a leaf needs beside its rows.
const LEAF_BYTES: u64 = 8;

/// Bytes that a row needs beside its value: its key and the offset of its end.
const PAIR_BYTES: u64 = 16;

/// Bytes of one piece of a body. A piece of this size fills a run of two pages. A whole body would waste up to
/// half of its run, and leave holes of all sizes. Pieces of one page gain nothing more.
pub(super) const PIECE_BYTES: usize = 2 * 4096 - 24;

/// One part in this many of `spool.bytes_max` is not for entries: inner nodes, partly empty leaves, holes.
const RESERVE: u64 = 16;

/// Bytes that are not for entries in a spool of any size: the empty file, and pages that a transaction copies
/// or frees before the next one may use them.
const RESERVE_BYTES: u64 = 4 << 20;

/// The file may be longer than `spool.bytes_max` by one part in this many: the engine's first growth makes
/// files of 17 parts where 16 would do, and that part decides whether the file is doubled once more.
const LONGER: u64 = 16;

/// Bytes that the engine's own pages add to that.
const LONGER_BYTES: u64 = 64 << 10;

/// Bytes for entries in a file of this length. The engine doubles a file that has no room, and in time uses all
/// of it. So entries must fit into the last doubling within the bound, and into `bytes_max`, less the reserve.
pub(super) fn capacity(bytes_max: u64, file: u64) -> u64 {
    let longest = bytes_max + bytes_max / LONGER + LONGER_BYTES;
    let mut reached = file.max(PAGE_BYTES);
    while reached <= longest / 2 {
        reached *= 2;
    }
    let bytes = bytes_max.min(reached);
    bytes.saturating_sub(bytes / RESERVE + RESERVE_BYTES)
}

/// The most bytes that an entry can occupy.
pub(super) fn most(head_row: usize, body: usize) -> u64 {
    Packing::default().add(head_row, body)
}

/// How far the last leaf of each table is filled.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Packing {
    heads: Leaf,
    bodies: Leaf,
}

impl Packing {
    /// Adds an entry; returns the bytes that it occupies.
    pub(super) fn add(&mut self, head_row: usize, body: usize) -> u64 {
        let last = body % PIECE_BYTES;
        let pieces = (body - last) as u64 / PIECE_BYTES as u64;
        if pieces > 0 {
            self.bodies = Leaf::default();
        }
        let last = if last == 0 && pieces > 0 { 0 } else { self.bodies.add(last) };
        self.heads.add(head_row) + pieces * run(PIECE_BYTES as u64) + last
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Leaf {
    free: u64,
}

impl Leaf {
    fn add(&mut self, value: usize) -> u64 {
        let bytes = value as u64 + PAIR_BYTES;
        if let Some(free) = self.free.checked_sub(bytes) {
            self.free = free;
            return bytes;
        }
        let run = run(value as u64);
        // No row is put behind a row with its own run.
        self.free = PAGE_BYTES.saturating_sub(LEAF_BYTES + bytes);
        run
    }
}

/// Bytes of the pages for one value that shares them with no other.
fn run(value: u64) -> u64 {
    (value + PAIR_BYTES + LEAF_BYTES).div_ceil(PAGE_BYTES).next_power_of_two() * PAGE_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_may_not_double_bounds_its_entries() {
        const MIB: u64 = 1 << 20;
        assert_eq!(capacity(64 * MIB, MIB), 56 * MIB);
        assert_eq!(capacity(64 * MIB, 34 * MIB + 8192), 56 * MIB, "68 MiB are within a 16th");
        assert_eq!(capacity(64 * MIB, 3 * MIB), 41 * MIB, "48 MiB are the most");
        assert_eq!(capacity(64 * MIB, 68 * MIB), 56 * MIB);
        assert_eq!(capacity(64 * MIB, 48 * MIB), 41 * MIB);
        assert_eq!(capacity(64 * MIB, u64::MAX), 56 * MIB);
    }

    #[test]
    fn a_piece_fills_its_run_and_small_rows_share_a_leaf() {
        assert_eq!(run(PIECE_BYTES as u64), 2 * PAGE_BYTES);
        assert_eq!(run(PIECE_BYTES as u64 + 1), 4 * PAGE_BYTES);
        assert_eq!(most(100, 50_000), PAGE_BYTES + 6 * 2 * PAGE_BYTES + PAGE_BYTES);
        let mut packing = Packing::default();
        assert_eq!(packing.add(100, 100), 2 * PAGE_BYTES);
        assert_eq!(packing.add(100, 100), 2 * 116);
        assert_eq!(packing.add(100, PIECE_BYTES), 116 + 2 * PAGE_BYTES);
        assert_eq!(packing.add(100, 100), 116 + PAGE_BYTES, "the leaf before the run is passed");
        assert_eq!(packing.add(100, 0), 116 + 16);
    }
}
