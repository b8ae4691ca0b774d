//! The last dead letters of the run, for whoever looks from outside: whole, but for the tails of their texts.
//!
//! Each is copied when it is taken, whatever becomes of it later.

use super::recent::Kept;
use crate::clock::Timestamp;
use crate::limits::DEAD_LETTER_HEAD_BYTES_MAX;

/// Dead letters that are shown. Of more, the oldest are left out.
const LETTERS_SHOWN_MAX: usize = 100;

/// Bytes of those; at this limit they are fewer.
const LETTERS_SHOWN_BYTES_MAX: usize = 256 * 1024;

/// Bytes of a letter beside its texts, with what the allocator and the list add.
const LETTER_BYTES: usize = 256;

/// A dead letter.
#[derive(Debug)]
pub struct Letter {
    /// When it was taken.
    pub at: Timestamp,
    /// The place of its configured entry, if it has one.
    pub entry: Option<u32>,
    pub sensor: Box<str>,
    pub reason: &'static str,
    /// Where and what; the head of it, as of the topic and the payload.
    pub detail: Box<[u8]>,
    pub topic: Box<[u8]>,
    pub payload: Box<[u8]>,
    /// Bytes of the payload, as far as the dead letter has it.
    pub payload_bytes: usize,
}

/// What is shown of a text.
pub fn head(text: &[u8]) -> Box<[u8]> {
    text.get(..DEAD_LETTER_HEAD_BYTES_MAX).unwrap_or(text).into()
}

impl Kept for Letter {
    const ITEMS_MAX: usize = LETTERS_SHOWN_MAX;
    const BYTES_MAX: usize = LETTERS_SHOWN_BYTES_MAX;

    fn bytes(&self) -> usize {
        let texts = [&self.detail, &self.topic, &self.payload].map(|it| it.len());
        LETTER_BYTES + self.sensor.len() + texts.iter().sum::<usize>()
    }
}
