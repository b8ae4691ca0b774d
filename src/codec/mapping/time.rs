//! A sensor's own time, in whatever form it was sent, as RFC 3339 in UTC with the digits that were sent. Pure.
//!
//! | form | examples |
//! | --- | --- |
//! | RFC 3339, and what comes near it | `2026-11-03T19:34:28Z`, `2026-11-03 19:34:28,5 +0100`, `2026-11-03t19:34z` |
//! | RFC 2822 | `Tue, 03 Nov 2026 19:34:28 GMT` |
//! | time since 1970, a number or its text | `1732269000`, `"1732269000.5"`, `1732269000123` |
//! | a local time, of the zone that is set | `2026-11-03T19:34:28` |
//! | a time of day there, of the day that makes it nearest to the receipt | `19:34:28` |
//!
//! Seconds, milliseconds, microseconds and nanoseconds since 1970 are told apart by their magnitude, unless the
//! format says which: below 10¹¹ they are seconds (up to the year 5138), below 10¹⁴ milliseconds, below 10¹⁷
//! microseconds.
//!
//! A local time that a change of the clocks leaves out is taken as if they had not changed yet (02:30 becomes 03:30);
//! of one that comes twice, the first is taken. That is what RFC 5545 §3.3.5 asks of calendars.
//!
//! What is not plausible is not used: a device without a clock says 1970.

use jiff::civil::{Date, DateTime, Time};
use jiff::fmt::rfc2822;
use jiff::tz::{Offset, TimeZone};

use super::time_keys::{Plausible, TimeFormat};
use crate::clock::Timestamp;

/// Bytes of a text that may be a time. A longer one is none.
pub const TIME_BYTES_MAX: usize = 64;

/// Why a time is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It is in none of the forms, or not in the one that is set.
    #[error("it is no time that can be read")]
    Unreadable,
    /// It is before `plausible.since`.
    #[error("it is before `plausible.since`")]
    Early,
    /// It is later than the receipt by more than `plausible.ahead_max`.
    #[error("it is later than its receipt by more than `plausible.ahead_max`")]
    Late,
}

/// Reads the times of one entry.
#[derive(Debug, Clone)]
pub struct Times {
    format: TimeFormat,
    zone: TimeZone,
    plausible: Plausible,
    window: Window,
    /// The last second that was written and plausible: those that come together mostly share it.
    last: Option<Last>,
}

/// A second that was plausible, and its texts.
#[derive(Debug, Clone, Copy)]
struct Last {
    second: i64,
    seconds: Seconds,
    /// The number of which it was read, if it was one without a point: how many digits it has, and its first ones,
    /// which are the second's. The others are those behind the point.
    number: Option<(usize, [u8; SECOND_DIGITS])>,
}

/// Digits of a second since 1970, from 2001 to 2286.
const SECOND_DIGITS: usize = 10;

/// A second in UTC: `2026-11-03T19:34:28`.
type Seconds = [u8; 19];

/// The plausible times as text, which compare as they are: RFC 3339 in UTC, up to the seconds. Made again when the
/// second of the receipt changes.
#[derive(Debug, Clone, Default)]
struct Window {
    received: Option<u64>,
    since: Seconds,
    until: Seconds,
}

/// A moment: its second since 1970, and what the sender wrote behind the decimal point, in two pieces.
#[derive(Debug, PartialEq, Eq)]
struct Moment<'a> {
    second: i64,
    digits: [&'a str; 2],
}

impl Times {
    /// Of an entry with these settings.
    pub fn new(format: TimeFormat, zone: &TimeZone, plausible: Plausible) -> Self {
        Self { format, zone: zone.clone(), plausible, window: Window::default(), last: None }
    }

    /// Reads a time that came with a message that was received then, and appends it as a JSON string.
    pub fn read(
        &mut self,
        text: &str,
        received: Timestamp,
        out: &mut Vec<u8>,
    ) -> Result<(), Unusable> {
        if self.window.renew(received, &self.plausible) {
            self.last = None;
        }
        if matches!(self.format, TimeFormat::Auto | TimeFormat::Rfc3339)
            && let Some(seconds) = canonical(text)
        {
            // As most send it, and as it is written: it compares as text.
            self.window.judge(seconds)?;
            for part in [b"\"", text.as_bytes(), b"\""] {
                out.extend_from_slice(part);
            }
            return Ok(());
        }
        if let Some((seconds, digits)) = self.last.as_ref().and_then(|it| it.again(text)) {
            write(out, seconds, [digits, ""]);
            return Ok(());
        }
        if text.len() > TIME_BYTES_MAX {
            return Err(Unusable::Unreadable);
        }
        let moment = self.moment(text.trim(), received).ok_or(Unusable::Unreadable)?;
        let seconds = self.seconds(moment.second)?;
        write(out, &seconds, moment.digits);
        let number = number(text, &moment);
        self.last = Some(Last { second: moment.second, seconds, number });
        Ok(())
    }

    /// A second as it is written, if it is plausible.
    fn seconds(&self, second: i64) -> Result<Seconds, Unusable> {
        if let Some(last) = self.last.filter(|it| it.second == second) {
            return Ok(last.seconds);
        }
        let seconds = utc(second).ok_or(Unusable::Unreadable)?;
        self.window.judge(&seconds)?;
        Ok(seconds)
    }

    fn moment<'a>(&self, text: &'a str, received: Timestamp) -> Option<Moment<'a>> {
        match self.format {
            TimeFormat::Auto => unix(text, None)
                .or_else(|| self.civil(text, None))
                .or_else(|| self.time_of_day(text, received))
                .or_else(|| rfc_2822(text)),
            TimeFormat::Rfc3339 => self.civil(text, Some(true)),
            TimeFormat::Rfc2822 => rfc_2822(text),
            TimeFormat::Unix => unix(text, Some(0)),
            TimeFormat::UnixMs => unix(text, Some(3)),
            TimeFormat::UnixUs => unix(text, Some(6)),
            TimeFormat::UnixNs => unix(text, Some(9)),
            TimeFormat::Local => self.civil(text, Some(false)),
            TimeFormat::TimeOfDay => self.time_of_day(text, received),
        }
    }

    /// A date and a time of day; with an offset or not, where that is asked for.
    fn civil<'a>(&self, text: &'a str, with_offset: Option<bool>) -> Option<Moment<'a>> {
        let (date, rest) = text.split_at_checked(10)?;
        let rest = rest.strip_prefix(['T', 't', ' ', '_'])?;
        let clock = Clock::parse(rest)?;
        let local = DateTime::from_parts(parse_date(date)?, clock.time);
        let offset = match clock.rest.trim() {
            "" => None,
            "Z" | "z" | "UTC" | "GMT" => Some(Offset::UTC),
            offset => Some(parse_offset(offset)?),
        };
        if with_offset.is_some_and(|it| it != offset.is_some()) {
            return None;
        }
        let second = match offset {
            Some(offset) => offset.to_timestamp(local).ok()?.as_second(),
            None => self.second_of(local)?,
        };
        Some(Moment { second: second + clock.leap, digits: [clock.digits, ""] })
    }

    /// The second of a local time.
    fn second_of(&self, local: DateTime) -> Option<i64> {
        let timestamp = self.zone.to_ambiguous_timestamp(local).compatible().ok()?;
        Some(timestamp.as_second())
    }

    fn time_of_day<'a>(&self, text: &'a str, received: Timestamp) -> Option<Moment<'a>> {
        let clock = Clock::parse(text).filter(|it| it.rest.is_empty())?;
        let at = jiff::Timestamp::from_millisecond(received.millis().try_into().ok()?).ok()?;
        let today = self.zone.to_datetime(at).date();
        let days = [today.yesterday().ok(), Some(today), today.tomorrow().ok()];
        let seconds = days.into_iter().flatten();
        let seconds =
            seconds.filter_map(|day| self.second_of(DateTime::from_parts(day, clock.time)));
        let nearest = seconds.min_by_key(|second| second.abs_diff(at.as_second()))?;
        Some(Moment { second: nearest + clock.leap, digits: [clock.digits, ""] })
    }
}

impl Last {
    /// The second and the digits behind it, if a text is a number of as many digits, and of the same second.
    fn again<'a>(&self, text: &'a str) -> Option<(&Seconds, &'a str)> {
        let (_, first) = self.number.filter(|it| it.0 == text.len())?;
        let (these, behind) = text.split_at_checked(SECOND_DIGITS)?;
        let is_same = these.as_bytes() == first && behind.bytes().all(|it| it.is_ascii_digit());
        is_same.then_some((&self.seconds, behind))
    }
}

/// What a number of which a moment was read has in common with all of its second.
fn number(text: &str, moment: &Moment<'_>) -> Option<(usize, [u8; SECOND_DIGITS])> {
    let (first, behind) = text.as_bytes().split_first_chunk()?;
    let is_number = text.bytes().all(|it| it.is_ascii_digit());
    (is_number && moment.digits == [std::str::from_utf8(behind).ok()?, ""])
        .then_some((text.len(), *first))
}

/// Appends a time as a JSON string.
fn write(out: &mut Vec<u8>, seconds: &Seconds, [first, second]: [&str; 2]) {
    out.push(b'"');
    out.extend_from_slice(seconds);
    if !(first.is_empty() && second.is_empty()) {
        out.push(b'.');
        out.extend_from_slice(first.as_bytes());
        out.extend_from_slice(second.as_bytes());
    }
    out.extend_from_slice(b"Z\"");
}

impl Window {
    /// Whether it was made again.
    fn renew(&mut self, received: Timestamp, plausible: &Plausible) -> bool {
        let second = received.millis() / 1000;
        if self.received == Some(second) {
            return false;
        }
        let until = second.saturating_add(plausible.ahead_max.0.as_secs());
        // Beyond the last year that can be written everything is plausible.
        self.until = i64::try_from(until).ok().and_then(utc).unwrap_or(*b"9999-12-31T23:59:59");
        self.since = utc(plausible.since.second()).expect("a day that was read has four digits");
        self.received = Some(second);
        true
    }

    fn judge(&self, seconds: &Seconds) -> Result<(), Unusable> {
        if *seconds < self.since {
            return Err(Unusable::Early);
        }
        if *seconds > self.until { Err(Unusable::Late) } else { Ok(()) }
    }
}

/// A time of day at the beginning of a text.
struct Clock<'a> {
    time: Time,
    /// 1 for a leap second (`23:59:60`), which is the first second of the next minute.
    leap: i64,
    digits: &'a str,
    /// What stands behind it.
    rest: &'a str,
}

impl<'a> Clock<'a> {
    /// `hh:mm`, `hh:mm:ss`, and digits behind a point or a comma.
    fn parse(text: &'a str) -> Option<Self> {
        let (hour, rest) = two_digits(text)?;
        let (minute, rest) = two_digits(rest.strip_prefix(':')?)?;
        let (second, rest) = match rest.strip_prefix(':') {
            Some(rest) => two_digits(rest)?,
            None => (0, rest),
        };
        let leap = i64::from(second == 60);
        let time =
            Time::new(hour, minute, second.min(if second == 60 { 59 } else { second }), 0).ok()?;
        let (digits, rest) = match rest.strip_prefix(['.', ',']) {
            Some(rest) => {
                let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
                rest.split_at_checked(end).filter(|(digits, _)| !digits.is_empty())?
            }
            None => ("", rest),
        };
        Some(Self { time, leap, digits, rest })
    }
}

fn two_digits(text: &str) -> Option<(i8, &str)> {
    let (digits, rest) = text.split_at_checked(2)?;
    let is_number = digits.bytes().all(|it| it.is_ascii_digit());
    is_number.then(|| digits.parse().ok().map(|it| (it, rest)))?
}

/// `yyyy-mm-dd`.
fn parse_date(text: &str) -> Option<Date> {
    let (year, rest) = text.split_once('-')?;
    let (month, rest) = two_digits(rest)?;
    let (day, rest) = two_digits(rest.strip_prefix('-')?)?;
    let is_year = year.len() == 4 && year.bytes().all(|it| it.is_ascii_digit());
    (is_year && rest.is_empty()).then(|| Date::new(year.parse().ok()?, month, day).ok())?
}

/// `+hh`, `+hhmm` or `+hh:mm`.
fn parse_offset(text: &str) -> Option<Offset> {
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, rest) = two_digits(rest)?;
    let (minutes, rest) = match rest.strip_prefix(':').unwrap_or(rest) {
        "" => (0, ""),
        rest => two_digits(rest)?,
    };
    if minutes > 59 || !rest.is_empty() {
        return None;
    }
    Offset::from_seconds(sign * (i32::from(hours) * 3600 + i32::from(minutes) * 60)).ok()
}

fn rfc_2822(text: &str) -> Option<Moment<'_>> {
    let parser = rfc2822::DateTimeParser::new().relaxed_weekday(true);
    let timestamp = parser.parse_timestamp(text).ok()?;
    Some(Moment { second: timestamp.as_second(), digits: ["", ""] })
}

/// Time since 1970, in units of 10 to the power of minus `digits` seconds; `None`: its magnitude tells.
fn unix(text: &str, digits: Option<usize>) -> Option<Moment<'_>> {
    let (mut whole_number, mut end) = (0_u64, 0);
    for byte in text.bytes().take_while(u8::is_ascii_digit) {
        whole_number = whole_number.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?;
        end += 1;
    }
    let (whole, rest) = text.split_at(end);
    let fraction = match rest.strip_prefix('.') {
        _ if rest.is_empty() && end > 0 => "",
        Some(fraction) if end > 0 && fraction.bytes().all(|byte| byte.is_ascii_digit()) => fraction,
        // Before 1970 there are no sensors; the digits would count backwards.
        None if end == 0 => {
            let second = rest.parse().ok().filter(|second| *second < 0)?;
            return digits.is_none_or(|it| it == 0).then_some(Moment { second, digits: ["", ""] });
        }
        _ => return None,
    };
    let (digits, units) = match digits {
        Some(digits) => (digits, 10_u64.pow(u32::try_from(digits).ok()?)),
        None => unit_of(whole_number),
    };
    // In small units the last digits of the number are those behind the point of its seconds.
    let behind = whole.get(end.checked_sub(digits)?..)?;
    let second = (whole_number / units).try_into().ok()?;
    Some(Moment { second, digits: [behind, fraction] })
}

/// The unit that the magnitude of a number tells: digits behind the point of its seconds, and how many make a second.
pub(super) const fn unit_of(number: u64) -> (usize, u64) {
    match number {
        0..100_000_000_000 => (0, 1),
        100_000_000_000..100_000_000_000_000 => (3, 1000),
        100_000_000_000_000..100_000_000_000_000_000 => (6, 1_000_000),
        _ => (9, 1_000_000_000),
    }
}

/// A second since 1970 in UTC. `None` where its year has not four digits.
fn utc(second: i64) -> Option<Seconds> {
    let local = Offset::UTC.to_datetime(jiff::Timestamp::from_second(second).ok()?);
    let (date, time) = (local.date(), local.time());
    let year = u8::try_from(date.year() / 100).ok().zip(u8::try_from(date.year() % 100).ok());
    let (century, year) = year.filter(|it| it.0 < 100)?;
    let two = |number: u8| [b'0' + number / 10, b'0' + number % 10];
    let part = |number: i8| two(number.unsigned_abs());
    let ([c1, c2], [y1, y2]) = (two(century), two(year));
    let ([m1, m2], [d1, d2]) = (part(date.month()), part(date.day()));
    let ([h1, h2], [n1, n2], [s1, s2]) =
        (part(time.hour()), part(time.minute()), part(time.second()));
    Some([c1, c2, y1, y2, b'-', m1, m2, b'-', d1, d2, b'T', h1, h2, b':', n1, n2, b':', s1, s2])
}

/// Whether a text is a time as it is written, `2026-11-03T19:34:28.5Z`: returns what stands before the digits.
fn canonical(text: &str) -> Option<&Seconds> {
    let (seconds, rest) = text.strip_suffix('Z')?.as_bytes().split_first_chunk::<19>()?;
    let shape = seconds.iter().copied().zip(*b"0000-00-00T00:00:00");
    let fits = |(byte, wanted): (u8, u8)| {
        if wanted == b'0' { byte.is_ascii_digit() } else { byte == wanted }
    };
    if !shape.into_iter().all(fits) || text.len() > TIME_BYTES_MAX {
        return None;
    }
    let digits = if rest.is_empty() { b"0" } else { rest.strip_prefix(b".")? };
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let [_, _, _, _, _, m1, m2, _, d1, d2, _, h1, h2, _, n1, n2, _, s1, s2] = *seconds;
    let two = |tens: u8, ones: u8| 10 * (tens - b'0') + (ones - b'0');
    // Days that not each month has are left to the calendar.
    let in_range = (1..=12).contains(&two(m1, m2))
        && (1..=28).contains(&two(d1, d2))
        && two(h1, h2) < 24
        && two(n1, n2) < 60
        && two(s1, s2) < 60;
    (is_number && in_range).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-22T07:30:50.692Z.
    const RECEIVED: Timestamp = Timestamp::from_millis(1_795_332_650_692);

    fn times(format: TimeFormat, zone: &str) -> Times {
        let zone = TimeZone::get(zone).unwrap();
        Times::new(format, &zone, Plausible::default())
    }

    fn read(times: &mut Times, text: &str) -> Result<String, Unusable> {
        let mut out = Vec::new();
        times.read(text, RECEIVED, &mut out)?;
        Ok(serde_json::from_slice(&out).unwrap())
    }

    #[test]
    fn what_devices_send_becomes_one_form_with_the_digits_that_were_sent() {
        let mut times = times(TimeFormat::Auto, "UTC");
        for (text, expected) in [
            ("2026-11-03T19:34:28Z", "2026-11-03T19:34:28Z"),
            ("2026-11-03T19:34:28.123456789Z", "2026-11-03T19:34:28.123456789Z"),
            ("2026-10-31T19:34:28.50Z", "2026-10-31T19:34:28.50Z"),
            ("2026-11-03 19:34:28,5 +0100", "2026-11-03T18:34:28.5Z"),
            ("2026-11-03t19:34:28.00z", "2026-11-03T19:34:28.00Z"),
            ("2026-11-03T19:34+05:30", "2026-11-03T14:04:00Z"),
            ("2026-11-03T00:30:00-01", "2026-11-03T01:30:00Z"),
            ("2026-11-03_19:34:28 UTC", "2026-11-03T19:34:28Z"),
            ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
            ("Tue, 03 Nov 2026 19:34:28 GMT", "2026-11-03T19:34:28Z"),
            ("3 Nov 2026 19:34:28 +0100", "2026-11-03T18:34:28Z"),
            ("1732269000", "2024-11-22T09:50:00Z"),
            ("1732269000.5", "2024-11-22T09:50:00.5Z"),
            ("1732269000123", "2024-11-22T09:50:00.123Z"),
            ("1732269000123456", "2024-11-22T09:50:00.123456Z"),
            ("1732269000123456789", "2024-11-22T09:50:00.123456789Z"),
            ("1732269000000.25", "2024-11-22T09:50:00.00025Z"),
            ("2026-11-03T19:34:28", "2026-11-03T19:34:28Z"),
            (" 2026-11-03 19:34 ", "2026-11-03T19:34:00Z"),
            ("07:31:00", "2026-11-22T07:31:00Z"),
            ("23:00:00.1", "2026-11-21T23:00:00.1Z"),
        ] {
            assert_eq!(read(&mut times, text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_or_not_plausible_is_not_used() {
        let mut times = times(TimeFormat::Auto, "UTC");
        for text in [
            "",
            "yesterday",
            "2026-13-45T99:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-11-03",
            "T",
            "1e9",
            "2026-11-03T19:34:28.Z",
            "2026-11-03T19:34:28+1",
            "2026-11-03T19:34:28+01:60",
            "-",
            "1.2.3",
            ".5",
            "2026-11-03T19:34:28+",
            "12:34:56 tomorrow",
            "é2026-11-0",
            "-1.5",
            "2026-11-03T24:00:00Z",
            "26-11-03T19:34:28Z",
            "Tue, 03 Nov 2026",
            &"0".repeat(TIME_BYTES_MAX + 1),
            &format!("2026-11-03T19:34:28.{}Z", "1".repeat(TIME_BYTES_MAX)),
        ] {
            assert_eq!(read(&mut times, text), Err(Unusable::Unreadable), "{text}");
        }
        for text in
            ["1970-01-01T00:00:12Z", "12", "-5", "1999-12-31T23:59:59.9Z", "1970-01-01T00:00:00"]
        {
            assert_eq!(read(&mut times, text), Err(Unusable::Early), "{text}");
        }
        for text in [
            "2099-01-01T00:00:00Z",
            "2026-11-23T07:30:51Z",
            "4102444800",
            "9999999999999",
            "9223372036854775808",
        ] {
            assert_eq!(read(&mut times, text), Err(Unusable::Late), "{text}");
        }
        assert!(read(&mut times, "2026-11-23T07:30:50.999Z").is_ok(), "to the second");
        assert!(read(&mut times, "2000-01-01T00:00:00Z").is_ok());
    }

    #[test]
    fn a_format_takes_its_own_form_and_no_other() {
        use TimeFormat::{Local, Rfc2822, Rfc3339, TimeOfDay, Unix, UnixMs, UnixNs, UnixUs};
        let samples = [
            (Rfc3339, "2026-11-03T19:34:28+01:00"),
            (Rfc2822, "Tue, 03 Nov 2026 19:34:28 +0100"),
            (Unix, "1732269000"),
            (UnixMs, "1732269000000"),
            (UnixUs, "1732269000000000"),
            (UnixNs, "1732269000000000000"),
            (Local, "2026-11-03T19:34:28"),
            (TimeOfDay, "07:31:00"),
        ];
        for (format, _) in samples {
            for (of, text) in samples {
                let result = read(&mut times(format, "UTC"), text);
                assert_eq!(result.is_ok(), format == of, "{format:?} {text}: {result:?}");
            }
        }
        let seconds = read(&mut times(UnixMs, "UTC"), "1000000000000").unwrap();
        assert_eq!(seconds, "2001-09-09T01:46:40.000Z");
    }

    #[test]
    fn a_local_time_is_of_its_zone_also_where_the_clocks_change() {
        let mut berlin = times(TimeFormat::Auto, "Europe/Berlin");
        for (text, expected) in [
            ("2026-11-03T19:34:28", "2026-11-03T18:34:28Z"),
            ("2026-07-03T19:34:28.5", "2026-07-03T17:34:28.5Z"),
            // Left out in March: as if the clocks had not changed yet.
            ("2026-03-29T02:30:00", "2026-03-29T01:30:00Z"),
            // Twice in October: the first.
            ("2026-10-25T02:30:00", "2026-10-25T00:30:00Z"),
            ("2026-11-03T19:34:28Z", "2026-11-03T19:34:28Z"),
            ("08:30:00", "2026-11-22T07:30:00Z"),
        ] {
            assert_eq!(read(&mut berlin, text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn the_window_moves_with_the_time_of_receipt() {
        let mut times = times(TimeFormat::Auto, "UTC");
        let mut out = Vec::new();
        let late = "2026-11-23T07:30:51Z";
        assert_eq!(times.read(late, RECEIVED, &mut out), Err(Unusable::Late));
        let later = Timestamp::from_millis(RECEIVED.millis() + 1000);
        assert_eq!(times.read(late, later, &mut out), Ok(()));
        // A second that was plausible a moment ago, and the clock stepped back.
        assert_eq!(times.read("1795419050", RECEIVED, &mut out), Ok(()));
        let before = Timestamp::from_millis(RECEIVED.millis() - 1000);
        assert_eq!(times.read("1795419050", before, &mut out), Err(Unusable::Late));
        let last = Timestamp::from_millis(u64::MAX);
        assert_eq!(times.read("9999-12-28T23:59:59Z", last, &mut out), Ok(()));
    }

    #[test]
    fn what_was_read_before_does_not_change_what_is_read() {
        let texts = [
            "1795332650",
            "1795332651",
            "1795332650123",
            "1795332650987",
            "179533265098x",
            "1795332650.98",
            "1795332650123456",
            "179533265012345x",
            "1795332650123456789",
            "17953326501",
            "2026-11-22T07:30:50Z",
            "07:30:50",
            "1000000000",
            "-795332650",
            "179533265é",
        ];
        let formats = [TimeFormat::Auto, TimeFormat::Unix, TimeFormat::UnixMs, TimeFormat::UnixUs];
        let pairs = texts.iter().flat_map(|before| texts.iter().map(move |text| (before, text)));
        for (format, (before, text)) in
            formats.iter().flat_map(|format| pairs.clone().map(move |pair| (*format, pair)))
        {
            let mut used = times(format, "UTC");
            drop(read(&mut used, before));
            let fresh = read(&mut times(format, "UTC"), text);
            assert_eq!(read(&mut used, text), fresh, "{text} after {before}");
        }
    }
}
