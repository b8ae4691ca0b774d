//! How numbers, times and texts are written, as on the page.

use serde_json::Value;

use crate::clock::Timestamp;
use crate::text;

/// A whole number, with commas between its thousands.
pub(super) fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut shown = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// Readings a second.
pub(super) fn rate(value: f64) -> String {
    format!("{}/s", short(value))
}

/// With one digit behind the point where it is below ten, and that is not 0.
fn short(value: f64) -> String {
    let one = format!("{value:.1}");
    if value >= 10.0 { number(floor(value.round())) } else { one.trim_end_matches(".0").to_owned() }
}

pub(super) fn bytes(value: u64) -> String {
    let (mut value, mut unit) = (float(value), "B");
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, larger);
    }
    format!("{} {unit}", short(value))
}

/// A time in its two largest units.
pub(super) fn duration(seconds: f64) -> String {
    if seconds < 0.001 {
        return "0 s".to_owned();
    }
    if seconds < 1.0 {
        return format!("{} ms", short(seconds * 1000.0));
    }
    if seconds < 10.0 {
        return format!("{} s", short(seconds));
    }
    let (mut left, mut words) = (floor(seconds), Vec::new());
    for (size, unit) in [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")] {
        let count = left / size;
        left -= count * size;
        if count > 0 {
            words.push(format!("{count} {unit}"));
        } else if !words.is_empty() {
            break;
        }
    }
    words.truncate(2);
    words.join(" ")
}

/// How long ago a time of the gateway was, by its clock.
pub(super) fn ago(at: Option<&str>, now: u64) -> String {
    let Some(at) = at.and_then(Timestamp::parse) else { return "none yet".to_owned() };
    match now.saturating_sub(at.millis()) / 1000 {
        0 => "now".to_owned(),
        seconds => format!("{} ago", duration(float(seconds))),
    }
}

/// The time of day of a moment, in UTC.
pub(super) fn time(at: &str) -> String {
    let Some(at) = Timestamp::parse(at) else { return text::shown(at).into_owned() };
    let text = at.to_string();
    format!("{}Z", text.get(11..19).unwrap_or(&text))
}

/// As a number of floating point: only its first digits are shown.
#[expect(clippy::cast_precision_loss, reason = "what is lost is not shown")]
pub(super) fn float(value: u64) -> f64 {
    value as f64
}

/// Without what is behind the point; 0 for what is below.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "this is what it is for"
)]
pub(super) fn floor(value: f64) -> u64 {
    value as u64
}

/// So many things.
pub(super) fn count(value: u64, one: &str) -> String {
    format!("{} {one}{}", number(value), if value == 1 { "" } else { "s" })
}

/// A text in lines of so many characters, broken between words, and within one where that has no room in a line.
pub(super) fn lines(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let letters: Vec<char> = word.chars().collect();
        let fits = |line: &String| line.chars().count() + 1 + letters.len() <= width;
        let parts = || letters.chunks(width.max(1)).map(|it| it.iter().collect::<String>());
        match lines.last_mut().filter(|line| fits(line)) {
            Some(line) => line.extend([" ", word]),
            None => lines.extend(parts()),
        }
    }
    lines
}

/// The same behind a blank each, in so many columns, and so many lines at most: one that has no room ends with `…`.
pub(super) fn wrapped(text: &str, columns: usize, lines_max: usize) -> Vec<String> {
    let room = columns.max(2) - 1;
    let mut lines = lines(text, room);
    let is_cut = lines.len() > lines_max;
    lines.truncate(lines_max);
    if let Some(last) = lines.last_mut().filter(|_| is_cut) {
        *last = last.chars().take(room - 1).chain(['…']).collect();
    }
    lines.into_iter().map(|line| format!(" {line}")).collect()
}

/// A text of a person at the keys, made safe.
pub(super) fn safe(text: &str) -> String {
    text::shown(text).into_owned()
}

/// A member; null where there is none.
pub(super) fn member<'a>(of: &'a Value, name: &str) -> &'a Value {
    of.get(name).unwrap_or(&Value::Null)
}

/// A member that is text, made safe; empty where there is none.
pub(super) fn said(of: &Value, name: &str) -> String {
    member(of, name).as_str().map(|it| text::shown(it).into_owned()).unwrap_or_default()
}

/// A member that is a whole number; 0 where there is none.
pub(super) fn whole(of: &Value, name: &str) -> u64 {
    member(of, name).as_u64().unwrap_or_default()
}

/// A member that is a number; 0 where there is none.
pub(super) fn real(of: &Value, name: &str) -> f64 {
    member(of, name).as_f64().unwrap_or_default()
}

/// The rows of a member that is a list.
pub(super) fn rows<'a>(of: &'a Value, name: &str) -> &'a [Value] {
    member(of, name).as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_read_as_on_the_page() {
        assert_eq!([0, 999, 1000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.0, 9.94, 12.6, 12345.6].map(rate), ["0/s", "9.9/s", "13/s", "12,346/s"]);
        assert_eq!([0, 1023, 1536, 64 << 20].map(bytes), ["0 B", "1,023 B", "1.5 KiB", "64 MiB"]);
        let times = [0.0, 0.0123, 0.5, 3.21, 61.0, 3600.0, 90_061.0];
        let shown = ["0 s", "12 ms", "500 ms", "3.2 s", "1 min 1 s", "1 h", "1 d 1 h"];
        assert_eq!(times.map(duration), shown);
        let now = Timestamp::parse("2026-11-22T07:30:50.000Z").unwrap().millis();
        assert_eq!(ago(Some("2026-11-22T07:29:45.500Z"), now), "1 min 4 s ago");
        assert_eq!(
            [ago(None, now), ago(Some("2026-11-22T07:31:00.000Z"), now)],
            ["none yet", "now"]
        );
        assert_eq!(time("2026-11-22T07:30:50.601Z"), "07:30:50Z");
        assert_eq!(time("\u{1b}[31m"), "\\u{1b}[31m");
    }

    #[test]
    fn text_is_cut_between_words() {
        assert_eq!(lines("aa bb cccc d", 5), ["aa bb", "cccc", "d"]);
    }

    #[test]
    fn a_long_text_is_wrapped_and_only_what_has_no_room_is_cut() {
        for (text, lines_max, lines) in [
            ("ready: all is well", 2, &[" ready: all", " is well"][..]),
            ("ready", 2, &[" ready"]),
            ("a 0123456789abcdef b", 9, &[" a", " 0123456789a", " bcdef b"]),
            ("one two three four five six", 2, &[" one two", " three four…"]),
            ("", 2, &[]),
        ] {
            assert_eq!(wrapped(text, 12, lines_max), lines, "{text}");
        }
    }
}
