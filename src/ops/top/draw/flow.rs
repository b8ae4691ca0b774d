//! Throughput and latency of the last 15 minutes, a column for each step of 5 seconds or, where it is narrow, the last
//! of them.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Sparkline};
use serde_json::Value;

use super::Scene;
use crate::ops::top::theme::Tone;
use crate::ops::top::words::{duration, rate, real};

/// Draws both beside each other.
pub(super) fn draw(frame: &mut Frame<'_>, scene: &Scene<'_>, area: Rect) {
    let halves = [Constraint::Percentage(50), Constraint::Percentage(50)];
    let [left, right] = Layout::horizontal(halves).spacing(1).areas(area);
    let steps = &scene.state.steps;
    let received = |step: &Value| match real(step, "seconds") {
        0.0 => None,
        seconds => Some(real(step, "received") / seconds),
    };
    let latency = |step: &Value| step["p99Seconds"].as_f64();
    let last = |of: &dyn Fn(&Value) -> Option<f64>| steps.iter().rev().find_map(of);
    let title = format!("Throughput {}", last(&received).map(rate).unwrap_or_default());
    one(frame, scene, &title, steps.iter().map(received).collect(), left);
    let p99 = last(&latency).map(duration).unwrap_or_default();
    one(frame, scene, &format!("Latency p99 {p99}"), steps.iter().map(latency).collect(), right);
}

fn one(
    frame: &mut Frame<'_>,
    scene: &Scene<'_>,
    title: &str,
    values: Vec<Option<f64>>,
    area: Rect,
) {
    let rows = [Constraint::Length(1), Constraint::Min(1)];
    let [top, below] = Layout::vertical(rows).areas(area);
    let surplus = values.len().saturating_sub(usize::from(below.width));
    let shown: Vec<_> = values.into_iter().skip(surplus).collect();
    let most = shown.iter().flatten().copied().fold(0.0, f64::max);
    // A minute is a column for each of 12 steps.
    let span = duration(std::time::Duration::from_secs(5 * shown.len() as u64).as_secs_f64());
    let title = format!("{title}  the last {span}");
    let title = Line::styled(title, scene.theme.style(Tone::Title));
    frame.render_widget(Paragraph::new(title), top);
    let scaled = |value: f64| thousandths(if most > 0.0 { value / most } else { 0.0 });
    let data: Vec<_> = shown.into_iter().map(|it| it.map(scaled)).collect();
    let style = scene.theme.style(Tone::Plain);
    frame.render_widget(Sparkline::default().data(data).max(1000).style(style), below);
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share is from 0 to 1"
)]
fn thousandths(share: f64) -> u64 {
    (share.clamp(0.0, 1.0) * 1000.0).round() as u64
}
