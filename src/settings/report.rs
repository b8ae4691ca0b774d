//! The report of all mistakes in a configuration.

use std::fmt::{self, Write};
use std::path::PathBuf;

use super::{FILE_BYTES_MAX, FILES};
use crate::text;

/// A mistake in the configuration.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Problem {
    pub key: String,
    /// What is wrong, and what would be right.
    pub text: String,
    /// Lines below it. They are made by this program and hold no text from outside.
    pub below: Vec<String>,
    /// The environment variable that set the key.
    pub variable: Option<String>,
}

/// Why a configuration cannot be loaded. Each text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no configuration: none of {} exists; name one with --config FILE", FILES.join(", "))]
    NoFile,
    /// The file cannot be opened or read.
    #[error(
        "cannot read {}: {error}; correct the path after --config, or let this user read the file",
        text::from_path(path)
    )]
    Unreadable { path: PathBuf, error: std::io::Error },
    /// The file has more than [`FILE_BYTES_MAX`] bytes.
    #[error(
        "{}: has more than {FILE_BYTES_MAX} bytes: a subscription with {{sensor}} in its topic, or one \
         simulated entry with a count, stands for any number of sensors",
        text::from_path(path)
    )]
    TooLarge { path: PathBuf },
    #[error(
        "{}: YAML is not read: write the settings as TOML, in a file whose name ends in .toml; \
         `sluicegate schema` \
         names every key",
        text::from_path(path)
    )]
    Yaml { path: PathBuf },
    /// The file is not valid TOML or JSON.
    #[error("{}: {text}", text::from_path(path))]
    Syntax {
        path: PathBuf,
        /// The place and the fault.
        text: String,
    },
    /// The file has mistakes.
    #[error("{}: {}\n{}", text::from_path(path), count(problems), lines(problems))]
    Problems { path: PathBuf, problems: Vec<Problem> },
}

impl Error {
    /// Each reason, in one line.
    pub fn reasons(&self) -> Vec<String> {
        let first = |it: &dyn fmt::Display| {
            it.to_string().lines().next().map(|line| line.trim().to_owned()).unwrap_or_default()
        };
        match self {
            Self::Problems { problems, .. } => problems.iter().map(|it| first(it)).collect(),
            other => vec![first(other)],
        }
    }
}

fn count(problems: &[Problem]) -> String {
    let from_environment = problems.iter().all(|it| it.variable.is_some());
    let place = if from_environment { "what the environment sets" } else { "the configuration" };
    match problems.len() {
        1 => format!("1 mistake in {place}"),
        mistakes => format!("{mistakes} mistakes in {place}"),
    }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Keys and texts may repeat what somebody wrote.
        let mut line = text::Escaping(&mut *f);
        match &self.variable {
            Some(variable) => write!(line, "  {variable} ({}): {}", self.key, self.text)?,
            None => write!(line, "  {}: {}", self.key, self.text)?,
        }
        self.below.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}
