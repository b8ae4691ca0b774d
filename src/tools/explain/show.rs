//! An explanation for people: lines of text.

use std::fmt::{self, Write};

use super::letter::Letter;
use super::{Explained, Explanation, Nearest};
use crate::text;

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(payload) = &self.payload {
            writeln!(f, "`sluicegate simulate` publishes\n  {}\n", text::escaped(payload))?;
        }
        if self.entries.is_empty() {
            let topic = self.topic.as_deref().unwrap_or_default();
            write!(f, "no entry takes a message on {}", text::shown(topic))?;
            for Nearest { entry, filter } in &self.nearest {
                write!(f, "\n  the nearest: sensors.{entry} takes {filter}")?;
            }
            return Ok(());
        }
        for (at, it) in self.entries.iter().enumerate() {
            if at > 0 {
                f.write_str("\n\n")?;
            }
            it.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { entry, filter, skipped, settings, .. } = self;
        match filter {
            Some(filter) => write!(f, "sensors.{entry} takes it ({filter})")?,
            None => write!(f, "sensors.{entry}")?,
        }
        let mut parts = self.parts()?;
        // Lines in their order.
        parts.sort_by_key(|it| it.0);
        parts.iter().try_for_each(|it| f.write_str(&it.1))?;
        if let Some(skipped) = skipped.filter(|_| self.skipped_lines.is_empty()) {
            write!(f, "\nno reading: {skipped}")?;
        }
        write!(f, "\nits settings\n")?;
        let lines: Vec<String> = settings.lines().map(|line| format!("  {line}")).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl Explained {
    /// Records, dead letters and lines that are neither, with the numbers of their lines.
    fn parts(&self) -> Result<Vec<(Option<u64>, String)>, fmt::Error> {
        let mut parts = Vec::new();
        for (at, (record, time)) in self.records.iter().zip(&self.times).enumerate() {
            let line = self.record_lines.get(at).copied();
            let mut text = begun(line);
            write!(text, "record\n  {}\n  time {time}", text::json(record))?;
            parts.push((line, text));
        }
        for Letter { line, reason, detail, published, remedy } in &self.dead_letters {
            let (detail, letter) = (text::escaped(detail), text::json(published));
            let mut text = begun(*line);
            write!(
                text,
                "dead letter, {reason}: {detail}\n  {letter}\n  to make a reading of it: {remedy}"
            )?;
            parts.push((*line, text));
        }
        for line in &self.skipped_lines {
            let why = self.skipped.unwrap_or_default();
            parts.push((Some(*line), format!("{}no reading: {why}", begun(Some(*line)))));
        }
        Ok(parts)
    }
}

/// How what comes of a line begins, or of a message.
fn begun(line: Option<u64>) -> String {
    line.map_or_else(|| "\n".to_owned(), |line| format!("\nline {line}, "))
}
