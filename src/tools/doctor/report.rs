//! The audit as lines for people, or as one JSON object.

use std::fmt::{self, Write};

use serde_json::{Value, json};

use super::verdict::{CheckEnd, Conclusion, Finding};
use crate::text::escaped;

/// The width of a line for people, in columns.
const COLUMNS: usize = 100;

/// The column where the text of a finding begins.
const INDENT: usize = 22;

/// The findings at one broker.
#[derive(Debug, Clone)]
pub struct BrokerReport {
    /// The section with its settings: `broker` or `output.broker`.
    pub key: &'static str,
    pub url: String,
    /// The protocol version of the settings.
    pub version: String,
    /// The findings, in the order of the checks.
    pub findings: Vec<Finding>,
}

/// The findings at all brokers of a configuration.
#[derive(Debug, Clone)]
pub struct AuditReport {
    /// The prefix of every topic of the probe.
    pub prefix: String,
    pub brokers: Vec<BrokerReport>,
}

impl BrokerReport {
    fn outcomes(&self) -> impl Iterator<Item = CheckEnd> {
        self.findings.iter().map(|it| it.outcome)
    }
}

impl AuditReport {
    /// The conclusion from all findings.
    pub fn conclusion(&self) -> Conclusion {
        Conclusion::of(self.brokers.iter().flat_map(BrokerReport::outcomes))
    }

    pub fn to_json(&self) -> Value {
        let finding = |it: &Finding| {
            json!({
                "check": it.check,
                "outcome": if it.outcome == CheckEnd::Skipped { "skipped" } else { it.outcome.word() },
                "measured": it.measured,
                "change": it.change,
                "numbers": it.numbers,
            })
        };
        let broker = |it: &BrokerReport| {
            json!({
                "key": it.key,
                "url": it.url,
                "version": it.version,
                "verdict": Conclusion::of(it.outcomes()).word(),
                "findings": it.findings.iter().map(finding).collect::<Vec<_>>(),
            })
        };
        json!({
            "topic_prefix": self.prefix,
            "brokers": self.brokers.iter().map(broker).collect::<Vec<_>>(),
            "verdict": self.conclusion().word(),
        })
    }
}

/// For people. The last line is the conclusion.
impl fmt::Display for AuditReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for broker in &self.brokers {
            let BrokerReport { key, url, version, .. } = broker;
            writeln!(f, "{key}: {url} (MQTT {version}); probe below {}\n", self.prefix)?;
            for finding in &broker.findings {
                finding.fmt(f)?;
            }
            writeln!(f)?;
        }
        write!(f, "verdict: {}", self.conclusion().word())
    }
}

/// For people: the measurement, and below it the change to make.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<8}{:<14}", self.outcome.word(), self.check)?;
        wrapped(f, &escaped(&self.measured))?;
        let Some(change) = &self.change else { return Ok(()) };
        write!(f, "{:INDENT$}", "")?;
        wrapped(f, &escaped(&format!("-> {change}")))
    }
}

/// Writes text that begins at [`INDENT`], in lines of at most [`COLUMNS`] where its words allow.
fn wrapped(f: &mut impl Write, text: &str) -> fmt::Result {
    let mut column = INDENT;
    for (at, word) in text.split(' ').enumerate() {
        let length = word.chars().count();
        if at > 0 && column + 1 + length > COLUMNS {
            write!(f, "\n{:INDENT$}", "")?;
            column = INDENT;
        } else if at > 0 {
            f.write_char(' ')?;
            column += 1;
        }
        f.write_str(word)?;
        column += length;
    }
    f.write_char('\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(findings: Vec<Finding>) -> AuditReport {
        let (url, version) = ("mqtt://h:1883".to_owned(), "5".to_owned());
        let brokers = vec![BrokerReport { key: "broker", url, version, findings }];
        AuditReport { prefix: "p".into(), brokers }
    }

    #[test]
    fn the_verdict_is_the_last_line_and_lines_are_short() {
        let long = "word ".repeat(60);
        let text = report(vec![Finding::risky("capacity", long.trim()).change("x 1")]).to_string();
        assert_eq!(text.lines().last(), Some("verdict: risky"));
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
        assert!(text.contains("\nrisky   capacity      word word"), "{text}");
        assert!(text.contains("\n                      -> x 1\n"), "{text}");
    }

    #[test]
    fn what_a_broker_says_forges_no_line() {
        let said = "refused: no\nverdict: fit\x1b[2J\u{202e}";
        let text = report(vec![Finding::risky("login", said).change(said)]).to_string();
        assert_eq!(text.lines().filter(|line| line.starts_with("verdict")).count(), 1, "{text}");
        assert!(!text.replace('\n', "").contains(crate::text::is_unsafe), "{text}");
    }

    #[test]
    fn machines_get_numbers() {
        let finding = Finding::fit("login", "in").with(&json!({ "n": 20 }));
        let json = report(vec![finding, Finding::skipped("x", "why")]).to_json();
        assert_eq!(json["verdict"], "fit");
        assert_eq!(json["brokers"][0]["findings"][0]["numbers"]["n"], 20);
        assert_eq!(json["brokers"][0]["findings"][1]["outcome"], "skipped");
    }
}
