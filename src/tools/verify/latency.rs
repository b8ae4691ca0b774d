//! The latency of readings from their sensor to the output, in milliseconds. Pure.

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::clock::Timestamp;

/// Latencies above an hour count as an hour in the percentiles; the maximum is exact.
const LATENCY_MS_MAX: u64 = 3_600_000;

/// The latencies of many readings, in bounded memory.
#[derive(Debug)]
pub struct Latency {
    histogram: Histogram<u64>,
    max: u64,
}

/// Percentiles, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Percentiles {
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
}

impl Default for Latency {
    fn default() -> Self {
        // Three digits: rounding changes a percentile by less than 1 %.
        let histogram = Histogram::new_with_bounds(1, LATENCY_MS_MAX, 3);
        Self { histogram: histogram.expect("the bounds are in order"), max: 0 }
    }
}

impl Latency {
    /// Counts one reading; returns its latency in milliseconds. 0 if the sensor's clock is ahead.
    pub fn take(&mut self, taken: Timestamp, arrived: Timestamp) -> u64 {
        let millis = arrived.millis().saturating_sub(taken.millis());
        self.histogram.saturating_record(millis);
        self.max = self.max.max(millis);
        millis
    }

    /// `None` when no reading had a time.
    pub fn percentiles(&self) -> Option<Percentiles> {
        let at = |quantile| self.histogram.value_at_quantile(quantile).min(self.max);
        (!self.histogram.is_empty()).then(|| Percentiles {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: self.max,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_right_to_three_digits_and_the_maximum_exact() {
        let mut latency = Latency::default();
        assert_eq!(latency.percentiles(), None);
        let at = Timestamp::from_millis;
        for millis in 1..=1000 {
            assert_eq!(latency.take(at(5000), at(5000 + millis)), millis);
        }
        let expected = Percentiles { p50: 500, p90: 900, p99: 990, p999: 999, max: 1000 };
        assert_eq!(latency.percentiles(), Some(expected));
        assert_eq!(latency.take(at(5000), at(4000)), 0);
        latency.take(at(0), at(10_000_000));
        assert_eq!(latency.percentiles().map(|it| it.max), Some(10_000_000));
    }
}
