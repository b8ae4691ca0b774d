//! Bounds connections and answers over HTTP.
//!
//! Three bounds. A *connection* is always accepted: at [`HTTP_CONNECTIONS_MAX`], the one with the oldest last
//! request is closed for it. So clients that keep connections open, or never finish a request, cannot keep a
//! health check out. An *answer* with metrics or status can be large: it holds one of [`HTTP_ANSWERS_MAX`]
//! seats until it is written, and with many entries there are fewer. An answer with health needs none. A *stream* has one
//! of [`HTTP_STREAMS_MAX`] seats of its own, and its connection gives its place to others.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::limits::{
    HTTP_ANSWERS_BYTES_MAX, HTTP_ANSWERS_MAX, HTTP_CONNECTIONS_MAX, HTTP_LIST_BYTES_MAX,
    HTTP_STREAMS_MAX, HTTP_WRITE_BYTES_MAX,
};
use crate::plan::http::answers_max;

/// The places and seats that are taken.
#[derive(Debug)]
pub(super) struct Seats {
    connections: Mutex<Connections>,
    answers: Arc<Semaphore>,
    streams: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Connections {
    open: Vec<Open>,
    /// Those that stream.
    streams: Vec<Open>,
    /// A counter: it grows with each connection and each request.
    moment: u64,
}

#[derive(Debug)]
struct Open {
    id: u64,
    /// The moment of its last request, or of its beginning.
    last: u64,
    /// Closes the connection when dropped.
    _end: oneshot::Sender<()>,
}

impl Default for Seats {
    fn default() -> Self {
        let answers = Arc::new(Semaphore::new(HTTP_ANSWERS_MAX));
        let streams = Arc::new(Semaphore::new(HTTP_STREAMS_MAX));
        Self { connections: Mutex::default(), answers, streams }
    }
}

impl Seats {
    /// Takes a place for a new connection; at the bound, that of another one.
    pub(super) fn enter(self: &Arc<Self>) -> (Place, oneshot::Receiver<()>) {
        let (end, closed) = oneshot::channel();
        let mut all = self.lock();
        if all.open.len() >= HTTP_CONNECTIONS_MAX {
            let oldest = all.open.iter().enumerate().min_by_key(|(_, it)| it.last);
            let oldest = oldest.map(|(at, _)| at).expect("the limit is not 0");
            all.open.swap_remove(oldest);
        }
        all.moment += 1;
        let id = all.moment;
        all.open.push(Open { id, last: id, _end: end });
        (Place { seats: Arc::clone(self), id }, closed)
    }

    /// Takes a seat for an answer about so many entries, and a quarter of all for a list; `None` if too few are free of
    /// those that there are for such.
    pub(super) fn answer(&self, entries: usize, size: Size) -> Option<OwnedSemaphorePermit> {
        let all = answers_max(entries);
        let seats = if size == Size::List { all.div_ceil(LISTS_MAX) } else { 1 };
        if self.answers() + seats > all {
            return None;
        }
        let seats = u32::try_from(seats).expect("there are few seats");
        Arc::clone(&self.answers).try_acquire_many_owned(seats).ok()
    }

    /// Takes a seat for a stream; `None` if all are taken.
    pub(super) fn stream(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.streams).try_acquire_owned().ok()
    }

    pub(super) fn streams(&self) -> usize {
        HTTP_STREAMS_MAX - self.streams.available_permits()
    }

    pub(super) fn connections(&self) -> usize {
        self.lock().open.len()
    }

    pub(super) fn answers(&self) -> usize {
        HTTP_ANSWERS_MAX - self.answers.available_permits()
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How large an answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    /// As metrics and status are, with so many entries.
    Whole,
    /// As a list is ([`HTTP_LIST_BYTES_MAX`]).
    List,
}

/// Lists that are written at a time, if nothing else is.
const LISTS_MAX: usize = 4;
const _: () = assert!(LISTS_MAX * HTTP_LIST_BYTES_MAX <= HTTP_ANSWERS_BYTES_MAX);

/// A connection's place. Dropping it frees the place.
#[derive(Debug)]
pub(super) struct Place {
    seats: Arc<Seats>,
    id: u64,
}

impl Place {
    /// Notes that the connection has sent a request.
    pub(super) fn asks(&self) {
        let mut all = self.seats.lock();
        all.moment += 1;
        let now = all.moment;
        if let Some(own) = all.open.iter_mut().find(|it| it.id == self.id) {
            own.last = now;
        }
    }

    /// The connection streams: its place is for others.
    pub(super) fn streams(&self) {
        let mut all = self.seats.lock();
        let is_own = |it: &mut Open| it.id == self.id;
        // One whose stream has ended may not be closed yet.
        if all.streams.len() >= HTTP_STREAMS_MAX {
            return;
        }
        let own: Vec<_> = all.open.extract_if(.., is_own).collect();
        all.streams.extend(own);
    }

    /// Whether it does.
    pub(super) fn is_stream(&self) -> bool {
        self.seats.lock().streams.iter().any(|it| it.id == self.id)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.seats.lock();
        all.open.retain(|it| it.id != self.id);
        all.streams.retain(|it| it.id != self.id);
    }
}

/// An answer that holds its seat until at most [`HTTP_WRITE_BYTES_MAX`] of it wait to be written.
#[derive(Debug)]
pub(super) struct Seated {
    left: Bytes,
    _seat: OwnedSemaphorePermit,
}

impl Seated {
    pub(super) fn new(mut text: String, seat: OwnedSemaphorePermit) -> Self {
        text.shrink_to_fit();
        Self { left: text.into(), _seat: seat }
    }
}

impl Body for Seated {
    type Data = Bytes;
    type Error = Infallible;

    /// Copies the next part, so the part does not keep the whole answer in memory.
    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let count = self.left.len().min(HTTP_WRITE_BYTES_MAX / 2);
        let part = self.left.split_to(count);
        Poll::Ready((count > 0).then(|| Ok(Frame::data(Bytes::copy_from_slice(&part)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_connection_that_has_asked_longest_ago_gives_way() {
        let seats = Arc::new(Seats::default());
        let mut all: Vec<_> = (0..HTTP_CONNECTIONS_MAX).map(|_| seats.enter()).collect();
        all[0].0.asks();
        let newest = seats.enter();
        assert_eq!(seats.connections(), HTTP_CONNECTIONS_MAX);
        let mut is_closed =
            |at: usize| all[at].1.try_recv() == Err(oneshot::error::TryRecvError::Closed);
        assert_eq!((is_closed(0), is_closed(1), is_closed(2)), (false, true, false));
        drop((all, newest));
        assert_eq!(seats.connections(), 0);
    }

    /// Their text lies in memory until it is written.
    #[test]
    fn there_are_fewer_seats_where_many_entries_make_answers_large() {
        for (entries, expected) in [(1, 16), (8, 16), (40, 5), (4096, 4)] {
            let seats = Seats::default();
            let taken: Vec<_> = std::iter::from_fn(|| seats.answer(entries, Size::Whole)).collect();
            assert_eq!((taken.len(), answers_max(entries)), (expected, expected), "{entries}");
        }
    }

    #[test]
    fn a_list_takes_a_quarter_of_the_seats() {
        for entries in [1, 40, 4096] {
            let seats = Seats::default();
            let lists: Vec<_> = std::iter::from_fn(|| seats.answer(entries, Size::List)).collect();
            let seats_each = answers_max(entries).div_ceil(LISTS_MAX);
            assert_eq!(lists.len(), answers_max(entries) / seats_each, "{entries}");
            assert!((2..=LISTS_MAX).contains(&lists.len()), "{entries}");
        }
    }

    #[test]
    fn a_stream_takes_no_place_from_others_and_has_its_own_bound() {
        let seats = Arc::new(Seats::default());
        let mut streams: Vec<_> =
            (0..HTTP_STREAMS_MAX).map(|_| (seats.enter(), seats.stream().unwrap())).collect();
        for ((place, _), _) in &streams {
            place.streams();
        }
        assert!(streams.iter().all(|((place, _), _)| place.is_stream()));
        assert!(seats.stream().is_none());
        let others: Vec<_> = (0..2 * HTTP_CONNECTIONS_MAX).map(|_| seats.enter()).collect();
        let open = Err(oneshot::error::TryRecvError::Empty);
        assert!(streams.iter_mut().all(|((_, closed), _)| closed.try_recv() == open));
        assert_eq!((seats.connections(), seats.answers()), (HTTP_CONNECTIONS_MAX, 0));
        drop(streams.pop());
        assert!(seats.stream().is_some());
        drop((streams, others));
        assert_eq!((seats.connections(), seats.streams()), (0, 0));
    }

    #[test]
    fn an_answer_gives_its_seat_back_with_its_last_part() {
        let seats = Seats::default();
        let text = "x".repeat(HTTP_WRITE_BYTES_MAX);
        let mut answer = Box::pin(Seated::new(text, seats.answer(1, Size::Whole).unwrap()));
        let mut context = Context::from_waker(std::task::Waker::noop());
        let mut parts = 0;
        while let Poll::Ready(Some(part)) = answer.as_mut().poll_frame(&mut context) {
            assert!(part.unwrap().into_data().unwrap().len() <= HTTP_WRITE_BYTES_MAX / 2);
            parts += 1;
        }
        assert!(parts == 2 && answer.is_end_stream());
        assert_eq!(seats.answers(), 1);
        drop(answer);
        assert_eq!(seats.answers(), 0);
    }
}
