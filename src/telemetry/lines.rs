//! Log lines on their way to a reader that may stop reading: a pager that waits, a full pipe.
//!
//! Lines gather in one buffer while a thread writes another. Invariants:
//! - A caller that logs never waits for the reader: the lock is held only to copy a line or to swap the
//!   buffers.
//! - Each buffer has at most [`LOG_BYTES_MAX`]. A line without room is dropped, and so are the lines after it
//!   until the reader reads again. Then a line with their count stands in their place.
//! - Closing waits for the reader no longer than its limit.
//!
//! Own code because `tracing-appender` bounds lines and not their bytes, does not say in the log that lines are
//! missing, and prints to standard output if it cannot end in time.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::tasks;

/// Bytes of log lines that wait for a slow reader, and of those being written: twice that in all, in the budget of the
/// program itself. Lines without room are dropped, and counted in the log.
const LOG_BYTES_MAX: usize = 256 * 1024;

/// The buffers; written to by reference.
#[derive(Debug)]
pub(super) struct Lines {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    waiting: Vec<u8>,
    /// Lines dropped since the buffer was full.
    dropped: u64,
    closed: bool,
    /// Everything is written, after `closed`.
    written: bool,
}

struct Taken {
    bytes: Vec<u8>,
    /// Lines that were dropped after these bytes.
    dropped: u64,
}

impl Lines {
    /// Starts a thread that writes the lines to `to`. `missing` makes the line that reports dropped lines.
    pub(super) fn start(
        to: impl Write + Send + 'static,
        missing: impl Fn(u64) -> String + Send + 'static,
    ) -> io::Result<Arc<Self>> {
        let state = State {
            waiting: Vec::with_capacity(LOG_BYTES_MAX),
            dropped: 0,
            closed: false,
            written: false,
        };
        let lines = Arc::new(Self { state: Mutex::new(state), changed: Condvar::new() });
        let shared = Arc::clone(&lines);
        // `written` shows its end: the waiter has no runtime.
        drop(tasks::thread("log", move || shared.write_to(to, missing))?);
        Ok(lines)
    }

    fn write_to(&self, mut to: impl Write, missing: impl Fn(u64) -> String) {
        let mut spare = Vec::with_capacity(LOG_BYTES_MAX);
        while let Some(Taken { bytes, dropped }) = self.take(spare) {
            // An error of the log must not end the program.
            drop(to.write_all(&bytes));
            if dropped > 0 {
                drop(to.write_all(missing(dropped).as_bytes()));
            }
            drop(to.flush());
            spare = bytes;
        }
        self.state().written = true;
        self.changed.notify_all();
    }

    /// Waits for lines. `None` when all are written and no more can come.
    fn take(&self, mut spare: Vec<u8>) -> Option<Taken> {
        spare.clear();
        let idle = |state: &mut State| state.waiting.is_empty() && state.dropped == 0;
        let state = self.state();
        let mut state = self
            .changed
            .wait_while(state, |state| idle(state) && !state.closed)
            .unwrap_or_else(PoisonError::into_inner);
        if idle(&mut state) {
            return None;
        }
        let bytes = std::mem::replace(&mut state.waiting, spare);
        Some(Taken { bytes, dropped: std::mem::take(&mut state.dropped) })
    }

    fn put(&self, line: &[u8]) {
        let mut state = self.state();
        if state.dropped > 0 || state.waiting.len() + line.len() > LOG_BYTES_MAX {
            state.dropped += 1;
        } else {
            state.waiting.extend_from_slice(line);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Closes: waits until everything is written, for at most `within`.
    pub(super) fn close(&self, within: Duration) {
        let mut state = self.state();
        state.closed = true;
        self.changed.notify_all();
        // Out of time: nobody reads the rest.
        drop(self.changed.wait_timeout_while(state, within, |state| !state.written));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs while the lock is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Expects one call per line.
impl Write for &Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.put(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const LONG: Duration = Duration::from_secs(20);

    /// A reader that accepts a write only when the test asks it to.
    struct Reader(mpsc::SyncSender<Vec<u8>>);

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines() -> (Arc<Lines>, mpsc::Receiver<Vec<u8>>) {
        let (to, reads) = mpsc::sync_channel(0);
        (Lines::start(Reader(to), |count| format!("{count} missing\n")).unwrap(), reads)
    }

    #[test]
    fn what_finds_no_room_is_counted_where_it_is_missing_and_memory_is_bounded() {
        let (lines, reads) = lines();
        lines.put(b"first\n");
        // The thread has taken the lines, and now waits for its reader.
        let taken = || lines.state().waiting.is_empty();
        while !taken() {
            std::thread::yield_now();
        }
        let line = [b'x'; 1000];
        let fit = LOG_BYTES_MAX / line.len();
        (0..fit + 7).for_each(|_| lines.put(&line));
        // It would fit, but only out of order.
        lines.put(b"y");
        assert_eq!(lines.state().waiting.capacity(), LOG_BYTES_MAX);
        assert_eq!(reads.recv_timeout(LONG).unwrap(), b"first\n");
        assert_eq!(reads.recv_timeout(LONG).unwrap().len(), fit * line.len());
        lines.put(b"last\n");
        assert_eq!(reads.recv_timeout(LONG).unwrap(), b"8 missing\n");
        assert_eq!(reads.recv_timeout(LONG).unwrap(), b"last\n");
    }

    #[test]
    fn the_end_waits_for_a_reader_and_not_for_ever() {
        let (stalled, _reads) = lines();
        stalled.put(b"unread\n");
        stalled.close(Duration::from_millis(50));
        assert!(!stalled.state().written);
        let (lines, reads) = lines();
        lines.put(b"read\n");
        let reader = std::thread::scope(|scope| {
            let reader = scope.spawn(move || reads.iter().collect::<Vec<_>>().concat());
            lines.close(LONG);
            reader.join().unwrap()
        });
        assert!(lines.state().written);
        assert_eq!(reader, b"read\n");
    }
}
