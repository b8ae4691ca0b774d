//! Writes to standard output by a thread of its own, because a terminal, and a pipe, may not take anything for long.
//!
//! What waits is bounded by [`WAITING_BYTES_MAX`]. What comes from a broker is offered: where there is no room it is
//! left out, and said in the next line that there is room for. What comes from files waits for room.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::sleep;

use super::Ended;
use crate::tasks;

/// Bytes of lines that wait to be written, and one text beside them.
const WAITING_BYTES_MAX: u32 = 8 << 20;

/// Texts that wait: a text is the lines of a message.
const WAITING_MAX: usize = 4096;

/// How long, after a stop, a terminal may take for what waits.
const LAST_MAX: Duration = Duration::from_secs(1);

/// How often it is looked whether somebody still reads.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Lines on their way.
#[derive(Debug)]
struct Text {
    lines: String,
    _room: OwnedSemaphorePermit,
}

/// The end of standard output.
#[derive(Debug)]
pub(super) struct Printer {
    texts: mpsc::Sender<Text>,
    room: Arc<Semaphore>,
    written: oneshot::Receiver<io::Result<()>>,
    is_stdout: bool,
    json: bool,
    shown: u64,
    left_out: u64,
    /// Of those, what was not said yet.
    unsaid: u64,
}

impl Printer {
    /// A printer to `out`; `json`: it says what was left out as JSON.
    pub(super) fn start(out: impl Write + Send + 'static, json: bool) -> Self {
        let (texts, waiting) = mpsc::channel(WAITING_MAX);
        let (done, written) = oneshot::channel();
        let thread = tasks::thread("printer", move || {
            // Nobody waits for it any more: the program ends.
            drop(done.send(write(out, waiting)));
        });
        // If the thread did not start, both channels are closed: it ends as an output that is gone.
        drop(thread);
        let room = Arc::new(Semaphore::new(WAITING_BYTES_MAX as usize));
        Self { texts, room, written, is_stdout: false, json, shown: 0, left_out: 0, unsaid: 0 }
    }

    /// One to standard output.
    pub(super) fn to_stdout(json: bool) -> Self {
        Self { is_stdout: true, ..Self::start(io::stdout(), json) }
    }

    /// Waits until standard output takes no more: also where nothing is written.
    ///
    /// # Cancel safety
    /// It may be waited for again.
    pub(super) async fn gone(&self) {
        let left = async {
            while !self.has_left() {
                sleep(LOOK_EVERY).await;
            }
        };
        tokio::select! {
            () = left => {}
            () = self.texts.closed() => {}
        }
    }

    /// Whether nobody has the other end of the pipe, or of the terminal, any more. A file has no other end.
    fn has_left(&self) -> bool {
        let out = io::stdout();
        let mut asked = [PollFd::new(&out, PollFlags::empty())];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        self.is_stdout && poll(&mut asked, Some(&at_once)).is_ok_and(|told| told > 0)
    }

    /// Whether standard output takes no more.
    pub(super) fn is_gone(&self) -> bool {
        self.texts.is_closed()
    }

    /// Records that it took.
    pub(super) fn shown(&self) -> u64 {
        self.shown
    }

    /// Whether something was left out, and it is not said yet.
    pub(super) fn owes(&self) -> bool {
        self.unsaid > 0
    }

    /// Writes the lines of so many records if there is room. Else they are left out.
    pub(super) fn offer(&mut self, lines: &str, records: u64) {
        let text = self.said() + lines;
        let room = Arc::clone(&self.room).try_acquire_many_owned(places(&text));
        let sent =
            room.is_ok_and(|it| self.texts.try_send(Text { lines: text, _room: it }).is_ok());
        self.count(sent, records);
    }

    /// Says what was left out, if there is room.
    pub(super) fn say(&mut self) {
        if self.owes() {
            self.offer("", 0);
        }
    }

    /// Writes the lines of so many records, as soon as there is room.
    pub(super) async fn give(&mut self, lines: &str, records: u64) {
        let text = self.said() + lines;
        let room = tokio::select! {
            room = Arc::clone(&self.room).acquire_many_owned(places(&text)) => room.ok(),
            () = self.texts.closed() => None,
        };
        let sent = match room {
            Some(room) => self.texts.send(Text { lines: text, _room: room }).await.is_ok(),
            None => false,
        };
        self.count(sent, records);
    }

    /// Notes that so many records are left out.
    pub(super) fn leave_out(&mut self, records: u64) {
        self.left_out += records;
        self.unsaid += records;
    }

    fn count(&mut self, sent: bool, records: u64) {
        if sent {
            self.unsaid = 0;
            self.shown += records;
        } else {
            self.leave_out(records);
        }
    }

    fn said(&self) -> String {
        match self.unsaid {
            0 => String::new(),
            records if self.json => format!("{}\n", json!({ "leftOut": records })),
            records => format!("… {records} left out: they come faster than this is read\n"),
        }
    }

    /// Waits until all is written; after a stop not longer than [`LAST_MAX`].
    pub(super) async fn finish(mut self, stops: &mut mpsc::Receiver<()>) -> Ended {
        if self.owes() {
            let given = self.give("", 0);
            tokio::select! {
                () = given => {}
                () = sleep(LAST_MAX) => {}
            }
        }
        let is_left = self.has_left();
        drop(self.texts);
        let written = tokio::select! {
            biased;
            written = &mut self.written => written.ok(),
            _ = stops.recv() => tokio::select! {
                written = &mut self.written => written.ok(),
                () = sleep(LAST_MAX) => None,
            },
        };
        let error = written.and_then(Result::err);
        let was_broken = error.as_ref().is_some_and(|it| it.kind() == io::ErrorKind::BrokenPipe);
        let failed = error.filter(|it| it.kind() != io::ErrorKind::BrokenPipe);
        let is_unread = failed.is_none() && (is_left || was_broken);
        Ended { shown: self.shown, left_out: self.left_out, failed, is_unread }
    }
}

/// Places in the room: not more than there are, so that a text that is larger goes alone.
fn places(text: &str) -> u32 {
    u32::try_from(text.len()).unwrap_or(u32::MAX).clamp(1, WAITING_BYTES_MAX)
}

fn write(mut out: impl Write, mut waiting: mpsc::Receiver<Text>) -> io::Result<()> {
    while let Some(text) = waiting.blocking_recv() {
        out.write_all(text.lines.as_bytes())?;
        out.flush()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    /// Takes one write for each permission.
    struct Slow {
        may: Receiver<()>,
        got: SyncSender<String>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.may.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
            self.got.send(String::from_utf8(bytes.to_vec()).unwrap()).unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn stops() -> mpsc::Receiver<()> {
        let (stop, stops) = mpsc::channel(1);
        // It never comes.
        std::mem::forget(stop);
        stops
    }

    #[tokio::test]
    async fn a_slow_reader_gets_no_more_than_waits_and_is_told_what_was_left_out() {
        let ((allow, may), (got, came)) = (sync_channel(64), sync_channel(64));
        let mut printer = Printer::start(Slow { may, got }, false);
        let line = "x".repeat(1 << 20) + "\n";
        for _ in 0..20 {
            printer.offer(&line, 10);
        }
        // The eighth does not fit whole: each has a byte more.
        assert_eq!((printer.shown(), printer.left_out, printer.owes()), (70, 130, true));
        for _ in 0..50 {
            allow.send(()).unwrap();
        }
        let ended = printer.finish(&mut stops()).await;
        assert_eq!((ended.shown, ended.left_out, ended.is_unread), (70, 130, false));
        let came: Vec<_> = came.try_iter().collect();
        assert_eq!(came.len(), 8);
        assert_eq!(came[7], "… 130 left out: they come faster than this is read\n");
    }

    #[tokio::test]
    async fn what_waits_for_room_is_never_left_out() {
        let ((allow, may), (got, came)) = (sync_channel(64), sync_channel(64));
        let mut printer = Printer::start(Slow { may, got }, true);
        for _ in 0..20 {
            allow.send(()).unwrap();
            printer.give(&"x".repeat(3 << 20), 1).await;
        }
        let ended = printer.finish(&mut stops()).await;
        assert_eq!((ended.shown, ended.left_out, came.try_iter().count()), (20, 0, 20));
    }

    #[tokio::test]
    async fn a_reader_that_has_gone_is_no_failure_and_a_full_disk_is_one() {
        let ((allow, may), (got, _came)) = (sync_channel(64), sync_channel(64));
        let mut printer = Printer::start(Slow { may, got }, false);
        drop(allow);
        while !printer.is_gone() {
            printer.give("a\n", 1).await;
        }
        let ended = printer.finish(&mut stops()).await;
        assert!(ended.is_unread && ended.failed.is_none());
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut printer = Printer::start(full, false);
        printer.give("a\n", 1).await;
        let ended = printer.finish(&mut stops()).await;
        assert_eq!(ended.failed.map(|it| it.kind()), Some(io::ErrorKind::StorageFull));
    }
}
