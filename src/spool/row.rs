//! An entry's row: what is kept of it beside its body, with checksums over both.
//!
//! ```text
//! records u32 │ body bytes u32 │ body's CRC-32 u32 │ CRC-32 of key, this and the head u32 │ head …
//! ```
//! Numbers are little-endian. The storage engine checks its pages when a file is opened, not each
//! time one is read: these checksums cover what happens in between.

use crc32fast::Hasher;

/// Bytes of a row before the head.
pub(super) const FIXED_BYTES: usize = 16;

/// A row, decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row<'a> {
    /// Readings in the entry.
    pub records: u32,
    /// Bytes of its body.
    pub body_bytes: u32,
    /// CRC-32 of its body.
    pub body_crc: u32,
    /// The head.
    pub head: &'a [u8],
}

impl<'a> Row<'a> {
    /// The row of an entry with this body.
    pub(super) fn new(records: u32, head: &'a [u8], body: &[u8]) -> Self {
        let body_bytes = u32::try_from(body.len()).expect("append checks ENTRY_BYTES_MAX");
        Self { records, body_bytes, body_crc: crc32fast::hash(body), head }
    }

    /// The row's bytes.
    pub(super) fn encode(&self, key: u64) -> Vec<u8> {
        let mut row = Vec::with_capacity(FIXED_BYTES + self.head.len());
        row.extend(self.records.to_le_bytes());
        row.extend(self.body_bytes.to_le_bytes());
        row.extend(self.body_crc.to_le_bytes());
        row.extend(self.crc(key).to_le_bytes());
        row.extend(self.head);
        row
    }

    /// Reads a row. `None`: not what was written under this key.
    pub(super) fn decode(key: u64, row: &'a [u8]) -> Option<Self> {
        let (records, rest) = number(row)?;
        let (body_bytes, rest) = number(rest)?;
        let (body_crc, rest) = number(rest)?;
        let (crc, head) = number(rest)?;
        let row = Self { records, body_bytes, body_crc, head };
        (row.crc(key) == crc).then_some(row)
    }

    /// Whether this is the entry's body.
    pub(super) fn owns(&self, body: &[u8]) -> bool {
        body.len() == self.body_bytes as usize && crc32fast::hash(body) == self.body_crc
    }

    fn crc(&self, key: u64) -> u32 {
        let mut crc = Hasher::new();
        crc.update(&key.to_le_bytes());
        for number in [self.records, self.body_bytes, self.body_crc] {
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
