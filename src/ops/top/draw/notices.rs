//! What an operator has to know beside health and balance, in two lines at most: losses first.

use ratatui::text::Line;
use serde_json::Value;

use super::Scene;
use crate::clock::Timestamp;
use crate::ops::top::outlook::outlook;
use crate::ops::top::theme::Tone;
use crate::ops::top::words::{
    count, duration, float, member, number, real, said, time, whole, wrapped,
};

/// Lines of them, at most.
const LINES_MAX: usize = 2;

/// Books that do not close, losses, a spool, a restart, what has waited for long, and when it was degraded last. One line at
/// least, which may be empty.
pub(super) fn notices(scene: &Scene<'_>, status: &Value, columns: u16) -> Vec<Line<'static>> {
    let marked = [missing(status), losses(status), restart(scene)];
    let tone = if marked.iter().any(Option::is_some) { Tone::Near } else { Tone::Plain };
    let all = marked.into_iter().chain([spool(scene, status), oldest(status), degraded(status)]);
    let text = all.flatten().collect::<Vec<_>>().join(" · ");
    let mut lines = wrapped(&text, usize::from(columns), LINES_MAX);
    lines.resize(lines.len().max(1), String::new());
    lines.into_iter().map(|it| Line::styled(it, scene.theme.style(tone))).collect()
}

fn missing(status: &Value) -> Option<String> {
    let books = member(status, "balance");
    let settled: u64 =
        ["delivered", "deadLettered", "shed", "held"].map(|it| whole(books, it)).iter().sum();
    let missing = whole(books, "received").abs_diff(settled);
    // One may be read while readings settle: it is gone with the next.
    (missing > 0).then(|| format!("{} readings are in no column yet", number(missing)))
}

/// What may be lost where no column shows it, in few words.
fn losses(status: &Value) -> Option<String> {
    let of = |name| whole(member(status, "losses"), name);
    let all = [
        ("brokerDropped", "dropped by the broker"),
        ("sessionsLost", "sessions lost"),
        ("numbersMissing", "numbers of sensors missing"),
        ("batchesWithoutSubscriber", "batches to nobody"),
        ("spoolUnreadable", "unreadable in the spool"),
    ];
    let all = all.into_iter().filter(|it| of(it.0) > 0);
    let all: Vec<_> = all.map(|(name, what)| format!("{} {what}", number(of(name)))).collect();
    (!all.is_empty()).then(|| format!("possible loss: {}", all.join(", ")))
}

fn restart(scene: &Scene<'_>) -> Option<String> {
    let at = scene.state.restarted.as_ref()?.started_at.as_str().map(time).unwrap_or_default();
    Some(format!("the gateway has restarted at {at}: the balance counts from then"))
}

fn spool(scene: &Scene<'_>, status: &Value) -> Option<String> {
    let spooling = real(status, "spoolingSeconds");
    let expected = outlook(status, &scene.state.steps).filter(|_| !scene.is_away());
    let expected = expected.map(|it| format!(", the spool is {it}")).unwrap_or_default();
    (spooling > 0.0).then(|| format!("spooling for {}{expected}", duration(spooling)))
}

fn oldest(status: &Value) -> Option<String> {
    let oldest = real(status, "oldestReadingSeconds");
    (oldest >= 1.0).then(|| format!("oldest reading held {}", duration(oldest)))
}

/// When it was degraded last.
fn degraded(status: &Value) -> Option<String> {
    let last = status.get("lastDegraded")?;
    let moment = |name| last[name].as_str().and_then(Timestamp::parse).map(Timestamp::millis);
    let (from, until) = moment("from").zip(moment("until"))?;
    let lasted = duration(float(until.saturating_sub(from) / 1000));
    let often = match whole(last, "times") {
        0 | 1 => String::new(),
        times => format!(" ({} in this run)", count(times, "time")),
    };
    let at = time(last["from"].as_str().unwrap_or_default());
    Some(format!("degraded at {at} for {lasted}{often}: {}", said(last, "reason")))
}
