//! Dead letters and warnings, the newest first.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ratatui::text::{Line, Span};
use serde_json::Value;

use super::Scene;
use crate::ops::top::theme::Tone;
use crate::ops::top::words::{number, said, time, whole};
use crate::text;

pub(super) fn count_letters(status: &Value) -> Option<String> {
    let total = whole(&status["balance"], "deadLettered");
    (total > 0).then(|| number(total))
}

pub(super) fn count_warnings(scene: &Scene<'_>) -> Option<String> {
    let count = scene.state.warnings.len() as u64;
    (count > 0).then(|| number(count))
}

/// The newest of both, in so many lines: each has half of them, and what the other does not need.
pub(super) fn first(
    scene: &Scene<'_>,
    status: &Value,
    lines: usize,
) -> (String, Vec<Line<'static>>) {
    let (letters, warnings) = (&scene.state.letters, &scene.state.warnings);
    let total = whole(&status["balance"], "deadLettered");
    let title = format!("Dead letters {}, warnings {}", number(total), warnings.len());
    let room = lines.saturating_sub(1);
    let few = (room / 2).max(room.saturating_sub(warnings.len()));
    let lines = letters.iter().take(few).map(|it| letter(scene, it));
    (title, lines.chain(warnings.iter().map(|it| warning(scene, it))).collect())
}

fn letter(scene: &Scene<'_>, letter: &Value) -> Line<'static> {
    let who = [said(letter, "entry"), said(letter, "sensorId")];
    let who: Vec<_> = who.into_iter().filter(|it| !it.is_empty()).collect();
    vec![
        Span::raw(format!("{} ", at(letter))),
        Span::styled(said(letter, "reason"), scene.theme.style(Tone::Near)),
        Span::raw(format!(" {}", who.join("/"))),
    ]
    .into()
}

fn warning(scene: &Scene<'_>, warning: &Value) -> Line<'static> {
    let level = said(warning, "level").to_lowercase();
    let tone = if level == "error" { Tone::Bad } else { Tone::Near };
    vec![
        Span::raw(format!("{} ", at(warning))),
        Span::styled(level, scene.theme.style(tone)),
        Span::raw(format!(" {}", said(warning, "message"))),
    ]
    .into()
}

fn at(row: &Value) -> String {
    row["at"].as_str().map(time).unwrap_or_default()
}

/// All dead letters that are known.
pub(super) fn letters(scene: &Scene<'_>, status: &Value) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for it in &scene.state.letters {
        lines.push(letter(scene, it));
        let topic = said(it, "topic");
        let on = if topic.is_empty() { topic } else { format!("  on {topic}") };
        lines.push(Line::raw(format!("  {}{on}", said(it, "detail"))));
        let told = format!("  {} ({} bytes)", payload(it), number(whole(it, "payloadBytes")));
        lines.push(Line::styled(told, scene.theme.style(Tone::Dim)));
    }
    let total = whole(&status["balance"], "deadLettered");
    match (lines.is_empty(), total) {
        (true, 0) => lines.push(Line::raw("None since the start.")),
        (true, _) => {
            lines.push(Line::raw(format!("{} since the start, none of them here.", number(total))));
        }
        (false, _) => {}
    }
    lines
}

/// The head of a payload, made safe.
fn payload(letter: &Value) -> String {
    let coded = letter["payloadBase64"].as_str().and_then(|it| STANDARD.decode(it).ok());
    match coded {
        Some(bytes) => text::from_bytes(&bytes),
        None => said(letter, "payload"),
    }
}

/// All warnings that are known.
pub(super) fn warnings(scene: &Scene<'_>) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for it in &scene.state.warnings {
        lines.push(warning(scene, it));
        let fields = it["fields"].as_object().into_iter().flatten().map(|(name, value)| {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            format!("{}={}", text::shown(name), text::shown(&value))
        });
        let fields = fields.collect::<Vec<_>>().join(" ");
        lines.push(Line::styled(format!("  {fields}"), scene.theme.style(Tone::Dim)));
    }
    if lines.is_empty() {
        lines.push(Line::raw("None since the start."));
    }
    lines
}
