//! Limits as gauges, with what happens at each in words.

use ratatui::text::{Line, Span};
use serde_json::Value;

use crate::ops::top::theme::{Theme, Tone};
use crate::ops::top::words::{bytes, lines as in_lines, number, rows, said, whole};

/// A limit: its metric, its name, what happens there in few words, and in more.
struct Known(&'static str, &'static str, &'static str, &'static str);

/// Those in the first look, and then the others. `batch_records`: to be full is its work.
const KNOWN: [Known; 13] = [
    Known(
        "queue_records",
        "Queue",
        "reading stops",
        "the gateway stops reading: QoS 1 waits at the broker, queue.on_full decides for QoS 0",
    ),
    Known("queue_bytes", "Queue, bytes", "reading stops", "as for the queue's records"),
    Known(
        "window_batches",
        "Window",
        "publishing waits",
        "nothing more is published until the output acknowledges; records wait in the queue",
    ),
    Known("spool_bytes", "Spool", "sources wait", "sources wait, as if there were no spool"),
    Known(
        "sensors",
        "Sensors",
        "quietest goes",
        "the sensor that was quiet for longest is forgotten; where none can be, further ones are counted with their entry",
    ),
    Known(
        "memory_bytes",
        "Memory",
        "above the bound",
        "the process holds more than was computed from its settings",
    ),
    Known(BATCH, "Open batch", "it is sealed", "the batch is sealed and published"),
    Known(
        "window_dead_letters",
        "Letters in flight",
        "they wait",
        "further dead letters wait, and what they came from acknowledges no more",
    ),
    Known(
        "waiting_dead_letters",
        "Letters that wait",
        "the queue is full",
        "they keep their places in the queue: it is full then",
    ),
    Known(
        "spool_waiting_batches",
        "Wait for the disk",
        "sealing waits",
        "nothing more is sealed until they are written",
    ),
    Known(
        "http_connections",
        "HTTP connections",
        "the oldest closes",
        "a further one closes the one with the oldest last request",
    ),
    Known(
        "http_answers",
        "HTTP answers",
        "503",
        "further requests get 503; health is always answered",
    ),
    Known(
        "http_streams",
        "HTTP streams",
        "503",
        "a further one gets 503: it asks each second instead",
    ),
];

const BATCH: &str = "batch_records";

/// How many of them are in the first look anyway.
const FIRST: usize = 6;

/// A share of a limit from which on it is marked, in parts of 100.
const NEAR: u64 = 80;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Free,
    Near,
    Full,
}

fn level(limit: &Value) -> Level {
    let (value, max) = (whole(limit, "value"), whole(limit, "max"));
    match limit["name"] == BATCH || max == 0 || value < share(max, NEAR) {
        true => Level::Free,
        false if value < max => Level::Near,
        false => Level::Full,
    }
}

/// So many hundredths.
fn share(of: u64, hundredths: u64) -> u64 {
    of / 100 * hundredths + of % 100 * hundredths / 100
}

fn known(limit: &Value) -> Option<(usize, &'static Known)> {
    KNOWN.iter().enumerate().find(|it| limit["name"] == it.1.0)
}

/// The limits in their order.
fn sorted(status: &Value) -> Vec<&Value> {
    let mut all: Vec<_> = rows(status, "limits").iter().collect();
    all.sort_by_key(|it| known(it).map_or(KNOWN.len(), |it| it.0));
    all
}

/// How many are full, or near it.
pub(super) fn count(status: &Value) -> Option<String> {
    let of = |wanted| rows(status, "limits").iter().filter(|it| level(it) == wanted).count();
    match (of(Level::Full), of(Level::Near)) {
        (0, 0) => None,
        (full, near) => Some((full + near).to_string()),
    }
}

/// Those to be seen in one look: what is near its limit first.
pub(super) fn first(theme: Theme, status: &Value, width: u16) -> Vec<Line<'static>> {
    let mut all = sorted(status);
    all.retain(|it| level(it) > Level::Free || known(it).is_some_and(|it| it.0 < FIRST));
    all.sort_by_key(|it| std::cmp::Reverse(level(it)));
    all.into_iter().map(|it| short(theme, it, width)).collect()
}

/// A line of it, with what happens there. What is too long for a narrow screen is cut off.
fn short(theme: Theme, limit: &Value, width: u16) -> Line<'static> {
    let (name, few) = names(limit);
    let bar = bar(limit, if width >= 60 { 16 } else { 5 });
    let (value, max) = amounts(limit);
    // Both in one unit: said once.
    let value = match (value.split_once(' '), max.split_once(' ')) {
        (Some((number, unit)), Some((_, same))) if unit == same => number.to_owned(),
        _ => value,
    };
    let rest = format!(" {value}/{max} {few}");
    vec![Span::raw(format!("{name:<13}")), Span::styled(bar, tone(theme, limit)), Span::raw(rest)]
        .into()
}

fn tone(theme: Theme, limit: &Value) -> ratatui::style::Style {
    theme.style(match level(limit) {
        Level::Free => Tone::Good,
        Level::Near => Tone::Near,
        Level::Full => Tone::Bad,
    })
}

fn names(limit: &Value) -> (String, &'static str) {
    match known(limit) {
        Some((_, Known(_, name, few, _))) => ((*name).to_owned(), few),
        None => (said(limit, "name"), ""),
    }
}

fn amounts(limit: &Value) -> (String, String) {
    let is_bytes = limit["name"].as_str().is_some_and(|it| it.ends_with("_bytes"));
    let shown = if is_bytes { bytes } else { number };
    (shown(whole(limit, "value")), shown(whole(limit, "max")))
}

fn bar(limit: &Value, width: u64) -> String {
    let (value, max) = (whole(limit, "value"), whole(limit, "max").max(1));
    let full = (value.min(max).saturating_mul(width) / max).max(u64::from(value > 0));
    let cells = (0..width).map(|at| if at < full { '█' } else { '░' });
    cells.collect()
}

/// All of them, with what happens at each.
pub(super) fn whole_lines(theme: Theme, status: &Value, width: u16) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for limit in sorted(status) {
        let (name, _) = names(limit);
        let (value, max) = amounts(limit);
        let from = said(limit, "from");
        let word = match level(limit) {
            Level::Free => "",
            Level::Near => "  near",
            Level::Full => "  full",
        };
        lines.push(
            vec![
                Span::styled(format!("{name:<18}"), theme.style(Tone::Title)),
                Span::styled(bar(limit, 16), tone(theme, limit)),
                Span::raw(format!(" {value} of {max}{word}  {from}")),
            ]
            .into(),
        );
        let effect = known(limit).map_or("", |it| it.1.3);
        for text in in_lines(&format!("when full: {effect}"), usize::from(width).saturating_sub(2))
        {
            lines.push(Line::styled(format!("  {text}"), theme.style(Tone::Dim)));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_limit_is_marked_from_80_of_100_on() {
        let limit = |value, max| json!({ "name": "queue_records", "value": value, "max": max });
        for (value, max, expected) in [
            (0_u64, 10_u64, Level::Free),
            (79, 100, Level::Free),
            (80, 100, Level::Near),
            (10, 10, Level::Full),
            (12, 10, Level::Full),
            (u64::MAX - 1, u64::MAX, Level::Near),
            (1, 0, Level::Free),
        ] {
            assert_eq!(level(&limit(value, max)), expected, "{value} of {max}");
        }
        assert_eq!(level(&json!({ "name": BATCH, "value": 10, "max": 10 })), Level::Free);
        assert_eq!([bar(&limit(0, 9), 4), bar(&limit(1, 1000), 4)], ["░░░░", "█░░░"]);
        assert_eq!([bar(&limit(5, 10), 4), bar(&limit(12, 10), 4)], ["██░░", "████"]);
    }
}
