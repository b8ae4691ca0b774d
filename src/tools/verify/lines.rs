//! The lines of a file, read in bounded memory. One that has no end yet is read on when more of it is there.

use std::io::{self, BufRead, Read};

/// Reads one line after another.
#[derive(Debug)]
pub(in crate::tools) struct Lines<R> {
    from: R,
    line: Vec<u8>,
    /// The last line had no end: what is read next belongs to it.
    is_open: bool,
    bytes_max: usize,
    /// The number of the last line, from 1.
    pub(in crate::tools) number: u64,
}

/// A line.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::tools) enum Line<'a> {
    /// Its text without the line break, and whether it had one.
    Read(&'a [u8], bool),
    /// It has more bytes than a line may have.
    TooLong,
}

impl<R: BufRead> Lines<R> {
    /// The lines of `from`, each of at most `bytes_max`.
    pub(in crate::tools) fn new(from: R, bytes_max: usize) -> Self {
        Self { from, line: Vec::new(), is_open: false, bytes_max, number: 0 }
    }

    /// The next line; `None` at the end. One without an end comes again, longer, once more of it is there.
    pub(in crate::tools) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        if !self.is_open {
            self.line.clear();
        }
        let room = (self.bytes_max + 1).saturating_sub(self.line.len());
        let mut part = self.from.by_ref().take(room as u64);
        if part.read_until(b'\n', &mut self.line)? == 0 {
            return Ok(None);
        }
        self.number += u64::from(!self.is_open);
        self.is_open = !self.line.ends_with(b"\n") && self.line.len() <= self.bytes_max;
        Ok(Some(match self.line.strip_suffix(b"\n") {
            Some(line) => Line::Read(line, true),
            None if self.line.len() > self.bytes_max => Line::TooLong,
            None => Line::Read(&self.line, false),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_up_to_their_limit_and_the_last_may_have_no_end() {
        let mut lines = Lines::new(&b"ab\n\nabc\nab"[..], 3);
        for (number, expected) in [(1, (&b"ab"[..], true)), (2, (b"", true)), (3, (b"abc", true))] {
            assert_eq!(lines.next().unwrap(), Some(Line::Read(expected.0, expected.1)));
            assert_eq!(lines.number, number);
        }
        assert_eq!(lines.next().unwrap(), Some(Line::Read(b"ab", false)));
        assert_eq!(lines.next().unwrap(), None);
        lines.from = b"c\nd";
        assert_eq!(lines.next().unwrap(), Some(Line::Read(b"abc", true)), "the rest of it");
        assert_eq!(lines.number, 4);
        assert_eq!(lines.next().unwrap(), Some(Line::Read(b"d", false)));
        lines.from = b"efg\n";
        assert_eq!(lines.next().unwrap(), Some(Line::TooLong), "with what was there of it");
        let mut lines = Lines::new(&b"abcd\n"[..], 3);
        assert_eq!(lines.next().unwrap(), Some(Line::TooLong));
        assert!(lines.line.capacity() <= 8, "no more is kept");
    }
}
