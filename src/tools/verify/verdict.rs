//! From what came to a verdict. Pure.
//!
//! | verdict | when |
//! | --- | --- |
//! | faulty | duplicated, reordered, unnumbered or unreadable is above 0; or readings are lost |
//! | inconclusive | nothing came; or readings are missing, or could be without it showing, and this verifier cannot say that it would have heard them |
//! | clean | else; repeated batches, dead letters and late readings are shown and are no fault |
//!
//! What is *missing* has not come. It is *lost* only if this verifier was listening all the time.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::audit::{Audit, Sensor};
use super::latency::Percentiles;
use crate::clock::Timestamp;
use crate::tools::simulate::report::{Report, Tally};

/// Sensors that are shown, those with most faults first.
const WORST_MAX: usize = 10;

/// Gaps that are shown of a sensor.
const GAPS_SHOWN_MAX: usize = 3;

/// What should have come.
#[derive(Debug)]
pub enum Expectation {
    /// Nobody said: the numbers themselves must do.
    Unknown,
    /// A report was promised, and cannot be had: why.
    Unreadable(String),
    /// What was acknowledged to a simulation.
    Report(Report),
}

/// When this verifier was listening.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hearing {
    /// Since when, with interruptions.
    pub since: Option<Timestamp>,
    /// How often its connection was lost.
    pub losses: u64,
}

/// The judgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Nothing is wrong.
    Clean,
    /// Something is.
    Faulty,
    /// It cannot be told.
    Inconclusive,
}

/// A sensor with faults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Faults {
    /// Whose.
    pub sensor: String,
    /// Numbers that did not come.
    pub missing: u64,
    /// Records whose number had come before.
    pub duplicated: u64,
    /// Numbers that came first after a higher one.
    pub reordered: u64,
    /// The first missing numbers: first and last of each gap.
    pub gaps: Vec<(u64, u64)>,
}

/// The verdict, with what it stands on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// The judgement.
    pub verdict: Outcome,
    /// Why not clean, and what else one should know.
    pub notes: Vec<String>,
    /// Where the numbers are from: the member's name, or `sequence`.
    pub numbers: String,
    /// Readings that must have come, if that is known.
    pub expected: Option<u64>,
    /// Sensors that came.
    pub sensors: usize,
    /// Batches, without repeated ones.
    pub batches: u64,
    /// Batches that came again; set aside.
    pub repeated_batches: u64,
    /// Records, without those of repeated batches.
    pub records: u64,
    /// Readings that did not come.
    pub missing: u64,
    /// Those that are lost; `None` when that cannot be told.
    pub lost: Option<u64>,
    /// Records whose number had come before.
    pub duplicated: u64,
    /// Numbers that came first after a higher one.
    pub reordered: u64,
    /// Records later than `--late-ms`.
    pub late: u64,
    /// Records without a sensor or a number.
    pub unnumbered: u64,
    /// Payloads that are no batch.
    pub unreadable: u64,
    /// Records without a time.
    pub untimed: u64,
    /// Records of sensors beyond `--sensors-max`.
    pub unjudged: u64,
    /// Dead letters, by reason.
    pub dead_letters: BTreeMap<String, u64>,
    /// End-to-end latency in milliseconds.
    pub latency_ms: Option<Percentiles>,
    /// The sensors with most faults.
    pub worst: Vec<Faults>,
}

/// Judges.
pub fn judge(audit: &Audit, member: &str, expectation: &Expectation, hearing: Hearing) -> Verdict {
    let faults = faults(audit, expectation);
    let sum = |of: fn(&Faults) -> u64| faults.iter().map(of).fold(0, u64::saturating_add);
    let missing = sum(|it| it.missing);
    let doubts = doubts(audit, expectation, hearing, missing);
    let report = if let Expectation::Report(report) = expectation { Some(report) } else { None };
    let mut verdict = Verdict {
        verdict: Outcome::Clean,
        notes: notes(audit, member, expectation),
        numbers: if audit.is_numbered { member.to_owned() } else { "sequence".into() },
        expected: report.map(|it| it.total().acknowledged),
        sensors: audit.sensors.len(),
        batches: audit.batches,
        repeated_batches: audit.repeated_batches,
        records: audit.records,
        missing,
        lost: doubts.is_empty().then_some(missing),
        duplicated: sum(|it| it.duplicated),
        reordered: sum(|it| it.reordered),
        late: audit.sensors.values().map(|it| it.late).sum(),
        unnumbered: audit.unnumbered,
        unreadable: audit.unreadable,
        untimed: audit.untimed,
        unjudged: audit.unjudged,
        dead_letters: audit.dead_letters.clone(),
        latency_ms: audit.latency.percentiles(),
        worst: Vec::new(),
    };
    let wrong = [
        verdict.lost.unwrap_or_default(),
        verdict.duplicated,
        verdict.reordered,
        verdict.unnumbered,
        verdict.unreadable,
    ];
    if wrong.iter().any(|it| *it > 0) {
        verdict.verdict = Outcome::Faulty;
    } else if !doubts.is_empty() {
        verdict.verdict = Outcome::Inconclusive;
    }
    verdict.notes.splice(0..0, doubts);
    verdict.worst = worst(faults);
    verdict
}

/// Sensors with faults: those that should have come and those that came.
fn faults(audit: &Audit, expectation: &Expectation) -> Vec<Faults> {
    let nothing = Sensor::default();
    let Expectation::Report(report) = expectation else {
        let all = audit.sensors.iter();
        return all.filter_map(|(name, it)| faults_of(name, it, None)).collect();
    };
    let expected = report.sensors.iter().filter_map(|(name, tally)| {
        let came = audit.sensors.get(name.as_str()).unwrap_or(&nothing);
        faults_of(name, came, Some(*tally))
    });
    let others = audit.sensors.iter().filter(|(name, _)| !report.sensors.contains_key(&***name));
    expected.chain(others.filter_map(|(name, it)| faults_of(name, it, None))).collect()
}

/// `None` when nothing is wrong with it.
fn faults_of(name: &str, came: &Sensor, tally: Option<Tally>) -> Option<Faults> {
    let (first, last, excused) = match tally {
        // A broker answers in order, so these are the first ones; but for refused ones, which stand
        // anywhere among them.
        Some(it) => (1, it.acknowledged.saturating_add(it.refused), it.refused),
        // What came before the first may have been before our time.
        None => (came.numbers.lowest().max(1), came.numbers.highest(), 0),
    };
    let missing = came.numbers.missing(first, last).saturating_sub(excused);
    let (duplicated, reordered) = (came.duplicated, came.reordered);
    let gaps =
        if missing == 0 { Vec::new() } else { came.numbers.gaps(first, last, GAPS_SHOWN_MAX) };
    let sensor = name.to_owned();
    (missing + duplicated + reordered > 0).then_some(Faults {
        sensor,
        missing,
        duplicated,
        reordered,
        gaps,
    })
}

fn worst(mut faults: Vec<Faults>) -> Vec<Faults> {
    let weight = |it: &Faults| it.missing.saturating_add(it.duplicated + it.reordered);
    faults.sort_by(|a, b| weight(b).cmp(&weight(a)).then_with(|| a.sensor.cmp(&b.sensor)));
    faults.truncate(WORST_MAX);
    faults
}

/// Why what is missing cannot be called lost, nor what came complete.
fn doubts(audit: &Audit, expectation: &Expectation, hearing: Hearing, missing: u64) -> Vec<String> {
    let mut doubts = Vec::new();
    if audit.records == 0 {
        doubts.push("nothing came: is a gateway publishing to this topic?".to_owned());
    }
    if hearing.losses > 0 {
        let losses = hearing.losses;
        doubts.push(format!(
            "this verifier's own connection was lost {losses} times: what it did not hear is not \
             known to be lost"
        ));
    }
    if audit.unjudged > 0 {
        let unjudged = audit.unjudged;
        doubts.push(format!("{unjudged} records of sensors beyond --sensors-max were not judged"));
    }
    match expectation {
        Expectation::Unreadable(problem) => doubts.push(problem.clone()),
        Expectation::Report(report) if missing > 0 => {
            if report.ended.is_none() {
                doubts.push(
                    "the simulation had not ended: what is missing may be on its way".to_owned(),
                );
            }
            if report.started().zip(hearing.since).is_some_and(|(start, since)| since > start) {
                doubts.push(
                    "this verifier began to listen after the simulation had started: start it \
                     first"
                        .to_owned(),
                );
            }
        }
        Expectation::Report(_) | Expectation::Unknown => {}
    }
    doubts
}

/// What one should know, and what is no doubt.
fn notes(audit: &Audit, member: &str, expectation: &Expectation) -> Vec<String> {
    let mut notes = Vec::new();
    if !audit.is_numbered && audit.records > 0 {
        notes.push(format!(
            "no record has a member {member:?}: the gateway's sequence was used, which cannot show \
             what was lost before the gateway and begins anew with each of its runs"
        ));
    }
    let late_start = audit.sensors.values().filter(|it| it.numbers.lowest() > 1).count();
    if matches!(expectation, Expectation::Unknown) && late_start > 0 {
        notes.push(format!(
            "{late_start} sensors begin above 1: what came before is not judged without --expect"
        ));
    }
    if let Expectation::Report(report) = expectation {
        let names = audit.sensors.keys().map(|name| &**name);
        let unknown = names.filter(|name| !report.sensors.contains_key(*name)).count();
        if unknown > 0 {
            notes.push(format!("{unknown} sensors are not in the report: judged by their gaps"));
        }
        if let Some((oldest, start)) = audit.oldest.zip(report.started()).filter(|it| it.0 < it.1) {
            notes.push(format!(
                "the oldest record is of {oldest}, but the simulation started at {start}: readings \
                 of an earlier one were still on their way, and have the same numbers"
            ));
        }
    }
    if audit.untimed > 0 {
        notes.push(format!("{} records had no time that can be read", audit.untimed));
    }
    if audit.retained > 0 {
        notes.push(format!("{} retained messages were left out", audit.retained));
    }
    notes
}

/// The table for people.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = match self.verdict {
            Outcome::Clean => "clean",
            Outcome::Faulty => "FAULTY",
            Outcome::Inconclusive => "inconclusive",
        };
        writeln!(f, "verify: {outcome}")?;
        for note in &self.notes {
            writeln!(f, "  {note}")?;
        }
        let numbers = &self.numbers;
        writeln!(
            f,
            "records       {:>10}  of {} sensors, by {numbers}",
            self.records, self.sensors
        )?;
        if let Some(expected) = self.expected {
            writeln!(f, "acknowledged  {expected:>10}  to the simulation")?;
        }
        let repeated = self.repeated_batches;
        writeln!(f, "batches       {:>10}  and {repeated} repeated ones set aside", self.batches)?;
        match self.lost {
            Some(lost) => writeln!(f, "lost          {lost:>10}")?,
            None => writeln!(f, "missing       {:>10}  not known to be lost", self.missing)?,
        }
        let lines = [
            ("duplicated", self.duplicated),
            ("reordered", self.reordered),
            ("unnumbered", self.unnumbered),
            ("unreadable", self.unreadable),
            ("late", self.late),
        ];
        for (name, count) in lines {
            writeln!(f, "{name:<13} {count:>10}")?;
        }
        let letters: u64 = self.dead_letters.values().sum();
        write!(f, "dead letters  {letters:>10}")?;
        for (reason, count) in &self.dead_letters {
            write!(f, "  {reason} {count}")?;
        }
        writeln!(f)?;
        if let Some(it) = self.latency_ms {
            let Percentiles { p50, p90, p99, p999, max } = it;
            writeln!(f, "latency ms    p50 {p50}, p90 {p90}, p99 {p99}, p99.9 {p999}, max {max}")?;
        }
        self.write_worst(f)
    }
}

impl Verdict {
    fn write_worst(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.worst.is_empty() {
            return Ok(());
        }
        writeln!(
            f,
            "{:<24} {:>10} {:>10} {:>10}  first missing",
            "worst sensors", "missing", "duplicated", "reordered"
        )?;
        for it in &self.worst {
            let Faults { sensor, missing, duplicated, reordered, gaps } = it;
            write!(f, "{sensor:<24} {missing:>10} {duplicated:>10} {reordered:>10} ")?;
            for (first, last) in gaps {
                let more = Some(last).filter(|last| *last != first);
                write!(f, " {first}{}", more.map(|last| format!("-{last}")).unwrap_or_default())?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
