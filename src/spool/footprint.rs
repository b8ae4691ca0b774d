//! What an entry occupies in the file.

use super::row::{FIXED_BYTES, Row};

/// Bytes of a page of the file. Larger values take a power of two of these.
const PAGE_BYTES: u64 = 4096;

/// What a value's page says beside it.
const LEAF_BYTES: u64 = 32;

/// What an entry takes in the inner nodes of the two trees.
const INDEX_BYTES: u64 = 128;

/// Bytes that an entry occupies.
pub(super) fn entry(head_bytes: usize, body_bytes: usize) -> u64 {
    let body = pages(body_bytes as u64 + LEAF_BYTES);
    let row = (FIXED_BYTES + head_bytes) as u64 + LEAF_BYTES;
    INDEX_BYTES + body + if row > PAGE_BYTES { pages(row) } else { row }
}

/// Bytes that the entry of a row occupies.
pub(super) fn row(row: &Row<'_>) -> u64 {
    entry(row.head.len(), row.body_bytes as usize)
}

fn pages(bytes: u64) -> u64 {
    bytes.div_ceil(PAGE_BYTES).next_power_of_two() * PAGE_BYTES
}
