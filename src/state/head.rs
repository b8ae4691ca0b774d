//! The head of a text that one thread writes, again and again, and others read now and then: a sequence lock.
//!
//! A writer never waits, and takes no lock. A reader that was disturbed reads again, and gives up after some times: then it
//! has no text.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use crate::word::word;

const WORDS: usize = 4;

/// Bytes of the head of a text. One byte says how many there are.
const HEAD_BYTES: usize = WORDS * 8 - 1;

/// Stands for the number of bytes of a text that has more than the head.
const CUT: u8 = u8::MAX;

/// Times that a reader tries.
const READS_MAX: usize = 16;

/// The head of a text.
#[derive(Debug, Default)]
pub struct Head {
    /// Odd while it is written; 0: it never was.
    version: AtomicU32,
    words: [AtomicU64; WORDS],
}

impl Head {
    /// Sets it. Of two threads that do so at a time one text may have a part of the other's.
    pub fn set(&self, text: &[u8]) {
        let head = text.get(..HEAD_BYTES).unwrap_or(text);
        let length =
            if text.len() > HEAD_BYTES { CUT } else { u8::try_from(text.len()).unwrap_or(CUT) };
        // Made of bytes that the processor holds: to write them as bytes and read them as a word would have it wait.
        let (first, others) = head.split_at(head.len().min(7));
        let first = u64::from(length) | word(first) << 8;
        // Most values have few digits: the words behind them stay.
        let words = std::iter::once(first).chain(others.chunks(8).map(word));
        let version = self.version.load(Ordering::Relaxed) | 1;
        self.version.store(version, Ordering::Relaxed);
        fence(Ordering::Release);
        for (kept, word) in self.words.iter().zip(words) {
            kept.store(word, Ordering::Relaxed);
        }
        // Not 0: that it never was.
        self.version.store(version.wrapping_add(1).max(2), Ordering::Release);
    }

    /// The text, and whether it is cut. `None`: it was never set, or is set all the time.
    pub fn get(&self) -> Option<(String, bool)> {
        (0..READS_MAX).find_map(|_| self.read())
    }

    fn read(&self) -> Option<(String, bool)> {
        let version = self.version.load(Ordering::Acquire);
        let mut bytes = [0; WORDS * 8];
        for (word, bytes) in self.words.iter().zip(bytes.as_chunks_mut().0) {
            *bytes = word.load(Ordering::Relaxed).to_le_bytes();
        }
        fence(Ordering::Acquire);
        if version == 0 || version & 1 == 1 || self.version.load(Ordering::Relaxed) != version {
            return None;
        }
        let (length, head) = bytes.split_first()?;
        let head = if *length == CUT { head } else { head.get(..usize::from(*length))? };
        Some((String::from_utf8_lossy(head).into_owned(), *length == CUT))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;

    #[test]
    fn it_is_what_was_set_last_or_the_head_of_it() {
        let head = Head::default();
        assert_eq!(head.get(), None);
        let longest = "x".repeat(HEAD_BYTES);
        for (text, expected) in [
            ("21.5", ("21.5", false)),
            ("", ("", false)),
            (&*longest, (&*longest, false)),
            (&*format!("{longest}y"), (&*longest, true)),
        ] {
            head.set(text.as_bytes());
            assert_eq!(head.get(), Some((expected.0.to_owned(), expected.1)));
        }
        for length in 0..HEAD_BYTES {
            let text: String = ('a'..='z').cycle().take(length).collect();
            head.set(text.as_bytes());
            assert_eq!(head.get(), Some((text, false)));
        }
        head.version.store(u32::MAX - 1, Ordering::Relaxed);
        head.set(b"7");
        assert!(head.get().is_some(), "its versions begin again");
    }

    #[test]
    fn who_reads_while_it_is_written_sees_one_text() {
        let head = Arc::new(Head::default());
        let read = Arc::clone(&head);
        let reader = crate::tasks::thread("reader", move || {
            let mut seen = 0;
            while seen < 1000 {
                let text = read.get().map_or_else(String::new, |it| it.0);
                let is_one = text.bytes().all(|it| text.starts_with(char::from(it)));
                assert!(is_one && [0, HEAD_BYTES].contains(&text.len()), "{text}");
                seen += usize::from(!text.is_empty());
            }
        });
        let mut reader = reader.unwrap();
        let mut ended = Err(TryRecvError::Empty);
        while ended == Err(TryRecvError::Empty) {
            ended = reader.try_recv();
            for letter in b"abcdefgh" {
                head.set(&[*letter; HEAD_BYTES]);
            }
        }
        assert_eq!(ended, Ok(()));
    }
}
