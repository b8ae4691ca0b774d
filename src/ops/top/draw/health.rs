//! Health with its reason in words, and the balance.

use ratatui::layout::Alignment;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use serde_json::Value;

use super::Scene;
use crate::clock::Timestamp;
use crate::ops::top::link::Link;
use crate::ops::top::theme::Tone;
use crate::ops::top::words::{duration, number, rate, real, said, time, whole, wrapped};
use crate::text;

const ALL_IS_WELL: &str = "readings are taken and batches delivered, or would be";

/// Whose it is, and whether it answers.
pub(super) fn head(scene: &Scene<'_>, width: u16) -> Line<'static> {
    let theme = scene.theme;
    let mut name = " sluicegate".to_owned();
    if let Some(status) = &scene.state.status {
        name = format!("{name} {} {}", said(status, "gateway"), said(status, "version"));
        let up = real(status, "uptimeSeconds") + scene.elapsed();
        name = format!("{name}  up {}", duration(up.floor()));
    }
    let (word, tone) = match scene.link {
        Link::Connecting => ("connecting…".to_owned(), Tone::Near),
        Link::Live => ("live".to_owned(), Tone::Good),
        Link::Away { .. } if scene.state.seen == 0 => ("reconnecting…".to_owned(), Tone::Bad),
        Link::Away { .. } => {
            let seconds = scene.now.saturating_sub(scene.state.seen) / 1000;
            let ago = duration(std::time::Duration::from_secs(seconds.max(1)).as_secs_f64());
            (format!("reconnecting… last seen {ago} ago"), Tone::Bad)
        }
    };
    let word = format!("{word} {} ", scene.address);
    let used = name.chars().count() + word.chars().count();
    let gap = " ".repeat(usize::from(width).saturating_sub(used).max(1));
    vec![
        Span::styled(name, theme.style(Tone::Title)),
        Span::raw(gap),
        Span::styled(word, theme.style(tone)),
    ]
    .into()
}

/// The health, and why, in as many lines as that takes of so many columns, and so many at most.
pub(super) fn verdict(scene: &Scene<'_>, columns: u16, lines_max: u16) -> Vec<Line<'static>> {
    let (word, reason, tone) = match (scene.link, &scene.state.status) {
        (Link::Away { why, answers }, _) => {
            let why = text::shown(why);
            let why = match scene.state.seen {
                _ if *answers => why.into_owned(),
                0 => format!("no answer yet: {why}"),
                seen => {
                    let seen = Timestamp::from_millis(seen).to_string();
                    format!("no answer since {}: {why}", time(&seen))
                }
            };
            ("unreachable".to_owned(), why, Tone::Bad)
        }
        (_, None) => ("waiting".to_owned(), "the gateway is asked".to_owned(), Tone::Near),
        (_, Some(status)) => {
            let health = said(status, "health");
            let reason = match said(status, "reason") {
                none if none.is_empty() => ALL_IS_WELL.to_owned(),
                reason => reason,
            };
            let tone = if status["ready"] == true { Tone::Good } else { Tone::Bad };
            (health, reason, tone)
        }
    };
    let text = format!("{word}: {reason}");
    let lines = wrapped(&text, usize::from(columns), usize::from(lines_max));
    let style = scene.theme.style(tone);
    let line = |line: String| match line.strip_prefix(&format!(" {word}:")) {
        Some(rest) => {
            let word = Span::styled(format!(" {word}"), style);
            vec![word, Span::raw(format!(":{rest}"))].into()
        }
        None => Line::raw(line),
    };
    lines.into_iter().map(line).collect()
}

/// received = delivered + dead-lettered + shed + held.
pub(super) fn balance(scene: &Scene<'_>, status: &Value, width: u16) -> Paragraph<'static> {
    let books = &status["balance"];
    let columns = [
        ("received", "received", " "),
        ("delivered", "delivered", "="),
        ("deadLettered", "dead-lettered", "+"),
        ("shed", "shed", "+"),
        ("held", "held", "+"),
    ];
    let room = (usize::from(width) / columns.len()).saturating_sub(3);
    let mut lines = [String::new(), String::new(), String::new()];
    let [values, names, rates] = &mut lines;
    for (column, name, sign) in columns {
        let below = match column {
            "held" if whole(books, "spooled") > 0 => {
                format!("{} on disk", number(whole(books, "spooled")))
            }
            _ => scene.state.rates.get(column).map(|it| rate(*it)).unwrap_or_default(),
        };
        *values = format!("{values}{sign:>2} {:>room$}", number(whole(books, column)));
        *names = format!("{names}   {name:>room$}");
        *rates = format!("{rates}   {below:>room$}");
    }
    let [values, names, rates] = lines;
    let theme = scene.theme;
    Paragraph::new(vec![
        Line::styled(values, theme.style(Tone::Title)),
        Line::raw(names),
        Line::styled(rates, theme.style(Tone::Dim)),
    ])
    .alignment(Alignment::Left)
}
