//! `/api/stream`: what changes, as server-sent events.
//!
//! - It begins with a snapshot: the event `status`. So does each return of a client; what it had missed is in the lists.
//! - A client has a seat of its own ([`super::seats`]) as long as it streams, and no limit of time. One that takes nothing for
//!   a while is disconnected ([`super::write_deadline`]); one that takes too little loses events, is told so by the event
//!   `dropped`, and is disconnected.
//! - A line of comment comes where nothing else does, so that a peer that is gone is noticed.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use hyper::body::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::sleep;

use super::View;
use super::events::{At, Next};
use super::feed::Feed;

/// After so long without an event a comment is sent.
const COMMENT_AFTER: Duration = Duration::from_secs(15);

const COMMENT: &[u8] = b": still here\n\n";

/// A client that streams.
struct Client {
    feed: Arc<Feed>,
    /// `None`: it is to be disconnected.
    at: Option<At>,
    _seat: OwnedSemaphorePermit,
}

/// A stream that begins with this event.
pub(super) fn answer(view: &View, first: u64, seat: OwnedSemaphorePermit) -> Response {
    let at = Some(At { number: first, bytes: 0 });
    let client = Client { feed: Arc::clone(&view.feed), at, _seat: seat };
    let parts = unfold(client, async |mut client| {
        let part = client.next().await?;
        Some((Ok::<_, Infallible>(part), client))
    });
    // The connection has no limit of time: it must not be used for anything else.
    let headers =
        [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store"), (CONNECTION, "close")];
    (headers, Body::from_stream(parts)).into_response()
}

impl Client {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let at = self.at.as_mut()?;
            // Before looking: what is added in between is seen.
            let news = self.feed.events.news();
            match self.feed.events.take(at) {
                Next::Part(part) => return Some(part),
                // In the middle of an event nothing can be told.
                Next::Lost(events) => {
                    let told = at.bytes == 0;
                    self.at = None;
                    let text = format!("event: dropped\ndata: {{\"events\":{events}}}\n\n");
                    return told.then_some(text.into());
                }
                Next::Nothing => {}
            }
            tokio::select! {
                () = news => {}
                () = sleep(COMMENT_AFTER) => return Some(Bytes::from_static(COMMENT)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::limits::HTTP_EVENTS_MAX;
    use crate::ops::tests::view;

    /// The next part of a stream.
    async fn part(body: &mut Body) -> Option<String> {
        let frame = body.frame().await?.unwrap();
        Some(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_client_gets_each_event_and_one_that_lags_is_told_how_many_it_lost() {
        let view = view();
        let put = || view.feed.events.put("sensor", "{}");
        put();
        let first = view.feed.snapshot(&view, view.started);
        let mut body = answer(&view, first, view.seats.stream().unwrap()).into_body();
        assert!(part(&mut body).await.unwrap().starts_with("id: 2\nevent: status\ndata: {"));
        put();
        assert_eq!(part(&mut body).await.unwrap(), "id: 3\nevent: sensor\ndata: {}\n\n");
        for _ in 0..HTTP_EVENTS_MAX + 7 {
            put();
        }
        let told = "event: dropped\ndata: {\"events\":1031}\n\n";
        assert_eq!(part(&mut body).await.unwrap(), told);
        assert_eq!(view.seats.streams(), 1);
        assert_eq!((part(&mut body).await, view.seats.streams()), (None, 0));
    }
}
