//! The result of a check: numbers, a verdict, and the setting to change.

use serde::Serialize;
use serde_json::Value;

/// How far a broker can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fitness {
    /// As the settings need.
    Fit,
    /// Works, and may lose or delay messages.
    Risky,
    /// Does not support what the settings need.
    Unfit,
}

impl Fitness {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Fit => "fit",
            Self::Risky => "risky",
            Self::Unfit => "unfit",
        }
    }
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckEnd {
    Judged(Fitness),
    /// Not asked for, not visible at this broker, or not needed by the settings. It does not count.
    Skipped,
    /// It could not be done: nothing is known.
    Failed,
    /// The broker refused the login of the settings.
    Refused,
}

impl CheckEnd {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Judged(verdict) => verdict.word(),
            Self::Skipped => "-",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }
}

/// The conclusion from all findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conclusion {
    Judged(Fitness),
    /// Something could not be tried; what could be tried is not unfit.
    Open,
    /// A login was refused.
    Refused,
}

impl Conclusion {
    /// The conclusion from these results. A broker that is unfit in one point is unfit, whatever was not tried.
    pub fn of(outcomes: impl Iterator<Item = CheckEnd>) -> Self {
        let (mut worst, mut open, mut refused) = (Fitness::Fit, false, false);
        for outcome in outcomes {
            match outcome {
                CheckEnd::Judged(verdict) => worst = worst.max(verdict),
                CheckEnd::Failed => open = true,
                CheckEnd::Refused => refused = true,
                CheckEnd::Skipped => {}
            }
        }
        if refused {
            Self::Refused
        } else if open && worst < Fitness::Unfit {
            Self::Open
        } else {
            Self::Judged(worst)
        }
    }

    pub const fn word(self) -> &'static str {
        match self {
            Self::Judged(verdict) => verdict.word(),
            Self::Open => "could not judge",
            Self::Refused => "refused",
        }
    }
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    pub check: &'static str,
    pub outcome: CheckEnd,
    /// The measurement, in words and numbers.
    pub measured: String,
    /// What to change, or what else to know.
    pub change: Option<String>,
    /// The numbers for machines; null if there are none.
    pub numbers: Value,
}

impl Finding {
    fn new(check: &'static str, outcome: CheckEnd, measured: impl Into<String>) -> Self {
        let (measured, change, numbers) = (measured.into(), None, Value::Null);
        Self { check, outcome, measured, change, numbers }
    }

    /// As the settings need.
    pub fn fit(check: &'static str, measured: impl Into<String>) -> Self {
        Self::new(check, CheckEnd::Judged(Fitness::Fit), measured)
    }

    /// Works, and may lose or delay messages.
    pub fn risky(check: &'static str, measured: impl Into<String>) -> Self {
        Self::new(check, CheckEnd::Judged(Fitness::Risky), measured)
    }

    /// Does not support what the settings need.
    pub fn unfit(check: &'static str, measured: impl Into<String>) -> Self {
        Self::new(check, CheckEnd::Judged(Fitness::Unfit), measured)
    }

    /// Not checked, for this reason.
    pub fn skipped(check: &'static str, why: impl Into<String>) -> Self {
        Self::new(check, CheckEnd::Skipped, why)
    }

    /// Could not be checked, for this reason.
    pub fn failed(check: &'static str, why: impl Into<String>) -> Self {
        Self::new(check, CheckEnd::Failed, why)
    }

    /// The broker refused the login, for this reason.
    pub fn refused(check: &'static str, why: impl Into<String>) -> Self {
        Self::new(check, CheckEnd::Refused, why)
    }

    /// Adds what to change.
    #[must_use]
    pub fn change(mut self, change: impl Into<String>) -> Self {
        self.change = Some(change.into());
        self
    }

    /// Adds the numbers behind it.
    #[must_use]
    pub fn with(mut self, numbers: &impl Serialize) -> Self {
        self.numbers = serde_json::to_value(numbers).unwrap_or(Value::Null);
        self
    }
}

/// The program of the broker, as far as it publishes that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Software {
    Mosquitto(u32, u32, u32),
    /// Another broker, or unknown.
    Other,
}

impl Software {
    /// Reads the text of `$SYS/broker/version`: `mosquitto version 2.0.11`.
    pub fn of(text: &str) -> Self {
        let Some(version) = text.strip_prefix("mosquitto version ") else { return Self::Other };
        let mut numbers = version.split(['.', '-', ' ']).map(|part| part.parse().unwrap_or(0));
        let mut next = || numbers.next().unwrap_or(0);
        Self::Mosquitto(next(), next(), next())
    }

    /// What to change: keys of mosquitto.conf if the broker is Mosquitto, else general words. Keys of Mosquitto
    /// do not help at another broker.
    pub fn change(&self, general: &str, keys: &str) -> String {
        match self {
            Self::Mosquitto(..) => format!("in mosquitto.conf: {keys}"),
            Self::Other => general.to_owned(),
        }
    }

    /// Whether it is a Mosquitto that sends several messages for one acknowledgement.
    pub fn overruns_windows(&self) -> bool {
        matches!(self, Self::Mosquitto(major, minor, patch) if (*major, *minor, *patch) < (2, 0, 13))
    }
}

/// `7096` as `7,096`.
pub fn grouped(number: impl Into<u64>) -> String {
    let digits = number.into().to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_counts_and_what_could_not_be_tried_leaves_it_open() {
        use CheckEnd::{Failed, Judged, Refused, Skipped};
        use Fitness::{Fit, Risky, Unfit};
        for (outcomes, conclusion) in [
            (vec![], Conclusion::Judged(Fit)),
            (vec![Judged(Fit), Skipped], Conclusion::Judged(Fit)),
            (vec![Judged(Risky), Judged(Fit)], Conclusion::Judged(Risky)),
            (vec![Judged(Risky), Failed], Conclusion::Open),
            (vec![Judged(Unfit), Failed], Conclusion::Judged(Unfit)),
            (vec![Judged(Unfit), Refused], Conclusion::Refused),
        ] {
            assert_eq!(Conclusion::of(outcomes.iter().copied()), conclusion, "{outcomes:?}");
        }
    }

    #[test]
    fn the_version_is_read_and_the_remedy_names_its_keys() {
        let old = Software::of("mosquitto version 2.0.11");
        assert_eq!(old, Software::Mosquitto(2, 0, 11));
        assert!(old.overruns_windows());
        assert!(!Software::of("mosquitto version 2.0.13").overruns_windows());
        assert!(!Software::of("mosquitto version 2.1.0-rc1").overruns_windows());
        assert_eq!(Software::of("RMQTT/0.24"), Software::Other);
        assert_eq!(old.change("raise x", "x 1"), "in mosquitto.conf: x 1");
        assert_eq!(Software::Other.change("raise x", "x 1"), "raise x");
    }

    #[test]
    fn thousands_are_grouped() {
        let text = [0_u64, 999, 1000, 7096, 1_234_567].map(grouped);
        assert_eq!(text, ["0", "999", "1,000", "7,096", "1,234,567"]);
    }
}
