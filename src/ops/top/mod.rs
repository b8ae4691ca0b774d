//! `sluicegate top`: a running gateway in one look, in a terminal. It is fed by the same API as the page at `/`.
//!
//! - One task takes keys, news of the gateway and stops, and draws: after a key at once, else four times a second at
//!   most, and once a second anyway, since ages grow.
//! - What it keeps is what `state` bounds, and one page of sensors.
//! - It changes nothing: HTTP does not either.

use std::io;
use std::time::Duration;

use ratatui::crossterm::event::Event;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use self::draw::{Scene, draw};
use self::keys::Chosen;
use self::link::{Link, News};
use self::screen::Screen;
use self::state::State;
use self::theme::Theme;
use super::asking::Error;
use crate::clock;
use crate::plan::http::Http;

mod draw;
mod keys;
mod link;
mod outlook;
mod screen;
mod sse;
mod state;
mod theme;
mod words;

/// News that wait to be taken.
const NEWS_MAX: usize = 64;

/// The pause between two pictures: where something has changed, and where nothing has.
const DRAW_PAUSE: Duration = Duration::from_millis(250);
const DRAW_EVERY: Duration = Duration::from_secs(1);

/// Why it cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum Unshown {
    /// There is nothing to ask.
    #[error("{0}")]
    Asking(#[from] Error),
    /// There is no terminal, or it has gone.
    #[error("the terminal: {0}; /api/status tells the same where there is none")]
    Terminal(#[from] io::Error),
}

/// What is known and chosen.
#[derive(Debug)]
struct Top {
    state: State,
    link: Link,
    sensors: Option<Value>,
    chosen: Chosen,
    theme: Theme,
    address: String,
    /// The path of the sensors that are wanted. It is told again where they have changed.
    wanted: watch::Sender<String>,
}

/// Shows the gateway of these settings until a key or a stop ends it.
pub async fn run(http: &Http, stops: &mut mpsc::Receiver<()>) -> Result<(), Unshown> {
    let listen = http.listen.0.ok_or(Error::Off)?;
    let colours = std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty());
    let chosen = Chosen::default();
    let (wanted, asked) = watch::channel(chosen.path());
    let mut top = Top {
        state: State::default(),
        link: Link::default(),
        sensors: None,
        chosen,
        theme: Theme { colours },
        address: listen.to_string(),
        wanted,
    };
    let mut screen = Screen::take()?;
    let keys = screen::keys()?;
    let (told, news) = mpsc::channel(NEWS_MAX);
    tokio::select! {
        shown = top.show(&mut screen, keys, news, stops) => shown.map_err(Unshown::from),
        () = link::follow(http, &told) => Ok(()),
        () = link::sensors(http, asked, &told) => Ok(()),
    }
}

impl Top {
    async fn show(
        &mut self,
        screen: &mut Screen,
        mut keys: mpsc::Receiver<Event>,
        mut news: mpsc::Receiver<News>,
        stops: &mut mpsc::Receiver<()>,
    ) -> io::Result<()> {
        let mut due = Instant::from(clock::now().instant);
        while !self.chosen.is_over {
            tokio::select! {
                biased;
                _ = stops.recv() => return Ok(()),
                event = keys.recv() => match event {
                    Some(event) => due = self.take_key(&event),
                    // The terminal has gone.
                    None => return Ok(()),
                },
                () = sleep_until(due) => {
                    self.draw(screen)?;
                    due = Instant::from(clock::now().instant) + DRAW_EVERY;
                }
                Some(news) = news.recv() => {
                    self.take(news);
                    due = due.min(Instant::from(clock::now().instant) + DRAW_PAUSE);
                }
            }
        }
        Ok(())
    }

    /// Takes a key, or a new size. Returns when to draw.
    fn take_key(&mut self, event: &Event) -> Instant {
        if let Event::Key(key) = event {
            self.chosen.key(*key);
            self.want();
        }
        clock::now().instant.into()
    }

    /// Asks for other sensors, if others are wanted.
    fn want(&mut self) {
        let path = self.chosen.path();
        let is_new = self.wanted.send_if_modified(|it| {
            let is_new = *it != path;
            it.clone_from(&path);
            is_new
        });
        if is_new {
            self.sensors = None;
        }
    }

    fn take(&mut self, news: News) {
        match news {
            News::Link(link) => self.link = link,
            News::Event(name, data) => {
                let is_of_sensors = name == "sensor" || name == "sensors";
                self.wanted.send_if_modified(|_| is_of_sensors);
                self.state.take(&name, data, clock::now().wall.millis());
            }
            // Another one was wanted meanwhile.
            News::Sensors(path, _) if path != self.chosen.path() => {}
            News::Sensors(_, page) => {
                self.chosen.next = words::member(&page, "next").as_str().map(str::to_owned);
                self.sensors = Some(page);
            }
        }
    }

    fn draw(&mut self, screen: &mut Screen) -> io::Result<()> {
        let scene = Scene {
            state: &self.state,
            link: &self.link,
            sensors: self.sensors.as_ref(),
            theme: self.theme,
            now: clock::now().wall.millis(),
            address: &self.address,
        };
        let chosen = &mut self.chosen;
        screen.terminal.draw(|frame| draw(frame, &scene, chosen)).map(drop)
    }
}
