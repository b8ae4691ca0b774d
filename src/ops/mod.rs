//! What a running gateway shows: health, metrics and status over HTTP, and notifications to systemd. This
//! module only reads: the engine does not know about it.
//!
//! HTTP has a thread and a runtime of its own. So no request delays a reading, and it can report that the
//! gateway's own thread hangs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use utoipa::ToSchema;

use self::feed::Feed;
use self::seats::Seats;
use crate::clock::{self, Now};
use crate::plan::current::Current;
use crate::state::board::Health;
use crate::state::books::Books;
use crate::state::recent::Recent;
use crate::state::said::Warning;

pub mod asking;
mod entries;
mod events;
pub mod exposition;
mod families;
mod family;
mod feed;
mod gate;
mod history;
mod host;
pub mod http;
mod json;
mod levels;
pub mod listing;
mod lists;
mod openapi;
mod page;
mod process;
mod router;
mod routes;
mod seats;
mod sensor;
mod sensor_metrics;
mod sensors;
mod snapshot;
mod stream;
pub mod systemd;
pub mod top;
mod words;
mod write_deadline;

pub use self::sensors::Sort;

/// If the gateway's own thread has not checked its books for this time, it is taken to hang.
pub(crate) const LOOK_PAUSE_MAX: Duration = Duration::from_secs(30);

/// What the HTTP server and systemd read of a gateway.
#[derive(Debug, Clone)]
pub struct View {
    pub plan: Current,
    pub books: Arc<Books>,
    /// The last warnings of the log.
    pub warnings: Arc<Recent<Warning>>,
    /// The time of the start.
    pub started: Now,
    /// Bounds the connections and answers.
    seats: Arc<Seats>,
    /// What has happened of late, and who streams it.
    feed: Arc<Feed>,
}

/// Whether a gateway works, for load balancers and supervisors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Readiness {
    /// Readings are taken and batches delivered, or would be if there were any.
    pub ready: bool,
    /// `starting`, `ready`, `degraded` or `draining`; `hanging` if the gateway's thread has not looked for a
    /// while.
    pub health: String,
    /// Why it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl View {
    /// A view of a gateway that starts now.
    pub fn new(plan: Current, books: Arc<Books>, warnings: Arc<Recent<Warning>>) -> Self {
        let started = clock::now();
        let feed = Arc::new(Feed::new(started));
        Self { plan, books, warnings, started, seats: Arc::default(), feed }
    }

    /// Whether the gateway works, as seen at `now`.
    pub fn readiness(&self, now: Instant) -> Readiness {
        if let Some(reason) = self.hangs(now) {
            return Readiness { ready: false, health: "hanging".into(), reason: Some(reason) };
        }
        let status = self.books.board.status();
        let ready = status.health == Health::Ready;
        Readiness { ready, health: status.health.to_string(), reason: status.reason }
    }

    /// Why the process should be restarted; `None` if it works.
    pub fn hangs(&self, now: Instant) -> Option<String> {
        let silent = now.saturating_duration_since(self.books.board.status().looked);
        let seconds = silent.as_secs();
        (silent > LOOK_PAUSE_MAX)
            .then(|| format!("the gateway's thread has not checked its books for {seconds} s"))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::plan::Plan;

    /// A gateway with one MQTT entry and one simulated, that has just started.
    pub(crate) fn view() -> View {
        let mut plan = Plan::default();
        for (name, kind) in
            [("fleet", r#"{"mqtt":{"topic":"a"}}"#), ("made", r#"{"simulated":{}}"#)]
        {
            plan.sensors.insert(name.into(), serde_json::from_str(kind).unwrap());
        }
        let books = Arc::new(plan.books(Arc::default()));
        View::new(Current::new(Arc::new(plan)), books, Arc::default())
    }

    #[test]
    fn a_gateway_whose_thread_has_not_moved_is_neither_alive_nor_ready() {
        let view = view();
        let at = |seconds| view.started.instant + Duration::from_secs(seconds);
        assert_eq!(view.hangs(at(20)), None);
        assert_eq!(view.readiness(at(20)).health, "starting");
        let readiness = view.readiness(at(40));
        assert_eq!((readiness.ready, readiness.health.as_str()), (false, "hanging"));
        assert!(view.hangs(at(40)).unwrap().contains("has not checked its books"));
    }
}
