//! Arguments → settings → logging → run → exit code.

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use sluicegate::cli::{Cli, Command};
use sluicegate::exit::Exit;
use sluicegate::{gateway, settings, tools};

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
    };
    match prepared(check, config.config.as_deref()) {
        Ok(exit) => exit.into(),
        Err(error) => {
            say(&mut std::io::stderr(), &format!("sluicegate: {error}"));
            Exit::Settings.into()
        }
    }
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
