//! The row of an entry: what is stored beside its body, with checksums of both.
//!
//! ```text
//! records │ body bytes │ occupied bytes │ CRC-32 of the body │ CRC-32 of key, these and the head │ head …
//! ```
//!
//! Numbers are `u32`, little-endian. The storage engine checks its pages when a file is opened, not at each
//! read. These checksums cover changes in between.

use crc32fast::Hasher;

use super::{ENTRY_BYTES_MAX, Entry};

pub(super) const FIXED_BYTES: usize = 20;

/// A row, decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row<'a> {
    /// Readings in the entry.
    pub records: u32,
    /// Bytes of its body; at most those of an entry.
    pub body_bytes: u32,
    /// Bytes that were counted for the entry when it was appended.
    pub occupied: u32,
    body_crc: u32,
    pub head: &'a [u8],
}

impl<'a> Row<'a> {
    /// The row of an entry that occupies this many bytes.
    pub(super) fn new(entry: &'a Entry, occupied: u64) -> Self {
        let small = |n| u32::try_from(n).expect("append checks ENTRY_BYTES_MAX, far below 4 GiB");
        Self {
            records: entry.records,
            body_bytes: small(entry.body.len() as u64),
            occupied: small(occupied),
            body_crc: crc32fast::hash(&entry.body),
            head: &entry.head,
        }
    }

    pub(super) fn encode(&self, key: u64) -> Vec<u8> {
        let mut row = Vec::with_capacity(FIXED_BYTES + self.head.len());
        for number in self.numbers() {
            row.extend(number.to_le_bytes());
        }
        row.extend(self.crc(key).to_le_bytes());
        row.extend(self.head);
        row
    }

    /// Decodes a row. `None` if it is not what was written under this key.
    pub(super) fn decode(key: u64, row: &'a [u8]) -> Option<Self> {
        let (records, rest) = number(row)?;
        let (body_bytes, rest) = number(rest)?;
        let (occupied, rest) = number(rest)?;
        let (body_crc, rest) = number(rest)?;
        let (crc, head) = number(rest)?;
        let row = Self { records, body_bytes, occupied, body_crc, head };
        (row.crc(key) == crc && body_bytes as usize <= ENTRY_BYTES_MAX).then_some(row)
    }

    /// Whether this is the entry's body.
    pub(super) fn owns(&self, body: &[u8]) -> bool {
        body.len() == self.body_bytes as usize && crc32fast::hash(body) == self.body_crc
    }

    fn numbers(&self) -> [u32; 4] {
        [self.records, self.body_bytes, self.occupied, self.body_crc]
    }

    fn crc(&self, key: u64) -> u32 {
        let mut crc = Hasher::new();
        crc.update(&key.to_le_bytes());
        for number in self.numbers() {
            crc.update(&number.to_le_bytes());
        }
        crc.update(self.head);
        crc.finalize()
    }
}

fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u32::from_le_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_row_reads_as_written_and_no_other_does(
            key in any::<u64>(),
            head in prop::collection::vec(any::<u8>(), 0..40),
            body in prop::collection::vec(any::<u8>(), 0..40),
            flip in any::<prop::sample::Index>(),
            bit in 0_u8..8,
        ) {
            let entry = Entry { records: 7, head, body: body.into() };
            let row = Row::new(&entry, 4096);
            let mut bytes = row.encode(key);
            prop_assert_eq!(Row::decode(key, &bytes), Some(row));
            prop_assert_eq!(Row::decode(key ^ 1, &bytes), None);
            prop_assert!(row.owns(&entry.body));
            let cut = flip.index(bytes.len());
            prop_assert_eq!(Row::decode(key, &bytes[..cut]), None);
            bytes[cut] ^= 1 << bit;
            prop_assert_eq!(Row::decode(key, &bytes), None);
        }
    }
}
