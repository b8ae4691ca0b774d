//! Notifies systemd (`sd_notify(3)`): ready, status, stopping, and the watchdog. Does nothing without
//! `NOTIFY_SOCKET`.
//!
//! *Ready* means that the gateway runs, not that its brokers are there: a broker that starts later must not
//! fail the unit. A thread of its own notifies, because that may block on systemd. It feeds the watchdog while
//! the gateway's thread looks at its books, so a gateway that hangs is restarted.

use std::time::Duration;

use sd_notify::NotifyState;

use super::View;
use crate::clock;
use crate::state::board::{Health, Status};
use crate::tasks;

/// The longest time between two checks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Starts to notify systemd, if it is there, as long as the process lives.
pub fn start(view: View) -> std::io::Result<()> {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return Ok(());
    }
    // Twice in the watchdog's time, as sd_watchdog_enabled(3) recommends.
    let feed = sd_notify::watchdog_enabled().map(|time| time / 2);
    let pause = feed.unwrap_or(LOOK_EVERY).min(LOOK_EVERY);
    let work = move || {
        let mut told = Told::default();
        loop {
            let alive = view.hangs(clock::now().instant).is_none();
            let mut news = told.news(&view.books.board.status());
            news.extend((feed.is_some() && alive).then_some("WATCHDOG=1".to_owned()));
            told.tell(&news);
            std::thread::park_timeout(pause);
        }
    };
    drop(tasks::thread("systemd", work)?);
    Ok(())
}

/// What systemd was told last.
#[derive(Debug, Default)]
struct Told {
    ready: bool,
    stopping: bool,
    status: String,
    failed: bool,
}

impl Told {
    /// The notifications for what has changed.
    fn news(&mut self, seen: &Status) -> Vec<String> {
        let mut news = Vec::new();
        if !std::mem::replace(&mut self.ready, true) {
            news.push(NotifyState::Ready.to_string());
        }
        let stopping = seen.health == Health::Draining;
        if stopping && !std::mem::replace(&mut self.stopping, true) {
            news.push(NotifyState::Stopping.to_string());
        }
        let text = match &seen.reason {
            Some(reason) => format!("{}: {}", seen.health, reason.replace('\n', " ")),
            None => seen.health.to_string(),
        };
        if text != self.status {
            news.push(NotifyState::Status(&text).to_string());
            self.status = text;
        }
        news
    }

    fn tell(&mut self, news: &[String]) {
        if news.is_empty() {
            return;
        }
        let states: Vec<NotifyState<'_>> =
            news.iter().map(|state| NotifyState::Custom(state)).collect();
        match sd_notify::notify(&states) {
            Ok(()) => self.failed = false,
            Err(error) if !std::mem::replace(&mut self.failed, true) => {
                tracing::warn!(%error, "cannot notify systemd");
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(told: &mut Told, health: Health, reason: Option<&str>) -> Vec<String> {
        let (reason, looked) = (reason.map(str::to_owned), clock::now().instant);
        told.news(&Status { health, reason, looked })
    }

    #[test]
    fn only_what_is_new_is_told_and_a_reason_stays_on_its_line() {
        let mut all = Told::default();
        let first = told(&mut all, Health::Starting, Some("two\nlines"));
        assert_eq!(first, ["READY=1", "STATUS=starting: two lines"]);
        assert_eq!(told(&mut all, Health::Starting, Some("two\nlines")), Vec::<String>::new());
        assert_eq!(told(&mut all, Health::Ready, None), ["STATUS=ready"]);
        let stopping = told(&mut all, Health::Draining, Some("3 held"));
        assert_eq!(stopping, ["STOPPING=1", "STATUS=draining: 3 held"]);
        assert_eq!(told(&mut all, Health::Draining, Some("2 held")), ["STATUS=draining: 2 held"]);
    }
}
