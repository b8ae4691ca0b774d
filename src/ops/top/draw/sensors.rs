//! Sensors, the longest silent first.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use serde_json::Value;

use super::{Scene, scrolled};
use crate::ops::top::keys::Chosen;
use crate::ops::top::theme::Tone;
use crate::ops::top::words::{ago, duration, number, rows, safe, said, whole as count_of};

/// How many are silent.
pub(super) fn count(status: &Value) -> Option<String> {
    let silent = sum(status, "silent");
    (silent > 0).then(|| number(silent))
}

fn sum(status: &Value, column: &str) -> u64 {
    rows(status, "sensors").iter().map(|it| count_of(it, column)).sum()
}

/// How many there are, by their state.
pub(super) fn span(status: &Value) -> String {
    let [all, late, silent] = ["sensors", "late", "silent"].map(|it| sum(status, it));
    let online = all.saturating_sub(late + silent);
    format!(
        "{}: {} online, {} late, {} silent",
        number(all),
        number(online),
        number(late),
        number(silent)
    )
}

/// Those to be seen in one look.
pub(super) fn first(scene: &Scene<'_>, width: u16) -> Vec<Line<'static>> {
    let Some(page) = scene.sensors else { return Vec::new() };
    let one = |it: &Value| {
        let name = format!("{}/{}", said(it, "entry"), said(it, "sensorId"));
        let last = ago(it["lastReceivedAt"].as_str(), scene.clock());
        let room = usize::from(width).saturating_sub(9 + last.chars().count());
        let name: String = name.chars().take(room).collect();
        vec![state(scene, it), Span::raw(format!("{name:<room$} {last}"))].into()
    };
    rows(page, "sensors").iter().map(one).collect()
}

fn state(scene: &Scene<'_>, sensor: &Value) -> Span<'static> {
    let word = said(sensor, "state");
    let tone = match word.as_str() {
        "silent" => Tone::Bad,
        "late" => Tone::Near,
        _ => Tone::Good,
    };
    Span::styled(format!("{word:<7} "), scene.theme.style(tone))
}

/// Entries, and a page of sensors.
pub(super) fn whole(
    frame: &mut Frame<'_>,
    scene: &Scene<'_>,
    status: &Value,
    chosen: &mut Chosen,
    area: Rect,
) {
    let total = scene.sensors.map(|it| count_of(it, "total"));
    let asked = [("state", chosen.state), ("search", &chosen.search)];
    let asked = asked.iter().filter(|it| !it.1.is_empty());
    let asked = asked.fold(String::new(), |all, (name, it)| format!("{all}  {name}: {}", safe(it)));
    let place = match (total, chosen.next.is_some() || chosen.page() > 1) {
        (None, _) => "asking…".to_owned(),
        (Some(total), false) => format!("{} shown", number(total)),
        (Some(total), true) => format!("{} in all, page {} (n, p)", number(total), chosen.page()),
    };
    let theme = scene.theme;
    let head = vec![
        Line::styled(format!("{}; {place}{asked}", span(status)), theme.style(Tone::Title)),
        Line::styled(
            format!(
                "{:<7} {:>16} {:>9} {:>12} {:>8}  sensor",
                "state", "last reading", "every", "received", "gaps"
            ),
            theme.style(Tone::Dim),
        ),
    ];
    let rows_of = [Constraint::Length(2), Constraint::Min(1)];
    let [top, below] = Layout::vertical(rows_of).areas(area);
    frame.render_widget(Paragraph::new(head), top);
    let page = scene.sensors.map(|it| rows(it, "sensors")).unwrap_or_default();
    let lines = page.iter().map(|it| row(scene, it)).collect();
    scrolled(frame, lines, chosen, below);
}

fn row(scene: &Scene<'_>, sensor: &Value) -> Line<'static> {
    let last = ago(sensor["lastReceivedAt"].as_str(), scene.clock());
    let every = sensor["intervalSeconds"].as_f64().map_or("–".to_owned(), duration);
    let (received, missing) = (count_of(sensor, "received"), count_of(sensor, "missing"));
    let name = format!("{}/{}", said(sensor, "entry"), said(sensor, "sensorId"));
    let rest =
        format!("{last:>16} {every:>9} {:>12} {:>8}  {name}", number(received), number(missing));
    vec![state(scene, sensor), Span::raw(rest)].into()
}
