//! Lines of a pipe, of which no more than a bound is kept.

use std::io;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

use super::PIPE_BUFFER_BYTES;

/// A line without its end.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::source) struct Line {
    /// What it says, or the head of that.
    pub(in crate::source) text: Vec<u8>,
    /// Bytes of the whole and their SHA-256, where only the head is here.
    pub(in crate::source) cut: Option<(u64, [u8; 32])>,
}

/// Reads lines.
#[derive(Debug)]
pub(in crate::source) struct Lines<R> {
    reader: BufReader<R>,
    bytes_max: usize,
    text: Vec<u8>,
    /// Of a line that is longer: what of it was read.
    beyond: Option<(u64, Sha256)>,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    /// No more than `bytes_max` of each are kept.
    pub(in crate::source) fn new(from: R, bytes_max: usize) -> Self {
        Self {
            reader: BufReader::with_capacity(PIPE_BUFFER_BYTES, from),
            bytes_max,
            text: Vec::new(),
            beyond: None,
        }
    }

    /// The next line; the last one may be without an end.
    ///
    /// # Cancel safety
    /// What was read of a line is kept.
    pub(in crate::source) async fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            let read = self.reader.fill_buf().await?;
            if read.is_empty() {
                let is_some = !self.text.is_empty() || self.beyond.is_some();
                return Ok(is_some.then(|| self.taken()));
            }
            let end = read.iter().position(|byte| *byte == b'\n');
            let part = read.get(..end.unwrap_or(read.len())).unwrap_or_default();
            let used = part.len() + usize::from(end.is_some());
            let room = self.bytes_max.saturating_sub(self.text.len());
            if part.len() > room || self.beyond.is_some() {
                let begun = || (self.text.len() as u64, Sha256::new_with_prefix(&self.text));
                let (bytes, digest) = self.beyond.get_or_insert_with(begun);
                *bytes += part.len() as u64;
                digest.update(part);
            }
            self.text.extend_from_slice(part.get(..room.min(part.len())).unwrap_or_default());
            self.reader.consume(used);
            if end.is_some() {
                return Ok(Some(self.taken()));
            }
        }
    }

    /// Whether the next line can be had without waiting.
    pub(in crate::source) fn is_whole_line_here(&self) -> bool {
        self.reader.buffer().contains(&b'\n')
    }

    fn taken(&mut self) -> Line {
        let cut = self.beyond.take().map(|(bytes, digest)| (bytes, digest.finalize().into()));
        let mut text = std::mem::take(&mut self.text);
        if cut.is_none() && text.last() == Some(&b'\r') {
            text.pop();
        }
        Line { text, cut }
    }
}

impl Lines<&[u8]> {
    /// The next line of a text that is all here.
    fn next_here(&mut self) -> Option<Line> {
        match pin!(self.next()).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(line)) => line,
            _ => unreachable!("a text in memory can be read without waiting"),
        }
    }
}

/// The lines of a text that is all here.
pub(in crate::source) fn lines_of(text: &[u8], bytes_max: usize) -> impl Iterator<Item = Line> {
    let mut lines = Lines::new(text, bytes_max);
    std::iter::from_fn(move || lines.next_here())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_at_its_break_and_the_last_one_at_the_end() {
        let texts: Vec<_> = lines_of(b"1\r\n\n22\nlast", 9).map(|it| it.text).collect();
        assert_eq!(texts, [&b"1"[..], b"", b"22", b"last"]);
    }

    #[test]
    fn of_a_long_line_the_head_is_kept_with_the_length_and_digest_of_all() {
        let long = [vec![b'x'; 20_000], b"\nshort\n".to_vec()].concat();
        let lines: Vec<_> = lines_of(&long, 10).collect();
        let digest = Sha256::digest(&long[..20_000]).into();
        assert_eq!(lines[0], Line { text: vec![b'x'; 10], cut: Some((20_000, digest)) });
        assert_eq!(lines[1], Line { text: b"short".to_vec(), cut: None });
    }
}
