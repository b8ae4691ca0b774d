//! The last lines of a file, in bounded memory.

use std::collections::VecDeque;

use super::shown::Line;

/// Bytes of lines that are kept. Where lines are large these are fewer than were asked for.
const BYTES_MAX: usize = 16 << 20;

/// The last lines.
#[derive(Debug)]
pub(super) struct Last {
    lines: VecDeque<Line>,
    bytes: usize,
    count_max: usize,
    /// Lines that were asked for and had no room.
    pub(super) left_out: u64,
}

impl Last {
    /// So many of them.
    pub(super) fn new(count_max: usize) -> Self {
        Self { lines: VecDeque::new(), bytes: 0, count_max, left_out: 0 }
    }

    pub(super) fn push(&mut self, line: Line) {
        self.bytes += line.text.len();
        self.lines.push_back(line);
        if self.lines.len() > self.count_max {
            self.pop();
            // One is more than was asked for, whatever had no room before.
            self.left_out = self.left_out.saturating_sub(1);
        }
        while self.bytes > BYTES_MAX && self.lines.len() > 1 {
            self.pop();
            self.left_out += 1;
        }
    }

    fn pop(&mut self) {
        let oldest = self.lines.pop_front();
        self.bytes -= oldest.map_or(0, |it| it.text.len());
    }

    pub(super) fn is_full(&self) -> bool {
        self.lines.len() as u64 + self.left_out >= self.count_max as u64
    }

    /// With those of an older file before them.
    pub(super) fn behind(self, mut older: Self) -> Self {
        older.left_out = self.left_out;
        self.lines.into_iter().for_each(|it| older.push(it));
        older
    }

    /// The lines of several, by their time: those without one stay where they are.
    pub(super) fn merged(all: Vec<Self>, count_max: usize) -> (Vec<Line>, u64) {
        let mut left_out = 0;
        let mut lines = Vec::new();
        for last in all {
            left_out += last.left_out;
            let mut at = None;
            for line in last.lines {
                at = line.at.or(at);
                lines.push((at, line));
            }
        }
        lines.sort_by_key(|it| it.0);
        let surplus = lines.len().saturating_sub(count_max);
        (lines.into_iter().skip(surplus).map(|it| it.1).collect(), left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn last(count: usize, lines: &[(u64, &str)]) -> Last {
        let mut last = Last::new(count);
        for (at, text) in lines {
            let at = (*at > 0).then(|| Timestamp::from_millis(*at));
            last.push(Line { at, text: (*text).to_owned() });
        }
        last
    }

    fn texts(lines: &[Line]) -> String {
        lines.iter().map(|it| &*it.text).collect()
    }

    #[test]
    fn the_last_ones_of_several_files_are_in_the_order_of_their_times() {
        let older = last(3, &[(1, "a"), (2, "b"), (3, "c"), (4, "d")]);
        let batches = last(3, &[(6, "e"), (0, "f")]).behind(older);
        assert!(batches.is_full());
        let letters = last(3, &[(5, "x"), (9, "y")]);
        let (lines, left_out) = Last::merged(vec![batches, letters], 4);
        assert_eq!((texts(&lines).as_str(), left_out), ("xefy", 0));
    }

    #[test]
    fn large_lines_are_fewer() {
        let large = "x".repeat(BYTES_MAX / 2);
        let last = last(3, &[(1, &large), (2, &large), (3, &large)]);
        assert_eq!((last.lines.len(), last.left_out, last.bytes), (2, 1, BYTES_MAX));
    }
}
