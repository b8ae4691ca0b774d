//! How many readings come of a sensor in a second: measured now and then, over a minute or some of its intervals. Pure.

use std::time::Duration;

use crate::clock::Timestamp;

/// It is measured over so long at least.
const OVER_MIN: Duration = Duration::from_mins(1);

/// And over so many of the sensor's intervals.
const INTERVALS: u32 = 4;

/// A rate: the count of readings at the last measurement, the second of that since 1970, and the bits of the rate that was
/// measured. Twelve bytes a sensor: the count is cut, which a difference does not show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rate(pub [u32; 3]);

impl Rate {
    /// It after so many readings in all, of a sensor that reports so often.
    #[must_use]
    pub fn measured(self, count: u64, now: Timestamp, interval: Option<Duration>) -> Self {
        let Self([before, at, rate]) = self;
        let (count, second) = (short(count), short(now.millis() / 1000));
        if at == 0 || second < at {
            return Self([count, second, rate]);
        }
        let passed = Duration::from_secs(u64::from(second - at));
        let over = interval.map_or(OVER_MIN, |it| OVER_MIN.max(it.saturating_mul(INTERVALS)));
        if passed < over {
            return self;
        }
        let came = f64::from(count.wrapping_sub(before));
        // A rate of all readings that 32 bits can count in a minute has 8 digits.
        #[expect(clippy::cast_possible_truncation, reason = "seven digits are enough to look at")]
        let rate = (came / passed.as_secs_f64()) as f32;
        // 0 is none: that it was measured and nothing came is the other zero.
        Self([count, second, if rate > 0.0 { rate } else { -0.0 }.to_bits()])
    }

    /// The last that was measured; before that, all of these readings over the time in which they came.
    pub fn of_late(self, count: u64, since: Option<Duration>) -> f64 {
        let Self([.., rate]) = self;
        if rate != 0 {
            return f64::from(f32::from_bits(rate)).abs();
        }
        let seconds = since.unwrap_or_default().as_secs_f64().max(1.0);
        f64::from(short(count)) / seconds
    }
}

/// The lower half.
fn short(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).expect("it is cut")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis((1_700_000_000 + seconds) * 1000)
    }

    #[track_caller]
    fn assert_close(rate: f64, expected: f64) {
        assert!((rate - expected).abs() < 1e-6, "{rate}");
    }

    #[test]
    fn it_is_what_came_in_the_last_minute_or_four_intervals() {
        let rate = Rate::default().measured(10, at(0), None);
        let since = Some(Duration::from_secs(20));
        assert_close(rate.of_late(10, since), 0.5);
        assert_eq!(rate.measured(100, at(59), None), rate, "too soon");
        let rate = rate.measured(130, at(60), None);
        assert_close(rate.of_late(130, since), 2.0);
        let slow = Some(Duration::from_mins(1));
        assert_eq!(rate.measured(131, at(120), slow), rate, "one interval");
        let rate = rate.measured(134, at(300), slow);
        assert_close(rate.of_late(134, since), 4.0 / 240.0);
        let rate = rate.measured(134, at(600), None);
        // It was measured, and nothing came.
        assert_close(rate.of_late(134, since), 0.0);
        let back = rate.measured(134, at(5), None);
        assert_eq!(
            back.0[1],
            short(at(5).millis() / 1000),
            "the clock was set back: it begins anew"
        );
        let wraps = Rate([u32::MAX, back.0[1], 0]).measured(u64::from(u32::MAX) + 60, at(65), None);
        assert_close(wraps.of_late(0, None), 1.0);
    }
}
