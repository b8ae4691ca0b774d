//! Each connection: whether it stands, since when, and what was last wrong with it.

use ratatui::text::{Line, Span};
use serde_json::Value;

use super::Scene;
use crate::ops::top::theme::Tone;
use crate::ops::top::words::{
    count as counted, duration, number as number_of, real, rows, said, whole as number,
};

/// How many are away.
pub(super) fn count(status: &Value) -> Option<String> {
    let away = rows(status, "sessions").iter().filter(|it| it["usable"] != true).count();
    (away > 0).then(|| number_of(away as u64))
}

/// Those to be seen in one look: what is away first.
pub(super) fn first(scene: &Scene<'_>, status: &Value) -> Vec<Line<'static>> {
    let mut all: Vec<_> = rows(status, "sessions").iter().collect();
    all.sort_by_key(|it| it["usable"] == true);
    all.into_iter().map(|it| one(scene, it)).collect()
}

/// Whether it stands, and for how long.
fn one(scene: &Scene<'_>, session: &Value) -> Line<'static> {
    let usable = session["usable"] == true;
    let (word, tone) = if usable { ("connected", Tone::Good) } else { ("away", Tone::Bad) };
    let age = duration((real(session, "forSeconds") + scene.elapsed()).floor());
    vec![
        Span::styled(word, scene.theme.style(tone)),
        Span::raw(format!(" {} for {age}", said(session, "name"))),
    ]
    .into()
}

/// All of them, with their trouble.
pub(super) fn whole(scene: &Scene<'_>, status: &Value) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for session in rows(status, "sessions") {
        lines.push(one(scene, session));
        let times = match number(session, "connections") {
            0 => "never connected".to_owned(),
            times => counted(times, "connection"),
        };
        let trouble = said(session, "lastTrouble");
        let word = if session["usable"] == true { "last trouble" } else { "trouble" };
        let told = if trouble.is_empty() { times } else { format!("{times}; {word}: {trouble}") };
        lines.push(Line::styled(format!("  {told}"), scene.theme.style(Tone::Dim)));
    }
    lines
}
