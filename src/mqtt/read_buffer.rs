//! The bytes that have arrived on a connection and are not yet handled.
//!
//! Most packets are small: a connection has a small buffer of its own. The connections of all entries share a few
//! *large* buffers beside. A connection borrows one for a turn while more arrives at once than its own takes; it needs
//! one from the middle of a packet that its own does not hold until that packet is complete.
//!
//! Invariants:
//! - A large buffer holds every packet that is read as a whole: a connection that has one waits for its peer, or with a
//!   complete packet for the desk and the queue, whose holders need no buffer. So each wait for one ends: when the packet
//!   is taken, or with the connection. Keep-alive ends that of a peer that stops in the middle of a packet. A peer that
//!   sends one slowly, byte by byte, keeps its large buffer meanwhile.
//! - Waiting is fair, and delays large packets only. A connection that waits does not read; its pings and
//!   acknowledgements go on.
//! - No more large buffers exist than may be lent.

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The large buffers that connections share.
#[derive(Debug)]
pub struct LargeBuffers {
    bytes: usize,
    spare: Mutex<Vec<Box<[u8]>>>,
    places: Arc<Semaphore>,
}

/// How much a connection reads ahead. Larger packets are read past.
#[derive(Debug, Clone)]
pub struct ReadAhead {
    own_bytes: usize,
    large: Option<Arc<LargeBuffers>>,
}

/// Of a connection that shares nothing.
impl From<usize> for ReadAhead {
    fn from(own_bytes: usize) -> Self {
        Self { own_bytes, large: None }
    }
}

impl ReadAhead {
    /// A buffer of so many bytes, and one of these where that is too small.
    pub fn sharing(own_bytes: usize, large: &Arc<LargeBuffers>) -> Self {
        Self { own_bytes, large: Some(Arc::clone(large)) }
    }
}

impl LargeBuffers {
    /// At most `count`, each of `bytes`; made when they are needed.
    pub fn new(count: usize, bytes: usize) -> Self {
        let places = Arc::new(Semaphore::new(count));
        Self { bytes, spare: Mutex::default(), places }
    }

    fn spare(&self) -> MutexGuard<'_, Vec<Box<[u8]>>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A large buffer is borrowed.
#[derive(Debug)]
struct Lent {
    /// The connection's own buffer meanwhile.
    own: Box<[u8]>,
    _place: OwnedSemaphorePermit,
}

/// A connection's place in the line for a large buffer.
struct Line(Pin<Box<dyn Future<Output = OwnedSemaphorePermit> + Send>>);

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Line")
    }
}

impl Line {
    fn of(large: &LargeBuffers) -> Self {
        let place = Arc::clone(&large.places).acquire_owned();
        Self(Box::pin(async { place.await.expect("the semaphore is never closed") }))
    }
}

/// The read buffer of a connection.
#[derive(Debug)]
pub(super) struct ReadBuffer {
    /// Its own, or one that is borrowed.
    buffer: Box<[u8]>,
    filled: Range<usize>,
    packet_bytes_max: usize,
    large: Option<Arc<LargeBuffers>>,
    lent: Option<Lent>,
    line: Option<Line>,
    /// The last read has brought more than its own buffer takes.
    is_busy: bool,
}

/// An invariant.
const FILLED: &str = "what has arrived lies in the buffer";

impl ReadBuffer {
    /// With room for `least` bytes, however few are asked for.
    pub(super) fn new(ahead: ReadAhead, least: usize) -> Self {
        let ReadAhead { own_bytes, large } = ahead;
        let buffer = vec![0; own_bytes.max(least)].into_boxed_slice();
        let packet_bytes_max = large.as_ref().map_or(0, |it| it.bytes).max(buffer.len());
        let (lent, line, is_busy) = (None, None, false);
        Self { buffer, filled: 0..0, packet_bytes_max, large, lent, line, is_busy }
    }

    /// Bytes of the largest packet that is read as a whole.
    pub(super) fn packet_bytes_max(&self) -> usize {
        self.packet_bytes_max
    }

    /// What has arrived and is not handled.
    pub(super) fn unread(&self) -> &[u8] {
        self.buffer.get(self.filled.clone()).expect(FILLED)
    }

    /// The next bytes, which are handled now.
    pub(super) fn take(&mut self, bytes: usize) -> &[u8] {
        let start = self.filled.start;
        self.filled.start += bytes;
        self.buffer.get(start..start + bytes).expect(FILLED)
    }

    /// Puts back the bytes that were taken last.
    pub(super) fn put_back(&mut self, bytes: usize) {
        self.filled.start -= bytes;
    }

    /// Discards what has arrived.
    pub(super) fn discard(&mut self) {
        (self.filled, self.line) = (0..0, None);
    }

    /// Notes that `bytes` have been written to the space.
    pub(super) fn filled(&mut self, bytes: usize) {
        self.filled.end = (self.filled.end + bytes).min(self.buffer.len());
        self.is_busy = match &self.lent {
            Some(lent) => bytes > lent.own.len(),
            None => self.filled.end == self.buffer.len(),
        };
    }

    /// Where the next bytes are to be written.
    pub(super) fn space(&mut self) -> &mut [u8] {
        if self.filled.is_empty() {
            self.filled = 0..0;
        } else if self.filled.start > 0 {
            self.buffer.copy_within(self.filled.clone(), 0);
            self.filled = 0..self.filled.len();
        }
        self.buffer.get_mut(self.filled.end..).expect(FILLED)
    }

    /// The same; never empty. Waits for a large buffer where one is needed and none is left.
    pub(super) fn poll_space(&mut self, cx: &mut Context<'_>) -> Poll<&mut [u8]> {
        let is_full = self.filled.len() == self.buffer.len();
        if (is_full || self.is_busy)
            && self.lent.is_none()
            && let Some(large) = &self.large
        {
            let mut place = match self.line {
                None => Arc::clone(&large.places).try_acquire_owned().ok(),
                Some(_) => None,
            };
            if is_full && place.is_none() {
                let line = self.line.get_or_insert_with(|| Line::of(large));
                place = Some(ready!(line.0.as_mut().poll(cx)));
            }
            if let Some(place) = place {
                self.borrow(place);
            }
        }
        Poll::Ready(self.space())
    }

    /// Whether it waits for a large buffer.
    pub(super) fn is_waiting(&self) -> bool {
        self.line.is_some()
    }

    /// Nothing is read for now: a large buffer is given back if its own can hold what is unread.
    pub(super) fn rest(&mut self) {
        let unread = self.filled.len();
        let Some(mut lent) = self.lent.take_if(|lent| unread < lent.own.len()) else { return };
        lent.own.get_mut(..unread).expect("it has room").copy_from_slice(self.unread());
        self.filled = 0..unread;
        let large = std::mem::replace(&mut self.buffer, lent.own);
        if let Some(all) = &self.large {
            all.spare().push(large);
        }
        // Now there is a place for it, too: that of `lent` has ended.
    }

    fn borrow(&mut self, place: OwnedSemaphorePermit) {
        self.line = None;
        let Some(all) = &self.large else { return };
        let spare = all.spare().pop();
        let mut large = spare.unwrap_or_else(|| vec![0; all.bytes].into_boxed_slice());
        let unread = self.filled.len();
        large.get_mut(..unread).expect("it is larger").copy_from_slice(self.unread());
        self.filled = 0..unread;
        let own = std::mem::replace(&mut self.buffer, large);
        self.lent = Some(Lent { own, _place: place });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    /// Puts in this many bytes, as far as there is room; `None` where it waits for a large buffer.
    fn put(buffer: &mut ReadBuffer, bytes: usize) -> Option<usize> {
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(space) = buffer.poll_space(&mut context) else { return None };
        let fits = bytes.min(space.len());
        space[..fits].fill(7);
        buffer.filled(fits);
        Some(fits)
    }

    fn sharing(count: usize) -> impl Fn() -> ReadBuffer {
        let large = Arc::new(LargeBuffers::new(count, 100));
        move || ReadBuffer::new(ReadAhead::sharing(10, &large), 0)
    }

    #[test]
    fn what_comes_in_small_pieces_needs_no_large_buffer() {
        let new = sharing(0);
        let mut it = new();
        for _ in 0..5 {
            assert_eq!(put(&mut it, 9), Some(9));
            assert_eq!(it.take(9), [7; 9]);
            it.rest();
        }
        assert_eq!(it.packet_bytes_max(), 100);
    }

    #[test]
    fn who_has_much_to_read_borrows_a_large_one_and_gives_it_back() {
        let new = sharing(1);
        let mut both = [new(), new()];
        for it in [0, 1, 0] {
            let it = &mut both[it];
            assert_eq!(put(it, 50), Some(10), "its own");
            it.take(10);
            assert_eq!(put(it, 200), Some(100));
            it.take(95);
            it.rest();
            assert_eq!(it.unread(), [7; 5]);
            assert_eq!(put(it, 50), Some(50), "it goes on as it was");
            it.take(55);
            it.rest();
            put(it, 1);
            it.take(1);
            it.rest();
        }
        assert_eq!(both[0].large.as_ref().unwrap().spare().len(), 1, "there is one for all");
    }

    /// What fits into its own is read whoever has the large ones.
    #[test]
    fn who_is_within_a_large_packet_waits_for_a_large_one_in_line() {
        let new = sharing(1);
        let [mut first, mut second, mut third] = [new(), new(), new()];
        for it in [&mut first, &mut second, &mut third] {
            put(it, 10);
        }
        assert_eq!(put(&mut first, 20), Some(20));
        first.rest();
        assert_eq!((put(&mut second, 20), put(&mut third, 20)), (None, None));
        let mut small = new();
        assert_eq!(put(&mut small, 20), Some(10));
        small.take(1);
        assert_eq!((put(&mut small, 20), small.is_waiting()), (Some(1), false));
        first.take(25);
        first.rest();
        assert_eq!(put(&mut third, 20), None, "the second is before it");
        assert_eq!((put(&mut second, 20), second.is_waiting()), (Some(20), false));
        drop(second);
        assert_eq!(put(&mut third, 20), Some(20), "a connection that ends gives its own back");
        assert_eq!(third.unread().len(), 30);
    }
}
