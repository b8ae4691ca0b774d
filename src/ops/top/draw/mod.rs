//! Draws what is known: health and balance always, then the part that was chosen. It fits on 80x24, and on any larger
//! screen.
//!
//! What comes from outside is made safe (`words::said`) before it is drawn.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Paragraph, Wrap};
use serde_json::Value;

use super::keys::{Chosen, Tab};
use super::link::Link;
use super::state::State;
use super::theme::{Theme, Tone};
use super::words::safe;
use crate::clock::Timestamp;

mod flow;
mod health;
mod journal;
mod limits;
mod notices;
mod sensors;
mod sessions;

/// What is drawn.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    pub(super) state: &'a State,
    pub(super) link: &'a Link,
    /// The page of sensors that was asked for, if it has come.
    pub(super) sensors: Option<&'a Value>,
    pub(super) theme: Theme,
    /// Milliseconds of the wall clock.
    pub(super) now: u64,
    /// Where the gateway is asked.
    pub(super) address: &'a str,
}

impl Scene<'_> {
    fn is_away(&self) -> bool {
        matches!(self.link, Link::Away { .. })
    }

    /// Seconds since the last status: what it says has grown older meanwhile.
    fn elapsed(&self) -> f64 {
        if self.is_away() {
            return 0.0;
        }
        Duration::from_millis(self.now.saturating_sub(self.state.seen)).as_secs_f64()
    }

    /// The time by the gateway's clock, in milliseconds.
    fn clock(&self) -> u64 {
        let Some(status) = &self.state.status else { return self.now };
        let started = status["startedAt"].as_str().and_then(Timestamp::parse);
        let Some(started) = started else { return self.now };
        let up = status["uptimeSeconds"].as_u64().unwrap_or_default().saturating_mul(1000);
        let elapsed = self.now.saturating_sub(self.state.seen);
        started.millis().saturating_add(up).saturating_add(elapsed)
    }
}

/// The smallest screen.
const LEAST: (u16, u16) = (60, 20);

/// Health with its reason has this part of the screen's height, at most.
const VERDICT_PART: u16 = 4;

/// Draws a frame. What was scrolled too far is put right.
pub(super) fn draw(frame: &mut Frame<'_>, scene: &Scene<'_>, chosen: &mut Chosen) {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let text = format!("make this terminal {}x{} or larger", LEAST.0, LEAST.1);
        frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
        return;
    }
    let verdict = health::verdict(scene, area.width, area.height / VERDICT_PART);
    let notices = scene.state.status.as_ref();
    let notices = notices.map(|it| notices::notices(scene, it, area.width)).unwrap_or_default();
    let height = |lines: &[Line<'_>]| u16::try_from(lines.len()).unwrap_or(1).max(1);
    let rows = [
        Constraint::Length(1),
        Constraint::Length(height(&verdict)),
        Constraint::Length(3),
        Constraint::Length(height(&notices)),
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(1),
    ];
    let [head, below, balance, notice, tabs, body, foot] = Layout::vertical(rows).areas(area);
    frame.render_widget(health::head(scene, head.width), head);
    frame.render_widget(Paragraph::new(verdict), below);
    if let Some(status) = &scene.state.status {
        frame.render_widget(health::balance(scene, status, balance.width), balance);
        frame.render_widget(Paragraph::new(notices), notice);
        part(frame, scene, status, chosen, body);
    }
    frame.render_widget(parts(scene, chosen), tabs);
    frame.render_widget(keys(scene.theme, chosen), foot);
    if chosen.help {
        help(frame, scene.theme, body);
    }
}

fn part(frame: &mut Frame<'_>, scene: &Scene<'_>, status: &Value, chosen: &mut Chosen, area: Rect) {
    let lines = match chosen.tab {
        Tab::All => return overview(frame, scene, status, area),
        Tab::Limits => limits::whole_lines(scene.theme, status, area.width),
        Tab::Brokers => sessions::whole(scene, status),
        Tab::Sensors => return sensors::whole(frame, scene, status, chosen, area),
        Tab::DeadLetters => journal::letters(scene, status),
        Tab::Warnings => journal::warnings(scene),
    };
    scrolled(frame, lines, chosen, area);
}

/// Lines from where they are scrolled to.
fn scrolled(frame: &mut Frame<'_>, lines: Vec<Line<'static>>, chosen: &mut Chosen, area: Rect) {
    let rest = lines.len().saturating_sub(usize::from(area.height));
    chosen.scroll = chosen.scroll.min(rest);
    let shown: Vec<_> =
        lines.into_iter().skip(chosen.scroll).take(usize::from(area.height)).collect();
    frame.render_widget(Paragraph::new(shown), area);
}

/// All of it in one look.
fn overview(frame: &mut Frame<'_>, scene: &Scene<'_>, status: &Value, area: Rect) {
    let theme = scene.theme;
    // What is left over is for the flow and the lists.
    let spare = area.height.saturating_sub(16);
    let rows =
        [Constraint::Length(3 + spare.min(12) / 3), Constraint::Length(7), Constraint::Min(5)];
    let [top, middle, bottom] = Layout::vertical(rows).areas(area);
    flow::draw(frame, scene, top);
    let halves = [Constraint::Percentage(55), Constraint::Percentage(45)];
    let [left, right] = Layout::horizontal(halves).spacing(1).areas(middle);
    titled(
        frame,
        theme,
        "Limits, and what happens there",
        limits::first(theme, status, left.width),
        left,
    );
    titled(frame, theme, "Brokers", sessions::first(scene, status), right);
    let [left, right] = Layout::horizontal(halves).spacing(1).areas(bottom);
    let span = sensors::span(status);
    titled(frame, theme, &format!("Sensors {span}"), sensors::first(scene, left.width), left);
    let (title, lines) = journal::first(scene, status, usize::from(right.height));
    titled(frame, theme, &title, lines, right);
}

/// Lines below their title; what has no room is left out.
fn titled(frame: &mut Frame<'_>, theme: Theme, title: &str, lines: Vec<Line<'static>>, area: Rect) {
    let title = Line::styled(title.to_owned(), theme.style(Tone::Title));
    let all: Vec<_> = std::iter::once(title).chain(lines).collect();
    frame.render_widget(Paragraph::new(all), area);
}

/// The names of the parts, with what there is to see in them.
fn parts(scene: &Scene<'_>, chosen: &Chosen) -> Line<'static> {
    let theme = scene.theme;
    let mut spans = Vec::new();
    for (number, tab) in (1..).zip(Tab::ALL) {
        let count = scene.state.status.as_ref().and_then(|status| match tab {
            Tab::All => None,
            Tab::Limits => limits::count(status),
            Tab::Brokers => sessions::count(status),
            Tab::Sensors => sensors::count(status),
            Tab::DeadLetters => journal::count_letters(status),
            Tab::Warnings => journal::count_warnings(scene),
        });
        let tone = if tab == chosen.tab { Tone::Chosen } else { Tone::Plain };
        spans.push(Span::raw(if number == 1 { " " } else { "  " }));
        spans.push(Span::styled(format!("{number} {}", tab.name()), theme.style(tone)));
        let count = count.map(|it| Span::styled(format!("({it})"), theme.style(Tone::Near)));
        spans.extend(count);
    }
    spans.into()
}

fn keys(theme: Theme, chosen: &Chosen) -> Line<'static> {
    let text = if chosen.is_searching {
        format!(" search: {}▏  enter: done  esc: all sensors", safe(&chosen.search))
    } else {
        " q quit  tab next  ↑↓ scroll  / search  s state  ? help".to_owned()
    };
    Line::styled(text, theme.style(Tone::Dim))
}

const HELP: &str = "\
q, esc         quit
tab, ← →, 1–6  another part
↑ ↓, j k       a line; page up, page down, home, end
/              search sensors by a part of their id
s              sensors of one state: silent, late, online, all
n, p           the next page of sensors, and the one before

received = delivered + dead-lettered + shed + held
Times are UTC. The page at the same address shows more:
each sensor, and the command that explains a dead letter.";

fn help(frame: &mut Frame<'_>, theme: Theme, area: Rect) {
    let lines: Vec<_> = std::iter::once(Line::styled("Keys", theme.style(Tone::Title)))
        .chain(HELP.lines().map(|it| Line::raw(it.to_owned())))
        .collect();
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(lines), area);
}
