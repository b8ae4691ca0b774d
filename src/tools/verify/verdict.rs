//! Makes a verdict from what arrived. Pure.
//!
//! | verdict | when |
//! | --- | --- |
//! | faulty | duplicated, reordered, unnumbered or unreadable is above 0; or readings are lost |
//!  inconclusive | nothing arrived; or readings are missing, or could be without a trace, and this verifier cannot prove that it listened, or that they are the dead letters without a number |
//!  clean | else; repeated batches, dead letters and late readings are shown and are no fault |
//!
//! Faults that a simulation planted, by its report, are no faults of the gateway. A planted duplicate is one more
//! message of the same number: as many repeated numbers are expected, more are duplicated, and fewer are missing. A
//! planted payload that is no reading is expected as a dead letter. What is planted otherwise leaves the numbers whole,
//! and is not seen here.
//!
//! *Missing* readings arrived neither in a record nor as a dead letter. They are *lost* only if this verifier
//! listened all the time.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::audit::{Audit, Sensor};
use super::latency::Percentiles;
use crate::clock::Timestamp;
use crate::text::{escaped, shown};
use crate::tools::simulate::report::{Counts, Planted, Report};

/// Sensors that are shown, those with most faults first.
const WORST_MAX: usize = 10;

/// Gaps that are shown of a sensor.
const GAPS_SHOWN_MAX: usize = 3;

/// What should have arrived.
#[derive(Debug)]
pub enum Expectation {
    /// No report: only the numbers themselves can be compared.
    Unknown,
    /// A report was named with `--expect` and cannot be read, for this reason.
    Unreadable(String),
    /// The readings that were acknowledged to a simulation.
    Report(Report),
}

/// What this verifier can have read: when it was listening, or what was in the files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hearing {
    /// When it began to listen, whatever interrupted it later.
    pub since: Option<Timestamp>,
    /// How often its connection was lost together with the messages published meanwhile.
    pub losses: u64,
    /// Why else something was not read.
    pub doubts: Vec<String>,
    /// Why what is expected may still come, if something is missing.
    pub half: Option<String>,
    /// What else to know.
    pub notes: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    Clean,
    Faulty,
    /// Neither can be proved.
    Inconclusive,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Faults {
    pub sensor: String,
    /// Numbers that did not arrive.
    pub missing: u64,
    /// Numbers that became dead letters.
    pub dead_lettered: u64,
    /// Of these, the assumed ones: there are as many dead letters without a number.
    #[serde(skip)]
    pub guessed: u64,
    /// Records whose number had arrived before.
    pub duplicated: u64,
    /// Numbers that arrived first after a higher one.
    pub reordered: u64,
    /// The first missing numbers: first and last of each gap.
    pub gaps: Vec<(u64, u64)>,
}

/// The verdict, with the counts behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    pub verdict: Judgement,
    /// Why the verdict is not clean, and what else to know.
    pub notes: Vec<String>,
    /// The source of the numbers: the member's name, or `sequence`.
    pub numbers: String,
    /// Readings that should have arrived, if that is known.
    pub expected: Option<u64>,
    /// Sensors that arrived.
    pub sensors: usize,
    /// Batches, each counted once.
    pub batches: u64,
    /// Repeated batches, which were dropped.
    pub repeated_batches: u64,
    /// Records, without those of repeated batches.
    pub records: u64,
    /// The faults that the simulation planted, if there are any: none of them is in the counts below, but for
    /// `deadLettered` and `late`.
    #[serde(skip_serializing_if = "Planted::is_none")]
    pub planted: Planted,
    /// Readings that did not arrive.
    pub missing: u64,
    /// Missing readings that are lost; `None` if that cannot be proved.
    pub lost: Option<u64>,
    /// Readings that became dead letters.
    pub dead_lettered: u64,
    /// Records whose number had arrived before.
    pub duplicated: u64,
    /// Numbers that arrived first after a higher one.
    pub reordered: u64,
    /// Records later than `--late-ms`.
    pub late: u64,
    /// Records without a sensor or a number.
    pub unnumbered: u64,
    /// Payloads that are not a batch.
    pub unreadable: u64,
    /// Records without a time.
    pub untimed: u64,
    /// Records of sensors beyond `--sensors-max`, or without number and `sequence`.
    pub unjudged: u64,
    /// Dead letters, by reason.
    pub dead_letters: BTreeMap<String, u64>,
    /// End-to-end latency in milliseconds.
    pub latency_ms: Option<Percentiles>,
    /// The sensors with most faults.
    pub worst: Vec<Faults>,
}

pub fn judge(audit: &Audit, member: &str, expectation: &Expectation, hearing: Hearing) -> Verdict {
    let faults = faults(audit, expectation);
    let sum = |of: fn(&Faults) -> u64| faults.iter().map(of).fold(0, u64::saturating_add);
    let (missing, guessed) = (sum(|it| it.missing), sum(|it| it.guessed));
    let doubts = doubts(audit, expectation, &hearing, missing);
    let report = if let Expectation::Report(report) = expectation { Some(report) } else { None };
    let mut verdict = Verdict {
        verdict: Judgement::Clean,
        notes: notes(audit, (member, guessed), expectation),
        numbers: if audit.is_numbered { member.to_owned() } else { "sequence".into() },
        expected: report.map(|it| it.total().acknowledged),
        sensors: audit.sensors.values().filter(|it| it.records > 0).count(),
        batches: audit.batches,
        repeated_batches: audit.repeated_batches,
        records: audit.records,
        planted: report.map(|it| it.total().planted).unwrap_or_default(),
        missing,
        lost: doubts.is_empty().then_some(missing),
        dead_lettered: sum(|it| it.dead_lettered),
        duplicated: sum(|it| it.duplicated),
        reordered: sum(|it| it.reordered),
        late: audit.sensors.values().map(|it| it.late).sum(),
        unnumbered: audit.unnumbered,
        unreadable: audit.unreadable,
        untimed: audit.untimed,
        unjudged: audit.unjudged + audit.unsequenced,
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
        verdict.verdict = Judgement::Faulty;
    } else if !doubts.is_empty() || guessed > 0 {
        verdict.verdict = Judgement::Inconclusive;
    }
    verdict.notes.splice(0..0, doubts);
    verdict.notes.extend(hearing.notes);
    verdict.worst = worst(faults);
    verdict
}

/// Sensors with faults or dead letters, of those that should have arrived and those that did.
fn faults(audit: &Audit, expectation: &Expectation) -> Vec<Faults> {
    let nothing = Sensor::default();
    let Expectation::Report(report) = expectation else {
        let all = audit.sensors.iter();
        return all.filter_map(|(name, it)| faults_of(audit, (name, it), None)).collect();
    };
    let expected = report.sensors.iter().filter_map(|(name, counts)| {
        let came = audit.sensors.get(name.as_str()).unwrap_or(&nothing);
        faults_of(audit, (name, came), Some(*counts))
    });
    let others = audit.sensors.iter().filter(|(name, _)| !report.sensors.contains_key(&***name));
    expected.chain(others.filter_map(|(name, it)| faults_of(audit, (name, it), None))).collect()
}

/// `None` if the sensor has no fault and no dead letter.
fn faults_of(
    audit: &Audit,
    (name, came): (&str, &Sensor),
    counts: Option<Counts>,
) -> Option<Faults> {
    let Counts { acknowledged, refused, planted, .. } = counts.unwrap_or_default();
    // A gateway counts each message as a reading.
    let (copies, counted) =
        if audit.is_numbered { (planted.duplicate, 0) } else { (0, planted.duplicate) };
    let (first, last, excused) = match counts {
        // A broker acknowledges in order, so these are the first ones. Refused ones may be anywhere among them.
        Some(_) => (1, acknowledged.saturating_add(refused).saturating_add(counted), refused),
        // A dead letter without an id names its entry, which has many sensors.
        None if came.records == 0 => (1, 0, 0),
        // Numbers below the first may have been sent before this verifier listened.
        None => (came.numbers.lowest().max(1), came.numbers.highest(), 0),
    };
    let absent = came.numbers.missing(first, last).saturating_sub(excused);
    // Of a reading that was refused, the second message is the first that comes.
    let repeated = came.duplicated.saturating_add(came.dead_repeated).saturating_add(refused);
    let copies_missing = copies.saturating_sub(repeated);
    // No payload holds the gateway's sequence.
    let unnumbered = if audit.is_numbered { came.dead_unnumbered } else { came.dead_lettered };
    let dead = absent.min(unnumbered);
    let faults = Faults {
        sensor: name.to_owned(),
        missing: (absent - dead).saturating_add(copies_missing),
        dead_lettered: came.dead_lettered - unnumbered + dead,
        guessed: dead.saturating_sub(planted.malformed),
        duplicated: came.duplicated.saturating_sub(copies),
        reordered: came.reordered,
        gaps: if absent == 0 { Vec::new() } else { came.numbers.gaps(first, last, GAPS_SHOWN_MAX) },
    };
    (faults.weight() + faults.dead_lettered > 0).then_some(faults)
}

impl Faults {
    fn weight(&self) -> u64 {
        self.missing.saturating_add(self.duplicated + self.reordered)
    }
}

fn worst(mut faults: Vec<Faults>) -> Vec<Faults> {
    faults.retain(|it| it.weight() > 0);
    faults.sort_by(|a, b| b.weight().cmp(&a.weight()).then_with(|| a.sensor.cmp(&b.sensor)));
    faults.truncate(WORST_MAX);
    faults
}

/// Why missing readings cannot be called lost, or a complete stream clean.
fn doubts(
    audit: &Audit,
    expectation: &Expectation,
    hearing: &Hearing,
    missing: u64,
) -> Vec<String> {
    let mut doubts = Vec::new();
    if audit.records == 0 {
        doubts
            .push("nothing came: does a gateway publish to this topic, or write here?".to_owned());
    }
    doubts.extend(hearing.doubts.iter().cloned());
    if hearing.losses > 0 {
        let losses = hearing.losses;
        doubts.push(format!(
            "this verifier's own connection was lost {losses} times, its session too: what it did \
             not hear is not known to be lost"
        ));
    }
    if audit.unjudged > 0 {
        let unjudged = audit.unjudged;
        doubts.push(format!("{unjudged} records of sensors beyond --sensors-max were not judged"));
    }
    if audit.unsequenced > 0 {
        let unsequenced = audit.unsequenced;
        doubts.push(format!(
            "{unsequenced} records have neither a number nor a sequence and were not judged: their sensors \
             were beyond the gateway's gateway.sensors_max"
        ));
    }
    match expectation {
        Expectation::Unreadable(problem) => doubts.push(problem.clone()),
        Expectation::Report(report) if missing > 0 => {
            doubts.extend(hearing.half.clone());
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

/// What to know beside the doubts: about the numbers in `member`, and about the assumed dead letters.
fn notes(audit: &Audit, (member, guessed): (&str, u64), expectation: &Expectation) -> Vec<String> {
    let mut notes = Vec::new();
    if guessed > 0 {
        notes.push(format!(
            "{guessed} missing numbers are taken to be dead letters of the same sensors that show no \
             number: nobody can tell"
        ));
    }
    if !audit.is_numbered && audit.records > 0 {
        notes.push(format!(
            "no record has a member {member:?}: the gateway's sequence was used, which cannot show \
             what was lost before the gateway and begins anew with each of its runs"
        ));
    }
    let begins_late = |it: &&Sensor| it.records > 0 && it.numbers.lowest() > 1;
    let late_start = audit.sensors.values().filter(begins_late).count();
    if matches!(expectation, Expectation::Unknown) && late_start > 0 {
        notes.push(format!(
            "{late_start} sensors begin above 1: what came before is not judged without --expect"
        ));
    }
    if let Expectation::Report(report) = expectation {
        let names = audit.sensors.iter().filter(|it| it.1.records > 0).map(|it| &**it.0);
        let unknown = names.filter(|name| !report.sensors.contains_key(*name)).count();
        if unknown > 0 {
            notes.push(format!("{unknown} sensors are not in the report: judged by their gaps"));
        }
        let delay = Duration::from_millis(report.delayed_ms);
        let begins = report.started().map(|it| it.earlier(delay));
        if let Some((oldest, start)) = audit.oldest.zip(begins).filter(|it| it.0 < it.1) {
            notes.push(format!(
                "the oldest record is of {oldest}, but the simulation started at {start}: readings \
                 of an earlier one were still on their way, and have the same numbers"
            ));
        }
    }
    if let Expectation::Report(report) = expectation {
        let (planted, letters) = (report.total().planted, audit.dead_letters.values().sum());
        if planted.malformed > letters && audit.records > 0 {
            let read = planted.malformed - letters;
            notes.push(format!(
                "{read} payloads that were planted as no readings came as readings, or not at all: does the \
                 entry's codec take any bytes?"
            ));
        }
    }
    if audit.begun_anew > 0 && !audit.is_numbered {
        notes.push(format!(
            "a sequence began anew {} times: the gateway was started again, or had forgotten a sensor \
             (gateway.sensors_max)",
            audit.begun_anew
        ));
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
            Judgement::Clean => "clean",
            Judgement::Faulty => "FAULTY",
            Judgement::Inconclusive => "inconclusive",
        };
        writeln!(f, "verify: {outcome}")?;
        for note in &self.notes {
            writeln!(f, "  {}", escaped(note))?;
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
        if !self.planted.is_none() {
            writeln!(f, "planted                   {}", self.planted)?;
        }
        let repeated = self.repeated_batches;
        writeln!(f, "batches       {:>10}  and {repeated} repeated ones dropped", self.batches)?;
        match self.lost {
            Some(lost) => writeln!(f, "lost          {lost:>10}")?,
            None => writeln!(f, "missing       {:>10}  not known to be lost", self.missing)?,
        }
        let lines = [
            ("dead-lettered", self.dead_lettered),
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
            write!(f, "  {} {count}", shown(reason))?;
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
            "{:<24} {:>10} {:>13} {:>10} {:>10}  first missing",
            "worst sensors", "missing", "dead-lettered", "duplicated", "reordered"
        )?;
        for it in &self.worst {
            let Faults { sensor, missing, dead_lettered, duplicated, reordered, gaps, .. } = it;
            write!(f, "{:<24} {missing:>10} {dead_lettered:>13} ", shown(sensor))?;
            write!(f, "{duplicated:>10} {reordered:>10} ")?;
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
