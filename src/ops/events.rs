//! Server-sent events (HTML Living Standard, 9.2), each written once for all that stream.
//!
//! They lie in one list with bounds. A client has a number in it: of the event that it takes next. So a slow client costs no
//! memory, and one whose next event has left the list has lost some.

use hyper::body::Bytes;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::limits::{HTTP_EVENTS_BYTES_MAX, HTTP_EVENTS_MAX, HTTP_WRITE_BYTES_MAX};
use crate::state::recent::{Kept, Recent};

/// Bytes of an event beside its text, with what the allocator and the list add.
const EVENT_BYTES: usize = 128;

/// An event, as it is sent.
#[derive(Debug)]
struct Event(Bytes);

impl Kept for Event {
    const ITEMS_MAX: usize = HTTP_EVENTS_MAX;
    const BYTES_MAX: usize = HTTP_EVENTS_BYTES_MAX;

    fn bytes(&self) -> usize {
        EVENT_BYTES + self.0.len()
    }
}

/// The last events.
#[derive(Debug, Default)]
pub(super) struct Events {
    recent: Recent<Event>,
    /// There are new ones.
    news: Notify,
}

/// Where a client is.
#[derive(Debug, Clone, Copy)]
pub(super) struct At {
    /// The event that it takes next.
    pub(super) number: u64,
    /// Bytes of it that it has.
    pub(super) bytes: usize,
}

/// What there is for a client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Part(Bytes),
    /// It has everything.
    Nothing,
    /// It has lost so many events.
    Lost(u64),
}

impl Events {
    /// Adds an event with this JSON, and returns its number.
    pub(super) fn put(&self, name: &str, data: &str) -> u64 {
        let mut own = 0;
        self.recent.put_numbered(|number| {
            own = number;
            let text = format!("id: {number}\nevent: {name}\ndata: {}\n\n", data.trim_end());
            Event(text.into())
        });
        self.news.notify_waiters();
        own
    }

    /// Ends with the next event that is added from now on.
    pub(super) fn news(&self) -> Notified<'_> {
        self.news.notified()
    }

    pub(super) fn has(&self, number: u64) -> bool {
        self.recent.get(number).is_some()
    }

    /// What a client takes next, and moves it on. A part is a copy: it keeps no event in memory that has left the list.
    pub(super) fn take(&self, at: &mut At) -> Next {
        let Some(event) = self.recent.get(at.number) else {
            let lost = self.recent.next().saturating_sub(at.number);
            return if lost > 0 { Next::Lost(lost) } else { Next::Nothing };
        };
        let rest = event.0.get(at.bytes..).unwrap_or_default();
        let part = rest.get(..HTTP_WRITE_BYTES_MAX / 2).unwrap_or(rest);
        *at = if part.len() == rest.len() {
            At { number: at.number + 1, bytes: 0 }
        } else {
            At { bytes: at.bytes + part.len(), ..*at }
        };
        Next::Part(Bytes::copy_from_slice(part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_takes_each_event_in_parts_and_sees_what_it_has_lost() {
        let events = Events::default();
        let mut at = At { number: events.put("status", "{}\n"), bytes: 0 };
        let first = Next::Part("id: 1\nevent: status\ndata: {}\n\n".into());
        assert_eq!([events.take(&mut at), events.take(&mut at)], [first, Next::Nothing]);
        let long = "x".repeat(HTTP_WRITE_BYTES_MAX);
        events.put("sensor", &long);
        let mut text = Vec::new();
        while let Next::Part(part) = events.take(&mut at) {
            assert!(part.len() <= HTTP_WRITE_BYTES_MAX / 2);
            text.extend(part);
        }
        let expected = format!("id: 2\nevent: sensor\ndata: {long}\n\n");
        assert_eq!((text, at.number), (expected.into_bytes(), 3));
        for _ in 0..=HTTP_EVENTS_MAX {
            events.put("sensor", "{}");
        }
        assert_eq!(events.take(&mut at), Next::Lost(HTTP_EVENTS_MAX as u64 + 1));
    }
}
