//! Numbers that were sent as text: `"21.5"`, `21,5 °C`, `+5`.

use super::keys::Decimal;
use crate::codec::strict::DIGITS_MAX;

/// A number as JSON writes it (RFC 8259 §6), and the unit behind it; `None` where the text is none.
pub(super) fn number(text: &str, decimal: Decimal) -> Option<(String, &str)> {
    let text = text.trim();
    let (sign, unsigned) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (if text.starts_with('-') { "-" } else { "" }, rest),
        None => ("", text),
    };
    let (point, groups) = match decimal {
        Decimal::Point => ('.', None),
        Decimal::Comma => (',', Some('.')),
    };
    let end = unsigned.find(|c: char| !(c.is_ascii_digit() || Some(c) == groups));
    let (whole, rest) = unsigned.split_at(end.unwrap_or(unsigned.len()));
    let (fraction, rest) = match rest.strip_prefix(point) {
        Some(behind) => digits(behind),
        None => ("", rest),
    };
    let whole: String = whole.chars().filter(char::is_ascii_digit).collect();
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let (exponent, unit) = exponent(rest);
    let unit = unit.trim_start();
    if !is_unit(unit) {
        return None;
    }
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        whole => whole,
    };
    let point = if fraction.is_empty() { "" } else { "." };
    let number = format!("{sign}{whole}{point}{fraction}{exponent}");
    // As in JSON: a number that no double can hold makes a batch unreadable to many.
    let is_short = number.len() <= DIGITS_MAX;
    let is_finite = exponent.is_empty() || number.parse().is_ok_and(f64::is_finite);
    (is_short && is_finite).then_some((number, unit))
}

/// Letters of a unit.
const UNIT_CHARS_MAX: usize = 16;

/// Whether a text is one short word, as units are: `°C`, `m3/h`, `W/m²`. Its only digits are 2 and 3 behind a letter: so
/// `0x1F`, `12:30`, `3 of 5`, `1d 4h` and `31N7.4`, of which a figure was not read, are no numbers.
fn is_unit(text: &str) -> bool {
    let mut before = None;
    let fits = |c: char| {
        let is_power = matches!(c, '2' | '3') && before.is_some_and(char::is_alphabetic);
        let is_sign = matches!(c, '%' | '°' | '‰' | '²' | '³' | '"' | '\'');
        let joins = matches!(c, '/' | '·' | '*' | '^' | '-') && before.is_some();
        before = Some(c);
        c.is_alphabetic() || is_sign || is_power || joins
    };
    text.chars().count() <= UNIT_CHARS_MAX
        && text.chars().all(fits)
        && !text.starts_with(['x', 'X'])
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// An exponent at the beginning of a text: it has digits.
fn exponent(text: &str) -> (&str, &str) {
    let Some(behind) = text.strip_prefix(['e', 'E']) else { return ("", text) };
    let (found, _) = digits(behind.strip_prefix(['-', '+']).unwrap_or(behind));
    let sign = behind.len() - behind.strip_prefix(['-', '+']).unwrap_or(behind).len();
    let bytes = if found.is_empty() { 0 } else { 1 + sign + found.len() };
    text.split_at(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_beyond_any_range_is_none() {
        let number = |text: &str| number(text, Decimal::Point).map(|it| it.0);
        assert_eq!(number("1e308").as_deref(), Some("1e308"));
        let (most, more) = ("9".repeat(DIGITS_MAX), "9".repeat(DIGITS_MAX + 1));
        assert_eq!(number(&most), Some(most));
        for text in ["1e309", "-1e999 V", &more, &format!("0.{}", "1".repeat(5000))] {
            assert_eq!(number(text), None, "{text}");
        }
    }

    #[test]
    fn a_number_that_is_a_text_becomes_one_and_its_unit_is_told() {
        use Decimal::{Comma, Point};
        for (text, decimal, expected) in [
            ("21.5", Point, Some(("21.5", ""))),
            (" +5 ", Point, Some(("5", ""))),
            (".5", Point, Some(("0.5", ""))),
            ("5.", Point, Some(("5", ""))),
            ("-007.50 °C", Point, Some(("-7.50", "°C"))),
            ("21.5%", Point, Some(("21.5", "%"))),
            ("1.5e-3 V", Point, Some(("1.5e-3", "V"))),
            ("5 eV", Point, Some(("5", "eV"))),
            ("5eV", Point, Some(("5", "eV"))),
            ("21,5", Comma, Some(("21.5", ""))),
            ("1.234,5 kWh", Comma, Some(("1234.5", "kWh"))),
            ("12 m3/h", Point, Some(("12", "m3/h"))),
            ("3 W/m²", Point, Some(("3", "W/m²"))),
            ("7 mg/l", Point, Some(("7", "mg/l"))),
            ("31N7.3988", Point, None),
            ("4 minutes 32 seconds", Point, None),
            ("1d 4h", Point, None),
            ("3 of 5", Point, None),
            ("1355.9\tRate too high", Point, None),
            ("5 m4", Point, None),
            ("5 -", Point, None),
            ("5 abcdefghijklmnopq", Point, None),
            ("21,5", Point, None),
            ("0x1F", Point, None),
            ("12:30", Point, None),
            ("1.2.3", Point, None),
            ("2026-11-03", Point, None),
            ("open", Point, None),
            ("", Point, None),
            ("-", Point, None),
        ] {
            let found = number(text, decimal);
            let found = found.as_ref().map(|(number, unit)| (&**number, *unit));
            assert_eq!(found, expected, "{text}");
            if let Some((number, _)) = found {
                assert!(serde_json::from_str::<f64>(number).is_ok(), "{number}");
            }
        }
    }
}
