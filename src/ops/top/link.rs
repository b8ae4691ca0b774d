//! Follows a gateway over HTTP, for ever: by its stream of events or, where all seats of that are taken, by asking for
//! the status each second. It survives the gateway: it says that it is away, and asks again.
//!
//! The channel to whoever draws is bounded. Where that is slow, the stream waits; the gateway then disconnects it, and it
//! begins anew with a snapshot.

use std::cell::Cell;
use std::time::Duration;

use hyper::body::Bytes;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use super::sse::Events;
use crate::limits::HTTP_LIST_BYTES_MAX;
use crate::ops::asking::{self, Error};
use crate::plan::http::Http;

/// A stream that has said nothing for so long is taken to be broken: a comment comes each 15 seconds.
const QUIET_MAX: Duration = Duration::from_secs(25);

/// The first and the longest pause before the gateway is asked again.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// How often the status is asked for without a stream, and after how many times the stream is tried again.
const POLL: Duration = Duration::from_secs(1);
const POLLS: u32 = 10;

/// How often sensors are asked for: at most, and at least.
const SENSORS_PAUSE: Duration = Duration::from_secs(1);
const SENSORS_EVERY: Duration = Duration::from_secs(5);

/// What a stream does not tell again: what was before it.
const LISTS: [(&str, &str); 3] = [
    ("history", "/api/history"),
    ("dead_letters", "/api/dead-letters"),
    ("warnings", "/api/warnings"),
];

/// Bytes of an answer, at most.
const ANSWER_BYTES_MAX: usize = 4 * HTTP_LIST_BYTES_MAX;

/// How the gateway is reached.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Link {
    #[default]
    Connecting,
    Live,
    /// It cannot be followed, and why; whether it answers all the same.
    Away {
        why: String,
        answers: bool,
    },
}

/// What is new.
#[derive(Debug)]
pub(super) enum News {
    Link(Link),
    /// An event, as the stream has it.
    Event(String, Value),
    /// A page of sensors, and the path that was asked for.
    Sensors(String, Value),
}

/// Whoever draws has gone.
struct Gone;

/// Follows until nobody takes the news any more.
pub(super) async fn follow(http: &Http, news: &mpsc::Sender<News>) {
    let mut pause = PAUSES[0];
    loop {
        let heard = Cell::new(false);
        let why = match streamed(http, news, &heard).await {
            Ok(true) => Link::Away { why: "the stream has ended".to_owned(), answers: false },
            Ok(false) => match polled(http, news, &heard).await {
                Ok(()) => continue,
                Err(error) => away(&error),
            },
            Err(error) => away(&error),
        };
        if news.send(News::Link(why)).await.is_err() {
            return;
        }
        pause = if heard.get() { PAUSES[0] } else { (pause * 3 / 2).min(PAUSES[1]) };
        sleep(pause).await;
    }
}

fn away(error: &Error) -> Link {
    let answers =
        matches!(error, Error::Untrusted { .. } | Error::Strange { .. } | Error::Refused(_));
    Link::Away { why: error.to_string(), answers }
}

/// Follows the stream to its end; false where there is none.
async fn streamed(
    http: &Http,
    news: &mpsc::Sender<News>,
    heard: &Cell<bool>,
) -> Result<bool, Error> {
    let (mut events, mut failed) = (Events::default(), None);
    let take = async |piece: Bytes| {
        let is_first = !heard.replace(true);
        match taken(http, news, &mut events, &piece, is_first).await {
            Ok(()) => true,
            Err(why) => {
                failed = why;
                false
            }
        }
    };
    let ended = asking::follow(http, "/api/stream", QUIET_MAX, take).await;
    match failed {
        Some(error) => Err(error),
        None => ended,
    }
}

/// Takes a piece of the stream. An error ends it: what is wrong, or nothing where nobody takes the news.
async fn taken(
    http: &Http,
    news: &mpsc::Sender<News>,
    events: &mut Events,
    piece: &[u8],
    is_first: bool,
) -> Result<(), Option<Error>> {
    let events = events.take(piece).map_err(|error| Some(Error::Refused(error.to_string())))?;
    let gone = |_| None;
    news.send(News::Link(Link::Live)).await.map_err(gone)?;
    for (name, data) in events {
        news.send(News::Event(name, data)).await.map_err(gone)?;
    }
    // Behind the first status, which tells whether this is another run.
    if is_first {
        lists(http, news).await?;
    }
    Ok(())
}

async fn lists(http: &Http, news: &mpsc::Sender<News>) -> Result<(), Option<Error>> {
    for (name, path) in LISTS {
        let data = json(http, path).await.map_err(Some)?;
        news.send(News::Event(name.to_owned(), data)).await.map_err(|_| None)?;
    }
    Ok(())
}

async fn json(http: &Http, path: &str) -> Result<Value, Error> {
    let body = asking::get_beside(http, path, ANSWER_BYTES_MAX).await?;
    let wrong = "what listens there is no gateway of this version";
    serde_json::from_slice(&body).map_err(|_| Error::Refused(wrong.to_owned()))
}

async fn polled(http: &Http, news: &mpsc::Sender<News>, heard: &Cell<bool>) -> Result<(), Error> {
    for turn in 0..POLLS {
        let data = json(http, "/api/status").await?;
        heard.set(true);
        drop(news.send(News::Link(Link::Live)).await);
        drop(news.send(News::Event("status".to_owned(), data)).await);
        if turn == 0
            && let Err(Some(error)) = lists(http, news).await
        {
            return Err(error);
        }
        sleep(POLL).await;
    }
    Ok(())
}

/// Asks for the sensors of the path that is wanted: when it changes, when it is told that they have, and every few
/// seconds. Ends when nobody wants them any more.
pub(super) async fn sensors(
    http: &Http,
    mut wanted: watch::Receiver<String>,
    news: &mpsc::Sender<News>,
) {
    loop {
        let path = wanted.borrow_and_update().clone();
        // What is wrong is told by the stream.
        if let Ok(page) = json(http, &path).await
            && news.send(News::Sensors(path.clone(), page)).await.is_err()
        {
            return;
        }
        let changed = async {
            wanted.changed().await.map_err(|_| Gone)?;
            // Where only they have changed: not more often than that.
            if *wanted.borrow() == path {
                sleep(SENSORS_PAUSE).await;
            }
            Ok(())
        };
        if let Ok(Err(Gone)) = timeout(SENSORS_EVERY, changed).await {
            return;
        }
    }
}
