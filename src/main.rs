//! Arguments → settings → logging → run → exit code.

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use sluicegate::cli::{Cli, Command, Doctor};
use sluicegate::exit::Exit;
use sluicegate::signals::Signals;
use sluicegate::tools::doctor::verdict::{Conclusion, Verdict};
use sluicegate::{clock, gateway, settings, tools};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let shown = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            // A closed pipe is the reader's decision.
            drop(error.print());
            return if shown { Exit::Drained } else { Exit::Settings }.into();
        }
    };
    let (check, config) = match cli.command {
        None => (false, cli.config),
        Some(Command::Run(config)) => (false, config),
        Some(Command::Check(config)) => (true, config),
        Some(Command::Doctor(doctor)) => return ended(doctored(&doctor)),
    };
    ended(prepared(check, config.config.as_deref()))
}

fn ended(exit: Result<Exit, impl std::fmt::Display>) -> ExitCode {
    match exit {
        Ok(exit) => exit.into(),
        Err(error) => {
            say(&mut std::io::stderr(), &format!("sluicegate: {error}"));
            Exit::Settings.into()
        }
    }
}

/// Audits the brokers; a signal ends it, cleanly.
fn doctored(doctor: &Doctor) -> Result<Exit, Box<dyn std::error::Error>> {
    let path = settings::find(doctor.config.config.as_deref())?;
    let settings = settings::load(&path, std::env::vars_os())?;
    let stop = async {
        match Signals::listen() {
            Ok(signals) => signals.first().await,
            // Then a signal ends the program at once, as it does any other.
            Err(_) => std::future::pending().await,
        }
    };
    let seed = clock::now().wall.millis();
    let report = tools::doctor::run(&settings.plan, &doctor.probe(), seed, stop)?;
    let text = if doctor.json { report.to_json().to_string() } else { report.to_string() };
    say(&mut std::io::stdout(), &text);
    Ok(match report.conclusion() {
        Conclusion::Judged(Verdict::Fit) => Exit::Drained,
        Conclusion::Judged(Verdict::Risky) => Exit::Risky,
        Conclusion::Judged(Verdict::Unfit) => Exit::Unfit,
        Conclusion::Refused => Exit::Settings,
        Conclusion::Open => Exit::Unsettled,
    })
}

fn prepared(check: bool, given: Option<&Path>) -> Result<Exit, settings::Error> {
    let path = settings::find(given)?;
    let settings = settings::load(&path, std::env::vars_os())?;
    if check {
        let path = path.display().to_string();
        let report = tools::check::report(&path, &settings.to_toml(), &settings.plan);
        say(&mut std::io::stdout(), report.trim_end());
        return Ok(Exit::Drained);
    }
    let (exit, balance) = gateway::run(&path, settings);
    if let Some(balance) = balance {
        say(&mut std::io::stdout(), &balance.to_string());
    }
    Ok(exit)
}

fn say(to: &mut dyn std::io::Write, text: &str) {
    // A closed pipe is the reader's decision.
    drop(writeln!(to, "{text}"));
}
